//! Where things are written: files, places in them, and what is wrong there.

use bakehouse_model::{Diagnostic, Location, Severity};

/// A bake file that somebody has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, as a person would type it. `.json` is read as JSON, `.hcl` as HCL, any other
    /// name as whichever of the two it turns out to be.
    pub path: String,
    /// What is in it.
    pub text: Vec<u8>,
}

/// A range of bytes of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Span {
    pub(crate) file: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// From the beginning of this to the end of `other`.
    pub(crate) fn to(self, other: Self) -> Self {
        Self { end: other.end.max(self.end), ..self }
    }
}

/// A mistake in a bake file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: String,
    pub(crate) span: Span,
}

impl Problem {
    pub(crate) fn new(code: &'static str, span: Span, message: impl Into<String>) -> Box<Self> {
        let (message, help) = (message.into(), String::new());
        Box::new(Self { code, message, help, span })
    }

    pub(crate) fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Self> {
        self.help = help.into();
        self
    }
}

/// What an evaluation comes to.
pub(crate) type Outcome<T> = Result<T, Box<Problem>>;

/// The paths of all files, and where their lines begin.
#[derive(Debug, Default)]
pub(crate) struct Places {
    files: Vec<(String, String, Vec<u32>)>,
}

impl Places {
    /// Adds a file and returns its number.
    pub(crate) fn add(&mut self, path: &str, text: &str) -> u32 {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| offset(at + 1))).collect();
        self.files.push((path.to_owned(), text.to_owned(), starts));
        offset(self.files.len() - 1)
    }

    /// The place of `span`, as people count.
    pub(crate) fn location(&self, span: Span) -> Location {
        let Some((path, text, starts)) = self.files.get(span.file as usize) else {
            return Location::file("");
        };
        let line = |at: u32| starts.partition_point(|start| *start <= at).max(1);
        let (first, last) = (line(span.start), line(span.end.max(span.start)));
        let begin = starts[first - 1] as usize;
        let before = text.as_bytes().get(begin..span.start as usize).unwrap_or_default();
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        Location {
            file: path.clone(),
            line: offset(first),
            column: offset(column),
            end_line: offset(last),
        }
    }

    pub(crate) fn diagnostic(&self, problem: &Problem) -> Diagnostic {
        let help = if problem.help.is_empty() {
            "see https://docs.docker.com/build/bake/reference/ for what may stand here"
        } else {
            &problem.help
        };
        Diagnostic {
            location: Some(self.location(problem.span)),
            severity: Severity::Error,
            code: problem.code.to_owned(),
            message: problem.message.clone(),
            help: Some(help.to_owned()),
        }
    }
}

/// An offset as spans have it. Files larger than that are refused before they are looked at.
pub(crate) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
