//! Provenance: what an image was made of, and how, in SLSA's form with BuildKit's details.
//!
//! Values of secrets are in neither mode. Of a build's arguments and labels, of its secrets'
//! names and of its steps, only `max` tells.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::Digest;
use bakehouse_model::oci::Platform;
use bakehouse_model::op::{Exec, GitSource, HttpSource, MountKind, Network, Op, Source};
use serde_json::{Map, Value, json};

use super::{purl, steps};
use crate::address::without_password;
use crate::graph::{Graph, StepIndex};
use crate::key::json::base64;
use crate::lower::is_proxy;
use crate::time::rfc3339_ms;

/// What kind of build it was; says how the parameters are to be read.
const BUILD_TYPE: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What is fit for everybody's eyes: what the image was made of.
    Min,
    /// How it was made too.
    #[default]
    Max,
}

/// A build to tell of.
#[derive(Debug)]
pub struct Invocation<'a> {
    /// The steps of all images.
    pub graph: &'a Graph,
    /// The image's last one.
    pub root: Option<StepIndex>,
    /// How much is told.
    pub mode: Mode,
    /// Who built it.
    pub builder: &'a str,
    /// Whether somebody vouches that it can be made again.
    pub reproducible: bool,
    /// The Dockerfile's path.
    pub file: &'a str,
    /// Its text.
    pub text: &'a str,
    /// The stage that was wanted.
    pub target: Option<&'a str>,
    /// `ARG`s that were given.
    pub args: &'a BTreeMap<String, String>,
    /// Labels that were given.
    pub labels: &'a BTreeMap<String, String>,
    /// The platform that built.
    pub builder_platform: &'a Platform,
}

/// The predicate, but for when it was and which build ([`at`]).
pub fn provenance(build: &Invocation<'_>) -> Value {
    let steps = steps::reachable(build.graph, build.root);
    let sources = steps.iter().filter_map(|step| match &build.graph.step(*step).op {
        Op::Source(source) => Some(source),
        _ => None,
    });
    let mut found = Sources::default();
    sources.for_each(|source| found.add(source));
    let complete = found.locals.is_empty() && found.is_pinned;
    let mut internal = json!({ "builderPlatform": build.builder_platform.to_string() });
    let mut metadata = json!({
        "buildkit_metadata": {},
        "buildkit_completeness": {
            "request": build.mode == Mode::Max || (build.args.is_empty() && build.labels.is_empty()),
            "resolvedDependencies": complete,
        },
    });
    let claims = [
        ("buildkit_hermetic", complete && is_isolated(build.graph, &steps)),
        ("buildkit_reproducible", build.reproducible),
    ];
    for (claim, _) in claims.into_iter().filter(|(_, holds)| *holds) {
        metadata[claim] = json!(true);
    }
    if build.mode == Mode::Max {
        internal["buildConfig"] =
            json!({ "llbDefinition": steps::definition(build.graph, &steps) });
        metadata["buildkit_metadata"]["source"] = json!({
            "locations": steps::locations(build.graph, &steps),
            "infos": [{
                "filename": build.file,
                "language": "Dockerfile",
                "data": base64(build.text.as_bytes()),
            }],
        });
    }
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "configSource": { "path": build.file },
                "request": request(build, &steps, &found.locals),
            },
            "internalParameters": internal,
            "resolvedDependencies": found.materials.into_values().collect::<Vec<_>>(),
        },
        "runDetails": { "builder": { "id": build.builder }, "metadata": metadata },
    })
}

/// Says when the build was, in milliseconds since 1970, and which it was.
pub fn at(predicate: &mut Value, (started, finished): (u64, u64), image: &Digest) {
    let metadata = &mut predicate["runDetails"]["metadata"];
    metadata["invocationId"] = json!(image.hex()[..25]);
    metadata["startedOn"] = json!(rfc3339_ms(started));
    metadata["finishedOn"] = json!(rfc3339_ms(finished));
}

