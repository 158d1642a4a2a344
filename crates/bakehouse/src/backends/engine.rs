//! The embedded engine behind the run's door: one step at a time, many at once.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bakehouse_engine::Root;
use bakehouse_engine::files::{self, FilesError, Options, Tree};
use bakehouse_engine::sandbox::{self, Sandbox};
use bakehouse_engine::snapshot::{ALONE, MountOptions, Overlay};
use bakehouse_model::op::{self, Op, Output, Source};
use bakehouse_model::{Digest, EventKind, LayerId, Snapshot, StepId};
use bakehouse_plan::caches::Import;
use bakehouse_plan::graph::Step;
use bakehouse_registry::Client;
use bakehouse_run::{Backend, BackendError, Built, Log};
use bakehouse_store::{LayerMeta, LayerStage, Store};

use super::emulators::Emulators;
use super::fetch::Fetched;
use super::secrets::{Secrets, SshAgents};
use super::straight::Straight;
use crate::caches::Loaded;
use crate::context::now_ms;
use crate::memory::{StoreMemory, directories, store_error};
use crate::patterns::DockerPatterns;

/// Builds steps in this process.
#[derive(Debug)]
pub struct EngineBackend {
    /// Where results go.
    pub store: Store,
    /// Contexts and mounted results.
    pub memory: Arc<StoreMemory>,
    /// Runs processes.
    pub sandbox: Sandbox,
    /// Fetches images and files.
    pub client: Client,
    /// What `--secret` gave.
    pub secrets: Secrets,
    /// What `--ssh` gave.
    pub ssh: SshAgents,
    /// What was fetched, for whoever tells what images were made of.
    pub fetched: Arc<Fetched>,
    /// Who runs programs of other machines.
    pub emulators: Emulators,
    /// What each process tree may use.
    pub limits: sandbox::Limits,
    /// What caches have.
    pub loaded: Arc<Loaded>,
    /// Copies of which no file is made.
    pub straight: Straight,
    /// Kills what runs.
    pub cancel: sandbox::Cancel,
}

/// Layers made by this process, so that no two have one name.
static MADE: AtomicU64 = AtomicU64::new(0);

impl Backend for EngineBackend {
    fn build(
        &self,
        step: &Step,
        inputs: &[Output],
        log: &mut Log<'_>,
    ) -> Result<Built, BackendError> {
        if self.cancel.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        match &step.op {
            Op::Source(Source::Image(image)) => self.pull(image, log),
            Op::Source(Source::Http(http)) => self.download(http, log),
            Op::Source(Source::Git(git)) => self.checkout(git, log),
            Op::Source(Source::Context(context)) => Err(BackendError::Panicked {
                message: format!("the context `{}` is read in place and never built", context.name),
            }),
            Op::Exec(exec) => self.exec(exec, (&step.platform, inputs), log),
            Op::File(file) => self.file((&step.id, file), inputs),
            Op::Merge => Ok(merged(inputs)),
        }
    }

    fn import(
        &self,
        _: &Step,
        import: &Import,
        emit: &(dyn Fn(EventKind) + Sync),
    ) -> Result<Snapshot, BackendError> {
        if self.cancel.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        self.loaded.fetch(&self.store, import, emit)
    }
}

impl EngineBackend {
    /// Makes a layer on top of `below`: `write` gets the mounted file system to change.
    pub(super) fn layer(
        &self,
        below: &Snapshot,
        write: impl FnOnce(Root) -> Result<(), BackendError>,
    ) -> Result<Built, BackendError> {
        let stage = self.stage()?;
        let lowers = directories(&self.store, below)?;
        let mount =
            Overlay::mount(&lowers, Some((&stage.fs(), &stage.work())), MountOptions::default())
                .map_err(|error| BackendError::environment("mount a new layer", error))?;
        write(Root::from_fd(mount))?;
        let layer = commit(stage)?;
        Ok(Built { snapshot: below.with(layer), fetched: None })
    }

    /// Makes a layer on top of nothing, for which no overlay is needed. It may be put on top of
    /// others later ([`Op::Merge`]), and its folders hide none of theirs.
    fn layer_alone(
        &self,
        write: impl FnOnce(Root) -> Result<(), BackendError>,
    ) -> Result<Built, BackendError> {
        let stage = self.stage()?;
        let root = Root::open_dir(stage.fs())
            .map_err(|error| BackendError::environment("open a new layer", error))?;
        write(root)?;
        let layer = commit_as(stage, ALONE)?;
        Ok(Built { snapshot: Snapshot::default().with(layer), fetched: None })
    }

