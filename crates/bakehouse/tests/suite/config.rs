//! `bakehouse.toml`: whole files with what is said about them beside them, the schema that is
//! published, and the page that explains both.
//!
//! `fixtures/config/ok` can be used, `fixtures/config/err` cannot. Run with `BAKEHOUSE_BLESS=1`
//! to write the `.out` files and the schema anew, and read the difference.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bakehouse::config::{Config, FILE_NAME, read};
use bakehouse_model::{Diagnostic, Severity};
use serde_json::{Value, json};

use crate::place::Place;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares with what is kept, or keeps it.
fn compare(kept: &Path, found: &str) {
    if std::env::var("BAKEHOUSE_BLESS").is_ok() {
        fs::write(kept, found).unwrap();
    }
    let expected = fs::read_to_string(kept).unwrap_or_default();
    assert_eq!(found, expected, "{}", kept.display());
}

fn render(config: &Config, diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let place = diagnostic.location.as_ref().unwrap();
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let (line, column, code) = (place.line, place.column, &diagnostic.code);
        writeln!(out, "{line}:{column}: {severity}[{code}]: {}", diagnostic.message).unwrap();
        writeln!(out, "  help: {}", diagnostic.help.as_ref().unwrap()).unwrap();
    }
    let mut said = serde_json::to_value(config).unwrap();
    forget_empty(&mut said);
    writeln!(out, "{said:#}").unwrap();
    out
}

/// What is not said need not be read.
fn forget_empty(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.values_mut().for_each(forget_empty);
        fields
            .retain(|_, field| *field != Value::Null && *field != json!([]) && *field != json!({}));
    }
}

fn check(kind: &str, with_errors: bool) {
    let folder = root().join("fixtures/config").join(kind);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "toml")).collect();
    assert!(!files.is_empty());
    for file in files {
        let (config, diagnostics) = read(FILE_NAME, &fs::read(&file).unwrap());
        let errors = diagnostics.iter().any(|d| d.severity == Severity::Error);
        assert_eq!(errors, with_errors, "{}: {diagnostics:?}", file.display());
        compare(&file.with_extension("out"), &render(&config, &diagnostics));
    }
}

#[test]
fn files_that_can_be_used_are_understood() {
    check("ok", false);
}

#[test]
fn files_that_cannot_be_used_say_why() {
    check("err", true);
}

#[test]
fn the_schema_that_is_published_is_the_one_that_is_printed() {
    let place = Place::new();
    let told = place.run(&["schema"]);
    assert_eq!(told.ok().err, "");
    assert_eq!(told.json()["title"], FILE_NAME);
    compare(&root().join("docs/bakehouse.schema.json"), &told.out);
    assert!(!place.store().exists(), "a schema needs no store");
}

/// The guide's page.
fn page() -> String {
    fs::read_to_string(root().join("docs/guide/configuration.md")).unwrap()
}

#[test]
fn the_examples_of_the_guide_are_read_without_a_complaint() {
    let page = page();
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let (_, diagnostics) = read(FILE_NAME, example.as_bytes());
        assert_eq!(diagnostics, [], "{example}");
    }
}

#[test]
fn the_guide_explains_every_key_of_the_schema() {
    let page = page();
    let schema: Value = Place::new().run(&["schema"]).ok().json();
    let tables = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for table in tables {
        for key in table["properties"].as_object().unwrap().keys() {
            let row = page.lines().any(|line| {
                line.split('|').nth(1).is_some_and(|cell| cell.contains(&format!("`{key}`")))
            });
            assert!(row, "`{key}` has no row in the guide");
        }
    }
}
