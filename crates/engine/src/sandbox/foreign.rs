//! Programs of other machines in a step, without a registration on this one.
//!
//! Since Linux 6.7 every user namespace may have registrations of its own. So the step's
//! process, when its mounts are made, moves into a user namespace in which everybody is who
//! they were, registers the emulator there, and goes on. What it starts inherits that; the
//! machine and other steps see nothing of it. Older kernels refuse the registration, and the
//! command itself is started with the emulator, as BuildKit does: what it starts then runs
//! only if the emulator sees to that.
//!
//! Only a process outside can say who is who in the new name space. That is the helper.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountAttrFlags;

use super::failure::{Doing as _, Failure, kernel};
use super::mounts::{INERT, attach, filesystem, restrict};
use super::sys;
use crate::emulate::Machine;

/// Where the kernel's registrations usually are. Mounted there, they live as long as the step.
const PLACE: &str = "/proc/sys/fs/binfmt_misc";

/// Both ends of what the helper and a new process say about its name space.
pub(super) struct Nursery {
    helper: UnixStream,
    child: UnixStream,
}

/// The process's end.
pub(super) struct Birth {
    helper: UnixStream,
}

/// Proof that the process is in a user namespace of its own.
pub(super) struct Apart;

impl Nursery {
    pub(super) fn open() -> Result<Self, Failure> {
        let (helper, child) = UnixStream::pair().doing("make a pair of sockets")?;
        Ok(Self { helper, child })
    }

    /// For the new process, which leaves the helper's end alone.
    pub(super) fn child(self) -> Birth {
        Birth { helper: self.child }
    }

    /// For the helper: waits until the process is in its name space, and says who is who there.
    /// A process that does not get there says why itself.
    pub(super) fn map(self, process: BorrowedFd<'_>) -> Result<(), Failure> {
        let Self { mut helper, child } = self;
        drop(child);
        if helper.read_exact(&mut [0]).is_ok() {
            let errno = match map_as_here(process) {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
            };
            // If it is gone by now, it said why.
            helper.write_all(&errno.to_ne_bytes()).ok();
        }
        Ok(())
    }
}

/// Gives a process's name space the users and groups of this one, under the same numbers.
fn map_as_here(process: BorrowedFd<'_>) -> std::io::Result<()> {
    let known = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    let pid = known.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap_or_default().trim();
    for map in ["uid_map", "gid_map"] {
        let own = fs::read_to_string(format!("/proc/self/{map}"))?;
        fs::write(format!("/proc/{pid}/{map}"), as_they_are(&own))?;
    }
    Ok(())
}

/// The map that leaves everybody of `own` as they are.
fn as_they_are(own: &str) -> String {
    let extents = own.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace();
        let (inside, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(format!("{inside} {inside} {count}\n"))
    });
    extents.collect()
}

/// Whether a kernel of this release has registrations for one user namespace: since 6.7.
fn registers_apart(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

impl Birth {
    /// Moves this process into its name space. None if it stays where it is: because no more
    /// name spaces are allowed, or because this kernel has no registrations for one.
    pub(super) fn enter(mut self) -> Result<Option<Apart>, Failure> {
        const DOING: &str = "move to a user namespace";
        let release = rustix::system::uname();
        let registers = registers_apart(&release.release().to_string_lossy());
        if !registers || sys::enter_user_namespace().is_err() {
            return Ok(None);
        }
        let mut errno = [0; 4];
        let asked = self.helper.write_all(&[0]).and_then(|()| self.helper.read_exact(&mut errno));
        asked.doing(DOING)?;
        match i32::from_ne_bytes(errno) {
            0 => Ok(Some(Apart)),
            errno => {
                let error = std::io::Error::from_raw_os_error(errno);
                Err(kernel("map the users of the step", None, error, None))
            }
        }
    }
}

impl Apart {
    /// Registers the emulator of `machine`; false if this kernel has no registrations for
    /// one name space.
    pub(super) fn register(&self, machine: Machine) -> Result<bool, Failure> {
        const DOING: &str = "register the emulator";
        let Ok(registrations) = filesystem("binfmt_misc", &[], INERT) else { return Ok(false) };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let register = rustix::fs::openat(&registrations, "register", flags, Mode::empty());
        let register = register.doing(DOING)?;
        rustix::io::write(&register, machine.registration().as_bytes()).doing(DOING)?;
        drop(register);
        // Root of the step shall not add to it.
        restrict(registrations.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, PLACE)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = rustix::fs::open(PLACE, flags, Mode::empty()).doing_at("open", PLACE)?;
        attach(registrations, place, PLACE).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::{as_they_are, registers_apart};

    #[test]
    fn kernels_know_registrations_of_one_namespace_since_6_7() {
        let cases = [
            ("6.7.0", true),
            ("6.18.44-fc-v669", true),
            ("10.0-rc1", true),
            ("6.6.99", false),
            ("5.15.0-generic", false),
            ("6", false),
            ("unknown", false),
        ];
        for (release, expected) in cases {
            assert_eq!(registers_apart(release), expected, "{release}");
        }
    }

    #[test]
    fn everybody_stays_who_they_are() {
        assert_eq!(as_they_are("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(as_they_are("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    }
}
