//! Variables in text: `$NAME`, `${NAME}`, `$$`, and the forms with an operator.
//!
//! | written | unset | empty | set |
//! |---|---|---|---|
//! | `${A-b}` | `b` | empty | value |
//! | `${A:-b}` | `b` | `b` | value |
//! | `${A+b}` | empty | `b` | `b` |
//! | `${A:+b}` | empty | empty | `b` |
//! | `${A?why}` | a fault | empty | value |
//! | `${A:?why}` | a fault | a fault | value |
//!
//! What stands after an operator is text with variables again; the value of a variable is not. Where
//! an expression ends is decided as Compose does it: braces are counted on its line, and if they do
//! not come out even, the last `}` of the line ends it. Text without `$` comes back as it is.

use std::rc::Rc;

/// How deep expressions may lie in each other.
const DEPTH_LIMIT: usize = 32;

/// The longest text that comes out.
const LENGTH_LIMIT: usize = 1 << 20;

/// Why text cannot be completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What follows `$` is not an expression.
    Invalid { expression: String },
    /// A variable that is asked for with `?` has no value.
    Required { name: String, reason: String },
    /// Expressions lie too deep in each other.
    TooDeep,
    /// The text becomes too long.
    TooLong,
}

/// Where values come from.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<Rc<str>>;

/// Completes `text`; names without a value are added to `unset`, and are empty.
pub(crate) fn interpolate(
    text: &str,
    variables: Variables<'_>,
    unset: &mut Vec<String>,
) -> Result<String, Fault> {
    expand(text, variables, unset, 0)
}

fn expand(
    text: &str,
    variables: Variables<'_>,
    unset: &mut Vec<String>,
    depth: usize,
) -> Result<String, Fault> {
    if depth > DEPTH_LIMIT {
        return Err(Fault::TooDeep);
    }
    let mut out = String::with_capacity(text.len());
    let mut ends = LineEnds::default();
    let mut at = 0;
    while let Some(found) = text[at..].find('$') {
        let dollar = at + found;
        out.push_str(&text[at..dollar]);
        let piece = piece(text, dollar, &mut ends)?;
        at = match piece {
            Piece::Literal(literal, end) => {
                out.push_str(literal);
                end
            }
            Piece::Plain(name, end) => {
                out.push_str(&plain(name, variables, unset));
                end
            }
            Piece::Braced(body, end) => {
                out.push_str(&braced(body, variables, unset, depth)?);
                end
            }
        };
        if out.len() > LENGTH_LIMIT {
            return Err(Fault::TooLong);
        }
    }
    out.push_str(&text[at..]);
    Ok(out)
}

/// What a `$` begins, and where it ends.
enum Piece<'a> {
    Literal(&'a str, usize),
    Plain(&'a str, usize),
    Braced(Body<'a>, usize),
}

/// What is between the braces when there is an operator.
struct Body<'a> {
    name: &'a str,
    /// `-`, `+` or `?`.
    operator: u8,
    /// Whether a colon before it makes empty count as unset.
    colon: bool,
    word: &'a str,
}

fn piece<'a>(text: &'a str, dollar: usize, ends: &mut LineEnds) -> Result<Piece<'a>, Fault> {
    let bytes = text.as_bytes();
    let invalid = || {
        let expression = text[dollar..].lines().next().unwrap_or_default();
        Err(Fault::Invalid { expression: expression.chars().take(60).collect() })
    };
    match bytes.get(dollar + 1) {
        Some(b'$') => return Ok(Piece::Literal("$", dollar + 2)),
        Some(b'{') => {}
        _ => {
            let end = name_end(bytes, dollar + 1);
            return Ok(if end > dollar + 1 {
                Piece::Plain(&text[dollar + 1..end], end)
            } else {
                Piece::Literal("$", dollar + 1)
            });
        }
    }
    let start = dollar + 2;
    let end = name_end(bytes, start);
    let name = &text[start..end];
    if name.is_empty() {
        return invalid();
    }
    if bytes.get(end) == Some(&b'}') {
        return Ok(Piece::Plain(name, end + 1));
    }
    let colon = bytes.get(end) == Some(&b':');
    let operator_at = end + usize::from(colon);
    let Some(operator @ (b'-' | b'+' | b'?')) = bytes.get(operator_at).copied() else {
        return invalid();
    };
    let word = operator_at + 1;
    let Some(last) = ends.last_brace(bytes, word) else {
        return invalid();
    };
    let close = closing_brace(&bytes[..=last], dollar).unwrap_or(last);
    let Some(word) = text.get(word..close) else {
        return invalid();
    };
    Ok(Piece::Braced(Body { name, operator, colon, word }, close + 1))
}

fn name_end(bytes: &[u8], start: usize) -> usize {
    let part = |at: usize| {
        bytes.get(at).is_some_and(|byte| {
            *byte == b'_' || byte.is_ascii_alphabetic() || (at > start && byte.is_ascii_digit())
        })
    };
    (start..).find(|at| !part(*at)).expect("bytes end")
}

