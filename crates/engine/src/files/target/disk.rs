//! Writing into a root: one call each, by canonical path, never through a link.
//!
//! The directory of the last path is kept open, so that a run of files in one directory
//! costs one resolution. Owners, bits and times are set in an order in which none undoes
//! another: `chown` clears set-id bits and capabilities, so it comes first.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::rc::Rc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::Target;
use crate::Root;
use crate::files::entry::{Meta, Stamp, join, split};
use crate::files::owner::Owners;
use crate::files::tree::{Resolved, Tree, TreeError, each_name, open_beneath, proc_path};
use crate::files::xattr::{self, Xattr};

/// A root that is written to.
#[derive(Debug)]
pub(crate) struct Disk {
    /// The same root, to read and to resolve in.
    tree: Tree,
    root: OwnedFd,
    owners: Owners,
    last: RefCell<Option<(Vec<u8>, Rc<OwnedFd>)>>,
    /// Attributes that the file system did not take.
    pub(crate) refused_xattrs: Cell<u64>,
}

impl Disk {
    pub(crate) fn new(root: &Root) -> Result<Self, TreeError> {
        let failed = |source: io::Error| TreeError::io("open", b"", source);
        let fd = root.as_fd().try_clone_to_owned().map_err(failed)?;
        let tree = Tree::mounted(root.try_clone().map_err(failed)?);
        Ok(Self {
            tree,
            root: fd,
            owners: Owners::detect(),
            last: RefCell::default(),
            refused_xattrs: Cell::new(0),
        })
    }

    fn call<T>(
        &self,
        doing: &'static str,
        path: &[u8],
        run: impl FnOnce(&OwnedFd, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, TreeError> {
        self.at(path)
            .and_then(|(dir, name)| run(&dir, &name))
            .map_err(|errno| TreeError::io(doing, path, errno))
    }

    /// The open parent of `path`, and its last name; `.` in the root for the root.
    fn at(&self, path: &[u8]) -> Result<(Rc<OwnedFd>, Vec<u8>), Errno> {
        let (parent, name) = split(path).unwrap_or((b"", b"."));
        let mut last = self.last.borrow_mut();
        if let Some((_, dir)) = last.as_ref().filter(|(known, _)| known == parent) {
            return Ok((Rc::clone(dir), name.to_vec()));
        }
        let dir = open_beneath(&self.root, parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let dir = Rc::new(dir);
        *last = Some((parent.to_vec(), Rc::clone(&dir)));
        Ok((dir, name.to_vec()))
    }
}

impl Target for Disk {
    fn tree(&self) -> Result<Tree, TreeError> {
        Ok(self.tree.clone())
    }

    fn resolve(&self, path: &[u8], follow_last: bool) -> Result<Resolved, TreeError> {
        self.tree.resolve(path, follow_last)
    }

    fn refer(&self, _: &Tree, _: &[u8], _: &Meta, _: &[u8]) -> Result<bool, TreeError> {
        Ok(false)
    }

    fn lookup(&self, path: &[u8]) -> Result<Option<Meta>, TreeError> {
        match self.at(path).and_then(|(dir, name)| Meta::at(&*dir, &name)) {
            Ok(meta) => Ok(Some(meta)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(TreeError::io("look at", path, errno)),
        }
    }

    fn make_dir(&self, path: &[u8], mode: u32) -> Result<(), TreeError> {
        self.call("make directory", path, |dir, name| {
            rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode & 0o7777))
        })?;
        // The umask must not show in an image.
        self.set_mode(path, mode)
    }

    fn create(&self, path: &[u8]) -> Result<File, TreeError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        self.call("create", path, |dir, name| {
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600)).map(File::from)
        })
    }

    fn truncate(&self, path: &[u8]) -> Result<File, TreeError> {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NONBLOCK;
        open_beneath(&self.root, path, flags)
            .map(File::from)
            .map_err(|errno| TreeError::io("write", path, errno))
    }

    fn make_link(&self, path: &[u8], text: &[u8]) -> Result<(), TreeError> {
        self.call("make link", path, |dir, name| rustix::fs::symlinkat(text, dir, name))
    }

    fn hard_link(&self, from: &[u8], path: &[u8]) -> Result<(), TreeError> {
        let (from_dir, from_name) =
            self.at(from).map_err(|errno| TreeError::io("look at", from, errno))?;
        self.call("make hard link", path, |dir, name| {
            rustix::fs::linkat(&*from_dir, from_name.as_slice(), dir, name, AtFlags::empty())
        })
    }

    fn make_node(&self, path: &[u8], kind: FileType, rdev: (u32, u32)) -> Result<(), TreeError> {
        let dev = rustix::fs::makedev(rdev.0, rdev.1);
        self.call("make device", path, |dir, name| {
            rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), dev)
        })
    }

    fn remove_file(&self, path: &[u8]) -> Result<(), TreeError> {
        self.call("remove", path, |dir, name| rustix::fs::unlinkat(dir, name, AtFlags::empty()))
    }

    fn remove_all(&self, path: &[u8], meta: &Meta) -> Result<(), TreeError> {
        if !meta.is_dir() {
            return self.remove_file(path);
        }
        let failed = |errno| TreeError::io("list", path, errno);
        let dir = open_beneath(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY);
        let dir = dir.map_err(failed)?;
        let mut names = Vec::new();
        each_name(&dir, |name, _| names.push(name.to_vec())).map_err(failed)?;
        for name in names {
            let child = join(path, &name);
            let meta = Meta::at(&dir, &name).map_err(failed)?;
            self.remove_all(&child, &meta)?;
        }
        self.last.take();
        self.call("remove", path, |dir, name| rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR))
    }

    fn set_owner(&self, path: &[u8], owner: (u32, u32)) -> Result<(), TreeError> {
        let uid = rustix::fs::Uid::from_raw(owner.0);
        let gid = rustix::fs::Gid::from_raw(owner.1);
        self.call("change the owner of", path, |dir, name| {
            let proc = proc_path(dir, name);
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            match rustix::fs::chownat(dir, name, Some(uid), Some(gid), flags) {
                Ok(()) => {
                    self.owners.forget(&proc);
                    Ok(())
                }
                Err(errno) => self.owners.record(&proc, owner, errno),
            }
        })
    }

    fn set_mode(&self, path: &[u8], mode: u32) -> Result<(), TreeError> {
        self.call("change the mode of", path, |dir, name| {
            rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
        })
    }

    fn set_time(&self, path: &[u8], mtime: Stamp) -> Result<(), TreeError> {
        let time = Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        self.call("change the times of", path, |dir, name| {
            rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    fn set_xattrs(&self, path: &[u8], xattrs: &[Xattr]) -> Result<(), TreeError> {
        if xattrs.is_empty() {
            return Ok(());
        }
        self.call("set attributes of", path, |dir, name| {
            let proc = proc_path(dir, name);
            for pair in xattrs.iter().filter(|(name, _)| xattr::is_content(name)) {
                if xattr::set(&proc, pair).is_err() {
                    self.refused_xattrs.set(self.refused_xattrs.get() + 1);
                }
            }
            Ok(())
        })
    }

    fn subroot(&self, path: &[u8]) -> Result<Root, TreeError> {
        open_beneath(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY)
            .map(Root::from_fd)
            .map_err(|errno| TreeError::io("open", path, errno))
    }

    fn can_make_devices(&self) -> bool {
        self.owners == Owners::Native
    }
}
