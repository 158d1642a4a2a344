//! File systems made of layers, and layers made of files.
//!
//! A layer is a directory in overlayfs's upper format: what it adds and changes, a
//! character device 0:0 for what it removes, and a mark on directories that hide what is
//! below them. [`Overlay`] stacks layers into a file system.

pub mod tar;

mod apply;
mod attributes;
mod compress;
mod decompress;
mod diff;
mod export;
mod overlay;
mod unpack;

pub use apply::{Applied, ApplyError, Limits, apply, unpack_folder};
pub use compress::{LayerWriter, LevelError, Packed, Packing};
pub use decompress::{TooMuchError, decompress, detect};
pub use diff::{DiffError, DiffOptions, Diffed, pack_folder, write_layer, write_trees};
pub use export::{ExportError, ExportOptions, digest_layer, export_layer, layer_media_type};
pub use overlay::{MountError, MountOptions, Overlay};
pub use unpack::{
    ALONE, PackedLayer, UnpackError, base_layer, directories, unpack_image, unpack_layers,
    unpack_rootfs_tar,
};
