//! The helper's own program, out of reach of the steps it starts.
//!
//! A command may be, or lead to, `/proc/self/exe`, which until the command is executed is
//! this program: executed inside, with the image's libraries, it could be opened for
//! writing and replaced on the machine (CVE-2019-5736). So the helper first executes
//! itself again from a read-only mount that is attached nowhere, or else from memory.

use std::env;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

use rustix::fs::{CWD, MemfdFlags, SealFlags};
use rustix::mount::MountAttrFlags;

use super::mounts::copy_of;
use super::sys;

const OWN_PROGRAM: &str = "/proc/self/exe";

/// The second argument of a helper that is out of reach.
const SEALED: &str = "sealed";

/// Executes this program again, out of reach, unless it is already.
pub(super) fn seal(argument: &str) -> io::Result<()> {
    if env::args_os().nth(2).is_some_and(|argument| argument == SEALED) {
        return Ok(());
    }
    let program = read_only_mount().or_else(|_| copy_in_memory())?;
    let name = env::args_os().next().unwrap_or_default();
    let arguments = [name, argument.into(), SEALED.into()];
    let arguments = arguments.map(|argument| CString::new(argument.into_vec()));
    let arguments = arguments.into_iter().collect::<Result<Vec<_>, _>>()?;
    let variables = env::vars_os().map(|(mut entry, value)| {
        entry.push("=");
        entry.push(value);
        CString::new(entry.into_vec())
    });
    let variables = variables.collect::<Result<Vec<_>, _>>()?;
    Err(sys::execute_descriptor(program.as_fd(), &arguments, &variables))
}

fn read_only_mount() -> io::Result<OwnedFd> {
    // Through its name, because the file that is executed may have been opened in another
    // mount name space; the name may lead to a newer file by now.
    let program = copy_of(CWD, fs::read_link(OWN_PROGRAM)?, false)?;
    let (named, own) = (rustix::fs::fstat(&program)?, rustix::fs::stat(OWN_PROGRAM)?);
    if (named.st_dev, named.st_ino) != (own.st_dev, own.st_ino) {
        return Err(io::ErrorKind::NotFound.into());
    }
    sys::add_mount_attributes(program.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, false)?;
    Ok(program)
}

fn copy_in_memory() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create("helper", flags)?);
    io::copy(&mut File::open(OWN_PROGRAM)?, &mut copy)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    Ok(copy.into())
}
