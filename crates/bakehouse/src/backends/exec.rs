//! `RUN`: a process in a sandbox, on a new layer.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use bakehouse_engine::Root;
use bakehouse_engine::files::{self, Options, Tree};
use bakehouse_engine::sandbox::{
    Exit, MountSource, ProgramError, ResolvedMount, SandboxError, Spec, Step,
};
use bakehouse_engine::snapshot::{MountOptions, Overlay};
use bakehouse_model::oci::Platform;
use bakehouse_model::op::{self, Exec, FileAction, Mount, MountKind, Output, Sharing};
use bakehouse_model::{Snapshot, Stream};
use bakehouse_run::{BackendError, Built, Log};
use bakehouse_store::{CacheMount, LayerStage};

use super::engine::{EngineBackend, snapshot_of};
use crate::memory::{directories, store_error};
use crate::patterns::DockerPatterns;

/// How often a step looks whether a locked cache is free, or the run cancelled.
const LOCK_POLL: std::time::Duration = std::time::Duration::from_millis(20);

/// A disk with less room than this, in bytes, may be why a command failed.
const NEARLY_FULL: u64 = 1 << 20;

/// The exit code of what was killed.
const KILLED: i32 = 137;

/// What must live as long as the process.
#[derive(Default)]
struct Held {
    caches: Vec<CacheMount>,
    stages: Vec<LayerStage>,
}

impl EngineBackend {
    pub(super) fn exec(
        &self,
        exec: &Exec,
        (platform, inputs): (&Platform, &[Output]),
        log: &mut Log<'_>,
    ) -> Result<Built, BackendError> {
        let base = exec.mounts.iter().find(|m| m.kind == MountKind::Root).and_then(|m| m.input);
        let below = snapshot_of(base, inputs);
        let mut held = Held::default();
        let mut mounts = Vec::new();
        // Locked caches are taken in one order by everybody, so that no two wait for each other.
        let mut order: Vec<&Mount> = exec.mounts.iter().collect();
        order.sort_by_key(|mount| lock_name(mount).map(str::to_owned));
        for mount in order {
            let source = match &mount.kind {
                MountKind::Root => continue,
                _ => self.source(mount, inputs, &mut held)?,
            };
            mounts.extend(source.map(|source| ResolvedMount { dest: mount.dest.clone(), source }));
        }
        let mut spec = Spec::from(exec);
        spec.limits = self.limits;
        self.secret_variables(exec, &mut spec)?;
        self.ssh_variable(exec, &mut spec);
        self.emulators.equip(platform, &mut spec, &mut mounts);
        let cancel = self.cancel.clone();
        let built = self.layer(&below, |root| {
            let mut sink = |stream: Stream, line: &[u8]| {
                log.line(stream, String::from_utf8_lossy(line).into_owned());
            };
            let root = root_fd(&root)?;
            let step = Step { root, spec, mounts };
            let exit = self.sandbox.run(step, &mut sink, &cancel);
            let exit = exit.map_err(|e| sandbox_error(e, || self.emulators.advice(platform)))?;
            check(exit, exec).map_err(|error| self.with_machine(error))
        });
        drop(held);
        built
    }

