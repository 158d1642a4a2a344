//! The one reducer: what the events so far add up to.
//!
//! [`Progress::apply`] is pure and total: any event in any order gives a progress, and
//! what it does not know (a step that no plan named) it leaves aside. Renderers,
//! summaries and `--format json` read this and nothing else.

mod image;
mod time;

use std::collections::{BTreeMap, VecDeque};

use bakehouse_model::{
    Diagnostic, Event, EventKind, ExitCode, ImageInfo, MissReason, Outcome, StepId, StepInfo,
    TransferKind,
};

pub use image::{Exported, ImageProgress, ImageState, Tag};
pub use time::Length;

use crate::{text, words};

/// Log lines that are kept per step, for the failure report and the live view.
pub const LOG_TAIL: usize = 20;
/// Bytes that are kept of one of these lines.
const LINE_BYTES: usize = 2000;
/// Over how long a transfer's rate is taken.
const RATE_WINDOW_MS: u64 = 2000;

/// What the events so far add up to.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    steps: Vec<StepProgress>,
    by_id: BTreeMap<StepId, usize>,
    images: Vec<ImageProgress>,
    by_name: BTreeMap<String, usize>,
    transfers: Vec<Transfer>,
    notices: Vec<Diagnostic>,
    counts: Counts,
    workers: u32,
    planned: Length,
    started_ms: u64,
    last_ms: u64,
    exit: Option<ExitCode>,
}

/// One step and how far it is.
#[derive(Debug, Clone)]
pub struct StepProgress {
    /// What was said of it before the run.
    pub info: StepInfo,
    /// Where it stands.
    pub state: StepState,
    /// Why it had to run; none if it did not start.
    pub miss: Option<MissReason>,
    /// When it started, if it did.
    pub started_ms: Option<u64>,
    /// How long it ran.
    pub ran_ms: u64,
    /// The last lines it wrote, at most [`LOG_TAIL`]; empty once it is built.
    pub tail: VecDeque<String>,
    /// Log lines that nobody read fast enough.
    pub dropped: u64,
    needs: Vec<usize>,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepState {
    /// It has not begun.
    Waiting,
    /// A worker is on it.
    Running {
        /// The worker's slot.
        worker: u32,
    },
    /// It ran.
    Built,
    /// Its result was in the cache.
    Cached,
    /// It ran and failed.
    Failed {
        /// The error and its causes, outermost first.
        causes: Vec<String>,
        /// What to do about it.
        hints: Vec<String>,
        /// Exit code of its process, if that is what failed.
        code: Option<i32>,
    },
    /// One it needs failed.
    Skipped {
        /// The failed step.
        needs: StepId,
    },
    /// The run was interrupted.
    Cancelled,
    /// What stands on it was found in the cache.
    Unneeded,
}

impl StepState {
    /// Whether nothing more will happen to the step.
    pub fn is_ended(&self) -> bool {
        !matches!(self, Self::Waiting | Self::Running { .. })
    }
}

/// How many steps are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field is the state of its name")]
pub struct Counts {
    pub waiting: usize,
    pub running: usize,
    pub built: usize,
    pub cached: usize,
    pub failed: usize,
    pub skipped: usize,
    pub cancelled: usize,
    pub unneeded: usize,
}

impl Counts {
    /// Steps that the run is about: all but the unneeded.
    pub fn total(&self) -> usize {
        self.waiting + self.running + self.ended()
    }

    /// Steps of these that ended.
    pub fn ended(&self) -> usize {
        self.built + self.cached + self.failed + self.skipped + self.cancelled
    }

