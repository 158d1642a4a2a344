//! Holds `docs/formats/events.md` to the truth: every example is one, every fact is there.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bakehouse_model::{Event, MissReason, Outcome};
use serde_json::Value;

use crate::jsonl;

const PAGE: &str = include_str!("../../../docs/formats/events.md");
const MODEL: &str = include_str!("../../model/src/event.rs");

/// The lines of all JSON examples.
fn examples() -> impl Iterator<Item = &'static str> {
    let blocks = PAGE.split("```json\n").skip(1);
    blocks.flat_map(|block| block.split("```").next().unwrap().lines())
}

/// The variants of an enum of the model, as the stream writes them.
fn variants(name: &str) -> BTreeSet<String> {
    let start = MODEL.find(&format!("pub enum {name} {{")).unwrap();
    let body = MODEL[start..].split("\n}\n").next().unwrap();
    let names = body.lines().skip(1).filter_map(|line| {
        let name = line.strip_prefix("    ")?;
        let name: String = name.chars().take_while(char::is_ascii_alphanumeric).collect();
        name.starts_with(|c: char| c.is_ascii_uppercase()).then_some(name)
    });
    names.map(|name| kebab(&name)).collect()
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The tags of all examples that have `tag`, each parsed by `parse` on the way.
fn tags<T: Debug>(
    tag: &str,
    parse: impl Fn(&str) -> Result<T, serde_json::Error>,
) -> BTreeSet<String> {
    let mut tags = BTreeSet::new();
    for line in examples() {
        let value: Value = serde_json::from_str(line).unwrap();
        let value = value.pointer(tag).and_then(Value::as_str);
        if let Some(found) = value {
            parse(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            tags.insert(found.to_owned());
        }
    }
    tags
}

#[test]
fn every_example_parses_and_every_fact_has_one() {
    let parse = |line: &str| serde_json::from_str::<Event>(line);
    assert_eq!(tags("/kind/type", parse), variants("EventKind"));
    let parse = |line: &str| serde_json::from_str::<MissReason>(line);
    assert_eq!(tags("/because", parse), variants("MissReason"));
    let parse = |line: &str| serde_json::from_str::<Outcome>(line);
    assert_eq!(tags("/is", parse), variants("Outcome"));
}

#[test]
fn every_example_is_what_this_version_writes() {
    for line in examples() {
        match jsonl::parse(line) {
            Ok(event) => assert_eq!(serde_json::to_string(&event).unwrap(), line),
            Err(_) => assert!(line.starts_with(r#"{"because":"#) || line.starts_with(r#"{"is":"#)),
        }
    }
}

#[test]
fn every_type_and_value_is_named_on_the_page() {
    for name in ["Stream", "TransferKind", "PathChange", "EventKind", "MissReason", "Outcome"] {
        for variant in variants(name) {
            assert!(PAGE.contains(&format!("`{variant}`")), "`{variant}` of {name}");
        }
    }
    assert!(PAGE.contains(&format!("version **{}**", Event::VERSION)));
}
