//! What is wrong with one instruction, before it has a place in a file.

use bakehouse_model::{Diagnostic, Severity};

use super::ast::Span;
use super::{go_lower, go_upper};
use crate::codes;

/// A mistake, with its code and, if there is one, a way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Adds a «did you mean» if one of `options` is close to what was written.
    pub(crate) fn suggest(self, written: &str, options: &[&str], any_case: bool) -> Self {
        match closest(written, options, any_case) {
            Some(option) => self.help(format!("did you mean `{option}`?")),
            None => self,
        }
    }

    /// The diagnostic at a place. Without a way out of its own it gets that of its code.
    pub(crate) fn at(self, file: &str, span: Span, severity: Severity) -> Diagnostic {
        Diagnostic {
            location: Some(span.of(file)),
            severity,
            code: self.code.to_owned(),
            message: self.message,
            help: self.help.or_else(|| codes::help(self.code)),
        }
    }
}

/// The first of `options` with the smallest edit distance, if that is 1 or 2.
fn closest(written: &str, options: &[&str], any_case: bool) -> Option<String> {
    // Nothing that long is a slip of the pen, and distance is quadratic.
    if written.len() > 32 {
        return None;
    }
    let wanted = if any_case { go_lower(written) } else { written.to_owned() };
    let mut best: Option<(usize, String)> = None;
    for option in options {
        let option = if any_case { go_lower(option) } else { (*option).to_owned() };
        let distance = distance(&wanted, &option);
        if distance == 0 {
            return None;
        }
        if distance < best.as_ref().map_or(3, |(least, _)| *least) {
            best = Some((distance, option));
        }
    }
    let (_, option) = best?;
    Some(if any_case && written == go_upper(written) { go_upper(&option) } else { option })
}

/// How many letters have to be added, left out, replaced or swapped with the next one.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_a_different_word_is_not() {
        let options = ["RUN", "COPY", "FROM", "ENTRYPOINT"];
        let table = [
            ("RNU", true, Some("RUN")),
            ("FORM", true, Some("FROM")),
            ("copu", true, Some("copy")),
            ("ENTRYPIONT", true, Some("ENTRYPOINT")),
            ("Copyy", true, Some("copy")),
            ("GREETINGS", true, None),
            ("run", true, None),
            ("from", false, None),
        ];
        for (written, any_case, expected) in table {
            assert_eq!(closest(written, &options, any_case).as_deref(), expected, "{written}");
        }
    }
}
