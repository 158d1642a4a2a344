//! A build context as a step sees it: a folder of a [`Listing`] through ignore patterns.
//!
//! What a [`Selection`] means here is what it means to the engine that reads files: links on
//! the way are followed within the context, links in what is selected count as links,
//! wildcards match whole paths, and a folder that the patterns leave is there even if
//! everything in it is ignored. Of a submodule only the commit is known, so whatever may be
//! below it counts as the commit.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::Digest;

use super::listing::{Entry, EntryKind, Listing, follow};
use crate::dockerfile::glob;
use crate::dockerfile::ignore::{MatchInfo, Matcher, PatternError, clean};
use crate::key::{Selection, has_wildcards};

/// A folder that patterns were held against.
#[derive(Debug, Default)]
pub(super) struct View<'a> {
    /// Sorted by path; folders have no entry. The context's own path is empty.
    items: Vec<(&'a str, Option<&'a Entry>)>,
}

/// What a selection reads.
#[derive(Debug, Default)]
pub(super) struct Reading<'a> {
    /// What is read, by the name that it has for the step, with its path in the context;
    /// folders have no entry.
    pub(super) items: BTreeMap<String, (String, Option<&'a Entry>)>,
    /// Links that were followed to find it.
    pub(super) links: BTreeSet<String>,
}

impl Reading<'_> {
    /// A digest of what is read: names and contents, not where in the context that was.
    pub(super) fn digest(&self) -> Digest {
        let mut text = String::new();
        for (name, (_, entry)) in &self.items {
            let (kind, content) = match entry {
                None => ("folder", ""),
                Some(entry) => (word(entry.kind), entry.content.as_str()),
            };
            // No path has a NUL in it, and no content's name has.
            text.extend([name, "\0", kind, "\0", content, "\0"]);
        }
        Digest::of(text)
    }
}

fn word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Program => "program",
        EntryKind::Link => "link",
        EntryKind::Submodule => "submodule",
    }
}

impl<'a> View<'a> {
    /// The folder `folder` of `listing`, from its top, through ignore patterns.
    pub(super) fn new(
        listing: &'a Listing,
        folder: &str,
        ignore: &[String],
    ) -> Result<Self, PatternError> {
        let matcher = Matcher::new(ignore)?;
        let mut walk = Walk { matcher: &matcher, above: Vec::new(), items: vec![("", None)] };
        for (path, entry) in listing.below(folder) {
            walk.visit(path, entry);
        }
        let mut items = walk.items;
        items.sort_unstable_by_key(|(path, _)| *path);
        Ok(Self { items })
    }

    /// What is at `path`: none if nothing is, and none within for a folder.
    fn lookup(&self, path: &str) -> Option<Option<&'a Entry>> {
        let at = self.items.binary_search_by_key(&path, |(path, _)| path).ok()?;
        Some(self.items[at].1)
    }

    /// What is at `path` and below it, with paths relative to it.
    fn tree<'v>(
        &'v self,
        path: &'v str,
    ) -> impl Iterator<Item = (&'a str, &'a str, Option<&'a Entry>)> + use<'a, 'v> {
        let own = self.lookup(path).map(|entry| ("", entry)).into_iter();
        let own = own.filter_map(move |(rest, entry)| {
            let at = self.items.binary_search_by_key(&path, |(path, _)| path).ok()?;
            Some((rest, self.items[at].0, entry))
        });
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let from = self.items.partition_point(|(path, _)| *path < prefix.as_str());
        let below = self.items[from..]
            .iter()
            .map_while(move |(full, entry)| Some((full.strip_prefix(&prefix)?, *full, *entry)))
            .filter(|(rest, _, _)| !rest.is_empty());
        own.chain(below)
    }

    fn resolve(&self, path: &str, last: bool, links: &mut BTreeSet<String>) -> Option<String> {
        follow(&|path| self.lookup(path).flatten(), path, last, links)
    }

    /// What `selection` reads.
    pub(super) fn read(&self, selection: &Selection) -> Result<Reading<'a>, PatternError> {
        let path = clean(&format!("/{}", selection.path));
        let path = path.trim_start_matches('/');
        let mut reading = Reading::default();
        if !selection.wildcard && selection.include.is_empty() && selection.exclude.is_empty() {
            self.whole(path, selection.follow, "", &mut reading);
            return Ok(reading);
        }
        let fixed = if selection.wildcard { before_wildcards(path) } else { path };
        let Some(root) = self.resolve(fixed, selection.wildcard, &mut reading.links) else {
            return Ok(reading);
        };
        let choice = Choice::new(path, selection)?;
        for (rest, full, entry) in self.tree(&root) {
            let seen = join(fixed, rest);
            let submodule = entry.is_some_and(|entry| entry.kind == EntryKind::Submodule);
            let Some(candidate) = choice.candidate(&seen, submodule)? else { continue };
            if !choice.takes(candidate, submodule) {
                continue;
            }
            let link = entry.is_some_and(|entry| entry.kind == EntryKind::Link);
            if link && candidate.is_empty() && selection.follow {
                self.whole(full, true, &seen, &mut reading);
            } else {
                reading.items.insert(seen, (full.to_owned(), entry));
            }
        }
        Ok(reading)
    }

    /// One path with all that is below it.
    fn whole(&self, path: &str, follow: bool, name: &str, reading: &mut Reading<'a>) {
        let Some(root) = self.resolve(path, follow, &mut reading.links) else { return };
        for (rest, full, entry) in self.tree(&root) {
            reading.items.insert(join(name, rest), (full.to_owned(), entry));
        }
    }
}

