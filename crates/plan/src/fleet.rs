//! The fleet: every image of a repository, by name, with what it stands on.
//!
//! 1. [`read`]: each Dockerfile is parsed, named and given a context.
//! 2. Names after `FROM`, `COPY --from` and `--mount from=` that mean another image of the
//!    fleet become edges; cycles are errors that show the cycle.
//! 3. [`lower_all`]: images become steps of one graph, parents first.
//!
//! What is here is inferred from the Dockerfiles alone.

mod lowering;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::oci::Reference;
use bakehouse_model::{Diagnostic, Location, Severity};
use serde::Serialize;

use crate::dockerfile::mount::{self, MountType};
use crate::dockerfile::{self, Dockerfile, InstructionKind};
use crate::lower::{self, Request, Settings};

pub use lowering::{Known, LoweredFleet, LoweredImage, lower_all};
pub use names::{is_dockerfile_name, suggest};

/// A Dockerfile that was found.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Path from the repository's root, with slashes.
    pub path: String,
    /// Its bytes.
    pub text: Vec<u8>,
    /// The context to use; inferred if none. From the repository's root, `.` for the root.
    pub context: Option<String>,
}

/// One image of the fleet.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Its Dockerfile, from the repository's root.
    pub file: String,
    /// Its context, from the repository's root; `.` for the root.
    pub context: String,
    /// The stage that is wanted; the last one if none.
    pub target: Option<String>,
    /// What the file says.
    pub dockerfile: Dockerfile,
    /// Images of the fleet that it stands on.
    pub needs: Vec<Edge>,
    /// Other images that it stands on, as written.
    pub external: Vec<String>,
}

/// An image stands on another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The other image.
    pub image: String,
    /// How it is named there.
    pub reference: String,
    /// Where.
    pub location: Option<Location>,
}

/// A file that is no image, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The file.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// All images of a repository.
#[derive(Debug, Default)]
pub struct Fleet {
    /// The images, parents first, else by name.
    pub images: Vec<Image>,
    /// What is wrong and what is doubtful.
    pub diagnostics: Vec<Diagnostic>,
    /// Files that are left out.
    pub skipped: Vec<Skipped>,
}

impl Fleet {
    /// The image of that name.
    pub fn image(&self, name: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.name == name)
    }

    /// Whether something is wrong.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// `names` and all that they stand on.
    pub fn with_needs(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let mut all = names.clone();
        // Parents come first, so one pass from the end sees every need.
        for image in self.images.iter().rev() {
            if all.contains(&image.name) {
                all.extend(image.needs.iter().map(|edge| edge.image.clone()));
            }
        }
        all
    }
}

/// What [`read`] has to know besides the files.
pub struct Surroundings<'a> {
    /// The name of the repository's folder: an image at the root is called so.
    pub repository: &'a str,
    /// Whether a path, from the repository's root, is there.
    pub exists: &'a dyn Fn(&str) -> bool,
    /// What the command line says.
    pub settings: &'a Settings,
    /// The stage that is wanted, of every image.
    pub target: Option<&'a str>,
    /// Where images without a reference of their own go: `registry/prefix`.
    pub prefix: Option<&'a str>,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// Reads a fleet from its Dockerfiles.
pub fn read(files: &[SourceFile], around: &Surroundings<'_>) -> Fleet {
    let mut fleet = Fleet::default();
    let mut images = Vec::new();
    for file in files {
        if let Some(reason) = skip_reason(file) {
            fleet.skipped.push(Skipped { file: file.path.clone(), reason });
            continue;
        }
        let parsed = dockerfile::parse(&file.text, &file.path);
        let broken = parsed.diagnostics.iter().any(|d| d.severity == Severity::Error);
        fleet.diagnostics.extend(parsed.diagnostics);
        if let Some(reason) = foreign_front_end(&parsed.dockerfile) {
            fleet.skipped.push(Skipped { file: file.path.clone(), reason });
        } else if !broken {
            images.push(image(file, parsed.dockerfile, around));
        }
    }
    fleet.diagnostics.extend(fleet.skipped.iter().map(|skipped| Diagnostic {
        location: Some(Location::file(skipped.file.clone())),
        severity: Severity::Note,
        code: "skipped".to_owned(),
        message: format!("this file is left out: {}", skipped.reason),
        help: None,
    }));
    names::make_unique(&mut images, around.repository, &mut fleet.diagnostics);
    connect(&mut images, around, &mut fleet.diagnostics);
    fleet.images = in_order(images, &mut fleet.diagnostics);
    fleet.diagnostics.sort();
    fleet.diagnostics.dedup();
    fleet
}

