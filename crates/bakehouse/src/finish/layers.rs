//! Layers as blobs, each made once whoever asks, most of them before anybody does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bakehouse_engine::snapshot::{
    ALONE, DiffError, ExportError, ExportOptions, Packing, export_layer,
};
use bakehouse_model::{Compression, LayerId, Snapshot};
use bakehouse_plan::assemble::Layer;
use bakehouse_run::BackendError;
use bakehouse_store::Store;

use crate::memory::store_error;

/// How layers become blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    pub(crate) compression: Compression,
    pub(crate) level: Option<u8>,
    pub(crate) force: bool,
    /// No time of a new layer is later.
    pub(crate) clamp: Option<i64>,
}

/// A layer that somebody makes while others wait for it.
type Slot = Arc<Mutex<Option<Layer>>>;

/// Makes blobs of layers.
pub(super) struct LayerExports {
    store: Store,
    /// The way that all images want; none if they want several.
    common: Option<Way>,
    slots: Mutex<HashMap<(LayerId, Way), Slot>>,
}

impl LayerExports {
    /// For images that want these ways.
    pub(super) fn new(store: &Store, ways: impl Iterator<Item = Way>) -> Self {
        let mut ways: Vec<Way> = ways.collect();
        ways.dedup();
        let common = ways.first().copied().filter(|_| ways.len() == 1);
        Self { store: store.clone(), common, slots: Mutex::default() }
    }

    /// How all layers are packed, if that is known before they are made.
    pub(super) fn packing(&self) -> Option<Packing> {
        let way = self.common.filter(|way| way.clamp.is_none() && !way.force)?;
        Some(Packing { level: way.level, ..Packing::new(way.compression) })
    }

    /// Makes the topmost layer's blob ahead of time; a failure shows when it is needed.
    pub(super) fn prepare(&self, snapshot: &Snapshot) {
        if let (Some(top), Some(way)) = (snapshot.layers.len().checked_sub(1), self.common) {
            drop(self.one(snapshot, top, way));
        }
    }

    /// The blobs of all layers, lowest first.
    pub(super) fn all(&self, snapshot: &Snapshot, way: Way) -> Result<Vec<Layer>, BackendError> {
        (0..snapshot.layers.len()).map(|at| self.one(snapshot, at, way)).collect()
    }

    fn one(&self, snapshot: &Snapshot, at: usize, way: Way) -> Result<Layer, BackendError> {
        let id = &snapshot.layers[at];
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry((id.clone(), way)).or_default())
        };
        // Whoever comes second waits here and finds the result.
        let mut made = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = &*made {
            return Ok(layer.clone());
        }
        let layer = export(&self.store, snapshot, at, way)?;
        *made = Some(layer.clone());
        Ok(layer)
    }
}

/// Makes the blob of one layer of `snapshot`.
pub(crate) fn export(
    store: &Store,
    snapshot: &Snapshot,
    at: usize,
    way: Way,
) -> Result<Layer, BackendError> {
    let (id, below) = (&snapshot.layers[at], &snapshot.layers[..at]);
    let meta = store.layer_meta(id).map_err(store_error)?;
    // A base's layer is as it came; only new ones have times to clamp.
    let base = id.as_str().starts_with("base-");
    // One that stands on nothing says so however many are below it now.
    let below = if id.as_str().starts_with(ALONE) { &[] } else { below };
    let options = ExportOptions {
        level: way.level,
        clamp: way.clamp.filter(|_| !base),
        force_compression: way.force,
        ..ExportOptions::default()
    };
    let (diff_id, blob) =
        export_layer(store, id, below, way.compression, options).map_err(export_error)?;
    Ok(Layer { diff_id, blob, created_ms: meta.map_or(0, |meta| meta.created_ms) })
}

fn export_error(error: ExportError) -> BackendError {
    match error {
        ExportError::Diff { source: source @ DiffError::Reserved { .. }, .. } => {
            BackendError::Input {
                what: source.to_string(),
                hints: vec![
                    "files that begin with `.wh.` cannot be in an image; remove it in the same step"
                        .to_owned(),
                ],
            }
        }
        error => BackendError::environment("pack a layer", error),
    }
}
