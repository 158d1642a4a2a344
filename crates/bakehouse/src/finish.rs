//! Images of results: layers become blobs, documents are written, and all of it goes where
//! it is wanted.
//!
//! An image that was made before of the same result and the same configuration is found
//! again by a key, and nothing of it is made anew.

mod attest;
mod docker;
mod files;
pub(crate) mod layers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bakehouse_engine::snapshot as engine;
use bakehouse_model::oci::{Descriptor, Manifest, Platform, Reference};
use bakehouse_model::{Digest, EventKind, Key, Record, Snapshot, TransferKind};
use bakehouse_plan::assemble;
use bakehouse_plan::caches::INLINE;
use bakehouse_plan::lower::Lowered;
use bakehouse_registry::Client;
use bakehouse_run::{BackendError, Finish, Whole};
use bakehouse_store::Store;
use bakehouse_store::layout::{LayoutImage, MAX_DOCUMENT};
use serde_json::Value;

use crate::backends::{Fetched, client_error};
use crate::caches::export::to_base64;
use crate::memory::store_error;
use crate::outputs::{Level, Outputs, Packing, Wanted};
use crate::transfer::Transfer;

pub use docker::engine_address;
pub use files::{write_file, write_files};

use layers::{LayerExports, Way};

/// An image to finish.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its configuration and where it comes from.
    pub lowered: Arc<Lowered>,
    /// Its name in the fleet, which it shares with its other platforms.
    pub image: String,
    /// Its place among those.
    pub order: usize,
    /// Every reference it is known by.
    pub references: Vec<Reference>,
    /// Whether it was asked for itself, and not only because others stand on it.
    pub named: bool,
    /// What is to be said of how it was made, but for when.
    pub provenance: Option<Value>,
}

/// An image that is made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its manifest.
    pub manifest: Descriptor,
    /// Digest of its configuration.
    pub config: Digest,
    /// Its file systems, one for each platform.
    pub roots: Vec<(Platform, Snapshot)>,
    /// `SOURCE_DATE_EPOCH`, where the build has one.
    pub epoch: Option<i64>,
    /// What is attested of it, for each platform.
    pub attestations: Vec<Descriptor>,
    /// Its references.
    pub references: Vec<Reference>,
    /// Whether it was asked for itself.
    pub named: bool,
}

/// Finishes images.
pub struct Finisher {
    /// Where they go first.
    pub store: Store,
    /// Who pushes.
    pub client: Client,
    /// What is wanted.
    pub wanted: Wanted,
    /// The images, by name.
    pub plans: BTreeMap<String, Plan>,
    /// Where the Docker Engine is.
    pub docker: String,
    /// What the run fetched.
    pub fetched: Arc<Fetched>,
    layers: LayerExports,
    /// Manifests of images whose other platforms are not all made yet.
    parts: Mutex<BTreeMap<String, BTreeMap<String, Made>>>,
    made: Mutex<BTreeMap<String, Made>>,
}

