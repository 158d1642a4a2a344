//! The embedded build engine: file systems from layers, and what happens inside them.

pub mod root;

pub use root::Root;
