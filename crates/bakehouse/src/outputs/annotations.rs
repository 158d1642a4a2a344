//! Annotations: notes on manifests and indexes, and on the descriptors that point at them.
//!
//! `--annotation` and a target's `annotations` have the form `LEVEL[PLATFORM],…:KEY=VALUE`; an
//! output's attribute has `annotation-LEVEL[PLATFORM].KEY=VALUE`. Without a level the manifest
//! is meant, without a platform all of them.

use std::collections::BTreeMap;

use bakehouse_model::oci::Platform;
use serde::Serialize;

use crate::failure::{Failure, Kind};

/// What is annotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The image's manifest.
    Manifest,
    /// The descriptor of the manifest, in an index.
    ManifestDescriptor,
    /// The index.
    Index,
    /// The descriptor of the index, in the list of a layout.
    IndexDescriptor,
}

impl Level {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "" | "manifest" => Self::Manifest,
            "manifest-descriptor" => Self::ManifestDescriptor,
            "index" => Self::Index,
            "index-descriptor" => Self::IndexDescriptor,
            _ => return None,
        })
    }

    fn is_of_index(self) -> bool {
        matches!(self, Self::Index | Self::IndexDescriptor)
    }
}

/// All that are given, each place's and key's last one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Annotations {
    notes: Vec<Note>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Note {
    level: Level,
    platform: Option<Platform>,
    key: String,
    value: String,
}

impl Annotations {
    /// Adds what `--annotation` says.
    pub(super) fn read(&mut self, text: &str) -> Result<(), Failure> {
        let wrong = |what: &str| {
            Failure::new(Kind::Usage, format!("annotation `{text}` {what}"))
                .hint("such as `manifest:org.opencontainers.image.title=App`")
        };
        let (places, value) = text.split_once('=').ok_or_else(|| wrong("is not KEY=VALUE"))?;
        let (levels, key) = places.split_once(':').unwrap_or(("", places));
        if key.is_empty() {
            return Err(wrong("has no key"));
        }
        for place in levels.split(',') {
            let (level, platform) = parse_place(place).map_err(|what| wrong(&what))?;
            self.add(Note { level, platform, key: key.to_owned(), value: value.to_owned() });
        }
        Ok(())
    }

    /// Adds what an attribute of an output says.
    pub(super) fn attribute(&mut self, name: &str, value: &str) -> Result<(), String> {
        let unknown = || format!("`{name}` is not of the form annotation-LEVEL[PLATFORM].KEY");
        let rest = name.strip_prefix("annotation").ok_or_else(unknown)?;
        // A platform has no dots, but a key has.
        let (place, key) = rest.split_once('.').ok_or_else(unknown)?;
        let place = match place.strip_prefix('-') {
            Some(place) => place,
            None if place.is_empty() || place.starts_with('[') => place,
            None => return Err(unknown()),
        };
        if key.is_empty() {
            return Err(unknown());
        }
        let (level, platform) = parse_place(place)?;
        self.add(Note { level, platform, key: key.to_owned(), value: value.to_owned() });
        Ok(())
    }

    fn add(&mut self, note: Note) {
        let place = |note: &Note| (note.level, note.platform.clone(), note.key.clone());
        self.notes.retain(|other| place(other) != place(&note));
        self.notes.push(note);
    }

    /// Adds all of `other`.
    pub(super) fn extend(&mut self, other: &Self) {
        for note in &other.notes {
            self.add(note.clone());
        }
    }

    /// Those of a level: for a manifest and its descriptor, those of all platforms and, over
    /// them, those of its own.
    pub fn of(&self, level: Level, platform: &Platform) -> BTreeMap<String, String> {
        let of = |own: bool| {
            self.notes.iter().filter(move |note| {
                let fits = match &note.platform {
                    Some(wanted) => level.is_of_index() || wanted == platform,
                    None => true,
                };
                note.level == level && note.platform.is_some() == own && fits
            })
        };
        let all = of(false).chain(of(true));
        all.map(|note| (note.key.clone(), note.value.clone())).collect()
    }

