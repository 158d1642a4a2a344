//! Images that look like bases and are the base of nothing.
//!
//! Most images of a fleet are used by none: they are what the fleet is for. An image is
//! suspected only if all of this holds:
//! - nothing but its Dockerfile describes it, and it is not published under a name;
//! - its Dockerfile lies beside Dockerfiles of bases: images of other folders stand on two of
//!   them at least, or on one, and it is the only other;
//! - its last stage has nothing to start: no `CMD`, `ENTRYPOINT`, `EXPOSE` or `HEALTHCHECK`.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::Diagnostic;

use super::Given;
use crate::codes::{Code, warning};
use crate::dockerfile::InstructionKind;
use crate::fleet::{Fleet, Image, SourceKind};

pub(super) const CODE: Code = warning(
    "unused-image",
    "an image lies among bases, and no image stands on it",
    "remove it, let an image stand on it, or describe it in a bake or compose file",
);

pub(super) fn find(fleet: &Fleet, _: &Given<'_>) -> Vec<Diagnostic> {
    let used = fleet.used_by();
    let bases = folders_of_bases(fleet, &used);
    let suspects = fleet.images.iter().filter(|image| {
        let alone = image.kind() == SourceKind::Dockerfile && image.references.is_empty();
        alone && image.groups.is_empty() && !used.contains_key(image.name.as_str())
    });
    let found = suspects.filter(|image| !starts_something(image)).filter_map(|image| {
        let folder = folder(image);
        let others = bases.get(folder)?;
        let some = others.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>();
        let more = if others.len() > 3 { " and others" } else { "" };
        let message = format!(
            "no image stands on `{}`, and it lies among bases: {}{more}",
            image.name,
            some.join(", ")
        );
        Some(CODE.at(image.location(), message))
    });
    found.collect()
}

/// Folders in which images lie that images of other folders stand on.
fn folders_of_bases<'a>(
    fleet: &'a Fleet,
    used: &BTreeMap<&str, Vec<&str>>,
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut folders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for image in &fleet.images {
        let users = used.get(image.name.as_str()).into_iter().flatten();
        let mut elsewhere = users.filter_map(|user| fleet.image(user));
        if elsewhere.any(|user| folder(user) != folder(image)) {
            folders.entry(folder(image)).or_default().insert(&image.name);
        }
    }
    let size = |name: &str| fleet.images.iter().filter(|image| folder(image) == name).count();
    folders.retain(|name, bases| bases.len() > 1 || size(name) == 2);
    folders
}

fn folder(image: &Image) -> &str {
    image.file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn starts_something(image: &Image) -> bool {
    let last = match &image.target {
        Some(target) => image.dockerfile.stage_by_name(target),
        None => image.dockerfile.stages.len().checked_sub(1),
    };
    let stage = last.and_then(|at| image.dockerfile.stages.get(at));
    stage.into_iter().flat_map(|stage| &stage.instructions).any(|instruction| {
        matches!(
            instruction.kind,
            InstructionKind::Cmd(_)
                | InstructionKind::Entrypoint(_)
                | InstructionKind::Expose(_)
                | InstructionKind::Healthcheck(_)
        )
    })
}
