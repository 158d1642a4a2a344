//! All wanted images into one graph, parents first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bakehouse_model::Diagnostic;
use bakehouse_model::oci::{Platform, Reference};
use bakehouse_model::op::ContextSource;

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
    /// `--build-context`, by name.
    pub contexts: BTreeMap<String, Base>,
    /// What the contexts of an image's own definition are, by the image's name and the
    /// context's. Those that name another image of the fleet are not among them.
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
    };
    for (platform, images) in lowering.rounds(wanted) {
        lowering.round(platform.as_ref(), &images);
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

struct LoweringAll<'a> {
    fleet: &'a Fleet,
    known: &'a Known,
    settings: &'a Settings,
    given: &'a [Platform],
    result: LoweredFleet,
    needs: BTreeSet<BaseQuestion>,
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

    fn round(&mut self, platform: Option<&Platform>, images: &BTreeSet<String>) {
        let mut done: BTreeMap<String, Arc<Lowered>> = BTreeMap::new();
        let mut asked = BTreeSet::new();
        let with_needs = self.fleet.with_needs(images);
        for image in self.fleet.images.iter().filter(|image| with_needs.contains(&image.name)) {
            let bases = FleetBases { fleet: self.fleet, image, done: &done, known: self.known };
            let several = self.platforms(image).len() > 1;
            let name = match platform {
                Some(platform) if several => format!("{} {platform}", image.name),
                _ => image.name.clone(),
            };
            let mut settings = image.settings(self.settings);
            settings.platform = platform.cloned().or(settings.platform);
            let request = Request {
                image: &name,
                dockerfile: &image.dockerfile,
                file: &image.file,
                context: self.known.roots.get(&image.name).cloned(),
                target: image.target.as_deref(),
                settings: &settings,
            };
            match lower::lower(&request, &bases, &mut self.result.graph) {
                Ok(lowered) => {
                    self.result.diagnostics.extend(lowered.doubts.iter().cloned());
                    let lowered = Arc::new(lowered);
                    done.insert(image.name.clone(), Arc::clone(&lowered));
                    // One that is only stood on, for a platform that is not its own, is no
                    // result.
                    if images.contains(&image.name) {
                        let image = image.name.clone();
                        self.result.images.push(LoweredImage { name, image, lowered });
                    }
                }
                Err(LowerFailure::Needs(questions)) => {
                    let own = &image.name;
                    asked.extend(questions.into_iter().map(|need| (own.clone(), need)));
                }
                Err(LowerFailure::Wrong(diagnostic)) => self.result.diagnostics.push(*diagnostic),
            }
        }
        // What waits for an image of the fleet is asked for again once that one is lowered.
        let waits = |(own, need): &(String, BaseQuestion)| {
            parent(self.fleet, &need.name, own).is_some_and(|parent| !done.contains_key(&parent))
        };
        let open = asked.into_iter().filter(|asked| !waits(asked));
        self.needs.extend(open.map(|(_, need)| need));
    }
}

/// The image of the fleet that `name` means in the Dockerfile of `own`.
fn parent(fleet: &Fleet, name: &str, own: &str) -> Option<String> {
    if let Some(target) = name.strip_prefix(TARGET) {
        return Some(target.to_owned());
    }
    match fleet.index.meaning(name, own) {
        Meaning::Fleet(names, _) => names.into_iter().next(),
        Meaning::Mapped(_) | Meaning::External => None,
    }
}

/// Marks a question that only an image of the fleet can answer.
const TARGET: &str = "\u{1}target:";

struct FleetBases<'a> {
    fleet: &'a Fleet,
    image: &'a Image,
    done: &'a BTreeMap<String, Arc<Lowered>>,
    known: &'a Known,
}

impl FleetBases<'_> {
    fn fleet(&self, parent: &str) -> Base {
        // A parent that could not be lowered is reported itself.
        let lowered = self.done.get(parent);
        lowered.map_or_else(
            || Base::Ask(format!("{TARGET}{parent}")),
            |lowered| Base::Fleet(Arc::clone(lowered)),
        )
    }

    /// A context of the image's own definition.
    fn own(&self, called: &[String], platform: &Platform) -> Option<Base> {
        let contexts = &self.image.contexts;
        let context = called.iter().find_map(|name| contexts.iter().find(|c| c.name == *name))?;
        match &context.value {
            ContextValue::Image(reference) => Some(self.image(reference, platform)),
            ContextValue::Definition(other) => {
                let parent = self.fleet.defined(other, self.image)?;
                Some(self.fleet(&parent.name))
            }
            _ => {
                let key = (self.image.name.clone(), context.name.clone());
                self.known.own_contexts.get(&key).cloned()
            }
        }
    }
}

impl Bases for FleetBases<'_> {
    fn named(&self, name: &str, platform: &Platform) -> Option<Base> {
        let called = context_names(name, platform);
        let given = called.iter().find_map(|name| self.known.contexts.get(name).cloned());
        let Some(found) = given else { return self.own(&called, platform) };
        let Base::Ask(other) = &found else { return Some(found) };
        // What a context names is looked up only once something stands on it.
        let known = self.known.images.get(&(other.clone(), platform.clone()));
        Some(known.cloned().unwrap_or(found))
    }

    fn image(&self, name: &str, platform: &Platform) -> Base {
        let mut wanted = name.to_owned();
        match self.fleet.index.meaning(name, &self.image.name) {
            Meaning::Fleet(parents, _) => return self.fleet(&parents[0]),
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
