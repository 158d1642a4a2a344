//! Env files: `NAME=value` lines, as Compose reads them.
//!
//! - `export` may stand in front, `:` may stand for `=`, and a name alone takes over the value of
//!   the surroundings.
//! - A value without quotes ends with its line or at ` #`; quotes may span lines. Single quotes keep
//!   all but `\'`; double quotes know `\n` and its like; `$` is read everywhere but in single quotes.
//! - A variable may name those above it; the surroundings come before them.
//!
//! A mistake ends the reading: what stands above it holds.

use std::rc::Rc;

use bakehouse_model::Diagnostic;

use crate::environment::Values;
use crate::interpolate::{Fault, Variables, interpolate};
use crate::problem::{error, warning};
use crate::yaml::Span;

/// The longest env file that is read, in bytes.
const TEXT_LIMIT: usize = 1 << 20;

/// What all values of a file together may come to: values can name each other and so multiply.
const VALUES_LIMIT: usize = 4 << 20;

/// How many variables without a value are told about.
const DIAGNOSTICS_LIMIT: usize = 200;

/// What a file gives.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DotEnv {
    pub(crate) values: Values,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Reads `text`; `outer` are the values that come before those of the file.
pub(crate) fn read(text: &str, file: &str, outer: Variables<'_>) -> DotEnv {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { text, at: 0, file, outer, out: DotEnv::default(), length: 0 };
    if text.len() > TEXT_LIMIT {
        let problem = reader.problem(0, format!("`{file}` is longer than {TEXT_LIMIT} bytes"));
        reader.out.diagnostics.push(problem);
        return reader.out;
    }
    while reader.skip_to_statement() {
        if let Err(problem) = reader.statement() {
            reader.out.diagnostics.push(*problem);
            break;
        }
    }
    reader.out
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    file: &'a str,
    outer: Variables<'a>,
    out: DotEnv,
    length: usize,
}

