//! Each image of a fleet as one build, as another tool has to be told of it.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::oci::{Platform, Reference};
use bakehouse_model::op::{Network, Ulimit};

use super::{paths, written};
use crate::fleet::{ContextValue, Fleet, Image, Meaning};
use crate::lower::{NoCache, Settings};

/// What the command line adds to what the fleet's files say.
#[derive(Debug, Clone)]
pub struct Given<'a> {
    /// What is the same for all images.
    pub settings: &'a Settings,
    /// `--platform`.
    pub platforms: &'a [Platform],
    /// `--build-context`, as written.
    pub contexts: &'a BTreeMap<String, String>,
    /// The tags of each image.
    pub tags: &'a BTreeMap<String, Vec<String>>,
    /// `--secret`, as written.
    pub secrets: &'a [String],
    /// `--ssh`, as written.
    pub ssh: &'a [String],
    /// `--pull`.
    pub pull: bool,
    /// `--file` and `--context`: the one Dockerfile and its folder.
    pub single: Option<(&'a str, Option<&'a str>)>,
    /// The texts of Dockerfiles that are within a definition, by [`Image::file`].
    pub texts: &'a BTreeMap<String, String>,
}

/// Where a Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dockerfile {
    /// A file, from the repository's root.
    Path(String),
    /// Its text.
    Inline(String),
}

/// What a named context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// Another image of the fleet.
    Fleet(String),
    /// Anything else, as `--build-context` takes it.
    Value(String),
}

/// One build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The image's name in the fleet.
    pub name: String,
    /// Whether it was asked for, and is not only stood on.
    pub wanted: bool,
    /// Its Dockerfile.
    pub dockerfile: Dockerfile,
    /// Its context.
    pub context: String,
    /// The stage that is wanted.
    pub target: Option<String>,
    /// Its build arguments.
    pub args: BTreeMap<String, String>,
    /// What names in the Dockerfile stand for.
    pub contexts: BTreeMap<String, From>,
    /// The platforms it is for.
    pub platforms: Vec<String>,
    /// Labels to set.
    pub labels: BTreeMap<String, String>,
    /// What it is to be called.
    pub tags: Vec<String>,
    /// Secrets, as the command line takes them.
    pub secrets: Vec<String>,
    /// Agents, as the command line takes them.
    pub ssh: Vec<String>,
    /// Whether earlier results may not be used.
    pub no_cache: bool,
    /// Stages whose earlier results may not be used.
    pub no_cache_filter: Vec<String>,
    /// Whether tags are to be looked up again.
    pub pull: bool,
    /// The network of `RUN`.
    pub network: Option<String>,
    /// The size of `/dev/shm`.
    pub shm_size: Option<String>,
    /// Limits, as `name=soft:hard`.
    pub ulimits: Vec<String>,
    /// Lines of `/etc/hosts`, as host and address.
    pub extra_hosts: Vec<(String, String)>,
    /// What the Dockerfile may ask for.
    pub entitlements: Vec<String>,
    /// Where the result goes.
    pub outputs: Vec<String>,
    /// Notes on it.
    pub annotations: Vec<String>,
    /// What is attached to it.
    pub attests: Vec<String>,
    /// Caches to read.
    pub cache_from: Vec<String>,
    /// Caches to write.
    pub cache_to: Vec<String>,
    /// The groups it is in.
    pub groups: BTreeSet<String>,
    /// What the other tool cannot be told.
    pub notes: Vec<String>,
}

/// The builds of `named` and of all that they stand on, parents first.
pub fn recipes(fleet: &Fleet, named: &BTreeSet<String>, given: &Given<'_>) -> Vec<Recipe> {
    let wanted = fleet.with_needs(named);
    let images = fleet.images.iter().filter(|image| wanted.contains(&image.name));
    images.map(|image| recipe(fleet, image, named.contains(&image.name), given)).collect()
}

fn recipe(fleet: &Fleet, image: &Image, wanted: bool, given: &Given<'_>) -> Recipe {
    let settings = image.settings(given.settings);
    let options = &image.options;
    let (dockerfile, context) = place(image, given);
    let platforms = if given.platforms.is_empty() { &image.platforms[..] } else { given.platforms };
    let contexts = contexts(fleet, image, (&settings, platforms), given.contexts);
    let mut notes = notes(image, &contexts);
    if matches!(&dockerfile, Dockerfile::Path(path) if path.contains('#')) {
        notes.push(format!("its Dockerfile is within a definition: {}", image.file));
    }
    let extra_hosts = hosts(&options.extra_hosts, &given.settings.extra_hosts);
    notes.extend(twice(&extra_hosts));
    let (no_cache, no_cache_filter) = match &settings.no_cache {
        NoCache::Nothing => (false, Vec::new()),
        NoCache::Everything => (true, Vec::new()),
        NoCache::Stages(stages) => (false, stages.clone()),
    };
    Recipe {
        name: image.name.clone(),
        wanted,
        dockerfile,
        context,
        target: image.target.clone(),
        contexts,
        platforms: platforms.iter().map(ToString::to_string).collect(),
        tags: given.tags.get(&image.name).cloned().unwrap_or_default(),
        secrets: with(&options.secrets, given.secrets),
        ssh: with(&options.ssh, given.ssh),
        no_cache,
        no_cache_filter,
        pull: given.pull || options.pull,
        network: network(given.settings.network).or_else(|| options.network.clone()),
        shm_size: given
            .settings
            .shm_size
            .map(|b| b.to_string())
            .or_else(|| options.shm_size.clone()),
        ulimits: with(
            &options.ulimits,
            &given.settings.ulimits.iter().map(ulimit).collect::<Vec<String>>(),
        ),
        extra_hosts,
        entitlements: entitlements(&options.entitlements, &settings),
        outputs: options.outputs.clone(),
        annotations: options.annotations.clone(),
        attests: options.attests.clone(),
        cache_from: options.cache_from.clone(),
        cache_to: options.cache_to.clone(),
        groups: image.groups.clone(),
        args: settings.build_args,
        labels: settings.labels,
        notes,
    }
}

