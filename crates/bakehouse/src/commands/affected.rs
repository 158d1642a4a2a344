//! `bakehouse affected`: which images a change affects, and because of what.

use std::collections::BTreeMap;
use std::path::Path;

use bakehouse_model::{Diagnostic, ExitCode, Location, Severity};
use bakehouse_plan::affected::{self, Affected, Because, FileChange, Side, World};
use bakehouse_plan::fleet::{self, ContextValue, Fleet};
use serde_json::{Value, json};

use crate::cli::{AffectedArgs, Format, Shape};
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::git::{Objects, Repository};
use crate::request::{self, Reading};
use crate::version::Version;

/// Reasons that are printed of one image; the rest is counted.
const SHOWN: usize = 5;

/// Two versions, compared.
#[derive(Debug)]
struct Compared {
    since: String,
    until: Option<String>,
    affected: Affected,
}

/// Runs the command.
pub fn run(args: &AffectedArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    if !args.place.file.is_empty() {
        return Err(Failure::new(
            Kind::Usage,
            "affected compares whole repositories, not one --file",
        )
        .hint("name the image instead: `bakehouse affected --since REV IMAGE`"));
    }
    let compared = compare(args, cx)?;
    report(args, &compared, cx)?;
    let affected = &compared.affected;
    if affected.diagnostics.iter().any(|wrong| wrong.severity == Severity::Error) {
        // What is wrong is shown with what could be compared of the rest.
        return Err(Failure::input(affected.diagnostics.clone()));
    }
    // Nothing is run here: what is usually said of a failed step says that there is something
    // to do.
    let some = args.exit_code && !(affected.images.is_empty() && affected.removed.is_empty());
    Ok(if some { ExitCode::WorkFailed } else { ExitCode::Ok })
}

fn compare(args: &AffectedArgs, cx: &Context) -> Result<Compared, Failure> {
    let place = &args.place;
    let root = request::root(place, cx)?;
    let settings = request::settings(place, &Shape::default(), cx)?;
    let platforms = request::platforms(place)?;
    let registry = request::prefix(place)?;
    let bake = request::bake_settings(place, cx)?;
    let env = |name: &str| cx.env.get(name).cloned();
    let reading = Reading {
        place,
        registry: registry.as_deref(),
        settings: &settings,
        bake: &bake,
        env: &env,
    };
    let contexts = contexts(&place.build_context, &root)?;

    let repository = Repository::open(&root, &cx.env)?;
    let given = repository.commit(&args.since)?;
    let until = args.until.as_deref().map(|until| repository.commit(until)).transpose()?;
    let since = if args.direct {
        given
    } else {
        let head = until.clone().map_or_else(|| repository.commit("HEAD"), Ok)?;
        let names = (args.since.as_str(), args.until.as_deref().unwrap_or("HEAD"));
        repository.merge_base((&given, &head), names)?
    };
    let objects = Objects::new(&repository);
    let (old, new) = Version::pair((&repository, &objects), &since, until.as_deref())?;
    let read = |version: &Version<'_>| version.fleet(&root, &reading);
    let (before, after) = (read(&old), read(&new));
    objects.finish()?;
    let named = named(&args.images, &before, &after)?;
    let world = World { settings: &settings, platforms: &platforms, contexts: &contexts };
    let loads = (|path: &str| old.load(path), |path: &str| new.load(path));
    let before = Side { fleet: before, listing: old.listing.clone(), load: &loads.0 };
    let after = Side { fleet: after, listing: new.listing.clone(), load: &loads.1 };
    let mut affected = affected::compare(before, after, &world);
    objects.finish()?;
    if !named.is_empty() {
        affected.images.retain(|image| named.contains(&image.name));
        affected.unaffected.retain(|name| named.contains(name));
        affected.removed.retain(|name| named.contains(name));
    }
    Ok(Compared { since, until, affected })
}

/// The images that the command line names; none for all.
fn named(images: &[String], before: &Fleet, after: &Fleet) -> Result<Vec<String>, Failure> {
    let mut named = Vec::new();
    for name in images {
        let mut meant = after.meant(name);
        meant.extend(before.image(name).map(|image| image.name.clone()));
        if meant.is_empty() {
            let failure = Failure::new(Kind::Usage, format!("there is no image `{name}`"));
            let known = after.images.iter().map(|image| image.name.as_str());
            return Err(match fleet::suggest(name, known) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint("`bakehouse graph` lists the images"),
            });
        }
        named.append(&mut meant);
    }
    Ok(named)
}

/// What `--build-context` says.
fn contexts(given: &[String], root: &Path) -> Result<BTreeMap<String, ContextValue>, Failure> {
    let mut contexts = BTreeMap::new();
    for text in given {
        let Some((name, what)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Failure::new(
                Kind::Usage,
                format!("--build-context `{text}` is not NAME=WHAT"),
            ));
        };
        contexts.insert(name.to_owned(), context(what, root));
    }
    Ok(contexts)
}

