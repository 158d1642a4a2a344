//! Markdown and plain text: trees, lists, tables, headings, chains of arrows.
//!
//! A page says much that is no graph. A tree, list or table counts only if it names at least
//! two images of the fleet, and if a fair part of what it names are images; a chain of arrows
//! in a sentence only if all that it names are.

use super::names::{Known, Name, is_plain, listed};
use super::{Drawing, arrows};

/// Fences whose content is a program and not a drawing.
const DRAWINGS: &[&str] = &["", "text", "txt", "tree", "plain", "plaintext", "console", "ascii"];

/// Characters that draw a tree.
const TREE: &str = "│├└─┬┌┐┘╰╭┃┣┗━";

/// Reads a page.
pub(super) fn read(text: &str, known: &Known<'_>) -> Drawing {
    let mut page = Page { known, drawing: Drawing::default(), heading: None };
    let lines: Vec<(u32, &str)> = (1..).zip(text.lines()).collect();
    let mut at = 0;
    while let Some((_, line)) = lines.get(at) {
        let length = match line.trim_start().strip_prefix("```") {
            Some(language) => page.fence(language.trim(), &lines[at + 1..]) + 2,
            None => page.block(&lines[at..]),
        };
        at += length.max(1);
    }
    page.drawing
}

struct Page<'a> {
    known: &'a Known<'a>,
    drawing: Drawing,
    /// The image that the text is about.
    heading: Option<Name>,
}

