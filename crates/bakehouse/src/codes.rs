//! Every code that a diagnostic of this program may have.

use bakehouse_model::Severity;
use bakehouse_plan::codes::{self, Code};

/// Codes of what is found when files are read, and when a build meets the world.
static OWN: &[Code] = &[
    Code {
        code: "bad-ignore-pattern",
        severity: Severity::Error,
        about: "a pattern of a `.dockerignore` cannot be read",
        help: "close its brackets, and give every backslash a character",
    },
    Code {
        code: "base-not-found",
        severity: Severity::Error,
        about: "a base cannot be had from its registry",
        help: "correct its name, log in, or say what it stands for with `--build-context`",
    },
    Code {
        code: "base-platform",
        severity: Severity::Warning,
        about: "a base is for another platform than the one that was asked for",
        help: "choose a base that has the platform",
    },
    Code {
        code: "export",
        severity: Severity::Error,
        about: "an output could not be written",
        help: "look at the path and the free space of `--output`",
    },
    Code {
        code: "missing-input",
        severity: Severity::Error,
        about: "an instruction reads what is not in the context",
        help: "correct the path, or take it out of `.dockerignore`",
    },
    Code {
        code: "no-limits",
        severity: Severity::Warning,
        about: "limits of memory, processors and processes do not hold here",
        help: "they need cgroups that this user may change: build as root",
    },
    Code {
        code: "store",
        severity: Severity::Error,
        about: "the store cannot be written",
        help: "BAKEHOUSE_HOME names the folder of the store",
    },
    Code {
        code: "unreadable",
        severity: Severity::Warning,
        about: "a file or folder cannot be read; for a Dockerfile it is an error",
        help: "repair the file, or name it in .gitignore if it is no Dockerfile",
    },
];

/// All codes.
pub fn all() -> impl Iterator<Item = &'static Code> {
    codes::all().chain(OWN)
}
