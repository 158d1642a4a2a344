//! `bakehouse why --last IMAGE`: what became of an image in the last run that it was part of,
//! from the stream of that run alone.

use std::collections::BTreeSet;

use bakehouse_model::{ExitCode, StepId};
use bakehouse_render::jsonl::{self, ParseEventError};
use bakehouse_render::{
    Cause, CauseStep, Causes, Column, ImageProgress, ImageState, Progress, StepProgress, StepState,
    ago, duration, explain, table,
};
use bakehouse_store::{Store, StoredRun};
use serde_json::{Value, json};

use super::super::plan::sentence;
use super::cause_value;
use crate::cli::Format;
use crate::context::{Context, now_ms};
use crate::failure::Failure;
use crate::request::Request;

/// Tells of the last run.
pub(super) fn run(
    request: &Request,
    (image, format): (&str, Format),
    store: &Store,
    cx: &mut Context,
) -> Result<ExitCode, Failure> {
    for run in store.runs(&request.root)? {
        let run = run?;
        let progress = replay(&run);
        if let Some(part) = part(&progress, image) {
            let last = Last { request, image, run: &run, progress: &progress, part };
            match format {
                Format::Json => super::super::print_json(cx, &last.value())?,
                Format::Text => super::super::print(cx, &last.text(cx))?,
            }
            return Ok(ExitCode::Ok);
        }
    }
    let why = "no run that it was part of is known";
    match format {
        Format::Json => super::super::print_json(
            cx,
            &json!({
                "version": 1, "image": image, "run": null, "result": null, "why": why,
                "cause": null, "steps": [],
            }),
        )?,
        Format::Text => super::super::print(cx, &format!("{image}: {why}\n"))?,
    }
    Ok(ExitCode::Ok)
}

/// What a stream adds up to, as far as it was written and can be read.
fn replay(run: &StoredRun) -> Progress {
    let mut progress = Progress::default();
    for line in String::from_utf8_lossy(&run.stream).lines() {
        match jsonl::parse(line) {
            Ok(event) => progress.apply(&event),
            Err(ParseEventError::Unfamiliar { .. }) => {}
            Err(_) => break,
        }
    }
    progress
}

/// The image in a run; of several platforms, one that was not simply there.
fn part<'a>(progress: &'a Progress, image: &str) -> Option<&'a ImageProgress> {
    let own = || progress.images().iter().filter(|one| fleet_name(&one.info.name) == image);
    let busy = |one: &&ImageProgress| !matches!(one.state, ImageState::Done { cached: true, .. });
    own().find(busy).or_else(|| own().next())
}

/// The name in the fleet of an image that may be one of several platforms.
fn fleet_name(name: &str) -> &str {
    name.split(' ').next().unwrap_or_default()
}

struct Last<'a> {
    request: &'a Request,
    image: &'a str,
    run: &'a StoredRun,
    progress: &'a Progress,
    part: &'a ImageProgress,
}

