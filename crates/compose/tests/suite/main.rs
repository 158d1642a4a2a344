//! The tests of this room that look at it from outside.
#![expect(clippy::unwrap_used, reason = "a test that fails is to stop")]
#![expect(clippy::disallowed_methods, reason = "tests read files; what they test does not")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod bake;
mod cases;
mod config;
mod fleets;
mod hostile;
mod mistakes;
mod places;
mod yaml;
