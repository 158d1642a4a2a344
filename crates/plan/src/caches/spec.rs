//! `--cache-from` and `--cache-to`, as BuildKit and buildx write them.

mod services;

use std::collections::BTreeMap;
use std::fmt;

use bakehouse_model::oci::Reference;
use bakehouse_model::{Compression, Digest};
use thiserror::Error;

use super::export::Mode;
use crate::assemble::MediaTypes;

pub use services::{Actions, Bucket};

/// A cache that is read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Where it is.
    pub place: Place,
    /// How much is written.
    pub mode: Mode,
    /// Names of media types.
    pub types: MediaTypes,
    /// Whether its manifest looks like an image's, which every registry takes.
    pub image_manifest: bool,
    /// How layers are packed; with gzip if nothing is said.
    pub compression: Option<Compression>,
    /// How hard they are compressed.
    pub level: Option<u8>,
    /// Whether blobs are made anew where others exist.
    pub force_compression: bool,
    /// Whether the build goes on where it cannot be written.
    pub ignore_error: bool,
}

/// Where a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a registry.
    Registry {
        /// Its name there.
        reference: Reference,
    },
    /// In an OCI layout.
    Folder {
        /// The folder, as written.
        path: String,
        /// Its name there.
        tag: String,
        /// The one that it must be.
        digest: Option<Digest>,
    },
    /// In GitHub's cache service.
    Actions(Actions),
    /// In a bucket of S3.
    Bucket(Box<Bucket>),
    /// In the image itself.
    Inline,
}

/// Whether a cache is read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `--cache-from`
    From,
    /// `--cache-to`
    To,
}

/// A text names no cache.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpecError {
    /// There is no such kind, or only others know it.
    #[error("caches of type `{kind}` are neither read nor written")]
    Kind {
        /// What was written.
        kind: String,
    },
    /// There is no such field, for this kind.
    #[error("a cache of type `{kind}` has no `{field}`")]
    Field {
        /// The kind.
        kind: String,
        /// What was written.
        field: String,
    },
    /// Something is missing.
    #[error("a cache of type `{kind}` needs `{field}=`")]
    Missing {
        /// The kind.
        kind: String,
        /// What it needs.
        field: &'static str,
    },
    /// A value is none of those that there are.
    #[error("`{field}={value}` is not one of {expected}")]
    Value {
        /// The field.
        field: String,
        /// What was written.
        value: String,
        /// What there is.
        expected: &'static str,
    },
    /// The reference is none.
    #[error("`{value}` is no reference of an image")]
    Reference {
        /// What was written.
        value: String,
    },
    /// What is to be written has a digest already.
    #[error("`{value}` is one that is there, and nothing can be written to it")]
    Pinned {
        /// What was written.
        value: String,
    },
}

impl SpecError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Kind { .. } => "those of type `registry`, `local`, `gha`, `s3` and `inline` are",
            Self::Field { .. } => "see the guide's page about caches for what there is",
            Self::Missing { kind, .. } if kind == "s3" => "or set `AWS_BUCKET` and `AWS_REGION`",
            Self::Missing { .. } => "such as `type=registry,ref=registry.example/cache:app`",
            Self::Value { .. } => "write one of them, or leave it out",
            Self::Reference { .. } => "such as `registry.example/cache:app`",
            Self::Pinned { .. } => "leave the digest out; it is for caches that are read",
        }
    }
}

/// Reads one.
pub fn parse(text: &str, way: Way) -> Result<Spec, SpecError> {
    let mut fields = fields(text);
    let kind = fields.take("type").unwrap_or_else(|| "registry".to_owned());
    fields.kind.clone_from(&kind);
    let place = match kind.as_str() {
        "registry" => registry(&mut fields, way)?,
        "local" => folder(&mut fields, way)?,
        "gha" => Place::Actions(Actions::read(&mut fields)?),
        "s3" => Place::Bucket(Box::new(Bucket::read(&mut fields)?)),
        "inline" => Place::Inline,
        _ => return Err(SpecError::Kind { kind }),
    };
    let types = match fields.flag("oci-mediatypes")? {
        Some(false) => MediaTypes::Docker,
        _ => MediaTypes::Oci,
    };
    let spec = Spec {
        mode: fields.one_of("mode", &[("min", Mode::Min), ("max", Mode::Max)])?.unwrap_or_default(),
        types,
        image_manifest: fields.flag("image-manifest")?.unwrap_or(types == MediaTypes::Oci),
        compression: fields.one_of("compression", COMPRESSIONS)?,
        level: fields.level()?,
        force_compression: fields.flag("force-compression")?.unwrap_or(false),
        ignore_error: fields.flag("ignore-error")?.unwrap_or(false),
        place,
    };
    if spec.image_manifest && types == MediaTypes::Docker {
        let expected = "`oci-mediatypes=true`, which `image-manifest=true` needs";
        let (field, value) = ("oci-mediatypes".to_owned(), "false".to_owned());
        return Err(SpecError::Value { field, value, expected });
    }
    fields.none_left()?;
    Ok(spec)
}

