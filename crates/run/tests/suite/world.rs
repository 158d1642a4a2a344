//! Graphs made by hand, and doors that remember what was asked of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bakehouse_model::oci::Platform;
use bakehouse_model::op::{
    Copy, Exec, File, FileAction, HttpSource, Mount, MountKind, Network, Op, Output, Security,
    Source,
};
use bakehouse_model::{
    Digest, EventKind, Key, LayerId, MissReason, Outcome, Record, Snapshot, StepId,
};
use bakehouse_plan::assemble::Layer;
use bakehouse_plan::caches::document::CacheRecord;
use bakehouse_plan::caches::{Cache, Import};
use bakehouse_plan::evaluate::{Contents, Evaluation, Remembered};
use bakehouse_plan::graph::{Graph, NewStep, Origin, Step, StepIndex};
use bakehouse_plan::key::Selection;
use bakehouse_run::dispatch::Doors;
use bakehouse_run::{
    Backend, BackendError, Built, Cancel, Claim, Finish, Log, Memory, Outcomes, Run, Whole, run,
};

/// Puts a step with this op into `graph`.
pub(crate) fn add(graph: &mut Graph, name: &str, op: Op, inputs: Vec<StepIndex>) -> StepIndex {
    let origin = Origin {
        name: name.to_owned(),
        image: "i".to_owned(),
        stage: name.to_owned(),
        position: (1, 1),
        location: None,
    };
    let platform = Platform::linux("amd64");
    graph.add(NewStep { op, inputs, platform, no_cache: false, origin })
}

/// A process on the first of `inputs`, or on nothing.
pub(crate) fn exec(graph: &mut Graph, name: &str, inputs: &[StepIndex]) -> StepIndex {
    let mount = |at: usize| Mount {
        input: (at < inputs.len()).then_some(at),
        selector: if at == 0 { String::new() } else { "/".to_owned() },
        dest: if at == 0 { "/".to_owned() } else { format!("/{at}") },
        readonly: at > 0,
        kind: if at == 0 { MountKind::Root } else { MountKind::Bind },
    };
    let op = Op::Exec(Exec {
        args: vec![name.to_owned()],
        env: Vec::new(),
        cwd: "/".to_owned(),
        user: String::new(),
        hostname: String::new(),
        network: Network::Default,
        security: Security::Sandbox,
        extra_hosts: Vec::new(),
        ulimits: Vec::new(),
        shm_size: None,
        proxy_env: Vec::new(),
        secret_env: Vec::new(),
        mounts: (0..inputs.len().max(1)).map(mount).collect(),
    });
    add(graph, name, op, inputs.to_vec())
}

/// A copy of `/name` from `from` onto `base`.
pub(crate) fn copy(graph: &mut Graph, name: &str, base: StepIndex, from: StepIndex) -> StepIndex {
    let action = FileAction::Copy(Copy {
        input: 1,
        src: format!("/{name}"),
        dest: "/".to_owned(),
        owner: None,
        mode: None,
        follow_symlink: true,
        dir_copy_contents: true,
        attempt_unpack: false,
        create_dest_path: true,
        allow_wildcard: true,
        allow_empty_wildcard: true,
        include_patterns: Vec::new(),
        exclude_patterns: Vec::new(),
        always_replace_existing: false,
        required_paths: Vec::new(),
        timestamp: None,
    });
    let op = Op::File(File { base: Some(0), actions: vec![action] });
    add(graph, name, op, vec![base, from])
}

/// A download that nothing is known of before.
pub(crate) fn download(graph: &mut Graph, name: &str) -> StepIndex {
    let source = HttpSource {
        url: format!("https://host/{name}"),
        checksum: None,
        file_name: name.to_owned(),
    };
    add(graph, name, Op::Source(Source::Http(source)), Vec::new())
}

/// What a step does instead of succeeding.
pub(crate) type Act<'a> = dyn Fn(&Step, &mut Log<'_>) -> Result<(), BackendError> + Sync + 'a;

/// The doors, and what went through them.
#[derive(Default)]
pub(crate) struct Fake<'a> {
    /// Called for every step before it succeeds.
    pub(crate) act: Option<Box<Act<'a>>>,
    /// Names of images that can't be made.
    pub(crate) bad_images: BTreeSet<String>,
    /// What a step's files are, where that is not the step itself.
    pub(crate) files: Mutex<BTreeMap<String, String>>,
    /// What a download gets.
    pub(crate) fetched: Mutex<String>,
    /// Whether the store is broken.
    pub(crate) broken: bool,
    /// Whether what caches have is gone.
    pub(crate) lost: bool,
    /// Whether the contents of anything can be read.
    pub(crate) unreadable: bool,
    /// Claims that another run has, each with what is there when that one lets go.
    pub(crate) others: Mutex<BTreeMap<Key, (usize, Option<Record>)>>,
    pub(crate) records: Mutex<BTreeMap<Key, Record>>,
    pub(crate) names: Mutex<BTreeMap<Snapshot, String>>,
    pub(crate) built: Mutex<Vec<String>>,
    pub(crate) imported: Mutex<Vec<String>>,
    pub(crate) inline: Mutex<Vec<CacheRecord>>,
    pub(crate) made: Mutex<Vec<(String, bool)>>,
    pub(crate) prepared: AtomicUsize,
    pub(crate) looked: AtomicUsize,
    pub(crate) running: AtomicUsize,
    pub(crate) most: AtomicUsize,
    pub(crate) clock: AtomicU64,
}

