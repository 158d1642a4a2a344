//! What tests of several rooms share: a real registry in the process, with faults on
//! order, other services beside it, and images made of nothing.
//!
//! Only tests depend on this crate. It knows the model and nothing else of the program.

pub mod actions;
pub mod bucket;
pub mod foreign;
pub mod image;
pub mod registry;

mod service;
