//! Physical lines of a file, and how they make logical ones.

use super::problem::Problem;

/// The longest line BuildKit reads, without its line feed.
const MAX_LINE: usize = 65_535;

/// A physical line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its text, line end included; what was not UTF-8 is U+FFFD.
    pub(crate) text: String,
    /// Its number, from 1.
    pub(crate) number: u32,
    /// What is wrong with its bytes.
    pub(crate) problem: Option<Problem>,
}

impl Line {
    /// Without its line end.
    pub(crate) fn trimmed(&self) -> &str {
        self.text.trim_end_matches(['\r', '\n'])
    }

    /// Where its first visible character is, in characters from 1.
    pub(crate) fn column(&self) -> u32 {
        let margin = self.text.chars().take_while(|c| c.is_whitespace()).count();
        u32::try_from(margin).map_or(u32::MAX, |margin| margin.saturating_add(1))
    }

    /// Whether its first visible character is `#`.
    pub(crate) fn is_comment(&self) -> bool {
        self.text.trim_start().starts_with('#')
    }
}

/// Hands out the lines of a file.
#[derive(Debug, Clone)]
pub(crate) struct Lines<'a> {
    rest: &'a [u8],
    number: u32,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes), number: 0 }
    }

    /// The number of the last line that was handed out.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }
}

impl Iterator for Lines<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|b| *b == b'\n').map_or(self.rest.len(), |at| at + 1);
        let (bytes, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.number = self.number.saturating_add(1);
        if bytes.strip_suffix(b"\n").unwrap_or(bytes).len() > MAX_LINE {
            let message = format!("dockerfile line greater than max allowed size of {MAX_LINE}");
            let problem = Some(Problem::new("line-too-long", message));
            return Some(Line { text: String::new(), number: self.number, problem });
        }
        let text = String::from_utf8_lossy(bytes);
        let problem = if text.contains('\0') {
            Some(Problem::new("nul-byte", "the line has a NUL byte in it"))
        } else if matches!(text, std::borrow::Cow::Owned(_)) {
            Some(Problem::new("invalid-utf-8", "the line is not UTF-8"))
        } else {
            None
        };
        Some(Line { text: text.into_owned(), number: self.number, problem })
    }
}

/// `line` without the escape that continues it, or nothing if it does not go on.
///
/// An escape that is itself preceded by one does not continue.
pub(crate) fn continued(line: &str, escape: char) -> Option<&str> {
    let before = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    if before.ends_with(escape) { None } else { Some(before) }
}

#[cfg(test)]
mod tests {
    use super::continued;

    #[test]
    fn an_escape_at_the_end_continues_unless_it_is_escaped() {
        let table = [
            ("a \\", Some("a ")),
            ("a \\ \t", Some("a ")),
            ("a\\", Some("a")),
            ("\\", Some("")),
            ("\\  ", Some("")),
            ("  \\", Some("  ")),
            ("a \\\\", None),
            ("a \\\\\\", None),
            ("a", None),
            ("", None),
            ("a \\ b", None),
            ("a `", None),
        ];
        for (line, expected) in table {
            assert_eq!(continued(line, '\\'), expected, "{line:?}");
        }
        assert_eq!(continued("a `", '`'), Some("a "));
        assert_eq!(continued("a \\", '`'), None);
    }
}
