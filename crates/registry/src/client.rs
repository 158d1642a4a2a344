//! The client: resolve, fetch, push and download, from many threads at once.
//!
//! [`Client`] blocks its caller and does the work on a runtime of its own, which starts
//! with the first request and not before. Cloning it is cheap, and all clones share
//! connections, tokens, limits and what is known of the other side: a blob that two
//! threads want is fetched once, a blob that two images push is uploaded once.
//!
//! What it takes from a registry it verifies (digest and size) before the store shows it
//! to anybody. What it tells of a registry never contains a secret.

mod blob;
mod crew;
mod document;
mod download;
mod endpoint;
mod error;
mod exchange;
mod flight;
mod http;
mod pull;
mod push;
pub(crate) mod redact;
mod retry;
mod session;
mod token;
mod upload_body;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bakehouse_model::Digest;
use bakehouse_model::oci::{Descriptor, Manifest, Platform, Reference};
use bakehouse_store::Store;
use tokio::sync::Semaphore;

pub use error::{Answer, ClientError, ConfigError, ManifestFault, TransportError};
pub use retry::RetryPolicy;

use flight::Flights;
use http::{Http, LazyRuntime};
use push::Present;
use session::Sessions;

use crate::auth::DockerConfig;

/// Pulls from and pushes to registries, into and out of one store.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    // Apart from `shared`, which tasks on the runtime hold: a runtime must not be dropped
    // by one of its own threads.
    runtime: Arc<LazyRuntime>,
}

/// What every clone of a client shares.
#[derive(Debug)]
pub(crate) struct Shared {
    config: ClientConfig,
    store: Store,
    http: Http,
    sessions: Sessions,
    /// Transfers of blobs at once.
    slots: Semaphore,
    downloads: Flights<Digest>,
    /// By registry and blob.
    uploads: Flights<(String, Digest)>,
    present: Present,
}

/// The settings of a [`Client`]. The caller reads flags and environment; this room does not.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Where to look before a registry itself, in this order.
    pub mirrors: Vec<Mirror>,
    /// Registries (`host` or `host:port`) that may be asked over plain HTTP, and whose
    /// certificates are not checked. Loopback needs not be listed.
    pub insecure: Vec<String>,
    /// Docker's `config.json`; none for no credentials.
    pub docker_config: Option<PathBuf>,
    /// Transfers at once, over all threads.
    pub max_concurrent: usize,
    /// How the client presents itself.
    pub user_agent: String,
    /// When to try again.
    pub retry: RetryPolicy,
    /// The largest file that [`Client::download`] takes, in bytes.
    pub download_limit: u64,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            mirrors: Vec::new(),
            insecure: Vec::new(),
            docker_config: None,
            max_concurrent: 6,
            user_agent: concat!("bakehouse/", env!("CARGO_PKG_VERSION")).to_owned(),
            retry: RetryPolicy::default(),
            download_limit: 64 << 30,
        }
    }
}

/// Another place to ask for a registry's images.
#[derive(Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The registry as references write it: `docker.io`.
    pub registry: String,
    /// `http://HOST:PORT`, `https://HOST` or either with a path, which stands before every
    /// repository, as in BuildKit's and containerd's settings.
    pub url: String,
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Somebody may have put a password there; it is refused, and must not be printed.
        let url = redact::url_text(&self.url);
        f.debug_struct("Mirror").field("registry", &self.registry).field("url", &url).finish()
    }
}

/// What a reference and a platform come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The manifest of the platform; its bytes are in the store.
    pub manifest: Descriptor,
    /// The image configuration; its bytes are in the store.
    pub config: Descriptor,
    /// The index that the reference points at, if it does not point at a manifest.
    pub index: Option<Digest>,
    /// The manifest, read.
    pub manifest_doc: Manifest,
}

