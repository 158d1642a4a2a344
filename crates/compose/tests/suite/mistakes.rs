//! Projects with mistakes, and what is said about each, which lies beside it in `expected.out`.
//!
//! Run with `BAKEHOUSE_BLESS=1` to write those anew, and read the difference.

use std::fmt::Write as _;
use std::fs;

use bakehouse_compose::Project;
use bakehouse_model::Severity;

use crate::cases::{blesses, cases};

#[test]
fn what_is_said_about_a_mistake_is_what_lies_beside_it() {
    let mut wrong = Vec::new();
    for case in cases("err") {
        let found = render(&case.read());
        let beside = case.root.join("expected.out");
        if blesses() {
            fs::write(&beside, &found).unwrap();
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{}:\n{found}\n-- instead of\n{expected}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_diagnostic_has_a_place_a_code_and_a_way_out() {
    for case in cases("err").iter().chain(&cases("ok")) {
        for problem in case.read().diagnostics {
            let place = problem.location.as_ref().unwrap();
            assert!(!place.file.is_empty() && place.line > 0 && place.column > 0, "{problem:?}");
            assert!(place.end_line >= place.line, "{problem:?}");
            let kebab = |byte: u8| byte.is_ascii_lowercase() || b"-8".contains(&byte);
            assert!(problem.code.bytes().all(kebab), "{problem:?}");
            assert!(problem.help.is_some_and(|help| !help.is_empty()), "{}", problem.message);
            assert!(!problem.message.ends_with('.'), "{}", problem.message);
        }
    }
}

/// Diagnostics, then what is left of the project.
fn render(project: &Project) -> String {
    let mut out = String::new();
    for problem in &project.diagnostics {
        let place = problem.location.as_ref().unwrap();
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let (line, column) = (place.line, place.column);
        let (code, message) = (&problem.code, &problem.message);
        writeln!(out, "{}:{line}:{column}: {severity}[{code}]: {message}", place.file).unwrap();
        writeln!(out, "  help: {}", problem.help.as_deref().unwrap_or_default()).unwrap();
    }
    for (name, service) in &project.services {
        let built = service.build.as_ref().map(|build| format!("{:?}", build.context.value));
        let built = built.unwrap_or("not built".to_owned());
        writeln!(out, "service {name}: {}, {built}", service.image_name()).unwrap();
    }
    out
}
