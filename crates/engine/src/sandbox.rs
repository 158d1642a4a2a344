//! A process of a step, in a box of its own.
//!
//! [`Sandbox::run`] gives a command the surroundings that BuildKit gives to `RUN`: its own
//! mounts, processes, IPC and host name, the default capabilities and system calls, the
//! usual `/proc`, `/dev` and `/sys`, and whatever else is to be mounted. The command is
//! process 1; when it ends, or the engine does, everything it started is gone. What was
//! made in the root only to mount on it is gone as well.
//!
//! The work is done by a helper, which is this program again (`run_helper_if_asked`) with
//! one thread, because a program with many must not fork. Helpers are kept for the next
//! step. Needs Linux 5.12 for `mount_setattr`, and to be root, of the machine or of a
//! user namespace (see [`crate::userns`]).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use bakehouse_model::Stream;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use thiserror::Error;

mod cancel;
mod cgroup;
mod child;
mod devices;
mod etc;
mod failure;
mod foreign;
mod helper;
mod limits;
mod mounts;
mod output;
mod protocol;
mod relay;
mod seal;
mod spec;
mod stubs;
mod sys;
mod system;
mod users;

pub use cancel::Cancel;
pub use cgroup::CgroupError;
pub use failure::ProgramError;
pub use helper::run_helper_if_asked;
pub use spec::{Limit, Limits, MountSource, ResolvedMount, Spec, Step};
pub(crate) use sys::enter_user_namespace;
pub use users::UserError;

use cgroup::{Cgroup, Cgroups};
use failure::{Failure, KernelFailure};
use output::Lines;
use protocol::{Answer, Channel, Ended, Order};
use spec::Sources;

/// Where sandboxes come from.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// A program that calls [`run_helper_if_asked`] first.
    pub helper: PathBuf,
}

impl Default for SandboxConfig {
    /// This program.
    fn default() -> Self {
        Self { helper: PathBuf::from("/proc/self/exe") }
    }
}

/// Runs steps, from any number of threads at once.
#[derive(Debug)]
pub struct Sandbox {
    helper: PathBuf,
    cgroups: Cgroups,
    killed_before: Option<u64>,
    idle: Mutex<Vec<Helper>>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; for a signal, 128 and the signal, as shells have it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed it, or a process of it, for using too much memory.
    pub oom: bool,
}

impl Exit {
    /// Whether the command succeeded.
    pub fn success(self) -> bool {
        self.code == 0
    }
}

/// A step could not be run, or was stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The helper could not be used.
    #[error("cannot {doing} the sandbox helper")]
    Helper {
        /// What was tried, as a verb.
        doing: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The helper is gone.
    #[error("the sandbox helper ended in the middle of a step")]
    HelperDied,
    /// The kernel refused something on the way to the command.
    #[error("cannot {doing}{}", on(path.as_deref(), says.as_deref()))]
    Kernel {
        /// What was tried, as a verb.
        doing: String,
        /// On what.
        path: Option<String>,
        /// The kernel's own words, if it had any.
        says: Option<String>,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// The image does not know the user or group.
    #[error(transparent)]
    User(#[from] UserError),
    /// The command cannot be executed.
    #[error("exec: {program:?}: {}", why_not(*why))]
    Program {
        /// As it is written.
        program: String,
        /// What is wrong with it.
        why: ProgramError,
    },
    /// A mount has no place.
    #[error("mount target `{dest}` must be an absolute path below the root")]
    MountTarget {
        /// As it is written.
        dest: String,
    },
    /// A mount would hide what every step needs, or pretend to be it.
    #[error("nothing can be mounted on `{real}`: every step needs what is there")]
    MountCovers {
        /// Where the mount's target leads to.
        real: String,
    },
    /// More mounts than fit into a message.
    #[error("a step may have at most {limit} bind mounts")]
    TooManyMounts {
        /// How many.
        limit: usize,
    },
    /// A limit cannot be set.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Somebody wanted the step to stop.
    #[error("cancelled")]
    Cancelled,
}

impl SandboxError {
    /// The code that a shell would end with, for a command that never ran.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Program { why: ProgramError::NotInPath | ProgramError::Missing, .. } => Some(127),
            Self::Program { .. } => Some(126),
            _ => None,
        }
    }
}

