//! The graph as a picture that stands by itself.
//!
//! [`layout`](super::layout) says where everything is; here it gets its words and its
//! colours. A picture has no script and names nothing outside itself. There is no font to
//! measure with: names are set in the reader's monospaced font, whose width is known well
//! enough, and everything else is given more room than it needs. What is shortened is
//! whole in a tooltip, and so is what a box has no room for.
//!
//! Dark and light follow the reader's preference. Nothing is said by colour alone: what
//! stands below others has a thicker border, what is from outside a dashed one, a kind is
//! named in its boxes.

mod ink;
mod label;

use std::collections::{BTreeMap, BTreeSet};

use super::Graph;
use super::layout::{Heading, Layout, Link, Point, Rect, Size, Strand, Tie, Vertex, layout};
use super::net::{Need, Net, listed, short};
use crate::measure::plural;
use ink::{Ink, STYLE};
use label::Label;

const MARGIN: i64 = 28;
/// Height of the title and what is below it.
const HEAD: i64 = 78;
const LEGEND: i64 = 26;
/// Least width, that of the legend.
const LEAST: i64 = 800;
/// Kinds that have a colour.
const KINDS: usize = 6;

/// The graph as an SVG document.
pub fn svg(graph: &Graph) -> String {
    let net = Net::new(graph);
    let picture = Picture::new(&net);
    let layout = layout(&picture.vertices(), &picture.links());
    let kinds = if picture.kinds.is_empty() { 0 } else { LEGEND };
    let size = Size {
        width: (layout.size.width + 2 * MARGIN).max(LEAST),
        height: layout.size.height + HEAD + MARGIN + LEGEND + kinds + MARGIN,
    };
    let mut ink = Ink::default();
    let title = match short(&graph.title, 56) {
        title if title.is_empty() => "images".to_owned(),
        title => title,
    };
    let Size { width, height } = size;
    ink.raw(&format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"fleet-graph\" role=\"img\" \
         width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n"
    ));
    ink.raw("<title>").text(&format!("{title}: {}", net.head())).raw("</title>\n");
    ink.raw(STYLE);
    ink.raw("<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n");
    ink.words("title", Point { x: MARGIN, y: 36 }, &title);
    ink.words("note", Point { x: MARGIN, y: 56 }, &net.head());
    ink.raw(&format!("<g transform=\"translate({MARGIN} {HEAD})\">\n"));
    picture.draw(&layout, &mut ink);
    ink.raw("</g>\n");
    let foot = layout.size.height + HEAD + MARGIN;
    legend(&mut ink, Point { x: MARGIN, y: foot });
    picture.kinds_legend(&mut ink, Point { x: MARGIN, y: foot + LEGEND });
    ink.raw("</svg>\n");
    ink.into_text()
}

/// The words of the picture, before anything has a place: images first, then the bases from
/// outside that more than one image needs. A base of one image is a line in its box.
struct Picture<'a> {
    net: &'a Net<'a>,
    labels: Vec<Label>,
    /// The bases from outside that have a box.
    shared: Vec<usize>,
    /// The kinds of images that have a colour.
    kinds: BTreeMap<String, usize>,
    outside: Vec<Vec<usize>>,
}

impl<'a> Picture<'a> {
    fn new(net: &'a Net<'a>) -> Self {
        let outside = net.outside_of_each();
        let is_shared = |base: &usize| net.outside[*base].users.len() > 1;
        let mut labels: Vec<Label> = (0..net.len())
            .map(|at| {
                let own = outside[at].iter().filter(|base| !is_shared(base));
                let own: Vec<&str> = own.map(|&base| net.outside[base].name.as_str()).collect();
                Label::image(net, at, &own)
            })
            .collect();
        let shared: Vec<usize> = (0..net.outside.len()).filter(is_shared).collect();
        labels.extend(shared.iter().map(|&base| {
            let base = &net.outside[base];
            Label::outside(&base.name, base.users.len())
        }));
        let kinds: BTreeSet<&str> =
            net.nodes.iter().filter_map(|node| node.class.as_deref()).collect();
        let kinds = kinds.into_iter().take(KINDS).enumerate();
        let kinds = kinds.map(|(nth, kind)| (kind.to_owned(), nth)).collect();
        Self { net, labels, shared, kinds, outside }
    }

