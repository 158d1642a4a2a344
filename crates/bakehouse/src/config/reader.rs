//! Takes typed values out of a TOML document and collects what is wrong with it.
//!
//! A [`Table`] remembers which keys it was asked for, so that [`Reader::finish`] can name those
//! that nobody knows. No value is looked into deeper than the format goes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use bakehouse_model::{Diagnostic, Location, Severity};
use bakehouse_plan::fleet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, shown};
use super::placed::Placed;
use super::places::Places;

/// How many mistakes of a file are told.
const MOST: usize = 100;

/// Longer words are no slip of the pen, and finding out is quadratic.
pub(super) const LONGEST_SLIP: usize = 64;

/// What a string of the file is read as.
pub(super) trait FromText: Sized {
    fn from_text(text: &str) -> Result<Self, Mistake>;
}

impl FromText for String {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        Ok(text.to_owned())
    }
}

/// A key, and how it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key(pub(super) &'static str, pub(super) &'static str);

impl Key {
    fn help(self) -> String {
        format!("write it as in `{}`", self.1)
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Table<'t, 'i> {
    /// What it is called, with a dot behind it; nothing for the file itself.
    path: String,
    entries: &'t DeTable<'i>,
    asked: Vec<&'static str>,
}

impl<'t, 'i> Table<'t, 'i> {
    /// The file as a whole.
    pub(super) fn root(entries: &'t DeTable<'i>) -> Self {
        Self { path: String::new(), entries, asked: Vec::new() }
    }

    /// Whether there is a value of `key`, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The value of `key`, if there is one.
    fn take(&mut self, key: Key) -> Option<Found<'t, 'i>> {
        self.asked.push(key.0);
        let value = self.entries.get(key.0)?;
        Some(Found { path: format!("{}{}", self.path, key.0), example: key, value })
    }
}

/// A value, and what it is called.
#[derive(Debug)]
struct Found<'t, 'i> {
    path: String,
    example: Key,
    value: &'t Spanned<DeValue<'i>>,
}

impl<'t, 'i> Found<'t, 'i> {
    fn is_not(&self, expected: &str) -> Mistake {
        self.holds(self.value.get_ref(), "is", expected)
    }

    fn holds(&self, value: &DeValue<'_>, verb: &str, expected: &str) -> Mistake {
        let message = format!("`{}` {verb} {}, but should be {expected}", self.path, kind(value));
        Mistake::new("wrong-type", message, self.example.help())
    }
}

/// What a value is, for a message.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date or a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Collects what is wrong.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    places: Places<'a>,
    diagnostics: Vec<Diagnostic>,
    untold: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(places: Places<'a>) -> Self {
        Self { places, diagnostics: Vec::new(), untold: 0 }
    }

    /// What is wrong, by place; of a great deal, some.
    pub(super) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort();
        if self.untold > 0 {
            let last = self.diagnostics.last().and_then(|last| last.location.clone());
            let place = last.unwrap_or_else(|| self.places.at(0));
            let message = format!("`{}` has {} more mistakes", place.file, self.untold);
            let help = "correct these first";
            self.diagnostics.push(Mistake::new("more-mistakes", message, help).at(place));
        }
        self.diagnostics
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Location {
        self.places.at(span.start)
    }

    /// Notes a mistake.
    pub(super) fn wrong(&mut self, mistake: Mistake, place: Location) {
        self.push(mistake.at(place));
    }

    /// Notes what is doubtful.
    pub(super) fn doubt(&mut self, mistake: Mistake, place: Location) {
        self.push(Diagnostic { severity: Severity::Warning, ..mistake.at(place) });
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < MOST {
            self.diagnostics.push(diagnostic);
        } else {
            self.untold += 1;
        }
    }

    fn refuse<T>(&mut self, mistake: Mistake, value: &Spanned<DeValue<'_>>) -> Option<T> {
        let place = self.place(&value.span());
        self.wrong(mistake, place);
        None
    }

    fn placed<T>(&self, value: T, at: &Spanned<DeValue<'_>>) -> Placed<T> {
        Placed { value, place: self.place(&at.span()) }
    }

    /// A string.
    pub(super) fn text<T: FromText>(
        &mut self,
        table: &mut Table<'_, '_>,
        key: Key,
    ) -> Option<Placed<T>> {
        let found = table.take(key)?;
        let mistake = found.is_not("a string");
        self.one_text(found.value, mistake)
    }

    fn one_text<T: FromText>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        other: Mistake,
    ) -> Option<Placed<T>> {
        let Some(text) = value.get_ref().as_str() else { return self.refuse(other, value) };
        match T::from_text(text) {
            Ok(read) => Some(self.placed(read, value)),
            Err(mistake) => self.refuse(mistake, value),
        }
    }

    /// A list of strings.
    pub(super) fn texts<T: FromText>(
        &mut self,
        table: &mut Table<'_, '_>,
        key: Key,
    ) -> Vec<Placed<T>> {
        let Some(found) = table.take(key) else { return Vec::new() };
        let expected = "a list of strings";
        let Some(list) = found.value.get_ref().as_array() else {
            self.refuse::<()>(found.is_not(expected), found.value);
            return Vec::new();
        };
        let read = list.iter().filter_map(|value| {
            self.one_text(value, found.holds(value.get_ref(), "has", expected))
        });
        read.collect()
    }