/// Where the brace closes that opens after `dollar`. The byte after an opening brace is not looked
/// at, as in Compose, so `{}` does not count as a pair.
fn closing_brace(bytes: &[u8], dollar: usize) -> Option<usize> {
    let mut open = 0;
    let mut at = dollar;
    while at < bytes.len() {
        match bytes[at] {
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            b'{' => {
                open += 1;
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The last `}` of the line in hand, so that a long line is searched once.
#[derive(Default)]
struct LineEnds {
    until: usize,
    brace: Option<usize>,
}

impl LineEnds {
    fn last_brace(&mut self, bytes: &[u8], from: usize) -> Option<usize> {
        if from >= self.until {
            let rest = &bytes[from.min(bytes.len())..];
            let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            self.until = from + length;
            self.brace = rest[..length].iter().rposition(|byte| *byte == b'}').map(|at| from + at);
        }
        self.brace.filter(|brace| *brace >= from)
    }
}

fn plain(name: &str, variables: Variables<'_>, unset: &mut Vec<String>) -> Rc<str> {
    variables(name).unwrap_or_else(|| {
        unset.push(name.to_owned());
        Rc::default()
    })
}

fn braced(
    body: Body<'_>,
    variables: Variables<'_>,
    unset: &mut Vec<String>,
    depth: usize,
) -> Result<String, Fault> {
    let value = variables(body.name);
    let counts = value.as_ref().is_some_and(|value| !(body.colon && value.is_empty()));
    match (body.operator, counts) {
        (b'-', false) | (b'+', true) => expand(body.word, variables, unset, depth + 1),
        (b'?', false) => {
            let reason = expand(body.word, variables, unset, depth + 1)?;
            Err(Fault::Required { name: body.name.to_owned(), reason })
        }
        _ => Ok(value.unwrap_or_default().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::{Fault, interpolate};

    fn variables(name: &str) -> Option<Rc<str>> {
        match name {
            "SET" => Some("value".into()),
            "EMPTY" => Some("".into()),
            "DOLLAR" => Some("$SET".into()),
            _ => None,
        }
    }

    #[test]
    fn every_form_gives_what_compose_gives() {
        let table = [
            ("plain", "plain"),
            ("$SET and ${SET}", "value and value"),
            ("$UNSET.", "."),
            ("$$SET $ $1 a$", "$SET $ $1 a$"),
            ("$$$SET", "$value"),
            ("${SET-b} ${EMPTY-b} ${UNSET-b}", "value  b"),
            ("${SET:-b} ${EMPTY:-b} ${UNSET:-b}", "value b b"),
            ("${SET+b} ${EMPTY+b} ${UNSET+b}", "b b "),
            ("${SET:+b} ${EMPTY:+b} ${UNSET:+b}", "b  "),
            ("${SET?b} ${SET:?b} ${EMPTY?b}", "value value "),
            ("${UNSET:-${SET}}", "value"),
            ("${UNSET:-${EMPTY:-${UNSET-deep}}}!", "deep!"),
            ("${UNSET:-$SET-x}", "value-x"),
            ("${UNSET:-a:-b}", "a:-b"),
            ("${UNSET:-{}}", "{}"),
            ("${UNSET-{\"a\": 1}}", "{\"a\": 1}"),
            ("${DOLLAR}", "$SET"),
            ("${UNSET:-}", ""),
            ("${UNSET:-å}ß", "åß"),
        ];
        for (written, expected) in table {
            let out = interpolate(written, &variables, &mut Vec::new());
            assert_eq!(out.as_deref(), Ok(expected), "{written}");
        }
    }

    #[test]
    fn what_is_not_an_expression_is_a_fault() {
        let invalid = |text: &str| Fault::Invalid { expression: text.to_owned() };
        let required = |name: &str, reason: &str| Fault::Required {
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let table = [
            ("a ${", invalid("${")),
            ("${}", invalid("${}")),
            ("${1A}", invalid("${1A}")),
            ("${SET", invalid("${SET")),
            ("${SET:x}", invalid("${SET:x}")),
            ("${SET:-x\n}", invalid("${SET:-x")),
            ("${UNSET?}", required("UNSET", "")),
            ("${UNSET?because of $SET}", required("UNSET", "because of value")),
            ("${EMPTY:?why}", required("EMPTY", "why")),
        ];
        for (written, expected) in table {
            let out = interpolate(written, &variables, &mut Vec::new());
            assert_eq!(out, Err(expected), "{written}");
        }
        let deep = "${A:-".repeat(100) + &"}".repeat(100);
        assert_eq!(interpolate(&deep, &variables, &mut Vec::new()), Err(Fault::TooDeep));
    }

    #[test]
    fn only_a_variable_without_a_default_counts_as_unset() {
        let mut unset = Vec::new();
        let out = interpolate("$A ${B} ${C:-x} ${D+x} ${SET}", &variables, &mut unset);
        assert_eq!(
            (out.as_deref(), unset),
            (Ok("  x  value"), vec!["A".to_owned(), "B".to_owned()])
        );
    }

    #[test]
    fn a_long_line_of_expressions_takes_no_longer_than_its_length() {
        let text = "${SET:-x}".repeat(100_000);
        let out = interpolate(&text, &variables, &mut Vec::new());
        assert_eq!(out.map(|out| out.len()), Ok(500_000));
        let text = "$SET".repeat(400_000);
        assert_eq!(interpolate(&text, &variables, &mut Vec::new()), Err(Fault::TooLong));
    }

    proptest! {
        #[test]
        fn text_without_a_dollar_is_left_alone(text in "[^$]*") {
            prop_assert_eq!(interpolate(&text, &variables, &mut Vec::new()), Ok(text));
        }

        #[test]
        fn no_text_panics(text in "[$#{}:?+\\-A-C_ \n€]*") {
            drop(interpolate(&text, &variables, &mut Vec::new()));
        }
    }
}
