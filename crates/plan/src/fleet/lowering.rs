//! All wanted images into one graph, parents first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bakehouse_model::oci::{Platform, Reference};
use bakehouse_model::op::ContextSource;
use bakehouse_model::{Diagnostic, Severity};

use super::connect::context_names;
use super::index::Meaning;
use super::{ContextValue, Fleet, Image};
use crate::graph::Graph;
use crate::lower::{self, Base, BaseQuestion, Bases, LowerFailure, Lowered, Request, Settings};

/// What is known about the world outside of the Dockerfiles.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Images from elsewhere, by the name that is written and the platform asked for.
    pub images: BTreeMap<(String, Platform), Base>,
    /// `--build-context`, by name. What depends on the platform is [`Base::Ask`], with a name
    /// under which it is, or is asked to be, among `images`.
    pub contexts: BTreeMap<String, Base>,
    /// What the contexts of an image's own definition are, by the image's name and the
    /// context's, in the same way. Those that name another image of the fleet are not among
    /// them.
    pub own_contexts: BTreeMap<(String, String), Base>,
    /// The context of each image, by the image's name.
    pub roots: BTreeMap<String, ContextSource>,
    /// Whether images that are not known are guessed at, and not asked for: to look for
    /// doubts, not to build.
    pub guess: bool,
}

/// An image, for one platform, with its place in the graph.
#[derive(Debug, Clone)]
pub struct LoweredImage {
    /// Its name, and its platform if it is built for several: `app`, `app linux/arm64`.
    pub name: String,
    /// Its name in the fleet.
    pub image: String,
    /// Its steps and its configuration.
    pub lowered: Arc<Lowered>,
}

/// All wanted images in one graph.
#[derive(Debug, Default)]
pub struct LoweredFleet {
    /// The steps.
    pub graph: Graph,
    /// The images, parents first.
    pub images: Vec<LoweredImage>,
    /// What is wrong; the images in question are not in `images`.
    pub diagnostics: Vec<Diagnostic>,
    /// What must be resolved first; the images in question are not in `images`.
    pub needs: Vec<BaseQuestion>,
}

/// Lowers `wanted` and all that they stand on, as far as `known` goes: for each of
/// `platforms`, else for each that an image is said to be for, else for the settings' own.
pub fn lower_all(
    fleet: &Fleet,
    wanted: &BTreeSet<String>,
    platforms: (&Settings, &[Platform]),
    known: &Known,
) -> LoweredFleet {
    lower_needed(fleet, (wanted, wanted), platforms, known)
}

/// The same, where only some of `wanted` are wanted for themselves: each of the others is lowered
/// for the platforms that something stands on, if there are such.
pub fn lower_needed(
    fleet: &Fleet,
    (wanted, named): (&BTreeSet<String>, &BTreeSet<String>),
    (settings, platforms): (&Settings, &[Platform]),
    known: &Known,
) -> LoweredFleet {
    let mut lowering = LoweringAll {
        fleet,
        known,
        settings,
        given: platforms,
        result: LoweredFleet::default(),
        needs: BTreeSet::new(),
        done: BTreeMap::new(),
    };
    lowering.settle_all(named);
    let stood_on: BTreeSet<String> = lowering.done.keys().map(|(name, _)| name.clone()).collect();
    lowering.settle_all(&(wanted - &stood_on));
    for (platform, images) in lowering.rounds(wanted) {
        lowering.collect(platform.as_ref(), &images);
    }
    let LoweringAll { mut result, needs, .. } = lowering;
    result.needs = needs.into_iter().collect();
    let place: BTreeMap<&str, usize> =
        fleet.images.iter().enumerate().map(|(at, image)| (image.name.as_str(), at)).collect();
    // Rounds go by platform; what comes of them goes by image. The sort keeps the platforms'
    // order within each.
    if platforms.is_empty() {
        result.images.sort_by_key(|image| place.get(image.image.as_str()).copied());
    }
    result
}

/// An image and the platform that it is wanted for; none for the machine's own, or its base's.
type Wish = (String, Option<Platform>);

/// A fleet is for a handful of platforms; Dockerfiles that make up ever new ones from those that
/// they are for would be lowered for ever.
const MAX_PLATFORMS: usize = 64;

/// How far an image is.
enum Attempt {
    /// It waits for what it stands on.
    Begun,
    /// It cannot be lowered, for a reason that is told.
    Lost,
    /// It is lowered.
    Done(Arc<Lowered>),
}

