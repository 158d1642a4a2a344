//! The embedded build engine: file systems from layers, and what happens inside them.

pub mod root;
pub mod snapshot;

pub use root::Root;
