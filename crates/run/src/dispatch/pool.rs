//! The threads of a run: workers for steps, askers for contents, finishers for images.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::Scope;

use bakehouse_model::op::Output;
use bakehouse_model::{EventKind, Key, Record, Snapshot, StepId, Stream};
use bakehouse_plan::caches::Import;
use bakehouse_plan::caches::document::CacheRecord;
use bakehouse_plan::evaluate::Contents;
use bakehouse_plan::graph::{Step, StepIndex};
use bakehouse_plan::key::Selection;

use super::claim::{Claimed, Made, claim};
use super::{Cancel, Doors};
use crate::backend::{BackendError, Log, Whole};

/// Log lines that may wait for the loop; more are dropped and counted.
const LOG_BACKLOG: usize = 4096;
/// Threads that look into contents: what they do is work for a processor.
const ASKERS: usize = 2;
/// Threads that make images: most of the time they wait for a registry.
const FINISHERS: usize = 4;

/// What a thread tells the loop.
pub(super) enum Message {
    Event(EventKind),
    Logged(EventKind),
    Contents { step: StepIndex, input: usize, result: Result<Contents, BackendError> },
    Built { step: StepIndex, worker: usize, result: Result<Made, BackendError> },
    Prepared,
    Imported { step: StepIndex, import: Import, result: Result<Snapshot, BackendError> },
    Finished { image: usize, result: Result<(), BackendError> },
}

/// [`Whole`], on its way to a thread.
pub(super) struct Ready {
    pub(super) record: Option<Record>,
    pub(super) cached: bool,
    pub(super) cache: Option<Vec<CacheRecord>>,
}

/// What askers and finishers do.
pub(super) enum Task<'g> {
    Import { index: StepIndex, step: &'g Step, import: Import },
    Contents { step: StepIndex, input: usize, output: Output, selections: Vec<Selection> },
    Prepare { record: Record },
    Image { image: usize, name: String, whole: Ready },
}

/// A step for a worker.
pub(super) struct Job<'g> {
    pub(super) index: StepIndex,
    pub(super) step: &'g Step,
    pub(super) inputs: Vec<Output>,
    /// Where other runs look for the same result, the one it is named by first; none if the
    /// step must run whatever others do.
    pub(super) keys: Vec<Key>,
}

/// The ways into the threads. Dropping them ends the threads.
pub(super) struct Lanes<'g> {
    workers: Vec<Sender<Job<'g>>>,
    busy: Vec<bool>,
    asks: Sender<Task<'g>>,
    finishes: Sender<Task<'g>>,
    backlog: Arc<AtomicUsize>,
}

impl<'g> Lanes<'g> {
    pub(super) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        workers: usize,
        doors: Doors<'env>,
        cancel: &Cancel,
    ) -> (Self, Receiver<Message>)
    where
        'g: 'scope,
        'env: 'scope,
    {
        let (messages, inbox) = mpsc::channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let workers: Vec<Sender<Job<'g>>> = (0..workers)
            .map(|worker| {
                let (jobs, queue) = mpsc::channel::<Job<'g>>();
                let outbox = Outbox { messages: messages.clone(), backlog: Arc::clone(&backlog) };
                let cancel = cancel.clone();
                scope.spawn(move || {
                    for job in queue {
                        outbox.build(worker, &job, doors, &cancel);
                    }
                });
                jobs
            })
            .collect();
        let asks = helpers(scope, (&messages, &backlog), ASKERS, doors);
        let finishes = helpers(scope, (&messages, &backlog), FINISHERS, doors);
        let busy = vec![false; workers.len()];
        (Self { workers, busy, asks, finishes, backlog }, inbox)
    }

    pub(super) fn free_worker(&self) -> Option<usize> {
        self.busy.iter().position(|busy| !busy)
    }

    pub(super) fn running(&self) -> usize {
        self.busy.iter().filter(|busy| **busy).count()
    }

    pub(super) fn release(&mut self, worker: usize) {
        self.busy[worker] = false;
    }

    pub(super) fn build(&mut self, worker: usize, job: Job<'g>) {
        self.busy[worker] = true;
        self.workers[worker].send(job).expect("workers end only after the lanes are dropped");
    }

    pub(super) fn ask(&self, task: Task<'g>) {
        self.asks.send(task).expect("askers end only after the lanes are dropped");
    }

    pub(super) fn finish(&self, task: Task<'g>) {
        self.finishes.send(task).expect("finishers end only after the lanes are dropped");
    }

    /// The loop has read a log line.
    pub(super) fn logged(&self) {
        self.backlog.fetch_sub(1, Ordering::Relaxed);
    }
}

