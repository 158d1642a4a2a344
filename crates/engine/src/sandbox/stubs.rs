//! Places to mount on, made where the root has none, and taken away afterwards.
//!
//! A layer must not show what a step had mounted. So whatever is made for a mount is
//! remembered, removed after the step if nothing was put into it, and the times of the
//! directory around it are given back unless the step itself changed that directory. Only
//! `/proc`, `/dev` and `/sys` stay, for every image that was ever built by a container has them.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::failure::{Doing as _, Failure};
use crate::root::Root;

/// What of `/dev` nothing may be mounted on.
const VITAL_DEVICES: [&str; 9] = [
    "/dev",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/pts",
    "/dev/ptmx",
];

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Directory,
    File,
}

impl Shape {
    /// What something with this status can be mounted on.
    pub(super) fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Self::Directory,
            _ => Self::File,
        }
    }
}

/// What was made in a root, in the order it was made.
#[derive(Debug, Default)]
pub(super) struct Stubs {
    made: Vec<PathBuf>,
    around: Vec<Around>,
}

/// A directory that something was made in.
#[derive(Debug)]
struct Around {
    path: PathBuf,
    before: Timestamps,
    after: Timespec,
}

impl Stubs {
    /// Makes what is missing of `real`, a path without links below `root`; tells whether
    /// that was anything.
    pub(super) fn make(&mut self, root: &Root, real: &Path, shape: Shape) -> Result<bool, Failure> {
        let Some(first) = first_missing(root, real)? else { return Ok(false) };
        let parent = first.parent().unwrap_or(Path::new("/")).to_owned();
        let directory = open_exact(root, &parent).doing_at("open", &show(&parent))?;
        let before = times(&directory).doing_at("look at", &show(&parent))?;
        make_place(root, real, shape, |path| self.made.push(path.to_owned()))?;
        let after = times(&directory).doing_at("look at", &show(&parent))?.last_modification;
        match self.around.iter_mut().find(|around| around.path == parent) {
            Some(around) => around.after = after,
            None => self.around.push(Around { path: parent, before, after }),
        }
        Ok(true)
    }

    /// Makes a directory that stays, as runtimes of containers leave it, if it is missing.
    pub(super) fn leave(&mut self, root: &Root, real: &Path) -> Result<(), Failure> {
        let known = self.made.len();
        self.make(root, real, Shape::Directory)?;
        self.made.truncate(known);
        Ok(())
    }

    /// Removes what is still empty. A directory that is gone or replaced is let be.
    pub(super) fn remove(self, root: &Root) {
        let now: Vec<_> = self
            .around
            .into_iter()
            .filter_map(|around| {
                let directory = open_exact(root, &around.path).ok()?;
                let times = times(&directory).ok()?;
                Some((around, directory, times))
            })
            .collect();
        for path in self.made.iter().rev() {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            if let Ok(parent) = open_exact(root, parent) {
                // What cannot be removed is not empty any more, and so is the step's.
                let _ = remove_empty(&parent, name);
            }
        }
        for (around, directory, mut times) in now {
            if same_time(&times.last_modification, &around.after) {
                times = around.before;
            }
            // Only the time of a directory would differ.
            let _ = rustix::fs::utimensat(&directory, ".", &times, AtFlags::empty());
        }
    }
}

/// Refuses places whose contents every step relies on: what is in `/proc` tells a program
/// (and this one) what it may do, and a `/dev` without devices lets nothing be masked.
pub(super) fn refuse_vital(real: &Path) -> Result<(), Failure> {
    let vital =
        real.starts_with("/proc") || VITAL_DEVICES.iter().any(|path| real == Path::new(path));
    if vital { Err(Failure::Covers { real: show(real) }) } else { Ok(()) }
}

/// Opens the place for a mount at `dest`, making what is missing of it; tells whether
/// that was anything.
pub(super) fn open_target(
    root: &Root,
    dest: &str,
    shape: Shape,
) -> Result<(OwnedFd, bool), Failure> {
    let real = root.resolve(dest).map_err(|e| e.source).doing_at("resolve", dest)?;
    refuse_vital(&real)?;
    open_real(root, &real, shape)
}

/// Opens `dest`, making what is missing of it; tells whether that was anything.
pub(super) fn open_place(
    root: &Root,
    dest: &str,
    shape: Shape,
) -> Result<(OwnedFd, bool), Failure> {
    let real = root.resolve(dest).map_err(|e| e.source).doing_at("resolve", dest)?;
    open_real(root, &real, shape)
}

fn open_real(root: &Root, real: &Path, shape: Shape) -> Result<(OwnedFd, bool), Failure> {
    let mut fresh = false;
    let place = make_place(root, real, shape, |_| fresh = true)?;
    Ok((place, fresh))
}

