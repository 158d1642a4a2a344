//! The Dockerfile front end: bytes to instructions, with BuildKit's exact grammar.
//!
//! [`parse`] never fails and never panics: what it cannot make sense of becomes a
//! diagnostic and it goes on with the next instruction. Variables are not expanded here;
//! [`words`] does that when the planner knows their values.

pub mod ast;
pub mod glob;
pub mod ignore;
pub mod mount;
pub mod words;

pub(crate) mod checks;
mod directive;
mod document;
mod flags;
mod heredoc;
mod instruction;
mod lines;
mod node;
pub(crate) mod problem;
pub(crate) mod units;

use bakehouse_model::{Diagnostic, Severity};

pub use ast::{
    Add, ArgDeclaration, ArgInstruction, Command, Copy, Device, Directive, Directives, Dockerfile,
    Heredoc, Instruction, InstructionKind, KeyValue, OnBuild, Run, Script, SourceContent, Span,
    Stage, Transfer,
};
pub use checks::buildkit_rule;
pub(crate) use directive::is_own_front_end;
pub use mount::{Mount, MountError, MountType, mount_from, parse_mount};

/// What [`parse`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// All that could be understood.
    pub dockerfile: Dockerfile,
    /// What could not, and what is doubtful, in order of place.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether anything in it cannot be built.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Reads a Dockerfile. `file` is its name in diagnostics.
pub fn parse(text: &[u8], file: &str) -> Parsed {
    document::read(text, file)
}

/// Reads an `ONBUILD` trigger of a base image's configuration. Its escape character is
/// always `\\`. The instruction and the diagnostic have no place: they belong to the `FROM`
/// that sets the trigger off.
pub fn parse_onbuild_trigger(text: &str) -> Result<Instruction, Diagnostic> {
    document::trigger(text, Span::default()).map_err(|problem| Diagnostic {
        location: None,
        severity: Severity::Error,
        code: problem.code.to_owned(),
        message: format!("onbuild trigger `{text}`: {}", problem.message),
        help: problem.help.or_else(|| crate::codes::help(problem.code)),
    })
}

/// Lower case as Go's `strings.ToLower` has it: letter by letter.
pub(crate) fn go_lower(text: &str) -> String {
    text.chars().map(|c| one_to_one(c, c.to_lowercase())).collect()
}

/// Upper case as Go's `strings.ToUpper` has it: letter by letter.
pub(crate) fn go_upper(text: &str) -> String {
    text.chars().map(|c| one_to_one(c, c.to_uppercase())).collect()
}

fn one_to_one(original: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(c), None) => c,
        // Go maps İ to i; other expanding characters keep themselves.
        (Some(c), Some(_)) if original == '\u{130}' => c,
        _ => original,
    }
}
