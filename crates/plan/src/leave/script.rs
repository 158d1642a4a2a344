//! A shell script: one `docker buildx build` for each image, parents first.
//!
//! What stands on another image is handed that one as a named context: by its tag when images
//! are loaded, which the `docker` driver finds in the engine that it is a part of; by the digest
//! that was just pushed when they are pushed, which every driver finds.

use std::collections::{BTreeMap, BTreeSet};

use super::recipe::{Dockerfile, From, Recipe};
use super::shell::{comment, end_word, word};

/// Where images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// Into the Docker Engine.
    Load,
    /// To their registries.
    Push,
}

const HEAD: &str = "#!/bin/sh\n\
    # The builds of this repository as commands of `docker buildx`, parents first, written by\n\
    # `bakehouse plan --print-commands`. Run it in the repository's root.\n";

const LOADED: &str = "# Images find each other in the Docker Engine: this needs a builder of the \
    driver `docker`.\n";

const DIGEST: &str = "\n# The digest that a build has pushed.\n\
    digest() { sed -n 's/.*\"containerimage.digest\": *\"\\([^\"]*\\)\".*/\\1/p' \"$1\"; }\n\
    pushed=$(mktemp -d)\n\
    trap 'rm -rf \"$pushed\"' EXIT\n";

/// `recipes` as a script for a POSIX shell.
pub fn script(recipes: &[Recipe], sending: Sending) -> String {
    let script = Script::new(recipes, sending);
    let mut out = HEAD.to_owned();
    if sending == Sending::Load && !script.parents.is_empty() {
        out.push_str(LOADED);
    }
    out.push_str("set -eu\n");
    if script.handed_by_digest() {
        out.push_str(DIGEST);
    }
    for (at, recipe) in recipes.iter().enumerate() {
        out.push_str(&script.build(at, recipe));
    }
    out
}

struct Script<'a> {
    sending: Sending,
    by_name: BTreeMap<&'a str, (usize, &'a Recipe)>,
    /// Images that others stand on.
    parents: BTreeSet<&'a str>,
}

impl<'a> Script<'a> {
    fn new(recipes: &'a [Recipe], sending: Sending) -> Self {
        let by_name = recipes.iter().enumerate().map(|(at, r)| (r.name.as_str(), (at, r)));
        let parents = recipes.iter().flat_map(|recipe| recipe.contexts.values());
        let parents = parents.filter_map(|from| match from {
            From::Fleet(image) => Some(image.as_str()),
            From::Value(_) => None,
        });
        Self { sending, by_name: by_name.collect(), parents: parents.collect() }
    }

    /// Whether an image is pushed: it has to be said where to.
    fn is_pushed(&self, recipe: &Recipe) -> bool {
        self.sending == Sending::Push && !recipe.tags.is_empty()
    }

    fn handed_by_digest(&self) -> bool {
        let recipe = |name: &&str| self.by_name.get(*name).map(|(_, recipe)| *recipe);
        self.parents.iter().filter_map(recipe).any(|recipe| self.is_pushed(recipe))
    }

    fn build(&self, at: usize, recipe: &Recipe) -> String {
        let mut out = format!("\n# {}\n", comment(&recipe.name));
        for note in &recipe.notes {
            out.push_str(&format!("# note: {}\n", comment(note)));
        }
        if !recipe.outputs.is_empty() {
            let outputs = comment(&recipe.outputs.join(" "));
            out.push_str(&format!("# note: its definition has its own outputs: {outputs}\n"));
        }
        if recipe.platforms.len() > 1 && !self.is_pushed(recipe) {
            out.push_str(
                "# note: several platforms can be pushed, and only some engines load them\n",
            );
        }
        let remembered = self.is_pushed(recipe) && self.parents.contains(recipe.name.as_str());
        let mut words = self.options(recipe);
        if remembered {
            words.push(format!("--metadata-file \"$pushed/{at}\""));
        }
        words.push(word(&recipe.context));
        out.push_str(&format!("docker buildx build \\\n  {}", words.join(" \\\n  ")));
        match &recipe.dockerfile {
            Dockerfile::Path(_) => out.push('\n'),
            Dockerfile::Inline(text) => {
                let end = end_word(text);
                let ended = if text.ends_with('\n') { "" } else { "\n" };
                out.push_str(&format!(" <<'{end}'\n{text}{ended}{end}\n"));
            }
        }
        if remembered {
            out.push_str(&format!("digest_{at}=$(digest \"$pushed/{at}\")\n"));
        }
        out
    }