/// Where its Dockerfile and its context are.
fn place(image: &Image, given: &Given<'_>) -> (Dockerfile, String) {
    if let Some((file, context)) = given.single {
        let context = context.unwrap_or_else(|| paths::folder(file));
        return (Dockerfile::Path(file.to_owned()), context.to_owned());
    }
    let dockerfile = match given.texts.get(&image.file).filter(|_| image.file.contains('#')) {
        Some(text) => Dockerfile::Inline(text.clone()),
        None => Dockerfile::Path(image.file.clone()),
    };
    (dockerfile, image.context.to_string())
}

/// What the names in its Dockerfile stand for: the command line first, then its definition,
/// then the fleet.
fn contexts(
    fleet: &Fleet,
    image: &Image,
    (settings, platforms): (&Settings, &[Platform]),
    given: &BTreeMap<String, String>,
) -> BTreeMap<String, From> {
    let mut contexts = BTreeMap::new();
    for reference in written::names(image, settings, platforms) {
        if let Some(from) = meant(fleet, image, &reference) {
            contexts.insert(context_name(&reference), from);
        }
    }
    for context in &image.contexts {
        let from = match &context.value {
            ContextValue::Image(reference) => meant(fleet, image, reference),
            ContextValue::Definition(name) => definition(fleet, image, name),
            _ => None,
        };
        let from = from.unwrap_or_else(|| From::Value(context.value.to_string()));
        contexts.insert(context.name.clone(), from);
    }
    for (name, value) in given {
        contexts.insert(name.clone(), From::Value(value.clone()));
    }
    contexts
}

/// What a reference means, if that is not simply the image in its registry.
fn meant(fleet: &Fleet, image: &Image, reference: &str) -> Option<From> {
    match fleet.index.meaning(reference, &image.name) {
        Meaning::Fleet(names, _) => names.into_iter().next().map(From::Fleet),
        Meaning::Mapped(other) => Some(From::Value(format!("docker-image://{other}"))),
        Meaning::External => None,
    }
}

/// The image that another definition is: one that this one is known to stand on.
fn definition(fleet: &Fleet, image: &Image, name: &str) -> Option<From> {
    let needs = image.needs.iter().filter_map(|edge| fleet.image(&edge.image));
    let mut called = needs.filter(|need| need.name == name || need.aliases.contains(name));
    called.next().map(|need| From::Fleet(need.name.clone()))
}

/// The name under which BuildKit looks for what stands in the place of a reference: as short
/// as people write it, and without `latest`.
fn context_name(reference: &str) -> String {
    let Ok(parsed) = reference.parse::<Reference>() else { return reference.to_owned() };
    let name = parsed.familiar();
    name.strip_suffix(":latest").map_or(name.clone(), str::to_owned)
}

/// What is known to come out differently elsewhere.
fn notes(image: &Image, contexts: &BTreeMap<String, From>) -> Vec<String> {
    let stages: BTreeSet<&str> =
        image.dockerfile.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
    let mut notes = Vec::new();
    for (name, from) in contexts {
        if matches!(from, From::Fleet(_)) && stages.contains(name.as_str()) {
            notes.push(format!("`{name}` is a stage too, which BuildKit replaces: rename it"));
        }
        if matches!(from, From::Value(value) if value.starts_with("rootfs-tar://")) {
            notes.push(format!("`{name}` is a tar, which only bakehouse takes"));
        }
    }
    notes
}

fn with(own: &[String], given: &[String]) -> Vec<String> {
    let mut all = own.to_vec();
    all.extend(given.iter().filter(|text| !own.contains(text)).cloned());
    all
}

fn network(network: Network) -> Option<String> {
    match network {
        Network::Default => None,
        Network::Host => Some("host".to_owned()),
        Network::None => Some("none".to_owned()),
    }
}

fn ulimit(limit: &Ulimit) -> String {
    format!("{}={}:{}", limit.name, limit.soft, limit.hard)
}

fn hosts(own: &[String], given: &[(String, String)]) -> Vec<(String, String)> {
    let split = |text: &String| {
        let (host, address) = text.split_once('=').or_else(|| text.split_once(':'))?;
        Some((host.to_owned(), address.to_owned()))
    };
    own.iter().filter_map(split).chain(given.iter().cloned()).collect()
}

/// Hosts with more than one address, of which a bake file has the last.
fn twice(hosts: &[(String, String)]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let again = hosts.iter().filter(|(host, _)| !seen.insert(host));
    again.map(|(host, _)| format!("the host `{host}` has several addresses")).collect()
}

fn entitlements(own: &[String], settings: &Settings) -> Vec<String> {
    let given = [
        (settings.allow_insecure, "security.insecure"),
        (settings.allow_host_network || settings.network == Network::Host, "network.host"),
    ];
    let given = given.into_iter().filter(|(asked, _)| *asked).map(|(_, name)| name.to_owned());
    with(own, &given.collect::<Vec<String>>())
}
