//! Images that several files describe. Where they disagree, the fleet itself says so.

use bakehouse_model::Diagnostic;

use super::Given;
use crate::codes::{Code, note};
use crate::fleet::Fleet;

pub(super) const CODE: Code = note(
    "described-twice",
    "several files describe one image",
    "describe it in one place, or keep both in step: `described-differently` tells when they part",
);

pub(super) fn find(fleet: &Fleet, _: &Given<'_>) -> Vec<Diagnostic> {
    let found = fleet.images.iter().filter_map(|image| {
        let (again, earlier) = image.sources.split_last()?;
        let places: Vec<String> = earlier
            .iter()
            .map(|source| {
                format!("the {} `{}` ({})", source.kind.noun(), source.name, source.location)
            })
            .collect();
        let message = format!(
            "the image of the {} `{}` is described already by {}",
            again.kind.noun(),
            again.name,
            places.join(", ")
        );
        (!places.is_empty()).then(|| CODE.at(again.location.clone(), message))
    });
    found.collect()
}
