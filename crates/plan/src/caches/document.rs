//! The JSON of a cache, as BuildKit has it.

use std::collections::BTreeMap;

use bakehouse_model::Digest;
use serde::{Deserialize, Serialize};

use crate::assemble::{self, Layer, MediaTypes};
use crate::time::rfc3339_ms;

/// All of a cache but its blobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheConfig {
    /// The layers, each with what it stands on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<CacheLayer>,
    /// The records of steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<CacheRecord>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheLayer {
    /// Its blob.
    pub blob: String,
    /// Position of the layer below; −1 for none. BuildKit leaves 0 out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub parent: i64,
    /// What no manifest says where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<LayerNotes>,
}

/// A blob as caches without a manifest describe it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerNotes {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// What it unpacks to.
    #[serde(default, rename = "diffID")]
    pub diff_id: String,
    /// Its length in bytes.
    #[serde(default)]
    pub size: u64,
    /// When its layer was made.
    #[serde(default)]
    pub created_at: String,
}

/// What is known of one step or of contents that a step reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CacheRecord {
    /// Results, by their topmost layer.
    #[serde(default, rename = "layers", skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<CacheResult>,
    /// Results, by all their layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<CacheChain>,
    /// Which step.
    #[serde(default)]
    pub digest: String,
    /// For each input what may stand for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Vec<CacheInput>>,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheResult {
    /// Position of the topmost layer.
    pub layer: i64,
    /// When it was made.
    #[serde(default)]
    pub created_at: String,
}

/// A result whose layers stand on each other only here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheChain {
    /// Positions of its layers, lowest first.
    pub layers: Vec<i64>,
    /// When it was made.
    #[serde(default)]
    pub created_at: String,
}

/// What may stand for an input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CacheInput {
    /// What is read of it; all of it if empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Position of its record.
    pub link: i64,
}

impl CacheConfig {
    /// Says of each layer in the document itself what a manifest would say.
    pub fn describe(&mut self, layers: &[Layer]) {
        let known: BTreeMap<&str, &Layer> =
            layers.iter().map(|layer| (layer.blob.digest.as_str(), layer)).collect();
        for place in &mut self.layers {
            place.annotations = known.get(place.blob.as_str()).map(|layer| LayerNotes {
                media_type: assemble::layer_type(&layer.blob, MediaTypes::Oci),
                diff_id: layer.diff_id.0.to_string(),
                size: layer.blob.size,
                created_at: rfc3339_ms(layer.created_ms),
            });
        }
    }
}

impl CacheInput {
    /// A link to the record at `link`.
    pub(super) fn new(selector: Option<&Digest>, link: usize) -> Self {
        let link = i64::try_from(link).unwrap_or(i64::MAX);
        Self { selector: selector.map(ToString::to_string).unwrap_or_default(), link }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_and_written_as_buildkit_does() {
        let text = r#"{"layers":[{"blob":"sha256:a","parent":-1},{"blob":"sha256:b"}],"records":[{"digest":"sha256:r"},{"layers":[{"layer":1,"createdAt":"2026-11-21T19:09:28.356931688Z"}],"digest":"sha256:s","inputs":[[{"selector":"sha256:p","link":0}],[{"link":0}]]}]}"#;
        let config: CacheConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.layers[0].parent, config.layers[1].parent), (-1, 0));
        assert_eq!(config.records[1].results[0].layer, 1);
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
    }
}
