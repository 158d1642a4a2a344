//! File systems made of layers, and layers made of files.
//!
//! A layer is a directory in overlayfs's upper format: what it adds and changes, a
//! character device 0:0 for what it removes, and a mark on directories that hide what is
//! below them. [`Overlay`] stacks layers into a file system.

mod attributes;
mod overlay;

pub use overlay::{MountError, MountOptions, Overlay};
