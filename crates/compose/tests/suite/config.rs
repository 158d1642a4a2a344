//! Projects against `docker compose config`.
//!
//! `expected.json` beside a fixture is what Docker Compose 2.40.3 prints for it, reduced to images
//! and builds, with paths from the fixture's root. It is always compared; where Docker Compose is at
//! hand (`docker-compose`, or the program that `BAKEHOUSE_DOCKER_COMPOSE` names), what it prints now
//! is too, and `BAKEHOUSE_BLESS=1` writes the pins anew from it.

use std::path::Path;
use std::process::Command;

use bakehouse_compose::{Build, Context, Origin, Project, Service, Written};
use serde_json::{Map, Value, json};

use crate::cases::{Case, Scratch, bless, blesses, cases, output, pin};

#[test]
fn a_project_is_what_docker_compose_makes_of_it() {
    let mut wrong = Vec::new();
    let cases = cases("ok");
    for case in &cases {
        let project = case.read();
        assert!(clean(&project), "{}: {:#?}", case.name, project.diagnostics);
        match pin(case, "expected.json") {
            Some(expected) => compare(case, &ours(&project), &expected, &mut wrong),
            None if blesses() || case.refused_by("compose") => {}
            None => wrong.push(format!("{}: there is no expected.json", case.name)),
        }
    }
    assert!(wrong.is_empty() || blesses(), "{}", wrong.join("\n"));
}

