//! The families of a fleet as they turned out: which base each hands to which images.

use std::collections::BTreeMap;

use bakehouse_model::Diagnostic;
use serde::Serialize;

use crate::convert;
use crate::fleet::{Fleet, Image};

/// Codes of what may be wrong with a family.
const CODES: &[&str] = &[
    "family-arg-given",
    "family-arg-ignored",
    "family-base-unknown",
    "family-service-unknown",
    "two-families",
];

/// A family.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// The base that its images are handed; none if no image takes it.
    pub base: Option<String>,
    /// Its images.
    pub images: Vec<Member>,
}

/// An image of a family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its name.
    pub image: String,
    /// Its Dockerfile.
    pub dockerfile: String,
    /// The argument that takes the base; none if the Dockerfile takes none.
    pub arg: Option<String>,
}

/// The families that images are in, by name.
pub fn families(fleet: &Fleet) -> Vec<Family> {
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    for image in &fleet.images {
        let Some(name) = &image.family else { continue };
        let family = families.entry(name).or_default();
        let taken = taken(image);
        family.name.clone_from(name);
        family.base = family.base.take().or_else(|| taken.as_ref().map(|(_, base)| base.clone()));
        family.images.push(Member {
            image: image.name.clone(),
            dockerfile: image.file.clone(),
            arg: taken.map(|(arg, _)| arg),
        });
    }
    families.into_values().collect()
}

/// What is wrong with families.
pub fn wrong(fleet: &Fleet) -> Vec<Diagnostic> {
    let about = |diagnostic: &&Diagnostic| CODES.contains(&diagnostic.code.as_str());
    fleet.diagnostics.iter().filter(about).cloned().collect()
}

/// The argument that an image's base is, and its value.
fn taken(image: &Image) -> Option<(String, String)> {
    image.dockerfile.stages.iter().find_map(|stage| {
        let arg = convert::variable(&stage.base)?;
        Some((arg.to_owned(), image.args.get(arg)?.clone()))
    })
}
