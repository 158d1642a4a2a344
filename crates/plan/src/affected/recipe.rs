//! How each image of one version is made, down to the names of the contents that it reads.
//!
//! The whole fleet is lowered as far as its files tell: a base from elsewhere stands for what
//! it is called, so its reference is all that can change of it. Every step then gets a
//! [print](Recipes::print), a digest of the op, of what it selects of a context, and of the
//! prints of its inputs. Equal prints are equal builds, wherever files lie and whatever
//! images, stages and contexts are called.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::oci::{ImageConfig, Platform, Reference};
use bakehouse_model::op::{ContextSource, ImageSource, Op, Source};
use bakehouse_model::{ChainId, Diagnostic, Digest, Location, Severity};

use super::view::{Reading, View};
use super::{Side, World};
use crate::dockerfile::ignore::{Matcher, read_patterns};
use crate::fleet::{ContextValue, Fleet, Image, Known, LoweredFleet, lower_all};
use crate::graph::{Step, StepIndex};
use crate::key::{self, Selection};
use crate::lower::{Base, BaseImage, BaseQuestion, Lowered};

/// Answers lead to new questions only through triggers of bases; nobody nests deeper.
const MAX_ROUNDS: usize = 32;

/// What stands for the base of an image that is handed one from outside.
const HANDED: &str = "handed.invalid";

/// A version's images as steps, with prints.
pub(super) struct Recipes<'a> {
    pub(super) side: &'a Side<'a>,
    pub(super) lowered: LoweredFleet,
    /// Ignore files, by the folder and the patterns of the contexts that they are for.
    pub(super) ignores: BTreeMap<Context, String>,
    views: BTreeMap<Context, View<'a>>,
    prints: Vec<Digest>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A folder, from the top of the listing, and its ignore patterns.
pub(super) type Context = (String, Vec<String>);

/// What one image comes to on one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Print {
    /// Its file system.
    pub(super) files: Digest,
    /// What a container of it gets.
    pub(super) config: Digest,
}

impl<'a> Recipes<'a> {
    pub(super) fn new(side: &'a Side<'a>, world: &World<'_>) -> Self {
        let mut reading = Contexts { side, ignores: BTreeMap::new(), diagnostics: Vec::new() };
        let known = reading.known(world);
        let lowered = lower(&side.fleet, world, known);
        let Contexts { ignores, mut diagnostics, .. } = reading;
        diagnostics.extend(lowered.diagnostics.iter().cloned());
        let mut views = BTreeMap::new();
        for step in lowered.graph.steps() {
            if let Op::Source(Source::Context(source)) = &step.op {
                let (root, ignore) = (source.root.clone(), source.ignore.clone());
                // Patterns were compiled when they were read.
                let view = View::new(&side.listing, &root, &ignore);
                let view = view.unwrap_or_default();
                views.insert((root, ignore), view);
            }
        }
        let prints = Vec::new();
        let mut recipes = Self { side, lowered, ignores, views, prints, diagnostics };
        recipes.prints = recipes.print_all();
        recipes
    }

    fn print_all(&self) -> Vec<Digest> {
        let mut known: BTreeMap<(&Context, Selection), Digest> = BTreeMap::new();
        let mut prints: Vec<Digest> = Vec::new();
        for step in self.lowered.graph.steps() {
            let mut parts = vec![key::op_digest(step)];
            for (input, dependency) in step.inputs.iter().zip(key::dependencies(step)) {
                let Some(context) = self.context(*input) else {
                    parts.push(prints[input.0].clone());
                    parts.push(key::selector(&dependency));
                    continue;
                };
                parts.push(key::op_digest(self.step(*input)));
                for selection in dependency.selections {
                    let read = |(context, selection): &(&Context, Selection)| {
                        self.read(context, selection).digest()
                    };
                    let asked = (context, selection);
                    let digest = known.get(&asked).cloned().unwrap_or_else(|| read(&asked));
                    parts.push(digest.clone());
                    known.insert(asked, digest);
                }
            }
            let text = serde_json::to_vec(&parts).expect("digests are strings");
            prints.push(Digest::of(text));
        }
        prints
    }

    /// The digest of all that a step makes is made of.
    pub(super) fn print(&self, step: StepIndex) -> &Digest {
        &self.prints[step.0]
    }

    pub(super) fn step(&self, index: StepIndex) -> &Step {
        self.lowered.graph.step(index)
    }

