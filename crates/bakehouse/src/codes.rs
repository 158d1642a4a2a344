//! Every code that a diagnostic of this program may have.

use bakehouse_model::Severity;
use bakehouse_plan::codes::{self, Code};

/// Codes of what is found when files are read, and when a build meets the world.
static OWN: &[Code] = &[
    Code {
        code: "bad-output",
        severity: Severity::Error,
        about: "an image's definition says something of outputs that cannot be done",
        help: "correct it, or override it with `-o` or `--set NAME.output=`",
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
        about: "limits of memory, processors or processes do not hold here",
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

/// Codes of what is wrong in bake files, compose files and `bakehouse.toml`. Each is an error
/// or a warning of its reader, which says what to do where it tells it.
#[rustfmt::skip]
static READERS: &[&str] = &[
    "ambiguous-key", "bad-arg-name", "bad-duration", "bad-estimate", "bad-name", "bad-number",
    "bad-path", "bad-pattern", "bad-platform", "bad-reference", "bad-registry", "bad-size",
    "bad-toml", "byte-order-mark", "cannot-merge", "compose-too-large", "cycle",
    "division-by-zero", "duplicate-attribute", "duplicate-key", "duplicate-name", "empty-key",
    "extends-cycle", "extends-too-deep", "file-too-large", "function-failed", "include-conflict",
    "include-cycle", "include-too-deep", "inconsistent-types", "interpolation-too-deep",
    "interpolation-too-long", "invalid-condition", "invalid-env-file", "invalid-group",
    "invalid-index", "invalid-interpolation", "invalid-key", "invalid-matrix", "invalid-name",
    "invalid-operand", "invalid-parameter", "invalid-reference", "invalid-size",
    "invalid-template-value", "invalid-type", "invalid-utf8", "invalid-yaml",
    "line-break-in-string", "long-key", "missing-attribute", "missing-file", "missing-key",
    "missing-label", "more-mistakes", "name-without-matrix", "nested-splat", "no-services",
    "not-a-list", "not-constant", "not-iterable", "not-utf-8", "null-value", "number-too-large",
    "old-boolean", "outside-root", "remote-include", "repeated-key", "repeated-service",
    "required-variable", "service-in-two-families", "several-files", "syntax", "too-deep",
    "too-large", "too-many-patterns", "too-much-work", "two-dockerfiles", "unknown-attribute",
    "unknown-block", "unknown-class", "unknown-dependency", "unknown-function", "unknown-key",
    "unknown-reference", "unknown-secret", "unknown-service", "unknown-target", "unknown-value",
    "unknown-variable", "unset-variable", "unsupported-version", "validation-failed",
    "wrong-argument-count", "wrong-default", "wrong-environment", "wrong-json-type",
    "wrong-labels", "wrong-set", "wrong-type", "wrong-value", "yaml-complex-key",
    "yaml-duplicate-key", "yaml-merge-key", "yaml-recursive-alias", "yaml-too-deep",
    "yaml-too-large",
];

/// Whether a diagnostic may have this code.
pub fn is_known(code: &str) -> bool {
    all().any(|known| known.code == code) || READERS.contains(&code)
}

/// The code that `wrong` was probably meant to be.
pub fn near(wrong: &str) -> Option<&'static str> {
    let known = all().map(|known| known.code).chain(READERS.iter().copied());
    bakehouse_plan::fleet::suggest(wrong, known)
}

/// All codes.
pub fn all() -> impl Iterator<Item = &'static Code> {
    codes::all().chain(OWN)
}