    fn stage(&self) -> Result<LayerStage, BackendError> {
        let stage = self.store.stage_layer().map_err(store_error)?;
        // This directory is the root that the process sees, whatever the user's umask is.
        std::fs::set_permissions(stage.fs(), std::fs::Permissions::from_mode(0o755))
            .map_err(|error| BackendError::environment("prepare a new layer", error))?;
        Ok(stage)
    }

    fn file(
        &self,
        (step, file): (&StepId, &op::File),
        inputs: &[Output],
    ) -> Result<Built, BackendError> {
        let below = snapshot_of(file.base, inputs);
        if let Some(built) = self.straight((step, file), inputs, &below)? {
            return Ok(built);
        }
        let options = Options { patterns: &DockerPatterns, source_date_epoch: None };
        let write = |root: Root| {
            let input = |number: usize| self.input(inputs, number);
            let stats = files::run(file, &root, &input, options).map_err(files_error)?;
            refuse_changes(&stats)
        };
        if below.layers.is_empty() { self.layer_alone(write) } else { self.layer(&below, write) }
    }

    /// The files of an input.
    pub(super) fn input(
        &self,
        inputs: &[Output],
        number: usize,
    ) -> Result<Tree, files::InputError> {
        let output = inputs.get(number).ok_or("the op names an input it does not have")?;
        Ok(self.memory.tree(output)?)
    }
}

/// A result of files that are not those that were looked at must not be remembered.
pub(super) fn refuse_changes(stats: &files::Stats) -> Result<(), BackendError> {
    match stats.changed.first() {
        None => Ok(()),
        Some(path) => Err(changed(path)),
    }
}

pub(super) fn changed(path: &str) -> BackendError {
    BackendError::Input {
        what: format!("`{path}` changed while it was copied"),
        hints: vec!["build again when nothing writes to the context".to_owned()],
    }
}

/// The snapshot that an op writes to.
pub(super) fn snapshot_of(base: Option<usize>, inputs: &[Output]) -> Snapshot {
    match base.and_then(|base| inputs.get(base)) {
        Some(Output::Snapshot { snapshot }) => snapshot.clone(),
        _ => Snapshot::default(),
    }
}

/// The layers of all inputs, those of the first at the bottom.
fn merged(inputs: &[Output]) -> Built {
    let mut snapshot = Snapshot::default();
    for number in 0..inputs.len() {
        snapshot.layers.extend(snapshot_of(Some(number), inputs).layers);
    }
    Built { snapshot, fetched: None }
}

/// Puts a layer that is written into its place.
pub(super) fn commit(stage: LayerStage) -> Result<LayerId, BackendError> {
    commit_as(stage, "step-")
}

/// A name for a layer that no other has.
pub(super) fn new_layer(prefix: &str) -> LayerId {
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let unique = Digest::of(format!("{} {} {number}", std::process::id(), unique_moment()));
    format!("{prefix}{}", &unique.hex()[..40]).parse().expect("hex digits and a dash")
}

fn commit_as(stage: LayerStage, prefix: &str) -> Result<LayerId, BackendError> {
    let id = new_layer(prefix);
    let meta = LayerMeta { created_ms: now_ms(), ..LayerMeta::default() };
    stage.commit(&id, meta).map_err(store_error)
}

/// Never the same twice on one machine: nanoseconds since it started, and the boot's own id.
fn unique_moment() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    format!("{boot} {}", now_ms())
}

pub(super) fn files_error(error: FilesError) -> BackendError {
    let environment = match &error {
        FilesError::Tree(files::TreeError::Io { source, .. }) => is_machines(source),
        FilesError::Input { .. } => true,
        _ => false,
    };
    if environment {
        return BackendError::environment("copy files", error);
    }
    let mut what = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        what = format!("{what}: {cause}");
        source = cause.source();
    }
    BackendError::Input { what, hints: Vec::new() }
}

/// Whether an error says that something is wrong with the machine and not with the input.
fn is_machines(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
    )
}
