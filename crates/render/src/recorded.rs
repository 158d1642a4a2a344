//! Runs that never happened, for the tests: what a dispatcher would have said.

use std::io;
use std::sync::{Arc, Mutex};

use bakehouse_model::{
    Diagnostic, Digest, Event, EventKind, ExitCode, ImageInfo, Location, MissReason, Outcome,
    PathChange, Severity, StepId, StepInfo, Stream, TransferKind,
};

/// Writes events as a dispatcher does: numbered, with a clock that the test moves.
#[derive(Debug, Default)]
pub(crate) struct Log {
    events: Vec<Event>,
    now_ms: u64,
}

/// A sink that the test keeps the other end of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pipe(pub(crate) Arc<Mutex<Vec<u8>>>);

impl io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Step<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);
type Image<'a> = (&'a str, &'a str, &'a [&'a str]);

impl Log {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn id(name: &str) -> StepId {
        StepId(Digest::of(name))
    }

    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    pub(crate) fn at(&mut self, now_ms: u64) -> &mut Self {
        self.now_ms = now_ms;
        self
    }

    pub(crate) fn say(&mut self, kind: EventKind) -> &mut Self {
        let seq = u64::try_from(self.events.len()).unwrap();
        self.events.push(Event { seq, at_ms: self.now_ms, kind });
        self
    }

    /// Steps of one second each as (id, image, name, needs), images as (name, last step, needs).
    pub(crate) fn plan(&mut self, steps: &[Step<'_>], images: &[Image<'_>]) -> &mut Self {
        let stage = |at: usize| {
            let of_image = |upto: usize| steps[..upto].iter().filter(|s| s.1 == steps[at].1);
            format!("{}/{}", of_image(at).count() + 1, of_image(steps.len()).count())
        };
        let step = |(at, (id, image, name, needs)): (usize, &Step<'_>)| StepInfo {
            id: Self::id(id),
            name: (*name).to_owned(),
            image: (*image).to_owned(),
            shared_by: 1,
            stage: stage(at),
            location: Some(Location::new(
                format!("{image}/Dockerfile"),
                u32::try_from(at).unwrap() + 2,
                1,
            )),
            needs: needs.iter().map(|id| Self::id(id)).collect(),
            cost_ms: 1000,
            critical: false,
            planned: true,
        };
        let image = |(name, step, needs): &Image<'_>| ImageInfo {
            name: (*name).to_owned(),
            references: vec![format!("{name}:latest")],
            step: Some(Self::id(step)),
            needs: needs.iter().map(|&name| name.to_owned()).collect(),
        };
        self.say(EventKind::RunStarted {
            version: Event::VERSION,
            steps: steps.iter().enumerate().map(step).collect(),
            images: images.iter().map(image).collect(),
            workers: 2,
            makespan_ms: 4000,
            critical_path_ms: 3000,
        })
    }

    /// Gives the planned steps other costs.
    pub(crate) fn costs(&mut self, costs_ms: &[u64]) -> &mut Self {
        if let EventKind::RunStarted { steps, .. } = &mut self.events[0].kind {
            for (step, cost_ms) in steps.iter_mut().zip(costs_ms) {
                step.cost_ms = *cost_ms;
            }
        }
        self
    }

    pub(crate) fn start(&mut self, step: &str, miss: MissReason) -> &mut Self {
        self.say(EventKind::StepStarted { step: Self::id(step), worker: 0, miss })
    }

    pub(crate) fn start_on(&mut self, worker: u32, step: &str, miss: MissReason) -> &mut Self {
        self.say(EventKind::StepStarted { step: Self::id(step), worker, miss })
    }

    pub(crate) fn waited(&mut self, step: &str) -> &mut Self {
        self.say(EventKind::StepWaited { step: Self::id(step) })
    }

    pub(crate) fn line(&mut self, step: &str, stream: Stream, line: &str) -> &mut Self {
        self.say(EventKind::StepLogged { step: Self::id(step), stream, line: line.to_owned() })
    }

    pub(crate) fn dropped(&mut self, step: &str, lines: u64) -> &mut Self {
        self.say(EventKind::LogDropped { step: Self::id(step), lines })
    }

    fn finished(&mut self, step: &str, outcome: Outcome, ran_ms: u64) -> &mut Self {
        self.say(EventKind::StepFinished { step: Self::id(step), outcome, ran_ms })
    }

    pub(crate) fn built(&mut self, step: &str, ran_ms: u64) -> &mut Self {
        self.finished(step, Outcome::Built, ran_ms)
    }

    pub(crate) fn cached(&mut self, step: &str) -> &mut Self {
        self.finished(step, Outcome::Cached { from: None }, 0)
    }

    pub(crate) fn failed(&mut self, step: &str, causes: &[&str], hints: &[&str]) -> &mut Self {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let (causes, hints) = (owned(causes), owned(hints));
        self.finished(step, Outcome::Failed { causes, hints, code: Some(1) }, 1200)
    }

    pub(crate) fn skipped(&mut self, step: &str, needs: &str) -> &mut Self {
        self.finished(step, Outcome::Skipped { needs: Self::id(needs) }, 0)
    }

    pub(crate) fn cancelled(&mut self, step: &str, ran_ms: u64) -> &mut Self {
        self.finished(step, Outcome::Cancelled, ran_ms)
    }

    pub(crate) fn moved(
        &mut self,
        way: TransferKind,
        what: &str,
        done: u64,
        total: u64,
    ) -> &mut Self {
        self.say(EventKind::Transferred { way, what: what.to_owned(), done, total })
    }

    pub(crate) fn image_done(&mut self, image: &str, bytes: u64, cached: bool) -> &mut Self {
        self.say(EventKind::ImageFinished {
            image: image.to_owned(),
            manifest: Digest::of(format!("manifest {image}")),
            config: Digest::of(format!("config {image}")),
            bytes,
            cached,
        })
    }

    pub(crate) fn image_failed(&mut self, image: &str, causes: &[&str]) -> &mut Self {
        self.say(EventKind::ImageFailed {
            image: image.to_owned(),
            causes: causes.iter().map(|&text| text.to_owned()).collect(),
            hints: Vec::new(),
        })
    }

    pub(crate) fn finish(&mut self, exit: ExitCode) -> &mut Self {
        self.say(EventKind::RunFinished { exit })
    }
}

