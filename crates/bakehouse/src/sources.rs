//! What bake files, compose files and `bakehouse.toml` say of a repository's images.
//!
//! Each folder's files make projects, as their tools would read them there without being told
//! more. What comes of it are [`Described`] definitions with paths from the repository's root,
//! whatever the file; `plan::fleet` merges them with the Dockerfiles.

mod bake;
mod compose;
mod config;

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::Diagnostic;
use bakehouse_plan::fleet::{ContextValue, Definition, Described, DockerfileAt, Skipped, fixture};

use crate::config::Config;
use crate::discovery::folder_of;

pub(crate) use bake::{USUAL_BAKE, evaluate};

pub use bake::BakeSettings;

/// The repository, as far as definitions look at it.
pub struct Tree<'a> {
    /// A file's bytes, by its path from the root.
    pub load: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// Whether a path is there.
    pub exists: &'a dyn Fn(&str) -> bool,
    /// A variable of the environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The name of the repository's folder.
    pub repository: &'a str,
}

impl std::fmt::Debug for Tree<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Sources {
    /// What the files say.
    pub described: Described,
    /// `bakehouse.toml`.
    pub config: Config,
    /// The text of each file, to show lines of it.
    pub texts: BTreeMap<String, String>,
    /// Files that are left out.
    pub skipped: Vec<Skipped>,
    /// What is wrong in them.
    pub diagnostics: Vec<Diagnostic>,
}

impl Sources {
    fn keep(&mut self, path: &str, text: &[u8]) {
        self.texts.insert(path.to_owned(), String::from_utf8_lossy(text).into_owned());
    }

    /// Keeps a Dockerfile that is written in a definition, under the name it is told by.
    fn keep_inline(&mut self, definition: &Definition) {
        if let DockerfileAt::Inline(text) = &definition.dockerfile {
            let shown = format!("{}#{}", definition.location.file, definition.name);
            self.texts.insert(shown, text.clone());
        }
    }
}

/// Reads the bake and compose files among `paths`, each folder's as its own tool would, but
/// for those that are excluded or input of somebody's tests.
pub fn read(paths: &[String], tree: &Tree<'_>, settings: &BakeSettings<'_>) -> Sources {
    let mut sources = Sources::default();
    config::read(tree, &mut sources);
    let excluded = sources.config.excluded();
    let mut kept = Vec::new();
    for path in paths.iter().filter(|path| !excluded.matches_or_parent_matches(path)) {
        match fixture(path) {
            Some(reason) => sources.skipped.push(Skipped { path: path.clone(), reason }),
            None => kept.push(path.clone()),
        }
    }
    let paths = kept;
    let paths = paths.as_slice();
    let mut folders: Vec<&str> = paths.iter().map(|path| folder_of(path)).collect();
    // What is nearer to the root counts first.
    folders
        .sort_by_key(|folder| (folder.matches('/').count(), folder.is_empty() as u8 ^ 1, *folder));
    folders.dedup();
    for folder in &folders {
        bake::read_folder(folder, paths, (tree, settings), &mut sources);
    }
    let mut read = BTreeSet::new();
    for folder in &folders {
        compose::read_usual(folder, paths, tree, (&mut sources, &mut read));
    }
    for path in paths {
        compose::read_other(path, tree, (&mut sources, &mut read));
    }
    sources
}

/// Reads the files that were named, in this order, as one project.
pub fn read_named(paths: &[String], tree: &Tree<'_>, settings: &BakeSettings<'_>) -> Sources {
    let mut sources = Sources::default();
    config::read(tree, &mut sources);
    let is_compose = |path: &&String| path.ends_with(".yaml") || path.ends_with(".yml");
    let (compose, bake): (Vec<&String>, Vec<&String>) = paths.iter().partition(is_compose);
    let own = |paths: Vec<&String>| paths.into_iter().cloned().collect::<Vec<String>>();
    bake::read_files(&own(bake), "", (tree, settings), &mut sources);
    compose::read_files(&own(compose), true, tree, &mut sources);
    sources
}

/// What the text of a context means. `path` makes a path from the repository's root of one
/// that is written in a file.
fn context_value(text: &str, path: impl Fn(&str) -> String) -> ContextValue {
    for scheme in ["target:", "service:"] {
        if let Some(name) = text.strip_prefix(scheme) {
            return ContextValue::Definition(name.to_owned());
        }
    }
    if let Some(reference) = text.strip_prefix("docker-image://") {
        return ContextValue::Image(reference.to_owned());
    }
    if let Some(layout) = text.strip_prefix("oci-layout://") {
        return ContextValue::Layout(path(layout));
    }
    let local = text.strip_prefix("cwd://").unwrap_or(text);
    if is_remote(local) {
        ContextValue::Url(local.to_owned())
    } else {
        ContextValue::Folder(path(local))
    }
}

/// Whether a context is on another machine.
fn is_remote(text: &str) -> bool {
    text.contains("://") || text.starts_with("git@") || text.starts_with("github.com/")
}

/// `path` as seen from the repository's root, when it is written in a file of `folder`; `.`
/// for the root. One that leaves the repository keeps its `..`.
fn from_root(folder: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// A Dockerfile's path: below its context unless it is absolute.
fn dockerfile_path(context: &ContextValue, written: &str) -> String {
    match context {
        ContextValue::Folder(folder) if folder == "." => from_root("", written),
        ContextValue::Folder(folder) => from_root(folder, written),
        _ => from_root("", written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_root() {
        let table = [
            ("", ".", "."),
            ("", "a/./b", "a/b"),
            ("services/api", "..", "services"),
            ("services/api", "../..", "."),
            ("services", "../../x", "../x"),
            ("a", "/b", "/b"),
        ];
        for (folder, path, expected) in table {
            assert_eq!(from_root(folder, path), expected, "{folder} {path}");
        }
    }

    #[test]
    fn contexts_are_told_by_how_they_begin() {
        let value = |text: &str| context_value(text, |path| from_root("d", path));
        assert_eq!(value("target:base"), ContextValue::Definition("base".to_owned()));
        assert_eq!(value("docker-image://a:1"), ContextValue::Image("a:1".to_owned()));
        assert_eq!(value("oci-layout://l:t"), ContextValue::Layout("d/l:t".to_owned()));
        assert_eq!(value("cwd://x"), ContextValue::Folder("d/x".to_owned()));
        assert_eq!(value(".."), ContextValue::Folder(".".to_owned()));
        assert_eq!(value("https://h/r.git"), ContextValue::Url("https://h/r.git".to_owned()));
    }
}