impl Last<'_> {
    fn text(&self, cx: &Context) -> String {
        let ago = ago(now_ms().saturating_sub(self.run.started_ms));
        let mut text = format!("{}: {}\n\n", self.image, self.sentence(&ago));
        let columns = [
            Column::left("IMAGE"),
            Column::left("STEP").flexible(),
            Column::left("RESULT"),
            Column::right("TIME"),
            Column::left("WHERE"),
            Column::left("WHY").flexible(),
        ];
        let rows: Vec<Vec<String>> = self
            .steps()
            .into_iter()
            .map(|step| {
                let place = step.info.location.as_ref().map(ToString::to_string);
                let time = if step.ran_ms > 0 { duration(step.ran_ms) } else { "-".to_owned() };
                vec![
                    step.info.image.clone(),
                    step.info.name.clone(),
                    word(&step.state).to_owned(),
                    time,
                    place.unwrap_or_default(),
                    self.why(step),
                ]
            })
            .collect();
        text.push_str(&table(&columns, &rows, cx.width(), cx.style()));
        text
    }

    fn sentence(&self, ago: &str) -> String {
        let cause = self.cause().map(|cause| sentence(&cause, &self.request.fleet));
        match &self.part.state {
            ImageState::Done { cached: true, .. } => {
                format!("not rebuilt {ago}, every step of it was in the cache")
            }
            ImageState::Done { .. } => match cause {
                Some(cause) => format!("rebuilt {ago}, {cause}"),
                None => format!("rebuilt {ago}"),
            },
            ImageState::Failed { causes, .. } => format!("failed {ago}: {}", causes.join(": ")),
            ImageState::Skipped { needs } => format!("skipped {ago}, because {needs} failed"),
            ImageState::Cancelled => format!("interrupted {ago}"),
            ImageState::Waiting => format!("not finished: the run of {ago} ended without a word"),
        }
    }

    /// The steps of the image that the run had to do with, needs first.
    fn steps(&self) -> Vec<&StepProgress> {
        let mut open: Vec<&StepId> = self.part.info.step.iter().collect();
        let mut own = BTreeSet::new();
        while let Some(id) = open.pop() {
            let Some((at, step)) = self.progress.step(id) else { continue };
            if own.insert(at) {
                open.extend(&step.info.needs);
            }
        }
        let steps = own.into_iter().map(|at| &self.progress.steps()[at - 1]);
        steps.filter(|step| step.state != StepState::Unneeded).collect()
    }

    fn cause(&self) -> Option<Cause<'_>> {
        let steps = self.progress.steps().iter().map(|step| CauseStep {
            info: &step.info,
            miss: step.miss.as_ref(),
            runs: step.miss.is_some(),
        });
        Causes::new(steps).of(self.part.info.step.as_ref()?, &self.bases())
    }

    /// The images that it stood on, near and far.
    fn bases(&self) -> BTreeSet<String> {
        let mut bases = BTreeSet::new();
        let mut open: Vec<&str> = vec![self.image];
        while let Some(name) = open.pop() {
            let images = self.progress.images().iter();
            for image in images.filter(|one| fleet_name(&one.info.name) == name) {
                let new = image.info.needs.iter().filter(|need| bases.insert((*need).clone()));
                open.extend(new.map(String::as_str));
            }
        }
        bases.remove(self.image);
        bases
    }

    fn why(&self, step: &StepProgress) -> String {
        let name = |id: &StepId| self.progress.step(id).map(|(_, step)| step.info.name.clone());
        match (&step.state, &step.miss) {
            (StepState::Failed { causes, .. }, _) => causes.join(": "),
            (_, Some(miss)) => explain(miss, name),
            _ => String::new(),
        }
    }

    fn value(&self) -> Value {
        let ago = ago(now_ms().saturating_sub(self.run.started_ms));
        let steps = self.steps().into_iter().map(|step| {
            json!({
                "image": step.info.image,
                "stage": step.info.stage,
                "name": step.info.name,
                "location": step.info.location,
                "result": word(&step.state),
                "ran_ms": step.ran_ms,
                "why": self.why(step),
                "reason": step.miss,
            })
        });
        json!({
            "version": 1,
            "image": self.image,
            "run": { "started_at_ms": self.run.started_ms, "exit": self.progress.exit() },
            "result": result(&self.part.state),
            "why": self.sentence(&ago),
            "cause": self.cause().as_ref().map(cause_value),
            "steps": steps.collect::<Vec<_>>(),
        })
    }
}

fn result(state: &ImageState) -> &'static str {
    match state {
        ImageState::Done { cached: true, .. } => "cached",
        ImageState::Done { .. } => "built",
        ImageState::Failed { .. } => "failed",
        ImageState::Skipped { .. } => "skipped",
        ImageState::Cancelled => "cancelled",
        ImageState::Waiting => "unfinished",
    }
}

fn word(state: &StepState) -> &'static str {
    match state {
        StepState::Waiting | StepState::Running { .. } => "unfinished",
        StepState::Built => "built",
        StepState::Cached => "cached",
        StepState::Failed { .. } => "failed",
        StepState::Skipped { .. } => "skipped",
        StepState::Cancelled => "cancelled",
        StepState::Unneeded => "unneeded",
    }
}
