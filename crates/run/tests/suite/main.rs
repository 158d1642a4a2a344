//! The loop of a run, with doors that only pretend: no files, no processes, no clock.
#![expect(clippy::unwrap_used, reason = "a test that fails is to stop")]

mod cache;
mod claims;
mod failure;
mod images;
mod import;
mod log;
mod order;
mod random;
mod world;
