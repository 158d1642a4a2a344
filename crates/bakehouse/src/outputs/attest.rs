//! Attestations that are asked for: `--provenance`, `--sbom`, `--attest`, and what definitions
//! say of them. None is made unless it is asked for.

use bakehouse_plan::attest::Mode;

use super::spec::split_fields;
use crate::failure::{Failure, Kind};

/// What is to be attached to an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attests {
    /// What it was made of, and how.
    pub provenance: Option<Provenance>,
    /// Which packages are in it.
    pub sbom: bool,
}

/// How provenance is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// How much of it.
    pub mode: Mode,
    /// Who built.
    pub builder: String,
    /// Whether somebody vouches that the image can be made again.
    pub reproducible: bool,
    /// Whether it is told in version 0.2 of SLSA, and not in version 1.
    pub is_v02: bool,
}

impl Attests {
    /// Whether there is something to attach.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads `--attest`: a later one of a type replaces an earlier one.
    pub(super) fn read(&mut self, text: &str) -> Result<(), Failure> {
        let wrong =
            |what: String| Failure::new(Kind::Usage, format!("attestation `{text}`: {what}"));
        let fields = split_fields(text);
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|field| field.split_once('=').unwrap_or((field, "")))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let kind = fields.iter().find(|(key, _)| *key == "type").map(|(_, value)| *value);
        let rest = || fields.iter().filter(|(key, _)| *key != "type").copied();
        match kind {
            Some("provenance") => self.provenance = provenance(rest()).map_err(wrong)?,
            Some("sbom") => self.sbom = sbom(rest()).map_err(wrong)?,
            _ => {
                return Err(wrong("it needs a type".to_owned())
                    .hint("such as `type=provenance,mode=max` or `type=sbom`"));
            }
        }
        Ok(())
    }

    /// Reads `--provenance` or `--sbom`: a switch, or attributes.
    pub(super) fn short(&mut self, kind: &str, text: Option<&str>) -> Result<(), Failure> {
        match text {
            None => Ok(()),
            Some("" | "true" | "1") => self.read(&format!("type={kind}")),
            Some("false" | "0") => self.read(&format!("type={kind},disabled=true")),
            Some(attributes) => self.read(&format!("type={kind},{attributes}")),
        }
    }
}

fn provenance<'a>(
    fields: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Option<Provenance>, String> {
    let mut wanted = Provenance::default();
    let mut disabled = false;
    for (key, value) in fields {
        match (key, value) {
            ("mode", "min") => wanted.mode = Mode::Min,
            ("mode", "max" | "full") => wanted.mode = Mode::Max,
            ("mode", _) => return Err("mode is min or max".to_owned()),
            ("builder-id", id) => id.clone_into(&mut wanted.builder),
            ("reproducible", value) => wanted.reproducible = flag(key, value)?,
            ("disabled", value) => disabled = flag(key, value)?,
            ("version", "v1") => wanted.is_v02 = false,
            ("version", "v0.2") => wanted.is_v02 = true,
            ("version", _) => return Err("version is v1 or v0.2".to_owned()),
            // It is attached to images and written nowhere else anyway.
            ("inline-only" | "filename", _) => {}
            _ => return Err(format!("`{key}` is not known")),
        }
    }
    Ok((!disabled).then_some(wanted))
}

fn sbom<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Result<bool, String> {
    let mut disabled = false;
    for (key, value) in fields {
        match key {
            "disabled" => disabled = flag(key, value)?,
            "generator" => {
                return Err("no generator is run: packages are found by Bakehouse".into());
            }
            _ => return Err(format!("`{key}` is not known")),
        }
    }
    Ok(!disabled)
}

fn flag(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("`{key}` is true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Attests {
        let mut all = Attests::default();
        for text in texts {
            all.read(text).unwrap();
        }
        all
    }

    #[test]
    fn attestations_are_read_and_the_last_of_a_type_counts() {
        let max = Provenance { builder: "me".to_owned(), ..Provenance::default() };
        let min = Provenance { mode: Mode::Min, reproducible: true, ..Provenance::default() };
        let cases: &[(&[&str], Option<&Provenance>, bool)] = &[
            (&[], None, false),
            (&["type=provenance,builder-id=me"], Some(&max), false),
            (&["type=provenance", "mode=min,type=provenance,reproducible=1"], Some(&min), false),
            (&["type=sbom", "type=provenance,disabled=true"], None, true),
            (&["type=sbom", "type=sbom,disabled=true"], None, false),
        ];
        for (texts, provenance, sbom) in cases {
            let all = read(texts);
            assert_eq!((all.provenance.as_ref(), all.sbom), (*provenance, *sbom), "{texts:?}");
        }
    }

    #[test]
    fn the_short_forms_are_switches_or_attributes() {
        let cases = [
            ("provenance", "true", Some(Mode::Max)),
            ("provenance", "mode=min", Some(Mode::Min)),
            ("provenance", "false", None),
            ("sbom", "true", None),
        ];
        for (kind, text, mode) in cases {
            let mut all = Attests::default();
            all.short(kind, Some(text)).unwrap();
            assert_eq!(all.provenance.map(|p| p.mode), mode, "--{kind}={text}");
            assert_eq!(all.sbom, kind == "sbom");
        }
    }

    #[test]
    fn mistakes_are_told() {
        let cases = [
            "provenance",
            "type=vex",
            "type=provenance,mode=most",
            "type=provenance,version=v2",
            "type=provenance,x=y",
            "type=sbom,generator=docker/scanner",
            "type=sbom,disabled=perhaps",
        ];
        for text in cases {
            assert!(Attests::default().read(text).is_err(), "{text}");
        }
    }
}
