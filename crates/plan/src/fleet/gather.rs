//! Dockerfiles and definitions, put together: one image that several describe is one image.
//!
//! The first definition of an image counts; what later ones say differently is a diagnostic
//! that names both places. Two definitions describe one image if
//! - they publish it under the same reference, or
//! - they build the same Dockerfile under the same name, or
//! - they build the same Dockerfile in the same way, in different files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bakehouse_model::oci::{Platform, Reference};
use bakehouse_model::{Diagnostic, Location, Severity};

use super::{
    ContextValue, Definition, DockerfileAt, Image, Options, Skipped, SourceFile, SourceKind,
    Surroundings, names,
};
use crate::address::without_password;
use crate::dockerfile::mount::{self, MountType};
use crate::dockerfile::{self, Dockerfile, InstructionKind, is_own_front_end};
use crate::lower::option::WrongOption;

/// Folders whose Dockerfiles are input of somebody's tests.
const FIXTURES: &[&str] = &["testdata", "test-data", "fixtures", "__fixtures__", "test-fixtures"];

/// Endings of files that something else makes a Dockerfile of.
const TEMPLATES: &[&str] = &["template", "tmpl", "tpl", "j2", "jinja", "jinja2", "erb", "in"];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) images: Vec<Image>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Reads Dockerfiles and merges what is said of them.
pub(super) fn gather(
    files: &[SourceFile],
    definitions: Vec<Definition>,
    around: &Surroundings<'_>,
) -> Gathered {
    let mut gather = Gather::new(files, around);
    for definition in definitions {
        gather.definition(definition);
    }
    for file in files {
        if !gather.by_file.contains_key(&file.path) {
            gather.plain(file);
        }
    }
    gather.found.skipped.sort();
    gather.found.skipped.dedup();
    gather.found
}

/// A Dockerfile, once read.
#[derive(Debug, Clone)]
enum Read {
    Good(Arc<Dockerfile>),
    /// It has mistakes, which are reported.
    Broken,
    /// It is left out, and why.
    Skipped(String),
    Missing,
}

struct Gather<'a> {
    around: &'a Surroundings<'a>,
    files: BTreeMap<&'a str, &'a SourceFile>,
    read: BTreeMap<String, Read>,
    by_file: BTreeMap<String, Vec<usize>>,
    by_reference: BTreeMap<String, usize>,
    found: Gathered,
}

impl<'a> Gather<'a> {
    fn new(files: &'a [SourceFile], around: &'a Surroundings<'a>) -> Self {
        Self {
            around,
            files: files.iter().map(|file| (file.path.as_str(), file)).collect(),
            read: BTreeMap::new(),
            by_file: BTreeMap::new(),
            by_reference: BTreeMap::new(),
            found: Gathered::default(),
        }
    }

    /// An image that only its Dockerfile describes.
    fn plain(&mut self, file: &SourceFile) {
        if let Some(reason) = by_place(&file.path) {
            self.found.skipped.push(Skipped { path: file.path.clone(), reason });
            return;
        }
        let dockerfile = match self.dockerfile(&file.path) {
            Read::Good(dockerfile) => dockerfile,
            Read::Skipped(reason) => {
                self.found.skipped.push(Skipped { path: file.path.clone(), reason });
                return;
            }
            Read::Broken | Read::Missing => return,
        };
        let context = match &file.context {
            Some(context) => context.clone(),
            None => infer_context(&file.path, &dockerfile, self.around),
        };
        let mut definition = Definition::new(
            SourceKind::Dockerfile,
            "",
            &names::of_file(&file.path, self.around.repository),
            Location::file(file.path.clone()),
        );
        definition.context = ContextValue::Folder(context);
        definition.target = self.around.target.map(str::to_owned);
        self.add(definition, file.path.clone(), dockerfile);
    }

