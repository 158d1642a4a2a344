//! The words of `bakehouse.toml`: names, patterns, paths, references. One that exists is right.

use std::borrow::Borrow;
use std::fmt;

use bakehouse_model::oci::{Platform, Reference};
use bakehouse_plan::dockerfile::{glob, ignore};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::mistake::{Mistake, shown};
use super::reader::FromText;

/// The longest name or pattern, in bytes. It bounds what comparing them all may cost.
const LONGEST: usize = 255;

/// A name: of a stage, a class, a family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("pattern" = r"^\S+$"))]
pub struct Name(String);

impl Name {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromText for Name {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        if text.is_empty() || text.len() > LONGEST || text.contains(is_space) {
            return Err(Mistake::new(
                "bad-name",
                format!("`{}` is not a name", shown(text)),
                format!("a name is one word without spaces, of at most {LONGEST} bytes"),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// A pattern over names or references: `*` is anything but `/`, `?` one character, `[a-z]` one
/// of these; anything else is itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("minLength" = 1, "maxLength" = 255))]
pub struct Pattern(String);

impl Pattern {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it may match more than one name.
    pub fn is_wild(&self) -> bool {
        glob::has_wildcard(&self.0) || self.0.contains('\\')
    }

    /// Whether it matches all of `name`.
    pub fn matches(&self, name: &str) -> bool {
        glob::matches(&self.0, name).expect("a pattern is checked when it is made")
    }
}

impl FromText for Pattern {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        let fits = !text.is_empty() && text.len() <= LONGEST;
        if !fits || text.contains(is_space) || glob::matches(text, "").is_err() {
            return Err(Mistake::new(
                "bad-pattern",
                format!("`{}` is not a pattern", shown(text)),
                "write a name, or one with `*`, `?` or a class such as `[a-z]` that has an end",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A pattern over paths, as in `.dockerignore`: `**` is any number of folders, `!` takes back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("pattern" = r"\S"))]
pub struct PathPattern(String);

impl PathPattern {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for PathPattern {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromText for PathPattern {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        // An ignore file takes these off each of its lines.
        let lines = ignore::read_patterns(text.as_bytes());
        match lines.as_slice() {
            [pattern] if text.len() <= 4096 && ignore::Matcher::new(&[pattern]).is_ok() => {
                Ok(Self(pattern.clone()))
            }
            _ => Err(Mistake::new(
                "bad-pattern",
                format!("`{}` is not a pattern of paths", shown(text)),
                "write one as a line of `.dockerignore`, such as `third_party/**`",
            )),
        }
    }
}

/// A path within the repository, from its root and with slashes; `.` is the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("pattern" = r"^[^/]"))]
pub struct RepoPath(String);

impl RepoPath {
    /// As text: no `.` and no empty part within it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for RepoPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromText for RepoPath {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        let mut parts: Vec<&str> = Vec::new();
        let mut inside = !text.is_empty() && !text.starts_with('/') && text.len() <= 4096;
        for part in text.split('/').filter(|part| !matches!(*part, "" | ".")) {
            inside &= if part == ".." { parts.pop().is_some() } else { true };
            if part != ".." {
                parts.push(part);
            }
        }
        if !inside || text.contains(char::is_control) {
            return Err(Mistake::new(
                "bad-path",
                format!("`{}` is not a path within the repository", shown(text)),
                "write it from the folder of `bakehouse.toml`, such as `services/stt/Dockerfile`",
            ));
        }
        Ok(Self(if parts.is_empty() { ".".to_owned() } else { parts.join("/") }))
    }
}

/// A registry and perhaps a path in it, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Prefix(String);

impl Prefix {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromText for Prefix {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        let prefix = text.trim_end_matches('/');
        if text.len() > LONGEST || format!("{prefix}/image").parse::<Reference>().is_err() {
            return Err(Mistake::new(
                "bad-registry",
                format!("`{}` is not a registry and a path in it", shown(text)),
                "write a host and a path, such as `ghcr.io/acme` or `registry.example:5000/team`",
            ));
        }
        Ok(Self(prefix.to_owned()))
    }
}

/// The name of a build argument.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("pattern" = "^[A-Za-z_][A-Za-z0-9_]*$"))]
pub struct ArgName(String);

impl ArgName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ArgName {
    fn default() -> Self {
        Self("BASE_IMAGE".to_owned())
    }
}

impl FromText for ArgName {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        let word = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let fits = !text.is_empty() && text.len() <= LONGEST;
        if !fits || !word || text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Mistake::new(
                "bad-arg-name",
                format!("`{}` is not the name of a build argument", shown(text)),
                "use letters, digits and `_`, such as `BASE_IMAGE`",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromText for Platform {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        text.parse().map_err(|_| {
            Mistake::new(
                "bad-platform",
                format!("`{}` is not a platform", shown(text)),
                "write an operating system and an architecture, such as `linux/amd64`",
            )
        })
    }
}

/// The name of an image: `debian:12`, `ghcr.io/acme/stt:latest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct ImageRef(#[schemars(with = "String")] Reference);

impl ImageRef {
    /// Parsed.
    pub fn reference(&self) -> &Reference {
        &self.0
    }
}

impl FromText for ImageRef {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        text.parse().map(Self).map_err(|error| {
            // Its own words repeat the text, however long that is.
            let message = match text.len() {
                0..=LONGEST => format!("{error}"),
                _ => format!("`{}` is not an image reference", shown(text)),
            };
            Mistake::new("bad-reference", message, "write one such as `ghcr.io/acme/app:1.2`")
        })
    }
}

/// The reference under which an image is published: with a tag, and so without a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct TagRef(#[schemars(with = "String")] Reference);

impl TagRef {
    /// Parsed.
    pub fn reference(&self) -> &Reference {
        &self.0
    }
}

impl FromText for TagRef {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        let ImageRef(reference) = ImageRef::from_text(text)?;
        if reference.digest().is_some() {
            return Err(Mistake::new(
                "bad-reference",
                format!("`{}` has a digest, which an image to be built cannot have", shown(text)),
                "name it by a tag, such as `ghcr.io/acme/app:1.2`",
            ));
        }
        Ok(Self(reference))
    }
}

/// What a mapping of bases is for: a reference as it is written, or a pattern over references.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("minLength" = 1))]
pub struct Written(String);

impl Written {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one reference.
    pub fn is_exact(&self) -> bool {
        self.0.parse::<Reference>().is_ok()
    }

    /// Whether it is `written`, or the same reference in other words, or a pattern that matches
    /// it in any of them: `debian:12` is `docker.io/library/debian:12`.
    pub fn covers(&self, written: &str) -> bool {
        let other = written.parse::<Reference>();
        match (self.0.parse::<Reference>(), other) {
            (Ok(own), Ok(other)) => own == other,
            (Ok(_), Err(_)) => self.0 == written,
            (Err(_), Ok(other)) => {
                [written, &other.familiar(), &other.to_string()].iter().any(|w| self.fits(w))
            }
            (Err(_), Err(_)) => self.fits(written),
        }
    }

    fn fits(&self, text: &str) -> bool {
        glob::matches(&self.0, text).expect("a pattern is checked when it is made")
    }
}

impl FromText for Written {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        if glob::has_wildcard(text) {
            let Pattern(_) = Pattern::from_text(text)?;
        } else {
            let ImageRef(_) = ImageRef::from_text(text)?;
        }
        Ok(Self(text.to_owned()))
    }
}

/// The base of a family: the name of an image of the fleet, or else a reference. Which of
/// them it is, the fleet knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct BaseName(String);

impl BaseName {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromText for BaseName {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        if let Some(name) = text.strip_prefix("target:") {
            return Err(Mistake::new(
                "bad-reference",
                format!("`{}` is not the name of an image", shown(text)),
                format!("write `{}` alone", shown(name)),
            ));
        }
        ImageRef::from_text(text)
            .map_err(|mistake| Mistake {
                message: format!("`{}` names neither an image nor a reference", shown(text)),
                ..mistake
            })
            .map(|_| Self(text.to_owned()))
    }
}

/// What a base stands for: another reference, or `target:NAME`, an image of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(inline, with = "String")]
pub enum Replacement {
    /// An image of the fleet.
    Image(Name),
    /// A reference.
    Reference(ImageRef),
}

impl FromText for Replacement {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        match text.strip_prefix("target:") {
            Some(name) => Name::from_text(name).map(Self::Image),
            None => ImageRef::from_text(text).map(Self::Reference),
        }
    }
}

impl fmt::Display for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(name) => write!(f, "target:{}", name.as_str()),
            Self::Reference(image) => write!(f, "{}", image.reference()),
        }
    }
}

impl Serialize for Replacement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_text<T: FromText>(text: &str, show: impl Fn(&T) -> &str) -> Option<String> {
        T::from_text(text).ok().map(|value| show(&value).to_owned())
    }

