//! The fleet: every image of a repository, by name, with what it stands on.
//!
//! 1. `gather`: Dockerfiles are parsed; what bake files, compose files and `bakehouse.toml`
//!    say ([`Definition`]) is merged with them. One image that several describe is one image.
//! 2. `names`: each image gets a name, and all other names that people may call it by.
//! 3. `connect`: names after `FROM`, `COPY --from` and `--mount from=`, and named contexts,
//!    become edges where they mean another image of the fleet ([`Index`] says which).
//! 4. `order`: parents first, with levels; cycles are errors that show the cycle.
//! 5. [`lower_all`]: images become steps of one graph.

mod connect;
mod definition;
mod families;
mod gather;
mod index;
mod lowering;
mod names;
mod official;
mod order;
mod patches;
mod variants;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bakehouse_model::oci::Platform;
use bakehouse_model::{Diagnostic, Location, Severity};
use serde::Serialize;

use crate::dockerfile::Dockerfile;
use crate::lower::{BaseQuestion, NoCache, Settings, Via};

pub use definition::{
    Class, ContextValue, Definition, DockerfileAt, Family, Group, NamedContext, Options, Patch,
    Policy, Source, SourceKind, fits,
};
pub use gather::fixture;
pub use index::{Index, Meaning, TagMatch};
pub use lowering::{Known, LoweredFleet, LoweredImage, lower_all, lower_needed};
pub use names::{clean, is_dockerfile_name, suggest};
pub use variants::{StageVariants, Variant};

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

/// What other files than Dockerfiles say.
#[derive(Debug, Clone, Default)]
pub struct Described {
    /// Their images; the first one that describes an image is the one that counts.
    pub definitions: Vec<Definition>,
    /// Their groups.
    pub groups: Vec<Group>,
    /// What `bakehouse.toml` adds.
    pub policy: Policy,
}

/// One image of the fleet.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Everything that it is called: its name, the names that definitions give it, and the
    /// name of its file or folder.
    pub aliases: BTreeSet<String>,
    /// What it is published as, as written; the first definition's come first.
    pub references: Vec<String>,
    /// How many of the references are the first definition's: the tags that a push writes.
    pub tags: usize,
    /// Its Dockerfile, from the repository's root; `FILE#NAME` if it is within a definition.
    pub file: String,
    /// Its context.
    pub context: ContextValue,
    /// The stage that is wanted; the last one if none.
    pub target: Option<String>,
    /// Its build arguments.
    pub args: BTreeMap<String, String>,
    /// What names in the Dockerfile stand for.
    pub contexts: Vec<NamedContext>,
    /// The platforms it is for; that of the machine if there are none.
    pub platforms: Vec<Platform>,
    /// What changes how it is built.
    pub options: Options,
    /// Who describes it; the one that counts first.
    pub sources: Vec<Source>,
    /// The project of the definition that counts; empty for a plain Dockerfile.
    pub project: String,
    /// The groups it is in.
    pub groups: BTreeSet<String>,
    /// Its class, a label for policy.
    pub class: Option<String>,
    /// The family whose base it is handed.
    pub family: Option<String>,
    /// What the file says.
    pub dockerfile: Arc<Dockerfile>,
    /// Images of the fleet that it stands on.
    pub needs: Vec<Edge>,
    /// Other images that it stands on.
    pub external: Vec<External>,
    /// The longest chain of images of the fleet below it.
    pub level: usize,
    /// Why it cannot be built as it is.
    pub unbuildable: Option<Diagnostic>,
}

impl Image {
    /// The folder of its context, if it is one of this repository.
    pub fn folder(&self) -> Option<&str> {
        match &self.context {
            ContextValue::Folder(folder) => Some(folder),
            _ => None,
        }
    }

    /// What kind of file describes it.
    pub fn kind(&self) -> SourceKind {
        self.sources.first().map_or(SourceKind::Dockerfile, |source| source.kind)
    }

