//! What a command line means: every default settled, every file of the repository read.
//!
//! The only step of a command that looks at flags, the environment and input files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bakehouse_model::oci::Platform;
use bakehouse_model::op::{ContextSource, Network, Ulimit};
use bakehouse_model::{Diagnostic, Location, Severity};
use bakehouse_plan::dockerfile::ignore;
use bakehouse_plan::fleet::{self, Described, Fleet, Image, SourceFile, Surroundings};
use bakehouse_plan::lower::{NoCache, Settings};
use bakehouse_registry::Mirror;

use crate::cli::{Shape, Where};
use crate::context::Context;
use crate::discovery;
use crate::failure::{Failure, Kind};

/// A repository, read, and what is to be done with it.
#[derive(Debug)]
pub struct Request {
    /// Its folder.
    pub root: PathBuf,
    /// Its images.
    pub fleet: Fleet,
    /// Which of them are wanted, with what they stand on.
    pub wanted: BTreeSet<String>,
    /// Those that were named, or all.
    pub named: BTreeSet<String>,
    /// What is the same for all of them.
    pub settings: Settings,
    /// The platforms to build for; that of the bases if there are none.
    pub platforms: Vec<Platform>,
    /// The context of each, by name.
    pub contexts: BTreeMap<String, ContextSource>,
    /// What `--build-context` maps names to.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// Where images without a reference of their own go.
    pub prefix: Option<String>,
    /// Mirrors of registries.
    pub mirrors: Vec<Mirror>,
    /// Whether to ask registries again what tags point at.
    pub pull: bool,
    /// Steps that run at once.
    pub jobs: usize,
    /// The texts of the Dockerfiles, to show lines of them.
    pub texts: BTreeMap<String, String>,
}

/// What a name given to `--build-context` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A folder.
    Folder(ContextSource),
    /// An image in a registry.
    Image(String),
    /// An image in an OCI layout, a folder or a tar, and its name or digest there.
    Layout(PathBuf, Option<String>),
    /// A tar of a root file system.
    RootfsTar(PathBuf),
}

impl Request {
    /// Reads what `place` and `shape` ask for; `images` are the names that were given.
    pub fn read(
        place: &Where,
        shape: &Shape,
        images: &[String],
        cx: &Context,
    ) -> Result<Self, Failure> {
        let root = root(place, cx)?;
        let settings = settings(place, shape, cx)?;
        let found = sources(place, &root, cx)?;
        let prefix = prefix(place)?;
        let fleet = read_fleet(&found, &root, &settings, (place, prefix.as_deref()));
        let texts = found
            .files
            .iter()
            .map(|file| (file.path.clone(), String::from_utf8_lossy(&file.text).into_owned()));
        let texts = texts.collect();
        let mut request = Self {
            contexts: contexts(&fleet, &root, place, cx)?,
            named_contexts: named_contexts(place, &root)?,
            root,
            wanted: BTreeSet::new(),
            named: BTreeSet::new(),
            settings,
            prefix,
            platforms: platforms(place)?,
            mirrors: mirrors(place)?,
            pull: place.pull,
            jobs: shape.jobs.unwrap_or_else(processors).max(1),
            texts,
            fleet,
        };
        request.fleet.diagnostics.extend(found.diagnostics);
        request.refuse_nothing()?;
        request.choose(images)?;
        Ok(request)
    }

    fn choose(&mut self, images: &[String]) -> Result<(), Failure> {
        let known = || self.fleet.images.iter().map(|image| image.name.as_str());
        for name in images {
            if self.fleet.image(name).is_none() {
                let failure = Failure::new(Kind::Usage, format!("there is no image `{name}`"));
                return Err(match fleet::suggest(name, known()) {
                    Some(near) => failure.hint(format!("did you mean `{near}`?")),
                    None => failure.hint("`bakehouse graph` lists the images"),
                });
            }
        }
        self.named = match images {
            [] => known().map(str::to_owned).collect(),
            named => named.iter().cloned().collect(),
        };
        self.wanted = self.fleet.with_needs(&self.named);
        Ok(())
    }

