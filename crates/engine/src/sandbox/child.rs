//! From a copy of the helper to the step's command: what the new process does to itself.
//!
//! The order is the point. Everything of the machine that is still needed is picked up
//! first, then the root is changed and the rest let go of; mounts come before the host's
//! view of privileges is given up; the filter is loaded while that is still allowed; and
//! the last thing is the command, which is process 1 and has three descriptors.

use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use bakehouse_model::op::{Network, Security};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags};
use rustix::process::{Signal, umask};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::Spec;
use super::failure::{Doing as _, Failure, ProgramError};
use super::foreign::Birth;
use super::mounts::{self, Stash};
use super::protocol::{CgroupKind, WireKind, WireMount};
use super::stubs::{self, Shape};
use super::system::{Supplies, Wishes};
use super::users::Identity;
use super::{limits, sys};
use crate::emulate::EMULATOR;
use crate::root::Root;
use crate::seccomp::Instruction;

/// What Docker leaves to a container: `0xa80425fb`.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Everything that the process needs to become the step's command.
pub(super) struct Launch<'a> {
    pub(super) root: BorrowedFd<'a>,
    pub(super) stdout: BorrowedFd<'a>,
    pub(super) stderr: BorrowedFd<'a>,
    pub(super) cgroups: &'a [OwnedFd],
    pub(super) cgroup_kind: CgroupKind,
    pub(super) mounts: &'a [WireMount],
    /// Which of the mounts lie on something that was made for them.
    pub(super) stubs: &'a [bool],
    pub(super) descriptors: &'a [OwnedFd],
    pub(super) spec: &'a Spec,
    pub(super) identity: &'a Identity,
    pub(super) filter: &'a [Instruction],
    pub(super) may_set_groups: bool,
}

