//! Compose files: services that are built, as definitions.

use std::collections::BTreeSet;

use bakehouse_compose::{
    self as compose, Build, Context, Origin, Service, SourceFile, Surroundings,
};
use bakehouse_model::{Diagnostic, Severity};
use bakehouse_plan::fleet::{
    ContextValue, Definition, DockerfileAt, NamedContext, Options, SourceKind,
};

use super::{Sources, Tree, context_value, dockerfile_path};
use crate::discovery::folder_of;

/// Reads the project that Compose finds in a folder; none if there is none.
pub(super) fn read_usual(
    folder: &str,
    paths: &[String],
    tree: &Tree<'_>,
    (sources, read): (&mut Sources, &mut BTreeSet<String>),
) {
    let here = |path: &&String| folder_of(path) == folder && is_compose(path);
    if !paths.iter().any(|path| here(&path)) {
        return;
    }
    let project = project_name(folder, tree);
    let (files, diagnostics) = compose::find(folder, &around(tree, project));
    sources.diagnostics.extend(diagnostics);
    if !files.is_empty() {
        read.extend(files.iter().map(|file| file.path.clone()));
        read_project(&files, true, (tree, project), sources);
    }
}

/// Reads a file that Compose reads only when it is named.
pub(super) fn read_other(
    path: &str,
    tree: &Tree<'_>,
    (sources, read): (&mut Sources, &mut BTreeSet<String>),
) {
    if is_compose(path) && !is_override(path) && read.insert(path.to_owned()) {
        read_files(&[path.to_owned()], false, tree, sources);
    }
}

/// Reads these files as one project.
pub(super) fn read_files(paths: &[String], usual: bool, tree: &Tree<'_>, sources: &mut Sources) {
    let Some(first) = paths.first() else { return };
    let load = |path: &String| Some(SourceFile { text: (tree.load)(path)?, path: path.clone() });
    let files: Vec<SourceFile> = paths.iter().filter_map(load).collect();
    read_project(&files, usual, (tree, project_name(folder_of(first), tree)), sources);
}

fn is_compose(path: &str) -> bool {
    path.ends_with(".yml") || path.ends_with(".yaml")
}

/// A file that only goes on top of another one.
fn is_override(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    compose::OVERRIDES.contains(&name)
}

fn project_name<'a>(folder: &'a str, tree: &'a Tree<'_>) -> &'a str {
    folder.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(tree.repository)
}

fn around<'a>(tree: &'a Tree<'_>, project: &'a str) -> Surroundings<'a> {
    Surroundings { env: tree.env, load: tree.load, project, profiles: None }
}

