//! From the store to a registry: blobs, then manifests, then the tag.
//!
//! A tag that already points there ends it at once. Every blob is first looked for, then
//! mounted from another repository of the same registry, and uploaded only when neither
//! helps. When several images push at once, each blob travels once: the others wait for
//! it and mount it. What names something is written after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bakehouse_model::Digest;
use bakehouse_model::oci::{Descriptor, Reference};
use bakehouse_store::Meter;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response, Url};

use super::crew::Crew;
use super::document::{self, Document};
use super::endpoint::Endpoint;
use super::exchange::{Ask, Target, is_temporary, pull_scope};
use super::http::{Payload, location};
use super::pull::digest_header;
use super::upload_body::UploadBody;
use super::{ClientError, ManifestFault, Progress, Pushed, Shared};

/// Repositories that are tried as the source of a mount.
const SOURCES: usize = 3;
/// Indexes in indexes.
const DEPTH: u32 = 4;

/// What registries are known to have: registry and blob, and in which repositories.
#[derive(Debug, Default)]
pub(crate) struct Present(Mutex<BTreeMap<(String, Digest), BTreeSet<String>>>);

impl Present {
    fn repositories(&self, registry: &str, digest: &Digest) -> BTreeSet<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(registry.to_owned(), digest.clone())).cloned().unwrap_or_default()
    }

    fn add(&self, registry: &str, repository: &str, digest: &Digest) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (registry.to_owned(), digest.clone());
        known.entry(key).or_default().insert(repository.to_owned());
    }

    /// Forgets everything about `registry`, which turned out to have lost something.
    fn forget(&self, registry: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, _), _| of != registry);
    }
}

/// Where to push.
#[derive(Debug)]
struct Goal {
    endpoint: Endpoint,
    to: Reference,
    /// The reference as messages show it.
    name: String,
    mount_from: Vec<String>,
}

/// All that a manifest or index stands for.
#[derive(Debug, Default)]
struct Cargo {
    /// Every blob once.
    blobs: BTreeMap<Digest, Descriptor>,
    /// Manifests with their bytes; what names another one comes after it.
    manifests: Vec<(Descriptor, Vec<u8>)>,
}

/// How a blob came to be at the registry.
enum Placed {
    Existed,
    Mounted,
    Uploaded(u64),
}

pub(crate) async fn push(
    shared: &Arc<Shared>,
    manifest: &Descriptor,
    to: &Reference,
    mount_from: &[String],
    progress: Progress<'_>,
) -> Result<Pushed, ClientError> {
    let goal = Arc::new(Goal {
        endpoint: Endpoint::upstream(&shared.config, to.registry()),
        to: to.clone(),
        name: to.familiar(),
        mount_from: mount_from.to_vec(),
    });
    if shared.points_at(&goal, &manifest.digest).await? {
        return Ok(Pushed {
            digest: manifest.digest.clone(),
            uploaded_bytes: 0,
            mounted: 0,
            existed: 0,
            unchanged: true,
        });
    }
    let mut cargo = Cargo::default();
    shared.load(&goal, manifest, &mut cargo, 0)?;
    match deliver(shared, &goal, &cargo, progress).await {
        // It had the blob when this process last looked.
        Err(error) if error.code() == Some("MANIFEST_BLOB_UNKNOWN") => {
            shared.present.forget(to.registry());
            deliver(shared, &goal, &cargo, progress).await
        }
        result => result,
    }
}

async fn deliver(
    shared: &Arc<Shared>,
    goal: &Arc<Goal>,
    cargo: &Cargo,
    progress: Progress<'_>,
) -> Result<Pushed, ClientError> {
    let total = cargo.blobs.values().fold(0, |sum: u64, blob| sum.saturating_add(blob.size));
    let meter = Meter::default();
    let mut crew = Crew::default();
    for blob in cargo.blobs.values() {
        let (shared, goal) = (Arc::clone(shared), Arc::clone(goal));
        let (blob, meter) = (blob.clone(), meter.clone());
        crew.add(async move { shared.place(&goal, &blob, &meter).await });
    }
    let placed = crew.all(|| progress(meter.done().min(total), total)).await?;
    for (manifest, bytes) in &cargo.manifests {
        shared.put_manifest(goal, manifest.digest.as_str(), manifest, bytes).await?;
    }
    let (top, bytes) = cargo.manifests.last().expect("the manifest itself is loaded last");
    if let Some(tag) = goal.to.tag() {
        shared.put_manifest(goal, tag, top, bytes).await?;
    }
    let count = |wanted: fn(&Placed) -> bool| placed.iter().filter(|placed| wanted(placed)).count();
    Ok(Pushed {
        digest: top.digest.clone(),
        uploaded_bytes: placed.iter().map(Placed::uploaded).sum(),
        mounted: count(|placed| matches!(placed, Placed::Mounted)),
        existed: count(|placed| matches!(placed, Placed::Existed)),
        unchanged: false,
    })
}

impl Placed {
    fn uploaded(&self) -> u64 {
        match self {
            Self::Uploaded(bytes) => *bytes,
            Self::Existed | Self::Mounted => 0,
        }
    }
}

