//! Names of bases become edges: which images of the fleet each image stands on, and which
//! from elsewhere.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::oci::{Platform, Reference};
use bakehouse_model::op::ContextSource;
use bakehouse_model::{Diagnostic, Severity};

use super::index::Meaning;
use super::official::is_official;
use super::{
    ContextValue, Edge, External, Image, Index, NamedContext, Surroundings, TagMatch, suggest,
};
use crate::lower::{self, Base, BaseQuestion, Bases, Request, Via};

/// Marks a question that a named context stands behind.
const CONTEXT: char = '\u{1}';

/// Gives every image its edges.
pub(super) fn connect(
    images: &mut [Image],
    mut index: Index,
    around: &Surroundings<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Index {
    let asked: Vec<Vec<BaseQuestion>> =
        images.iter_mut().map(|image| questions(image, around, diagnostics)).collect();
    for image in images.iter().filter(|image| image.unbuildable.is_some()) {
        index.doubt(&image.name);
    }
    let written = images.iter().zip(&asked).flat_map(|(image, asked)| {
        asked.iter().map(|question| (image.name.as_str(), question.name.as_str()))
    });
    index.vote(written);
    let places: Vec<Place> = images.iter().map(Place::of).collect();
    let mut doubts = BTreeMap::new();
    for (image, asked) in images.iter_mut().zip(asked) {
        for question in asked {
            let mut connecting = Connecting { index: &index, places: &places, doubts: &mut doubts };
            connecting.one(image, question, diagnostics);
        }
    }
    diagnostics.extend(doubts.into_values().map(Doubt::told));
    phantoms(images, &index, diagnostics);
    diagnostics.extend(guesses(images, &index));
    index
}

/// What edges have to know of the other images.
struct Place {
    name: String,
    file: String,
    project: String,
    aliases: BTreeSet<String>,
}

impl Place {
    fn of(image: &Image) -> Self {
        Self {
            name: image.name.clone(),
            file: image.file.clone(),
            project: image.project.clone(),
            aliases: image.aliases.clone(),
        }
    }
}

struct Connecting<'a> {
    index: &'a Index,
    places: &'a [Place],
    /// What may mean several images, by what it may mean.
    doubts: &'a mut BTreeMap<Vec<String>, Doubt>,
}

/// References that may mean several images.
struct Doubt {
    first: BaseQuestion,
    files: Vec<String>,
    times: usize,
}

impl Doubt {
    fn told(self) -> Diagnostic {
        let Self { first, files, times } = self;
        let also = if times > 1 { format!(" ({times} times)") } else { String::new() };
        Diagnostic {
            location: first.location,
            severity: Severity::Warning,
            code: "ambiguous-parent".to_owned(),
            message: format!(
                "`{}` may be any of {}; {} is taken{also}",
                first.name,
                files.join(", "),
                files[0]
            ),
            help: Some(
                "say which one under `[bases]` in `bakehouse.toml`, or exclude the others"
                    .to_owned(),
            ),
        }
    }
}

impl Connecting<'_> {
    fn one(
        &mut self,
        image: &mut Image,
        question: BaseQuestion,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let Some(name) = question.name.strip_prefix(CONTEXT) else {
            let via = question.via;
            return self.reference(image, (question, via));
        };
        let Some(context) = image.contexts.iter().find(|c| c.name == name).cloned() else { return };
        let question = BaseQuestion { location: Some(context.location.clone()), ..question };
        match &context.value {
            ContextValue::Image(reference) => {
                let question = BaseQuestion { name: reference.clone(), ..question };
                self.reference(image, (question, Via::Context));
            }
            ContextValue::Definition(other) => {
                let same = |place: &&Place| {
                    place.aliases.contains(other)
                        && (place.project == image.project || place.name == *other)
                };
                // Of two images of that name, that of the same project is meant.
                let mut found: Vec<&Place> = self.places.iter().filter(same).collect();
                found.sort_by_key(|place| place.project != image.project);
                match found.first() {
                    Some(place) => {
                        let reference = context.value.to_string();
                        let (parent, via) = (place.name.clone(), Via::Context);
                        add_edge(image, (parent, TagMatch::Same), reference, (via, question));
                    }
                    None => diagnostics.push(no_such_target(&context, other)),
                }
            }
            _ => {}
        }
    }

    fn reference(&mut self, image: &mut Image, (question, via): (BaseQuestion, Via)) {
        let name = question.name.clone();
        match self.index.meaning(&name, &image.name) {
            Meaning::Fleet(parents, tag) => {
                if parents.len() > 1 {
                    self.doubt(&question, &parents);
                }
                add_edge(image, (parents[0].clone(), tag), name, (via, question));
            }
            Meaning::Mapped(other) => add_external(image, other, (via, question)),
            Meaning::External => add_external(image, name, (via, question)),
        }
    }

    fn doubt(&mut self, question: &BaseQuestion, parents: &[String]) {
        let places = self.places;
        let file = |name: &String| {
            let place = places.iter().find(|place| place.name == *name);
            place.map_or(String::new(), |place| format!("`{}`", place.file))
        };
        let doubt = self.doubts.entry(parents.to_vec()).or_insert_with(|| Doubt {
            first: question.clone(),
            files: parents.iter().map(file).collect(),
            times: 0,
        });
        doubt.times += 1;
    }
}

