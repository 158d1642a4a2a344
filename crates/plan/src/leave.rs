//! The way out: a fleet as a bake file or as commands of `docker buildx`, for anyone who
//! wants to go on without this program.
//!
//! 1. [`recipes`]: each image as one build, with every name settled. Where an image stands on
//!    another one of the fleet, the name that its Dockerfile has for it is a named context, so
//!    that what was just built is used and not what a registry has.
//! 2. [`bake_file`] writes recipes as HCL, [`script`] as commands for a POSIX shell.
//!
//! What is written means the same to the other tool as it does here. What that tool cannot be
//! told is a comment in what is written ([`Recipe::notes`]), never left out in silence.

mod bake;
mod hcl;
mod paths;
mod recipe;
mod script;
mod shell;

pub use bake::bake_file;
pub use recipe::{Dockerfile, From, Given, Recipe, recipes};
pub use script::{Sending, script};
