//! Unpacking a layer's tar into a directory in overlayfs's upper format.
//!
//! | in the tar | in the directory |
//! |---|---|
//! | a file, directory, link, device | the same, with owner, mode, times, attributes |
//! | `.wh.NAME` | a character device 0:0 called `NAME`: the layers below lose it |
//! | `.wh..wh..opq` | its directory is marked opaque: nothing below shows through |
//! | a directory that is only implied | the one below, or root's with mode 0755 |
//! | a hard link to a file below | a copy of that file, and the link |
//!
//! Whiteouts act on what is below, never on entries of the same layer, in whatever order
//! they come. With nothing below there is nothing to hide, and none are made.
//!
//! An archive is not trusted. Names are resolved inside the directory as they would be in
//! a container that has it as its root; `..` is refused. Nothing outside is read, written
//! or linked to. How many entries and bytes it may have is the caller's to say.

mod tree;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;
use thiserror::Error;

pub(super) use self::tree::is_whiteout;
use self::tree::{Attributes, Tree};
use super::tar::{Entry, EntryKind, TarError, TarReader, text};
use crate::Root;
use crate::root::{RootError, kind_of};

/// What a layer may cost. Exceeding it is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of all files, holes included.
    pub bytes: u64,
    /// Bytes of one path.
    pub path: usize,
    /// Bytes of one extended attribute.
    pub xattr: usize,
}