fn context(what: &str, root: &Path) -> ContextValue {
    if let Some(reference) = what.strip_prefix("docker-image://") {
        return ContextValue::Image(reference.to_owned());
    }
    if let Some(layout) = what.strip_prefix("oci-layout://") {
        return ContextValue::Layout(layout.to_owned());
    }
    if what.contains("://") {
        return ContextValue::Url(what.to_owned());
    }
    let own = Path::new(what).strip_prefix(root).ok().and_then(Path::to_str);
    match own {
        Some("") => ContextValue::Folder(".".to_owned()),
        Some(folder) => ContextValue::Folder(folder.to_owned()),
        // Whatever is elsewhere is the same for both versions.
        None if what.starts_with('/') => ContextValue::Url(what.to_owned()),
        None => ContextValue::Folder(what.to_owned()),
    }
}

fn report(args: &AffectedArgs, compared: &Compared, cx: &mut Context) -> Result<(), Failure> {
    if args.names {
        let names = compared.affected.images.iter().map(|image| format!("{}\n", image.name));
        return super::print(cx, &names.collect::<String>());
    }
    match args.format {
        Format::Json => super::print_json(cx, &value(compared)),
        Format::Text => super::print(cx, &text(&args.since, compared)),
    }
}

fn value(compared: &Compared) -> Value {
    let Affected { images, unaffected, removed, diagnostics } = &compared.affected;
    json!({
        "version": 1,
        "since": compared.since,
        "until": compared.until,
        "images": images,
        "unaffected": unaffected,
        "removed": removed,
        "diagnostics": diagnostics,
    })
}

fn text(since: &str, compared: &Compared) -> String {
    let Affected { images, unaffected, removed, diagnostics } = &compared.affected;
    let names =
        images.iter().map(|image| image.name.as_str()).chain(removed.iter().map(String::as_str));
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for image in images {
        let mut lines: Vec<String> = image.because.iter().take(SHOWN).map(words).collect();
        let rest = image.because.len() - lines.len();
        if rest > 0 {
            lines.push(format!("and {rest} more"));
        }
        for (at, line) in lines.iter().enumerate() {
            let name = if at == 0 { image.name.as_str() } else { "" };
            text.push_str(&format!("{name:width$}  {line}\n"));
        }
    }
    for name in removed {
        text.push_str(&format!("{name:width$}  is no more\n"));
    }
    for doubt in diagnostics.iter().filter(|doubt| is_ours(doubt)) {
        text.push_str(&format!("warning: {doubt}\n"));
    }
    let commit = compared.since.get(..10).unwrap_or(&compared.since);
    let all = images.len() + unaffected.len();
    text.push_str(&format!("{} of {all} images affected since {since} ({commit})\n", images.len()));
    text
}

/// What bears on this command; the rest is `bakehouse graph`'s to tell.
fn is_ours(doubt: &Diagnostic) -> bool {
    doubt.code == "context-outside"
}

fn words(because: &Because) -> String {
    match because {
        Because::Added { location } => format!("is new ({})", location.file),
        Because::File { path, change, instruction, location } => {
            format!("{path} {} ({})", changed(*change), at(instruction, location.as_ref()))
        }
        Because::MoreFiles { count, instruction, location } => {
            format!("{count} more files changed ({})", at(instruction, location.as_ref()))
        }
        Because::Ignore { path, seen, location, .. } => {
            let file = location.as_ref().map_or(".dockerignore", |place| place.file.as_str());
            let what = if *seen { "is seen now" } else { "is no longer seen" };
            format!("{path} {what} ({file})")
        }
        Because::Instruction { before, after, location } => match (before, after) {
            (Some(_), Some(after)) => format!("{} changed ({location})", short(after)),
            (None, Some(after)) => format!("{} is new ({location})", short(after)),
            (before, _) => {
                format!("{} is gone ({location})", short(before.as_deref().unwrap_or_default()))
            }
        },
        Because::Definition { what, before, after, location } => {
            format!("{what} changed{} ({location})", from_to(before.as_ref(), after.as_ref()))
        }
        Because::External { before, after, location } => {
            let place = location.as_ref().map_or_else(String::new, |place| format!(" ({place})"));
            format!("base changed{}{place}", from_to(before.as_ref(), after.as_ref()))
        }
        Because::Parent { image, via, location } => {
            format!("{image} is affected ({})", at(&via.to_string(), location.as_ref()))
        }
        Because::Unreadable { before, location } => {
            let when = if *before { "before" } else { "now" };
            format!("cannot be compared: it is not readable as it is {when} ({location})")
        }
    }
}

fn changed(change: FileChange) -> &'static str {
    match change {
        FileChange::Added => "is new",
        FileChange::Modified => "changed",
        FileChange::Removed => "is gone",
        FileChange::Mode => "changed its mode",
    }
}

fn from_to(before: Option<&String>, after: Option<&String>) -> String {
    let name =
        |text: Option<&String>| text.map_or("nothing".to_owned(), |text| format!("`{text}`"));
    format!(" from {} to {}", name(before), name(after))
}

fn at(instruction: &str, location: Option<&Location>) -> String {
    match location {
        Some(location) => format!("{}, {location}", short(instruction)),
        None => short(instruction),
    }
}

/// The first line, not too long.
fn short(text: &str) -> String {
    const LONGEST: usize = 60;
    let line = bakehouse_render::clean(text.lines().next().unwrap_or_default());
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST - 1).chain(['…']).collect()
}
