//! What a version of a repository has at which path, as its version control tells it: kinds
//! and names of contents, no contents.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::ignore::clean;

/// Whoever follows more links than this goes in circles.
const MAX_LINKS: usize = 255;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A file.
    File,
    /// A file that may be executed.
    Program,
    /// A symbolic link.
    Link,
    /// Another repository, of which only the commit is known.
    Submodule,
}

/// One path of a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// What is in it: any name that equal contents share and others do not. For a link, the
    /// path that it points to.
    pub content: String,
}

/// Every path of a version.
///
/// Paths in here begin at the top of the version control's tree, which may be above the
/// repository's root: what is read of a fleet is given from the root ([`within`](Self::within)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    prefix: String,
    entries: BTreeMap<String, Entry>,
}

impl Listing {
    /// A listing of a tree in which `prefix` is the repository's root; empty for the top.
    pub fn new(prefix: &str, entries: BTreeMap<String, Entry>) -> Self {
        Self { prefix: prefix.trim_matches('/').to_owned(), entries }
    }

    /// All paths from the top, in order.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Where `path`, from the root, is from the top; none if it leaves the tree.
    pub fn within(&self, path: &str) -> Option<String> {
        if path.starts_with('/') || climbs(&self.prefix, path) {
            return None;
        }
        let joined = clean(&format!("/{}/{path}", self.prefix));
        Some(joined.trim_start_matches('/').to_owned())
    }

    /// How a person at the root types `path`, which is from the top.
    pub fn shown(&self, path: &str) -> String {
        if self.prefix.is_empty() {
            return path.to_owned();
        }
        let mut up = 0;
        let mut base = self.prefix.as_str();
        loop {
            let below = path.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
            if let Some(below) = if base.is_empty() { Some(path) } else { below } {
                return format!("{}{below}", "../".repeat(up));
            }
            up += 1;
            base = base.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }

    /// The file that `path`, from the root, leads to through links, with its path from the
    /// top; none if that is no file.
    pub fn file(&self, path: &str) -> Option<(String, &Entry)> {
        let path = self.resolve(path, true)?;
        let entry = self.entries.get(&path)?;
        matches!(entry.kind, EntryKind::File | EntryKind::Program).then_some((path, entry))
    }

    /// Whether there is something at `path`, from the root: a file, a link, or a folder that
    /// is not empty.
    pub fn has(&self, path: &str) -> bool {
        self.resolve(path, false).is_some_and(|path| {
            path.is_empty()
                || self.entries.contains_key(&path)
                || self.below(&path).next().is_some()
        })
    }

    fn resolve(&self, path: &str, last: bool) -> Option<String> {
        let path = self.within(path)?;
        follow(&|path| self.entries.get(path), &path, last, &mut BTreeSet::new())
    }

    /// What is below the folder `path`, from the top, each with its path from there.
    pub fn below(&self, path: &str) -> impl Iterator<Item = (&str, &Entry)> + use<'_> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let from = self.entries.range(prefix.clone()..);
        from.map_while(move |(path, entry)| Some((path.strip_prefix(&prefix)?, entry)))
    }

    /// The paths below the root, from there, with what they are.
    pub fn own(&self) -> impl Iterator<Item = (&str, &Entry)> + use<'_> {
        self.below(&self.prefix)
    }
}

/// The path that `path` leads to, links on the way followed, and at its end if `last`; none if
/// it goes in circles. A path into a submodule leads to the submodule. Links that were followed
/// are added to `links`. Nothing leads above the top.
pub(super) fn follow<'a>(
    lookup: &dyn Fn(&str) -> Option<&'a Entry>,
    path: &str,
    last: bool,
    links: &mut BTreeSet<String>,
) -> Option<String> {
    let mut done = String::new();
    let mut todo: Vec<&str> = path.rsplit('/').collect();
    let mut followed = 0;
    while let Some(name) = todo.pop() {
        match name {
            "" | "." => continue,
            ".." => {
                done.truncate(done.rfind('/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let next = if done.is_empty() { name.to_owned() } else { format!("{done}/{name}") };
        let Some(entry) = lookup(&next) else {
            done = next;
            continue;
        };
        let more = todo.iter().any(|name| !matches!(*name, "" | "."));
        match entry.kind {
            EntryKind::Submodule => return Some(next),
            EntryKind::Link if last || more => {
                followed += 1;
                if followed > MAX_LINKS {
                    return None;
                }
                links.insert(next);
                if entry.content.starts_with('/') {
                    done.clear();
                }
                todo.extend(entry.content.rsplit('/'));
            }
            _ => done = next,
        }
    }
    Some(done)
}

/// Whether `path` from the folder `prefix` goes above the top at any point of its way.
fn climbs(prefix: &str, path: &str) -> bool {
    let mut depth = 0_usize;
    for name in prefix.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." if depth == 0 => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(prefix: &str, paths: &[&str]) -> Listing {
        let entry = Entry { kind: EntryKind::File, content: String::new() };
        let entries = paths.iter().map(|path| ((*path).to_owned(), entry.clone()));
        Listing::new(prefix, entries.collect())
    }

    #[test]
    fn paths_from_the_root_and_from_the_top_are_told_apart() {
        let table = [
            ("", "a/./b", Some("a/b"), "a/b"),
            ("", ".", Some(""), ""),
            ("", "../a", None, ""),
            ("sub/deep", "a", Some("sub/deep/a"), "a"),
            ("sub/deep", ".", Some("sub/deep"), "../deep"),
            ("sub/deep", "..", Some("sub"), "../../sub"),
            ("sub/deep", "../../x/y", Some("x/y"), "../../x/y"),
            ("sub/deep", "../other", Some("sub/other"), "../other"),
            ("sub", "../../x", None, ""),
            ("", "/etc", None, ""),
        ];
        for (prefix, path, expected, shown) in table {
            let listing = listing(prefix, &[]);
            let found = listing.within(path);
            assert_eq!(found.as_deref(), expected, "{prefix} {path}");
            if let Some(found) = found {
                assert_eq!(listing.shown(&found), shown, "{prefix} {path}");
            }
        }
    }

    #[test]
    fn a_folder_is_there_if_something_is_in_it() {
        let listing = listing("sub", &["sub/a/b", "sub/a-b", "top"]);
        let table = [("a", true), ("a/b", true), ("a/", true), ("a-", false), (".", true)];
        for (path, expected) in table {
            assert_eq!(listing.has(path), expected, "{path}");
        }
        assert!(listing.has("../top"));
        assert!(!listing.has("../../sub"));
        let own: Vec<&str> = listing.own().map(|(path, _)| path).collect();
        assert_eq!(own, ["a-b", "a/b"]);
    }
}
