//! Contexts that are not here yet: Git repositories, archives behind URLs, and what comes through
//! standard input. They are brought into folders of the store, and are gone with the build.
//!
//! The command line may name one ([`bring`]), and so may bake and compose files ([`definitions`]).

pub(crate) mod definitions;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bakehouse_engine::Root;
use bakehouse_engine::files::{self, InputError, Options, Tree};
use bakehouse_engine::sandbox;
use bakehouse_model::op::{self, FileAction};
use bakehouse_plan::address::without_password;
use bakehouse_plan::gitaddress::{GitAddress, is_http};
use bakehouse_plan::lower::git_source;
use bakehouse_registry::Client;
use bakehouse_run::Cancel;
use bakehouse_store::{LayerStage, Store};

use crate::backends::client_error;
use crate::checkout::{CheckoutError, Watch, checkout};
use crate::cli::BuildArgs;
use crate::commands;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::patterns::DockerPatterns;

/// Standard input, where a file or a context is named.
const STDIN: &str = "-";

/// Folders that last as long as this.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    stages: Vec<LayerStage>,
}

/// What the command line names, once it is here: the same command line over folders.
pub(crate) fn bring(args: &BuildArgs, cx: &Context) -> Result<(BuildArgs, Brought), Failure> {
    let mut args = args.clone();
    args.place.brings = true;
    let mut brought = Brought::default();
    let main = match args.images.as_slice() {
        [only] => Source::of(only)?,
        _ => None,
    };
    let reads_file = matches!(args.place.file.as_slice(), [file] if file.as_os_str() == STDIN);
    let mut named = Vec::new();
    for (at, text) in args.place.build_context.iter().enumerate() {
        let Some((name, what)) = text.split_once('=').filter(|(_, what)| *what != STDIN) else {
            continue;
        };
        named.extend(Source::of(what)?.map(|source| (at, name.to_owned(), source)));
    }
    if main.is_none() && !reads_file && named.is_empty() {
        return Ok((args, brought));
    }
    if matches!(main, Some(Source::Stdin)) && reads_file {
        let what = "standard input cannot be the context and the Dockerfile";
        return Err(Failure::new(Kind::Usage, what).hint("give one of them as a file"));
    }
    let carrier = Carrier::new(cx)?;
    for (at, name, source) in named {
        let folder = carrier.named(&source, &mut brought)?;
        args.place.build_context[at] = format!("{name}={}", folder.display());
    }
    if reads_file {
        let folder = brought.folder(&carrier.store)?.join("stdin");
        fs::create_dir(&folder).map_err(folder_error)?;
        copy_stdin(&folder.join("Dockerfile"))?;
        args.place.file = vec![folder.join("Dockerfile")];
        args.place
            .context
            .get_or_insert_with(|| args.place.directory.clone().unwrap_or(".".into()));
    }
    if let Some(source) = main {
        args.images.clear();
        let (dockerfile, context) = carrier.main(&source, &mut brought)?;
        if !reads_file {
            let file = match (dockerfile, args.place.file.first()) {
                (Some(file), _) => file,
                (None, Some(file)) => context.join(file),
                (None, None) => context.join("Dockerfile"),
            };
            args.place.file = vec![file];
        }
        args.place.file.iter().try_for_each(|file| stays_inside(file, &context))?;
        args.place.context = Some(context);
    }
    Ok((args, brought))
}

/// Where a context comes from.
#[derive(Debug, PartialEq)]
enum Source {
    Stdin,
    Repository(Box<GitAddress>),
    Url(String),
}

impl Source {
    /// None if it is a folder, an image or a name.
    fn of(text: &str) -> Result<Option<Self>, Failure> {
        if text == STDIN {
            return Ok(Some(Self::Stdin));
        }
        match GitAddress::of_context(text) {
            Ok(Some(address)) => Ok(Some(Self::Repository(Box::new(address)))),
            Ok(None) => Ok(is_http(text).then(|| Self::Url(text.to_owned()))),
            Err(error) => {
                let text = without_password(text);
                let what = format!("the context `{text}` cannot be understood: {error}");
                Err(Failure::new(Kind::Usage, what))
            }
        }
    }
}

