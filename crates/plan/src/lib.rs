//! Decisions: what a repository's Dockerfiles mean, which steps follow, what must run, when.
//!
//! Pure: the same input gives the same output, and whatever must be known about the world
//! comes in as an argument or is asked for as data ([`evaluate::Question`],
//! [`lower::BaseQuestion`]).
//!
//! [`dockerfile`] parses → [`fleet`] names images and finds their contexts → [`lower`] makes
//! steps of a [`graph::Graph`] → [`evaluate`] says which must run and why → [`schedule`] says
//! when.

pub mod affected;
pub mod assemble;
pub mod dockerfile;
pub mod evaluate;
pub mod fleet;
pub mod graph;
pub mod key;
pub mod lower;
pub mod schedule;
pub mod slot;
pub mod time;
