//! What a step made, remembered.

use serde::{Deserialize, Serialize};

use crate::{Key, Snapshot};

/// A result of an earlier run: cache key → snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The key that the result was first made under. Whatever stands on it is keyed by it,
    /// so that a result found by its contents leads to the same keys as before.
    pub id: Key,
    /// The result.
    pub snapshot: Snapshot,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// How long that took.
    pub cost_ms: u64,
}
