//! Deciding: from Dockerfiles to a decided graph, without a store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bakehouse::demo;
use bakehouse_model::oci::{ImageConfig, Platform};
use bakehouse_model::op::{ContextSource, ImageSource};
use bakehouse_model::{ChainId, Digest, Key, Record, Snapshot};
use bakehouse_plan::dockerfile;
use bakehouse_plan::evaluate::{Contents, Decision, Evaluation, Question, Remembered};
use bakehouse_plan::fleet::{
    Described, Fleet, Known, LoweredFleet, SourceFile, Surroundings, is_dockerfile_name, lower_all,
    read,
};
use bakehouse_plan::graph::StepIndex;
use bakehouse_plan::key;
use bakehouse_plan::lower::{Base, BaseImage, Settings};
use criterion::{Criterion, Throughput};

const BASE: &str = "machine-base";

/// A Dockerfile of 200 lines, with what real ones have.
fn long_dockerfile() -> String {
    let mut text = String::from("# syntax=docker/dockerfile:1\nARG VERSION=1\n");
    while text.lines().count() < 192 {
        let number = text.lines().count();
        text.push_str(&format!(
            "FROM base:${{VERSION:-1}} AS stage{number}\n\
             ARG VERSION\nENV A=\"one two\" B=${{VERSION}}-${{A%x*}}\n\
             # a comment\n\
             RUN --mount=type=cache,target=/root/.cache,sharing=locked \\\n    \
             apt-get update && \\\n    apt-get install -y a b c\n\
             COPY --chown=1000:1000 --chmod=755 src/*.rs /app/src/\n\
             HEALTHCHECK --interval=30s CMD [\"curl\", \"-f\", \"http://localhost/\"]\n\
             LABEL org.example.a=\"b\" c=d\n"
        ));
    }
    text.push_str("COPY <<EOF /etc/app.conf\nport = 80\nEOF\nUSER app\nCMD [\"app\"]\n");
    text
}

pub(crate) fn parse(c: &mut Criterion) {
    let text = long_dockerfile();
    let lines = text.lines().count();
    assert!((195..=210).contains(&lines), "{lines} lines");
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("200 lines", |b| {
        b.iter(|| {
            let parsed = dockerfile::parse(text.as_bytes(), "Dockerfile");
            assert!(!parsed.has_errors());
            parsed
        });
    });
    group.finish();
}

/// The Dockerfiles below `dir`.
fn dockerfiles(dir: &Path) -> Vec<SourceFile> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if is_dockerfile_name(path.file_name().unwrap().to_str().unwrap()) {
                found.push(SourceFile {
                    path: path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned(),
                    text: std::fs::read(&path).unwrap(),
                    context: Some(".".to_owned()),
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The demo's fleet, its one base known.
struct Demo {
    settings: Settings,
    fleet: Fleet,
    wanted: BTreeSet<String>,
    known: Known,
}

impl Demo {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let written = demo::write_fleet(dir.path(), BASE).unwrap();
        let files = dockerfiles(dir.path());
        let platform = Platform::linux("amd64");
        let settings = Settings::new(platform.clone());
        let around = Surroundings {
            repository: "demo",
            exists: &|_| true,
            settings: &settings,
            target: None,
            prefix: None,
            load: &|_| None,
            contexts: &[],
        };
        let fleet = read(&files, Described::default(), &around);
        assert_eq!(fleet.images.len(), written.images.len());
        let base = BaseImage {
            source: ImageSource {
                reference: BASE.parse().unwrap(),
                manifest: Digest::of(BASE),
                platform: platform.clone(),
                chain: Some(ChainId(Digest::of(BASE))),
            },
            config: ImageConfig {
                os: "linux".to_owned(),
                architecture: "amd64".to_owned(),
                ..ImageConfig::default()
            },
        };
        let context = || ContextSource {
            name: "context".to_owned(),
            root: "/fleet".to_owned(),
            ignore: Vec::new(),
        };
        let known = Known {
            images: BTreeMap::from([((BASE.to_owned(), platform), Base::Image(Box::new(base)))]),
            roots: fleet.images.iter().map(|image| (image.name.clone(), context())).collect(),
            ..Known::default()
        };
        let wanted = fleet.images.iter().map(|image| image.name.clone()).collect();
        Self { settings, fleet, wanted, known }
    }

    fn lower(&self) -> LoweredFleet {
        let lowered = lower_all(&self.fleet, &self.wanted, (&self.settings, &[]), &self.known);
        assert!(lowered.needs.is_empty() && lowered.diagnostics.is_empty());
        lowered
    }
}

/// Decides all of it, with a memory that has everything.
fn decide(lowered: &LoweredFleet) -> usize {
    let roots: Vec<StepIndex> =
        lowered.images.iter().filter_map(|image| image.lowered.root).collect();
    let slots = BTreeMap::new();
    let mut evaluation = Evaluation::new(&lowered.graph, &roots, &slots);
    let found = |key: &Key| {
        let snapshot = Snapshot { layers: vec![key.0.hex()[..16].parse().unwrap()] };
        let record = Record { id: key.clone(), snapshot, created_ms: 0, cost_ms: 0 };
        (key.clone(), Remembered::Found(record))
    };
    loop {
        let questions = evaluation.advance();
        if questions.is_empty() {
            break;
        }
        for question in questions {
            match question {
                Question::Records(keys) => evaluation.remember(&keys.iter().map(found).collect()),
                Question::Content { step, input, .. } => {
                    let contents = Contents {
                        digest: Digest::of("contents"),
                        files: bakehouse_plan::slot::Files::default(),
                    };
                    evaluation.content(step, input, contents);
                }
            }
        }
    }
    assert!(roots.iter().all(|root| matches!(evaluation.decision(*root), Decision::Hit(_))));
    roots.len()
}

pub(crate) fn plan(c: &mut Criterion) {
    let demo = Demo::new();
    let lowered = demo.lower();
    let mut group = c.benchmark_group("plan");
    group.throughput(Throughput::Elements(lowered.graph.steps().len() as u64));
    group.bench_function("lower 18 images", |b| b.iter(|| demo.lower()));
    group.bench_function("decide 18 images, all remembered", |b| b.iter(|| decide(&lowered)));
    group.finish();
}

pub(crate) fn key(c: &mut Criterion) {
    let lowered = Demo::new().lower();
    let steps = lowered.graph.steps();
    let mut group = c.benchmark_group("key");
    group.throughput(Throughput::Elements(steps.len() as u64));
    group.bench_function("ops and selectors of 18 images", |b| {
        b.iter(|| {
            for step in steps {
                let op = key::op_digest(step);
                let selectors: Vec<Digest> =
                    key::dependencies(step).iter().map(key::selector).collect();
                std::hint::black_box((op, selectors));
            }
        });
    });
    group.finish();
}
