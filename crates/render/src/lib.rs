//! What people see: one stream of events, one reducer, many windows.
//!
//! [`Progress::apply`] is the only place that counts. A [`Renderer`] draws the event and
//! the progress that already includes it, and keeps no totals of its own; so the event
//! log alone reproduces everything that was ever shown.
//!
//! Nothing here opens a file, reads the environment or looks at the clock: time, width
//! and source text come as arguments. No text from outside (log lines, Dockerfiles,
//! registries) reaches a terminal with its control characters.

mod cause;
mod diagnostic;
mod diff;
mod excerpt;
mod explain;
pub mod failure;
pub mod graph;
pub mod jsonl;
mod measure;
mod plain;
mod progress;
mod quiet;
mod sarif;
mod style;
pub mod summary;
mod table;
mod text;
mod tty;
mod watch;
mod words;

#[cfg(test)]
mod recorded;

pub use cause::{Cause, CauseStep, Causes};
pub use diagnostic::{diagnostic, tally};
pub use diff::{Change, diff};
pub use excerpt::excerpt;
pub use explain::explain;
pub use jsonl::JsonLines;
pub use measure::{ago, bytes, clock, duration, short_duration};
pub use plain::Plain;
pub use progress::{
    Counts, Exported, ImageProgress, ImageState, LOG_TAIL, Length, Progress, StepProgress,
    StepState, Tag, Transfer,
};
pub use quiet::Quiet;
pub use sarif::{SarifRule, SarifTool, sarif};
pub use style::Style;
pub use table::{Column, table};
pub use text::clean;
pub use tty::{Size, Tty};
pub use watch::{Renderer, Watchers};

#[cfg(test)]
mod page;
