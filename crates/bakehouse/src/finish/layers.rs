//! Layers as blobs, each made once whoever asks, most of them before anybody does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bakehouse_engine::snapshot::{DiffError, ExportError, ExportOptions, export_layer};
use bakehouse_model::{Compression, LayerId, Snapshot};
use bakehouse_plan::assemble::Layer;
use bakehouse_run::BackendError;
use bakehouse_store::Store;

use crate::memory::store_error;
use crate::outputs::Outputs;

/// A layer that somebody makes while others wait for it.
type Slot = Arc<Mutex<Option<Layer>>>;

/// Makes blobs of layers.
pub(super) struct LayerExports {
    store: Store,
    compression: Compression,
    options: ExportOptions,
    slots: Mutex<HashMap<LayerId, Slot>>,
}

impl LayerExports {
    pub(super) fn new(store: &Store, outputs: &Outputs, epoch: Option<i64>) -> Self {
        let options = ExportOptions {
            level: outputs.level,
            clamp: epoch,
            force_compression: outputs.force_compression,
            ..ExportOptions::default()
        };
        Self {
            store: store.clone(),
            compression: outputs.compression,
            options,
            slots: Mutex::default(),
        }
    }

    /// Makes the topmost layer's blob ahead of time; a failure shows when it is needed.
    pub(super) fn prepare(&self, snapshot: &Snapshot) {
        if let Some(top) = snapshot.layers.len().checked_sub(1) {
            drop(self.one(snapshot, top));
        }
    }

    /// The blobs of all layers, lowest first.
    pub(super) fn all(&self, snapshot: &Snapshot) -> Result<Vec<Layer>, BackendError> {
        (0..snapshot.layers.len()).map(|at| self.one(snapshot, at)).collect()
    }

    fn one(&self, snapshot: &Snapshot, at: usize) -> Result<Layer, BackendError> {
        let id = &snapshot.layers[at];
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(id.clone()).or_default())
        };
        // Whoever comes second waits here and finds the result.
        let mut made = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = &*made {
            return Ok(layer.clone());
        }
        let layer = self.export(id, &snapshot.layers[..at])?;
        *made = Some(layer.clone());
        Ok(layer)
    }

    fn export(&self, id: &LayerId, below: &[LayerId]) -> Result<Layer, BackendError> {
        let meta = self.store.layer_meta(id).map_err(store_error)?;
        // A base's layer is as it came; only new ones have times to clamp.
        let base = id.as_str().starts_with("base-");
        let clamp = self.options.clamp.filter(|_| !base);
        let options = ExportOptions { clamp, ..self.options };
        let (diff_id, blob) = export_layer(&self.store, id, below, self.compression, options)
            .map_err(export_error)?;
        Ok(Layer { diff_id, blob, created_ms: meta.map_or(0, |meta| meta.created_ms) })
    }
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