    /// The context that a step brings in, if it does that.
    pub(super) fn context(&self, step: StepIndex) -> Option<&Context> {
        let Op::Source(Source::Context(source)) = &self.step(step).op else { return None };
        let asked = (source.root.clone(), source.ignore.clone());
        self.views.get_key_value(&asked).map(|(context, _)| context)
    }

    /// What a selection reads of a context.
    pub(super) fn read(&self, context: &Context, selection: &Selection) -> Reading<'a> {
        // A malformed wildcard selects nothing: the build says so.
        let view = self.views.get(context);
        view.and_then(|view| view.read(selection).ok()).unwrap_or_default()
    }

    /// What an image comes to, by platform; nothing if it cannot be lowered.
    pub(super) fn prints(&self, name: &str) -> BTreeMap<String, Print> {
        let platforms = self.own(name).map(|(called, lowered)| {
            let platform = called.strip_prefix(name).unwrap_or_default().trim().to_owned();
            let own = if platform.is_empty() { self.platform(name) } else { platform };
            (own, self.of(lowered))
        });
        platforms.collect()
    }

    /// The one platform that an image is said to be for, if it is.
    fn platform(&self, name: &str) -> String {
        let image = self.side.fleet.image(name);
        let platforms = image.map_or(&[][..], |image| image.platforms.as_slice());
        platforms.first().map_or_else(String::new, ToString::to_string)
    }

    fn of(&self, lowered: &Lowered) -> Print {
        let files = lowered.root.map_or_else(|| Digest::of(""), |root| self.print(root).clone());
        // How it came about and when is in no print: an image that only tells its story in
        // other words is the same image.
        let told = ImageConfig { history: Vec::new(), created: None, ..lowered.config.clone() };
        let config = serde_json::to_vec(&(told, lowered.epoch)).expect("plain fields");
        Print { files, config: Digest::of(config) }
    }

    /// An image on each of its platforms, with what it is called there.
    pub(super) fn own<'r>(&'r self, name: &'r str) -> impl Iterator<Item = (&'r str, &'r Lowered)> {
        let images = self.lowered.images.iter().filter(move |image| image.image == name);
        images.map(|image| (image.name.as_str(), &*image.lowered))
    }

    /// The steps of an image down to those that make the images it stands on, in order.
    pub(super) fn steps(&self, image: &Image) -> Vec<StepIndex> {
        let parents: BTreeSet<StepIndex> = image
            .needs
            .iter()
            .flat_map(|edge| self.own(&edge.image).filter_map(|(_, lowered)| lowered.root))
            .collect();
        let mut stack: Vec<StepIndex> =
            self.own(&image.name).filter_map(|(_, lowered)| lowered.root).collect();
        let mut reached = BTreeSet::new();
        while let Some(index) = stack.pop() {
            if !parents.contains(&index) && reached.insert(index) {
                stack.extend(self.step(index).inputs.iter().copied());
            }
        }
        reached.into_iter().collect()
    }
}

/// Finds the folders and the ignore patterns of contexts.
struct Contexts<'a> {
    side: &'a Side<'a>,
    ignores: BTreeMap<Context, String>,
    diagnostics: Vec<Diagnostic>,
}

