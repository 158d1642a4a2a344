//! From YAML's events to a tree.
//!
//! Events are pulled one by one and laid on a stack, so nesting costs no stack of the machine, and
//! the first one that breaks a limit ends the reading.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bakehouse_model::Diagnostic;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::scalar::resolve;
use super::{DEPTH_LIMIT, Entry, Kind, NODE_WEIGHT, Node, Span, TEXT_LIMIT, WEIGHT_LIMIT};
use crate::problem::error;

/// Reads the first document of `text`; an empty file is [`Kind::Null`].
///
/// `file` is what places name. The first mistake ends the reading and is returned.
pub fn parse(text: &str, file: &str) -> Result<Node, Diagnostic> {
    let first = parse_all(text, file)?.into_iter().next();
    Ok(first.unwrap_or_else(|| Node::new(Kind::Null, Span::file(file))))
}

/// Reads every document of `text`.
pub fn parse_all(text: &str, file: &str) -> Result<Vec<Node>, Diagnostic> {
    let file: Arc<str> = file.into();
    let mut builder = Builder::new(Arc::clone(&file));
    if text.len() > TEXT_LIMIT {
        let message = format!("`{file}` is longer than {} MiB", TEXT_LIMIT >> 20);
        return Err(builder.too_large(&Span::file(&file), message));
    }
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|problem| builder.scan_error(&problem))?;
        builder.take(event, span)?;
    }
    Ok(builder.documents)
}

/// A list or a map that is still open.
struct Frame {
    span: Span,
    anchor: usize,
    tag: Option<Box<str>>,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, merges: Vec<Node>, key: Option<Key>, seen: BTreeMap<String, u32> },
}

/// A key that waits for its value.
struct Key {
    text: String,
    span: Span,
    merges: bool,
}

/// A value that is whole, with what only its parent or an alias wants to know.
struct Whole {
    node: Node,
    anchor: usize,
    /// The letters as they stand, and whether they are not quoted: keys want both.
    plain: Option<(String, bool)>,
}

struct Builder {
    file: Arc<str>,
    documents: Vec<Node>,
    open: Vec<Frame>,
    anchors: BTreeMap<usize, Node>,
    weight: usize,
}

impl Builder {
    fn new(file: Arc<str>) -> Self {
        Self { file, documents: Vec::new(), open: Vec::new(), anchors: BTreeMap::new(), weight: 0 }
    }

