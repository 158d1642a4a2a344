//! What stands at a path: the facts that a copy keeps and a content key covers.
//!
//! Paths here are bytes, relative to a root and without a leading slash: the root is the
//! empty path. Only [`shown`] makes text of them, for people and for patterns.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags};
use rustix::io::Errno;

/// A moment, as file systems record it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) secs: i64,
    pub(crate) nanos: u32,
}

/// What is known of a path without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) kind: FileType,
    /// Permission, set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) links: u32,
    pub(crate) ino: u64,
    pub(crate) dev: (u32, u32),
    pub(crate) rdev: (u32, u32),
    pub(crate) mtime: Stamp,
    pub(crate) ctime: Stamp,
}

/// A path's last name, what is there, and where it points if it is a link.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) meta: Meta,
    pub(crate) link: Option<Vec<u8>>,
}

impl Meta {
    pub(crate) fn of(stat: &Statx) -> Self {
        let stamp = |t: &rustix::fs::StatxTimestamp| Stamp { secs: t.tv_sec, nanos: t.tv_nsec };
        Self {
            kind: FileType::from_raw_mode(stat.stx_mode.into()),
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            size: stat.stx_size,
            links: stat.stx_nlink,
            ino: stat.stx_ino,
            dev: (stat.stx_dev_major, stat.stx_dev_minor),
            rdev: (stat.stx_rdev_major, stat.stx_rdev_minor),
            mtime: stamp(&stat.stx_mtime),
            ctime: stamp(&stat.stx_ctime),
        }
    }

    /// What `name` in `dir` is, a link itself; `name` may be empty for `dir`.
    pub(crate) fn at(dir: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS).map(|stat| Self::of(&stat))
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    pub(crate) fn is_link(&self) -> bool {
        self.kind == FileType::Symlink
    }

    /// Whether the two were taken of the same, unchanged file.
    pub(crate) fn same_version(&self, other: &Self) -> bool {
        (self.size, self.mtime, self.ctime, self.ino, self.dev)
            == (other.size, other.mtime, other.ctime, other.ino, other.dev)
    }
}

impl Entry {
    /// Reads `name` in `dir`, and its text if it is a link.
    pub(crate) fn at(dir: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        let meta = Meta::at(&dir, name)?;
        let link = if meta.is_link() {
            Some(rustix::fs::readlinkat(&dir, name, Vec::new())?.into_bytes())
        } else {
            None
        };
        Ok(Self { name: name.to_vec(), meta, link })
    }
}

/// `name` in `path`.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(path.len() + name.len() + 1);
    joined.extend_from_slice(path);
    if !path.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

/// The path's parent and last name; none for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(
        path.iter()
            .rposition(|&b| b == b'/')
            .map_or((&[][..], path), |slash| (&path[..slash], &path[slash + 1..])),
    )
}

/// `path` with `.`, `..` and needless slashes worked out by its text alone; a `..` stops
/// at the root.
pub(crate) fn clean(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|&b| b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            _ => names.push(name),
        }
    }
    names.join(&b'/')
}

/// The path as text, with a leading slash.
pub(crate) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cleaned_by_its_text_and_never_leaves_the_root() {
        let cases = [
            ("/", ""),
            ("/a//b/./c/", "a/b/c"),
            ("../../a", "a"),
            ("/a/../../b", "b"),
            ("a/b/..", "a"),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn a_path_splits_into_parent_and_name() {
        assert_eq!(split(b""), None);
        assert_eq!(split(b"a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split(b"a/b/c"), Some((&b"a/b"[..], &b"c"[..])));
    }
}
