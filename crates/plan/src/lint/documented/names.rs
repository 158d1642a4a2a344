//! Names in a document, and which image each one means.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::{Fleet, suggest};

/// A name at its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// Its line, from 1.
    pub(super) line: u32,
    /// The byte of the line where it begins.
    pub(super) at: usize,
    /// The name as it is written.
    pub(super) text: String,
}

impl Name {
    /// The name that begins at byte `at` of a line.
    pub(super) fn new(text: &str, line: u32, at: usize) -> Self {
        Self { line, at, text: text.to_owned() }
    }

    /// What names of one image have in common, as far as writing goes.
    pub(super) fn key(&self) -> String {
        key(&self.text)
    }
}

/// Case, `_` for `-`, the registry and the tag make no other name.
fn key(text: &str) -> String {
    let name = text.rsplit('/').next().unwrap_or(text);
    let name = name.split([':', '@']).next().unwrap_or(name);
    name.to_lowercase().replace('_', "-")
}

/// What names mean.
#[derive(Debug)]
pub(super) struct Known<'a> {
    images: BTreeMap<String, &'a str>,
    /// Names of images from elsewhere.
    external: BTreeSet<String>,
}

impl<'a> Known<'a> {
    pub(super) fn new(fleet: &'a Fleet) -> Self {
        let mut images = BTreeMap::new();
        for image in &fleet.images {
            images.insert(key(&image.name), image.name.as_str());
        }
        let mut others: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for image in &fleet.images {
            for other in image.aliases.iter().chain(&image.references) {
                others.entry(key(other)).or_default().insert(&image.name);
            }
        }
        // A name that several images may be called by means none of them.
        for (other, meant) in others {
            if let (Some(only), 1) = (meant.first(), meant.len()) {
                images.entry(other).or_insert(only);
            }
        }
        let external = fleet.external().into_keys().map(key).collect();
        Self { images, external }
    }

    /// The image that is meant.
    pub(super) fn image(&self, name: &Name) -> Option<&'a str> {
        self.images.get(&name.key()).copied()
    }

    /// Whether a name means an image, of the fleet or from elsewhere.
    pub(super) fn is_known(&self, name: &Name) -> bool {
        // What has a registry or a tag names an image from elsewhere, known or not.
        self.image(name).is_some()
            || self.external.contains(&name.key())
            || name.text.contains(['/', ':', '@'])
    }

    /// What all names of one image have in common.
    pub(super) fn same(&self, name: &Name) -> String {
        self.image(name).map_or_else(|| name.key(), str::to_owned)
    }

    /// The image that was probably meant: one that is spelt alike, or one of whose name the
    /// words are among the words of `wrong`.
    pub(super) fn near(&self, wrong: &str) -> Option<&'a str> {
        let wrong = key(wrong);
        if let Some(near) = suggest(&wrong, self.images.keys().map(String::as_str)) {
            return self.images.get(near).copied();
        }
        let words: BTreeSet<&str> = wrong.split(['-', '.']).collect();
        let within = |name: &str| name.split(['-', '.']).all(|word| words.contains(word));
        let mut alike: Vec<&str> =
            self.images.iter().filter(|(name, _)| within(name)).map(|(_, image)| *image).collect();
        alike.sort_unstable();
        alike.dedup();
        if let [only] = alike.as_slice() { Some(only) } else { None }
    }
}

/// The names that a label lists: `a, b and c services (3 min)` are `a`, `b` and `c`. `at` is
/// the byte of the line where the label begins.
pub(super) fn listed(label: &str, line: u32, at: usize) -> Vec<Name> {
    let end = [" (", " - ", " – ", " — ", ": ", " #", " | "]
        .iter()
        .filter_map(|end| label.find(end))
        .min()
        .unwrap_or(label.len());
    let mut names = Vec::new();
    let mut from = 0;
    for item in label[..end].split(',').flat_map(|part| part.split_inclusive(" and ")) {
        let bare = item.strip_suffix(" and ").unwrap_or(item);
        // Commas are not in what they split; ` and ` is.
        let start = label[from..].find(bare).map_or(from, |found| from + found);
        from = (start + bare.len()).min(label.len());
        names.extend(one(bare).map(|(skipped, name)| Name::new(name, line, at + start + skipped)));
    }
    names
}

/// The only name in `item`, and where it begins.
fn one(item: &str) -> Option<(usize, &str)> {
    let decoration = |c: char| c.is_whitespace() || matches!(c, '*' | '`' | '"' | '\'' | '[' | ':');
    let start = item.len() - item.trim_start_matches(decoration).len();
    let mut bare = item.trim_matches(|c| decoration(c) || matches!(c, ']' | ';' | '.'));
    for noun in [" services", " service", " images", " image", " containers", " container"] {
        bare = bare.strip_suffix(noun).unwrap_or(bare).trim_end_matches(['*', '`', '"', ' ']);
    }
    is_name(bare).then_some((start, bare))
}

/// Whether `text` may be the name of an image.
pub(super) fn is_name(text: &str) -> bool {
    let letters =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@');
    text.len() <= 200
        && text.chars().all(letters)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().any(|c| c.is_ascii_alphabetic())
        && !text.contains("://")
}

/// Whether a name is written as names of images are; `Foundation` is a word.
pub(super) fn is_plain(name: &Name) -> bool {
    !name.text.chars().any(|c| c.is_ascii_uppercase())
}
