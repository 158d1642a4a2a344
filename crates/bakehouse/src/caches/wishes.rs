//! Which caches each image reads and writes: what its definition says, and the command line.
//!
//! What the command line says is for every image. Where a repository has several, each has a
//! cache of its own below that name, told apart by the image's name and, where platforms are
//! asked for, by the platform: written to one place, only the last one's would be left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use bakehouse_model::oci::{Platform, Reference};
use bakehouse_model::{Diagnostic, Location, Severity};
use bakehouse_plan::caches::spec::{Actions, Bucket, Place, Spec, SpecError, Way, parse};
use bakehouse_plan::fleet::{self, LoweredFleet};
use thiserror::Error;

use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::request::Request;
use crate::tags::Names;

/// The build argument that asks for a cache within the image.
const ARGUMENT: &str = "BUILDKIT_INLINE_CACHE";

/// The code of what is said of a workflow's cache elsewhere.
const OUTSIDE: &str = "cache-outside";

/// What the caches of a run are.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Those that are read, each once.
    pub from: Vec<Spec>,
    /// Those that are written.
    pub to: Vec<Wish>,
    /// Those that files ask for and only other builders know.
    pub notices: Vec<Diagnostic>,
}

/// A cache that is written.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The image, by its name in the fleet.
    pub image: String,
    /// The platform, if it is of one alone.
    pub platform: Option<Platform>,
    /// Where to, and how.
    pub spec: Spec,
    /// Where that is said; none for the command line.
    pub location: Option<Location>,
}

/// `--cache-from` and `--cache-to`.
#[derive(Debug, Clone, Copy)]
pub struct Flags<'a> {
    /// Caches to read.
    pub from: &'a [String],
    /// Caches to write.
    pub to: &'a [String],
    /// The folder that they are below.
    pub cwd: &'a Path,
    /// What the environment says of services.
    pub env: &'a BTreeMap<String, String>,
}

impl<'a> Flags<'a> {
    /// These, as they are given here.
    pub fn new(from: &'a [String], to: &'a [String], cx: &'a Context) -> Self {
        Self { from, to, cwd: &cx.cwd, env: &cx.env }
    }
}

impl Wishes {
    /// What the wanted images' definitions and the command line say; refused where two images
    /// write to one place, or one writes over an image.
    pub fn read(request: &Request, flags: &Flags<'_>, names: &Names) -> Result<Self, Failure> {
        let mut wishes = Self::default();
        let mut diagnostics = Vec::new();
        for image in request.fleet.images.iter().filter(|i| request.wanted.contains(&i.name)) {
            let location = image.location();
            let settled = |text, way| settled(text, way, (&request.root, flags.env));
            for text in &image.options.cache_from {
                match settled(text, Way::From) {
                    Ok(spec) => wishes.reads_own(request, &spec, &image.name),
                    Err(error) => diagnostics.push(wrong(&location, &image.name, &error)),
                }
            }
            for text in &image.options.cache_to {
                match settled(text, Way::To) {
                    Ok(spec) => wishes.to.extend(own(request, &spec, &image.name).map(
                        |(platform, spec)| Wish {
                            image: image.name.clone(),
                            platform,
                            spec,
                            location: Some(location.clone()),
                        },
                    )),
                    Err(error) => diagnostics.push(wrong(&location, &image.name, &error)),
                }
            }
        }
        let foreign = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Warning;
        (wishes.notices, diagnostics) = diagnostics.into_iter().partition(foreign);
        wishes.notices.sort();
        wishes.notices.dedup();
        wishes.given(request, flags)?;
        diagnostics.extend(wishes.shared());
        diagnostics.extend(wishes.over_images(request, names));
        if diagnostics.is_empty() { Ok(wishes) } else { Err(Failure::input(diagnostics)) }
    }

    /// The lowered images that are to have a cache within them; an old argument of BuildKit's
    /// says so too.
    pub fn inline(&self, request: &Request, lowered: &LoweredFleet) -> BTreeSet<String> {
        let wishes = self.to.iter().filter(|wish| wish.spec.place == Place::Inline);
        let names: BTreeSet<&String> = wishes.map(|wish| &wish.image).collect();
        let asks = |image: &String| {
            let own = request.fleet.image(image).and_then(|it| it.args.get(ARGUMENT));
            let value = request.settings.build_args.get(ARGUMENT).or(own);
            value.is_some_and(|value| matches!(value.as_str(), "1" | "true"))
        };
        let wanted =
            lowered.images.iter().filter(|it| names.contains(&it.image) || asks(&it.image));
        wanted.map(|image| image.name.clone()).collect()
    }

    fn reads(&mut self, spec: Spec) {
        if !self.from.iter().any(|known| known.place == spec.place) {
            self.from.push(spec);
        }
    }

    /// Of a cache that nobody named, the image's own, and what a build of one image writes.
    fn reads_own(&mut self, request: &Request, spec: &Spec, image: &str) {
        for (_, own) in own(request, spec, image) {
            self.reads(own);
        }
        self.reads(spec.clone());
    }