impl Launch<'_> {
    /// Becomes the command. Returns only if that fails.
    pub(super) fn go(&self, birth: Option<Birth>) -> Failure {
        match self.prepare(birth) {
            Ok(failure) | Err(failure) => failure,
        }
    }

    fn prepare(&self, birth: Option<Birth>) -> Result<Failure, Failure> {
        sys::reset_signals();
        rustix::process::setsid().doing("start a session")?;
        umask(Mode::empty());
        self.join_cgroups()?;
        self.mount_everything()?;
        rustix::system::sethostname(self.hostname().as_bytes()).doing("set the host name")?;
        if self.spec.network == Network::None {
            start_loopback()?;
        }
        limits::set(&self.spec.ulimits)?;
        let registered = match (self.spec.foreign, birth) {
            (Some(machine), Some(birth)) => match birth.enter()? {
                Some(apart) => apart.register(machine)?,
                None => false,
            },
            _ => true,
        };
        self.enter_directory()?;
        self.connect_streams()?;
        umask(Mode::from_raw_mode(0o022));
        self.drop_privileges()?;
        Ok(self.execute(registered))
    }

    fn insecure(&self) -> bool {
        self.spec.security == Security::Insecure
    }

    fn hostname(&self) -> &str {
        match self.spec.hostname.as_str() {
            "" => super::etc::DEFAULT_HOSTNAME,
            name => name,
        }
    }

    fn join_cgroups(&self) -> Result<(), Failure> {
        for cgroup in self.cgroups {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let procs = rustix::fs::openat(cgroup, "cgroup.procs", flags, Mode::empty())
                .doing("open the cgroup")?;
            rustix::io::write(&procs, b"0").doing("join the cgroup")?;
        }
        if self.cgroup_kind == CgroupKind::V2 {
            sys::new_cgroup_namespace().doing("hide the other cgroups")?;
        }
        Ok(())
    }

    fn mount_everything(&self) -> Result<(), Failure> {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).doing_at("keep mounts private", "/")?;
        let mut stash = Stash::new()?;
        let picked = self.pick_out(&mut stash)?;
        let wishes = Wishes {
            insecure: self.insecure(),
            shm_size: self.spec.shm_size,
            cgroup2: self.cgroup_kind == CgroupKind::V2,
        };
        let supplies = Supplies::pick_up(&stash, wishes)?;
        self.change_root()?;
        let root = Root::open_dir("/").map_err(|e| e.source).doing_at("open", "/")?;
        supplies.mount_all(&root)?;
        for ((mount, stub), picked) in self.mounts.iter().zip(self.stubs).zip(picked) {
            self.mount_one(&root, (mount, *stub), picked)?;
        }
        Ok(())
    }

    /// A mount of each thing that is inside of something else, in the order of the mounts.
    fn pick_out(&self, stash: &mut Stash) -> Result<Vec<Option<OwnedFd>>, Failure> {
        let picked = self.mounts.iter().map(|mount| match &mount.kind {
            WireKind::File { bytes, uid, gid, mode } => {
                stash.file(bytes, (*uid, *gid), *mode).map(Some)
            }
            WireKind::Bind { descriptor, name: Some(name), .. } => {
                mounts::inside(&self.descriptors[*descriptor], name).map(Some)
            }
            WireKind::Bind { name: None, .. } | WireKind::Tmpfs { .. } => Ok(None),
        });
        picked.collect()
    }

    fn change_root(&self) -> Result<(), Failure> {
        if !self.insecure() {
            mounts::restrict(self.root, MountAttrFlags::MOUNT_ATTR_NODEV, "/")?;
        }
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let old = rustix::fs::open("/", directory, Mode::empty()).doing("open the old root")?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(self.root, "", CWD, "/", flags).doing("mount the root")?;
        rustix::process::fchdir(self.root).doing("enter the root")?;
        rustix::process::pivot_root(".", ".").doing("change the root")?;
        // The old root now lies over the new one, and what was picked up lies over the old one.
        // An unmount takes the topmost, so it is repeated until the old root itself is gone: one
        // that stays could be reached with `chroot` and `..`.
        rustix::process::fchdir(&old).doing("enter the old root")?;
        loop {
            match rustix::mount::unmount(".", UnmountFlags::DETACH) {
                Ok(()) => {}
                // It is no mount of this name space any more.
                Err(Errno::INVAL) => break,
                Err(errno) => return Err(errno).doing("let go of the old root"),
            }
        }
        rustix::process::chdir("/").doing("enter the root")
    }

    fn mount_one(
        &self,
        root: &Root,
        (mount, stub): (&WireMount, bool),
        picked: Option<OwnedFd>,
    ) -> Result<(), Failure> {
        let dest = mount.dest.as_str();
        match &mount.kind {
            WireKind::Bind { descriptor, readonly, .. } => {
                let source = picked.as_ref().unwrap_or(&self.descriptors[*descriptor]);
                let stat = rustix::fs::fstat(source).doing_at("look at the mount", dest)?;
                let mut attributes = MountAttrFlags::empty();
                attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, *readonly);
                attributes.set(MountAttrFlags::MOUNT_ATTR_NODEV, !self.insecure());
                mounts::restrict(source.as_fd(), attributes, dest)?;
                let (place, _) = stubs::open_target(root, dest, Shape::of(&stat))?;
                mounts::attach(source, place, dest)
            }
            WireKind::Tmpfs { size } => {
                let (place, made) = stubs::open_target(root, dest, Shape::Directory)?;
                // A directory that the image has keeps its mode; another is like /tmp.
                let stat = rustix::fs::fstat(&place).doing_at("look at", dest)?;
                let mode = if made || stub { 0o1777 } else { stat.st_mode & 0o7777 };
                let (mode, size) = (format!("{mode:04o}"), size.to_string());
                let options = [("mode", mode.as_str()), ("size", size.as_str())];
                let options = if size == "0" { &options[..1] } else { &options[..] };
                let attributes =
                    MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
                mounts::attach(mounts::filesystem("tmpfs", options, attributes)?, place, dest)
            }
            WireKind::File { .. } => {
                let file = picked.expect("every file was stashed");
                let (place, _) = stubs::open_target(root, dest, Shape::File)?;
                mounts::attach(file, place, dest)
            }
        }
    }

    /// Enters the working directory, which is made if it is missing.
    fn enter_directory(&self) -> Result<(), Failure> {
        let cwd = if self.spec.cwd.is_empty() { "/" } else { self.spec.cwd.as_str() };
        let root = Root::open_dir("/").map_err(|e| e.source).doing_at("open", "/")?;
        let (place, made) = stubs::open_place(&root, cwd, Shape::Directory)?;
        if made {
            let (uid, gid) = (self.identity.uid, self.identity.gid);
            let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(&place, "", owner.0, owner.1, AtFlags::EMPTY_PATH)
                .doing_at("give away the working directory", cwd)?;
        }
        rustix::process::fchdir(&place).doing_at("enter the working directory", cwd)
    }

    /// Connects the three standard streams; the user owns the pipes, so that it can open
    /// `/dev/stdout`.
    fn connect_streams(&self) -> Result<(), Failure> {
        let owner = Some(Uid::from_raw(self.identity.uid));
        for pipe in [self.stdout, self.stderr] {
            // An unmapped user gets its own error soon.
            let _ = rustix::fs::fchown(pipe, owner, None);
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let null =
            rustix::fs::open("/dev/null", flags, Mode::empty()).doing_at("open", "/dev/null")?;
        rustix::stdio::dup2_stdin(&null).doing("connect standard input")?;
        rustix::stdio::dup2_stdout(self.stdout).doing("connect standard output")?;
        rustix::stdio::dup2_stderr(self.stderr).doing("connect standard error")
    }

    fn drop_privileges(&self) -> Result<(), Failure> {
        let insecure = self.insecure();
        if !insecure {
            for capability in CapabilitySet::all().difference(CAPABILITIES).iter() {
                match rustix::thread::remove_capability_from_bounding_set(capability) {
                    // A capability that the kernel does not know is not there.
                    Ok(()) | Err(Errno::INVAL) => {}
                    Err(error) => return Err(error).doing("drop capabilities"),
                }
            }
        }
        let (uid, gid) = (Uid::from_raw(self.identity.uid), Gid::from_raw(self.identity.gid));
        if self.may_set_groups {
            let groups: Vec<Gid> =
                self.identity.groups.iter().copied().map(Gid::from_raw).collect();
            rustix::thread::set_thread_groups(&groups).doing("set the groups")?;
        }
        rustix::thread::set_thread_res_gid(gid, gid, gid)
            .doing_at("switch to the group", &gid.as_raw().to_string())?;
        if !insecure {
            sys::load_filter(self.filter).doing("load the system call filter")?;
        }
        rustix::thread::set_thread_res_uid(uid, uid, uid)
            .doing_at("switch to the user", &uid.as_raw().to_string())?;
        let keep = if insecure { CapabilitySet::all() } else { CAPABILITIES };
        let have = rustix::thread::capabilities(None).doing("look at the capabilities")?;
        let sets = CapabilitySets {
            effective: have.effective & keep,
            permitted: have.permitted & keep,
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, sets).doing("drop capabilities")?;
        rustix::thread::clear_ambient_capability_set().doing("drop capabilities")?;
        // A change of user resets this, so it comes last.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing("die with the parent")
    }

    /// Becomes the command; without a registration of a foreign machine's programs, the
    /// emulator of the command.
    fn execute(&self, registered: bool) -> Failure {
        let program = self.spec.args.first().map_or("", String::as_str);
        let fail = |why| Failure::Program { program: program.to_owned(), why };
        let mut env = self.spec.env.clone();
        if !env.iter().any(|entry| entry.starts_with("HOME=")) {
            env.push(format!("HOME={}", self.identity.home));
        }
        let path = match find_program(program, &env) {
            Ok(path) => path,
            Err(why) => return fail(why),
        };
        let strings = |texts: &[String]| -> Result<Vec<CString>, std::ffi::NulError> {
            texts.iter().map(|text| CString::new(text.as_str())).collect()
        };
        let (path, args) = match registered {
            true => (path, self.spec.args.clone()),
            false => through_emulator(path, &self.spec.args),
        };
        let prepared = CString::new(path).and_then(|p| Ok((p, strings(&args)?, strings(&env)?)));
        match prepared {
            Ok((path, args, env)) => {
                fail(ProgramError::from_execve(&sys::execute(&path, &args, &env)))
            }
            Err(_) => fail(ProgramError::ZeroByte),
        }
    }
}

