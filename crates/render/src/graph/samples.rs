//! Fleets to draw in tests: small ones for snapshots, large and odd ones for properties.

use super::{Edge, Graph, Node, Via};

/// An image, what it continues in the fleet, and what from outside.
fn node(name: &str, needs: &[&str], outside: &[&str]) -> Node {
    let edges = |names: &[&str]| names.iter().map(|name| Edge::new(*name, Via::From)).collect();
    Node {
        name: name.to_owned(),
        file: format!("services/{name}/Dockerfile"),
        needs: edges(needs),
        external: edges(outside),
        ..Node::default()
    }
}

fn graph(title: &str, nodes: Vec<Node>) -> Graph {
    Graph { title: title.to_owned(), nodes }
}

/// Two families that meet in one image, with everything that can be said of one.
pub(super) fn diamond() -> Graph {
    let mut base = node("python-base", &[], &["python:3.11-slim"]);
    base.class = Some("tier 1".to_owned());
    base.cost_ms = Some(190_000);
    base.size_bytes = Some(1_200_000_000);
    base.tags = vec!["ghcr.io/acme/python-base:1.4".to_owned()];
    let mut models = node("models", &[], &["python:3.11-slim"]);
    models.external.push(Edge::new("ghcr.io/astral-sh/uv:0.9", Via::Copy));
    models.context = "data".to_owned();
    let mut stt = node("stt", &["python-web"], &[]);
    stt.needs.push(Edge::new("models", Via::Copy));
    stt.needs.push(Edge::new("models", Via::Mount));
    stt.cost_ms = Some(42_000);
    stt.notes = vec!["2 stages".to_owned()];
    let web = node("python-web", &["python-base"], &[]);
    let tts = node("tts", &["python-web"], &[]);
    let cron = node("cron", &["python-base", "no-such-image"], &[]);
    graph("diamond", vec![base, models, web, stt, tts, cron])
}

/// Twenty images on three levels: the shape of a real fleet.
pub(super) fn audio() -> Graph {
    let mut nodes = vec![node("python-base", &[], &["python:3.11-slim"])];
    let families: [(&str, &[&str]); 4] = [
        ("python-audio", &[]),
        (
            "python-ml",
            &[
                "audio",
                "bark",
                "flan",
                "guardrails",
                "ml-audio",
                "ml-torch",
                "router",
                "stt",
                "vad",
            ],
        ),
        ("python-web", &["discord", "monitoring", "security", "testing"]),
        ("tools", &["linter", "tester"]),
    ];
    for (family, _) in families {
        nodes.push(node(family, &["python-base"], &[]));
    }
    for (family, services) in families {
        nodes.extend(services.iter().map(|service| node(service, &[family], &[])));
    }
    for (nth, node) in nodes.iter_mut().enumerate() {
        let nth = nth as u64;
        node.class = Some(if nth < 5 { "base" } else { "service" }.to_owned());
        node.cost_ms = Some(20_000 + nth * nth % 13 * 31_000);
        node.size_bytes = Some(90_000_000 + nth * nth % 11 * 310_000_000);
    }
    graph("audio", nodes)
}

/// Two images that need each other, one above them, one of them needing itself.
pub(super) fn cyclic() -> Graph {
    let nodes = vec![
        node("a", &["b"], &[]),
        node("b", &["a", "b"], &[]),
        node("c", &["a"], &[]),
        node("d", &[], &[]),
    ];
    graph("", nodes)
}

/// Names that try to leave the place they are put in.
pub(super) fn hostile() -> Graph {
    let names = [
        "\"]; evil -> x; \"",
        "</text></svg><script>evil()</script>",
        "\\",
        "evil\\\"",
        "evil]:::base\nclick n0 href",
        "`evil` & &lt; #quot; \u{fffe}\u{ffff}\u{fdd0}",
        "%%{init: evil}%%",
        "]]>evil<!--",
        "\u{202e}evil\u{0}\u{1b}[31m",
        "",
    ];
    let mut nodes: Vec<Node> = names.iter().map(|name| node(name, &[], &[])).collect();
    for at in 1..nodes.len() {
        let need = Edge::new(nodes[at - 1].name.clone(), Via::Mount);
        nodes[at].needs.push(need);
    }
    let wide = node(&"W本".repeat(5_000), &["\\"], &["\"'<evil>&"]);
    nodes.push(Node { class: Some("<evil>".to_owned()), ..wide });
    graph("<evil> \"fleet\" & co", nodes)
}

/// Each image on the one before.
pub(super) fn chain(length: usize) -> Graph {
    let mut nodes = vec![node("i0", &[], &[])];
    for nth in 1..length {
        nodes.push(node(&format!("i{nth}"), &[&format!("i{}", nth - 1)], &[]));
    }
    graph("chain", nodes)
}
