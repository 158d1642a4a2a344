//! APT's folders as a cache mount that several steps may use at once: APT locks them.

use bakehouse_model::Diagnostic;
use bakehouse_model::op::Sharing;

use super::Given;
use super::steps::{is_apt_archive, steps};
use crate::codes::{Code, warning};
use crate::fleet::Fleet;

pub(super) const CODE: Code = warning(
    "apt-cache-mount-sharing",
    "a cache mount of APT's folders may be used by several steps at once, and APT then fails",
    "add `sharing=locked` to the mount",
);

pub(super) fn find(fleet: &Fleet, _: &Given<'_>) -> Vec<Diagnostic> {
    let is_apt: fn(&str) -> bool =
        |target| is_apt_archive(target) || matches!(target, "/var/lib/apt" | "/var/lib/apt/lists");
    let found = steps(fleet).filter_map(|step| {
        let (target, sharing) = step.caches(is_apt)?;
        let shared = matches!(sharing, None | Some(Sharing::Shared));
        (shared && step.installs_with_apt()).then(|| {
            let message = format!("the cache mount `{target}` is shared, and APT locks it");
            CODE.at(step.location(), message)
        })
    });
    found.collect()
}
