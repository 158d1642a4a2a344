//! What must run, and why: from one build of a Dockerfile to the next.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bakehouse_model::op::Output;
use bakehouse_model::{Digest, Key, MissReason, PathChange, Record, Snapshot};
use bakehouse_plan::evaluate::{Contents, Decision, Evaluation, Question, Remembered};
use bakehouse_plan::graph::{Graph, StepIndex};
use bakehouse_plan::key::Selection;
use bakehouse_plan::lower::NoCache;
use bakehouse_plan::slot::Slot;

use crate::build::Build;

/// What is kept from build to build, and the files of the context.
struct World {
    files: BTreeMap<String, String>,
    /// What a step makes, by its name; the name itself if nothing is said.
    makes: BTreeMap<String, String>,
    records: BTreeMap<Key, Remembered>,
    slots: BTreeMap<String, Slot>,
    /// Names of steps by what they made.
    made: BTreeMap<Snapshot, String>,
    asked: RefCell<Vec<String>>,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        Self {
            files: files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect(),
            makes: BTreeMap::new(),
            records: BTreeMap::new(),
            slots: BTreeMap::new(),
            made: BTreeMap::new(),
            asked: RefCell::default(),
        }
    }

    fn contents(&self, output: &Output, selections: &[Selection]) -> Contents {
        let mut files = BTreeMap::new();
        let mut digests = Vec::new();
        for selection in selections {
            let before = std::mem::take(&mut files);
            let path = selection.path.trim_end_matches('/');
            self.asked.borrow_mut().push(selection.path.clone());
            match output {
                Output::Context { .. } => {
                    let below = |file: &str| {
                        file.strip_prefix(path).is_some_and(|r| r.is_empty() || r.starts_with('/'))
                    };
                    let found = self.files.iter().filter(|(file, _)| below(file));
                    files.extend(found.map(|(file, text)| (file.clone(), text.clone())));
                }
                Output::Snapshot { snapshot } => {
                    files.insert(path.to_owned(), self.made[snapshot].clone());
                }
            }
            digests.push(format!("{files:?}"));
            files.extend(before);
        }
        Contents { digest: Digest::of(digests.join("\0")), files: files.into() }
    }

    fn answer(&self, evaluation: &mut Evaluation<'_>) {
        loop {
            let questions = evaluation.advance();
            if questions.is_empty() {
                return;
            }
            for question in questions {
                match question {
                    Question::Records(keys) => {
                        let known = |key: Key| {
                            let found = self.records.get(&key).cloned();
                            (key, found.unwrap_or(Remembered::Nothing))
                        };
                        evaluation.remember(&keys.into_iter().map(known).collect());
                    }
                    Question::Content { step, input, output, selections } => {
                        evaluation.content(step, input, self.contents(&output, &selections));
                    }
                }
            }
        }
    }

    /// Builds; returns what ran, and why.
    fn build(&mut self, build: &Build, text: &str) -> Vec<(String, MissReason)> {
        let done = build.lower(text);
        let graph = &done.graph;
        let slots = self.slots.clone();
        let mut evaluation = Evaluation::new(graph, &[done.lowered.root.unwrap()], &slots);
        let mut ran = Vec::new();
        loop {
            self.answer(&mut evaluation);
            let Some(step) = evaluation.ready().first().copied() else { break };
            let Decision::Run(reason) = evaluation.decision(step).clone() else { panic!() };
            ran.push((graph.step(step).origin.name.clone(), reason));
            self.run(&mut evaluation, step);
        }
        let root = evaluation.decision(done.lowered.root.unwrap());
        assert!(matches!(root, Decision::Hit(_) | Decision::Built(_)), "{root:?}");
        for step in graph.indexes() {
            if let Some(slot) = evaluation.slot(step) {
                self.slots.insert(graph.step(step).origin.slot(), slot);
            }
        }
        ran
    }

    fn run(&mut self, evaluation: &mut Evaluation<'_>, step: StepIndex) {
        let node = evaluation.graph().step(step);
        let keys = evaluation.keys(step);
        let id = keys.first().cloned().expect("what is ready has a key");
        let layer = id.0.hex()[..16].parse().unwrap();
        let below = node.inputs.first().and_then(|input| match evaluation.output(*input) {
            Some(Output::Snapshot { snapshot }) => Some(snapshot),
            _ => None,
        });
        let snapshot = below.unwrap_or_default().with(layer);
        let name = node.origin.name.clone();
        let makes = self.makes.get(&name).cloned().unwrap_or(name);
        self.made.insert(snapshot.clone(), makes);
        let record = Record { id, snapshot, created_ms: 0, cost_ms: 0 };
        for key in keys {
            self.records.insert(key, Remembered::Found(record.clone()));
        }
        evaluation.built(step, record);
    }

    fn names(&mut self, text: &str) -> Vec<String> {
        self.build(&Build::new(), text).into_iter().map(|(name, _)| name).collect()
    }
}