struct LoweringAll<'a> {
    fleet: &'a Fleet,
    known: &'a Known,
    settings: &'a Settings,
    given: &'a [Platform],
    result: LoweredFleet,
    needs: BTreeSet<BaseQuestion>,
    done: BTreeMap<Wish, Attempt>,
}

impl LoweringAll<'_> {
    /// The platforms of an image; none for the machine's own.
    fn platforms(&self, image: &Image) -> Vec<Option<Platform>> {
        let own = if self.given.is_empty() { &image.platforms[..] } else { self.given };
        if own.is_empty() { vec![None] } else { own.iter().cloned().map(Some).collect() }
    }

    /// For each platform the images that are wanted for it, themselves.
    fn rounds(&self, wanted: &BTreeSet<String>) -> Vec<(Option<Platform>, BTreeSet<String>)> {
        let mut rounds: Vec<(Option<Platform>, BTreeSet<String>)> = Vec::new();
        for image in self.fleet.images.iter().filter(|image| wanted.contains(&image.name)) {
            for platform in self.platforms(image) {
                match rounds.iter_mut().find(|(known, _)| *known == platform) {
                    Some((_, images)) => drop(images.insert(image.name.clone())),
                    None => rounds.push((platform, BTreeSet::from([image.name.clone()]))),
                }
            }
        }
        rounds
    }

    fn settle_all(&mut self, wanted: &BTreeSet<String>) {
        for (platform, images) in self.rounds(wanted) {
            for image in self.fleet.images.iter().filter(|image| images.contains(&image.name)) {
                self.settle(&(image.name.clone(), platform.clone()));
            }
        }
    }

    /// Makes results of what was lowered. What is only stood on, for a platform that is not its
    /// own, is none.
    fn collect(&mut self, platform: Option<&Platform>, images: &BTreeSet<String>) {
        for image in self.fleet.images.iter().filter(|image| images.contains(&image.name)) {
            let wish = (image.name.clone(), platform.cloned());
            if let Some(Attempt::Done(lowered)) = self.done.get(&wish) {
                let (name, lowered) = (self.called(image, platform), Arc::clone(lowered));
                self.result.images.push(LoweredImage { name, image: wish.0, lowered });
            }
        }
    }

    /// Lowers an image, and before it what it turns out to stand on: another image of the fleet,
    /// for the platform that its stage says, which need not be its own.
    fn settle(&mut self, wish: &Wish) {
        let mut open = vec![wish.clone()];
        while let Some(wish) = open.last().cloned() {
            let waiting = match self.done.get(&wish) {
                Some(Attempt::Done(_) | Attempt::Lost) => Vec::new(),
                Some(Attempt::Begun) | None => self.attempt(&wish),
            };
            if waiting.is_empty() {
                open.pop();
            }
            open.extend(waiting);
        }
    }

    /// Lowers an image if all that it stands on is there; else which others are to be lowered
    /// first.
    fn attempt(&mut self, wish: &Wish) -> Vec<Wish> {
        let Some(image) = self.fleet.image(&wish.0) else { return Vec::new() };
        self.done.insert(wish.clone(), Attempt::Begun);
        let name = self.called(image, wish.1.as_ref());
        let mut settings = image.settings(self.settings);
        settings.platform = wish.1.clone().or(settings.platform);
        let own = settings.platform.as_ref().unwrap_or(&settings.build_platform);
        let round = Round { platform: wish.1.as_ref(), own };
        let bases =
            FleetBases { fleet: self.fleet, image, round, done: &self.done, known: self.known };
        let request = Request {
            image: &name,
            dockerfile: &image.dockerfile,
            file: &image.file,
            context: self.known.roots.get(&image.name).cloned(),
            target: image.target.as_deref(),
            settings: &settings,
        };
        let mut waiting = Vec::new();
        let mut end = Attempt::Lost;
        match lower::lower(&request, &bases, &mut self.result.graph) {
            Ok(lowered) => {
                self.result.diagnostics.extend(lowered.doubts.iter().cloned());
                end = Attempt::Done(Arc::new(lowered));
            }
            Err(LowerFailure::Needs(questions)) => waiting = self.ask(questions, round, image),
            Err(LowerFailure::Wrong(diagnostic)) => self.result.diagnostics.push(*diagnostic),
        }
        if waiting.is_empty() {
            self.done.insert(wish.clone(), end);
        }
        waiting
    }

    /// Which of the fleet's images the questions come to; the others are for somebody else.
    fn ask(&mut self, questions: Vec<BaseQuestion>, round: Round<'_>, image: &Image) -> Vec<Wish> {
        let mut waiting = Vec::new();
        for question in questions {
            match question.name.strip_prefix(TARGET) {
                Some(parent) => waiting.push((parent.to_owned(), round.of(&question.platform))),
                None => drop(self.needs.insert(question)),
            }
        }
        // What was tried before is lost, or in a circle, which is told elsewhere.
        waiting.retain(|wish| !self.done.contains_key(wish));
        let platforms: BTreeSet<_> = self.done.keys().chain(&waiting).map(|wish| &wish.1).collect();
        if platforms.len() <= MAX_PLATFORMS {
            return waiting;
        }
        let code = "too-many-platforms";
        self.result.diagnostics.push(Diagnostic {
            location: Some(image.location()),
            severity: Severity::Error,
            code: code.to_owned(),
            message: format!("`{}` leads to ever more platforms", image.name),
            help: crate::codes::help(code),
        });
        Vec::new()
    }

    /// How steps and results of an image are called: with the platform, if there may be others.
    fn called(&self, image: &Image, platform: Option<&Platform>) -> String {
        let own = self.platforms(image);
        match platform {
            Some(platform) if own.len() > 1 => format!("{} {platform}", image.name),
            _ => image.name.clone(),
        }
    }
}

