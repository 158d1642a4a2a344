//! All wanted images into one graph, parents first.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::Diagnostic;
use bakehouse_model::oci::{Platform, Reference};
use bakehouse_model::op::ContextSource;

use super::{Fleet, Image, fleet_image};
use crate::graph::Graph;
use crate::lower::{self, Base, BaseQuestion, Bases, LowerFailure, Lowered, Request, Settings};

/// What is known about the world outside of the Dockerfiles.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Images from elsewhere, by the name that is written and the platform asked for.
    pub images: BTreeMap<(String, Platform), Base>,
    /// `--build-context`, by name.
    pub contexts: BTreeMap<String, Base>,
    /// The context of each image, by the image's name.
    pub roots: BTreeMap<String, ContextSource>,
    /// Where images without a reference of their own go.
    pub prefix: Option<String>,
}

/// An image, for one platform, with its place in the graph.
#[derive(Debug, Clone)]
pub struct LoweredImage {
    /// Its name, and its platform if it is built for several: `app`, `app linux/arm64`.
    pub name: String,
    /// Its name in the fleet.
    pub image: String,
    /// Its steps and its configuration.
    pub lowered: Lowered,
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

/// Lowers `wanted` and all that they stand on, as far as `known` goes: for each platform of
/// `platforms`, or once for the settings' own if there are none.
pub fn lower_all(
    fleet: &Fleet,
    wanted: &BTreeSet<String>,
    (settings, platforms): (&Settings, &[Platform]),
    known: &Known,
) -> LoweredFleet {
    let mut result = LoweredFleet::default();
    let mut needs = BTreeSet::new();
    if platforms.is_empty() {
        lower_platform(fleet, wanted, (settings, None), known, (&mut result, &mut needs));
    }
    for platform in platforms {
        let settings = Settings { platform: Some(platform.clone()), ..settings.clone() };
        let several = Some(platform).filter(|_| platforms.len() > 1);
        lower_platform(fleet, wanted, (&settings, several), known, (&mut result, &mut needs));
    }
    result.needs = needs.into_iter().collect();
    result
}

fn lower_platform(
    fleet: &Fleet,
    wanted: &BTreeSet<String>,
    (settings, platform): (&Settings, Option<&Platform>),
    known: &Known,
    (result, needs): (&mut LoweredFleet, &mut BTreeSet<BaseQuestion>),
) {
    let names: BTreeSet<String> = fleet.images.iter().map(|image| image.name.clone()).collect();
    let mut done: BTreeMap<String, Lowered> = BTreeMap::new();
    let mut asked = BTreeSet::new();
    for image in fleet.images.iter().filter(|image| wanted.contains(&image.name)) {
        let bases = FleetBases { image, names: &names, done: &done, known };
        let name = platform.map_or_else(|| image.name.clone(), |p| format!("{} {p}", image.name));
        let request = Request {
            image: &name,
            dockerfile: &image.dockerfile,
            file: &image.file,
            context: known.roots.get(&image.name).cloned(),
            target: image.target.as_deref(),
            settings,
        };
        match lower::lower(&request, &bases, &mut result.graph) {
            Ok(lowered) => {
                done.insert(image.name.clone(), lowered.clone());
                result.images.push(LoweredImage { name, image: image.name.clone(), lowered });
            }
            Err(LowerFailure::Needs(questions)) => asked.extend(questions),
            Err(LowerFailure::Wrong(diagnostic)) => result.diagnostics.push(*diagnostic),
        }
    }
    // What waits for an image of the fleet is asked for again once that one is lowered.
    needs.extend(asked.into_iter().filter(|need| !is_waiting(need, &names, &done, known)));
}

fn is_waiting(
    question: &BaseQuestion,
    names: &BTreeSet<String>,
    done: &BTreeMap<String, Lowered>,
    known: &Known,
) -> bool {
    fleet_image(&question.name, names, "", known.prefix.as_deref())
        .is_some_and(|parent| !done.contains_key(&parent))
}

struct FleetBases<'a> {
    image: &'a Image,
    names: &'a BTreeSet<String>,
    done: &'a BTreeMap<String, Lowered>,
    known: &'a Known,
}

impl Bases for FleetBases<'_> {
    fn named(&self, name: &str, platform: &Platform) -> Option<Base> {
        let familiar = name.parse::<Reference>().ok().map(|reference| reference.familiar());
        let familiar = familiar.as_deref().map(|name| name.strip_suffix(":latest").unwrap_or(name));
        let names = [Some(name), familiar].into_iter().flatten();
        let found = names
            .flat_map(|name| [format!("{name}::{platform}"), name.to_owned()])
            .find_map(|name| self.known.contexts.get(&name).cloned())?;
        let Base::Ask(other) = &found else { return Some(found) };
        // What a context names is looked up only once something stands on it.
        let known = self.known.images.get(&(other.clone(), platform.clone()));
        Some(known.cloned().unwrap_or(found))
    }

    fn image(&self, name: &str, platform: &Platform) -> Base {
        let prefix = self.known.prefix.as_deref();
        if let Some(parent) = fleet_image(name, self.names, &self.image.name, prefix) {
            // A parent that could not be lowered is reported itself.
            return self
                .done
                .get(&parent)
                .map_or(Base::Unknown, |lowered| Base::Fleet(Box::new(lowered.clone())));
        }
        if let Err(error) = name.parse::<Reference>() {
            return Base::Refused(error.to_string());
        }
        let known = self.known.images.get(&(name.to_owned(), platform.clone()));
        known.cloned().unwrap_or(Base::Unknown)
    }
}