impl Page<'_> {
    /// A fenced block; how many lines are in it.
    fn fence(&mut self, language: &str, lines: &[(u32, &str)]) -> usize {
        let end = lines.iter().position(|(_, line)| line.trim_start().starts_with("```"));
        let inside = &lines[..end.unwrap_or(lines.len())];
        let language = language.split([' ', '{']).next().unwrap_or_default().to_ascii_lowercase();
        if matches!(language.as_str(), "mermaid" | "dot" | "graphviz") {
            let first = inside.first().map_or(1, |(number, _)| *number);
            let text: Vec<&str> = inside.iter().map(|(_, line)| *line).collect();
            let drawn = arrows::read(&text.join("\n"), first);
            if self.is_graph(&drawn.names, 3) {
                self.drawing.names.extend(drawn.names);
                self.drawing.arrows.extend(drawn.arrows);
            }
        } else if DRAWINGS.contains(&language.as_str()) {
            self.nodes(inside, 3);
        }
        inside.len()
    }

    /// What begins at the first of `lines`; how many lines it takes.
    fn block(&mut self, lines: &[(u32, &str)]) -> usize {
        let (_, line) = lines[0];
        if line.trim_start().starts_with('|') {
            let rows = count(lines, |line| line.trim_start().starts_with('|'));
            self.table(&lines[..rows]);
            return rows;
        }
        if is_item(line) || line.contains('├') || line.contains('└') {
            let end = count(lines, |line| {
                is_item(line)
                    || line.starts_with([' ', '\t'])
                    || line.starts_with(|c| TREE.contains(c))
            });
            for line in &lines[..end] {
                self.sentence(*line);
            }
            self.nodes(&lines[..end], 2);
            return end;
        }
        self.heading(lines[0]);
        self.sentence(lines[0]);
        1
    }

    /// Whether what names these names draws the fleet: two images at least, and one name in
    /// `share` is one.
    fn is_graph(&self, names: &[Name], share: usize) -> bool {
        let known = names.iter().filter(|name| self.known.image(name).is_some()).count();
        known >= 2 && known * share >= names.len()
    }

    /// A tree or a nested list: what is further right stands on what is above it and further
    /// left.
    fn nodes(&mut self, lines: &[(u32, &str)], share: usize) {
        // What has files in it is a tree of folders.
        let folders = |line: &str| {
            let label = line.split(" #").next().unwrap_or(line).trim_end();
            label.ends_with('/') || line.contains("Dockerfile")
        };
        if lines.iter().any(|(_, line)| folders(line)) {
            return;
        }
        let mut drawn = Drawing::default();
        let mut above: Vec<(usize, Vec<Name>)> = Vec::new();
        for line in lines.iter().filter(|(_, line)| !line.trim().is_empty()) {
            let (depth, at) = indent(line.1);
            let groups = arrows::chain(&line.1[at..], line.0, at);
            let names = match groups.first() {
                Some(first) => first.clone(),
                None => listed(&line.1[at..], line.0, at),
            };
            let names: Vec<Name> = names.into_iter().filter(|name| self.may_be(name)).collect();
            above.retain(|(other, _)| *other < depth);
            if let Some((_, bases)) = above.last()
                && let [base] = bases.as_slice()
            {
                drawn.edges.extend(names.iter().map(|name| (name.clone(), base.clone())));
                drawn.inner.push(base.clone());
            }
            if !groups.is_empty() {
                drawn.names.extend(groups.iter().skip(1).flatten().cloned());
                arrows::join(&groups, &mut drawn.arrows);
            }
            drawn.names.extend(names.iter().cloned());
            above.push((depth, names));
        }
        if self.is_graph(&drawn.names, share) {
            self.drawing.names.extend(drawn.names);
            self.drawing.edges.extend(drawn.edges);
            self.drawing.arrows.extend(drawn.arrows);
            self.drawing.inner.extend(drawn.inner);
        }
    }

    fn may_be(&self, name: &Name) -> bool {
        is_plain(name) || self.known.is_known(name)
    }

    /// A table with a column of images and maybe one of their bases.
    fn table(&mut self, rows: &[(u32, &str)]) {
        let Some(head) = rows.first() else { return };
        let words: Vec<String> =
            cells(head.1).map(|(_, cell)| cell.trim().to_lowercase()).collect();
        let has = |cell: &String, nouns: &[&str]| {
            cell.split(|c: char| !c.is_alphanumeric()).any(|word| nouns.contains(&word))
        };
        let bases = ["from", "parent", "parents", "base", "bases", "needs", "depends"];
        let images = ["image", "images", "service", "services", "name", "container", "child"];
        let base = words.iter().position(|cell| has(cell, &bases));
        let image = (0..words.len()).find(|at| Some(*at) != base && has(&words[*at], &images));
        let Some(image) = image.or_else(|| base.filter(|_| words.len() == 1)) else { return };
        let mut drawn = Drawing::default();
        for row in rows.iter().skip(2) {
            let cells: Vec<(usize, &str)> = cells(row.1).collect();
            let names = |at: Option<usize>| {
                let cell = at.and_then(|at| cells.get(at));
                let names = cell.map(|(from, cell)| listed(cell, row.0, *from)).unwrap_or_default();
                names.into_iter().filter(|name| self.may_be(name)).collect::<Vec<Name>>()
            };
            let (images, bases) = (names(Some(image)), names(base));
            for base in &bases {
                drawn.edges.extend(images.iter().map(|image| (image.clone(), base.clone())));
            }
            drawn.names.extend(images.into_iter().chain(bases));
        }
        if self.is_graph(&drawn.names, 2) {
            self.drawing.names.extend(drawn.names);
            self.drawing.edges.extend(drawn.edges);
        }
    }

    /// A heading that is the name of an image: what follows is about it.
    fn heading(&mut self, (number, line): (u32, &str)) {
        let text = line.trim_start_matches('#');
        if text.len() == line.len() {
            return;
        }
        let names = listed(text, number, line.len() - text.len());
        self.heading = match names.as_slice() {
            [name] if self.known.image(name).is_some() => Some(name.clone()),
            _ => None,
        };
        self.drawing.names.extend(self.heading.clone());
    }

    /// What one line says in words: `Used by: a, b`, `a → b`, `9 base images`.
    fn sentence(&mut self, (number, line): (u32, &str)) {
        let all_known = |names: &[Name], known: &Known<'_>| {
            !names.is_empty() && names.iter().all(|name| known.image(name).is_some())
        };
        let from = line.find(": ").map_or(0, |at| at + 2);
        let chain = arrows::chain(&line[from..], number, from);
        if !chain.is_empty() && all_known(&chain.concat(), self.known) {
            self.drawing.names.extend(chain.iter().flatten().cloned());
            arrows::join(&chain, &mut self.drawing.arrows);
        }
        if let (Some(heading), Some((at, below))) = (self.heading.clone(), relation(line)) {
            let mut names = listed(&line[at..], number, at);
            names.retain(|name| self.may_be(name));
            for name in names {
                let edge = (name.clone(), heading.clone());
                self.drawing.edges.push(if below { edge } else { (edge.1, edge.0) });
                self.drawing.names.push(name);
            }
        }
        self.drawing.bases.extend(number_of_bases((number, line)));
    }
}

