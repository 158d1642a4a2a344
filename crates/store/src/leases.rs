//! What a live run needs, so that nobody deletes it meanwhile.
//!
//! `leases/<name>` is flock'ed as long as its run lives; a file that can be locked belongs
//! to nobody and may go. Its first line is `since <ms>`: everything made after that moment
//! is held too. Further lines are `layer <id>` and `blob <digest>`.
//!
//! Lines are added under a shared flock of `gc.lock`. Whoever deletes takes that lock
//! alone, reads all live leases, removes the rows of what nobody holds, and lets go: so
//! what was held before a look-up found it is there until the lease ends.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bakehouse_model::{Digest, LayerId};

use crate::lock;
use crate::store::{Store, StoreError, now_ms};

/// Holds layers and blobs, and everything that is made while it lives.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    path: PathBuf,
    file: Mutex<File>,
}

impl Store {
    /// Takes a lease. Hold what is needed *before* looking whether it is there.
    pub fn lease(&self) -> Result<Lease, StoreError> {
        let folder = self.home().join("leases");
        let _guard = self.no_collection()?;
        clean(&folder);
        loop {
            let path = folder.join(lock::unique_name());
            let owned = lock::try_own(&path).map_err(StoreError::io("lock", &path))?;
            let Some(mut file) = owned else { continue };
            writeln!(file, "since {}", now_ms()).map_err(StoreError::io("write", &path))?;
            return Ok(Lease { store: self.clone(), path, file: Mutex::new(file) });
        }
    }

    /// As long as the result lives, nothing is deleted from the store.
    fn no_collection(&self) -> Result<File, StoreError> {
        let path = self.home().join("gc.lock");
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(StoreError::io("open", &path))?;
        file.lock_shared().map_err(StoreError::io("lock", &path))?;
        Ok(file)
    }
}

impl Lease {
    /// Holds these layers, whether they are there or not.
    pub fn hold_layers<'id>(
        &self,
        ids: impl IntoIterator<Item = &'id LayerId>,
    ) -> Result<(), StoreError> {
        self.add(ids.into_iter().map(|id| format!("layer {id}\n")).collect())
    }

    /// Holds these blobs, whether they are there or not. A manifest holds what it names.
    pub fn hold_blobs<'digest>(
        &self,
        digests: impl IntoIterator<Item = &'digest Digest>,
    ) -> Result<(), StoreError> {
        self.add(digests.into_iter().map(|digest| format!("blob {digest}\n")).collect())
    }

    fn add(&self, lines: String) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let _guard = self.store.no_collection()?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(lines.as_bytes()).map_err(StoreError::io("write", &self.path))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

/// Removes the leases of runs that are gone.
fn clean(folder: &std::path::Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let dead: io::Result<Option<File>> = lock::try_own_existing(&entry.path());
        if let Ok(Some(_lock)) = dead {
            fs::remove_file(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lists_what_it_holds_while_it_lives() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let leases = || -> Vec<PathBuf> {
            let entries = fs::read_dir(store.home().join("leases")).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        let dead = store.home().join("leases/dead");
        fs::write(&dead, "since 0\nlayer x\n").unwrap();

        let lease = store.lease().unwrap();
        assert!(!dead.exists(), "nobody has its lock");
        let layer: LayerId = "step-1".parse().unwrap();
        let digest = Digest::of("x");
        lease.hold_layers([&layer]).unwrap();
        lease.hold_blobs([&digest]).unwrap();
        lease.hold_layers([]).unwrap();
        let second = Store::open(store.home()).unwrap().lease().unwrap();
        assert_eq!(leases().len(), 2, "a live lease is not removed");
        drop(second);
        let text = fs::read_to_string(&leases()[0]).unwrap();
        let (since, rest) = text.split_once('\n').unwrap();
        assert!(since.strip_prefix("since ").unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(rest, format!("layer step-1\nblob {digest}\n"));
        drop(lease);
        assert_eq!(leases(), Vec::<PathBuf>::new());
    }
}
