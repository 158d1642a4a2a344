//! `--set`: values that the command line gives to fields of targets.
//!
//! Some keys do less than one would think (`network`, `ulimits` and `no-cache-filter` can only be
//! emptied). That is how Buildx 0.29 has them, and a build must not differ.

use std::collections::BTreeMap;

use bakehouse_model::{Diagnostic, Location, Severity};

use crate::entries::{self, Output, parse_bool};
use crate::paths;
use crate::target::{Target, merge_entries};

/// One `--set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The whole, as it was written.
    written: String,
    pattern: String,
    key: String,
    /// What comes after the key: the name of an argument, a label or a context.
    name: Option<String>,
    value: Option<String>,
    append: bool,
}

/// Keys that may be set several times, which adds up.
const LISTS: &[&str] = &[
    "output",
    "cache-to",
    "cache-from",
    "tags",
    "platform",
    "secrets",
    "ssh",
    "attest",
    "entitlements",
    "network",
    "annotations",
];

impl Set {
    /// Reads `PATTERN.KEY[.NAME]=VALUE`, or `+=` to add to a list. `PATTERN.args.NAME` alone
    /// takes the value from the environment.
    pub fn parse(written: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Diagnostic> {
        let (path, value) = match written.split_once('=') {
            Some((path, value)) => (path, Some(value.to_owned())),
            None => (written, None),
        };
        let append = path.ends_with('+');
        let mut parts = path.strip_suffix('+').unwrap_or(path).splitn(3, '.');
        let pattern = parts.next().unwrap_or_default().to_owned();
        let (key, name) = (parts.next().unwrap_or_default().to_owned(), parts.next());
        let mut set = Self {
            written: written.to_owned(),
            pattern,
            key,
            name: name.map(str::to_owned),
            value,
            append,
        };
        if !path.contains('.') || (set.value.is_none() && set.key != "args") {
            return Err(set.refused("it is not of the form `TARGET.KEY=VALUE`"));
        }
        if matches!(set.key.as_str(), "args" | "contexts") && set.name.is_none() {
            return Err(set
                .refused(&format!("`{}` needs a name: `TARGET.{}.NAME=VALUE`", set.key, set.key)));
        }
        if set.value.is_none() {
            set.value = set.name.as_deref().and_then(env);
        }
        Ok(set)
    }

    fn refused(&self, why: &str) -> Diagnostic {
        Diagnostic {
            location: Some(Location::file(format!("--set {}", self.written))),
            severity: Severity::Error,
            code: "invalid-set".to_owned(),
            message: format!("`--set {}`: {why}", self.written),
            help: Some(
                "see https://docs.docker.com/build/bake/overrides/ for what can be set".to_owned(),
            ),
        }
    }
}

/// What is set of one key.
#[derive(Debug, Default)]
struct Override {
    value: String,
    values: Vec<String>,
    append: bool,
    last: Option<Set>,
}

/// All that is set, by target and key.
#[derive(Debug, Default)]
pub(crate) struct Sets(BTreeMap<String, BTreeMap<(bool, String), Override>>);

impl Sets {
    /// Finds out which of the targets each concerns.
    pub(crate) fn new(sets: &[Set], targets: &[&str]) -> Result<Self, Diagnostic> {
        let mut all = Self::default();
        for set in sets {
            let exact = targets.contains(&set.pattern.as_str());
            let fits = |name: &&&str| {
                if exact { **name == set.pattern } else { paths::matches(&set.pattern, name) }
            };
            let mut found = targets.iter().filter(fits).peekable();
            if found.peek().is_none() {
                return Err(set.refused(&format!("no target matches `{}`", set.pattern)));
            }
            for name in found {
                all.add(name, set);
            }
        }
        Ok(all)
    }

    fn add(&mut self, target: &str, set: &Set) {
        let key = match &set.name {
            Some(name) => format!("{}.{name}", set.key),
            None => set.key.clone(),
        };
        // What pushes and loads looks at outputs, so these are set before.
        let late = matches!(set.key.as_str(), "push" | "load");
        let Some(value) = &set.value else { return };
        let entry = self.0.entry(target.to_owned()).or_default().entry((late, key)).or_default();
        if LISTS.contains(&set.key.as_str()) {
            entry.append = set.append;
            entry.values.push(value.clone());
        } else {
            entry.value.clone_from(value);
        }
        entry.last = Some(set.clone());
    }

