//! Attestations: what is said of an image beside it, in the form that BuildKit gives to it.
//!
//! A statement (in-toto) names its subjects, the image under each of its names, and holds a
//! predicate: a [`provenance`], or a list of packages. The statements of one image are the
//! layers of a manifest of their own, for the platform `unknown/unknown`, that names the
//! image's manifest and stands beside it in an index.

mod provenance;
mod purl;
mod steps;

use std::collections::BTreeMap;

use bakehouse_model::Digest;
use bakehouse_model::oci::{Descriptor, Platform, Reference, media_type};
use serde_json::{Value, json};

use crate::assemble;

pub use provenance::{Invocation, Mode, as_v02, at, git_address, http_address, pin, provenance};
pub use purl::image as package_url;

/// The predicate type of [`provenance`]: SLSA's, version 1.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// The predicate type of the same in version 0.2 ([`as_v02`]).
pub const PROVENANCE_V02: &str = "https://slsa.dev/provenance/v0.2";
/// The predicate type of an SPDX document.
pub const SPDX: &str = "https://spdx.dev/Document";

/// The media type of a statement.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// What says of a layer which predicate it holds.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// A statement that `predicate` holds for the image with this manifest, whatever it is called.
pub fn statement(
    predicate_type: &str,
    predicate: &Value,
    (manifest, platform): (&Digest, &Platform),
    names: &[Reference],
) -> Vec<u8> {
    let digest = json!({ "sha256": manifest.hex() });
    let subjects: Vec<Value> = names
        .iter()
        .map(|name| json!({ "name": package_url(name, Some(platform)), "digest": digest }))
        .collect();
    assemble::document(&json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": predicate_type,
        "subject": subjects,
        "predicate": predicate,
    }))
}

/// The descriptor of a statement's bytes, as a layer.
pub fn layer(predicate_type: &str, digest: Digest, size: u64) -> Descriptor {
    let note = (PREDICATE_TYPE.to_owned(), predicate_type.to_owned());
    Descriptor { annotations: BTreeMap::from([note]), ..Descriptor::new(STATEMENT, digest, size) }
}

/// The configuration of the manifest that has these layers, which nobody can run.
pub fn config(layers: &[Descriptor]) -> Vec<u8> {
    let digests: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
    assemble::document(&json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": digests },
    }))
}

/// The manifest of the statements.
pub fn manifest(config: &[u8], layers: Vec<Descriptor>) -> Vec<u8> {
    let config = Descriptor::new(media_type::CONFIG, Digest::of(config), config.len() as u64);
    let mut manifest = assemble::manifest(config, &[], assemble::MediaTypes::Oci);
    manifest.layers = layers;
    assemble::document(&manifest)
}

/// How an index points at the manifest of statements about `image`.
pub fn descriptor(manifest: &[u8], image: &Digest) -> Descriptor {
    let unknown = Platform {
        os: "unknown".to_owned(),
        architecture: "unknown".to_owned(),
        variant: None,
        os_version: None,
    };
    let notes = [
        ("vnd.docker.reference.type", "attestation-manifest"),
        ("vnd.docker.reference.digest", image.as_str()),
    ];
    Descriptor {
        annotations: notes.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        platform: Some(unknown),
        ..Descriptor::new(media_type::MANIFEST, Digest::of(manifest), manifest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_the_image_under_each_of_its_names() {
        let names: Vec<Reference> =
            ["app", "127.0.0.1:5000/team/app:1"].map(|name| name.parse().unwrap()).into();
        let platform = "linux/arm/v7".parse().unwrap();
        let digest = Digest::of("manifest");
        let bytes = statement(SPDX, &json!({ "a": 1 }), (&digest, &platform), &names);
        let statement: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(statement["predicate"]["a"], 1);
        let subjects = statement["subject"].as_array().unwrap();
        let shown: Vec<&str> = subjects.iter().map(|s| s["name"].as_str().unwrap()).collect();
        assert_eq!(
            shown,
            [
                "pkg:docker/app@latest?platform=linux%2Farm%2Fv7",
                "pkg:docker/127.0.0.1%3A5000/team/app@1?platform=linux%2Farm%2Fv7"
            ]
        );
        assert_eq!(subjects[1]["digest"]["sha256"], digest.hex());
    }

    #[test]
    fn the_manifest_of_statements_points_at_the_image_and_runs_nowhere() {
        let layers = vec![layer(PROVENANCE, Digest::of("statement"), 9)];
        let config = config(&layers);
        let manifest = manifest(&config, layers);
        let shown: Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(shown["layers"][0]["mediaType"], STATEMENT);
        assert_eq!(shown["layers"][0]["annotations"][PREDICATE_TYPE], PROVENANCE);
        assert_eq!(shown["config"]["digest"], Digest::of(&config).as_str());
        let descriptor = descriptor(&manifest, &Digest::of("image"));
        let note = &descriptor.annotations["vnd.docker.reference.digest"];
        assert_eq!(note, Digest::of("image").as_str());
        let host = Platform::host();
        assert_eq!(descriptor.platform.unwrap().distance(&host), None);
    }
}
