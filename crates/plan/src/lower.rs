//! From the instructions of one Dockerfile to resolved steps and an image configuration.
//!
//! 1. [`args`]: global arguments.
//! 2. [`stages`]: which stage stands on what; what is not reachable is not looked at.
//! 3. Base images are asked for ([`LowerFailure::Needs`]) and the caller comes again with
//!    the answers; `ONBUILD` triggers of a base may ask for more.
//! 4. [`instructions`], [`copy`], [`run`]: each instruction becomes steps, or a change of the
//!    configuration, and an entry of the history, as BuildKit's `dockerfile2llb` has it.
//!
//! Pure: whatever it must know comes in through [`Request`] and [`Bases`].

mod args;
mod bases;
mod copy;
mod doubts;
mod instructions;
pub mod option;
mod path;
mod ports;
mod remote;
mod run;
mod stages;
mod system;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use bakehouse_model::oci::{ImageConfig, Platform};
use bakehouse_model::op::{ContextSource, ImageSource, Network, Ulimit};
use bakehouse_model::{Diagnostic, Location, Severity};

use crate::dockerfile::{Dockerfile, Span, is_own_front_end};
use crate::graph::{Graph, StepIndex};

pub(crate) use path::clean as clean_path;
pub use remote::git_source;
pub(crate) use run::is_proxy;

/// One image to lower.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its name in the fleet.
    pub image: &'a str,
    /// What it is built from.
    pub dockerfile: &'a Dockerfile,
    /// The Dockerfile's name, for people.
    pub file: &'a str,
    /// The files it may read; none if there is no context.
    pub context: Option<ContextSource>,
    /// The stage that is wanted; the last one if none.
    pub target: Option<&'a str>,
    /// What is the same for all images of a run.
    pub settings: &'a Settings,
}

