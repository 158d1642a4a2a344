//! What `bakehouse.toml` says of single images, put on top of what describes them.

use bakehouse_model::{Diagnostic, Severity};

use super::{ContextValue, Image, Patch, Source, SourceKind, suggest};

/// Patches that name a Dockerfile, before images have names.
pub(super) fn by_file(images: &mut [Image], patches: &[Patch], diagnostics: &mut Vec<Diagnostic>) {
    for patch in patches {
        let Some(file) = &patch.file else { continue };
        let on_file: Vec<usize> = (0..images.len()).filter(|i| images[*i].file == *file).collect();
        match on_file.as_slice() {
            [] => diagnostics.push(no_such_file(patch, file)),
            [only] => {
                let image = &mut images[*only];
                apply(image, patch);
                if let Some(name) = &patch.name {
                    let (kind, location) = (SourceKind::Config, patch.location.clone());
                    image.sources.push(Source { kind, name: name.clone(), location });
                    image.aliases.insert(name.clone());
                }
            }
            several => diagnostics.push(several_on_file(patch, file, several.len())),
        }
    }
}

/// Patches that name an image.
pub(super) fn by_name(images: &mut [Image], patches: &[Patch], diagnostics: &mut Vec<Diagnostic>) {
    for patch in patches {
        let (None, Some(name)) = (&patch.file, &patch.name) else { continue };
        let at = images.iter().position(|image| image.name == *name);
        let at = at.or_else(|| images.iter().position(|image| image.aliases.contains(name)));
        match at {
            Some(at) => apply(&mut images[at], patch),
            None => {
                let near = suggest(name, images.iter().map(|image| image.name.as_str()));
                diagnostics.push(no_such_image(patch, name, near));
            }
        }
    }
}

fn apply(image: &mut Image, patch: &Patch) {
    if let Some(context) = &patch.context {
        image.context = ContextValue::Folder(context.clone());
    }
    if patch.target.is_some() {
        image.target.clone_from(&patch.target);
    }
    image.args.extend(patch.args.clone());
    if !patch.references.is_empty() {
        let mut references = patch.references.clone();
        image.tags = references.len();
        references.extend(image.references.drain(..).filter(|r| !patch.references.contains(r)));
        image.references = references;
    }
    if !patch.platforms.is_empty() {
        image.platforms.clone_from(&patch.platforms);
    }
    if patch.class.is_some() {
        image.class.clone_from(&patch.class);
    }
}

fn wrong(patch: &Patch, code: &str, message: String, help: String) -> Diagnostic {
    Diagnostic {
        location: Some(patch.location.clone()),
        severity: Severity::Error,
        code: code.to_owned(),
        message,
        help: Some(help),
    }
}

fn no_such_file(patch: &Patch, file: &str) -> Diagnostic {
    let message = format!("no image is built from `{file}`");
    wrong(
        patch,
        "unknown-dockerfile",
        message,
        "name a Dockerfile that `bakehouse graph` shows".into(),
    )
}

fn several_on_file(patch: &Patch, file: &str, count: usize) -> Diagnostic {
    let message = format!("{count} images are built from `{file}`");
    wrong(patch, "ambiguous-dockerfile", message, "name one of them: `[images.NAME]`".to_owned())
}

fn no_such_image(patch: &Patch, name: &str, near: Option<&str>) -> Diagnostic {
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`bakehouse graph` lists the images".to_owned(),
    };
    wrong(patch, "unknown-image", format!("there is no image `{name}`"), help)
}
