//! The tables of `bakehouse.toml`, as they are printed by `bakehouse schema`.
//!
//! The doc comments of fields are the schema's descriptions: they speak to whoever writes the
//! file. That the reader knows these keys and no others is tested in [`super::schema`].

use std::collections::BTreeMap;

use bakehouse_model::oci::Platform;
use bakehouse_plan::dockerfile::ignore::Matcher;
use schemars::JsonSchema;
use serde::Serialize;

use super::amounts::{Minutes, Processors, Size, TimeSpan};
use super::mistake::{Mistake, shown};
use super::names::{
    ArgName, BaseName, Name, PathPattern, Pattern, Prefix, Replacement, RepoPath, TagRef, Written,
};
use super::placed::Placed;
use super::reader::FromText;

/// Settings of a repository for `bakehouse`. Everything is optional.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, title = "bakehouse.toml", extend("$comment" = "made by `bakehouse schema`"))]
pub struct Config {
    /// The version of this file's format, now 1
    #[schemars(range(min = 1, max = 1))]
    pub version: Option<u32>,
    /// Files that are not read as Dockerfiles, bake files or compose files: patterns as in .dockerignore
    #[schemars(default, example = ["third_party/**", "templates/**"])]
    pub exclude: Vec<Placed<PathPattern>>,
    /// Where images without a reference of their own are published
    #[schemars(example = &"ghcr.io/acme")]
    pub registry: Option<Placed<Prefix>>,
    /// A document with the graph of the images, which `bakehouse check` compares with the real one
    #[schemars(example = &"docs/images.md")]
    pub documented_graph: Option<Placed<RepoPath>>,
    /// Bases from registries that need no digest: patterns over references as they are written
    #[schemars(default, example = ["busybox"])]
    pub unpinned_ok: Vec<Placed<Pattern>>,
    /// What is to be said of single images: by the image's name, or by its Dockerfile's path
    #[schemars(default)]
    pub images: BTreeMap<RepoPath, Placed<ImageTable>>,
    /// Classes of images, by name: labels for policy, never order
    #[schemars(default)]
    pub classes: BTreeMap<Name, Placed<ClassTable>>,
    /// What `RUN` may use: `step` each of them, `run` all together. Flags of the command line go before
    #[schemars(default, extend("propertyNames" = { "enum": ["step", "run"] }))]
    pub limits: BTreeMap<LimitScope, Placed<LimitTable>>,
    /// Base families, by name: which services stand on which base
    #[schemars(default)]
    pub family: BTreeMap<Name, Placed<FamilyTable>>,
    /// What bases stand for: a reference, or a pattern over references, to the reference that is meant or to `target:` and the name of an image
    #[schemars(default)]
    pub bases: BTreeMap<Written, Placed<Replacement>>,
}

impl Config {
    /// What [`exclude`](Self::exclude) leaves out.
    pub fn excluded(&self) -> Matcher {
        let patterns: Vec<&PathPattern> = self.exclude.iter().map(|p| &p.value).collect();
        Matcher::new(&patterns).expect("each pattern was compiled when it was read")
    }

    /// What the base `written` stands for, with the place that says so.
    ///
    /// The reference itself goes before patterns, and the longest pattern before others. What
    /// comes of it stands for nothing else in turn.
    pub fn base(&self, written: &str) -> Option<(&Written, &Placed<Replacement>)> {
        let covering = self.bases.iter().filter(|(key, _)| key.covers(written));
        covering.max_by_key(|(key, _)| (key.is_exact(), key.as_str().len(), *key))
    }

    /// The families that name this service, with the place that does.
    pub fn families<'a>(
        &'a self,
        service: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Placed<Pattern>)> {
        self.family.iter().flat_map(move |(name, family)| {
            let services = family.value.services.iter();
            let named = services.filter(move |pattern| pattern.value.matches(service));
            named.map(move |pattern| (name.as_str(), pattern))
        })
    }
}