impl std::fmt::Debug for Finisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finisher").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Finisher {
    /// Finishes the images of `plans` as they are wanted.
    pub fn new(
        store: Store,
        client: Client,
        wanted: Wanted,
        plans: BTreeMap<String, Plan>,
        docker: String,
    ) -> Self {
        let ways = plans.values().map(|plan| (&wanted.image(&plan.image).packing, plan));
        let layers = LayerExports::new(&store, ways.map(|(packing, plan)| way(packing, plan)));
        Self {
            store,
            client,
            wanted,
            plans,
            docker,
            fetched: Arc::default(),
            layers,
            parts: Mutex::default(),
            made: Mutex::default(),
        }
    }

    /// How the layers become blobs, if that is all that is wanted of them, and in one way.
    pub fn packing(&self) -> Option<engine::Packing> {
        let all_blobs = self.plans.values().all(|plan| {
            let outputs = self.outputs(plan);
            outputs.files.iter().all(|file| file.kind.is_image()) && !outputs.attests.sbom
        });
        self.layers.packing().filter(|_| all_blobs)
    }

    /// What was made, by name.
    pub fn made(&self) -> BTreeMap<String, Made> {
        self.made.lock().map(|made| made.clone()).unwrap_or_default()
    }

    /// The image's manifest: found, or made.
    fn make(&self, plan: &Plan, whole: Whole<'_>) -> Result<Made, BackendError> {
        let record = whole.record;
        let snapshot = record.map(|record| record.snapshot.clone()).unwrap_or_default();
        let cache = whole.cache.filter(|records| !records.is_empty());
        let cache = cache.map(|records| to_base64(&assemble::document(&records)));
        let key = self.key(plan, record, cache.as_deref());
        if let Some(digest) = self.store.result(&key).map_err(store_error)? {
            let bytes = self.store.read_blob(&digest, MAX_DOCUMENT).map_err(store_error)?;
            if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes)
                && manifest.layers.iter().all(|l| self.store.blob_size(&l.digest).is_some())
            {
                return Ok(self.as_made(plan, snapshot, &manifest, &bytes));
            }
        }
        let packing = &self.outputs(plan).packing;
        let layers = self.layers.all(&snapshot, way(packing, plan))?;
        let types = packing.types;
        let mut config = assemble::config(&plan.lowered.config, &layers, plan.lowered.epoch);
        // A base's own cache says nothing of this image.
        config.extra.remove(INLINE);
        config.extra.extend(cache.map(|cache| (INLINE.to_owned(), cache.into())));
        let config = assemble::document(&config);
        let digest = self.store.put_blob(&config).map_err(store_error)?;
        let config = Descriptor::new(assemble::config_type(types), digest, config.len() as u64);
        let mut manifest = assemble::manifest(config, &layers, types);
        manifest.annotations = packing.annotations.of(Level::Manifest, &plan.lowered.platform);
        let bytes = assemble::document(&manifest);
        let digest = self.store.put_blob(&bytes).map_err(store_error)?;
        self.store.put_result(&key, &digest).map_err(store_error)?;
        Ok(self.as_made(plan, snapshot, &manifest, &bytes))
    }

    fn as_made(&self, plan: &Plan, snapshot: Snapshot, manifest: &Manifest, bytes: &[u8]) -> Made {
        let packing = &self.outputs(plan).packing;
        let media_type = assemble::manifest_type(packing.types);
        let descriptor = Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64);
        let platform = &plan.lowered.platform;
        let annotations = packing.annotations.of(Level::ManifestDescriptor, platform);
        Made {
            manifest: Descriptor { annotations, ..descriptor },
            config: manifest.config.digest.clone(),
            roots: vec![(plan.lowered.platform.clone(), snapshot)],
            epoch: plan.lowered.epoch,
            attestations: Vec::new(),
            references: plan.references.clone(),
            named: plan.named,
        }
    }

    /// What an image depends on besides the bytes of its layers.
    fn key(&self, plan: &Plan, record: Option<&Record>, cache: Option<&str>) -> Key {
        let packing = &self.outputs(plan).packing;
        let parts = (
            "image-v2",
            record.map(|record| &record.snapshot),
            (&plan.lowered.config, &plan.lowered.platform, plan.lowered.epoch),
            (packing, assemble::manifest_type(packing.types)),
        );
        let mut text = serde_json::to_vec(&parts).expect("documents have only string keys");
        text.extend_from_slice(cache.unwrap_or_default().as_bytes());
        Key(Digest::of(text))
    }

    fn push(
        &self,
        image: &str,
        made: &Made,
        emit: &(dyn Fn(EventKind) + Sync),
    ) -> Result<(), BackendError> {
        for reference in &made.references {
            let repositories = self.sister_repositories(reference);
            let what = reference.familiar();
            let transfer = Transfer::new(TransferKind::Push, &what, emit);
            let pushed = self
                .client
                .push(&made.manifest, reference, &repositories, &|done, total| {
                    transfer.tell(done, total);
                })
                .map_err(|error| client_error(&format!("push `{what}`"), error))?;
            emit(EventKind::TagMoved {
                image: image.to_owned(),
                reference: reference.to_string(),
                digest: pushed.digest,
                unchanged: pushed.unchanged,
            });
        }
        Ok(())
    }

    /// Repositories of the same registry that may have some of the blobs: those of this run.
    fn sister_repositories(&self, reference: &Reference) -> Vec<String> {
        let all = self.plans.values().flat_map(|plan| &plan.references);
        let same = all.filter(|other| other.registry() == reference.registry());
        let mut names: Vec<String> = same.map(|other| other.repository().to_owned()).collect();
        names.retain(|name| name != reference.repository());
        names.dedup();
        names
    }

    fn load(
        &self,
        image: &str,
        made: &Made,
        emit: &(dyn Fn(EventKind) + Sync),
    ) -> Result<(), BackendError> {
        let layout = layout_image(image, made);
        docker::load(&self.store, &self.docker, &layout)?;
        for reference in &layout.references {
            emit(EventKind::TagMoved {
                image: image.to_owned(),
                reference: reference.familiar(),
                digest: made.manifest.digest.clone(),
                unchanged: false,
            });
        }
        Ok(())
    }
}

