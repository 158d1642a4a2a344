//! The program: what a command line asks for, carried through the rooms.
//!
//! Every verb has four steps: parse ([`request`]) → plan ([`planning`]) → execute → report.

pub mod backends;
pub mod bases;
pub mod broadcast;
pub mod cachemounts;
pub mod caches;
mod checkout;
pub mod cli;
pub mod codes;
pub mod commands;
pub mod config;
pub mod context;
pub mod demo;
pub mod discovery;
pub mod failure;
pub mod finish;
pub mod git;
pub mod hostbase;
pub mod keep;
pub mod limits;
pub mod memory;
pub mod outputs;
pub mod patterns;
pub mod planning;
pub mod program;
mod remote;
pub mod request;
pub mod sbom;
pub mod signals;
pub mod sources;
pub mod tags;
pub mod transfer;
pub mod version;
