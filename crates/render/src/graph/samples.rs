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

/// About 120 images on five levels: families with many members each, and many that stand
/// alone on a base from outside.
pub(super) fn families() -> Graph {
    let (slim, cuda) = ("python:3.10-slim", "nvidia/cuda:12.1.1-runtime-ubuntu22.04");
    let mut nodes = vec![
        node("base-python", &[], &["python:3.11-slim"]),
        node("legacy-py310-cpu", &[], &["python:3.10-slim-bullseye"]),
        node("base-utils", &["base-python"], &[]),
        node("base-cpu-pydeps", &["base-utils"], &[]),
        node("base-gpu-cu121", &[], &[cuda]),
        node("family-web", &["base-cpu-pydeps"], &[]),
        node("family-torch-cu121", &["base-gpu-cu121"], &[]),
        node("family-llm-cu121", &["family-torch-cu121"], &[]),
        node("family-vision-cu121", &["family-torch-cu121"], &[]),
    ];
    let members: [(&str, usize); 6] = [
        ("base-cpu-pydeps", 29),
        ("family-torch-cu121", 12),
        ("family-web", 11),
        ("family-llm-cu121", 8),
        ("legacy-py310-cpu", 5),
        ("family-vision-cu121", 4),
    ];
    for (family, count) in members {
        for nth in 0..count {
            let short = family.split('-').nth(1).unwrap();
            let name = format!("{short}-{}-agent", WORDS[nth % WORDS.len()]);
            let mut image = node(&name, &[family], &[]);
            if nth % 7 == 3 {
                image.needs.push(Edge::new("base-utils", Via::Copy));
            }
            nodes.push(image);
        }
    }
    for nth in 0..34 {
        let outside = [slim, "python:3.11-slim", cuda, "debian:bookworm"][nth % 7 % 4];
        nodes.push(node(&format!("{}-{nth}", WORDS[nth % WORDS.len()]), &[], &[outside]));
    }
    nodes.extend((0..9).map(|nth| node(&format!("alone-{nth}"), &[], &[&format!("own:{nth}")])));
    for (nth, node) in nodes.iter_mut().enumerate() {
        let nth = nth as u64;
        node.cost_ms = Some(9_000 + nth * nth % 97 * 4_000);
        node.size_bytes = Some(80_000_000 + nth * nth % 31 * 190_000_000);
    }
    graph("families", nodes)
}

const WORDS: [&str; 30] = [
    "responder",
    "translation",
    "executor",
    "mood",
    "tone",
    "router",
    "codegen",
    "resource",
    "capture",
    "tts",
    "stt",
    "dream",
    "nlu",
    "human-awareness",
    "chitchat",
    "empathy",
    "cache",
    "emotion-synthesis",
    "auth",
    "feedback",
    "scheduler",
    "learning",
    "dashboard",
    "trust",
    "twin",
    "smarthome",
    "vision",
    "streaming-translation-proxy",
    "proactive",
    "intention",
];

/// A graph that nobody picked: each image needs up to `density` of those before it.
pub(super) fn random(seed: u64, images: usize, density: usize) -> Graph {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % most.max(1) as u64).unwrap()
    };
    let mut nodes: Vec<Node> = Vec::new();
    for nth in 0..images {
        let mut image = node(&format!("image-{nth}"), &[], &[]);
        for _ in 0..below(density + 1).min(nth) {
            let via = [Via::From, Via::From, Via::Copy, Via::Mount][below(4)];
            image.needs.push(Edge::new(format!("image-{}", below(nth)), via));
        }
        if below(3) == 0 {
            image.external.push(Edge::new(format!("outside:{}", below(images / 4)), Via::From));
        }
        nodes.push(image);
    }
    graph("random", nodes)
}