    /// A repository of which nothing can be built is a mistake.
    fn refuse_nothing(&self) -> Result<(), Failure> {
        if !self.fleet.images.is_empty() || self.fleet.has_errors() {
            return Ok(());
        }
        let reasons = self.fleet.skipped.iter().map(|skipped| Diagnostic {
            location: Some(Location::file(skipped.path.clone())),
            severity: Severity::Error,
            code: "skipped".to_owned(),
            message: skipped.reason.clone(),
            help: None,
        });
        Err(Failure::input(reasons.collect()))
    }

    /// The text of an input file, to show lines of it.
    pub fn text(&self, file: &str) -> Option<String> {
        self.texts.get(file).cloned()
    }

    /// Nothing goes on if an input file is wrong.
    pub fn refuse_errors(&self) -> Result<(), Failure> {
        if self.fleet.has_errors() {
            return Err(Failure::input(self.fleet.diagnostics.clone()));
        }
        Ok(())
    }
}

/// The folder that `place` names.
pub(crate) fn root(place: &Where, cx: &Context) -> Result<PathBuf, Failure> {
    let root = match &place.directory {
        Some(directory) => cx.cwd.join(directory),
        None => cx.cwd.clone(),
    };
    root.canonicalize().map_err(|error| {
        Failure::doing(Kind::Usage, format_args!("look into `{}`", root.display()), &error)
    })
}

/// The number of processors.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get)
}

fn sources(place: &Where, root: &Path, cx: &Context) -> Result<discovery::Found, Failure> {
    let Some(file) = &place.file else {
        if place.context.is_some() {
            return Err(Failure::new(Kind::Usage, "--context needs --file"));
        }
        let found = discovery::find(root);
        if found.files.is_empty() && !found.diagnostics.is_empty() {
            return Err(Failure::input(found.diagnostics));
        }
        if found.files.is_empty() {
            return Err(Failure::new(
                Kind::Input,
                format!("there is no Dockerfile in `{}` or below it", root.display()),
            )
            .hint("name one with `-f FILE --context DIR`, or go to the repository's folder"));
        }
        return Ok(found);
    };
    let path = cx.cwd.join(file);
    let text = discovery::read(&path).map_err(|why| {
        Failure::new(Kind::Input, format!("`{}` cannot be read: {why}", file.display()))
            .hint("-f names the Dockerfile, from the current folder")
    })?;
    let shown = file.to_string_lossy().into_owned();
    let file = SourceFile { path: shown, text, context: Some(".".to_owned()) };
    Ok(discovery::Found { files: vec![file], diagnostics: Vec::new() })
}

fn read_fleet(
    found: &discovery::Found,
    root: &Path,
    settings: &Settings,
    (place, prefix): (&Where, Option<&str>),
) -> Fleet {
    let repository = repository(root);
    let exists = |path: &str| root.join(path).symlink_metadata().is_ok();
    let load = |path: &str| discovery::read(&root.join(path)).ok();
    let door = Door { repository: &repository, exists: &exists, load: &load };
    fleet_of(&found.files, &door, settings, (place, prefix))
}

