//! What is wrong, with its place: how the room makes and collects diagnostics.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::{Diagnostic, Location, Severity};

/// The most diagnostics of a severity that one reading collects; a file with more has one cause.
const LIMIT: usize = 1000;

/// A mistake: what is asked for cannot be done.
pub(crate) fn error(
    at: impl Into<Location>,
    code: &str,
    message: String,
    help: &str,
) -> Diagnostic {
    diagnostic(at.into(), Severity::Error, code, message, help)
}

/// Something that is probably not meant.
pub(crate) fn warning(
    at: impl Into<Location>,
    code: &str,
    message: String,
    help: &str,
) -> Diagnostic {
    diagnostic(at.into(), Severity::Warning, code, message, help)
}

/// Something to know.
pub(crate) fn note(at: impl Into<Location>, code: &str, message: String, help: &str) -> Diagnostic {
    diagnostic(at.into(), Severity::Note, code, message, help)
}

fn diagnostic(
    location: Location,
    severity: Severity,
    code: &str,
    message: String,
    help: &str,
) -> Diagnostic {
    Diagnostic {
        location: Some(location),
        severity,
        code: code.to_owned(),
        message,
        help: Some(help.to_owned()),
    }
}

/// Diagnostics as they are found: by place, each once.
#[derive(Debug, Default)]
pub(crate) struct Report {
    found: BTreeSet<Diagnostic>,
    counts: BTreeMap<Severity, usize>,
}

impl Report {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let count = self.counts.entry(diagnostic.severity).or_default();
        if *count < LIMIT && self.found.insert(diagnostic) {
            *count += 1;
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.counts.contains_key(&Severity::Error)
    }

    pub(crate) fn into_sorted(self) -> Vec<Diagnostic> {
        self.found.into_iter().collect()
    }
}
