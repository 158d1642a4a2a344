//! Fetches one blob into the store, wherever it can be had.
//!
//! Bytes go to the store's partial download and are hashed on the way, so that a broken
//! connection, or a process that died, goes on at its last byte. Nothing shows as a blob
//! before digest and size are right. Two threads that want one blob fetch it once.

use std::io::{self, Write as _};
use std::sync::Arc;

use bakehouse_model::Digest;
use bakehouse_model::oci::{Descriptor, Reference};
use bakehouse_store::{Meter, Partial, StoreError};
use reqwest::Response;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use tokio::sync::SemaphorePermit;

use super::endpoint::Endpoint;
use super::exchange::{Ask, Target, may_pass_transport};
use super::http::next_chunk;
use super::{ClientError, Shared, TransportError};

/// However much progress each of them makes, a blob is not asked for more often.
const REQUESTS: u32 = 50;
/// Blobs up to this size move whenever they like.
const SMALL: u64 = 128 << 10;

/// Why a request did not bring the rest of a blob.
enum Broken {
    /// It may go on from where it is.
    Transport(TransportError),
    /// It must begin again.
    Useless,
    /// It is over.
    Fatal(ClientError),
}

impl Shared {
    /// Puts `blob` into the store, asking `endpoints` in turn.
    pub(crate) async fn fetch_blob(
        &self,
        endpoints: &[Endpoint],
        reference: &Reference,
        blob: &Descriptor,
        meter: &Meter,
    ) -> Result<(), ClientError> {
        let _alone = self.downloads.enter(blob.digest.clone()).await;
        if self.store.blob_size(&blob.digest) == Some(blob.size) {
            meter.add(blob.size);
            return Ok(());
        }
        let _slot = self.slot(blob).await;
        let mut failures = Vec::new();
        for endpoint in endpoints {
            let before = Meter::default();
            let fetch = Fetch { shared: self, endpoint, reference, blob, meter, counted: &before };
            match fetch.whole().await {
                Ok(()) => return Ok(()),
                Err(error @ ClientError::Store { .. }) => return Err(error),
                Err(error) => failures.push(error),
            }
            meter.take_back(before.reset());
        }
        Err(ClientError::of_all(blob.digest.to_string(), failures))
    }

    /// The right to move `blob`. Small ones need not wait for large ones.
    pub(crate) async fn slot(&self, blob: &Descriptor) -> Option<SemaphorePermit<'_>> {
        if blob.size <= SMALL {
            return None;
        }
        Some(self.slots.acquire().await.expect("the semaphore is never closed"))
    }

    /// Runs what blocks on the file system.
    pub(crate) async fn on_disk<T: Send + 'static>(
        &self,
        doing: &'static str,
        digest: &Digest,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let failed = |source| ClientError::store(doing, digest.as_str(), source);
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(failed),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// The store's own error for a failed write to a blob.
    pub(crate) fn unwritten(&self, digest: &str, error: io::Error) -> ClientError {
        let path = self.store.home().to_owned();
        let source = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { path },
            _ => StoreError::Io { doing: "write to", path, source: error },
        };
        ClientError::store("write", digest, source)
    }
}

/// One blob from one endpoint.
struct Fetch<'a> {
    shared: &'a Shared,
    endpoint: &'a Endpoint,
    reference: &'a Reference,
    blob: &'a Descriptor,
    meter: &'a Meter,
    /// What of `meter` came from here.
    counted: &'a Meter,
}

