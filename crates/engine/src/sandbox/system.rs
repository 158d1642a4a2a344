//! The file systems that every step finds: `/proc`, `/dev`, `/sys`, and what of them
//! it does not see.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::devices::{self, Device};
use super::failure::{Doing as _, Failure};
use super::mounts::{FROZEN, INERT, Stash, attach, copy_of, filesystem, restrict};
use crate::root::Root;

/// Memory devices, by name, major and minor number.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// What tells too much about the machine.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// What would change the machine.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Size of `/dev/shm` for a step that asks for none.
const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// What a step wants of them.
pub(super) struct Wishes {
    /// Whether everything is allowed.
    pub(super) insecure: bool,
    /// Bytes of `/dev/shm`.
    pub(super) shm_size: Option<u64>,
    /// Whether the step has a cgroup name space of the unified hierarchy.
    pub(super) cgroup2: bool,
}

/// What of the machine is needed for them, picked up before its file systems are left.
pub(super) struct Supplies {
    wishes: Wishes,
    nodes: Vec<(&'static str, OwnedFd)>,
    proc: OwnedFd,
    sys: OwnedFd,
    host_devices: Vec<Device>,
}

impl Supplies {
    pub(super) fn pick_up(stash: &Stash, wishes: Wishes) -> Result<Self, Failure> {
        let nodes = DEVICES
            .map(|(name, major, minor)| stash.node(name, (major, minor)).map(|node| (name, node)));
        let nodes = nodes.into_iter().collect::<Result<_, _>>()?;
        // In a user namespace the kernel makes these only while the machine's own are in sight.
        let proc = filesystem("proc", &[], INERT)?;
        let attributes = if wishes.insecure { INERT } else { FROZEN };
        let sys = filesystem("sysfs", &[], attributes).or_else(|_| {
            // Who shares the network of a more privileged name space gets no new one.
            let copy = copy_of(rustix::fs::CWD, "/sys", true).doing_at("copy the mount", "/sys")?;
            restrict(copy.as_fd(), FROZEN, "/sys").map(|()| copy)
        })?;
        let host_devices = if wishes.insecure { devices::of_host() } else { Vec::new() };
        Ok(Self { wishes, nodes, proc, sys, host_devices })
    }

    /// Mounts everything below the root, which is this process's root too.
    pub(super) fn mount_all(self, root: &Root) -> Result<(), Failure> {
        attach(&self.proc, directory(root, "/proc")?, "/proc")?;
        self.mount_dev(root)?;
        attach(&self.sys, directory(root, "/sys")?, "/sys")?;
        if self.wishes.cgroup2
            && let Some(place) = existing(root, "/sys/fs/cgroup")?
        {
            let attributes = if self.wishes.insecure { INERT } else { FROZEN };
            attach(filesystem("cgroup2", &[], attributes)?, place, "/sys/fs/cgroup")?;
        }
        if self.wishes.insecure { Ok(()) } else { self.hide(root) }
    }

    fn mount_dev(&self, root: &Root) -> Result<(), Failure> {
        // Nodes that the step itself makes are of no use to it: a step may have CAP_MKNOD,
        // and with it would have every disk of the machine.
        let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
        attributes.set(MountAttrFlags::MOUNT_ATTR_NODEV, !self.wishes.insecure);
        let dev = filesystem("tmpfs", &[("mode", "0755"), ("size", "65536k")], attributes)?;
        attach(&dev, directory(root, "/dev")?, "/dev")?;
        for (name, node) in &self.nodes {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let place = rustix::fs::openat(&dev, *name, flags, Mode::from_raw_mode(0o666))
                .doing_at("make the device", name)?;
            attach(node, place, name)?;
        }
        for (name, target) in LINKS {
            rustix::fs::symlinkat(target, &dev, name).doing_at("make the link", name)?;
        }
        attach(pseudo_terminals()?, subdirectory(&dev, "pts")?, "/dev/pts")?;
        attach(self.shared_memory()?, subdirectory(&dev, "shm")?, "/dev/shm")?;
        match filesystem("mqueue", &[], INERT) {
            Ok(mqueue) => attach(mqueue, subdirectory(&dev, "mqueue")?, "/dev/mqueue")?,
            // Not every kernel has message queues.
            Err(Failure::Kernel(failure)) if failure.errno == libc::ENODEV => {}
            Err(failure) => return Err(failure),
        }
        for device in &self.host_devices {
            make_device(&dev, device)?;
        }
        Ok(())
    }

