//! Writes caches: what a run came to, for whoever reads it next.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use bakehouse_depot::DepotError;
use bakehouse_model::oci::{Descriptor, Index, Manifest, Reference, media_type};
use bakehouse_model::{
    Compression, Diagnostic, EventKind, LayerId, Record, Severity, Snapshot, TransferKind,
};
use bakehouse_plan::assemble::{self, Layer, MediaTypes};
use bakehouse_plan::caches::document::CacheConfig;
use bakehouse_plan::caches::export::{self, Stacked};
use bakehouse_plan::caches::spec::{Place, Spec};
use bakehouse_plan::caches::{CONFIG_TYPE, CREATED_AT, Import, UNCOMPRESSED};
use bakehouse_plan::evaluate::{Decision, Evaluation};
use bakehouse_plan::graph::StepIndex;
use bakehouse_plan::time::rfc3339_ms;
use bakehouse_registry::{Client, ClientError};
use bakehouse_run::BackendError;
use bakehouse_store::Store;
use bakehouse_store::layout::{self, LayoutImage};

use super::depots::depot_error;
use super::import::Loaded;
use super::source::Source;
use super::wishes::Wish;
use crate::backends::client_error;
use crate::finish::layers::{self, Way};
use crate::memory::store_error;
use crate::transfer::Transfer;

/// BuildKit reads no larger document of a cache.
const BUILDKIT_LIMIT: usize = 1 << 20;

/// Writes the caches of one run.
pub struct Exporter<'a> {
    /// Where layers are.
    pub store: &'a Store,
    /// Who pushes.
    pub client: &'a Client,
    /// The caches that were read, of which some results were never fetched.
    pub loaded: &'a Loaded,
    /// Who is told.
    pub emit: &'a (dyn Fn(EventKind) + Sync),
}

impl std::fmt::Debug for Exporter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("store", self.store).finish_non_exhaustive()
    }
}

