//! Several images that write one cache: only the last one's is there afterwards.

use std::collections::BTreeMap;

use bakehouse_model::Diagnostic;

use super::Given;
use crate::codes::{Code, warning};
use crate::fleet::Fleet;

pub(super) const CODE: Code = warning(
    "cache-ref-shared",
    "several images write their caches to one place, and the last one replaces the others",
    "give each image a cache of its own: a `ref` or a `scope` with its name in it",
);

pub(super) fn find(fleet: &Fleet, _: &Given<'_>) -> Vec<Diagnostic> {
    let mut writers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, image) in fleet.images.iter().enumerate() {
        for spec in &image.options.cache_to {
            let Some(place) = Export::parse(spec).place() else { continue };
            let writers = writers.entry(place).or_default();
            if !writers.contains(&at) {
                writers.push(at);
            }
        }
    }
    let found = writers.into_iter().filter(|(_, writers)| writers.len() > 1).map(|(place, at)| {
        let mut images: Vec<_> = at.iter().map(|at| &fleet.images[*at]).collect();
        images.sort_by_key(|image| image.location());
        let names: Vec<String> = images.iter().map(|image| format!("`{}`", image.name)).collect();
        let message = format!("{} write their caches to {place}", names.join(", "));
        CODE.at(images[0].location(), message)
    });
    found.collect()
}

/// A cache that is written, as `--cache-to` takes it.
pub(super) struct Export<'a> {
    kind: &'a str,
    fields: BTreeMap<&'a str, &'a str>,
}

impl<'a> Export<'a> {
    /// A plain reference is short for a registry.
    pub(super) fn parse(spec: &'a str) -> Self {
        let spec = spec.trim();
        if !spec.contains('=') {
            return Self { kind: "registry", fields: BTreeMap::from([("ref", spec)]) };
        }
        let pairs = spec.split(',').filter_map(|field| field.trim().split_once('='));
        let fields: BTreeMap<&str, &str> =
            pairs.map(|(key, value)| (key.trim(), value.trim_matches('"'))).collect();
        Self { kind: fields.get("type").copied().unwrap_or("registry"), fields }
    }

    /// The reference that it is written to.
    pub(super) fn registry(&self) -> Option<String> {
        (self.kind == "registry").then(|| self.fields.get("ref").map(|text| (*text).to_owned()))?
    }

    /// Whether intermediate results are to be kept as well.
    pub(super) fn is_max(&self) -> bool {
        self.fields.get("mode") == Some(&"max")
    }

    /// Whether it is kept within the image.
    pub(super) fn is_inline(&self) -> bool {
        self.kind == "inline"
    }

    /// Where it is written, if another one written there takes its place.
    fn place(&self) -> Option<String> {
        let field = |name: &str| self.fields.get(name).copied();
        match self.kind {
            "registry" => Some(format!("`{}`", field("ref")?)),
            "gha" => Some(format!("the scope `{}`", field("scope").unwrap_or("buildkit"))),
            "local" => Some(format!("the folder `{}`", field("dest")?)),
            _ => None,
        }
    }
}