/// Makes what is missing of a path without links, tells each thing made, and opens it.
fn make_place(
    root: &Root,
    real: &Path,
    shape: Shape,
    mut made: impl FnMut(&Path),
) -> Result<OwnedFd, Failure> {
    let mut at = open_exact(root, Path::new("/")).doing_at("open", "/")?;
    let names: Vec<&OsStr> = real.iter().filter(|name| *name != "/").collect();
    let mut path = PathBuf::from("/");
    for (index, name) in names.iter().enumerate() {
        path.push(name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let last = index + 1 == names.len();
        at = match rustix::fs::openat(&at, *name, flags, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) => {
                let shape = if last { shape } else { Shape::Directory };
                match make_one(&at, name, shape) {
                    Ok(()) => made(&path),
                    // A step that shares a cache mount was quicker.
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error).doing_at("make", &show(&path)),
                }
                rustix::fs::openat(&at, *name, flags, Mode::empty())
                    .doing_at("open", &show(&path))?
            }
            Err(error) => return Err(error).doing_at("open", &show(&path)),
        };
    }
    Ok(at)
}

fn make_one(parent: &OwnedFd, name: &OsStr, shape: Shape) -> Result<(), Errno> {
    match shape {
        Shape::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Shape::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

/// The topmost part of `real` that is not there.
fn first_missing(root: &Root, real: &Path) -> Result<Option<PathBuf>, Failure> {
    let mut missing = None;
    for path in real.ancestors() {
        match open_exact_any(root, path) {
            Ok(_) => return Ok(missing),
            Err(Errno::NOENT) => missing = Some(path.to_owned()),
            Err(error) => return Err(error).doing_at("look at", &show(path)),
        }
    }
    Ok(missing)
}

fn remove_empty(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
        FileType::RegularFile if stat.st_size == 0 => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())
        }
        _ => Ok(()),
    }
}

/// Opens a directory by a path that must not have links.
fn open_exact(root: &Root, path: &Path) -> Result<OwnedFd, Errno> {
    open_with(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

fn open_exact_any(root: &Root, path: &Path) -> Result<OwnedFd, Errno> {
    open_with(root, path, OFlags::PATH)
}

fn open_with(root: &Root, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), resolve)
}

fn times(directory: &OwnedFd) -> Result<Timestamps, Errno> {
    let stat = rustix::fs::fstat(directory)?;
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Ok(Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    })
}

fn same_time(left: &Timespec, right: &Timespec) -> bool {
    (left.tv_sec, left.tv_nsec) == (right.tv_sec, right.tv_nsec)
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn what_was_made_vanishes_and_times_come_back() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        fs::File::open(dir.path().join("etc")).unwrap().set_modified(old).unwrap();
        let root = Root::open_dir(dir.path()).unwrap();
        let mut stubs = Stubs::default();
        stubs.make(&root, Path::new("/etc/hosts"), Shape::File).unwrap();
        stubs.make(&root, Path::new("/etc/resolv.conf"), Shape::File).unwrap();
        stubs.make(&root, Path::new("/run/secrets/a"), Shape::File).unwrap();
        stubs.make(&root, Path::new("/run/secrets/b"), Shape::File).unwrap();
        stubs.leave(&root, Path::new("/proc")).unwrap();
        stubs.leave(&root, Path::new("/etc")).unwrap();
        assert!(dir.path().join("run/secrets/b").exists());
        stubs.remove(&root);
        assert_eq!(fs::read_dir(dir.path().join("etc")).unwrap().count(), 0);
        assert!(!dir.path().join("run").exists() && dir.path().join("proc").is_dir());
        assert_eq!(fs::metadata(dir.path().join("etc")).unwrap().mtime(), 1_000_000);
    }

    #[test]
    fn what_the_step_filled_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_dir(dir.path()).unwrap();
        let mut stubs = Stubs::default();
        stubs.make(&root, Path::new("/data/sub"), Shape::Directory).unwrap();
        stubs.make(&root, Path::new("/note"), Shape::File).unwrap();
        fs::write(dir.path().join("data/kept"), "x").unwrap();
        fs::write(dir.path().join("note"), "x").unwrap();
        stubs.remove(&root);
        assert!(dir.path().join("data/kept").exists());
        assert!(!dir.path().join("data/sub").exists());
        assert!(dir.path().join("note").exists());
    }

    #[test]
    fn links_lead_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).unwrap();
        std::os::unix::fs::symlink("../../run/dns", dir.path().join("dangling")).unwrap();
        let root = Root::open_dir(dir.path()).unwrap();
        open_place(&root, "/out/file", Shape::File).unwrap();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        open_place(&root, "/dangling", Shape::File).unwrap();
        assert!(dir.path().join("run/dns").is_file());
    }
}