impl Exporter<'_> {
    /// Writes the cache of what `roots` need.
    pub fn write(
        &self,
        wish: &Wish,
        evaluation: &Evaluation<'_>,
        roots: &[StepIndex],
    ) -> Result<(), BackendError> {
        let job = Job { wish, evaluation, roots };
        let written = match self.attempt(&job, Unfetched::ByName) {
            Err(WriteError::Lacking(_)) => self.attempt(&job, Unfetched::Fetched),
            other => other,
        };
        written.map_err(|(WriteError::Lacking(error) | WriteError::Failed(error))| error)
    }

    fn attempt(&self, job: &Job<'_>, unfetched: Unfetched) -> Result<(), WriteError> {
        let Job { wish, evaluation, roots } = *job;
        let spec = &wish.spec;
        let mut layers = Layers { exporter: self, spec, unfetched, made: BTreeMap::new() };
        let mut results = BTreeMap::new();
        for step in export::wanted(evaluation, roots, spec.mode) {
            if let Some(stacked) = layers.of(evaluation.decision(step))? {
                results.insert(step, stacked);
            }
        }
        let mut document = export::document(evaluation, roots, &results);
        if document.layers.is_empty() {
            (self.emit)(noticed(wish, "cache-empty", "there is nothing to write in it"));
            return Ok(());
        }
        match &spec.place {
            Place::Registry { reference } => {
                self.push(&self.manifest(wish, &document, &results)?, reference)?;
            }
            Place::Folder { path, tag, .. } => {
                let manifest = self.manifest(wish, &document, &results)?;
                self.to_folder(&manifest, Path::new(path), tag)?;
            }
            place @ (Place::Actions(_) | Place::Bucket(_)) => {
                let all = results.values().flat_map(|stack| stack.layers.iter().cloned());
                document.describe(&all.collect::<Vec<_>>());
                self.to_service(place, &document)?;
            }
            Place::Inline => return Ok(()),
        }
        (self.emit)(EventKind::Exported {
            image: wish.image.clone(),
            kind: "cache".to_owned(),
            dest: spec.place.to_string(),
        });
        Ok(())
    }

    /// Puts the documents into the store.
    fn manifest(
        &self,
        wish: &Wish,
        document: &CacheConfig,
        results: &BTreeMap<StepIndex, Stacked>,
    ) -> Result<Descriptor, BackendError> {
        let bytes = assemble::document(document);
        if bytes.len() > BUILDKIT_LIMIT {
            let what = "it is larger than BuildKit reads; use mode=min, or one for each image";
            (self.emit)(noticed(wish, "cache-large", what));
        }
        let digest = self.store.put_blob(&bytes).map_err(store_error)?;
        let config = Descriptor::new(CONFIG_TYPE, digest, bytes.len() as u64);
        let all = results.values().flat_map(|stack| &stack.layers);
        let known: BTreeMap<String, &Layer> =
            all.map(|layer| (layer.blob.digest.to_string(), layer)).collect();
        let mut blobs: Vec<Descriptor> = Vec::new();
        for layer in document.layers.iter().filter_map(|layer| known.get(&layer.blob)) {
            if !blobs.iter().any(|blob| blob.digest == layer.blob.digest) {
                blobs.push(described(layer, wish.spec.types));
            }
        }
        let (bytes, media_type) = documents(&wish.spec, config, blobs);
        let digest = self.store.put_blob(&bytes).map_err(store_error)?;
        Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
    }

    fn push(&self, manifest: &Descriptor, to: &Reference) -> Result<(), WriteError> {
        let what = to.familiar();
        let transfer = Transfer::new(TransferKind::Push, &what, self.emit);
        let sources = self.loaded.sources.iter().filter_map(|source| source.reference());
        let same = sources.filter(|from| from.registry() == to.registry());
        let repositories: Vec<String> = same.map(|from| from.repository().to_owned()).collect();
        let pushed = self
            .client
            .push(manifest, to, &repositories, &|done, total| transfer.tell(done, total));
        let doing = format!("write the cache `{what}`");
        match pushed {
            Ok(_) => Ok(()),
            Err(error @ ClientError::MissingBlob { .. }) => {
                Err(WriteError::Lacking(client_error(&doing, error)))
            }
            Err(error) => Err(client_error(&doing, error).into()),
        }
    }

    /// The document stands alone there, and describes its layers itself.
    fn to_service(&self, place: &Place, document: &CacheConfig) -> Result<(), WriteError> {
        let what = place.to_string();
        let doing = format!("write the cache `{what}`");
        let failed = |error: DepotError| match error.is_lacking() {
            true => WriteError::Lacking(depot_error(&doing, error)),
            false => WriteError::Failed(depot_error(&doing, error)),
        };
        let Some(depot) = super::depots::open(place, self.store) else { return Ok(()) };
        let mut blobs: Vec<Descriptor> = Vec::new();
        for layer in &document.layers {
            if let (Ok(digest), Some(notes)) = (layer.blob.parse(), &layer.annotations)
                && !blobs.iter().any(|known| known.digest == digest)
            {
                blobs.push(Descriptor::new(&notes.media_type, digest, notes.size));
            }
        }
        let transfer = Transfer::new(TransferKind::Push, &what, self.emit);
        let document = assemble::document(document);
        let kept = depot.map_err(failed)?.keep(&blobs, &document, &|done, total| {
            transfer.tell(done, total);
        });
        kept.map_err(failed)
    }

    fn to_folder(
        &self,
        manifest: &Descriptor,
        folder: &Path,
        tag: &str,
    ) -> Result<(), BackendError> {
        let name = format!("cache:{tag}");
        let reference = name.parse::<Reference>().map_err(|error| BackendError::Input {
            what: error.to_string(),
            hints: vec!["`tag=` takes what is a tag of an image".to_owned()],
        })?;
        let image = LayoutImage { manifest: manifest.clone(), references: vec![reference] };
        layout::write_oci_dir(self.store, &[image], folder).map_err(|error| {
            BackendError::environment(format!("write the cache `{}`", folder.display()), error)
        })
    }
}

/// One cache to write.
struct Job<'a> {
    wish: &'a Wish,
    evaluation: &'a Evaluation<'a>,
    roots: &'a [StepIndex],
}

/// What becomes of results that were found in a cache and never fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unfetched {
    /// They are written by name where the place may have their blobs.
    ByName,
    /// They are fetched, as far as they are still there.
    Fetched,
}

/// A cache could not be written.
enum WriteError {
    /// It names blobs that neither the place nor the store has.
    Lacking(BackendError),
    Failed(BackendError),
}