impl Goal {
    fn write<'a>(&'a self, what: &'a str, tail: String) -> Ask<'a> {
        let repository = self.to.repository();
        Ask::write(&self.endpoint, what, repository, Target::Path { repository, tail })
    }
}

impl Shared {
    /// Whether the tag is there already. Whatever else the registry says comes up again.
    async fn points_at(&self, goal: &Goal, digest: &Digest) -> Result<bool, ClientError> {
        let name = goal.to.tag().unwrap_or(digest.as_str());
        let ask = goal
            .write(&goal.name, format!("manifests/{name}"))
            .method(Method::HEAD)
            .header(ACCEPT.as_str(), document::ACCEPT);
        let head = self.send(&ask).await?;
        Ok(head.status().is_success() && digest_header(&head).as_ref() == Some(digest))
    }

    /// Reads a manifest or index of the store and what it names.
    fn load(
        &self,
        goal: &Goal,
        manifest: &Descriptor,
        cargo: &mut Cargo,
        depth: u32,
    ) -> Result<(), ClientError> {
        if cargo.manifests.iter().any(|(known, _)| known.digest == manifest.digest) {
            return Ok(());
        }
        let fault = |fault| ClientError::Manifest {
            reference: goal.name.clone(),
            host: goal.endpoint.host.clone(),
            fault,
        };
        if depth >= DEPTH {
            return Err(fault(ManifestFault::Nested));
        }
        let bytes = self.store.read_blob(&manifest.digest, document::LIMIT);
        let bytes =
            bytes.map_err(|source| ClientError::store("read", manifest.digest.as_str(), source))?;
        match document::read(&bytes, Some(&manifest.media_type)).map_err(fault)?.0 {
            Document::Index(index) => {
                for child in &index.manifests {
                    if is_document(child) {
                        self.load(goal, child, cargo, depth + 1)?;
                    } else {
                        // A cache lists its blobs as if they were manifests.
                        cargo.blobs.insert(child.digest.clone(), child.clone());
                    }
                }
            }
            Document::Manifest(doc) => {
                for blob in doc.layers.into_iter().chain([doc.config]) {
                    // Layers that live at URLs of their own are not the registry's.
                    if !blob.extra.contains_key("urls") {
                        cargo.blobs.insert(blob.digest.clone(), blob);
                    }
                }
            }
        }
        cargo.manifests.push((manifest.clone(), bytes));
        Ok(())
    }

    async fn put_manifest(
        &self,
        goal: &Goal,
        name: &str,
        manifest: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), ClientError> {
        let ask = goal
            .write(&goal.name, format!("manifests/{name}"))
            .header(CONTENT_TYPE.as_str(), &manifest.media_type)
            .payload(Payload::Bytes(bytes.to_vec()));
        let response = self.ok(&ask).await?;
        same_digest(goal, &response, &manifest.digest)
    }

    /// Sees to it that the registry has `blob` in this repository.
    async fn place(
        &self,
        goal: &Goal,
        blob: &Descriptor,
        meter: &Meter,
    ) -> Result<Placed, ClientError> {
        let (registry, repository) = (goal.to.registry(), goal.to.repository());
        let _alone = self.uploads.enter((registry.to_owned(), blob.digest.clone())).await;
        let mut known = self.present.repositories(registry, &blob.digest);
        if known.remove(repository) {
            meter.add(blob.size);
            return Ok(Placed::Existed);
        }
        let _slot = self.slot(blob).await;
        let placed = if self.has(goal, blob).await? {
            Placed::Existed
        } else {
            match self.mount(goal, blob, &known).await? {
                Mount::Done => Placed::Mounted,
                Mount::Session(session) => self.upload(goal, blob, session, meter).await?,
            }
        };
        self.present.add(registry, repository, &blob.digest);
        if !matches!(placed, Placed::Uploaded(_)) {
            meter.add(blob.size);
        }
        Ok(placed)
    }

    async fn has(&self, goal: &Goal, blob: &Descriptor) -> Result<bool, ClientError> {
        let what = blob.digest.as_str();
        let ask = goal.write(what, format!("blobs/{what}")).method(Method::HEAD);
        let head = self.send(&ask).await?;
        match head.status().as_u16() {
            200..=299 => Ok(true),
            401 | 403 | 429 | 500.. => Err(self.refusal(&ask, head).await),
            _ => Ok(false),
        }
    }

