//! What goes wrong, as a person is told: kind, causes, and what to do about it.

use std::error::Error;
use std::fmt;

use bakehouse_engine::sandbox::SandboxError;
use bakehouse_model::{Diagnostic, ExitCode};
use bakehouse_registry::ClientError;
use bakehouse_run::BackendError;
use bakehouse_store::StoreError;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A step, a push or an export failed.
    Work,
    /// The command line is wrong.
    Usage,
    /// A Dockerfile or another input is wrong.
    Input,
    /// The machine, a registry or a daemon does not do what is needed.
    Environment,
    /// Nobody's: it was told to stop.
    Interrupted,
    /// A bug.
    Internal,
}

impl Kind {
    /// What the process exits with.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Work => ExitCode::WorkFailed,
            Self::Usage => ExitCode::Usage,
            Self::Input => ExitCode::Input,
            Self::Environment => ExitCode::Environment,
            Self::Interrupted => ExitCode::Interrupted,
            Self::Internal => ExitCode::Internal,
        }
    }
}

/// Why the program stops.
#[derive(Debug)]
pub struct Failure {
    /// Whose turn it is.
    pub kind: Kind,
    /// What went wrong, outermost first.
    pub causes: Vec<String>,
    /// What to do about it.
    pub hints: Vec<String>,
    /// What is wrong with the input files.
    pub diagnostics: Vec<Diagnostic>,
}

impl Failure {
    /// A failure with nothing behind it.
    pub fn new(kind: Kind, what: impl fmt::Display) -> Self {
        Self { kind, causes: vec![what.to_string()], hints: Vec::new(), diagnostics: Vec::new() }
    }

    /// A failure with its causes.
    pub fn from_error(kind: Kind, error: &dyn Error) -> Self {
        let mut causes = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            source = error.source();
        }
        Self { kind, causes, hints: Vec::new(), diagnostics: Vec::new() }
    }

    /// Something on this machine that could not be done.
    pub fn doing(kind: Kind, doing: impl fmt::Display, error: &dyn Error) -> Self {
        let mut failure = Self::from_error(kind, error);
        failure.causes.insert(0, format!("cannot {doing}"));
        failure
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Input files are wrong.
    pub fn input(diagnostics: Vec<Diagnostic>) -> Self {
        let errors =
            diagnostics.iter().filter(|d| d.severity == bakehouse_model::Severity::Error).count();
        let what = match errors {
            1 => "there is a mistake in an input file".to_owned(),
            errors => format!("there are {errors} mistakes in the input files"),
        };
        Self { kind: Kind::Input, causes: vec![what], hints: Vec::new(), diagnostics }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = Self::from_error(Kind::Environment, &error);
        failure.hint("BAKEHOUSE_HOME names the folder of the store")
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hints = error.hints();
        Self { hints, ..Self::from_error(Kind::Environment, &error) }
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        Self::from_error(Kind::Environment, &error)
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        let kind = match &error {
            BackendError::Command { .. } => Kind::Work,
            BackendError::Input { .. } => Kind::Input,
            BackendError::Panicked { .. } => Kind::Internal,
            _ => Kind::Environment,
        };
        let hints = error.hints().to_vec();
        Self { kind, causes: error.causes(), hints, diagnostics: Vec::new() }
    }
}
