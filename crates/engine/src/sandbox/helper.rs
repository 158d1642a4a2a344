//! The helper: this program again, with one thread, which starts steps and waits for them.
//!
//! The engine has many threads and must not fork. It starts a helper once, gives it one
//! step after the other, and lets it go by closing the conversation. A helper that loses
//! its engine kills what it runs and goes too.

use std::env;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use bakehouse_model::op::Network;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::child::Launch;
use super::failure::{Doing as _, Failure};
use super::foreign::Nursery;
use super::protocol::{Answer, Channel, Ended, Order, Run, WireKind, WireMount};
use super::seal::seal;
use super::stubs::{Shape, Stubs, refuse_vital};
use super::sys::{self, Side};
use super::users;
use crate::root::Root;
use crate::seccomp::{Instruction, default_filter};
use crate::userns;

/// The first argument that makes this program a helper.
pub(super) const ARGUMENT: &str = "__sandbox";

/// What a helper exits with when the conversation broke.
const EXIT_BROKEN: i32 = 70;

/// What a process exits with that never became a command; nobody sees it.
const EXIT_NEVER_STARTED: i32 = 127;

/// Places that every step has its own of.
const SYSTEM: [&str; 3] = ["/proc", "/dev", "/sys"];

/// Becomes a sandbox helper, and never returns, if that is what this process was started
/// for. Must be the first thing that `main` does: a helper has one thread.
pub fn run_helper_if_asked() {
    userns::map_if_asked();
    if env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT) {
        sys::exit_now(serve());
    }
}

/// Answers orders until there are no more.
fn serve() -> i32 {
    sys::reset_signals();
    sys::close_inherited(3);
    if seal(ARGUMENT).is_err() {
        return EXIT_BROKEN;
    }
    // A keyboard's interrupt is for the engine, which kills what has to be killed.
    let _ = rustix::process::setsid();
    let Ok(control) = std::io::stdin().as_fd().try_clone_to_owned() else { return EXIT_BROKEN };
    let mut helper = Helper {
        channel: Channel::new(UnixStream::from(control)),
        filter: default_filter(),
        may_set_groups: userns::may_set_groups(),
    };
    loop {
        match helper.channel.receive() {
            Ok(None) => return 0,
            Ok(Some((Order::Run(run), descriptors))) => match helper.run(&run, descriptors) {
                Ok(Some(answer)) if helper.channel.send(&answer, &[]).is_ok() => {}
                Ok(None) => return 0,
                Ok(Some(_)) | Err(_) => return EXIT_BROKEN,
            },
            Ok(Some((Order::Kill, _))) | Err(_) => return EXIT_BROKEN,
        }
    }
}

/// The message is none that may come now.
struct OutOfPhase;

struct Helper {
    channel: Channel,
    filter: Vec<Instruction>,
    may_set_groups: bool,
}

/// The descriptors of a step, by what they are.
struct Descriptors {
    root: Root,
    stdout: OwnedFd,
    stderr: OwnedFd,
    cgroups: Vec<OwnedFd>,
    mounts: Vec<OwnedFd>,
}

impl Descriptors {
    fn sort(run: &Run, all: Vec<OwnedFd>) -> Option<Self> {
        let mut all = all.into_iter();
        let root = Root::from_fd(all.next()?);
        let (stdout, stderr) = (all.next()?, all.next()?);
        let wanted = run.cgroups.descriptors();
        let cgroups: Vec<OwnedFd> = all.by_ref().take(wanted).collect();
        let mounts: Vec<OwnedFd> = all.collect();
        let known = run.mounts.iter().all(|mount| match mount.kind {
            WireKind::Bind { descriptor, .. } => descriptor < mounts.len(),
            WireKind::Tmpfs { .. } | WireKind::File { .. } => true,
        });
        (known && cgroups.len() == wanted).then_some(Self { root, stdout, stderr, cgroups, mounts })
    }
}

impl Helper {
    /// Runs one step; none if the engine is gone.
    fn run(&mut self, run: &Run, all: Vec<OwnedFd>) -> Result<Option<Answer>, OutOfPhase> {
        let Some(descriptors) = Descriptors::sort(run, all) else { return Err(OutOfPhase) };
        let Descriptors { root, stdout, stderr, cgroups, mounts } = descriptors;
        let mut stubs = Stubs::default();
        let started = self.start(
            run,
            &Opened { root: &root, cgroups: &cgroups, mounts: &mounts },
            &mut stubs,
            (stdout, stderr),
        );
        drop(mounts);
        let answer = match started {
            Ok(started) => self.supervise(started),
            Err(failure) => Ok(Some(Answer::Failed(failure))),
        };
        stubs.remove(&root);
        answer
    }

