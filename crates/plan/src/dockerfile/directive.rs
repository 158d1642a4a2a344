//! `# name=value` at the top of a file.

use std::collections::BTreeSet;

use serde_json::Value;

use super::ast::{Directive, Directives};
use super::go_lower;
use super::problem::Problem;

/// Whether that names the front end which is built in: Docker's own, in any version.
pub(crate) fn is_own_front_end(syntax: &str) -> bool {
    let name = syntax.split(['@', ':']).next().unwrap_or(syntax);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream")
}

/// Reads directives line by line, until a line is none.
#[derive(Debug, Clone)]
pub(crate) struct DirectiveReader {
    comment: &'static str,
    seen: BTreeSet<String>,
    done: bool,
}

impl DirectiveReader {
    pub(crate) fn new() -> Self {
        Self { comment: "#", seen: BTreeSet::new(), done: false }
    }

    /// The directive in `line`: its name in lower case, and its value.
    pub(crate) fn line(&mut self, line: &str) -> Result<Option<(String, String)>, Problem> {
        if self.done {
            return Ok(None);
        }
        let found = line.strip_prefix(self.comment).and_then(|line| split(line.trim_start()));
        let Some((name, value)) = found else {
            self.done = true;
            return Ok(None);
        };
        let name = go_lower(name);
        if !matches!(name.as_str(), "syntax" | "escape" | "check") {
            self.done = true;
            return Ok(None);
        }
        if !self.seen.insert(name.clone()) {
            let message = format!("only one {name} parser directive can be used");
            return Err(Problem::new("duplicate-directive", message));
        }
        Ok(Some((name, value.to_owned())))
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

/// `name = value`.
fn split(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end_matches(is_blank);
    let mut letters = name.bytes();
    if !letters.next()?.is_ascii_alphabetic() || !letters.all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let trimmed = value.trim_matches(is_blank);
    // A value of nothing but blanks is one blank.
    let value = if trimmed.is_empty() { &value[value.len().checked_sub(1)?..] } else { trimmed };
    Some((name, value))
}

/// `syntax` in any of its forms (`#`, `//`, JSON), and `check`.
pub(crate) fn detect(text: &str) -> Directives {
    let (body, first_line) = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => (rest, 2),
        _ if text.starts_with("#!") => ("", 2),
        _ => (text, 1),
    };
    let syntax = find("syntax", "#", body, first_line)
        .or_else(|| find("syntax", "//", body, first_line))
        .or_else(|| in_json(body, first_line));
    let check = find("check", "#", body, first_line);
    // What follows a blank is a remark.
    let first_word = |found: Directive| Directive {
        value: found.value.split(' ').next().unwrap_or_default().to_owned(),
        ..found
    };
    Directives { syntax: syntax.map(first_word), escape: None, check: check.map(first_word) }
}

fn find(key: &str, comment: &'static str, text: &str, first_line: u32) -> Option<Directive> {
    let mut reader = DirectiveReader { comment, ..DirectiveReader::new() };
    for (line, number) in text.lines().zip(first_line..) {
        match reader.line(line) {
            Ok(Some((name, value))) if name == key => {
                return Some(Directive { value, line: number });
            }
            Ok(_) if !reader.done => {}
            _ => return None,
        }
    }
    None
}

fn in_json(text: &str, line: u32) -> Option<Directive> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let Value::Object(object) = serde_json::from_str(text).ok()? else { return None };
    let value = object.get("syntax")?.as_str()?.to_owned();
    Some(Directive { value, line })
}

#[cfg(test)]
mod tests {
    use super::detect;

    #[test]
    fn syntax_is_found_in_each_of_its_forms() {
        let table = [
            ("# syntax = a/b\nFROM c", Some(("a/b", 1))),
            ("#syntax=a/b # note\nFROM c", Some(("a/b", 1))),
            ("#!/bin/x\n# syntax=a\n", Some(("a", 2))),
            ("#SYNTAX=a", Some(("a", 1))),
            ("# escape=`\n# syntax=a", Some(("a", 2))),
            ("// syntax=a\nx", Some(("a", 1))),
            ("# no\n# syntax=a", None),
            ("\n# syntax=a", None),
            ("# foo=bar\n# syntax=a", None),
            ("{\"syntax\": \"a\", \"x\": 1}", Some(("a", 1))),
            ("{\"syntax\": 1}", None),
            ("[\"syntax\"]", None),
            ("# syntax", None),
            ("# syntax=", None),
            ("FROM a", None),
            ("#!", None),
            ("", None),
        ];
        for (text, expected) in table {
            let found = detect(text).syntax;
            let found = found.as_ref().map(|found| (found.value.as_str(), found.line));
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
