//! What a run says while it runs.
//!
//! This is the only channel from the work to its watchers. The terminal, the JSON-lines
//! log and the summary read this one stream, so none of them can know something that
//! the others do not.
//!
//! Events are facts in the past tense, complete in themselves, and ordered by `seq`.
//! Adding a variant or an optional field is compatible; anything else raises
//! [`Event::VERSION`].

use serde::{Deserialize, Serialize};

use crate::{Diagnostic, Digest, ExitCode, Location, StepId};

/// One fact about a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the stream, from 0, without gaps.
    pub seq: u64,
    /// Milliseconds since the run started.
    pub at_ms: u64,
    /// The fact.
    pub kind: EventKind,
}

impl Event {
    /// The version of the stream format, in every `run-started`.
    pub const VERSION: u32 = 1;
}

/// The facts there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// The plan is fixed and work begins. Always first.
    RunStarted {
        /// [`Event::VERSION`].
        version: u32,
        /// Every step that may run or be found, in an order where needs come first.
        steps: Vec<StepInfo>,
        /// Every image that is asked for.
        images: Vec<ImageInfo>,
        /// Workers that run steps.
        workers: u32,
        /// Planned length of the run.
        makespan_ms: u64,
        /// Longest chain of needs: no number of workers beats it.
        critical_path_ms: u64,
    },
    /// Something about an input that a person may want to know.
    Noticed {
        /// What.
        diagnostic: Diagnostic,
    },
    /// A worker took a step.
    StepStarted {
        /// The step.
        step: StepId,
        /// The worker's slot, from 0.
        worker: u32,
        /// Why the cache could not answer.
        miss: MissReason,
    },
    /// A step that was started waits: another build is at the same step, and its result will do.
    StepWaited {
        /// The step.
        step: StepId,
    },
    /// A step's process wrote a line. May be dropped under pressure; nothing else may.
    StepLogged {
        /// The step.
        step: StepId,
        /// Which stream.
        stream: Stream,
        /// The line, without its end.
        line: String,
    },
    /// Lines that were dropped because nobody read them fast enough.
    LogDropped {
        /// The step.
        step: StepId,
        /// How many.
        lines: u64,
    },
    /// A step ended, one way or another. A step that was found in the cache has no start.
    StepFinished {
        /// The step.
        step: StepId,
        /// How.
        outcome: Outcome,
        /// How long it ran; 0 if it did not.
        ran_ms: u64,
    },
    /// Bytes moved. The last one of a transfer has `done == total`.
    Transferred {
        /// Which way.
        way: TransferKind,
        /// Image reference or blob that moves.
        what: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all; 0 if not known.
        total: u64,
    },
    /// An image is whole: its manifest is in the store.
    ImageFinished {
        /// The image's name in the fleet.
        image: String,
        /// Digest of its manifest.
        manifest: Digest,
        /// Digest of its configuration: Docker's image id.
        config: Digest,
        /// Bytes of its layers as they are stored or pushed.
        bytes: u64,
        /// Whether no step of it had to run.
        cached: bool,
    },
    /// An image could not be made.
    ImageFailed {
        /// The image's name in the fleet.
        image: String,
        /// The error and its causes, outermost first.
        causes: Vec<String>,
        /// What to do about it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hints: Vec<String>,
    },
    /// A tag points at an image, in a registry or in a Docker Engine.
    TagMoved {
        /// The image's name in the fleet.
        image: String,
        /// The whole reference.
        reference: String,
        /// What it points at now.
        digest: Digest,
        /// Whether it did so before.
        unchanged: bool,
    },
    /// An exporter wrote its result.
    Exported {
        /// The image's name in the fleet.
        image: String,
        /// The kind of output: `oci`, `docker`, `tar` or `local`.
        kind: String,
        /// Where.
        dest: String,
    },
    /// The run is over. Always last.
    RunFinished {
        /// What the process will exit with.
        exit: ExitCode,
    },
}

/// What a watcher needs to know of a step before it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepInfo {
    /// The step.
    pub id: StepId,
    /// What it does, in the words of the Dockerfile: `RUN apt-get update`.
    pub name: String,
    /// The first image that needs it.
    pub image: String,
    /// How many images need it.
    pub shared_by: u32,
    /// Stage and position within it: `builder 2/5`.
    pub stage: String,
    /// Where it is written.
    pub location: Option<Location>,
    /// Steps that it needs.
    pub needs: Vec<StepId>,
    /// How long it is expected to run.
    pub cost_ms: u64,
    /// Whether it lies on the critical path.
    pub critical: bool,
    /// Whether the plan expects it to run; if not, it is expected in the cache.
    pub planned: bool,
}

/// What a watcher needs to know of an image before it is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// Name in the fleet.
    pub name: String,
    /// Every reference it will be known by.
    pub references: Vec<String>,
    /// Its last step; none for an image without any.
    pub step: Option<StepId>,
    /// Images of the fleet that it stands on.
    pub needs: Vec<String>,
}

/// Which stream a log line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Which way bytes move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransferKind {
    /// From a registry into the store.
    Pull,
    /// From the store to a registry.
    Push,
    /// From a URL into the store.
    Download,
    /// Into a Docker Engine.
    Load,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// The step ran.
    Built,
    /// The cache already had the result.
    Cached {
        /// The cache that it was fetched from; none if the store had it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
    /// The step ran and failed.
    Failed {
        /// The error and its causes, outermost first.
        causes: Vec<String>,
        /// What to do about it.
        hints: Vec<String>,
        /// Exit code of the step's process, if that is what failed.
        code: Option<i32>,
    },
    /// The step never ran, because one it needs failed.
    Skipped {
        /// The failed step.
        needs: StepId,
    },
    /// The run was interrupted.
    Cancelled,
    /// Nothing that is asked for needs it: what stands on it was found in the cache.
    Unneeded,
}

/// Why a step had to run. The answer to «why did this rebuild?».
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MissReason {
    /// No earlier build of this step is known.
    NeverBuilt,
    /// The instruction says something else than last time.
    InstructionChanged {
        /// What it said.
        before: String,
        /// What it says.
        after: String,
    },
    /// A build argument or variable that it sees has another value.
    VariableChanged {
        /// The variable.
        name: String,
    },
    /// An option of the build, such as `--add-host` or `--ulimit`, changed what it does.
    OptionsChanged,
    /// A file the step reads changed.
    InputChanged {
        /// The path, relative to the build context or to the source's root.
        path: String,
        /// How.
        change: PathChange,
        /// How many other paths changed too.
        others: u32,
    },
    /// A step it needs made something new.
    NeedChanged {
        /// That step.
        step: StepId,
    },
    /// The tag of a base image points at another image than last time.
    BaseMoved {
        /// The reference.
        reference: String,
        /// Where it pointed.
        before: Digest,
        /// Where it points.
        after: Digest,
    },
    /// The record was found but what it names is no longer in the store.
    ResultSwept,
    /// The user asked for it.
    Forced,
    /// A source that cannot be known without fetching it.
    MustFetch,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathChange {
    /// It is new.
    Added,
    /// Its content or its attributes changed.
    Modified,
    /// It is gone.
    Removed,
}
