//! The graph for Mermaid, which many places that show Markdown draw.
//!
//! Nodes are called by their place. A label keeps letters, digits and what is harmless in
//! a quoted label; any other character is written as its number, so neither Mermaid nor
//! the HTML that it makes sees syntax in a name. Such places draw some hundred edges and
//! some ten thousand letters at most; a larger fleet is better served by [`svg`](super::svg).

use std::fmt::Write as _;

use super::Graph;
use super::net::{Need, Net};

const CLASSES: &str = "  classDef base stroke:#0969da,stroke-width:2px
  classDef outside fill:none,stroke-dasharray:4 3
";

/// The graph as a Mermaid flowchart, from left to right; bases from outside are dashed, and
/// edges that are no `FROM` are dotted and say what they are.
pub fn mermaid(graph: &Graph) -> String {
    let net = Net::new(graph);
    let mut out = String::from("flowchart LR\n");
    for at in 0..net.len() {
        let class = if net.used_by[at] > 0 { ":::base" } else { "" };
        let mut lines = vec![escaped(&net.names[at])];
        lines.extend(Some(net.facts(at).join(" · ")).filter(|facts| !facts.is_empty()));
        lines.extend(net.waits_for_itself(at));
        let head = lines.remove(0);
        let rest: String = lines.iter().map(|line| format!("<br/>{}", escaped(line))).collect();
        writeln!(out, "  n{at}[\"{head}{rest}\"]{class}").expect("a String takes all");
    }
    for (at, base) in net.outside.iter().enumerate() {
        let label = escaped(&base.name);
        writeln!(out, "  x{at}([\"{label}\"]):::outside").expect("a String takes all");
    }
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
    out.push_str(CLASSES);
    out
}

fn edge(out: &mut String, from: &str, to: usize, need: &Need) {
    let arrow = match need.continues() {
        true => "-->".to_owned(),
        false => format!("-. \"{}\" .->", escaped(&need.words())),
    };
    writeln!(out, "  {from} {arrow} n{to}").expect("a String takes all");
}

/// Clean text as the inside of a quoted label.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() || " -_./:,()+·…".contains(c) {
            out.push(c);
        } else {
            write!(out, "#{};", u32::from(c)).expect("a String takes all");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::samples::{cyclic, diamond, hostile};

    #[test]
    fn a_graph_reads_from_left_to_right() {
        insta::assert_snapshot!(mermaid(&diamond()), @r#"
        flowchart LR
          n0["python-base<br/>tier 1 · 3m 10s · 1.20 GB"]:::base
          n1["models"]:::base
          n2["python-web"]:::base
          n3["stt<br/>42s"]
          n4["tts"]
          n5["cron"]
          x0(["python:3.11-slim"]):::outside
          x1(["ghcr.io/astral-sh/uv:0.9"]):::outside
          x2(["no-such-image"]):::outside
          n0 --> n2
          n2 --> n3
          n1 -. "COPY --from, RUN --mount" .-> n3
          n2 --> n4
          n0 --> n5
          x0 --> n0
          x0 --> n1
          x1 -. "COPY --from" .-> n1
          x2 --> n5
          classDef base stroke:#0969da,stroke-width:2px
          classDef outside fill:none,stroke-dasharray:4 3
        "#);
    }

    #[test]
    fn a_cycle_is_drawn_open() {
        insta::assert_snapshot!(mermaid(&cyclic()), @r#"
        flowchart LR
          n0["a"]:::base
          n1["b<br/>waits for itself: needs a, b"]:::base
          n2["c"]
          n3["d"]
          n1 --> n0
          n0 --> n2
          classDef base stroke:#0969da,stroke-width:2px
          classDef outside fill:none,stroke-dasharray:4 3
        "#);
    }

    #[test]
    fn a_hostile_name_stays_within_its_quotes() {
        for line in mermaid(&hostile()).lines().filter(|line| line.contains("evil")) {
            let inside = line.split('"').nth(1).unwrap().replace("<br/>", "");
            assert_eq!(line.split('"').count(), 3, "{line}");
            assert!(inside.contains("evil"), "{line}");
            for syntax in ["<", ">", "`", "&", "[", "]", "{", "}", "|", "\\", "%%"] {
                assert!(!inside.contains(syntax), "{syntax} in {line}");
            }
        }
        assert!(mermaid(&hostile()).contains("evil"));
    }
}
