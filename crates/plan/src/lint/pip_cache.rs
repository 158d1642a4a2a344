//! `pip --no-cache-dir` with pip's cache mounted: the mount is never used.

use bakehouse_model::Diagnostic;

use super::Given;
use super::steps::{Step, program, steps};
use crate::codes::{Code, warning};
use crate::dockerfile::InstructionKind;
use crate::fleet::Fleet;

pub(super) const CODE: Code = warning(
    "pip-no-cache-with-cache-mount",
    "pip is told not to use the cache that is mounted for it",
    "leave `--no-cache-dir` and `PIP_NO_CACHE_DIR` out: what is in a cache mount is not in the image",
);

pub(super) fn find(fleet: &Fleet, _: &Given<'_>) -> Vec<Diagnostic> {
    let found = steps(fleet).filter_map(|step| {
        let (target, _) = step.caches(is_pip_cache)?;
        let why = refused(&step)?;
        Some(CODE.at(step.location(), format!("{why} keeps pip from the cache at `{target}`")))
    });
    found.collect()
}

fn is_pip_cache(target: &str) -> bool {
    target.ends_with("/.cache/pip") || target.ends_with("/.cache")
}

/// What keeps a pip of this step from its cache.
fn refused(step: &Step<'_>) -> Option<&'static str> {
    let commands = step.commands();
    let mut pips = commands.iter().filter_map(|words| pip(words)).peekable();
    pips.peek()?;
    if pips.any(|words| words.contains(&"--no-cache-dir")) {
        return Some("`--no-cache-dir`");
    }
    let off = |value: &str| matches!(value, "" | "0" | "false" | "no" | "off");
    let set = step.before.iter().rev().find_map(|instruction| {
        let InstructionKind::Env(pairs) = &instruction.kind else { return None };
        pairs.iter().rev().find(|pair| pair.key == "PIP_NO_CACHE_DIR")
    })?;
    let value = set.value.trim_matches(['"', '\'']).to_ascii_lowercase();
    (!off(&value)).then_some("`PIP_NO_CACHE_DIR`")
}

/// The words after `pip`, if it installs or downloads something. `uv pip` is another program.
fn pip<'a, 'b>(words: &'b [&'a str]) -> Option<&'b [&'a str]> {
    let is_pip = |word: &&str| {
        let version = program(word).strip_prefix("pip");
        version.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
    };
    let at = words.iter().position(is_pip)?;
    if at > 0 && program(words[at - 1]) == "uv" {
        return None;
    }
    let rest = &words[at + 1..];
    rest.iter().any(|word| matches!(*word, "install" | "download" | "wheel")).then_some(rest)
}
