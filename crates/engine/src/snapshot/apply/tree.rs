//! The directory that a layer is unpacked into.
//!
//! Works in one directory at a time: [`Tree::enter`] opens it, makes it if it is only
//! implied, and keeps it open, because archives list a directory's files in a row. Every
//! other call names something in the directory that was entered last.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::super::attributes::{self, Xattr};
use super::super::tar::{Entry, text};
use super::ApplyError;
use crate::Root;
use crate::root::kind_of;

const NO_FOLLOW: AtFlags = AtFlags::SYMLINK_NOFOLLOW;

/// What is set on a file after its content.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: (i64, u32),
    xattrs: Vec<Xattr>,
}

impl Attributes {
    /// Those in the archive. An owner that Linux cannot have becomes nobody.
    pub(super) fn of(entry: &Entry) -> Self {
        let id = |id: u64| u32::try_from(id).ok().filter(|&id| id != u32::MAX).unwrap_or(65534);
        Self {
            uid: id(entry.uid),
            gid: id(entry.gid),
            mode: entry.mode,
            mtime: (entry.mtime, entry.mtime_nanos),
            xattrs: entry.xattrs.clone(),
        }
    }

    pub(super) fn from_stat(stat: &Stat) -> Self {
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Self {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            mtime: (stat.st_mtime, nanos),
            xattrs: Vec::new(),
        }
    }

    /// Those of an open file or directory of another layer.
    pub(super) fn from_open(file: impl AsFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(&file)?;
        let (uid, gid) = attributes::owner(&file, &stat)?;
        let xattrs = attributes::portable(&file)?;
        Ok(Self { uid, gid, xattrs, ..Self::from_stat(&stat) })
    }

    fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.mtime.0, tv_nsec: self.mtime.1.into() };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// An open directory of the layer.
#[derive(Debug)]
struct Place {
    /// As the archive calls it.
    key: Vec<u8>,
    /// Where it really is: no component is a link.
    path: Vec<u8>,
    dir: OwnedFd,
}

#[derive(Debug)]
pub(super) struct Tree<'a> {
    layer: &'a Root,
    below: Option<&'a Root>,
    userns: bool,
    opaque: String,
    here: Place,
    /// Directories and the times they get at the end, when nothing is put into them.
    times: BTreeMap<Vec<u8>, (i64, u32)>,
    /// The whole layer hides what is below.
    hides_all: bool,
}

impl<'a> Tree<'a> {
    pub(super) fn new(layer: &'a Root, below: Option<&'a Root>) -> Result<Self, ApplyError> {
        let userns = attributes::in_user_namespace();
        let dir = layer.open_subdir("/")?;
        Ok(Self {
            layer,
            below,
            userns,
            opaque: format!("{}opaque", attributes::overlay_prefix(userns)),
            here: Place { key: Vec::new(), path: Vec::new(), dir },
            times: BTreeMap::new(),
            hides_all: false,
        })
    }

    pub(super) fn userns(&self) -> bool {
        self.userns
    }

