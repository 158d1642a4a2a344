//! `bakehouse why IMAGE`: why an image would be rebuilt now, or with `--last` what became of it
//! in the last run: one sentence, then the steps.

mod last;

use bakehouse_model::{ExitCode, MissReason, PathChange};
use bakehouse_plan::evaluate::Decision;
use bakehouse_plan::graph::StepIndex;
use bakehouse_plan::slot;
use bakehouse_render::{Cause, Causes, Column, explain, table};
use bakehouse_store::Store;
use serde_json::{Value, json};

use super::plan::{Fate, Planned, bases, caches, grounds, plan, sentence};
use crate::bases::Lookup;
use crate::caches::wishes::Flags;
use crate::cli::{Format, WhyArgs};
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::memory::StoreMemory;
use crate::outputs::Wanted;
use crate::planning;
use crate::request::Request;
use crate::tags;

/// Changed paths that are listed for a step, for people and for programs.
const LISTED: (usize, usize) = (20, 1000);

/// Runs the command.
pub fn run(args: &WhyArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let request = Request::read(&args.place, &args.shape, std::slice::from_ref(&args.image), cx)?;
    let image = one(&request, &args.image)?;
    let store = super::open_store(cx)?;
    if args.last {
        return last::run(&request, (&image, args.format), &store, cx);
    }
    request.refuse_errors()?;
    now(&request, (&image, args), &store, cx)
}

/// The one image that a name means.
fn one(request: &Request, name: &str) -> Result<String, Failure> {
    let mut named = request.named.iter();
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one.clone()),
        _ => Err(Failure::new(Kind::Usage, format!("`{name}` is a group of images"))
            .hint("name one of them; `bakehouse plan` tells of all")),
    }
}

fn now(
    request: &Request,
    (image, args): (&str, &WhyArgs),
    store: &Store,
    cx: &mut Context,
) -> Result<ExitCode, Failure> {
    let client = super::client(request, store, cx);
    let memory = StoreMemory::new(store.clone());
    let lookup = Lookup::of(request, store, &client, Some(&memory));
    let lowered = planning::lower(request, &lookup)?;
    let slots = planning::slots(store, &lowered.graph)?;
    let names = tags::names(request, &Wanted::default())?;
    let flags = Flags::new(&args.shape.cache_from, &[], cx);
    let (_, loaded) = caches(request, flags, &names, (store, &client))?;
    let planned = plan(request, &lowered, (&slots, &memory, &loaded.caches), store)?;
    memory.keep_stat_caches();
    let roots: Vec<Option<StepIndex>> = lowered
        .images
        .iter()
        .filter(|one| one.image == image)
        .map(|one| one.lowered.root)
        .collect();
    // Of several platforms, one that has work tells more.
    let busy = roots.iter().find(|root| planned.fate(**root) != Fate::Cached);
    let root = busy.or(roots.first()).copied().flatten();
    let why = Why { planned: &planned, request, image, root };
    match args.format {
        Format::Json => super::print_json(cx, &why.value())?,
        Format::Text => super::print(cx, &why.text(cx))?,
    }
    Ok(ExitCode::Ok)
}

/// What is to be told of one image.
struct Why<'a> {
    planned: &'a Planned<'a>,
    request: &'a Request,
    image: &'a str,
    root: Option<StepIndex>,
}

/// What is to be told of one step.
struct Told {
    step: StepIndex,
    plan: &'static str,
    why: String,
    changes: Vec<(String, PathChange)>,
}