/// What is to be said of one image.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, rename = "Image")]
pub struct ImageTable {
    /// Its Dockerfile, when the key is a name of your own
    #[schemars(example = &"services/stt/Dockerfile")]
    pub dockerfile: Option<Placed<RepoPath>>,
    /// The folder whose files the Dockerfile may copy
    #[schemars(example = &".")]
    pub context: Option<Placed<RepoPath>>,
    /// The stage to build (default: the last one)
    #[schemars(example = &"runtime")]
    pub target: Option<Placed<Name>>,
    /// Build arguments
    #[schemars(default)]
    pub args: BTreeMap<ArgName, Placed<String>>,
    /// The references under which it is published
    #[schemars(default, example = ["ghcr.io/acme/stt:latest"])]
    pub tags: Vec<Placed<TagRef>>,
    /// The platforms to build for; several make one index (default: this machine's)
    #[schemars(default, with = "Vec<String>", example = ["linux/amd64", "linux/arm64"])]
    pub platforms: Vec<Placed<Platform>>,
    /// Its class (default: that whose `images` or `level` fit)
    #[schemars(example = &"services")]
    pub class: Option<Placed<Name>>,
}

/// A class: which images belong to it, what they cost, how they are treated.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, rename = "Class")]
pub struct ClassTable {
    /// The images that belong to it: patterns over names
    #[schemars(default, example = ["python-base", "python-*"])]
    pub images: Vec<Placed<Pattern>>,
    /// The level of the graph whose images belong to it; 0 stands on nothing of the fleet
    pub level: Option<Placed<u32>>,
    /// How long an image takes, in minutes, until history knows better: a number or [least, most]
    #[schemars(example = [3, 4])]
    pub minutes: Option<Placed<Minutes>>,
    /// How large an image is, until history knows better
    #[schemars(example = &"2GB")]
    pub size: Option<Placed<Size>>,
    /// How long the build of an image may take
    #[schemars(example = &"20m")]
    pub timeout: Option<Placed<TimeSpan>>,
    /// How long a step may take
    #[schemars(example = &"20m")]
    pub step_timeout: Option<Placed<TimeSpan>>,
    /// How many of its images are built at once
    #[schemars(range(min = 1))]
    pub max_parallel: Option<Placed<u32>>,
    /// How room is made on the disk
    pub cleanup: Option<Placed<Cleanup>>,
    /// How often a build that failed is tried again
    pub retries: Option<Placed<u32>>,
}

/// Whom limits are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum LimitScope {
    /// Each step
    Step,
    /// All steps of a run that go on at the same time
    Run,
}

impl FromText for LimitScope {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        match text {
            "step" => Ok(Self::Step),
            "run" => Ok(Self::Run),
            _ => Err(Mistake::new(
                "unknown-key",
                format!("unknown key `limits.{}`", shown(text)),
                "write `[limits.step]` for each step, `[limits.run]` for all together",
            )),
        }
    }
}

/// What processes may use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, rename = "Limit")]
pub struct LimitTable {
    /// Memory
    #[schemars(example = &"512m")]
    pub memory: Option<Placed<Size>>,
    /// Processors, or parts of them
    #[schemars(example = 1.5)]
    pub cpus: Option<Placed<Processors>>,
    /// Processes
    #[schemars(range(min = 1))]
    pub pids: Option<Placed<u32>>,
}

/// A base family: services whose Dockerfiles take their base from one build argument.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields, rename = "Family")]
pub struct FamilyTable {
    /// The base: an image of the fleet, or a reference
    #[schemars(example = &"family-torch-cu121")]
    pub base: Placed<BaseName>,
    /// The build argument that names the base
    #[schemars(default)]
    pub arg: ArgName,
    /// The services: patterns over images' names. A service belongs to one family at most
    #[schemars(default, example = ["speech-relay", "rtap"])]
    pub services: Vec<Placed<Pattern>>,
}

/// How much is cleared away to make room on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Cleanup {
    /// What the build itself left behind
    Basic,
    /// That, and what no image needs any more
    Standard,
    /// As standard, but base images are kept
    Conservative,
}

impl FromText for Cleanup {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        match text {
            "basic" => Ok(Self::Basic),
            "standard" => Ok(Self::Standard),
            "conservative" => Ok(Self::Conservative),
            _ => Err(Mistake::new(
                "unknown-value",
                format!("`{}` is not a way of cleaning up", shown(text)),
                "write `basic`, `standard` or `conservative`",
            )),
        }
    }
}
