//! `bakehouse.toml`, as what it adds to the fleet.

use bakehouse_plan::fleet::{Class, Family, Patch, Policy};

use super::{Sources, Tree};
use crate::config::{self, Config, ImageTable, Placed};

/// Reads the file, if there is one.
pub(super) fn read(tree: &Tree<'_>, sources: &mut Sources) {
    let Some(text) = (tree.load)(config::FILE_NAME) else { return };
    sources.keep(config::FILE_NAME, &text);
    let (config, diagnostics) = config::read(config::FILE_NAME, &text);
    sources.diagnostics.extend(diagnostics);
    sources.described.policy = policy(&config, tree);
    sources.config = config;
}

fn policy(config: &Config, tree: &Tree<'_>) -> Policy {
    let families = config.family.iter().map(|(name, family)| {
        let services = family.value.services.iter();
        Family {
            name: name.as_str().to_owned(),
            base: family.value.base.value.as_str().to_owned(),
            arg: family.value.arg.as_str().to_owned(),
            services: services.map(|s| (s.value.as_str().to_owned(), s.place.clone())).collect(),
            location: family.place.clone(),
        }
    });
    let classes = config.classes.iter().map(|(name, class)| {
        let class = &class.value;
        Class {
            name: name.as_str().to_owned(),
            images: class.images.iter().map(|p| p.value.as_str().to_owned()).collect(),
            level: class.level.as_ref().map(|level| level.value as usize),
            estimate_ms: class.minutes.as_ref().map(|minutes| milliseconds(minutes.value.most)),
        }
    });
    let bases = config.bases.iter();
    Policy {
        families: families.collect(),
        classes: classes.collect(),
        bases: bases.map(|(from, to)| (from.as_str().to_owned(), to.value.to_string())).collect(),
        images: config.images.iter().map(|(key, image)| patch(key.as_str(), image, tree)).collect(),
    }
}

fn milliseconds(minutes: f64) -> u64 {
    std::time::Duration::try_from_secs_f64(minutes * 60.0)
        .map_or(u64::MAX, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// A key is an image's name, or a Dockerfile's path.
fn patch(key: &str, image: &Placed<ImageTable>, tree: &Tree<'_>) -> Patch {
    let table = &image.value;
    let written = table.dockerfile.as_ref().map(|file| file.value.as_str());
    let is_path = written.is_none() && (key.contains('/') || (tree.exists)(key));
    Patch {
        name: (!is_path).then(|| key.to_owned()),
        file: if is_path { Some(key.to_owned()) } else { written.map(str::to_owned) },
        context: table.context.as_ref().map(|context| context.value.as_str().to_owned()),
        target: table.target.as_ref().map(|target| target.value.as_str().to_owned()),
        args: table.args.iter().map(|(n, v)| (n.as_str().to_owned(), v.value.clone())).collect(),
        references: table.tags.iter().map(|tag| tag.value.reference().to_string()).collect(),
        platforms: table.platforms.iter().map(|platform| platform.value.clone()).collect(),
        class: table.class.as_ref().map(|class| class.value.as_str().to_owned()),
        location: image.place.clone(),
    }
}
