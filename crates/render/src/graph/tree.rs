//! The fleet as a tree, for terminals.
//!
//! A line holds the name at its place in the tree, time and size where any are known, the
//! file, and the rest in parentheses. Where the terminal is too narrow, the file loses its
//! front, then gives way altogether, and at last the line loses its end; very deep
//! branches lose their trunks.

use super::net::{Net, listed, short};
use super::{Graph, Via};
use crate::measure;
use crate::style::{Line, Style, Tone, render_all};
use crate::text;

/// Columns below which a file is not worth showing.
const FILE: usize = 18;

/// The graph as a tree of at most `width` columns: every image once, below the need on the
/// highest level, and in a word below each other need.
pub fn text(graph: &Graph, style: Style, width: usize) -> String {
    let net = Net::new(graph);
    let tree = Tree::new(&net, style, width);
    let rows = tree.rows();
    let widths = rows.iter().map(|row| text::width(&row.prefix) + text::width(&net.names[row.at]));
    let column = widths.max().unwrap_or(0).min(width / 2);
    let mut lines = vec![Line::new().add(Tone::Bold, &net.head()).cut(width, style)];
    lines.extend(rows.iter().map(|row| tree.line(row, column)));
    render_all(&lines, style)
}

struct Tree<'a> {
    net: &'a Net<'a>,
    style: Style,
    width: usize,
    /// What each is drawn below.
    parent: Vec<Option<usize>>,
    outside: Vec<Vec<usize>>,
    has_cost: bool,
    has_size: bool,
}

/// A line to be: an image, in full or as a reference, and the branches before it.
struct Row {
    at: usize,
    is_reference: bool,
    prefix: String,
}

impl<'a> Tree<'a> {
    fn new(net: &'a Net<'a>, style: Style, width: usize) -> Self {
        let deepest = |at: usize| {
            net.needs[at].iter().map(|need| need.at).rev().max_by_key(|&need| net.level[need])
        };
        Self {
            net,
            style,
            width,
            parent: (0..net.len()).map(deepest).collect(),
            outside: net.outside_of_each(),
            has_cost: net.nodes.iter().any(|node| node.cost_ms.is_some()),
            has_size: net.nodes.iter().any(|node| node.size_bytes.is_some()),
        }
    }

    fn rows(&self) -> Vec<Row> {
        let glyphs = self.style.glyphs();
        let users = self.net.users();
        let roots = (0..self.net.len()).rev().filter(|&at| self.parent[at].is_none());
        let mut rows = Vec::new();
        let row = |at, is_reference, prefix| Row { at, is_reference, prefix };
        let mut open: Vec<(Row, String)> =
            roots.map(|at| (row(at, false, String::new()), String::new())).collect();
        while let Some((next, below)) = open.pop() {
            let (at, users) = (next.at, &users[next.at]);
            if !next.is_reference {
                for (nth, &user) in users.iter().enumerate().rev() {
                    let last = nth + 1 == users.len();
                    let (branch, trunk) = if last {
                        (glyphs.last_branch, "   ")
                    } else {
                        (glyphs.branch, glyphs.trunk)
                    };
                    let is_reference = self.parent[user] != Some(at);
                    let prefix = format!("{below}{branch}");
                    open.push((row(user, is_reference, prefix), self.grown(&below, trunk)));
                }
            }
            rows.push(next);
        }
        rows
    }

    /// The branches below `below`, of which only the last ones are drawn: a chain of ten
    /// thousand images is not drawn as a triangle.
    fn grown(&self, below: &str, trunk: &str) -> String {
        let most = (self.width / 2).clamp(9, 72);
        let grown = format!("{below}{trunk}");
        if grown.chars().count() <= most {
            return grown;
        }
        let kept: String = grown.chars().skip(6).collect();
        let mark = text::cut("......", 3, self.style.glyphs().ellipsis);
        format!("{mark}{}{kept}", " ".repeat(3 - text::width(&mark)))
    }

    fn line(&self, row: &Row, column: usize) -> Line {
        let room = column.saturating_sub(text::width(&row.prefix));
        let name = text::cut(&self.net.names[row.at], room, self.style.glyphs().ellipsis);
        let line = Line::new().add(Tone::Dim, &row.prefix);
        if row.is_reference {
            let parent = self.parent[row.at].map_or("", |parent| &self.net.names[parent]);
            let line = line.add(Tone::Dim, &name).add(Tone::Dim, &format!("  (see {parent})"));
            return line.cut(self.width, self.style);
        }
        let mut line = line.add(Tone::Bold, &name).pad(column + 2);
        let node = &self.net.nodes[row.at];
        if self.has_cost {
            let cost = node.cost_ms.map(measure::short_duration).unwrap_or_default();
            line.push(Tone::Plain, &format!("{cost:>7}  "));
        }
        if self.has_size {
            let size = node.size_bytes.map(measure::bytes).unwrap_or_default();
            line.push(Tone::Plain, &format!("{size:>7}  "));
        }
        self.finish(line, row.at)
    }