    /// An image that a bake file, a compose file or `bakehouse.toml` describes.
    fn definition(&mut self, definition: Definition) {
        let (file, read) = match &definition.dockerfile {
            DockerfileAt::Path(path) => (path.clone(), self.dockerfile(path)),
            DockerfileAt::Inline(text) => {
                let file = format!("{}#{}", definition.location.file, definition.name);
                let read = self.parse(text.as_bytes(), &file);
                (file, read)
            }
        };
        let dockerfile = match read {
            Read::Good(dockerfile) => dockerfile,
            Read::Broken => return,
            Read::Skipped(reason) => {
                self.found.skipped.push(Skipped { path: file, reason });
                return;
            }
            Read::Missing => {
                let elsewhere = remote_context(&definition);
                let told = elsewhere.unwrap_or_else(|| missing(&definition, &file));
                self.found.diagnostics.push(told);
                return;
            }
        };
        if let Some(at) = self.same(&definition, &file) {
            self.absorb(at, definition, &file);
        } else {
            self.add(definition, file, dockerfile);
        }
    }

    fn dockerfile(&mut self, path: &str) -> Read {
        if let Some(read) = self.read.get(path) {
            return read.clone();
        }
        let read = match self.files.get(path) {
            Some(file) => self.parse(&file.text, path),
            None => match (self.around.load)(path) {
                Some(text) => self.parse(&text, path),
                None => Read::Missing,
            },
        };
        self.read.insert(path.to_owned(), read.clone());
        read
    }

    fn parse(&mut self, text: &[u8], file: &str) -> Read {
        let parsed = dockerfile::parse(text, file);
        let broken = parsed.has_errors();
        if let Some(reason) = template(text, broken) {
            return Read::Skipped(reason);
        }
        self.found.diagnostics.extend(parsed.diagnostics);
        if let Some(reason) = foreign_front_end(&parsed.dockerfile) {
            return Read::Skipped(reason);
        }
        if broken { Read::Broken } else { Read::Good(Arc::new(parsed.dockerfile)) }
    }

    /// The image that this definition describes once more.
    fn same(&self, definition: &Definition, file: &str) -> Option<usize> {
        let published = definition.references.iter().filter_map(|text| normal(text));
        for at in published.filter_map(|reference| self.by_reference.get(&reference)) {
            let own = self.is_own_project(*at, definition);
            let one = definition.kind == SourceKind::Compose && self.builds_alike(*at, definition);
            if !own || one {
                return Some(*at);
            }
        }
        let on_file = self.by_file.get(file)?;
        let named = |at: &&usize| self.found.images[**at].aliases.contains(&definition.name);
        let elsewhere = |at: &&usize| !self.is_own_project(**at, definition);
        if let Some(at) = on_file.iter().filter(elsewhere).find(named) {
            return Some(*at);
        }
        let alike = |at: &&usize| {
            let image = &self.found.images[**at];
            // Targets of one bake file are images of their own, whatever they build. Services
            // of one compose file are one image if nobody gives them names of their own.
            let may = match (definition.kind, self.is_own_project(**at, definition)) {
                (_, false) => true,
                (SourceKind::Compose, true) => {
                    definition.references.is_empty() || image.references.is_empty()
                }
                (_, true) => false,
            };
            may && self.builds_alike(**at, definition)
        };
        let mut alike = on_file.iter().filter(alike);
        let only = alike.next();
        if alike.next().is_some() { None } else { only.copied() }
    }

    fn is_own_project(&self, at: usize, definition: &Definition) -> bool {
        let image = &self.found.images[at];
        image.project == definition.project && image.kind() == definition.kind
    }

    fn builds_alike(&self, at: usize, definition: &Definition) -> bool {
        differences(&self.found.images[at], definition).is_empty()
    }

