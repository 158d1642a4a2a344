//! A cache that is written over an image's own tag.

use std::collections::BTreeMap;

use bakehouse_model::Diagnostic;
use bakehouse_model::oci::Reference;

use super::Given;
use super::cache_shared::Export;
use crate::codes::{Code, error};
use crate::fleet::Fleet;

pub(super) const CODE: Code = error(
    "cache-ref-is-tag",
    "a cache is written to a reference that an image is published under, and takes its place",
    "give the cache a reference of its own, such as `REGISTRY/cache:NAME`",
);

pub(super) fn find(fleet: &Fleet, _: &Given<'_>) -> Vec<Diagnostic> {
    let mut published: BTreeMap<String, &str> = BTreeMap::new();
    for image in &fleet.images {
        for reference in image.references.iter().filter_map(|text| whole(text)) {
            published.entry(reference).or_insert(&image.name);
        }
    }
    let found = fleet.images.iter().flat_map(|image| {
        image.options.cache_to.iter().filter_map(|spec| {
            let written = Export::parse(spec).registry()?;
            let owner = published.get(&whole(&written)?)?;
            let message = format!(
                "the cache of `{}` is written to `{written}`, which is the tag of `{owner}`",
                image.name
            );
            Some(CODE.at(image.location(), message))
        })
    });
    found.collect()
}

fn whole(text: &str) -> Option<String> {
    text.parse::<Reference>().ok().map(|reference| reference.to_string())
}