/// Why a file that is called like a Dockerfile is none.
fn skip_reason(file: &SourceFile) -> Option<String> {
    let text = String::from_utf8_lossy(&file.text);
    let template = |line: &str| {
        let line = line.trim_start();
        line.starts_with("{%") || line.starts_with("{{") || line.starts_with("FROM {{")
    };
    if text.lines().any(template) {
        return Some("a template: it has `{{` or `{%` where an instruction should be".to_owned());
    }
    None
}

/// Front ends other than Docker's own are programs that are not here.
fn foreign_front_end(dockerfile: &Dockerfile) -> Option<String> {
    let syntax = dockerfile.directives.syntax.as_ref()?.value.clone();
    let name = syntax.split(['@', ':']).next().unwrap_or(&syntax);
    let own = [
        "docker/dockerfile",
        "docker/dockerfile-upstream",
        "docker.io/docker/dockerfile",
        "docker.io/docker/dockerfile-upstream",
    ];
    (!own.contains(&name)).then(|| {
        format!(
            "its `# syntax={syntax}` is another front end, which only BuildKit can run: build it with Docker"
        )
    })
}

fn image(file: &SourceFile, dockerfile: Dockerfile, around: &Surroundings<'_>) -> Image {
    let context = match &file.context {
        Some(context) => context.clone(),
        None => infer_context(&file.path, &dockerfile, around),
    };
    Image {
        name: names::of_file(&file.path, around.repository),
        file: file.path.clone(),
        context,
        target: around.target.map(str::to_owned),
        dockerfile,
        needs: Vec::new(),
        external: Vec::new(),
    }
}

/// The nearest folder, from the file's own up to the root, that has all paths that the file
/// copies or mounts by name; the one with most of them if none has all.
fn infer_context(path: &str, dockerfile: &Dockerfile, around: &Surroundings<'_>) -> String {
    let sources = literal_sources(dockerfile);
    let own = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut best = (0, own);
    let mut folder = own;
    loop {
        let has = |source: &&String| {
            let source = source.trim_start_matches('/');
            (around.exists)(&if folder.is_empty() {
                source.to_owned()
            } else {
                format!("{folder}/{source}")
            })
        };
        let found = sources.iter().filter(has).count();
        if found > best.0 {
            best = (found, folder);
        }
        if found == sources.len() || folder.is_empty() {
            break;
        }
        folder = folder.rsplit_once('/').map_or("", |(up, _)| up);
    }
    if best.1.is_empty() { ".".to_owned() } else { best.1.to_owned() }
}

/// Paths that are copied or mounted from the context and have neither variables nor wildcards.
fn literal_sources(dockerfile: &Dockerfile) -> BTreeSet<String> {
    let literal = |source: &String| {
        !source.contains(['$', '*', '?', '[', '"', '\''])
            && !source.contains("://")
            && !matches!(source.as_str(), "." | "./" | "/" | "")
    };
    let mut sources = BTreeSet::new();
    for instruction in dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
        match &instruction.kind {
            InstructionKind::Copy(copy) if copy.from.is_none() => {
                sources.extend(copy.transfer.sources.iter().cloned());
            }
            InstructionKind::Add(add) => sources.extend(add.transfer.sources.iter().cloned()),
            InstructionKind::Run(run) => {
                sources.extend(run.mounts.iter().filter_map(|csv| bind_source(csv)));
            }
            _ => {}
        }
    }
    sources.retain(literal);
    sources
}

/// What a mount of a RUN takes from the context.
fn bind_source(csv: &str) -> Option<String> {
    let mount = mount::parse_mount(csv, &mut |word| Ok(word.to_owned())).ok()?;
    (mount.kind == MountType::Bind && mount.from.is_none()).then_some(mount.source)
}

