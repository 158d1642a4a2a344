//! One `git` after the other: what it finds around it, how long it may take, how much it may say.
//!
//! It asks nobody anything, writes files as everybody may read them, and is killed, with all
//! that it started, when the build is cancelled or the remote says nothing any more.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::Watch;
use super::credentials::Credentials;

/// Settings that no repository and no user changes. Folders of this machine are no remotes, not
/// even of submodules; files come out the same for everybody; nothing goes on in the background.
const SETTINGS: [&str; 19] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "core.autocrlf=false",
    "core.eol=lf",
    "core.symlinks=true",
    "core.attributesFile=/dev/null",
    "protocol.file.allow=never",
    "protocol.ext.allow=never",
    "init.defaultBranch=master",
    "init.defaultRefFormat=files",
    "advice.detachedHead=false",
    "log.showSignature=false",
    "maintenance.auto=false",
    "gc.auto=0",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
];

/// How `ssh` is called, unless the user says how: it asks nothing, and notices when the other
/// side is gone.
const SSH: &str =
    "ssh -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4";

/// What would make `git` look elsewhere than where it is told to.
const FORGOTTEN: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_TRACE",
    "GIT_DEFAULT_REF_FORMAT",
];

/// How often it is looked whether to go on.
const TICK: Duration = Duration::from_millis(50);

/// The longest that one command takes.
const LONGEST: Duration = Duration::from_hours(2);

/// How long its words may be under way when it has ended. What it leaves running, such as the
/// user's own connection that is shared, may hold its ends of the pipes for ever.
const LINGER: Duration = Duration::from_secs(2);

/// The longest answer, and the longest line, that is kept.
const MAX_ANSWER: usize = 16 << 20;
const MAX_LINE: usize = 4 << 10;

/// The lines that are handed on; more than these tell nothing.
const MAX_LINES: usize = 1000;

/// Why a command did not do what it should.
pub(super) enum Failed {
    Start(io::Error),
    Cancelled,
    /// Its last words.
    Said(String),
}

/// Runs `git` in one folder.
pub(super) struct Runner<'a> {
    folder: PathBuf,
    credentials: Option<Credentials>,
    /// Whether nobody else says how `ssh` is called.
    calls_ssh: bool,
    watch: Watch<'a>,
}

impl<'a> Runner<'a> {
    /// In `folder`, with what the address said of its user.
    pub(super) fn new(
        folder: &Path,
        credentials: Option<Credentials>,
        watch: Watch<'a>,
    ) -> Result<Self, Failed> {
        let mut runner =
            Self { folder: folder.to_path_buf(), credentials, calls_ssh: false, watch };
        let is_set = |name: &str| std::env::var_os(name).is_some();
        if !is_set("GIT_SSH_COMMAND") && !is_set("GIT_SSH") {
            runner.calls_ssh = match runner.run(&["config", "--get", "core.sshCommand"]) {
                Ok(command) => command.trim().is_empty(),
                Err(Failed::Said(_)) => true,
                Err(failed) => return Err(failed),
            };
        }
        Ok(runner)
    }