    pub(super) fn below(&self) -> Option<&'a Root> {
        self.below
    }

    /// Goes to the directory `key`, a clean path. What is missing of it is made.
    pub(super) fn enter(&mut self, key: &[u8], entry: &Entry) -> Result<(), ApplyError> {
        if self.here.key == key {
            return Ok(());
        }
        if let Ok(dir) = self.open_real(key) {
            self.here = Place { key: key.to_vec(), path: key.to_vec(), dir };
            return Ok(());
        }
        // Something is missing, or a link is on the way.
        let failed = |e: crate::root::RootError| ApplyError::Io {
            doing: "find the directory of",
            name: text(&entry.name),
            source: e.source,
        };
        let real = self.layer.resolve(host(key)).map_err(failed)?;
        let path = real.as_os_str().as_bytes().strip_prefix(b"/").unwrap_or_default().to_vec();
        let mut dir = self.layer.open_subdir("/").map_err(failed)?;
        let mut done = Vec::with_capacity(path.len());
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            if !done.is_empty() {
                done.push(b'/');
            }
            done.extend_from_slice(name);
            dir = self.enter_one(&dir, name, &done, entry)?;
        }
        self.here = Place { key: key.to_vec(), path, dir };
        Ok(())
    }

    /// Opens `name` in `dir`; makes it if it is missing or was hidden.
    fn enter_one(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<OwnedFd, ApplyError> {
        let failed = |e| ApplyError::io("make the directory of", &entry.name)(e);
        match open_dir(dir, name) {
            Ok(next) => return Ok(next),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let stat = rustix::fs::statat(dir, name, NO_FOLLOW).map_err(failed)?;
                if !is_whiteout(&stat) {
                    return Err(ApplyError::NotADirectory { name: text(&entry.name) });
                }
                rustix::fs::unlinkat(dir, name, AtFlags::empty()).map_err(failed)?;
                let made = self.implied(dir, name, path, entry)?;
                self.mark_opaque(&made, entry)?;
                return Ok(made);
            }
            Err(error) => return Err(failed(error)),
        }
        self.implied(dir, name, path, entry)
    }

    /// Makes a directory that the archive does not list: as it is below, else root's.
    fn implied(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<OwnedFd, ApplyError> {
        let failed = |e| ApplyError::io("make the directory of", &entry.name)(e);
        rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
        let made = open_dir(dir, name).map_err(failed)?;
        let known = match self.below.map(|below| below.open_subdir(host(path))) {
            Some(Ok(known)) => Some(Attributes::from_open(known).map_err(failed)?),
            Some(Err(error)) if !error.is_missing() => return Err(error.into()),
            _ => None,
        };
        let attributes = known.unwrap_or_else(|| Attributes {
            uid: 0,
            gid: 0,
            mode: 0o755,
            mtime: (entry.mtime, entry.mtime_nanos),
            xattrs: Vec::new(),
        });
        self.set_open(&made, &attributes, entry)?;
        self.times.insert(path.to_vec(), attributes.mtime);
        Ok(made)
    }

    /// Makes the directory `path`, whose parent was entered, or merges with one that is there.
    pub(super) fn directory(
        &mut self,
        key: &[u8],
        attributes: &Attributes,
        entry: &Entry,
    ) -> Result<(), ApplyError> {
        let failed = |e| ApplyError::io("make directory", &entry.name)(e);
        let name = key.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
        let mode = Mode::from_raw_mode(0o700);
        let mut replaced = false;
        match rustix::fs::mkdirat(&self.here.dir, name.as_slice(), mode) {
            Err(Errno::EXIST) => {
                let stat = self.stat(&name).map_err(failed)?;
                if kind_of(&stat) != FileType::Directory {
                    replaced = true;
                    self.remove(&name, entry)?;
                    rustix::fs::mkdirat(&self.here.dir, name.as_slice(), mode).map_err(failed)?;
                }
            }
            result => result.map_err(failed)?,
        }
        let dir = open_dir(&self.here.dir, &name).map_err(failed)?;
        self.set_open(&dir, attributes, entry)?;
        if replaced {
            // What stood here hid the directory below; this one is not that one.
            self.mark_opaque(&dir, entry)?;
        }
        let path = join(&self.here.path, &name);
        self.times.insert(path.clone(), attributes.mtime);
        // Its files come next, in most archives.
        self.here = Place { key: key.to_vec(), path, dir };
        Ok(())
    }

    /// Creates the file `name` and opens it for writing.
    pub(super) fn create(&mut self, name: &[u8], entry: &Entry) -> Result<OwnedFd, ApplyError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.make(name, entry, |dir, name| {
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))
        })
    }

    pub(super) fn symlink(
        &mut self,
        name: &[u8],
        target: &[u8],
        entry: &Entry,
    ) -> Result<(), ApplyError> {
        self.make(name, entry, |dir, name| rustix::fs::symlinkat(target, dir, name))
    }

    /// Gives the file `target.1` in the directory `target.0` the name `name` too.
    pub(super) fn link(
        &mut self,
        name: &[u8],
        target: (&OwnedFd, &[u8]),
        entry: &Entry,
    ) -> Result<(), ApplyError> {
        self.make(name, entry, |dir, name| {
            rustix::fs::linkat(target.0, target.1, dir, name, AtFlags::empty())
        })
    }

    pub(super) fn node(
        &mut self,
        name: &[u8],
        kind: FileType,
        device: (u32, u32),
        entry: &Entry,
    ) -> Result<(), ApplyError> {
        let device = rustix::fs::makedev(device.0, device.1);
        let mode = Mode::from_raw_mode(0o600);
        self.make(name, entry, |dir, name| rustix::fs::mknodat(dir, name, kind, mode, device))
    }

    /// Makes something called `name`; what had that name goes away.
    fn make<T>(
        &mut self,
        name: &[u8],
        entry: &Entry,
        make: impl Fn(&OwnedFd, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, ApplyError> {
        match make(&self.here.dir, name) {
            Err(Errno::EXIST) => {}
            result => return result.map_err(ApplyError::io("create", &entry.name)),
        }
        self.remove(name, entry)?;
        make(&self.here.dir, name).map_err(ApplyError::io("create", &entry.name))
    }

    fn stat(&self, name: &[u8]) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.here.dir, name, NO_FOLLOW)
    }

    fn remove(&mut self, name: &[u8], entry: &Entry) -> Result<(), ApplyError> {
        remove(&self.here.dir, name).map_err(ApplyError::io("replace", &entry.name))
    }

    /// The directory `parent`, if it has a file `name` that can have another name.
    pub(super) fn find(&self, parent: &[u8], name: &[u8]) -> Option<OwnedFd> {
        let dir = self.layer.open_subdir(host(parent)).ok()?;
        let stat = rustix::fs::statat(&dir, name, NO_FOLLOW).ok()?;
        let linkable = kind_of(&stat) != FileType::Directory && !is_whiteout(&stat);
        linkable.then_some(dir)
    }

    /// Hides what is called `name` below.
    pub(super) fn hide(&mut self, name: &[u8], entry: &Entry) -> Result<(), ApplyError> {
        if self.below.is_none() {
            return Ok(());
        }
        let failed = |e| ApplyError::io("make whiteout", &entry.name)(e);
        match whiteout(&self.here.dir, name) {
            Err(Errno::EXIST) => {
                // This layer has it too, and that one stays. A directory must not merge.
                if let Ok(dir) = open_dir(&self.here.dir, name) {
                    self.mark_opaque(&dir, entry)?;
                }
                Ok(())
            }
            result => result.map_err(failed),
        }
    }

    /// Hides all that is below the directory `parent`, which was entered.
    pub(super) fn hide_all(&mut self, parent: &[u8], entry: &Entry) -> Result<(), ApplyError> {
        if parent.is_empty() {
            // Overlayfs does not look for the mark on the root of a layer.
            self.hides_all = true;
            return Ok(());
        }
        self.mark_opaque(&self.here.dir, entry)
    }

    fn mark_opaque(&self, dir: impl AsFd, entry: &Entry) -> Result<(), ApplyError> {
        if self.below.is_none() {
            return Ok(());
        }
        rustix::fs::fsetxattr(dir, &*self.opaque, b"y", XattrFlags::empty())
            .map_err(ApplyError::io("mark as opaque the directory of", &entry.name))
    }

    /// Owner, attributes and mode of an open file, in the order in which none undoes another.
    pub(super) fn set_open(
        &self,
        file: impl AsFd,
        attributes: &Attributes,
        entry: &Entry,
    ) -> Result<(), ApplyError> {
        attributes::set_owner(&file, attributes.uid, attributes.gid, self.userns)
            .map_err(ApplyError::io("set the owner of", &entry.name))?;
        let portable = attributes.xattrs.iter().filter(|(name, _)| attributes::is_portable(name));
        for (name, value) in portable {
            let set = rustix::fs::fsetxattr(&file, name.as_slice(), value, XattrFlags::empty());
            match set {
                Ok(()) | Err(Errno::NOTSUP) => {}
                Err(Errno::PERM) if self.userns => {}
                Err(e) => return Err(ApplyError::io("set an attribute of", &entry.name)(e)),
            }
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode))
            .map_err(ApplyError::io("set the mode of", &entry.name))
    }

    pub(super) fn set_times(&self, file: impl AsFd, attributes: &Attributes) -> Result<(), Errno> {
        rustix::fs::futimens(file, &attributes.times())
    }

    /// Owner, mode and times of what cannot be opened: links, pipes, devices.
    pub(super) fn set_node(
        &self,
        name: &[u8],
        attributes: &Attributes,
        entry: &Entry,
    ) -> Result<(), ApplyError> {
        let dir = &self.here.dir;
        let owner = (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)));
        match rustix::fs::chownat(dir, name, owner.0, owner.1, NO_FOLLOW) {
            // There is no place to remember it: only files and directories have attributes.
            Err(Errno::INVAL | Errno::PERM) if self.userns => {}
            result => result.map_err(ApplyError::io("set the owner of", &entry.name))?,
        }
        let stat = self.stat(name).map_err(ApplyError::io("look at", &entry.name))?;
        if kind_of(&stat) != FileType::Symlink {
            let mode = Mode::from_raw_mode(attributes.mode);
            rustix::fs::chmodat(dir, name, mode, AtFlags::empty())
                .map_err(ApplyError::io("set the mode of", &entry.name))?;
        }
        rustix::fs::utimensat(dir, name, &attributes.times(), NO_FOLLOW)
            .map_err(ApplyError::io("set the time of", &entry.name))
    }

    /// Does what had to wait until everything is in place.
    pub(super) fn finish(&mut self) -> Result<(), ApplyError> {
        if self.hides_all {
            self.hide_root()?;
        }
        for (path, mtime) in &self.times {
            // A later entry may have replaced the directory.
            let Ok(dir) = self.open_real(path) else { continue };
            let time = Timespec { tv_sec: mtime.0, tv_nsec: mtime.1.into() };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::futimens(&dir, &times).map_err(ApplyError::io("set the time of", path))?;
        }
        Ok(())
    }

    fn hide_root(&self) -> Result<(), ApplyError> {
        let Some(below) = self.below else {
            return Ok(());
        };
        let root = self.layer.open_subdir("/")?;
        for hidden in below.read_dir("/")? {
            let name = hidden.name.as_bytes();
            let failed = |e| ApplyError::io("hide", name)(e);
            match whiteout(&root, name) {
                Err(Errno::EXIST) => {
                    let Ok(dir) = open_dir(&root, name) else { continue };
                    rustix::fs::fsetxattr(dir, &*self.opaque, b"y", XattrFlags::empty())
                        .map_err(failed)?;
                }
                result => result.map_err(failed)?,
            }
        }
        Ok(())
    }

    /// Opens a directory of the layer if no component of `path` is a link.
    fn open_real(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = rustix::fs::ResolveFlags::BENEATH | rustix::fs::ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(self.layer, path, flags, Mode::empty(), resolve)
    }
}

fn host(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

fn open_dir(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

fn whiteout(dir: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    rustix::fs::mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
}

/// Whether overlayfs takes it for a removed name.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    kind_of(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Removes whatever is called `name`, with all that is in it.
fn remove(dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        result => return result,
    }
    let inner = open_dir(dir, name)?;
    for entry in crate::root::list(inner.try_clone().map_err(|_| Errno::MFILE)?)? {
        remove(&inner, entry.name.as_bytes())?;
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}
