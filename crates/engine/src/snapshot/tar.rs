//! The tar format as layers use it: POSIX with PAX records, read leniently and written in
//! exactly one way.
//!
//! [`TarReader`] also reads what other programs write: v7 and GNU archives, GNU long names and
//! sparse files (expanded). Headers are bounded in memory whatever the archive says.
//! [`TarWriter`] is deterministic: the same entries give the same bytes, always.

mod read;
mod sparse;
mod write;

use thiserror::Error;

pub use read::TarReader;
pub use write::TarWriter;

/// Everything in a tar comes in blocks of this many bytes.
pub(crate) const BLOCK: usize = 512;

/// Longest extended header that is read: names, links and attributes of one entry.
pub(crate) const MAX_EXTENDED: u64 = 1 << 20;

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as it is in the archive.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, 12 of them.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds on top of `mtime`.
    pub mtime_nanos: u32,
    /// Length of the content; 0 for what has none.
    pub size: u64,
    /// Extended attributes, in the archive's order.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// Another name of an earlier entry.
    Link {
        /// That entry's name.
        target: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: Vec<u8>,
    },
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// The bytes are no tar that can be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TarError {
    /// The source of the bytes failed.
    #[error("cannot read the archive")]
    Read(#[from] std::io::Error),
    /// The archive ends in the middle.
    #[error("the archive ends in the middle of an entry")]
    Truncated,
    /// A header's checksum is wrong: this is no tar, or it is damaged.
    #[error("the header at byte {offset} has a wrong checksum")]
    Checksum {
        /// Where the header is.
        offset: u64,
    },
    /// A field of a header makes no sense.
    #[error("the header of `{name}` has a bad {field}")]
    Field {
        /// The entry.
        name: String,
        /// The field.
        field: &'static str,
    },
    /// An extended header is longer than anybody needs.
    #[error("an extended header of {size} bytes is longer than {MAX_EXTENDED}")]
    LongHeader {
        /// Its length.
        size: u64,
    },
    /// An entry is of a kind that layers do not have.
    #[error("entry `{name}` has the unknown type `{}`", char::from(*flag))]
    Kind {
        /// The entry.
        name: String,
        /// Its type flag.
        flag: u8,
    },
}

/// Bytes of an archive for people.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that follow content of `size` up to the next block.
pub(crate) fn padding(size: u64) -> usize {
    let rest = (size % BLOCK as u64) as usize;
    if rest == 0 { 0 } else { BLOCK - rest }
}