    /// Where it is described.
    pub fn location(&self) -> Location {
        let first = self.sources.first();
        first.map_or_else(|| Location::file(self.file.clone()), |source| source.location.clone())
    }

    /// What the command line says, with what the image's own definition says beneath it.
    pub fn settings(&self, given: &Settings) -> Settings {
        let mut settings = given.clone();
        let with = |own: &BTreeMap<String, String>, given: &BTreeMap<String, String>| {
            let mut all = own.clone();
            all.extend(given.clone());
            all
        };
        settings.build_args = with(&self.args, &given.build_args);
        settings.labels = with(&self.options.labels, &given.labels);
        self.options.apply(&mut settings);
        if given.no_cache == NoCache::Nothing {
            settings.no_cache = match (self.options.no_cache, &self.options.no_cache_filter) {
                (true, _) => NoCache::Everything,
                (false, stages) if stages.is_empty() => NoCache::Nothing,
                (false, stages) => NoCache::Stages(stages.clone()),
            };
        }
        settings
    }
}

/// An image stands on another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The other image.
    pub image: String,
    /// How it is named there.
    pub reference: String,
    /// What names it.
    pub via: Via,
    /// Where.
    pub location: Option<Location>,
    /// Whether the other image is published under that very tag.
    pub tag: TagMatch,
}

/// An image stands on one from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct External {
    /// How it is named.
    pub reference: String,
    /// What names it.
    pub via: Via,
    /// Where.
    pub location: Option<Location>,
    /// For which platform.
    #[serde(skip)]
    pub platform: Platform,
    /// The stage that may have been meant.
    #[serde(skip)]
    pub near: Option<String>,
}

impl External {
    /// What is to be looked up.
    pub fn question(&self) -> BaseQuestion {
        BaseQuestion {
            name: self.reference.clone(),
            platform: self.platform.clone(),
            location: self.location.clone(),
            near: self.near.clone(),
            via: self.via,
        }
    }
}

/// A file that is no image, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Skipped {
    /// The file.
    pub path: String,
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
    /// Sets of images that are built by one name.
    pub groups: Vec<Group>,
    /// What a reference means.
    pub index: Index,
    by_name: BTreeMap<String, usize>,
}

impl Fleet {
    /// The image of that name.
    pub fn image(&self, name: &str) -> Option<&Image> {
        self.by_name.get(name).and_then(|at| self.images.get(*at))
    }

    /// The names of the images that `name` means: an image by its name, by what else it is
    /// called if nothing else is called so, or the members of a group.
    pub fn meant(&self, name: &str) -> Vec<String> {
        if self.by_name.contains_key(name) {
            return vec![name.to_owned()];
        }
        let of = |image: &Image| image.name.clone();
        let groups: Vec<String> =
            self.images.iter().filter(|image| image.groups.contains(name)).map(of).collect();
        if !groups.is_empty() {
            return groups;
        }
        let called = |image: &&Image| {
            image.aliases.contains(name)
                || image.references.iter().any(|reference| reference == name)
                || image.file == name
        };
        let called: Vec<String> = self.images.iter().filter(called).map(of).collect();
        if called.len() == 1 { called } else { Vec::new() }
    }

    /// The image that `of` calls `name` in a context: of two of that name, the one of the same
    /// project.
    pub fn defined(&self, name: &str, of: &Image) -> Option<&Image> {
        let own = |image: &&Image| image.project == of.project && image.aliases.contains(name);
        self.images.iter().find(own).or_else(|| self.image(name))
    }

    /// Adds files that were left out before they could be read.
    pub fn skip(&mut self, skipped: impl IntoIterator<Item = Skipped>) {
        for skipped in skipped {
            self.diagnostics.push(left_out(&skipped));
            self.skipped.push(skipped);
        }
        self.skipped.sort();
        self.diagnostics.sort();
    }

    /// Adds what was found wrong before the fleet was read.
    pub fn tell(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        self.diagnostics.extend(diagnostics);
        self.diagnostics.sort();
        self.diagnostics.dedup();
    }