fn join(folder: &str, rest: &str) -> String {
    match (folder, rest) {
        ("", rest) => rest.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, rest) => format!("{folder}/{rest}"),
    }
}

/// The names before the first that has a wildcard.
fn before_wildcards(path: &str) -> &str {
    let mut end = 0;
    for name in path.split('/') {
        if has_wildcards(name) {
            return path[..end].trim_end_matches('/');
        }
        end += name.len() + 1;
    }
    path
}

/// Which paths a wildcard and patterns choose.
struct Choice<'s> {
    path: &'s str,
    wildcard: bool,
    include: Option<Matcher>,
    exclude: Matcher,
}

impl<'s> Choice<'s> {
    fn new(path: &'s str, selection: &Selection) -> Result<Self, PatternError> {
        let include = &selection.include;
        let include = if include.is_empty() { None } else { Some(Matcher::new(include)?) };
        let exclude = Matcher::new(&selection.exclude)?;
        Ok(Self { path, wildcard: selection.wildcard, include, exclude })
    }

    /// The path that patterns are held against: below what was named, or below what the
    /// wildcard matches; none if it matches neither `seen` nor a folder above it.
    fn candidate<'p>(
        &self,
        seen: &'p str,
        submodule: bool,
    ) -> Result<Option<&'p str>, PatternError> {
        if !self.wildcard {
            let rest = seen.strip_prefix(self.path).unwrap_or(seen);
            return Ok(Some(rest.trim_start_matches('/')));
        }
        if seen.is_empty() {
            return Ok(None);
        }
        let pattern = format!("/{}", self.path);
        let ends = seen.match_indices('/').map(|(at, _)| at).chain([seen.len()]);
        for end in ends {
            if glob::matches(&pattern, &format!("/{}", &seen[..end]))? {
                return Ok(Some(seen[end..].trim_start_matches('/')));
            }
        }
        if submodule {
            // What the wildcard may match below it is the submodule's.
            let depth = seen.split('/').count();
            let start = self.path.match_indices('/').nth(depth - 1);
            if let Some((end, _)) = start
                && glob::matches(&format!("/{}", &self.path[..end]), &format!("/{seen}"))?
            {
                return Ok(Some(""));
            }
        }
        Ok(None)
    }

    fn takes(&self, candidate: &str, submodule: bool) -> bool {
        if candidate.is_empty() {
            // What was asked for by name is chosen; of a folder with patterns, what they choose.
            return self.include.is_none() || submodule;
        }
        let include = &self.include;
        let chosen = include.as_ref().is_none_or(|m| m.matches_or_parent_matches(candidate));
        let excluded = self.exclude.matches_or_parent_matches(candidate);
        if submodule {
            return !excluded || self.exclude.may_descend(candidate);
        }
        chosen && !excluded
    }
}

/// A walk over sorted paths that holds each folder against the patterns once.
struct Walk<'a, 'm> {
    matcher: &'m Matcher,
    above: Vec<Folder<'a>>,
    items: Vec<(&'a str, Option<&'a Entry>)>,
}

/// A folder on the way to the current path.
struct Folder<'a> {
    path: &'a str,
    info: MatchInfo,
    /// Nothing below it can be seen.
    closed: bool,
    /// It is among the items.
    seen: bool,
}

impl<'a> Walk<'a, '_> {
    fn visit(&mut self, path: &'a str, entry: &'a Entry) {
        while self.above.last().is_some_and(|folder| !is_below(path, folder.path)) {
            self.above.pop();
        }
        let known = self.above.last().map_or(0, |folder| folder.path.len() + 1);
        let folders = path[known..].match_indices('/').map(|(at, _)| &path[..known + at]);
        for folder in folders {
            if self.above.last().is_some_and(|above| above.closed) {
                break;
            }
            self.enter(folder);
        }
        let root = MatchInfo::default();
        let above = self.above.last();
        if above.is_some_and(|above| above.closed) {
            return;
        }
        let info = above.map_or(&root, |above| &above.info);
        let (ignored, _) = self.matcher.matches_using_parent_results(path, info);
        let partly = entry.kind == EntryKind::Submodule && self.matcher.may_descend(path);
        if !ignored || partly {
            self.items.push((path, Some(entry)));
            // What is taken back brings the folders that it is in.
            for folder in self.above.iter_mut().filter(|folder| !folder.seen) {
                folder.seen = true;
                self.items.push((folder.path, None));
            }
        }
    }

    fn enter(&mut self, path: &'a str) {
        let root = MatchInfo::default();
        let info = self.above.last().map_or(&root, |above| &above.info);
        let (ignored, info) = self.matcher.matches_using_parent_results(path, info);
        let closed = ignored && !self.matcher.may_descend(path);
        if !ignored {
            self.items.push((path, None));
            for folder in self.above.iter_mut().filter(|folder| !folder.seen) {
                folder.seen = true;
                self.items.push((folder.path, None));
            }
        }
        self.above.push(Folder { path, info, closed, seen: !ignored });
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}