impl From<Failure> for SandboxError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Kernel(KernelFailure { doing, path, errno, says }) => Self::Kernel {
                doing: doing.into_owned(),
                path,
                says,
                source: io::Error::from_raw_os_error(errno),
            },
            Failure::User(error) => Self::User(error),
            Failure::Covers { real } => Self::MountCovers { real },
            Failure::Program { program, why } => Self::Program { program, why },
        }
    }
}

fn on(path: Option<&str>, says: Option<&str>) -> String {
    let path = path.map(|path| format!(" `{path}`")).unwrap_or_default();
    let says = says.map(|says| format!(" ({says})")).unwrap_or_default();
    path + &says
}

fn why_not(why: ProgramError) -> String {
    match why {
        ProgramError::NotInPath => "executable file not found in $PATH".to_owned(),
        ProgramError::Missing => "no such file or directory".to_owned(),
        ProgramError::Denied => "permission denied".to_owned(),
        ProgramError::Directory => "is a directory".to_owned(),
        ProgramError::Format => "exec format error".to_owned(),
        ProgramError::TooLong => "argument list too long".to_owned(),
        ProgramError::ZeroByte => "zero byte in the command or its environment".to_owned(),
        ProgramError::Refused(errno) => io::Error::from_raw_os_error(errno).to_string(),
    }
}

impl Sandbox {
    /// Makes a sandbox; nothing is started yet.
    pub fn new(config: SandboxConfig) -> Self {
        let killed_before = cgroup::killed_for_memory();
        let (cgroups, idle) = (Cgroups::detect(), Mutex::new(Vec::new()));
        Self { helper: config.helper, cgroups, killed_before, idle }
    }

    /// Whether the kernel has killed any process of the machine for want of memory since this
    /// sandbox was made, be it one of a step or not.
    pub fn machine_ran_out_of_memory(&self) -> bool {
        let (before, now) = (self.killed_before, cgroup::killed_for_memory());
        before.zip(now).is_some_and(|(before, now)| now > before)
    }

    /// Limits what all steps that run at the same time may use together, as far as
    /// [`unkept`](Self::unkept) does not say otherwise.
    pub fn limit_run(&mut self, limits: &Limits) -> Result<(), CgroupError> {
        self.cgroups.limit_run(limits)
    }

    /// What of these limits cannot be kept here, because there is no cgroup to do it.
    pub fn unkept(&self, limits: &Limits) -> Vec<Limit> {
        self.cgroups.unkept(limits)
    }

    /// Runs a command until it ends, and gives its output to `sink` line by line.
    ///
    /// When this returns, no process of the step is left, whatever it returns.
    pub fn run(
        &self,
        step: Step,
        sink: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
    ) -> Result<Exit, SandboxError> {
        if cancel.is_cancelled() {
            return Err(SandboxError::Cancelled);
        }
        let cgroup = self.cgroups.make(&step.spec.limits)?;
        let mut helper = self.take_helper()?;
        let (pipes, _sources) = start(&mut helper, step, cgroup.as_ref())?;
        match attend(&mut helper, pipes, sink, cancel)? {
            Some(Answer::Ended(ended)) => {
                self.put_back(helper);
                Ok(exit(ended, cgroup.as_ref()))
            }
            Some(Answer::Failed(failure)) => {
                self.put_back(helper);
                Err(failure.into())
            }
            None => Err(SandboxError::Cancelled),
        }
    }

    fn take_helper(&self) -> Result<Helper, SandboxError> {
        loop {
            let idle = self.idle.lock().expect("nothing panics while it holds the lock").pop();
            let Some(mut helper) = idle else { return Helper::start(&self.helper) };
            if helper.is_alive() {
                return Ok(helper);
            }
        }
    }

    fn put_back(&self, helper: Helper) {
        self.idle.lock().expect("nothing panics while it holds the lock").push(helper);
    }
}

fn exit(ended: Ended, cgroup: Option<&Cgroup>) -> Exit {
    let oom = cgroup.is_some_and(Cgroup::ran_out_of_memory);
    match ended {
        Ended::Exited(code) => Exit { code, signal: None, oom },
        Ended::Killed(signal) => Exit { code: 128 + signal, signal: Some(signal), oom },
    }
}

/// A running helper and the conversation with it.
#[derive(Debug)]
struct Helper {
    /// Closed before the process is waited for: that is what makes it go.
    channel: Option<Channel>,
    process: Child,
}

