//! What is to be made of the images, and where it goes.
//!
//! The command line (`--output`, `--load`, `--push`, `--tag`) speaks of all images that were
//! asked for. A definition (a bake target's `output`) speaks of its own image; if the command
//! line gives outputs, those count instead, as with `docker buildx bake --set *.output=`.

mod annotations;
mod attest;
mod spec;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bakehouse_model::oci::{Platform, Reference};
use bakehouse_model::{Compression, Diagnostic, Severity};
use bakehouse_plan::assemble::MediaTypes;
use bakehouse_plan::fleet::{Image, LoweredFleet, Options};
use serde::Serialize;

use crate::cli::BuildArgs;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::request::{self, Request};

pub use annotations::{Annotations, Level};
pub use attest::{Attests, Provenance};

use spec::Spec;

/// What is wanted of every image.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of images whose definitions do not say.
    pub all: Outputs,
    /// Of those whose definitions do.
    pub own: BTreeMap<String, Outputs>,
}

/// What is wanted of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// How it is packed.
    pub packing: Packing,
    /// What is attached to it.
    pub attests: Attests,
    /// `--tag`, and `name=` of an output.
    pub tags: Vec<Reference>,
    /// Push to registries.
    pub push: bool,
    /// Load into the Docker Engine.
    pub load: bool,
    /// Files and folders to write.
    pub files: Vec<FileOutput>,
}

/// What decides the bytes of an image besides what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Packing {
    /// How layers are packed.
    pub compression: Compression,
    /// How hard they are compressed.
    pub level: Option<u8>,
    /// Whether blobs are made anew where others exist.
    pub force_compression: bool,
    /// Whether the layers' times may be later than `SOURCE_DATE_EPOCH`.
    pub keep_times: bool,
    /// Names of media types.
    #[serde(skip)]
    pub types: MediaTypes,
    /// Notes on the image.
    pub annotations: Annotations,
}

/// A file or folder to write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileOutput {
    /// What to write.
    pub kind: OutputKind,
    /// Where; standard output if none.
    pub dest: Option<PathBuf>,
    /// Whether each platform gets a folder; if there are several, if none.
    pub split: Option<bool>,
    /// The folders that it must be in when it is written; anywhere if there are none.
    pub within: Vec<PathBuf>,
}

impl FileOutput {
    /// Whether `path` leads, links followed, to where this may be written.
    pub fn allows(&self, path: &Path) -> bool {
        let inside = |path: PathBuf| self.within.iter().any(|folder| path.starts_with(folder));
        self.within.is_empty() || request::whole(path).is_some_and(inside)
    }
}

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutputKind {
    /// An OCI layout in a tar.
    OciTar,
    /// An OCI layout in a folder.
    OciFolder,
    /// What `docker load` reads.
    DockerTar,
    /// The file system in a tar.
    Tar,
    /// The file system in a folder.
    Local,
}

impl OutputKind {
    /// As `type=` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OciTar | Self::OciFolder => "oci",
            Self::DockerTar => "docker",
            Self::Tar => "tar",
            Self::Local => "local",
        }
    }

    /// Whether it is an image, with layers as blobs.
    pub fn is_image(self) -> bool {
        matches!(self, Self::OciTar | Self::OciFolder | Self::DockerTar)
    }

    /// Whether it is a folder, which several images may share.
    fn is_folder(self) -> bool {
        matches!(self, Self::OciFolder | Self::Local)
    }
}

/// What the command line says of outputs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// `--output`.
    pub outputs: &'a [String],
    /// `--tag`.
    pub tags: &'a [String],
    /// `--push`.
    pub push: bool,
    /// `--load`.
    pub load: bool,
    /// `--annotation`.
    pub annotations: &'a [String],
    /// `--provenance`.
    pub provenance: Option<&'a str>,
    /// `--sbom`.
    pub sbom: Option<&'a str>,
    /// `--attest`.
    pub attests: &'a [String],
}

impl<'a> From<&'a BuildArgs> for Given<'a> {
    fn from(args: &'a BuildArgs) -> Self {
        Self {
            outputs: &args.output,
            tags: &args.tag,
            push: args.push,
            load: args.load,
            annotations: &args.annotation,
            provenance: args.provenance.as_deref(),
            sbom: args.sbom.as_deref(),
            attests: &args.attest,
        }
    }
}