    /// Runs one command to its end, and gives what it prints.
    pub(super) fn run(&mut self, args: &[&str]) -> Result<String, Failed> {
        let mut child = self.command(args).spawn().map_err(Failed::Start)?;
        let (sender, parts) = sync_channel(16);
        if let Some(stream) = child.stdout.take() {
            forward(stream, Part::Answer, sender.clone());
        }
        if let Some(stream) = child.stderr.take() {
            forward(stream, Part::Said, sender);
        }
        let mut heard = Heard::default();
        let ended = self.listen(&mut child, &parts, &mut heard);
        let status = match ended {
            Ok(status) => status,
            Err(failed) => {
                kill(&mut child);
                return Err(failed);
            }
        };
        heard.finish(&mut self.watch);
        match status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&heard.answer).into_owned()),
            // The shell's way to say so.
            Some(127) => Err(Failed::Start(io::ErrorKind::NotFound.into())),
            _ => Err(Failed::Said(heard.last.unwrap_or_else(|| "git failed".to_owned()))),
        }
    }

    /// Hears it out; an error if it must not go on.
    fn listen(
        &mut self,
        child: &mut Child,
        parts: &Receiver<Part>,
        heard: &mut Heard,
    ) -> Result<ExitStatus, Failed> {
        let began = Instant::now();
        let mut ended = None;
        loop {
            let received = parts.recv_timeout(TICK);
            let is_silent = matches!(received, Err(RecvTimeoutError::Disconnected));
            if let Ok(part) = received {
                heard.take(part, &mut self.watch)?;
            } else {
                if ended.is_none() {
                    let status = child.try_wait().map_err(Failed::Start)?;
                    ended = status.map(|status| (status, Instant::now()));
                }
                match ended {
                    Some((status, at)) if is_silent || at.elapsed() > LINGER => return Ok(status),
                    None if is_silent => thread::sleep(TICK / 10),
                    _ => {}
                }
            }
            if (self.watch.is_cancelled)() {
                return Err(Failed::Cancelled);
            }
            if began.elapsed() > LONGEST {
                return Err(Failed::Said("it took too long".to_owned()));
            }
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 022 && exec git \"$@\"", "git"]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(args).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        for (name, value) in [
            ("GIT_TERMINAL_PROMPT", "0"),
            ("SSH_ASKPASS_REQUIRE", "never"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("LC_ALL", "C"),
        ] {
            command.env(name, value);
        }
        let above = self.folder.parent().map_or(OsStr::new("/"), Path::as_os_str);
        command.env("GIT_CEILING_DIRECTORIES", above);
        if self.calls_ssh {
            command.env("GIT_SSH_COMMAND", SSH);
        }
        for name in FORGOTTEN {
            command.env_remove(name);
        }
        if let Some(credentials) = &self.credentials {
            let count = std::env::var("GIT_CONFIG_COUNT").ok();
            let count = count.and_then(|text| text.parse().ok()).unwrap_or(0);
            command.envs(credentials.variables(count));
        }
        command
    }
}

/// Kills it, and all that it started.
fn kill(child: &mut Child) {
    // Whoever is gone already needs no signal.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    drop(child.wait());
}

enum Part {
    Answer(Vec<u8>),
    Said(Vec<u8>),
}

fn forward(
    mut stream: impl Read + Send + 'static,
    part: fn(Vec<u8>) -> Part,
    sender: SyncSender<Part>,
) {
    thread::spawn(move || {
        let mut buffer = [0; 8 << 10];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if sender.send(part(buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    });
}

/// What was heard so far.
#[derive(Default)]
struct Heard {
    answer: Vec<u8>,
    /// The line that is not at its end yet.
    line: Vec<u8>,
    lines: usize,
    last: Option<String>,
}

impl Heard {
    fn take(&mut self, part: Part, watch: &mut Watch<'_>) -> Result<(), Failed> {
        match part {
            Part::Answer(bytes) if self.answer.len() + bytes.len() > MAX_ANSWER => {
                return Err(Failed::Said("the answer is too long".to_owned()));
            }
            Part::Answer(bytes) => self.answer.extend(bytes),
            Part::Said(bytes) => {
                for byte in bytes {
                    match byte {
                        b'\n' | b'\r' => self.finish(watch),
                        _ if self.line.len() < MAX_LINE => self.line.push(byte),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells the line, if there is something in it.
    fn finish(&mut self, watch: &mut Watch<'_>) {
        let line = std::mem::take(&mut self.line);
        let line = bakehouse_render::clean(&String::from_utf8_lossy(&line));
        if line.trim().is_empty() {
            return;
        }
        self.lines += 1;
        if self.lines <= MAX_LINES {
            (watch.log)(&line);
        }
        self.last = Some(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_is_bounded() {
        let mut told = Vec::new();
        let mut log = |line: &str| told.push(line.to_owned());
        let mut watch = Watch { log: &mut log, is_cancelled: &|| false };
        let mut heard = Heard::default();
        let line = [vec![b'x'; MAX_LINE * 2], b"\r\n".to_vec()].concat();
        for _ in 0..MAX_LINES + 5 {
            assert!(heard.take(Part::Said(line.clone()), &mut watch).is_ok());
        }
        assert!(heard.take(Part::Said(b"the end\n".to_vec()), &mut watch).is_ok());
        assert!(heard.take(Part::Answer(vec![0; MAX_ANSWER]), &mut watch).is_ok());
        assert!(heard.take(Part::Answer(vec![0]), &mut watch).is_err());
        assert_eq!(heard.last.as_deref(), Some("the end"));
        assert_eq!((told.len(), told[0].len()), (MAX_LINES, MAX_LINE));
    }
}
