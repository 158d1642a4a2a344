//! What can go wrong inside the helper, as a value that crosses the process boundary.

use std::borrow::Cow;
use std::io;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::users::UserError;

/// Why a step could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Failure {
    /// The kernel refused something.
    Kernel(KernelFailure),
    /// The user is not known.
    User(UserError),
    /// A mount would cover what every step needs.
    Covers {
        /// Where it leads to.
        real: String,
    },
    /// The command cannot be executed.
    Program {
        /// As it is written.
        program: String,
        /// What is wrong with it.
        why: ProgramError,
    },
}

/// A system call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KernelFailure {
    /// What was tried, as a verb.
    pub(super) doing: Cow<'static, str>,
    /// On what.
    pub(super) path: Option<String>,
    /// The error's number.
    pub(super) errno: i32,
    /// The kernel's own words, if it had any.
    pub(super) says: Option<String>,
}

/// What is wrong with the program of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProgramError {
    /// No directory of `PATH` has it.
    NotInPath,
    /// There is no such file, or its interpreter is missing.
    Missing,
    /// It may not be executed.
    Denied,
    /// It is a directory.
    Directory,
    /// It is a program of another machine, or no program at all.
    Format,
    /// Arguments and environment are too long.
    TooLong,
    /// There is a zero byte in it, its arguments or its environment.
    ZeroByte,
    /// Anything else, by the error's number.
    Refused(i32),
}

impl ProgramError {
    pub(super) fn from_execve(error: &io::Error) -> Self {
        let number = error.raw_os_error().unwrap_or(libc::EIO);
        match number {
            libc::ENOENT | libc::ENOTDIR => Self::Missing,
            libc::EACCES | libc::EPERM => Self::Denied,
            libc::ENOEXEC => Self::Format,
            libc::E2BIG => Self::TooLong,
            other => Self::Refused(other),
        }
    }
}

/// Says what a failed call was for.
pub(super) trait Doing<T> {
    /// Names what was tried.
    fn doing(self, doing: &'static str) -> Result<T, Failure>;
    /// Names what was tried, and on which path.
    fn doing_at(self, doing: &'static str, path: &str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, Failure> {
        self.map_err(|error| kernel(doing, None, error.into(), None))
    }

    fn doing_at(self, doing: &'static str, path: &str) -> Result<T, Failure> {
        self.map_err(|error| kernel(doing, Some(path), error.into(), None))
    }
}

/// A failure in the kernel's words.
pub(super) fn kernel(
    doing: &'static str,
    path: Option<&str>,
    error: io::Error,
    says: Option<String>,
) -> Failure {
    Failure::Kernel(KernelFailure {
        doing: Cow::Borrowed(doing),
        path: path.map(str::to_owned),
        errno: error.raw_os_error().unwrap_or_else(|| Errno::IO.raw_os_error()),
        says,
    })
}
