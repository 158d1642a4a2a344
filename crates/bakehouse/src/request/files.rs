//! The files of a repository: found, or named on the command line, and read once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bakehouse_bake::{Set, SourceFile as BakeFile};
use bakehouse_model::oci::Platform;
use bakehouse_plan::fleet::{self, Class, Fleet, SourceFile, Surroundings};
use bakehouse_plan::lower::Settings;
use bakehouse_store::Store;

use crate::cli::Where;
use crate::config::Config;
use crate::context::{Context, now_ms};
use crate::discovery::{self, Found, is_described_name};
use crate::failure::{Failure, Kind};
use crate::remote::{Brought, definitions};
use crate::sources::{self, BakeSettings, Sources, Tree};

/// What a repository says.
pub(crate) struct Read {
    /// Its images.
    pub(crate) fleet: Fleet,
    /// The text of each file, to show lines of it.
    pub(super) texts: BTreeMap<String, String>,
    /// `bakehouse.toml`.
    pub(super) config: Config,
    /// Its classes.
    pub(super) classes: Vec<Class>,
    /// Where images without a reference of their own go.
    pub(super) prefix: Option<String>,
    /// Contexts that definitions have elsewhere.
    pub(super) brought: Brought,
}

/// How a repository is read, whatever version of it.
pub(crate) struct Reading<'a> {
    /// What the command line says of the place.
    pub(crate) place: &'a Where,
    /// `--registry`.
    pub(crate) registry: Option<&'a str>,
    /// What is the same for all images.
    pub(crate) settings: &'a Settings,
    /// What bake files are told.
    pub(crate) bake: &'a BakeSettings<'a>,
    /// A variable of the environment.
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
}

