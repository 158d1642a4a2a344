//! Reading values of a known type out of a tree, with a diagnostic where the type is another.
//!
//! A value of the wrong type is left out; so is one that is nothing.

use bakehouse_model::Location;

use crate::load::FAULT;
use crate::problem::{Report, error, warning};
use crate::project::Written;
use crate::yaml::{Kind, Node, Span};

/// A pair: key, value if there is one, place.
pub(crate) type Pair = (String, Option<String>, Span);

/// The map whose fields are read, and where mistakes go.
pub(crate) struct Fields<'a> {
    map: &'a Node,
    report: &'a mut Report,
}

impl<'a> Fields<'a> {
    /// Keys that have no value are told about here.
    pub(crate) fn new(map: &'a Node, report: &'a mut Report) -> Self {
        for entry in map.entries() {
            if entry.value.is_null() && entry.value.tag.as_deref() != Some(FAULT) {
                let message = format!("`{}` has no value and is passed over", entry.key);
                let help = "remove it or give it one; Compose refuses the file";
                report.push(warning(&entry.key_span, "empty-key", message, help));
            }
        }
        Self { map, report }
    }

    pub(crate) fn report(&mut self) -> &mut Report {
        self.report
    }

    /// The value of `key`, unless it is nothing.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        self.map.get(key).filter(|node| !node.is_null())
    }

    /// Text that is not empty.
    pub(crate) fn text(&mut self, key: &str) -> Option<Written<String>> {
        let node = self.get(key).filter(|node| node.as_str() != Some(""))?;
        let text = node.as_str();
        if text.is_none() {
            self.mismatch(key, node, "a string");
        }
        Some(written(text?.to_owned(), node))
    }

    /// Text, or any other scalar as text.
    pub(crate) fn scalar(&mut self, key: &str) -> Option<Written<String>> {
        let node = self.get(key)?;
        let text = node.to_text();
        if text.is_none() {
            self.mismatch(key, node, "a string");
        }
        Some(written(text?, node))
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Option<Written<bool>> {
        let node = self.get(key)?;
        let value = match &node.kind {
            Kind::Bool(value) => Some(*value),
            Kind::Text(text) => self.spoken(key, text, &node.span),
            _ => None,
        };
        if value.is_none() {
            self.mismatch(key, node, "`true` or `false`");
        }
        Some(written(value?, node))
    }

    /// A boolean that came out of a variable, or in the words of YAML 1.1.
    fn spoken(&mut self, key: &str, text: &str, span: &Span) -> Option<bool> {
        let value = match text.to_ascii_lowercase().as_str() {
            "true" => return Some(true),
            "false" => return Some(false),
            "y" | "yes" | "on" => true,
            "n" | "no" | "off" => false,
            _ => return None,
        };
        let message = format!("`{text}` in `{key}` is an old word for a boolean");
        let help = if value { "write `true`" } else { "write `false`" };
        self.report.push(warning(span, "old-boolean", message, help));
        Some(value)
    }

    /// A list of strings, or a string alone.
    pub(crate) fn one_or_more(&mut self, key: &str) -> Vec<Written<String>> {
        match self.get(key).map(|node| &node.kind) {
            Some(Kind::Text(_)) => self.text(key).into_iter().collect(),
            _ => self.texts(key),
        }
    }

    /// A list of strings.
    pub(crate) fn texts(&mut self, key: &str) -> Vec<Written<String>> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let Kind::List(items) = &node.kind else {
            self.mismatch(key, node, "a list of strings");
            return Vec::new();
        };
        let mut texts: Vec<Written<String>> = Vec::new();
        for item in items.iter().filter(|item| !item.is_null()) {
            match item.as_str() {
                Some(text) => texts.push(written(text.to_owned(), item)),
                None => self.mismatch(key, item, "a string"),
            }
        }
        texts
    }

    /// The same, each once.
    pub(crate) fn names(&mut self, key: &str) -> Vec<Written<String>> {
        let mut seen = std::collections::BTreeSet::new();
        let mut names = self.texts(key);
        names.retain(|name| seen.insert(name.value.clone()));
        names
    }

    /// Pairs, written as a map or as a list of `key=value`.
    pub(crate) fn pairs(&mut self, key: &str) -> Vec<Pair> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let mut pairs = Vec::new();
        match &node.kind {
            Kind::Map(entries) => {
                for entry in entries {
                    let span =
                        if entry.value.is_null() { &entry.key_span } else { &entry.value.span };
                    match &entry.value.kind {
                        Kind::List(_) | Kind::Map(_) => {
                            self.mismatch(key, &entry.value, "a string");
                        }
                        _ => pairs.push((entry.key.clone(), entry.value.to_text(), span.clone())),
                    }
                }
            }
            Kind::List(items) => {
                for item in items {
                    match item.as_str() {
                        Some(text) => pairs.push(pair(text, &item.span)),
                        None => self.mismatch(key, item, "`key=value`"),
                    }
                }
            }
            _ => self.mismatch(key, node, "a map, or a list of `key=value`"),
        }
        pairs
    }

    pub(crate) fn mismatch(&mut self, key: &str, node: &Node, expected: &str) {
        let message = format!("`{key}` takes {expected}, not {}", node.describe());
        let help = match node.kind {
            Kind::Number(_) | Kind::Bool(_) => "put the value in quotes",
            _ => "write the value in the form that the Compose specification gives",
        };
        self.report.push(error(&node.span, "wrong-type", message, help));
    }
}

/// `key=value` taken apart.
fn pair(text: &str, span: &Span) -> Pair {
    match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned()), span.clone()),
        None => (text.to_owned(), None, span.clone()),
    }
}

/// A value with the place of its node.
pub(crate) fn written<T>(value: T, node: &Node) -> Written<T> {
    at(value, node.span.location())
}

/// A value with a place.
pub(crate) fn at<T>(value: T, location: Location) -> Written<T> {
    Written { value, location }
}
