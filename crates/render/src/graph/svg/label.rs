//! The words in a box, and how much room they need.

use super::ink::Ink;
use crate::graph::layout::{Point, Rect, Size};
use crate::graph::net::{Net, short};
use crate::measure::plural;
use crate::text;

/// Columns of a name up to which it is on one line.
const NAME: usize = 28;
/// Columns of one of its lines if it is on two.
const FOLDED: usize = 38;
/// What the parts of a name end with.
const SEPARATORS: &[char] = &['-', '_', '.', '/', ':', '@', ' '];
/// Columns of the other lines.
const REST: usize = 34;
/// Width of a column of a name, in tenths of a pixel.
const GLYPH: usize = 74;
/// Width of a column of the other lines, in tenths of a pixel: that of a wide font.
pub(super) const FACT: usize = 66;
const LINE: i64 = 14;
const LEFT: i64 = 12;
const RIGHT: i64 = 10;
const LEAST: i64 = 110;

/// The lines of a box: the name, and what is known of it.
#[derive(Debug)]
pub(super) struct Label {
    name: Vec<String>,
    rest: Vec<String>,
}

impl Label {
    /// The label of an image; `own` are the bases that nobody else stands on.
    pub(super) fn image(net: &Net<'_>, at: usize, own: &[&str]) -> Self {
        let mut rest = vec![net.facts(at).join(" · ")];
        if !own.is_empty() {
            let own: Vec<&str> = own.iter().map(|name| last_part(name)).collect();
            rest.push(format!("from {}", own.join(", ")));
        }
        rest.extend(net.waits_for_itself(at));
        Self::new(&net.names[at], rest)
    }

    /// The label of a base from outside.
    pub(super) fn outside(name: &str, users: usize) -> Self {
        Self::new(name, vec![plural(users, "image")])
    }

    fn new(name: &str, rest: Vec<String>) -> Self {
        let rest = rest.iter().filter(|line| !line.is_empty()).map(|line| short(line, REST));
        Self { name: folded(name), rest: rest.collect() }
    }

    pub(super) fn size(&self) -> Size {
        let name = self.name.iter().map(|line| pixels(text::width(line), GLYPH));
        let rest = self.rest.iter().map(|line| width_of_fact(line));
        let width = name.chain(rest).max().unwrap_or(0);
        let lines = self.name.len() + self.rest.len();
        Size { width: (width + LEFT + RIGHT).max(LEAST), height: 12 + LINE * lines as i64 }
    }

    pub(super) fn draw(&self, rect: Rect, ink: &mut Ink) {
        // A box in a grid may be higher than its words.
        let spare = (rect.size.height - self.size().height) / 2;
        let mut at = Point { x: rect.at.x + LEFT, y: rect.at.y + 3 + spare };
        let names = self.name.iter().map(|line| ("name", line));
        for (class, line) in names.chain(self.rest.iter().map(|line| ("fact", line))) {
            at.y += LINE;
            ink.words(class, at, line);
        }
    }
}

/// The width of a line that is no name.
pub(super) fn width_of_fact(line: &str) -> i64 {
    pixels(text::width(line), FACT)
}

fn pixels(columns: usize, tenths: usize) -> i64 {
    i64::try_from(columns * tenths / 10).unwrap_or(i64::MAX)
}

/// A reference without its registry and folders, which are in the tooltip.
fn last_part(reference: &str) -> &str {
    reference.rsplit('/').find(|part| !part.is_empty()).unwrap_or(reference)
}

/// `name` on one line, or on two that are parted between its words, about in the middle.
fn folded(name: &str) -> Vec<String> {
    if text::width(name) <= NAME {
        return vec![name.to_owned()];
    }
    let name = shortened(name, 2 * FOLDED - 4);
    let parts =
        name.match_indices(SEPARATORS).map(|(at, separator)| name.split_at(at + separator.len()));
    let longer = |parts: &(&str, &str)| text::width(parts.0).max(text::width(parts.1));
    match parts.min_by_key(longer).filter(|parts| longer(parts) <= FOLDED) {
        Some((front, back)) => vec![front.to_owned(), back.to_owned()],
        None => {
            let front = text::cut(&name, FOLDED, "");
            let back = name[front.len()..].to_owned();
            vec![front, back]
        }
    }
}

/// `name` with its middle left out if it is long: families begin alike, members end apart.
fn shortened(name: &str, max: usize) -> String {
    if text::width(name) <= max {
        return name.to_owned();
    }
    let front = text::cut(name, max / 2, "");
    let backwards: String = name.chars().rev().collect();
    let back = text::cut(&backwards, max - max / 2 - 1, "");
    format!("{front}…{}", back.chars().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_folded_between_its_words() {
        for (name, expected) in [
            ("stt", vec!["stt"]),
            ("streaming-translation-proxy", vec!["streaming-translation-proxy"]),
            (
                "main_pc_code-agents-tonedetector-optimized",
                vec!["main_pc_code-agents-", "tonedetector-optimized"],
            ),
            (
                "averyverylongnamethathasnowordsinitatallbutgoeson",
                vec!["averyverylongnamethathasnowordsinitata", "llbutgoeson"],
            ),
        ] {
            assert_eq!(folded(name), expected);
        }
        for name in
            ["x".repeat(500), "日本".repeat(90), "a-".repeat(60), format!("{}-b", "é".repeat(70))]
        {
            let lines = folded(&name);
            assert!(
                lines.len() == 2 && lines.iter().all(|line| text::width(line) <= FOLDED),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_long_name_loses_its_middle() {
        for (name, expected) in [
            ("stt", "stt"),
            ("main-pc-code-streaming-service", "main-…vice"),
            ("日本語日本語日本語", "日本…本語"),
        ] {
            let max = if name.is_ascii() { 10 } else { 11 };
            assert_eq!(shortened(name, max), expected);
            assert!(text::width(&shortened(name, max)) <= max);
        }
    }
}
