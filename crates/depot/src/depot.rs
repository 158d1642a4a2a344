//! The place itself, whichever service it is in.

use std::collections::BTreeSet;
use std::sync::Arc;

use bakehouse_model::oci::Descriptor;
use bakehouse_store::{Meter, Store};

use crate::actions::{Actions, ActionsConfig};
use crate::bucket::{Bucket, BucketConfig};
use crate::crew::crew;
use crate::error::DepotError;

/// Told how far a transfer is: bytes done, bytes in all.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Which place, and how to get in.
#[derive(Debug, Clone)]
pub enum Config {
    /// GitHub's cache service.
    Actions(ActionsConfig),
    /// A bucket of S3 or of what speaks like it.
    Bucket(BucketConfig),
}

/// A place that keeps the blobs of caches.
#[derive(Debug)]
pub struct Depot {
    inside: Arc<Inside>,
    runtime: tokio::runtime::Runtime,
}

/// What tasks share.
#[derive(Debug)]
struct Inside {
    service: Service,
    store: Store,
    parallel: usize,
}

#[derive(Debug)]
enum Service {
    Actions(Actions),
    Bucket(Bucket),
}

impl Depot {
    /// The place that `config` names, for the blobs of `store`. Asks nobody yet.
    pub fn open(config: Config, store: Store) -> Result<Self, DepotError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("depot")
            .enable_all()
            .build()
            .map_err(|source| DepotError::Start { source })?;
        let (service, parallel) = match config {
            Config::Actions(config) => (Service::Actions(Actions::new(config)?), 4),
            Config::Bucket(config) => {
                let parallel = config.parallel;
                (Service::Bucket(Bucket::new(config)?), parallel)
            }
        };
        let inside = Inside { service, store, parallel: parallel.max(1) };
        Ok(Self { inside: Arc::new(inside), runtime })
    }

    /// The documents that are there, each of at most `limit` bytes: none, or one for each place
    /// that the token may read.
    pub fn documents(&self, limit: u64) -> Result<Vec<Vec<u8>>, DepotError> {
        self.runtime.block_on(async {
            match &self.inside.service {
                Service::Actions(actions) => actions.documents(limit).await,
                Service::Bucket(bucket) => bucket.documents(limit).await,
            }
        })
    }

    /// Puts those of `blobs` into the store that it lacks, several at once.
    pub fn fetch(&self, blobs: &[Descriptor], progress: Progress<'_>) -> Result<(), DepotError> {
        let store = &self.inside.store;
        let mut seen = BTreeSet::new();
        let missing = |blob: &&Descriptor| {
            store.blob_size(&blob.digest) != Some(blob.size) && seen.insert(blob.digest.clone())
        };
        let blobs: Vec<Descriptor> = blobs.iter().filter(missing).cloned().collect();
        self.runtime.block_on(crew(&blobs, self.inside.parallel, progress, |blob, meter| {
            let inside = Arc::clone(&self.inside);
            async move { inside.get(&blob, &meter).await }
        }))
    }

    /// Keeps `blobs`, those that are not there yet from the store, and then the document.
    pub fn keep(
        &self,
        blobs: &[Descriptor],
        document: &[u8],
        progress: Progress<'_>,
    ) -> Result<(), DepotError> {
        let kept = crew(blobs, self.inside.parallel, progress, |blob, meter| {
            let inside = Arc::clone(&self.inside);
            async move { inside.put(&blob, &meter).await }
        });
        self.runtime.block_on(async {
            kept.await?;
            match &self.inside.service {
                Service::Actions(actions) => actions.put_document(document).await,
                Service::Bucket(bucket) => bucket.put_document(document).await,
            }
        })
    }
}

impl Inside {
    async fn get(&self, blob: &Descriptor, meter: &Meter) -> Result<(), DepotError> {
        match &self.service {
            Service::Actions(actions) => actions.get(blob, &self.store, meter).await,
            Service::Bucket(bucket) => bucket.get(blob, &self.store, meter).await,
        }
    }

    async fn put(&self, blob: &Descriptor, meter: &Meter) -> Result<(), DepotError> {
        match &self.service {
            Service::Actions(actions) => actions.put(blob, &self.store, meter).await,
            Service::Bucket(bucket) => bucket.put(blob, &self.store, meter).await,
        }
    }
}
