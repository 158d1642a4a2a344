//! `.dockerignore` and every other list of patterns in which the last match wins.
//!
//! The rules are those of moby's `patternmatcher`: each pattern is tried on the path and on
//! its parents, `!` takes back, `**` is any number of folders. [`Matcher`] is compiled once
//! and takes no lock, so it may be shared.

mod pattern;

use thiserror::Error;

use pattern::Pattern;

/// A pattern cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PatternError {
    /// A class without end, a backslash at the end, and the like.
    #[error("syntax error in pattern `{pattern}`")]
    Syntax {
        /// The pattern.
        pattern: String,
    },
    /// Longer than any path: trying it takes time and means nothing.
    #[error("a pattern of {length} bytes is longer than a path can be")]
    Long {
        /// How long it is.
        length: usize,
    },
    /// `!` and nothing else.
    #[error("illegal exclusion pattern: \"!\"")]
    OnlyExclamation,
}

/// The longest pattern: as long as the longest path that Linux knows.
const MAX_PATTERN: usize = 4096;

/// Reads the lines of a `.dockerignore` as patterns, cleaned, in order.
pub fn read_patterns(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    text.lines().filter_map(read_line).collect()
}

fn read_line(line: &str) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim();
    let (sign, pattern) = match line.strip_prefix('!') {
        Some(pattern) => ("!", pattern.trim()),
        None => ("", line),
    };
    if pattern.is_empty() {
        return (!sign.is_empty()).then(|| sign.to_owned());
    }
    let cleaned = clean(pattern);
    let relative = match cleaned.strip_prefix('/') {
        Some(relative) if !relative.is_empty() => relative,
        _ => &cleaned,
    };
    Some(format!("{sign}{relative}"))
}

/// The shortest path that means the same, as Go's `filepath.Clean` finds it.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Which patterns match a directory or its parents: lets a walk try each pattern once per
/// path. The default one is that of the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MatchInfo {
    matched: Vec<bool>,
}

impl MatchInfo {
    /// From what [`flags`](Self::flags) gave.
    pub fn from_flags(matched: Vec<bool>) -> Self {
        Self { matched }
    }

    /// For each pattern, in order, whether it matches.
    pub fn flags(self) -> Vec<bool> {
        self.matched
    }
}

/// Patterns, compiled.
#[derive(Debug, Clone)]
pub struct Matcher {
    patterns: Vec<Rule>,
    exclusions: bool,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    /// Written with `!`.
    exclusion: bool,
}

impl Matcher {
    /// Compiles `patterns`; blank ones are dropped.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, PatternError> {
        let mut rules = Vec::new();
        for pattern in patterns {
            let trimmed = pattern.as_ref().trim();
            if trimmed.is_empty() {
                continue;
            }
            if trimmed.len() > MAX_PATTERN {
                return Err(PatternError::Long { length: trimmed.len() });
            }
            let cleaned = clean(trimmed);
            let (text, exclusion) = match cleaned.strip_prefix('!') {
                Some("") => return Err(PatternError::OnlyExclamation),
                Some(text) => (text, true),
                None => (cleaned.as_str(), false),
            };
            rules.push(Rule { pattern: Pattern::new(text)?, exclusion });
        }
        let exclusions = rules.iter().any(|rule| rule.exclusion);
        Ok(Self { patterns: rules, exclusions })
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a pattern begins with `!`.
    pub fn has_exclusions(&self) -> bool {
        self.exclusions
    }

    /// Whether `path`, relative and with slashes, or one of its parents is matched, and not
    /// taken back by a later `!`.
    pub fn matches_or_parent_matches(&self, path: &str) -> bool {
        let mut matched = false;
        for rule in &self.patterns {
            if rule.exclusion == matched && rule.matches_or_parent(path) {
                matched = !rule.exclusion;
            }
        }
        matched
    }

    /// Like [`matches_or_parent_matches`](Self::matches_or_parent_matches) for a walk:
    /// `parent` is what this returned for the directory `path` is in, and what it returns
    /// is for what is in `path`.
    ///
    /// With the default `parent` it looks at the parents itself.
    pub fn matches_using_parent_results(
        &self,
        path: &str,
        parent: &MatchInfo,
    ) -> (bool, MatchInfo) {
        let known = parent.matched.len() == self.patterns.len();
        let mut info = MatchInfo { matched: vec![false; self.patterns.len()] };
        let mut matched = false;
        for (index, rule) in self.patterns.iter().enumerate() {
            let above = known && parent.matched[index];
            if !above && rule.exclusion != matched {
                continue;
            }
            let here = above
                || if known { rule.pattern.matches(path) } else { rule.matches_or_parent(path) };
            info.matched[index] = here;
            if here {
                matched = !rule.exclusion;
            }
        }
        (matched, info)
    }

    /// Whether something below the directory `path` could be taken back by a `!`, so that a
    /// walk has to enter it though it is matched. May say yes in vain, never no in vain.
    pub fn may_descend(&self, path: &str) -> bool {
        self.patterns.iter().any(|rule| rule.exclusion && rule.pattern.may_match_below(path))
    }
}

impl Rule {
    fn matches_or_parent(&self, path: &str) -> bool {
        if self.pattern.matches(path) {
            return true;
        }
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        parents.into_iter().any(|parent| self.pattern.matches(parent))
    }
}
