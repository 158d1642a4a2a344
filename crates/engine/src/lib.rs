//! The embedded build engine: file systems from layers, and what happens inside them.

pub mod context;
pub mod files;
pub mod root;
pub mod snapshot;

pub use root::Root;
