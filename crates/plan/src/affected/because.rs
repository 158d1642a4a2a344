//! Why two builds differ, told by what a person changed: a file, an instruction, a definition,
//! a base, a parent.
//!
//! Whether they differ is decided by prints alone. What is told here is looked up only for
//! images whose prints differ, and something always is.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::Location;
use bakehouse_model::op::{Op, Source};

use super::listing::{Entry, EntryKind};
use super::recipe::{Context, Print, Recipes};
use super::view::Reading;
use super::{Because, FileChange, World};
use crate::dockerfile::Instruction;
use crate::fleet::{Edge, Image};
use crate::graph::{Origin, Step, StepIndex};
use crate::key::{self, Selection};
use crate::lower::Via;

mod definition;
mod instructions;

/// Files that are named for one instruction; the rest is counted.
const NAMED: usize = 50;

/// Compares images.
pub(super) struct Explain<'a> {
    before: &'a Recipes<'a>,
    after: &'a Recipes<'a>,
    world: &'a World<'a>,
    /// The prints of images that were compared, before and after.
    prints: BTreeMap<String, [BTreeMap<String, Print>; 2]>,
}

/// What a step reads of a context.
struct Read<'r> {
    step: StepIndex,
    context: &'r Context,
    selection: Selection,
}

impl<'a> Explain<'a> {
    pub(super) fn new(
        before: &'a Recipes<'a>,
        after: &'a Recipes<'a>,
        world: &'a World<'a>,
    ) -> Self {
        Self { before, after, world, prints: BTreeMap::new() }
    }

    /// Why `image` is affected; none if it is not. Parents must have been asked about before.
    pub(super) fn image(&mut self, image: &Image) -> Option<Vec<Because>> {
        let now = self.after.prints(&image.name);
        let Some(old) = self.before.side.fleet.image(&image.name) else {
            return Some(vec![self.unknown(image)]);
        };
        let then = self.before.prints(&image.name);
        let prints = [then, now];
        let [then, now] = &prints;
        if then.is_empty() || now.is_empty() {
            let before = then.is_empty();
            return Some(vec![Because::Unreadable { before, location: image.location() }]);
        }
        let same = then == now;
        self.prints.insert(image.name.clone(), prints);
        if same {
            return None;
        }
        let mut because = self.parents(image);
        let external = self.external(old, image);
        let told = external.iter().filter_map(|because| match because {
            Because::External { location, .. } => location.as_ref().map(|location| location.line),
            _ => None,
        });
        let told: BTreeSet<u32> = told.collect();
        because.extend(external);
        because.extend(self.files(old, image));
        // Of another stage all instructions are others: the stage is the reason.
        if old.target == image.target {
            because.extend(instructions::compare(old, image, self.world.settings, &told));
        }
        because.extend(definition::compare(old, image, self.world.settings));
        let reads =
            |because: &Because| matches!(because, Because::File { .. } | Because::Ignore { .. });
        if because.is_empty() || because.iter().any(reads) {
            because.extend(definition::context(old, image));
        }
        if because.is_empty() {
            because.push(Because::Definition {
                what: "steps".to_owned(),
                before: None,
                after: None,
                location: image.location(),
            });
        }
        Some(because)
    }

    /// An image that was not there, or whose Dockerfile could not be read.
    fn unknown(&self, image: &Image) -> Because {
        let location = image.location();
        let wrong = super::is_wrong(&image.file, &self.before.side.fleet);
        if wrong {
            Because::Unreadable { before: true, location }
        } else {
            Because::Added { location }
        }
    }

    /// The parents whose change reaches the image.
    fn parents(&self, image: &Image) -> Vec<Because> {
        let changed = image.needs.iter().filter(|edge| self.passes_on(edge));
        let told = changed.map(|edge| Because::Parent {
            image: edge.image.clone(),
            via: edge.via,
            location: edge.location.clone(),
        });
        told.collect()
    }

    /// Whether what an image takes of another one has changed: of one that it only copies
    /// from or mounts, the configuration does not matter.
    fn passes_on(&self, edge: &Edge) -> bool {
        let Some([then, now]) = self.prints.get(&edge.image) else {
            // It is new, or cannot be read: whoever stands on it stands on something else.
            return true;
        };
        let files = |prints: &BTreeMap<String, Print>| -> Vec<_> {
            prints.values().map(|print| print.files.clone()).collect()
        };
        match edge.via {
            Via::From | Via::Context => then != now,
            Via::CopyFrom | Via::Mount => files(then) != files(now),
        }
    }

