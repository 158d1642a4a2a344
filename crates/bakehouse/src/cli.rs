//! The command line, as close to what was typed as possible: no defaults that need the
//! environment, no files read. [`crate::request`] makes of it what is meant.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Builds, caches and shows a whole fleet of container images, without a daemon
#[derive(Debug, Parser)]
#[command(name = "bakehouse", version)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build the images of this repository, or those that are named
    Build(Box<BuildArgs>),
    /// Show the images and what stands on what
    Graph(Box<GraphArgs>),
    /// Show what the next build would do, and why
    Plan(Box<PlanArgs>),
    /// Say why an image would be rebuilt, or why it would not
    Why(Box<WhyArgs>),
    /// Say what is wrong or doubtful in the Dockerfiles and in what describes them
    Check(Box<CheckArgs>),
    /// Show families of images that are handed their base, or make Dockerfiles take one
    Families(Box<FamiliesArgs>),
    /// Say which images a change affects, and because of what
    Affected(Box<AffectedArgs>),
    /// List what RUN --mount=type=cache has kept, save it elsewhere, or restore it
    CacheMounts(CacheMountsArgs),
    /// Write a fleet of 18 images, build it, run it, change it and build it again
    Demo(DemoArgs),
    /// Run a built image's command
    Run(RunArgs),
    /// Print the JSON schema of bakehouse.toml
    Schema,
}

/// What the verbs that look at a repository have in common.
#[derive(Debug, Clone, Default, Args)]
pub struct Where {
    /// Build this Dockerfile alone, or read these bake or compose files (one after the other)
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// The folder whose files the Dockerfile may copy (with --file; default: the file's folder)
    #[arg(long, value_name = "DIR")]
    pub context: Option<PathBuf>,
    /// Look at this folder (default: the current one)
    #[arg(short = 'C', long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Build this stage (default: the last one)
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Override a value of a bake target, such as `app.args.VERSION=2` or `*.platform=linux/arm64`
    #[arg(long, value_name = "TARGET.KEY=VALUE")]
    pub set: Vec<String>,
    /// Set a build argument; NAME alone takes it from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Let NAME stand for a folder, a Git repository, a URL, docker-image://REF, oci-layout://PATH[:TAG] or rootfs-tar://FILE
    #[arg(long, value_name = "NAME=WHAT")]
    pub build_context: Vec<String>,
    /// Build for these platforms; several make one index (default: this machine's)
    #[arg(long, value_name = "OS/ARCH[,...]")]
    pub platform: Option<String>,
    /// Where the images go, whatever else they are called
    #[arg(long, value_name = "REGISTRY/PREFIX")]
    pub registry: Option<String>,
    /// Ask this address before a registry itself
    #[arg(long, value_name = "HOST=URL")]
    pub registry_mirror: Vec<String>,
    /// Ask registries again what tags point at
    #[arg(long)]
    pub pull: bool,
    /// Whether contexts that are elsewhere are brought here
    #[arg(skip)]
    pub brings: bool,
}

/// What changes results and so belongs to plan and build alike.
#[derive(Debug, Clone, Default, Args)]
pub struct Shape {
    /// Use no earlier results
    #[arg(long)]
    pub no_cache: bool,
    /// Use no earlier results of this stage
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// Read a cache: REF, or type=registry|local|gha|s3,...
    #[arg(long, value_name = "SPEC")]
    pub cache_from: Vec<String>,
    /// Set a label of the images
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Add a line to /etc/hosts of RUN
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,
    /// The network of RUN: default, host or none
    #[arg(long, value_name = "MODE")]
    pub network: Option<String>,
    /// Size of /dev/shm of RUN, such as 128m
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
    /// A resource limit of RUN, such as nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// Allow what a Dockerfile or a definition may ask for: security.insecure, network.host,
    /// fs.write=FOLDER
    #[arg(long, value_name = "ENTITLEMENT")]
    pub allow: Vec<String>,
    /// Steps that run at once (default: the number of processors)
    #[arg(short = 'j', long, value_name = "N")]
    pub jobs: Option<usize>,
}

/// How results are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ProgressMode {
    /// tty on a terminal, else plain
    #[default]
    Auto,
    /// A line for each fact
    Plain,
    /// A live view
    Tty,
    /// The event stream, a JSON object a line
    Json,
    /// Only failures
    Quiet,
}

/// Limits of what steps use.
#[derive(Debug, Clone, Default, Args)]
pub struct LimitArgs {
    /// Memory that each RUN may use, such as 512m
    #[arg(short = 'm', long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Processors that each RUN may use, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<f64>,
    /// Processes that each RUN may have
    #[arg(long, value_name = "NUMBER")]
    pub pids_limit: Option<u32>,
    /// Memory that all RUNs together may use, such as 4g
    #[arg(long, value_name = "SIZE")]
    pub total_memory: Option<String>,
    /// Processors that all RUNs together may use, such as 3
    #[arg(long, value_name = "NUMBER")]
    pub total_cpus: Option<f64>,
    /// Processes that all RUNs together may have
    #[arg(long, value_name = "NUMBER")]
    pub total_pids_limit: Option<u32>,
}

