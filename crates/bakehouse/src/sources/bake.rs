//! Bake files: targets, as definitions.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_bake::{self as bake, Resolved, Set, SourceFile, Target};
use bakehouse_model::Location;
use bakehouse_plan::fleet::{
    ContextValue, Definition, DockerfileAt, Group, NamedContext, Options, Skipped, SourceKind,
};

use super::{Sources, Tree, context_value, dockerfile_path, from_root};
use crate::discovery::folder_of;

/// The files of a folder that bake reads without being told to, in its order.
pub(crate) const USUAL_BAKE: &[&str] = &[
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// What bake files are told of the machine and the command line.
pub struct BakeSettings<'a> {
    /// `--set`.
    pub sets: Vec<Set>,
    /// The platform of this machine.
    pub local_platform: String,
    /// Seconds since 1970.
    pub now: i64,
    /// The user's folder.
    pub home: &'a str,
}

impl std::fmt::Debug for BakeSettings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BakeSettings").field("sets", &self.sets).finish_non_exhaustive()
    }
}

/// Reads what bake reads in a folder.
pub(super) fn read_folder(
    folder: &str,
    paths: &[String],
    doors: (&Tree<'_>, &BakeSettings<'_>),
    sources: &mut Sources,
) {
    let is_bake = |path: &&String| path.ends_with(".hcl") || path.ends_with(".json");
    let here: Vec<&String> =
        paths.iter().filter(is_bake).filter(|path| folder_of(path) == folder).collect();
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let usual: Vec<String> = USUAL_BAKE
        .iter()
        .filter_map(|usual| here.iter().find(|path| name(path) == *usual))
        .map(|path| (*path).clone())
        .collect();
    for other in here.iter().filter(|path| !usual.contains(path)) {
        let reason = "bake reads it only when `-f` names it".to_owned();
        sources.skipped.push(Skipped { path: (*other).clone(), reason });
    }
    read_files(&usual, folder, doors, sources);
}

/// Reads these files on top of each other; paths in them are from `folder`.
pub(super) fn read_files(
    paths: &[String],
    folder: &str,
    (tree, settings): (&Tree<'_>, &BakeSettings<'_>),
    sources: &mut Sources,
) {
    let load = |path: &String| Some(SourceFile { text: (tree.load)(path)?, path: path.clone() });
    let files: Vec<SourceFile> = paths.iter().filter_map(load).collect();
    let Some(first) = files.first() else { return };
    for file in &files {
        sources.keep(&file.path, &file.text);
    }
    // What the command line sets is meant for the first bake file, the one at the root.
    let others = &sources.described.definitions;
    let is_first = !others.iter().any(|definition| definition.kind == SourceKind::Bake);
    let sets = if is_first { &settings.sets[..] } else { &[] };
    let (resolved, diagnostics) = evaluate(&files, tree.env, settings).resolve_all(sets);
    sources.diagnostics.extend(diagnostics);
    let groups = groups(&resolved);
    let of = |target: &Target| -> Vec<String> {
        let has = |group: &&Group| group.members.contains(&target.name);
        groups.iter().filter(has).map(|group| group.name.clone()).collect()
    };
    for target in resolved.targets.values() {
        let mut definition = definition(target, (&first.path, folder), tree);
        definition.groups = of(target);
        sources.keep_inline(&definition);
        sources.described.definitions.push(definition);
    }
    let project = first.path.clone();
    let with_project = |group: Group| Group { project: project.clone(), ..group };
    sources.described.groups.extend(groups.into_iter().map(with_project));
}

/// Evaluates bake files on this machine.
pub(crate) fn evaluate(
    files: &[SourceFile],
    env: &dyn Fn(&str) -> Option<String>,
    settings: &BakeSettings<'_>,
) -> bake::Bake {
    let mut around = bake::Surroundings::new(env);
    around.local_platform = &settings.local_platform;
    around.now = settings.now;
    around.home = settings.home;
    bake::read(files, &around)
}

/// Every group with the targets that it leads to.
fn groups(resolved: &Resolved) -> Vec<Group> {
    let all = &resolved.groups;
    let one = |group: &bake::Group| {
        let (mut members, mut seen) = (Vec::new(), BTreeSet::new());
        let mut waiting: Vec<&String> = group.targets.iter().rev().collect();
        while let Some(name) = waiting.pop() {
            if !seen.insert(name) {
                continue;
            }
            match all.get(name) {
                Some(inner) if !resolved.targets.contains_key(name) => {
                    waiting.extend(inner.targets.iter().rev());
                }
                _ => members.push(name.clone()),
            }
        }
        Group {
            name: group.name.clone(),
            members,
            project: String::new(),
            location: group.location.clone(),
        }
    };
    all.values().map(one).collect()
}