    /// `/dev/shm`. One that is given a size is an ordinary tmpfs, as it is under Docker: what is
    /// put there may be executed.
    fn shared_memory(&self) -> Result<OwnedFd, Failure> {
        let (source, size, attributes) = match self.wishes.shm_size {
            None => ("shm", DEFAULT_SHM_SIZE, INERT),
            Some(size) => ("tmpfs", size, MountAttrFlags::MOUNT_ATTR_NOSUID),
        };
        let options = [("source", source), ("mode", "1777"), ("size", &size.to_string())];
        filesystem("tmpfs", &options, attributes)
    }

    fn hide(&self, root: &Root) -> Result<(), Failure> {
        let (_, null) = &self.nodes[0];
        // The first cover is attached once and copied from there.
        let mut empty: Option<OwnedFd> = None;
        for path in MASKED {
            let Some(place) = existing(root, path)? else { continue };
            let stat = rustix::fs::fstat(&place).doing_at("look at", path)?;
            let cover = match (FileType::from_raw_mode(stat.st_mode), &empty) {
                (FileType::Directory, None) => {
                    let cover = filesystem("tmpfs", &[("mode", "0555")], FROZEN)?;
                    empty = Some(cover.try_clone().doing("duplicate a descriptor")?);
                    cover
                }
                (FileType::Directory, Some(empty)) => {
                    copy_of(empty, "", false).doing_at("mask", path)?
                }
                _ => copy_of(null, "", false).doing_at("mask", path)?,
            };
            attach(cover, place, path)?;
        }
        for path in READ_ONLY {
            let Some(place) = existing(root, path)? else { continue };
            let copy = copy_of(&place, "", true).doing_at("copy the mount", path)?;
            restrict(copy.as_fd(), FROZEN, path)?;
            attach(copy, place, path)?;
        }
        Ok(())
    }
}

fn pseudo_terminals() -> Result<OwnedFd, Failure> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    // The group of terminals need not exist in a user namespace.
    filesystem("devpts", &options, attributes)
        .or_else(|_| filesystem("devpts", &options[..2], attributes))
}

/// Makes one of the machine's own devices, for a step that is trusted with everything.
fn make_device(dev: &OwnedFd, device: &Device) -> Result<(), Failure> {
    let mut dir = dev.try_clone().doing("duplicate a descriptor")?;
    for parent in &device.parents {
        dir = subdirectory(&dir, parent)?;
    }
    let name = device.name.as_str();
    match rustix::fs::mknodat(&dir, name, device.kind, device.mode, device.number) {
        // In a user namespace there are no devices but the borrowed ones.
        Ok(()) | Err(Errno::EXIST | Errno::PERM) => Ok(()),
        Err(error) => Err(error).doing_at("make the device", name),
    }
}

/// Opens a directory that no link of the image may stand in for.
fn directory(root: &Root, path: &str) -> Result<OwnedFd, Failure> {
    open(root, path, OFlags::PATH | OFlags::DIRECTORY).doing_at("open the directory", path)
}

/// Opens something to mount on, if it is there.
fn existing(root: &Root, path: &str) -> Result<Option<OwnedFd>, Failure> {
    match open(root, path, OFlags::PATH) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error).doing_at("open", path),
    }
}

fn open(root: &Root, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn subdirectory(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Failure> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).doing_at("make the directory", name),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).doing_at("open the directory", name)
}