impl Backend for Fake<'_> {
    fn import(
        &self,
        step: &Step,
        import: &Import,
        _: &(dyn Fn(EventKind) + Sync),
    ) -> Result<Snapshot, BackendError> {
        self.imported.lock().unwrap().push(step.origin.name.clone());
        if self.lost {
            let what = "the blob is gone".to_owned();
            return Err(BackendError::Input { what, hints: Vec::new() });
        }
        let named = |layer: &Layer| format!("cached-{}", &layer.diff_id.0.hex()[..8]).parse();
        let layers = import.layers.iter().map(named).collect::<Result<Vec<LayerId>, _>>();
        Ok(Snapshot { layers: layers.unwrap() })
    }

    fn build(
        &self,
        step: &Step,
        inputs: &[Output],
        log: &mut Log<'_>,
    ) -> Result<Built, BackendError> {
        assert_eq!(inputs.len(), step.inputs.len());
        self.built.lock().unwrap().push(step.origin.name.clone());
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let done = self.act.as_ref().map_or(Ok(()), |act| act(step, log));
        self.running.fetch_sub(1, Ordering::SeqCst);
        done?;
        let below = match inputs.first() {
            Some(Output::Snapshot { snapshot }) => snapshot.clone(),
            _ => Snapshot::default(),
        };
        let fetches = matches!(step.op, Op::Source(Source::Http(_)));
        let fetched = fetches.then(|| Digest::of(self.fetched.lock().unwrap().as_str()));
        let snapshot = below.with(step.id.short().parse().unwrap());
        self.names.lock().unwrap().insert(snapshot.clone(), step.origin.name.clone());
        Ok(Built { snapshot, fetched })
    }
}

impl Memory for Fake<'_> {
    fn records(&self, keys: &[Key]) -> Result<BTreeMap<Key, Remembered>, BackendError> {
        if self.broken {
            return Err(environment("read the records"));
        }
        let records = self.records.lock().unwrap();
        let found = |key: &Key| match records.get(key) {
            Some(record) => Remembered::Found(record.clone()),
            None => Remembered::Nothing,
        };
        Ok(keys.iter().map(|key| (key.clone(), found(key))).collect())
    }

    fn contents(
        &self,
        output: &Output,
        selections: &[Selection],
    ) -> Result<Contents, BackendError> {
        self.looked.fetch_add(1, Ordering::SeqCst);
        if self.unreadable {
            let what = "`/x`: not found".to_owned();
            return Err(BackendError::Input { what, hints: vec!["look".to_owned()] });
        }
        let Output::Snapshot { snapshot } = output else { panic!("no contexts here") };
        let name = self.names.lock().unwrap()[snapshot].clone();
        let text = self.files.lock().unwrap().get(&name).cloned().unwrap_or(name);
        let digest = Digest::of(format!("{text} {selections:?}"));
        Ok(Contents { digest, files: bakehouse_plan::slot::Files::default() })
    }

    fn keep(&self, keys: &[Key], record: &Record) -> Result<(), BackendError> {
        let mut records = self.records.lock().unwrap();
        records.extend(keys.iter().map(|key| (key.clone(), record.clone())));
        Ok(())
    }

    fn claim(&self, key: &Key) -> Result<Option<Claim>, BackendError> {
        let mut others = self.others.lock().unwrap();
        match others.get_mut(key) {
            Some((0, made)) => {
                let made = made.clone().map(|record| (key.clone(), record));
                self.records.lock().unwrap().extend(made);
                others.remove(key);
                Ok(Some(Claim::new(())))
            }
            Some((looks, _)) => {
                *looks -= 1;
                Ok(None)
            }
            None => Ok(Some(Claim::new(()))),
        }
    }
}

impl Finish for Fake<'_> {
    fn prepare(&self, _: &Record) {
        self.prepared.fetch_add(1, Ordering::SeqCst);
    }

    fn image(
        &self,
        image: &str,
        Whole { record, cached, cache }: Whole<'_>,
        emit: &(dyn Fn(EventKind) + Sync),
    ) -> Result<(), BackendError> {
        self.made.lock().unwrap().push((image.to_owned(), cached));
        self.inline.lock().unwrap().extend(cache.into_iter().flatten().cloned());
        if self.bad_images.contains(image) {
            return Err(environment("push"));
        }
        let digest = Digest::of(record.map_or("scratch", |_| image));
        emit(EventKind::ImageFinished {
            image: image.to_owned(),
            manifest: digest.clone(),
            config: digest,
            bytes: 0,
            cached,
        });
        Ok(())
    }
}