fn helpers<'scope, 'env, 'g>(
    scope: &'scope Scope<'scope, 'env>,
    (messages, backlog): (&Sender<Message>, &Arc<AtomicUsize>),
    threads: usize,
    doors: Doors<'env>,
) -> Sender<Task<'g>>
where
    'g: 'scope,
    'env: 'scope,
{
    let (tasks, queue) = mpsc::channel::<Task<'g>>();
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..threads {
        let queue = Arc::clone(&queue);
        let outbox = Outbox { messages: messages.clone(), backlog: Arc::clone(backlog) };
        scope.spawn(move || {
            loop {
                // The lock is held only while waiting; a poisoned one means the run is over.
                let task = match queue.lock() {
                    Ok(queue) => queue.recv(),
                    Err(_) => return,
                };
                match task {
                    Ok(task) => outbox.help(task, doors),
                    Err(_) => return,
                }
            }
        });
    }
    tasks
}

struct Outbox {
    messages: Sender<Message>,
    backlog: Arc<AtomicUsize>,
}

impl Outbox {
    /// The loop may be gone already when a run ends early; then nobody has to know.
    fn send(&self, message: Message) {
        drop(self.messages.send(message));
    }

    fn build(&self, worker: usize, job: &Job<'_>, doors: Doors<'_>, cancel: &Cancel) {
        let mut dropped = 0_u64;
        let id = job.step.id.clone();
        let mut line = |stream, line| self.log(&id, stream, line, &mut dropped);
        let emit = |event| self.send(Message::Event(event));
        let mut log = Log::new(&mut line, &emit);
        let waits = || self.send(Message::Event(EventKind::StepWaited { step: id.clone() }));
        let result = caught(|| match claim(doors.memory, &job.keys, cancel, &waits)? {
            Claimed::Found(record) => Ok(Made::Found(record)),
            Claimed::Ours(claim) => {
                let built = doors.backend.build(job.step, &job.inputs, &mut log)?;
                Ok(Made::New { built, claim })
            }
        });
        if dropped > 0 {
            self.send(Message::Event(EventKind::LogDropped { step: id.clone(), lines: dropped }));
        }
        self.send(Message::Built { step: job.index, worker, result });
    }

    fn log(&self, step: &StepId, stream: Stream, line: String, dropped: &mut u64) {
        if self.backlog.load(Ordering::Relaxed) >= LOG_BACKLOG {
            *dropped += 1;
            return;
        }
        self.backlog.fetch_add(1, Ordering::Relaxed);
        self.send(Message::Logged(EventKind::StepLogged { step: step.clone(), stream, line }));
    }

    fn help(&self, task: Task<'_>, doors: Doors<'_>) {
        match task {
            Task::Contents { step, input, output, selections } => {
                let result = caught(|| doors.memory.contents(&output, &selections));
                self.send(Message::Contents { step, input, result });
            }
            Task::Import { index, step, import } => {
                let emit = |event| self.send(Message::Event(event));
                let result = caught(|| doors.backend.import(step, &import, &emit));
                self.send(Message::Imported { step: index, import, result });
            }
            Task::Prepare { record } => {
                // Preparing is only about time: making the image does it again, and reports.
                drop(caught(|| {
                    doors.finish.prepare(&record);
                    Ok(())
                }));
                self.send(Message::Prepared);
            }
            Task::Image { image, name, whole } => {
                let emit = |event| self.send(Message::Event(event));
                let Ready { record, cached, cache } = &whole;
                let (record, cache) = (record.as_ref(), cache.as_deref());
                let whole = Whole { record, cached: *cached, cache };
                let result = caught(|| doors.finish.image(&name, whole, &emit));
                self.send(Message::Finished { image, result });
            }
        }
    }
}

/// A panic becomes an error, so that whatever was started also ends.
fn caught<T>(work: impl FnOnce() -> Result<T, BackendError>) -> Result<T, BackendError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "panic without a message".to_owned());
        Err(BackendError::Panicked { message })
    })
}
