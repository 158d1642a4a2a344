//! Lints: what is doubtful in a fleet that can be built.
//!
//! A rule is a file; [`RULES`] is the only list of them. A rule looks at the whole fleet and
//! returns what it finds. It is silent unless it is sure: whoever reads a finding has to do
//! something about it.

mod apt_sharing;
mod cache_shared;
mod cache_tag;
mod described_twice;
mod docker_clean;
mod documented;
mod inline_cache;
mod pip_cache;
mod steps;
mod unpinned;
mod unused;

use bakehouse_model::{Diagnostic, Location};

use crate::codes::Code;
use crate::fleet::Fleet;

/// What rules have to know besides the fleet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// The document that draws the fleet: its path and its text.
    pub documented: Option<(&'a str, &'a str)>,
    /// References that need no digest; `*` stands for any letters.
    pub unpinned_ok: &'a [String],
}

/// One rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// What its findings are called, and what they say.
    pub code: Code,
    /// Finds them.
    find: fn(&Fleet, &Given<'_>) -> Vec<Diagnostic>,
}

/// All rules.
pub static RULES: &[Rule] = &[
    Rule { code: apt_sharing::CODE, find: apt_sharing::find },
    Rule { code: cache_tag::CODE, find: cache_tag::find },
    Rule { code: cache_shared::CODE, find: cache_shared::find },
    Rule { code: described_twice::CODE, find: described_twice::find },
    Rule { code: docker_clean::CODE, find: docker_clean::find },
    Rule { code: documented::CODE, find: documented::find },
    Rule { code: inline_cache::CODE, find: inline_cache::find },
    Rule { code: pip_cache::CODE, find: pip_cache::find },
    Rule { code: unpinned::CODE, find: unpinned::find },
    Rule { code: unused::CODE, find: unused::find },
];

/// What the rules find in `fleet`, sorted by place.
pub fn find(fleet: &Fleet, given: &Given<'_>) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> =
        RULES.iter().flat_map(|rule| (rule.find)(fleet, given)).collect();
    found.sort();
    found.dedup();
    found
}

impl Code {
    /// A finding at a place.
    fn at(&self, location: Location, message: String) -> Diagnostic {
        Diagnostic {
            location: Some(location),
            severity: self.severity,
            code: self.code.to_owned(),
            message,
            help: Some(self.help.to_owned()),
        }
    }
}
