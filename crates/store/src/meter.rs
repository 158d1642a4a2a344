//! Bytes that came or went.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far a transfer is, for whoever watches.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// So many more.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back what turned out to be worthless.
    pub fn take_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Back to nothing; gives what it was.
    pub fn reset(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }

    /// How many it is.
    pub fn done(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