fn read_project(
    files: &[SourceFile],
    usual: bool,
    (tree, project): (&Tree<'_>, &str),
    sources: &mut Sources,
) {
    let read = compose::read(files, &around(tree, project));
    for path in &read.files {
        if let Some(text) = (tree.load)(path) {
            sources.keep(path, &text);
        }
    }
    // Nobody is held to what is in a file that is read only when it is asked for.
    sources.diagnostics.extend(read.diagnostics.into_iter().map(|told| Diagnostic {
        severity: if usual { told.severity } else { Severity::Note },
        ..told
    }));
    let first = files.first().map(|file| file.path.clone()).unwrap_or_default();
    for service in read.services.values() {
        if let Some(build) = &service.build {
            let definition = Definition { usual, ..definition(service, build, &first, tree) };
            sources.keep_inline(&definition);
            sources.described.definitions.push(definition);
        }
    }
}

fn definition(service: &Service, build: &Build, project: &str, tree: &Tree<'_>) -> Definition {
    let mut definition =
        Definition::new(SourceKind::Compose, project, &service.name, service.location.clone());
    definition.context = value(&build.context.value);
    definition.dockerfile = match &build.dockerfile_inline {
        Some(inline) => DockerfileAt::Inline(inline.value.clone()),
        None => DockerfileAt::Path(dockerfile(build, &definition.context, tree)),
    };
    definition.target = build.target.as_ref().map(|target| target.value.clone());
    let args = build.args.iter();
    definition.args =
        args.filter_map(|(name, arg)| Some((name.clone(), arg.value.clone()?))).collect();
    let contexts = build.contexts.iter();
    definition.contexts = contexts
        .map(|(name, context)| NamedContext {
            name: name.clone(),
            value: value(&context.value),
            location: context.location.clone(),
        })
        .collect();
    definition.references =
        service.image.iter().chain(&build.tags).map(|t| t.value.clone()).collect();
    let service_platform = service.platform.iter().filter(|_| build.platforms.is_empty());
    definition.platforms =
        build.platforms.iter().chain(service_platform).map(|p| p.value.clone()).collect();
    definition.options = options(build);
    definition
}

/// The Dockerfile that is written, or what Docker takes if nothing is.
fn dockerfile(build: &Build, context: &ContextValue, tree: &Tree<'_>) -> String {
    match &build.dockerfile {
        Some(written) => dockerfile_path(context, &written.value),
        None => {
            let usual = dockerfile_path(context, "Dockerfile");
            let lower = dockerfile_path(context, "dockerfile");
            if !(tree.exists)(&usual) && (tree.exists)(&lower) { lower } else { usual }
        }
    }
}

fn value(context: &Context) -> ContextValue {
    match context {
        Context::Folder(folder) => context_value(folder, |path| super::from_root("", path)),
        Context::Service(service) => ContextValue::Definition(service.clone()),
        Context::Image(reference) => ContextValue::Image(reference.clone()),
        Context::Layout(layout) => ContextValue::Layout(layout.clone()),
        Context::Remote(url) => ContextValue::Url(url.clone()),
    }
}

/// `provenance` and `sbom`: a switch, or attributes.
fn attests(build: &Build) -> Vec<String> {
    let wanted = [("provenance", &build.provenance), ("sbom", &build.sbom)];
    let wanted = wanted.iter().filter_map(|(kind, value)| Some((kind, &value.as_ref()?.value)));
    wanted
        .map(|(kind, value)| match value.as_str() {
            "true" => format!("type={kind}"),
            "false" => format!("type={kind},disabled=true"),
            attributes => format!("type={kind},{attributes}"),
        })
        .collect()
}

fn options(build: &Build) -> Options {
    let texts = |list: &[compose::Written<String>]| list.iter().map(|t| t.value.clone()).collect();
    let secret = |secret: &compose::Written<compose::Secret>| {
        let id = secret.value.target.as_ref().unwrap_or(&secret.value.id);
        match &secret.value.origin {
            Origin::File(path) => Some(format!("id={id},src={path}")),
            Origin::Environment(name) => Some(format!("id={id},env={name}")),
            Origin::External | Origin::Undefined => None,
        }
    };
    let ulimits = build.ulimits.iter();
    let hosts = build.extra_hosts.iter();
    Options {
        labels: build.labels.iter().map(|(name, l)| (name.clone(), l.value.clone())).collect(),
        no_cache: build.no_cache.as_ref().is_some_and(|written| written.value),
        no_cache_filter: texts(&build.no_cache_filter),
        pull: build.pull.as_ref().is_some_and(|written| written.value),
        network: build.network.as_ref().map(|written| written.value.clone()),
        shm_size: build.shm_size.as_ref().map(|written| written.value.to_string()),
        ulimits: ulimits
            .map(|(name, limit)| format!("{name}={}:{}", limit.value.soft, limit.value.hard))
            .collect(),
        extra_hosts: hosts
            .flat_map(|(host, all)| all.value.iter().map(move |ip| format!("{host}={ip}")))
            .collect(),
        entitlements: texts(&build.entitlements),
        secrets: build.secrets.iter().filter_map(secret).collect(),
        ssh: build
            .ssh
            .iter()
            .map(|(id, path)| match &path.value {
                Some(path) => format!("{id}={path}"),
                None => id.clone(),
            })
            .collect(),
        outputs: Vec::new(),
        annotations: Vec::new(),
        attests: attests(build),
        cache_from: texts(&build.cache_from),
        cache_to: texts(&build.cache_to),
    }
}