/// What was asked for.
fn request(build: &Invocation<'_>, steps: &[StepIndex], locals: &BTreeMap<&str, ()>) -> Value {
    let mut args: Map<String, Value> = Map::new();
    if let Some(target) = build.target {
        args.insert("target".to_owned(), json!(target));
    }
    // A build has both, whether or not it copies anything.
    let mut locals: BTreeSet<&str> = locals.keys().copied().collect();
    locals.extend(["context", "dockerfile"]);
    let locals: Vec<Value> = locals.into_iter().map(|name| json!({ "name": name })).collect();
    let mut request = json!({ "frontend": "dockerfile.v0", "locals": locals });
    if build.mode == Mode::Max {
        let given = [("build-arg", build.args), ("label", build.labels)];
        for (kind, texts) in given {
            let texts = texts.iter().filter(|(name, _)| kind == "label" || !is_proxy(name));
            args.extend(texts.map(|(name, text)| (format!("{kind}:{name}"), json!(text))));
        }
        let (secrets, ssh) = guarded(build.graph, steps);
        for (kind, names) in [("secrets", secrets), ("ssh", ssh)] {
            if !names.is_empty() {
                let tell = |(id, optional): (String, bool)| {
                    if optional {
                        json!({ "id": id, "optional": true })
                    } else {
                        json!({ "id": id })
                    }
                };
                request[kind] = names.into_iter().map(tell).collect();
            }
        }
    }
    if !args.is_empty() {
        request["args"] = Value::Object(args);
    }
    request
}

/// The names of secrets and of agents that steps see, and whether all could do without.
fn guarded(graph: &Graph, steps: &[StepIndex]) -> (BTreeMap<String, bool>, BTreeMap<String, bool>) {
    let (mut secrets, mut ssh) = (BTreeMap::new(), BTreeMap::new());
    let note = |all: &mut BTreeMap<String, bool>, id: &String, optional: bool| {
        *all.entry(id.clone()).or_insert(true) &= optional;
    };
    for exec in execs(graph, steps) {
        for secret in &exec.secret_env {
            note(&mut secrets, &secret.id, secret.optional);
        }
        for mount in &exec.mounts {
            match &mount.kind {
                MountKind::Secret { id, optional, .. } => note(&mut secrets, id, *optional),
                MountKind::Ssh { id, optional, .. } => note(&mut ssh, id, *optional),
                _ => {}
            }
        }
    }
    (secrets, ssh)
}

fn execs<'a>(graph: &'a Graph, steps: &'a [StepIndex]) -> impl Iterator<Item = &'a Exec> {
    steps.iter().filter_map(|step| match &graph.step(*step).op {
        Op::Exec(exec) => Some(exec),
        _ => None,
    })
}

/// Whether no process could reach the network.
fn is_isolated(graph: &Graph, steps: &[StepIndex]) -> bool {
    execs(graph, steps).all(|exec| exec.network == Network::None)
}

/// What an image was made of.
struct Sources<'a> {
    /// Each once: images, then repositories, then files, by address.
    materials: BTreeMap<(u8, String), Value>,
    locals: BTreeMap<&'a str, ()>,
    /// Whether every one of the materials is known by its contents.
    is_pinned: bool,
}

impl Default for Sources<'_> {
    fn default() -> Self {
        Self { materials: BTreeMap::new(), locals: BTreeMap::new(), is_pinned: true }
    }
}

impl<'a> Sources<'a> {
    fn add(&mut self, source: &'a Source) {
        match source {
            Source::Image(image) => {
                let uri = purl::image(&image.reference, Some(&image.platform));
                self.material((0, uri), Some(("sha256", image.manifest.hex().to_owned())));
            }
            Source::Context(context) => drop(self.locals.insert(&context.name, ())),
            Source::Http(http) => {
                let digest = http.checksum.as_ref().map(|sum| ("sha256", sum.hex().to_owned()));
                self.material((2, http_address(http)), digest);
            }
            Source::Git(git) => {
                let named = [&git.checksum, &git.reference];
                let is_commit = |text: &&String| {
                    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
                };
                let commit = named.into_iter().flatten().find(is_commit);
                let digest = commit.map(|commit| (kind_of(commit), commit.clone()));
                self.material((1, git_address(git)), digest);
            }
        }
    }