/// The name of a repository's folder.
pub(crate) fn repository(root: &Path) -> String {
    root.file_name().map_or_else(|| "image".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Reads what is below `root`, or what the command line names.
pub(super) fn read(
    (place, registry, images): (&Where, Option<&str>, &[String]),
    root: &Path,
    settings: &Settings,
    cx: &Context,
) -> Result<Read, Failure> {
    let repository = repository(root);
    let exists = |path: &str| root.join(path).symlink_metadata().is_ok();
    let load = |path: &str| discovery::read(&root.join(path)).ok();
    let env = |name: &str| cx.env.get(name).cloned();
    let tree = Tree { load: &load, exists: &exists, env: &env, repository: &repository };
    let bake = bake_settings(place, cx)?;
    let reading = Reading { place, registry, settings, bake: &bake, env: &env };
    let (found, mut sources) = input(&reading, root, &tree, cx)?;
    let brought = if place.brings {
        definitions::bring(&mut sources.described, (images, !place.file.is_empty()), cx)?
    } else {
        Brought::default()
    };
    let mut read = fleet_of(found.files, sources, &tree, &reading);
    read.brought = brought;
    read.fleet.skip(found.skipped);
    read.fleet.tell(found.diagnostics);
    Ok(read)
}

/// The fleet of these Dockerfiles, and of what else is said of them.
pub(crate) fn fleet_of(
    mut files: Vec<SourceFile>,
    sources: Sources,
    tree: &Tree<'_>,
    reading: &Reading<'_>,
) -> Read {
    let Sources { described, config, mut texts, skipped, diagnostics } = sources;
    let excluded = config.excluded();
    files.retain(|file| !excluded.matches_or_parent_matches(&file.path));
    let configured = config.registry.as_ref().map(|it| it.value.as_str().to_owned());
    let prefix = reading.registry.map(str::to_owned).or(configured);
    let classes = described.policy.classes.clone();
    let given = |text: &String| text.split('=').next().unwrap_or_default().to_owned();
    let contexts: Vec<String> = reading.place.build_context.iter().map(given).collect();
    let loaded = RefCell::new(BTreeMap::new());
    let load = |path: &str| {
        let text = (tree.load)(path)?;
        let shown = String::from_utf8_lossy(&text).into_owned();
        loaded.borrow_mut().insert(path.to_owned(), shown);
        Some(text)
    };
    let around = Surroundings {
        repository: tree.repository,
        exists: tree.exists,
        load: &load,
        settings: reading.settings,
        target: reading.place.target.as_deref(),
        prefix: prefix.as_deref(),
        contexts: &contexts,
    };
    let mut fleet = fleet::read(&files, described, &around);
    texts.append(&mut loaded.borrow_mut());
    fleet.skip(skipped);
    fleet.tell(diagnostics);
    texts.extend(
        files.into_iter().map(|file| (file.path, String::from_utf8_lossy(&file.text).into_owned())),
    );
    Read { fleet, texts, config, classes, prefix, brought: Brought::default() }
}

/// The one Dockerfile that the command line names.
pub fn dockerfile(place: &Where) -> Option<&Path> {
    match place.file.as_slice() {
        [file] if !is_definition(file) => Some(file),
        _ => None,
    }
}

fn is_definition(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    is_described_name(name)
        || ["hcl", "json", "yaml", "yml"]
            .iter()
            .any(|ending| Path::new(name).extension().is_some_and(|own| own == *ending))
}

fn is_compose(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

fn input(
    reading: &Reading<'_>,
    root: &Path,
    tree: &Tree<'_>,
    cx: &Context,
) -> Result<(Found, Sources), Failure> {
    let place = reading.place;
    if let Some(file) = dockerfile(place) {
        return Ok((named_dockerfile(file, cx)?, Sources::default()));
    }
    if place.context.is_some() {
        return Err(Failure::new(Kind::Usage, "--context needs --file with a Dockerfile"));
    }
    if !place.file.is_empty() {
        let named = named_definitions(place, root, cx)?;
        return Ok((Found::default(), sources::read_named(&named, tree, reading.bake)));
    }
    // A store that is not there, or cannot be used, only remembers nothing.
    let home = cx.home();
    let store = if home.is_dir() { Store::open(&home).ok() } else { None };
    let found = discovery::find(root, store.as_ref());
    let nothing = found.files.is_empty() && found.described.is_empty();
    if nothing && !found.diagnostics.is_empty() {
        return Err(Failure::input(found.diagnostics));
    }
    if nothing {
        return Err(Failure::new(
            Kind::Input,
            format!("there is no Dockerfile in `{}` or below it", root.display()),
        )
        .hint("name one with `-f FILE --context DIR`, or go to the repository's folder"));
    }
    let sources = sources::read(&found.described, tree, reading.bake);
    Ok((found, sources))
}

fn named_dockerfile(file: &Path, cx: &Context) -> Result<Found, Failure> {
    let text = discovery::read(&cx.cwd.join(file)).map_err(|why| unreadable(file, &why))?;
    let shown = file.to_string_lossy().into_owned();
    let file = SourceFile { path: shown, text, context: Some(".".to_owned()) };
    Ok(Found { files: vec![file], ..Found::default() })
}

fn unreadable(file: &Path, why: &str) -> Failure {
    Failure::new(Kind::Input, format!("`{}` cannot be read: {why}", file.display()))
        .hint("-f names a Dockerfile, a bake file or a compose file, from the current folder")
}

/// The bake and compose files of the command line, from `root`.
fn named_definitions(place: &Where, root: &Path, cx: &Context) -> Result<Vec<String>, Failure> {
    if let Some(other) = place.file.iter().find(|file| !is_definition(file)) {
        let what = format!("`{}` is neither a bake file nor a compose file", other.display());
        return Err(Failure::new(Kind::Usage, what)
            .hint("several -f are read one after the other; one Dockerfile is built alone"));
    }
    let from_root = |file: &PathBuf| {
        let path = cx.cwd.join(file);
        let path = path.canonicalize().map_err(|error| unreadable(file, &error.to_string()))?;
        discovery::read(&path).map_err(|why| unreadable(file, &why))?;
        let inside = path.strip_prefix(root).unwrap_or(&path);
        Ok(inside.to_string_lossy().into_owned())
    };
    place.file.iter().map(from_root).collect()
}

/// What bake files are told of this machine and of the command line.
pub fn bake_settings<'a>(place: &Where, cx: &'a Context) -> Result<BakeSettings<'a>, Failure> {
    let env = |name: &str| cx.env.get(name).cloned();
    let sets = place.set.iter().map(|text| Set::parse(text, &env));
    let sets: Result<Vec<Set>, _> = sets.collect();
    let sets = sets.map_err(|diagnostic| {
        let failure = Failure::new(Kind::Usage, diagnostic.message);
        match diagnostic.help {
            Some(help) => failure.hint(help),
            None => failure,
        }
    })?;
    Ok(BakeSettings {
        sets,
        local_platform: Platform::host().to_string(),
        now: i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX),
        home: cx.var("HOME").unwrap_or("/root"),
    })
}

/// The bake files that bake itself would read here: those of the command line, else the usual
/// ones of the folder.
pub fn bake_files(place: &Where, cx: &Context) -> Result<Vec<BakeFile>, Failure> {
    let folder = place.directory.as_ref().map_or_else(|| cx.cwd.clone(), |d| cx.cwd.join(d));
    let usual = sources::USUAL_BAKE.iter().map(PathBuf::from);
    let named = !place.file.is_empty();
    let paths: Vec<PathBuf> = if named { place.file.clone() } else { usual.collect() };
    if let Some(other) = paths.iter().find(|path| is_compose(path)) {
        let what =
            format!("`{}` is a compose file, and --print prints bake files", other.display());
        return Err(
            Failure::new(Kind::Usage, what).hint("`bakehouse graph --format json` shows it")
        );
    }
    let mut files = Vec::new();
    for path in paths {
        match discovery::read(&folder.join(&path)) {
            Ok(text) => files.push(BakeFile { path: path.to_string_lossy().into_owned(), text }),
            Err(why) if named => return Err(unreadable(&path, &why)),
            Err(_) => {}
        }
    }
    if files.is_empty() {
        let what = format!("there is no bake file in `{}`", folder.display());
        return Err(Failure::new(Kind::Input, what).hint("name one with -f"));
    }
    Ok(files)
}
