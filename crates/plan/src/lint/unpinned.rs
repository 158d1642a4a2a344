//! Bases from elsewhere without a digest: the next build may get another image.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::oci::Reference;
use bakehouse_model::{Diagnostic, Location, Severity};

use super::Given;
use crate::codes::{Code, note};
use crate::fleet::{Fleet, fits};

pub(super) const CODE: Code = note(
    "unpinned-base",
    "a base from elsewhere has no digest; with `latest` or no tag it is a warning",
    "pin it as `NAME:TAG@sha256:...`, or list it under `unpinned-ok` in `bakehouse.toml`",
);

/// Where a reference is written.
#[derive(Default)]
struct Written {
    first: Option<Location>,
    files: BTreeSet<String>,
}

pub(super) fn find(fleet: &Fleet, given: &Given<'_>) -> Vec<Diagnostic> {
    let mut written: BTreeMap<&str, Written> = BTreeMap::new();
    for image in &fleet.images {
        for external in &image.external {
            let place = external.location.clone().unwrap_or_else(|| image.location());
            let written = written.entry(&external.reference).or_default();
            written.files.insert(place.file.clone());
            if written.first.as_ref().is_none_or(|first| place < *first) {
                written.first = Some(place);
            }
        }
    }
    let told = written.into_iter().filter_map(|(text, written)| {
        let reference = text.parse::<Reference>().ok()?;
        let is_ok = |pattern: &String| fits(pattern, text) || *pattern == without_tag(text);
        if reference.digest().is_some() || given.unpinned_ok.iter().any(is_ok) {
            return None;
        }
        Some(tell(text, written))
    });
    told.collect()
}

fn tell(text: &str, written: Written) -> Diagnostic {
    let tag = text.strip_prefix(without_tag(text)).and_then(|tag| tag.strip_prefix(':'));
    let (severity, what) = match tag {
        None => (Severity::Warning, "neither a tag nor a digest"),
        Some("latest") => (Severity::Warning, "no digest, and `latest` is another image tomorrow"),
        Some(_) => (Severity::Note, "a tag and no digest"),
    };
    let files = match written.files.len() {
        0 | 1 => String::new(),
        files => format!(" (in {files} files)"),
    };
    let place = written.first.unwrap_or_else(|| Location::file("."));
    Diagnostic { severity, ..CODE.at(place, format!("the base `{text}` has {what}{files}")) }
}

/// The reference up to its tag.
fn without_tag(text: &str) -> &str {
    let name = text.rfind('/').map_or(0, |slash| slash + 1);
    text[name..].find(':').map_or(text, |colon| &text[..name + colon])
}