/// `bakehouse build`
#[derive(Debug, Clone, Default, Args)]
pub struct BuildArgs {
    /// Images to build, with what they stand on (default: all); or a context: a Git repository, an
    /// archive behind a URL, - for standard input
    pub images: Vec<String>,
    /// Where to look
    #[command(flatten)]
    pub place: Where,
    /// What to make
    #[command(flatten)]
    pub shape: Shape,
    /// Name the image, when only one is built
    #[arg(short = 't', long, value_name = "REF")]
    pub tag: Vec<String>,
    /// Give a secret: id=NAME[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SPEC")]
    pub secret: Vec<String>,
    /// Give an SSH agent: default or ID[=SOCKET]
    #[arg(long, value_name = "SPEC")]
    pub ssh: Vec<String>,
    /// Run programs of another platform with this one: linux/arm64=/usr/bin/qemu-aarch64-static
    #[arg(long, value_name = "PLATFORM=PATH")]
    pub emulator: Vec<String>,
    /// Annotate the image: [manifest|index|manifest-descriptor|index-descriptor[PLATFORM],...:]KEY=VALUE
    #[arg(long, value_name = "SPEC")]
    pub annotation: Vec<String>,
    /// Attach provenance: true, false or mode=min|max[,builder-id=ID]
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub provenance: Option<String>,
    /// Attach a list of the packages: true or false
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub sbom: Option<String>,
    /// Attach type=provenance[,mode=min|max] or type=sbom
    #[arg(long, value_name = "SPEC")]
    pub attest: Vec<String>,
    /// Write the result: type=oci|docker|tar|local|image|registry|cacheonly[,dest=PATH]
    #[arg(short = 'o', long, value_name = "SPEC")]
    pub output: Vec<String>,
    /// Write a cache: REF, or type=registry|local|gha|s3|inline[,mode=max],...
    #[arg(long, value_name = "SPEC")]
    pub cache_to: Vec<String>,
    /// Load the images into the Docker Engine
    #[arg(long)]
    pub load: bool,
    /// Push the images
    #[arg(long)]
    pub push: bool,
    /// What RUN may use
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Write what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not build, but tell of the Dockerfile: check, outline or targets[,format=json]
    #[arg(long, value_name = "METHOD")]
    pub call: Option<String>,
    /// The same as --call=check
    #[arg(long)]
    pub check: bool,
    /// Print the resolved bake targets as `docker buildx bake --print` does, and do nothing
    #[arg(long)]
    pub print: bool,
    /// How to show the run
    #[arg(long, value_enum, default_value_t)]
    pub progress: ProgressMode,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// How the graph is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum GraphFormat {
    /// A tree, for people
    #[default]
    Text,
    /// For programs
    Json,
    /// For Graphviz
    Dot,
    /// For Markdown that draws Mermaid
    Mermaid,
    /// A picture
    Svg,
}

/// `bakehouse graph`
#[derive(Debug, Clone, Args)]
pub struct GraphArgs {
    /// Where to look
    #[command(flatten)]
    pub place: Where,
    /// How to draw it
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,
}

/// A file of another tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Printed {
    /// A bake file for docker buildx bake, in HCL
    Bake,
}

/// `bakehouse plan`
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// Images to plan, with what they stand on (default: all)
    pub images: Vec<String>,
    /// Where to look
    #[command(flatten)]
    pub place: Where,
    /// What to make
    #[command(flatten)]
    pub shape: Shape,
    /// Ask no registry; a base that was never looked up is then an error
    #[arg(long)]
    pub offline: bool,
    /// Name the image, when only one is planned
    #[arg(short = 't', long, value_name = "REF")]
    pub tag: Vec<String>,
    /// Plan to load the images into the Docker Engine
    #[arg(long)]
    pub load: bool,
    /// Plan to push the images
    #[arg(long)]
    pub push: bool,
    /// Exit with 2 when there is work, with 0 when there is none
    #[arg(long)]
    pub exit_code: bool,
    /// Print the docker buildx commands that do the same, as a shell script
    #[arg(long, conflicts_with_all = ["print", "exit_code", "format"])]
    pub print_commands: bool,
    /// Print the images as another tool's file
    #[arg(long, value_enum, value_name = "KIND", conflicts_with_all = ["exit_code", "format"])]
    pub print: Option<Printed>,
    /// A secret that --print and --print-commands are to name: id=NAME[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SPEC")]
    pub secret: Vec<String>,
    /// An SSH agent that --print and --print-commands are to name: default or ID[=SOCKET]
    #[arg(long, value_name = "SPEC")]
    pub ssh: Vec<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `bakehouse why`
