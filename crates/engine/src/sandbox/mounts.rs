//! Mounts as descriptors: made detached, then attached to a place.

use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::failure::{Doing as _, Failure, kernel};
use super::sys;

/// Attributes of what is only looked at.
pub(super) const INERT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// [`INERT`], and read-only.
pub(super) const FROZEN: MountAttrFlags = INERT.union(MountAttrFlags::MOUNT_ATTR_RDONLY);

/// [`FROZEN`], but for programs.
const EXECUTABLE: MountAttrFlags = FROZEN.difference(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Makes a file system, not attached anywhere.
pub(super) fn filesystem(
    kind: &'static str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Failure> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
        .doing_at("open a file system", kind)?;
    let configure = || {
        for (name, value) in options {
            rustix::mount::fsconfig_set_string(&context, *name, *value)?;
        }
        rustix::mount::fsconfig_create(&context)?;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    configure().map_err(|error| {
        kernel("make a file system", Some(kind), error.into(), kernel_words(&context))
    })
}

/// What the kernel said about a file system that it would not make.
fn kernel_words(context: &OwnedFd) -> Option<String> {
    let mut words = Vec::new();
    let mut line = [0; 512];
    while let Ok(size @ 1..) = rustix::io::read(context, &mut line) {
        // Each line begins with its level and a space: `e `, `w ` or `i `.
        let text = String::from_utf8_lossy(line.get(2..size).unwrap_or_default());
        words.push(text.trim().to_owned());
    }
    if words.is_empty() { None } else { Some(words.join("; ")) }
}

/// A copy of the mounts at a path of this name space.
pub(super) fn copy_of(
    dir: impl AsFd,
    path: impl rustix::path::Arg,
    recursive: bool,
) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(dir, path, flags)
}

/// Attaches a mount to a place.
pub(super) fn attach(mount: impl AsFd, place: impl AsFd, dest: &str) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", place, "", flags).doing_at("mount", dest)
}

/// Adds attributes to a detached mount and what is below it.
pub(super) fn restrict(
    mount: BorrowedFd<'_>,
    attributes: MountAttrFlags,
    dest: &str,
) -> Result<(), Failure> {
    sys::add_mount_attributes(mount, attributes, true).doing_at("restrict the mount", dest)
}

/// Attaches a mount over the root that is about to be left, where only a descriptor finds
/// it: the kernel copies only mounts that are attached.
fn lay_over_root(mount: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", CWD, "/", flags)
}

/// A mount of what has a name in a detached mount.
pub(super) fn inside(mount: &OwnedFd, name: &str) -> Result<OwnedFd, Failure> {
    lay_over_root(mount).doing_at("mount the source of", name)?;
    copy_of(mount, name, false).doing_at("mount", name)
}

/// Memory that holds the files a step gets from outside, one mount of each.
///
/// It goes away with the root that it lies over.
pub(super) struct Stash {
    tmpfs: OwnedFd,
    next: u32,
    /// Whether device nodes can be made in it; not in a user namespace.
    makes_nodes: bool,
}

impl Stash {
    /// Makes and attaches it.
    pub(super) fn new() -> Result<Self, Failure> {
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
        let tmpfs = filesystem("tmpfs", &[("mode", "0700")], attributes)?;
        lay_over_root(&tmpfs).doing("mount the stash")?;
        let makes_nodes = make_node(&tmpfs, "null", (1, 3)).is_ok();
        Ok(Self { tmpfs, next: 0, makes_nodes })
    }

    /// A read-only mount of a new file with this content.
    pub(super) fn file(
        &mut self,
        bytes: &[u8],
        (uid, gid): (u32, u32),
        mode: u32,
    ) -> Result<OwnedFd, Failure> {
        let name = format!("file{}", self.next);
        self.next += 1;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.tmpfs, &name, flags, Mode::from_raw_mode(0o600))
            .doing("make a file")?;
        let mut file = std::fs::File::from(file);
        file.write_all(bytes).doing("fill a file")?;
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .doing("give away a file")?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).doing("set the mode of a file")?;
        let mount = copy_of(&self.tmpfs, name.as_str(), false).doing("mount a file")?;
        // A heredoc with an interpreter is such a file, and is executed.
        let executable = if mode & 0o111 == 0 { FROZEN } else { EXECUTABLE };
        restrict(mount.as_fd(), executable, "a file")?;
        Ok(mount)
    }

    /// A mount of a memory device.
    ///
    /// A node of our own where that is possible; otherwise the machine's, whose mode and
    /// owner a read-only mount protects (writing to the device is not writing to it).
    pub(super) fn node(&self, name: &str, (major, minor): (u32, u32)) -> Result<OwnedFd, Failure> {
        if !self.makes_nodes {
            let host = format!("/dev/{name}");
            let mount = copy_of(CWD, host.as_str(), false).doing_at("borrow the device", &host)?;
            restrict(mount.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, &host)?;
            return Ok(mount);
        }
        if name != "null" {
            make_node(&self.tmpfs, name, (major, minor)).doing_at("make the device", name)?;
        }
        copy_of(&self.tmpfs, name, false).doing_at("mount the device", name)
    }
}

/// Makes a character device that everybody may use.
fn make_node(dir: &OwnedFd, name: &str, (major, minor): (u32, u32)) -> Result<(), Errno> {
    let device = rustix::fs::makedev(major, minor);
    let mode = Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(dir, name, FileType::CharacterDevice, mode, device)
}
