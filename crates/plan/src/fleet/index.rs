//! What a written reference means: an image of the fleet, or one from elsewhere.
//!
//! In this order:
//! 1. what `bakehouse.toml` maps it to;
//! 2. the image that is published under that very reference;
//! 3. an image of the same repository under another tag;
//! 4. a name without a registry that Docker Hub has no official image of: the image that is
//!    called so;
//! 5. a name in a registry: the image that its last word names, if the rest of the name is
//!    the fleet's own (see [`Namespaces`]) and nothing says that the image goes elsewhere.
//!
//! No image stands on itself. A digest means one image of the past, never the fleet's.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::oci::Reference;
use serde::Serialize;

use super::gather::normal;
use super::official::is_official;
use super::{Image, Policy, fits};

/// Registries, or parts of them, that are nobody's fleet.
const VENDORS: &[&str] = &[
    "mcr.microsoft.com",
    "nvcr.io",
    "cgr.dev/chainguard",
    "gcr.io/distroless",
    "gcr.io/google.com",
    "registry.k8s.io",
    "registry.access.redhat.com",
    "registry.redhat.io",
    "quay.io/centos",
    "quay.io/fedora",
    "quay.io/prometheus",
    "quay.io/pypa",
    "public.ecr.aws/docker",
    "public.ecr.aws/lambda",
    "public.ecr.aws/amazonlinux",
    "ghcr.io/astral-sh",
    "docker.elastic.co",
    "docker.io/library",
];

/// Whether an image is published under the tag that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagMatch {
    /// Under that very reference.
    Same,
    /// In the same repository, under other tags.
    Other,
    /// Nothing says what it is published under; the name alone fits.
    Inferred,
}

/// What a reference means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Images of the fleet, the likeliest first: more than one is a doubt.
    Fleet(Vec<String>, TagMatch),
    /// Another reference, which is somebody else's.
    Mapped(String),
    /// Somebody else's.
    External,
}

/// What is known of the names of a fleet.
#[derive(Debug, Clone, Default)]
pub struct Index {
    by_reference: BTreeMap<String, Vec<String>>,
    by_repository: BTreeMap<String, Vec<String>>,
    by_name: BTreeMap<String, Vec<String>>,
    /// The repositories that an image is said to be published in.
    repositories: BTreeMap<String, BTreeSet<String>>,
    unbuildable: BTreeSet<String>,
    bases: BTreeMap<String, String>,
    namespaces: Namespaces,
}

/// Parts of registries that are taken for the fleet's own.
///
/// Those that its images are published in, and where they are pushed (`--registry`). If
/// nothing says where they are published: any part that names an image of the fleet, but on
/// Docker Hub only one that names two.
#[derive(Debug, Clone, Default)]
struct Namespaces {
    /// Where the images are pushed.
    pushed: Option<String>,
    /// What images are said to be published in.
    said: BTreeSet<String>,
    /// What names images, where nothing is said.
    voted: BTreeSet<String>,
}

impl Index {
    /// The names of `images`.
    pub(super) fn new(images: &[Image], policy: &Policy, prefix: Option<&str>) -> Self {
        let mut index = Self { bases: policy.bases.clone(), ..Self::default() };
        index.namespaces.pushed = prefix.and_then(namespace_of);
        for image in images {
            index.add(image);
        }
        for names in index.by_name.values_mut() {
            let unbuildable = &index.unbuildable;
            names.sort_by_key(|name| unbuildable.contains(name));
        }
        index
    }

    fn add(&mut self, image: &Image) {
        let name = &image.name;
        if image.unbuildable.is_some() {
            self.unbuildable.insert(name.clone());
        }
        for alias in image.aliases.iter().chain([name]) {
            let named = self.by_name.entry(alias.clone()).or_default();
            if !named.contains(name) {
                named.push(name.clone());
            }
        }
        for text in &image.references {
            let Ok(reference) = text.parse::<Reference>() else { continue };
            let repository = repository(&reference);
            self.by_reference.entry(reference.to_string()).or_default().push(name.clone());
            let same = self.by_repository.entry(repository.clone()).or_default();
            if !same.contains(name) {
                same.push(name.clone());
            }
            self.namespaces.said.extend(namespace(&repository).map(str::to_owned));
            self.repositories.entry(name.clone()).or_default().insert(repository);
        }
    }

    /// Takes an image for one that cannot be built: it is then the last that a name means.
    pub(super) fn doubt(&mut self, name: &str) {
        self.unbuildable.insert(name.to_owned());
        for names in self.by_name.values_mut() {
            if names.len() > 1 && names.iter().any(|other| other == name) {
                let unbuildable = &self.unbuildable;
                names.sort_by_key(|name| unbuildable.contains(name));
            }
        }
    }