    fn given(&mut self, request: &Request, flags: &Flags<'_>) -> Result<(), Failure> {
        let context = (flags.cwd, flags.env);
        for text in flags.from {
            let Some(spec) = self.flag("--cache-from", text, (Way::From, context))? else {
                continue;
            };
            for Wish { spec, .. } in spread(request, &spec) {
                self.reads(spec);
            }
            self.reads(spec);
        }
        for text in flags.to {
            if let Some(spec) = self.flag("--cache-to", text, (Way::To, context))? {
                self.to.extend(spread(request, &spec));
            }
        }
        Ok(())
    }

    /// What a flag says; none if it is for a workflow, and this is none.
    fn flag(
        &mut self,
        flag: &str,
        text: &str,
        (way, context): (Way, (&Path, &BTreeMap<String, String>)),
    ) -> Result<Option<Spec>, Failure> {
        match settled(text, way, context) {
            Ok(spec) => Ok(Some(spec)),
            Err(error @ Unsettled::Outside) => {
                let told = self::error(None, "", format!("{flag}: {error}"), error.help());
                self.notices.push(Diagnostic {
                    severity: Severity::Warning,
                    code: OUTSIDE.to_owned(),
                    ..told
                });
                Ok(None)
            }
            Err(error) => {
                Err(Failure::new(Kind::Usage, format!("{flag}: {error}")).hint(error.help()))
            }
        }
    }

    /// Two images that write to one place: only the last one's would be left.
    fn shared(&self) -> Vec<Diagnostic> {
        let mut writers: BTreeMap<String, &Wish> = BTreeMap::new();
        let mut found = Vec::new();
        let written = self
            .to
            .iter()
            .flat_map(|wish| wish.spec.place.written().into_iter().map(move |name| (name, wish)));
        for (name, wish) in written {
            let Some(first) = writers.get(&name) else {
                writers.insert(name, wish);
                continue;
            };
            let message = if first.image == wish.image {
                format!("`{}` writes its cache to `{}` twice", wish.image, wish.spec.place)
            } else {
                format!(
                    "`{}` and `{}` write their caches to `{}`, where only one of them can be",
                    first.image, wish.image, wish.spec.place
                )
            };
            let help =
                "give each image a cache of its own: a `ref` or a `dest` with its name in it";
            found.push(error(wish.location.as_ref(), "cache-ref-shared", message, help));
        }
        found
    }

    /// Caches that would take the place of an image.
    fn over_images(&self, request: &Request, names: &Names) -> Vec<Diagnostic> {
        let written = request.fleet.images.iter().flat_map(|image| {
            let all = image.references.iter().filter_map(|text| text.parse::<Reference>().ok());
            all.map(|reference| (reference, &image.name))
        });
        let named =
            names.iter().flat_map(|(image, all)| all.iter().cloned().map(move |r| (r, image)));
        let owners: BTreeMap<Reference, &String> = written.chain(named).collect();
        let over = self.to.iter().filter_map(|wish| {
            let Place::Registry { reference } = &wish.spec.place else { return None };
            let owner = owners.get(reference)?;
            let message = format!(
                "the cache of `{}` is written to `{}`, which is the tag of `{owner}`",
                wish.image, wish.spec.place
            );
            let help = "give the cache a reference of its own, such as `REGISTRY/cache:NAME`";
            Some(error(wish.location.as_ref(), "cache-ref-is-tag", message, help))
        });
        over.collect()
    }
}

/// The images that are wanted, each with the platforms that are asked for, or with none.
fn scopes(request: &Request) -> impl Iterator<Item = (String, Option<Platform>)> {
    let platforms: Vec<Option<Platform>> = match request.platforms.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    request.wanted.iter().flat_map(move |image| {
        platforms.clone().into_iter().map(move |platform| (image.clone(), platform))
    })
}

/// The same kind of cache, for one image of several.
fn of_image(spec: &Spec, image: &str, platform: Option<&Platform>) -> Spec {
    let mut own = fleet::clean(image).replace('/', "-");
    if let Some(platform) = platform {
        own.push_str(&format!("-{platform}").replace('/', "-"));
    }
    let joined = |before: Option<&str>| match before {
        None | Some("" | "latest") => own.clone(),
        Some(before) => format!("{before}-{own}"),
    };
    let place = match &spec.place {
        Place::Registry { reference } => {
            let repository = reference.to_string();
            let repository = repository.rsplit_once('@').map_or(repository.as_str(), |it| it.0);
            let bare = match reference.tag() {
                Some(tag) => repository.strip_suffix(&format!(":{tag}")).unwrap_or(repository),
                None => repository,
            };
            let text = format!("{bare}:{}", joined(reference.tag()));
            let reference = text.parse().unwrap_or_else(|_| reference.clone());
            Place::Registry { reference }
        }
        Place::Folder { path, tag, digest } => {
            let (path, digest) = (path.clone(), digest.clone());
            Place::Folder { path, tag: joined(Some(tag)), digest }
        }
        Place::Actions(actions) => {
            Place::Actions(Actions { scope: Some(joined(Some(actions.name()))), ..actions.clone() })
        }
        Place::Bucket(bucket) => {
            let names = bucket.names().iter().map(|name| joined(Some(name))).collect();
            Place::Bucket(Box::new(Bucket { names, ..(**bucket).clone() }))
        }
        Place::Inline => Place::Inline,
    };
    Spec { place, ..spec.clone() }
}