/// The name of a repository's folder.
pub(crate) fn repository(root: &Path) -> String {
    root.file_name().map_or_else(|| "image".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// How files other than Dockerfiles are looked at: in a folder, or in a version of it.
pub(crate) struct Door<'a> {
    /// The name of the repository's folder.
    pub(crate) repository: &'a str,
    /// Whether a path, from the repository's root, is there.
    pub(crate) exists: &'a dyn Fn(&str) -> bool,
    /// The content of a file, by its path from the root.
    pub(crate) load: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

/// The fleet of these Dockerfiles, and of what else is said of them.
pub(crate) fn fleet_of(
    files: &[SourceFile],
    door: &Door<'_>,
    settings: &Settings,
    (place, prefix): (&Where, Option<&str>),
) -> Fleet {
    let given = |text: &String| text.split('=').next().unwrap_or_default().to_owned();
    let contexts: Vec<String> = place.build_context.iter().map(given).collect();
    let around = Surroundings {
        repository: door.repository,
        exists: door.exists,
        load: door.load,
        settings,
        target: place.target.as_deref(),
        prefix,
        contexts: &contexts,
    };
    fleet::read(files, Described::default(), &around)
}

fn contexts(
    fleet: &Fleet,
    root: &Path,
    place: &Where,
    cx: &Context,
) -> Result<BTreeMap<String, ContextSource>, Failure> {
    let mut contexts = BTreeMap::new();
    for image in &fleet.images {
        let folder = match (&place.file, &place.context) {
            (Some(_), Some(context)) => cx.cwd.join(context),
            (Some(file), None) => parent(&cx.cwd.join(file)),
            (None, _) => root.join(image.folder().unwrap_or(".")),
        };
        let dockerfile =
            if place.file.is_some() { cx.cwd.join(&image.file) } else { root.join(&image.file) };
        contexts.insert(image.name.clone(), context(&folder, &dockerfile, image)?);
    }
    Ok(contexts)
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
}

fn context(folder: &Path, dockerfile: &Path, image: &Image) -> Result<ContextSource, Failure> {
    let root = folder.canonicalize().map_err(|error| {
        Failure::doing(
            Kind::Input,
            format_args!("read the context `{}` of `{}`", folder.display(), image.file),
            &error,
        )
        .hint("--context names the folder that the Dockerfile may copy from")
    })?;
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    let ignore = match ignore_patterns(Path::new(&own))? {
        Some(patterns) => patterns,
        None => ignore_patterns(&root.join(".dockerignore"))?.unwrap_or_default(),
    };
    source("context", &root, ignore)
}

fn source(name: &str, root: &Path, ignore: Vec<String>) -> Result<ContextSource, Failure> {
    let Some(text) = root.to_str() else {
        return Err(Failure::new(
            Kind::Input,
            format!("the path of the context `{}` is not UTF-8", root.display()),
        ));
    };
    Ok(ContextSource { name: name.to_owned(), root: text.to_owned(), ignore })
}

/// The patterns of an ignore file; none if there is no such file.
fn ignore_patterns(path: &Path) -> Result<Option<Vec<String>>, Failure> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::doing(
                Kind::Input,
                format_args!("read `{}`", path.display()),
                &error,
            ));
        }
    };
    let patterns = ignore::read_patterns(&bytes);
    if let Err(error) = ignore::Matcher::new(&patterns) {
        return Err(Failure::input(vec![Diagnostic {
            location: None,
            severity: Severity::Error,
            code: "bad-ignore-pattern".to_owned(),
            message: format!("`{}`: {error}", path.display()),
            help: None,
        }]));
    }
    Ok(Some(patterns))
}

pub(crate) fn prefix(place: &Where) -> Result<Option<String>, Failure> {
    let Some(prefix) = &place.registry else { return Ok(None) };
    let prefix = prefix.trim_end_matches('/');
    let probe = format!("{prefix}/image");
    match probe.parse::<bakehouse_model::oci::Reference>() {
        Ok(_) => Ok(Some(prefix.to_owned())),
        Err(error) => Err(Failure::from_error(Kind::Usage, &error)
            .hint("--registry takes a host and a path, such as `registry.example:5000/team`")),
    }
}

fn mirrors(place: &Where) -> Result<Vec<Mirror>, Failure> {
    let parse = |text: &String| match text.split_once('=') {
        Some((registry, url)) if !registry.is_empty() && url.contains("://") => {
            Ok(Mirror { registry: registry.to_owned(), url: url.to_owned() })
        }
        _ => Err(Failure::new(Kind::Usage, format!("--registry-mirror `{text}` is not HOST=URL"))
            .hint("such as `docker.io=http://127.0.0.1:5000`")),
    };
    place.registry_mirror.iter().map(parse).collect()
}