impl Resolved {
    /// What the reference points at: the index if there is one, else the manifest.
    pub fn digest(&self) -> &Digest {
        self.index.as_ref().unwrap_or(&self.manifest.digest)
    }
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest's digest, which the tag points at now.
    pub digest: Digest,
    /// Bytes that went over the wire as blobs.
    pub uploaded_bytes: u64,
    /// Blobs that the registry took from another of its repositories.
    pub mounted: usize,
    /// Blobs that were there already.
    pub existed: usize,
    /// Whether the tag pointed at this manifest before; then nothing else was done.
    pub unchanged: bool,
}

/// A downloaded file, which is a blob of the store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Its content.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// `Last-Modified`, in seconds since 1970.
    pub last_modified: Option<i64>,
    /// The name that the server or else the URL gives; always a single path component.
    pub file_name: Option<String>,
}

/// Told how far a transfer is: bytes done, bytes in all (0 while that is not known).
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

impl Client {
    /// A client that keeps what it fetches in `store`. Does nothing yet: no file is read,
    /// no thread started.
    pub fn new(config: ClientConfig, store: Store) -> Self {
        let slots = Semaphore::new(config.max_concurrent.max(1));
        let http = Http::new(&config.user_agent);
        let sessions = Sessions::new(DockerConfig::new(config.docker_config.clone()));
        let shared = Shared {
            config,
            store,
            http,
            sessions,
            slots,
            downloads: Flights::default(),
            uploads: Flights::default(),
            present: Present::default(),
        };
        Self { shared: Arc::new(shared), runtime: Arc::default() }
    }

    /// Finds the manifest of `reference` for `platform` and puts it, the index it came
    /// from and its image configuration into the store.
    ///
    /// A reference with a digest whose documents are in the store asks nobody. An image
    /// that is no index is taken as it is, whatever platform its configuration names.
    pub fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Resolved, ClientError> {
        self.run(self.shared.resolve(reference, platform))
    }

    /// Finds what `reference` points at, which need be no image, and puts it into the store.
    pub fn document(&self, reference: &Reference) -> Result<Descriptor, ClientError> {
        self.run(self.shared.document(reference))
    }

    /// Fetches those of `blobs` that the store lacks, several at once.
    pub fn fetch_blobs(
        &self,
        reference: &Reference,
        blobs: &[Descriptor],
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        self.run(pull::fetch_blobs(&self.shared, reference, blobs, progress))
    }

    /// Fetches every layer of `manifest` that the store lacks, several at once.
    pub fn fetch_layers(
        &self,
        reference: &Reference,
        manifest: &Manifest,
        progress: Progress<'_>,
    ) -> Result<(), ClientError> {
        self.fetch_blobs(reference, &manifest.layers, progress)
    }

    /// What `reference` points at now, manifest or index; none if there is nothing.
    pub fn head_tag(&self, reference: &Reference) -> Result<Option<Digest>, ClientError> {
        self.run(self.shared.head_tag(reference))
    }

    /// Pushes a manifest or index that is in the store with all that it names, then moves
    /// the tag of `to` there. Blobs that are in a repository of `mount_from` on the same
    /// registry are taken from there by the registry itself.
    ///
    /// A blob that is not in the store is no error as long as the registry has it.
    pub fn push(
        &self,
        manifest: &Descriptor,
        to: &Reference,
        mount_from: &[String],
        progress: Progress<'_>,
    ) -> Result<Pushed, ClientError> {
        self.run(push::push(&self.shared, manifest, to, mount_from, progress))
    }

    /// Downloads an http or https URL into the store.
    pub fn download(&self, url: &str, progress: Progress<'_>) -> Result<Downloaded, ClientError> {
        self.run(self.shared.download(url, progress))
    }

    fn run<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        let runtime = self.runtime.get().map_err(|source| ClientError::Start { source })?;
        runtime.block_on(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_asks_nobody_starts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let client = Client::new(ClientConfig::default(), store);
        assert!(!client.runtime.is_started());
        let nobody = Manifest {
            schema_version: 2,
            media_type: None,
            config: Descriptor::new("", Digest::of(""), 0),
            layers: Vec::new(),
            annotations: Default::default(),
            extra: Default::default(),
        };
        let reference = "debian".parse().unwrap();
        client.fetch_layers(&reference, &nobody, &|_, _| ()).unwrap();
    }
}