const APP: &str = "FROM base\nRUN deps\nCOPY src /src\nRUN make\n";

fn app() -> World {
    let mut world = World::new(&[("/src/a", "1"), ("/src/b", "1"), ("/README", "1")]);
    let ran = world.build(&Build::new(), APP);
    assert!(ran.iter().all(|(_, reason)| *reason == MissReason::NeverBuilt));
    assert_eq!(ran.len(), 4);
    world
}

#[test]
fn nothing_runs_twice() {
    let mut world = app();
    assert!(world.names(APP).is_empty());
    // What is not an input changes nothing, nor do comments and blanks.
    world.files.insert("/README".to_owned(), "2".to_owned());
    assert!(world.names("# hello\nFROM base\n\nRUN deps\nCOPY   src /src\nRUN make\n").is_empty());
    assert!(world.names(&format!("{APP}CMD [\"x\"]\nEXPOSE 80\nLABEL a=b\n")).is_empty());
}

#[test]
fn a_file_that_changed_is_named() {
    let input = |path: &str, change, others| MissReason::InputChanged {
        path: path.to_owned(),
        change,
        others,
    };
    type Change = fn(&mut BTreeMap<String, String>);
    let table: [(Change, MissReason); 3] = [
        (
            |files| drop(files.insert("/src/a".to_owned(), "2".to_owned())),
            input("/src/a", PathChange::Modified, 0),
        ),
        (
            |files| drop(files.insert("/src/c".to_owned(), "2".to_owned())),
            input("/src/c", PathChange::Added, 0),
        ),
        (|files| files.retain(|path, _| path == "/src/a"), input("/src/b", PathChange::Removed, 0)),
    ];
    for (change, reason) in table {
        let mut world = app();
        change(&mut world.files);
        let ran = world.build(&Build::new(), APP);
        let [(copy, why), (make, after)] = ran.as_slice() else { panic!("{ran:?}") };
        assert_eq!((copy.as_str(), why), ("COPY src /src", &reason));
        assert_eq!(make, "RUN make");
        assert!(matches!(after, MissReason::NeedChanged { .. }), "{after:?}");
        assert!(world.names(APP).is_empty());
    }
}

#[test]
fn an_instruction_that_changed_is_quoted() {
    let mut world = app();
    let ran = world.build(&Build::new(), &APP.replace("deps", "deps -v"));
    let changed = MissReason::InstructionChanged {
        before: "RUN deps".to_owned(),
        after: "RUN deps -v".to_owned(),
    };
    assert_eq!(ran[0], ("RUN deps -v".to_owned(), changed));
    assert_eq!(ran.len(), 3);
    // The old way is still known.
    assert!(world.names(APP).is_empty());
}

#[test]
fn a_variable_that_changed_is_named_from_its_line_on() {
    let text = "FROM base\nRUN one\nARG V=1\nRUN two";
    let mut world = World::new(&[]);
    world.build(&Build::new(), text);
    let ran = world.build(&Build::args(&[("V", "2")]), text);
    let reason = MissReason::VariableChanged { name: "V".to_owned() };
    assert_eq!(ran, [("RUN two".to_owned(), reason)]);
    assert!(world.build(&Build::args(&[("OTHER", "2")]), text).is_empty());
}

