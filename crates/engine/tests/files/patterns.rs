//! Patterns as simple as the tests need: `*`, `?`, `**`, `[…]` without ranges, `!`.

use bakehouse_engine::context::{Matcher, PatternError, Patterns, Verdict};

#[derive(Debug)]
pub(crate) struct Simple;

#[derive(Debug)]
struct List(Vec<(bool, String)>);

impl Patterns for Simple {
    fn compile(&self, patterns: &[String]) -> Result<Box<dyn Matcher>, PatternError> {
        let parsed = patterns.iter().map(|pattern| match pattern.strip_prefix('!') {
            Some(rest) => (true, rest.to_owned()),
            None => (false, pattern.clone()),
        });
        Ok(Box::new(List(parsed.collect())))
    }

    fn glob(&self, pattern: &str, name: &str) -> Result<bool, PatternError> {
        if pattern.ends_with('[') {
            return Err(PatternError { pattern: pattern.to_owned() });
        }
        Ok(matches(pattern.as_bytes(), name.as_bytes()))
    }
}

impl Matcher for List {
    fn check(&self, path: &str, parent: Option<&Verdict>) -> Verdict {
        let mut verdict = Verdict::default();
        for (index, (negated, pattern)) in self.0.iter().enumerate() {
            let ups = path.match_indices('/').map(|(at, _)| &path[..at]).chain([path]);
            let found = parent.is_some_and(|parent| parent.by_pattern[index])
                || ups.into_iter().any(|up| matches(pattern.as_bytes(), up.as_bytes()));
            verdict.by_pattern.push(found);
            if found {
                verdict.matched = !negated;
            }
        }
        verdict
    }

    fn may_except_below(&self, _dir: &str) -> bool {
        self.0.iter().any(|(negated, _)| *negated)
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', b'*', rest @ ..], _) => {
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            (0..=name.len()).any(|at| matches(rest, &name[at..]))
        }
        ([b'*', rest @ ..], _) => {
            let end = name.iter().position(|&b| b == b'/').unwrap_or(name.len());
            (0..=end).any(|at| matches(rest, &name[at..]))
        }
        ([b'?', rest @ ..], [first, name @ ..]) => *first != b'/' && matches(rest, name),
        ([b'[', one, b']', rest @ ..], [first, name @ ..]) => one == first && matches(rest, name),
        ([b'\\', one, rest @ ..], [first, name @ ..]) => one == first && matches(rest, name),
        ([one, rest @ ..], [first, name @ ..]) => one == first && matches(rest, name),
        _ => false,
    }
}