impl Fetch<'_> {
    async fn whole(&self) -> Result<(), ClientError> {
        // What an earlier download left may come from elsewhere and be wrong: then, and
        // only then, the blob is fetched a second time.
        let mut inherited = self.fill().await?;
        loop {
            let (partial, began_at) = inherited;
            let size = self.blob.size;
            let committed =
                self.shared.on_disk("write", &self.blob.digest, move || partial.commit(Some(size)));
            match committed.await {
                Ok(_) => return Ok(()),
                Err(ClientError::Store { source, doing, what }) => match *source {
                    StoreError::DigestMismatch { .. } if began_at > 0 => {
                        self.uncount();
                        inherited = self.fill().await?;
                    }
                    StoreError::DigestMismatch { expected, found: actual } => {
                        let host = self.endpoint.host.clone();
                        return Err(ClientError::WrongDigest { host, expected, actual });
                    }
                    _ => return Err(ClientError::Store { source, doing, what }),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// A partial download with all bytes, and where the first request for it began.
    async fn fill(&self) -> Result<(Partial, u64), ClientError> {
        let (store, digest) = (self.shared.store.clone(), self.blob.digest.clone());
        let resumed =
            self.shared.on_disk("write", &self.blob.digest, move || store.resume(&digest));
        let mut partial = resumed.await?;
        let mut began_at = partial.offset();
        self.count(began_at);
        let (mut made, mut stalled) = (0, 0);
        while partial.offset() != self.blob.size || made == 0 && self.blob.size == 0 {
            if partial.offset() > self.blob.size {
                self.restart(&mut partial)?;
            }
            let from = partial.offset();
            made += 1;
            match self.pour(&mut partial).await {
                Ok(()) => break,
                Err(Broken::Fatal(error)) => return Err(error),
                Err(Broken::Useless) => {
                    began_at = 0;
                    self.restart(&mut partial)?;
                    self.again(&mut stalled, made, None).await?;
                }
                Err(Broken::Transport(error)) => {
                    if partial.offset() > from {
                        stalled = 0;
                    }
                    self.again(&mut stalled, made, Some(error)).await?;
                }
            }
            began_at = began_at.min(partial.offset());
        }
        Ok((partial, began_at))
    }

    /// Waits before the next request, or says why there is none.
    async fn again(
        &self,
        stalled: &mut u32,
        made: u32,
        error: Option<TransportError>,
    ) -> Result<(), ClientError> {
        *stalled += 1;
        let passes = error.as_ref().is_none_or(|error| may_pass_transport(error, *stalled));
        let wait =
            self.shared.config.retry.wait(*stalled, None).filter(|_| passes && made < REQUESTS);
        match (wait, error) {
            (Some(wait), _) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            (None, Some(source)) => Err(self.ask(0).unreachable(source)),
            (None, None) => Err(self.ask(0).protocol("it sends other parts than are asked for")),
        }
    }

    /// One request for what is missing.
    async fn pour(&self, partial: &mut Partial) -> Result<(), Broken> {
        let from = partial.offset();
        let ask = self.ask(from);
        let mut response = self.shared.send(&ask).await.map_err(Broken::Fatal)?;
        match response.status().as_u16() {
            200 => {
                if from > 0 {
                    self.restart(partial).map_err(Broken::Fatal)?;
                }
                self.check_length(&response).map_err(Broken::Fatal)?;
            }
            206 if continues(&response, from, self.blob.size) => {}
            206 | 416 if from > 0 => return Err(Broken::Useless),
            _ => return Err(Broken::Fatal(self.shared.refusal(&ask, response).await)),
        }
        while let Some(chunk) = next_chunk(&mut response).await.map_err(Broken::Transport)? {
            let chunk = chunk.as_ref();
            let received = partial.offset().saturating_add(chunk.len() as u64);
            if received > self.blob.size {
                self.restart(partial).map_err(Broken::Fatal)?;
                return Err(Broken::Fatal(self.wrong_size(received)));
            }
            partial.write_all(chunk).map_err(|error| {
                Broken::Fatal(self.shared.unwritten(self.blob.digest.as_str(), error))
            })?;
            self.count(chunk.len() as u64);
        }
        let (received, expected) = (partial.offset(), self.blob.size);
        if received < expected {
            return Err(Broken::Transport(TransportError::Short { received, expected }));
        }
        Ok(())
    }

    fn check_length(&self, response: &Response) -> Result<(), ClientError> {
        let header = response.headers().get(CONTENT_LENGTH);
        let announced = header.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        match announced {
            Some(length) if length != self.blob.size => Err(self.wrong_size(length)),
            _ => Ok(()),
        }
    }

    fn wrong_size(&self, actual: u64) -> ClientError {
        ClientError::WrongSize {
            host: self.endpoint.host.clone(),
            digest: self.blob.digest.clone(),
            expected: self.blob.size,
            actual,
        }
    }

    fn ask(&self, from: u64) -> Ask<'_> {
        let tail = format!("blobs/{}", self.blob.digest);
        let target = Target::Path { repository: self.reference.repository(), tail };
        let ask = Ask::read(self.endpoint, self.blob.digest.as_str(), target);
        if from == 0 { ask } else { ask.header(RANGE.as_str(), &format!("bytes={from}-")) }
    }

    fn restart(&self, partial: &mut Partial) -> Result<(), ClientError> {
        self.uncount();
        let restarted = partial.restart();
        restarted.map_err(|source| ClientError::store("write", self.blob.digest.as_str(), source))
    }

    fn count(&self, bytes: u64) {
        self.meter.add(bytes);
        self.counted.add(bytes);
    }

    fn uncount(&self) {
        self.meter.take_back(self.counted.reset());
    }
}

/// Whether a 206 has the rest of a blob of `size` bytes, from `from` on.
fn continues(response: &Response, from: u64, size: u64) -> bool {
    let header = response.headers().get(CONTENT_RANGE);
    header.and_then(|value| value.to_str().ok()).is_some_and(|text| is_rest(text, from, size))
}

fn is_rest(content_range: &str, from: u64, size: u64) -> bool {
    let parsed = || -> Option<(u64, u64, Option<u64>)> {
        let (range, total) = content_range.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (start, end) = range.split_once('-')?;
        let total = if total == "*" { None } else { Some(total.parse().ok()?) };
        Some((start.parse().ok()?, end.parse().ok()?, total))
    };
    parsed().is_some_and(|(start, end, total)| {
        start == from && start <= end && end < size && total.is_none_or(|total| total == size)
    })
}

/// Fetches several blobs at once and says how far they are together.
pub(crate) async fn fetch_all(
    shared: &Arc<Shared>,
    endpoints: Vec<Endpoint>,
    reference: &Reference,
    blobs: Vec<Descriptor>,
    progress: super::Progress<'_>,
) -> Result<(), ClientError> {
    let total = blobs.iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.size));
    let meter = Meter::default();
    let endpoints: Arc<[Endpoint]> = endpoints.into();
    let mut tasks = super::crew::Crew::default();
    for blob in blobs {
        let (shared, endpoints) = (Arc::clone(shared), Arc::clone(&endpoints));
        let (reference, meter) = (reference.clone(), meter.clone());
        tasks.add(async move { shared.fetch_blob(&endpoints, &reference, &blob, &meter).await });
    }
    tasks.all(|| progress(meter.done().min(total), total)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rest_that_was_asked_for_is_taken() {
        let cases = [
            ("bytes 5-9/10", true),
            ("bytes 5-7/10", true),
            ("bytes 5-9/*", true),
            ("bytes 4-9/10", false),
            ("bytes 5-10/10", false),
            ("bytes 5-9/11", false),
            ("bytes 5-4/10", false),
            ("5-9/10", false),
            ("bytes */10", false),
            ("", false),
        ];
        for (header, expected) in cases {
            assert_eq!(is_rest(header, 5, 10), expected, "{header}");
        }
    }
}
