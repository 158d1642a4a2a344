//! Projects against `docker buildx bake --print`, which reads Compose files too.
//!
//! `expected-bake.json` beside a fixture is what buildx 0.29.1 prints for it, reduced to what we have
//! as well. It is always compared; where buildx is at hand (`docker buildx`, or the peers that lie
//! beside the repository), what it prints now is too, and `BAKEHOUSE_BLESS=1` writes the pins anew.
//!
//! Bake reads secrets, looks for SSH agents and has a project name of its own; `case.json` says
//! which fixtures it does not take, and why.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bakehouse_compose::{Build, Context, Origin, Project, Service, Written};
use serde_json::{Map, Value, json};

use crate::cases::{Case, Scratch, bless, blesses, cases, output, pin, repository};

/// What is compared. Bake prints `ulimits` wrongly and attestations in a form of their own.
const KEYS: &[&str] = &[
    "context",
    "contexts",
    "dockerfile",
    "dockerfile-inline",
    "args",
    "labels",
    "tags",
    "target",
    "platforms",
    "no-cache",
    "pull",
    "network",
    "shm-size",
    "extra-hosts",
    "secret",
    "cache-from",
    "cache-to",
];

#[test]
fn a_project_is_what_bake_makes_of_it() {
    let mut wrong = Vec::new();
    for case in cases("ok").iter().filter(|case| !case.refused_by("bake")) {
        let pinned = pin(case, "expected-bake.json");
        let ours = ours(&case.read(), &case.folder);
        if pinned.as_ref() != Some(&ours) && !blesses() {
            wrong.push(format!("{}:\n  ours:  {ours}\n  bake: {pinned:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bake_agrees_today() {
    let Some(bake) = bake() else {
        eprintln!("skipped: docker buildx is not at hand");
        return;
    };
    let mut taken = cases("ok");
    taken.retain(|case| !case.refused_by("bake"));
    let mut wrong = Vec::new();
    let printed = print(&bake, &repository().join("fixtures/compose/ok"), &taken);
    for (case, printed) in taken.iter().zip(printed) {
        let theirs = match printed {
            Ok(theirs) => theirs,
            Err(error) => {
                wrong.push(format!("{}: {error}", case.name));
                continue;
            }
        };
        if blesses() {
            bless(case, "expected-bake.json", &theirs);
        }
        let ours = ours(&case.read(), &case.folder);
        if ours != theirs {
            wrong.push(format!("{}:\n  ours:  {ours}\n  bake: {theirs}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a command begins with that is to run where buildx is.
pub(crate) fn bake() -> Option<Vec<PathBuf>> {
    let version = ["docker", "buildx", "version"];
    let here = Some(vec![PathBuf::from("env")]);
    let peers = repository().join("../shared/peers/peers");
    let there = peers.canonicalize().ok().map(|peers| vec![peers, PathBuf::from("exec")]);
    [here, there].into_iter().flatten().find(|lead| {
        let mut command = Command::new(&lead[0]);
        command.args(&lead[1..]).args(version).current_dir(std::env::temp_dir());
        output(&mut command).is_ok_and(|version| version.contains("buildx"))
    })
}

/// What Bake makes of copies of `cases`, whose roots are folders of `parent`.
pub(crate) fn print(bake: &[PathBuf], parent: &Path, cases: &[Case]) -> Vec<Result<Value, String>> {
    let scratch = Scratch::copy(parent);
    let copied = scratch.0.join(parent.file_name().unwrap());
    let printed = |index: usize| scratch.0.join(format!("printed-{index}"));
    let mut script = String::new();
    for (index, case) in cases.iter().enumerate() {
        let folder = copied.join(&case.name).join(&case.folder);
        write!(script, "cd '{}' && env -i PATH=\"$PATH\"", folder.display()).unwrap();
        for (name, value) in &case.env {
            write!(script, " '{name}={value}'").unwrap();
        }
        script += " docker buildx bake --print";
        for file in case.found() {
            write!(script, " --file '{file}'").unwrap();
        }
        let printed = printed(index);
        writeln!(script, " >'{0}' 2>'{0}.err' || mv '{0}.err' '{0}'", printed.display()).unwrap();
    }
    fs::write(scratch.0.join("print"), script).unwrap();
    let mut command = Command::new(&bake[0]);
    command.args(&bake[1..]).arg("sh").arg(scratch.0.join("print"));
    output(command.current_dir(std::env::temp_dir())).unwrap();
    let read = |index| {
        let text = fs::read_to_string(printed(index)).unwrap();
        let value = serde_json::from_str(&text).map_err(|_| text)?;
        Ok(reduce(&value))
    };
    (0..cases.len()).map(read).collect()
}

fn reduce(printed: &Value) -> Value {
    let mut targets = Map::new();
    for (name, target) in printed["target"].as_object().into_iter().flatten() {
        let mut kept = Map::new();
        for key in KEYS {
            if let Some(value) = target.get(*key) {
                // What Bake would take for a variable of its own is printed with two dollars.
                let plain = value.to_string().replace("$${", "${");
                kept.insert((*key).to_owned(), serde_json::from_str(&plain).unwrap());
            }
        }
        targets.insert(name.clone(), Value::Object(kept));
    }
    Value::Object(targets)
}

/// Our builds in the words of Bake.
pub(crate) fn ours(project: &Project, folder: &str) -> Value {
    let built = project.services.iter().filter_map(|(name, service)| {
        // Bake's targets have no dots.
        Some((name.replace('.', "_"), target(service, service.build.as_ref()?, folder)))
    });
    Value::Object(built.collect())
}

fn target(service: &Service, build: &Build, folder: &str) -> Value {
    let mut out = Map::new();
    let text = |value: &Option<Written<String>>| value.as_ref().map(|value| json!(value.value));
    let yes = |value: &Option<Written<bool>>| {
        value.as_ref().filter(|value| value.value).map(|_| json!(true))
    };
    let mut put = |key: &str, value: Option<Value>| {
        let empty = |value: &Value| {
            value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(Map::is_empty)
        };
        if let Some(value) = value.filter(|value| !empty(value)) {
            out.insert(key.to_owned(), value);
        }
    };
    put("context", Some(json!(context(&build.context.value, folder))));
    let contexts = build.contexts.iter();
    let contexts = contexts.map(|(name, it)| (name.clone(), json!(context(&it.value, folder))));
    put("contexts", Some(contexts.collect()));
    put("dockerfile", text(&build.dockerfile).or(Some(json!("Dockerfile"))));
    put("dockerfile-inline", text(&build.dockerfile_inline));
    let args = build.args.iter();
    let args = args.filter_map(|(name, arg)| Some((name.clone(), json!(arg.value.as_ref()?))));
    put("args", Some(args.collect()));
    let labels = build.labels.iter().map(|(name, label)| (name.clone(), json!(label.value)));
    put("labels", Some(labels.collect()));
    put("target", text(&build.target));
    put("no-cache", yes(&build.no_cache));
    put("pull", yes(&build.pull));
    put("network", text(&build.network));
    put("platforms", Some(with_bake(build, "platforms", &build.platforms)));
    let tags = with_bake(build, "tags", &build.tags);
    let image = service.image.as_ref().filter(|_| build.tags.is_empty());
    let image = image.filter(|_| tags.as_array().is_some_and(Vec::is_empty));
    put("tags", Some(image.map_or(tags, |image| json!([image.value]))));
    put("shm-size", build.shm_size.as_ref().map(|size| json!(binary(size.value))));
    let hosts = build.extra_hosts.iter();
    put(
        "extra-hosts",
        Some(hosts.map(|(host, it)| (host.clone(), json!(it.value.join(",")))).collect()),
    );
    put("secret", Some(secrets(build, folder)));
    put("cache-from", Some(caches(&build.cache_from)));
    put("cache-to", Some(caches(&build.cache_to)));
    Value::Object(out)
}

/// Values with those that `x-bake` adds.
fn with_bake(build: &Build, key: &str, values: &[Written<String>]) -> Value {
    let mut all: Vec<String> = values.iter().map(|value| value.value.clone()).collect();
    if let Some(added) = build.x_bake.as_ref().and_then(|bake| bake.get(key)) {
        all.extend(added.as_str().map(str::to_owned));
        all.extend(added.items().iter().filter_map(|item| item.to_text()));
    }
    json!(all)
}

fn secrets(build: &Build, folder: &str) -> Value {
    let secrets = build.secrets.iter().map(|secret| {
        let mut out = json!({ "id": secret.value.id });
        match &secret.value.origin {
            Origin::File(path) => out["src"] = json!(relative(path, folder)),
            Origin::Environment(name) => out["env"] = json!(name),
            Origin::External | Origin::Undefined => {}
        }
        out
    });
    secrets.collect()
}

/// Bake has every cache once.
fn caches(entries: &[Written<String>]) -> Value {
    let mut caches: Vec<Value> = Vec::new();
    for cache in entries.iter().map(cache) {
        if !caches.contains(&cache) {
            caches.push(cache);
        }
    }
    json!(caches)
}

fn cache(entry: &Written<String>) -> Value {
    if !entry.value.contains('=') {
        return json!({ "type": "registry", "ref": entry.value });
    }
    let pairs = entry.value.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

fn context(context: &Context, folder: &str) -> String {
    match context {
        Context::Folder(path) => relative(path, folder),
        Context::Remote(text) => text.clone(),
        Context::Service(name) => format!("target:{name}"),
        Context::Image(image) => format!("docker-image://{image}"),
        Context::Layout(layout) => format!("oci-layout://{layout}"),
    }
}

/// A path from the root, as seen from a folder directly below it or from the root itself.
fn relative(path: &str, folder: &str) -> String {
    if folder.is_empty() || path.starts_with('/') {
        return path.to_owned();
    }
    match path.strip_prefix(folder) {
        Some("") => ".".to_owned(),
        Some(below) if below.starts_with('/') => below[1..].to_owned(),
        _ if path == "." => "..".to_owned(),
        _ => format!("../{path}"),
    }
}

/// Bytes as buildx prints them.
fn binary(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let power = (0..3).take_while(|power| bytes >> (10 * (power + 1)) > 0).count();
    format!("{}{}", bytes >> (10 * power), units[power])
}
