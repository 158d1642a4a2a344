//! What other files than Dockerfiles say of an image: bake targets, compose services, and
//! the images of `bakehouse.toml`, in one shape.

use std::collections::BTreeMap;

use bakehouse_model::Location;
use bakehouse_model::oci::Platform;
use bakehouse_model::op::Network;
use serde::Serialize;

use crate::dockerfile::glob;
use crate::lower::Settings;
use crate::lower::option::{self, WrongOption};

/// What kind of file describes an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A bake file's target.
    Bake,
    /// A compose file's service.
    Compose,
    /// An image of `bakehouse.toml`.
    Config,
    /// A Dockerfile by itself.
    Dockerfile,
}

impl SourceKind {
    /// What one of its descriptions is called.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Bake => "target",
            Self::Compose => "service",
            Self::Config => "image",
            Self::Dockerfile => "file",
        }
    }
}

/// Who describes an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// What kind of file.
    pub kind: SourceKind,
    /// The name that it has there.
    pub name: String,
    /// Where.
    pub location: Location,
}

/// Where a Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileAt {
    /// A file, from the repository's root.
    Path(String),
    /// In the definition itself.
    Inline(String),
}

/// What a context is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContextValue {
    /// A folder, from the repository's root; `.` for the root.
    Folder(String),
    /// An image (`docker-image://`).
    Image(String),
    /// Another definition of the same project (`target:`, `service:`).
    Definition(String),
    /// An OCI layout (`oci-layout://`): its path and its tag or digest, as written.
    Layout(String),
    /// A Git repository or an archive, by URL.
    Url(String),
}

impl std::fmt::Display for ContextValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => f.write_str(path),
            Self::Image(reference) => write!(f, "docker-image://{reference}"),
            Self::Definition(name) => write!(f, "target:{name}"),
            Self::Layout(path) => write!(f, "oci-layout://{path}"),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// A context that the Dockerfile may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedContext {
    /// Its name in the Dockerfile.
    pub name: String,
    /// What it is.
    pub value: ContextValue,
    /// Where that is written.
    pub location: Location,
}

/// What changes how an image is built but not what it stands on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Labels to set.
    pub labels: BTreeMap<String, String>,
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
    /// Lines of `/etc/hosts`, as `host:ip`.
    pub extra_hosts: Vec<String>,
    /// What the Dockerfile may ask for.
    pub entitlements: Vec<String>,
    /// Secrets, as the command line takes them.
    pub secrets: Vec<String>,
    /// Agents, as the command line takes them.
    pub ssh: Vec<String>,
    /// Where the result goes, as the command line takes it.
    pub outputs: Vec<String>,
    /// Annotations, as the command line takes them.
    pub annotations: Vec<String>,
    /// Attestations, as the command line takes them.
    pub attests: Vec<String>,
    /// Caches to read, as the command line takes them.
    pub cache_from: Vec<String>,
    /// Caches to write, as the command line takes them.
    pub cache_to: Vec<String>,
}

impl Options {
    /// What is wrong with them.
    pub fn mistakes(&self) -> Vec<WrongOption> {
        let network = self.network.iter().filter_map(|text| option::network(text).err());
        let size = self.shm_size.iter().filter_map(|text| option::size(text).err());
        let limits = self.ulimits.iter().filter_map(|text| option::ulimit(text).err());
        let hosts = self.extra_hosts.iter().filter_map(|text| option::host(text).err());
        network.chain(size).chain(limits).chain(hosts).collect()
    }

    /// Puts them beneath what the command line says.
    pub(super) fn apply(&self, settings: &mut Settings) {
        if settings.network == Network::Default
            && let Some(Ok(network)) = self.network.as_deref().map(option::network)
        {
            settings.network = network;
        }
        if settings.shm_size.is_none() {
            settings.shm_size = self.shm_size.as_deref().and_then(|text| option::size(text).ok());
        }
        let given: Vec<String> = settings.ulimits.iter().map(|limit| limit.name.clone()).collect();
        let limits = self.ulimits.iter().filter_map(|text| option::ulimit(text).ok());
        settings.ulimits.extend(limits.filter(|limit| !given.contains(&limit.name)));
        let hosts = self.extra_hosts.iter().filter_map(|text| option::host(text).ok());
        settings.extra_hosts.extend(hosts);
    }
}