    /// A command that fails for want of something often says so in words that do not help.
    fn with_machine(&self, error: BackendError) -> BackendError {
        let BackendError::Command { what, code, mut hints } = error else { return error };
        let full = rustix::fs::statvfs(self.store.home())
            .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < NEARLY_FULL);
        if full {
            let home = self.store.home().display();
            hints.push(format!("the disk of the store is full: make room where `{home}` is"));
        }
        if code == KILLED && hints.is_empty() {
            hints.push(match self.sandbox.machine_ran_out_of_memory() {
                true => {
                    "the machine ran out of memory meanwhile, and its kernel killed processes: \
                         let fewer steps run at once (`--jobs 1`)"
                        .to_owned()
                }
                false => "something killed it, and not for want of memory".to_owned(),
            });
        }
        BackendError::Command { what, code, hints }
    }

    fn source(
        &self,
        mount: &Mount,
        inputs: &[Output],
        held: &mut Held,
    ) -> Result<Option<MountSource>, BackendError> {
        match &mount.kind {
            MountKind::Root => Ok(None),
            MountKind::Tmpfs { size } => Ok(Some(MountSource::Tmpfs { size: *size })),
            MountKind::Bind => self.bind(mount, inputs, held).map(Some),
            MountKind::Cache { id, sharing, uid, gid, mode } => {
                let name = cache_name(id, (*uid, *gid, *mode), mount, inputs);
                let cache = self.cache(&name, *sharing)?;
                if cache.is_new() {
                    self.seed(&cache, mount, inputs, (*uid, *gid, *mode))?;
                }
                let path = cache.path().map_err(store_error)?;
                held.caches.push(cache);
                Ok(Some(MountSource::BindPath { path, readonly: mount.readonly }))
            }
            MountKind::Secret { id, uid, gid, mode, optional } => {
                let bytes = self.secret(id, *optional)?;
                Ok(bytes.map(|bytes| MountSource::File {
                    bytes,
                    uid: *uid,
                    gid: *gid,
                    mode: *mode,
                }))
            }
            MountKind::Ssh { id, uid, gid, mode, optional } => match self.ssh.socket(id) {
                Some(path) => Ok(Some(MountSource::Socket {
                    target: path.clone(),
                    uid: *uid,
                    gid: *gid,
                    mode: *mode,
                })),
                None if *optional => Ok(None),
                None => Err(BackendError::Input {
                    what: format!("the step needs the SSH agent `{id}`"),
                    hints: vec![format!("build with `--ssh {id}`")],
                }),
            },
        }
    }

    /// Waits for a locked cache, unless the run is cancelled meanwhile.
    fn cache(&self, id: &str, sharing: Sharing) -> Result<CacheMount, BackendError> {
        loop {
            if let Some(cache) = self.store.try_cache_mount(id, sharing).map_err(store_error)? {
                return Ok(cache);
            }
            if self.cancel.is_cancelled() {
                return Err(BackendError::Cancelled);
            }
            std::thread::sleep(LOCK_POLL);
        }
    }

    /// Gives a new cache its owner, its mode and, where the mount has a source, its contents.
    fn seed(
        &self,
        cache: &CacheMount,
        mount: &Mount,
        inputs: &[Output],
        (uid, gid, mode): (u32, u32, u32),
    ) -> Result<(), BackendError> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = cache.path().map_err(store_error)?;
        let failed =
            |error: std::io::Error| BackendError::environment("prepare a cache mount", error);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        match std::os::unix::fs::chown(&path, Some(uid), Some(gid)) {
            // In a user namespace that knows only root, root is all there is.
            Err(error) if error.raw_os_error() == Some(22) => {}
            other => other.map_err(failed)?,
        }
        if let Some(output) = mount.input.and_then(|input| inputs.get(input)) {
            self.copy_out(output, &mount.selector, &path)?;
        }
        cache.mark_ready().map_err(store_error)
    }

    /// Copies `selector` of `output`, a directory's contents, to a folder of this machine.
    fn copy_out(&self, output: &Output, selector: &str, to: &Path) -> Result<(), BackendError> {
        let root = Root::open_dir(to)
            .map_err(|error| BackendError::environment("open a folder of the store", error))?;
        let tree = self.memory.tree(output)?;
        let copy = op::Copy {
            follow_symlink: true,
            dir_copy_contents: true,
            ..op::Copy::plain(0, selector, "/")
        };
        let file = op::File { base: None, actions: vec![FileAction::Copy(copy)] };
        let input = |_: usize| -> Result<Tree, files::InputError> { Ok(tree.clone()) };
        let options = Options { patterns: &DockerPatterns, source_date_epoch: None };
        let stats = files::run(&file, &root, &input, options)
            .map_err(|error| BackendError::Input { what: error.to_string(), hints: Vec::new() })?;
        super::engine::refuse_changes(&stats)
    }

    fn bind(
        &self,
        mount: &Mount,
        inputs: &[Output],
        held: &mut Held,
    ) -> Result<MountSource, BackendError> {
        let snapshot = match mount.input.and_then(|input| inputs.get(input)) {
            None => Snapshot::default(),
            Some(Output::Snapshot { snapshot }) => snapshot.clone(),
            // A context is copied, so that the process sees what the ignore patterns leave of it,
            // owned by root, and cannot write to the user's files.
            Some(context) => return self.bind_copy(mount, context, held),
        };
        let lowers = directories(&self.store, &snapshot)?;
        let mounted = if mount.readonly {
            Overlay::mount(&lowers, None, MountOptions::default())
        } else {
            // Writes go to a layer that is thrown away.
            let stage = self.store.stage_layer().map_err(store_error)?;
            let fd = Overlay::mount(
                &lowers,
                Some((&stage.fs(), &stage.work())),
                MountOptions::default(),
            );
            held.stages.push(stage);
            fd
        };
        let fd = mounted.map_err(|error| BackendError::environment("mount layers", error))?;
        if mount.selector.trim_matches('/').is_empty() {
            return Ok(MountSource::Bind { mount: fd, readonly: mount.readonly });
        }
        let root = Root::from_fd(fd);
        let part = root.open_path(&mount.selector, true).map_err(|_| BackendError::Input {
            what: format!("{:?}: not found", mount.selector),
            hints: Vec::new(),
        })?;
        match Overlay::bind(Path::new(&format!("/proc/self/fd/{}", part.as_raw_fd()))) {
            Ok(part) => Ok(MountSource::Bind { mount: part, readonly: mount.readonly }),
            // Linux before 6.15 takes no part of a mount that is not attached.
            Err(_) => {
                drop(root);
                let output = Output::Snapshot { snapshot };
                self.bind_copy(mount, &output, held)
            }
        }
    }

    /// A copy of what is to be mounted, in a folder that is thrown away.
    fn bind_copy(
        &self,
        mount: &Mount,
        output: &Output,
        held: &mut Held,
    ) -> Result<MountSource, BackendError> {
        let stage = self.store.stage_layer().map_err(store_error)?;
        let root = Root::open_dir(stage.fs())
            .map_err(|error| BackendError::environment("open a folder of the store", error))?;
        let options = Options { patterns: &DockerPatterns, source_date_epoch: None };
        let tree = self.memory.tree(output)?;
        let (place, stats) = files::materialise(&tree, &mount.selector, &root, options)
            .map_err(|error| BackendError::Input { what: error.to_string(), hints: Vec::new() })?;
        super::engine::refuse_changes(&stats)?;
        let path = stage.fs().join(place.trim_start_matches('/'));
        held.stages.push(stage);
        Ok(MountSource::BindPath { path, readonly: mount.readonly })
    }

    fn secret(&self, id: &str, optional: bool) -> Result<Option<Vec<u8>>, BackendError> {
        match self.secrets.read(id) {
            Ok(None) if !optional => Err(BackendError::Input {
                what: format!("the step needs the secret `{id}`"),
                hints: vec![format!(
                    "build with `--secret id={id},src=FILE` or `--secret id={id},env=VARIABLE`"
                )],
            }),
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(BackendError::environment(format!("read the secret `{id}`"), error)),
        }
    }

    fn secret_variables(&self, exec: &Exec, spec: &mut Spec) -> Result<(), BackendError> {
        for secret in &exec.secret_env {
            if let Some(bytes) = self.secret(&secret.id, secret.optional)? {
                let value = String::from_utf8(bytes).map_err(|_| BackendError::Input {
                    what: format!(
                        "the secret `{}` is not text and cannot be a variable",
                        secret.id
                    ),
                    hints: vec!["mount it as a file".to_owned()],
                })?;
                spec.env.retain(|line| line.split('=').next() != Some(&secret.name));
                spec.env.push(format!("{}={value}", secret.name));
            }
        }
        Ok(())
    }

    fn ssh_variable(&self, exec: &Exec, spec: &mut Spec) {
        let socket = exec.mounts.iter().find(|mount| match &mount.kind {
            MountKind::Ssh { id, .. } => self.ssh.socket(id).is_some(),
            _ => false,
        });
        if let Some(mount) = socket {
            spec.env.push(format!("SSH_AUTH_SOCK={}", mount.dest));
        }
    }
}