    fn take(&mut self, event: Event<'_>, span: saphyr_parser::Span) -> Result<(), Diagnostic> {
        let span = self.span(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar(&text, style, tag.as_deref(), span);
                self.spend(NODE_WEIGHT + text.len(), &node.span)?;
                let plain = Some((text.into_owned(), style == ScalarStyle::Plain));
                self.add(Whole { node, anchor, plain })
            }
            Event::SequenceStart(anchor, tag) => {
                self.enter(span, anchor, tag, Inside::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let inside = Inside::Map {
                    entries: Vec::new(),
                    merges: Vec::new(),
                    key: None,
                    seen: BTreeMap::new(),
                };
                self.enter(span, anchor, tag, inside)
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(&span),
            Event::Alias(anchor) => self.alias(anchor, &span),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn enter(
        &mut self,
        span: Span,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        inside: Inside,
    ) -> Result<(), Diagnostic> {
        if self.open.len() >= DEPTH_LIMIT {
            let message = format!("`{}` nests lists and maps deeper than {DEPTH_LIMIT}", self.file);
            return Err(error(&span, "yaml-too-deep", message, "take some of the levels out"));
        }
        self.spend(NODE_WEIGHT, &span)?;
        let tag = tag.as_deref().and_then(meaningful);
        self.open.push(Frame { span, anchor, tag, inside });
        Ok(())
    }

    fn leave(&mut self, end: &Span) -> Result<(), Diagnostic> {
        let mut frame = self.open.pop().expect("an end comes after its start");
        // A block ends where the next thing begins.
        let last = if end.column == 1 { end.line.saturating_sub(1) } else { end.line };
        frame.span.end_line = last.max(frame.span.line);
        let kind = match frame.inside {
            Inside::List(items) => Kind::List(items),
            Inside::Map { entries, merges, .. } => Kind::Map(self.merged(entries, merges)?),
        };
        let node = Node { kind, span: frame.span, tag: frame.tag };
        self.add(Whole { node, anchor: frame.anchor, plain: None })
    }

    fn alias(&mut self, anchor: usize, span: &Span) -> Result<(), Diagnostic> {
        let Some(node) = self.anchors.get(&anchor) else {
            let message = "an alias stands inside the value that it repeats".to_owned();
            let help = "write the value out, or move the anchor";
            return Err(error(span, "yaml-recursive-alias", message, help));
        };
        let weight = node.weight();
        let node = node.clone();
        self.spend(weight, span)?;
        let plain = node.to_text().map(|text| (text, false));
        self.add(Whole { node, anchor: 0, plain })
    }

    /// Puts a whole value where it belongs.
    fn add(&mut self, whole: Whole) -> Result<(), Diagnostic> {
        if whole.anchor > 0 {
            self.spend(whole.node.weight(), &whole.node.span)?;
            self.anchors.insert(whole.anchor, whole.node.clone());
        }
        let Some(frame) = self.open.last_mut() else {
            self.documents.push(whole.node);
            return Ok(());
        };
        match &mut frame.inside {
            Inside::List(items) => items.push(whole.node),
            Inside::Map { key: waiting @ None, seen, .. } => {
                *waiting = Some(key(whole, seen)?);
            }
            Inside::Map { entries, merges, key: waiting, .. } => {
                let key = waiting.take().expect("the arm above takes an empty place");
                if key.merges {
                    merges.push(whole.node);
                } else {
                    entries.push(Entry { key: key.text, key_span: key.span, value: whole.node });
                }
            }
        }
        Ok(())
    }

    /// Adds what `<<` names; what is written out wins, then what is named first.
    fn merged(&self, mut entries: Vec<Entry>, merges: Vec<Node>) -> Result<Vec<Entry>, Diagnostic> {
        if merges.is_empty() {
            return Ok(entries);
        }
        let mut seen: BTreeSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        for merge in merges {
            let sources = match merge.kind {
                Kind::List(items) => items,
                _ => vec![merge],
            };
            for source in sources {
                let Kind::Map(inherited) = source.kind else {
                    let message = format!("`<<` takes in a map, not {}", source.describe());
                    let help = "name a map, or a list of maps, as in `<<: [*one, *two]`";
                    return Err(error(&source.span, "yaml-merge-key", message, help));
                };
                entries
                    .extend(inherited.into_iter().filter(|entry| seen.insert(entry.key.clone())));
            }
        }
        Ok(entries)
    }

    fn spend(&mut self, weight: usize, span: &Span) -> Result<(), Diagnostic> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT_LIMIT {
            let message = format!("`{}` grows too large, perhaps through its aliases", self.file);
            return Err(self.too_large(span, message));
        }
        Ok(())
    }

    fn too_large(&self, span: &Span, message: String) -> Diagnostic {
        error(span, "yaml-too-large", message, "split the file, or repeat less through aliases")
    }

    fn scan_error(&self, problem: &ScanError) -> Diagnostic {
        let mark = *problem.marker();
        let span = self.span(saphyr_parser::Span::empty(mark));
        let message = format!("`{}` is not YAML: {}", self.file, problem.info());
        let help = match problem.info() {
            info if info.contains("tab") => "indent with spaces",
            info if info.contains("anchor") => "name the value with `&` before it is repeated",
            _ => "check the indentation, quotes and brackets here and on the line before",
        };
        error(&span, "invalid-yaml", message, help)
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let (start, end) = (span.start, span.end);
        let last = if end.col() == 0 { end.line().saturating_sub(1) } else { end.line() };
        Span {
            file: Arc::clone(&self.file),
            line: number(start.line()),
            column: number(start.col().saturating_add(1)),
            end_line: number(last.max(start.line())),
        }
    }
}

/// Makes a key of a value, and refuses one that the map has already.
fn key(whole: Whole, seen: &mut BTreeMap<String, u32>) -> Result<Key, Diagnostic> {
    let span = whole.node.span;
    let Some((text, plain)) = whole.plain else {
        let message = "a key that is a list or a map".to_owned();
        return Err(error(&span, "yaml-complex-key", message, "use a string as the key"));
    };
    if let Some(line) = seen.insert(text.clone(), span.line) {
        let message = format!("key `{text}` is in this map already, on line {line}");
        return Err(error(&span, "yaml-duplicate-key", message, "remove one of the two"));
    }
    Ok(Key { merges: plain && text == "<<", text, span })
}

/// A scalar: text if it is quoted or has a tag of its own, by its looks otherwise.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Node {
    let own = tag.and_then(meaningful);
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    let looks = match core {
        Some(kind) => !matches!(kind, "str" | "binary"),
        None => style == ScalarStyle::Plain && own.is_none(),
    };
    let kind = if looks { resolve(text) } else { Kind::Text(text.to_owned()) };
    Node { kind, span, tag: own }
}

/// The tag as it is written, unless it is one of YAML's own.
fn meaningful(tag: &Tag) -> Option<Box<str>> {
    let own = tag.is_yaml_core_schema() || (tag.handle.is_empty() && tag.suffix == "!");
    (!own).then(|| format!("{}{}", tag.handle, tag.suffix).into())
}
