//! Several blobs at once.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bakehouse_model::oci::Descriptor;
use bakehouse_store::{Meter, Store};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::{DepotError, Progress};

/// How often somebody is told how far it is.
const TELL: Duration = Duration::from_millis(100);
/// Bytes of a blob that are in memory at once.
/// A slow line must carry it within the time in which something has to come.
pub(crate) const CHUNK: u64 = 8 << 20;

/// Does `work` for each blob, `parallel` at once. After the first failure none is begun, and those
/// that are begun end: what a service was promised is kept.
pub(crate) async fn crew<F>(
    blobs: &[Descriptor],
    parallel: usize,
    progress: Progress<'_>,
    work: impl Fn(Descriptor, Meter) -> F,
) -> Result<(), DepotError>
where
    F: Future<Output = Result<(), DepotError>> + Send + 'static,
{
    let total = blobs.iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.size));
    let meter = Meter::default();
    let slots = Arc::new(Semaphore::new(parallel));
    let mut tasks = JoinSet::new();
    for blob in blobs {
        let (task, slots) = (work(blob.clone(), meter.clone()), Arc::clone(&slots));
        tasks.spawn(async move {
            // They are closed when another one failed.
            let Ok(_slot) = slots.acquire_owned().await else { return Ok(()) };
            task.await
        });
    }
    let mut failed = None;
    loop {
        match tokio::time::timeout(TELL, tasks.join_next()).await {
            Ok(None) => break,
            Ok(Some(Ok(Ok(())))) => {}
            Ok(Some(Ok(Err(error)))) => {
                slots.close();
                failed.get_or_insert(error);
            }
            Ok(Some(Err(panicked))) => std::panic::resume_unwind(panicked.into_panic()),
            Err(_) => {}
        }
        progress(meter.done().min(total), total);
    }
    failed.map_or(Ok(()), Err)
}

/// The bytes of a blob, a piece at a time: `read` gives the next one, an empty one at the end.
pub(crate) struct Pieces {
    file: std::fs::File,
    blob: Descriptor,
    left: u64,
}

impl Pieces {
    /// Of a blob that must be in the store.
    pub(crate) fn of(blob: &Descriptor, store: &Store) -> Result<Self, DepotError> {
        if store.blob_size(&blob.digest) != Some(blob.size) {
            return Err(DepotError::Lacking { digest: blob.digest.clone() });
        }
        let file = store.open_blob(&blob.digest)?;
        Ok(Self { file, blob: blob.clone(), left: blob.size })
    }

    pub(crate) fn read(&mut self) -> Result<Vec<u8>, DepotError> {
        let mut piece = Vec::new();
        let failed = |source| DepotError::Io { digest: self.blob.digest.clone(), source };
        self.file.by_ref().take(CHUNK.min(self.left)).read_to_end(&mut piece).map_err(failed)?;
        if piece.is_empty() && self.left > 0 {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        self.left -= piece.len() as u64;
        Ok(piece)
    }
}
