//! `bakehouse plan`: what the next build would do, and why. Builds nothing.

use std::collections::BTreeMap;

use bakehouse_model::op::{Op, Source};
use bakehouse_model::{ExitCode, MissReason, StepId};
use bakehouse_plan::evaluate::{Decision, Evaluation};
use bakehouse_plan::fleet::LoweredFleet;
use bakehouse_plan::graph::{Graph, StepIndex};
use bakehouse_plan::schedule::Schedule;
use bakehouse_render::{Column, duration, explain, table};
use serde_json::{Value, json};

use crate::bases::Lookup;
use crate::cli::{Format, PlanArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::memory::StoreMemory;
use crate::planning;
use crate::request::Request;

/// What the next build would do.
#[derive(Debug)]
pub struct Planned<'g> {
    /// All decisions.
    pub evaluation: Evaluation<'g>,
    /// The wanted images, with the step that makes each.
    pub images: Vec<(String, Option<StepIndex>)>,
    /// When the steps run.
    pub schedule: Schedule,
    /// What each step costs.
    pub costs: BTreeMap<StepIndex, u64>,
}

/// What happens to an image or a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is there.
    Cached,
    /// It is made anew.
    Rebuilt(MissReason),
    /// What it stands on must run first; its contents decide.
    Depends,
}

/// Runs the command.
pub fn run(args: &PlanArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let request = Request::read(&args.place, &args.shape, &args.images, cx)?;
    request.refuse_errors()?;
    let store = super::open_store(cx)?;
    let client = super::client(&request, &store, cx);
    let lookup =
        Lookup { store: &store, client: &client, pull: request.pull, offline: args.offline };
    let lowered = planning::lower(&request, &lookup)?;
    let memory = StoreMemory::new(store.clone());
    let slots = planning::slots(&store, &lowered.graph)?;
    let planned = plan(&request, &lowered, (&slots, &memory), &store)?;
    memory.keep_stat_caches();
    show(&planned, &lowered.graph, (&request, args.format), cx)?;
    Ok(ExitCode::Ok)
}

/// Decides everything that can be decided without building.
pub fn plan<'g>(
    request: &Request,
    lowered: &'g LoweredFleet,
    (slots, memory): (&'g BTreeMap<String, bakehouse_plan::slot::Slot>, &StoreMemory),
    store: &bakehouse_store::Store,
) -> Result<Planned<'g>, Failure> {
    let images: Vec<(String, Option<StepIndex>)> =
        lowered.images.iter().map(|image| (image.name.clone(), image.lowered.root)).collect();
    let roots: Vec<StepIndex> = images.iter().filter_map(|(_, root)| *root).collect();
    let mut evaluation = Evaluation::new(&lowered.graph, &roots, slots);
    planning::decide(&mut evaluation, memory)?;
    let costs = planning::costs(store, &lowered.graph)?;
    let expected = planning::expected(&evaluation, &roots);
    let schedule = planning::schedule(&lowered.graph, &expected, &costs, request.jobs);
    Ok(Planned { evaluation, images, schedule, costs })
}

impl Planned<'_> {
    /// What happens to the image that `root` makes.
    pub fn fate(&self, root: Option<StepIndex>) -> Fate {
        let Some(root) = root else { return Fate::Cached };
        match self.evaluation.decision(root) {
            Decision::Hit(_) | Decision::Built(_) => Fate::Cached,
            _ => self.first_reason(root).map_or(Fate::Depends, Fate::Rebuilt),
        }
    }

    /// The reason of the lowest step that must run: what started it all.
    fn first_reason(&self, root: StepIndex) -> Option<MissReason> {
        let graph = self.evaluation.graph();
        let steps = graph.reach([root]);
        let reasons = steps.iter().filter_map(|step| match self.evaluation.decision(*step) {
            Decision::Run(reason) if self.schedule.tails.contains_key(step) => Some(reason),
            _ => None,
        });
        let mut reasons: Vec<&MissReason> = reasons.collect();
        reasons.sort_by_key(|reason| match reason {
            MissReason::NeedChanged { .. } => 2,
            MissReason::NeverBuilt => 1,
            _ => 0,
        });
        reasons.first().map(|reason| (*reason).clone())
    }
}

