//! YAML with places: every value and every key knows the file, line and column it was written at.
//!
//! [`parse`] reads one document, [`parse_all`] a stream of them. Aliases and merge keys (`<<`) are
//! resolved while reading, so a [`Node`] is a plain tree; a value that came through an alias keeps
//! the place where its anchor is. Tags are kept, because Compose gives some a meaning.
//!
//! Scalars are told apart as Go's YAML libraries do, since the tools that define the formats read
//! them with those: `yes` is a string, `010` is eight, `1_000` is a thousand.
//!
//! What a hostile file costs is bounded: text over [`TEXT_LIMIT`], nesting over [`DEPTH_LIMIT`] and
//! trees over [`WEIGHT_LIMIT`] after aliases are copied are refused with a diagnostic.

mod parse;
mod scalar;

use std::sync::Arc;

use bakehouse_model::Location;

pub use parse::{parse, parse_all};

/// The longest text that is read, in bytes.
pub const TEXT_LIMIT: usize = 4 << 20;

/// How deep lists and maps may lie in each other.
pub const DEPTH_LIMIT: usize = 100;

/// What a tree may weigh: a node's text, and [`NODE_WEIGHT`] for the node itself.
pub const WEIGHT_LIMIT: usize = 16 << 20;

/// What a node weighs without its text.
pub const NODE_WEIGHT: usize = 64;

/// Where something is written: from its tag or anchor on, if it has one; the text of a block (`|`,
/// `>`) from its first line on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The file, relative to the repository.
    pub file: Arc<str>,
    /// First line, from 1.
    pub line: u32,
    /// Where it begins in the first line, in characters from 1.
    pub column: u32,
    /// Last line, from 1.
    pub end_line: u32,
}

impl Span {
    /// The beginning of a file.
    pub fn file(file: &str) -> Self {
        Self { file: file.into(), line: 1, column: 1, end_line: 1 }
    }

    /// The same place, in the words of diagnostics.
    pub fn location(&self) -> Location {
        Location {
            file: self.file.to_string(),
            line: self.line,
            column: self.column,
            end_line: self.end_line,
        }
    }
}

impl From<&Span> for Location {
    fn from(span: &Span) -> Self {
        span.location()
    }
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it is written.
    pub span: Span,
    /// Its tag, such as `!reset`, unless it only repeats what the value is.
    pub tag: Option<Box<str>>,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, in the digits that Go would print it with.
    Number(String),
    /// Text.
    Text(String),
    /// Values in order.
    List(Vec<Node>),
    /// Keys with values, in the order they are written; no key is there twice.
    Map(Vec<Entry>),
}

/// A key of a map with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key is written.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// A value without a tag.
    pub fn new(kind: Kind, span: Span) -> Self {
        Self { kind, span, tag: None }
    }

    /// The value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        match &mut self.kind {
            Kind::Map(entries) => {
                entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
            }
            _ => None,
        }
    }

    /// Takes `key` out of this map, if it is one that has it.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        match &mut self.kind {
            Kind::Map(entries) => {
                let at = entries.iter().position(|entry| entry.key == key)?;
                Some(entries.remove(at))
            }
            _ => None,
        }
    }

    /// The text, if it is text. A number or a boolean is none.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What a template would print: the text of any scalar, nothing for null, lists and maps.
    pub fn to_text(&self) -> Option<String> {
        match &self.kind {
            Kind::Bool(value) => Some(value.to_string()),
            Kind::Number(text) | Kind::Text(text) => Some(text.clone()),
            Kind::Null | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// Whether there is nothing here.
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// The entries of a map; of anything else, none.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; of anything else, none.
    pub fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// What this is, with its article, for a message.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a string",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// What the tree from here on weighs; see [`WEIGHT_LIMIT`].
    pub fn weight(&self) -> usize {
        let inside = match &self.kind {
            Kind::Null | Kind::Bool(_) => 0,
            Kind::Number(text) | Kind::Text(text) => text.len(),
            Kind::List(items) => items.iter().map(Self::weight).sum(),
            Kind::Map(entries) => entries
                .iter()
                .map(|entry| NODE_WEIGHT + entry.key.len() + entry.value.weight())
                .sum(),
        };
        NODE_WEIGHT + inside
    }
}
