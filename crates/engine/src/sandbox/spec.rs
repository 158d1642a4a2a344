//! What is asked of a sandbox.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bakehouse_model::op::{Exec, Network, Security, Ulimit};
use rustix::fs::CWD;
use serde::{Deserialize, Serialize};

use super::SandboxError;
use super::etc;
use super::failure::Doing as _;
use super::mounts::copy_of;
use super::protocol::{CgroupKind, Run, WireKind, WireMount};
use super::relay::{self, Relay};
use crate::emulate::Machine;

/// A command, the root it runs in, and what else it sees.
#[derive(Debug)]
pub struct Step {
    /// The root: a detached mount that can be written to. It serves one step: the kernel
    /// unmounts it when the last process is gone.
    pub root: OwnedFd,
    /// The command.
    pub spec: Spec,
    /// What is mounted, in any order; of two with the same target the later one counts.
    pub mounts: Vec<ResolvedMount>,
}

/// A command and its circumstances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`; `HOME` is added if it is missing.
    pub env: Vec<String>,
    /// Working directory, made if it is missing.
    pub cwd: String,
    /// `user[:group]`, by name or number; empty for root.
    pub user: String,
    /// Host name; empty for the default.
    pub hostname: String,
    /// Network it sees.
    pub network: Network,
    /// How far it is trusted.
    pub security: Security,
    /// Resource limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// More lines of `/etc/hosts`: host and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Bytes of `/dev/shm`; none for the default.
    pub shm_size: Option<u64>,
    /// Limits of all its processes together.
    pub limits: Limits,
    /// The machine whose programs [`EMULATOR`](crate::emulate::EMULATOR) runs, which must be
    /// among the mounts; none if the kernel runs all of them.
    pub foreign: Option<Machine>,
}

/// What all processes of a step may use together; none for as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_millis: Option<u32>,
    /// Processes.
    pub pids: Option<u32>,
}

impl Limits {
    /// These, lowered to what `all` may use where that is less.
    pub(super) fn within(self, all: &Self) -> Self {
        fn least<T: Ord>(one: Option<T>, all: Option<T>) -> Option<T> {
            match (one, all) {
                (Some(one), Some(all)) => Some(one.min(all)),
                (one, _) => one,
            }
        }
        Self {
            memory: least(self.memory, all.memory),
            cpu_millis: least(self.cpu_millis, all.cpu_millis),
            pids: least(self.pids, all.pids),
        }
    }
}

/// One of the [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::memory`].
    Memory,
    /// [`Limits::cpu_millis`].
    Processors,
    /// [`Limits::pids`].
    Processes,
}

impl Limit {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Processors, Self::Processes];

    /// What it limits, in words.
    pub fn what(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processors => "processors",
            Self::Processes => "processes",
        }
    }

    /// Whether these limits have it.
    pub(super) fn is_in(self, limits: &Limits) -> bool {
        match self {
            Self::Memory => limits.memory.is_some(),
            Self::Processors => limits.cpu_millis.is_some(),
            Self::Processes => limits.pids.is_some(),
        }
    }

    pub(super) fn without(self, limits: Limits) -> Limits {
        match self {
            Self::Memory => Limits { memory: None, ..limits },
            Self::Processors => Limits { cpu_millis: None, ..limits },
            Self::Processes => Limits { pids: None, ..limits },
        }
    }

    /// This limit alone, with a value that hinders nobody.
    pub(super) fn probe(self) -> Limits {
        let none = Limits::default();
        match self {
            Self::Memory => Limits { memory: Some(1 << 40), ..none },
            Self::Processors => Limits { cpu_millis: Some(1000), ..none },
            Self::Processes => Limits { pids: Some(10_000), ..none },
        }
    }
}

impl From<&Exec> for Spec {
    /// The command of an op. Its mounts and secret variables have to be resolved apart.
    fn from(exec: &Exec) -> Self {
        Self {
            args: exec.args.clone(),
            env: exec.env.iter().chain(&exec.proxy_env).cloned().collect(),
            cwd: exec.cwd.clone(),
            user: exec.user.clone(),
            hostname: exec.hostname.clone(),
            network: exec.network,
            security: exec.security,
            ulimits: exec.ulimits.clone(),
            extra_hosts: exec.extra_hosts.clone(),
            shm_size: exec.shm_size,
            limits: Limits::default(),
            foreign: None,
        }
    }
}

/// Something to mount.
#[derive(Debug)]
pub struct ResolvedMount {
    /// Where, absolute.
    pub dest: String,
    /// What.
    pub source: MountSource,
}

