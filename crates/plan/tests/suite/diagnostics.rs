//! Every diagnostic has a place with a line and a column, a code that is listed, and says what
//! to do.
#![expect(clippy::disallowed_methods, reason = "the test reads files; what it tests does not")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bakehouse_model::Diagnostic;
use bakehouse_plan::codes;
use bakehouse_plan::dockerfile::parse;
use bakehouse_plan::fleet::Described;

use crate::lint::fleet_of;

fn is_whole(diagnostic: &Diagnostic) {
    let place = diagnostic.location.as_ref().unwrap_or_else(|| panic!("no place: {diagnostic:?}"));
    assert!(!place.file.is_empty() && place.line > 0 && place.column > 0, "{diagnostic:?}");
    assert!(codes::get(&diagnostic.code).is_some(), "the code is not listed: {diagnostic:?}");
    let help = diagnostic.help.as_deref().unwrap_or_default();
    assert!(!help.is_empty(), "no help: {diagnostic:?}");
    assert!(!diagnostic.message.is_empty(), "{diagnostic:?}");
}

#[test]
fn mistakes_of_the_corpus_are_told_with_place_code_and_help() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/dockerfiles");
    let mut seen = 0;
    for kind in ["ok", "err"] {
        for entry in std::fs::read_dir(folder.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "Dockerfile") {
                let parsed = parse(&std::fs::read(&path).unwrap(), "Dockerfile");
                parsed.diagnostics.iter().for_each(is_whole);
                seen += parsed.diagnostics.len();
            }
        }
    }
    assert!(seen > 30, "only {seen} diagnostics in the corpus");
}

#[test]
fn mistakes_that_show_when_images_are_put_together_are_told_with_place_code_and_help() {
    let texts = [
        "FROM $X\n",
        "FROM x\nCOPY --from=9 / /\n",
        "FROM x AS a\nCOPY --from=b / /\nFROM x AS b\nCOPY --from=a / /\n",
        "FROM --platform=$X x\n",
        "FROM --platform=a/b/c/d x\n",
        "FROM x\nEXPOSE a\n",
        "FROM x\nSTOPSIGNAL NO\n",
        "FROM x\nVOLUME $X\n",
        "FROM x\nENV a=${b:?no}\n",
        "FROM x\nCOPY --chmod=z a b\n",
        "FROM x\nCOPY https://x/y /\n",
        "FROM x\nADD --checksum=z https://x/y /\n",
        "FROM x\nRUN --mount=type=secret true\n",
        "FROM x\nRUN --security=insecure true\n",
        "FROM other-thing\nFROM missing/own\n",
    ];
    let mut codes = BTreeSet::new();
    for text in texts {
        let fleet =
            fleet_of(&[("a/Dockerfile", text), ("b/Dockerfile", "FROM a\n")], Described::default());
        fleet.diagnostics.iter().for_each(is_whole);
        codes.extend(fleet.diagnostics.into_iter().map(|diagnostic| diagnostic.code));
    }
    assert!(codes.len() > 4, "{codes:?}");
}

/// Codes that the sources give to diagnostics: the first string after one of these.
const GIVES: &[&str] = &[
    "Problem::new(",
    " wrong(",
    "(wrong(",
    "wrong_with_help(",
    "= rule(",
    "rule(",
    "code: ",
    "error(",
    "warning(",
    "note(",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The string literal that `text` begins with after places and blanks, if it may be a code.
fn code(text: &str) -> Option<&str> {
    let near = text.get(..90).or_else(|| text.get(..text.len().min(40)))?;
    let (before, rest) = near.split_once('"')?;
    let is_place = |c: char| c.is_whitespace() || c.is_alphanumeric() || "._(),&".contains(c);
    let (code, _) = rest.split_once('"')?;
    let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = before.chars().all(is_place) && code.contains('-') && code.chars().all(kebab);
    fits.then_some(code)
}

#[test]
fn every_code_of_the_sources_is_listed() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut given = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("mod tests {").next().unwrap();
        for opening in GIVES {
            let after = text.match_indices(opening).map(|(at, found)| &text[at + found.len()..]);
            given.extend(after.filter_map(code).map(str::to_owned));
        }
    }
    assert!(given.len() > 70, "only {} codes are found: {given:?}", given.len());
    let unlisted: Vec<&String> = given.iter().filter(|code| codes::get(code).is_none()).collect();
    assert!(unlisted.is_empty(), "add them to `codes.rs`: {unlisted:?}");
}
