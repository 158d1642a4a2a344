//! Contexts of bake targets and compose services that are elsewhere: those of the images that
//! are asked for are brought here, and their definitions then name folders.

use std::collections::BTreeSet;
use std::path::Path;

use bakehouse_plan::fleet::{ContextValue, Definition, Described, DockerfileAt};

use super::{Brought, Carrier, Source, stays_inside};
use crate::context::Context;
use crate::failure::{Failure, Kind};

/// Brings what `images` need; without names, what is named by contexts, and if `all` the main
/// contexts too: an image of a repository that is found is not fetched unless it is asked for.
pub(crate) fn bring(
    described: &mut Described,
    (images, all): (&[String], bool),
    cx: &Context,
) -> Result<Brought, Failure> {
    let mut brought = Brought::default();
    let wanted = wanted(described, images);
    let is_remote = |value: &ContextValue| matches!(value, ContextValue::Url(_));
    let mut carrier = None;
    for definition in &mut described.definitions {
        let whole = all || wanted.contains(&definition.name);
        let named = whole || images.is_empty() && !is_remote(&definition.context);
        let has_named = definition.contexts.iter().any(|context| is_remote(&context.value));
        if !(whole && is_remote(&definition.context) || named && has_named) {
            continue;
        }
        if carrier.is_none() {
            carrier = Some(Carrier::new(cx)?);
        }
        let carrier = carrier.as_ref().expect("it was just made");
        if whole {
            carrier.context_of(definition, &mut brought)?;
        }
        carrier.named_of(definition, &mut brought)?;
    }
    Ok(brought)
}

/// The names that are asked for, those in groups that are, and what these take from others.
fn wanted(described: &Described, images: &[String]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let groups = described.groups.iter().filter(|group| images.contains(&group.name));
    let mut waiting: Vec<&String> =
        images.iter().chain(groups.flat_map(|group| &group.members)).collect();
    while let Some(name) = waiting.pop() {
        if !names.insert(name.clone()) {
            continue;
        }
        for definition in described.definitions.iter().filter(|it| it.name == *name) {
            let values = definition.contexts.iter().map(|context| &context.value);
            waiting.extend(values.filter_map(|value| match value {
                ContextValue::Definition(other) => Some(other),
                _ => None,
            }));
        }
    }
    names
}

impl Carrier {
    fn context_of(&self, definition: &mut Definition, to: &mut Brought) -> Result<(), Failure> {
        let ContextValue::Url(url) = &definition.context else { return Ok(()) };
        let (dockerfile, folder) = self.main(&understood(url)?, to)?;
        if let DockerfileAt::Path(path) = &mut definition.dockerfile {
            let file = dockerfile.unwrap_or_else(|| folder.join(&*path));
            stays_inside(&file, &folder)?;
            *path = text(&file)?;
        }
        definition.context = ContextValue::Folder(text(&folder)?);
        Ok(())
    }

    fn named_of(&self, definition: &mut Definition, to: &mut Brought) -> Result<(), Failure> {
        for context in &mut definition.contexts {
            if let ContextValue::Url(url) = &context.value {
                let folder = self.named(&understood(url)?, to)?;
                context.value = ContextValue::Folder(text(&folder)?);
            }
        }
        Ok(())
    }
}

fn understood(url: &str) -> Result<Source, Failure> {
    match Source::of(url)? {
        Some(source @ (Source::Repository(_) | Source::Url(_))) => Ok(source),
        _ => {
            let url = bakehouse_plan::address::without_password(url);
            let what = format!("the context `{url}` is neither a repository nor a file");
            Err(Failure::new(Kind::Input, what).hint("http, https, git and ssh can be fetched"))
        }
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::new(Kind::Environment, "the path of the store is not UTF-8"))
}
