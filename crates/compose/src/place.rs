//! Relative paths of a document, as seen from the root.
//!
//! Paths mean different folders in different files, so they are settled file by file, before files
//! are merged. See [`crate::path`] for what a placed path looks like.

use crate::environment::Environment;
use crate::path::place;
use crate::yaml::{Kind, Node};

/// What a context begins with when it is no path.
const REMOTE: &[&str] =
    &["service:", "https://", "http://", "git://", "ssh://", "github.com/", "git@"];

/// From which folder paths are seen, and where `~` is.
#[derive(Debug)]
pub(crate) struct From<'a> {
    pub(crate) folder: &'a str,
    pub(crate) environment: &'a Environment<'a>,
}

impl From<'_> {
    /// A path, placed.
    pub(crate) fn path(&self, path: &str) -> String {
        let Some(below) = path.strip_prefix('~') else {
            return place(self.folder, path);
        };
        match self.environment.get("HOME") {
            Some(home) => place("", &format!("{home}/{below}")),
            None => path.to_owned(),
        }
    }

    /// A context, placed if it is a path.
    fn context(&self, context: &str) -> String {
        let remote = context.contains("://") || REMOTE.iter().any(|lead| context.starts_with(lead));
        if remote { context.to_owned() } else { self.path(context) }
    }
}

/// Places every path that matters for builds.
pub(crate) fn document(document: &mut Node, from: &From<'_>) {
    let context = |text: &str| from.context(text);
    let path = |text: &str| from.path(text);
    for service in values(document.get_mut("services")) {
        if let Some(file) = service.get_mut("extends").and_then(|extends| extends.get_mut("file")) {
            text(file, &path);
        }
        let Some(build) = service.get_mut("build") else { continue };
        text(build, &context);
        if let Some(folder) = build.get_mut("context") {
            text(folder, &context);
        }
        pairs(build.get_mut("additional_contexts"), &context);
        pairs(build.get_mut("ssh"), &path);
    }
    for secret in values(document.get_mut("secrets")) {
        if let Some(file) = secret.get_mut("file") {
            text(file, &path);
        }
    }
}

fn values(map: Option<&mut Node>) -> impl Iterator<Item = &mut Node> {
    let entries = match map.map(|node| &mut node.kind) {
        Some(Kind::Map(entries)) => entries.as_mut_slice(),
        _ => &mut [],
    };
    entries.iter_mut().map(|entry| &mut entry.value)
}

fn text(node: &mut Node, change: &dyn Fn(&str) -> String) {
    if let Kind::Text(text) = &mut node.kind {
        *text = change(text);
    }
}

/// The values of a map, or what is behind the first `=` of each item.
fn pairs(node: Option<&mut Node>, change: &dyn Fn(&str) -> String) {
    let Some(node) = node else { return };
    match &mut node.kind {
        Kind::Map(entries) => entries.iter_mut().for_each(|entry| text(&mut entry.value, change)),
        Kind::List(items) => items.iter_mut().for_each(|item| {
            text(item, &|pair| match pair.split_once('=') {
                Some((key, value)) => format!("{key}={}", change(value)),
                None => pair.to_owned(),
            });
        }),
        _ => {}
    }
}
