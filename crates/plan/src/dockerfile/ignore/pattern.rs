//! One pattern, compiled to what decides it fastest.
//!
//! moby turns a pattern into a regular expression, unless it is plain text or has `**` only
//! at one end. What matches here is what that expression matches, its oddities included:
//! `[^a]` matches a slash, and `*` within brackets closes them.

use std::iter::Peekable;
use std::str::Chars;

use super::PatternError;
use crate::dockerfile::glob;

/// A pattern, without `!`.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// The path itself.
    Exact,
    /// `x**`: the length of what a path begins with.
    Prefix(usize),
    /// `**x`: what a path ends with.
    Suffix,
    /// Anything else.
    Automaton(Automaton),
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, PatternError> {
        let syntax = || PatternError::Syntax { pattern: text.to_owned() };
        glob::matches(text, ".")?;
        let kind = compile(text).ok_or_else(syntax)?;
        Ok(Self { text: text.to_owned(), kind })
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        match &self.kind {
            Kind::Exact => path == self.text,
            Kind::Prefix(length) => path.starts_with(&self.text[..*length]),
            Kind::Suffix => {
                let suffix = &self.text[2..];
                path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path)
            }
            Kind::Automaton(automaton) => automaton.matches(path),
        }
    }

    /// Whether a path below the directory `path` may match: it may if what is compared of
    /// both, part by part, agrees.
    pub(super) fn may_match_below(&self, path: &str) -> bool {
        // A class may match a slash, so parts mean nothing.
        if self.text.contains('[') {
            return true;
        }
        for (pattern, name) in self.text.split('/').zip(path.split('/')) {
            if pattern.contains("**") {
                return true;
            }
            if !glob::matches(pattern, name).unwrap_or(true) {
                return false;
            }
        }
        true
    }
}

/// What the shape of a pattern has shown so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Exact,
    Prefix,
    Suffix,
    Regex,
}

/// None if the expression would not compile.
fn compile(text: &str) -> Option<Kind> {
    let mut shape = Shape::Exact;
    let mut regex = String::new();
    let mut chars = text.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    regex.push_str("(.*/)?");
                    shape = Shape::Regex;
                } else if shape == Shape::Exact {
                    shape = Shape::Prefix;
                } else {
                    regex.push_str(".*");
                    shape = Shape::Regex;
                }
                if first {
                    shape = Shape::Suffix;
                }
            }
            '*' => {
                regex.push_str("[^/]*");
                shape = Shape::Regex;
            }
            '?' => {
                regex.push_str("[^/]");
                shape = Shape::Regex;
            }
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => regex.extend(['\\', c]),
            '\\' => {
                regex.push('\\');
                if let Some(escaped) = chars.next() {
                    regex.push(escaped);
                    shape = Shape::Regex;
                }
            }
            '[' | ']' => {
                regex.push(c);
                shape = Shape::Regex;
            }
            _ => regex.push(c),
        }
        first = false;
    }
    Some(match shape {
        Shape::Exact => Kind::Exact,
        Shape::Prefix => Kind::Prefix(text.len() - 2),
        Shape::Suffix => Kind::Suffix,
        Shape::Regex => Kind::Automaton(Automaton::new(&regex)?),
    })
}

/// What one state accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Char(char),
    /// Any character but a line feed.
    Any,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Nothing: passes on to the next state and to that one.
    Split(usize),
    /// Nothing: passes on at the start of the path.
    Start,
}

#[derive(Debug, Clone)]
struct State {
    test: Test,
    /// Stays when its test is met, and may be passed over.
    star: bool,
}

/// The little that `compile` writes of regular expressions, anchored at both ends.
#[derive(Debug, Clone)]
struct Automaton {
    states: Vec<State>,
    /// Text that every match has, to say no without trying.
    needle: String,
    /// What every match ends with.
    suffix: String,
}

impl Automaton {
    fn new(regex: &str) -> Option<Self> {
        let mut states = Vec::new();
        let mut chars = regex.chars().peekable();
        while let Some(c) = chars.next() {
            let test = match c {
                // Only ever `(.*/)?`.
                '(' => {
                    chars.by_ref().take(".*/)?".len()).for_each(drop);
                    let after = states.len() + 3;
                    states.push(State { test: Test::Split(after), star: false });
                    states.push(State { test: Test::Any, star: true });
                    Test::Char('/')
                }
                '.' => Test::Any,
                '^' => Test::Start,
                '[' => class(&mut chars)?,
                '\\' => escape(chars.next()?)?,
                '*' => match states.last_mut() {
                    Some(State { star, .. }) => {
                        *star = true;
                        continue;
                    }
                    None => return None,
                },
                _ => Test::Char(c),
            };
            states.push(State { test, star: false });
        }
        let (needle, suffix) = literals(&states);
        Some(Self { states, needle, suffix })
    }