    fn vertices(&self) -> Vec<Vertex> {
        let rank = |at: usize| self.net.level.get(at).map_or(0, |level| level + 1);
        let labels = self.labels.iter().enumerate();
        labels.map(|(at, label)| Vertex { size: label.size(), rank: rank(at) }).collect()
    }

    fn links(&self) -> Vec<Link> {
        let tie = |need: &Need| if need.continues() { Tie::Firm } else { Tie::Loose };
        let mut links = Vec::new();
        for (at, needs) in self.net.needs.iter().enumerate() {
            links.extend(needs.iter().map(|need| Link { from: need.at, to: at, tie: tie(need) }));
        }
        for (nth, &base) in self.shared.iter().enumerate() {
            let from = self.net.len() + nth;
            let users = self.net.outside[base].users.iter();
            links.extend(users.map(|user| Link { from, to: user.at, tie: Tie::Outside }));
        }
        links
    }

    fn draw(&self, layout: &Layout, ink: &mut Ink) {
        for heading in &layout.headings {
            draw_heading(ink, heading);
        }
        self.draw_lines(&layout.strands, ink);
        for frame in &layout.frames {
            ink.raw("<g class=\"frame\">").rect(frame.rect, 8);
            let width = usize::try_from(frame.rect.size.width - 20).unwrap_or(0);
            let caption = short(&self.caption(&frame.members), width * 10 / label::FACT);
            let at = Point { x: frame.rect.at.x + 10, y: frame.rect.at.y + 19 };
            ink.words("note", at, &caption).raw("</g>\n");
        }
        for (at, rect) in layout.boxes.iter().enumerate() {
            self.draw_box(at, *rect, ink);
        }
    }

    /// The lines, all from one box in one element.
    fn draw_lines(&self, strands: &[Strand], ink: &mut Ink) {
        let mut lines: BTreeMap<(Tie, usize), Vec<&Strand>> = BTreeMap::new();
        for strand in strands {
            lines.entry((strand.tie, strand.source)).or_default().push(strand);
        }
        // What is drawn last is seen best: what continues its base.
        for ((tie, source), strands) in lines.into_iter().rev() {
            let (class, says) = match tie {
                Tie::Firm => ("line", "stands on"),
                Tie::Loose => ("line loose", "takes from"),
                Tie::Outside => ("line far", "needs, from outside,"),
            };
            ink.raw(&format!("<path class=\"{class}\" d=\""));
            let mut begun = BTreeSet::new();
            for strand in strands {
                // Where lines part, what they have in common is drawn once.
                let start = match begun.insert(strand.start) {
                    true => strand.start,
                    false => Point { x: strand.bend.0, ..strand.start },
                };
                ink.strand(&Strand { start, ..*strand });
            }
            ink.raw("\"><title>").text(&format!("{says} {}", self.name(source)));
            ink.raw("</title></path>\n");
        }
    }

    fn draw_box(&self, at: usize, rect: Rect, ink: &mut Ink) {
        let node = self.net.nodes.get(at);
        let class = match node {
            None => "outside",
            Some(_) if !self.net.cut[at].is_empty() => "box stuck",
            Some(_) if self.net.used_by[at] > 0 => "box base",
            Some(_) => "box",
        };
        ink.raw(&format!("<g class=\"{class}\"><title>")).text(&self.tooltip(at)).raw("</title>");
        ink.rect(rect, 5);
        let kind = node.and_then(|node| self.kinds.get(node.class.as_deref()?));
        if let Some(kind) = kind {
            ink.stripe(*kind, rect);
        }
        self.labels[at].draw(rect, ink);
        ink.raw("</g>\n");
    }