impl Brought {
    /// A new empty folder.
    fn folder(&mut self, store: &Store) -> Result<PathBuf, Failure> {
        let stage = store.stage_layer()?;
        let folder = stage.fs();
        self.stages.push(stage);
        Ok(folder)
    }
}

struct Carrier {
    store: Store,
    client: Client,
    /// Turned when the user wants to stop.
    cancel: Cancel,
}

impl Carrier {
    fn new(cx: &Context) -> Result<Self, Failure> {
        let store = Store::open(&cx.home())?;
        let steps = sandbox::Cancel::new()
            .map_err(|error| Failure::doing(Kind::Environment, "prepare the run", &error))?;
        // What `git` starts is told nothing by a terminal, so it must be ended by us.
        crate::signals::watch(cx.cancel.clone(), steps);
        let client = commands::client_with(&[], &store, cx);
        Ok(Self { client, store, cancel: cx.cancel.clone() })
    }

    /// The folder of a named context.
    fn named(&self, source: &Source, brought: &mut Brought) -> Result<PathBuf, Failure> {
        match source {
            Source::Repository(address) => self.repository(address, brought),
            Source::Url(url) => {
                let folder = brought.folder(&self.store)?;
                // So BuildKit calls it, whatever it is called where it comes from.
                self.download(url, &folder.join("context"))?;
                Ok(folder)
            }
            Source::Stdin => unreachable!("no named context is standard input"),
        }
    }

    /// The folder of the main context, and the Dockerfile if that is all there is.
    fn main(
        &self,
        source: &Source,
        brought: &mut Brought,
    ) -> Result<(Option<PathBuf>, PathBuf), Failure> {
        if let Source::Repository(address) = source {
            return Ok((None, self.repository(address, brought)?));
        }
        let got = brought.folder(&self.store)?;
        let packed = got.join("Dockerfile");
        match source {
            Source::Url(url) => self.download(url, &packed)?,
            _ => copy_stdin(&packed)?,
        }
        let context = brought.folder(&self.store)?.join("context");
        fs::create_dir(&context).map_err(folder_error)?;
        if unpack(&got, &context)? { Ok((None, context)) } else { Ok((Some(packed), context)) }
    }

    fn repository(&self, address: &GitAddress, brought: &mut Brought) -> Result<PathBuf, Failure> {
        let work = brought.folder(&self.store)?;
        let name = address.remote.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or("");
        let name = name.trim_end_matches(".git");
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_plain = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let name = if is_plain && name.chars().all(plain) { name } else { "repository" };
        let folder = brought.folder(&self.store)?.join(name);
        fs::create_dir(&folder).map_err(folder_error)?;
        let watch = Watch { log: &mut |_| {}, is_cancelled: &|| self.cancel.is_cancelled() };
        checkout(&git_source(address), (&work, &folder), watch).map_err(|error| {
            let kind = match &error {
                CheckoutError::Cancelled => Kind::Interrupted,
                CheckoutError::NoGit(_) | CheckoutError::Unreachable { .. } => Kind::Environment,
                _ => Kind::Input,
            };
            Failure::doing(kind, "fetch the context", &error)
        })?;
        Ok(folder)
    }

    fn download(&self, url: &str, to: &Path) -> Result<(), Failure> {
        let got = self.client.download(url, &|_, _| {}).map_err(|error| {
            let failed = client_error("download the context", error);
            Failure::doing(Kind::Environment, "fetch the context", &failed)
        })?;
        let mut blob = self.store.open_blob(&got.digest)?;
        write(&mut blob, to)
    }
}

fn copy_stdin(to: &Path) -> Result<(), Failure> {
    write(&mut io::stdin().lock(), to)
}

