//! Step identity and cache keys.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Names one step of a run: the digest of its op and of the steps it needs.
///
/// Two images that do the same on the same base have one step, by construction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub Digest);

impl StepId {
    /// The first 12 hex digits, for people.
    pub fn short(&self) -> &str {
        self.0.short()
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.short())
    }
}

/// A cache key: what a step's result depends on, from definitions or from contents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub Digest);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.short())
    }
}