impl Default for Limits {
    /// More than any real layer, less than a disk.
    fn default() -> Self {
        Self { entries: 10_000_000, bytes: 1 << 39, path: 4096, xattr: 1 << 16 }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Device nodes left out because a user namespace cannot have them.
    pub skipped_devices: u64,
}

/// A layer could not be unpacked. What there is of it is of no use.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// It is no tar.
    #[error("cannot read the layer's tar")]
    Tar(#[from] TarError),
    /// A name leads out of the layer.
    #[error("entry `{name}` leads out of the layer")]
    Escape {
        /// The entry.
        name: String,
    },
    /// A name that no file can have.
    #[error("entry `{name}` has a name that no file can have")]
    Name {
        /// The entry.
        name: String,
    },
    /// A whiteout of nothing.
    #[error("whiteout `{name}` names nothing that could be removed")]
    Whiteout {
        /// The entry.
        name: String,
    },
    /// A hard link to what is not there or cannot have two names.
    #[error("hard link `{name}` points to `{target}`, which is no file of the image")]
    LinkTarget {
        /// The entry.
        name: String,
        /// What it points to.
        target: String,
    },
    /// A device that overlayfs would take for a whiteout.
    #[error("entry `{name}` is the device 0:0, which marks removed files")]
    Device {
        /// The entry.
        name: String,
    },
    /// A device where there may be none.
    #[error("entry `{name}` is a device, and none may be there")]
    NoDevices {
        /// The entry.
        name: String,
    },
    /// An entry below something that is no directory.
    #[error("entry `{name}` is below something that is no directory")]
    NotADirectory {
        /// The entry.
        name: String,
    },
    /// The layer is larger than whoever unpacks it allows.
    #[error("entry `{name}` exceeds the limit of {limit} {what} for a layer")]
    Limit {
        /// The entry.
        name: String,
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The file system of the layers below cannot be read.
    #[error("cannot use the layers below")]
    Below(#[from] RootError),
    /// The operating system refused.
    #[error("cannot {doing} `{name}`")]
    Io {
        /// A verb phrase.
        doing: &'static str,
        /// The entry.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl ApplyError {
    fn io(doing: &'static str, name: &[u8]) -> impl FnOnce(Errno) -> Self {
        let name = text(name);
        move |error| Self::Io { doing, name, source: error.into() }
    }
}

/// Unpacks `tar` into the directory `layer`, which should be empty. `below` is the file
/// system of the layers under it; none for the lowest layer.
pub fn apply(
    tar: impl Read,
    layer: &Root,
    below: Option<&Root>,
    limits: &Limits,
) -> Result<Applied, ApplyError> {
    Unpacker::new(tar, Tree::new(layer, below)?, limits).unpack()
}

/// Unpacks what [`pack_folder`](super::pack_folder) wrote into `folder`, which should be empty.
/// No name means anything but itself there, and a device is an error.
pub fn unpack_folder(
    tar: impl Read,
    folder: &Root,
    limits: &Limits,
) -> Result<Applied, ApplyError> {
    let unpacker = Unpacker::new(tar, Tree::new(folder, None)?, limits);
    Unpacker { is_layer: false, ..unpacker }.unpack()
}

struct Unpacker<'a, R> {
    reader: TarReader<R>,
    tree: Tree<'a>,
    limits: &'a Limits,
    /// Whether some names are whiteouts.
    is_layer: bool,
    applied: Applied,
    buffer: Vec<u8>,
}

impl<'a, R: Read> Unpacker<'a, R> {
    fn new(tar: R, tree: Tree<'a>, limits: &'a Limits) -> Self {
        let (reader, buffer) = (TarReader::new(tar), vec![0; 1 << 17]);
        Self { reader, tree, limits, is_layer: true, applied: Applied::default(), buffer }
    }

    fn unpack(mut self) -> Result<Applied, ApplyError> {
        while let Some(entry) = self.reader.next_entry()? {
            self.entry(&entry)?;
        }
        self.tree.finish()?;
        Ok(self.applied)
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        self.count(entry)?;
        let path = clean(&entry.name, self.limits.path)?;
        let Some((parent, name)) = split(&path) else {
            // The root: its attributes are the container's, not a layer's.
            return Ok(());
        };
        self.tree.enter(parent, entry)?;
        if self.is_layer
            && let Some(hidden) = name.strip_prefix(b".wh.")
        {
            return self.whiteout(entry, parent, hidden);
        }
        let attributes = Attributes::of(entry);
        match &entry.kind {
            EntryKind::File => self.file(entry, name, &attributes),
            EntryKind::Directory => self.tree.directory(&path, &attributes, entry),
            EntryKind::Symlink { target } => {
                self.tree.symlink(name, target, entry)?;
                self.tree.set_node(name, &attributes, entry)
            }
            EntryKind::Link { target } => self.link(entry, parent, name, target),
            EntryKind::Fifo => self.node(entry, name, FileType::Fifo, (0, 0)),
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } if !self.is_layer => {
                Err(ApplyError::NoDevices { name: text(&entry.name) })
            }
            EntryKind::CharDevice { major: 0, minor: 0 } => {
                Err(ApplyError::Device { name: text(&entry.name) })
            }
            EntryKind::CharDevice { major, minor } => {
                self.node(entry, name, FileType::CharacterDevice, (*major, *minor))
            }
            EntryKind::BlockDevice { major, minor } => {
                self.node(entry, name, FileType::BlockDevice, (*major, *minor))
            }
        }
    }

    fn count(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        let limit = |what, limit| ApplyError::Limit { name: text(&entry.name), what, limit };
        self.applied.entries += 1;
        if self.applied.entries > self.limits.entries {
            return Err(limit("entries", self.limits.entries));
        }
        self.take_bytes(entry.size, entry)?;
        if entry.xattrs.iter().any(|(_, value)| value.len() > self.limits.xattr) {
            return Err(limit("bytes of an extended attribute", self.limits.xattr as u64));
        }
        Ok(())
    }

    fn take_bytes(&mut self, size: u64, entry: &Entry) -> Result<(), ApplyError> {
        self.applied.bytes = self.applied.bytes.saturating_add(size);
        if self.applied.bytes > self.limits.bytes {
            let (name, limit) = (text(&entry.name), self.limits.bytes);
            return Err(ApplyError::Limit { name, what: "bytes", limit });
        }
        Ok(())
    }

    fn whiteout(&mut self, entry: &Entry, parent: &[u8], hidden: &[u8]) -> Result<(), ApplyError> {
        if hidden == b".wh..opq" {
            return self.tree.hide_all(parent, entry);
        }
        if hidden.starts_with(b".wh.") {
            // What aufs kept for itself, in images from its time.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(ApplyError::Whiteout { name: text(&entry.name) });
        }
        self.tree.hide(hidden, entry)
    }

    fn file(
        &mut self,
        entry: &Entry,
        name: &[u8],
        attributes: &Attributes,
    ) -> Result<(), ApplyError> {
        let file = self.tree.create(name, entry)?;
        copy(&mut self.reader, &file, &mut self.buffer, entry)?;
        self.tree.set_open(&file, attributes, entry)?;
        self.tree
            .set_times(&file, attributes)
            .map_err(ApplyError::io("set the time of", &entry.name))
    }

    fn node(
        &mut self,
        entry: &Entry,
        name: &[u8],
        kind: FileType,
        device: (u32, u32),
    ) -> Result<(), ApplyError> {
        if kind != FileType::Fifo && self.tree.userns() {
            self.applied.skipped_devices += 1;
            return Ok(());
        }
        self.tree.node(name, kind, device, entry)?;
        self.tree.set_node(name, &Attributes::of(entry), entry)
    }

    fn link(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: &[u8],
        target: &[u8],
    ) -> Result<(), ApplyError> {
        let no_target = || ApplyError::LinkTarget { name: text(&entry.name), target: text(target) };
        let path = clean(target, self.limits.path)
            .map_err(|_| ApplyError::Escape { name: text(&entry.name) })?;
        let (target_parent, target_name) = split(&path).ok_or_else(no_target)?;
        if (target_parent, target_name) == (parent, name) {
            return Ok(());
        }
        if let Some(dir) = self.tree.find(target_parent, target_name) {
            return self.tree.link(name, (&dir, target_name), entry);
        }
        let path = self.copy_up(entry, &path)?.ok_or_else(no_target)?;
        let (target_parent, target_name) = split(&path).ok_or_else(no_target)?;
        let dir = self.tree.find(target_parent, target_name).ok_or_else(no_target)?;
        self.tree.enter(parent, entry)?;
        self.tree.link(name, (&dir, target_name), entry)
    }

    /// Brings a file of the layers below into this one and says where it really is; none if
    /// there is no such file.
    fn copy_up(&mut self, entry: &Entry, path: &[u8]) -> Result<Option<Vec<u8>>, ApplyError> {
        let Some(below) = self.tree.below() else {
            return Ok(None);
        };
        let real = below.resolve_parent(Path::new(OsStr::from_bytes(path)))?;
        let Some(stat) = below.try_stat(&real, false)? else {
            return Ok(None);
        };
        let path = real.as_os_str().as_bytes().strip_prefix(b"/").unwrap_or_default();
        let Some((parent, name)) = split(path) else {
            return Ok(None);
        };
        match kind_of(&stat) {
            FileType::Symlink => {
                let target = below.readlink(&real)?;
                self.tree.enter(parent, entry)?;
                self.tree.symlink(name, target.as_os_str().as_bytes(), entry)?;
                let attributes = Attributes::from_stat(&stat);
                self.tree.set_node(name, &attributes, entry)?;
            }
            FileType::RegularFile => {
                let mut source = below.open_read(&real)?;
                let attributes = Attributes::from_open(&source)
                    .map_err(ApplyError::io("read attributes of", path))?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.take_bytes(size, entry)?;
                self.tree.enter(parent, entry)?;
                let file = self.tree.create(name, entry)?;
                copy(&mut source, &file, &mut self.buffer, entry)?;
                self.tree.set_open(&file, &attributes, entry)?;
                self.tree
                    .set_times(&file, &attributes)
                    .map_err(ApplyError::io("set the time of", path))?;
            }
            _ => return Ok(None),
        }
        Ok(Some(path.to_vec()))
    }
}

/// Copies the rest of `source` into `file`.
fn copy(
    source: &mut impl Read,
    file: &rustix::fd::OwnedFd,
    buffer: &mut [u8],
    entry: &Entry,
) -> Result<(), ApplyError> {
    loop {
        let read = match source.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(TarError::Read(error).into()),
        };
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            match rustix::io::write(file, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(ApplyError::io("write", &entry.name)(error)),
            }
        }
    }
}

/// The path without what means nothing: slashes in front, behind and doubled, and dots.
/// `..` is refused even where it would lead nowhere, because no honest archive has it.
fn clean(name: &[u8], limit: usize) -> Result<Vec<u8>, ApplyError> {
    if name.len() > limit {
        let (name, limit) = (text(&name[..name.len().min(200)]), limit as u64);
        return Err(ApplyError::Limit { name, what: "bytes of a path", limit });
    }
    let mut clean = Vec::with_capacity(name.len());
    for part in name.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(ApplyError::Escape { name: text(name) }),
            _ if part.len() > 255 || part.contains(&0) => {
                return Err(ApplyError::Name { name: text(name) });
            }
            _ => {}
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(part);
    }
    Ok(clean)
}

/// Parent and last name of a clean path; none for the root.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    })
}