    fn name(&self, at: usize) -> &str {
        match at.checked_sub(self.net.len()) {
            None => &self.net.names[at],
            Some(nth) => &self.net.outside[self.shared[nth]].name,
        }
    }

    /// What all images of a frame have in common.
    fn caption(&self, members: &[usize]) -> String {
        let count = plural(members.len(), "image");
        let first = members[0];
        let needs = self.net.needs[first].iter().map(|need| need.at);
        let shared =
            self.outside[first].iter().filter_map(|base| self.shared.binary_search(base).ok());
        let names: Vec<&str> =
            needs.chain(shared.map(|nth| nth + self.net.len())).map(|at| self.name(at)).collect();
        match names.as_slice() {
            [] => format!("{count} on their own"),
            names => format!("{count} on {}", listed(names)),
        }
    }

    fn tooltip(&self, at: usize) -> String {
        let Some(node) = self.net.nodes.get(at) else {
            let users = self.net.outside[self.shared[at - self.net.len()]].users.len();
            let users = plural(users, "image");
            return format!("{}\nfrom outside the fleet\nneeded by {users}", self.name(at));
        };
        let net = self.net;
        let said = |texts: &[String]| listed(texts.iter().map(|text| short(text, 120)));
        let need = |need: &Need| format!("{} ({})", net.names[need.at], need.words());
        let outside = self.outside[at].iter().map(|&base| &net.outside[base].name);
        let used_by = Some(net.used_by[at]).filter(|&count| count > 0);
        let lines = [
            ("", net.names[at].clone()),
            ("", short(&node.file, 200)),
            ("in ", short(&node.context, 200)),
            ("", net.facts(at).join(", ")),
            ("level ", net.level[at].to_string()),
            ("used by ", used_by.map(|count| count.to_string()).unwrap_or_default()),
            ("needs ", listed(net.needs[at].iter().map(need))),
            ("from outside: ", listed(outside)),
            ("", net.waits_for_itself(at).unwrap_or_default()),
            ("as ", said(&node.tags)),
            ("", said(&node.notes)),
        ];
        let lines = lines.iter().filter(|(_, words)| !words.is_empty());
        lines.map(|(what, words)| format!("{what}{words}")).collect::<Vec<_>>().join("\n")
    }

    fn kinds_legend(&self, ink: &mut Ink, at: Point) {
        let mut x = at.x;
        for (kind, nth) in &self.kinds {
            let rect = Rect { at: Point { x, y: at.y }, size: Size { width: 24, height: 14 } };
            ink.raw("<g class=\"box\">").rect(rect, 3).stripe(*nth, rect).raw("</g>");
            let kind = short(kind, 16);
            ink.words("note", Point { x: x + 32, y: at.y + 11 }, &kind);
            x += 32 + label::width_of_fact(&kind) + 24;
        }
    }
}

fn draw_heading(ink: &mut Ink, heading: &Heading) {
    let words = match heading.rank.checked_sub(1) {
        None => "from outside".to_owned(),
        Some(level) => format!("level {level}"),
    };
    ink.words("head", Point { x: heading.at.x, y: heading.at.y + 10 }, &words);
}