/// What tells caches apart, as in BuildKit: the id, and what a new one starts from.
fn cache_name(
    id: &str,
    (uid, gid, mode): (u32, u32, u32),
    mount: &Mount,
    inputs: &[Output],
) -> String {
    let seed = match mount.input.and_then(|input| inputs.get(input)) {
        Some(Output::Snapshot { snapshot }) => {
            snapshot.layers.last().map(|layer| format!(" from {layer}")).unwrap_or_default()
        }
        Some(Output::Context { context }) => format!(" from {}", context.root),
        None => String::new(),
    };
    match (uid, gid, mode) {
        (0, 0, 0o755) => format!("{id}{seed}"),
        _ => format!("{id} {uid}:{gid} {mode:o}{seed}"),
    }
}

fn lock_name(mount: &Mount) -> Option<&str> {
    match &mount.kind {
        MountKind::Cache { id, sharing: Sharing::Locked, .. } => Some(id),
        _ => None,
    }
}

fn root_fd(root: &Root) -> Result<OwnedFd, BackendError> {
    root.as_fd()
        .try_clone_to_owned()
        .map_err(|error| BackendError::environment("use a mount", error))
}

fn sandbox_error(error: SandboxError, advice: impl FnOnce() -> String) -> BackendError {
    match error {
        SandboxError::Cancelled => BackendError::Cancelled,
        SandboxError::Program { why: ProgramError::Format, .. } => {
            BackendError::Command { what: error.to_string(), code: 126, hints: vec![advice()] }
        }
        SandboxError::Program { .. } => BackendError::Command {
            what: error.to_string(),
            code: error.exit_code().unwrap_or(127),
            hints: vec!["the program must be in the image, with what it needs to start".to_owned()],
        },
        SandboxError::User(_) => BackendError::Input {
            what: error.to_string(),
            hints: vec![
                "make the user in a RUN before the USER instruction, or use a number".to_owned(),
            ],
        },
        SandboxError::MountTarget { .. } => {
            BackendError::Input { what: error.to_string(), hints: Vec::new() }
        }
        SandboxError::MountCovers { .. } => BackendError::Input {
            what: error.to_string(),
            hints: vec![
                "mount it elsewhere; what `--mount` names may be a link of the image".to_owned(),
            ],
        },
        SandboxError::Kernel { ref doing, .. } if doing.starts_with("switch to the") => {
            BackendError::Environment {
                doing: "run the step's process".to_owned(),
                source: Box::new(error),
                hints: vec![
                    "this user namespace knows only one user: install `newuidmap` (package uidmap) \
                     and give yourself ranges in /etc/subuid and /etc/subgid, or build as root"
                        .to_owned(),
                ],
            }
        }
        other => BackendError::environment("run the step's process", other),
    }
}

fn check(exit: Exit, exec: &Exec) -> Result<(), BackendError> {
    if exit.success() {
        return Ok(());
    }
    let command = exec.args.join(" ");
    if exit.oom {
        return Err(BackendError::Command {
            what: format!("`{command}` was killed: it used more memory than it may"),
            code: exit.code,
            hints: vec![
                "give it more memory, or let fewer steps run at once (`--jobs 1`)".to_owned(),
            ],
        });
    }
    let hints = match exit.code {
        126 => vec!["the program is there but cannot be executed".to_owned()],
        127 => vec!["the program is not in the image".to_owned()],
        _ => Vec::new(),
    };
    Err(BackendError::Command {
        what: format!("`{command}` did not complete successfully: exit code: {}", exit.code),
        code: exit.code,
        hints,
    })
}
