//! Compose files: what they say about images and how those are built.
//!
//! [`find`](find()) says which files of a folder make a project → [`read`](read()) reads and merges
//! them → a [`Project`] has every service with its image, its build and the places where all of it
//! is written. What Compose does decides: files are read as the Compose specification says, and where
//! that is silent, as Docker Compose does. What is not about images (ports, volumes, networks) is
//! passed over, so a mistake there costs no image.
//!
//! Pure: files other than those given, and the environment, come through [`Surroundings`]. No input
//! panics, and what a hostile one costs is bounded. Mistakes are diagnostics, and a broken service
//! does not hide the others.
//!
//! [`yaml`] reads any YAML into a tree with places.

mod build;
mod dotenv;
mod environment;
mod fields;
mod find;
mod interpolate;
mod keys;
mod load;
mod merge;
mod path;
mod place;
mod problem;
mod project;
mod read;
mod service;
pub mod yaml;

pub use find::{FILES, OVERRIDES, find};
pub use project::{Build, Context, Origin, Project, Secret, Service, Ulimit, Written};
pub use read::{SourceFile, Surroundings, read};
