//! A target: its fields, how they are read, and what becomes of them when targets are merged.

use std::collections::BTreeMap;
use std::rc::Rc;

use bakehouse_model::Location;

use crate::convert::{convert, text};
use crate::entries::{self, Attest, Cache, Entry, Output, Secret, Ssh};
use crate::value::{Type, Value};

/// One thing that is built.
///
/// A field that is `None` was not set. An empty list was set to be empty, which hides what would
/// be inherited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What people are told about it, or nothing.
    pub description: String,
    /// Annotations of the image, as they are written.
    pub annotations: Option<Vec<String>>,
    /// Attestations.
    pub attest: Option<Vec<Attest>>,
    /// The main context. A resolved target has one.
    pub context: Option<String>,
    /// Named contexts.
    pub contexts: BTreeMap<String, String>,
    /// The Dockerfile, relative to the context. A resolved target has one.
    pub dockerfile: Option<String>,
    /// The text of the Dockerfile, instead of a file.
    pub dockerfile_inline: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Names of the image.
    pub tags: Option<Vec<String>>,
    /// Caches to read.
    pub cache_from: Option<Vec<Cache>>,
    /// Caches to write.
    pub cache_to: Option<Vec<Cache>>,
    /// The stage to build.
    pub target: Option<String>,
    /// Secrets.
    pub secret: Option<Vec<Secret>>,
    /// SSH agents.
    pub ssh: Option<Vec<Ssh>>,
    /// Platforms to build for.
    pub platforms: Option<Vec<String>>,
    /// What is made of the result.
    pub output: Option<Vec<Output>>,
    /// Whether base images are looked up again.
    pub pull: Option<bool>,
    /// Whether nothing is taken from caches.
    pub no_cache: Option<bool>,
    /// The network of steps.
    pub network: Option<String>,
    /// Stages that take nothing from caches.
    pub no_cache_filter: Option<Vec<String>>,
    /// The size of `/dev/shm`.
    pub shm_size: Option<String>,
    /// Limits of processes.
    pub ulimits: Option<Vec<String>>,
    /// What is done instead of a build.
    pub call: Option<String>,
    /// What steps are allowed beyond the usual.
    pub entitlements: Option<Vec<String>>,
    /// Lines for `/etc/hosts`.
    pub extra_hosts: BTreeMap<String, String>,
    pub(crate) inherits: Vec<String>,
    /// Arguments and labels that were set to null, which says nothing but can be referred to.
    pub(crate) nulls: BTreeMap<&'static str, Vec<String>>,
    pub(crate) block: Option<Location>,
    pub(crate) places: BTreeMap<&'static str, Location>,
}

/// Names of fields, as they are written.
pub(crate) const FIELDS: &[&str] = &[
    "description",
    "inherits",
    "annotations",
    "attest",
    "context",
    "contexts",
    "dockerfile",
    "dockerfile-inline",
    "args",
    "labels",
    "tags",
    "cache-from",
    "cache-to",
    "target",
    "secret",
    "ssh",
    "platforms",
    "output",
    "pull",
    "no-cache",
    "network",
    "no-cache-filter",
    "shm-size",
    "ulimits",
    "call",
    "entitlements",
    "extra-hosts",
];

impl Target {
    /// Where a field, by the name that it has in a bake file, was set last.
    pub fn location(&self, field: &str) -> Option<&Location> {
        self.places.get(field)
    }

    /// Where the target itself is defined: its first block.
    pub fn block(&self) -> Option<&Location> {
        self.block.as_ref()
    }

    /// Sets a field to a value that a bake file gives it.
    pub(crate) fn set(&mut self, field: &'static str, value: &Value) -> Result<(), String> {
        match field {
            "description" => {
                self.description = string(value)?.ok_or("it must not be null")?;
            }
            "inherits" => self.inherits = strings(value)?.unwrap_or_default(),
            "annotations" => self.annotations = strings(value)?,
            "attest" => self.attest = list(value)?,
            "context" => self.context = string(value)?,
            "contexts" => {
                let entries = map(value)?.into_iter();
                let filled =
                    entries.map(|(name, value)| Ok((name, value.ok_or("a context is null")?)));
                self.contexts = filled.collect::<Result<_, &str>>()?;
            }
            "dockerfile" => self.dockerfile = string(value)?,
            "dockerfile-inline" => self.dockerfile_inline = string(value)?,
            "args" | "labels" | "extra-hosts" => self.set_map(field, map(value)?),
            "tags" => self.tags = strings(value)?,
            "cache-from" => self.cache_from = list(value)?,
            "cache-to" => self.cache_to = list(value)?,
            "target" => self.target = string(value)?,
            "secret" => self.secret = list(value)?,
            "ssh" => self.ssh = list(value)?,
            "platforms" => self.platforms = strings(value)?,
            "output" => self.output = list(value)?,
            "pull" => self.pull = boolean(value)?,
            "no-cache" => self.no_cache = boolean(value)?,
            "network" => self.network = string(value)?,
            "no-cache-filter" => self.no_cache_filter = strings(value)?,
            "shm-size" => self.shm_size = string(value)?,
            "ulimits" => self.ulimits = strings(value)?,
            "call" => self.call = string(value)?,
            "entitlements" => self.entitlements = strings(value)?,
            _ => {}
        }
        Ok(())
    }

