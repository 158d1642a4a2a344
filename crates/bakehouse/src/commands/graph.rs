//! `bakehouse graph`: the images and what stands on what.

use bakehouse_model::ExitCode;
use bakehouse_render::graph::{self, Edge, Graph, Node, Via};
use serde_json::json;

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
            let mut text = graph::text(&drawn(request), cx.style(), cx.width());
            for skipped in &request.fleet.skipped {
                text.push_str(&format!("skipped {}: {}\n", skipped.file, skipped.reason));
            }
            super::print(cx, &text)
        }
    }
}

/// The fleet as `render` draws it. What is known of an edge so far is that it is there.
fn drawn(request: &Request) -> Graph {
    let images = request.fleet.images.iter().map(|image| Node {
        name: image.name.clone(),
        file: image.file.clone(),
        context: image.context.clone(),
        needs: image.needs.iter().map(|edge| Edge::new(&edge.image, Via::From)).collect(),
        external: image.external.iter().map(|name| Edge::new(name, Via::From)).collect(),
        ..Node::default()
    });
    Graph { title: String::new(), nodes: images.collect() }
}

/// The graph as a value.
pub fn value(request: &Request) -> serde_json::Value {
    let fleet = &request.fleet;
    let images: Vec<serde_json::Value> = fleet
        .images
        .iter()
        .map(|image| {
            let used_by: Vec<&str> = fleet
                .images
                .iter()
                .filter(|other| other.needs.iter().any(|edge| edge.image == image.name))
                .map(|other| other.name.as_str())
                .collect();
            json!({
                "name": image.name,
                "file": image.file,
                "context": image.context,
                "needs": image.needs,
                "external": image.external,
                "used_by": used_by,
                "stages": image.dockerfile.stages.len(),
            })
        })
        .collect();
    json!({
        "version": 1,
        "images": images,
        "skipped": fleet.skipped,
        "diagnostics": fleet.diagnostics,
    })
}