fn definition(target: &Target, (project, folder): (&str, &str), tree: &Tree<'_>) -> Definition {
    let place = target.block().cloned().unwrap_or_else(|| Location::file(project));
    let mut definition = Definition::new(SourceKind::Bake, project, &target.name, place.clone());
    let written = target.dockerfile.as_deref().unwrap_or("Dockerfile");
    let written = written.strip_prefix("cwd://").unwrap_or(written);
    let context = target.context.as_deref().unwrap_or(".");
    // Paths are from where bake is called: the file's folder, or the repository's root.
    let at = |folder: &str| context_value(context, |path| from_root(folder, path));
    let there = |context: &ContextValue| (tree.exists)(&dockerfile_path(context, written));
    let base = if there(&at(folder)) || !there(&at("")) { folder } else { "" };
    definition.context = at(base);
    definition.dockerfile = match &target.dockerfile_inline {
        Some(text) => DockerfileAt::Inline(text.clone()),
        None => DockerfileAt::Path(dockerfile_path(&definition.context, written)),
    };
    definition.target = target.target.clone().filter(|target| !target.is_empty());
    definition.args.clone_from(&target.args);
    let contexts = target.contexts.iter();
    definition.contexts = contexts
        .map(|(name, text)| NamedContext {
            name: name.clone(),
            value: context_value(text, |path| from_root(base, path)),
            location: target.location("contexts").unwrap_or(&place).clone(),
        })
        .collect();
    definition.references = target.tags.clone().unwrap_or_default();
    definition.platforms = target.platforms.clone().unwrap_or_default();
    definition.options = options(target);
    definition
}

fn options(target: &Target) -> Options {
    let list = |texts: &Option<Vec<String>>| texts.clone().unwrap_or_default();
    let hosts = target.extra_hosts.iter();
    Options {
        labels: target.labels.clone(),
        no_cache: target.no_cache == Some(true),
        no_cache_filter: list(&target.no_cache_filter),
        pull: target.pull == Some(true),
        network: target.network.clone(),
        shm_size: target.shm_size.clone(),
        ulimits: list(&target.ulimits),
        extra_hosts: hosts.map(|(host, ip)| format!("{host}={ip}")).collect(),
        entitlements: list(&target.entitlements),
        secrets: target.secret.iter().flatten().map(secret).collect(),
        ssh: target.ssh.iter().flatten().map(ssh).collect(),
        outputs: target.output.iter().flatten().map(output).collect(),
        annotations: list(&target.annotations),
        attests: target.attest.iter().flatten().map(attest).collect(),
        cache_from: target.cache_from.iter().flatten().map(cache).collect(),
        cache_to: target.cache_to.iter().flatten().map(cache).collect(),
    }
}

fn secret(secret: &bake::Secret) -> String {
    let mut text = format!("id={}", secret.id);
    for (name, value) in [("src", &secret.source), ("env", &secret.env)] {
        if !value.is_empty() {
            text.push_str(&format!(",{name}={value}"));
        }
    }
    text
}

fn ssh(ssh: &bake::Ssh) -> String {
    let id = if ssh.id.is_empty() { "default" } else { &ssh.id };
    if ssh.paths.is_empty() { id.to_owned() } else { format!("{id}={}", ssh.paths.join(",")) }
}

fn attest(attest: &bake::Attest) -> String {
    let mut text = format!("type={}", attest.kind);
    if attest.disabled {
        text.push_str(",disabled=true");
    }
    with_attributes(text, &attest.attributes)
}

fn cache(cache: &bake::Cache) -> String {
    with_attributes(format!("type={}", cache.kind), &cache.attributes)
}

fn output(output: &bake::Output) -> String {
    let mut text = format!("type={}", output.kind);
    if !output.destination.is_empty() {
        text.push(',');
        text.push_str(&quoted(&format!("dest={}", output.destination)));
    }
    with_attributes(text, &output.attributes)
}

fn with_attributes(mut text: String, attributes: &BTreeMap<String, String>) -> String {
    for (name, value) in attributes {
        text.push(',');
        text.push_str(&quoted(&format!("{name}={value}")));
    }
    text
}

/// As a field of CSV.
fn quoted(field: &str) -> String {
    if field.contains([',', '"']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