    #[test]
    fn a_path_is_written_one_way_and_stays_in_the_repository() {
        let table = [
            (".", Some(".")),
            ("./", Some(".")),
            ("a/..", Some(".")),
            ("./a//b/", Some("a/b")),
            ("a/../b", Some("b")),
            ("ü/x y", Some("ü/x y")),
            ("", None),
            ("/a", None),
            ("..", None),
            ("a/../../a", None),
            ("a\nb", None),
        ];
        for (text, expected) in table {
            assert_eq!(as_text(text, RepoPath::as_str).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn names_and_patterns_are_one_word_of_some_length() {
        for text in ["a", "A_b-c.d", "ü", &"x".repeat(LONGEST)] {
            assert_eq!(as_text(text, Name::as_str).as_deref(), Some(text));
            assert_eq!(as_text(text, Pattern::as_str).as_deref(), Some(text));
        }
        for text in ["", "a b", "a\tb", "\0", &"x".repeat(LONGEST + 1)] {
            assert_eq!(as_text(text, Name::as_str), None, "{text:?}");
            assert_eq!(as_text(text, Pattern::as_str), None, "{text:?}");
        }
    }

    #[test]
    fn a_pattern_matches_the_whole_of_a_name() {
        let table = [
            ("python-*", "python-base", true),
            ("python-*", "a-python-base", false),
            ("python-*", "python-a/b", false),
            ("[a-c]?", "b1", true),
            ("stt", "stt", true),
            ("stt", "STT", false),
        ];
        for (pattern, name, expected) in table {
            let pattern = Pattern::from_text(pattern).unwrap();
            assert_eq!(pattern.matches(name), expected, "{pattern:?} {name}");
        }
        for text in ["[", "a[b", "a\\", "[]"] {
            Pattern::from_text(text).unwrap_err();
        }
    }

    #[test]
    fn an_image_of_the_fleet_is_told_from_a_reference() {
        let table = [
            ("target:python-base", Some("target:python-base")),
            ("target/x:1", Some("docker.io/target/x:1")),
            ("target:", None),
            ("target:a b", None),
            ("", None),
        ];
        for (text, expected) in table {
            let read = Replacement::from_text(text).ok().map(|what| what.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
        assert!(BaseName::from_text("python-base").is_ok());
        let mistake = BaseName::from_text("target:python-base").unwrap_err();
        assert_eq!(mistake.help, "write `python-base` alone");
    }

    #[test]
    fn what_is_long_is_told_in_short() {
        let text = "A".repeat(5000);
        for mistake in [
            Name::from_text(&text).unwrap_err(),
            ImageRef::from_text(&text).unwrap_err(),
            Written::from_text(&text).unwrap_err(),
            Platform::from_text(&text).unwrap_err(),
            Prefix::from_text(&text).unwrap_err(),
        ] {
            assert!(mistake.message.len() < 300, "{}", mistake.code);
        }
    }
}