    /// Changes a target as is set.
    pub(crate) fn apply(&self, name: &str, target: &mut Target) -> Result<(), Diagnostic> {
        for given in self.0.get(name).into_iter().flat_map(BTreeMap::values) {
            let Some(set) = &given.last else { continue };
            given.apply(set, target).map_err(|why| set.refused(&why))?;
        }
        Ok(())
    }
}

impl Override {
    fn apply(&self, set: &Set, target: &mut Target) -> Result<(), String> {
        let value = || Some(self.value.clone());
        match set.key.as_str() {
            "context" => target.context = value(),
            "dockerfile" => target.dockerfile = value(),
            "target" => target.target = value(),
            "call" => target.call = value(),
            "shm-size" => target.shm_size = value(),
            "network" => target.network = value(),
            "args" | "contexts" | "labels" | "extra-hosts" => return self.entry(set, target),
            "tags" => self.texts(&mut target.tags),
            "platform" => self.texts(&mut target.platforms),
            "no-cache-filter" => self.texts(&mut target.no_cache_filter),
            "ulimits" => self.texts(&mut target.ulimits),
            "entitlements" => self.added(&mut target.entitlements),
            "annotations" => self.added(&mut target.annotations),
            "cache-from" => self.entries(&mut target.cache_from)?,
            "cache-to" => self.entries(&mut target.cache_to)?,
            "secrets" => self.entries(&mut target.secret)?,
            "ssh" => self.entries(&mut target.ssh)?,
            "output" => self.entries(&mut target.output)?,
            "attest" => merge_entries(&mut target.attest, Some(&entries::parse(&self.values)?)),
            "no-cache" => target.no_cache = Some(self.flag()?),
            "pull" => target.pull = Some(self.flag()?),
            "push" => push(&mut target.output, self.flag()?),
            "load" if self.flag()? => load(&mut target.output),
            "load" => {}
            key => return Err(format!("there is no key `{key}`")),
        }
        Ok(())
    }

    fn entry(&self, set: &Set, target: &mut Target) -> Result<(), String> {
        let name = set.name.clone();
        let name =
            name.ok_or_else(|| format!("`{}` needs a name: `{}.NAME=VALUE`", set.key, set.key))?;
        let entries = match set.key.as_str() {
            "args" => &mut target.args,
            "contexts" => &mut target.contexts,
            "labels" => &mut target.labels,
            _ => &mut target.extra_hosts,
        };
        entries.insert(name, self.value.clone());
        Ok(())
    }

    fn texts(&self, list: &mut Option<Vec<String>>) {
        if self.append {
            self.added(list);
        } else {
            *list = Some(self.values.clone()).filter(|values| !values.is_empty());
        }
    }

    fn added(&self, list: &mut Option<Vec<String>>) {
        if !self.values.is_empty() {
            list.get_or_insert_default().extend(self.values.iter().cloned());
        }
    }

    fn entries<E: entries::Entry>(&self, list: &mut Option<Vec<E>>) -> Result<(), String> {
        let given = entries::parse(&self.values)?;
        if self.append {
            merge_entries(list, Some(&given));
        } else {
            *list = Some(given);
        }
        Ok(())
    }

    fn flag(&self) -> Result<bool, String> {
        parse_bool(&self.value).ok_or_else(|| format!("`{}` is not true or false", self.value))
    }
}

fn output(kind: &str, attributes: &[(&str, &str)]) -> Output {
    let attribute = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Output {
        kind: kind.to_owned(),
        destination: String::new(),
        attributes: attributes.iter().map(attribute).collect(),
    }
}

/// `--push`: everything that can be is pushed, or nothing.
fn push(outputs: &mut Option<Vec<Output>>, push: bool) {
    let list = outputs.get_or_insert_default();
    if !push {
        let mut at = 0;
        while at < list.len() {
            if list[at].kind == "registry" {
                list.swap_remove(at);
                continue;
            }
            if list[at].kind == "image" {
                list[at].attributes.insert("push".to_owned(), "false".to_owned());
            }
            at += 1;
        }
        return;
    }
    let mut add = true;
    for each in list.iter_mut() {
        add &= each.kind == "docker";
        if each.kind == "image" {
            each.attributes.insert("push".to_owned(), "true".to_owned());
        }
    }
    if add {
        list.push(output("image", &[("push", "true")]));
    }
}

/// `--load`: the image goes into the Docker Engine too.
fn load(outputs: &mut Option<Vec<Output>>) {
    let list = outputs.get_or_insert_default();
    for each in list.iter() {
        match each.kind.as_str() {
            "docker" if each.destination.is_empty() => return,
            "docker" | "image" | "registry" | "oci" => {}
            _ => return,
        }
    }
    list.push(output("docker", &[]));
}
