//! The documents of the OCI image specification, loss-less.
//!
//! Typed views keep what they do not know (`extra`), maps are ordered, so the same value
//! always gives the same bytes. Whoever received a document keeps its raw bytes: nothing
//! re-serialises a manifest that it did not make.

mod config;
mod manifest;
mod platform;
mod reference;

pub use config::{Empty, Healthcheck, History, ImageConfig, RootFs, RunConfig};
pub use manifest::{Descriptor, Index, Manifest, media_type};
pub use platform::{ParsePlatformError, Platform};
pub use reference::{ParseReferenceError, Reference};
