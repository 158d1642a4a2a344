//! What a command line means: every default settled, every file of the repository read.
//!
//! The only step of a command that looks at flags, the environment and input files.

mod contexts;
mod files;
mod flags;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bakehouse_model::oci::Platform;
use bakehouse_model::op::ContextSource;
use bakehouse_model::{Diagnostic, Location, Severity};
use bakehouse_plan::dockerfile::InstructionKind;
use bakehouse_plan::fleet::{self, Class, Fleet, Image, Options};
use bakehouse_plan::lower::Settings;
use bakehouse_registry::Mirror;

use crate::cli::{Shape, Where};
use crate::config::Config;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::remote::Brought;

pub use contexts::NamedContext;
pub(crate) use files::{Reading, fleet_of, repository};
pub use files::{bake_files, bake_settings, dockerfile};
pub(crate) use flags::{platforms, settings, size, whole};

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
    /// The Dockerfile and the context that the command line names.
    single: Option<contexts::Single>,
    /// What `--build-context` maps names to.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// Where all images go, whatever their definitions say (`--registry`).
    pub registry: Option<String>,
    /// Where images without a reference of their own go.
    pub prefix: Option<String>,
    /// Mirrors of registries.
    pub mirrors: Vec<Mirror>,
    /// Whether to ask registries again what tags point at.
    pub pull: bool,
    /// Folders outside of the repository that definitions may write to.
    pub writables: Vec<PathBuf>,
    /// Steps that run at once.
    pub jobs: usize,
    /// The texts of the files that were read, to show lines of them.
    pub texts: BTreeMap<String, String>,
    /// What `bakehouse.toml` says.
    pub config: Config,
    /// Labels for policy.
    pub classes: Vec<Class>,
    /// Contexts that definitions have elsewhere.
    #[expect(dead_code, reason = "it is held, and never looked at")]
    brought: Brought,
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
        let settings = flags::settings(place, shape, cx)?;
        let registry = prefix(place)?;
        let files::Read { fleet, texts, config, classes, prefix, brought } =
            files::read((place, registry.as_deref(), images), &root, &settings, cx)?;
        let mut request = Self {
            single: contexts::Single::named(place, cx),
            named_contexts: contexts::named(place, &root)?,
            root,
            wanted: BTreeSet::new(),
            named: BTreeSet::new(),
            settings,
            registry,
            prefix,
            platforms: flags::platforms(place)?,
            mirrors: mirrors(place)?,
            pull: place.pull,
            writables: flags::writables(shape, cx),
            jobs: shape.jobs.unwrap_or_else(processors).max(1),
            texts,
            config,
            classes,
            fleet,
            brought,
        };
        request.refuse_nothing()?;
        request.choose(images)?;
        Ok(request)
    }

    fn choose(&mut self, images: &[String]) -> Result<(), Failure> {
        let mut named = BTreeSet::new();
        for name in images {
            let meant = self.fleet.meant(name);
            if meant.is_empty() {
                return Err(self.unknown(name));
            }
            named.extend(meant);
        }
        self.named = match (images, &self.single) {
            ([], None) => self.buildable(),
            // What is named by its file is wanted even if it cannot be built: that is a failure.
            ([], Some(_)) => self.fleet.images.iter().map(|image| image.name.clone()).collect(),
            _ => named,
        };
        self.wanted = self.fleet.with_needs(&self.named);
        let wanted = self.fleet.images.iter().filter(|image| self.wanted.contains(&image.name));
        self.pull |= wanted.into_iter().any(|image| image.options.pull);
        Ok(())
    }

    /// All images but those that cannot be built as they are, and what stands on them.
    fn buildable(&self) -> BTreeSet<String> {
        let all = self.fleet.images.iter();
        let broken = all.clone().filter(|image| image.unbuildable.is_some());
        let broken: BTreeSet<String> = broken.map(|image| image.name.clone()).collect();
        let lost = self.fleet.with_users(&broken);
        all.map(|image| image.name.clone()).filter(|name| !lost.contains(name)).collect()
    }

    fn unknown(&self, name: &str) -> Failure {
        let known = self.fleet.images.iter().flat_map(|image| &image.aliases).map(String::as_str);
        let several = self.fleet.images.iter().filter(|image| image.aliases.contains(name));
        let several: Vec<String> = several.map(|image| format!("`{}`", image.name)).collect();
        if several.len() > 1 {
            let what = format!("`{name}` may be any of {}", several.join(", "));
            return Failure::new(Kind::Usage, what).hint("name one of them");
        }
        let failure = Failure::new(Kind::Usage, format!("there is no image `{name}`"));
        match fleet::suggest(name, known) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint("`bakehouse graph` lists the images"),
        }
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
            help: Some("name a Dockerfile with -f to build it alone".to_owned()),
        });
        let told = self.fleet.diagnostics.iter().cloned();
        let told = told.map(|it| Diagnostic { severity: Severity::Error, ..it });
        Err(Failure::input(reasons.chain(told).collect()))
    }

    /// The context of each wanted image, by the image's name.
    pub fn contexts(&self) -> Result<BTreeMap<String, ContextSource>, Failure> {
        let wanted = self.fleet.images.iter().filter(|image| self.wanted.contains(&image.name));
        let mut folders = contexts::Folders::default();
        wanted
            .map(|image| {
                let context = folders.of_image(image, &self.root, self.single.as_ref())?;
                Ok((image.name.clone(), context))
            })
            .collect()
    }

    /// Those of `roots` that the wanted images copy from, each once.
    pub fn copied(&self, roots: &BTreeMap<String, ContextSource>) -> Vec<ContextSource> {
        let copies = |image: &&Image| self.wanted.contains(&image.name) && copies(image);
        let images = self.fleet.images.iter().filter(copies);
        let mut seen = BTreeSet::new();
        let sources = images.filter_map(|image| roots.get(&image.name));
        sources.filter(|source| seen.insert((&source.root, &source.ignore))).cloned().collect()
    }

    /// What the contexts of the wanted images' own definitions are, by the image's name and
    /// the context's; those that are images of the fleet are not among them.
    pub fn own_contexts(&self) -> Result<BTreeMap<(String, String), NamedContext>, Failure> {
        let wanted = self.fleet.images.iter().filter(|image| self.wanted.contains(&image.name));
        let mut all = BTreeMap::new();
        for image in wanted {
            for context in &image.contexts {
                if let Some(value) = contexts::of_definition(context, &self.root)? {
                    all.insert((image.name.clone(), context.name.clone()), value);
                }
            }
        }
        Ok(all)
    }

    /// What the wanted images' own definitions say, each once.
    pub fn specs(&self, of: fn(&Options) -> &Vec<String>) -> Vec<String> {
        let wanted = self.fleet.images.iter().filter(|image| self.wanted.contains(&image.name));
        let specs: BTreeSet<&String> = wanted.flat_map(|image| of(&image.options)).collect();
        specs.into_iter().cloned().collect()
    }

    /// How long an image takes, by its class, until history knows.
    pub fn estimate_ms(&self, image: &Image) -> Option<u64> {
        let name = image.class.as_ref()?;
        self.classes.iter().find(|class| class.name == *name)?.estimate_ms
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

/// The repository's folder.
pub(crate) fn root(place: &Where, cx: &Context) -> Result<PathBuf, Failure> {
    let root = match &place.directory {
        Some(directory) => cx.cwd.join(directory),
        None => cx.cwd.clone(),
    };
    root.canonicalize().map_err(|error| {
        Failure::doing(Kind::Usage, format_args!("look into `{}`", root.display()), &error)
    })
}

/// Whether an image copies something from its context.
fn copies(image: &Image) -> bool {
    let instructions = image.dockerfile.stages.iter().flat_map(|stage| &stage.instructions);
    instructions.into_iter().any(|instruction| match &instruction.kind {
        InstructionKind::Copy(copy) => copy.from.is_none() && !copy.transfer.sources.is_empty(),
        InstructionKind::Add(_) => true,
        _ => false,
    })
}

/// The number of processors.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get)
}

/// `--registry`.
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