    fn material(&mut self, place: (u8, String), digest: Option<(&str, String)>) {
        let mut told = json!({ "uri": place.1 });
        match digest {
            Some((kind, hex)) => told["digest"] = json!({ kind: hex }),
            None => self.is_pinned = false,
        }
        self.materials.insert(place, told);
    }
}

/// What a digest with so many digits is.
fn kind_of(hex: &str) -> &'static str {
    if hex.len() == 64 { "sha256" } else { "sha1" }
}

/// How a download is called among the materials.
pub fn http_address(http: &HttpSource) -> String {
    without_password(&http.url)
}

/// How a repository is called among the materials.
pub fn git_address(git: &GitSource) -> String {
    let remote = without_password(&git.remote);
    match &git.reference {
        Some(name) => format!("{remote}#{name}"),
        None => remote,
    }
}

/// The predicate in the words of SLSA's version 0.2, which has the same to say.
pub fn as_v02(predicate: &mut Value) -> Value {
    let mut definition = predicate["buildDefinition"].take();
    let mut details = predicate["runDetails"].take();
    let mut source = definition["externalParameters"]["configSource"].take();
    let mut told = details["metadata"].take();
    let completeness = told["buildkit_completeness"].take();
    let mut metadata = json!({
        "buildInvocationID": told["invocationId"].take(),
        "buildStartedOn": told["startedOn"].take(),
        "buildFinishedOn": told["finishedOn"].take(),
        "completeness": {
            "parameters": completeness["request"],
            "environment": true,
            "materials": completeness["resolvedDependencies"],
        },
        "reproducible": told["buildkit_reproducible"] == true,
        "https://mobyproject.org/buildkit@v1#metadata": told["buildkit_metadata"].take(),
    });
    if told["buildkit_hermetic"] == true {
        metadata["https://mobyproject.org/buildkit@v1#hermetic"] = json!(true);
    }
    let mut internal = definition["internalParameters"].take();
    let mut v02 = json!({
        "builder": details["builder"].take(),
        "buildType": "https://mobyproject.org/buildkit@v1",
        "materials": definition["resolvedDependencies"].take(),
        "invocation": {
            "configSource": { "entryPoint": source["path"].take() },
            "parameters": definition["externalParameters"]["request"].take(),
            "environment": { "platform": internal["builderPlatform"].take() },
        },
        "metadata": metadata,
    });
    if !internal["buildConfig"].is_null() {
        v02["buildConfig"] = internal["buildConfig"].take();
    }
    v02
}

/// Says what was fetched, by address: the digest of a file, or the commit of a repository. What
/// nobody could know before is known then.
pub fn pin(predicate: &mut Value, fetched: &BTreeMap<String, String>) {
    let definition = &mut predicate["buildDefinition"];
    let materials = definition["resolvedDependencies"].as_array_mut().into_iter().flatten();
    for material in materials.filter(|material| material["digest"].is_null()) {
        let hex = material["uri"].as_str().and_then(|address| fetched.get(address));
        if let Some(hex) = hex {
            material["digest"] = json!({ kind_of(hex): hex });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_fetched_is_filled_in_where_nothing_was_known() {
        let materials = json!([
            { "uri": "known", "digest": { "sha256": "x" } }, { "uri": "file" }, { "uri": "git" },
            { "uri": "other" },
        ]);
        let mut predicate = json!({ "buildDefinition": { "resolvedDependencies": materials } });
        let (file, commit) = ("f".repeat(64), "c".repeat(40));
        let fetched = [("known", &file), ("file", &file), ("git", &commit)];
        let fetched = fetched.map(|(address, hex)| (address.to_owned(), hex.clone())).into();
        pin(&mut predicate, &fetched);
        let told = &predicate["buildDefinition"]["resolvedDependencies"];
        assert_eq!(told[0]["digest"]["sha256"], "x");
        assert_eq!(told[1]["digest"]["sha256"], file);
        assert_eq!(told[2]["digest"]["sha1"], commit);
        assert!(told[3]["digest"].is_null());
    }
}
