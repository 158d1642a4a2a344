//! Every image name that a Dockerfile has, as it reads once its arguments are filled in.

use std::collections::BTreeSet;

use bakehouse_model::oci::Platform;
use bakehouse_model::op::ContextSource;

use crate::fleet::Image;
use crate::lower::{self, Base, Bases, Request, Settings};

/// The names that the wanted stage of `image` needs, on any of `platforms`. Two names may mean
/// one image, which is one edge of the fleet; another tool has to be told both.
pub(super) fn names(
    image: &Image,
    settings: &Settings,
    platforms: &[Platform],
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let all = platforms.iter().cloned().map(Some);
    for platform in all.chain(platforms.is_empty().then(|| settings.platform.clone())) {
        let settings = Settings { platform, ..settings.clone() };
        let request = Request {
            image: &image.name,
            dockerfile: &image.dockerfile,
            file: &image.file,
            context: Some(ContextSource {
                name: "context".to_owned(),
                root: String::new(),
                ignore: Vec::new(),
            }),
            target: image.target.as_deref(),
            settings: &settings,
        };
        // What is wrong has been told where the fleet was read.
        let asked = lower::references(&request, &Nobody).unwrap_or_default();
        names.extend(asked.into_iter().map(|question| question.name));
    }
    names
}

/// Knows no base, so that all of them are asked for.
struct Nobody;

impl Bases for Nobody {
    fn named(&self, _: &str, _: &Platform) -> Option<Base> {
        None
    }

    fn image(&self, _: &str, _: &Platform) -> Base {
        Base::Unknown
    }
}
