//! From a reference and a platform to documents in the store.
//!
//! Tags are asked for with HEAD first: registries count the GETs of manifests, and a
//! manifest whose digest is known and in the store is never asked for again.

use std::collections::BTreeSet;
use std::sync::Arc;

use bakehouse_model::Digest;
use bakehouse_model::oci::{Descriptor, ImageConfig, Index, Manifest, Platform, Reference};
use bakehouse_store::Meter;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Method, Response};

use super::document::{self, Document};
use super::endpoint::Endpoint;
use super::exchange::{Ask, Target};
use super::http::read_body;
use super::{ClientError, ManifestFault, Progress, Resolved, Shared, blob};

/// Larger image configurations are not taken.
const CONFIG_LIMIT: u64 = 16 << 20;
/// Indexes in indexes.
const DEPTH: u32 = 4;
/// Entries without a platform that are looked into.
const UNDECLARED: usize = 8;

const DIGEST_HEADER: &str = "docker-content-digest";

/// Where and what is being pulled.
#[derive(Clone, Copy)]
struct Place<'a> {
    endpoint: &'a Endpoint,
    reference: &'a Reference,
    /// The reference as messages show it.
    name: &'a str,
}

/// A document that is in the store.
struct Found {
    descriptor: Descriptor,
    document: Document,
}

impl Shared {
    pub(crate) async fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Resolved, ClientError> {
        let name = reference.familiar();
        let mut failures = Vec::new();
        for endpoint in &Endpoint::all(&self.config, reference)? {
            let place = Place { endpoint, reference, name: &name };
            match self.resolve_at(place, platform).await {
                Ok(resolved) => return Ok(resolved),
                Err(error @ ClientError::Store { .. }) => return Err(error),
                Err(error) => failures.push(error),
            }
        }
        Err(ClientError::of_all(name, failures))
    }

    /// What `reference` points at, manifest or index, whatever it is for; in the store after.
    pub(crate) async fn document(&self, reference: &Reference) -> Result<Descriptor, ClientError> {
        let name = reference.familiar();
        let mut failures = Vec::new();
        for endpoint in &Endpoint::all(&self.config, reference)? {
            match self.top(Place { endpoint, reference, name: &name }).await {
                Ok(found) => return Ok(found.descriptor),
                Err(error @ ClientError::Store { .. }) => return Err(error),
                Err(error) => failures.push(error),
            }
        }
        Err(ClientError::of_all(name, failures))
    }

    async fn top(&self, place: Place<'_>) -> Result<Found, ClientError> {
        match place.reference.digest() {
            Some(digest) => self.by_digest(place, digest, None).await,
            None => self.by_tag(place, place.reference.tag().unwrap_or("latest")).await,
        }
    }

    async fn resolve_at(
        &self,
        place: Place<'_>,
        platform: &Platform,
    ) -> Result<Resolved, ClientError> {
        let top = self.top(place).await?;
        let index =
            matches!(top.document, Document::Index(_)).then(|| top.descriptor.digest.clone());
        let (manifest, doc) = self.narrow(place, top, platform).await?;
        self.config_blob(place, &doc.config).await?;
        Ok(Resolved { manifest, config: doc.config.clone(), index, manifest_doc: *doc })
    }

    /// Walks from an index to the manifest that fits.
    async fn narrow(
        &self,
        place: Place<'_>,
        top: Found,
        wanted: &Platform,
    ) -> Result<(Descriptor, Box<Manifest>), ClientError> {
        let mut found = top;
        for _ in 0..DEPTH {
            let index = match found.document {
                Document::Manifest(manifest) => return Ok((found.descriptor, manifest)),
                Document::Index(index) => index,
            };
            found = match index.select(wanted) {
                Some(chosen) => {
                    let mut next = self.by_digest(place, &chosen.digest, Some(chosen.size)).await?;
                    next.descriptor.platform.clone_from(&chosen.platform);
                    next
                }
                None => self.undeclared(place, &index, wanted).await?.ok_or_else(|| {
                    ClientError::NoPlatform {
                        reference: place.name.to_owned(),
                        wanted: Box::new(wanted.clone()),
                        available: platforms(&index),
                    }
                })?,
            };
        }
        Err(place.fault(ManifestFault::Nested))
    }

