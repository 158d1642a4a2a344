//! The Dockerfile front end: bytes to instructions, with BuildKit's exact grammar.
//!
//! [`parse`] never fails and never panics: what it cannot make sense of becomes a
//! diagnostic and it goes on with the next instruction. Variables are not expanded here;
//! [`words`] does that when the planner knows their values.

pub mod ast;
pub mod words;

mod heredoc;

use bakehouse_model::Diagnostic;

pub use ast::{
    Add, ArgDeclaration, ArgInstruction, Command, Copy, Device, Directive, Directives, Dockerfile,
    Heredoc, Instruction, InstructionKind, KeyValue, OnBuild, Run, Script, SourceContent, Span,
    Stage, Transfer,
};

/// What [`parse`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// All that could be understood.
    pub dockerfile: Dockerfile,
    /// What could not, and what is doubtful, in order of place.
    pub diagnostics: Vec<Diagnostic>,
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
