//! The documents of an image from its layers: configuration and manifest.
//!
//! History and layers are made to fit each other as BuildKit's exporter does: every entry
//! that is not marked empty has a layer, and every entry has a time, so that the same
//! layers give the same image.

use bakehouse_model::DiffId;
use bakehouse_model::oci::{Descriptor, History, ImageConfig, Index, Manifest, media_type};

use crate::time::{rfc3339, rfc3339_ms};

/// A layer of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of its tar.
    pub diff_id: DiffId,
    /// The blob.
    pub blob: Descriptor,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

/// Which names of media types to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaTypes {
    /// The OCI image specification's.
    #[default]
    Oci,
    /// Docker's, for engines and registries that know no others.
    Docker,
}

/// The configuration of an image with these layers.
pub fn config(lowered: &ImageConfig, layers: &[Layer], epoch: Option<i64>) -> ImageConfig {
    let mut config = lowered.clone();
    config.rootfs.kind = "layers".to_owned();
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    config.history = history(config.history, layers, epoch);
    let last = config.history.iter().rev().find_map(|entry| entry.created.clone());
    config.created = epoch.map(rfc3339).or(last).or_else(|| Some(rfc3339(0)));
    config
}

fn history(mut history: Vec<History>, layers: &[Layer], epoch: Option<i64>) -> Vec<History> {
    let with_layer = history.iter().filter(|entry| !entry.empty_layer).count();
    // Layers that no entry speaks of, such as those of a base without a history.
    for _ in with_layer..layers.len() {
        let entry =
            History { comment: "buildkit.exporter.image.v0".to_owned(), ..History::default() };
        history.push(entry);
    }
    let mut surplus = with_layer.saturating_sub(layers.len());
    for entry in history.iter_mut().rev().filter(|entry| !entry.empty_layer) {
        if surplus > 0 {
            entry.empty_layer = true;
            surplus -= 1;
        }
    }
    let mut made = layers.iter();
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        if let Some(layer) = made.next()
            && entry.created.is_none()
        {
            let made = || rfc3339_ms(layer.created_ms);
            entry.created = Some(epoch.map_or_else(made, rfc3339));
        }
    }
    fill_times(&mut history);
    history
}

/// Entries without a time get that of the entry before; those before any time, of the first
/// new one.
fn fill_times(history: &mut [History]) {
    let gap = history.iter().position(|entry| entry.created.is_none());
    let after = gap.and_then(|gap| history[gap..].iter().find_map(|entry| entry.created.clone()));
    let before = gap.and_then(|gap| history[..gap].iter().rev().find_map(|e| e.created.clone()));
    let mut time = after.or(before);
    for entry in history.iter_mut().skip(gap.unwrap_or(0)) {
        match &entry.created {
            Some(created) => time = Some(created.clone()),
            None => entry.created.clone_from(&time),
        }
    }
}

/// The bytes of a document that this program made.
pub fn document<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("documents have only string keys")
}

/// The manifest of an image.
pub fn manifest(config: Descriptor, layers: &[Layer], types: MediaTypes) -> Manifest {
    let blobs = layers.iter().map(|layer| Descriptor {
        media_type: layer_type(&layer.blob, types),
        ..Descriptor::new("", layer.blob.digest.clone(), layer.blob.size)
    });
    Manifest {
        schema_version: 2,
        media_type: Some(manifest_type(types).to_owned()),
        config,
        layers: blobs.collect(),
        annotations: std::collections::BTreeMap::new(),
        extra: std::collections::BTreeMap::new(),
    }
}

/// The index of an image for several platforms.
pub fn index(manifests: Vec<Descriptor>, types: MediaTypes) -> Index {
    Index {
        schema_version: 2,
        media_type: Some(index_type(types).to_owned()),
        manifests,
        annotations: std::collections::BTreeMap::new(),
        extra: std::collections::BTreeMap::new(),
    }
}

/// The media type of an index.
pub fn index_type(types: MediaTypes) -> &'static str {
    match types {
        MediaTypes::Oci => media_type::INDEX,
        MediaTypes::Docker => media_type::DOCKER_INDEX,
    }
}

/// The media type of a manifest.
pub fn manifest_type(types: MediaTypes) -> &'static str {
    match types {
        MediaTypes::Oci => media_type::MANIFEST,
        MediaTypes::Docker => media_type::DOCKER_MANIFEST,
    }
}

/// The media type of a configuration.
pub fn config_type(types: MediaTypes) -> &'static str {
    match types {
        MediaTypes::Oci => media_type::CONFIG,
        MediaTypes::Docker => media_type::DOCKER_CONFIG,
    }
}

/// The media type of a layer's blob.
pub fn layer_type(blob: &Descriptor, types: MediaTypes) -> String {
    match (types, blob.media_type.as_str()) {
        (MediaTypes::Docker, media_type::LAYER_GZIP) => media_type::DOCKER_LAYER_GZIP.to_owned(),
        (MediaTypes::Docker, media_type::LAYER) => media_type::DOCKER_LAYER.to_owned(),
        (MediaTypes::Oci, media_type::DOCKER_LAYER_GZIP) => media_type::LAYER_GZIP.to_owned(),
        (_, other) => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bakehouse_model::Digest;

    use super::*;

    fn layer(name: &str, created_ms: u64) -> Layer {
        let digest = Digest::of(name);
        Layer {
            diff_id: DiffId(digest.clone()),
            blob: Descriptor::new(media_type::LAYER_GZIP, digest, 1),
            created_ms,
        }
    }

    fn entry(created: Option<&str>, empty_layer: bool) -> History {
        History { created: created.map(str::to_owned), empty_layer, ..History::default() }
    }

    fn times(config: &ImageConfig) -> Vec<Option<&str>> {
        config.history.iter().map(|entry| entry.created.as_deref()).collect()
    }

    #[test]
    fn every_entry_gets_a_time_and_the_image_the_last_one() {
        let lowered = ImageConfig {
            history: vec![
                entry(Some("base"), false),
                entry(None, true),
                entry(None, false),
                entry(None, true),
            ],
            ..ImageConfig::default()
        };
        let built = config(&lowered, &[layer("a", 1), layer("b", 2_000)], None);
        let new = Some("1970-01-01T00:00:02Z");
        assert_eq!(times(&built), [Some("base"), new, new, new]);
        assert_eq!(built.created.as_deref(), new);
        let epoch = config(&lowered, &[layer("a", 1), layer("b", 2_000)], Some(5));
        assert_eq!(epoch.created.as_deref(), Some("1970-01-01T00:00:05Z"));
    }

    #[test]
    fn layers_and_entries_are_made_to_fit() {
        let lowered = ImageConfig { history: vec![entry(None, true)], ..ImageConfig::default() };
        let more = config(&lowered, &[layer("a", 1_000)], None);
        assert_eq!(more.history.iter().filter(|entry| !entry.empty_layer).count(), 1);
        let lowered = ImageConfig {
            history: vec![entry(None, false), entry(None, false)],
            ..ImageConfig::default()
        };
        let fewer = config(&lowered, &[layer("a", 1_000)], None);
        assert_eq!(fewer.history.iter().filter(|entry| !entry.empty_layer).count(), 1);
    }
}
