//! Something to read files from: a context, or the root of a file system.
//!
//! A [`Tree`] answers by canonical path only: no link is followed on the way. Links are
//! resolved here, name by name, so that a context shows what its ignore patterns leave
//! of it and a mounted root never leads out of itself. Only regular files are opened.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;
use thiserror::Error;

use super::entry::{Entry, Meta, join, shown, split};
use super::owner::Owners;
use crate::Root;
use crate::context::Context;

const MAX_LINKS: u32 = 255;
const LISTING_BUFFER: usize = 32 * 1024;

/// Files to read.
#[derive(Debug, Clone)]
pub enum Tree {
    /// Nothing: what `FROM scratch` starts with.
    Empty,
    /// A folder of this machine, seen through ignore patterns; everything is root's.
    Context(Arc<Context>),
    /// A file system.
    Root(Arc<Mounted>),
}

/// A file system that is mounted somewhere, and how its owners are recorded.
#[derive(Debug)]
pub struct Mounted {
    root: Root,
    owners: Owners,
}

/// A tree could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// Nothing is at the path.
    #[error("{path:?}: not found")]
    NotFound {
        /// As it was asked for.
        path: String,
    },
    /// Links that lead to each other.
    #[error("cannot follow `{path}`: too many links")]
    Links {
        /// As it was asked for.
        path: String,
    },
    /// The system refused.
    #[error("cannot {doing} `{path}`")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what, in the tree.
        path: String,
        /// The system's words.
        source: io::Error,
    },
}

impl TreeError {
    pub(crate) fn io(doing: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: shown(path), source: source.into() }
    }
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Without links on the way.
    pub(crate) path: Vec<u8>,
    /// What is there.
    pub(crate) entry: Option<Entry>,
}

impl Mounted {
    /// The descriptor that paths are relative to.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
        let found = if let Some((parent, name)) = split(path) {
            open_beneath(self.fd(), parent, OFlags::PATH | OFlags::DIRECTORY)
                .and_then(|dir| self.entry(dir, name))
        } else {
            self.entry(self.fd(), b"")
        };
        match found {
            Ok(entry) => Ok(Some(entry)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(TreeError::io("look at", path, errno)),
        }
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Entry>, Errno> {
        let dir = open_beneath(self.fd(), path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for name in names(&dir)? {
            match self.entry(&dir, &name) {
                Ok(entry) => entries.push(entry),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn entry(&self, dir: impl AsFd, name: &[u8]) -> Result<Entry, Errno> {
        let mut entry = Entry::at(&dir, name)?;
        if let Some((uid, gid)) = self.owners.recorded(&proc_path(&dir, name), &entry.meta) {
            (entry.meta.uid, entry.meta.gid) = (uid, gid);
        }
        Ok(entry)
    }
}

impl Tree {
    /// The tree below `root`. Owners that this user namespace cannot express are read
    /// from where [`super::run`] recorded them.
    pub fn mounted(root: Root) -> Self {
        Self::Root(Arc::new(Mounted { root, owners: Owners::detect() }))
    }

    /// What is at the canonical `path`.
    pub(crate) fn lookup(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
        match self {
            Self::Empty => Ok(None),
            Self::Context(context) => Ok(context.lookup(path)),
            Self::Root(mounted) => mounted.lookup(path),
        }
    }

    /// What the directory at the canonical `path` holds, sorted by the names' bytes.
    pub(crate) fn list(&self, path: &[u8]) -> Result<Vec<Entry>, TreeError> {
        match self {
            Self::Empty => Ok(Vec::new()),
            Self::Context(context) => Ok(context.list(path)),
            Self::Root(mounted) => {
                mounted.list(path).map_err(|errno| TreeError::io("list", path, errno))
            }
        }
    }

    /// Opens the regular file at the canonical `path` and says what was opened.
    pub(crate) fn open(&self, path: &[u8]) -> Result<(File, Meta), TreeError> {
        let fd = self.fd().ok_or_else(|| TreeError::NotFound { path: shown(path) })?;
        // A file that became a pipe since it was listed must not hold the build up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = || -> Result<_, Errno> {
            let file = open_beneath(fd, path, flags)?;
            let meta = Meta::at(&file, b"")?;
            if meta.is_file() { Ok((File::from(file), meta)) } else { Err(Errno::INVAL) }
        };
        open().map_err(|errno| match errno {
            Errno::NOENT => TreeError::NotFound { path: shown(path) },
            _ => TreeError::io("open", path, errno),
        })
    }

    /// The descriptor that paths are relative to; none if there is nothing to read.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Empty => None,
            Self::Context(context) => Some(context.fd()),
            Self::Root(mounted) => Some(mounted.fd()),
        }
    }

    /// Follows the links on the way to `path`, and one at its end if `follow_last`, as a
    /// process would whose root is this tree. Names that are missing stay as they are.
    pub(crate) fn resolve(&self, path: &[u8], follow_last: bool) -> Result<Resolved, TreeError> {
        resolve(|path| self.lookup(path), path, follow_last)
    }
}

/// [`Tree::resolve`], wherever things are looked up.
pub(crate) fn resolve(
    lookup: impl Fn(&[u8]) -> Result<Option<Entry>, TreeError>,
    path: &[u8],
    follow_last: bool,
) -> Result<Resolved, TreeError> {
    let mut done = Vec::new();
    let mut entry = None;
    let mut todo = reversed(path);
    let mut followed = 0;
    if todo.is_empty() {
        entry = lookup(b"")?;
    }
    while let Some(name) = todo.pop() {
        if name == b".." {
            let parent = split(&done).map_or(0, |(parent, _)| parent.len());
            done.truncate(parent);
            entry = if todo.is_empty() { lookup(&done)? } else { None };
            continue;
        }
        let next = join(&done, &name);
        entry = lookup(&next)?;
        let target = entry.as_ref().and_then(|found| found.link.clone());
        let Some(target) = target.filter(|_| follow_last || !todo.is_empty()) else {
            done = next;
            continue;
        };
        followed += 1;
        if followed > MAX_LINKS {
            return Err(TreeError::Links { path: shown(path) });
        }
        if target.starts_with(b"/") {
            done.clear();
        }
        todo.extend(reversed(&target));
        if todo.is_empty() {
            entry = lookup(&done)?;
        }
    }
    Ok(Resolved { path: done, entry })
}

/// Opens what is at `path` below `dir`, which has no link on the way; `path` may be empty.
pub(crate) fn open_beneath(dir: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    loop {
        match rustix::fs::openat2(&dir, path, flags, Mode::empty(), resolve) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            result => return result,
        }
    }
}

/// The names in a directory, without `.` and `..`, in no order.
fn names(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    each_name(dir, |name, _| names.push(name.to_vec()))?;
    Ok(names)
}

/// Calls `visit` with every name in a directory but `.` and `..`, and what it seems to be.
pub(crate) fn each_name(
    dir: &OwnedFd,
    mut visit: impl FnMut(&[u8], FileType),
) -> Result<(), Errno> {
    let mut buffer = Vec::with_capacity(LISTING_BUFFER);
    let mut listing = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(item) = listing.next() {
        let item = item?;
        let name = item.file_name().to_bytes();
        if name != b"." && name != b".." {
            visit(name, item.file_type());
        }
    }
    Ok(())
}

/// A path by which calls that know no directory descriptors reach `name` in `dir`.
pub(crate) fn proc_path(dir: impl AsFd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(if name.is_empty() { b"." } else { name });
    path
}

fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&b| b == b'/')
        .rev()
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
        .collect()
}
