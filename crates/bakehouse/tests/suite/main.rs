//! Whole-program checks. One binary: a test file that is not listed here is found by `size`.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up should stop")]

mod affected;
mod architecture;
mod archives;
mod asked;
mod attested;
mod cachemounts;
mod caches;
mod called;
mod changing;
mod check;
mod config;
mod copies;
mod crashes;
mod docker;
mod elsewhere;
mod escapes;
mod explained;
mod families;
mod fleet;
mod gitserver;
mod guide;
mod interrupted;
mod mistakes;
mod oracle;
mod outputs;
mod place;
mod platforms;
mod reasons;
mod registry;
mod repository;
mod secrets;
mod services;
mod size;
mod sources;
mod steps;