impl Helper {
    fn start(program: &PathBuf) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Helper { doing: "start", source };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let process = Command::new(program)
            .arg(helper::ARGUMENT)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Self { channel: Some(Channel::new(ours)), process })
    }

    /// Whether nothing killed it while it waited.
    fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    fn channel(&mut self) -> &mut Channel {
        self.channel.as_mut().expect("only dropping a helper closes its channel")
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.channel = None;
        // It ends because nobody speaks to it any more; how does not matter.
        self.process.wait().ok();
    }
}

/// The ends of a step's output that are read.
struct Pipes {
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Asks a helper to run a step; also gives what has to live until it ends.
fn start(
    helper: &mut Helper,
    step: Step,
    cgroup: Option<&Cgroup>,
) -> Result<(Pipes, Sources), SandboxError> {
    let failed = |source| SandboxError::Helper { doing: "speak to", source };
    let open = || -> Result<(OwnedFd, OwnedFd), Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
        Ok((read, write))
    };
    let (stdout, stdout_end) = open().map_err(|e| failed(e.into()))?;
    let (stderr, stderr_end) = open().map_err(|e| failed(e.into()))?;
    let root = step.root.try_clone().map_err(failed)?;
    let (run, sources) = step.into_order(cgroup.map(Cgroup::kind))?;
    let mut descriptors: Vec<BorrowedFd<'_>> =
        vec![root.as_fd(), stdout_end.as_fd(), stderr_end.as_fd()];
    descriptors.extend(cgroup.into_iter().flat_map(Cgroup::directories));
    descriptors.extend(sources.descriptors.iter().map(|mount| mount.as_fd()));
    if descriptors.len() > protocol::MAX_DESCRIPTORS {
        return Err(SandboxError::TooManyMounts { limit: protocol::MAX_DESCRIPTORS - 6 });
    }
    helper.channel().send(&Order::Run(Box::new(run)), &descriptors).map_err(failed)?;
    Ok((Pipes { stdout, stderr }, sources))
}

/// Passes on output until the helper answers; none if the step was cancelled.
fn attend(
    helper: &mut Helper,
    pipes: Pipes,
    sink: &mut dyn FnMut(Stream, &[u8]),
    cancel: &Cancel,
) -> Result<Option<Answer>, SandboxError> {
    let failed = |source| SandboxError::Helper { doing: "listen to", source };
    let mut lines = Lines::default();
    let mut open = [Some(pipes.stdout), Some(pipes.stderr)];
    let mut killed = false;
    loop {
        let [mut stdout, mut stderr, mut cancelled] = [false, false, false];
        let mut answered = false;
        {
            let mut watched = vec![(PollFd::new(helper.channel(), PollFlags::IN), &mut answered)];
            if !killed {
                watched.push((PollFd::new(cancel, PollFlags::IN), &mut cancelled));
            }
            for (pipe, seen) in open.iter().zip([&mut stdout, &mut stderr]) {
                if let Some(pipe) = pipe {
                    watched.push((PollFd::new(pipe, PollFlags::IN), seen));
                }
            }
            let (mut events, seen): (Vec<_>, Vec<_>) = watched.into_iter().unzip();
            match poll(&mut events, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
            for (event, seen) in events.iter().zip(seen) {
                *seen = !event.revents().is_empty();
            }
        }
        // The process is dead when the helper answers, so all it wrote is in the pipes.
        for ((pipe, stream), ready) in
            open.iter_mut().zip([Stream::Stdout, Stream::Stderr]).zip([stdout, stderr])
        {
            if ready || answered {
                drain(pipe, stream, &mut lines, sink);
            }
        }
        if answered {
            lines.finish(sink);
            let answer = helper.channel().receive::<Answer>().map_err(failed)?;
            let (answer, _) = answer.ok_or(SandboxError::HelperDied)?;
            return Ok((!killed).then_some(answer));
        }
        if cancelled {
            killed = true;
            helper.channel().send(&Order::Kill, &[]).map_err(failed)?;
        }
    }
}

/// Reads what is in a pipe; closes it when nobody can write to it any more.
fn drain(
    pipe: &mut Option<OwnedFd>,
    stream: Stream,
    lines: &mut Lines,
    sink: &mut dyn FnMut(Stream, &[u8]),
) {
    let mut buffer = [0; 16 * 1024];
    while let Some(open) = pipe {
        match rustix::io::read(open, &mut buffer) {
            Ok(0) => *pipe = None,
            Ok(size) => lines.push(stream, &buffer[..size], sink),
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
