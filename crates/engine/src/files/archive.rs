//! Tells an archive by what is in it, and undoes its compression.
//!
//! The name of a file says nothing. What begins like gzip, bzip2, xz or zstd is
//! decompressed as that; it is an archive if a tar header comes first.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _};

use thiserror::Error;

use super::tar::Archive;

const BUFFER: usize = 256 * 1024;
/// A dictionary larger than this is not meant to be decompressed on a build machine.
const MAX_XZ_MEMORY_KIB: u32 = 1024 * 1024;

/// An archive is damaged, or has what cannot be unpacked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It cannot be read or decompressed.
    #[error("cannot read the archive")]
    Read(#[from] io::Error),
    /// A header makes no sense.
    #[error("the archive is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// An entry is of a kind that this tool does not know.
    #[error("`{path}` in the archive is of unknown kind `{kind}`")]
    Kind {
        /// The entry.
        path: String,
        /// Its type flag.
        kind: char,
    },
}

/// The tar in `file`, if there is one.
pub(super) fn open(mut file: File) -> Option<Archive<Box<dyn Read>>> {
    let again = file.try_clone().ok()?;
    let mut probe = Archive::new(decompress(again).ok()?);
    if !matches!(probe.next(), Ok(Some(_))) {
        return None;
    }
    // The two descriptors share one position.
    file.rewind().ok()?;
    decompress(file).ok().map(Archive::new)
}

fn decompress(file: File) -> io::Result<Box<dyn Read>> {
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let start = reader.fill_buf()?;
    let is_zstd = start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || start.len() >= 8 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18];
    Ok(if start.starts_with(&[0x1f, 0x8b, 0x08]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(reader))
    } else if start.starts_with(b"BZh") {
        Box::new(bzip2::bufread::MultiBzDecoder::new(reader))
    } else if start.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        Box::new(lzma_rust2::XzReader::new_mem_limit(reader, true, MAX_XZ_MEMORY_KIB))
    } else if is_zstd {
        Box::new(zstd::stream::read::Decoder::with_buffer(reader)?)
    } else {
        Box::new(reader)
    })
}
