//! Colours and glyphs, and the only way to put a line on a terminal.
//!
//! A [`Line`] cleans every text that is added to it, so an escape sequence in somebody's
//! log cannot get through by being forgotten. Meaning is never by colour alone: every
//! state has a glyph or a word as well.

use std::fmt::Write as _;

use crate::text;

/// What the terminal at the other end can show; the caller knows, this crate never asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Whether colours may be used: not with `NO_COLOR`, a dumb terminal or a file.
    pub colour: bool,
    /// Whether glyphs beyond ASCII may be used: only in a UTF-8 locale.
    pub unicode: bool,
}

impl Style {
    /// No colours, ASCII glyphs.
    pub const PLAIN: Self = Self { colour: false, unicode: false };
    /// Colours and glyphs.
    pub const FULL: Self = Self { colour: true, unicode: true };

    pub(crate) fn glyphs(self) -> &'static Glyphs {
        if self.unicode { &UNICODE } else { &ASCII }
    }
}

/// The marks that carry meaning.
#[derive(Debug)]
pub(crate) struct Glyphs {
    pub(crate) done: &'static str,
    pub(crate) failed: &'static str,
    pub(crate) stopped: &'static str,
    pub(crate) ellipsis: &'static str,
    pub(crate) dot: &'static str,
    pub(crate) bar: &'static str,
    pub(crate) down: &'static str,
    pub(crate) up: &'static str,
    pub(crate) full: &'static str,
    pub(crate) half: &'static str,
    pub(crate) empty: &'static str,
    pub(crate) branch: &'static str,
    pub(crate) last_branch: &'static str,
    pub(crate) trunk: &'static str,
    pub(crate) spinner: &'static [&'static str],
}

static UNICODE: Glyphs = Glyphs {
    done: "✓",
    failed: "✗",
    stopped: "○",
    ellipsis: "…",
    dot: "·",
    bar: "│",
    down: "↓",
    up: "↑",
    full: "━",
    half: "╸",
    empty: "─",
    branch: "├─ ",
    last_branch: "└─ ",
    trunk: "│  ",
    spinner: &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"],
};

static ASCII: Glyphs = Glyphs {
    done: "+",
    failed: "x",
    stopped: "o",
    ellipsis: "...",
    dot: "-",
    bar: "|",
    down: "<",
    up: ">",
    full: "#",
    half: ">",
    empty: ".",
    branch: "|- ",
    last_branch: "`- ",
    trunk: "|  ",
    spinner: &["|", "/", "-", "\\"],
};

/// What a piece of text is, from which its colour follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
    Warn,
    Info,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Good => Some("32"),
            Self::Bad => Some("1;31"),
            Self::Warn => Some("33"),
            Self::Info => Some("36"),
        }
    }
}

/// One line for people, cleaned piece by piece.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    spans: Vec<(Tone, String)>,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds text.
    pub(crate) fn add(mut self, tone: Tone, text: &str) -> Self {
        self.push(tone, text);
        self
    }

    /// Adds text without a tone.
    pub(crate) fn text(self, text: &str) -> Self {
        self.add(Tone::Plain, text)
    }

    pub(crate) fn push(&mut self, tone: Tone, text: &str) {
        if !text.is_empty() {
            self.spans.push((tone, text::clean(text)));
        }
    }

    /// Adds all of another line.
    pub(crate) fn append(mut self, other: Self) -> Self {
        self.spans.extend(other.spans);
        self
    }

    pub(crate) fn width(&self) -> usize {
        self.spans.iter().map(|(_, text)| text::width(text)).sum()
    }

    /// The line cut to `max` columns, with an ellipsis where something is missing.
    pub(crate) fn cut(mut self, max: usize, style: Style) -> Self {
        if self.width() <= max {
            return self;
        }
        let mut room = max;
        let mut kept = Vec::new();
        for (tone, text) in self.spans {
            let width = text::width(&text);
            // A piece that just fills the room is cut as well: something follows it.
            if width < room {
                room -= width;
                kept.push((tone, text));
                continue;
            }
            let short = text::cut(&format!("{text}\u{20}\u{20}"), room, style.glyphs().ellipsis);
            kept.push((tone, short));
            break;
        }
        self.spans = kept;
        self
    }

    /// Pads the line to `columns`.
    pub(crate) fn pad(mut self, columns: usize) -> Self {
        let missing = columns.saturating_sub(self.width());
        if missing > 0 {
            self.spans.push((Tone::Plain, " ".repeat(missing)));
        }
        self
    }

    /// `self` at the left edge and `right` at the right one of `width` columns; the
    /// left side gives way.
    pub(crate) fn with_right(self, right: Self, width: usize, style: Style) -> Self {
        let room = width.saturating_sub(right.width() + 2);
        if right.width() == 0 || room < 12 {
            return self.cut(width, style);
        }
        let left = self.cut(room, style).pad(room + 2);
        left.append(right)
    }

    /// The bytes for a terminal or a file, without a line end.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut out = String::new();
        for (tone, text) in &self.spans {
            match tone.code().filter(|_| style.colour) {
                Some(code) => {
                    write!(out, "\u{1b}[{code}m{text}\u{1b}[0m").expect("a String takes all");
                }
                None => out.push_str(text),
            }
        }
        out.truncate(out.trim_end_matches(' ').len());
        out
    }
}

/// Lines as one text, each with its end.
pub(crate) fn render_all(lines: &[Line], style: Style) -> String {
    let mut out = String::new();
    for line in lines {
        out.push_str(&line.render(style));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_says_so_and_keeps_its_width() {
        let line = Line::new().add(Tone::Bold, "stt").text("  RUN pip install").text(" more");
        for (max, expected) in [
            (40, "stt  RUN pip install more"),
            (25, "stt  RUN pip install more"),
            (24, "stt  RUN pip install mo…"),
            (20, "stt  RUN pip instal…"),
            (10, "stt  RUN …"),
            (4, "stt…"),
            (3, "st…"),
            (1, "…"),
            (0, ""),
        ] {
            let cut = line.clone().cut(max, Style { colour: false, unicode: true });
            assert_eq!(cut.render(Style { colour: false, unicode: true }), expected);
            assert!(cut.width() <= max);
        }
    }

    #[test]
    fn the_right_side_is_flush_and_the_left_one_gives_way() {
        let line = Line::new().text("a long instruction that goes on");
        let line = line.with_right(Line::new().text("0:08"), 24, Style::PLAIN);
        assert_eq!(line.render(Style::PLAIN), "a long instruct...  0:08");
        assert_eq!(line.width(), 24);
    }

    #[test]
    fn colours_only_when_asked_for() {
        let line = Line::new().add(Tone::Bad, "error").text(": \u{1b}[5mblink");
        assert_eq!(line.render(Style::PLAIN), "error: blink");
        assert_eq!(line.render(Style::FULL), "\u{1b}[1;31merror\u{1b}[0m: blink");
    }
}