/// What a cache that a definition names is for one image. In a service, where nobody says what
/// it is called, each image and platform has its own.
fn own(
    request: &Request,
    spec: &Spec,
    image: &str,
) -> impl Iterator<Item = (Option<Platform>, Spec)> {
    let several = request.fleet.images.len() > 1 || request.platforms.len() > 1;
    let owns = if spec.place.is_unnamed() && several {
        let scopes = scopes(request).filter(|(name, _)| name == image);
        scopes.map(|(_, it)| (it.clone(), of_image(spec, image, it.as_ref()))).collect()
    } else {
        vec![(None, spec.clone())]
    };
    owns.into_iter()
}

/// What a cache of the command line is for every image that is wanted. One in a service that
/// has a name is taken as it is.
fn spread(request: &Request, spec: &Spec) -> Vec<Wish> {
    let service = matches!(spec.place, Place::Actions(_) | Place::Bucket(_));
    let wish = |image: &str, platform, spec| Wish {
        image: image.to_owned(),
        platform,
        spec,
        location: None,
    };
    if request.fleet.images.len() > 1 && !service {
        let all = scopes(request).map(|(image, platform)| {
            let spec = of_image(spec, &image, platform.as_ref());
            wish(&image, platform, spec)
        });
        return all.collect();
    }
    let all = request.wanted.iter().flat_map(|image| {
        own(request, spec, image).map(|(platform, spec)| wish(image, platform, spec))
    });
    all.collect()
}

/// Why a text is no cache that can be used here.
#[derive(Debug, Error)]
enum Unsettled {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("a cache of type `gha` is not used outside of a workflow of GitHub")]
    Outside,
}

impl Unsettled {
    fn help(&self) -> &'static str {
        match self {
            Self::Spec(error) => error.help(),
            Self::Outside => {
                "give the step `ACTIONS_RUNTIME_TOKEN` and `ACTIONS_RESULTS_URL`, which GitHub \
                 gives to actions only"
            }
        }
    }
}

/// Reads a cache, with what the place and the environment add to it.
fn settled(
    text: &str,
    way: Way,
    (base, env): (&Path, &BTreeMap<String, String>),
) -> Result<Spec, Unsettled> {
    let spec = below(parse(text, way)?, base);
    let var = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
    let place = match spec.place {
        Place::Actions(actions) => Place::Actions(actions.within(&var).ok_or(Unsettled::Outside)?),
        Place::Bucket(bucket) => Place::Bucket(Box::new(bucket.within(env)?)),
        other => other,
    };
    Ok(Spec { place, ..spec })
}

/// A folder lies below the one of whoever names it; however it is written, it has one name.
fn below(spec: Spec, base: &Path) -> Spec {
    match spec.place {
        Place::Folder { path, tag, digest } => {
            let path = plain(&base.join(path)).to_string_lossy().into_owned();
            Spec { place: Place::Folder { path, tag, digest }, ..spec }
        }
        _ => spec,
    }
}

/// The path without `.` and `..`; links are not looked at.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

/// What only other builders know does not keep this one from building.
fn wrong(location: &Location, image: &str, why: &Unsettled) -> Diagnostic {
    let message = format!("a cache of `{image}`: {why}");
    let told = error(Some(location), "bad-cache", message, why.help());
    match why {
        Unsettled::Spec(SpecError::Kind { .. }) => {
            Diagnostic { severity: Severity::Warning, code: "cache-foreign".to_owned(), ..told }
        }
        Unsettled::Outside => {
            Diagnostic { severity: Severity::Warning, code: OUTSIDE.to_owned(), ..told }
        }
        _ => told,
    }
}

fn error(location: Option<&Location>, code: &str, message: String, help: &str) -> Diagnostic {
    Diagnostic {
        location: location.cloned(),
        severity: Severity::Error,
        code: code.to_owned(),
        message,
        help: Some(help.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_name_however_it_is_written() {
        let table = [
            ("c", "/repo/c"),
            ("./c/", "/repo/c"),
            ("x/../c", "/repo/c"),
            ("/repo//c/.", "/repo/c"),
            ("../c", "/c"),
            ("../../../c", "/c"),
        ];
        for (text, expected) in table {
            let spec = parse(&format!("type=local,dest={text}"), Way::To).unwrap();
            let place = below(spec, Path::new("/repo")).place.to_string();
            assert_eq!(place, expected, "{text}");
        }
    }
}
