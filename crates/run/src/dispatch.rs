//! The loop: one thread owns the state of a run; workers build, finishers make images.
//!
//! - Ready steps go to free workers, the longest tail first.
//! - What a step's contents are is asked of workers too, so that the loop never waits for a disk.
//! - A step runs once, however many runs of one memory are at it: the others wait, and take
//!   what it made. If it made nothing, the next one runs it.
//! - Every step that was started ends exactly once, panics included.
//! - A failure stops what needs it and nothing else.
//! - Cancelling starts nothing more and waits for what runs (which the backend kills).
//! - Lifecycle events are never dropped; log lines are when nobody reads them fast enough,
//!   and that is an event too.

mod claim;
mod pool;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bakehouse_model::{
    Diagnostic, Digest, EventKind, ExitCode, Key, MissReason, Outcome, Record, Snapshot, StepId,
};
use bakehouse_plan::caches::{Import, export};
use bakehouse_plan::evaluate::{Contents, Decision, Evaluation, Question};
use bakehouse_plan::graph::StepIndex;

use crate::backend::{Backend, BackendError, Built, Finish, Memory};
use claim::Made;
use pool::{Job, Lanes, Message, Ready, Task};

/// How often a quiet loop looks whether it was cancelled.
const TICK: Duration = Duration::from_millis(50);

/// Tells a run to stop. Clones tell the same run.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the run to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked to.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What to run.
#[derive(Debug)]
pub struct Run<'a, 'g> {
    /// What is decided so far.
    pub evaluation: &'a mut Evaluation<'g>,
    /// The images that are wanted, with the step that makes each.
    pub images: Vec<(String, Option<StepIndex>)>,
    /// The longest chain from each step to the end: who goes first.
    pub tails: BTreeMap<StepIndex, u64>,
    /// How many steps run at once.
    pub workers: usize,
    /// Images that are to have a cache within them.
    pub inline: BTreeSet<String>,
    /// Stops the run.
    pub cancel: Cancel,
}

/// The doors a run works through.
#[derive(Clone, Copy)]
pub struct Doors<'a> {
    /// Builds steps.
    pub backend: &'a dyn Backend,
    /// Remembers results.
    pub memory: &'a dyn Memory,
    /// Makes images.
    pub finish: &'a dyn Finish,
    /// The time, in milliseconds since 1970.
    pub now_ms: &'a (dyn Fn() -> u64 + Sync),
}

impl std::fmt::Debug for Doors<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Doors")
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcomes {
    /// What the process should exit with.
    pub exit: ExitCode,
    /// How long each step ran that ran with success.
    pub costs: BTreeMap<StepIndex, u64>,
    /// Images that could not be made.
    pub failed_images: BTreeSet<String>,
}

/// Runs until every wanted image is made or can't be.
pub fn run(run: Run<'_, '_>, doors: Doors<'_>, emit: &mut dyn FnMut(EventKind)) -> Outcomes {
    std::thread::scope(|scope| {
        let (lanes, messages) = Lanes::start(scope, run.workers.max(1), doors, &run.cancel);
        let mut dispatcher = Dispatcher::new(run, doors, lanes, emit);
        dispatcher.drive(&messages);
        dispatcher.finish()
    })
}

struct Dispatcher<'a, 'g, 'e> {
    evaluation: &'a mut Evaluation<'g>,
    doors: Doors<'a>,
    lanes: Lanes<'g>,
    emit: &'e mut dyn FnMut(EventKind),
    images: Vec<(String, Option<StepIndex>, ImageState)>,
    tails: BTreeMap<StepIndex, u64>,
    cancel: Cancel,
    started: BTreeMap<StepIndex, (u64, MissReason)>,
    /// What workers are at, by the key that it is named by.
    making: BTreeMap<StepIndex, Key>,
    /// Steps whose end is told.
    told: BTreeSet<StepIndex>,
    costs: BTreeMap<StepIndex, u64>,
    failed: Option<ExitCode>,
    failed_by: BTreeMap<StepIndex, StepId>,
    failed_images: BTreeSet<String>,
    inline: BTreeSet<String>,
    /// Steps whose results are being fetched, or were.
    importing: BTreeSet<StepIndex>,
    asking: usize,
    finishing: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImageState {
    Waiting,
    Finishing,
    Done,
}

