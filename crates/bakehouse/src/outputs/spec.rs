//! One `--output`, in buildx's words: `type=…`, and attributes after it.

use bakehouse_model::Compression;

use super::Annotations;
use crate::failure::{Failure, Kind};

/// What there is, for those who wrote something else.
pub(super) const KINDS: &str = "oci, docker, tar, local, image, registry and cacheonly are";

/// What an output says.
#[derive(Default)]
pub(super) struct Spec {
    pub(super) kind: String,
    pub(super) dest: Option<String>,
    pub(super) name: Vec<String>,
    pub(super) push: bool,
    pub(super) tar: Option<bool>,
    pub(super) split: Option<bool>,
    pub(super) oci_types: Option<bool>,
    pub(super) rewrite_timestamp: Option<bool>,
    pub(super) compression: Option<Compression>,
    pub(super) level: Option<u8>,
    pub(super) force: bool,
    pub(super) annotations: Annotations,
}

pub(super) fn parse(text: &str) -> Result<Spec, Failure> {
    let mut spec = Spec::default();
    if !text.contains('=') {
        // As buildx: a bare path is a folder, `-` is a tar.
        let kind = if text == "-" { "tar" } else { "local" };
        return Ok(Spec { kind: kind.to_owned(), dest: Some(text.to_owned()), ..spec });
    }
    for field in &split_fields(text) {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        set(&mut spec, text, key.trim(), value.trim())?;
    }
    if spec.kind.is_empty() {
        return Err(
            Failure::new(Kind::Usage, format!("--output `{text}` has no type=")).hint(KINDS)
        );
    }
    Ok(spec)
}

fn set(spec: &mut Spec, text: &str, key: &str, value: &str) -> Result<(), Failure> {
    let wrong = |what: &str| Failure::new(Kind::Usage, format!("--output `{text}`: {what}"));
    let flag = || match value {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(wrong(&format!("`{key}` is true or false"))),
    };
    match key {
        "type" => spec.kind = value.to_owned(),
        "dest" => spec.dest = Some(value.to_owned()),
        "name" => spec.name = value.split(',').map(str::to_owned).collect(),
        "push" => spec.push = flag()?,
        "tar" => spec.tar = Some(flag()?),
        "platform-split" => spec.split = Some(flag()?),
        "oci-mediatypes" => spec.oci_types = Some(flag()?),
        "rewrite-timestamp" => spec.rewrite_timestamp = Some(flag()?),
        "force-compression" => spec.force = flag()?,
        "compression" => {
            spec.compression = Some(match value {
                "gzip" => Compression::Gzip,
                "zstd" => Compression::Zstd,
                "uncompressed" => Compression::Uncompressed,
                _ => return Err(wrong("compression is gzip, zstd or uncompressed")),
            });
        }
        "compression-level" => {
            let level = value.parse().map_err(|_| wrong("compression-level is a number"))?;
            spec.level = Some(level);
        }
        // What an image of this program is anyway, or is kept as anyway.
        "store" | "unpack" | "name-canonical" | "dangling-name-prefix" | "buildinfo" => {}
        key if key.starts_with("annotation") => {
            spec.annotations.attribute(key, value).map_err(|what| wrong(&what))?;
        }
        _ => {
            return Err(wrong(&format!("`{key}` is not known")).hint(
                "type, dest, name, push, tar, platform-split, compression, compression-level, \
                 force-compression, rewrite-timestamp, oci-mediatypes and annotation.KEY are",
            ));
        }
    }
    Ok(())
}

/// Comma-separated; a field in double quotes may have commas in it, and doubled quotes, as in
/// CSV.
pub(super) fn split_fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let field = fields.last_mut().expect("there is always one");
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_buildx_reads_them() {
        let oci = parse("type=oci,dest=x.tar,compression=zstd").unwrap();
        assert_eq!((oci.kind.as_str(), oci.dest.as_deref()), ("oci", Some("x.tar")));
        assert_eq!(oci.compression, Some(Compression::Zstd));
        let names = parse("type=image,\"name=a,b\",push=true").unwrap();
        assert_eq!((names.name, names.push), (vec!["a".to_owned(), "b".to_owned()], true));
        let folder = parse("out").unwrap();
        assert_eq!((folder.kind.as_str(), folder.dest.as_deref()), ("local", Some("out")));
        let mistakes = [
            "type=oci,x=1",
            "dest=x",
            "type=oci,compression=lzma",
            "type=oci,push=maybe",
            "type=oci,annotation-everywhere.a=b",
        ];
        for text in mistakes {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_are_split_as_csv_is() {
        let cases: &[(&str, &[&str])] = &[
            ("a=1,b=2", &["a=1", "b=2"]),
            ("a=1,\"b=2,3\"", &["a=1", "b=2,3"]),
            ("\"a=say \"\"x\"\"\"", &["a=say \"x\""]),
            ("", &[""]),
        ];
        for (text, expected) in cases {
            assert_eq!(split_fields(text), *expected, "{text}");
        }
    }
}