impl<'a> Reader<'a> {
    /// Whether there is another statement; comments and blank lines are passed over.
    fn skip_to_statement(&mut self) -> bool {
        loop {
            self.at = self.text.len() - self.rest().trim_start().len();
            if !self.rest().starts_with('#') {
                return !self.rest().is_empty();
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    fn statement(&mut self) -> Result<(), Box<Diagnostic>> {
        let start = self.at;
        let (name, has_value) = self.name()?;
        if name.contains(' ') {
            let message = format!("variable name `{name}` has a space in it");
            return Err(Box::new(self.problem(start, message)));
        }
        let value = if has_value { Some(self.value()?.into()) } else { (self.outer)(&name) };
        let Some(value): Option<Rc<str>> = value else {
            return Ok(());
        };
        self.length += value.len();
        if self.length > VALUES_LIMIT {
            let message = format!("the values of `{}` grow too long", self.file);
            return Err(Box::new(self.problem(start, message)));
        }
        if !name.is_empty() {
            self.out.values.insert(name, value);
        }
        Ok(())
    }

    /// The name, and whether a value follows it.
    fn name(&mut self) -> Result<(String, bool), Box<Diagnostic>> {
        if let Some(after) = self.rest().strip_prefix("export")
            && after.starts_with(char::is_whitespace)
        {
            self.at = self.text.len() - after.trim_start_matches(is_space).len();
        }
        let start = self.at;
        let allowed =
            |letter: char| letter.is_alphanumeric() || is_space(letter) || "_.-[]".contains(letter);
        let end =
            self.rest().find(|letter| !allowed(letter)).map_or(self.text.len(), |at| start + at);
        let name = self.text[start..end].trim_end().to_owned();
        let ending = self.text[end..].chars().next();
        self.at = end + ending.map_or(0, char::len_utf8);
        match ending {
            Some('=' | ':') => Ok((name, true)),
            Some('\n') | None => Ok((name, false)),
            Some(letter) => {
                let message = format!("unexpected `{letter}` in a variable name");
                Err(Box::new(self.problem(end, message)))
            }
        }
    }

    fn value(&mut self) -> Result<String, Box<Diagnostic>> {
        self.at = self.text.len() - self.rest().trim_start_matches(is_space).len();
        let start = self.at;
        match self.rest().chars().next() {
            Some('\'') => self.quoted('\''),
            Some('"') => {
                let raw = self.quoted('"')?;
                self.complete(&unescape(&raw), start)
            }
            _ => {
                let line = self.rest().split('\n').next().unwrap_or_default();
                self.at += (line.len() + 1).min(self.rest().len());
                let value = line.split(" #").next().unwrap_or_default();
                self.complete(value.trim_end(), start)
            }
        }
    }

    /// What is between two quotes; a backslash keeps its place unless it is before a quote.
    fn quoted(&mut self, quote: char) -> Result<String, Box<Diagnostic>> {
        let start = self.at;
        let mut value = String::new();
        let mut escaped = false;
        for (offset, letter) in self.rest().char_indices().skip(1) {
            if letter == quote && !escaped {
                self.at += offset + 1;
                return Ok(value);
            }
            if letter == '\\' && !escaped {
                escaped = true;
                continue;
            }
            if escaped && letter != quote {
                value.push('\\');
            }
            escaped = false;
            value.push(letter);
        }
        let message = "a quote is opened and never closed".to_owned();
        Err(Box::new(self.problem(start, message)))
    }

    fn complete(&mut self, value: &str, at: usize) -> Result<String, Box<Diagnostic>> {
        let mut unset = Vec::new();
        let values = &self.out.values;
        let outer = self.outer;
        let variables = |name: &str| outer(name).or_else(|| values.get(name).cloned());
        let completed = interpolate(value, &variables, &mut unset);
        // Finding a place takes time, which a file that is all mistakes must not multiply.
        let told = unset.is_empty() || self.out.diagnostics.len() >= DIAGNOSTICS_LIMIT;
        if told && let Ok(completed) = completed {
            return Ok(completed);
        }
        let span = self.span(at);
        for name in unset.into_iter().take(DIAGNOSTICS_LIMIT) {
            self.out.diagnostics.push(unset_variable(&span, &name));
        }
        completed.map_err(|fault| Box::new(fault_diagnostic(&span, &fault)))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn problem(&self, at: usize, message: String) -> Diagnostic {
        let help = "write one `NAME=value` a line, with quotes around values that need them";
        error(&self.span(at), "invalid-env-file", message, help)
    }

    fn span(&self, at: usize) -> Span {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let (line, column) = (number(line), number(column));
        Span { file: self.file.into(), line, column, end_line: line }
    }
}

/// Whitespace that does not end a line.
fn is_space(letter: char) -> bool {
    matches!(letter, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

/// What a backslash means in double quotes. `\$` becomes `$$`, which stands for one `$`.
fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (text, used) = escape(after);
        match text {
            Some(text) => out.push_str(&text),
            None => out.push_str(&rest[at..=at + used]),
        }
        rest = &after[used..];
    }
    out.push_str(rest);
    out
}

/// What the letters after a backslash stand for, and how many they are.
fn escape(after: &str) -> (Option<String>, usize) {
    let simple = match after.bytes().next() {
        Some(b'$') => "$$",
        Some(b'a') => "\u{7}",
        Some(b'b') => "\u{8}",
        Some(b'f') => "\u{c}",
        Some(b'n') => "\n",
        Some(b'r') => "\r",
        Some(b't') => "\t",
        Some(b'v') => "\u{b}",
        Some(b'"') => "\"",
        Some(b'\\') => "\\",
        Some(b'0') => return octal(after),
        _ => return (None, 0),
    };
    (Some(simple.to_owned()), 1)
}

/// `\0` and three octal digits; what is no such number loses its zero, as it does in Compose.
fn octal(after: &str) -> (Option<String>, usize) {
    let digits = after[1..].bytes().take(3).take_while(u8::is_ascii_digit).count();
    let digits = &after[1..=digits];
    let letter = u8::from_str_radix(digits, 8).ok().filter(|_| digits.len() == 3);
    let text = letter.map_or_else(|| format!("\\{digits}"), |byte| char::from(byte).to_string());
    (Some(text), 1 + digits.len())
}

/// A variable that stands alone and has no value.
pub(crate) fn unset_variable(span: &Span, name: &str) -> Diagnostic {
    let message = format!("variable `{name}` is not set and is taken as empty");
    let help = format!("set it in the environment or in `.env`, or write `${{{name}:-default}}`");
    warning(span, "unset-variable", message, &help)
}

/// Text whose variables cannot be filled in.
pub(crate) fn fault_diagnostic(span: &Span, fault: &Fault) -> Diagnostic {
    match fault {
        Fault::Invalid { expression } => {
            let message = format!("`{expression}` is not a variable");
            let help = "write `${NAME}`, or `$$` for a dollar sign";
            error(span, "invalid-interpolation", message, help)
        }
        Fault::Required { name, reason } if reason.is_empty() => {
            let message = format!("variable `{name}` must be set");
            error(span, "required-variable", message, &set(name))
        }
        Fault::Required { name, reason } => {
            let message = format!("variable `{name}` must be set: {reason}");
            error(span, "required-variable", message, &set(name))
        }
        Fault::TooDeep => {
            let message = "variables with defaults lie too deep in each other".to_owned();
            error(
                span,
                "interpolation-too-deep",
                message,
                "give intermediate values names of their own",
            )
        }
        Fault::TooLong => {
            let message = "a value grows too long through its variables".to_owned();
            error(span, "interpolation-too-long", message, "repeat less")
        }
    }
}

fn set(name: &str) -> String {
    format!("set `{name}` in the environment or in `.env`")
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::read;

    fn outer(name: &str) -> Option<Rc<str>> {
        (name == "OUTER").then(|| "outside".into())
    }

    /// The only value of a file.
    fn value(text: &str) -> Option<String> {
        let found = read(text, ".env", &outer);
        assert!(found.diagnostics.is_empty(), "{text}: {:?}", found.diagnostics);
        found.values.get("A").map(|value| value.to_string())
    }

    #[test]
    fn a_value_is_what_compose_makes_of_it() {
        let table = [
            ("A=b", "b"),
            ("\u{feff}A=b", "b"),
            ("  export A = b # why", "b"),
            ("A: b", "b"),
            ("# no\n\nA=b#c d  \r\n", "b#c d"),
            ("A=", ""),
            ("A='b $OUTER \\n # \\' c' # no", "b $OUTER \\n # ' c"),
            ("A=\"b\\n${OUTER}\\t\\$OUTER \\\"q\\\"\"", "b\noutside\t$OUTER \"q\""),
            ("A=\"two\nlines\"", "two\nlines"),
            ("A=\"\\0123 \\012 \\c \\\\n\"", "S \\12 \\c \\n"),
            ("B=x\nA=$B-${C:-y}", "x-y"),
            ("OUTER=inside\nA=$OUTER", "outside"),
            ("A=1\nA=2", "2"),
            ("B=\"x\" A=y", "y"),
            ("A=a=b:c", "a=b:c"),
            ("A=x\n#A=y", "x"),
        ];
        for (text, expected) in table {
            assert_eq!(value(text).as_deref(), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn a_name_alone_takes_over_what_is_set_outside() {
        let found = read("OUTER\nNOTHING\nA=b", ".env", &outer);
        let expected = [("A", "b"), ("OUTER", "outside")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.into()));
        assert_eq!(found.values, expected.into());
    }

    #[test]
    fn a_mistake_has_its_place_and_keeps_what_is_above_it() {
        let table = [
            ("A=b\nB@=c", "2:2 unexpected `@` in a variable name"),
            ("A=b\n  B C=d", "2:3 variable name `B C` has a space in it"),
            ("A=b\nB=\"c\nd", "2:3 a quote is opened and never closed"),
            ("A=b\nB=${", "2:3 `${` is not a variable"),
            ("A=b\nB=${C?gone}", "2:3 variable `C` must be set: gone"),
            ("A=b\nB=$C", "2:3 variable `C` is not set and is taken as empty"),
        ];
        for (text, expected) in table {
            let found = read(text, ".env", &outer);
            assert_eq!(found.values.get("A").map(|value| &**value), Some("b"), "{text}");
            let [problem] = &found.diagnostics[..] else { panic!("{text}: {found:?}") };
            let place = problem.location.as_ref().unwrap();
            let line = format!("{}:{} {}", place.line, place.column, problem.message);
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn values_that_double_each_other_are_stopped() {
        let mut text = "A0=0123456789\n".to_owned();
        for index in 0..64 {
            text += &format!("A{}=$A{index}$A{index}\n", index + 1);
        }
        let found = read(&text, ".env", &outer);
        assert_eq!(found.diagnostics.len(), 1);
        assert!(
            found.values.values().map(|value| value.len()).sum::<usize>() <= super::VALUES_LIMIT
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[A-Ca=:'\"\\\\0n $#{}\n\r\té-]*") {
            drop(read(&text, ".env", &outer));
        }

        #[test]
        fn no_text_at_all_panics(text in any::<String>()) {
            drop(read(&text, ".env", &outer));
        }
    }
}
