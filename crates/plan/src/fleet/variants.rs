//! Stages that several images of one Dockerfile share, and those that they do not.
//!
//! Two images share a stage if its steps are the same steps: the images are lowered as far
//! as the Dockerfile tells, with bases taken for what they are called.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::oci::{ImageConfig, Platform, Reference};
use bakehouse_model::op::{ContextSource, ImageSource};
use bakehouse_model::{ChainId, Digest};
use serde::Serialize;

use super::{Fleet, Image};
use crate::graph::{Graph, StepIndex};
use crate::lower::{self, Base, BaseImage, Bases, Request, Settings};

/// A stage of a Dockerfile that several images are built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageVariants {
    /// The Dockerfile.
    pub dockerfile: String,
    /// The stage.
    pub stage: String,
    /// The platforms that it is built for; empty for the machine's own.
    pub platforms: Vec<String>,
    /// Its variants, on each platform.
    pub variants: Vec<Variant>,
}

/// One way in which a stage is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// The images that need it in this way.
    pub images: Vec<String>,
    /// Those of their arguments that the variants differ in.
    pub args: BTreeMap<String, String>,
}

impl Fleet {
    /// The stages of Dockerfiles that several images are built from, in the order of files
    /// and stages.
    pub fn stage_variants(&self, settings: &Settings) -> Vec<StageVariants> {
        let mut by_file: BTreeMap<&str, Vec<&Image>> = BTreeMap::new();
        for image in &self.images {
            by_file.entry(&image.file).or_default().push(image);
        }
        let shared = by_file.into_iter().filter(|(_, images)| images.len() > 1);
        shared.flat_map(|(file, images)| of_file(file, &images, settings)).collect()
    }
}

fn of_file(file: &str, images: &[&Image], settings: &Settings) -> Vec<StageVariants> {
    let mut graph = Graph::default();
    // For each stage its last step, which stands for all of it, with the images that need it.
    let mut ends: BTreeMap<String, BTreeMap<StepIndex, BTreeSet<usize>>> = BTreeMap::new();
    let mut platforms: BTreeSet<String> = BTreeSet::new();
    for (at, image) in images.iter().enumerate() {
        platforms.extend(image.platforms.iter().map(ToString::to_string));
        let platform = settings.platform.clone().or_else(|| image.platforms.first().cloned());
        let settings = Settings { platform, ..image.settings(settings) };
        let Some(root) = lower_one(image, &settings, &mut graph) else { continue };
        let mut last: BTreeMap<String, (u32, StepIndex)> = BTreeMap::new();
        for step in graph.reach([root]) {
            let origin = &graph.step(step).origin;
            let (position, _) = origin.position;
            let known = last.entry(origin.stage.clone()).or_insert((position, step));
            if position >= known.0 {
                *known = (position, step);
            }
        }
        for (stage, (_, step)) in last.into_iter().filter(|(stage, _)| !stage.is_empty()) {
            ends.entry(stage).or_default().entry(step).or_default().insert(at);
        }
    }
    let platforms: Vec<String> = platforms.into_iter().collect();
    let stage = |(stage, ends): (String, BTreeMap<StepIndex, BTreeSet<usize>>)| StageVariants {
        dockerfile: file.to_owned(),
        stage,
        platforms: platforms.clone(),
        variants: variants(&ends.into_values().collect::<Vec<_>>(), images),
    };
    let position = |name: &str| {
        let stages = &images[0].dockerfile.stages;
        stages.iter().position(|s| s.written_name.as_deref() == Some(name)).unwrap_or(stages.len())
    };
    let mut stages: Vec<StageVariants> = ends.into_iter().map(stage).collect();
    stages.sort_by_key(|stage| position(&stage.stage));
    stages
}

fn variants(groups: &[BTreeSet<usize>], images: &[&Image]) -> Vec<Variant> {
    // An argument tells variants apart if it is one thing within each and not within all.
    let value = |at: &usize, name: &str| images[*at].args.get(name).cloned();
    let names: BTreeSet<&String> = images.iter().flat_map(|image| image.args.keys()).collect();
    let within = |group: &BTreeSet<usize>, name: &str| {
        let values: BTreeSet<String> = group.iter().filter_map(|at| value(at, name)).collect();
        (values.len() <= 1).then(|| values.into_iter().next())
    };
    let telling: Vec<&String> = names
        .into_iter()
        .filter(|name| {
            let each: Option<Vec<_>> = groups.iter().map(|group| within(group, name)).collect();
            each.is_some_and(|each| each.windows(2).any(|two| two[0] != two[1]))
        })
        .collect();
    let variant = |group: &BTreeSet<usize>| Variant {
        images: group.iter().map(|at| images[*at].name.clone()).collect(),
        args: telling
            .iter()
            .filter_map(|name| Some(((*name).clone(), within(group, name)??)))
            .collect(),
    };
    groups.iter().map(variant).collect()
}

fn lower_one(image: &Image, settings: &Settings, graph: &mut Graph) -> Option<StepIndex> {
    let request = Request {
        image: &image.name,
        dockerfile: &image.dockerfile,
        file: &image.file,
        context: Some(ContextSource {
            name: "context".to_owned(),
            root: image.context.to_string(),
            ignore: Vec::new(),
        }),
        target: image.target.as_deref(),
        settings,
    };
    lower::lower(&request, &ByName, graph).ok()?.root
}

/// Takes every base for an image that has its name and nothing else.
struct ByName;

impl Bases for ByName {
    fn named(&self, _: &str, _: &Platform) -> Option<Base> {
        None
    }

    fn image(&self, name: &str, platform: &Platform) -> Base {
        let Ok(reference) = name.parse::<Reference>() else {
            return Base::Refused(format!("`{name}` is no reference"));
        };
        let digest = Digest::of(name);
        let chain = Some(ChainId(digest.clone()));
        let source = ImageSource { reference, manifest: digest, platform: platform.clone(), chain };
        Base::Image(Box::new(BaseImage { source, config: ImageConfig::default() }))
    }
}
