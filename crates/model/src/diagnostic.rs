//! What is wrong with an input file, and where.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The file, as a person would type it: relative to the repository.
    pub file: String,
    /// First line, from 1.
    pub line: u32,
    /// Where it begins in the first line, in characters from 1.
    #[serde(default = "first")]
    pub column: u32,
    /// Last line, from 1.
    pub end_line: u32,
}

fn first() -> u32 {
    1
}

impl Location {
    /// A place within one line.
    pub fn new(file: impl Into<String>, line: u32, column: u32) -> Self {
        Self { file: file.into(), line, column, end_line: line }
    }

    /// A file as a whole.
    pub fn file(file: impl Into<String>) -> Self {
        Self::new(file, 1, 1)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// What is asked for cannot be done.
    Error,
    /// It can be done, but probably not as meant.
    Warning,
    /// Something a person may want to know.
    Note,
}

/// A mistake in an input file. Collected, sorted by place, printed with the source line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Where, when it has a place.
    pub location: Option<Location>,
    /// How bad.
    pub severity: Severity,
    /// A stable kebab-case name, such as `unknown-instruction`.
    pub code: String,
    /// What is wrong: a lower-case fragment that names the thing.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        f.write_str(&self.message)
    }
}
