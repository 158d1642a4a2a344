//! Caches that other builders write and read: BuildKit's records of steps and layers.
//!
//! [`spec`] reads what the user asks for; [`document`] is the JSON; [`import`] is such a document, checked, in which an
//! [`crate::evaluate::Evaluation`] looks steps up; [`export`] makes one of an evaluation.
//!
//! A record is a node of a graph: the digest of a step's op and, for each input, links to the
//! records that may stand for it, each with a selector of what is read. What a step reads by
//! content links to a record that has nothing but the digest of those files. So a step is found
//! by a walk along its own inputs, and no key of a whole chain has to be the same.
//!
//! Nothing in a document is trusted: numbers that lead nowhere, loops and sizes beyond all
//! reason make it a cache that has nothing, never one that has something wrong. What its blobs
//! hold is checked against their digests when they are unpacked.

pub mod document;
pub mod export;
pub mod import;
pub mod spec;

use bakehouse_model::Digest;

pub use import::{Cache, CacheFault, Import};

/// The media type of a cache's configuration.
pub const CONFIG_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";
/// The annotation of a blob that says what it unpacks to.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// The annotation of a blob that says when its layer was made.
pub const CREATED_AT: &str = "buildkit/createdat";
/// The field of an image's configuration that has the records of a cache within the image.
pub const INLINE: &str = "moby.buildkit.cache.v0";

/// The digest of a record: of an op's one result.
fn of_op(op: &Digest) -> Digest {
    Digest::of(format!("{op}@0"))
}

/// The digest of a record: of contents that a step reads.
fn of_contents(contents: &Digest) -> Digest {
    Digest::of(format!("{contents}@-1"))
}
