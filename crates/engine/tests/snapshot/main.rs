//! Layers as directories, tars and mounts, held against each other.

mod hostile;
mod layers;
mod mounted;
mod random;
mod stored;
mod tree;
