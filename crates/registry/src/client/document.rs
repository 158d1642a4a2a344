//! Reads what a registry calls a manifest.
//!
//! The bytes are a stranger's. A document is a manifest or an index, never both: the
//! same digest must not mean two things to two tools
//! (<https://github.com/opencontainers/distribution-spec/security/advisories/GHSA-mc8v-mgrf-8f4m>).

use bakehouse_model::oci::{Index, Manifest, media_type};
use serde::Deserialize;
use serde_json::Value;

use super::{ManifestFault, redact};

/// The largest manifest, as registries have it.
pub(crate) const LIMIT: u64 = 4 << 20;

/// What a client of this kind accepts, best first.
pub(crate) const ACCEPT: &str = concat!(
    "application/vnd.oci.image.index.v1+json, ",
    "application/vnd.docker.distribution.manifest.list.v2+json, ",
    "application/vnd.oci.image.manifest.v1+json, ",
    "application/vnd.docker.distribution.manifest.v2+json, ",
    "*/*;q=0.1"
);

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    /// One image.
    Manifest(Box<Manifest>),
    /// Several.
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Value>,
    #[serde(default)]
    config: Option<Value>,
    #[serde(default)]
    layers: Option<Value>,
}

/// Reads `bytes`, which were sent as `content_type`. Gives its media type too.
pub(crate) fn read(
    bytes: &[u8],
    content_type: Option<&str>,
) -> Result<(Document, String), ManifestFault> {
    let shape: Shape = serde_json::from_slice(bytes).map_err(malformed)?;
    if shape.schema_version == 1 {
        return Err(ManifestFault::Schema1);
    }
    let is_index = shape.manifests.is_some();
    if is_index && (shape.layers.is_some() || shape.config.is_some()) {
        return Err(ManifestFault::Ambiguous);
    }
    let outside = content_type.map(bare).filter(|text| is_specific(text));
    if let (Some(inside), Some(outside)) = (&shape.media_type, &outside)
        && inside != outside
    {
        return Err(ManifestFault::MediaType {
            inside: redact::foreign_text(inside),
            outside: redact::foreign_text(outside),
        });
    }
    let default = if is_index { media_type::INDEX } else { media_type::MANIFEST };
    let named = shape.media_type.or(outside).unwrap_or_else(|| default.to_owned());
    match (named.as_str(), is_index) {
        (media_type::INDEX | media_type::DOCKER_INDEX, true) => {
            let index = serde_json::from_slice(bytes).map_err(malformed)?;
            Ok((Document::Index(index), named))
        }
        (media_type::MANIFEST | media_type::DOCKER_MANIFEST, false) => {
            let manifest = serde_json::from_slice(bytes).map_err(malformed)?;
            Ok((Document::Manifest(Box::new(manifest)), named))
        }
        (media_type::INDEX | media_type::DOCKER_INDEX, false)
        | (media_type::MANIFEST | media_type::DOCKER_MANIFEST, true) => {
            Err(ManifestFault::Ambiguous)
        }
        _ => Err(ManifestFault::NotAnImage { media_type: redact::foreign_text(&named) }),
    }
}

fn malformed(error: serde_json::Error) -> ManifestFault {
    ManifestFault::Malformed { what: redact::foreign_text(&error.to_string()) }
}

/// Without parameters.
fn bare(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether the header says more than «some document».
fn is_specific(content_type: &str) -> bool {
    content_type.starts_with("application/vnd.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#""config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":3},"layers":[]"#;

    #[test]
    fn documents_are_told_apart_with_and_without_a_media_type() {
        let manifest = format!(r#"{{"schemaVersion":2,{CONFIG}}}"#);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let cases = [
            (manifest.as_str(), None, media_type::MANIFEST),
            (&manifest, Some("application/json"), media_type::MANIFEST),
            (
                &manifest,
                Some("application/vnd.docker.distribution.manifest.v2+json; charset=utf-8"),
                media_type::DOCKER_MANIFEST,
            ),
            (index, None, media_type::INDEX),
            (index, Some(media_type::DOCKER_INDEX), media_type::DOCKER_INDEX),
        ];
        for (text, header, expected) in cases {
            let (document, named) = read(text.as_bytes(), header).unwrap();
            assert_eq!(named, expected);
            assert_eq!(
                matches!(document, Document::Index(_)),
                expected.contains("index") || expected.contains("list")
            );
        }
    }

    #[test]
    fn what_is_no_image_is_refused_for_its_own_reason() {
        let both = format!(r#"{{"schemaVersion":2,"manifests":[],{CONFIG}}}"#);
        let manifest =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}",{CONFIG}}}"#, media_type::MANIFEST);
        let cases: [(&str, Option<&str>, &str); 7] = [
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "schema version 1"),
            (&both, None, "manifest and an index at once"),
            (&manifest, Some(media_type::INDEX), "was sent as"),
            (r#"{"schemaVersion":2}"#, Some("application/vnd.x+json"), "which is no image"),
            (r#"{"schemaVersion":2,"layers":[]}"#, None, "not an image manifest"),
            ("<html>", None, "not an image manifest"),
            ("", None, "not an image manifest"),
        ];
        for (text, header, expected) in cases {
            let fault = read(text.as_bytes(), header).unwrap_err().to_string();
            assert!(fault.contains(expected), "{fault}");
        }
    }
}