    fn add(&mut self, definition: Definition, file: String, dockerfile: Arc<Dockerfile>) {
        let at = self.found.images.len();
        for reference in definition.references.iter().filter_map(|text| normal(text)) {
            match self.by_reference.get(&reference) {
                None => {
                    self.by_reference.insert(reference, at);
                }
                Some(other) => {
                    let other = self.found.images[*other].location();
                    self.found.diagnostics.push(published_twice(&definition, &reference, &other));
                }
            }
        }
        self.by_file.entry(file.clone()).or_default().push(at);
        let platforms = self.platforms(&definition);
        let unbuildable = remote_context(&definition);
        let mistakes = definition.options.mistakes();
        self.found.diagnostics.extend(mistakes.iter().map(|wrong| bad_option(&definition, wrong)));
        self.found.images.push(Image {
            name: definition.name.clone(),
            aliases: BTreeSet::from([definition.name.clone()]),
            tags: definition.references.len(),
            sources: vec![definition.source()],
            references: definition.references,
            file,
            context: definition.context,
            target: self.around.target.map(str::to_owned).or(definition.target),
            args: definition.args,
            contexts: definition.contexts,
            platforms,
            options: definition.options,
            project: definition.project,
            groups: definition.groups.into_iter().collect(),
            class: None,
            family: None,
            dockerfile,
            needs: Vec::new(),
            external: Vec::new(),
            level: 0,
            unbuildable,
        });
    }

    fn platforms(&mut self, definition: &Definition) -> Vec<Platform> {
        let mut platforms = Vec::new();
        for text in &definition.platforms {
            match text.parse::<Platform>() {
                Ok(platform) if !platforms.contains(&platform) => platforms.push(platform),
                Ok(_) => {}
                Err(error) => self.found.diagnostics.push(Diagnostic {
                    location: Some(definition.location.clone()),
                    severity: Severity::Error,
                    code: "bad-platform".to_owned(),
                    message: format!("platform `{text}` of `{}`: {error}", definition.name),
                    help: Some("write it as OS/ARCH, such as `linux/arm64`".to_owned()),
                }),
            }
        }
        platforms
    }

    /// Takes over what a further definition of an image adds, and reports what it contradicts.
    fn absorb(&mut self, at: usize, definition: Definition, file: &str) {
        for reference in definition.references.iter().filter_map(|text| normal(text)) {
            self.by_reference.entry(reference).or_insert(at);
        }
        let image = &mut self.found.images[at];
        let mut different = differences(image, &definition);
        if image.file != file {
            let place = format!("Dockerfile is `{file}` and not `{}`", image.file);
            different.insert(0, place);
        }
        if !different.is_empty() {
            let usual = definition.usual;
            let diagnostic = conflict(image, &definition, &different, usual);
            self.found.diagnostics.push(diagnostic);
        }
        image.aliases.insert(definition.name.clone());
        image.sources.push(definition.source());
        image.groups.extend(definition.groups);
        let first = image.references.is_empty();
        for reference in definition.references {
            if !image.references.contains(&reference) {
                image.references.push(reference);
            }
        }
        if first {
            image.tags = image.references.len();
        }
        fill(&mut image.options, definition.options);
    }
}

/// Takes over what changes no result where the first definition says nothing.
fn fill(options: &mut Options, more: Options) {
    if options.secrets.is_empty() {
        options.secrets = more.secrets;
    }
    if options.ssh.is_empty() {
        options.ssh = more.ssh;
    }
    if options.cache_from.is_empty() {
        options.cache_from = more.cache_from;
    }
}

