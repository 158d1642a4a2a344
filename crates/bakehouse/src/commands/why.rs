//! `bakehouse why IMAGE`: each step of an image and why it would run, or that it would not.

use bakehouse_model::ExitCode;
use bakehouse_plan::evaluate::Decision;
use bakehouse_plan::graph::StepIndex;
use bakehouse_render::{Column, explain, table};
use serde_json::{Value, json};

use super::plan::{Fate, Planned, plan, step_name};
use crate::bases::Lookup;
use crate::cli::{Format, WhyArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::memory::StoreMemory;
use crate::planning;
use crate::request::Request;

/// Runs the command.
pub fn run(args: &WhyArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let request = Request::read(&args.place, &args.shape, std::slice::from_ref(&args.image), cx)?;
    request.refuse_errors()?;
    let store = super::open_store(cx)?;
    let client = super::client(&request, &store, cx);
    let lookup = Lookup { store: &store, client: &client, pull: request.pull, offline: false };
    let lowered = planning::lower(&request, &lookup)?;
    let memory = StoreMemory::new(store.clone());
    let slots = planning::slots(&store, &lowered.graph)?;
    let planned = plan(&request, &lowered, (&slots, &memory), &store)?;
    memory.keep_stat_caches();
    let root = planned.images.iter().find(|(name, _)| *name == args.image).and_then(|(_, r)| *r);
    report(&planned, (&args.image, root), args.format, cx)?;
    Ok(ExitCode::Ok)
}

fn report(
    planned: &Planned<'_>,
    (image, root): (&str, Option<StepIndex>),
    format: Format,
    cx: &mut Context,
) -> Result<(), Failure> {
    let graph = planned.evaluation.graph();
    let steps: Vec<StepIndex> =
        root.map(|root| graph.reach([root])).unwrap_or_default().into_iter().collect();
    let told: Vec<(StepIndex, &'static str, String)> =
        steps.iter().filter_map(|step| tell(planned, *step)).collect();
    let (fate, why) = match planned.fate(root) {
        Fate::Cached => ("is up to date", String::new()),
        Fate::Rebuilt(reason) => ("would be rebuilt", explain(&reason, step_name(graph))),
        Fate::Depends => ("may be rebuilt", "what it copies must be made first".to_owned()),
    };
    if format == Format::Json {
        let plan = match planned.fate(root) {
            Fate::Cached => "cached",
            Fate::Rebuilt(_) => "rebuild",
            Fate::Depends => "depends",
        };
        let steps: Vec<Value> = told
            .iter()
            .map(|(index, plan, why)| {
                let step = graph.step(*index);
                let reason = match planned.evaluation.decision(*index) {
                    Decision::Run(reason) => json!(reason),
                    _ => Value::Null,
                };
                let stage = step.origin.stage_position();
                json!({ "image": step.origin.image, "stage": stage, "name": step.origin.name, "plan": plan, "why": why, "reason": reason })
            })
            .collect();
        return super::print_json(
            cx,
            &json!({ "version": 1, "image": image, "plan": plan, "why": why, "steps": steps }),
        );
    }
    let because = if why.is_empty() { String::new() } else { format!(": {why}") };
    let mut text = format!("{image} {fate}{because}\n\n");
    let columns = [
        Column::left("IMAGE"),
        Column::left("STEP").flexible(),
        Column::left("PLAN"),
        Column::left("WHY").flexible(),
    ];
    let rows: Vec<Vec<String>> = told
        .into_iter()
        .map(|(step, plan, why)| {
            let origin = &graph.step(step).origin;
            vec![origin.image.clone(), origin.name.clone(), plan.to_owned(), why]
        })
        .collect();
    text.push_str(&table(&columns, &rows, cx.width(), cx.style()));
    super::print(cx, &text)
}

fn tell(planned: &Planned<'_>, step: StepIndex) -> Option<(StepIndex, &'static str, String)> {
    let graph = planned.evaluation.graph();
    let expected = planned.schedule.tails.contains_key(&step);
    match planned.evaluation.decision(step) {
        Decision::Hit(_) | Decision::Built(_) => Some((step, "cached", String::new())),
        Decision::Run(reason) if expected => Some((step, "run", explain(reason, step_name(graph)))),
        Decision::Open if expected => {
            Some((step, "depends", "what it reads must be made first".to_owned()))
        }
        _ => None,
    }
}