    /// Whether there are some that only OCI's documents can have.
    pub(super) fn need_oci(&self) -> bool {
        self.notes.iter().any(|note| note.level != Level::Manifest)
    }

    /// Why an image for these platforms cannot have all of them; none if it can.
    pub fn misfit(&self, platforms: &[&Platform], has_index: bool) -> Option<String> {
        self.notes.iter().find_map(|note| match &note.platform {
            Some(platform) if !platforms.contains(&platform) => Some(format!(
                "the annotation `{}` is for {platform}, for which the image is not built",
                note.key
            )),
            _ if note.level.is_of_index() && !has_index => Some(format!(
                "the annotation `{}` is for an index, and an image for one platform has none",
                note.key
            )),
            _ => None,
        })
    }
}

/// `manifest`, `index[linux/amd64]`.
fn parse_place(text: &str) -> Result<(Level, Option<Platform>), String> {
    let (level, platform) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
        Some((level, platform)) => (level, Some(platform)),
        None => (text, None),
    };
    let level = Level::named(level).ok_or_else(|| {
        format!(
            "is for `{level}`: manifest, manifest-descriptor, index and index-descriptor are known"
        )
    })?;
    let platform = platform.map(|text| text.parse::<Platform>().map_err(|e| e.to_string()));
    Ok((level, platform.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Annotations {
        let mut all = Annotations::default();
        for text in texts {
            all.read(text).unwrap();
        }
        all
    }

    fn shown(all: &Annotations, level: Level, platform: &str) -> String {
        let notes = all.of(level, &platform.parse().unwrap());
        notes.iter().map(|(key, value)| format!("{key}={value};")).collect()
    }

    #[test]
    fn annotations_go_where_they_say() {
        let all = read(&[
            "a=1",
            "index,manifest:b=x=y",
            "manifest[linux/arm64]:a=2",
            "manifest-descriptor[linux/amd64]:c=3",
            "index-descriptor:d=",
            "a=4",
        ]);
        let cases = [
            (Level::Manifest, "linux/amd64", "a=4;b=x=y;"),
            (Level::Manifest, "linux/arm64", "a=2;b=x=y;"),
            (Level::ManifestDescriptor, "linux/amd64", "c=3;"),
            (Level::ManifestDescriptor, "linux/arm64", ""),
            (Level::Index, "linux/arm64", "b=x=y;"),
            (Level::IndexDescriptor, "linux/arm64", "d=;"),
        ];
        for (level, platform, expected) in cases {
            assert_eq!(shown(&all, level, platform), expected, "{level:?} {platform}");
        }
    }

    #[test]
    fn attributes_of_outputs_say_the_same() {
        let cases = [
            ("annotation.org.x", Level::Manifest),
            ("annotation-index.org.x", Level::Index),
            ("annotation-manifest[linux/amd64].org.x", Level::Manifest),
            ("annotation[linux/amd64].org.x", Level::Manifest),
        ];
        for (name, level) in cases {
            let mut all = Annotations::default();
            all.attribute(name, "v").unwrap();
            assert_eq!(shown(&all, level, "linux/amd64"), "org.x=v;", "{name}");
        }
        for name in ["annotation", "annotation.", "annotations.a", "annotation-layer.a"] {
            assert!(Annotations::default().attribute(name, "v").is_err(), "{name}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for text in ["a", "layer:a=b", "manifest[]:a=b", "manifest[x/y/z/w]:a=b", "index:=b", "=b"]
        {
            assert!(Annotations::default().read(text).is_err(), "{text}");
        }
        let platform: Platform = "linux/amd64".parse().unwrap();
        let one = [&platform];
        let index = read(&["index:a=b"]);
        assert!(index.misfit(&one, false).unwrap().contains("for an index"));
        assert_eq!(index.misfit(&one, true), None);
        let other = read(&["manifest[linux/arm64]:a=b"]);
        assert!(other.misfit(&one, true).unwrap().contains("linux/arm64"));
    }
}
