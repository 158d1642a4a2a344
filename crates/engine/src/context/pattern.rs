//! How ignore, include, exclude and wildcard patterns reach this room.
//!
//! What a pattern means is decided where Dockerfiles are read; here is only the door.
//! Whoever calls the engine brings a [`Patterns`], which makes a [`Matcher`] of a list
//! in the syntax of `.dockerignore`: in order, the last match wins, `!` takes back.

use std::fmt;

use thiserror::Error;

/// Makes matchers of patterns.
pub trait Patterns: fmt::Debug + Send + Sync {
    /// A matcher for a list in the syntax of `.dockerignore`.
    fn compile(&self, patterns: &[String]) -> Result<Box<dyn Matcher>, PatternError>;

    /// Whether the wildcard `pattern` matches the whole of `name`, as Go's
    /// `filepath.Match` does: no `*` or `?` matches a slash.
    fn glob(&self, pattern: &str, name: &str) -> Result<bool, PatternError>;
}

/// A list of patterns, ready to be held against paths.
pub trait Matcher: fmt::Debug + Send + Sync {
    /// Whether `path` matches: relative, with slashes, without a leading one.
    ///
    /// `parent` is what this said of the directory that `path` is in. Without it the
    /// parents are looked at too.
    fn check(&self, path: &str, parent: Option<&Verdict>) -> Verdict;

    /// Whether a pattern that starts with `!` could take back something below the
    /// directory `dir`, which matches.
    fn may_except_below(&self, dir: &str) -> bool;
}

/// What a matcher said of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The answer.
    pub matched: bool,
    /// Which patterns matched the path or a parent of it, in their order.
    pub by_pattern: Vec<bool>,
}

/// The pattern has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("pattern `{pattern}` is malformed")]
pub struct PatternError {
    /// As it was written.
    pub pattern: String,
}