#[test]
fn a_base_that_moved_is_told_at_its_source() {
    let mut world = app();
    let mut build = Build::new();
    crate::build::move_to(build.images.get_mut("base").unwrap(), "another");
    let ran = world.build(&build, APP);
    let moved = |reason: &MissReason| matches!(reason, MissReason::BaseMoved { reference, .. } if reference.starts_with("base"));
    assert!(moved(&ran[0].1) && moved(&ran[1].1), "{ran:?}");
    assert_eq!(ran.len(), 4);
}

#[test]
fn a_result_that_is_gone_is_told_and_made_again() {
    let mut world = app();
    let top: Vec<Key> = world
        .records
        .iter()
        .filter(
            |(_, it)| matches!(it, Remembered::Found(r) if world.made[&r.snapshot] == "RUN make"),
        )
        .map(|(key, _)| key.clone())
        .collect();
    for gone in [Remembered::Swept, Remembered::Nothing] {
        world.records.extend(top.iter().map(|key| (key.clone(), gone.clone())));
        let ran = world.build(&Build::new(), APP);
        assert_eq!(ran, [("RUN make".to_owned(), MissReason::ResultSwept)], "{gone:?}");
    }
}

const STAGES: &str =
    "FROM base AS build\nCOPY src /src\nRUN make\nFROM tool\nCOPY --from=build /bin/x /x\nRUN y\n";

#[test]
fn the_same_file_from_a_stage_that_ran_again_stops_the_rebuild() {
    let mut world = World::new(&[("/src/a", "1")]);
    world.makes.insert("RUN make".to_owned(), "binary".to_owned());
    assert_eq!(world.names(STAGES).len(), 6);
    world.files.insert("/src/a".to_owned(), "2".to_owned());
    assert_eq!(world.names(STAGES), ["COPY src /src", "RUN make"]);
    world.files.insert("/src/a".to_owned(), "3".to_owned());
    world.makes.insert("RUN make".to_owned(), "better".to_owned());
    let names = world.names(STAGES);
    assert_eq!(names, ["COPY src /src", "RUN make", "COPY --from=build /bin/x /x", "RUN y"]);
}

#[test]
fn contents_of_stages_are_not_looked_at_while_keys_tell() {
    let mut world = World::new(&[("/src/a", "1")]);
    world.build(&Build::new(), STAGES);
    world.asked.borrow_mut().clear();
    assert!(world.names(STAGES).is_empty());
    assert_eq!(*world.asked.borrow(), ["/src"], "only the context");
}

#[test]
fn no_cache_forces_and_says_so() {
    let mut world = app();
    let mut build = Build::new();
    build.settings.no_cache = NoCache::Everything;
    let ran = world.build(&build, APP);
    let names: Vec<&str> = ran.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["RUN deps", "COPY src /src", "RUN make"], "an image is known by its digest");
    assert!(ran.iter().all(|(_, reason)| *reason == MissReason::Forced));
}

#[test]
fn what_stands_on_a_hit_is_all_that_is_wanted() {
    let mut world = app();
    let done = Build::new().lower(APP);
    let slots = BTreeMap::new();
    let root = done.lowered.root.unwrap();
    let mut evaluation = Evaluation::new(&done.graph, &[root], &slots);
    world.answer(&mut evaluation);
    assert!(matches!(evaluation.decision(root), Decision::Hit(_)));
    let wanted: Vec<StepIndex> =
        done.graph.indexes().filter(|step| evaluation.is_wanted(*step)).collect();
    assert_eq!(wanted, [root]);
    // All below may be gone.
    let key = evaluation.keys(root);
    let keep = |records: &mut BTreeMap<Key, Remembered>| {
        for (known, remembered) in records {
            if !key.contains(known) {
                *remembered = Remembered::Swept;
            }
        }
    };
    keep(&mut world.records);
    assert!(world.names(APP).is_empty());
}

