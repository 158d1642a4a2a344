//! Layers as directories, tars and mounts, held against each other.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod hostile;
mod layers;
mod mounted;
mod random;
mod stored;
mod tree;
