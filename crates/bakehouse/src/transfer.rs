//! Bytes that move, told often enough to watch and not more.

use std::sync::Mutex;

use bakehouse_model::{EventKind, TransferKind};

/// Facts about one transfer.
const FACTS: u64 = 50;

/// Tells of one transfer, from any thread.
pub struct Transfer<'a> {
    way: TransferKind,
    what: &'a str,
    emit: &'a (dyn Fn(EventKind) + Sync),
    told: Mutex<Option<u64>>,
}

impl std::fmt::Debug for Transfer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transfer").field("what", &self.what).finish_non_exhaustive()
    }
}

impl<'a> Transfer<'a> {
    /// Nothing has moved yet.
    pub fn new(way: TransferKind, what: &'a str, emit: &'a (dyn Fn(EventKind) + Sync)) -> Self {
        Self { way, what, emit, told: Mutex::new(None) }
    }

    /// How far it is: bytes done, bytes in all.
    pub fn tell(&self, done: u64, total: u64) {
        if total == 0 {
            return;
        }
        let Ok(mut told) = self.told.lock() else { return };
        let enough = told.is_none_or(|before| done.saturating_sub(before) >= total.div_ceil(FACTS));
        if enough || (done == total && *told != Some(total)) {
            *told = Some(done);
            let what = self.what.to_owned();
            (self.emit)(EventKind::Transferred { way: self.way, what, done, total });
        }
    }
}
