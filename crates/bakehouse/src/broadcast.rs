//! From the run's facts to those who watch: numbering, timing, and the ticks between.

use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bakehouse_model::{Event, EventKind};
use bakehouse_render::{JsonLines, Plain, Progress, Quiet, Style, Tty, Watchers};

use crate::cli::ProgressMode;
use crate::context::terminal_size;

/// Thirty frames a second are enough.
const TICK: Duration = Duration::from_millis(33);

/// Numbers and times facts and hands them to the renderers, on a thread of its own so that
/// a slow terminal holds nobody up.
#[derive(Debug)]
pub struct Broadcast {
    facts: Sender<(u64, EventKind)>,
    started: Instant,
    thread: JoinHandle<Progress>,
}

impl Broadcast {
    /// Starts with nothing told.
    pub fn start(watchers: Watchers) -> Self {
        let (facts, inbox) = mpsc::channel::<(u64, EventKind)>();
        let started = Instant::now();
        let thread = std::thread::spawn(move || {
            let mut watchers = watchers;
            let mut seq = 0;
            loop {
                match inbox.recv_timeout(TICK) {
                    Ok((at_ms, kind)) => {
                        watchers.tell(&Event { seq, at_ms, kind });
                        seq += 1;
                    }
                    Err(RecvTimeoutError::Timeout) => watchers.tick(millis(started)),
                    Err(RecvTimeoutError::Disconnected) => return watchers.into_progress(),
                }
            }
        });
        Self { facts, started, thread }
    }

    /// A way for any thread to tell a fact.
    pub fn teller(&self) -> impl Fn(EventKind) + Send + Sync + Clone + use<> {
        let (facts, started) = (self.facts.clone(), self.started);
        // The thread lives as long as there are tellers, so telling cannot fail.
        move |kind| drop(facts.send((millis(started), kind)))
    }

    /// Waits until everything is shown, and says what it adds up to. Tellers must be gone.
    pub fn finish(self) -> Progress {
        drop(self.facts);
        self.thread.join().unwrap_or_default()
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The renderers for `mode`. Progress goes to standard error, the JSON event stream too.
pub fn watchers(mode: ProgressMode, is_terminal: bool, style: Style) -> Watchers {
    let mut watchers = Watchers::new();
    match mode {
        ProgressMode::Auto if is_terminal => watchers.add(tty(style)),
        ProgressMode::Tty => watchers.add(tty(style)),
        ProgressMode::Auto | ProgressMode::Plain => watchers.add(Plain::new(stderr(), style)),
        ProgressMode::Json => watchers.add(JsonLines::new(stderr())),
        ProgressMode::Quiet => watchers.add(Quiet::new(stderr(), style)),
    }
    watchers
}

fn tty(style: Style) -> impl bakehouse_render::Renderer + Send + 'static {
    Tty::new(stderr(), style, terminal_size)
}

fn stderr() -> impl Write + Send + 'static {
    BufWriter::new(io::stderr())
}
