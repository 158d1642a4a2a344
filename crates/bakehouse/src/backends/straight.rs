//! Copies that nothing is built on go straight from where they are read into the blobs of their
//! layers: no file of them is made.
//!
//! Such a layer is packed. Should somebody need its files after all (another build, a folder to
//! export to), it is unpacked then.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_engine::files::{self, ListingError, Options, Tree};
use bakehouse_engine::snapshot::{ALONE, LayerWriter, Packing, layer_media_type};
use bakehouse_model::oci::Descriptor;
use bakehouse_model::op::{self, Op, Output};
use bakehouse_model::{Snapshot, StepId};
use bakehouse_plan::graph::{Graph, StepIndex};
use bakehouse_run::{BackendError, Built};
use bakehouse_store::LayerMeta;

use super::engine::{EngineBackend, changed, files_error, new_layer};
use crate::context::now_ms;
use crate::memory::{mounted, store_error};
use crate::patterns::DockerPatterns;

/// Which steps go straight into blobs, and what these are like.
#[derive(Debug, Default)]
pub struct Straight {
    steps: BTreeSet<StepId>,
    packing: Option<Packing>,
}

impl Straight {
    /// The copies of the graph on which no step is built that needs their files, if all layers
    /// become blobs in one way.
    pub fn of(graph: &Graph, packing: Option<Packing>) -> Self {
        let mut users: BTreeMap<StepIndex, Vec<StepIndex>> = BTreeMap::new();
        for index in graph.indexes() {
            for input in &graph.step(index).inputs {
                users.entry(*input).or_default().push(index);
            }
        }
        let mut unread = BTreeSet::new();
        let all: Vec<StepIndex> = graph.indexes().collect();
        // Users come after what they use.
        for index in all.into_iter().rev() {
            let users = users.get(&index).map_or(&[][..], Vec::as_slice);
            let merges = |user: &StepIndex| {
                matches!(graph.step(*user).op, Op::Merge) && unread.contains(user)
            };
            if users.iter().all(merges) {
                unread.insert(index);
            }
        }
        let files = unread.into_iter().map(|index| graph.step(index));
        let files = files.filter(|step| matches!(step.op, Op::File(_)));
        Self { steps: files.map(|step| step.id.clone()).collect(), packing }
    }

    /// How the layer of a step is packed that goes straight into its blob.
    fn packing(&self, step: &StepId) -> Option<Packing> {
        self.packing.filter(|_| self.steps.contains(step))
    }
}

impl EngineBackend {
    /// Makes the layer of a copy that goes straight into its blob; none if it is not one of them.
    pub(super) fn straight(
        &self,
        (step, file): (&StepId, &op::File),
        inputs: &[Output],
        below: &Snapshot,
    ) -> Result<Option<Built>, BackendError> {
        let Some(packing) = self.straight.packing(step) else { return Ok(None) };
        let base = match below.layers.is_empty() {
            true => Tree::Empty,
            false => Tree::mounted(mounted(&self.store, below)?),
        };
        let options = Options { patterns: &DockerPatterns, source_date_epoch: None };
        let input = |number: usize| self.input(inputs, number);
        let listed = files::list(file, &base, &input, options).map_err(files_error)?;
        let Some(listing) = listed else { return Ok(None) };
        let failed = |error| BackendError::environment("pack a layer", error);
        let ingest = self.store.ingest().map_err(store_error)?;
        let mut writer = LayerWriter::new(ingest, packing)
            .map_err(|error| BackendError::environment("pack a layer", error))?;
        let written = listing.write(&mut writer).map_err(listing_error)?;
        let (ingest, packed) = writer.finish().map_err(failed)?;
        let (digest, size) = ingest.commit(None).map_err(store_error)?;
        let blob = Descriptor::new(layer_media_type(packing.compression), digest, size);
        let layer = new_layer(if below.layers.is_empty() { ALONE } else { "step-" });
        let meta = LayerMeta {
            created_ms: now_ms(),
            bytes: written.bytes,
            entries: written.entries,
            diff_id: Some(packed.diff_id),
            tar_size: Some(packed.tar_size),
        };
        self.store
            .put_packed_layer(&layer, meta, packing.compression, &blob)
            .map_err(store_error)?;
        Ok(Some(Built { snapshot: below.with(layer), fetched: None }))
    }
}

fn listing_error(error: ListingError) -> BackendError {
    match error {
        ListingError::Changed { path } => changed(&path),
        ListingError::Tree(error) => files_error(error.into()),
        error => BackendError::environment("write a layer", error),
    }
}