    fn slot(&mut self, state: &StepState) -> &mut usize {
        match state {
            StepState::Waiting => &mut self.waiting,
            StepState::Running { .. } => &mut self.running,
            StepState::Built => &mut self.built,
            StepState::Cached => &mut self.cached,
            StepState::Failed { .. } => &mut self.failed,
            StepState::Skipped { .. } => &mut self.skipped,
            StepState::Cancelled => &mut self.cancelled,
            StepState::Unneeded => &mut self.unneeded,
        }
    }
}

/// Bytes on their way.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// Which way.
    pub way: TransferKind,
    /// What moves.
    pub what: String,
    /// Bytes so far.
    pub done: u64,
    /// Bytes in all; 0 if not known.
    pub total: u64,
    /// When it was first seen.
    pub started_ms: u64,
    /// When it last moved.
    pub last_ms: u64,
    window_ms: u64,
    window_done: u64,
}

impl Transfer {
    /// Whether all of it has arrived.
    pub fn is_done(&self) -> bool {
        self.total > 0 && self.done >= self.total
    }

    /// Bytes per second of late.
    pub fn rate(&self, now_ms: u64) -> u64 {
        let ms = now_ms.max(self.last_ms).saturating_sub(self.window_ms);
        let moved = u128::from(self.done.saturating_sub(self.window_done)) * 1000;
        u64::try_from(moved / u128::from(ms.max(1))).unwrap_or(u64::MAX)
    }
}