    /// Whether something is wrong.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// `names` and all that they stand on.
    pub fn with_needs(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let mut all = names.clone();
        let mut open: Vec<&str> = names.iter().map(String::as_str).collect();
        while let Some(name) = open.pop() {
            for edge in self.image(name).iter().flat_map(|image| &image.needs) {
                if all.insert(edge.image.clone()) {
                    open.push(&edge.image);
                }
            }
        }
        all
    }

    /// `names` and all that stands on them.
    pub fn with_users(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let mut all = names.clone();
        // Parents come first, so one pass sees every user.
        for image in &self.images {
            if image.needs.iter().any(|edge| all.contains(&edge.image)) {
                all.insert(image.name.clone());
            }
        }
        all
    }

    /// How many images stand on each one directly.
    pub fn used_by(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for image in &self.images {
            for edge in &image.needs {
                users.entry(&edge.image).or_default().push(&image.name);
            }
        }
        users
    }

    /// Every image from elsewhere, with the images that stand on it.
    pub fn external(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for image in &self.images {
            for external in &image.external {
                users.entry(&external.reference).or_default().push(&image.name);
            }
        }
        users
    }
}

/// What [`read`] has to know besides the files.
pub struct Surroundings<'a> {
    /// The name of the repository's folder: an image at the root is called so.
    pub repository: &'a str,
    /// Whether a path, from the repository's root, is there.
    pub exists: &'a dyn Fn(&str) -> bool,
    /// A file that a definition names, from the repository's root.
    pub load: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// What the command line says.
    pub settings: &'a Settings,
    /// The stage that is wanted, of every image.
    pub target: Option<&'a str>,
    /// Where images without a reference of their own go: `registry/prefix`.
    pub prefix: Option<&'a str>,
    /// The names that the command line gives a context.
    pub contexts: &'a [String],
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// Reads a fleet from its Dockerfiles and from what else is said of them.
pub fn read(files: &[SourceFile], described: Described, around: &Surroundings<'_>) -> Fleet {
    let Described { definitions, groups, policy } = described;
    let mut gathered = gather::gather(files, definitions, around);
    let mut images = std::mem::take(&mut gathered.images);
    let mut diagnostics = std::mem::take(&mut gathered.diagnostics);
    patches::by_file(&mut images, &policy.images, &mut diagnostics);
    names::give(&mut images, around.repository, &mut diagnostics);
    patches::by_name(&mut images, &policy.images, &mut diagnostics);
    families::inject(&mut images, &policy, &mut diagnostics);
    let index = Index::new(&images, &policy, around.prefix);
    let index = connect::connect(&mut images, index, around, &mut diagnostics);
    let images = order::in_order(images, &mut diagnostics);
    let mut fleet = Fleet { skipped: gathered.skipped, groups, index, ..Fleet::default() };
    fleet.by_name = images.iter().enumerate().map(|(at, image)| (image.name.clone(), at)).collect();
    fleet.images = images;
    classify(&mut fleet, &policy);
    diagnostics.extend(fleet.skipped.iter().map(left_out));
    diagnostics.sort();
    diagnostics.dedup();
    fleet.diagnostics = diagnostics;
    fleet
}

/// Gives images their classes; the first one that fits counts.
fn classify(fleet: &mut Fleet, policy: &Policy) {
    for image in fleet.images.iter_mut().filter(|image| image.class.is_none()) {
        let fitting = |class: &&Class| {
            class.level == Some(image.level)
                || class.images.iter().any(|pattern| fits(pattern, &image.name))
        };
        image.class = policy.classes.iter().find(fitting).map(|class| class.name.clone());
    }
}

fn left_out(skipped: &Skipped) -> Diagnostic {
    Diagnostic {
        location: Some(Location::file(skipped.path.clone())),
        severity: Severity::Note,
        code: "skipped".to_owned(),
        message: format!("this file is left out: {}", skipped.reason),
        help: Some("name it in a bake file, a compose file or `bakehouse.toml` to have it".into()),
    }
}