impl Contexts<'_> {
    fn known(&mut self, world: &World<'_>) -> Known {
        let mut known = Known::default();
        for image in &self.side.fleet.images {
            let location = image.location();
            let folder = image.context.to_string();
            let own = format!("{}.dockerignore", image.file);
            let source = match &image.context {
                ContextValue::Folder(_) => self.folder(&folder, Some(&own), &location),
                _ => nowhere(&folder),
            };
            known.roots.insert(image.name.clone(), source);
            for context in &image.contexts {
                if let Some(base) = self.base(&context.value, &context.location) {
                    let name = (image.name.clone(), context.name.clone());
                    known.own_contexts.insert(name, base);
                }
            }
        }
        for (name, value) in world.contexts {
            let base = self.base(value, &Location::file("."));
            known.contexts.extend(base.map(|base| (name.clone(), base)));
        }
        known
    }

    /// What a named context is; none for another image of the fleet.
    fn base(&mut self, value: &ContextValue, place: &Location) -> Option<Base> {
        match value {
            ContextValue::Folder(folder) => Some(Base::Context(self.folder(folder, None, place))),
            ContextValue::Image(reference) => Some(Base::Ask(reference.clone())),
            ContextValue::Definition(_) => None,
            // A layout is a folder: whatever changes in it may change the image.
            ContextValue::Layout(layout) => {
                let folder = layout.split('@').next().unwrap_or(layout);
                let folder = match folder.rsplit_once(':') {
                    Some((folder, tag)) if !tag.contains('/') => folder,
                    _ => folder,
                };
                let name = layout.clone();
                Some(Base::Context(ContextSource { name, ..self.folder(folder, None, place) }))
            }
            ContextValue::Url(url) => Some(Base::Context(nowhere(url))),
        }
    }

    fn folder(&mut self, folder: &str, own: Option<&str>, place: &Location) -> ContextSource {
        // All are called alike: a context that only gets another name is the same one.
        let name = "context".to_owned();
        let Some(root) = self.side.listing.within(folder) else {
            self.diagnostics.push(Diagnostic {
                location: Some(place.clone()),
                severity: Severity::Warning,
                code: "context-outside".to_owned(),
                message: format!("the context `{folder}` is not in the Git repository"),
                help: Some("what changes in it is not seen: build its images always".to_owned()),
            });
            return nowhere(folder);
        };
        let general = format!("{}/.dockerignore", folder.trim_end_matches('/'));
        let general = general.trim_start_matches("./").to_owned();
        let found = own.map(str::to_owned).into_iter().chain([general]).find_map(|file| {
            let bytes = (self.side.load)(&file)?;
            Some((file, read_patterns(&bytes)))
        });
        let Some((file, mut ignore)) = found else {
            return ContextSource { name, root, ignore: Vec::new() };
        };
        if let Err(error) = Matcher::new(&ignore) {
            self.diagnostics.push(Diagnostic {
                location: Some(Location::file(file.clone())),
                severity: Severity::Error,
                code: "bad-ignore-pattern".to_owned(),
                message: error.to_string(),
                help: Some("correct the pattern: nothing is ignored until then".to_owned()),
            });
            ignore.clear();
        }
        self.ignores.insert((root.clone(), ignore.clone()), file);
        ContextSource { name, root, ignore }
    }
}

/// A context of which no file can be seen. No path from the top begins with a slash.
fn nowhere(what: &str) -> ContextSource {
    ContextSource { name: what.to_owned(), root: format!("/{what}"), ignore: Vec::new() }
}

/// Lowers everything, with bases that stand for what they are called.
fn lower(fleet: &Fleet, world: &World<'_>, mut known: Known) -> LoweredFleet {
    let all: BTreeSet<String> = fleet.images.iter().map(|image| image.name.clone()).collect();
    for _ in 0..MAX_ROUNDS {
        let lowered = lower_all(fleet, &all, (world.settings, world.platforms), &known);
        let count = known.images.len();
        for BaseQuestion { name, platform, .. } in &lowered.needs {
            let base = made_up(name, platform);
            known.images.insert((name.clone(), platform.clone()), base);
        }
        if known.images.len() == count {
            return lowered;
        }
    }
    lower_all(fleet, &all, (world.settings, world.platforms), &known)
}

fn made_up(name: &str, platform: &Platform) -> Base {
    let Ok(reference) = name.parse::<Reference>() else {
        return Base::Refused(format!("`{name}` is no reference"));
    };
    let manifest = Digest::of(format!("{reference} {platform}"));
    let chain = Some(ChainId(manifest.clone()));
    let source = ImageSource { reference, manifest, platform: platform.clone(), chain };
    Base::Image(Box::new(BaseImage { source, config: ImageConfig::default() }))
}

/// Gives images that are handed their base from outside (`ARG BASE` without a value) one that
/// stands for any, so that the rest of them can be compared.
pub(super) fn hand_bases(fleet: &mut Fleet, world: &World<'_>) {
    let given = &world.settings.build_args;
    for image in fleet.images.iter_mut().filter(|image| image.unbuildable.is_some()) {
        for declared in image.dockerfile.meta_args.iter().flat_map(|arg| &arg.args) {
            let is_blank = |value: &String| value.is_empty();
            let has_value = declared.default.as_ref().is_some_and(|value| !is_blank(value))
                || given.get(&declared.name).is_some_and(|value| !is_blank(value));
            if !has_value {
                let base = format!("{HANDED}/{}", crate::fleet::clean(&declared.name));
                let value = image.args.entry(declared.name.clone()).or_default();
                if is_blank(value) {
                    *value = base;
                }
            }
        }
    }
}
