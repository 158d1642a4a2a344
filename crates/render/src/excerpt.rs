//! The lines of a file around a place.

use crate::text;

/// Lines shown before and after the place.
const AROUND: usize = 2;
/// The most lines of the place itself; a long heredoc shows its beginning and its end.
const MOST: usize = 12;

/// The lines of `text` from `line` to `end_line` (from 1) with those around them; the
/// lines in question are marked with `>>>`. `file` heads it, as `--> file:line`.
pub fn excerpt(file: &str, text: &str, line: u32, end_line: u32) -> String {
    let head = format!("  --> {}:{line}\n", text::clean(file));
    let lines: Vec<&str> = text.lines().collect();
    let first = usize::try_from(line).unwrap_or(usize::MAX);
    let last = usize::try_from(end_line).unwrap_or(usize::MAX).max(first);
    if first == 0 || first > lines.len() {
        return head;
    }
    let last = last.min(lines.len());
    let from = first.saturating_sub(AROUND).max(1);
    let to = (last + AROUND).min(lines.len());
    let digits = to.to_string().len();
    let hidden = hidden(first, last);

    let mut out = head;
    for number in from..=to {
        if hidden.contains(&number) {
            if number == hidden.start {
                out.push_str(&format!("    >>> {:>digits$} ...\n", ""));
            }
            continue;
        }
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        let line = format!("    {mark} {number:>digits$} | {}", text::quoted(lines[number - 1]));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Which lines in the middle of a long place are left out.
fn hidden(first: usize, last: usize) -> std::ops::Range<usize> {
    if last - first < MOST {
        return 0..0;
    }
    first + MOST / 2..last + 1 - MOST / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "FROM base\nCOPY a .\nRUN one \\\n  && \u{1b}[31mtwo\n\nCMD [\"x\"]\n";

    #[test]
    fn the_lines_in_question_are_marked_among_their_neighbours() {
        insta::assert_snapshot!(excerpt("app/Dockerfile", FILE, 3, 4), @r#"
        --> app/Dockerfile:3
              1 | FROM base
              2 | COPY a .
          >>> 3 | RUN one \
          >>> 4 |   && two
              5 |
              6 | CMD ["x"]
        "#);
    }

    #[test]
    fn places_at_the_edges_and_outside_are_fine() {
        assert_eq!(excerpt("f", FILE, 1, 1).lines().count(), 4);
        assert_eq!(excerpt("f", FILE, 6, 99).lines().count(), 4);
        for (line, end) in [(0, 0), (7, 7), (u32::MAX, 0), (1, 0)] {
            assert!(excerpt("f", FILE, line, end).starts_with("  --> f:"));
        }
        assert_eq!(excerpt("f", "", 1, 1), "  --> f:1\n");
    }

    #[test]
    fn a_long_place_shows_its_beginning_and_its_end() {
        let text: String = (1..=40).map(|n| format!("line {n}\n")).collect();
        let shown = excerpt("f", &text, 5, 36);
        assert_eq!(shown.lines().count(), 1 + AROUND + MOST + 1 + AROUND);
        assert!(shown.contains("line 10\n") && !shown.contains("line 11\n"));
        assert!(!shown.contains("line 30\n") && shown.contains("line 31\n"));
        let whole = excerpt("f", &text, 5, 16);
        assert_eq!(whole.lines().count(), 1 + AROUND + MOST + AROUND);
    }
}