    /// Bases from elsewhere, and whatever else is fetched by a name.
    fn external(&self, old: &Image, image: &Image) -> Vec<Because> {
        let (then, now) = (sources(self.before, old), sources(self.after, image));
        let gone: Vec<_> = then.iter().filter(|(name, _)| !now.contains_key(*name)).collect();
        let new: Vec<_> = now.iter().filter(|(name, _)| !then.contains_key(*name)).collect();
        let count = gone.len().max(new.len());
        let told = (0..count).map(|at| {
            let (gone, new) = (gone.get(at), new.get(at));
            Because::External {
                before: gone.map(|(name, _)| (*name).clone()),
                after: new.map(|(name, _)| (*name).clone()),
                location: new.or(gone).and_then(|(_, location)| (*location).clone()),
            }
        });
        told.collect()
    }

    /// Files that steps read, where both versions have a step that reads the same paths.
    fn files(&self, old: &Image, image: &Image) -> Vec<Because> {
        let mut then: BTreeMap<Selection, Vec<Read<'_>>> = BTreeMap::new();
        for read in reads(self.before, old).into_iter().rev() {
            then.entry(read.selection.clone()).or_default().push(read);
        }
        let mut told = Vec::new();
        for now in reads(self.after, image) {
            let Some(old) = then.get_mut(&now.selection).and_then(Vec::pop) else { continue };
            let origin = self.own_origin(image, now.step);
            for because in self.differences(&old, &now, &origin) {
                if !told.contains(&because) {
                    told.push(because);
                }
            }
        }
        told
    }

    /// Where a step comes from, in the image's own Dockerfile: one that several images share is
    /// known by the first of them.
    fn own_origin(&self, image: &Image, step: StepIndex) -> Origin {
        let mut origin = self.after.step(step).origin.clone();
        let Some(place) = origin.location.as_ref().filter(|place| place.file != image.file) else {
            return origin;
        };
        let images = &self.after.side.fleet.images;
        let first = images.iter().find(|other| other.file == place.file);
        let written = first.into_iter().flat_map(instructions_of);
        let text = written.filter(|one| one.span.line == place.line).map(|one| &one.text).next();
        let own = instructions_of(image).find(|one| Some(&one.text) == text);
        if let Some(own) = own {
            origin.location = Some(own.span.of(&image.file));
        }
        origin
    }

    fn differences(&self, old: &Read<'_>, now: &Read<'_>, origin: &Origin) -> Vec<Because> {
        let then = self.before.read(old.context, &old.selection);
        let here = self.after.read(now.context, &now.selection);
        let told = Told { explain: self, old: old.context, now: now.context };
        let mut because = told.links(&then, &here, origin);
        let names: BTreeSet<&String> = then.items.keys().chain(here.items.keys()).collect();
        let mut more = 0;
        for name in names {
            let (was, is) = (then.items.get(name), here.items.get(name));
            if was.map(|(_, entry)| entry) == is.map(|(_, entry)| entry) {
                continue;
            }
            // A folder comes and goes with what is in it, and is told only if that is all.
            let Some(one) = told.one(was, is, origin) else { continue };
            if because.len() < NAMED {
                because.push(one);
            } else {
                more += 1;
            }
        }
        if because.is_empty() && then.digest() != here.digest() {
            because.extend(told.folders(&then, &here, origin));
        }
        if more > 0 {
            because.push(Because::MoreFiles {
                count: more,
                instruction: origin.name.clone(),
                location: origin.location.clone(),
            });
        }
        because
    }
}

/// Tells of one selection.
struct Told<'e> {
    explain: &'e Explain<'e>,
    old: &'e Context,
    now: &'e Context,
}

fn instructions_of(image: &Image) -> impl Iterator<Item = &Instruction> {
    image.dockerfile.stages.iter().flat_map(|stage| &stage.instructions)
}

type Item<'a> = (String, Option<&'a Entry>);

