//! Where files are put: by canonical path, one call for each thing that is done.
//!
//! [`Disk`] does it at once, in a root. [`Listing`] only notes what would be there, for a layer
//! that is written straight into its archive, and refuses what it cannot note.

mod disk;
mod listing;

use std::fs::File;

use rustix::fs::FileType;

use super::entry::{Meta, Stamp};
use super::tree::{Resolved, Tree, TreeError};
use super::xattr::Xattr;
use crate::Root;

pub(crate) use disk::Disk;
pub use listing::{Listing, ListingError};

/// A file system that is changed.
pub(crate) trait Target {
    /// The same, to read.
    fn tree(&self) -> Result<Tree, TreeError>;
    /// Follows links, as [`Tree::resolve`] does.
    fn resolve(&self, path: &[u8], follow_last: bool) -> Result<Resolved, TreeError>;
    /// What is at `path`, a link itself.
    fn lookup(&self, path: &[u8]) -> Result<Option<Meta>, TreeError>;
    /// Makes a directory where nothing is.
    fn make_dir(&self, path: &[u8], mode: u32) -> Result<(), TreeError>;
    /// Makes a file of what is at `src` of `source` where nothing is, if that can be done
    /// without its data; false if they are to be written.
    fn refer(&self, source: &Tree, src: &[u8], meta: &Meta, path: &[u8])
    -> Result<bool, TreeError>;
    /// Creates a regular file that does not exist yet.
    fn create(&self, path: &[u8]) -> Result<File, TreeError>;
    /// Empties the regular file at `path`, to write it anew.
    fn truncate(&self, path: &[u8]) -> Result<File, TreeError>;
    /// Makes a symbolic link where nothing is.
    fn make_link(&self, path: &[u8], text: &[u8]) -> Result<(), TreeError>;
    /// Gives the file at `from` another name.
    fn hard_link(&self, from: &[u8], path: &[u8]) -> Result<(), TreeError>;
    /// Makes a pipe or a device where nothing is.
    fn make_node(&self, path: &[u8], kind: FileType, rdev: (u32, u32)) -> Result<(), TreeError>;
    /// Removes what is no directory.
    fn remove_file(&self, path: &[u8]) -> Result<(), TreeError>;
    /// Removes whatever is at `path`, with all below it.
    fn remove_all(&self, path: &[u8], meta: &Meta) -> Result<(), TreeError>;
    /// Gives what is at `path` an owner, or records the owner if that cannot be.
    fn set_owner(&self, path: &[u8], owner: (u32, u32)) -> Result<(), TreeError>;
    /// Gives what is at `path`, which is no link, permission bits.
    fn set_mode(&self, path: &[u8], mode: u32) -> Result<(), TreeError>;
    /// Gives what is at `path` a time.
    fn set_time(&self, path: &[u8], mtime: Stamp) -> Result<(), TreeError>;
    /// Sets attributes. One that is not taken is counted, not an error: what it says is
    /// for a file system that takes it.
    fn set_xattrs(&self, path: &[u8], xattrs: &[Xattr]) -> Result<(), TreeError>;
    /// The directory `path` as a root of its own.
    fn subroot(&self, path: &[u8]) -> Result<Root, TreeError>;
    /// Whether this process may make devices: only real root may.
    fn can_make_devices(&self) -> bool;
}
