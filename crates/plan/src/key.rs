//! Cache keys, as BuildKit has them: from definitions first, from contents where that can help.
//!
//! What goes into the key of a step:
//!
//! | part | definition key | content key |
//! |---|---|---|
//! | the op, without what must not matter (selectors, hosts' addresses, proxies, cache ids) | yes | yes |
//! | platform of an exec | yes | yes |
//! | the file system that is written to | its key | its key |
//! | an image | its chain id | its chain id |
//! | a build context | the digest of the selected paths | the same |
//! | another step's files, copied or mounted | its key and the selected paths | the digest of those paths |
//!
//! Not in any key: names, positions, secrets' values, modification times of copied files,
//! who asked. The op's text follows the JSON that BuildKit's solver hashes
//! (`CacheMap` of `solver/llbsolver/ops`), so that keys can be shared with it.

mod json;

use std::collections::BTreeMap;

use bakehouse_model::op::{File, FileAction, MountKind, Op, Owner, Principal, Source};
use bakehouse_model::{Digest, Key};
use serde::{Deserialize, Serialize};

use crate::graph::Step;

/// Paths of an input that a step reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Selection {
    /// Path or wildcard, absolute within the input.
    pub path: String,
    /// Whether a link at the end is followed.
    pub follow: bool,
    /// Whether `path` has wildcards.
    pub wildcard: bool,
    /// Only what these match.
    pub include: Vec<String>,
    /// Not what these match.
    pub exclude: Vec<String>,
    /// Paths that must be there.
    pub required: Vec<String>,
}

/// How one input of a step enters its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// What is read of it; empty means all of it.
    pub selections: Vec<Selection>,
    /// Whether the contents of `selections` may stand for the input: it is only read.
    pub by_content: bool,
}

/// How each input of `step` enters its key.
pub fn dependencies(step: &Step) -> Vec<Dependency> {
    let mut deps: Vec<Dependency> = step
        .inputs
        .iter()
        .map(|_| Dependency { selections: Vec::new(), by_content: true })
        .collect();
    match &step.op {
        Op::Source(_) => {}
        Op::Exec(exec) => {
            for mount in &exec.mounts {
                let Some(dep) = mount.input.and_then(|input| deps.get_mut(input)) else { continue };
                if mount.kind == MountKind::Root {
                    dep.by_content = false;
                } else {
                    dep.selections.push(Selection::plain(&mount.selector));
                }
            }
        }
        Op::File(file) => file_dependencies(file, &mut deps),
    }
    for dep in &mut deps {
        // Where nothing is selected, all of it is read. What is written to keeps its selections:
        // ops name only the last word of what they read.
        dep.by_content &= !dep.selections.is_empty();
    }
    deps
}

fn file_dependencies(file: &File, deps: &mut [Dependency]) {
    for action in &file.actions {
        let owner = match action {
            FileAction::Copy(copy) => {
                if let Some(dep) = deps.get_mut(copy.input) {
                    dep.selections.push(Selection {
                        path: copy.src.clone(),
                        follow: copy.follow_symlink,
                        wildcard: copy.allow_wildcard && has_wildcards(&copy.src),
                        include: copy.include_patterns.clone(),
                        exclude: copy.exclude_patterns.clone(),
                        required: copy.required_paths.clone(),
                    });
                }
                copy.owner.as_ref()
            }
            FileAction::MakeFile(make) => make.owner.as_ref(),
            FileAction::MakeDir(make) => make.owner.as_ref(),
        };
        owner_dependencies(owner, deps);
    }
    if let Some(dep) = file.base.and_then(|base| deps.get_mut(base)) {
        dep.by_content = false;
    }
}

fn owner_dependencies(owner: Option<&Owner>, deps: &mut [Dependency]) {
    let Some(owner) = owner else { return };
    let named = [(&owner.user, "/etc/passwd"), (&owner.group, "/etc/group")];
    for (principal, path) in named {
        if let Some(Principal::Name { input: Some(input), .. }) = principal
            && let Some(dep) = deps.get_mut(*input)
        {
            dep.selections.push(Selection { follow: true, ..Selection::plain(path) });
        }
    }
}

impl Selection {
    fn plain(path: &str) -> Self {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Self {
            path,
            follow: true,
            wildcard: false,
            include: Vec::new(),
            exclude: Vec::new(),
            required: Vec::new(),
        }
    }
}

/// Whether `path` has an unescaped `*`, `?` or `[`.
pub(crate) fn has_wildcards(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    false
}

/// What one input gives to a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The input's own key, with the selector.
    Key(Key, Digest),
    /// The digest of the selected contents.
    Content(Digest),
}

/// The digest of a step's op: what it does, whatever it does it to.
pub fn op_digest(step: &Step) -> Digest {
    match &step.op {
        Op::Source(source) => Digest::of(source_text(source)),
        Op::Exec(exec) => Digest::of(json::exec(exec, step)),
        Op::File(file) => Digest::of(json::file(file)),
    }
}

fn source_text(source: &Source) -> String {
    match source {
        Source::Image(image) => match &image.chain {
            Some(chain) => format!("buildkit.source.v0:{chain}"),
            None => format!("buildkit.source.v0:{}", image.manifest),
        },
        Source::Context(context) => format!("context:{}", context.name),
        Source::Http(http) => serde_json::to_string(http).expect("plain fields"),
        Source::Git(git) => serde_json::to_string(git).expect("plain fields"),
    }
}

/// The selector of an input: which paths of it the step reads.
pub fn selector(dependency: &Dependency) -> Digest {
    // In the order of the op: of two sources of one name the last one wins.
    let paths: Vec<&str> = dependency.selections.iter().map(|s| s.path.as_str()).collect();
    Digest::of(paths.join("\0"))
}

/// The key of a step from its op and from what its inputs give.
pub fn key(op: &Digest, parts: &[Part]) -> Key {
    if parts.is_empty() {
        return Key(op.clone());
    }
    let text = serde_json::to_vec(&(op, parts)).expect("plain fields");
    Key(Digest::of(text))
}

/// The variables an op sees, to say which of them changed.
pub fn variables(op: &Op) -> BTreeMap<String, String> {
    let Op::Exec(exec) = op else { return BTreeMap::new() };
    exec.env
        .iter()
        .map(|line| match line.split_once('=') {
            Some((name, value)) => (name.to_owned(), Digest::of(value).hex()[..16].to_owned()),
            None => (line.clone(), String::new()),
        })
        .collect()
}