impl Why<'_> {
    fn text(&self, cx: &Context) -> String {
        let infos = self.planned.infos();
        let causes = self.planned.causes(&infos);
        let mut text = format!("{}: {}\n\n", self.image, self.sentence(self.cause(&causes)));
        let columns = [
            Column::left("IMAGE"),
            Column::left("STEP").flexible(),
            Column::left("PLAN"),
            Column::left("WHERE"),
            Column::left("WHY").flexible(),
        ];
        let told = self.told();
        let rows: Vec<Vec<String>> = told
            .iter()
            .map(|told| {
                let origin = &self.planned.graph().step(told.step).origin;
                let place = origin.location.as_ref().map(ToString::to_string);
                vec![
                    origin.image.clone(),
                    origin.name.clone(),
                    told.plan.to_owned(),
                    place.unwrap_or_default(),
                    told.why.clone(),
                ]
            })
            .collect();
        text.push_str(&table(&columns, &rows, cx.width(), cx.style()));
        for told in told.iter().filter(|told| told.changes.len() > 1) {
            text.push_str(&self.listed(told));
        }
        text
    }

    /// The changed paths of a step, below its name.
    fn listed(&self, told: &Told) -> String {
        let origin = &self.planned.graph().step(told.step).origin;
        let mut text = format!("\n{}\n", bakehouse_render::clean(&origin.name));
        for (path, change) in told.changes.iter().take(LISTED.0) {
            text.push_str(&format!("  {:8} {}\n", word(*change), bakehouse_render::clean(path)));
        }
        if let Some(more) = told.changes.len().checked_sub(LISTED.0).filter(|more| *more > 0) {
            text.push_str(&format!("  and {more} more\n"));
        }
        text
    }

    fn cause<'c>(&self, causes: &Causes<'c>) -> Option<Cause<'c>> {
        let root = self.root.filter(|root| self.planned.fate(Some(*root)) != Fate::Cached)?;
        causes.of(&self.planned.graph().step(root).id, &bases(&self.request.fleet, self.image))
    }

    fn sentence(&self, cause: Option<Cause<'_>>) -> String {
        match (self.root, cause) {
            (_, Some(cause)) => sentence(&cause, &self.request.fleet),
            (None, None) => "would not be rebuilt, it has no files".to_owned(),
            (Some(root), None) if self.planned.fate(Some(root)) == Fate::Cached => {
                format!("would not be rebuilt, {}", grounds(self.planned, root))
            }
            (Some(_), None) => "what it copies must be made first".to_owned(),
        }
    }

    fn told(&self) -> Vec<Told> {
        let steps = self.planned.steps_of(self.root);
        steps.into_iter().filter_map(|step| self.tell(step)).collect()
    }

    fn tell(&self, step: StepIndex) -> Option<Told> {
        let planned = self.planned;
        let graph = planned.graph();
        let name = |id: &_| graph.find(id).map(|index| graph.step(index).origin.name.clone());
        let (plan, why) = match planned.evaluation.decision(step) {
            Decision::Hit(_) | Decision::Built(_) => ("cached", String::new()),
            Decision::Import(import) => ("cached", format!("from the cache `{}`", import.from)),
            Decision::Run(reason) if planned.is_expected(step) => ("run", explain(reason, name)),
            Decision::Open if planned.is_expected(step) => {
                ("depends", "what it reads must be made first".to_owned())
            }
            _ => return None,
        };
        Some(Told { step, plan, why, changes: self.changes(step) })
    }

    /// Every path that a step reads and that is not what it was.
    fn changes(&self, step: StepIndex) -> Vec<(String, PathChange)> {
        let evaluation = &self.planned.evaluation;
        let Some(MissReason::InputChanged { .. }) = self.planned.miss(step) else {
            return Vec::new();
        };
        let place = self.planned.graph().step(step).origin.slot();
        match (evaluation.slots().get(&place), evaluation.slot(step)) {
            (Some(before), Some(now)) => slot::changed_paths(before, &now),
            _ => Vec::new(),
        }
    }

    fn value(&self) -> Value {
        let infos = self.planned.infos();
        let cause = self.cause(&self.planned.causes(&infos));
        let steps: Vec<Value> = self.told().iter().map(|told| self.step(told)).collect();
        json!({
            "version": 1,
            "image": self.image,
            "plan": self.planned.fate(self.root).word(),
            "why": self.sentence(cause.clone()),
            "cause": cause.as_ref().map(cause_value),
            "steps": steps,
        })
    }

    fn step(&self, told: &Told) -> Value {
        let origin = &self.planned.graph().step(told.step).origin;
        let changes = told.changes.iter().take(LISTED.1);
        let changes = changes.map(|(path, change)| json!({ "path": path, "change": change }));
        json!({
            "image": origin.image,
            "stage": origin.stage_position(),
            "name": origin.name,
            "location": origin.location,
            "plan": told.plan,
            "why": told.why,
            "reason": self.planned.miss(told.step),
            "changes": changes.collect::<Vec<_>>(),
        })
    }
}

/// A cause as a value.
fn cause_value(cause: &Cause<'_>) -> Value {
    json!({
        "bases": cause.bases,
        "image": cause.step.image,
        "step": cause.step.id,
        "name": cause.step.name,
        "location": cause.step.location,
        "reason": cause.miss,
    })
}

fn word(change: PathChange) -> &'static str {
    match change {
        PathChange::Added => "new",
        PathChange::Modified => "changed",
        PathChange::Removed => "gone",
    }
}
