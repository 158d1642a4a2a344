//! What a build would fetch: layers of bases that are not in the store.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::Digest;
use bakehouse_model::oci::Manifest;
use bakehouse_model::op::{ImageSource, Op, Source};
use bakehouse_store::Store;
use bakehouse_store::layout::MAX_DOCUMENT;

use super::Planned;

/// What is to be fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pull {
    /// Bytes of each base, packed as the registry has them; none if that cannot be known.
    pub bases: BTreeMap<String, Option<u64>>,
    /// Files and repositories whose size nobody knows beforehand.
    pub others: usize,
}

impl Pull {
    /// What the expected steps fetch.
    pub fn of(planned: &Planned<'_>, store: &Store) -> Self {
        let mut pull = Self::default();
        // A layer that two bases share is fetched once, for the first.
        let mut counted = BTreeSet::new();
        for step in planned.schedule.tails.keys() {
            match &planned.graph().step(*step).op {
                Op::Source(Source::Image(image)) => {
                    let missing = missing(store, image).map(|layers| {
                        let new =
                            layers.into_iter().filter(|(blob, _)| counted.insert(blob.clone()));
                        new.fold(0_u64, |sum, (_, size)| sum.saturating_add(size))
                    });
                    let bytes = pull.bases.entry(image.reference.familiar()).or_insert(Some(0));
                    *bytes = bytes.zip(missing).map(|(a, b)| a.saturating_add(b));
                }
                Op::Source(Source::Http(_) | Source::Git(_)) => pull.others += 1,
                _ => {}
            }
        }
        pull
    }

    /// All bytes; none if those of some base cannot be known.
    pub fn bytes(&self) -> Option<u64> {
        self.bases.values().try_fold(0_u64, |sum, bytes| Some(sum.saturating_add((*bytes)?)))
    }
}

/// The layers that are not in the store; none if the manifest is not.
fn missing(store: &Store, image: &ImageSource) -> Option<Vec<(Digest, u64)>> {
    let bytes = store.read_blob(&image.manifest, MAX_DOCUMENT).ok()?;
    let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
    let layers = manifest.layers.into_iter().map(|layer| (layer.digest, layer.size));
    Some(layers.filter(|(digest, _)| store.blob_size(digest).is_none()).collect())
}