    fn set_map(&mut self, field: &'static str, entries: BTreeMap<String, Option<String>>) {
        let nulls = entries.iter().filter(|(_, value)| value.is_none());
        let nulls: Vec<String> = nulls.map(|(name, _)| name.clone()).collect();
        self.nulls.insert(field, nulls);
        let filled = entries.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        match field {
            "args" => self.args = filled,
            "labels" => self.labels = filled,
            _ => self.extra_hosts = filled,
        }
    }

    /// The target as `target.name` gives it to expressions.
    pub(crate) fn to_value(&self) -> Value {
        let field = |field: &&'static str| (Rc::from(*field), self.field(field));
        let name = (Rc::from("name"), Value::string(&self.name));
        Value::object(FIELDS.iter().map(field).chain([name]).collect())
    }

    fn field(&self, field: &'static str) -> Value {
        match field {
            "description" => Value::string(&self.description),
            "inherits" if self.places.contains_key(field) => Value::strings(&self.inherits),
            "inherits" => Value::Null(Type::list(Type::String)),
            "annotations" => some_strings(self.annotations.as_ref()),
            "attest" => some_entries(self.attest.as_ref()),
            "context" => some_string(self.context.as_ref()),
            "contexts" => self.map_value(field, &self.contexts),
            "dockerfile" => some_string(self.dockerfile.as_ref()),
            "dockerfile-inline" => some_string(self.dockerfile_inline.as_ref()),
            "args" => self.map_value(field, &self.args),
            "labels" => self.map_value(field, &self.labels),
            "tags" => some_strings(self.tags.as_ref()),
            "cache-from" => some_entries(self.cache_from.as_ref()),
            "cache-to" => some_entries(self.cache_to.as_ref()),
            "target" => some_string(self.target.as_ref()),
            "secret" => some_entries(self.secret.as_ref()),
            "ssh" => some_entries(self.ssh.as_ref()),
            "platforms" => some_strings(self.platforms.as_ref()),
            "output" => some_entries(self.output.as_ref()),
            "pull" => self.pull.map_or(Value::Null(Type::Bool), Value::Bool),
            "no-cache" => self.no_cache.map_or(Value::Null(Type::Bool), Value::Bool),
            "network" => some_string(self.network.as_ref()),
            "no-cache-filter" => some_strings(self.no_cache_filter.as_ref()),
            "shm-size" => some_string(self.shm_size.as_ref()),
            "ulimits" => some_strings(self.ulimits.as_ref()),
            "call" => some_string(self.call.as_ref()),
            "entitlements" => some_strings(self.entitlements.as_ref()),
            _ => self.map_value(field, &self.extra_hosts),
        }
    }

    fn map_value(&self, field: &'static str, entries: &BTreeMap<String, String>) -> Value {
        if !self.places.contains_key(field) {
            return Value::Null(Type::map(Type::String));
        }
        let nulls = self.nulls.get(field).into_iter().flatten();
        let nulls = nulls.map(|name| (Rc::from(name.as_str()), Value::Null(Type::String)));
        let filled =
            entries.iter().map(|(name, value)| (Rc::from(name.as_str()), Value::string(value)));
        Value::map(Type::String, nulls.chain(filled).collect())
    }

