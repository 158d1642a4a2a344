//! Talks to places that keep the blobs of caches under names: GitHub's cache service and S3.
//!
//! A [`Depot`] has blobs, each under its digest, and a document, which says what they are. What
//! comes out of one is checked against its digest and its size before the store shows it to
//! anybody; the document is the caller's to judge. The names are those that BuildKit gives.
//!
//! Blocking outside and asynchronous inside, as the client of registries is. Tokens, keys and
//! signed addresses are in no error and in no `Debug`.

mod actions;
mod bucket;
mod crew;
mod depot;
mod error;
mod web;

pub use actions::ActionsConfig;
pub use bucket::BucketConfig;
pub use depot::{Config, Depot, Progress};
pub use error::DepotError;
