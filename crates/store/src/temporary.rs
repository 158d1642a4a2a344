//! A store for the length of one piece of work, on the same file system as another one.
//!
//! What goes through files and registries without being of use here afterwards, such as
//! caches on their way, has its blobs in one of these.

use std::ops::Deref;
use std::path::PathBuf;

use crate::remove::remove_tree;
use crate::store::{Store, StoreError};

/// A store that is removed when this is dropped, or after its process was killed.
#[derive(Debug)]
pub struct TemporaryStore {
    store: Store,
    folder: PathBuf,
    /// Owns the folder that the store lies in, and so must outlive it.
    _outer: Store,
}

impl Store {
    /// Makes a store among this process's unfinished work.
    pub fn temporary(&self) -> Result<TemporaryStore, StoreError> {
        let folder = self.scratch()?.path("store");
        let store = Self::open(&folder)?;
        Ok(TemporaryStore { store, folder, _outer: self.clone() })
    }
}

impl Deref for TemporaryStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Drop for TemporaryStore {
    fn drop(&mut self) {
        // What cannot be removed now goes with the process's other unfinished work.
        remove_tree(&self.folder).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_store_is_a_store_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let temporary = store.temporary().unwrap();
        let digest = temporary.put_blob(b"x").unwrap();
        assert_eq!((temporary.blob_size(&digest), store.blob_size(&digest)), (Some(1), None));
        let path = temporary.home().to_owned();
        assert!(path.starts_with(folder.path().join("tmp")));
        drop(temporary);
        assert!(!path.exists());
    }
}