    /// Asks the registry to take the blob from one of its other repositories.
    async fn mount(
        &self,
        goal: &Goal,
        blob: &Descriptor,
        known: &BTreeSet<String>,
    ) -> Result<Mount, ClientError> {
        let own = goal.to.repository();
        let guesses = goal.mount_from.iter().filter(|from| *from != own && !known.contains(*from));
        let mut session = None;
        for from in known.iter().chain(guesses).take(SOURCES) {
            let mut ask = goal.write(blob.digest.as_str(), "blobs/uploads/".to_owned());
            ask.method = Method::POST;
            ask.scopes.push(pull_scope(&goal.endpoint, from));
            ask.query = vec![("mount", blob.digest.to_string()), ("from", from.clone())];
            let response = match self.send(&ask).await {
                Ok(response) => response,
                // We may not read there; that is no reason not to write here.
                Err(ClientError::Unauthorized { .. } | ClientError::Denied { .. }) => continue,
                Err(error) => return Err(error),
            };
            match response.status().as_u16() {
                201 => {
                    self.present.add(goal.to.registry(), from, &blob.digest);
                    self.abandon(goal, session).await;
                    return Ok(Mount::Done);
                }
                202 => {
                    let next = place_of(goal, &response);
                    self.abandon(goal, std::mem::replace(&mut session, next)).await;
                }
                // A registry that cannot mount can still be uploaded to.
                _ => {}
            }
        }
        Ok(Mount::Session(session))
    }

    /// Tells the registry that an upload will not come. Whether it listens is its affair.
    async fn abandon(&self, goal: &Goal, session: Option<Url>) {
        let Some(session) = session else { return };
        let target = Target::Place(session);
        let mut ask = Ask::write(&goal.endpoint, &goal.name, goal.to.repository(), target);
        ask.method = Method::DELETE;
        ask.again = false;
        drop(self.send(&ask).await);
    }

    async fn upload(
        &self,
        goal: &Goal,
        blob: &Descriptor,
        mut session: Option<Url>,
        meter: &Meter,
    ) -> Result<Placed, ClientError> {
        if self.store.blob_size(&blob.digest) != Some(blob.size) {
            let (digest, reference) = (blob.digest.clone(), goal.name.clone());
            return Err(ClientError::MissingBlob { digest, reference });
        }
        let path = self.store.blob_path(&blob.digest);
        let body = UploadBody::new(&path, blob.size, meter.clone());
        let mut made = 0;
        loop {
            let begun = match session.take() {
                Some(session) => session,
                None => self.begin(goal, blob).await?,
            };
            made += 1;
            let (error, wait) = match self.send_blob(goal, blob, begun, body.clone()).await? {
                Sent::Done => return Ok(Placed::Uploaded(blob.size)),
                Sent::Again(error) => (error, self.config.retry.wait(made, None)),
            };
            match wait {
                // An upload that broke is over; the next one begins with a new session.
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    async fn begin(&self, goal: &Goal, blob: &Descriptor) -> Result<Url, ClientError> {
        let what = blob.digest.as_str();
        let ask = goal.write(what, "blobs/uploads/".to_owned()).method(Method::POST);
        let response = self.ok(&ask).await?;
        place_of(goal, &response).ok_or_else(|| ask.protocol("it does not say where to upload to"))
    }

    async fn send_blob(
        &self,
        goal: &Goal,
        blob: &Descriptor,
        mut place: Url,
        body: UploadBody,
    ) -> Result<Sent, ClientError> {
        let what = blob.digest.as_str();
        place.query_pairs_mut().append_pair("digest", what);
        let mut ask = Ask::write(&goal.endpoint, what, goal.to.repository(), Target::Place(place))
            .header(CONTENT_TYPE.as_str(), "application/octet-stream")
            .payload(Payload::File(body));
        ask.again = false;
        let response = match self.send(&ask).await {
            Ok(response) => response,
            Err(error @ ClientError::Unreachable { .. }) => return Ok(Sent::Again(error)),
            Err(error) => return Err(error),
        };
        let status = response.status();
        if status.is_success() {
            return same_digest(goal, &response, &blob.digest).map(|()| Sent::Done);
        }
        // 404 and 416: the session is gone or not at its start.
        let again = is_temporary(status) || matches!(status.as_u16(), 404 | 416);
        let error = self.refusal(&ask, response).await;
        if again { Ok(Sent::Again(error)) } else { Err(error) }
    }
}

/// Whether an entry of an index is what an index is made of.
fn is_document(entry: &Descriptor) -> bool {
    use bakehouse_model::oci::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST};
    [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX].contains(&entry.media_type.as_str())
}

enum Mount {
    Done,
    /// Perhaps an upload that the registry opened instead.
    Session(Option<Url>),
}

enum Sent {
    Done,
    Again(ClientError),
}

/// Where to upload to. A registry behind a proxy may not know that it is reached by TLS.
fn place_of(goal: &Goal, response: &Response) -> Option<Url> {
    let mut place = location(response)?;
    let asked = response.url();
    let same_host = place.host_str() == asked.host_str() && place.port() == asked.port();
    if same_host && asked.scheme() == "https" && place.scheme() == "http" {
        place.set_scheme("https").ok()?;
    }
    let downgrade = asked.scheme() == "https" && place.scheme() == "http";
    (!downgrade || goal.endpoint.trust != super::endpoint::Trust::Verified).then_some(place)
}

fn same_digest(goal: &Goal, response: &Response, expected: &Digest) -> Result<(), ClientError> {
    match digest_header(response) {
        Some(actual) if actual != *expected => Err(ClientError::WrongDigest {
            host: goal.endpoint.host.clone(),
            expected: expected.clone(),
            actual,
        }),
        _ => Ok(()),
    }
}
