//! Where the blobs of a cache are fetched from.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bakehouse_depot::Depot;
use bakehouse_model::oci::{Descriptor, Reference};
use bakehouse_registry::Client;
use bakehouse_run::BackendError;
use bakehouse_store::Store;

use super::depots::depot_error;
use crate::backends::client_error;
use crate::memory::store_error;

/// A place that has blobs.
#[derive(Debug, Clone)]
pub enum Source {
    /// A repository of a registry.
    Registry(Client, Reference),
    /// An OCI layout.
    Folder(PathBuf),
    /// A service, and what the cache there is called.
    Depot(Arc<Depot>, String),
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
            Self::Depot(depot, name) => {
                let doing = format!("fetch layers of the cache `{name}`");
                depot.fetch(blobs, progress).map_err(|error| depot_error(&doing, error))
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
            Self::Folder(_) | Self::Depot(..) => None,
        }
    }
}

/// Opens a file of a folder that anybody may have written: it must be one, and opening it does
/// not wait for somebody else.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no ordinary file"));
    }
    Ok((file, metadata.len()))
}

fn copy(store: &Store, folder: &Path, blob: &Descriptor) -> Result<(), BackendError> {
    let path = folder.join("blobs/sha256").join(blob.digest.hex());
    let failed = |error: io::Error| {
        BackendError::environment(format!("read the cache's blob `{}`", path.display()), error)
    };
    let (file, length) = open(&path).map_err(failed)?;
    if length != blob.size {
        let what = format!("it has {length} bytes and not {}", blob.size);
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, what)));
    }
    let mut ingest = store.ingest().map_err(store_error)?;
    // It may still grow.
    let limit = blob.size.saturating_add(1);
    io::copy(&mut io::Read::take(file, limit), &mut ingest).map_err(failed)?;
    ingest.commit(Some((&blob.digest, blob.size))).map_err(store_error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bakehouse_model::Digest;
    use bakehouse_model::oci::media_type;

    use super::*;

    #[test]
    fn what_is_no_file_or_not_as_long_as_said_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let blobs = dir.path().join("cache/blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let source = Source::Folder(dir.path().join("cache"));
        let fetch = |name: &str, size| {
            let blob = Descriptor::new(media_type::LAYER, Digest::of(name), size);
            source.fetch(&store, &[blob], &|_, _| {}).map_err(|error| format!("{error:?}"))
        };
        let at = |name: &str| blobs.join(Digest::of(name).hex());
        std::fs::write(at("blob"), "blob").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), mode).unwrap();
        assert!(fetch("blob", 5).unwrap_err().contains("4 bytes and not 5"));
        assert!(fetch("folder", 6).unwrap_err().contains("no ordinary file"));
        assert!(fetch("pipe", 0).unwrap_err().contains("no ordinary file"));
        assert_eq!(fetch("blob", 4), Ok(()));
    }
}
