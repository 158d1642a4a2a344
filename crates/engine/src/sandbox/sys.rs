//! System calls that rustix does not wrap, and nothing else.
//!
//! All of them are made by the helper, which has one thread.

#![expect(unsafe_code, reason = "clone3, execve, seccomp and signals have no safe wrapper")]

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use rustix::mount::MountAttrFlags;

use crate::seccomp::Instruction;

/// Which side of a [`clone_process`] this is.
pub(super) enum Side {
    /// The caller; the descriptor names the new process.
    Parent(OwnedFd),
    /// The new process.
    Child,
}

/// Makes a copy of this process in new name spaces, as `fork` does.
pub(super) fn clone_process(namespaces: u64) -> io::Result<Side> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all zeroes is a valid `clone_args`.
    let mut args: libc::clone_args = unsafe { mem::zeroed() };
    args.flags = namespaces | u64::from(libc::CLONE_PIDFD as u32);
    args.pidfd = ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD as u32);
    // SAFETY: the arguments live across the call; without CLONE_VM the child has its own
    // copy of memory, and the caller has one thread, so no lock is held by another.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut args), mem::size_of_val(&args))
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        // SAFETY: the kernel has just made this descriptor for us.
        _ => Ok(Side::Parent(unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// Ends this process at once, without unwinding or flushing.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: always sound; never returns.
    unsafe { libc::_exit(code) }
}

/// Replaces this process by `program`. Returns only if that fails.
pub(super) fn execute(program: &CString, args: &[CString], env: &[CString]) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: the strings end with a zero and the arrays with a null, and outlive the call.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces this process by an open program. Returns only if that fails.
pub(super) fn execute_descriptor(
    program: BorrowedFd<'_>,
    args: &[CString],
    env: &[CString],
) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: the strings end with a zero and the arrays with a null, and outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// What the kernel takes for a list of strings.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Gives every signal its default effect and lets all of them through.
pub(super) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: a default disposition runs no code of ours; what cannot be set fails.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero set is a valid empty one, and lives across the call.
    unsafe {
        let none: libc::sigset_t = mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Closes every descriptor from `first` on.
///
/// The caller owns none of them: they are what its own parent forgot to close.
pub(super) fn close_inherited(first: u32) {
    // SAFETY: called before any descriptor has an owner in this process.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Moves this process into a new user namespace, where it may do anything, and gives it
/// its own mounts. It must have one thread.
pub(crate) fn enter_user_namespace() -> io::Result<()> {
    // SAFETY: neither flag touches memory or descriptors; the kernel refuses the first
    // one for a process with more than one thread.
    match unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes this process's cgroup the root of the hierarchy that it sees.
pub(super) fn new_cgroup_namespace() -> io::Result<()> {
    // SAFETY: of all flags of `unshare`, this one touches no memory and no descriptor.
    match unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Adds attributes to a mount; with `recursive`, to those below it as well.
pub(super) fn add_mount_attributes(
    mount: BorrowedFd<'_>,
    attributes: MountAttrFlags,
    recursive: bool,
) -> io::Result<()> {
    // The kernel's `mount_attr`: set, clear, propagation, name space.
    let attributes: [u64; 4] = [u64::from(attributes.bits()), 0, 0, 0];
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a constant, and the structure lives across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attributes.as_ptr(),
            mem::size_of_val(&attributes),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Puts a system call filter on this process, for good.
pub(super) fn load_filter(program: &[Instruction]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `Instruction` has the layout of `sock_filter`; the kernel only reads it.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, ptr::from_ref(&program))
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Starts the loopback interface of a new network name space.
pub(super) fn start_loopback(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request lives across the call, and is what this ioctl reads.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
