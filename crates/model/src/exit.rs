//! The exit codes, in one place. Scripts depend on them; they never change meaning.

use serde::{Deserialize, Serialize};

/// What the process says to its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum ExitCode {
    /// Everything asked for is done.
    Ok = 0,
    /// A step failed; the rest is reported.
    WorkFailed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A Dockerfile or another input file is wrong.
    Input = 3,
    /// A registry, daemon or kernel feature is missing or refused.
    Environment = 4,
    /// A bug in this program.
    Internal = 70,
    /// Interrupted by a signal.
    Interrupted = 130,
}
