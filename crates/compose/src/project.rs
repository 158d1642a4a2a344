//! What a project says about its images.
//!
//! Every value has the place where it is written; of several writers, the last one's. Paths are
//! relative to the root of the repository and normalised; one that leaves it is kept as it is.

use std::collections::BTreeMap;

use bakehouse_model::{Diagnostic, Location};

use crate::yaml::Node;

/// A value with the place where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written<T> {
    /// The value.
    pub value: T,
    /// The place.
    pub location: Location,
}

/// Compose files, read and merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its name: what images without a name begin with.
    pub name: String,
    /// All services by name, those included that are off.
    pub services: BTreeMap<String, Service>,
    /// Every file that was read, in the order of reading: a change of any may change the project.
    pub files: Vec<String>,
    /// What is wrong, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
}

/// A service, as far as its image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where it is written.
    pub location: Location,
    /// What its image is called, if that is written.
    pub image: Option<Written<String>>,
    /// What its image is called otherwise, if it is built.
    pub default_image: String,
    /// How its image is built, if it is.
    pub build: Option<Build>,
    /// Which platform it runs on.
    pub platform: Option<Written<String>>,
    /// In which profiles it runs; in all, if none is named.
    pub profiles: Vec<Written<String>>,
    /// Which services are started before it. Says nothing about the order of builds.
    pub depends_on: Vec<Written<String>>,
    /// Whether one of its profiles is on.
    pub enabled: bool,
}

impl Service {
    /// What its image is called.
    pub fn image_name(&self) -> &str {
        self.image.as_ref().map_or(&self.default_image, |image| &image.value)
    }
}

/// How an image is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Where `build` is written.
    pub location: Location,
    /// The context: the project's folder, if nothing is written.
    pub context: Written<Context>,
    /// The Dockerfile as it is written, relative to the context.
    pub dockerfile: Option<Written<String>>,
    /// The Dockerfile itself.
    pub dockerfile_inline: Option<Written<String>>,
    /// The stage to end with.
    pub target: Option<Written<String>>,
    /// Arguments; one without a value is set nowhere, and the Dockerfile's default holds.
    pub args: BTreeMap<String, Written<Option<String>>>,
    /// Labels of the image.
    pub labels: BTreeMap<String, Written<String>>,
    /// Named contexts (`additional_contexts`).
    pub contexts: BTreeMap<String, Written<Context>>,
    /// Where the cache is taken from.
    pub cache_from: Vec<Written<String>>,
    /// Where the cache is put.
    pub cache_to: Vec<Written<String>>,
    /// Platforms to build for.
    pub platforms: Vec<Written<String>>,
    /// Further names of the image.
    pub tags: Vec<Written<String>>,
    /// Whether to build without the cache.
    pub no_cache: Option<Written<bool>>,
    /// Stages to build without the cache.
    pub no_cache_filter: Vec<Written<String>>,
    /// Whether to look for newer bases.
    pub pull: Option<Written<bool>>,
    /// The network of steps.
    pub network: Option<Written<String>>,
    /// How steps are kept apart; only Windows knows more than one way.
    pub isolation: Option<Written<String>>,
    /// The size of `/dev/shm`, in bytes.
    pub shm_size: Option<Written<u64>>,
    /// Limits of processes, by name.
    pub ulimits: BTreeMap<String, Written<Ulimit>>,
    /// Secrets that steps may mount.
    pub secrets: Vec<Written<Secret>>,
    /// SSH agents by id, with a socket or key if one is named.
    pub ssh: BTreeMap<String, Written<Option<String>>>,
    /// Addresses by host name.
    pub extra_hosts: BTreeMap<String, Written<Vec<String>>>,
    /// What steps may do beyond the usual.
    pub entitlements: Vec<Written<String>>,
    /// Whether steps run with all privileges.
    pub privileged: Option<Written<bool>>,
    /// The provenance attestation asked for.
    pub provenance: Option<Written<String>>,
    /// The list of contents asked for.
    pub sbom: Option<Written<String>>,
    /// `x-bake`: Bake's additions, as they are written.
    pub x_bake: Option<Node>,
}

impl Build {
    /// The Dockerfile as seen from the root, if there is one in the repository.
    pub fn dockerfile_path(&self) -> Option<String> {
        let Context::Folder(context) = &self.context.value else { return None };
        if self.dockerfile_inline.is_some() {
            return None;
        }
        let name = self.dockerfile.as_ref().map_or("Dockerfile", |name| name.value.as_str());
        Some(crate::path::join(context, name))
    }
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Context {
    /// A folder.
    Folder(String),
    /// The image of another service (`service:NAME`).
    Service(String),
    /// An image (`docker-image://REFERENCE`).
    Image(String),
    /// An image in a folder (`oci-layout://PATH`); the path is as it is written.
    Layout(String),
    /// A repository or an archive elsewhere.
    Remote(String),
}

/// A limit of processes; −1 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ulimit {
    /// The limit that holds.
    pub soft: i64,
    /// What it may be raised to.
    pub hard: i64,
}

/// A secret of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// What steps call it.
    pub id: String,
    /// What the service calls it, if it says.
    pub target: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(String),
    /// A variable of the environment.
    Environment(String),
    /// Something that Compose does not know.
    External,
    /// The project does not define it.
    Undefined,
}
