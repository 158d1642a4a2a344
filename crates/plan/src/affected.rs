//! Which images a change affects, and because of what: two versions of a repository, compared.
//!
//! Exact in both directions. An image is affected if building it comes to something else than
//! before, as far as files can tell:
//!
//! 1. [`Listing`]: what either version has at which path, by names of contents. No file that
//!    only steps read is looked into.
//! 2. `view`: what a step's selection (`COPY`, `ADD`, bind mounts) reads of a context, after
//!    `.dockerignore`, through links.
//! 3. `recipe`: each fleet lowered to steps, each step with a digest of all that it is made
//!    of. Comments, stages that nothing needs, arguments that nothing uses and names of
//!    folders are in no digest; what an image stands on is.
//! 4. `because`: where two digests differ, the file, the instruction or the parent.
//!
//! What a tag of a base from elsewhere points to is not asked: a base changes with its
//! reference. Pure, like all decisions.

mod because;
mod listing;
mod recipe;
mod view;

use std::collections::BTreeMap;

use bakehouse_model::oci::Platform;
use bakehouse_model::{Diagnostic, Location, Severity};
use serde::Serialize;

use crate::fleet::{ContextValue, Fleet, Image};
use crate::lower::{Settings, Via};

pub use listing::{Entry, EntryKind, Listing};

use because::Explain;
use recipe::Recipes;

/// One version of a repository.
pub struct Side<'a> {
    /// Its images.
    pub fleet: Fleet,
    /// Its paths.
    pub listing: Listing,
    /// A file of it, from the root; asked for ignore files only.
    pub load: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

impl std::fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

/// What is the same for both versions.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// What the command line says.
    pub settings: &'a Settings,
    /// The platforms to build for; those of the images if there are none.
    pub platforms: &'a [Platform],
    /// What the command line says that names stand for.
    pub contexts: &'a BTreeMap<String, ContextValue>,
}

/// What a change comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affected {
    /// Images that come to something else, parents first.
    pub images: Vec<AffectedImage>,
    /// Images that come to the same, parents first.
    pub unaffected: Vec<String>,
    /// Names of images that are no more.
    pub removed: Vec<String>,
    /// What is wrong, and what could not be seen.
    pub diagnostics: Vec<Diagnostic>,
}

/// An image that comes to something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AffectedImage {
    /// Its name.
    pub name: String,
    /// Why; never empty.
    pub because: Vec<Because>,
}

/// One reason why an image is affected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Because {
    /// There was no image of that name.
    Added {
        /// Where it is described.
        location: Location,
    },
    /// A file that it reads.
    File {
        /// From the repository's root.
        path: String,
        /// What happened to it.
        change: FileChange,
        /// What reads it.
        instruction: String,
        /// Where that is written.
        location: Option<Location>,
    },
    /// More files that one instruction reads.
    MoreFiles {
        /// How many.
        count: usize,
        /// What reads them.
        instruction: String,
        /// Where that is written.
        location: Option<Location>,
    },
    /// A file that did not change, but an ignore file did.
    Ignore {
        /// From the repository's root.
        path: String,
        /// Whether it is seen now, and was not before.
        seen: bool,
        /// What reads it.
        instruction: String,
        /// The ignore file.
        location: Option<Location>,
    },
    /// An instruction of its Dockerfile.
    Instruction {
        /// How it was written; none if it is new.
        before: Option<String>,
        /// How it is written; none if it is gone.
        after: Option<String>,
        /// Where.
        location: Location,
    },
    /// What a bake file, a compose file or `bakehouse.toml` says of it.
    Definition {
        /// What: `arg VERSION`, `target`, `context`, `label team`.
        what: String,
        /// What it was.
        before: Option<String>,
        /// What it is.
        after: Option<String>,
        /// Where.
        location: Location,
    },
    /// A base from elsewhere has another reference.
    External {
        /// What it was.
        before: Option<String>,
        /// What it is.
        after: Option<String>,
        /// Where it is named.
        location: Option<Location>,
    },
    /// Another image of the fleet that it stands on, and that is affected.
    Parent {
        /// Its name.
        image: String,
        /// What names it.
        via: Via,
        /// Where.
        location: Option<Location>,
    },
    /// It cannot be compared: one of the versions cannot be read.
    Unreadable {
        /// Whether the version before is the one.
        before: bool,
        /// Where it is described.
        location: Location,
    },
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileChange {
    /// It is new there.
    Added,
    /// It has other content.
    Modified,
    /// It is gone from there.
    Removed,
    /// It may be executed now, or no longer; or it has become something else.
    Mode,
}

/// Compares two versions.
pub fn compare(mut before: Side<'_>, mut after: Side<'_>, world: &World<'_>) -> Affected {
    recipe::hand_bases(&mut before.fleet, world);
    recipe::hand_bases(&mut after.fleet, world);
    let (before, after) = (Recipes::new(&before, world), Recipes::new(&after, world));
    let mut explain = Explain::new(&before, &after, world);
    let mut affected = Affected::default();
    for image in &after.side.fleet.images {
        match explain.image(image) {
            None => affected.unaffected.push(image.name.clone()),
            Some(because) => {
                affected.images.push(AffectedImage { name: image.name.clone(), because });
            }
        }
    }
    let gone = before.side.fleet.images.iter().filter(|old| is_gone(old, &after.side.fleet));
    affected.removed = gone.map(|old| old.name.clone()).collect();
    affected.diagnostics = diagnostics(&before, &after);
    affected
}

/// Whether an image is no more; one whose Dockerfile cannot be read now is reported as that.
fn is_gone(old: &Image, fleet: &Fleet) -> bool {
    fleet.image(&old.name).is_none() && !is_wrong(&old.file, fleet)
}

/// Whether a file has mistakes.
fn is_wrong(file: &str, fleet: &Fleet) -> bool {
    fleet.diagnostics.iter().any(|wrong| {
        let place = wrong.location.as_ref().map(|location| location.file.as_str());
        wrong.severity == Severity::Error && place == Some(file)
    })
}

/// What is wrong now; of what was wrong before, a note that it was.
fn diagnostics(before: &Recipes<'_>, after: &Recipes<'_>) -> Vec<Diagnostic> {
    let all = |recipes: &Recipes<'_>| {
        let fleet = recipes.side.fleet.diagnostics.iter();
        fleet.chain(&recipes.diagnostics).cloned().collect::<Vec<_>>()
    };
    let mut diagnostics = all(after);
    let errors = all(before).into_iter().filter(|wrong| wrong.severity == Severity::Error);
    diagnostics.extend(errors.map(|wrong| Diagnostic {
        severity: Severity::Note,
        message: format!("before the change, {}", wrong.message),
        ..wrong
    }));
    diagnostics.sort();
    diagnostics.dedup();
    diagnostics
}
