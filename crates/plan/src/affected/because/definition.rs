//! What bake files, compose files and `bakehouse.toml` say of one image, and said before.

use std::collections::{BTreeMap, BTreeSet};

use super::{Because, instructions};
use crate::fleet::{Image, Options};
use crate::lower::Settings;

/// What is said otherwise and may make a difference. Names, tags, caches and secrets make none.
pub(super) fn compare(before: &Image, after: &Image, settings: &Settings) -> Vec<Because> {
    let location = after.location();
    let told = |(what, before, after): Change| Because::Definition {
        what,
        before,
        after,
        location: location.clone(),
    };
    let mut changes = args(before, after, settings);
    let (was, is) = (named(&before.target), named(&after.target));
    changes.extend(one("target", was, is));
    let (was, is) = (listed(&before.platforms), listed(&after.platforms));
    changes.extend(one("platforms", was, is));
    changes.extend(labels(before, after, settings));
    changes.extend(contexts(before, after));
    changes.extend(options(&before.options, &after.options));
    changes.into_iter().map(told).collect()
}

/// Its context, if that is another folder. By itself it makes no difference.
pub(super) fn context(before: &Image, after: &Image) -> Option<Because> {
    let (was, is) = (before.context.to_string(), after.context.to_string());
    let (what, before, after_) = one("context", Some(was), Some(is))?;
    Some(Because::Definition { what, before, after: after_, location: after.location() })
}

type Change = (String, Option<String>, Option<String>);

fn one(what: &str, before: Option<String>, after: Option<String>) -> Option<Change> {
    (before != after).then(|| (what.to_owned(), before, after))
}

fn named(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

fn listed<T: ToString>(items: &[T]) -> Option<String> {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    (!items.is_empty()).then(|| items.join(","))
}

/// Arguments that the Dockerfile uses. Those of the command line are the same for both.
fn args(before: &Image, after: &Image, settings: &Settings) -> Vec<Change> {
    let then = instructions::stages(before);
    let now = instructions::stages(after);
    let used = |name: &str| {
        !settings.build_args.contains_key(name)
            && (is_predefined(name)
                || instructions::uses(&before.dockerfile, &then, name)
                || instructions::uses(&after.dockerfile, &now, name))
    };
    maps("arg", &before.args, &after.args)
        .into_iter()
        .filter(|(what, ..)| used(what.trim_start_matches("arg ")))
        .collect()
}

/// Arguments that no Dockerfile has to declare.
fn is_predefined(name: &str) -> bool {
    matches!(name, "SOURCE_DATE_EPOCH" | "BUILDKIT_SANDBOX_HOSTNAME")
}

fn labels(before: &Image, after: &Image, settings: &Settings) -> Vec<Change> {
    let own = |image: &Image| {
        let labels = image.options.labels.clone().into_iter();
        labels.filter(|(name, _)| !settings.labels.contains_key(name)).collect()
    };
    maps("label", &own(before), &own(after))
}

fn contexts(before: &Image, after: &Image) -> Vec<Change> {
    let values = |image: &Image| -> BTreeMap<String, String> {
        let contexts = image.contexts.iter();
        contexts.map(|context| (context.name.clone(), context.value.to_string())).collect()
    };
    maps("named context", &values(before), &values(after))
}

fn options(before: &Options, after: &Options) -> Vec<Change> {
    let hosts = |options: &Options| {
        let names = options.extra_hosts.iter();
        let names = names.map(|host| host.split([':', '=']).next().unwrap_or_default());
        listed(&names.collect::<Vec<_>>())
    };
    let table = [
        ("network", before.network.clone(), after.network.clone()),
        ("shm_size", before.shm_size.clone(), after.shm_size.clone()),
        ("ulimits", listed(&before.ulimits), listed(&after.ulimits)),
        ("extra_hosts", hosts(before), hosts(after)),
    ];
    table.into_iter().filter_map(|(what, was, is)| one(what, was, is)).collect()
}

fn maps(
    noun: &str,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changes = names.into_iter().filter_map(|name| {
        let (was, is) = (before.get(name).cloned(), after.get(name).cloned());
        one(&format!("{noun} {name}"), was, is)
    });
    changes.collect()
}
