//! A plan as text and as a value.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::{Location, MissReason, StepId, StepInfo};
use bakehouse_plan::evaluate::Decision;
use bakehouse_plan::graph::StepIndex;
use bakehouse_render::{Causes, Column, ago, bytes, duration, table};
use serde::Serialize;

use super::{Fate, Planned, Pull, bases, sentence};
use crate::cli::Format;
use crate::context::{Context, now_ms};
use crate::failure::Failure;
use crate::request::Request;

/// Everything that is shown of a plan.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The plan.
    pub planned: &'a Planned<'a>,
    /// What was asked for.
    pub request: &'a Request,
    /// What is to be fetched.
    pub pull: Pull,
    /// The tags to write, by image.
    pub tags: BTreeMap<String, Vec<String>>,
}

/// One image of a plan.
struct Row<'a> {
    name: &'a str,
    root: Option<StepIndex>,
    fate: Fate,
    why: String,
    /// Steps of it and of what it stands on: those that run, and all.
    steps: (usize, usize),
    /// What its own steps cost, and whether some of that is a guess.
    cost: (u64, bool),
    level: usize,
    ends_ms: u64,
}

/// Prints the plan.
pub fn show(shown: &Shown<'_>, format: Format, cx: &mut Context) -> Result<(), Failure> {
    let infos = shown.planned.infos();
    let rows = shown.rows(&shown.planned.causes(&infos));
    match format {
        Format::Json => super::super::print_json(cx, &shown.document(&rows, &infos)),
        Format::Text => {
            let text = shown.text(&rows, cx);
            super::super::print(cx, &text)
        }
    }
}