impl<'a, 'g, 'e> Dispatcher<'a, 'g, 'e> {
    fn new(
        run: Run<'a, 'g>,
        doors: Doors<'a>,
        lanes: Lanes<'g>,
        emit: &'e mut dyn FnMut(EventKind),
    ) -> Self {
        let images = run.images.into_iter().map(|(n, s)| (n, s, ImageState::Waiting)).collect();
        Self {
            evaluation: run.evaluation,
            doors,
            lanes,
            emit,
            images,
            tails: run.tails,
            cancel: run.cancel,
            started: BTreeMap::new(),
            making: BTreeMap::new(),
            told: BTreeSet::new(),
            costs: BTreeMap::new(),
            failed: None,
            failed_by: BTreeMap::new(),
            failed_images: BTreeSet::new(),
            inline: run.inline,
            importing: BTreeSet::new(),
            asking: 0,
            finishing: 0,
        }
    }

    fn drive(&mut self, messages: &Receiver<Message>) {
        loop {
            if !self.cancel.is_cancelled() {
                self.ask();
                self.tell_ends();
                self.finish_images();
                self.start_imports();
                self.start_ready();
            }
            let idle = self.asking == 0 && self.finishing == 0 && self.lanes.running() == 0;
            if idle {
                return;
            }
            match messages.recv_timeout(TICK) {
                Ok(message) => {
                    self.take(message);
                    // Whatever else is there already is taken in one go.
                    while let Ok(message) = messages.try_recv() {
                        self.take(message);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Asks what the evaluation has to know; records at once, contents of workers.
    fn ask(&mut self) {
        loop {
            let mut again = false;
            for question in self.evaluation.advance() {
                match question {
                    Question::Records(keys) => {
                        again = true;
                        match self.doors.memory.records(&keys) {
                            Ok(answers) => self.evaluation.remember(&answers),
                            Err(error) => return self.abort(&error),
                        }
                    }
                    Question::Content { step, input, output, selections } => {
                        self.asking += 1;
                        self.lanes.ask(Task::Contents { step, input, output, selections });
                    }
                }
            }
            if !again {
                return;
            }
        }
    }

    /// The store itself does not answer: nothing can go on.
    fn abort(&mut self, error: &BackendError) {
        (self.emit)(EventKind::Noticed { diagnostic: notice(error) });
        self.failed = Some(ExitCode::Environment);
        self.cancel.cancel();
    }

    /// Fetches what caches have, as far as it is wanted.
    fn start_imports(&mut self) {
        let wanted = self.evaluation.wanted_imports();
        let fresh = wanted.into_iter().filter(|(step, _)| !self.importing.contains(step));
        let fresh: Vec<_> = fresh.map(|(step, import)| (step, import.clone())).collect();
        for (index, import) in fresh {
            self.importing.insert(index);
            self.finishing += 1;
            let step = self.evaluation.graph().step(index);
            self.lanes.finish(Task::Import { index, step, import });
        }
    }

    fn imported(
        &mut self,
        step: StepIndex,
        import: Import,
        result: Result<Snapshot, BackendError>,
    ) {
        let snapshot = match result {
            Ok(snapshot) if snapshot.layers.len() == import.layers.len() => snapshot,
            Ok(_) => return self.evaluation.lost(step),
            Err(BackendError::Cancelled) => return,
            Err(error) => {
                let diagnostic = self.not_imported(step, &error);
                (self.emit)(EventKind::Noticed { diagnostic });
                return self.evaluation.lost(step);
            }
        };
        let record = |import: &Import| Record {
            id: import.id.clone(),
            snapshot: Snapshot { layers: snapshot.layers[..import.layers.len()].to_vec() },
            created_ms: import.created_ms,
            cost_ms: 0,
        };
        let with = self.evaluation.comes_with(&import).into_iter();
        let with: Vec<_> = with.map(|(index, own)| (index, record(own))).collect();
        for (index, own) in with {
            if let Err(error) = self.doors.memory.keep(&self.evaluation.keys(index), &own) {
                return self.abort(&error);
            }
            // What is on its way itself says so when it comes.
            if index == step || !self.importing.contains(&index) {
                self.evaluation.fetched(index, own);
            }
        }
        self.end(step, Outcome::Cached { from: Some(import.from) }, 0);
    }

    fn not_imported(&self, step: StepIndex, error: &BackendError) -> Diagnostic {
        let origin = &self.evaluation.graph().step(step).origin;
        Diagnostic {
            location: origin.location.clone(),
            severity: bakehouse_model::Severity::Warning,
            code: "cache-lost".to_owned(),
            message: format!("`{}` is not taken from a cache: {}", origin.name, {
                error.causes().join(": ")
            }),
            help: Some("the step runs instead; write the cache again".to_owned()),
        }
    }

    fn start_ready(&mut self) {
        let mut ready = self.evaluation.ready();
        ready.retain(|step| !self.started.contains_key(step));
        ready.sort_by_key(|s| (std::cmp::Reverse(self.tails.get(s).copied().unwrap_or(0)), *s));
        for step in ready {
            let Some(worker) = self.lanes.free_worker() else { return };
            let Decision::Run(miss) = self.evaluation.decision(step).clone() else { continue };
            let graph = self.evaluation.graph();
            let node = graph.step(step);
            let inputs = node.inputs.iter().map(|input| self.evaluation.output(*input));
            let inputs: Option<Vec<_>> = inputs.collect();
            let Some(inputs) = inputs else { continue };
            let keys = self.shared_keys(step, &miss);
            match keys.first() {
                // Another step comes to the same. When it is done, this one finds its result.
                Some(key) if self.making.values().any(|other| other == key) => continue,
                Some(key) => drop(self.making.insert(step, key.clone())),
                None => {}
            }
            (self.emit)(EventKind::StepStarted {
                step: node.id.clone(),
                worker: u32::try_from(worker).unwrap_or(u32::MAX),
                miss: miss.clone(),
            });
            self.started.insert(step, ((self.doors.now_ms)(), miss));
            self.lanes.build(worker, Job { index: step, step: node, inputs, keys });
        }
    }

    /// The keys under which other runs may make the same result at the same time.
    fn shared_keys(&self, step: StepIndex, miss: &MissReason) -> Vec<Key> {
        match miss {
            MissReason::Forced | MissReason::MustFetch => Vec::new(),
            _ => self.evaluation.keys(step),
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Event(event) => (self.emit)(event),
            Message::Logged(event) => {
                self.lanes.logged();
                (self.emit)(event);
            }
            Message::Contents { step, input, result } => {
                self.asking -= 1;
                match result {
                    Ok(contents) => self.contents(step, input, contents),
                    Err(error) => self.fail(step, &error, 0),
                }
            }
            Message::Built { step, worker, result } => {
                self.lanes.release(worker);
                self.making.remove(&step);
                self.made(step, result);
            }
            Message::Prepared => self.finishing -= 1,
            Message::Imported { step, import, result } => {
                self.finishing -= 1;
                self.imported(step, import, result);
            }
            Message::Finished { image, result } => {
                self.finishing -= 1;
                self.images[image].2 = ImageState::Done;
                if let Err(error) = result {
                    self.image_failed(image, error.causes(), error.hints().to_vec());
                    self.failed.get_or_insert(exit_code(&error));
                }
            }
        }
    }

    fn contents(&mut self, step: StepIndex, input: usize, contents: Contents) {
        self.evaluation.content(step, input, contents);
    }

    fn made(&mut self, step: StepIndex, result: Result<Made, BackendError>) {
        let (start, miss) = self.started.get(&step).cloned().unwrap_or((0, MissReason::NeverBuilt));
        let now = (self.doors.now_ms)();
        let ran_ms = now.saturating_sub(start);
        match result {
            // The claim is let go when the record is kept, so that who waits for it finds that.
            Ok(Made::New { built, claim: _claim }) => {
                self.built(step, &built, &miss, (now, ran_ms));
            }
            Ok(Made::Found(record)) => {
                self.prepare(&record);
                self.evaluation.found(step, record);
                self.end(step, Outcome::Cached { from: None }, 0);
            }
            Err(error) => self.fail(step, &error, ran_ms),
        }
    }

    fn built(
        &mut self,
        step: StepIndex,
        built: &Built,
        miss: &MissReason,
        (now, ran_ms): (u64, u64),
    ) {
        let keys = self.evaluation.keys(step);
        let id = record_id(&keys, miss, built, now);
        let record =
            Record { id, snapshot: built.snapshot.clone(), created_ms: now, cost_ms: ran_ms };
        let fetched = matches!(miss, MissReason::MustFetch);
        let names = if fetched { vec![record.id.clone()] } else { keys };
        if let Err(error) = self.doors.memory.keep(&names, &record) {
            return self.fail(step, &error, ran_ms);
        }
        self.costs.insert(step, ran_ms);
        self.prepare(&record);
        self.evaluation.built(step, record);
        self.end(step, Outcome::Built, ran_ms);
    }

    fn prepare(&mut self, record: &Record) {
        self.finishing += 1;
        self.lanes.finish(Task::Prepare { record: record.clone() });
    }

    fn fail(&mut self, step: StepIndex, error: &BackendError, ran_ms: u64) {
        self.evaluation.failed(step);
        if matches!(error, BackendError::Cancelled) {
            return self.end(step, Outcome::Cancelled, ran_ms);
        }
        self.failed.get_or_insert(exit_code(error));
        let id = self.evaluation.graph().step(step).id.clone();
        self.failed_by.insert(step, id);
        let outcome = Outcome::Failed {
            causes: error.causes(),
            hints: error.hints().to_vec(),
            code: error.code(),
        };
        self.end(step, outcome, ran_ms);
    }

    fn end(&mut self, step: StepIndex, outcome: Outcome, ran_ms: u64) {
        if self.told.insert(step) {
            let step = self.evaluation.graph().step(step).id.clone();
            (self.emit)(EventKind::StepFinished { step, outcome, ran_ms });
        }
    }

    /// Tells of steps that were found, or that can't run any more.
    fn tell_ends(&mut self) {
        for step in self.evaluation.graph().indexes() {
            if self.told.contains(&step) {
                continue;
            }
            match self.evaluation.decision(step) {
                Decision::Hit(_) if self.evaluation.is_wanted(step) => {
                    self.end(step, Outcome::Cached { from: None }, 0);
                }
                Decision::Failed => {
                    let needs = &self.evaluation.graph().step(step).inputs;
                    let cause = needs.iter().find_map(|need| self.failed_by.get(need)).cloned();
                    let Some(cause) = cause else { continue };
                    self.failed_by.insert(step, cause.clone());
                    self.end(step, Outcome::Skipped { needs: cause }, 0);
                }
                _ => {}
            }
        }
    }

    fn finish_images(&mut self) {
        for image in 0..self.images.len() {
            let (_, root, state) = &self.images[image];
            if *state != ImageState::Waiting {
                continue;
            }
            let (record, cached) = match root.map(|root| self.evaluation.decision(root)) {
                None => (None, true),
                Some(Decision::Hit(record)) => (Some(record.clone()), true),
                Some(Decision::Built(record)) => (Some(record.clone()), false),
                Some(Decision::Failed) => {
                    let causes = vec!["a step that it needs failed".to_owned()];
                    self.images[image].2 = ImageState::Done;
                    self.image_failed(image, causes, Vec::new());
                    continue;
                }
                Some(_) => continue,
            };
            self.images[image].2 = ImageState::Finishing;
            self.finishing += 1;
            let name = self.images[image].0.clone();
            let cache = self.images[image].1.filter(|_| self.inline.contains(&name));
            let cache = cache.map(|root| export::inline(self.evaluation, root));
            self.lanes.finish(Task::Image { image, name, whole: Ready { record, cached, cache } });
        }
    }

    fn image_failed(&mut self, image: usize, causes: Vec<String>, hints: Vec<String>) {
        let name = self.images[image].0.clone();
        self.failed_images.insert(name.clone());
        (self.emit)(EventKind::ImageFailed { image: name, causes, hints });
    }

    fn finish(mut self) -> Outcomes {
        let cancelled = self.cancel.is_cancelled();
        for step in self.evaluation.graph().indexes() {
            let outcome = if cancelled && self.evaluation.is_wanted(step) {
                Outcome::Cancelled
            } else {
                Outcome::Unneeded
            };
            self.end(step, outcome, 0);
        }
        let exit = match self.failed {
            Some(exit) => exit,
            // Without anybody's asking, a backend that says it was cancelled made nothing either.
            None if cancelled || !self.failed_images.is_empty() => ExitCode::Interrupted,
            None if self.images.iter().any(|(_, _, state)| *state != ImageState::Done) => {
                ExitCode::Internal
            }
            None => ExitCode::Ok,
        };
        Outcomes { exit, costs: self.costs, failed_images: self.failed_images }
    }
}

/// What the result is named by: its key, unless it must not be mistaken for an earlier one.
fn record_id(keys: &[Key], miss: &MissReason, built: &Built, now: u64) -> Key {
    match (&built.fetched, keys.first()) {
        (Some(fetched), _) => Key(Digest::of(format!("fetched {fetched}"))),
        (None, Some(key)) if *miss == MissReason::Forced => {
            Key(Digest::of(format!("forced {} {now}", key.0)))
        }
        (None, Some(key)) => key.clone(),
        (None, None) => Key(Digest::of(format!("unnamed {now}"))),
    }
}

fn exit_code(error: &BackendError) -> ExitCode {
    match error {
        BackendError::Command { .. } => ExitCode::WorkFailed,
        BackendError::Input { .. } => ExitCode::Input,
        BackendError::Environment { .. } => ExitCode::Environment,
        BackendError::Cancelled => ExitCode::Interrupted,
        BackendError::Panicked { .. } => ExitCode::Internal,
    }
}

fn notice(error: &BackendError) -> Diagnostic {
    Diagnostic {
        location: None,
        severity: bakehouse_model::Severity::Error,
        code: "store".to_owned(),
        message: error.causes().join(": "),
        help: error.hints().first().cloned(),
    }
}