/// How a definition builds its image in another way than it is built.
fn differences(image: &Image, definition: &Definition) -> Vec<String> {
    let mut different = Vec::new();
    if image.target != definition.target {
        let name = |target: &Option<String>| {
            target.as_deref().map_or("the last stage".to_owned(), |target| format!("`{target}`"))
        };
        let (here, there) = (name(&definition.target), name(&image.target));
        different.push(format!("stage is {here} and not {there}"));
    }
    if image.context != definition.context {
        different.push(format!("context is `{}` and not `{}`", definition.context, image.context));
    }
    let names: BTreeSet<&String> = image.args.keys().chain(definition.args.keys()).collect();
    for name in names {
        let (there, here) = (image.args.get(name), definition.args.get(name));
        if there != here && !is_inert(name) {
            let text = |value: Option<&String>| {
                value.map_or("unset".to_owned(), |value| format!("`{value}`"))
            };
            different.push(format!("`{name}` is {} and not {}", text(here), text(there)));
        }
    }
    let contexts = |contexts: &[super::NamedContext]| {
        contexts.iter().map(|c| (c.name.clone(), c.value.to_string())).collect::<BTreeMap<_, _>>()
    };
    if contexts(&image.contexts) != contexts(&definition.contexts) {
        different.push("its named contexts are others".to_owned());
    }
    different
}

/// Arguments that change no result.
fn is_inert(name: &str) -> bool {
    matches!(name, "BUILDKIT_INLINE_CACHE" | "BUILDKIT_CACHE_MOUNT_NS" | "BUILDKIT_MULTI_PLATFORM")
}

fn conflict(image: &Image, again: &Definition, different: &[String], usual: bool) -> Diagnostic {
    let place = image.location();
    Diagnostic {
        location: Some(again.location.clone()),
        // A file that is read only when it is asked for may well say something else.
        severity: if usual { Severity::Warning } else { Severity::Note },
        code: "described-differently".to_owned(),
        message: format!(
            "the {} `{}` is described at {place} already, and here its {}",
            again.kind.noun(),
            again.name,
            different.join(", its ")
        ),
        help: Some(format!("what {place} says counts: let both say the same")),
    }
}

fn published_twice(definition: &Definition, reference: &str, other: &Location) -> Diagnostic {
    Diagnostic {
        location: Some(definition.location.clone()),
        severity: Severity::Warning,
        code: "published-twice".to_owned(),
        message: format!(
            "`{}` is published as `{reference}`, and so is the image at {other}",
            definition.name
        ),
        help: Some("the last push wins: give each a tag of its own".to_owned()),
    }
}

fn missing(definition: &Definition, file: &str) -> Diagnostic {
    let noun = definition.kind.noun();
    Diagnostic {
        location: Some(definition.location.clone()),
        severity: Severity::Warning,
        code: "missing-dockerfile".to_owned(),
        message: format!(
            "the {noun} `{}` has no Dockerfile: there is no `{file}`",
            definition.name
        ),
        help: Some("add the file, or correct `dockerfile` and `context`".to_owned()),
    }
}

fn remote_context(definition: &Definition) -> Option<Diagnostic> {
    let ContextValue::Url(url) = &definition.context else { return None };
    Some(Diagnostic {
        location: Some(definition.location.clone()),
        severity: Severity::Warning,
        code: "remote-context".to_owned(),
        message: format!(
            "the context of `{}` is elsewhere: `{}`",
            definition.name,
            without_password(url)
        ),
        help: Some(format!("`bakehouse build {}` fetches it", definition.name)),
    })
}

fn bad_option(definition: &Definition, wrong: &WrongOption) -> Diagnostic {
    Diagnostic {
        location: Some(definition.location.clone()),
        severity: Severity::Error,
        code: "bad-option".to_owned(),
        message: format!("an option of `{}` is wrong: {wrong}", definition.name),
        help: Some(wrong.help()),
    }
}

/// A reference with everything that it leaves out.
pub(super) fn normal(text: &str) -> Option<String> {
    text.parse::<Reference>().ok().map(|reference| reference.to_string())
}

/// Why a file is left out because of the folder it is in.
pub fn fixture(path: &str) -> Option<String> {
    let (folders, _) = path.rsplit_once('/')?;
    let folder = folders.split('/').find(|folder| FIXTURES.contains(folder))?;
    Some(format!("it is in `{folder}`, input of somebody's tests"))
}