    fn matches(&self, path: &str) -> bool {
        if !path.ends_with(&self.suffix) || !path.contains(&self.needle) {
            return false;
        }
        let mut current = vec![false; self.states.len() + 1];
        let mut next = current.clone();
        current[0] = true;
        let mut start = true;
        for c in path.chars() {
            self.pass_on(&mut current, start);
            start = false;
            next.fill(false);
            let mut alive = false;
            for (index, state) in self.states.iter().enumerate() {
                if current[index] && state.test.accepts(c) {
                    next[if state.star { index } else { index + 1 }] = true;
                    alive = true;
                }
            }
            if !alive {
                return false;
            }
            std::mem::swap(&mut current, &mut next);
        }
        self.pass_on(&mut current, start);
        current[self.states.len()]
    }

    /// Adds the states that are reached without a character; all of them lie ahead.
    fn pass_on(&self, current: &mut [bool], start: bool) {
        for (index, state) in self.states.iter().enumerate() {
            if !current[index] {
                continue;
            }
            if let Test::Split(target) = state.test {
                current[index + 1] = true;
                current[target] = true;
            } else if state.star || state.test == Test::Start && start {
                current[index + 1] = true;
            }
        }
    }
}

impl Test {
    fn accepts(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::Any => c != '\n',
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| *low <= c && c <= *high) != *negated
            }
            Self::Split(_) | Self::Start => false,
        }
    }
}

/// The longest run of plain characters, and the one at the end.
fn literals(states: &[State]) -> (String, String) {
    let mut longest = String::new();
    let mut run = String::new();
    let mut optional = 0;
    for (index, state) in states.iter().enumerate() {
        match state.test {
            Test::Split(after) => {
                optional = after;
                run.clear();
            }
            Test::Char(c) if !state.star && index >= optional => {
                run.push(c);
                if run.len() > longest.len() {
                    longest.clone_from(&run);
                }
            }
            _ => run.clear(),
        }
    }
    (longest, run)
}

/// Reads a class whose bracket has just been opened.
fn class(chars: &mut Peekable<Chars<'_>>) -> Option<Test> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let mut first = true;
    loop {
        let c = chars.next()?;
        if c == ']' && !first {
            return Some(Test::Class { negated, ranges });
        }
        first = false;
        let Some(low) = class_char(c, chars, &mut ranges)? else { continue };
        let mut ahead = chars.clone();
        if ahead.next() != Some('-') || ahead.peek() == Some(&']') {
            ranges.push((low, low));
            continue;
        }
        chars.next();
        let c = chars.next()?;
        let high = class_char(c, chars, &mut ranges)??;
        if high < low {
            return None;
        }
        ranges.push((low, high));
    }
}

/// A character of a class, or nothing if it stands for several, which are added.
fn class_char(
    c: char,
    chars: &mut Peekable<Chars<'_>>,
    ranges: &mut Vec<(char, char)>,
) -> Option<Option<char>> {
    if c != '\\' {
        return Some(Some(c));
    }
    match escape(chars.next()?)? {
        Test::Char(c) => Some(Some(c)),
        Test::Class { negated: false, ranges: several } => {
            ranges.extend(several);
            Some(None)
        }
        _ => None,
    }
}

/// What a backslash before `c` means in Go's expressions.
fn escape(c: char) -> Option<Test> {
    let class =
        |negated, ranges: &[(char, char)]| Some(Test::Class { negated, ranges: ranges.to_vec() });
    const DIGIT: &[(char, char)] = &[('0', '9')];
    const SPACE: &[(char, char)] = &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')];
    const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
    match c {
        'd' => class(false, DIGIT),
        'D' => class(true, DIGIT),
        's' => class(false, SPACE),
        'S' => class(true, SPACE),
        'w' => class(false, WORD),
        'W' => class(true, WORD),
        'a' => Some(Test::Char('\x07')),
        'f' => Some(Test::Char('\x0c')),
        'n' => Some(Test::Char('\n')),
        'r' => Some(Test::Char('\r')),
        't' => Some(Test::Char('\t')),
        'v' => Some(Test::Char('\x0b')),
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(Test::Char(c)),
        _ => None,
    }
}
