//! The engine's door for patterns, with the planner's matcher behind it.

use bakehouse_engine::context::{self, PatternError, Patterns, Verdict};
use bakehouse_plan::dockerfile::glob;
use bakehouse_plan::dockerfile::ignore::{self, MatchInfo};

/// Patterns as Dockerfiles and ignore files mean them.
#[derive(Debug, Clone, Copy)]
pub struct DockerPatterns;

#[derive(Debug)]
struct Matcher(ignore::Matcher);

impl Patterns for DockerPatterns {
    fn compile(&self, patterns: &[String]) -> Result<Box<dyn context::Matcher>, PatternError> {
        match ignore::Matcher::new(patterns) {
            Ok(matcher) => Ok(Box::new(Matcher(matcher))),
            Err(error) => Err(PatternError { pattern: error.to_string() }),
        }
    }

    fn glob(&self, pattern: &str, name: &str) -> Result<bool, PatternError> {
        glob::matches(pattern, name).map_err(|_| PatternError { pattern: pattern.to_owned() })
    }
}

impl context::Matcher for Matcher {
    fn check(&self, path: &str, parent: Option<&Verdict>) -> Verdict {
        let parent = parent.map(|verdict| MatchInfo::from_flags(verdict.by_pattern.clone()));
        let (matched, info) =
            self.0.matches_using_parent_results(path, &parent.unwrap_or_default());
        Verdict { matched, by_pattern: info.flags() }
    }

    fn may_except_below(&self, dir: &str) -> bool {
        self.0.may_descend(dir)
    }
}