impl Progress {
    /// What a whole stream adds up to.
    pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut progress = Self::default();
        for event in events {
            progress.apply(event);
        }
        progress
    }

    /// Takes one event in.
    pub fn apply(&mut self, event: &Event) {
        let at_ms = event.at_ms;
        self.last_ms = self.last_ms.max(at_ms);
        match &event.kind {
            EventKind::RunStarted {
                steps, images, workers, makespan_ms, critical_path_ms, ..
            } => {
                self.begin(at_ms, steps, images);
                self.workers = *workers;
                self.planned =
                    Length { makespan_ms: *makespan_ms, critical_path_ms: *critical_path_ms };
            }
            EventKind::Noticed { diagnostic } => self.notices.push(diagnostic.clone()),
            EventKind::StepStarted { step, worker, miss } => {
                if let Some(at) = self.move_to(step, StepState::Running { worker: *worker }) {
                    self.steps[at].started_ms = Some(at_ms);
                    self.steps[at].miss = Some(miss.clone());
                }
            }
            // The live view shows it as the step's last line, until it has another.
            EventKind::StepWaited { step } => self.log(step, words::WAITS),
            EventKind::StepLogged { step, line, .. } => self.log(step, line),
            EventKind::LogDropped { step, lines } => {
                if let Some(&at) = self.by_id.get(step) {
                    self.steps[at].dropped = self.steps[at].dropped.saturating_add(*lines);
                }
            }
            EventKind::StepFinished { step, outcome, ran_ms } => {
                self.finish_step(step, outcome, *ran_ms);
            }
            EventKind::Transferred { way, what, done, total } => {
                self.transfer((*way, what), *done, *total, at_ms);
            }
            EventKind::RunFinished { exit } => {
                self.exit = Some(*exit);
                self.settle_images();
            }
            of_image => self.apply_to_image(of_image, at_ms),
        }
    }

    fn begin(&mut self, at_ms: u64, steps: &[StepInfo], images: &[ImageInfo]) {
        *self = Self { started_ms: at_ms, last_ms: at_ms, ..Self::default() };
        for info in steps {
            // Needs come first in a well-formed plan; what does not is left out, so that
            // every walk below ends whatever the log says.
            let needs = info.needs.iter().filter_map(|id| self.by_id.get(id).copied()).collect();
            if self.by_id.contains_key(&info.id) {
                continue;
            }
            self.by_id.insert(info.id.clone(), self.steps.len());
            self.steps.push(StepProgress {
                info: info.clone(),
                state: StepState::Waiting,
                miss: None,
                started_ms: None,
                ran_ms: 0,
                tail: VecDeque::new(),
                dropped: 0,
                needs,
            });
        }
        self.counts.waiting = self.steps.len();
        self.begin_images(images);
    }

    fn move_to(&mut self, step: &StepId, state: StepState) -> Option<usize> {
        let at = *self.by_id.get(step)?;
        *self.counts.slot(&self.steps[at].state) -= 1;
        *self.counts.slot(&state) += 1;
        self.steps[at].state = state;
        Some(at)
    }

    fn log(&mut self, step: &StepId, line: &str) {
        let Some(&at) = self.by_id.get(step) else { return };
        let line = text::last_state(line);
        let tail = &mut self.steps[at].tail;
        if tail.len() == LOG_TAIL {
            tail.pop_front();
        }
        tail.push_back(text::bounded(line, LINE_BYTES).to_owned());
    }

    fn finish_step(&mut self, step: &StepId, outcome: &Outcome, ran_ms: u64) {
        let state = match outcome {
            Outcome::Built => StepState::Built,
            Outcome::Cached { .. } => StepState::Cached,
            Outcome::Failed { causes, hints, code } => {
                StepState::Failed { causes: causes.clone(), hints: hints.clone(), code: *code }
            }
            Outcome::Skipped { needs } => StepState::Skipped { needs: needs.clone() },
            Outcome::Unneeded => StepState::Unneeded,
            // An outcome of a later version is none of the good ones.
            _ => StepState::Cancelled,
        };
        let failed = matches!(state, StepState::Failed { .. });
        if let Some(at) = self.move_to(step, state) {
            self.steps[at].ran_ms = ran_ms;
            if matches!(outcome, Outcome::Cached { .. }) {
                // It was to run, and another build was faster.
                self.steps[at].miss = None;
            }
            if !failed {
                self.steps[at].tail = VecDeque::new();
            }
        }
    }

    fn transfer(&mut self, key: (TransferKind, &str), done: u64, total: u64, at_ms: u64) {
        let (way, what) = key;
        let known = self
            .transfers
            .iter_mut()
            .rev()
            .find(|t| t.way == way && t.what == what && !t.is_done());
        let Some(transfer) = known else {
            self.transfers.push(Transfer {
                way,
                what: what.to_owned(),
                done,
                total,
                started_ms: at_ms,
                last_ms: at_ms,
                window_ms: at_ms,
                window_done: if total > 0 && done >= total { 0 } else { done },
            });
            return;
        };
        if at_ms.saturating_sub(transfer.window_ms) > RATE_WINDOW_MS {
            transfer.window_ms = transfer.last_ms;
            transfer.window_done = transfer.done;
        }
        transfer.done = done;
        transfer.total = total;
        transfer.last_ms = at_ms;
    }

    /// Every step, needs first.
    pub fn steps(&self) -> &[StepProgress] {
        &self.steps
    }

    /// One step and its number from 1, as people see it.
    pub fn step(&self, id: &StepId) -> Option<(usize, &StepProgress)> {
        let at = *self.by_id.get(id)?;
        Some((at + 1, &self.steps[at]))
    }

    /// Steps that run now, by worker, so that their order does not jump.
    pub fn running(&self) -> Vec<&StepProgress> {
        let mut running: Vec<(u32, &StepProgress)> = self
            .steps
            .iter()
            .filter_map(|step| match step.state {
                StepState::Running { worker } => Some((worker, step)),
                _ => None,
            })
            .collect();
        running.sort_by_key(|(worker, _)| *worker);
        running.into_iter().map(|(_, step)| step).collect()
    }

    /// Steps that failed, needs first.
    pub fn failures(&self) -> impl Iterator<Item = &StepProgress> {
        self.steps.iter().filter(|step| matches!(step.state, StepState::Failed { .. }))
    }

    /// The steps that ran longest, longest first.
    pub fn slowest(&self, count: usize) -> Vec<&StepProgress> {
        let mut ran: Vec<&StepProgress> = self.steps.iter().filter(|s| s.ran_ms > 0).collect();
        ran.sort_by_key(|step| std::cmp::Reverse(step.ran_ms));
        ran.truncate(count);
        ran
    }

    /// How many steps are in each state.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Every image, in the order of the plan.
    pub fn images(&self) -> &[ImageProgress] {
        &self.images
    }

    /// One image by its name in the fleet.
    pub fn image(&self, name: &str) -> Option<&ImageProgress> {
        self.by_name.get(name).map(|&at| &self.images[at])
    }

    /// Every transfer, in the order of their starts.
    pub fn transfers(&self) -> &[Transfer] {
        &self.transfers
    }

    /// What was noticed about the input.
    pub fn notices(&self) -> &[Diagnostic] {
        &self.notices
    }

    /// Workers that run steps.
    pub fn workers(&self) -> u32 {
        self.workers
    }

    /// What the process will exit with, once the run is over.
    pub fn exit(&self) -> Option<ExitCode> {
        self.exit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::{self, Log};
    use bakehouse_model::Stream;

    #[test]
    fn counts_follow_every_transition_and_always_add_up() {
        let events = recorded::failure();
        let mut progress = Progress::default();
        for event in &events {
            progress.apply(event);
            let c = progress.counts();
            assert_eq!(c.total() + c.unneeded, progress.steps().len());
        }
        assert_eq!(progress.counts().failed, 1);
        assert_eq!(progress.counts().skipped, 1);
        assert_eq!(progress.exit(), Some(ExitCode::WorkFailed));
    }

    #[test]
    fn a_tail_is_bounded_in_lines_and_bytes_and_goes_when_the_step_is_built() {
        let mut log = Log::new();
        log.plan(&[("a", "app", "RUN a", &[])], &[("app", "a", &[])]);
        log.at(1).start("a", MissReason::NeverBuilt);
        for n in 0..100 {
            log.line("a", Stream::Stdout, &format!("{n} {}", "x".repeat(9000)));
        }
        let mut progress = Progress::replay(log.events());
        let tail = &progress.steps()[0].tail;
        assert_eq!(tail.len(), LOG_TAIL);
        assert!(tail[0].starts_with("80 ") && tail.iter().all(|l| l.len() <= LINE_BYTES));
        progress.apply(&log.built("a", 5).events().last().unwrap().clone());
        assert!(progress.steps()[0].tail.is_empty());
    }

    #[test]
    fn events_about_unknown_steps_and_images_change_nothing() {
        let mut log = Log::new();
        log.plan(&[("a", "app", "RUN a", &[])], &[("app", "a", &[])]);
        log.start("ghost", MissReason::Forced).line("ghost", Stream::Stderr, "boo");
        log.built("ghost", 4).dropped("ghost", 4).image_failed("ghost", &["no"]);
        let progress = Progress::replay(log.events());
        assert_eq!(progress.counts(), Counts { waiting: 1, ..Counts::default() });
    }

    #[test]
    fn a_plan_in_the_wrong_order_or_with_a_cycle_still_reduces() {
        let mut log = Log::new();
        log.plan(
            &[("a", "app", "RUN a", &["b"]), ("b", "app", "RUN b", &["a", "b"])],
            &[("app", "b", &["app"]), ("app", "a", &["gone"])],
        );
        let progress = Progress::replay(log.events());
        assert_eq!(progress.images().len(), 1);
        assert!(progress.left_ms(10) > 0);
    }

    #[test]
    fn the_rate_of_a_transfer_is_that_of_the_last_seconds() {
        let mut log = Log::new();
        log.plan(&[], &[]);
        for (at, done) in [(0, 0), (1000, 10_000), (2000, 20_000), (3001, 20_000)] {
            log.at(at).moved(TransferKind::Pull, "x", done, 100_000);
        }
        let progress = Progress::replay(log.events());
        let transfer = &progress.transfers()[0];
        assert_eq!(transfer.rate(3001), 0, "it stands still");
        assert!(!transfer.is_done());
    }
}