/// What a step is called when a reason names it.
pub fn step_name(graph: &Graph) -> impl Fn(&StepId) -> Option<String> + '_ {
    |id| graph.find(id).map(|index| graph.step(index).origin.name.clone())
}

fn words(fate: &Fate, graph: &Graph) -> (&'static str, String) {
    match fate {
        Fate::Cached => ("cached", String::new()),
        Fate::Rebuilt(reason) => ("rebuild", explain(reason, step_name(graph))),
        Fate::Depends => ("depends", "what it copies must be made first".to_owned()),
    }
}

/// Prints the plan.
pub fn show(
    planned: &Planned<'_>,
    graph: &Graph,
    (request, format): (&Request, Format),
    cx: &mut Context,
) -> Result<(), Failure> {
    if format == Format::Json {
        return super::print_json(cx, &value(planned, graph, request));
    }
    let columns = [
        Column::left("IMAGE"),
        Column::left("PLAN"),
        Column::right("STEPS"),
        Column::left("WHY").flexible(),
    ];
    let rows: Vec<Vec<String>> = planned
        .images
        .iter()
        .map(|(name, root)| {
            let (fate, why) = words(&planned.fate(*root), graph);
            let mut own = root.map(|root| graph.reach([root])).unwrap_or_default();
            // A context is read in place; it is nobody's work.
            own.retain(|s| !matches!(graph.step(*s).op, Op::Source(Source::Context(_))));
            let run = own.iter().filter(|s| planned.schedule.tails.contains_key(s)).count();
            vec![name.clone(), fate.to_owned(), format!("{run}/{}", own.len()), why]
        })
        .collect();
    let mut text = table(&columns, &rows, cx.width(), cx.style());
    let schedule = &planned.schedule;
    if schedule.slots.is_empty() {
        text.push_str("\nnothing to do\n");
    } else {
        text.push_str(&format!(
            "\n{} steps to run, about {} on {} workers; no less than {} (critical path {})\n",
            schedule.slots.len(),
            duration(schedule.makespan_ms),
            request.jobs,
            duration(schedule.lower_bound_ms),
            duration(schedule.critical_path_ms),
        ));
    }
    super::print(cx, &text)
}

/// The plan as a value.
pub fn value(planned: &Planned<'_>, graph: &Graph, request: &Request) -> Value {
    let images: Vec<Value> = planned
        .images
        .iter()
        .map(|(name, root)| {
            let (fate, why) = words(&planned.fate(*root), graph);
            let needs = request
                .fleet
                .image(name)
                .map(|image| image.needs.iter().map(|edge| edge.image.clone()).collect::<Vec<_>>());
            json!({ "name": name, "plan": fate, "why": why, "needs": needs.unwrap_or_default() })
        })
        .collect();
    let steps: Vec<Value> = graph
        .indexes()
        .map(|index| {
            let step = graph.step(index);
            let (decision, reason) = match planned.evaluation.decision(index) {
                Decision::Hit(_) | Decision::Built(_) => ("cached", Value::Null),
                Decision::Run(reason) if planned.schedule.tails.contains_key(&index) => {
                    ("run", json!(reason))
                }
                _ if planned.schedule.tails.contains_key(&index) => ("depends", Value::Null),
                _ => ("unneeded", Value::Null),
            };
            json!({
                "id": step.id,
                "name": step.origin.name,
                "image": step.origin.image,
                "stage": step.origin.stage_position(),
                "location": step.origin.location,
                "images": step.images,
                "needs": step.inputs.iter().map(|i| &graph.step(*i).id).collect::<Vec<_>>(),
                "plan": decision,
                "reason": reason,
                "cost_ms": planned.costs.get(&index),
            })
        })
        .collect();
    json!({
        "version": 1,
        "images": images,
        "steps": steps,
        "workers": request.jobs,
        "makespan_ms": planned.schedule.makespan_ms,
        "critical_path_ms": planned.schedule.critical_path_ms,
        "lower_bound_ms": planned.schedule.lower_bound_ms,
    })
}