    /// Options and their values, each as it stands in the script.
    fn options(&self, recipe: &Recipe) -> Vec<String> {
        let mut words = Words::default();
        words.one(
            "-f",
            match &recipe.dockerfile {
                Dockerfile::Path(path) => path,
                Dockerfile::Inline(_) => "-",
            },
        );
        words.all("--target", &recipe.target);
        words.pairs("--build-arg", &recipe.args);
        for (name, from) in &recipe.contexts {
            words.0.push(format!("--build-context {}", self.context(name, from)));
        }
        if !recipe.platforms.is_empty() {
            words.one("--platform", &recipe.platforms.join(","));
        }
        words.pairs("--label", &recipe.labels);
        words.all("--secret", &recipe.secrets);
        words.all("--ssh", &recipe.ssh);
        words.all("--network", &recipe.network);
        words.all("--shm-size", &recipe.shm_size);
        words.all("--ulimit", &recipe.ulimits);
        for (host, address) in &recipe.extra_hosts {
            words.one("--add-host", &format!("{host}={address}"));
        }
        words.all("--allow", &recipe.entitlements);
        words.flag("--no-cache", recipe.no_cache);
        if !recipe.no_cache_filter.is_empty() {
            words.one("--no-cache-filter", &recipe.no_cache_filter.join(","));
        }
        words.flag("--pull", recipe.pull);
        words.all("--cache-from", &recipe.cache_from);
        words.all("--cache-to", &recipe.cache_to);
        if self.is_pushed(recipe) {
            // What stays in an engine has no room for them.
            words.all("--annotation", &recipe.annotations);
            words.all("--attest", &recipe.attests);
        }
        words.all("-t", &tags(recipe));
        words.flag(if self.is_pushed(recipe) { "--push" } else { "--load" }, true);
        words.0
    }

    fn context(&self, name: &str, from: &From) -> String {
        let parent = match from {
            From::Value(value) => return word(&format!("{name}={value}")),
            From::Fleet(image) => self.by_name.get(image.as_str()),
        };
        let Some((at, parent)) = parent else { return word(name) };
        let tag = tags(parent).into_iter().next().unwrap_or_default();
        if self.is_pushed(parent) {
            let repository = word(&format!("{name}=docker-image://{}", without_tag(&tag)));
            return format!("{repository}@\"$digest_{at}\"");
        }
        word(&format!("{name}=docker-image://{tag}"))
    }
}

/// What an image is called; one that nobody gave a tag is called what it is.
fn tags(recipe: &Recipe) -> Vec<String> {
    if recipe.tags.is_empty() {
        return vec![format!("{}:latest", crate::fleet::clean(&recipe.name))];
    }
    recipe.tags.clone()
}

/// A reference without its tag: a colon before the last slash is a port's.
fn without_tag(reference: &str) -> &str {
    let after = reference.rfind('/').map_or(0, |slash| slash + 1);
    reference[after..].find(':').map_or(reference, |colon| &reference[..after + colon])
}

/// Options, a line each.
#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn one(&mut self, option: &str, value: &str) {
        self.0.push(format!("{option} {}", word(value)));
    }

    fn all<'v>(&mut self, option: &str, values: impl IntoIterator<Item = &'v String>) {
        for value in values {
            self.one(option, value);
        }
    }

    fn pairs(&mut self, option: &str, pairs: &BTreeMap<String, String>) {
        for (name, value) in pairs {
            self.one(option, &format!("{name}={value}"));
        }
    }

    fn flag(&mut self, option: &str, set: bool) {
        if set {
            self.0.push(option.to_owned());
        }
    }
}