const COMPRESSIONS: &[(&str, Compression)] = &[
    ("uncompressed", Compression::Uncompressed),
    ("gzip", Compression::Gzip),
    ("zstd", Compression::Zstd),
];

fn registry(fields: &mut Fields, way: Way) -> Result<Place, SpecError> {
    let value = fields.needed("ref")?;
    // Whether a registry is asked over plain HTTP is the client's affair.
    fields.take("registry.insecure");
    match value.parse::<Reference>() {
        Ok(at) if way == Way::To && at.digest().is_some() => Err(SpecError::Pinned { value }),
        Ok(reference) => Ok(Place::Registry { reference }),
        Err(_) => Err(SpecError::Reference { value }),
    }
}

fn folder(fields: &mut Fields, way: Way) -> Result<Place, SpecError> {
    let path = fields.needed(if way == Way::From { "src" } else { "dest" })?;
    // One line serves both ways in many a script.
    fields.take(if way == Way::From { "dest" } else { "src" });
    let tag = fields.take("tag").unwrap_or_else(|| "latest".to_owned());
    let digest = fields.take("digest").map(|value| match value.parse() {
        Ok(_) if way == Way::To => Err(SpecError::Pinned { value: format!("digest={value}") }),
        Ok(digest) => Ok(digest),
        Err(_) => Err(SpecError::Value {
            field: "digest".to_owned(),
            value,
            expected: "`sha256:` and 64 hex digits",
        }),
    });
    Ok(Place::Folder { path, tag, digest: digest.transpose()? })
}

/// The fields that nobody has taken yet.
struct Fields {
    kind: String,
    left: BTreeMap<String, String>,
}

/// Fields are separated by commas, as in a line of CSV; a reference alone is a registry's.
fn fields(text: &str) -> Fields {
    let text = text.trim();
    let mut left = BTreeMap::new();
    if text.contains('=') {
        for field in split(text) {
            let (key, value) = field.split_once('=').unwrap_or((&field, ""));
            left.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    } else {
        left.insert("ref".to_owned(), text.to_owned());
    }
    Fields { kind: String::new(), left }
}

fn split(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().expect("there is always one").push(c),
        }
    }
    fields
}

impl Fields {
    fn take(&mut self, name: &str) -> Option<String> {
        self.left.remove(name).filter(|value| !value.is_empty())
    }

    fn needed(&mut self, field: &'static str) -> Result<String, SpecError> {
        self.take(field).ok_or_else(|| SpecError::Missing { kind: self.kind.clone(), field })
    }

    fn flag(&mut self, name: &str) -> Result<Option<bool>, SpecError> {
        let words = [("true", true), ("1", true), ("false", false), ("0", false)];
        self.one_of(name, &words)
    }

    fn one_of<T: Copy>(
        &mut self,
        name: &str,
        words: &[(&'static str, T)],
    ) -> Result<Option<T>, SpecError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == value);
        found.map(|(_, found)| Some(*found)).ok_or_else(|| SpecError::Value {
            field: name.to_owned(),
            value,
            expected: match name {
                "mode" => "`min` and `max`",
                "compression" => "`uncompressed`, `gzip` and `zstd`",
                _ => "`true` and `false`",
            },
        })
    }

    fn level(&mut self) -> Result<Option<u8>, SpecError> {
        let field = "compression-level";
        let Some(value) = self.take(field) else { return Ok(None) };
        let level = value.parse().ok().filter(|level| *level <= 22);
        level.map(Some).ok_or_else(|| SpecError::Value {
            field: field.to_owned(),
            value,
            expected: "the numbers from 0 to 22",
        })
    }

    fn none_left(self) -> Result<(), SpecError> {
        match self.left.into_iter().find(|(_, value)| !value.is_empty()) {
            Some((field, _)) => Err(SpecError::Field { kind: self.kind, field }),
            None => Ok(()),
        }
    }
}

