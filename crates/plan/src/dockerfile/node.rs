//! One instruction as a line: keyword, flags and arguments, before they mean anything.

use serde_json::Value;

use super::problem::Problem;
use super::{go_lower, heredoc};

/// A line taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// As written.
    pub(crate) keyword: String,
    /// Each flag with its dashes, quotes and escapes removed.
    pub(crate) flags: Vec<String>,
    /// What follows; for `ENV` and `LABEL` key, value and separator in turn.
    pub(crate) args: Vec<String>,
    /// Whether the arguments were a JSON array.
    pub(crate) json: bool,
    /// The whole line.
    pub(crate) original: String,
    /// What `ONBUILD` is followed by.
    pub(crate) trigger: Option<Box<Self>>,
}

/// How the arguments of an instruction are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One text.
    Text,
    /// Words between blanks.
    Words,
    /// JSON, or one text.
    JsonOrText,
    /// JSON, or words between blanks.
    JsonOrWords,
    /// A word, then JSON or one text.
    Health,
    /// `name` and `name=value`.
    Names,
    /// `key=value`, or one `key value`.
    Pairs,
    /// Another instruction.
    Instruction,
    /// Not an instruction at all.
    Unknown,
}

fn form(keyword: &str) -> Form {
    match keyword {
        "add" | "copy" | "volume" => Form::JsonOrWords,
        "arg" => Form::Names,
        "cmd" | "entrypoint" | "run" | "shell" => Form::JsonOrText,
        "env" | "label" => Form::Pairs,
        "expose" | "from" => Form::Words,
        "healthcheck" => Form::Health,
        "maintainer" | "stopsignal" | "user" | "workdir" => Form::Text,
        "onbuild" => Form::Instruction,
        _ => Form::Unknown,
    }
}

/// How often `ONBUILD` may precede `ONBUILD`; more than once is refused later, by name.
const MAX_NESTING: usize = 8;

impl Node {
    /// Takes a line apart.
    pub(crate) fn parse(line: &str, escape: char) -> Result<Self, Problem> {
        Self::nested(line, escape, 0)
    }

    fn nested(line: &str, escape: char, depth: usize) -> Result<Self, Problem> {
        let trimmed = line.trim();
        let (keyword, rest) = split_blank(trimmed).unwrap_or((trimmed, ""));
        let (flags, rest) = split_flags(rest, escape);
        let mut node = Self {
            keyword: keyword.to_owned(),
            flags,
            args: Vec::new(),
            json: false,
            original: line.to_owned(),
            trigger: None,
        };
        node.read(rest.trim(), escape, depth)?;
        Ok(node)
    }

    /// The keyword in lower case.
    pub(crate) fn name(&self) -> String {
        go_lower(&self.keyword)
    }

    fn read(&mut self, rest: &str, escape: char, depth: usize) -> Result<(), Problem> {
        match form(&self.name()) {
            Form::Text => self.args.extend((!rest.is_empty()).then(|| rest.to_owned())),
            Form::Words => self.args = split_words(rest),
            Form::JsonOrText => self.json_or(rest, |rest| vec![rest.to_owned()])?,
            Form::JsonOrWords => self.json_or(rest, split_words)?,
            Form::Health => self.health(rest)?,
            Form::Names => self.args = quoted_words(rest, escape),
            Form::Pairs => self.args = pairs(rest, &self.keyword.to_ascii_uppercase(), escape)?,
            Form::Instruction if rest.is_empty() => {}
            Form::Instruction if depth >= MAX_NESTING => {
                let message = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
                return Err(Problem::new("onbuild-trigger", message));
            }
            Form::Instruction => {
                let trigger = Self::nested(rest, escape, depth + 1)?;
                self.args.push(trigger.keyword.clone());
                self.trigger = Some(Box::new(trigger));
            }
            Form::Unknown => {}
        }
        Ok(())
    }

    fn json_or(&mut self, rest: &str, other: fn(&str) -> Vec<String>) -> Result<(), Problem> {
        if rest.is_empty() {
            return Ok(());
        }
        match json_strings(rest)? {
            Some(args) => {
                self.args.extend(args);
                self.json = true;
            }
            None => self.args.extend(other(rest)),
        }
        Ok(())
    }