    /// A whole number from `least` on.
    pub(super) fn whole(
        &mut self,
        table: &mut Table<'_, '_>,
        key: Key,
        least: u32,
    ) -> Option<Placed<u32>> {
        let found = table.take(key)?;
        let Some(written) = found.value.get_ref().as_integer() else {
            return self.refuse(found.is_not("a whole number"), found.value);
        };
        match u32::from_str_radix(written.as_str(), written.radix()) {
            Ok(number) if number >= least => Some(self.placed(number, found.value)),
            _ => {
                let path = &found.path;
                let message = format!("`{path}` is not between {least} and {}", u32::MAX);
                self.refuse(Mistake::new("bad-number", message, key.help()), found.value)
            }
        }
    }

    /// A number, whole or not, of which `make` makes something if it is one that can be.
    pub(super) fn number<T>(
        &mut self,
        table: &mut Table<'_, '_>,
        key: Key,
        make: impl FnOnce(f64) -> Option<T>,
    ) -> Option<Placed<T>> {
        let found = table.take(key)?;
        let Some(written) = number(found.value.get_ref()) else {
            return self.refuse(found.is_not("a number"), found.value);
        };
        match make(written) {
            Some(value) => Some(self.placed(value, found.value)),
            None => {
                let message = format!("`{}` cannot be {written}", found.path);
                self.refuse(Mistake::new("bad-number", message, key.help()), found.value)
            }
        }
    }

    /// One number, or two in a list.
    pub(super) fn numbers(
        &mut self,
        table: &mut Table<'_, '_>,
        key: Key,
    ) -> Option<Placed<(f64, f64)>> {
        let found = table.take(key)?;
        let pair = match found.value.get_ref() {
            DeValue::Array(list) => match &**list {
                [least, most] => number(least.get_ref()).zip(number(most.get_ref())),
                _ => None,
            },
            one => number(one).map(|one| (one, one)),
        };
        match pair {
            Some(pair) => Some(self.placed(pair, found.value)),
            None => self.refuse(found.is_not("a number or a list of two"), found.value),
        }
    }

    /// A table whose keys are chosen by whoever writes it, each with what `read` makes of it.
    pub(super) fn named<'t, 'i, K: FromText + Ord, V>(
        &mut self,
        table: &mut Table<'t, 'i>,
        key: Key,
        mut read: impl FnMut(&mut Self, &K, Item<'t, 'i>) -> Option<V>,
    ) -> BTreeMap<K, Placed<V>> {
        let mut all = BTreeMap::new();
        let Some(found) = table.take(key) else { return all };
        let Some(entries) = found.value.get_ref().as_table() else {
            self.refuse::<()>(found.is_not("a table"), found.value);
            return all;
        };
        for (name, value) in entries {
            let place = self.place(&name.span());
            let path = format!("{}.{}", found.path, quoted(name.get_ref()));
            let found = Found { path: path.clone(), value, ..found };
            let item = Item { place: place.clone(), found };
            match K::from_text(name.get_ref()) {
                Err(mistake) => self.wrong(mistake, place),
                Ok(known) => {
                    let read = read(self, &known, item);
                    let Some(value) = read else { continue };
                    let value = Placed { value, place };
                    match all.entry(known) {
                        Entry::Vacant(entry) => drop(entry.insert(value)),
                        Entry::Occupied(entry) => self.repeated(&path, entry.get(), value.place),
                    }
                }
            }
        }
        all
    }

    /// Two keys may be written differently and be one.
    fn repeated<V>(&mut self, path: &str, before: &Placed<V>, place: Location) {
        let message = format!("key `{path}` is the same as that in {}", before.place);
        let help = "put what they say under one of them";
        self.wrong(Mistake::new("repeated-key", message, help), place);
    }

    /// What a table of named things says of one, as a table.
    pub(super) fn table<'t, 'i>(&mut self, item: Item<'t, 'i>) -> Option<Table<'t, 'i>> {
        let Item { found, .. } = item;
        match found.value.get_ref() {
            DeValue::Table(entries) => {
                Some(Table { path: format!("{}.", found.path), entries, asked: Vec::new() })
            }
            _ => self.refuse(found.is_not("a table"), found.value),
        }
    }

    /// What a table of named things says of one, as a string.
    pub(super) fn item_text<T: FromText>(&mut self, item: Item<'_, '_>) -> Option<T> {
        let Item { found, .. } = item;
        self.one_text(found.value, found.is_not("a string")).map(|placed| placed.value)
    }

    /// Names the keys of a table that it was not asked for.
    pub(super) fn finish(&mut self, table: Table<'_, '_>) {
        let Table { path, entries, asked } = table;
        for (key, _) in entries {
            let name = key.get_ref().as_ref();
            if asked.contains(&name) {
                continue;
            }
            if self.diagnostics.len() == MOST {
                self.untold += 1;
                continue;
            }
            let near = (name.len() <= LONGEST_SLIP)
                .then(|| fleet::suggest(name, asked.iter().copied()))
                .flatten();
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys here are {}", listed(&asked)),
            };
            let message = format!("unknown key `{path}{}`", quoted(name));
            let place = self.place(&key.span());
            self.wrong(Mistake::new("unknown-key", message, help), place);
        }
    }
}

/// One of the things in a table of named things.
#[derive(Debug)]
pub(super) struct Item<'t, 'i> {
    /// Its name.
    pub(super) place: Location,
    found: Found<'t, 'i>,
}

/// A number, whole or not.
fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(whole) => {
            u32::from_str_radix(whole.as_str(), whole.radix()).ok().map(f64::from)
        }
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    }
}

/// A key as it has to be written behind a dot.
fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = shown(key);
    if !key.is_empty() && key.chars().all(bare) { key } else { format!("{key:?}") }
}

fn listed(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}
