//! Decisions: what a repository's Dockerfiles mean, which steps follow, what must run, when.
//!
//! Pure: the same input gives the same output, and whatever must be known about the world
//! comes in as an argument or is asked for as data ([`evaluate::Question`],
//! [`lower::BaseQuestion`]).
//!
//! [`dockerfile`] parses → [`fleet`] names images and finds their contexts → [`lower`] makes
//! steps of a [`graph::Graph`] → [`evaluate`] says which must run and why → [`schedule`] says
//! when. Beside that way, [`lint`] says what is doubtful in a fleet, [`convert`] rewrites
//! Dockerfiles to take their base as an argument, [`leave`] writes the fleet down for other
//! tools, [`attest`] tells what an image was made of, and [`codes`] lists all that may be said.

pub mod address;
pub mod affected;
pub mod assemble;
pub mod attest;
pub mod caches;
pub mod codes;
pub mod convert;
pub mod dockerfile;
pub mod evaluate;
pub mod families;
pub mod fleet;
pub mod gitaddress;
pub mod graph;
pub mod key;
pub mod leave;
pub mod lint;
pub mod lower;
pub mod outline;
pub mod schedule;
pub mod slot;
pub mod time;
