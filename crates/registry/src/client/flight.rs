//! One at a time per key: who comes second waits and then looks again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as Gate, OwnedMutexGuard};

/// Gates by key; a key that nobody holds takes no room for long.
#[derive(Debug)]
pub(crate) struct Flights<K> {
    gates: Mutex<BTreeMap<K, Weak<Gate<()>>>>,
}

impl<K> Default for Flights<K> {
    fn default() -> Self {
        Self { gates: Mutex::new(BTreeMap::new()) }
    }
}

impl<K: Ord> Flights<K> {
    /// Waits until nobody else is at `key`, and keeps others out until the guard is gone.
    pub(crate) async fn enter(&self, key: K) -> OwnedMutexGuard<()> {
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            gates.retain(|_, gate| gate.strong_count() > 0);
            let known = gates.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let gate = Arc::new(Gate::new(()));
                gates.insert(key, Arc::downgrade(&gate));
                gate
            })
        };
        gate.lock_owned().await
    }
}
