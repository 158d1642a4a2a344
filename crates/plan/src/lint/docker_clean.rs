//! APT's packages in a cache mount from which Debian's images remove them at once.
//!
//! The images of Debian and Ubuntu have `/etc/apt/apt.conf.d/docker-clean`, which deletes
//! packages after they are installed. A rule is silent where anything below the step, in its
//! Dockerfile or in a base of the fleet, mentions that file or tells APT to keep packages.

use bakehouse_model::Diagnostic;

use super::Given;
use super::steps::{Step, is_apt_archive, mentions, steps};
use crate::codes::{Code, warning};
use crate::fleet::{Fleet, Image};

pub(super) const CODE: Code = warning(
    "apt-cache-mount-docker-clean",
    "APT's packages are mounted as a cache, and Debian's `docker-clean` empties it",
    "begin the `RUN` with `rm -f /etc/apt/apt.conf.d/docker-clean`",
);

/// What is mentioned where somebody has thought of it.
const THOUGHT_OF: &[&str] = &["docker-clean", "Keep-Downloaded-Packages"];

pub(super) fn find(fleet: &Fleet, _: &Given<'_>) -> Vec<Diagnostic> {
    let found = steps(fleet).filter_map(|step| {
        let (target, _) = step.caches(is_apt_archive)?;
        if !step.installs_with_apt() || thought_of(&step, fleet) {
            return None;
        }
        let message = format!("the cache mount `{target}` stays empty: `docker-clean` is in force");
        Some(CODE.at(step.location(), message))
    });
    found.collect()
}

fn thought_of(step: &Step<'_>, fleet: &Fleet) -> bool {
    if THOUGHT_OF.iter().any(|text| step.mentions(text)) {
        return true;
    }
    // Another stage may be what this one starts from; to look at all of them is to err on
    // the side of silence.
    let others = step.image.dockerfile.stages.iter().filter(|stage| stage.span != step.stage.span);
    others.flat_map(|stage| &stage.instructions).any(says)
        || step.image.needs.iter().any(|edge| base_says(fleet, &edge.image))
}

fn base_says(fleet: &Fleet, name: &str) -> bool {
    let names = fleet.with_needs(&[name.to_owned()].into());
    let says_so = |image: &Image| {
        image.dockerfile.stages.iter().flat_map(|stage| &stage.instructions).any(says)
    };
    names.iter().filter_map(|name| fleet.image(name)).any(says_so)
}

fn says(instruction: &crate::dockerfile::Instruction) -> bool {
    THOUGHT_OF.iter().any(|text| mentions(instruction, text))
}
