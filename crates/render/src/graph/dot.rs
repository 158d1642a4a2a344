//! The graph for Graphviz.
//!
//! Nodes are called by their place, so that no name is ever syntax; a name appears in a
//! label only, where quotes, backslashes and entities are escaped.

use std::fmt::Write as _;

use super::Graph;
use super::net::{Need, Net, short};

const HEAD: &str = r##"  rankdir=LR; ranksep=0.9; nodesep=0.12; labelloc=t; fontname="sans-serif";
  node [shape=box, style="rounded,filled", fillcolor="#f6f8fa", color="#6e7781", fontname="sans-serif", fontsize=11, height=0.3];
  edge [color="#6e7781", arrowsize=0.6, fontname="sans-serif", fontsize=9];
"##;

/// The graph in the language of Graphviz: a rank for each level, bases from outside dashed,
/// and so are edges that are no `FROM`.
pub fn dot(graph: &Graph) -> String {
    let net = Net::new(graph);
    let mut out = String::from("digraph fleet {\n");
    line(&mut out, &format!("  label=\"{}\";", label([short(&graph.title, 120), net.head()])));
    out.push_str(HEAD);
    for at in 0..net.len() {
        let facts = net.facts(at).join(" · ");
        let waits = net.waits_for_itself(at).unwrap_or_default();
        let label = label([net.names[at].clone(), facts, waits]);
        let colour = if net.used_by[at] > 0 { ", fillcolor=\"#ddf4ff\"" } else { "" };
        line(&mut out, &format!("  n{at} [label=\"{label}\"{colour}];"));
    }
    for (at, base) in net.outside.iter().enumerate() {
        let label = label([base.name.clone()]);
        line(&mut out, &format!("  x{at} [label=\"{label}\", style=\"rounded,dashed\"];"));
    }
    ranks(&mut out, &net);
    for (at, needs) in net.needs.iter().enumerate() {
        for need in needs {
            edge(&mut out, &format!("n{}", need.at), at, need);
        }
    }
    for (base, outside) in net.outside.iter().enumerate() {
        for user in &outside.users {
            edge(&mut out, &format!("x{base}"), user.at, user);
        }
    }
    out.push_str("}\n");
    out
}

fn ranks(out: &mut String, net: &Net<'_>) {
    let mut ranks: Vec<String> = Vec::new();
    for (at, &level) in net.level.iter().enumerate() {
        ranks.resize(ranks.len().max(level + 1), String::new());
        write!(ranks[level], " n{at};").expect("a String takes all");
    }
    for rank in ranks {
        line(out, &format!("  {{ rank=same;{rank} }}"));
    }
}

fn edge(out: &mut String, from: &str, to: usize, need: &Need) {
    let style = match need.continues() {
        true => String::new(),
        false => format!(" [style=dashed, label=\"{}\"]", need.words()),
    };
    line(out, &format!("  {from} -> n{to}{style};"));
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Lines as the inside of a quoted label, without those that are empty.
fn label<const N: usize>(lines: [String; N]) -> String {
    let lines = lines.iter().filter(|line| !line.is_empty()).map(|line| escaped(line));
    lines.collect::<Vec<_>>().join("\\n")
}

/// Clean text as the inside of a quoted string. Graphviz reads entities in labels too.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::samples::{cyclic, diamond, hostile};

    #[test]
    fn levels_are_ranks_and_what_is_from_outside_is_dashed() {
        insta::assert_snapshot!(dot(&diamond()), @r##"
        digraph fleet {
          label="diamond\n6 images, 5 edges, 3 levels (2 + 2 + 2), 3m 52s, 1.20 GB";
          rankdir=LR; ranksep=0.9; nodesep=0.12; labelloc=t; fontname="sans-serif";
          node [shape=box, style="rounded,filled", fillcolor="#f6f8fa", color="#6e7781", fontname="sans-serif", fontsize=11, height=0.3];
          edge [color="#6e7781", arrowsize=0.6, fontname="sans-serif", fontsize=9];
          n0 [label="python-base\ntier 1 · 3m 10s · 1.20 GB", fillcolor="#ddf4ff"];
          n1 [label="models", fillcolor="#ddf4ff"];
          n2 [label="python-web", fillcolor="#ddf4ff"];
          n3 [label="stt\n42s"];
          n4 [label="tts"];
          n5 [label="cron"];
          x0 [label="python:3.11-slim", style="rounded,dashed"];
          x1 [label="ghcr.io/astral-sh/uv:0.9", style="rounded,dashed"];
          x2 [label="no-such-image", style="rounded,dashed"];
          { rank=same; n0; n1; }
          { rank=same; n2; n5; }
          { rank=same; n3; n4; }
          n0 -> n2;
          n2 -> n3;
          n1 -> n3 [style=dashed, label="COPY --from, RUN --mount"];
          n2 -> n4;
          n0 -> n5;
          x0 -> n0;
          x0 -> n1;
          x1 -> n1 [style=dashed, label="COPY --from"];
          x2 -> n5;
        }
        "##);
    }

    #[test]
    fn a_cycle_is_drawn_open() {
        insta::assert_snapshot!(dot(&cyclic()), @r##"
        digraph fleet {
          label="4 images, 4 edges, 3 levels (2 + 1 + 1)";
          rankdir=LR; ranksep=0.9; nodesep=0.12; labelloc=t; fontname="sans-serif";
          node [shape=box, style="rounded,filled", fillcolor="#f6f8fa", color="#6e7781", fontname="sans-serif", fontsize=11, height=0.3];
          edge [color="#6e7781", arrowsize=0.6, fontname="sans-serif", fontsize=9];
          n0 [label="a", fillcolor="#ddf4ff"];
          n1 [label="b\nwaits for itself: needs a, b", fillcolor="#ddf4ff"];
          n2 [label="c"];
          n3 [label="d"];
          { rank=same; n1; n3; }
          { rank=same; n0; }
          { rank=same; n2; }
          n1 -> n0;
          n0 -> n2;
        }
        "##);
    }

    /// `text` with its quoted strings taken out.
    fn syntax(text: &str) -> String {
        let mut out = String::new();
        let mut quoted = false;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' if quoted => drop(chars.next()),
                '"' => quoted = !quoted,
                c if !quoted => out.push(c),
                _ => {}
            }
        }
        assert!(!quoted, "a string does not end: {text}");
        out
    }

    #[test]
    fn a_hostile_name_stays_within_its_quotes() {
        let text = dot(&hostile());
        let syntax = syntax(&text);
        assert!(syntax.starts_with("digraph fleet {\n"), "{syntax}");
        assert_eq!(syntax.matches('{').count(), syntax.matches('}').count());
        assert!(!syntax.contains("evil"), "{syntax}");
        assert!(text.contains("evil"));
    }
}
