//! The steps of an image, as provenance tells them: ops in the words of BuildKit's LLB, without
//! what is nobody's business (the machine's folders, proxies, contents).

use bakehouse_model::op::{Op, Source};
use serde_json::{Map, Value, json};

use crate::address::without_password;
use crate::graph::{Graph, Step, StepIndex};
use crate::key::json::{told_exec, told_file};

/// Every step that `root` needs, and itself, needs first.
pub(super) fn reachable(graph: &Graph, root: Option<StepIndex>) -> Vec<StepIndex> {
    let mut seen = std::collections::BTreeSet::new();
    let mut waiting: Vec<StepIndex> = root.into_iter().collect();
    while let Some(step) = waiting.pop() {
        if seen.insert(step) {
            waiting.extend(graph.step(step).inputs.iter().copied());
        }
    }
    // The graph has needs first, so the order of positions will do.
    seen.into_iter().collect()
}

/// `llbDefinition`: all steps, each with the number of what it reads.
pub(super) fn definition(graph: &Graph, steps: &[StepIndex]) -> Vec<Value> {
    let number = |step: &StepIndex| steps.binary_search(step).unwrap_or_default();
    let tell = |(at, index): (usize, &StepIndex)| {
        let step = graph.step(*index);
        let mut told = Map::new();
        told.insert("id".to_owned(), json!(format!("step{at}")));
        told.insert("op".to_owned(), op(step));
        let inputs: Vec<String> =
            step.inputs.iter().map(|input| format!("step{}:0", number(input))).collect();
        if !inputs.is_empty() {
            told.insert("inputs".to_owned(), json!(inputs));
        }
        Value::Object(told)
    };
    let mut all: Vec<Value> = steps.iter().enumerate().map(tell).collect();
    // LLB ends with an op that only names the result.
    if let Some(last) = all.len().checked_sub(1) {
        let inputs = [format!("step{last}:0")];
        let id = format!("step{}", last + 1);
        all.push(json!({ "id": id, "op": { "Op": {} }, "inputs": inputs }));
    }
    all
}

/// `locations`: the line of each step that was written somewhere.
pub(super) fn locations(graph: &Graph, steps: &[StepIndex]) -> Value {
    let lines = steps.iter().enumerate().filter_map(|(at, index)| {
        let line = graph.step(*index).origin.location.as_ref()?.line;
        let range = json!({ "start": { "line": line }, "end": { "line": line } });
        Some((format!("step{at}"), json!({ "locations": [{ "ranges": [range] }] })))
    });
    Value::Object(lines.collect())
}

fn op(step: &Step) -> Value {
    let mut told = json!({
        "Op": match &step.op {
            Op::Source(source) => json!({ "source": { "identifier": identifier(source) } }),
            Op::Exec(exec) => json!({ "exec": told_exec(exec, step) }),
            Op::File(file) => json!({ "file": told_file(file, step.inputs.len()) }),
            Op::Merge => json!({ "merge": {} }),
        },
        "constraints": {},
    });
    if matches!(step.op, Op::Exec(_) | Op::Source(Source::Image(_))) {
        let platform = &step.platform;
        told["platform"] = json!({ "OS": platform.os, "Architecture": platform.architecture });
        if let Some(variant) = &platform.variant {
            told["platform"]["Variant"] = json!(variant);
        }
    }
    told
}

fn identifier(source: &Source) -> String {
    match source {
        Source::Image(image) => {
            format!("docker-image://{}@{}", image.reference, image.manifest)
        }
        Source::Context(context) => format!("local://{}", context.name),
        Source::Http(http) => without_password(&http.url),
        Source::Git(git) => {
            let remote = without_password(&git.remote);
            let reference = git.reference.as_deref().unwrap_or_default();
            match &git.subdir {
                Some(subdir) => format!("git://{remote}#{reference}:{subdir}"),
                None => format!("git://{remote}#{reference}"),
            }
        }
    }
}