/// Where the names begin in `Used by: ...` (which is true) or `Based on: ...` (which is not).
fn relation(line: &str) -> Option<(usize, bool)> {
    let lower = line.to_ascii_lowercase();
    let words = [("used by:", true), ("used by**:", true), ("based on:", false), ("from:", false)];
    words.iter().find_map(|(words, below)| Some((lower.find(words)? + words.len(), *below)))
}

/// `9 base images`, `nine base images`.
fn number_of_bases((number, line): (u32, &str)) -> Option<(usize, Name)> {
    const WORDS: &[&str] = &[
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "eleven", "twelve",
    ];
    let lower = line.to_ascii_lowercase();
    let at = lower.find(" base images")?;
    let start = lower[..at].rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
    let word = lower[..at].get(start..)?;
    let said = word.parse().ok().or_else(|| WORDS.iter().position(|known| *known == word))?;
    Some((said, Name::new("base images", number, start)))
}

/// How many lines from the first one fit.
fn count(lines: &[(u32, &str)], fits: impl Fn(&str) -> bool) -> usize {
    lines.iter().skip(1).take_while(|(_, line)| fits(line)).count() + 1
}

/// `- a`, `* a`, `+ a`, `1. a`.
fn is_item(line: &str) -> bool {
    let text = line.trim_start();
    let numbered = text.trim_start_matches(|c: char| c.is_ascii_digit());
    ["- ", "* ", "+ "].iter().any(|mark| text.starts_with(mark))
        || (numbered.len() < text.len() && numbered.starts_with(". "))
}

/// How deep a node is, in characters, and the byte where its label begins.
fn indent(line: &str) -> (usize, usize) {
    let mut depth = 0;
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.peek().copied() {
        let rest = &line[at + c.len_utf8()..];
        let marks = c.is_whitespace()
            || TREE.contains(c)
            || matches!(c, '|' | '+' | '-' | '>' | '→' | '↳' | '•' | '=' | '\\')
            || (c == '*' && rest.starts_with(' '))
            || (c == '`' && rest.starts_with('-'));
        if !marks {
            return (depth, at);
        }
        depth += 1;
        chars.next();
    }
    (depth, line.len())
}

/// The cells of a row, each with the byte where it begins.
fn cells(row: &str) -> impl Iterator<Item = (usize, &str)> {
    let start = row.find('|').map_or(0, |at| at + 1);
    let mut from = start;
    row[start..].trim_end().trim_end_matches('|').split('|').map(move |cell| {
        let at = from;
        from += cell.len() + 1;
        (at, cell)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_as_deep_as_its_label_is_far_to_the_right() {
        let table = [
            ("base", (0, 0)),
            ("├── audio (3 min)", (4, 10)),
            ("│   └── stt", (8, 16)),
            ("  → ml", (4, 6)),
            ("- `a`", (2, 2)),
            ("- b", (2, 2)),
            ("  * **c**", (4, 4)),
            ("|-- a", (4, 4)),
            ("`-- a", (4, 4)),
            ("", (0, 0)),
            ("   ", (3, 3)),
        ];
        for (line, expected) in table {
            assert_eq!(indent(line), expected, "{line:?}");
        }
    }

    #[test]
    fn numbers_of_bases_are_read_as_digits_and_as_words() {
        let said = |line| number_of_bases((1, line)).map(|(said, _)| said);
        assert_eq!(said("All 9 base images are there"), Some(9));
        assert_eq!(said("Nine base images"), Some(9));
        assert_eq!(said("the base images"), None);
        assert_eq!(said(" base images"), None);
    }
}