    /// The entry of an index that does not say its platform and turns out to fit.
    async fn undeclared(
        &self,
        place: Place<'_>,
        index: &Index,
        wanted: &Platform,
    ) -> Result<Option<Found>, ClientError> {
        let silent = index.manifests.iter().filter(|entry| entry.platform.is_none());
        for entry in silent.take(UNDECLARED) {
            let found = match self.by_digest(place, &entry.digest, Some(entry.size)).await {
                Ok(found) => found,
                Err(ClientError::Manifest { .. }) => continue,
                Err(error) => return Err(error),
            };
            let fits = match &found.document {
                Document::Index(inner) => inner.select(wanted).is_some(),
                Document::Manifest(manifest) => {
                    let bytes = self.config_blob(place, &manifest.config).await?;
                    serde_json::from_slice::<ImageConfig>(&bytes)
                        .is_ok_and(|config| platform_of(&config).distance(wanted).is_some())
                }
            };
            if fits {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The image configuration, which is in the store afterwards.
    async fn config_blob(
        &self,
        place: Place<'_>,
        config: &Descriptor,
    ) -> Result<Vec<u8>, ClientError> {
        if config.size > CONFIG_LIMIT {
            return Err(ClientError::OverLimit {
                what: config.digest.to_string(),
                host: place.endpoint.host.clone(),
                limit: CONFIG_LIMIT,
            });
        }
        let endpoints = std::slice::from_ref(place.endpoint);
        self.fetch_blob(endpoints, place.reference, config, &Meter::default()).await?;
        let (store, digest) = (self.store.clone(), config.digest.clone());
        self.on_disk("read", &config.digest, move || store.read_blob(&digest, CONFIG_LIMIT)).await
    }

    async fn by_tag(&self, place: Place<'_>, tag: &str) -> Result<Found, ClientError> {
        let head = self.send(&place.ask(tag).method(Method::HEAD)).await?;
        let status = head.status();
        if status.as_u16() == 429 || status.is_server_error() {
            return Err(self.refusal(&place.ask(tag), head).await);
        }
        match digest_header(&head).filter(|_| status.is_success()) {
            Some(digest) => self.by_digest(place, &digest, None).await,
            // What HEAD cannot say GET can, be it a digest or a reason.
            None => self.get(place, tag, None).await,
        }
    }

    async fn by_digest(
        &self,
        place: Place<'_>,
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<Found, ClientError> {
        let (store, wanted) = (self.store.clone(), digest.clone());
        if let Some(have) = self.store.blob_size(digest).filter(|have| *have <= document::LIMIT)
            && size.is_none_or(|size| size == have)
        {
            let read = self.on_disk("read", digest, move || store.read_blob(&wanted, have)).await;
            if let Ok(bytes) = read {
                return place.found(digest.clone(), &bytes, None);
            }
        }
        let found = self.get(place, digest.as_str(), Some(digest)).await?;
        match size {
            Some(expected) if expected != found.descriptor.size => Err(ClientError::WrongSize {
                host: place.endpoint.host.clone(),
                digest: digest.clone(),
                expected,
                actual: found.descriptor.size,
            }),
            _ => Ok(found),
        }
    }

    /// Asks for a manifest and keeps its bytes.
    async fn get(
        &self,
        place: Place<'_>,
        name: &str,
        wanted: Option<&Digest>,
    ) -> Result<Found, ClientError> {
        let (bytes, content_type, announced) = self.get_bytes(place, name).await?;
        let digest = Digest::of(&bytes);
        if let Some(expected) = wanted.or(announced.as_ref()).filter(|wanted| **wanted != digest) {
            return Err(ClientError::WrongDigest {
                host: place.endpoint.host.clone(),
                expected: expected.clone(),
                actual: digest,
            });
        }
        let found = place.found(digest.clone(), &bytes, content_type.as_deref())?;
        let store = self.store.clone();
        self.on_disk("write", &digest, move || store.put_blob(&bytes)).await?;
        Ok(found)
    }

    async fn get_bytes(
        &self,
        place: Place<'_>,
        name: &str,
    ) -> Result<(Vec<u8>, Option<String>, Option<Digest>), ClientError> {
        let ask = place.ask(name);
        let too_large = || place.fault(ManifestFault::TooLarge { limit: document::LIMIT });
        let mut made = 0;
        loop {
            let mut response = self.ok(&ask).await?;
            made += 1;
            if length(&response).is_some_and(|length| length > document::LIMIT) {
                return Err(too_large());
            }
            let header = response.headers().get(CONTENT_TYPE);
            let content_type = header.and_then(|value| value.to_str().ok()).map(str::to_owned);
            let announced = digest_header(&response);
            match read_body(&mut response, document::LIMIT).await {
                Ok((_, true)) => return Err(too_large()),
                Ok((bytes, false)) => return Ok((bytes, content_type, announced)),
                Err(error) => match self.config.retry.wait(made, None) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(ask.unreachable(error)),
                },
            }
        }
    }

    pub(crate) async fn head_tag(
        &self,
        reference: &Reference,
    ) -> Result<Option<Digest>, ClientError> {
        let name = reference.familiar();
        let mut failures = Vec::new();
        for endpoint in &Endpoint::all(&self.config, reference)? {
            let place = Place { endpoint, reference, name: &name };
            match self.head_at(place).await {
                Ok(digest) => return Ok(Some(digest)),
                Err(error) => failures.push(error),
            }
        }
        let error = ClientError::of_all(name, failures);
        if error.is_not_found() { Ok(None) } else { Err(error) }
    }

    /// What the reference points at, at one endpoint. Nothing is kept.
    async fn head_at(&self, place: Place<'_>) -> Result<Digest, ClientError> {
        let name = match (place.reference.digest(), place.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let ask = place.ask(&name).method(Method::HEAD);
        let head = self.send(&ask).await?;
        let status = head.status();
        match digest_header(&head) {
            Some(digest) if status.is_success() => Ok(digest),
            _ if status.is_success() || status.as_u16() == 405 => {
                Ok(Digest::of(self.get_bytes(place, &name).await?.0))
            }
            _ => Err(self.refusal(&ask, head).await),
        }
    }
}

impl<'a> Place<'a> {
    fn ask(self, name: &str) -> Ask<'a> {
        let tail = format!("manifests/{name}");
        let target = Target::Path { repository: self.reference.repository(), tail };
        Ask::read(self.endpoint, self.name, target).header(ACCEPT.as_str(), document::ACCEPT)
    }

    fn found(
        self,
        digest: Digest,
        bytes: &[u8],
        content_type: Option<&str>,
    ) -> Result<Found, ClientError> {
        let read = document::read(bytes, content_type);
        let (document, media_type) = read.map_err(|fault| self.fault(fault))?;
        let descriptor = Descriptor::new(&media_type, digest, bytes.len() as u64);
        Ok(Found { descriptor, document })
    }

    fn fault(self, fault: ManifestFault) -> ClientError {
        let (reference, host) = (self.name.to_owned(), self.endpoint.host.clone());
        ClientError::Manifest { reference, host, fault }
    }
}

pub(crate) async fn fetch_blobs(
    shared: &Arc<Shared>,
    reference: &Reference,
    blobs: &[Descriptor],
    progress: Progress<'_>,
) -> Result<(), ClientError> {
    let mut seen = BTreeSet::new();
    let missing: Vec<Descriptor> = blobs
        .iter()
        .filter(|blob| shared.store.blob_size(&blob.digest) != Some(blob.size))
        .filter(|blob| seen.insert(blob.digest.clone()))
        .cloned()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let endpoints = Endpoint::all(&shared.config, reference)?;
    blob::fetch_all(shared, endpoints, reference, missing, progress).await
}

/// The digest that a registry says its answer has.
pub(crate) fn digest_header(response: &Response) -> Option<Digest> {
    response.headers().get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

fn length(response: &Response) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The platforms of an index; attestations are none.
fn platforms(index: &Index) -> Vec<Platform> {
    let all = index.manifests.iter().filter_map(|entry| entry.platform.clone());
    all.filter(|platform| platform.os != "unknown").collect()
}

fn platform_of(config: &ImageConfig) -> Platform {
    Platform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
        variant: Some(config.variant.clone()).filter(|variant| !variant.is_empty()),
        os_version: None,
    }
}
