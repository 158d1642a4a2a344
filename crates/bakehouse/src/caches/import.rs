//! Reads caches: documents only, no layers.

use std::path::Path;
use std::sync::Arc;

use bakehouse_depot::DepotError;
use bakehouse_engine::snapshot;
use bakehouse_model::oci::{
    Descriptor, ImageConfig, Index, Manifest, Platform, Reference, media_type,
};
use bakehouse_model::{Diagnostic, Digest, EventKind, Severity, Snapshot, TransferKind};
use bakehouse_plan::assemble::Layer;
use bakehouse_plan::caches::spec::{Place, Spec};
use bakehouse_plan::caches::{self, Cache, CacheFault, Import};
use bakehouse_registry::{Client, ClientError};
use bakehouse_run::BackendError;
use bakehouse_store::{Store, StoreError};
use serde::Deserialize;
use thiserror::Error;

use super::source::Source;
use crate::transfer::Transfer;

/// The largest document that is read of a cache.
const MAX_DOCUMENT: u64 = 4 << 20;

/// The caches of a run, and where each has its blobs.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The caches.
    pub caches: Vec<Cache>,
    /// Where the blobs of each are.
    pub sources: Vec<Source>,
    /// What could not be read.
    pub notices: Vec<Diagnostic>,
}

/// A cache cannot be read.
#[derive(Debug, Error)]
enum ImportError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fetch(#[from] BackendError),
    #[error(transparent)]
    Fault(#[from] CacheFault),
    #[error("`{name}` cannot be read")]
    File { name: String, source: std::io::Error },
    #[error("its `{what}` is no document of the kind")]
    Document { what: &'static str, source: serde_json::Error },
    #[error(transparent)]
    Depot(#[from] DepotError),
    #[error("there is no cache in it")]
    Empty,
    #[error("there is none")]
    Absent,
}

/// An image manifest, an index, or a cache that looks like one of them.
#[derive(Deserialize)]
struct Top {
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

impl Loaded {
    /// Reads what `specs` name, all at once. `platforms` are those of the images in which a
    /// cache may be.
    pub fn read(specs: &[Spec], platforms: &[Platform], store: &Store, client: &Client) -> Self {
        let reader = Reader { store, client, platforms };
        let read: Vec<_> = std::thread::scope(|scope| {
            let reader = &reader;
            let started: Vec<_> =
                specs.iter().map(|spec| scope.spawn(move || reader.read(spec))).collect();
            started.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let mut loaded = Self::default();
        for (spec, read) in specs.iter().zip(read) {
            match read.unwrap_or_else(|_| Err(ImportError::Empty)) {
                Ok((caches, source)) => {
                    for cache in caches {
                        loaded.caches.push(cache);
                        loaded.sources.push(source.clone());
                    }
                }
                Err(error) => loaded.notices.push(notice(&spec.place, &error)),
            }
        }
        loaded
    }

    /// Fetches the layers of a result, and makes a file system of them.
    pub fn fetch(
        &self,
        store: &Store,
        import: &Import,
        emit: &(dyn Fn(EventKind) + Sync),
    ) -> Result<Snapshot, BackendError> {
        self.fetch_blobs(store, import, emit)?;
        let packed = |layer: &Layer| snapshot::PackedLayer {
            blob: layer.blob.clone(),
            diff_id: layer.diff_id.clone(),
            created_ms: layer.created_ms,
        };
        let layers: Vec<_> = import.layers.iter().map(packed).collect();
        snapshot::unpack_layers(store, &layers, &mut |_, _| {})
            .map_err(|error| BackendError::environment("unpack layers of a cache", error))
    }

    /// Fetches the blobs of a result that the store lacks.
    pub fn fetch_blobs(
        &self,
        store: &Store,
        import: &Import,
        emit: &(dyn Fn(EventKind) + Sync),
    ) -> Result<(), BackendError> {
        let Some(source) = self.sources.get(import.cache) else { return Ok(()) };
        let transfer = Transfer::new(TransferKind::Pull, &import.from, emit);
        let blobs: Vec<Descriptor> = import.layers.iter().map(|it| it.blob.clone()).collect();
        source.fetch(store, &blobs, &|done, total| transfer.tell(done, total))
    }
}

struct Reader<'a> {
    store: &'a Store,
    client: &'a Client,
    platforms: &'a [Platform],
}

impl Reader<'_> {
    fn read(&self, spec: &Spec) -> Result<(Vec<Cache>, Source), ImportError> {
        let name = spec.place.to_string();
        match &spec.place {
            Place::Registry { reference } => {
                let top = self.client.document(reference)?;
                let source = Source::Registry(self.client.clone(), reference.clone());
                let bytes = self.store.read_blob(&top.digest, MAX_DOCUMENT)?;
                let caches = match self.document(&name, &bytes, &source) {
                    Err(ImportError::Empty) => self.inline(reference)?,
                    other => vec![other?],
                };
                Ok((caches, source))
            }
            Place::Folder { path, tag, digest } => {
                let folder = Path::new(path);
                let source = Source::Folder(folder.to_owned());
                let top = in_folder(folder, tag, digest.as_ref())?;
                source.fetch(self.store, std::slice::from_ref(&top), &|_, _| {})?;
                let bytes = self.store.read_blob(&top.digest, MAX_DOCUMENT)?;
                Ok((vec![self.document(&name, &bytes, &source)?], source))
            }
            Place::Actions(_) | Place::Bucket(_) => self.service(&spec.place),
            // It is in the image that is being built, and read from where that was pushed.
            Place::Inline => Err(ImportError::Empty),
        }
    }

    /// Caches in a service, whose documents stand alone.
    fn service(&self, place: &Place) -> Result<(Vec<Cache>, Source), ImportError> {
        let depot = super::depots::open(place, self.store).ok_or(ImportError::Empty)??;
        let documents = depot.documents(MAX_DOCUMENT)?;
        if documents.is_empty() {
            return Err(ImportError::Absent);
        }
        let name = place.to_string();
        let caches = documents.iter().map(|document| Cache::parse_alone(&name, document));
        Ok((caches.collect::<Result<_, _>>()?, Source::Depot(Arc::new(depot), name)))
    }

    /// A cache that has a manifest or an index of its own.
    fn document(&self, name: &str, bytes: &[u8], source: &Source) -> Result<Cache, ImportError> {
        let top: Top = json("manifest", bytes)?;
        let mut blobs: Vec<Descriptor> = top.layers;
        blobs.extend(top.manifests);
        let is_config = |it: &&Descriptor| it.media_type == caches::CONFIG_TYPE;
        let config = top.config.iter().chain(&blobs).find(is_config).cloned();
        let config = config.filter(|it| it.size <= MAX_DOCUMENT).ok_or(ImportError::Empty)?;
        source.fetch(self.store, std::slice::from_ref(&config), &|_, _| {})?;
        let document = self.store.read_blob(&config.digest, MAX_DOCUMENT)?;
        let blobs = blobs.into_iter().map(|blob| (blob.digest.clone(), blob)).collect();
        Ok(Cache::parse(name, &document, &blobs)?)
    }

    /// Caches within an image, one for each platform that has one.
    fn inline(&self, reference: &Reference) -> Result<Vec<Cache>, ImportError> {
        let name = reference.familiar();
        let mut caches = Vec::new();
        for platform in self.platforms {
            let image = match self.client.resolve(reference, platform) {
                Err(ClientError::NoPlatform { .. }) => continue,
                other => other?,
            };
            let bytes = self.store.read_blob(&image.config.digest, MAX_DOCUMENT)?;
            let config: ImageConfig = json("configuration", &bytes)?;
            let records = config.extra.get(caches::INLINE).and_then(|it| it.as_str());
            let records = records.and_then(super::export::from_base64);
            let Some(records) = records else { continue };
            let layers = layers_of(&config, &image.manifest_doc);
            caches.push(Cache::inline(&name, &records, layers)?);
        }
        if caches.is_empty() { Err(ImportError::Empty) } else { Ok(caches) }
    }
}

/// The layers of an image, with the times that its history has.
fn layers_of(config: &ImageConfig, manifest: &Manifest) -> Vec<Layer> {
    let times = config.history.iter().filter(|entry| !entry.empty_layer);
    let time = |text: &Option<String>| {
        text.as_deref().and_then(bakehouse_plan::time::parse_ms).unwrap_or(0)
    };
    let mut times = times.map(|entry| time(&entry.created));
    let layers = manifest.layers.iter().zip(&config.rootfs.diff_ids);
    let layer = |(blob, diff_id): (&Descriptor, &bakehouse_model::DiffId)| Layer {
        diff_id: diff_id.clone(),
        blob: Descriptor::new(&blob.media_type, blob.digest.clone(), blob.size),
        created_ms: times.next().unwrap_or(0),
    };
    layers.map(layer).collect()
}

/// The manifest of a cache in an OCI layout.
fn in_folder(folder: &Path, tag: &str, digest: Option<&Digest>) -> Result<Descriptor, ImportError> {
    let file = |path: &Path| {
        let name = path.display().to_string();
        let limited = || {
            use std::io::Read as _;
            let mut bytes = Vec::new();
            super::source::open(path)?.0.take(MAX_DOCUMENT).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        limited().map_err(|source| ImportError::File { name, source })
    };
    if let Some(digest) = digest {
        let path = folder.join("blobs/sha256").join(digest.hex());
        let bytes = file(&path)?;
        return Ok(Descriptor::new(media_type::MANIFEST, digest.clone(), bytes.len() as u64));
    }
    let index: Index = json("index", &file(&folder.join("index.json"))?)?;
    let named = |it: &&Descriptor| {
        let name = it.annotations.get("org.opencontainers.image.ref.name");
        name.is_some_and(|name| name == tag)
    };
    let found = index.manifests.iter().rfind(named);
    let found = found.filter(|it| it.size <= MAX_DOCUMENT).ok_or(ImportError::Empty)?;
    Ok(found.clone())
}

fn json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, ImportError> {
    serde_json::from_slice(bytes).map_err(|source| ImportError::Document { what, source })
}

/// What a build says about a cache that it goes on without.
fn notice(place: &Place, error: &ImportError) -> Diagnostic {
    let mut causes = vec![error.to_string()];
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        source = cause.source();
    }
    let absent = match error {
        ImportError::Absent => true,
        ImportError::Client(error) => error.is_not_found(),
        ImportError::File { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    };
    let message = if absent {
        format!("there is no cache at `{place}`")
    } else {
        format!("the cache `{place}` cannot be used: {}", causes.join(": "))
    };
    let help = if absent {
        "the first build that writes it makes it"
    } else {
        "the build goes on without it; write it again, or see what it is"
    };
    Diagnostic {
        location: None,
        severity: Severity::Warning,
        code: if absent { "cache-absent" } else { "cache-unusable" }.to_owned(),
        message,
        help: Some(help.to_owned()),
    }
}