/// What can be mounted.
#[derive(Debug)]
pub enum MountSource {
    /// A detached mount of a directory or a file.
    Bind {
        /// From `open_tree(OPEN_TREE_CLONE)` or `fsmount`.
        mount: OwnedFd,
        /// Whether writes are refused.
        readonly: bool,
    },
    /// A directory or a file of the machine, such as a cache.
    BindPath {
        /// Its path.
        path: PathBuf,
        /// Whether writes are refused.
        readonly: bool,
    },
    /// A socket of its own that leads to one of the machine, such as an SSH agent's.
    Socket {
        /// The machine's socket.
        target: PathBuf,
        /// Owner of the step's socket.
        uid: u32,
        /// Group of the step's socket.
        gid: u32,
        /// Permission bits of the step's socket.
        mode: u32,
    },
    /// Memory.
    Tmpfs {
        /// Limit in bytes; 0 for none.
        size: u64,
    },
    /// A file that exists only in memory and cannot be written to: a secret, a heredoc.
    File {
        /// Its content.
        bytes: Vec<u8>,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its permission bits; with one for execution it can be executed.
        mode: u32,
    },
}

impl Step {
    /// What the helper is told, and what the mounts need.
    pub(super) fn into_order(
        self,
        cgroups: Option<CgroupKind>,
    ) -> Result<(Run, Sources), SandboxError> {
        let spec = self.spec;
        let hostname =
            if spec.hostname.is_empty() { etc::DEFAULT_HOSTNAME } else { &spec.hostname };
        let file = |dest: &str, text: String| ResolvedMount {
            dest: dest.to_owned(),
            source: MountSource::File { bytes: text.into_bytes(), uid: 0, gid: 0, mode: 0o644 },
        };
        let mut mounts = vec![
            file("/etc/resolv.conf", etc::resolv_conf(spec.network)),
            file("/etc/hosts", etc::hosts(hostname, &spec.extra_hosts)),
        ];
        mounts.extend(self.mounts);
        let mut sources = Sources::default();
        let mounts = in_order(mounts)?
            .into_iter()
            .map(|mount| sources.add(mount))
            .collect::<Result<_, _>>()?;
        let cgroups = cgroups.unwrap_or(CgroupKind::None);
        Ok((Run { spec, cgroups, mounts }, sources))
    }
}

/// Parents before what is below them, each target once.
fn in_order(mounts: Vec<ResolvedMount>) -> Result<Vec<ResolvedMount>, SandboxError> {
    let mut kept: Vec<ResolvedMount> = Vec::new();
    for mut mount in mounts {
        mount.dest = clean(&mount.dest)
            .ok_or_else(|| SandboxError::MountTarget { dest: mount.dest.clone() })?;
        kept.retain(|other| other.dest != mount.dest);
        kept.push(mount);
    }
    kept.sort_by(|a, b| a.dest.split('/').cmp(b.dest.split('/')));
    Ok(kept)
}

/// An absolute path without `.`, `..` and needless slashes; none for the root itself.
fn clean(path: &str) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    for name in path.strip_prefix('/')?.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    if names.is_empty() { None } else { Some(format!("/{}", names.join("/"))) }
}

/// What belongs to mounts and must live as long as the step.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) descriptors: Vec<OwnedFd>,
    relays: Vec<Relay>,
}

impl Sources {
    fn bind(&mut self, mount: OwnedFd, name: Option<&str>, readonly: bool) -> WireKind {
        self.descriptors.push(mount);
        let name = name.map(str::to_owned);
        WireKind::Bind { descriptor: self.descriptors.len() - 1, name, readonly }
    }

    fn add(&mut self, mount: ResolvedMount) -> Result<WireMount, SandboxError> {
        let kind = match mount.source {
            MountSource::Bind { mount, readonly } => self.bind(mount, None, readonly),
            MountSource::BindPath { path, readonly } => {
                let shown = path.display().to_string();
                let copy = copy_of(CWD, path.as_path(), true).doing_at("copy the mount", &shown)?;
                self.bind(copy, None, readonly)
            }
            MountSource::Socket { target, uid, gid, mode } => {
                let (relay, tmpfs) = relay::open(target, (uid, gid), mode)?;
                self.relays.push(relay);
                self.bind(tmpfs, Some(relay::NAME), false)
            }
            MountSource::Tmpfs { size } => WireKind::Tmpfs { size },
            MountSource::File { bytes, uid, gid, mode } => WireKind::File { bytes, uid, gid, mode },
        };
        Ok(WireMount { dest: mount.dest, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_cleaned() {
        let cases = [
            ("/a", Some("/a")),
            ("/a//b/./c/", Some("/a/b/c")),
            ("/a/../../b", Some("/b")),
            ("/", None),
            ("/a/..", None),
            ("a", None),
            ("", None),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path).as_deref(), expected, "path `{path}`");
        }
    }

    #[test]
    fn parents_come_first_and_the_last_of_a_target_counts() {
        let tmpfs = |dest: &str, size| ResolvedMount {
            dest: dest.to_owned(),
            source: MountSource::Tmpfs { size },
        };
        let mounts = vec![tmpfs("/a/b", 1), tmpfs("/a-b", 2), tmpfs("/a", 3), tmpfs("/a/b/", 4)];
        let mounts = in_order(mounts).unwrap();
        let seen: Vec<_> = mounts
            .iter()
            .map(|mount| match mount.source {
                MountSource::Tmpfs { size } => (mount.dest.as_str(), size),
                _ => panic!("there is nothing else"),
            })
            .collect();
        assert_eq!(seen, [("/a", 3), ("/a/b", 4), ("/a-b", 2)]);
    }
}