impl Shown<'_> {
    /// The images in the order in which they are there: parents first, then by when they end.
    fn rows(&self, causes: &Causes<'_>) -> Vec<Row<'_>> {
        let planned = self.planned;
        let ends: BTreeMap<StepIndex, u64> =
            planned.schedule.slots.iter().map(|slot| (slot.step, slot.end_ms)).collect();
        let costs = self.costs();
        let mut rows: Vec<Row<'_>> = Vec::with_capacity(planned.images.len());
        for (name, root) in &planned.images {
            let cost = costs.get(name.as_str()).copied().unwrap_or_default();
            rows.push(Row { cost, ..self.row((name, *root), causes, &ends) });
        }
        rows.sort_by_key(|row| (row.level, row.ends_ms));
        rows
    }

    /// What the steps that each image brings cost, and whether some of that is a guess.
    fn costs(&self) -> BTreeMap<&str, (u64, bool)> {
        let planned = self.planned;
        let mut costs: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
        for step in planned.schedule.tails.keys() {
            let image = planned.graph().step(*step).origin.image.as_str();
            let (sum, guessed) = costs.entry(image).or_default();
            *sum = sum.saturating_add(planned.costs.of(*step));
            *guessed |= planned.costs.guessed.contains(step);
        }
        costs
    }

    fn row<'r>(
        &'r self,
        (name, root): (&'r str, Option<StepIndex>),
        causes: &Causes<'_>,
        ends: &BTreeMap<StepIndex, u64>,
    ) -> Row<'r> {
        let own = self.planned.steps_of(root);
        let runs = own.iter().filter(|step| self.planned.is_expected(**step)).count();
        let fate = self.planned.fate(root);
        let image = self.request.fleet.image(name.split(' ').next().unwrap_or_default());
        Row {
            name,
            root,
            fate,
            why: self.why((name, root), fate, causes),
            steps: (runs, own.len()),
            cost: (0, false),
            level: image.map_or(0, |image| image.level),
            ends_ms: root.and_then(|root| ends.get(&root).copied()).unwrap_or(0),
        }
    }

    /// Why an image is made anew, or on what grounds it is not.
    fn why(
        &self,
        (name, root): (&str, Option<StepIndex>),
        fate: Fate,
        causes: &Causes<'_>,
    ) -> String {
        let planned = self.planned;
        let Some(root) = root else { return "it has no files".to_owned() };
        if fate == Fate::Cached {
            return grounds(planned, root);
        }
        let id = &planned.graph().step(root).id;
        let cause = causes.of(id, &bases(&self.request.fleet, name));
        let cause = cause.map(|cause| sentence(&cause, &self.request.fleet));
        cause.unwrap_or_else(|| "what it copies must be made first".to_owned())
    }

    fn text(&self, rows: &[Row<'_>], cx: &Context) -> String {
        let columns = [
            Column::left("IMAGE"),
            Column::left("PLAN"),
            Column::right("STEPS"),
            Column::right("TIME"),
            Column::left("WHY").flexible(),
        ];
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let (runs, all) = row.steps;
                let steps = format!("{runs}/{all}");
                vec![
                    row.name.to_owned(),
                    row.fate.word().to_owned(),
                    steps,
                    time(row),
                    row.why.clone(),
                ]
            })
            .collect();
        let mut text = table(&columns, &cells, cx.width(), cx.style());
        text.push('\n');
        for line in self.totals(cx.style().unicode) {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn totals(&self, unicode: bool) -> Vec<String> {
        let schedule = &self.planned.schedule;
        let mut lines = Vec::new();
        if schedule.slots.is_empty() {
            lines.push("nothing to do".to_owned());
        } else {
            let guessed = schedule.tails.keys().any(|s| self.planned.costs.guessed.contains(s));
            lines.push(format!(
                "{} steps to run, {}{} on {} workers; no less than {}",
                schedule.slots.len(),
                if guessed { "about " } else { "" },
                duration(schedule.makespan_ms),
                self.request.jobs,
                duration(schedule.lower_bound_ms),
            ));
            let arrow = if unicode { " → " } else { " -> " };
            let path = self.planned.critical_images().join(arrow);
            lines.push(format!("critical path: {path}: {}", duration(schedule.critical_path_ms)));
        }
        lines.extend(self.pulled());
        for (image, tags) in &self.tags {
            lines.push(format!("to write: {image} as {}", tags.join(", ")));
        }
        lines
    }

    fn pulled(&self) -> Option<String> {
        let Pull { bases, others } = &self.pull;
        if bases.is_empty() && *others == 0 {
            return None;
        }
        let amount = self.pull.bytes().map_or_else(|| "unknown".to_owned(), bytes);
        let names: Vec<&str> = bases.keys().map(String::as_str).collect();
        let others = match others {
            0 => String::new(),
            1 => " and 1 source of unknown size".to_owned(),
            n => format!(" and {n} sources of unknown size"),
        };
        let of = if names.is_empty() { String::new() } else { format!(" of {}", names.join(", ")) };
        Some(format!("to pull: {amount}{of}{others}"))
    }

    fn document<'d>(&'d self, rows: &'d [Row<'d>], infos: &'d [StepInfo]) -> Document<'d> {
        let planned = self.planned;
        let schedule = &planned.schedule;
        let chain = schedule.longest_chain(planned.graph());
        let steps = planned.graph().indexes().zip(infos);
        let bases = self.pull.bases.iter();
        Document {
            version: 1,
            images: rows.iter().map(|row| self.image(row)).collect(),
            steps: steps.map(|(index, info)| step(planned, index, info)).collect(),
            work: !schedule.slots.is_empty(),
            workers: self.request.jobs,
            makespan_ms: schedule.makespan_ms,
            critical_path_ms: schedule.critical_path_ms,
            lower_bound_ms: schedule.lower_bound_ms,
            critical_path: CriticalPath {
                images: planned.critical_images(),
                steps: chain.into_iter().map(|step| &infos[step.0].id).collect(),
            },
            pull: PullDocument {
                bytes: self.pull.bytes(),
                bases: bases.map(|(reference, bytes)| PulledBase { reference, bytes }).collect(),
                others: self.pull.others,
            },
        }
    }

    fn image<'d>(&'d self, row: &'d Row<'d>) -> ImageDocument<'d> {
        let name = row.name.split(' ').next().unwrap_or_default();
        let needs = self.request.fleet.image(name).map(|image| &image.needs);
        let (run, all) = row.steps;
        ImageDocument {
            name: row.name,
            plan: row.fate.word(),
            why: &row.why,
            needs: needs.into_iter().flatten().map(|edge| edge.image.as_str()).collect(),
            level: row.level,
            steps: StepCounts { run, all },
            cost_ms: row.cost.0,
            estimated: row.cost.1,
            ends_ms: row.ends_ms,
            built_at_ms: row.root.and_then(|root| created_ms(self.planned, root)),
            tags: self.tags.get(name).map(Vec::as_slice).unwrap_or_default(),
        }
    }
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    images: Vec<ImageDocument<'a>>,
    steps: Vec<StepDocument<'a>>,
    work: bool,
    workers: usize,
    makespan_ms: u64,
    critical_path_ms: u64,
    lower_bound_ms: u64,
    critical_path: CriticalPath<'a>,
    pull: PullDocument<'a>,
}

