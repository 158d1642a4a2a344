//! Whole files, with what must come of them beside them.
//!
//! What is beside `ok` was printed by Docker Buildx: see `live.rs`. What is beside `err` is ours;
//! run with `BAKEHOUSE_BLESS=1` to write it anew, and read the difference.

use std::fmt::Write as _;

use bakehouse_bake::{SourceFile, Surroundings, read, to_hcl};
use bakehouse_model::Diagnostic;

use crate::cases::{cases, without_order};

#[test]
fn every_fixture_resolves_to_what_buildx_printed() {
    let cases = cases("ok");
    assert!(cases.len() >= 40, "only {} fixtures", cases.len());
    let mut wrong = String::new();
    for case in cases {
        let pinned = case.pinned();
        for run in &case.runs {
            let found = match case.run(run) {
                Ok(resolved) => resolved.to_json(),
                Err(diagnostics) => format!("{diagnostics:#?}").into(),
            };
            let expected = pinned.get(run).cloned().unwrap_or_default();
            let same = match case.name.contains("axes") {
                true => without_order(found.clone()) == without_order(expected.clone()),
                false => found == expected,
            };
            if !same {
                writeln!(wrong, "{} {run}\n found {found:#}\n expected {expected:#}", case.name)
                    .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_written_out_resolves_to_the_same() {
    for case in cases("ok") {
        for run in &case.runs {
            let resolved = case.run(run).unwrap();
            let text = to_hcl(&resolved).into_bytes();
            let again = read(
                &[SourceFile { path: "x.hcl".to_owned(), text: text.clone() }],
                &Surroundings::new(&|_| None),
            );
            let wanted: Vec<String> =
                resolved.groups.keys().chain(resolved.targets.keys()).cloned().collect();
            let again = again.resolve(&wanted, &[]).unwrap_or_else(|diagnostics| {
                panic!("{} {run}: {diagnostics:#?}\n{}", case.name, String::from_utf8_lossy(&text))
            });
            assert_eq!(
                again.to_json()["target"],
                resolved.to_json()["target"],
                "{} {run}",
                case.name
            );
        }
    }
}

fn render(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let place = diagnostic.location.as_ref().unwrap();
        let (line, column) = (place.line, place.column);
        writeln!(out, "{line}:{column}: [{}] {}", diagnostic.code, diagnostic.message).unwrap();
        writeln!(out, "  help: {}", diagnostic.help.as_ref().unwrap()).unwrap();
    }
    out
}

#[test]
fn every_mistake_is_said_with_its_place_and_a_way_out() {
    let bless = std::env::var("BAKEHOUSE_BLESS").is_ok();
    let cases = cases("err");
    assert!(cases.len() >= 30, "only {} fixtures", cases.len());
    for case in cases {
        let mut found = String::new();
        for run in &case.runs {
            let diagnostics = case.run(run).expect_err(&case.name);
            assert!(!diagnostics.is_empty(), "{}", case.name);
            found.push_str(&render(&diagnostics));
        }
        if bless {
            std::fs::write(case.pin(), &found).unwrap();
        }
        assert_eq!(found, std::fs::read_to_string(case.pin()).unwrap_or_default(), "{}", case.name);
    }
}

#[test]
fn a_target_that_cannot_be_read_does_not_hide_the_others() {
    let text = b"target \"bad\" { args = { A = nothing } }\ntarget \"good\" {}\n\
        target \"on_bad\" { inherits = [\"bad\"] }\ngroup \"default\" { targets = [\"bad\", \"good\"] }\n";
    let file = SourceFile { path: "docker-bake.hcl".to_owned(), text: text.to_vec() };
    let bake = read(&[file], &Surroundings::new(&|_| None));
    let (resolved, diagnostics) = bake.resolve_all(&[]);
    assert_eq!(resolved.targets.keys().collect::<Vec<_>>(), ["good"]);
    assert_eq!(resolved.groups["default"].targets, ["bad", "good"]);
    let codes: Vec<&str> = diagnostics.iter().map(|each| each.code.as_str()).collect();
    assert_eq!(codes, ["unknown-variable", "unknown-target"]);
    assert!(bake.resolve(&["good".to_owned()], &[]).is_err(), "Buildx refuses the whole file");
}

#[test]
fn a_field_knows_where_it_was_set_last() {
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.into() };
    let files = [
        file("docker-bake.hcl", "target \"a\" {\n  tags = [\"one\"]\n  context = \"x\"\n}\n"),
        file("docker-bake.override.hcl", "target \"a\" {\n\n  tags = [\"two\"]\n}\n"),
    ];
    let resolved =
        read(&files, &Surroundings::new(&|_| None)).resolve(&["a".to_owned()], &[]).unwrap();
    let target = &resolved.targets["a"];
    let place = |field| target.location(field).map(|place| format!("{place}:{}", place.column));
    assert_eq!(place("tags").as_deref(), Some("docker-bake.override.hcl:3:3"));
    assert_eq!(place("context").as_deref(), Some("docker-bake.hcl:3:3"));
    assert_eq!(place("labels"), None);
    assert_eq!(target.block().unwrap().to_string(), "docker-bake.hcl:1");
}
