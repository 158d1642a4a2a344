//! Images in and out of files: OCI image layouts and what `docker load` reads.
//!
//! What is written depends on nothing but the images: entries are sorted, owners are root,
//! times are 1970. Blobs are streamed; only manifests are held in memory. What is read is
//! trusted in nothing: every blob is hashed and measured, no name is used as a path.

mod read;
mod write;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use bakehouse_model::Digest;
use bakehouse_model::oci::{Descriptor, Index, Manifest, Platform, Reference, media_type};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::store::StoreError;

pub use read::Layout;
pub use write::{replace_oci_dir, write_docker_tar, write_oci_dir, write_oci_tar};

/// The largest manifest, index or configuration that is read: the registries' own limit.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// How deep indexes may hold indexes.
const MAX_NESTING: usize = 8;

/// The tag, or the whole name where there is none.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// An image to write: its manifest or index, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutImage {
    /// Its manifest or index, which is in the store with all that it needs.
    pub manifest: Descriptor,
    /// Its names.
    pub references: Vec<Reference>,
}

/// An image could not be written to a file or read from one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the archive is written to refused.
    #[error("cannot write the archive")]
    Write {
        /// Why.
        source: io::Error,
    },
    /// The operating system refused.
    #[error("cannot {doing} `{path}`")]
    Io {
        /// A verb phrase.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A document is not what its media type says.
    #[error("`{name}` is not {what}")]
    Document {
        /// Its digest, or its file name.
        name: String,
        /// What it should be.
        what: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
    /// Something else than an image was given.
    #[error("`{digest}` is no image but `{media_type}`")]
    NotAnImage {
        /// The thing.
        digest: Digest,
        /// What it is.
        media_type: String,
    },
    /// The image is not for this platform.
    #[error("`{digest}` has no image for `{platform}`")]
    NoPlatform {
        /// The index.
        digest: Digest,
        /// What was looked for.
        platform: Platform,
    },
    /// Indexes hold indexes without end.
    #[error("`{digest}` lies too many indexes deep")]
    TooDeep {
        /// Where it was given up.
        digest: Digest,
    },
    /// The folder or archive is no layout.
    #[error("`{path}` is no OCI image layout: {why}")]
    NotALayout {
        /// The folder or archive.
        path: PathBuf,
        /// What it lacks.
        why: &'static str,
    },
    /// A blob that is named is not in the layout.
    #[error("`{path}` has no blob `{digest}`")]
    NoBlob {
        /// The folder or archive.
        path: PathBuf,
        /// The blob.
        digest: Digest,
    },
    /// A document is larger than any may be.
    #[error("document `{name}` has {size} bytes, more than {MAX_DOCUMENT}")]
    TooLarge {
        /// Its digest, or its file name.
        name: String,
        /// Its size.
        size: u64,
    },
}

impl LayoutError {
    fn io(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}

/// A document that leads to others.
#[derive(Debug)]
enum Document {
    Index(Index),
    Manifest(Manifest),
}

/// What `descriptor` describes; none if it is content that leads nowhere.
fn parse(descriptor: &Descriptor, bytes: &[u8]) -> Result<Option<Document>, LayoutError> {
    let name = descriptor.digest.as_str();
    Ok(match descriptor.media_type.as_str() {
        media_type::INDEX | media_type::DOCKER_INDEX => {
            Some(Document::Index(from_json(bytes, name, "an image index")?))
        }
        media_type::MANIFEST | media_type::DOCKER_MANIFEST => {
            Some(Document::Manifest(from_json(bytes, name, "an image manifest")?))
        }
        _ => None,
    })
}

fn from_json<T: DeserializeOwned>(
    bytes: &[u8],
    name: &str,
    what: &'static str,
) -> Result<T, LayoutError> {
    serde_json::from_slice(bytes).map_err(|source| LayoutError::Document {
        name: name.to_owned(),
        what,
        source,
    })
}

fn leads_on(descriptor: &Descriptor) -> bool {
    matches!(
        descriptor.media_type.as_str(),
        media_type::INDEX
            | media_type::DOCKER_INDEX
            | media_type::MANIFEST
            | media_type::DOCKER_MANIFEST
    )
}

/// Everything that `root` leads to, itself included: digests and sizes.
fn reach(
    root: &Descriptor,
    read: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, LayoutError>,
) -> Result<BTreeMap<Digest, u64>, LayoutError> {
    if !leads_on(root) {
        return Err(not_an_image(root));
    }
    let mut found = BTreeMap::new();
    let mut waiting = vec![(root.clone(), 0)];
    while let Some((descriptor, depth)) = waiting.pop() {
        if found.insert(descriptor.digest.clone(), descriptor.size).is_some()
            || !leads_on(&descriptor)
        {
            continue;
        }
        if depth > MAX_NESTING {
            return Err(LayoutError::TooDeep { digest: descriptor.digest });
        }
        match parse(&descriptor, &read(&descriptor)?)? {
            Some(Document::Index(index)) => {
                waiting.extend(index.manifests.into_iter().map(|below| (below, depth + 1)));
            }
            Some(Document::Manifest(manifest)) => {
                waiting.push((manifest.config, depth + 1));
                waiting.extend(manifest.layers.into_iter().map(|below| (below, depth + 1)));
            }
            None => {}
        }
    }
    Ok(found)
}

/// The manifest for `platform` that `root` leads to: itself, if it is no index.
fn select(
    root: &Descriptor,
    platform: &Platform,
    read: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, LayoutError>,
) -> Result<(Descriptor, Manifest), LayoutError> {
    let mut at = root.clone();
    for _ in 0..=MAX_NESTING {
        if !leads_on(&at) {
            return Err(not_an_image(&at));
        }
        match parse(&at, &read(&at)?)? {
            Some(Document::Manifest(manifest)) => return Ok((at, manifest)),
            Some(Document::Index(index)) => {
                let only = match index.manifests.as_slice() {
                    // A nested index, or a manifest that does not say whose it is.
                    [only] if only.platform.is_none() => Some(only),
                    _ => None,
                };
                let Some(next) = index.select(platform).or(only) else {
                    let (digest, platform) = (at.digest, platform.clone());
                    return Err(LayoutError::NoPlatform { digest, platform });
                };
                at = next.clone();
            }
            None => return Err(not_an_image(&at)),
        }
    }
    Err(LayoutError::TooDeep { digest: at.digest })
}

fn not_an_image(descriptor: &Descriptor) -> LayoutError {
    LayoutError::NotAnImage {
        digest: descriptor.digest.clone(),
        media_type: descriptor.media_type.clone(),
    }
}
