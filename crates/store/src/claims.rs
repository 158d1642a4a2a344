//! Who is about to make something, so that others wait for it rather than make it too.
//!
//! `tmp/claim-<hash of the key>.lock` is flock'ed by whoever makes it, and goes away when
//! that is done. What a killed process leaves of it is removed like everything in `tmp/`.

use std::fs::{self, File};
use std::path::PathBuf;

use bakehouse_model::Key;

use crate::lock;
use crate::store::{Store, StoreError};

/// The right to make what is found under a key, until this is dropped.
#[derive(Debug)]
pub struct StoreClaim {
    path: PathBuf,
    _lock: File,
}

impl Store {
    /// Takes the right to make what is found under `key`; none while somebody else has it,
    /// in this process or in another.
    pub fn try_claim(&self, key: &Key) -> Result<Option<StoreClaim>, StoreError> {
        let path = self.home().join("tmp").join(format!("claim-{}.lock", key.0.hex()));
        let lock = lock::try_own(&path).map_err(StoreError::io("lock", &path))?;
        Ok(lock.map(|lock| StoreClaim { path, _lock: lock }))
    }
}

impl Drop for StoreClaim {
    fn drop(&mut self) {
        // While it is locked: whoever takes it from now on makes a file of its own.
        fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use bakehouse_model::Digest;

    use super::*;

    #[test]
    fn one_at_a_time_has_a_claim_and_it_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let stores = [Store::open(folder.path()).unwrap(), Store::open(folder.path()).unwrap()];
        let [one, other] = ["one", "other"].map(|text| Key(Digest::of(text)));
        let claim = stores[0].try_claim(&one).unwrap().unwrap();
        assert!(stores[0].try_claim(&one).unwrap().is_none());
        assert!(stores[1].try_claim(&one).unwrap().is_none());
        assert!(stores[1].try_claim(&other).unwrap().is_some());
        drop(Store::open(folder.path()).unwrap());
        assert!(stores[1].try_claim(&one).unwrap().is_none(), "who opens the store removes none");
        drop(claim);
        let mine = stores[1].try_claim(&one).unwrap().unwrap();
        assert!(stores[0].try_claim(&one).unwrap().is_none());
        drop(mine);
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn threads_that_race_for_a_claim_have_it_one_after_the_other() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Key(Digest::of("one"));
        let (inside, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while done.load(Ordering::SeqCst) < 2000 {
                        let Some(claim) = store.try_claim(&key).unwrap() else { continue };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                        drop(claim);
                    }
                });
            }
        });
    }

    #[test]
    fn what_a_killed_process_leaves_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let path = folder.path().join(format!("tmp/claim-{}.lock", Digest::of("x").hex()));
        fs::write(&path, "").unwrap();
        drop(store.try_claim(&Key(Digest::of("y"))).unwrap());
        Store::open(folder.path()).unwrap();
        assert!(!path.exists());
    }
}