#[derive(Debug, Clone, Args)]
pub struct WhyArgs {
    /// The image
    pub image: String,
    /// Where to look
    #[command(flatten)]
    pub place: Where,
    /// What to make
    #[command(flatten)]
    pub shape: Shape,
    /// Say what happened in the last run instead: why it was rebuilt, skipped or left as it was
    #[arg(long)]
    pub last: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// How diagnostics are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CheckFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// For code hosts and editors: SARIF 2.1.0
    Sarif,
}

/// `bakehouse check`
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Where to look
    #[command(flatten)]
    pub place: Where,
    /// Take this for an error: a code, warnings, or notes (which means warnings as well)
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub deny: Vec<String>,
    /// Say nothing of this code, unless it is an error
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Compare the graph that this document draws (Markdown, JSON, Mermaid or Graphviz)
    #[arg(long, value_name = "FILE")]
    pub documented_graph: Option<String>,
    /// Show notes as well
    #[arg(long)]
    pub verbose: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: CheckFormat,
}

/// `bakehouse families`
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct FamiliesArgs {
    /// What to do with them (default: show them)
    #[command(subcommand)]
    pub verb: Option<FamiliesVerb>,
    /// Where to look
    #[command(flatten)]
    pub place: Where,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// What `bakehouse families` does.
#[derive(Debug, Clone, Subcommand)]
pub enum FamiliesVerb {
    /// Make Dockerfiles take their base as an argument; show the difference, and change nothing
    Convert(ConvertArgs),
}

/// `bakehouse families convert`
#[derive(Debug, Clone, Args)]
pub struct ConvertArgs {
    /// Images whose Dockerfiles to convert (default: those of families, or all if there are none)
    pub images: Vec<String>,
    /// Where to look
    #[command(flatten)]
    pub place: Where,
    /// The argument's name
    #[arg(long, value_name = "NAME", default_value = bakehouse_plan::convert::BASE_IMAGE)]
    pub arg: String,
    /// Change the files
    #[arg(long)]
    pub write: bool,
}

/// `bakehouse affected`
#[derive(Debug, Clone, Args)]
pub struct AffectedArgs {
    /// Images to tell of (default: all)
    pub images: Vec<String>,
    /// Compare with where the history parted from this revision
    #[arg(long, value_name = "REV")]
    pub since: String,
    /// Look at this revision (default: the files as they are now)
    #[arg(long, value_name = "REV")]
    pub until: Option<String>,
    /// Compare with the revision itself, not with where the history parted from it
    #[arg(long)]
    pub direct: bool,
    /// Where to look
    #[command(flatten)]
    pub place: Where,
    /// Print names only, one a line
    #[arg(long, conflicts_with = "format")]
    pub names: bool,
    /// Exit with 1 if an image is affected
    #[arg(long)]
    pub exit_code: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `bakehouse cache-mounts`
#[derive(Debug, Clone, Args)]
pub struct CacheMountsArgs {
    /// What to do with them
    #[command(subcommand)]
    pub verb: CacheMountsVerb,
}

/// What `bakehouse cache-mounts` does.
#[derive(Debug, Clone, Subcommand)]
pub enum CacheMountsVerb {
    /// Show the caches and how large they are
    List(CacheListArgs),
    /// Write caches to a file, a folder or a registry
    Save(CacheSaveArgs),
    /// Read caches that were saved
    Restore(CacheRestoreArgs),
}

/// `bakehouse cache-mounts list`
#[derive(Debug, Clone, Args)]
pub struct CacheListArgs {
    /// Only caches whose id matches, such as `*pip*` (default: all)
    #[arg(value_name = "PATTERN")]
    pub ids: Vec<String>,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `bakehouse cache-mounts save`
#[derive(Debug, Clone, Args)]
pub struct CacheSaveArgs {
    /// Only caches whose id matches, such as `*pip*` (default: all)
    #[arg(value_name = "PATTERN")]
    pub ids: Vec<String>,
    /// Where to: a file, a folder (with a slash at its end) or registry://REFERENCE
    #[arg(long, value_name = "PLACE")]
    pub to: String,
    /// Show what would be saved, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `bakehouse cache-mounts restore`
#[derive(Debug, Clone, Args)]
pub struct CacheRestoreArgs {
    /// Only caches whose id matches, such as `*pip*` (default: all)
    #[arg(value_name = "PATTERN")]
    pub ids: Vec<String>,
    /// Where from: a file, a folder or registry://REFERENCE
    #[arg(long, value_name = "PLACE")]
    pub from: String,
    /// Replace caches that are there already (default: leave them as they are)
    #[arg(long)]
    pub replace: bool,
    /// Succeed if nothing is at the place
    #[arg(long)]
    pub optional: bool,
    /// Show what would be restored, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `bakehouse demo`
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Write the fleet and keep everything here (default: a new folder that is removed again)
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// How to show the runs
    #[arg(long, value_enum, default_value_t)]
    pub progress: ProgressMode,
}

/// `bakehouse run`
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The image, as it is called in the fleet
    pub image: String,
    /// What to run (default: the image's own command)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}
