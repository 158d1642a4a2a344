//! A cache of what an evaluation came to.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::Digest;
use bakehouse_model::op::{MountKind, Op, Source};

use super::document::{CacheConfig, CacheInput, CacheLayer, CacheRecord, CacheResult};
use super::{of_contents, of_op};
use crate::assemble::Layer;
use crate::evaluate::{Decision, Evaluation};
use crate::graph::{Step, StepIndex};
use crate::key;
use crate::time::rfc3339_ms;

/// How much of a run is in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Mode {
    /// What is in the images themselves.
    #[default]
    Min,
    /// What every step made.
    Max,
}

/// The layers of a step's result, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stacked {
    /// The layers.
    pub layers: Vec<Layer>,
    /// When the result was made, in milliseconds since 1970.
    pub created_ms: u64,
}

/// The steps whose results are to be in a cache of what `roots` need.
pub fn wanted(evaluation: &Evaluation<'_>, roots: &[StepIndex], mode: Mode) -> BTreeSet<StepIndex> {
    let graph = evaluation.graph();
    let mut steps = match mode {
        Mode::Max => graph.reach(roots.iter().copied()),
        Mode::Min => {
            let mut chain = BTreeSet::new();
            for root in roots {
                let mut next = Some(*root);
                while let Some(step) = next {
                    chain.insert(step);
                    next = written_to(graph.step(step));
                }
            }
            chain
        }
    };
    steps.retain(|step| {
        // What has no input is brought in and not made.
        let made = !graph.step(*step).inputs.is_empty();
        let there = matches!(
            evaluation.decision(*step),
            Decision::Hit(_) | Decision::Built(_) | Decision::Import(_)
        );
        made && there
    });
    steps
}

/// The step whose result a step changes.
fn written_to(step: &Step) -> Option<StepIndex> {
    let base = match &step.op {
        Op::Source(_) => None,
        Op::Exec(exec) => exec.mounts.iter().find(|m| m.kind == MountKind::Root)?.input,
        Op::File(file) => file.base,
        Op::Merge => Some(0),
    };
    step.inputs.get(base?).copied()
}

/// The document of a cache of what `roots` need, with these results.
pub fn document(
    evaluation: &Evaluation<'_>,
    roots: &[StepIndex],
    results: &BTreeMap<StepIndex, Stacked>,
) -> CacheConfig {
    let mut writer = Writer::default();
    for step in evaluation.graph().reach(roots.iter().copied()) {
        let result = results.get(&step).and_then(|stacked| {
            let layer = writer.stack(&stacked.layers)?;
            Some(CacheResult { layer, created_at: rfc3339_ms(stacked.created_ms) })
        });
        writer.step(evaluation, step, result);
    }
    writer.config
}

/// The records of a cache within the image that `root` makes; its results are the image's own
/// lowest layers.
pub fn inline(evaluation: &Evaluation<'_>, root: StepIndex) -> Vec<CacheRecord> {
    let record = |step| match evaluation.decision(step) {
        Decision::Hit(record) | Decision::Built(record) => Some(record),
        _ => None,
    };
    let Some(whole) = record(root).map(|record| &record.snapshot.layers) else {
        return Vec::new();
    };
    let chain = wanted(evaluation, &[root], Mode::Min);
    let mut writer = Writer::default();
    for step in evaluation.graph().reach([root]) {
        let own = record(step).filter(|_| chain.contains(&step));
        let result = own.filter(|own| whole.starts_with(&own.snapshot.layers)).map(|own| {
            let count = i64::try_from(own.snapshot.layers.len()).unwrap_or(i64::MAX);
            CacheResult { layer: count - 1, created_at: rfc3339_ms(own.created_ms) }
        });
        writer.step(evaluation, step, result.filter(|result| result.layer >= 0));
    }
    writer.config.records
}

#[derive(Default)]
struct Writer {
    config: CacheConfig,
    /// Where the record of each step is.
    steps: BTreeMap<StepIndex, usize>,
    /// Where records that say the same are.
    records: BTreeMap<(Digest, Vec<Vec<CacheInput>>), usize>,
    /// Where layers are, by blob and what they stand on.
    layers: BTreeMap<(Digest, i64), i64>,
}

impl Writer {
    fn step(&mut self, evaluation: &Evaluation<'_>, step: StepIndex, result: Option<CacheResult>) {
        let graph = evaluation.graph();
        if !key::is_shareable(graph.step(step)) {
            return;
        }
        let mut inputs = Vec::new();
        for (input, dep, contents) in evaluation.inputs(step) {
            let mut links = Vec::new();
            if let Some(below) = self.steps.get(&input) {
                links.push(CacheInput::new(dep.selector.as_ref(), *below));
            }
            let in_place = matches!(graph.step(input).op, Op::Source(Source::Context(_)));
            if let Some(contents) = contents.filter(|_| in_place || dep.by_content) {
                let record = self.record(of_contents(&contents.digest), Vec::new());
                links.push(CacheInput::new(None, record));
            }
            // Nobody could find what stands on something unknown.
            if links.is_empty() {
                return;
            }
            inputs.push(links);
        }
        let at = self.record(of_op(evaluation.op(step)), inputs);
        self.steps.insert(step, at);
        let results = &mut self.config.records[at].results;
        // Steps that say the same have one record, and one result is enough.
        if results.is_empty() {
            results.extend(result);
        }
    }

    fn record(&mut self, digest: Digest, inputs: Vec<Vec<CacheInput>>) -> usize {
        let records = &mut self.config.records;
        let new = CacheRecord {
            digest: digest.to_string(),
            inputs: inputs.clone(),
            ..CacheRecord::default()
        };
        *self.records.entry((digest, inputs)).or_insert_with(|| {
            records.push(new);
            records.len() - 1
        })
    }

    /// The position of the topmost layer; none without layers.
    fn stack(&mut self, layers: &[Layer]) -> Option<i64> {
        let mut below = -1;
        for layer in layers {
            let all = &mut self.config.layers;
            below = *self.layers.entry((layer.blob.digest.clone(), below)).or_insert_with(|| {
                let blob = layer.blob.digest.to_string();
                all.push(CacheLayer { blob, parent: below, annotations: None });
                i64::try_from(all.len() - 1).unwrap_or(i64::MAX)
            });
        }
        (below != -1).then_some(below)
    }
}