fn write(from: &mut dyn Read, to: &Path) -> Result<(), Failure> {
    let mut file = fs::File::create(to).map_err(folder_error)?;
    io::copy(from, &mut file).map_err(folder_error)?;
    Ok(())
}

/// Unpacks the one file in `got`; no if it is no archive.
fn unpack(got: &Path, into: &Path) -> Result<bool, Failure> {
    let open = |folder: &Path| {
        Root::open_dir(folder)
            .map_err(|error| Failure::doing(Kind::Environment, "open a folder", &error))
    };
    let copy = op::Copy { attempt_unpack: true, ..op::Copy::plain(0, "/Dockerfile", "/") };
    let file = op::File { base: None, actions: vec![FileAction::Copy(copy)] };
    let options = Options { patterns: &DockerPatterns, source_date_epoch: None };
    let (from, root) = (open(got)?, open(into)?);
    let input = |_: usize| -> Result<Tree, InputError> { Ok(Tree::mounted(from.try_clone()?)) };
    let done = files::run(&file, &root, &input, options)
        .map_err(|error| Failure::doing(Kind::Input, "unpack the context", &error))?;
    if done.archives == 0 {
        fs::remove_file(into.join("Dockerfile")).map_err(folder_error)?;
    }
    Ok(done.archives > 0)
}

/// Refuses a Dockerfile, or what it is ignored by, that is a link out of the context which
/// somebody else has made.
fn stays_inside(file: &Path, context: &Path) -> Result<(), Failure> {
    let inside = |path: &Path, root: &Path| match path.canonicalize() {
        Ok(real) => root.canonicalize().is_ok_and(|root| real.starts_with(root)),
        Err(_) => true,
    };
    let mut own = file.as_os_str().to_owned();
    own.push(".dockerignore");
    let ignore = context.join(".dockerignore");
    // A Dockerfile that the user has elsewhere is the user's own.
    let beside = file.parent().unwrap_or(file);
    let is_fine =
        |path: &Path| inside(path, if path.starts_with(context) { context } else { beside });
    match [file, Path::new(&own), &ignore].into_iter().find(|path| !is_fine(path)) {
        None => Ok(()),
        Some(path) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Err(Failure::new(Kind::Input, format!("`{name}` leads out of the context")))
        }
    }
}

fn folder_error(error: io::Error) -> Failure {
    Failure::doing(Kind::Environment, "write into a folder of the store", &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_elsewhere_is_told_from_folders_and_names() {
        let kind = |text: &str| match Source::of(text) {
            Ok(None) => "here",
            Ok(Some(Source::Stdin)) => "stdin",
            Ok(Some(Source::Repository(_))) => "repository",
            Ok(Some(Source::Url(_))) => "url",
            Err(_) => "wrong",
        };
        let cases = [
            ("app", "here"),
            ("./folder", "here"),
            ("docker-image://busybox", "here"),
            ("-", "stdin"),
            ("https://host/r.git#main:folder", "repository"),
            ("git@host:r.git", "repository"),
            ("github.com/org/r", "repository"),
            ("https://host/r.git?depth=1", "wrong"),
            ("https://host/context.tar.gz", "url"),
        ];
        for (text, expected) in cases {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn a_dockerfile_that_leads_out_of_a_context_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("real"), "").unwrap();
        std::os::unix::fs::symlink("real", path("inside")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path("outside")).unwrap();
        std::os::unix::fs::symlink("/etc", path("folder")).unwrap();
        let cases = [("real", true), ("inside", true), ("none", true), ("outside", false)];
        for (name, fine) in cases.into_iter().chain([("folder/passwd", false)]) {
            assert_eq!(stays_inside(&path(name), folder.path()).is_ok(), fine, "{name}");
        }
        let own = tempfile::tempdir().unwrap();
        fs::write(own.path().join("Dockerfile"), "").unwrap();
        assert!(stays_inside(&own.path().join("Dockerfile"), folder.path()).is_ok());
    }
}