/// Turns names of bases into edges.
fn connect(images: &mut [Image], around: &Surroundings<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let names: BTreeSet<String> = images.iter().map(|image| image.name.clone()).collect();
    for image in images {
        let request = Request {
            image: &image.name,
            dockerfile: &image.dockerfile,
            file: &image.file,
            context: Some(bakehouse_model::op::ContextSource {
                name: "context".to_owned(),
                root: String::new(),
                ignore: Vec::new(),
            }),
            target: image.target.as_deref(),
            settings: around.settings,
        };
        let questions = match lower::references(&request) {
            Ok(questions) => questions,
            Err(diagnostic) => {
                diagnostics.push(*diagnostic);
                continue;
            }
        };
        for question in questions {
            match fleet_image(&question.name, &names, &image.name, around.prefix) {
                Some(parent) if image.needs.iter().any(|edge| edge.image == parent) => {}
                Some(parent) => image.needs.push(Edge {
                    image: parent,
                    reference: question.name,
                    location: question.location,
                }),
                None if image.external.contains(&question.name) => {}
                None => image.external.push(question.name),
            }
        }
    }
}

/// The image of the fleet that `name` means, if it means one.
///
/// A name without a registry means an image of that name. A name in a registry other than
/// Docker Hub means the image that its last word names, and so does one below `prefix`.
/// Neither does so with another tag than `latest`, and no image stands on itself.
pub(crate) fn fleet_image(
    name: &str,
    names: &BTreeSet<String>,
    own: &str,
    prefix: Option<&str>,
) -> Option<String> {
    let reference: Reference = name.parse().ok()?;
    if reference.digest().is_some() {
        return None;
    }
    let last = reference.repository().rsplit('/').next()?;
    let bare = reference.familiar().split(':').next() == Some(last);
    let below = prefix.is_some_and(|prefix| {
        let whole = format!("{}/{}", reference.registry(), reference.repository());
        whole == format!("{prefix}/{last}")
    });
    let foreign = reference.registry() != "docker.io";
    let latest = reference.tag() == Some("latest");
    let fits = latest && (bare || foreign || below);
    (fits && last != own && names.contains(last)).then(|| last.to_owned())
}

/// Parents first, else by name. Images on a cycle are reported and left out.
fn in_order(images: Vec<Image>, diagnostics: &mut Vec<Diagnostic>) -> Vec<Image> {
    let mut waiting: BTreeMap<String, Image> =
        images.into_iter().map(|image| (image.name.clone(), image)).collect();
    let mut ordered: Vec<Image> = Vec::with_capacity(waiting.len());
    loop {
        let ready: Vec<String> = waiting
            .values()
            .filter(|image| image.needs.iter().all(|edge| !waiting.contains_key(&edge.image)))
            .map(|image| image.name.clone())
            .collect();
        if ready.is_empty() {
            break;
        }
        ordered.extend(ready.iter().filter_map(|name| waiting.remove(name)));
    }
    if let Some(diagnostic) = cycle(&waiting) {
        diagnostics.push(diagnostic);
    }
    ordered
}

/// The cycle among images that wait for each other, from the smallest name on it.
fn cycle(waiting: &BTreeMap<String, Image>) -> Option<Diagnostic> {
    let mut path: Vec<&str> = Vec::new();
    let mut name = waiting.keys().next()?.as_str();
    while !path.contains(&name) {
        path.push(name);
        // Every image that waits has a need that waits, so the walk ends in a cycle.
        name = waiting[name]
            .needs
            .iter()
            .map(|e| e.image.as_str())
            .find(|n| waiting.contains_key(*n))?;
    }
    let start = path.iter().position(|n| *n == name)?;
    let mut on: Vec<&str> = path[start..].to_vec();
    let smallest = on.iter().enumerate().min_by_key(|(_, n)| **n).map_or(0, |(at, _)| at);
    on.rotate_left(smallest);
    let edges: Vec<String> = on
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let next = on[(at + 1) % on.len()];
            let edge = waiting[*name].needs.iter().find(|edge| edge.image == next);
            let place = edge.and_then(|e| e.location.as_ref()).map(ToString::to_string);
            format!("`{name}` stands on `{next}` ({})", place.unwrap_or_default())
        })
        .collect();
    let location =
        waiting[on[0]].needs.iter().find(|e| on.contains(&e.image.as_str()))?.location.clone();
    Some(Diagnostic {
        location,
        severity: Severity::Error,
        code: "image-cycle".to_owned(),
        message: format!("images stand on each other: {}", edges.join(", ")),
        help: Some("one of them has to start from another base".to_owned()),
    })
}
