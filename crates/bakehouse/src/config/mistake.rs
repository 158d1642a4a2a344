//! What is wrong with one value, before it has a place in a file.

use bakehouse_model::{Diagnostic, Location, Severity};

/// A mistake, with its code and the way out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) help: String,
}

impl Mistake {
    pub(super) fn new(
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { code, message: message.into(), help: help.into() }
    }

    /// An error at that place.
    pub(super) fn at(self, place: Location) -> Diagnostic {
        Diagnostic {
            location: Some(place),
            severity: Severity::Error,
            code: self.code.to_owned(),
            message: self.message,
            help: Some(self.help),
        }
    }
}

/// `text` for a message: nobody reads a line of a thousand letters.
pub(super) fn shown(text: &str) -> String {
    const LETTERS: usize = 80;
    match text.char_indices().nth(LETTERS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