    /// `line` with the file, as much of it as there is room for, and the words about it.
    fn finish(&self, mut line: Line, at: usize) -> Line {
        let node = &self.net.nodes[at];
        let mut words = self.words(at).join("; ");
        if !words.is_empty() {
            words = format!("  ({words})");
        }
        let context = match short(&node.context, 60) {
            context if context.is_empty() => context,
            context => format!(" in {context}"),
        };
        let taken = line.width() + text::width(&words) + text::width(&context);
        let room = self.width.saturating_sub(taken);
        let file = tail(&text::clean(&node.file), room, self.style);
        if room >= FILE || text::width(&file) < room {
            line.push(Tone::Plain, &file);
            line.push(Tone::Dim, &context);
        } else {
            words = words.trim_start().to_owned();
        }
        line.push(Tone::Info, &words);
        line.cut(self.width, self.style)
    }

    fn words(&self, at: usize) -> Vec<String> {
        let (net, node) = (self.net, &self.net.nodes[at]);
        let mut words: Vec<String> = node.class.iter().map(|class| short(class, 24)).collect();
        if net.used_by[at] > 0 {
            words.push(format!("used by {}", net.used_by[at]));
        }
        words.extend(net.waits_for_itself(at));
        let others = net.needs[at].iter().filter(|need| Some(need.at) != self.parent[at]);
        let others: Vec<&String> = others.map(|need| &net.names[need.at]).collect();
        if !others.is_empty() {
            words.push(format!("also needs {}", listed(others)));
        }
        words.extend(self.bases_outside(at));
        if !node.tags.is_empty() {
            words.push(format!("as {}", listed(node.tags.iter().map(|tag| short(tag, 120)))));
        }
        words.extend(node.notes.iter().take(12).map(|note| short(note, 120)));
        words
    }

    /// The bases from outside, those that it continues before those that it takes from.
    fn bases_outside(&self, at: usize) -> Option<String> {
        let mut names = Vec::new();
        for continued in [true, false] {
            for &base in &self.outside[at] {
                let base = &self.net.outside[base];
                let nth = base.users.binary_search_by_key(&at, |user| user.at);
                let via = &base.users[nth.expect("users are in the order of the images")].via;
                if via.contains(&Via::From) == continued {
                    names.push(base.name.as_str());
                }
            }
        }
        (!names.is_empty()).then(|| format!("from {}", listed(names)))
    }
}

