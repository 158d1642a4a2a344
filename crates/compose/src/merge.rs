//! Putting one tree on another, by Compose's rules.
//!
//! Maps are merged, lists appended, and anything else is replaced; nothing (`null`) replaces
//! nothing. Some keys may be written in two forms and are brought to one before: `build` as a path,
//! pairs as a map or as a list of `key=value`, `depends_on` as a list.
//!
//! A value tagged `!reset` takes away what is below it, one tagged `!override` stands in its place.
//! The mark of a reset stays in the tree, since the tree may be put on another one yet; [`sweep`]
//! takes marks out in the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::problem::{Report, error};
use crate::yaml::{Entry, Kind, Node, Span};

const RESET: &str = "!reset";
const OVERRIDE: &str = "!override";

/// What is being merged, which says how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Document,
    Services,
    Service,
    Build,
    /// `key=value` pairs; of two with the same key the later one counts.
    Pairs,
    /// The same; equal ones are kept once.
    Hosts,
    /// Names, or a map by name.
    Names,
    Other,
}

impl Place {
    fn of(self, key: &str) -> Self {
        match (self, key) {
            (Self::Document, "services") => Self::Services,
            (Self::Services, _) => Self::Service,
            (Self::Service, "build") => Self::Build,
            (Self::Service, "depends_on") => Self::Names,
            (Self::Build, "args" | "labels" | "additional_contexts" | "ssh") => Self::Pairs,
            (Self::Build, "extra_hosts") => Self::Hosts,
            _ => Self::Other,
        }
    }

    /// The value in the form that is merged.
    fn shaped(self, node: Node) -> Node {
        match (self, &node.kind) {
            (Self::Build, Kind::Text(_)) => short_build(node),
            (Self::Pairs | Self::Hosts, Kind::Map(_)) => pair_list(node),
            (Self::Names, Kind::List(_)) => name_map(node),
            _ => node,
        }
    }
}

/// `over` put on `base`.
pub(crate) fn merge(base: Node, over: Node, place: Place, report: &mut Report) -> Node {
    if is(&over, RESET) || is(&over, OVERRIDE) || base.is_null() {
        return over;
    }
    if over.is_null() {
        return base;
    }
    let (base, over) = (place.shaped(base), place.shaped(over));
    let Node { kind, span, tag } = base;
    let kind = match (kind, over.kind) {
        (Kind::Map(base), Kind::Map(over)) => Kind::Map(merge_entries(base, over, place, report)),
        (Kind::List(base), Kind::List(over)) => Kind::List(append(base, over, place)),
        (Kind::Map(_) | Kind::List(_), kind) => {
            let over = Node { kind, span: over.span, tag: over.tag };
            let message =
                format!("{} cannot be put on what another file has here", over.describe());
            let help = "write both in the same form, or tag this one `!override`";
            report.push(error(&over.span, "cannot-merge", message, help));
            return over;
        }
        (_, kind) => return Node { kind, span: over.span, tag: over.tag },
    };
    Node { kind, span, tag }
}

fn merge_entries(
    mut base: Vec<Entry>,
    over: Vec<Entry>,
    place: Place,
    report: &mut Report,
) -> Vec<Entry> {
    let places = base.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at));
    let places: BTreeMap<String, usize> = places.collect();
    for entry in over {
        match places.get(&entry.key).map(|at| &mut base[*at]) {
            Some(existing) => {
                let nothing = Node::new(Kind::Null, existing.key_span.clone());
                let below = std::mem::replace(&mut existing.value, nothing);
                if !entry.value.is_null() {
                    existing.key_span = entry.key_span;
                }
                existing.value = merge(below, entry.value, place.of(&entry.key), report);
            }
            None => base.push(entry),
        }
    }
    base
}

fn append(mut base: Vec<Node>, mut over: Vec<Node>, place: Place) -> Vec<Node> {
    if place == Place::Hosts {
        let known: BTreeSet<&str> = base.iter().filter_map(Node::as_str).collect();
        over.retain(|item| item.as_str().is_none_or(|text| !known.contains(text)));
    }
    base.append(&mut over);
    base
}

/// `build: path` in long form.
fn short_build(node: Node) -> Node {
    let span = node.span.clone();
    map(span, vec![("context".to_owned(), node)])
}

/// A map as a list of `key=value`; a key without a value stands alone.
fn pair_list(node: Node) -> Node {
    let Kind::Map(entries) = node.kind else { return node };
    let mut items = Vec::new();
    for Entry { key, key_span, value } in entries {
        let span = Span { end_line: value.span.end_line.max(key_span.line), ..key_span };
        let values = match &value.kind {
            Kind::List(list) => list.iter().map(Node::to_text).collect(),
            _ => vec![value.to_text()],
        };
        for text in values {
            let text = text.map_or_else(|| key.clone(), |text| format!("{key}={text}"));
            items.push(Node { kind: Kind::Text(text), span: span.clone(), tag: value.tag.clone() });
        }
    }
    Node { kind: Kind::List(items), span: node.span, tag: node.tag }
}

/// A list of names as a map without values.
fn name_map(node: Node) -> Node {
    let mut seen = BTreeSet::new();
    let names = node.items().iter().filter_map(|item| {
        let name = item.as_str().filter(|name| seen.insert(*name))?;
        Some((name.to_owned(), Node::new(Kind::Null, item.span.clone())))
    });
    map(node.span.clone(), names.collect())
}

/// A map whose keys are where their values are.
pub(crate) fn map(span: Span, entries: Vec<(String, Node)>) -> Node {
    let entries = entries.into_iter().map(|(key, value)| {
        let key_span = value.span.clone();
        Entry { key, key_span, value }
    });
    Node::new(Kind::Map(entries.collect()), span)
}

/// Takes out what is marked `!reset`, and the marks.
pub(crate) fn sweep(node: &mut Node) {
    if is(node, OVERRIDE) {
        node.tag = None;
    }
    match &mut node.kind {
        Kind::List(items) => {
            items.retain(|item| !is(item, RESET));
            items.iter_mut().for_each(sweep);
        }
        Kind::Map(entries) => {
            entries.retain(|entry| !is(&entry.value, RESET));
            entries.iter_mut().for_each(|entry| sweep(&mut entry.value));
        }
        _ => {}
    }
}

fn is(node: &Node, tag: &str) -> bool {
    node.tag.as_deref() == Some(tag)
}
