//! Words of a Dockerfile: quotes, escapes and `$variables`, as BuildKit's shell lexer
//! reads them.
//!
//! [`Lexer::expand`] gives one text, [`Lexer::expand_words`] splits it at white space. Both
//! know `$v`, `${v}`, `${v:-w}`, `${v-w}`, `${v:+w}`, `${v+w}`, `${v:?e}`, `${v?e}`,
//! `${v#p}`, `${v##p}`, `${v%p}`, `${v%%p}`, `${v/p/r}` and `${v//p/r}`, one within
//! the other. Depth and length are bounded, so no input can exhaust memory.

mod pattern;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::str::Chars;

use thiserror::Error;

/// How many `${…}` may stand inside each other.
const MAX_DEPTH: usize = 64;
/// How long a word may become.
const MAX_LENGTH: usize = 16 << 20;

/// Values of variables.
pub trait Env {
    /// The value of `name`, if it is set.
    fn get(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// An environment without variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoEnv;

impl Env for NoEnv {
    fn get(&self, _name: &str) -> Option<Cow<'_, str>> {
        None
    }
}

impl Env for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        Self::get(self, name).map(|value| Cow::Borrowed(value.as_str()))
    }
}

/// What a word became.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// Names that were looked up and set.
    pub matched: BTreeSet<String>,
    /// Names that were looked up and not set.
    pub unmatched: BTreeSet<String>,
}

/// A word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("failed to process {word:?}: {problem}")]
pub struct WordError {
    /// The word.
    pub word: String,
    /// Why.
    pub problem: WordProblem,
}

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WordProblem {
    /// A quote is not closed.
    #[error("unexpected end of statement while looking for matching {0}")]
    Unclosed(&'static str),
    /// `${` without its end.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${v/p` without its second slash.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${}`, `${:…` or `${{…`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// An operator that does not exist.
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    /// A pattern with an escape that means nothing.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// The character after the backslash.
        escaped: char,
    },
    /// `${v?message}` of an unset variable.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message given, or a standard one.
        message: String,
    },
    /// More `${…}` inside each other than anybody needs.
    #[error("variables are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// The result does not fit.
    #[error("the result is longer than {MAX_LENGTH} bytes")]
    TooLong,
}

/// Expands words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lexer {
    escape: char,
    raw_quotes: bool,
    raw_escapes: bool,
    skip_quotes: bool,
    keep_unset: bool,
}

impl Lexer {
    /// A lexer for a file with that escape character.
    pub fn new(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            skip_quotes: false,
            keep_unset: false,
        }
    }

    /// Whether quotes stay in the result, though they still quote (`RawQuotes`).
    #[must_use]
    pub fn raw_quotes(self, on: bool) -> Self {
        Self { raw_quotes: on, ..self }
    }

    /// Whether escape characters stay in the result, though they still escape (`RawEscapes`).
    #[must_use]
    pub fn raw_escapes(self, on: bool) -> Self {
        Self { raw_escapes: on, ..self }
    }

    /// Whether quotes are characters like any other (`SkipProcessQuotes`).
    #[must_use]
    pub fn skip_quotes(self, on: bool) -> Self {
        Self { skip_quotes: on, ..self }
    }

    /// Whether variables that are not set stay as written (`SkipUnsetEnv`).
    #[must_use]
    pub fn keep_unset(self, on: bool) -> Self {
        Self { keep_unset: on, ..self }
    }

    /// Expands variables, removes quotes and escapes.
    pub fn expand(&self, word: &str, env: &dyn Env) -> Result<Expanded, WordError> {
        let mut reader = Reader::new(*self, word, env);
        match reader.until(None, self.raw_escapes) {
            Ok((text, _)) => {
                Ok(Expanded { text, matched: reader.matched, unmatched: reader.unmatched })
            }
            Err(problem) => Err(WordError { word: word.to_owned(), problem }),
        }
    }

    /// Expands variables, removes quotes and escapes, and splits at white space that is not
    /// quoted — that of values too.
    pub fn expand_words(&self, word: &str, env: &dyn Env) -> Result<Vec<String>, WordError> {
        let mut reader = Reader::new(*self, word, env);
        match reader.until(None, self.raw_escapes) {
            Ok((_, words)) => Ok(words),
            Err(problem) => Err(WordError { word: word.to_owned(), problem }),
        }
    }

    /// The text of an instruction as a progress line shows it: what is set is put in, and
    /// quotes and unset variables stay. A text that cannot be expanded is given back.
    pub fn expand_for_display(&self, text: &str, env: &dyn Env) -> String {
        match self.raw_quotes(true).keep_unset(true).expand(text, env) {
            Ok(expanded) => expanded.text,
            Err(_) => text.to_owned(),
        }
    }
}

/// One pass over one word.
struct Reader<'a> {
    lexer: Lexer,
    rest: Chars<'a>,
    env: &'a dyn Env,
    raw_escapes: bool,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
    /// The word that is being collected. BuildKit has one for all depths, so `a${b:-c}`
    /// gives the word `c`; what comes out has to be the same here.
    word: String,
    depth: usize,
}