/// `text`, or as much of its end as fits in `max` columns behind an ellipsis.
fn tail(text: &str, max: usize, style: Style) -> String {
    if text::width(text) <= max {
        return text.to_owned();
    }
    let ellipsis = style.glyphs().ellipsis;
    let backwards: String = text.chars().rev().collect();
    let kept = text::cut(&backwards, max.saturating_sub(text::width(ellipsis)), "");
    format!("{ellipsis}{}", kept.chars().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::samples::{audio, cyclic, diamond};

    const UNICODE: Style = Style { colour: false, unicode: true };

    #[test]
    fn an_image_is_drawn_below_its_deepest_need_and_named_below_the_others() {
        insta::assert_snapshot!(text(&diamond(), UNICODE, 120), @r"
        6 images, 5 edges, 3 levels (2 + 2 + 2), 3m 52s, 1.20 GB
        python-base     3m 10s  1.20 GB  (tier 1; used by 4; from python:3.11-slim; as ghcr.io/acme/python-base:1.4)
        ├─ python-web                    services/python-web/Dockerfile  (used by 2)
        │  ├─ stt          42s           services/stt/Dockerfile  (also needs models; 2 stages)
        │  └─ tts                        services/tts/Dockerfile
        └─ cron                          services/cron/Dockerfile  (from no-such-image)
        models                           (used by 1; from python:3.11-slim, ghcr.io/astral-sh/uv:0.9)
        └─ stt  (see python-web)
        ");
        insta::assert_snapshot!(text(&diamond(), Style::PLAIN, 120), @r"
        6 images, 5 edges, 3 levels (2 + 2 + 2), 3m 52s, 1.20 GB
        python-base     3m 10s  1.20 GB  (tier 1; used by 4; from python:3.11-slim; as ghcr.io/acme/python-base:1.4)
        |- python-web                    services/python-web/Dockerfile  (used by 2)
        |  |- stt          42s           services/stt/Dockerfile  (also needs models; 2 stages)
        |  `- tts                        services/tts/Dockerfile
        `- cron                          services/cron/Dockerfile  (from no-such-image)
        models                           (used by 1; from python:3.11-slim, ghcr.io/astral-sh/uv:0.9)
        `- stt  (see python-web)
        ");
    }

    #[test]
    fn a_fleet_is_readable_on_a_narrow_terminal_and_on_a_wide_one() {
        insta::assert_snapshot!(text(&audio(), UNICODE, 80), @r"
        20 images, 19 edges, 3 levels (1 + 4 + 15), 1h 07m, 27.5 GB
        python-base           20s  90.0 MB  (base; used by 19; from python:3.11-slim)
        ├─ python-audio       51s   400 MB  services/python-audio/Dockerfile  (base)
        ├─ python-ml       2m 24s  1.33 GB  …ces/python-ml/Dockerfile  (base; used by 9)
        │  ├─ audio        6m 32s  1.02 GB  services/audio/Dockerfile  (service)
        │  ├─ bark         5m 30s  1.02 GB  services/bark/Dockerfile  (service)
        │  ├─ flan         5m 30s  1.64 GB  services/flan/Dockerfile  (service)
        │  ├─ guardrails   6m 32s  2.88 GB  services/guardrails/Dockerfile  (service)
        │  ├─ ml-audio     1m 53s  1.33 GB  services/ml-audio/Dockerfile  (service)
        │  ├─ ml-torch     4m 59s   400 MB  services/ml-torch/Dockerfile  (service)
        │  ├─ router       2m 24s  90.0 MB  services/router/Dockerfile  (service)
        │  ├─ stt             51s   400 MB  services/stt/Dockerfile  (service)
        │  └─ vad             20s  1.33 GB  services/vad/Dockerfile  (service)
        ├─ python-web      4m 59s  2.88 GB  …es/python-web/Dockerfile  (base; used by 4)
        │  ├─ discord         51s  2.88 GB  services/discord/Dockerfile  (service)
        │  ├─ monitoring   2m 24s  1.64 GB  services/monitoring/Dockerfile  (service)
        │  ├─ security     4m 59s  1.02 GB  services/security/Dockerfile  (service)
        │  └─ testing      1m 53s  1.02 GB  services/testing/Dockerfile  (service)
        └─ tools           1m 53s  1.64 GB  services/tools/Dockerfile  (base; used by 2)
           ├─ linter       6m 32s  1.64 GB  services/linter/Dockerfile  (service)
           └─ tester       5m 30s  2.88 GB  services/tester/Dockerfile  (service)
        ");
        insta::assert_snapshot!(text(&audio(), UNICODE, 120), @r"
        20 images, 19 edges, 3 levels (1 + 4 + 15), 1h 07m, 27.5 GB
        python-base           20s  90.0 MB  services/python-base/Dockerfile  (base; used by 19; from python:3.11-slim)
        ├─ python-audio       51s   400 MB  services/python-audio/Dockerfile  (base)
        ├─ python-ml       2m 24s  1.33 GB  services/python-ml/Dockerfile  (base; used by 9)
        │  ├─ audio        6m 32s  1.02 GB  services/audio/Dockerfile  (service)
        │  ├─ bark         5m 30s  1.02 GB  services/bark/Dockerfile  (service)
        │  ├─ flan         5m 30s  1.64 GB  services/flan/Dockerfile  (service)
        │  ├─ guardrails   6m 32s  2.88 GB  services/guardrails/Dockerfile  (service)
        │  ├─ ml-audio     1m 53s  1.33 GB  services/ml-audio/Dockerfile  (service)
        │  ├─ ml-torch     4m 59s   400 MB  services/ml-torch/Dockerfile  (service)
        │  ├─ router       2m 24s  90.0 MB  services/router/Dockerfile  (service)
        │  ├─ stt             51s   400 MB  services/stt/Dockerfile  (service)
        │  └─ vad             20s  1.33 GB  services/vad/Dockerfile  (service)
        ├─ python-web      4m 59s  2.88 GB  services/python-web/Dockerfile  (base; used by 4)
        │  ├─ discord         51s  2.88 GB  services/discord/Dockerfile  (service)
        │  ├─ monitoring   2m 24s  1.64 GB  services/monitoring/Dockerfile  (service)
        │  ├─ security     4m 59s  1.02 GB  services/security/Dockerfile  (service)
        │  └─ testing      1m 53s  1.02 GB  services/testing/Dockerfile  (service)
        └─ tools           1m 53s  1.64 GB  services/tools/Dockerfile  (base; used by 2)
           ├─ linter       6m 32s  1.64 GB  services/linter/Dockerfile  (service)
           └─ tester       5m 30s  2.88 GB  services/tester/Dockerfile  (service)
        ");
    }

    #[test]
    fn a_cycle_is_drawn_open_and_said_in_words() {
        insta::assert_snapshot!(text(&cyclic(), Style::PLAIN, 100), @r"
        4 images, 4 edges, 3 levels (2 + 1 + 1)
        b        services/b/Dockerfile  (used by 2; waits for itself: needs a, b)
        `- a     services/a/Dockerfile  (used by 1)
           `- c  services/c/Dockerfile
        d        services/d/Dockerfile
        ");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [1, 20, 40, 80, 120, 400] {
            for graph in [diamond(), audio(), cyclic()] {
                for line in text(&graph, UNICODE, width).lines() {
                    assert!(text::width(line) <= width, "{width}: {line}");
                }
            }
        }
    }

    #[test]
    fn a_chain_of_ten_thousand_images_is_drawn_within_bounds() {
        let graph = crate::graph::samples::chain(10_000);
        let text = text(&graph, Style::PLAIN, 80);
        assert_eq!(text.lines().count(), 10_001);
        assert!(text.lines().all(|line| line.len() <= 80));
    }
}