impl Place {
    /// What is written there, so that nobody else may write it; each name by itself.
    pub fn written(&self) -> Vec<String> {
        match self {
            Self::Actions(actions) => {
                let at = actions.address().map_or("", |(url, _)| url.trim_end_matches('/'));
                vec![format!("{at} {self}")]
            }
            Self::Bucket(bucket) => bucket.addresses().collect(),
            Self::Registry { reference } => vec![reference.to_string()],
            Self::Folder { path, tag, .. } => vec![format!("{path}:{tag}")],
            Self::Inline => Vec::new(),
        }
    }

    /// Whether it is in a service, under a name that nobody has given it.
    pub fn is_unnamed(&self) -> bool {
        match self {
            Self::Actions(actions) => actions.scope.is_none(),
            Self::Bucket(bucket) => bucket.names.is_empty(),
            _ => false,
        }
    }
}

/// For people, without anything secret.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { reference } => f.write_str(&reference.familiar()),
            Self::Folder { path, tag, digest: None } if tag == "latest" => f.write_str(path),
            Self::Folder { path, tag, digest: None } => write!(f, "{path}:{tag}"),
            Self::Folder { path, digest: Some(digest), .. } => write!(f, "{path}@{digest}"),
            Self::Actions(actions) => write!(f, "gha:{}", actions.name()),
            Self::Bucket(bucket) => {
                f.write_str(&bucket.addresses().collect::<Vec<_>>().join(" and "))
            }
            Self::Inline => f.write_str("the image itself"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, way: Way) -> String {
        match parse(text, way) {
            Ok(spec) => spec.place.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_buildx_takes_is_understood_and_what_it_does_not_is_named() {
        let table = [
            ("registry.example/cache:app", "registry.example/cache:app"),
            ("type=registry,ref=registry.example/cache:app,mode=max", "registry.example/cache:app"),
            ("ref=registry.example/cache", "registry.example/cache:latest"),
            ("type=local,dest=out/cache", "out/cache"),
            ("type=local,\"dest=out,cache\",tag=app", "out,cache:app"),
            ("type=inline", "the image itself"),
            ("type=gha,scope=x", "gha:x"),
            ("type=s3,bucket=b,name=x", "s3://b/manifests/x"),
            ("type=azblob,name=x", "caches of type `azblob` are neither read nor written"),
            (
                "type=s3,touch_refresh=x",
                "`touch_refresh=x` is not one of times such as `10m` and `24h`",
            ),
            ("type=registry", "a cache of type `registry` needs `ref=`"),
            ("type=local,src=x", "a cache of type `local` needs `dest=`"),
            ("type=inline,mod=max", "a cache of type `inline` has no `mod`"),
            ("type=inline,mode=full", "`mode=full` is not one of `min` and `max`"),
            ("type=registry,ref=A B", "`A B` is no reference of an image"),
            (
                "type=local,dest=x,compression=xz",
                "`compression=xz` is not one of `uncompressed`, `gzip` and `zstd`",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(place(text, Way::To), expected, "{text}");
        }
        assert_eq!(place("type=local,src=x,dest=y", Way::From), "x");
    }

    #[test]
    fn what_has_a_digest_is_read_and_never_written() {
        let digest = Digest::of("");
        for text in
            [format!("r.example/c:x@{digest}"), format!("type=local,src=d,dest=d,digest={digest}")]
        {
            parse(&text, Way::From).unwrap();
            let refused = parse(&text, Way::To).unwrap_err();
            assert!(matches!(refused, SpecError::Pinned { .. }), "{text}: {refused}");
        }
    }

    #[test]
    fn what_is_not_said_is_as_in_buildkit() {
        let spec = |text| parse(text, Way::To).unwrap();
        let plain = spec("type=registry,ref=r.example/c");
        assert_eq!((plain.mode, plain.image_manifest), (Mode::Min, true));
        assert_eq!((plain.types, plain.ignore_error), (MediaTypes::Oci, false));
        let old = spec("type=registry,ref=r.example/c,oci-mediatypes=false,ignore-error=true");
        assert_eq!((old.image_manifest, old.types), (false, MediaTypes::Docker));
        assert!(old.ignore_error);
        let index = spec("type=registry,ref=r.example/c,image-manifest=false");
        assert_eq!((index.image_manifest, index.types), (false, MediaTypes::Oci));
        let both = "type=registry,ref=r.example/c,image-manifest=true,oci-mediatypes=false";
        parse(both, Way::To).unwrap_err();
    }
}
