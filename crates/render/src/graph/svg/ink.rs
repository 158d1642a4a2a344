//! The elements of the picture: the only place that writes text into XML.

use std::fmt::Write as _;

use crate::graph::layout::{Point, Rect, Strand};

/// Light first, then what is different in the dark. All rules name the picture's class, so
/// that it can be put into a page without changing the page.
pub(super) const STYLE: &str = r#"<style>
.fleet-graph { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
.fleet-graph text { fill: #59636e }
.fleet-graph .name { font: 600 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328 }
.fleet-graph .title { font-size: 19px; font-weight: 600; fill: #1f2328 }
.fleet-graph .head { font-weight: 600; letter-spacing: .04em; fill: #818b98 }
.fleet-graph .paper { fill: #fff }
.fleet-graph .box rect { fill: #fff; stroke: #b6bfca }
.fleet-graph .base rect { fill: #eef6ff; stroke: #4b83c9; stroke-width: 1.6 }
.fleet-graph .stuck rect { stroke: #cf222e; stroke-width: 2 }
.fleet-graph .outside rect { fill: none; stroke: #9aa4af; stroke-dasharray: 4 3 }
.fleet-graph .outside .name { font-weight: 400; fill: #59636e }
.fleet-graph .frame rect { fill: #f6f8fa; stroke: #d8dee4 }
.fleet-graph .line { fill: none; stroke: #7d93ad; stroke-width: 1.3; stroke-linecap: round }
.fleet-graph .loose { stroke-dasharray: 5 4 }
.fleet-graph .far { stroke: #c3cad2; stroke-width: 1.1 }
.fleet-graph .line:hover { stroke: #d1570c; stroke-width: 2.4 }
.fleet-graph .k0 { fill: #3b82c4 } .fleet-graph .k1 { fill: #3a9a5b } .fleet-graph .k2 { fill: #b7791f }
.fleet-graph .k3 { fill: #8e5cc2 } .fleet-graph .k4 { fill: #c2456f } .fleet-graph .k5 { fill: #2a9d9d }
@media (prefers-color-scheme: dark) {
.fleet-graph text { fill: #9aa5b1 }
.fleet-graph .name, .fleet-graph .title { fill: #e6edf3 }
.fleet-graph .head { fill: #7d8894 }
.fleet-graph .paper { fill: #0d1117 }
.fleet-graph .box rect { fill: #161b22; stroke: #3d4752 }
.fleet-graph .base rect { fill: #14263d; stroke: #4d86cc }
.fleet-graph .stuck rect { stroke: #f85149 }
.fleet-graph .outside rect { fill: none; stroke: #5c6773 }
.fleet-graph .outside .name { fill: #9aa5b1 }
.fleet-graph .frame rect { fill: #11161d; stroke: #262d36 }
.fleet-graph .line { stroke: #5d7896 }
.fleet-graph .far { stroke: #37414c }
.fleet-graph .line:hover { stroke: #f0883e }
}
</style>
"#;

/// The document as far as it is written.
#[derive(Debug, Default)]
pub(super) struct Ink {
    out: String,
}

impl Ink {
    pub(super) fn into_text(self) -> String {
        self.out
    }

    /// Adds what is XML already.
    pub(super) fn raw(&mut self, xml: &str) -> &mut Self {
        self.out.push_str(xml);
        self
    }

    /// Adds text. Clean text has no controls, but it may have the two characters that are
    /// none, which XML refuses.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\u{fffe}' | '\u{ffff}' => {}
                c => self.out.push(c),
            }
        }
        self
    }

    /// Words, from a point to the right.
    pub(super) fn words(&mut self, class: &str, at: Point, words: &str) -> &mut Self {
        self.add(format_args!("<text class=\"{class}\" x=\"{}\" y=\"{}\">", at.x, at.y));
        self.text(words).raw("</text>")
    }

    pub(super) fn rect(&mut self, rect: Rect, round: i64) -> &mut Self {
        let (at, size) = (rect.at, rect.size);
        self.add(format_args!(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{round}\"/>",
            at.x, at.y, size.width, size.height
        ));
        self
    }

    /// The colour of a kind at the left border of a box.
    pub(super) fn stripe(&mut self, kind: usize, rect: Rect) -> &mut Self {
        let (x, y, height) = (rect.at.x + 3, rect.at.y + 3, rect.size.height - 6);
        self.add(format_args!("<path class=\"k{kind}\" d=\"M{x} {y}h3v{height}h-3z\"/>"));
        self
    }

    /// A piece of a line, with a tip if it arrives, as path data.
    pub(super) fn strand(&mut self, strand: &Strand) -> &mut Self {
        let Strand { start, bend, end, .. } = strand;
        self.add(format_args!("M{} {}H{}", start.x, start.y, bend.0));
        if start.y != end.y {
            let middle = (bend.0 + bend.1) / 2;
            let (from, to) = (start.y, end.y);
            self.add(format_args!("C{middle} {from} {middle} {to} {} {to}", bend.1));
        }
        self.add(format_args!("H{}", end.x));
        if strand.arrives {
            // Two strokes that both begin at the tip, so that a dashed line has a whole one.
            let (x, y) = (end.x - 5, end.y);
            for y in [y - 3, y + 3] {
                self.add(format_args!("M{} {}L{x} {y}", end.x, end.y));
            }
        }
        self
    }

    fn add(&mut self, xml: std::fmt::Arguments<'_>) {
        self.out.write_fmt(xml).expect("a String takes all");
    }
}
