//! A process's own folder under `tmp/`, which others remove when the process is gone.
//!
//! `tmp/<name>.lock` is flock'ed as long as its owner lives; `tmp/<name>/` is what it is
//! busy with. Whoever can lock the file may remove both.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::lock;
use crate::remove::remove_tree;
use crate::store::StoreError;

/// A folder for unfinished work; gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: PathBuf,
    lock_path: PathBuf,
    _lock: File,
    next: AtomicU64,
}

impl Scratch {
    /// Makes a folder under `tmp`.
    pub(crate) fn new(tmp: &Path) -> Result<Self, StoreError> {
        loop {
            let name = lock::unique_name();
            let lock_path = tmp.join(format!("{name}.lock"));
            let locked = lock::try_own(&lock_path).map_err(StoreError::io("lock", &lock_path))?;
            let Some(lock) = locked else { continue };
            let folder = tmp.join(name);
            fs::create_dir(&folder).map_err(StoreError::io("create", &folder))?;
            return Ok(Self { folder, lock_path, _lock: lock, next: AtomicU64::new(0) });
        }
    }

    /// A path in the folder that nothing has had.
    pub(crate) fn path(&self, kind: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{kind}-{number}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next process that opens the store.
        if remove_tree(&self.folder).is_ok() {
            fs::remove_file(&self.lock_path).ok();
        }
    }
}

/// Removes what processes that are gone have left. A folder that resists, because another
/// user owns what is in it, stays for someone who may.
pub(crate) fn clean(tmp: &Path) {
    let Ok(entries) = fs::read_dir(tmp) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let (folder, lock_path) = match name.strip_suffix(".lock") {
            Some(stem) => (tmp.join(stem), entry.path()),
            // A folder without its lock file is debris: the lock is made first and goes last.
            None => (entry.path(), tmp.join(format!("{name}.lock"))),
        };
        let Ok(Some(_lock)) = lock::try_own(&lock_path) else { continue };
        if remove_tree(&folder).is_ok() {
            fs::remove_file(&lock_path).ok();
        }
    }
}
