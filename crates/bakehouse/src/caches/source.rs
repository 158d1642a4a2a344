//! Where the blobs of a cache are fetched from.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bakehouse_model::oci::{Descriptor, Reference};
use bakehouse_registry::Client;
use bakehouse_run::BackendError;
use bakehouse_store::Store;

use crate::backends::client_error;
use crate::memory::store_error;

/// A place that has blobs.
#[derive(Debug, Clone)]
pub enum Source {
    /// A repository of a registry.
    Registry(Client, Reference),
    /// An OCI layout.
    Folder(PathBuf),
}

impl Source {
    /// Puts those of `blobs` into the store that are not there, each checked against its digest
    /// and its size.
    pub fn fetch(
        &self,
        store: &Store,
        blobs: &[Descriptor],
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<(), BackendError> {
        match self {
            Self::Registry(client, reference) => {
                let doing = format!("fetch layers of the cache `{}`", reference.familiar());
                let fetched = client.fetch_blobs(reference, blobs, progress);
                fetched.map_err(|error| client_error(&doing, error))
            }
            Self::Folder(folder) => {
                let missing = |blob: &&Descriptor| store.blob_size(&blob.digest) != Some(blob.size);
                blobs.iter().filter(missing).try_for_each(|blob| copy(store, folder, blob))
            }
        }
    }

    /// The repository, if it is one.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Registry(_, reference) => Some(reference),
            Self::Folder(_) => None,
        }
    }
}

fn copy(store: &Store, folder: &Path, blob: &Descriptor) -> Result<(), BackendError> {
    let path = folder.join("blobs/sha256").join(blob.digest.hex());
    let failed = |error: io::Error| {
        BackendError::environment(format!("read the cache's blob `{}`", path.display()), error)
    };
    let file = File::open(&path).map_err(failed)?;
    let mut ingest = store.ingest().map_err(store_error)?;
    // One byte more than there should be is enough to see that it is another.
    let limit = blob.size.saturating_add(1);
    io::copy(&mut io::Read::take(file, limit), &mut ingest).map_err(failed)?;
    ingest.commit(Some((&blob.digest, blob.size))).map_err(store_error)?;
    Ok(())
}
