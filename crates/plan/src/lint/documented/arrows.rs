//! Arrows: Mermaid, Graphviz, and chains in a line of text.

use std::collections::BTreeMap;

use super::Drawing;
use super::names::{Name, is_name};

/// What joins two names; of those that begin alike, the longest first.
const ARROWS: &[&str] = &["--->", "-.->", "-->", "->", "==>", "=>", "→", "⟶"];

/// Words that begin a drawing: what follows a bracket or a semicolon draws.
const HEADS: &[&str] = &["graph", "flowchart", "digraph", "strict"];

/// Words that begin lines which draw nothing.
const OTHER: &[&str] = &[
    "subgraph",
    "end",
    "style",
    "class",
    "classDef",
    "linkStyle",
    "click",
    "direction",
    "node",
    "edge",
    "rankdir",
    "%%",
    "//",
    "#",
];

/// Reads a drawing that is nothing but arrows; its first line has the number `first`.
pub(super) fn read(text: &str, first: u32) -> Drawing {
    let lines: Vec<(u32, &str)> = (first..).zip(text.lines()).collect();
    let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
    for (_, line) in &lines {
        for (_, part) in parts(line) {
            if let Some((id, label)) = labelled(part) {
                labels.insert(id, label);
            }
        }
    }
    let mut drawing = Drawing::default();
    for (number, line) in lines {
        let mut start = begins(line);
        for statement in line[start..].split(';') {
            let groups: Vec<Vec<Name>> = parts(statement)
                .map(|(at, part)| ends(part, (number, start + at), &labels))
                .collect();
            drawing.names.extend(groups.iter().flatten().cloned());
            join(&groups, &mut drawing.arrows);
            start += statement.len() + 1;
        }
    }
    drawing
}

/// A chain of names in a line of text; nothing if anything else is between the arrows.
pub(super) fn chain(text: &str, line: u32, at: usize) -> Vec<Vec<Name>> {
    let groups: Vec<Vec<Name>> =
        parts(text).map(|(from, part)| super::names::listed(part, line, at + from)).collect();
    if groups.len() < 2 || groups.iter().any(Vec::is_empty) { Vec::new() } else { groups }
}

/// Edges from every name of a group to every name of the next.
pub(super) fn join(groups: &[Vec<Name>], arrows: &mut Vec<(Name, Name)>) {
    for pair in groups.windows(2) {
        let [from, to] = pair else { continue };
        // Two long lists joined by an arrow would be a product of both.
        if from.len() > 1 && to.len() > 1 {
            continue;
        }
        let edges = from.iter().flat_map(|from| to.iter().map(|to| (from.clone(), to.clone())));
        arrows.extend(edges);
    }
}

/// The byte of a line from which on it draws.
fn begins(line: &str) -> usize {
    let first = line.split_whitespace().next().unwrap_or_default();
    if HEADS.contains(&first) {
        return line.find(['{', ';']).map_or(line.len(), |at| at + 1);
    }
    let is_other = |word: &&str| first == *word || (word.len() < 3 && first.starts_with(*word));
    if OTHER.iter().any(is_other) { line.len() } else { 0 }
}

/// What stands between arrows, each with the byte where it begins.
fn parts(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = Some(0);
    std::iter::from_fn(move || {
        let from = rest?;
        let arrow = line[from..].char_indices().find_map(|(at, _)| {
            let arrow = ARROWS.iter().find(|arrow| line[from + at..].starts_with(**arrow))?;
            Some((from + at, arrow.len()))
        });
        rest = arrow.map(|(at, length)| at + length);
        Some((from, &line[from..arrow.map_or(line.len(), |(at, _)| at)]))
    })
}

/// `id[label]`, `id("label")`: Mermaid's nodes.
fn labelled(part: &str) -> Option<(&str, &str)> {
    let part = without_label(part).trim();
    let open = part.find(['[', '(', '{'])?;
    let id = part[..open].trim();
    let decoration =
        |c: char| c.is_whitespace() || matches!(c, '[' | ']' | '(' | ')' | '{' | '}' | '"' | ';');
    let label = part[open..].trim_matches(decoration);
    let label = label.split([' ', '(', '<', '\\']).next().unwrap_or_default();
    (is_name(id) && is_name(label) && !part[open..].contains('=')).then_some((id, label))
}

/// `|text|` beside an arrow says something about the arrow.
fn without_label(part: &str) -> &str {
    let trimmed = part.trim_start();
    match trimmed.strip_prefix('|').and_then(|rest| rest.split_once('|')) {
        Some((_, rest)) => rest,
        None => part,
    }
}

/// The names at one end of an arrow that begins at byte `at` of a line.
fn ends(part: &str, (line, at): (u32, usize), labels: &BTreeMap<&str, &str>) -> Vec<Name> {
    let bare = without_label(part);
    let mut from = at + (part.len() - bare.len());
    let mut names = Vec::new();
    for item in bare.split_inclusive(['&', ';', ',']) {
        // Attributes of Graphviz and shapes of Mermaid both begin with a bracket.
        let id = item.split(['[', '(']).next().unwrap_or_default();
        let mut word_at = from;
        for word in id.split([' ', '\t', '{', '}', '&', ';', ',', '"']) {
            if is_name(word) {
                let text = labels.get(word).copied().unwrap_or(word);
                names.push(Name::new(text, line, word_at));
            }
            word_at += word.len() + 1;
        }
        from += item.len();
    }
    names
}