impl Told<'_> {
    /// Links that led elsewhere before.
    fn links(&self, then: &Reading<'_>, here: &Reading<'_>, origin: &Origin) -> Vec<Because> {
        let mut told = Vec::new();
        for link in here.links.union(&then.links) {
            let was = self.entry(self.explain.before, self.old, link);
            let is = self.entry(self.explain.after, self.now, link);
            if was != is && then.digest() != here.digest() {
                let change = change(was, is);
                told.push(self.file(link, change, origin));
            }
        }
        told
    }

    fn one(
        &self,
        was: Option<&Item<'_>>,
        is: Option<&Item<'_>>,
        origin: &Origin,
    ) -> Option<Because> {
        let entry = |item: Option<&Item<'_>>| item.and_then(|(_, entry)| entry.cloned());
        let (was_entry, is_entry) = (entry(was), entry(is));
        if was_entry.is_none() && is_entry.is_none() {
            return None;
        }
        if let (Some((path, Some(_))), None) = (was, is) {
            // It is still there, and can no longer be seen.
            if was_entry.as_ref() == self.entry(self.explain.after, self.now, path) {
                return Some(self.ignored(path, false, origin));
            }
            return Some(self.file(path, FileChange::Removed, origin));
        }
        let (path, _) = is.or(was)?;
        if was.is_none() && is_entry.as_ref() == self.entry(self.explain.before, self.old, path) {
            return Some(self.ignored(path, true, origin));
        }
        Some(self.file(path, change(was_entry.as_ref(), is_entry.as_ref()), origin))
    }

    /// Folders of which nothing but themselves can be seen.
    fn folders(&self, then: &Reading<'_>, here: &Reading<'_>, origin: &Origin) -> Vec<Because> {
        let only = |one: &Reading<'_>, other: &Reading<'_>| -> Vec<String> {
            let missing = one.items.iter().filter(|(name, _)| !other.items.contains_key(*name));
            missing.map(|(_, (path, _))| path.clone()).collect()
        };
        let gone = only(then, here).into_iter().map(|path| (path, FileChange::Removed));
        let new = only(here, then).into_iter().map(|path| (path, FileChange::Added));
        gone.chain(new).take(NAMED).map(|(path, change)| self.file(&path, change, origin)).collect()
    }

    fn entry<'r>(
        &self,
        recipes: &Recipes<'r>,
        (root, _): &Context,
        path: &str,
    ) -> Option<&'r Entry> {
        let full = if root.is_empty() { path.to_owned() } else { format!("{root}/{path}") };
        recipes.side.listing.entries().get(&full)
    }

    fn shown(&self, path: &str) -> String {
        let (root, _) = self.now;
        let full = if root.is_empty() { path.to_owned() } else { format!("{root}/{path}") };
        let shown = self.explain.after.side.listing.shown(&full);
        shown.trim_end_matches('/').to_owned()
    }

    fn file(&self, path: &str, change: FileChange, origin: &Origin) -> Because {
        Because::File {
            path: self.shown(path),
            change,
            instruction: origin.name.clone(),
            location: origin.location.clone(),
        }
    }

    fn ignored(&self, path: &str, seen: bool, origin: &Origin) -> Because {
        let now = self.explain.after.ignores.get(self.now);
        let file = now.or_else(|| self.explain.before.ignores.get(self.old));
        Because::Ignore {
            path: self.shown(path),
            seen,
            instruction: origin.name.clone(),
            location: file.map(|file| Location::file(file.clone())),
        }
    }
}

fn change(was: Option<&Entry>, is: Option<&Entry>) -> FileChange {
    let is_file = |entry: &Entry| matches!(entry.kind, EntryKind::File | EntryKind::Program);
    match (was, is) {
        (None, _) => FileChange::Added,
        (_, None) => FileChange::Removed,
        (Some(was), Some(is)) if was.content != is.content && is_file(was) == is_file(is) => {
            FileChange::Modified
        }
        _ => FileChange::Mode,
    }
}

/// What an image's own steps read of contexts, in order.
fn reads<'r>(recipes: &'r Recipes<'_>, image: &Image) -> Vec<Read<'r>> {
    let mut reads = Vec::new();
    for step in recipes.steps(image) {
        let inputs = &recipes.step(step).inputs;
        for (input, dependency) in inputs.iter().zip(key::dependencies(recipes.step(step))) {
            let Some(context) = recipes.context(*input) else { continue };
            let selections = dependency.selections.into_iter();
            reads.extend(selections.map(|selection| Read { step, context, selection }));
        }
    }
    reads
}

/// What an image's own steps bring in by a name, with the place where it is named.
fn sources(recipes: &Recipes<'_>, image: &Image) -> BTreeMap<String, Option<Location>> {
    let mut sources = BTreeMap::new();
    for index in recipes.steps(image) {
        let step = recipes.step(index);
        if let Op::Source(Source::Image(source)) = &step.op {
            sources.entry(source.reference.familiar()).or_insert_with(|| place(image, step));
        }
    }
    sources
}

/// Where the image itself names a base: a step that several share is told at the first one's.
fn place(image: &Image, step: &Step) -> Option<Location> {
    let Op::Source(Source::Image(source)) = &step.op else { return None };
    let normal = source.reference.to_string();
    let named = image.external.iter().find(|external| {
        external
            .reference
            .parse::<bakehouse_model::oci::Reference>()
            .is_ok_and(|reference| reference.to_string() == normal)
    });
    named.map_or_else(|| step.origin.location.clone(), |external| external.location.clone())
}