fn named_contexts(place: &Where, root: &Path) -> Result<BTreeMap<String, NamedContext>, Failure> {
    let mut contexts = BTreeMap::new();
    for text in &place.build_context {
        let Some((name, what)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Failure::new(
                Kind::Usage,
                format!("--build-context `{text}` is not NAME=WHAT"),
            ));
        };
        contexts.insert(name.to_owned(), named_context(name, what, root)?);
    }
    Ok(contexts)
}

fn named_context(name: &str, what: &str, root: &Path) -> Result<NamedContext, Failure> {
    if let Some(reference) = what.strip_prefix("docker-image://") {
        return Ok(NamedContext::Image(reference.to_owned()));
    }
    if let Some(layout) = what.strip_prefix("oci-layout://") {
        let (path, tag) = split_layout(layout);
        return Ok(NamedContext::Layout(root.join(path), tag.map(str::to_owned)));
    }
    if let Some(file) = what.strip_prefix("rootfs-tar://") {
        return Ok(NamedContext::RootfsTar(root.join(file)));
    }
    if let Some((scheme, _)) = what.split_once("://") {
        return Err(Failure::new(
            Kind::Usage,
            format!("--build-context `{name}`: `{scheme}://` is not supported"),
        )
        .hint("a folder, docker-image://, oci-layout:// and rootfs-tar:// are"));
    }
    let folder = root.join(what);
    let folder = folder.canonicalize().map_err(|error| {
        Failure::doing(Kind::Input, format_args!("read the context `{name}` at `{what}`"), &error)
    })?;
    let ignore = ignore_patterns(&folder.join(".dockerignore"))?.unwrap_or_default();
    Ok(NamedContext::Folder(source(name, &folder, ignore)?))
}

/// `path[:tag]` or `path@digest`; a colon within the path's last part begins the tag.
fn split_layout(text: &str) -> (&str, Option<&str>) {
    if let Some((path, digest)) = text.split_once('@') {
        return (path, Some(digest));
    }
    let after = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[after..].find(':') {
        Some(colon) => (&text[..after + colon], Some(&text[after + colon + 1..])),
        None => (text, None),
    }
}

pub(crate) fn settings(place: &Where, shape: &Shape, cx: &Context) -> Result<Settings, Failure> {
    let mut settings = Settings::new(Platform::host());
    for text in &place.build_arg {
        match text.split_once('=') {
            Some((name, value)) => {
                settings.build_args.insert(name.to_owned(), value.to_owned());
            }
            None => {
                let value = cx.env.get(text).cloned();
                settings.build_args.extend(value.map(|value| (text.clone(), value)));
            }
        }
    }
    // As buildx does: the variable alone is enough for a repeatable build.
    if let Some(epoch) = cx.var("SOURCE_DATE_EPOCH") {
        settings.build_args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert(epoch.to_owned());
    }
    settings.platform = platforms(place)?.into_iter().next();
    for text in &shape.label {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        settings.labels.insert(name.to_owned(), value.to_owned());
    }
    for text in &shape.add_host {
        settings.extra_hosts.push(host(text)?);
    }
    settings.network = network(shape.network.as_deref())?;
    settings.shm_size = shape.shm_size.as_deref().map(size).transpose()?;
    for text in &shape.ulimit {
        settings.ulimits.push(ulimit(text)?);
    }
    settings.no_cache = match (shape.no_cache, shape.no_cache_filter.is_empty()) {
        (true, _) => NoCache::Everything,
        (false, true) => NoCache::Nothing,
        (false, false) => NoCache::Stages(shape.no_cache_filter.clone()),
    };
    for entitlement in &shape.allow {
        match entitlement.as_str() {
            "security.insecure" => settings.allow_insecure = true,
            "network.host" => settings.allow_host_network = true,
            other => {
                return Err(Failure::new(Kind::Usage, format!("--allow `{other}` is not known"))
                    .hint("security.insecure and network.host are"));
            }
        }
    }
    Ok(settings)
}