/// What a Dockerfile is lowered for.
#[derive(Clone, Copy)]
struct Round<'a> {
    /// As it was asked for.
    platform: Option<&'a Platform>,
    /// The one that it is.
    own: &'a Platform,
}

impl Round<'_> {
    /// How an image that a stage wants for `platform` is asked for.
    fn of(self, platform: &Platform) -> Option<Platform> {
        if platform == self.own { self.platform.cloned() } else { Some(platform.clone()) }
    }
}

/// Marks a question that only an image of the fleet can answer.
const TARGET: &str = "\u{1}target:";

struct FleetBases<'a> {
    fleet: &'a Fleet,
    image: &'a Image,
    round: Round<'a>,
    done: &'a BTreeMap<Wish, Attempt>,
    known: &'a Known,
}

impl FleetBases<'_> {
    fn fleet(&self, parent: &str, platform: &Platform) -> Base {
        // A parent that could not be lowered is reported itself.
        let wish = (parent.to_owned(), self.round.of(platform));
        match self.done.get(&wish) {
            Some(Attempt::Done(lowered)) => Base::Fleet(Arc::clone(lowered)),
            _ => Base::Ask(format!("{TARGET}{parent}")),
        }
    }

    /// What a context names is looked up only once something stands on it.
    fn looked_up(&self, found: &Base, platform: &Platform) -> Base {
        let Base::Ask(name) = found else { return found.clone() };
        let known = self.known.images.get(&(name.clone(), platform.clone()));
        known.unwrap_or(found).clone()
    }

    /// A context of the image's own definition.
    fn own(&self, called: &[String], platform: &Platform) -> Option<Base> {
        let contexts = &self.image.contexts;
        let context = called.iter().find_map(|name| contexts.iter().find(|c| c.name == *name))?;
        match &context.value {
            ContextValue::Image(reference) => Some(self.image(reference, platform)),
            ContextValue::Definition(other) => {
                let parent = self.fleet.defined(other, self.image)?;
                Some(self.fleet(&parent.name, platform))
            }
            _ => {
                let key = (self.image.name.clone(), context.name.clone());
                Some(self.looked_up(self.known.own_contexts.get(&key)?, platform))
            }
        }
    }
}

impl Bases for FleetBases<'_> {
    fn named(&self, name: &str, platform: &Platform) -> Option<Base> {
        let called = context_names(name, platform);
        let given = called.iter().find_map(|name| self.known.contexts.get(name));
        match given {
            Some(found) => Some(self.looked_up(found, platform)),
            None => self.own(&called, platform),
        }
    }

    fn image(&self, name: &str, platform: &Platform) -> Base {
        let mut wanted = name.to_owned();
        match self.fleet.index.meaning(name, &self.image.name) {
            Meaning::Fleet(parents, _) => return self.fleet(&parents[0], platform),
            Meaning::Mapped(other) => wanted = other,
            Meaning::External => {}
        }
        if let Err(error) = wanted.parse::<Reference>() {
            return Base::Refused(error.to_string());
        }
        let known = self.known.images.get(&(wanted.clone(), platform.clone()));
        match known {
            Some(base) => base.clone(),
            None if self.known.guess => Base::Guessed,
            None if wanted != name => Base::Ask(wanted),
            None => Base::Unknown,
        }
    }
}
