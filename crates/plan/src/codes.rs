//! Every code that a diagnostic of this room may have: how bad it is, what it says, what to
//! do about it.
//!
//! What is said of a code in general is said here and nowhere else: a diagnostic that has no
//! help of its own gets the one of its code, and documentation and machine-readable reports
//! take their descriptions from here.

mod dockerfile;
mod fleet;

use bakehouse_model::Severity;

/// What a code stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The code: a stable kebab-case name.
    pub code: &'static str,
    /// How bad it is if nothing else is asked for.
    pub severity: Severity,
    /// What it says, in one line.
    pub about: &'static str,
    /// What to do about it.
    pub help: &'static str,
}

/// What makes a build impossible.
pub(crate) const fn error(code: &'static str, about: &'static str, help: &'static str) -> Code {
    Code { code, severity: Severity::Error, about, help }
}

/// What is probably not meant.
pub(crate) const fn warning(code: &'static str, about: &'static str, help: &'static str) -> Code {
    Code { code, severity: Severity::Warning, about, help }
}

/// What somebody may want to know.
pub(crate) const fn note(code: &'static str, about: &'static str, help: &'static str) -> Code {
    Code { code, severity: Severity::Note, about, help }
}

/// All codes of this room: those of Dockerfiles, of the fleet, of lowering, and the lints.
pub fn all() -> impl Iterator<Item = &'static Code> {
    let lints = crate::lint::RULES.iter().map(|rule| &rule.code);
    dockerfile::CODES.iter().chain(fleet::CODES).chain(lints)
}

/// The checks of a Dockerfile by itself: what is doubtful in it, not wrong.
pub fn checks() -> impl Iterator<Item = &'static Code> {
    dockerfile::CODES.iter().filter(|known| known.severity == Severity::Warning)
}

/// What is known of a code.
pub fn get(code: &str) -> Option<&'static Code> {
    all().find(|known| known.code == code)
}

/// What to do about a diagnostic of that code.
pub(crate) fn help(code: &str) -> Option<String> {
    get(code).map(|code| code.help.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::all;

    #[test]
    fn every_code_is_there_once_and_says_what_it_means_and_what_to_do() {
        let mut seen = BTreeSet::new();
        for code in all() {
            assert!(seen.insert(code.code), "`{}` is there twice", code.code);
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(code.code.chars().all(kebab), "`{}` is not in kebab case", code.code);
            for text in [code.about, code.help] {
                assert!(!text.is_empty() && !text.ends_with('.'), "`{}`: {text}", code.code);
                assert!(!text.contains(['|', '\n']), "`{}`: {text}", code.code);
            }
        }
        assert!(seen.len() > 80);
    }
}
