//! `bakehouse graph`: the images and what stands on what.

use std::collections::BTreeMap;

use bakehouse_model::ExitCode;
use bakehouse_model::oci::Manifest;
use bakehouse_plan::fleet::{Image, StageVariants};
use bakehouse_plan::lower::Via as Named;
use bakehouse_render::graph::{self, Edge, Graph, Node, Via};
use bakehouse_store::Store;
use serde_json::{Value, json};

use crate::cli::{GraphArgs, GraphFormat, Shape};
use crate::context::Context;
use crate::failure::Failure;
use crate::request::{self, Request};

/// Runs the command.
pub fn run(args: &GraphArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let request = Request::read(&args.place, &Shape::default(), &[], cx)?;
    report(&request, args.format, cx)?;
    // What is wrong is shown with what could be read of the rest.
    request.refuse_errors().map(|()| ExitCode::Ok)
}

fn report(request: &Request, format: GraphFormat, cx: &mut Context) -> Result<(), Failure> {
    if format == GraphFormat::Json {
        return super::print_json(cx, &value(request, &History::read(request, cx)));
    }
    let drawn = drawn(request, &History::read(request, cx));
    let text = match format {
        GraphFormat::Dot => graph::dot(&drawn),
        GraphFormat::Mermaid => graph::mermaid(&drawn),
        GraphFormat::Svg => graph::svg(&drawn),
        GraphFormat::Text | GraphFormat::Json => {
            let mut text = graph::text(&drawn, cx.style(), cx.width());
            text.push_str(&remarks(request));
            text
        }
    };
    super::print(cx, &text)
}

/// The largest manifest that is looked into for its layers.
const MAX_MANIFEST: u64 = 4 << 20;

/// What stands below the tree: shared stages, groups, and what is left out.
fn remarks(request: &Request) -> String {
    let fleet = &request.fleet;
    let mut text = String::new();
    let several = |stage: &StageVariants| stage.variants.len() > 1;
    for stage in fleet.stage_variants(&request.settings).into_iter().filter(several) {
        let variants = stage.variants.iter().map(|variant| {
            let args = variant.args.iter().map(|(name, value)| format!("{name}={value}"));
            let args: Vec<String> = args.collect();
            format!("{} for {} images", args.join(" "), variant.images.len()).trim().to_owned()
        });
        let variants: Vec<String> = variants.collect();
        let each = if stage.platforms.len() > 1 { " on each platform" } else { "" };
        text.push_str(&format!(
            "stage {} of {}: {} variants{each} ({})\n",
            stage.stage,
            stage.dockerfile,
            stage.variants.len(),
            variants.join("; ")
        ));
    }
    for group in &fleet.groups {
        text.push_str(&format!("group {}: {}\n", group.name, group.members.join(", ")));
    }
    for skipped in &fleet.skipped {
        text.push_str(&format!("skipped {}: {}\n", skipped.path, skipped.reason));
    }
    text
}

/// What earlier builds tell of the images.
#[derive(Debug, Default)]
struct History {
    costs_ms: BTreeMap<String, u64>,
    sizes: BTreeMap<String, u64>,
}

impl History {
    /// What the store knows; nothing if there is none yet.
    fn read(request: &Request, cx: &Context) -> Self {
        if !cx.home().is_dir() {
            return Self::default();
        }
        let Ok(store) = super::open_store(cx) else { return Self::default() };
        let names: Vec<String> =
            request.fleet.images.iter().map(|image| image.name.clone()).collect();
        let known = store.images().unwrap_or_default();
        let known = known.into_iter().filter(|image| request.fleet.image(&image.name).is_some());
        let sizes = known.filter_map(|image| Some((size(&store, &image.manifest)?, image.name)));
        Self {
            costs_ms: store.costs(&names).unwrap_or_default(),
            sizes: sizes.map(|(size, name)| (name, size)).collect(),
        }
    }

    /// How long an image took last time, else what its class says.
    fn cost_ms(&self, image: &Image, request: &Request) -> Option<u64> {
        let estimate = || request.estimate_ms(image);
        self.costs_ms.get(&image.name).copied().or_else(estimate)
    }
}

/// What the layers of a stored image weigh.
fn size(store: &Store, manifest: &bakehouse_model::Digest) -> Option<u64> {
    let bytes = store.read_blob(manifest, MAX_MANIFEST).ok()?;
    let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
    Some(manifest.layers.iter().map(|layer| layer.size).sum())
}

/// The fleet as `render` draws it.
fn drawn(request: &Request, history: &History) -> Graph {
    let nodes = request.fleet.images.iter().map(|image| Node {
        name: image.name.clone(),
        file: image.file.clone(),
        context: image.context.to_string(),
        needs: image.needs.iter().map(|edge| Edge::new(&edge.image, via(edge.via))).collect(),
        external: image
            .external
            .iter()
            .map(|external| Edge::new(&external.reference, via(external.via)))
            .collect(),
        class: image.class.clone(),
        cost_ms: history.cost_ms(image, request),
        size_bytes: history.sizes.get(&image.name).copied(),
        tags: image.references.clone(),
        notes: notes(image),
    });
    Graph { title: request::repository(&request.root), nodes: nodes.collect() }
}

fn notes(image: &Image) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(target) = &image.target {
        notes.push(format!("stage {target}"));
    }
    if let Some(family) = &image.family {
        notes.push(format!("family {family}"));
    }
    if image.unbuildable.is_some() {
        notes.push("cannot be built by itself".to_owned());
    }
    notes
}

fn via(named: Named) -> Via {
    match named {
        Named::From => Via::From,
        Named::CopyFrom => Via::Copy,
        Named::Mount => Via::Mount,
        Named::Context => Via::Context,
    }
}

/// The graph as a value.
fn value(request: &Request, history: &History) -> Value {
    let fleet = &request.fleet;
    let used_by = fleet.used_by();
    let images = fleet.images.iter().map(|image| {
        json!({
            "name": image.name,
            "aliases": image.aliases.iter().filter(|name| **name != image.name).collect::<Vec<_>>(),
            "references": image.references,
            "dockerfile": image.file,
            "context": image.context.to_string(),
            "target": image.target,
            "args": image.args,
            "platforms": image.platforms.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "source": image.kind(),
            "sources": image.sources,
            "groups": image.groups,
            "class": image.class,
            "family": image.family,
            "level": image.level,
            "stages": image.dockerfile.stages.len(),
            "used_by": used_by.get(image.name.as_str()).cloned().unwrap_or_default(),
            "estimate_ms": history.cost_ms(image, request),
            "size": history.sizes.get(&image.name),
            "buildable": image.unbuildable.is_none(),
        })
    });
    let edges = fleet.images.iter().flat_map(|image| {
        image.needs.iter().map(|edge| {
            json!({
                "image": image.name,
                "needs": edge.image,
                "via": edge.via,
                "reference": edge.reference,
                "tag": edge.tag,
                "file": edge.location.as_ref().map(|at| &at.file),
                "line": edge.location.as_ref().map(|at| at.line),
            })
        })
    });
    let external = fleet
        .external()
        .into_iter()
        .map(|(reference, used_by)| json!({ "reference": reference, "used_by": used_by }));
    json!({
        "version": 2,
        "images": images.collect::<Vec<_>>(),
        "edges": edges.collect::<Vec<_>>(),
        "external": external.collect::<Vec<_>>(),
        "groups": fleet.groups,
        "stages": fleet.stage_variants(&request.settings),
        "skipped": fleet.skipped,
        "diagnostics": fleet.diagnostics,
    })
}