impl Wanted {
    /// What the command line and the definitions of the images ask for.
    pub fn of(given: Given<'_>, request: &Request, cx: &Context) -> Result<Self, Failure> {
        let all = Outputs::all(given, &Options::default(), (&cx.cwd, cx))?;
        let mut own = BTreeMap::new();
        // What those stand on goes nowhere, whatever it says of outputs; bake does the same.
        for image in request.fleet.images.iter().filter(|i| request.named.contains(&i.name)) {
            let options = &image.options;
            let says = !options.outputs.is_empty() && given.outputs.is_empty();
            if !says && options.annotations.is_empty() && options.attests.is_empty() {
                continue;
            }
            let (outputs, folder): (&[String], &Path) =
                if says { (&options.outputs, &request.root) } else { (given.outputs, &cx.cwd) };
            let given = Given { outputs, ..given };
            let wanted = Outputs::all(given, options, (folder, cx));
            let mut wanted = wanted
                .and_then(|wanted| if says { wanted.within(request) } else { Ok(wanted) })
                .map_err(|failure| in_definition(image, &failure))?;
            // As with bake, a target's tags count and the name of its output does not.
            if says && given.tags.is_empty() && image.tags > 0 {
                wanted.tags.clear();
            }
            own.insert(image.name.clone(), wanted);
        }
        let wanted = Self { all, own };
        wanted.refuse_collisions(request)?;
        Ok(wanted)
    }

    /// What is wanted of an image.
    pub fn image(&self, name: &str) -> &Outputs {
        self.own.get(name).unwrap_or(&self.all)
    }

    /// No annotation may be lost.
    pub fn refuse_annotations(
        &self,
        lowered: &LoweredFleet,
        named: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        let mut platforms: BTreeMap<&String, Vec<&Platform>> = BTreeMap::new();
        // Those that others only stand on have no outputs.
        for image in lowered.images.iter().filter(|image| named.contains(&image.image)) {
            platforms.entry(&image.image).or_default().push(&image.lowered.platform);
        }
        for (name, platforms) in platforms {
            let outputs = self.image(name);
            let has_index = platforms.len() > 1 || !outputs.attests.is_empty();
            let annotations = &outputs.packing.annotations;
            if let Some(why) = annotations.misfit(&platforms, has_index) {
                return Err(Failure::new(Kind::Usage, format!("`{name}`: {why}"))
                    .hint("--platform says for which platforms an image is built"));
            }
        }
        Ok(())
    }

    /// Whether something goes to standard output.
    pub fn takes_stdout(&self) -> bool {
        let mut all = std::iter::once(&self.all).chain(self.own.values());
        all.any(|outputs| outputs.files.iter().any(|file| file.dest.is_none()))
    }

    /// Images that are wanted alike, for each file that they go to: those of the command line
    /// together, each other one by itself.
    pub fn files<'a>(&'a self, named: &'a [&String]) -> Vec<(&'a FileOutput, Vec<&'a String>)> {
        let mut all: Vec<(&FileOutput, Vec<&String>)> = Vec::new();
        let together: Vec<&String> =
            named.iter().copied().filter(|name| self.image(name).files == self.all.files).collect();
        if !together.is_empty() {
            all.extend(self.all.files.iter().map(|file| (file, together.clone())));
        }
        for name in named.iter().copied().filter(|name| !together.contains(name)) {
            all.extend(self.image(name).files.iter().map(|file| (file, vec![name])));
        }
        all
    }

    /// Two images cannot be one file.
    fn refuse_collisions(&self, request: &Request) -> Result<(), Failure> {
        let named: Vec<&String> = request.named.iter().collect();
        let mut seen: BTreeMap<Option<&Path>, &String> = BTreeMap::new();
        for (file, images) in self.files(&named) {
            let (Some(image), false) = (images.first(), file.kind.is_folder()) else { continue };
            if let Some(other) = seen.insert(file.dest.as_deref(), image) {
                let dest = file.dest.as_ref();
                let dest = dest.map_or("standard output".into(), |dest| dest.display().to_string());
                let what = format!("`{other}` and `{image}` are both to be written to `{dest}`");
                return Err(Failure::new(Kind::Usage, what)
                    .hint("name one of the images, or give -o for all of them"));
            }
        }
        Ok(())
    }
}

/// What is wrong with an image's own outputs is wrong in the file that describes it.
fn in_definition(image: &Image, failure: &Failure) -> Failure {
    Failure::input(vec![Diagnostic {
        location: Some(image.location()),
        severity: Severity::Error,
        code: "bad-output".to_owned(),
        message: format!("what `{}` says of outputs: {}", image.name, failure.causes.join(": ")),
        help: failure.hints.first().cloned(),
    }])
}

impl Outputs {
    fn all(given: Given<'_>, own: &Options, at: (&Path, &Context)) -> Result<Self, Failure> {
        let mut outputs = Self::sent(given.tags, given.push, given.load)?;
        let mut compression = None;
        for text in own.annotations.iter().chain(given.annotations) {
            outputs.packing.annotations.read(text)?;
        }
        for text in &own.attests {
            outputs.attests.read(text)?;
        }
        outputs.attests.short("provenance", given.provenance)?;
        outputs.attests.short("sbom", given.sbom)?;
        for text in given.attests {
            outputs.attests.read(text)?;
        }
        for text in given.outputs.iter().filter(|text| !text.is_empty()) {
            let spec = spec::parse(text)?;
            compression = spec.compression.or(compression);
            let packing = &mut outputs.packing;
            packing.level = spec.level.or(packing.level);
            packing.force_compression |= spec.force;
            packing.keep_times |= spec.rewrite_timestamp == Some(false);
            packing.annotations.extend(&spec.annotations);
            if spec.oci_types == Some(false) {
                packing.types = MediaTypes::Docker;
            }
            outputs.push |= spec.push;
            for name in &spec.name {
                let parsed = name.parse().map_err(|error| Failure::from_error(Kind::Usage, &error));
                outputs.tags.push(parsed?);
            }
            outputs.add(text, &spec, at)?;
        }
        outputs.packing.compression = compression.unwrap_or(outputs.default_compression());
        outputs.refuse_what_docker_lacks()?;
        Ok(outputs)
    }