/// `--platform`, each once.
pub(crate) fn platforms(place: &Where) -> Result<Vec<Platform>, Failure> {
    let mut platforms = Vec::new();
    for text in place.platform.iter().flat_map(|list| list.split(',')) {
        let platform: Platform =
            text.trim().parse().map_err(|error| Failure::from_error(Kind::Usage, &error))?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

fn host(text: &str) -> Result<(String, String), Failure> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let (host, address) = split.unwrap_or((text, ""));
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_err() || host.is_empty() {
        return Err(Failure::new(Kind::Usage, format!("--add-host `{text}` is not HOST:IP")));
    }
    Ok((host.to_owned(), bare.to_owned()))
}

fn network(text: Option<&str>) -> Result<Network, Failure> {
    match text {
        None | Some("default" | "bridge") => Ok(Network::Default),
        Some("host") => Ok(Network::Host),
        Some("none") => Ok(Network::None),
        Some(other) => Err(Failure::new(Kind::Usage, format!("--network `{other}` is not known"))
            .hint("default, host and none are")),
    }
}

/// `64m`, `1g`, `4096`.
pub(crate) fn size(text: &str) -> Result<u64, Failure> {
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower.trim_end_matches('b').trim_end_matches('i');
    let (digits, shift) = match bare.char_indices().next_back() {
        Some((at, 'k')) => (&bare[..at], 10),
        Some((at, 'm')) => (&bare[..at], 20),
        Some((at, 'g')) => (&bare[..at], 30),
        Some((at, 't')) => (&bare[..at], 40),
        _ => (bare, 0),
    };
    let number = digits.trim().parse::<u64>().ok().and_then(|n| n.checked_mul(1_u64 << shift));
    number.ok_or_else(|| {
        Failure::new(Kind::Usage, format!("`{text}` is not a size")).hint("such as 64m or 1g")
    })
}

fn ulimit(text: &str) -> Result<Ulimit, Failure> {
    const NAMES: &[&str] = &[
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let wrong = || {
        Failure::new(Kind::Usage, format!("--ulimit `{text}` is not NAME=SOFT[:HARD]"))
            .hint(format!("the names are {}", NAMES.join(", ")))
    };
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        text => text.parse::<i64>().map_err(|_| wrong()),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if !NAMES.contains(&name) || (hard != -1 && (soft == -1 || soft > hard)) {
        return Err(wrong());
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_limits_and_hosts_are_read_as_docker_reads_them() {
        for (text, expected) in [("64m", 64 << 20), ("1g", 1 << 30), ("4096", 4096), ("2KiB", 2048)]
        {
            assert_eq!(size(text).unwrap(), expected, "{text}");
        }
        size("many").unwrap_err();
        let limit = ulimit("nofile=1024:-1").unwrap();
        assert_eq!((limit.soft, limit.hard), (1024, -1));
        for text in ["nofile", "x=1", "nofile=5:4"] {
            ulimit(text).unwrap_err();
        }
        assert_eq!(host("a:::1").unwrap(), ("a".to_owned(), "::1".to_owned()));
        host("a:b").unwrap_err();
    }

    #[test]
    fn a_layout_has_a_path_and_maybe_a_name() {
        let cases = [
            ("dir", ("dir", None)),
            ("/a/b:tag", ("/a/b", Some("tag"))),
            ("/a:b/c", ("/a:b/c", None)),
            ("x@sha256:1", ("x", Some("sha256:1"))),
        ];
        for (text, expected) in cases {
            assert_eq!(split_layout(text), expected);
        }
    }
}