    /// Finds out which parts of registries are the fleet's own: `written` are all references
    /// of its Dockerfiles, each with the image that it is in.
    pub(super) fn vote<'a>(&mut self, written: impl Iterator<Item = (&'a str, &'a str)>) {
        if !self.namespaces.said.is_empty() {
            return;
        }
        let mut votes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (own, text) in written {
            let Ok(reference) = text.parse::<Reference>() else { continue };
            let repository = repository(&reference);
            let Some(namespace) = namespace(&repository) else { continue };
            let last = last_word(&repository);
            let others = self.by_name.get(last).into_iter().flatten().any(|name| name != own);
            let known = self.namespaces.pushed.as_deref() == Some(namespace);
            if others && !known && !is_vendor(namespace) {
                votes.entry(namespace.to_owned()).or_default().insert(last.to_owned());
            }
        }
        let enough = |namespace: &str| if namespace.starts_with("docker.io/") { 2 } else { 1 };
        let voted = votes.into_iter().filter(|(name, words)| words.len() >= enough(name));
        self.namespaces.voted = voted.map(|(name, _)| name).collect();
    }

    /// The parts of registries that are taken for the fleet's own because they name its
    /// images, and nothing says so.
    pub(super) fn voted(&self) -> &BTreeSet<String> {
        &self.namespaces.voted
    }

    /// Whether a reference is in a part of a registry that is the fleet's own.
    pub(super) fn is_own(&self, text: &str) -> bool {
        let Ok(reference) = text.parse::<Reference>() else { return false };
        let repository = repository(&reference);
        namespace(&repository).is_some_and(|namespace| self.is_own_namespace(namespace))
    }

    fn is_own_namespace(&self, namespace: &str) -> bool {
        let Namespaces { pushed, said, voted } = &self.namespaces;
        pushed.as_deref() == Some(namespace)
            || said.contains(namespace)
            || voted.contains(namespace)
    }

    /// What `text` means in the Dockerfile of the image `own`.
    pub fn meaning(&self, text: &str, own: &str) -> Meaning {
        if let Some(mapped) = self.mapped(text) {
            return match mapped.strip_prefix("target:") {
                Some(name) => match self.others(self.by_name.get(name), own) {
                    Some(names) => Meaning::Fleet(names, TagMatch::Inferred),
                    None => Meaning::External,
                },
                None => Meaning::Mapped(mapped.clone()),
            };
        }
        let Ok(reference) = text.parse::<Reference>() else { return Meaning::External };
        if reference.digest().is_some() {
            return Meaning::External;
        }
        let repository = repository(&reference);
        let published = self.by_reference.get(&reference.to_string());
        if let Some(names) = self.others(published, own) {
            return Meaning::Fleet(names, TagMatch::Same);
        }
        if let Some(names) = self.others(self.by_repository.get(&repository), own) {
            return Meaning::Fleet(names, TagMatch::Other);
        }
        let last = last_word(&repository);
        let named = self.by_name.get(last);
        let bare = text.split([':', '@']).next() == Some(last);
        if bare && is_official(last) {
            return Meaning::External;
        }
        let fits = bare || namespace(&repository).is_some_and(|name| self.is_own_namespace(name));
        if !fits {
            return Meaning::External;
        }
        let mut names = self.others(named, own).unwrap_or_default();
        names.retain(|name| bare || !self.goes_elsewhere(name, &repository));
        if names.is_empty() { Meaning::External } else { Meaning::Fleet(names, TagMatch::Inferred) }
    }

    fn mapped(&self, text: &str) -> Option<&String> {
        if let Some(mapped) = self.bases.get(text) {
            return Some(mapped);
        }
        let wanted: Reference = text.parse().ok()?;
        let (whole, familiar) = (wanted.to_string(), wanted.familiar());
        let same = self.bases.iter().find(|(from, _)| normal(from).as_ref() == Some(&whole));
        let covers = |from: &String| [text, &whole, &familiar].iter().any(|name| fits(from, name));
        // The longest pattern says most.
        let pattern = || {
            let fitting = self.bases.iter().filter(|(from, _)| covers(from));
            fitting.max_by_key(|(from, _)| from.len())
        };
        same.or_else(pattern).map(|(_, to)| to)
    }

    /// Whether an image is said to be published, and not in this part of a registry.
    fn goes_elsewhere(&self, name: &str, wanted: &str) -> bool {
        let Some(repositories) = self.repositories.get(name) else { return false };
        let parts = |repository: &String| namespace(repository).map(str::to_owned);
        let known: Vec<String> = repositories.iter().filter_map(parts).collect();
        !known.is_empty() && namespace(wanted).is_some_and(|part| !known.iter().any(|k| k == part))
    }

    fn others(&self, names: Option<&Vec<String>>, own: &str) -> Option<Vec<String>> {
        let names: Vec<String> = names?.iter().filter(|name| *name != own).cloned().collect();
        (!names.is_empty()).then_some(names)
    }
}

/// `registry/repository`.
fn repository(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

fn last_word(repository: &str) -> &str {
    repository.rsplit('/').next().unwrap_or(repository)
}

/// All but the last word; none for what has no owner (`docker.io/library`).
fn namespace(repository: &str) -> Option<&str> {
    let (namespace, _) = repository.rsplit_once('/')?;
    (namespace != "docker.io/library").then_some(namespace)
}

fn namespace_of(prefix: &str) -> Option<String> {
    let reference: Reference = format!("{prefix}/x").parse().ok()?;
    namespace(&repository(&reference)).map(str::to_owned)
}

fn is_vendor(namespace: &str) -> bool {
    VENDORS.iter().any(|vendor| {
        namespace.strip_prefix(vendor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}
