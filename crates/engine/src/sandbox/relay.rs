//! A socket of the machine, shown to a step under another owner and mode.
//!
//! An agent's socket belongs to the user and is for nobody else; the step's user may be
//! another. So the step gets a socket of its own, and what is said there is passed on.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, Gid, Mode, Uid};
use rustix::mount::MountAttrFlags;

use super::SandboxError;
use super::cancel::Cancel;
use super::failure::Doing as _;
use super::mounts::filesystem;

/// The name of the socket in its file system.
pub(super) const NAME: &str = "socket";

/// Passes on connections for as long as it exists.
#[derive(Debug)]
pub(super) struct Relay {
    stop: Cancel,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Opens a socket that leads to the one at `target`; also gives the detached file system
/// that it is in.
pub(super) fn open(
    target: PathBuf,
    (uid, gid): (u32, u32),
    mode: u32,
) -> Result<(Relay, OwnedFd), SandboxError> {
    let tmpfs = filesystem("tmpfs", &[("mode", "0755")], MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    let path = format!("/proc/self/fd/{}/{NAME}", tmpfs.as_raw_fd());
    let listener = UnixListener::bind(&path).doing("open a socket for the step")?;
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(&tmpfs, NAME, owner.0, owner.1, AtFlags::empty())
        .doing("give away a socket")?;
    rustix::fs::chmodat(&tmpfs, NAME, Mode::from_raw_mode(mode), AtFlags::empty())
        .doing("set the mode of a socket")?;
    listener.set_nonblocking(true).doing("open a socket for the step")?;
    let stop = Cancel::new().doing("make a switch")?;
    let stopped = stop.clone();
    thread::Builder::new()
        .name("relay".to_owned())
        .spawn(move || accept(&listener, &target, &stopped))
        .doing("start a thread")?;
    Ok((Relay { stop }, tmpfs))
}

fn accept(listener: &UnixListener, target: &Path, stop: &Cancel) {
    while !stop.is_cancelled() {
        let mut events = [
            PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        ];
        // Interrupted or not, what follows looks for itself.
        if poll(&mut events, None).is_err() {
            continue;
        }
        if let Ok((near, _)) = listener.accept() {
            // If the agent is gone, the step sees its connection end.
            pass_on(near, target).ok();
        }
    }
}

/// Connects the two, one thread for each way.
fn pass_on(near: UnixStream, target: &Path) -> io::Result<()> {
    near.set_nonblocking(false)?;
    let far = UnixStream::connect(target)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        thread::Builder::new().name("relay".to_owned()).spawn(move || {
            io::copy(&mut &from, &mut &to).ok();
            to.shutdown(Shutdown::Write).ok();
        })?;
    }
    Ok(())
}