#[test]
fn what_needs_a_failed_step_has_failed() {
    let done = Build::new().lower(STAGES);
    let world = World::new(&[("/src/a", "1")]);
    let slots = BTreeMap::new();
    let root = done.lowered.root.unwrap();
    let mut evaluation = Evaluation::new(&done.graph, &[root], &slots);
    world.answer(&mut evaluation);
    let base = find(&done.graph, "FROM base:latest");
    evaluation.failed(base);
    world.answer(&mut evaluation);
    assert_eq!(*evaluation.decision(root), Decision::Failed);
    assert_eq!(*evaluation.decision(find(&done.graph, "RUN make")), Decision::Failed);
    let ready: Vec<&str> = evaluation
        .ready()
        .into_iter()
        .map(|step| done.graph.step(step).origin.name.as_str())
        .collect();
    assert!(ready.is_empty() || ready == ["FROM tool:latest"], "{ready:?}");
}

fn find(graph: &Graph, name: &str) -> StepIndex {
    graph.indexes().find(|step| graph.step(*step).origin.name == name).unwrap()
}

/// Runs both, one after the other; whether the second had to run anything.
fn differ(first: &str, second: &str) -> bool {
    let mut world = World::new(&[("/a/x", "1"), ("/b/x", "1"), ("/a/y", "2")]);
    let text = |last: &str| format!("FROM tool AS t\nRUN t\nFROM base\nRUN b\n{last}");
    world.names(&text(first));
    !world.names(&text(second)).is_empty()
}

#[test]
fn keys_tell_apart_what_makes_a_difference_and_nothing_else() {
    let table = [
        // What is run, and in what.
        ("RUN x", "RUN  y", true),
        ("RUN x", "RUN [\"/bin/sh\", \"-c\", \"x\"]", false),
        ("ENV A=1\nRUN x", "ENV A=2\nRUN x", true),
        ("RUN x", "WORKDIR /\nRUN x", false),
        ("RUN x", "USER 1\nRUN x", true),
        ("RUN --network=none x", "RUN x", true),
        // Mounts.
        ("RUN --mount=target=/m,source=a x", "RUN --mount=target=/n,source=a x", true),
        ("RUN --mount=target=/m,source=a/x x", "RUN --mount=target=/m,source=a/y x", true),
        (
            "RUN --mount=target=/m,from=t,source=/a x",
            "RUN --mount=target=/m,from=t,source=/b x",
            true,
        ),
        (
            "RUN --mount=target=/m,from=base,source=/a x",
            "RUN --mount=target=/m,from=base,source=/b x",
            true,
        ),
        (
            "RUN --mount=type=cache,target=/m,from=t,source=/a x",
            "RUN --mount=type=cache,target=/m,from=t,source=/b x",
            true,
        ),
        ("RUN --mount=type=cache,target=/m x", "RUN --mount=type=cache,target=/n x", true),
        (
            "RUN --mount=type=cache,target=/m,id=a x",
            "RUN --mount=type=cache,target=/m,id=b x",
            false,
        ),
        ("RUN --mount=type=secret,id=a x", "RUN --mount=type=secret,id=a,target=/b x", true),
        // Copies.
        ("COPY a/x /d", "COPY a/y /d", true),
        ("COPY a/x /d", "COPY a/x /e", true),
        ("COPY a/x /d", "COPY --chmod=600 a/x /d", true),
        ("COPY a/x /d", "COPY --chown=1 a/x /d", true),
        ("COPY a/x /d", "ADD a/x /d", true),
        ("COPY a /d", "COPY --exclude=y a /d", true),
        ("COPY --from=t /a/x /d", "COPY --from=t /b/x /d", true),
        ("COPY --from=t /a/x /b/x /d/", "COPY --from=t /b/x /a/x /d/", true),
        ("COPY <<A /d\n1\nA", "COPY <<A /d\n2\nA", true),
        ("COPY <<A /d\n1\nA", "COPY <<B /d\n1\nB", true),
        // Configuration.
        ("RUN x\nCMD a", "RUN x\nCMD b", false),
        ("LABEL a=1\nRUN x", "LABEL a=2\nRUN x", false),
        ("ARG A=1\nRUN x", "ARG A=2\nRUN x", true),
    ];
    for (first, second, expected) in table {
        assert_eq!(differ(first, second), expected, "{first} | {second}");
    }
    // A copy of the stage's own base onto itself.
    let own = |path: &str| format!("FROM base\nCOPY --from=base {path} /d");
    let mut world = World::new(&[]);
    world.names(&own("/a/x"));
    assert_eq!(world.names(&own("/b/x")).len(), 1);
}
