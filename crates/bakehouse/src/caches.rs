//! Caches of other builders: which images read and write which, read at the start of a run and
//! written at its end.
//!
//! A cache that cannot be read is a warning, and the build goes on without it: whatever comes
//! out of one is checked against its digest before a step may stand on it. A cache that cannot
//! be written fails the build, unless `ignore-error=true` is said.

pub mod depots;
pub mod export;
pub mod import;
pub mod source;
pub mod wishes;

pub use import::Loaded;
pub use wishes::Wishes;
