//! Text as a terminal will show it: cleaned, measured, cut.
//!
//! [`clean`] is the wall between text that somebody else wrote and the terminal. It
//! keeps what can be read and lets nothing through that moves the cursor, changes
//! colours or reverses the order of letters.

use std::iter::Peekable;
use std::str::Chars;

use unicode_width::UnicodeWidthChar;

const TAB: usize = 4;
/// Marks that may stack on one letter; more are noise that spills over other lines.
const MARKS: usize = 4;

/// `text` on one line, without escape sequences, control or invisible characters.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut column = 0;
    let mut marks = 0;
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut chars),
            '\t' => {
                let spaces = TAB - column % TAB;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                out.push(' ');
                column += 1;
            }
            c if is_invisible(c) => {}
            c => {
                let width = c.width().unwrap_or(0);
                marks = if width == 0 { marks + 1 } else { 0 };
                if marks <= MARKS {
                    out.push(c);
                    column += width;
                }
            }
        }
    }
    out
}

/// The longest line of a file that is quoted.
const QUOTED: usize = 200;

/// A line of a file, cleaned, as much of it as anybody reads.
pub(crate) fn quoted(line: &str) -> String {
    match line.char_indices().nth(QUOTED) {
        None => clean(line),
        Some((cut, _)) => format!("{}...", clean(&line[..cut])),
    }
}

/// What a terminal would show of a line that a process wrote: a progress bar that
/// returns to the start of its line leaves only its last state.
pub(crate) fn last_state(line: &str) -> &str {
    line.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or("")
}

/// Columns that cleaned text takes, or a little more: joined emoji count one by one,
/// because terminals differ in whether they join them.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// `text`, or as much of it as fits in `max` columns with `ellipsis` at its end.
pub(crate) fn cut(text: &str, max: usize, ellipsis: &str) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let ellipsis = if width(ellipsis) <= max { ellipsis } else { "" };
    let room = max - width(ellipsis);
    let mut used = 0;
    let mut out = String::new();
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w > room {
            break;
        }
        used += w;
        out.push(c);
    }
    out.push_str(ellipsis);
    out
}

/// The first `max` bytes of `text`, or a little less to end at a character.
pub(crate) fn bounded(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn skip_escape(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_control_sequence(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            skip_string(chars);
        }
        _ => {
            while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
            chars.next_if(|c| ('0'..='~').contains(c));
        }
    }
}

fn skip_control_sequence(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
    chars.next_if(|c| ('@'..='~').contains(c));
}

/// Skips a string that only a terminator ends (titles, links, images).
fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(c) = chars.next() {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                chars.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_the_cursor_survives() {
        let table = [
            ("plain", "plain"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}[2J\u{1b}[1;1Hhome", "home"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}Pq#0;2;0;0;0\u{1b}\\sixel", "sixel"),
            ("\u{1b}(Bcharset", "charset"),
            ("\u{1b}creset", "reset"),
            ("\u{9b}31mc1", "c1"),
            ("\u{9d}0;t\u{9c}c1", "c1"),
            ("bell\u{7}back\u{8}null\0del\u{7f}", "bellbacknulldel"),
            ("two\nlines", "two lines"),
            ("a\tb", "a   b"),
            ("abcd\te", "abcd    e"),
            ("\u{202e}txt.exe", "txt.exe"),
            ("zero\u{200b}width", "zerowidth"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}]never ends", ""),
            ("日本", "日本"),
        ];
        for (text, expected) in table {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_control_character_is_stopped_alone_and_after_an_escape() {
        for code in (0..0xa0).chain([0x2028, 0x202e, 0x2066, 0xfeff]) {
            let c = char::from_u32(code).unwrap();
            for text in [format!("a{c}b"), format!("\u{1b}{c}b"), format!("\u{1b}[{c}b")] {
                assert!(!clean(&text).chars().any(char::is_control), "{text:?}");
            }
        }
    }

    #[test]
    fn marks_do_not_pile_up() {
        let tower = format!("a{}b", "\u{301}".repeat(50));
        assert_eq!(clean(&tower).chars().count(), 2 + MARKS);
    }

    #[test]
    fn a_progress_bar_leaves_its_last_state() {
        for (line, expected) in
            [("10%\r20%\r", "20%"), ("plain", "plain"), ("\r\r", ""), ("crlf\r", "crlf")]
        {
            assert_eq!(last_state(line), expected);
        }
    }

    #[test]
    fn wide_characters_count_twice_and_are_never_split() {
        assert_eq!(width("日本"), 4);
        assert_eq!(cut("日本語", 6, "…"), "日本語");
        assert_eq!(cut("日本語", 5, "…"), "日本…");
        assert_eq!(cut("日本語", 4, "…"), "日…");
        assert_eq!(cut("abc", 2, "..."), "ab");
        assert_eq!(cut("abc", 0, "…"), "");
        assert_eq!(cut("a🚀b", 3, "…"), "a…");
    }

    #[test]
    fn a_bound_never_splits_a_character() {
        assert_eq!(bounded("日本", 4), "日");
        assert_eq!(bounded("日本", 2), "");
        assert_eq!(bounded("ab", 9), "ab");
    }
}
