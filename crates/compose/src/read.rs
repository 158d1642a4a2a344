//! The whole way: from files and surroundings to a project.
//!
//! 1. The env file beside the first Compose file is read, or those that `COMPOSE_ENV_FILES` names;
//!    what is set outside comes before them.
//! 2. The project gets its name: `COMPOSE_PROJECT_NAME`, or `name` of the last file that has one, or
//!    the name of its folder.
//! 3. Files are loaded and merged ([`crate::load`]).
//! 4. Services are read out of the tree ([`crate::service`]).

use std::collections::BTreeSet;
use std::fmt;

use crate::build::Around;
use crate::environment::{Environment, PROJECT_NAME};
use crate::interpolate::interpolate;
use crate::load::{Loader, Scope};
use crate::path::{folder, join};
use crate::problem::error;
use crate::project::Project;
use crate::service::services;
use crate::yaml::{Node, Span};

/// A file with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is, from the root.
    pub path: String,
    /// What is in it.
    pub text: Vec<u8>,
}

/// What is around the files.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Other files by their path from the root: env files, and what is included or extended. A path
    /// may begin with `../` or `/`; whether such a file is given is the caller's to decide.
    pub load: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// The name of the folder that the first file is in.
    pub project: &'a str,
    /// Profiles that are on, `*` for all; without it, those in `COMPOSE_PROFILES`.
    pub profiles: Option<&'a [String]>,
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("project", &self.project)
            .field("profiles", &self.profiles)
            .finish_non_exhaustive()
    }
}

/// Reads a project whose files are given in the order of merging.
///
/// Always gives a project: what is wrong is in its diagnostics, and what is not is in its services.
pub fn read(files: &[SourceFile], around: &Surroundings<'_>) -> Project {
    let paths: Vec<String> = files.iter().map(|file| join("", &file.path)).collect();
    let first = paths.first().map(String::as_str).unwrap_or_default();
    let base = folder(first);
    let mut loader = Loader::new(around.load);
    let documents: Vec<_> =
        files.iter().zip(&paths).map(|(file, path)| loader.supply(path, &file.text)).collect();
    let mut environment = env_files(&mut loader, &base, around);
    let named = name(&mut loader, documents.iter().flat_map(|all| all.iter()), &environment);
    let name = named.unwrap_or_else(|| folder_name(around.project));
    environment.set_project(&name);
    let profiles = profiles(around, &environment);

    let scope = Scope { folder: &base, environment: &environment, chain: &[] };
    let model = loader.model(&paths, &scope, &Span::file(first));
    let keys = |key: &str| model.get(key).map(Node::entries).unwrap_or_default().iter();
    let known = Around {
        project: &name,
        environment: &environment,
        services: &keys("services").map(|entry| entry.key.as_str()).collect(),
        secrets: &keys("secrets").map(|entry| (entry.key.as_str(), &entry.value)).collect(),
    };
    let services = services(&model, &known, &profiles, &mut loader.report);
    Project { services, files: loader.files, diagnostics: loader.report.into_sorted(), name }
}

/// What is set, with the env file of `base`, or those that `COMPOSE_ENV_FILES` names.
pub(crate) fn env_files<'e>(
    loader: &mut Loader<'_>,
    base: &str,
    around: &Surroundings<'e>,
) -> Environment<'e> {
    let outside = Environment::new(around.env);
    let set = |name: &str| (around.env)(name).filter(|value| !value.is_empty());
    if let Some(named) = set("COMPOSE_ENV_FILES") {
        let paths: Vec<String> = named.split(',').map(|path| join(base, path)).collect();
        let asked = Span::file(paths.first().map(String::as_str).unwrap_or_default());
        return loader.env_files(&paths, &outside, Some(&asked));
    }
    let off = set("COMPOSE_DISABLE_ENV_FILE");
    if off.is_some_and(|off| matches!(off.to_ascii_lowercase().as_str(), "1" | "t" | "true")) {
        return outside;
    }
    loader.env_files(&[join(base, ".env")], &outside, None)
}

/// The name that is set or written.
fn name<'n>(
    loader: &mut Loader<'_>,
    documents: impl Iterator<Item = &'n Node>,
    environment: &Environment<'_>,
) -> Option<String> {
    if let Some(set) = environment.get(PROJECT_NAME).filter(|set| !set.is_empty()) {
        let name = normal(&set);
        if name != *set {
            let message = format!("`{set}`, which `{PROJECT_NAME}` says, cannot name a project");
            let help = "use lower-case letters, digits, `_` and `-`, the first no sign";
            let place = Span::file(loader.files.first().map_or("", String::as_str));
            loader.report.push(error(&place, "invalid-name", message, help));
        }
        return Some(name).filter(|name| !name.is_empty());
    }
    let written =
        documents.filter_map(|document| document.get("name")).filter(|node| !node.is_null());
    let node = written.last()?;
    let Some(text) = node.as_str() else {
        let message = format!("`name` is a string, not {}", node.describe());
        loader.report.push(error(&node.span, "wrong-type", message, "put the name in quotes"));
        return None;
    };
    // What is wrong with its variables is told when the document is filled in.
    let text = interpolate(text, &|name| environment.get(name), &mut Vec::new()).ok()?;
    let name = normal(&text);
    (!name.is_empty()).then_some(name)
}

/// The name of a project that has none but its folder's.
fn folder_name(folder: &str) -> String {
    let name = normal(folder);
    // Compose refuses a folder whose name has no letter of its alphabet.
    if name.is_empty() { "default".to_owned() } else { name }
}

/// A name as Compose makes it: lower case, and nothing but letters, digits, `_` and `-`.
fn normal(name: &str) -> String {
    let lower = name.to_lowercase();
    let allowed = |letter: &char| letter.is_ascii_alphanumeric() || "_-".contains(*letter);
    let kept: String = lower.chars().filter(allowed).collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}

fn profiles(around: &Surroundings<'_>, environment: &Environment<'_>) -> BTreeSet<String> {
    match around.profiles {
        Some(profiles) => profiles.iter().cloned().collect(),
        None => {
            let set = environment.get("COMPOSE_PROFILES").unwrap_or_default();
            set.split(',').map(|profile| profile.trim().to_owned()).collect()
        }
    }
}