/// What the command line says about the build of every image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--platform`; that of the base images if none.
    pub platform: Option<Platform>,
    /// The platform that builds.
    pub build_platform: Platform,
    /// `--network`.
    pub network: Network,
    /// `--add-host`.
    pub extra_hosts: Vec<(String, String)>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--shm-size`.
    pub shm_size: Option<u64>,
    /// `--no-cache` and `--no-cache-filter`.
    pub no_cache: NoCache,
    /// Whether `--allow security.insecure` was given.
    pub allow_insecure: bool,
    /// Whether `--allow network.host` was given.
    pub allow_host_network: bool,
}

impl Settings {
    /// The defaults, on a machine of that platform.
    pub fn new(build_platform: Platform) -> Self {
        Self {
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platform: None,
            build_platform,
            network: Network::Default,
            extra_hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_size: None,
            no_cache: NoCache::Nothing,
            allow_insecure: false,
            allow_host_network: false,
        }
    }
}

/// Whose earlier results must not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoCache {
    /// Nobody's.
    Nothing,
    /// Everybody's.
    Everything,
    /// Those of these stages.
    Stages(Vec<String>),
}

/// What a name in `FROM`, `COPY --from` or `--mount from=` stands for.
#[derive(Debug, Clone)]
pub enum Base {
    /// An image from a registry, a layout or a root file system.
    Image(Box<BaseImage>),
    /// Another image of the fleet, already lowered.
    Fleet(Arc<Lowered>),
    /// A folder.
    Context(ContextSource),
    /// An empty file system.
    Scratch,
    /// Nobody looks it up: an empty image stands for it, and what variables it has is not known.
    Guessed,
    /// Not known yet: it must be resolved.
    Unknown,
    /// Not known yet: this image must be resolved instead.
    Ask(String),
    /// It can't be had; why.
    Refused(String),
}

/// An image that something stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// Where its file system comes from.
    pub source: ImageSource,
    /// Its configuration.
    pub config: ImageConfig,
}

/// Answers what names stand for.
pub trait Bases {
    /// Another image or a folder that the command line maps `name` to (a stage's name or an
    /// image reference, normalised to what people write); none if it maps it to nothing.
    fn named(&self, name: &str, platform: &Platform) -> Option<Base>;
    /// The image `name`, as written after `FROM`.
    fn image(&self, name: &str, platform: &Platform) -> Base;
}

/// An image, lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowered {
    /// The step that makes its file system; none for `scratch`.
    pub root: Option<StepIndex>,
    /// Its configuration, with the whole history but without layers and times.
    pub config: ImageConfig,
    /// The platform it is for.
    pub platform: Platform,
    /// `SOURCE_DATE_EPOCH`, where the build has one.
    pub epoch: Option<i64>,
    /// What is doubtful in the stages that are built.
    pub doubts: Vec<Diagnostic>,
}

/// Why an image is not lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LowerFailure {
    /// These bases must be resolved first: name and platform.
    Needs(Vec<BaseQuestion>),
    /// The Dockerfile, or what the command line adds to it, is wrong.
    Wrong(Box<Diagnostic>),
}

/// An image that must be resolved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseQuestion {
    /// As written, variables resolved.
    pub name: String,
    /// For which platform.
    pub platform: Platform,
    /// Where it is written.
    pub location: Option<Location>,
    /// The stage that may have been meant.
    pub near: Option<String>,
    /// What names it.
    pub via: Via,
}

/// What names an image that another one stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// `FROM`.
    From,
    /// `COPY --from`.
    CopyFrom,
    /// `RUN --mount=from=`.
    Mount,
    /// A named context, whatever the Dockerfile does with it.
    Context,
}

impl std::fmt::Display for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::From => "FROM",
            Self::CopyFrom => "COPY --from",
            Self::Mount => "RUN --mount",
            Self::Context => "context",
        })
    }
}

/// Lowers one image into `graph`.
pub fn lower(
    request: &Request<'_>,
    bases: &dyn Bases,
    graph: &mut Graph,
) -> Result<Lowered, LowerFailure> {
    refuse_front_end(request)?;
    let mut lowering = stages::Lowering::new(request, bases, graph)?;
    let target = lowering.target()?;
    lowering.doubt_bases();
    lowering.resolve(target)?;
    lowering.dispatch(target)?;
    Ok(lowering.finish(target))
}

/// The argument that goes before `# syntax=` must not name another front end either.
fn refuse_front_end(request: &Request<'_>) -> Result<(), LowerFailure> {
    let Some(line) = request.settings.build_args.get("BUILDKIT_SYNTAX") else { return Ok(()) };
    let syntax = line.split_whitespace().next().unwrap_or_default();
    if is_own_front_end(syntax) {
        return Ok(());
    }
    let message =
        format!("`BUILDKIT_SYNTAX={syntax}` is another front end, which only BuildKit can run");
    Err(wrong(stages::location(request, Span::line(1)), "foreign-front-end", message))
}

/// Every image name that the wanted stage of `request` asks `bases` for and does not get
/// answered: the edges of the fleet's graph. Variables come from defaults and build args.
pub fn references(
    request: &Request<'_>,
    bases: &dyn Bases,
) -> Result<Vec<BaseQuestion>, Box<Diagnostic>> {
    let mut graph = Graph::default();
    match lower(request, bases, &mut graph) {
        Ok(_) => Ok(Vec::new()),
        Err(LowerFailure::Needs(needs)) => Ok(needs),
        Err(LowerFailure::Wrong(diagnostic)) => Err(diagnostic),
    }
}

/// A mistake at a place.
pub(crate) fn wrong(
    location: Option<Location>,
    code: &str,
    message: impl Into<String>,
) -> LowerFailure {
    LowerFailure::Wrong(Box::new(Diagnostic {
        location,
        severity: Severity::Error,
        code: code.to_owned(),
        message: message.into(),
        help: crate::codes::help(code),
    }))
}

/// The same, with what to do about it.
pub(crate) fn wrong_with_help(
    location: Option<Location>,
    code: &str,
    message: impl Into<String>,
    help: impl Into<String>,
) -> LowerFailure {
    match wrong(location, code, message) {
        LowerFailure::Wrong(mut diagnostic) => {
            diagnostic.help = Some(help.into());
            LowerFailure::Wrong(diagnostic)
        }
        needs @ LowerFailure::Needs(_) => needs,
    }
}