#[test]
fn docker_compose_agrees_today() {
    let Some(program) = program() else {
        eprintln!("skipped: docker-compose is not at hand");
        return;
    };
    let mut wrong = Vec::new();
    for case in cases("ok").iter().filter(|case| !case.refused_by("compose")) {
        match theirs(&program, case) {
            Ok(theirs) => {
                if blesses() {
                    bless(case, "expected.json", &theirs);
                }
                compare(case, &ours(&case.read()), &theirs, &mut wrong);
            }
            Err(error) => wrong.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn clean(project: &Project) -> bool {
    project.diagnostics.iter().all(|problem| problem.severity != bakehouse_model::Severity::Error)
}

pub(crate) fn compare(case: &Case, ours: &Value, theirs: &Value, wrong: &mut Vec<String>) {
    if ours != theirs {
        let name = &case.name;
        wrong.push(format!("{name}:\n  ours:   {ours}\n  theirs: {theirs}"));
    }
}

pub(crate) fn program() -> Option<String> {
    let named = std::env::var("BAKEHOUSE_DOCKER_COMPOSE").ok();
    let program = named.unwrap_or("docker-compose".to_owned());
    let version = output(Command::new(&program).arg("version")).ok()?;
    version.contains("version").then_some(program)
}

/// What Docker Compose makes of a copy of the case.
pub(crate) fn theirs(program: &str, case: &Case) -> Result<Value, String> {
    let scratch = Scratch::copy(&case.root);
    let root = scratch.0.join(&case.name);
    let mut command = Command::new(program);
    command.env_clear().envs(&case.env).current_dir(root.join(&case.folder));
    for file in &case.files {
        command.args(["--file", file]);
    }
    command.args(["--profile", "*", "config", "--format", "json", "--no-env-resolution"]);
    let printed: Value = serde_json::from_str(&output(&mut command)?).map_err(|e| e.to_string())?;
    Ok(reduce(printed, &root))
}

/// Images and builds of what Docker Compose prints, with paths from `root`.
fn reduce(mut printed: Value, root: &Path) -> Value {
    tidy(&mut printed, root);
    let mut services = Map::new();
    for (name, service) in printed["services"].as_object().into_iter().flatten() {
        let mut kept = Map::new();
        for key in ["image", "platform", "profiles", "build"] {
            if let Some(value) = service.get(key) {
                kept.insert(key.to_owned(), value.clone());
            }
        }
        let needs = service["depends_on"].as_object().into_iter().flatten();
        let needs: Vec<&String> = needs.map(|(name, _)| name).collect();
        if !needs.is_empty() {
            kept.insert("depends_on".to_owned(), json!(needs));
        }
        let secrets = kept.get_mut("build").and_then(|build| build.get_mut("secrets"));
        for secret in secrets.and_then(Value::as_array_mut).into_iter().flatten() {
            let defined = &printed["secrets"][secret["source"].as_str().unwrap()];
            for key in ["file", "environment"] {
                if let Some(value) = defined.get(key) {
                    secret[key] = value.clone();
                }
            }
        }
        services.insert(name.clone(), Value::Object(kept));
    }
    json!({ "name": printed["name"], "services": services })
}

/// Undoes what `config` does to print: dollars are doubled, paths are absolute.
fn tidy(value: &mut Value, root: &Path) {
    match value {
        Value::String(text) => {
            let root = root.to_string_lossy();
            let above = root.rsplit_once('/').unwrap().0;
            let mut plain = text.replace("$$", "$");
            if plain == *root || plain == above {
                plain = if plain == above { ".." } else { "." }.to_owned();
            }
            plain = plain.replace(&format!("{root}/"), "");
            *text = plain.replace(&format!("{above}/"), "../");
        }
        Value::Array(items) => items.iter_mut().for_each(|item| tidy(item, root)),
        Value::Object(map) => map.values_mut().for_each(|value| tidy(value, root)),
        _ => {}
    }
}

/// Our project in the words of `docker compose config`.
pub(crate) fn ours(project: &Project) -> Value {
    let services =
        project.services.iter().map(|(name, service)| (name.clone(), service_of(service)));
    json!({ "name": project.name, "services": services.collect::<Map<_, _>>() })
}

fn service_of(service: &Service) -> Value {
    let mut out = Map::new();
    put(&mut out, "image", service.image.as_ref().map(|image| json!(image.value)));
    put(&mut out, "platform", service.platform.as_ref().map(|platform| json!(platform.value)));
    put(&mut out, "profiles", texts(&service.profiles));
    let mut needs: Vec<&String> = service.depends_on.iter().map(|need| &need.value).collect();
    needs.sort();
    put(&mut out, "depends_on", (!needs.is_empty()).then(|| json!(needs)));
    put(&mut out, "build", service.build.as_ref().map(build_of));
    Value::Object(out)
}

fn build_of(build: &Build) -> Value {
    let mut out = Map::new();
    let text = |value: &Option<Written<String>>| value.as_ref().map(|value| json!(value.value));
    let yes = |value: &Option<Written<bool>>| {
        value.as_ref().filter(|value| value.value).map(|_| json!(true))
    };
    put(&mut out, "context", Some(json!(context_of(&build.context.value))));
    let default = build.dockerfile_inline.is_none().then(|| json!("Dockerfile"));
    put(&mut out, "dockerfile", text(&build.dockerfile).or(default));
    put(&mut out, "dockerfile_inline", text(&build.dockerfile_inline));
    put(&mut out, "target", text(&build.target));
    put(&mut out, "network", text(&build.network));
    put(&mut out, "isolation", text(&build.isolation));
    put(&mut out, "provenance", text(&build.provenance));
    put(&mut out, "sbom", text(&build.sbom));
    put(&mut out, "no_cache", yes(&build.no_cache));
    put(&mut out, "pull", yes(&build.pull));
    put(&mut out, "privileged", yes(&build.privileged));
    put(&mut out, "cache_from", texts(&build.cache_from));
    put(&mut out, "cache_to", texts(&build.cache_to));
    put(&mut out, "platforms", texts(&build.platforms));
    put(&mut out, "tags", texts(&build.tags));
    put(&mut out, "entitlements", texts(&build.entitlements));
    put(&mut out, "shm_size", build.shm_size.as_ref().map(|size| json!(size.value.to_string())));
    maps_of(build, &mut out);
    Value::Object(out)
}

fn maps_of(build: &Build, out: &mut Map<String, Value>) {
    let args = build
        .args
        .iter()
        .filter_map(|(name, arg)| arg.value.as_ref().map(|value| (name.clone(), json!(value))));
    let args: Map<String, Value> = args.collect();
    put(out, "args", object(args));
    let labels = build.labels.iter().map(|(name, label)| (name.clone(), json!(label.value)));
    put(out, "labels", object(labels.collect()));
    let contexts = build.contexts.iter();
    let contexts = contexts.map(|(name, it)| (name.clone(), json!(context_of(&it.value))));
    put(out, "additional_contexts", object(contexts.collect()));
    let ulimits = build.ulimits.iter().map(|(name, limit)| {
        let limit = limit.value;
        let both = json!({ "soft": limit.soft, "hard": limit.hard });
        (name.clone(), if limit.soft == limit.hard { json!(limit.soft) } else { both })
    });
    put(out, "ulimits", object(ulimits.collect()));
    let ssh = build.ssh.iter().map(|(id, path)| match &path.value {
        Some(path) => json!(format!("{id}={path}")),
        None => json!(id),
    });
    put(out, "ssh", array(ssh.collect()));
    let hosts = build.extra_hosts.iter().flat_map(|(host, addresses)| {
        addresses.value.iter().map(move |address| format!("{host}={address}"))
    });
    let mut hosts: Vec<String> = hosts.collect();
    hosts.sort();
    put(out, "extra_hosts", array(hosts.into_iter().map(Value::String).collect()));
    let secrets = build.secrets.iter().map(|secret| {
        let secret = &secret.value;
        let mut out = json!({ "source": secret.id });
        if let Some(target) = &secret.target {
            out["target"] = json!(target);
        }
        match &secret.origin {
            Origin::File(path) => out["file"] = json!(path),
            Origin::Environment(name) => out["environment"] = json!(name),
            Origin::External | Origin::Undefined => {}
        }
        out
    });
    put(out, "secrets", array(secrets.collect()));
}

fn context_of(context: &Context) -> String {
    match context {
        Context::Folder(text) | Context::Remote(text) => text.clone(),
        Context::Service(name) => format!("service:{name}"),
        Context::Image(image) => format!("docker-image://{image}"),
        Context::Layout(layout) => format!("oci-layout://{layout}"),
    }
}

fn put(out: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        out.insert(key.to_owned(), value);
    }
}

fn texts(values: &[Written<String>]) -> Option<Value> {
    array(values.iter().map(|value| json!(value.value)).collect())
}

fn array(values: Vec<Value>) -> Option<Value> {
    (!values.is_empty()).then_some(Value::Array(values))
}

fn object(values: Map<String, Value>) -> Option<Value> {
    (!values.is_empty()).then_some(Value::Object(values))
}
