//! `bakehouse graph`: the images and what stands on what.

use bakehouse_model::ExitCode;
use bakehouse_render::{GraphImage, tree};
use serde_json::{Value, json};

use crate::cli::{Format, GraphArgs, Shape};
use crate::context::Context;
use crate::failure::Failure;
use crate::request::Request;

/// Runs the command.
pub fn run(args: &GraphArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let request = Request::read(&args.place, &Shape::default(), &[], cx)?;
    report(&request, args.format, cx)?;
    // What is wrong is shown with what could be read of the rest.
    request.refuse_errors().map(|()| ExitCode::Ok)
}

fn report(request: &Request, format: Format, cx: &mut Context) -> Result<(), Failure> {
    match format {
        Format::Json => super::print_json(cx, &value(request)),
        Format::Text => {
            let images: Vec<GraphImage> = request
                .fleet
                .images
                .iter()
                .map(|image| GraphImage {
                    name: image.name.clone(),
                    file: image.file.clone(),
                    context: image.context.to_string(),
                    needs: image.needs.iter().map(|edge| edge.image.clone()).collect(),
                    notes: image.external.iter().map(|e| format!("from {}", e.reference)).collect(),
                })
                .collect();
            let mut text = tree(&images, cx.style());
            for skipped in &request.fleet.skipped {
                text.push_str(&format!("skipped {}: {}\n", skipped.path, skipped.reason));
            }
            super::print(cx, &text)
        }
    }
}

/// The graph as a value.
pub fn value(request: &Request) -> Value {
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