/// The machine's fault.
pub(crate) fn environment(doing: &str) -> BackendError {
    BackendError::environment(doing, std::io::Error::other("no"))
}

/// The Dockerfile's fault.
pub(crate) fn exit_code(code: i32) -> BackendError {
    BackendError::Command { what: "`make`".to_owned(), code, hints: vec!["look".to_owned()] }
}

/// What to run, and how.
pub(crate) struct Plan<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) images: Vec<(String, Option<StepIndex>)>,
    pub(crate) tails: BTreeMap<StepIndex, u64>,
    pub(crate) workers: usize,
    pub(crate) cancel: Cancel,
    pub(crate) caches: Vec<Cache>,
    pub(crate) inline: BTreeSet<String>,
}

impl<'g> Plan<'g> {
    /// One image for each of `roots`, called like the step.
    pub(crate) fn new(graph: &'g Graph, roots: &[StepIndex]) -> Self {
        let name = |root: &StepIndex| (graph.step(*root).origin.name.clone(), Some(*root));
        Self {
            graph,
            images: roots.iter().map(name).collect(),
            tails: BTreeMap::new(),
            workers: 2,
            cancel: Cancel::default(),
            caches: Vec::new(),
            inline: BTreeSet::new(),
        }
    }

    /// Runs it.
    pub(crate) fn run(self, fake: &Fake<'_>) -> Told {
        self.watched(fake, &mut |_| {})
    }

    /// Runs it; `watch` sees every event as it comes.
    pub(crate) fn watched(self, fake: &Fake<'_>, watch: &mut dyn FnMut(&EventKind)) -> Told {
        let slots = BTreeMap::new();
        let roots: Vec<StepIndex> = self.images.iter().filter_map(|(_, root)| *root).collect();
        let evaluation = Evaluation::new(self.graph, &roots, &slots);
        let mut evaluation = evaluation.with_caches(&self.caches);
        let now = || fake.clock.fetch_add(1, Ordering::SeqCst);
        let doors = Doors { backend: fake, memory: fake, finish: fake, now_ms: &now };
        let wanted = Run {
            evaluation: &mut evaluation,
            images: self.images,
            tails: self.tails,
            workers: self.workers,
            inline: self.inline,
            cancel: self.cancel,
        };
        let mut events = Vec::new();
        let outcomes = run(wanted, doors, &mut |event| {
            watch(&event);
            events.push(event);
        });
        let names =
            self.graph.steps().iter().map(|s| (s.id.clone(), s.origin.name.clone())).collect();
        Told { outcomes, events, names }
    }
}

/// What a run told.
pub(crate) struct Told {
    pub(crate) outcomes: Outcomes,
    pub(crate) events: Vec<EventKind>,
    names: BTreeMap<StepId, String>,
}

impl Told {
    pub(crate) fn name(&self, step: &StepId) -> &str {
        &self.names[step]
    }

    /// Steps that started, in order, with the reason.
    pub(crate) fn started(&self) -> Vec<(&str, &MissReason)> {
        let started = self.events.iter().filter_map(|event| match event {
            EventKind::StepStarted { step, miss, .. } => Some((self.name(step), miss)),
            _ => None,
        });
        started.collect()
    }

    /// Names of steps that started, sorted.
    pub(crate) fn ran(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.started().into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names
    }

    /// How each step ended. Ends that are told twice fail the test.
    pub(crate) fn ends(&self) -> BTreeMap<&str, &Outcome> {
        let mut ends = BTreeMap::new();
        for event in &self.events {
            if let EventKind::StepFinished { step, outcome, .. } = event {
                let before = ends.insert(self.name(step), outcome);
                assert_eq!(before, None, "`{}` ended twice", self.name(step));
            }
        }
        ends
    }

    /// How each step ended, in a word.
    pub(crate) fn words(&self) -> BTreeMap<&str, &'static str> {
        let word = |outcome: &Outcome| match outcome {
            Outcome::Built => "built",
            Outcome::Cached { .. } => "cached",
            Outcome::Failed { .. } => "failed",
            Outcome::Skipped { .. } => "skipped",
            Outcome::Cancelled => "cancelled",
            Outcome::Unneeded => "unneeded",
            _ => "other",
        };
        self.ends().into_iter().map(|(name, outcome)| (name, word(outcome))).collect()
    }

    /// Images that were told to be there, and those that were told not to, sorted.
    pub(crate) fn images(&self) -> (Vec<&str>, Vec<&str>) {
        let (mut whole, mut failed) = (Vec::new(), Vec::new());
        for event in &self.events {
            match event {
                EventKind::ImageFinished { image, .. } => whole.push(image.as_str()),
                EventKind::ImageFailed { image, .. } => failed.push(image.as_str()),
                _ => {}
            }
        }
        whole.sort_unstable();
        failed.sort_unstable();
        (whole, failed)
    }
}
