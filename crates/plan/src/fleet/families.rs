//! Families: bases that are handed to images as a build argument.

use std::collections::BTreeMap;

use bakehouse_model::{Diagnostic, Location, Severity};

use super::{Family, Image, Policy, fits, suggest};
use crate::dockerfile::Dockerfile;

/// Hands each family's base to its images.
pub(super) fn inject(images: &mut [Image], policy: &Policy, diagnostics: &mut Vec<Diagnostic>) {
    let mut taken: BTreeMap<String, (&Family, &Location)> = BTreeMap::new();
    for family in &policy.families {
        if let Some(diagnostic) = unknown_base(images, family) {
            diagnostics.push(diagnostic);
        }
        for (pattern, location) in &family.services {
            let meant = |image: &Image| {
                fits(pattern, &image.name) || image.aliases.iter().any(|name| fits(pattern, name))
            };
            let named: Vec<usize> = (0..images.len()).filter(|at| meant(&images[*at])).collect();
            if named.is_empty() {
                let known = images.iter().map(|image| image.name.as_str());
                diagnostics.push(unknown_service(family, (pattern, location), known));
            }
            for at in named {
                let image = &mut images[at];
                if image.name == family.base {
                    continue;
                }
                match taken.get(&image.name) {
                    Some((other, _)) if other.name == family.name => {}
                    Some((other, place)) => {
                        diagnostics.push(two_families(image, (family, location), (other, place)));
                    }
                    None => {
                        taken.insert(image.name.clone(), (family, location));
                        diagnostics.extend(hand(image, family, location));
                    }
                }
            }
        }
    }
}

/// Sets the argument, unless the Dockerfile does nothing with it.
fn hand(image: &mut Image, family: &Family, location: &Location) -> Option<Diagnostic> {
    image.family = Some(family.name.clone());
    if !stands_on(&image.dockerfile, &family.arg) {
        return Some(Diagnostic {
            location: Some(location.clone()),
            severity: Severity::Warning,
            code: "family-arg-ignored".to_owned(),
            message: format!(
                "`{}` of the family `{}` does not start from `{}`: `{}` has no such `ARG` before its `FROM`",
                image.name, family.name, family.arg, image.file
            ),
            help: Some(format!("`bakehouse families convert {}` writes it", image.name)),
        });
    }
    let given = image.args.insert(family.arg.clone(), family.base.clone());
    let given = given.filter(|given| *given != family.base)?;
    Some(Diagnostic {
        location: Some(location.clone()),
        severity: Severity::Warning,
        code: "family-arg-given".to_owned(),
        message: format!(
            "`{}` of `{}` is `{given}` at {}; the family `{}` hands it `{}`",
            family.arg,
            image.name,
            image.location(),
            family.name,
            family.base
        ),
        help: Some("let one of the two say it".to_owned()),
    })
}

/// Whether a base of the Dockerfile is named by this argument.
pub(super) fn stands_on(dockerfile: &Dockerfile, arg: &str) -> bool {
    let declared = dockerfile.meta_args.iter().flat_map(|a| &a.args).any(|a| a.name == arg);
    let braced = [format!("${{{arg}}}"), format!("${{{arg}:")];
    let plain = format!("${arg}");
    let names = |base: &str| {
        braced.iter().any(|form| base.contains(form.as_str()))
            || base.match_indices(&plain).any(|(at, _)| {
                let after = base[at + plain.len()..].chars().next();
                !after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
            })
    };
    declared && dockerfile.stages.iter().any(|stage| names(&stage.base))
}

fn unknown_base(images: &[Image], family: &Family) -> Option<Diagnostic> {
    let base = &family.base;
    let elsewhere = base.contains(['/', ':', '@']);
    let known = images.iter().any(|image| {
        image.name == *base || image.aliases.contains(base) || image.references.contains(base)
    });
    if known || elsewhere || super::official::is_official(base) {
        return None;
    }
    let near = suggest(base, images.iter().map(|image| image.name.as_str()));
    Some(Diagnostic {
        location: Some(family.location.clone()),
        severity: Severity::Error,
        code: "family-base-unknown".to_owned(),
        message: format!("the base `{base}` of the family `{}` is no image", family.name),
        help: Some(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name an image of the fleet, or one from elsewhere with its tag".to_owned(),
        }),
    })
}

fn unknown_service<'a>(
    family: &Family,
    (pattern, location): (&str, &Location),
    known: impl Iterator<Item = &'a str>,
) -> Diagnostic {
    let near = suggest(pattern, known);
    Diagnostic {
        location: Some(location.clone()),
        severity: Severity::Error,
        code: "family-service-unknown".to_owned(),
        message: format!("`{pattern}` of the family `{}` is no image", family.name),
        help: Some(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`bakehouse graph` lists the images".to_owned(),
        }),
    }
}

fn two_families(
    image: &Image,
    (family, location): (&Family, &Location),
    (other, place): (&Family, &Location),
) -> Diagnostic {
    Diagnostic {
        location: Some(location.clone()),
        severity: Severity::Error,
        code: "two-families".to_owned(),
        message: format!(
            "`{}` is in the family `{}` and in `{}` ({place})",
            image.name, family.name, other.name
        ),
        help: Some("take it out of one of them".to_owned()),
    }
}
