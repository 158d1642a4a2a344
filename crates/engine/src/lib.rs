//! The embedded build engine: file systems from layers, and what happens inside them.

pub mod allocator;
pub mod context;
pub mod emulate;
pub mod files;
pub mod root;
pub mod sandbox;
pub mod snapshot;
pub mod userns;

mod seccomp;

pub use root::Root;