type Step<T> = Result<T, WordProblem>;

#[derive(Default)]
struct Words {
    done: Vec<String>,
    in_word: bool,
}

impl<'a> Reader<'a> {
    fn new(lexer: Lexer, word: &'a str, env: &'a dyn Env) -> Self {
        // Go's scanner drops a byte order mark at the start.
        let rest = word.strip_prefix('\u{feff}').unwrap_or(word).chars();
        Self {
            lexer,
            rest,
            env,
            raw_escapes: lexer.raw_escapes,
            matched: BTreeSet::new(),
            unmatched: BTreeSet::new(),
            word: String::new(),
            depth: 0,
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn next(&mut self) -> Option<char> {
        self.rest.next()
    }

    /// Reads to `stop`, which is taken, or to the end if there is none.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Step<(String, Vec<String>)> {
        if self.depth >= MAX_DEPTH {
            return Err(WordProblem::TooDeep);
        }
        self.depth += 1;
        let before = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let result = self.until_inner(stop);
        self.raw_escapes = before;
        self.depth -= 1;
        result
    }

    fn until_inner(&mut self, stop: Option<char>) -> Step<(String, Vec<String>)> {
        let mut text = String::new();
        let mut words = Words::default();
        self.word.clear();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.next();
                return Ok((text, self.finish(words)));
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    for c in value.chars() {
                        self.add(&mut words, c);
                    }
                    text.push_str(&value);
                }
                '<' => self.add_raw_text(&mut words, &mut text, Self::possible_heredoc)?,
                '\'' if !self.lexer.skip_quotes => {
                    self.add_raw_text(&mut words, &mut text, Self::single_quoted)?;
                }
                '"' if !self.lexer.skip_quotes => {
                    self.add_raw_text(&mut words, &mut text, Self::double_quoted)?;
                }
                _ => self.plain(&mut words, &mut text),
            }
            if text.len() > MAX_LENGTH || self.word.len() > MAX_LENGTH {
                return Err(WordProblem::TooLong);
            }
        }
        match stop {
            Some('}') => Err(WordProblem::Unclosed("}")),
            Some(_) => Err(WordProblem::Unclosed("/")),
            None => Ok((text, self.finish(words))),
        }
    }

    /// A character that means itself, or an escape and what it escapes.
    fn plain(&mut self, words: &mut Words, text: &mut String) {
        let Some(mut c) = self.next() else { return };
        if c == self.lexer.escape {
            if self.raw_escapes {
                self.add_raw(words, c);
                text.push(c);
            }
            let Some(escaped) = self.next() else { return };
            c = escaped;
            self.add_raw(words, c);
        } else {
            self.add(words, c);
        }
        text.push(c);
    }

    fn add(&mut self, words: &mut Words, c: char) {
        if !c.is_whitespace() {
            self.add_raw(words, c);
        } else if words.in_word && !self.word.is_empty() {
            words.done.push(std::mem::take(&mut self.word));
            words.in_word = false;
        }
    }

    fn add_raw(&mut self, words: &mut Words, c: char) {
        self.word.push(c);
        words.in_word = true;
    }

    fn add_raw_text(
        &mut self,
        words: &mut Words,
        text: &mut String,
        read: fn(&mut Self) -> Step<String>,
    ) -> Step<()> {
        let piece = read(self)?;
        self.word.push_str(&piece);
        words.in_word = true;
        text.push_str(&piece);
        Ok(())
    }

    fn finish(&mut self, mut words: Words) -> Vec<String> {
        if !self.word.is_empty() {
            words.done.push(std::mem::take(&mut self.word));
        }
        words.done
    }

    fn single_quoted(&mut self) -> Step<String> {
        let raw = self.lexer.raw_quotes;
        let mut text = String::new();
        if let (Some(quote), true) = (self.next(), raw) {
            text.push(quote);
        }
        loop {
            match self.next() {
                None => return Err(WordProblem::Unclosed("single-quote")),
                Some('\'') => {
                    if raw {
                        text.push('\'');
                    }
                    return Ok(text);
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn double_quoted(&mut self) -> Step<String> {
        let raw = self.lexer.raw_quotes;
        let mut text = String::new();
        if let (Some(quote), true) = (self.next(), raw) {
            text.push(quote);
        }
        loop {
            match self.peek() {
                None => return Err(WordProblem::Unclosed("double-quote")),
                Some('"') => {
                    self.next();
                    if raw {
                        text.push('"');
                    }
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.dollar()?),
                Some(c) => {
                    self.next();
                    self.in_double_quotes(c, &mut text);
                }
            }
            if text.len() > MAX_LENGTH {
                return Err(WordProblem::TooLong);
            }
        }
    }

    /// `c` has been taken: an escape works here only before `"`, `$` and itself.
    fn in_double_quotes(&mut self, c: char, text: &mut String) {
        if c != self.lexer.escape {
            text.push(c);
            return;
        }
        if self.raw_escapes {
            text.push(c);
        }
        match self.peek() {
            // An escape at the very end is nothing.
            None => {}
            Some(next) if next == '"' || next == '$' || next == c => {
                self.next();
                text.push(next);
            }
            Some(_) => text.push(c),
        }
    }

    fn possible_heredoc(&mut self) -> Step<String> {
        self.next();
        if self.peek() != Some('<') {
            return Ok("<".to_owned());
        }
        self.next();
        let mut text = "<<".to_owned();
        while let Some(c @ ('\t' | '\r' | ' ')) = self.peek() {
            text.push(c);
            self.next();
        }
        Ok(text)
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = self.env.get(name).map(Cow::into_owned);
        let seen = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        if !seen.contains(name) {
            seen.insert(name.to_owned());
        }
        value
    }

    fn dollar(&mut self) -> Step<String> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.lookup(&name) {
                Some(value) => value,
                None if self.lexer.keep_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.next();
        match self.peek() {
            None => return Err(WordProblem::MissingBrace),
            Some('{' | '}' | ':') => return Err(WordProblem::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        self.operator(&name)
    }

    /// What follows the name in `${name…}`.
    fn operator(&mut self, name: &str) -> Step<String> {
        match self.next() {
            Some('}') => Ok(match self.lookup(name) {
                Some(value) => value,
                None if self.lexer.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some(':') => {
                let operator = self.next();
                if matches!(operator, Some('#' | '%')) {
                    return Err(unsupported(":", operator));
                }
                self.modifier(name, operator, true)
            }
            operator @ Some('+' | '-' | '?') => self.modifier(name, operator, false),
            Some(operator @ ('#' | '%')) => self.strip(name, operator),
            Some('/') => self.replace(name),
            None => Err(WordProblem::MissingBrace),
            other => Err(unsupported("", other)),
        }
    }

    /// `-`, `+` and `?`; with a colon, empty counts as unset.
    fn modifier(&mut self, name: &str, operator: Option<char>, colon: bool) -> Step<String> {
        let word = self.operand('}', false, WordProblem::MissingBrace)?;
        let sign = if colon { ":" } else { "" };
        let value = self.lookup(name);
        let operator = match operator {
            Some(c) if value.is_none() && self.lexer.keep_unset => {
                return Ok(format!("${{{name}{sign}{c}{word}}}"));
            }
            other => other,
        };
        let missing = value.is_none();
        let value = value.filter(|value| !(colon && value.is_empty()));
        match (operator, value) {
            (Some('-'), Some(value)) | (Some('?'), Some(value)) => Ok(value),
            (Some('-'), None) | (Some('+'), Some(_)) => Ok(word),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => {
                let standard = if missing {
                    "is not allowed to be unset"
                } else {
                    "is not allowed to be empty"
                };
                let message = if word.is_empty() { standard.to_owned() } else { word };
                Err(WordProblem::Required { name: name.to_owned(), message })
            }
            (other, _) => Err(unsupported(sign, other)),
        }
    }

    /// `#`, `##`, `%` and `%%`.
    fn strip(&mut self, name: &str, operator: char) -> Step<String> {
        let word = self.operand('}', true, WordProblem::MissingBrace)?;
        let value = match self.lookup(name) {
            None if self.lexer.keep_unset => {
                return Ok(format!("${{{name}{operator}{word}}}"));
            }
            value => value.unwrap_or_default(),
        };
        match word.strip_prefix(operator) {
            Some(pattern) => pattern::strip(pattern, &value, operator, true),
            None => pattern::strip(&word, &value, operator, false),
        }
    }

    /// `/` and `//`.
    fn replace(&mut self, name: &str) -> Step<String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.operand('/', true, WordProblem::MissingSlash)?;
        let replacement = self.operand('}', true, WordProblem::MissingBrace)?;
        match self.lookup(name) {
            None if self.lexer.keep_unset => Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => pattern::replace(
                &pattern,
                &value.unwrap_or_default(),
                &replacement,
                all,
                MAX_LENGTH,
            ),
        }
    }

    /// Reads to `stop`; at the end of the word every mistake is a missing `stop`.
    fn operand(&mut self, stop: char, raw_escapes: bool, missing: WordProblem) -> Step<String> {
        match self.until(Some(stop), raw_escapes) {
            Ok((text, _)) => Ok(text),
            Err(problem @ (WordProblem::TooDeep | WordProblem::TooLong)) => Err(problem),
            Err(_) if self.peek().is_none() => Err(missing),
            Err(problem) => Err(problem),
        }
    }

    /// Letters, digits and `_`; or only digits; or one special parameter.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if name.is_empty() && is_digit(c) {
                while let Some(digit) = self.peek().filter(|c| is_digit(*c)) {
                    name.push(digit);
                    self.next();
                }
                return name;
            }
            if name.is_empty() && matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
                self.next();
                return c.to_string();
            }
            if !c.is_alphabetic() && !is_digit(c) && c != '_' {
                break;
            }
            name.push(c);
            self.next();
        }
        name
    }
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || (!c.is_ascii() && c.is_numeric())
}

fn unsupported(colon: &str, operator: Option<char>) -> WordProblem {
    let operator = operator.map_or_else(String::new, String::from);
    WordProblem::UnsupportedModifier(format!("{colon}{operator}"))
}