/// How the layers of an image become blobs.
fn way(packing: &Packing, plan: &Plan) -> Way {
    Way {
        compression: packing.compression,
        level: packing.level,
        force: packing.force_compression,
        clamp: plan.lowered.epoch.filter(|_| !packing.keep_times),
    }
}

/// How an image is called in archives: by its references, else by its own name.
pub(super) fn layout_image(image: &str, made: &Made) -> LayoutImage {
    let mut references = made.references.clone();
    if references.is_empty() {
        references.extend(image.parse::<Reference>());
    }
    LayoutImage { manifest: made.manifest.clone(), references }
}

impl Finish for Finisher {
    fn prepare(&self, record: &Record) {
        if self.plans.values().any(|plan| self.outputs(plan).wants_image()) {
            self.layers.prepare(&record.snapshot);
        }
    }

    fn image(
        &self,
        image: &str,
        whole: Whole<'_>,
        emit: &(dyn Fn(EventKind) + Sync),
    ) -> Result<(), BackendError> {
        let Some(plan) = self.plans.get(image) else { return Ok(()) };
        let mut made = self.make(plan, whole)?;
        made.attestations.extend(self.attestation(plan, &made, whole.record)?);
        emit(EventKind::ImageFinished {
            image: image.to_owned(),
            manifest: made.manifest.digest.clone(),
            config: made.config.clone(),
            bytes: self.bytes(&made),
            cached: whole.cached,
        });
        let Some(made) = self.whole(image, plan, made)? else { return Ok(()) };
        self.store.put_image(&plan.image, &made.manifest.digest).map_err(store_error)?;
        if self.outputs(plan).push && plan.named {
            self.push(image, &made, emit)?;
        }
        if self.outputs(plan).load && plan.named {
            self.load(image, &made, emit)?;
        }
        if let Ok(mut all) = self.made.lock() {
            all.insert(plan.image.clone(), made);
        }
        Ok(())
    }
}

impl Finisher {
    /// The image itself if it is for one platform and nothing is attested of it; else the index,
    /// once the last is made.
    fn whole(&self, name: &str, plan: &Plan, made: Made) -> Result<Option<Made>, BackendError> {
        let mut all: Vec<(&String, &Plan)> =
            self.plans.iter().filter(|(_, other)| other.image == plan.image).collect();
        if all.len() < 2 && made.attestations.is_empty() {
            return Ok(Some(made));
        }
        let mut groups = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = groups.entry(plan.image.clone()).or_default();
        parts.insert(name.to_owned(), made.clone());
        if parts.len() < all.len() {
            return Ok(None);
        }
        all.sort_by_key(|(_, plan)| plan.order);
        let manifests = all.iter().filter_map(|(name, plan)| {
            let platform = Some(plan.lowered.platform.clone());
            Some(Descriptor { platform, ..parts.get(*name)?.manifest.clone() })
        });
        let made_parts = || all.iter().filter_map(|(name, _)| parts.get(*name));
        let attestations = made_parts().flat_map(|part| part.attestations.iter().cloned());
        let Packing { types, annotations, .. } = &self.outputs(plan).packing;
        let types = *types;
        let mut index = assemble::index(manifests.chain(attestations).collect(), types);
        let platform = &plan.lowered.platform;
        index.annotations = annotations.of(Level::Index, platform);
        let bytes = assemble::document(&index);
        let digest = self.store.put_blob(&bytes).map_err(store_error)?;
        let manifest = Descriptor {
            annotations: annotations.of(Level::IndexDescriptor, platform),
            ..Descriptor::new(assemble::index_type(types), digest, bytes.len() as u64)
        };
        let roots = made_parts().flat_map(|part| part.roots.clone()).collect();
        Ok(Some(Made { manifest, roots, ..made }))
    }

    /// What is wanted of an image.
    fn outputs(&self, plan: &Plan) -> &Outputs {
        self.wanted.image(&plan.image)
    }

    fn bytes(&self, made: &Made) -> u64 {
        let bytes = self.store.read_blob(&made.manifest.digest, MAX_DOCUMENT).unwrap_or_default();
        let manifest = serde_json::from_slice::<Manifest>(&bytes);
        manifest.map_or(0, |manifest| manifest.layers.iter().map(|layer| layer.size).sum())
    }
}