/// What the borders and the lines mean.
fn legend(ink: &mut Ink, at: Point) {
    let boxes =
        [("box base", "others stand on it"), ("box", "nothing does"), ("outside", "from outside")];
    let mut x = at.x;
    for (class, says) in boxes {
        let rect = Rect { at: Point { x, y: at.y }, size: Size { width: 24, height: 14 } };
        ink.raw(&format!("<g class=\"{class}\">")).rect(rect, 3).raw("</g>");
        ink.words("note", Point { x: x + 32, y: at.y + 11 }, says);
        x += 32 + label::width_of_fact(says) + 20;
    }
    for (class, says) in [("line", "FROM"), ("line loose", "COPY --from, mount, context, tag")] {
        let y = at.y + 7;
        let (start, end) = (Point { x, y }, Point { x: x + 30, y });
        let bend = (x, x);
        let strand = Strand { source: 0, tie: Tie::Firm, start, bend, end, arrives: true };
        ink.raw(&format!("<path class=\"{class}\" d=\"")).strand(&strand).raw("\"/>");
        ink.words("note", Point { x: x + 38, y: at.y + 11 }, says);
        x += 38 + label::width_of_fact(says) + 20;
    }
    ink.raw("\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::samples::{audio, chain, cyclic, diamond, families, hostile, random};

    #[test]
    fn a_small_fleet_is_drawn_box_by_box() {
        insta::assert_snapshot!(without_style(&svg(&diamond())), @r#"
        <svg xmlns="http://www.w3.org/2000/svg" class="fleet-graph" role="img" width="800" height="324" viewBox="0 0 800 324">
        <title>diamond: 6 images, 5 edges, 3 levels (2 + 2 + 2), 3m 52s, 1.20 GB</title>
        <style/>
        <rect class="paper" width="100%" height="100%"/>
        <text class="title" x="28" y="36">diamond</text><text class="note" x="28" y="56">6 images, 5 edges, 3 levels (2 + 2 + 2), 3m 52s, 1.20 GB</text><g transform="translate(28 78)">
        <text class="head" x="0" y="10">from outside</text><text class="head" x="190" y="10">level 0</text><text class="head" x="430" y="10">level 1</text><text class="head" x="623" y="10">level 2</text><path class="line far" d="M140 93H140C161 93 161 68 182 68H190M190 68L185 65M190 68L185 71M140 93H140C161 93 161 118 182 118H190M190 118L185 115M190 118L185 121"><title>needs, from outside, python:3.11-slim</title></path>
        <path class="line loose" d="M430 121H570C592 121 592 91 615 91H623M623 91L618 88M623 91L618 94M377 123H377C399 123 399 121 422 121H430"><title>takes from models</title></path>
        <path class="line" d="M570 45H570C592 45 592 85 615 85H623M623 85L618 82M623 85L618 88M570 45H570C592 45 592 37 615 37H623M623 37L618 34M623 37L618 40"><title>stands on python-web</title></path>
        <path class="line" d="M377 68H377C399 68 399 45 422 45H430M430 45L425 42M430 45L425 48M377 68H377C399 68 399 88 422 88H430M430 88L425 85M430 88L425 91"><title>stands on python-base</title></path>
        <g class="box base"><title>python-base
        services/python-base/Dockerfile
        tier 1, 3m 10s, 1.20 GB
        level 0
        used by 4
        from outside: python:3.11-slim
        as ghcr.io/acme/python-base:1.4</title><rect x="190" y="48" width="187" height="40" rx="5"/><path class="k0" d="M193 51h3v34h-3z"/><text class="name" x="202" y="65">python-base</text><text class="fact" x="202" y="79">tier 1 · 3m 10s · 1.20 GB</text></g>
        <g class="box base"><title>models
        services/models/Dockerfile
        in data
        level 0
        used by 1
        from outside: python:3.11-slim, ghcr.io/astral-sh/uv:0.9</title><rect x="190" y="98" width="187" height="40" rx="5"/><text class="name" x="202" y="115">models</text><text class="fact" x="202" y="129">from uv:0.9</text></g>
        <g class="box base"><title>python-web
        services/python-web/Dockerfile
        level 1
        used by 2
        needs python-base (FROM)</title><rect x="430" y="32" width="140" height="26" rx="5"/><text class="name" x="442" y="49">python-web</text></g>
        <g class="box"><title>stt
        services/stt/Dockerfile
        42s
        level 2
        needs python-web (FROM), models (COPY --from, RUN --mount)
        2 stages</title><rect x="623" y="68" width="110" height="40" rx="5"/><text class="name" x="635" y="85">stt</text><text class="fact" x="635" y="99">42s</text></g>
        <g class="box"><title>tts
        services/tts/Dockerfile
        level 2
        needs python-web (FROM)</title><rect x="623" y="24" width="110" height="26" rx="5"/><text class="name" x="635" y="41">tts</text></g>
        <g class="box"><title>cron
        services/cron/Dockerfile
        level 1
        needs python-base (FROM)
        from outside: no-such-image</title><rect x="430" y="68" width="140" height="40" rx="5"/><text class="name" x="442" y="85">cron</text><text class="fact" x="442" y="99">from no-such-image</text></g>
        <g class="outside"><title>python:3.11-slim
        from outside the fleet
        needed by 2 images</title><rect x="0" y="73" width="140" height="40" rx="5"/><text class="name" x="12" y="90">python:3.11-slim</text><text class="fact" x="12" y="104">2 images</text></g>
        </g>
        <g class="box base"><rect x="28" y="244" width="24" height="14" rx="3"/></g><text class="note" x="60" y="255">others stand on it</text><g class="box"><rect x="198" y="244" width="24" height="14" rx="3"/></g><text class="note" x="230" y="255">nothing does</text><g class="outside"><rect x="329" y="244" width="24" height="14" rx="3"/></g><text class="note" x="361" y="255">from outside</text><path class="line" d="M460 251H460H490M490 251L485 248M490 251L485 254"/><text class="note" x="498" y="255">FROM</text><path class="line loose" d="M544 251H544H574M574 251L569 248M574 251L569 254"/><text class="note" x="582" y="255">COPY --from, mount, context, tag</text>
        <g class="box"><rect x="28" y="270" width="24" height="14" rx="3"/><path class="k0" d="M31 273h3v8h-3z"/></g><text class="note" x="60" y="281">tier 1</text></svg>
        "#);
    }

    #[test]
    fn a_cycle_is_drawn_open_and_said_in_words() {
        insta::assert_snapshot!(without_style(&svg(&cyclic())), @r#"
        <svg xmlns="http://www.w3.org/2000/svg" class="fleet-graph" role="img" width="800" height="286" viewBox="0 0 800 286">
        <title>images: 4 images, 4 edges, 3 levels (2 + 1 + 1)</title>
        <style/>
        <rect class="paper" width="100%" height="100%"/>
        <text class="title" x="28" y="36">images</text><text class="note" x="28" y="56">4 images, 4 edges, 3 levels (2 + 1 + 1)</text><g transform="translate(28 78)">
        <text class="head" x="0" y="10">level 0</text><text class="head" x="253" y="10">level 1</text><text class="head" x="410" y="10">level 2</text><path class="line" d="M206 44H206H253M253 44L248 41M253 44L248 47"><title>stands on b</title></path>
        <path class="line" d="M363 44H363H410M410 44L405 41M410 44L405 47"><title>stands on a</title></path>
        <g class="box base"><title>a
        services/a/Dockerfile
        level 1
        used by 1
        needs b (FROM)</title><rect x="253" y="31" width="110" height="26" rx="5"/><text class="name" x="265" y="48">a</text></g>
        <g class="box stuck"><title>b
        services/b/Dockerfile
        level 0
        used by 2
        waits for itself: needs a, b</title><rect x="0" y="24" width="206" height="40" rx="5"/><text class="name" x="12" y="41">b</text><text class="fact" x="12" y="55">waits for itself: needs a, b</text></g>
        <g class="box"><title>c
        services/c/Dockerfile
        level 2
        needs a (FROM)</title><rect x="410" y="31" width="110" height="26" rx="5"/><text class="name" x="422" y="48">c</text></g>
        <g class="box"><title>d
        services/d/Dockerfile
        level 0</title><rect x="0" y="100" width="110" height="26" rx="5"/><text class="name" x="12" y="117">d</text></g>
        </g>
        <g class="box base"><rect x="28" y="232" width="24" height="14" rx="3"/></g><text class="note" x="60" y="243">others stand on it</text><g class="box"><rect x="198" y="232" width="24" height="14" rx="3"/></g><text class="note" x="230" y="243">nothing does</text><g class="outside"><rect x="329" y="232" width="24" height="14" rx="3"/></g><text class="note" x="361" y="243">from outside</text><path class="line" d="M460 239H460H490M490 239L485 236M490 239L485 242"/><text class="note" x="498" y="243">FROM</text><path class="line loose" d="M544 239H544H574M574 239L569 236M574 239L569 242"/><text class="note" x="582" y="243">COPY --from, mount, context, tag</text>
        </svg>
        "#);
    }

    fn without_style(svg: &str) -> String {
        assert!(svg.contains(STYLE));
        svg.replace(STYLE, "<style/>\n")
    }

    /// Fails unless `text` is elements that end where they should, with quoted attributes
    /// and escaped text. Returns the names of the elements and all text.
    fn parsed(text: &str) -> (BTreeSet<String>, String) {
        let (mut open, mut names, mut words) = (Vec::new(), BTreeSet::new(), String::new());
        let mut rest = text;
        while let Some(at) = rest.find('<') {
            words.push_str(&rest[..at]);
            let end = at + rest[at..].find('>').expect("a tag ends");
            let tag = &rest[at + 1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "{tag}");
                continue;
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            let outside: String = tag.split('"').step_by(2).collect();
            let name = tag.trim_end_matches('/').split(' ').next().unwrap().to_owned();
            assert!(
                outside.chars().all(|c| c.is_ascii_alphanumeric() || " =/-".contains(c)),
                "{tag}"
            );
            if !tag.ends_with('/') {
                open.push(name.clone());
            }
            names.insert(name);
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
        for entity in words.split('&').skip(1) {
            let name = entity.split(';').next().unwrap();
            assert!(["amp", "lt", "gt", "quot"].contains(&name), "&{entity}");
        }
        let refused = |c: char| (c.is_control() && c != '\n') || c == '\u{fffe}' || c == '\u{ffff}';
        assert!(!text.contains(refused));
        (names, words)
    }

    #[test]
    fn every_picture_is_xml_of_a_few_elements() {
        let known = ["g", "path", "rect", "style", "svg", "text", "title"];
        let known: BTreeSet<String> = known.into_iter().map(str::to_owned).collect();
        let graphs = [diamond(), audio(), cyclic(), hostile(), families(), random(3, 60, 4)];
        for graph in graphs.into_iter().chain([Graph::default(), chain(50)]) {
            let (names, _) = parsed(&svg(&graph));
            assert!(names.is_subset(&known), "{names:?}");
        }
    }

    #[test]
    fn a_hostile_name_is_text_and_nothing_else() {
        let (names, words) = parsed(&svg(&hostile()));
        assert!(!names.contains("script") && !names.contains("evil"), "{names:?}");
        assert!(words.contains("&lt;/text&gt;&lt;/svg&gt;"), "{words}");
    }

    #[test]
    fn nothing_outside_the_picture_is_named() {
        for stray in ["href", "url(", "@import", "<script", "<image", "<foreignObject"] {
            assert!(!svg(&families()).contains(stray), "{stray}");
        }
    }

    #[test]
    fn names_fit_their_boxes_or_are_whole_in_the_tooltip() {
        let text = svg(&hostile());
        let (_, words) = parsed(&text);
        let long = "W本".repeat(20);
        assert!(words.contains(&long), "the tooltip has more of the name than the box");
        for label in Picture::new(&Net::new(&hostile())).labels {
            assert!(label.size().width < 320, "{label:?}");
        }
    }

    #[test]
    fn the_same_graph_is_the_same_picture() {
        assert_eq!(svg(&families()), svg(&families()));
    }
}
