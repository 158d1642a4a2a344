//! What a checkout comes to, found the slow way: folders are walked and files are read by the
//! engine that builds, and nothing of what `affected` is made of is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bakehouse::cli::{Shape, Where};
use bakehouse::context::Context;
use bakehouse::patterns::DockerPatterns;
use bakehouse::request::{NamedContext, Request};
use bakehouse_engine::context::Contexts;
use bakehouse_engine::files::{self, Tree};
use bakehouse_model::oci::{ImageConfig, Platform, Reference};
use bakehouse_model::op::{ImageSource, Op, Source};
use bakehouse_model::{ChainId, Digest};
use bakehouse_plan::fleet::{ContextValue, Known, LoweredFleet, lower_all};
use bakehouse_plan::key::{self, Selection};
use bakehouse_plan::lower::{Base, BaseImage};

/// What each image of the checkout at `folder` comes to; none if it is no fleet. Images that
/// cannot be lowered are not in it.
pub(crate) fn images(folder: &Path) -> Option<BTreeMap<String, String>> {
    let place = Where { directory: Some(folder.to_owned()), ..Where::default() };
    let cx = Context::of_process(folder.to_owned());
    let mut request = Request::read(&place, &Shape::default(), &[], &cx).ok()?;
    keep_folders(&mut request);
    let lowered = lower(&request);
    let contexts = Contexts::new(|_| None);
    let mut made: Vec<String> = Vec::new();
    for step in lowered.graph.steps() {
        let mut text = key::op_digest(step).to_string();
        for (input, dependency) in step.inputs.iter().zip(key::dependencies(step)) {
            match &lowered.graph.step(*input).op {
                Op::Source(Source::Context(source)) => {
                    let tree = Tree::Context(contexts.open(source, &DockerPatterns).unwrap());
                    for selection in &dependency.selections {
                        text.push_str(&content(&tree, selection));
                    }
                }
                _ => {
                    text.push_str(&made[input.0]);
                    text.push_str(key::selector(&dependency).as_str());
                }
            }
        }
        made.push(Digest::of(text).to_string());
    }
    let mut images: BTreeMap<String, String> = BTreeMap::new();
    for image in &lowered.images {
        let files = image.lowered.root.map_or("", |root| made[root.0].as_str());
        let config = serde_json::to_string(&image.lowered.config.config).unwrap();
        let all = images.entry(image.image.clone()).or_default();
        all.push_str(&format!("{} {files} {config}\n", image.lowered.platform));
    }
    Some(images)
}

fn content(tree: &Tree, selection: &Selection) -> String {
    let asked = files::Selection {
        path: selection.path.clone(),
        follow: selection.follow,
        wildcard: selection.wildcard,
        include: selection.include.clone(),
        exclude: selection.exclude.clone(),
        required: selection.required.clone(),
    };
    match files::digest(tree, &asked, &DockerPatterns) {
        Ok(found) => found.digest.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Leaves the images whose contexts are folders, and makes those that git has nothing of.
fn keep_folders(request: &mut Request) {
    let mut kept = BTreeSet::new();
    for image in &request.fleet.images {
        let values = image.contexts.iter().map(|context| &context.value).chain([&image.context]);
        let mut folders = Vec::new();
        let usable = values.into_iter().all(|value| match value {
            ContextValue::Folder(folder) => {
                folders.push(request.root.join(folder));
                true
            }
            ContextValue::Image(_) | ContextValue::Definition(_) => true,
            ContextValue::Layout(_) | ContextValue::Url(_) => false,
        });
        if usable && image.folder().is_some() {
            kept.insert(image.name.clone());
            folders.iter().for_each(|folder| std::fs::create_dir_all(folder).unwrap());
        }
    }
    request.wanted = kept;
}

fn lower(request: &Request) -> LoweredFleet {
    let mut known = Known { roots: request.contexts().unwrap(), ..Known::default() };
    for (key, context) in request.own_contexts().unwrap() {
        if let NamedContext::Folder(source) = context {
            known.own_contexts.insert(key, Base::Context(source));
        }
    }
    let all = request.wanted.clone();
    loop {
        let lowered = lower_all(&request.fleet, &all, (&request.settings, &[]), &known);
        let needs: Vec<_> = lowered.needs.iter().map(|need| (&need.name, &need.platform)).collect();
        let count = known.images.len();
        for (name, platform) in needs {
            let key = (name.clone(), platform.clone());
            known.images.entry(key).or_insert_with(|| called(name, platform));
        }
        if known.images.len() == count {
            return lowered;
        }
    }
}

fn called(name: &str, platform: &Platform) -> Base {
    let Ok(reference) = name.parse::<Reference>() else { return Base::Scratch };
    let digest = Digest::of(name);
    let chain = Some(ChainId(digest.clone()));
    let source = ImageSource { reference, manifest: digest, platform: platform.clone(), chain };
    Base::Image(Box::new(BaseImage { source, config: ImageConfig::default() }))
}
