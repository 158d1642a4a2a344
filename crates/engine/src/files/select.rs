//! Which files a wildcard, include and exclude patterns select for a content key.
//!
//! The rules are those by which the copy itself chooses: a wildcard matches whole paths,
//! what it matches brings all below it, and there patterns see paths relative to the
//! match. A directory counts by its header, and only if it or something below is chosen.

use super::digest::{DigestError, Item, Selection, collect};
use super::entry::{clean, join, shown};
use super::tree::{Tree, TreeError};
use crate::context::{Matcher, Patterns, Verdict};

/// What was chosen.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) items: Vec<Item>,
    pub(super) included: Vec<Included>,
    /// What is cut from the front of every path in the list.
    pub(super) prefix: Vec<u8>,
}

/// One that was chosen.
#[derive(Debug)]
pub(super) struct Included {
    /// The path as the selection reached it, links on the way not followed.
    pub(super) path: Vec<u8>,
    pub(super) item: usize,
    /// If it is a link, what it points to counts.
    pub(super) follow: bool,
}

/// A directory on the way to the current item.
struct Parent {
    path: Vec<u8>,
    item: usize,
    included: bool,
    include: Option<Verdict>,
    exclude: Option<Verdict>,
    follow: bool,
}

struct Choice<'c> {
    selection: &'c Selection,
    patterns: &'c dyn Patterns,
    include: Option<Box<dyn Matcher>>,
    exclude: Option<Box<dyn Matcher>>,
    path: Vec<u8>,
    parents: Vec<Parent>,
    included: Vec<Included>,
    matched_dir: Option<Vec<u8>>,
}

/// Chooses what `selection` means in `tree`.
pub(super) fn select(
    tree: &Tree,
    selection: &Selection,
    patterns: &dyn Patterns,
) -> Result<Selected, DigestError> {
    let path = clean(selection.path.as_bytes());
    let (prefix, follow) = if selection.has_wildcard() {
        let (prefix, pattern) = split_wildcards(&path);
        (prefix, !pattern.is_empty())
    } else {
        (path.clone(), false)
    };
    let resolved = tree.resolve(&prefix, follow)?;
    let mut items = Vec::new();
    if let Some(entry) = resolved.entry {
        collect(tree, resolved.path.clone(), entry, &mut items)?;
    }
    let mut choice = Choice {
        selection,
        patterns,
        include: compile(patterns, &selection.include)?,
        exclude: compile(patterns, &selection.exclude)?,
        path,
        parents: Vec::new(),
        included: Vec::new(),
        matched_dir: None,
    };
    for (index, item) in items.iter().enumerate() {
        let below = item.path[resolved.path.len()..].strip_prefix(b"/");
        let below = below.unwrap_or(&item.path[resolved.path.len()..]);
        let seen_as = if below.is_empty() { prefix.clone() } else { join(&prefix, below) };
        choice.visit(index, item, seen_as)?;
    }
    for required in &selection.required {
        let found = |one: &Included| shown(&one.path).starts_with(required.as_str());
        if !choice.included.iter().any(found) {
            return Err(TreeError::NotFound { path: required.clone() }.into());
        }
    }
    Ok(Selected { items, included: choice.included, prefix })
}

/// A matcher for the patterns; none if there are none.
pub(super) fn compile(
    patterns: &dyn Patterns,
    list: &[String],
) -> Result<Option<Box<dyn Matcher>>, DigestError> {
    if list.is_empty() { Ok(None) } else { Ok(Some(patterns.compile(list)?)) }
}

impl Choice<'_> {
    fn visit(&mut self, index: usize, item: &Item, path: Vec<u8>) -> Result<(), DigestError> {
        let is_dir = item.entry.meta.is_dir();
        while self.parents.last().is_some_and(|parent| !is_below(&path, &parent.path)) {
            self.parents.pop();
        }
        if is_dir && path.is_empty() && self.path.is_empty() {
            return Ok(());
        }
        let Some(candidate) = self.candidate(&path)? else { return Ok(()) };
        let (mut include, mut exclude) = (None, None);
        let chosen = self.is_chosen(&candidate, &mut include, &mut exclude);
        let follow = self.parents.is_empty() && self.selection.follow;
        if chosen {
            for parent in self.parents.iter_mut().filter(|parent| !parent.included) {
                parent.included = true;
                let (path, item, follow) = (parent.path.clone(), parent.item, parent.follow);
                self.included.push(Included { path, item, follow });
            }
            self.included.push(Included { path: path.clone(), item: index, follow });
        }
        if is_dir {
            let included = chosen;
            let parent = Parent { path, item: index, included, include, exclude, follow };
            self.parents.push(parent);
        }
        Ok(())
    }

    /// The path that patterns are held against; none if the wildcard does not match.
    fn candidate(&mut self, path: &[u8]) -> Result<Option<String>, DigestError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !self.selection.has_wildcard() {
            return Ok(Some(text(relative(path, &self.path))));
        }
        if let Some(dir) = self.matched_dir.as_deref().filter(|dir| is_below(path, dir)) {
            return Ok(Some(text(relative(path, dir))));
        }
        // The root has no name for a wildcard to match.
        if path.is_empty() || !self.patterns.glob(&shown(&self.path), &shown(path))? {
            return Ok(None);
        }
        self.matched_dir = Some(path.to_vec());
        Ok(Some(String::new()))
    }

    fn is_chosen(
        &self,
        candidate: &str,
        include: &mut Option<Verdict>,
        exclude: &mut Option<Verdict>,
    ) -> bool {
        let parent = self.parents.last();
        if let Some(matcher) = &self.include {
            let verdict = matcher.check(candidate, parent.and_then(|p| p.include.as_ref()));
            if !include.insert(verdict).matched {
                return false;
            }
        }
        if let Some(matcher) = &self.exclude {
            let verdict = matcher.check(candidate, parent.and_then(|p| p.exclude.as_ref()));
            if exclude.insert(verdict).matched {
                return false;
            }
        }
        true
    }
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() && !path.is_empty()
        || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"))
}

/// `path` without `dir` in front.
fn relative<'p>(path: &'p [u8], dir: &[u8]) -> &'p [u8] {
    let rest = path.strip_prefix(dir).unwrap_or(path);
    rest.strip_prefix(b"/").unwrap_or(rest)
}

/// The names before the first that has a wildcard, and the names from it on.
pub(super) fn split_wildcards(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let names: Vec<&[u8]> = path.split(|&b| b == b'/').collect();
    let first = names.iter().position(|name| has_wildcard(name)).unwrap_or(names.len());
    (names[..first].join(&b'/'), names[first..].join(&b'/'))
}

fn has_wildcard(name: &[u8]) -> bool {
    let mut bytes = name.iter();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_path_splits_before_its_first_wildcard() {
        let cases = [
            ("a/b", "a/b", ""),
            ("a/*/c", "a", "*/c"),
            ("*.txt", "", "*.txt"),
            ("a/b?/c", "a", "b?/c"),
            ("a/b\\*/c", "a/b\\*/c", ""),
            ("a/[b]/c", "a", "[b]/c"),
        ];
        for (path, prefix, pattern) in cases {
            let expected = (prefix.as_bytes().to_vec(), pattern.as_bytes().to_vec());
            assert_eq!(split_wildcards(path.as_bytes()), expected, "{path}");
        }
    }
}