    /// Puts `other` on top of this: some fields replace, some add.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (field, place) in &other.places {
            self.places.insert(field, place.clone());
        }
        if !other.description.is_empty() {
            self.description.clone_from(&other.description);
        }
        merge_map(&mut self.args, &other.args);
        merge_map(&mut self.contexts, &other.contexts);
        merge_map(&mut self.labels, &other.labels);
        merge_map(&mut self.extra_hosts, &other.extra_hosts);
        replace(&mut self.context, other.context.as_ref());
        replace(&mut self.dockerfile, other.dockerfile.as_ref());
        replace(&mut self.dockerfile_inline, other.dockerfile_inline.as_ref());
        replace(&mut self.tags, other.tags.as_ref());
        replace(&mut self.target, other.target.as_ref());
        replace(&mut self.call, other.call.as_ref());
        replace(&mut self.platforms, other.platforms.as_ref());
        replace(&mut self.cache_to, other.cache_to.as_ref());
        replace(&mut self.output, other.output.as_ref());
        replace(&mut self.pull, other.pull.as_ref());
        replace(&mut self.no_cache, other.no_cache.as_ref());
        replace(&mut self.network, other.network.as_ref());
        replace(&mut self.shm_size, other.shm_size.as_ref());
        append(&mut self.annotations, other.annotations.as_ref());
        append(&mut self.no_cache_filter, other.no_cache_filter.as_ref());
        append(&mut self.ulimits, other.ulimits.as_ref());
        append(&mut self.entitlements, other.entitlements.as_ref());
        merge_entries(&mut self.attest, other.attest.as_ref());
        merge_entries(&mut self.secret, other.secret.as_ref());
        merge_entries(&mut self.ssh, other.ssh.as_ref());
        merge_entries(&mut self.cache_from, other.cache_from.as_ref());
        self.inherits.extend(other.inherits.iter().cloned());
    }

    /// Leaves out what says the same twice, and what says nothing.
    pub(crate) fn normalize(&mut self) {
        if self.network.as_deref() == Some("host") {
            self.entitlements.get_or_insert_default().push("network.host".to_owned());
        }
        let lists = [
            &mut self.annotations,
            &mut self.tags,
            &mut self.platforms,
            &mut self.no_cache_filter,
            &mut self.ulimits,
            &mut self.entitlements,
        ];
        for list in lists.into_iter().flatten() {
            let mut seen = std::collections::BTreeSet::new();
            list.retain(|text| !text.is_empty() && seen.insert(text.clone()));
        }
        normalize_entries(&mut self.attest);
        normalize_entries(&mut self.secret);
        normalize_entries(&mut self.ssh);
        normalize_entries(&mut self.cache_from);
        normalize_entries(&mut self.cache_to);
        normalize_entries(&mut self.output);
        self.contexts.retain(|_, context| !context.is_empty());
    }
}

fn merge_map(into: &mut BTreeMap<String, String>, from: &BTreeMap<String, String>) {
    into.extend(from.iter().map(|(name, value)| (name.clone(), value.clone())));
}

fn replace<T: Clone>(into: &mut Option<T>, from: Option<&T>) {
    if from.is_some() {
        *into = from.cloned();
    }
}

fn append(into: &mut Option<Vec<String>>, from: Option<&Vec<String>>) {
    if let Some(more) = from.filter(|more| into.is_some() || !more.is_empty()) {
        into.get_or_insert_default().extend(more.iter().cloned());
    }
}

/// Adds entries to those that are there.
pub(crate) fn merge_entries<E: Entry>(into: &mut Option<Vec<E>>, from: Option<&Vec<E>>) {
    if let Some(more) = from {
        into.get_or_insert_default().extend(more.iter().cloned());
        normalize_entries(into);
    }
}

fn normalize_entries<E: Entry>(entries: &mut Option<Vec<E>>) {
    *entries = entries.take().filter(|entries| !entries.is_empty()).map(E::normalize);
}

fn string(value: &Value) -> Result<Option<String>, String> {
    if convert(value, &Type::String)?.is_null() {
        return Ok(None);
    }
    text(value).map(|text| Some(text.to_string()))
}

fn boolean(value: &Value) -> Result<Option<bool>, String> {
    Ok(match convert(value, &Type::Bool)? {
        Value::Bool(yes) => Some(yes),
        _ => None,
    })
}

/// Reads a list of strings.
pub(crate) fn strings(value: &Value) -> Result<Option<Vec<String>>, String> {
    let converted = convert(value, &Type::list(Type::String))?;
    let Some(elements) = converted.elements() else { return Ok(None) };
    let texts = elements.iter().map(|each| each.as_str().map(str::to_owned));
    texts.collect::<Option<Vec<_>>>().map(Some).ok_or_else(|| "an element is null".to_owned())
}

fn map(value: &Value) -> Result<BTreeMap<String, Option<String>>, String> {
    let converted = convert(value, &Type::map(Type::String))?;
    let entry =
        |(name, value): (&Rc<str>, &Value)| (name.to_string(), value.as_str().map(str::to_owned));
    Ok(converted.entries().map(|entries| entries.iter().map(entry).collect()).unwrap_or_default())
}

fn list<E: Entry>(value: &Value) -> Result<Option<Vec<E>>, String> {
    if value.is_null() {
        return Ok(None);
    }
    entries::read(value).map(Some)
}

fn some_string(value: Option<&String>) -> Value {
    value.map_or(Value::Null(Type::String), Value::string)
}

fn some_strings(values: Option<&Vec<String>>) -> Value {
    values.map_or(Value::Null(Type::list(Type::String)), Value::strings)
}

fn some_entries<E: Entry>(entries: Option<&Vec<E>>) -> Value {
    let values = entries.into_iter().flatten().map(Entry::to_value).collect();
    Value::list(E::shape(), values)
}
