//! The doors of a run: what builds, what remembers, what finishes.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;

use bakehouse_model::op::Output;
use bakehouse_model::{Digest, EventKind, Key, Record, Snapshot, Stream};
use bakehouse_plan::caches::Import;
use bakehouse_plan::caches::document::CacheRecord;
use bakehouse_plan::evaluate::{Contents, Remembered};
use bakehouse_plan::graph::Step;
use bakehouse_plan::key::Selection;
use thiserror::Error;

/// Builds one step at a time, many at once.
///
/// The embedded engine stands behind this door, and so does the fake of the dispatcher's
/// tests.
pub trait Backend: Sync {
    /// Builds `step` from what its inputs made and returns what it made.
    ///
    /// Must be safe to call again after an error, and must return soon after the run was
    /// cancelled.
    fn build(
        &self,
        step: &Step,
        inputs: &[Output],
        log: &mut Log<'_>,
    ) -> Result<Built, BackendError>;

    /// Fetches what a cache has for `step`, down to the last layer, and returns it.
    ///
    /// An error is no end: the step runs instead.
    fn import(
        &self,
        step: &Step,
        import: &Import,
        emit: &(dyn Fn(EventKind) + Sync),
    ) -> Result<Snapshot, BackendError>;
}

/// What a step made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The file system.
    pub snapshot: Snapshot,
    /// What was fetched, for sources that nothing is known of before: it names the result.
    pub fetched: Option<Digest>,
}

/// Remembers results from run to run.
pub trait Memory: Sync {
    /// What is remembered under `keys`, if all that it names is still there.
    fn records(&self, keys: &[Key]) -> Result<BTreeMap<Key, Remembered>, BackendError>;
    /// The contents of the selected paths of `output`.
    fn contents(&self, output: &Output, selections: &[Selection])
    -> Result<Contents, BackendError>;
    /// Remembers `record` under `keys`.
    fn keep(&self, keys: &[Key], record: &Record) -> Result<(), BackendError>;
    /// Takes the right to make what is to be found under `key`, alone among all runs; none
    /// while another has it. Who gets it looks once more whether it is there by now.
    fn claim(&self, key: &Key) -> Result<Option<Claim>, BackendError>;
}

/// The right to make something, until this is dropped or its process is gone.
pub struct Claim(
    #[expect(dead_code, reason = "it is held, and never looked at")] Box<dyn Any + Send>,
);

impl Claim {
    /// The right that lasts as long as `held` does.
    pub fn new(held: impl Any + Send) -> Self {
        Self(Box::new(held))
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Claim")
    }
}

/// Makes images of results, and puts them where they are wanted.
pub trait Finish: Sync {
    /// A step's result is there, and images with it will follow. Time to prepare its layers.
    fn prepare(&self, record: &Record);
    /// All of an image is there: makes it, and exports it. Returns what happened.
    fn image(
        &self,
        image: &str,
        whole: Whole<'_>,
        emit: &(dyn Fn(EventKind) + Sync),
    ) -> Result<(), BackendError>;
}

/// All that an image is made of.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// What its last step made; none for an image without any.
    pub record: Option<&'a Record>,
    /// Whether no step of it had to run.
    pub cached: bool,
    /// The records of a cache that is to be within it.
    pub cache: Option<&'a [CacheRecord]>,
}

/// Why something could not be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The step's own process failed: the author of the Dockerfile has to act.
    #[error("{what}")]
    Command {
        /// What failed and how, such as «`/bin/sh -c make` ended with exit code 2».
        what: String,
        /// Its exit code.
        code: i32,
        /// What to do about it.
        hints: Vec<String>,
    },
    /// An input is not as the instruction needs it: a missing file, an unknown user.
    #[error("{what}")]
    Input {
        /// What is wrong.
        what: String,
        /// What to do about it.
        hints: Vec<String>,
    },
    /// The machine, the store or a registry did not do what it should.
    #[error("cannot {doing}")]
    Environment {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
        /// What to do about it.
        hints: Vec<String>,
    },
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The backend panicked.
    #[error("internal error: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
}

impl BackendError {
    /// An environment's failure without more to say about it.
    pub fn environment(
        doing: impl Into<String>,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self::Environment { doing: doing.into(), source: Box::new(source), hints: Vec::new() }
    }

    /// The error and its causes, outermost first.
    pub fn causes(&self) -> Vec<String> {
        let mut causes = vec![self.to_string()];
        let mut source = self.source();
        while let Some(error) = source {
            let text = error.to_string();
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            source = error.source();
        }
        causes
    }

    /// What to do about it.
    pub fn hints(&self) -> &[String] {
        match self {
            Self::Command { hints, .. }
            | Self::Input { hints, .. }
            | Self::Environment { hints, .. } => hints,
            Self::Cancelled | Self::Panicked { .. } => &[],
        }
    }

    /// The exit code of the process that failed.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Command { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Where a step's output and its progress go.
pub struct Log<'a> {
    line: &'a mut dyn FnMut(Stream, String),
    emit: &'a (dyn Fn(EventKind) + Sync),
}

impl std::fmt::Debug for Log<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl<'a> Log<'a> {
    /// A log that passes lines and facts on.
    pub fn new(
        line: &'a mut dyn FnMut(Stream, String),
        emit: &'a (dyn Fn(EventKind) + Sync),
    ) -> Self {
        Self { line, emit }
    }

    /// One line of the step's process.
    pub fn line(&mut self, stream: Stream, line: String) {
        (self.line)(stream, line);
    }

    /// A way to tell facts, such as bytes that moved, from any thread.
    pub fn teller(&self) -> &'a (dyn Fn(EventKind) + Sync) {
        self.emit
    }
}
