//! Entries of lists that have a short form and a long one: caches, outputs, secrets, keys,
//! attestations.
//!
//! The short form is a line of `key=value` pairs separated by commas, the long one an object.
//! Both come to the same entry here.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::convert::{convert, text};
use crate::csv;
use crate::value::{Type, Value};

type Pairs = BTreeMap<String, String>;

/// A place where build results are kept for other builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// What kind of place: `registry`, `local`, `gha`, …
    pub kind: String,
    /// Everything else that was said of it.
    pub attributes: BTreeMap<String, String>,
}

/// What is made of a build's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// What kind of thing: `image`, `local`, `tar`, …
    pub kind: String,
    /// Where it goes, empty if nothing was said.
    pub destination: String,
    /// Everything else that was said of it.
    pub attributes: BTreeMap<String, String>,
}

/// A secret that steps may mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secret {
    /// Its name in the Dockerfile.
    pub id: String,
    /// The file it is in, or empty.
    pub source: String,
    /// The environment variable it is in, or empty.
    pub env: String,
}

/// An SSH agent or keys that steps may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ssh {
    /// Its name in the Dockerfile.
    pub id: String,
    /// Sockets or key files.
    pub paths: Vec<String>,
}

/// A statement about the image that is put next to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attest {
    /// `sbom`, `provenance`, …
    pub kind: String,
    /// Whether it is switched off.
    pub disabled: bool,
    /// Everything else that was said of it.
    pub attributes: BTreeMap<String, String>,
}

/// What all kinds of entries have in common.
pub(crate) trait Entry: Clone + PartialEq + Sized {
    /// Reads the short form, which may stand for several entries.
    fn parse(text: &str) -> Result<Vec<Self>, String>;
    /// Reads the long form.
    fn from_object(object: &Value) -> Result<Self, String>;
    /// As an element of the list that `target.x.field` is.
    fn to_value(&self) -> Value;
    /// The type of such an element.
    fn shape() -> Type {
        Type::map(Type::String)
    }
    /// What is left of a list in which some entries say the same.
    fn normalize(entries: Vec<Self>) -> Vec<Self>;
}

/// Reads a list of entries in either form.
pub(crate) fn read<E: Entry>(value: &Value) -> Result<Vec<E>, String> {
    let (Value::List(_, elements) | Value::Tuple(elements)) = value else {
        return Err(format!("a list is required, not a {}", value.ty().name()));
    };
    let mut entries = Vec::new();
    for element in elements.iter() {
        match element {
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => entries.extend(E::parse(text)?),
            Value::Null(_) => return Err("an element is null".to_owned()),
            object => entries.push(E::from_object(object)?),
        }
    }
    Ok(entries)
}

/// Reads short forms.
pub(crate) fn parse<E: Entry>(texts: &[String]) -> Result<Vec<E>, String> {
    let filled = texts.iter().filter(|text| !text.is_empty());
    Ok(filled.map(|text| E::parse(text)).collect::<Result<Vec<_>, _>>()?.concat())
}

/// `true` as Go writes it in any of its ways.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn pairs(object: &Value) -> Result<Pairs, String> {
    let map = convert(object, &Type::map(Type::String))?;
    let entries = map.entries().ok_or("it is null")?;
    let pair = |(name, value): (&Rc<str>, &Value)| {
        let value = text(value).map_err(|_| format!("`{name}` is null"))?;
        Ok((name.to_string(), value.to_string()))
    };
    entries.iter().map(pair).collect()
}

/// Splits `key=value`.
fn pair(field: &str) -> Result<(&str, &str), String> {
    field.split_once('=').ok_or_else(|| format!("`{field}` is not of the form `key=value`"))
}

fn strings<'v>(pairs: impl IntoIterator<Item = (&'v str, &'v str)>) -> Value {
    let entry = |(name, value)| (Rc::from(name), Value::string(value));
    Value::map(Type::String, pairs.into_iter().map(entry).collect())
}

