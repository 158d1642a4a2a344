//! The steps of an image, as provenance tells them: ops in the words of BuildKit's LLB, without
//! what is nobody's business (the machine's folders, proxies, contents).

use bakehouse_model::op::{Exec, File, FileAction, MountKind, Network, Op, Security, Source};
use serde_json::{Map, Value, json};

use crate::address::without_password;
use crate::graph::{Graph, Step, StepIndex};

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
    steps.iter().enumerate().map(tell).collect()
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
    let platform = &step.platform;
    let mut told = json!({
        "Op": match &step.op {
            Op::Source(source) => json!({ "source": { "identifier": identifier(source) } }),
            Op::Exec(one) => json!({ "exec": exec(one) }),
            Op::File(one) => json!({ "file": file(one) }),
            Op::Merge => json!({ "merge": {} }),
        },
        "platform": { "OS": platform.os, "Architecture": platform.architecture },
    });
    if let Some(variant) = &platform.variant {
        told["platform"]["Variant"] = json!(variant);
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

fn exec(exec: &Exec) -> Value {
    let mounts: Vec<Value> = exec
        .mounts
        .iter()
        .map(|mount| {
            let (kind, id) = match &mount.kind {
                MountKind::Root | MountKind::Bind => ("bind", None),
                MountKind::Cache { id, .. } => ("cache", Some(id)),
                MountKind::Tmpfs { .. } => ("tmpfs", None),
                MountKind::Secret { id, .. } => ("secret", Some(id)),
                MountKind::Ssh { id, .. } => ("ssh", Some(id)),
            };
            let mut told = json!({ "dest": mount.dest, "mountType": kind });
            if let Some(id) = id {
                told["id"] = json!(id);
            }
            if let Some(input) = mount.input {
                told["input"] = json!(input);
            }
            if !mount.selector.is_empty() {
                told["selector"] = json!(mount.selector);
            }
            told
        })
        .collect();
    let meta = json!({ "args": exec.args, "env": exec.env, "cwd": exec.cwd, "user": exec.user });
    let mut told = json!({ "meta": meta, "mounts": mounts });
    match exec.network {
        Network::Default => {}
        Network::Host => told["network"] = json!("host"),
        Network::None => told["network"] = json!("none"),
    }
    if exec.security == Security::Insecure {
        told["security"] = json!("insecure");
    }
    if !exec.secret_env.is_empty() {
        let secrets = exec.secret_env.iter().map(|one| json!({ "id": one.id, "name": one.name }));
        told["secretenv"] = secrets.collect();
    }
    told
}

fn file(file: &File) -> Value {
    let actions: Vec<Value> = file
        .actions
        .iter()
        .map(|action| match action {
            FileAction::Copy(copy) => json!({ "copy": {
                "input": copy.input, "src": copy.src, "dest": copy.dest,
            } }),
            FileAction::MakeFile(made) => json!({ "mkfile": {
                "path": made.path, "mode": made.mode, "size": made.data.len(),
            } }),
            FileAction::MakeDir(made) => json!({ "mkdir": {
                "path": made.path, "mode": made.mode,
            } }),
        })
        .collect();
    json!({ "actions": actions })
}