fn fleet() -> Log {
    let mut log = Log::new();
    log.plan(
        &[
            ("from", "python-base", "FROM python:3.11-slim", &[]),
            ("apt", "python-base", "RUN apt-get install -y ffmpeg", &["from"]),
            ("req", "stt", "COPY requirements.txt .", &["apt"]),
            ("pip", "stt", "RUN pip install -r requirements.txt", &["req"]),
            ("app", "stt", "COPY app/ app/", &["pip"]),
            ("tts", "tts", "COPY main.py .", &["apt"]),
        ],
        &[
            ("python-base", "apt", &[]),
            ("stt", "app", &["python-base"]),
            ("tts", "tts", &["python-base"]),
        ],
    );
    log
}

fn input_changed(path: &str, others: u32) -> MissReason {
    MissReason::InputChanged { path: path.to_owned(), change: PathChange::Modified, others }
}

/// A base that is found, one image that rebuilds and one that is up to date.
pub(crate) fn happy() -> Vec<Event> {
    let mut log = fleet();
    log.at(3).say(EventKind::Noticed {
        diagnostic: Diagnostic {
            location: Some(Location::new("stt/Dockerfile".to_owned(), 4, 1)),
            severity: Severity::Warning,
            code: "apt-lists".to_owned(),
            message: "package lists stay in the layer".to_owned(),
            help: Some("add `rm -rf /var/lib/apt/lists/*`".to_owned()),
        },
    });
    log.at(5).cached("from").cached("apt").image_done("python-base", 120_000_000, true);
    log.cached("tts").image_done("tts", 121_000_000, true);
    log.at(6).start_on(0, "req", input_changed("stt/requirements.txt", 0));
    log.at(30).built("req", 24);
    log.at(31).start_on(1, "pip", MissReason::NeedChanged { step: Log::id("req") });
    log.at(551).line("pip", Stream::Stdout, "Collecting numpy==1.26");
    log.at(900).moved(
        TransferKind::Download,
        "https://example.org/model.bin",
        4_000_000,
        9_000_000,
    );
    log.at(1000).line("pip", Stream::Stderr, "\u{1b}[31m 10%\r\u{1b}[32m 99%\u{1b}[0m\r");
    log.at(1900).moved(
        TransferKind::Download,
        "https://example.org/model.bin",
        9_000_000,
        9_000_000,
    );
    log.at(8231).dropped("pip", 312).built("pip", 8200);
    log.start("app", MissReason::NeedChanged { step: Log::id("pip") });
    log.at(8300).built("app", 60).image_done("stt", 184_000_000, false);
    log.say(EventKind::TagMoved {
        image: "stt".to_owned(),
        reference: "registry.example/stt:latest".to_owned(),
        digest: Digest::of("manifest stt"),
        unchanged: false,
    });
    log.say(EventKind::Exported {
        image: "stt".to_owned(),
        kind: "oci".to_owned(),
        dest: "out/stt.tar".to_owned(),
    });
    log.at(8350).finish(ExitCode::Ok);
    log.events
}

/// Everything was there already.
pub(crate) fn warm() -> Vec<Event> {
    let mut log = fleet();
    log.at(20);
    for step in ["from", "apt", "req", "pip", "app", "tts"] {
        log.cached(step);
    }
    for image in ["python-base", "stt", "tts"] {
        log.image_done(image, 1_000_000, true);
    }
    log.at(40).finish(ExitCode::Ok);
    log.events
}

/// A step fails, what needs it is skipped, what does not is built.
pub(crate) fn failure() -> Vec<Event> {
    let mut log = fleet();
    log.at(5).cached("from").cached("apt").image_done("python-base", 120_000_000, true);
    log.at(6).start_on(0, "req", MissReason::NeverBuilt).at(9).built("req", 3);
    log.start_on(0, "pip", MissReason::NeverBuilt);
    log.at(10).start_on(1, "tts", input_changed("tts/main.py", 2));
    log.at(20).built("tts", 10).image_done("tts", 121_000_000, false);
    log.at(700).line("pip", Stream::Stdout, "Collecting nunpy");
    log.at(1200).line("pip", Stream::Stderr, "ERROR: No matching distribution: nunpy");
    log.at(1209).failed(
        "pip",
        &["the command failed", "`/bin/sh -c pip install` exited with code 1"],
        &["see the lines above; run with `--progress plain` for all of them"],
    );
    log.skipped("app", "pip").image_failed("stt", &["the command failed"]);
    log.at(1300);
    log.finish(ExitCode::WorkFailed);
    log.events
}

/// Ctrl-C in the middle.
pub(crate) fn cancelled() -> Vec<Event> {
    let mut log = fleet();
    log.at(5).cached("from").cached("apt").image_done("python-base", 120_000_000, true);
    log.at(6).start_on(0, "req", MissReason::NeverBuilt).at(9).built("req", 3);
    log.start_on(0, "pip", MissReason::NeverBuilt);
    log.at(2000).cancelled("pip", 1991).cancelled("app", 0).cancelled("tts", 0);
    log.at(2010).finish(ExitCode::Interrupted);
    log.events
}
