//! A plan as text and as a value.

use std::collections::BTreeMap;

use bakehouse_model::StepInfo;
use bakehouse_plan::evaluate::Decision;
use bakehouse_plan::graph::StepIndex;
use bakehouse_render::{Causes, Column, ago, bytes, duration, table};
use serde_json::{Value, json};

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
        Format::Json => super::super::print_json(cx, &shown.value(&rows, &infos)),
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
        let images = planned.images.iter();
        let mut rows: Vec<Row<'_>> =
            images.map(|(name, root)| self.row((name, *root), causes, &ends)).collect();
        rows.sort_by_key(|row| (row.level, row.ends_ms));
        rows
    }

    fn row<'r>(
        &'r self,
        (name, root): (&'r str, Option<StepIndex>),
        causes: &Causes<'_>,
        ends: &BTreeMap<StepIndex, u64>,
    ) -> Row<'r> {
        let own = self.planned.steps_of(root);
        let runs = own.iter().filter(|step| self.planned.is_expected(**step)).count();
        let image = self.request.fleet.image(name.split(' ').next().unwrap_or_default());
        Row {
            name,
            root,
            fate: self.planned.fate(root),
            why: self.why(name, root, causes),
            steps: (runs, own.len()),
            cost: self.cost(name),
            level: image.map_or(0, |image| image.level),
            ends_ms: root.and_then(|root| ends.get(&root).copied()).unwrap_or(0),
        }
    }

    /// Why an image is made anew, or on what grounds it is not.
    fn why(&self, name: &str, root: Option<StepIndex>, causes: &Causes<'_>) -> String {
        let planned = self.planned;
        let Some(root) = root else { return "it has no files".to_owned() };
        if planned.fate(Some(root)) == Fate::Cached {
            return grounds(planned, root);
        }
        let id = &planned.graph().step(root).id;
        let cause = causes.of(id, &bases(&self.request.fleet, name));
        let cause = cause.map(|cause| sentence(&cause, &self.request.fleet));
        cause.unwrap_or_else(|| "what it copies must be made first".to_owned())
    }

    /// What the steps that an image brings cost.
    fn cost(&self, name: &str) -> (u64, bool) {
        let planned = self.planned;
        let own = planned.schedule.tails.keys();
        let own = own.filter(|step| planned.graph().step(**step).origin.image == name);
        own.fold((0, false), |(sum, guessed), step| {
            let known = !planned.costs.guessed.contains(step);
            (sum.saturating_add(planned.costs.of(*step)), guessed || !known)
        })
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

    fn value(&self, rows: &[Row<'_>], infos: &[StepInfo]) -> Value {
        let planned = self.planned;
        let schedule = &planned.schedule;
        let steps =
            planned.graph().indexes().zip(infos).map(|(index, info)| step(planned, index, info));
        let critical: Vec<&StepInfo> = schedule
            .longest_chain(planned.graph())
            .into_iter()
            .map(|step| &infos[step.0])
            .collect();
        json!({
            "version": 1,
            "images": rows.iter().map(|row| self.image(row)).collect::<Vec<_>>(),
            "steps": steps.collect::<Vec<_>>(),
            "work": !schedule.slots.is_empty(),
            "workers": self.request.jobs,
            "makespan_ms": schedule.makespan_ms,
            "critical_path_ms": schedule.critical_path_ms,
            "lower_bound_ms": schedule.lower_bound_ms,
            "critical_path": {
                "images": planned.critical_images(),
                "steps": critical.iter().map(|info| &info.id).collect::<Vec<_>>(),
            },
            "pull": {
                "bytes": self.pull.bytes(),
                "bases": self.pull.bases.iter()
                    .map(|(reference, bytes)| json!({ "reference": reference, "bytes": bytes }))
                    .collect::<Vec<_>>(),
                "others": self.pull.others,
            },
        })
    }

    fn image(&self, row: &Row<'_>) -> Value {
        let name = row.name.split(' ').next().unwrap_or_default();
        let needs = self.request.fleet.image(name).map(|image| &image.needs);
        let needs = needs.into_iter().flatten().map(|edge| &edge.image).collect::<Vec<_>>();
        let created = row.root.and_then(|root| created_ms(self.planned, root));
        json!({
            "name": row.name,
            "plan": row.fate.word(),
            "why": row.why,
            "needs": needs,
            "level": row.level,
            "steps": { "run": row.steps.0, "all": row.steps.1 },
            "cost_ms": row.cost.0,
            "estimated": row.cost.1,
            "ends_ms": row.ends_ms,
            "built_at_ms": created,
            "tags": self.tags.get(name).cloned().unwrap_or_default(),
        })
    }
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

fn step(planned: &Planned<'_>, index: StepIndex, info: &StepInfo) -> Value {
    let step = planned.graph().step(index);
    let plan = match planned.evaluation.decision(index) {
        Decision::Hit(_) | Decision::Built(_) => "cached",
        Decision::Run(_) if info.planned => "run",
        _ if info.planned => "depends",
        _ => "unneeded",
    };
    json!({
        "id": info.id,
        "name": info.name,
        "image": info.image,
        "stage": info.stage,
        "location": info.location,
        "images": step.images,
        "needs": info.needs,
        "plan": plan,
        "reason": planned.miss(index),
        "cost_ms": info.cost_ms,
        "estimated": planned.costs.guessed.contains(&index),
        "critical": info.critical,
    })
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
        _ => None,
    }
}

/// On what grounds an image need not be made.
pub(in crate::commands) fn grounds(planned: &Planned<'_>, root: StepIndex) -> String {
    let ago = created_ms(planned, root).map(|at| ago(now_ms().saturating_sub(at)));
    let ago = ago.unwrap_or_else(|| "before".to_owned());
    let steps = planned.graph().reach([root]);
    if steps.into_iter().any(|step| planned.evaluation.is_found_by_contents(step)) {
        return format!("the same files as {ago}");
    }
    format!("as built {ago}")
}