    fn start(
        &self,
        run: &Run,
        opened: &Opened<'_>,
        stubs: &mut Stubs,
        (stdout, stderr): (OwnedFd, OwnedFd),
    ) -> Result<Started, Failure> {
        let spec = &run.spec;
        let identity = users::resolve(opened.root, &spec.user).map_err(Failure::User)?;
        let fresh = make_stubs(run, opened, stubs)?;
        let launch = Launch {
            root: opened.root.as_fd(),
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
            cgroups: opened.cgroups,
            cgroup_kind: run.cgroups,
            mounts: &run.mounts,
            stubs: &fresh,
            descriptors: opened.mounts,
            spec,
            identity: &identity,
            filter: &self.filter,
            may_set_groups: self.may_set_groups,
        };
        let nursery = spec.foreign.map(|_| Nursery::open()).transpose()?;
        let (complaint, complain) = pipe_with(PipeFlags::CLOEXEC).doing("make a pipe")?;
        let mut namespaces =
            libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        if spec.network == Network::None {
            namespaces |= libc::CLONE_NEWNET;
        }
        let namespaces = u64::from(namespaces.cast_unsigned());
        match sys::clone_process(namespaces).doing("make a process in new name spaces")? {
            Side::Parent(process) => {
                if let Some(nursery) = nursery {
                    nursery.map(process.as_fd())?;
                }
                Ok(Started { process, complaint })
            }
            Side::Child => {
                let failure = launch.go(nursery.map(Nursery::child));
                let text = serde_json::to_vec(&failure).unwrap_or_default();
                // There is nobody else to tell.
                let _ = rustix::io::write(&complain, &text);
                sys::exit_now(EXIT_NEVER_STARTED)
            }
        }
    }

    /// Waits for the process, and kills it when it is told to or when the engine is gone.
    fn supervise(&mut self, started: Started) -> Result<Option<Answer>, OutOfPhase> {
        let process = started.process.as_fd();
        let mut engine_gone = false;
        loop {
            let mut events =
                [PollFd::new(&process, PollFlags::IN), PollFd::new(&self.channel, PollFlags::IN)];
            let watched = if engine_gone { &mut events[..1] } else { &mut events[..] };
            match poll(watched, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return Err(OutOfPhase),
            }
            let ended = !events[0].revents().is_empty();
            let spoken_to = !engine_gone && !events[1].revents().is_empty();
            if ended {
                break;
            }
            if spoken_to {
                engine_gone = match self.channel.receive() {
                    Ok(Some((Order::Kill, _))) => false,
                    Ok(None) | Err(_) => true,
                    Ok(Some((Order::Run(_), _))) => return Err(OutOfPhase),
                };
                // It may just have ended by itself.
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
        }
        if engine_gone { Ok(None) } else { Ok(Some(started.verdict())) }
    }
}

/// What a step borrows of its descriptors.
struct Opened<'a> {
    root: &'a Root,
    cgroups: &'a [OwnedFd],
    mounts: &'a [OwnedFd],
}

/// A process that is, or is about to be, a step's command.
struct Started {
    process: OwnedFd,
    /// Says why it never became the command; says nothing if it did.
    complaint: OwnedFd,
}

impl Started {
    /// How the process ended, once it has.
    fn verdict(self) -> Answer {
        let mut complaint = Vec::new();
        // Without a complaint the process became the command.
        std::fs::File::from(self.complaint).read_to_end(&mut complaint).ok();
        let status = waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED);
        if let Ok(failure) = serde_json::from_slice(&complaint) {
            return Answer::Failed(failure);
        }
        match status.doing("wait for the process") {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Answer::Ended(Ended::Exited(code)),
                (None, Some(signal)) => Answer::Ended(Ended::Killed(signal)),
                (None, None) => Answer::Ended(Ended::Killed(libc::SIGKILL)),
            },
            Ok(None) => Answer::Ended(Ended::Killed(libc::SIGKILL)),
            Err(failure) => Answer::Failed(failure),
        }
    }
}

/// Makes what the root lacks for the mounts; tells which of them got something new.
///
/// What lies below another mount is made there, by the new process.
fn make_stubs(run: &Run, opened: &Opened<'_>, stubs: &mut Stubs) -> Result<Vec<bool>, Failure> {
    let mut covered: Vec<PathBuf> = Vec::new();
    for path in SYSTEM {
        let is_below = |mount: &WireMount| Path::new(&mount.dest).starts_with(path);
        if run.mounts.iter().any(is_below) {
            // With BuildKit it is then one of the places that were made for the mount.
            stubs.make(opened.root, Path::new(path), Shape::Directory)?;
        } else {
            stubs.leave(opened.root, Path::new(path))?;
        }
        covered.push(PathBuf::from(path));
    }
    let mut fresh = Vec::new();
    for mount in &run.mounts {
        let real = opened.root.resolve(&mount.dest).map_err(|e| e.source);
        let real = real.doing_at("resolve", &mount.dest)?;
        refuse_vital(&real)?;
        if covered.iter().any(|other| real.starts_with(other)) {
            fresh.push(false);
            continue;
        }
        let shape = match &mount.kind {
            WireKind::Bind { name: Some(_), .. } | WireKind::File { .. } => Shape::File,
            WireKind::Bind { descriptor, name: None, .. } => {
                let stat = fstat(&opened.mounts[*descriptor]);
                Shape::of(&stat.doing_at("look at the mount", &mount.dest)?)
            }
            WireKind::Tmpfs { .. } => Shape::Directory,
        };
        fresh.push(stubs.make(opened.root, &real, shape)?);
        covered.push(real);
    }
    Ok(fresh)
}
