//! Whole files, with what is said about them beside them.
//!
//! `fixtures/dockerfiles/ok` builds, `fixtures/dockerfiles/err` does not. Run with
//! `BAKEHOUSE_BLESS=1` to write the `.out` files anew, and read the difference.
#![expect(clippy::disallowed_methods, reason = "the test reads files; what it tests does not")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bakehouse_model::Severity;
use bakehouse_plan::dockerfile::{Parsed, parse};

fn corpus(kind: &str) -> Vec<PathBuf> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/dockerfiles").join(kind);
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "Dockerfile")).collect();
    files.sort();
    files
}

fn render(parsed: &Parsed) -> String {
    let mut out = String::new();
    for diagnostic in &parsed.diagnostics {
        let location = diagnostic.location.as_ref().unwrap();
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let (line, end) = (location.line, location.end_line);
        let lines = if line == end { line.to_string() } else { format!("{line}-{end}") };
        let (code, message) = (&diagnostic.code, &diagnostic.message);
        writeln!(out, "{lines}: {severity}[{code}]: {message}").unwrap();
        if let Some(help) = &diagnostic.help {
            writeln!(out, "  help: {help}").unwrap();
        }
    }
    for stage in &parsed.dockerfile.stages {
        let name = stage.name.as_deref().map_or(String::new(), |name| format!(" as {name}"));
        writeln!(out, "{}: stage {}{name}", stage.span.line, stage.base).unwrap();
        for instruction in &stage.instructions {
            writeln!(out, "{}: {:?}", instruction.span.line, instruction.kind).unwrap();
        }
    }
    out
}

fn check(kind: &str, with_errors: bool) {
    let bless = std::env::var("BAKEHOUSE_BLESS").is_ok();
    let files = corpus(kind);
    assert!(!files.is_empty());
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let parsed = parse(&std::fs::read(&file).unwrap(), &name);
        assert_eq!(parsed.has_errors(), with_errors, "{name}: {:?}", parsed.diagnostics);
        let found = render(&parsed);
        let beside = file.with_extension("out");
        if bless {
            std::fs::write(&beside, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn files_that_build_are_understood() {
    check("ok", false);
}

#[test]
fn files_that_do_not_build_say_why() {
    check("err", true);
}
