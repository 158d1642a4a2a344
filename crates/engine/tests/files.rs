//! Copying, keys and contexts, on real directories.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "files/archives.rs"]
mod archives;
#[path = "files/contexts.rs"]
mod contexts;
#[path = "files/copying.rs"]
mod copying;
#[path = "files/keys.rs"]
mod keys;
#[path = "files/patterns.rs"]
mod patterns;
#[path = "files/stage.rs"]
mod stage;