#[derive(Serialize)]
struct ImageDocument<'a> {
    name: &'a str,
    plan: &'static str,
    why: &'a str,
    needs: Vec<&'a str>,
    level: usize,
    steps: StepCounts,
    cost_ms: u64,
    estimated: bool,
    ends_ms: u64,
    built_at_ms: Option<u64>,
    tags: &'a [String],
}

#[derive(Serialize)]
struct StepCounts {
    run: usize,
    all: usize,
}

#[derive(Serialize)]
struct StepDocument<'a> {
    id: &'a StepId,
    name: &'a str,
    image: &'a str,
    stage: &'a str,
    location: Option<&'a Location>,
    images: &'a BTreeSet<String>,
    needs: &'a [StepId],
    plan: &'static str,
    from: Option<&'a str>,
    reason: Option<&'a MissReason>,
    cost_ms: u64,
    estimated: bool,
    critical: bool,
}

#[derive(Serialize)]
struct CriticalPath<'a> {
    images: Vec<String>,
    steps: Vec<&'a StepId>,
}

#[derive(Serialize)]
struct PullDocument<'a> {
    bytes: Option<u64>,
    bases: Vec<PulledBase<'a>>,
    others: usize,
}

#[derive(Serialize)]
struct PulledBase<'a> {
    reference: &'a str,
    bytes: &'a Option<u64>,
}

impl Planned<'_> {
    /// The images along the longest chain of steps.
    pub fn critical_images(&self) -> Vec<String> {
        let chain = self.schedule.longest_chain(self.graph());
        let mut images: Vec<String> =
            chain.iter().map(|step| self.graph().step(*step).origin.image.clone()).collect();
        images.dedup();
        images
    }
}

fn step<'a>(planned: &'a Planned<'_>, index: StepIndex, info: &'a StepInfo) -> StepDocument<'a> {
    let plan = match planned.evaluation.decision(index) {
        Decision::Hit(_) | Decision::Built(_) | Decision::Import(_) => "cached",
        Decision::Run(_) if info.planned => "run",
        _ if info.planned => "depends",
        _ => "unneeded",
    };
    StepDocument {
        id: &info.id,
        name: &info.name,
        image: &info.image,
        stage: &info.stage,
        location: info.location.as_ref(),
        images: &planned.graph().step(index).images,
        needs: &info.needs,
        plan,
        from: from_cache(planned, index),
        reason: planned.miss(index),
        cost_ms: info.cost_ms,
        estimated: planned.costs.guessed.contains(&index),
        critical: info.critical,
    }
}

fn time(row: &Row<'_>) -> String {
    match row.cost {
        (0, _) => "-".to_owned(),
        (ms, guessed) => format!("{}{}", if guessed { "~" } else { "" }, duration(ms)),
    }
}

/// When the result that stands for `root` was made.
fn created_ms(planned: &Planned<'_>, root: StepIndex) -> Option<u64> {
    match planned.evaluation.decision(root) {
        Decision::Hit(record) | Decision::Built(record) => Some(record.created_ms),
        Decision::Import(import) => Some(import.created_ms),
        _ => None,
    }
}

/// The cache that the result is in which stands for `root`.
fn from_cache<'a>(planned: &'a Planned<'_>, root: StepIndex) -> Option<&'a str> {
    match planned.evaluation.decision(root) {
        Decision::Import(import) => Some(&import.from),
        _ => None,
    }
}

/// On what grounds an image need not be made.
pub(in crate::commands) fn grounds(planned: &Planned<'_>, root: StepIndex) -> String {
    let ago = created_ms(planned, root).map(|at| ago(now_ms().saturating_sub(at)));
    let ago = ago.unwrap_or_else(|| "before".to_owned());
    if let Some(from) = from_cache(planned, root) {
        return format!("from the cache `{from}`, as built {ago}");
    }
    let steps = planned.graph().reach([root]);
    if steps.into_iter().any(|step| planned.evaluation.is_found_by_contents(step)) {
        return format!("the same files as {ago}");
    }
    format!("as built {ago}")
}