    fn health(&mut self, rest: &str) -> Result<(), Problem> {
        if rest.is_empty() {
            return Ok(());
        }
        let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        self.args.push(kind.to_owned());
        self.json_or(command.trim_start(), |rest| vec![rest.to_owned()])
    }

    /// Whether here-documents may follow.
    pub(crate) fn takes_heredocs(&self) -> bool {
        let inner = match (&self.trigger, self.name().as_str()) {
            (Some(trigger), "onbuild") => trigger,
            _ => self,
        };
        matches!(inner.name().as_str(), "add" | "copy" | "run")
            && !inner.json
            && self.original.contains(heredoc::MARK)
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Splits at the first run of blanks.
fn split_blank(text: &str) -> Option<(&str, &str)> {
    let (first, rest) = text.split_once(is_blank)?;
    Some((first, rest.trim_start_matches(is_blank)))
}

fn split_words(mut rest: &str) -> Vec<String> {
    let mut words = Vec::new();
    if rest.is_empty() {
        return words;
    }
    while let Some((word, more)) = split_blank(rest) {
        words.push(word.to_owned());
        rest = more;
    }
    words.push(rest.to_owned());
    words
}

/// An array of strings, or nothing if it is not JSON at all.
fn json_strings(text: &str) -> Result<Option<Vec<String>>, Problem> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<Value>>(text) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        Value::String(string) => Ok(string),
        _ => Err(Problem::new(
            "json-not-strings",
            "when using JSON array syntax, arrays must be comprised of strings only",
        )),
    });
    strings.collect::<Result<Vec<_>, _>>().map(Some)
}

/// The flags at the start of `line`, and what follows them.
fn split_flags(line: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let (flag, quoted, after) = take_flag(rest, escape);
        if flag == "--" {
            return (flags, after);
        }
        if quoted || !flag.is_empty() {
            flags.push(flag);
        }
        rest = after;
    }
}

/// One flag without its quotes and escapes, whether it had quotes, and what follows.
fn take_flag(rest: &str, escape: char) -> (String, bool, &str) {
    let mut flag = String::new();
    let mut quoted = false;
    let mut quote = None;
    let mut chars = rest.chars();
    loop {
        let before = chars.as_str();
        let Some(c) = chars.next() else { return (flag, quoted, "") };
        match quote {
            None if c.is_whitespace() => return (flag, quoted, before),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                quoted = true;
            }
            Some(end) if c == end => quote = None,
            // An escape at the very end is nothing.
            _ if c == escape => flag.extend(chars.next()),
            _ => flag.push(c),
        }
    }
}

/// Words between white space, where quotes and escapes hold words together and stay.
fn quoted_words(rest: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        let (word, quoted, after) = take_word(rest, escape);
        if quoted || !word.is_empty() {
            words.push(word);
        }
        rest = after.trim_start();
    }
    words
}

fn take_word(rest: &str, escape: char) -> (String, bool, &str) {
    let mut word = String::new();
    let mut quoted = false;
    let mut quote = None;
    let mut chars = rest.chars();
    loop {
        let before = chars.as_str();
        let Some(c) = chars.next() else { return (word, quoted, "") };
        match quote {
            None if c.is_whitespace() => return (word, quoted, before),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                quoted = true;
            }
            Some(end) if c == end => quote = None,
            // Nothing can be escaped between single quotes.
            _ if c == escape && quote != Some('\'') => {
                let Some(escaped) = chars.next() else { return (word, quoted, "") };
                word.push(c);
                word.push(escaped);
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
}

/// Key, value and separator in turn.
fn pairs(rest: &str, keyword: &str, escape: char) -> Result<Vec<String>, Problem> {
    let words = quoted_words(rest, escape);
    let Some(first) = words.first() else { return Ok(words) };
    if !first.contains('=') {
        let Some((key, value)) = split_blank(rest) else {
            let message = format!("{keyword} must have two arguments");
            return Err(Problem::new("argument-count", message));
        };
        return Ok(vec![key.to_owned(), value.to_owned(), String::new()]);
    }
    let mut args = Vec::new();
    for word in &words {
        let Some((key, value)) = word.split_once('=') else {
            let message =
                format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value");
            return Err(Problem::new("pair-without-equals", message));
        };
        args.extend([key.to_owned(), value.to_owned(), "=".to_owned()]);
    }
    Ok(args)
}