fn borrowed(pairs: &Pairs) -> impl Iterator<Item = (&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// Leaves out what comes again, in the order that Buildx comes to: from the end, each repetition
/// gives its place to the last entry.
fn without_repetitions<E: PartialEq>(mut entries: Vec<E>) -> Vec<E> {
    for at in (0..entries.len().saturating_sub(1)).rev() {
        let later = entries[at + 1..].iter().position(|entry| *entry == entries[at]);
        if let Some(later) = later {
            entries.swap_remove(at + 1 + later);
        }
    }
    entries
}

/// Keeps the last entry of each name, in the place of the first.
fn by_name<E: Clone>(entries: Vec<E>, name: impl Fn(&E) -> &str) -> Vec<E> {
    let mut kept: Vec<E> = Vec::new();
    for entry in entries {
        match kept.iter_mut().find(|known| name(known) == name(&entry)) {
            Some(known) => *known = entry,
            None => kept.push(entry),
        }
    }
    kept
}

impl Entry for Cache {
    fn parse(text: &str) -> Result<Vec<Self>, String> {
        let fields = csv::fields(text, ',')?;
        if !text.contains('=') {
            let registry = |reference: String| Self {
                kind: "registry".to_owned(),
                attributes: Pairs::from([("ref".to_owned(), reference)]),
            };
            return Ok(fields.into_iter().map(registry).collect());
        }
        let mut cache = Self { kind: String::new(), attributes: Pairs::new() };
        for field in &fields {
            let (key, value) = pair(field)?;
            match key.to_lowercase().as_str() {
                "type" => value.clone_into(&mut cache.kind),
                key => cache.attributes.extend([(key.to_owned(), value.to_owned())]),
            }
        }
        cache.checked().map(|cache| vec![cache])
    }

    fn from_object(object: &Value) -> Result<Self, String> {
        let mut attributes = pairs(object)?;
        let kind = attributes.remove("type").unwrap_or_default();
        Self { kind, attributes }.checked()
    }

    fn to_value(&self) -> Value {
        strings(borrowed(&self.attributes).chain([("type", self.kind.as_str())]))
    }

    fn normalize(entries: Vec<Self>) -> Vec<Self> {
        without_repetitions(entries)
    }
}

impl Cache {
    fn checked(self) -> Result<Self, String> {
        if self.kind.is_empty() { Err("a cache needs a `type`".to_owned()) } else { Ok(self) }
    }
}

impl Entry for Output {
    fn parse(text: &str) -> Result<Vec<Self>, String> {
        let fields = csv::fields(text, ',')?;
        let mut output =
            Self { kind: String::new(), destination: String::new(), attributes: Pairs::new() };
        if fields.len() == 1 && fields[0] == text && !text.starts_with("type=") {
            output.kind = if text == "-" { "tar" } else { "local" }.to_owned();
            text.clone_into(&mut output.destination);
            return Ok(vec![output]);
        }
        for field in &fields {
            let (key, value) = pair(field)?;
            match key.to_lowercase().trim() {
                "type" => value.clone_into(&mut output.kind),
                "dest" => value.clone_into(&mut output.destination),
                key => output.attributes.extend([(key.to_owned(), value.to_owned())]),
            }
        }
        output.checked().map(|output| vec![output])
    }

    fn from_object(object: &Value) -> Result<Self, String> {
        let mut attributes = pairs(object)?;
        let kind = attributes.remove("type").unwrap_or_default();
        let destination = attributes.remove("dest").unwrap_or_default();
        Self { kind, destination, attributes }.checked()
    }

    fn to_value(&self) -> Value {
        let own = [("type", self.kind.as_str()), ("dest", self.destination.as_str())];
        strings(borrowed(&self.attributes).chain(own))
    }

    fn normalize(entries: Vec<Self>) -> Vec<Self> {
        without_repetitions(entries)
    }
}

impl Output {
    fn checked(self) -> Result<Self, String> {
        if self.kind.is_empty() { Err("an output needs a `type`".to_owned()) } else { Ok(self) }
    }
}

/// The attributes `names` of an object, those that are missing or null as `None`.
fn chosen(object: &Value, names: &[&str], lists: &[&str]) -> Result<Vec<Option<Value>>, String> {
    let ty = |name: &&str| {
        if lists.contains(name) { Type::list(Type::String) } else { Type::String }
    };
    let shape = names.iter().map(|name| (Rc::from(*name), (ty(name), true)));
    let object = convert(object, &Type::Object(Rc::new(shape.collect())))?;
    let entries = object.entries().ok_or("it is null")?;
    Ok(names
        .iter()
        .map(|name| entries.get(*name).filter(|value| !value.is_null()).cloned())
        .collect())
}

fn owned(value: Option<&Option<Value>>) -> String {
    value.and_then(Option::as_ref).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Entry for Secret {
    fn parse(text: &str) -> Result<Vec<Self>, String> {
        let (mut secret, mut kind) = (Self::default(), String::new());
        for field in &csv::fields(text, ',')? {
            let (key, value) = pair(field)?;
            match key.to_lowercase().as_str() {
                "type" if value == "file" || value == "env" => value.clone_into(&mut kind),
                "type" => return Err(format!("there is no type of secret `{value}`")),
                "id" => value.clone_into(&mut secret.id),
                "source" | "src" => value.clone_into(&mut secret.source),
                "env" => value.clone_into(&mut secret.env),
                key => return Err(format!("a secret has no `{key}`")),
            }
        }
        if kind == "env" && secret.env.is_empty() {
            secret.env = std::mem::take(&mut secret.source);
        }
        Ok(vec![secret])
    }

    fn from_object(object: &Value) -> Result<Self, String> {
        let found = chosen(object, &["id", "src", "env"], &[])?;
        Ok(Self { id: owned(found.first()), source: owned(found.get(1)), env: owned(found.get(2)) })
    }

    fn to_value(&self) -> Value {
        let own = [("id", &self.id), ("src", &self.source), ("env", &self.env)];
        Value::object(own.map(|(name, value)| (Rc::from(name), Value::string(value))).into())
    }

    fn shape() -> Type {
        Self::default().to_value().ty()
    }

    fn normalize(entries: Vec<Self>) -> Vec<Self> {
        by_name(entries, |secret| &secret.id)
    }
}

impl Entry for Ssh {
    fn parse(text: &str) -> Result<Vec<Self>, String> {
        let (id, paths) =
            text.split_once('=').map_or((text, None), |(id, paths)| (id, Some(paths)));
        let paths = paths.map(|paths| paths.split(',').map(str::to_owned).collect());
        Ok(vec![Self { id: id.to_owned(), paths: paths.unwrap_or_default() }])
    }

    fn from_object(object: &Value) -> Result<Self, String> {
        let found = chosen(object, &["id", "paths"], &["paths"])?;
        let mut paths = Vec::new();
        for path in
            found.get(1).and_then(Option::as_ref).and_then(Value::elements).unwrap_or_default()
        {
            paths.push(path.as_str().ok_or("a path is null")?.to_owned());
        }
        Ok(Self { id: owned(found.first()), paths })
    }

    fn to_value(&self) -> Value {
        let own = [("id", Value::string(&self.id)), ("paths", Value::strings(&self.paths))];
        Value::object(own.map(|(name, value)| (Rc::from(name), value)).into())
    }

    fn shape() -> Type {
        Self::default().to_value().ty()
    }

    fn normalize(entries: Vec<Self>) -> Vec<Self> {
        by_name(entries, |ssh| &ssh.id)
    }
}

impl Entry for Attest {
    fn parse(text: &str) -> Result<Vec<Self>, String> {
        let mut attest = Self::default();
        for field in &csv::fields(text, ',')? {
            let (key, value) = pair(field)?;
            match key.to_lowercase().trim() {
                "type" => value.clone_into(&mut attest.kind),
                "disabled" => attest.disabled = disabled(value)?,
                _ => attest.attributes.extend([(key.to_owned(), value.to_owned())]),
            }
        }
        if attest.kind.is_empty() {
            return Err("an attestation needs a `type`".to_owned());
        }
        Ok(vec![attest])
    }

    fn from_object(object: &Value) -> Result<Self, String> {
        let mut attributes = pairs(object)?;
        let kind = attributes.remove("type").unwrap_or_default();
        let disabled = attributes.remove("disabled").map_or(Ok(false), |text| disabled(&text))?;
        Ok(Self { kind, disabled, attributes })
    }

    fn to_value(&self) -> Value {
        let switch = self.disabled.then_some(("disabled", "true"));
        strings(borrowed(&self.attributes).chain([("type", self.kind.as_str())]).chain(switch))
    }

    fn normalize(entries: Vec<Self>) -> Vec<Self> {
        by_name(entries, |attest| &attest.kind)
    }
}

fn disabled(text: &str) -> Result<bool, String> {
    parse_bool(text).ok_or_else(|| format!("`disabled` is true or false, not `{text}`"))
}
