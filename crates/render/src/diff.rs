//! A unified diff of lines of which it is known which ones differ.

use crate::style::{Line, Style, Tone, render_all};
use crate::text;

/// Lines shown before and after a change.
const AROUND: usize = 3;

/// Lines of a file that are replaced by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// The first line that goes, from 1; what is added comes before it if none goes.
    pub line: usize,
    /// How many lines go.
    pub removed: usize,
    /// What comes in their place.
    pub added: &'a [String],
}

/// What `changes`, in order and apart from each other, make of `source`, as `diff -u` shows it.
pub fn diff(file: &str, source: &str, changes: &[Change<'_>], style: Style) -> String {
    let old: Vec<&str> = source.lines().collect();
    let name = text::clean(file);
    let mut lines = vec![
        Line::new().add(Tone::Bold, &format!("--- a/{name}")),
        Line::new().add(Tone::Bold, &format!("+++ b/{name}")),
    ];
    let mut grown = 0;
    for hunk in hunks(changes) {
        grown = draw(&old, hunk, grown, &mut lines);
    }
    render_all(&lines, style)
}

/// Changes whose surroundings touch are shown together.
fn hunks<'a, 'b>(changes: &'b [Change<'a>]) -> impl Iterator<Item = &'b [Change<'a>]> {
    changes.chunk_by(|one, next| next.line <= one.line + one.removed + 2 * AROUND)
}

/// Draws one hunk. `grown` is by how many lines the file has grown above it, and then below.
fn draw(old: &[&str], hunk: &[Change<'_>], grown: isize, lines: &mut Vec<Line>) -> isize {
    let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { return grown };
    let from = first.line.saturating_sub(AROUND).max(1);
    let to = (last.line + last.removed - 1 + AROUND).min(old.len());
    let added: usize = hunk.iter().map(|change| change.added.len()).sum();
    let removed: usize = hunk.iter().map(|change| change.removed).sum();
    let count = (to + 1).saturating_sub(from);
    let difference = added.cast_signed() - removed.cast_signed();
    let start = from.saturating_add_signed(grown);
    let head =
        format!("@@ -{from},{count} +{start},{} @@", count.saturating_add_signed(difference));
    lines.push(Line::new().add(Tone::Info, &head));
    let mut at = from;
    let same = |range: std::ops::Range<usize>, lines: &mut Vec<Line>| {
        for line in range.filter_map(|number| old.get(number - 1)) {
            lines.push(Line::new().text(&format!(" {}", text::quoted(line))));
        }
    };
    for change in hunk {
        same(at..change.line, lines);
        for line in old.iter().skip(change.line - 1).take(change.removed) {
            lines.push(Line::new().add(Tone::Bad, &format!("-{}", text::quoted(line))));
        }
        for line in change.added {
            lines.push(Line::new().add(Tone::Good, &format!("+{}", text::quoted(line))));
        }
        at = change.line + change.removed;
    }
    same(at..to + 1, lines);
    grown + difference
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_with_their_surroundings_and_the_lines_of_both_files() {
        let source: String = (1..=20).map(|n| format!("line {n}\n")).collect();
        let (one, two) = (["new".to_owned()], ["other\u{1b}[2J x".to_owned()]);
        let changes = [
            Change { line: 2, removed: 0, added: &one },
            Change { line: 4, removed: 1, added: &two },
            Change { line: 18, removed: 1, added: &[] },
        ];
        insta::assert_snapshot!(diff("a/Dockerfile", &source, &changes, Style::PLAIN), @r"
        --- a/a/Dockerfile
        +++ b/a/Dockerfile
        @@ -1,7 +1,8 @@
         line 1
        +new
         line 2
         line 3
        -line 4
        +other x
         line 5
         line 6
         line 7
        @@ -15,6 +16,5 @@
         line 15
         line 16
         line 17
        -line 18
         line 19
         line 20
        ");
    }

    #[test]
    fn a_file_of_one_line_has_a_diff_as_well() {
        let (one, two) = (["ARG B=x".to_owned()], ["FROM ${B}".to_owned()]);
        let changes = [
            Change { line: 1, removed: 0, added: &one },
            Change { line: 1, removed: 1, added: &two },
        ];
        insta::assert_snapshot!(diff("f", "FROM x", &changes, Style::PLAIN), @r"
        --- a/f
        +++ b/f
        @@ -1,1 +1,2 @@
        +ARG B=x
        -FROM x
        +FROM ${B}
        ");
    }
}