    /// A file of the repository may not say that files elsewhere are to be written.
    fn within(mut self, request: &Request) -> Result<Self, Failure> {
        let folders: Vec<PathBuf> =
            std::iter::once(&request.root).chain(&request.writables).cloned().collect();
        for file in &mut self.files {
            file.within.clone_from(&folders);
            if let Some(dest) = file.dest.as_deref().filter(|dest| !file.allows(dest)) {
                let what = format!("`{}` is outside of the repository", dest.display());
                let folder = dest.parent().unwrap_or(dest).display();
                return Err(Failure::new(Kind::Usage, what)
                    .hint(format!("if that is meant, build with `--allow fs.write={folder}`")));
            }
        }
        Ok(self)
    }

    fn refuse_what_docker_lacks(&self) -> Result<(), Failure> {
        let packing = &self.packing;
        if packing.types == MediaTypes::Oci {
            return Ok(());
        }
        if packing.compression == Compression::Zstd {
            return Err(Failure::new(Kind::Usage, "Docker's media types know no zstd layers")
                .hint("leave out oci-mediatypes=false, or use compression=gzip"));
        }
        if !self.attests.is_empty() {
            return Err(Failure::new(Kind::Usage, "Docker's media types know no attestations")
                .hint("leave out oci-mediatypes=false, --provenance and --sbom"));
        }
        if packing.annotations.need_oci() {
            return Err(Failure::new(Kind::Usage, "Docker's media types know no such annotations")
                .hint("leave out oci-mediatypes=false, or annotate manifests only"));
        }
        Ok(())
    }

    /// Images that go nowhere but to registries and to the Docker Engine.
    fn sent(tags: &[String], push: bool, load: bool) -> Result<Self, Failure> {
        let parse = |tag: &String| {
            tag.parse().map_err(|error| {
                Failure::from_error(Kind::Usage, &error).hint("-t takes an image reference")
            })
        };
        let tags = tags.iter().map(parse).collect::<Result<_, Failure>>()?;
        Ok(Self { tags, push, load, ..Self::default() })
    }

    fn add(
        &mut self,
        text: &str,
        spec: &Spec,
        (folder, cx): (&Path, &Context),
    ) -> Result<(), Failure> {
        let file = spec.dest.as_deref().filter(|dest| *dest != "-").map(|dest| folder.join(dest));
        let kind = match spec.kind.as_str() {
            "image" | "cacheonly" => return Ok(()),
            "registry" => {
                self.push = true;
                return Ok(());
            }
            "oci" if spec.tar == Some(false) => OutputKind::OciFolder,
            "oci" => OutputKind::OciTar,
            "docker" if spec.dest.is_none() => {
                self.load = true;
                return Ok(());
            }
            "docker" => OutputKind::DockerTar,
            "tar" => OutputKind::Tar,
            "local" => OutputKind::Local,
            other => {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("--output `{text}`: type `{other}` is not known"),
                )
                .hint(spec::KINDS));
            }
        };
        let is_folder = kind.is_folder();
        if is_folder && file.is_none() {
            return Err(Failure::new(Kind::Usage, format!("--output `{text}` needs dest=FOLDER")));
        }
        if !is_folder && spec.dest.is_none() && cx.is_terminal {
            return Err(Failure::new(
                Kind::Usage,
                format!("--output `{text}` would write an archive to the terminal"),
            )
            .hint("add dest=FILE, or dest=- if that is meant"));
        }
        if let Some(path) = &file
            && !is_folder
            && !path.parent().is_some_and(Path::is_dir)
        {
            let what = format!("there is no folder for `{}`", path.display());
            return Err(Failure::new(Kind::Usage, what).hint("make it first"));
        }
        self.files.push(FileOutput { kind, dest: file, split: spec.split, within: Vec::new() });
        Ok(())
    }

    /// What leaves the machine is packed so that everybody reads it; what stays, so that it
    /// is quick.
    fn default_compression(&self) -> Compression {
        let leaves = self.push
            || self.load
            || self.packing.types == MediaTypes::Docker
            || self.files.iter().any(|file| file.kind.is_image());
        if leaves { Compression::Gzip } else { Compression::Zstd }
    }

    /// Whether anybody will ask for the image itself, and not only for its files.
    pub fn wants_image(&self) -> bool {
        let only_trees =
            !self.files.is_empty() && self.files.iter().all(|file| !file.kind.is_image());
        self.push || self.load || !only_trees
    }
}