fn add_edge(
    image: &mut Image,
    (parent, tag): (String, TagMatch),
    reference: String,
    (via, question): (Via, BaseQuestion),
) {
    if parent != image.name && !image.needs.iter().any(|edge| edge.image == parent) {
        let location = question.location;
        image.needs.push(Edge { image: parent, reference, via, location, tag });
    }
}

fn add_external(image: &mut Image, reference: String, (via, question): (Via, BaseQuestion)) {
    if !image.external.iter().any(|external| external.reference == reference) {
        let BaseQuestion { location, platform, near, .. } = question;
        image.external.push(External { reference, via, location, platform, near });
    }
}

fn no_such_target(context: &NamedContext, other: &str) -> Diagnostic {
    Diagnostic {
        location: Some(context.location.clone()),
        severity: Severity::Error,
        code: "unknown-context-target".to_owned(),
        message: format!("the context `{}` names `{other}`, which is no image", context.name),
        help: Some("name a target or a service that is built".to_owned()),
    }
}

/// What an image's Dockerfile asks for, on any of its platforms.
fn questions(
    image: &mut Image,
    around: &Surroundings<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<BaseQuestion> {
    let mut settings = image.settings(around.settings);
    let given = settings.platform.clone();
    let platforms: Vec<Option<Platform>> = match &given {
        None if !image.platforms.is_empty() => image.platforms.iter().cloned().map(Some).collect(),
        _ => vec![given],
    };
    let declared =
        Declared { contexts: &image.contexts, given: around.contexts, used: RefCell::default() };
    let mut questions: Vec<BaseQuestion> = Vec::new();
    let mut doubt = None;
    for platform in platforms {
        settings.platform = platform;
        let request = Request {
            image: &image.name,
            dockerfile: &image.dockerfile,
            file: &image.file,
            context: Some(ContextSource {
                name: "context".to_owned(),
                root: String::new(),
                ignore: Vec::new(),
            }),
            target: image.target.as_deref(),
            settings: &settings,
        };
        match lower::references(&request, &declared) {
            Ok(asked) => {
                let known = |q: &BaseQuestion| questions.iter().any(|known| known.name == q.name);
                let new: Vec<BaseQuestion> = asked.into_iter().filter(|q| !known(q)).collect();
                questions.extend(new);
            }
            // A base that must be handed to it: the image is there, but not by itself.
            Err(diagnostic) if diagnostic.code == "blank-base" => doubt = Some(*diagnostic),
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    if let Some(doubt) = doubt {
        let help = "give it a base: a default of the ARG, or a family in `bakehouse.toml`";
        let doubt =
            Diagnostic { severity: Severity::Warning, help: Some(help.to_owned()), ..doubt };
        diagnostics.push(doubt.clone());
        image.unbuildable = Some(doubt);
    } else {
        let used = declared.used.into_inner();
        let unused = image.contexts.iter().filter(|context| !used.contains(&context.name));
        diagnostics.extend(unused.map(|context| unused_context(context, &image.file)));
    }
    if let Some(doubt) = &image.unbuildable {
        diagnostics.push(doubt.clone());
    }
    // A base comes before what is only copied from.
    questions.sort_by_key(|question| question.via);
    questions
}

fn unused_context(context: &NamedContext, file: &str) -> Diagnostic {
    Diagnostic {
        location: Some(context.location.clone()),
        severity: Severity::Note,
        code: "unused-context".to_owned(),
        message: format!("the context `{}` is not used by `{file}`", context.name),
        help: Some("remove it, or name it in the Dockerfile".to_owned()),
    }
}

/// The contexts that an image declares, and which of them its Dockerfile names.
struct Declared<'a> {
    contexts: &'a [NamedContext],
    /// Those of the command line, which take the place of everything.
    given: &'a [String],
    used: RefCell<BTreeSet<String>>,
}

impl Bases for Declared<'_> {
    fn named(&self, name: &str, platform: &Platform) -> Option<Base> {
        let called = context_names(name, platform);
        if called.iter().any(|name| self.given.contains(name)) {
            return Some(somewhere(name));
        }
        let context = called.iter().find_map(|name| self.contexts.iter().find(|c| c.name == *name));
        let context = context?;
        self.used.borrow_mut().insert(context.name.clone());
        Some(match context.value {
            ContextValue::Image(_) | ContextValue::Definition(_) => {
                Base::Ask(format!("{CONTEXT}{}", context.name))
            }
            _ => somewhere(name),
        })
    }

    fn image(&self, _: &str, _: &Platform) -> Base {
        Base::Unknown
    }
}

/// A folder; what is in it is not asked here.
fn somewhere(name: &str) -> Base {
    let (name, root) = (name.to_owned(), String::new());
    Base::Context(ContextSource { name, root, ignore: Vec::new() })
}

/// The names under which a context may be given for `name`, the most exact one first.
pub(super) fn context_names(name: &str, platform: &Platform) -> Vec<String> {
    let familiar = name.parse::<Reference>().ok().map(|reference| reference.familiar());
    let familiar = familiar.as_deref().map(|name| name.strip_suffix(":latest").unwrap_or(name));
    let names = [Some(name), familiar].into_iter().flatten();
    names.flat_map(|name| [format!("{name}::{platform}"), name.to_owned()]).collect()
}

/// References that look like this fleet's own, and nothing in it is called so.
fn phantoms(images: &[Image], index: &Index, diagnostics: &mut Vec<Diagnostic>) {
    let mut said = BTreeSet::new();
    for image in images {
        for external in &image.external {
            let text = &external.reference;
            let Ok(reference) = text.parse::<Reference>() else { continue };
            let last = reference.repository().rsplit('/').next().unwrap_or_default();
            let bare = text.split([':', '@']).next() == Some(last);
            let nowhere = bare && !is_official(last);
            if reference.digest().is_some() || !(nowhere || index.is_own(text)) {
                continue;
            }
            if !said.insert(text.clone()) {
                continue;
            }
            let known = images.iter().map(|image| image.name.as_str());
            let near = suggest(last, known).filter(|near| *near != image.name);
            let why = if nowhere { "Docker Hub has none either" } else { "others of its kind are" };
            diagnostics.push(Diagnostic {
                location: external.location.clone(),
                severity: Severity::Warning,
                code: "phantom-parent".to_owned(),
                message: format!("no image of this fleet is `{text}`, and {why}"),
                help: Some(match near {
                    Some(near) => {
                        format!("did you mean `{near}`? `[bases]` in `bakehouse.toml` can say so")
                    }
                    None => {
                        "add its Dockerfile, or say under `[bases]` in `bakehouse.toml` what it is"
                            .to_owned()
                    }
                }),
            });
        }
    }
}

/// Says what is taken for the fleet's own without anybody having said so.
fn guesses(images: &[Image], index: &Index) -> Vec<Diagnostic> {
    let mut notes = Vec::new();
    for namespace in index.voted() {
        let within = |edge: &&Edge| {
            edge.reference
                .strip_prefix(namespace.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let edges: Vec<&Edge> =
            images.iter().flat_map(|image| &image.needs).filter(within).collect();
        let Some(first) = edges.first() else { continue };
        let parents: BTreeSet<&str> = edges.iter().map(|edge| edge.image.as_str()).collect();
        notes.push(Diagnostic {
            location: first.location.clone(),
            severity: Severity::Note,
            code: "inferred-registry".to_owned(),
            message: format!(
                "`{namespace}` is taken for this fleet's own: it names {} of its images",
                parents.len()
            ),
            help: Some(format!("say `registry = \"{namespace}\"` in `bakehouse.toml`")),
        });
    }
    notes
}
