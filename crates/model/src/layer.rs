//! Layers and the stacks of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Names one layer of the store: what one step changed, before it has a digest.
///
/// Lower-case letters, digits and dashes, 1 to 80 of them, so that it is a file name
/// everywhere. A base image's layer is named by its diff id and chain, a step's by its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerId(String);

/// The text names no layer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("layer id `{text}` must be 1 to 80 lower-case letters, digits or dashes")]
pub struct ParseLayerIdError {
    text: String,
}

impl LayerId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LayerId {
    type Err = ParseLayerIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if text.is_empty() || text.len() > 80 || !text.bytes().all(plain) {
            return Err(ParseLayerIdError { text: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for LayerId {
    type Error = ParseLayerIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> Self {
        id.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A file system state: a stack of layers, lowest first. The empty stack is `scratch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Snapshot {
    /// The layers, lowest first.
    pub layers: Vec<LayerId>,
}

impl Snapshot {
    /// This stack with `layer` on top.
    #[must_use]
    pub fn with(&self, layer: LayerId) -> Self {
        let mut layers = self.layers.clone();
        layers.push(layer);
        Self { layers }
    }
}

/// How a layer's tar is packed into a blob.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// The tar itself.
    Uncompressed,
    /// gzip: every registry and engine reads it.
    #[default]
    Gzip,
    /// zstd: smaller and faster; Docker 23 and later.
    Zstd,
}