/// One image as a bake file, a compose file or `bakehouse.toml` describes it.
#[derive(Debug, Clone)]
pub struct Definition {
    /// What kind of file describes it.
    pub kind: SourceKind,
    /// Definitions of one project see each other by their names: the path of its first file.
    pub project: String,
    /// Whether the file is read without being asked for (`compose.yaml`; not
    /// `compose.test.yaml`).
    pub usual: bool,
    /// Its name.
    pub name: String,
    /// Where it is described.
    pub location: Location,
    /// Its Dockerfile.
    pub dockerfile: DockerfileAt,
    /// Its context.
    pub context: ContextValue,
    /// The stage that is wanted.
    pub target: Option<String>,
    /// Its build arguments.
    pub args: BTreeMap<String, String>,
    /// What names in the Dockerfile stand for.
    pub contexts: Vec<NamedContext>,
    /// What it is published as.
    pub references: Vec<String>,
    /// The platforms it is for; that of the machine if there are none.
    pub platforms: Vec<String>,
    /// The groups it is in.
    pub groups: Vec<String>,
    /// The rest.
    pub options: Options,
}

impl Definition {
    /// A definition with nothing but a name, a place and a Dockerfile at the root.
    pub fn new(kind: SourceKind, project: &str, name: &str, location: Location) -> Self {
        Self {
            kind,
            project: project.to_owned(),
            usual: true,
            name: name.to_owned(),
            location,
            dockerfile: DockerfileAt::Path("Dockerfile".to_owned()),
            context: ContextValue::Folder(".".to_owned()),
            target: None,
            args: BTreeMap::new(),
            contexts: Vec::new(),
            references: Vec::new(),
            platforms: Vec::new(),
            groups: Vec::new(),
            options: Options::default(),
        }
    }

    /// Who says so.
    pub fn source(&self) -> Source {
        Source { kind: self.kind, name: self.name.clone(), location: self.location.clone() }
    }
}

/// A set of images that is built by one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The definitions in it, groups resolved.
    pub members: Vec<String>,
    /// The project that it belongs to.
    #[serde(skip)]
    pub project: String,
    /// Where it is written.
    pub location: Option<Location>,
}

/// Images that are built on a base which is handed to them (`[family.NAME]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// The base: an image of the fleet, or one from elsewhere.
    pub base: String,
    /// The argument that takes it.
    pub arg: String,
    /// The images, by name or by a pattern of names. Each with its place.
    pub services: Vec<(String, Location)>,
    /// Where it is written.
    pub location: Location,
}

/// What `bakehouse.toml` adds to what is inferred.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Families of bases.
    pub families: Vec<Family>,
    /// What written references, or patterns of them, stand for: an image, or `target:NAME` of
    /// the fleet.
    pub bases: BTreeMap<String, String>,
    /// Labels for policy: each class with the patterns of its images, or a level.
    pub classes: Vec<Class>,
    /// What is to be said of single images.
    pub images: Vec<Patch>,
}

/// What `bakehouse.toml` says of one image, on top of whatever describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The image's name: the one that it has, or with a Dockerfile the one that it is to have.
    pub name: Option<String>,
    /// Its Dockerfile.
    pub file: Option<String>,
    /// Its context.
    pub context: Option<String>,
    /// The stage that is wanted.
    pub target: Option<String>,
    /// Build arguments to set.
    pub args: BTreeMap<String, String>,
    /// What it is published as.
    pub references: Vec<String>,
    /// The platforms it is for.
    pub platforms: Vec<Platform>,
    /// Its class.
    pub class: Option<String>,
    /// Where that is written.
    pub location: Location,
}

/// A label for policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Patterns of names.
    pub images: Vec<String>,
    /// All images of this level.
    pub level: Option<usize>,
    /// How long one takes, at most, until history knows.
    pub estimate_ms: Option<u64>,
}

/// Whether `name` fits `pattern`, as a file's name fits a shell's pattern.
pub fn fits(pattern: &str, name: &str) -> bool {
    glob::matches(pattern, name).unwrap_or(false)
}