impl From<BackendError> for WriteError {
    fn from(error: BackendError) -> Self {
        Self::Failed(error)
    }
}

/// Layers as blobs, each looked for once.
struct Layers<'a> {
    exporter: &'a Exporter<'a>,
    spec: &'a Spec,
    unfetched: Unfetched,
    made: BTreeMap<LayerId, Layer>,
}

impl Layers<'_> {
    /// The layers of a result; none if there is none.
    fn of(&mut self, decision: &Decision) -> Result<Option<Stacked>, BackendError> {
        match decision {
            Decision::Hit(record) | Decision::Built(record) => self.record(record).map(Some),
            Decision::Import(import) => self.import(import),
            _ => Ok(None),
        }
    }

    fn record(&mut self, record: &Record) -> Result<Stacked, BackendError> {
        let snapshot = &record.snapshot;
        let layers: Result<Vec<Layer>, BackendError> =
            (0..snapshot.layers.len()).map(|at| self.layer(snapshot, at)).collect();
        Ok(Stacked { layers: layers?, created_ms: record.created_ms })
    }

    fn layer(&mut self, snapshot: &Snapshot, at: usize) -> Result<Layer, BackendError> {
        let id = &snapshot.layers[at];
        if let Some(layer) = self.made.get(id) {
            return Ok(layer.clone());
        }
        let way = Way {
            compression: self.spec.compression.unwrap_or(Compression::Gzip),
            level: self.spec.level,
            force: self.spec.force_compression,
            clamp: None,
        };
        let layer = layers::export(self.exporter.store, snapshot, at, way)?;
        self.made.insert(id.clone(), layer.clone());
        Ok(layer)
    }

    /// What was never fetched is still written: a registry takes it from its own repository,
    /// and for any other place it is fetched now. What is gone by now is left out.
    fn import(&mut self, import: &Import) -> Result<Option<Stacked>, BackendError> {
        let Exporter { store, loaded, emit, .. } = self.exporter;
        // Another repository of the registry gives its blobs away, if it may be read; and
        // caches in one service share theirs.
        let near = match (&self.spec.place, loaded.sources.get(import.cache)) {
            (Place::Registry { reference }, Some(Source::Registry(_, from))) => {
                from.registry() == reference.registry()
            }
            (Place::Actions(_) | Place::Bucket(_), Some(Source::Depot(..))) => true,
            _ => false,
        };
        let by_name = near && self.unfetched == Unfetched::ByName;
        if !by_name && loaded.fetch_blobs(store, import, *emit).is_err() {
            return Ok(None);
        }
        Ok(Some(Stacked { layers: import.layers.clone(), created_ms: import.created_ms }))
    }
}

/// A layer's blob as the manifest of a cache has it.
fn described(layer: &Layer, types: MediaTypes) -> Descriptor {
    let mut blob = layer.blob.clone();
    blob.media_type = assemble::layer_type(&layer.blob, types);
    blob.annotations.insert(UNCOMPRESSED.to_owned(), layer.diff_id.0.to_string());
    blob.annotations.insert(CREATED_AT.to_owned(), rfc3339_ms(layer.created_ms));
    blob
}

/// The manifest of a cache, or the index that older registries of caches know.
fn documents(
    spec: &Spec,
    config: Descriptor,
    mut blobs: Vec<Descriptor>,
) -> (Vec<u8>, &'static str) {
    if spec.image_manifest {
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_owned()),
            config,
            layers: blobs,
            annotations: BTreeMap::new(),
            extra: BTreeMap::new(),
        };
        return (assemble::document(&manifest), media_type::MANIFEST);
    }
    blobs.push(config);
    let index: Index = assemble::index(blobs, spec.types);
    (assemble::document(&index), assemble::index_type(spec.types))
}

fn noticed(wish: &Wish, code: &str, what: &str) -> EventKind {
    let message = format!("the cache `{}` of `{}`: {what}", wish.spec.place, wish.image);
    EventKind::Noticed {
        diagnostic: Diagnostic {
            location: wish.location.clone(),
            severity: Severity::Warning,
            code: code.to_owned(),
            message,
            help: Some("the guide's page about caches says what is in which".to_owned()),
        },
    }
}

/// Bytes as configurations of images have them.
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a text; none if it is none.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