/// The command that has the emulator run `path` under the name it was called by.
fn through_emulator(path: String, args: &[String]) -> (String, Vec<String>) {
    let name = args.first().unwrap_or(&path).clone();
    let own = [EMULATOR.to_owned(), "-0".to_owned(), name, path];
    (EMULATOR.to_owned(), own.into_iter().chain(args.iter().skip(1).cloned()).collect())
}

/// Finds a command as a shell does: by path, or in the directories of `PATH`.
fn find_program(program: &str, env: &[String]) -> Result<String, ProgramError> {
    if program.contains('/') {
        return check_program(program).map(|()| program.to_owned());
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    for dir in path.split(':').filter(|_| !program.is_empty()) {
        let dir = if dir.is_empty() { "." } else { dir };
        let candidate = format!("{dir}/{program}");
        if check_program(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    Err(ProgramError::NotInPath)
}

fn check_program(path: &str) -> Result<(), ProgramError> {
    let stat = rustix::fs::stat(path).map_err(|e| ProgramError::from_execve(&e.into()))?;
    if Shape::of(&stat) == Shape::Directory {
        return Err(ProgramError::Directory);
    }
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK)
        .map_err(|e| ProgramError::from_execve(&e.into()))
}

fn start_loopback() -> Result<(), Failure> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .doing("open a socket")?;
    sys::start_loopback(socket.as_fd()).doing("start the loopback interface")
}

#[cfg(test)]
mod tests {
    use super::{EMULATOR, through_emulator};

    #[test]
    fn an_emulator_is_told_the_name_that_a_command_was_called_by() {
        let args = ["sh", "-c", "true"].map(str::to_owned);
        let (path, args) = through_emulator("/bin/sh".to_owned(), &args);
        assert_eq!(path, EMULATOR);
        assert_eq!(args, [EMULATOR, "-0", "sh", "/bin/sh", "-c", "true"]);
    }
}
