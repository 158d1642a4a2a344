//! The client against a real registry in the process, with every fault it must survive.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up should stop")]

mod auth;
mod bench;
mod download;
mod faults;
mod peer;
mod pull;
mod push;
