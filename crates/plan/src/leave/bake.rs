//! A bake file: a target for each image, and what stands on what as `target:` contexts.

use std::collections::{BTreeMap, BTreeSet};

use super::recipe::{Dockerfile, From, Recipe};
use super::{hcl, paths, shell};

/// `recipes` as a bake file, to be kept in the repository's root.
pub fn bake_file(recipes: &[Recipe]) -> String {
    let names = target_names(recipes);
    let mut out = "# The images of this repository, written by `bakehouse plan --print bake`.\n\
                   # Keep it in the repository's root and build with `docker buildx bake`.\n"
        .to_owned();
    for (group, members) in groups(recipes, &names) {
        if let Some(why) = refused(&group, &names) {
            out.push_str(&format!("\n# The group {} is left out: {why}\n", shell::comment(&group)));
            continue;
        }
        out.push_str(&format!("\ngroup {} {{\n", hcl::quoted(&group)));
        out.push_str(&format!("  targets = {}\n}}\n", hcl::list(members)));
    }
    for recipe in recipes {
        out.push_str(&target(recipe, &names));
    }
    out
}

/// The name of each image's target: letters, digits, dashes and underscores.
fn target_names(recipes: &[Recipe]) -> BTreeMap<&str, String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    // A group of the bare call has that name.
    let mut taken = BTreeSet::from(["default".to_owned()]);
    let mut names = BTreeMap::new();
    for recipe in recipes {
        let clean: String = recipe.name.chars().map(plain).collect();
        let numbered = (2..).map(|number: u64| format!("{clean}-{number}"));
        let name = std::iter::once(clean.clone())
            .chain(numbered)
            .find(|name| !taken.contains(name))
            .expect("there are more numbers than images");
        taken.insert(name.clone());
        names.insert(recipe.name.as_str(), name);
    }
    names
}

/// The groups that images are in, and the one of the bare call.
fn groups(recipes: &[Recipe], names: &BTreeMap<&str, String>) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for recipe in recipes {
        let name = &names[recipe.name.as_str()];
        let own = recipe.groups.iter().filter(|group| *group != "default");
        let all = own.cloned().chain(recipe.wanted.then(|| "default".to_owned()));
        for group in all {
            groups.entry(group).or_default().push(name.clone());
        }
    }
    groups
}

/// Why a group cannot be one of the bake file.
fn refused(group: &str, names: &BTreeMap<&str, String>) -> Option<&'static str> {
    if names.values().any(|name| name == group) {
        return Some("a target has that name");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (!group.chars().all(plain)).then_some("its name has letters that a name may not have")
}

fn target(recipe: &Recipe, names: &BTreeMap<&str, String>) -> String {
    let mut out = String::from("\n");
    for note in &recipe.notes {
        out.push_str(&format!("# {}\n", shell::comment(note)));
    }
    out.push_str(&format!("target {} {{\n", hcl::quoted(&names[recipe.name.as_str()])));
    for (name, value) in attributes(recipe, names) {
        out.push_str(&format!("  {name} = {value}\n"));
    }
    out.push_str("}\n");
    out
}

/// What is said of a target, in the order in which people read it; what is not said of the
/// image is not there.
fn attributes(recipe: &Recipe, names: &BTreeMap<&str, String>) -> Vec<(&'static str, String)> {
    let context = (recipe.context != ".").then(|| hcl::quoted(&recipe.context));
    let (file, inline) = match &recipe.dockerfile {
        Dockerfile::Inline(text) => (None, Some(hcl::lines(text))),
        Dockerfile::Path(path) if recipe.context.contains("://") => (Some(hcl::quoted(path)), None),
        Dockerfile::Path(path) => {
            (Some(hcl::quoted(&paths::relative(path, &recipe.context))), None)
        }
    };
    let file = file.filter(|path| path != "\"Dockerfile\"");
    let text = |text: &Option<String>| text.as_deref().map(hcl::quoted);
    let items = |items: &[String]| (!items.is_empty()).then(|| hcl::list(items));
    let flag = |set: bool| set.then(|| "true".to_owned());
    let texts = |map: &BTreeMap<String, String>| {
        let pairs = map.iter().map(|(name, value)| (name.as_str(), hcl::quoted(value)));
        (!map.is_empty()).then(|| hcl::map(pairs))
    };
    let hosts: BTreeMap<String, String> = recipe.extra_hosts.iter().cloned().collect();
    let all = [
        ("context", context),
        ("dockerfile", file),
        ("dockerfile-inline", inline),
        ("target", text(&recipe.target)),
        ("args", texts(&recipe.args)),
        ("contexts", contexts(recipe, names)),
        ("tags", items(&recipe.tags)),
        ("platforms", items(&recipe.platforms)),
        ("labels", texts(&recipe.labels)),
        ("secret", items(&recipe.secrets)),
        ("ssh", items(&recipe.ssh)),
        ("network", text(&recipe.network)),
        ("shm-size", text(&recipe.shm_size)),
        ("ulimits", items(&recipe.ulimits)),
        ("extra-hosts", texts(&hosts)),
        ("entitlements", items(&recipe.entitlements)),
        ("no-cache", flag(recipe.no_cache)),
        ("no-cache-filter", items(&recipe.no_cache_filter)),
        ("pull", flag(recipe.pull)),
        ("output", items(&recipe.outputs)),
        ("annotations", items(&recipe.annotations)),
        ("attest", items(&recipe.attests)),
        ("cache-from", items(&recipe.cache_from)),
        ("cache-to", items(&recipe.cache_to)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn contexts(recipe: &Recipe, names: &BTreeMap<&str, String>) -> Option<String> {
    let value = |from: &From| match from {
        From::Fleet(image) => match names.get(image.as_str()) {
            Some(target) => hcl::quoted(&format!("target:{target}")),
            None => hcl::quoted(image),
        },
        From::Value(value) => hcl::quoted(value),
    };
    let pairs = recipe.contexts.iter().map(|(name, from)| (name.as_str(), value(from)));
    (!recipe.contexts.is_empty()).then(|| hcl::map(pairs))
}
