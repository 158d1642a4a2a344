//! The tests of the planning room that look at it from outside.
#![expect(clippy::unwrap_used, reason = "a test that fails is to stop")]
#![expect(clippy::too_many_lines, clippy::type_complexity, reason = "tables are long and plain")]

mod affected;
mod build;
mod convert;
mod corpus;
mod diagnostics;
mod doubts;
mod evaluate;
mod fleet;
mod globs;
mod heredocs;
mod ignore;
mod instructions;
mod lint;
mod lower;
mod merging;
mod mounts;
mod processes;
mod properties;
mod words;