/// Why a file is left out because of where it is and what it is called.
fn by_place(path: &str) -> Option<String> {
    if let Some(reason) = fixture(path) {
        return Some(reason);
    }
    let file = path.rsplit('/').next().unwrap_or(path);
    let ending = file.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase())?;
    TEMPLATES
        .contains(&ending.as_str())
        .then(|| format!("a template: its name ends in `.{ending}`"))
}

/// Why a file that is called like a Dockerfile is none. Only one that cannot be read is
/// suspected because of its lines: a here-document may well begin one with braces.
fn template(text: &[u8], broken: bool) -> Option<String> {
    let begins = |line: &[u8]| {
        let line = line.trim_ascii_start();
        line.starts_with(b"{%") || line.starts_with(b"{{") || line.starts_with(b"{#")
    };
    // An instruction's own braces are its own; in a base's name they can only be a template's.
    let from = |line: &[u8]| {
        let line = line.trim_ascii_start();
        line.len() > 5
            && line[..5].eq_ignore_ascii_case(b"from ")
            && line.windows(2).any(|two| two == b"{{" || two == b"{%")
    };
    let found = text.split(|byte| *byte == b'\n').any(|line| broken && begins(line) || from(line));
    found.then(|| "a template: it has `{{` or `{%` where an instruction should be".to_owned())
}

/// Front ends other than Docker's own are programs that are not here.
fn foreign_front_end(dockerfile: &Dockerfile) -> Option<String> {
    let syntax = dockerfile.directives.syntax.as_ref()?.value.clone();
    (!is_own_front_end(&syntax)).then(|| {
        format!(
            "its `# syntax={syntax}` is another front end, which only BuildKit can run: build it with `docker buildx build`"
        )
    })
}

/// The nearest folder, from the file's own up to the root, that has all paths that the file
/// copies or mounts by name; the one with most of them if none has all.
fn infer_context(path: &str, dockerfile: &Dockerfile, around: &Surroundings<'_>) -> String {
    let sources = literal_sources(dockerfile);
    let own = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut best = (0, own);
    let mut folder = own;
    loop {
        let has = |source: &&String| {
            let source = source.trim_start_matches('/');
            (around.exists)(&if folder.is_empty() {
                source.to_owned()
            } else {
                format!("{folder}/{source}")
            })
        };
        let found = sources.iter().filter(has).count();
        if found > best.0 {
            best = (found, folder);
        }
        if found == sources.len() || folder.is_empty() {
            break;
        }
        folder = folder.rsplit_once('/').map_or("", |(up, _)| up);
    }
    if best.1.is_empty() { ".".to_owned() } else { best.1.to_owned() }
}

/// Paths that are copied or mounted from the context and have neither variables nor wildcards.
fn literal_sources(dockerfile: &Dockerfile) -> BTreeSet<String> {
    let literal = |source: &String| {
        !source.contains(['$', '*', '?', '[', '"', '\''])
            && !source.contains("://")
            && !matches!(source.as_str(), "." | "./" | "/" | "")
    };
    let mut sources = BTreeSet::new();
    for instruction in dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
        match &instruction.kind {
            InstructionKind::Copy(copy) if copy.from.is_none() => {
                sources.extend(copy.transfer.sources.iter().cloned());
            }
            InstructionKind::Add(add) => sources.extend(add.transfer.sources.iter().cloned()),
            InstructionKind::Run(run) => {
                sources.extend(run.mounts.iter().filter_map(|csv| bind_source(csv)));
            }
            _ => {}
        }
    }
    sources.retain(literal);
    sources
}

/// What a mount of a RUN takes from the context.
fn bind_source(csv: &str) -> Option<String> {
    let mount = mount::parse_mount(csv, &mut |word| Ok(word.to_owned())).ok()?;
    (mount.kind == MountType::Bind && mount.from.is_none()).then_some(mount.source)
}
