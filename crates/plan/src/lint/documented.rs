//! A document that draws the fleet, compared with the fleet.
//!
//! 1. `page`, `arrows` and `json` read what is drawn: names and edges, each with its place
//!    ([`Drawing`]). What cannot be told from a drawing is left out, not guessed.
//! 2. Here it is compared: names that are no image, images that are not drawn, edges that no
//!    `FROM` has, images below two bases, and numbers that are not those of the names.

mod arrows;
mod json;
mod names;
mod page;

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::{Diagnostic, Location};

use self::names::{Known, Name};
use super::Given;
use crate::codes::{Code, warning};
use crate::fleet::{Edge, Fleet, Image};

pub(super) const CODE: Code = warning(
    "documented-graph",
    "the documented graph is not that of the Dockerfiles",
    "correct the document; `bakehouse graph` shows what is so",
);

/// The largest document that is read, in bytes.
const MAX_SIZE: usize = 1 << 20;

/// The most names that one message lists.
const LISTED: usize = 12;

/// The most names that are no image and are told.
const STRANGERS: usize = 50;

/// What a document draws.
#[derive(Debug, Default)]
struct Drawing {
    /// Every name.
    names: Vec<Name>,
    /// Every edge: the image and its base.
    edges: Vec<(Name, Name)>,
    /// Edges of which the direction is not known.
    arrows: Vec<(Name, Name)>,
    /// Names that something is drawn below, even if that is no name.
    inner: Vec<Name>,
    /// How many bases it says that there are, and where.
    bases: Vec<(usize, Name)>,
}

pub(super) fn find(fleet: &Fleet, given: &Given<'_>) -> Vec<Diagnostic> {
    let Some((path, text)) = given.documented else { return Vec::new() };
    let whole = |message: &str| {
        let message = format!("`{path}` {message}");
        vec![CODE.at(Location::file(path), message)]
    };
    if text.len() > MAX_SIZE {
        return whole("is too large to be a drawing of a fleet");
    }
    let known = Known::new(fleet);
    let mut drawing = read(path, text, &known);
    if drawing.names.is_empty() {
        return whole("draws no graph: there is no tree, list, table or arrow of images in it");
    }
    direct(&mut drawing, fleet, &known);
    let lines = text.lines().collect();
    let compared = Compared { fleet, known: &known, drawing: &drawing, path, lines };
    let mut found = compared.strangers();
    found.extend(compared.missing());
    found.extend(compared.edges());
    found.extend(compared.counts());
    found
}

fn read(path: &str, text: &str, known: &Known<'_>) -> Drawing {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending.to_ascii_lowercase().as_str() {
        "json" => json::read(text),
        "dot" | "gv" | "mmd" | "mermaid" => arrows::read(text, 1),
        _ => page::read(text, known),
    }
}

/// Decides what arrows mean: of both directions the one that more of the fleet's edges have.
fn direct(drawing: &mut Drawing, fleet: &Fleet, known: &Known<'_>) {
    let stands = |image: &Name, base: &Name| {
        let (Some(image), Some(base)) = (known.image(image), known.image(base)) else {
            return false;
        };
        let image = fleet.image(image);
        image.is_some_and(|image| image.needs.iter().any(|edge| edge.image == base))
    };
    let arrows = std::mem::take(&mut drawing.arrows);
    let to_image = arrows.iter().filter(|(from, to)| stands(to, from)).count();
    let to_base = arrows.iter().filter(|(from, to)| stands(from, to)).count();
    let edges = arrows.into_iter();
    drawing
        .edges
        .extend(edges.map(|(from, to)| if to_base > to_image { (from, to) } else { (to, from) }));
}

struct Compared<'a> {
    fleet: &'a Fleet,
    known: &'a Known<'a>,
    drawing: &'a Drawing,
    path: &'a str,
    lines: Vec<&'a str>,
}

impl Compared<'_> {
    fn tell(&self, name: &Name, message: String) -> Diagnostic {
        let line = usize::try_from(name.line).ok().and_then(|line| self.lines.get(line - 1));
        let before = line.and_then(|line| line.get(..name.at)).unwrap_or_default();
        let column = u32::try_from(before.chars().count()).unwrap_or(u32::MAX);
        CODE.at(Location::new(self.path, name.line, column.saturating_add(1)), message)
    }

    /// Names that are no image, each once.
    fn strangers(&self) -> Vec<Diagnostic> {
        let mut seen = BTreeSet::new();
        let unknown = |name: &&Name| !self.known.is_known(name);
        let strangers = self.drawing.names.iter().filter(unknown);
        let once = strangers.filter(|name| seen.insert(name.key())).take(STRANGERS);
        let told = once.map(|name| {
            let diagnostic = self.tell(name, format!("no image of the fleet is `{}`", name.text));
            match self.known.near(&name.text) {
                Some(near) => {
                    let help =
                        format!("did you mean `{near}`? If not, take it out of the document");
                    Diagnostic { help: Some(help), ..diagnostic }
                }
                None => Diagnostic {
                    help: Some("take it out of the document, or add its Dockerfile".to_owned()),
                    ..diagnostic
                },
            }
        });
        told.collect()
    }

    /// Images that are not drawn, in one message.
    fn missing(&self) -> Option<Diagnostic> {
        let drawn: BTreeSet<&str> =
            self.drawing.names.iter().filter_map(|name| self.known.image(name)).collect();
        let all = self.fleet.images.iter().map(|image| image.name.as_str());
        let missing: Vec<&str> = all.filter(|name| !drawn.contains(name)).collect();
        let first = self.drawing.names.iter().min()?;
        let mut shown: Vec<String> =
            missing.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
        if missing.len() > LISTED {
            shown.push(format!("{} more", missing.len() - LISTED));
        }
        let what = match missing.len() {
            0 => return None,
            1 => "1 image of the fleet is not drawn",
            count => &format!("{count} images of the fleet are not drawn"),
        };
        Some(self.tell(first, format!("{what}: {}", shown.join(", "))))
    }

    /// Every image with the bases that are drawn below it, against those that it has.
    fn edges(&self) -> Vec<Diagnostic> {
        let mut drawn: BTreeMap<String, BTreeMap<String, (&Name, &Name)>> = BTreeMap::new();
        for (image, base) in &self.drawing.edges {
            let edges = drawn.entry(self.known.same(image)).or_default();
            edges.entry(self.known.same(base)).or_insert((image, base));
        }
        let told = drawn.into_values().flat_map(|edges| {
            let mut edges: Vec<(&Name, &Name)> = edges.into_values().collect();
            edges.sort();
            let image = self.known.image(edges[0].0).and_then(|name| self.fleet.image(name));
            match image {
                Some(image) => self.of_image(image, &edges),
                None => self.of_stranger(&edges),
            }
        });
        // Images are told once each; the limit is for strangers.
        let told: Vec<Diagnostic> = told.take(self.fleet.images.len() + STRANGERS).collect();
        told.into_iter().chain(self.rootless()).collect()
    }

    /// An image that is not there may still be drawn twice.
    fn of_stranger(&self, edges: &[(&Name, &Name)]) -> Vec<Diagnostic> {
        if edges.len() < 2 {
            return Vec::new();
        }
        let last = edges[edges.len() - 1].0;
        vec![self.tell(last, format!("`{}` is drawn below {}", last.text, bases(edges)))]
    }

    fn of_image(&self, image: &Image, edges: &[(&Name, &Name)]) -> Vec<Diagnostic> {
        let needs = |base: &Name| {
            let name = self.known.image(base);
            image.needs.iter().any(|edge| Some(edge.image.as_str()) == name)
        };
        // A base that is no image is told as such; the edge to it says nothing more.
        let false_ones: Vec<(&Name, &Name)> = edges
            .iter()
            .filter(|(_, base)| self.known.image(base).is_some() && !needs(base))
            .copied()
            .collect();
        let Some((place, base)) = false_ones.first().copied() else { return Vec::new() };
        let so = self.truth(image);
        if edges.len() > 1 {
            let message = format!("`{}` is drawn below {}, and {so}", image.name, bases(edges));
            return vec![self.tell(place, message)];
        }
        let message = format!("`{}` is drawn below `{}`, and {so}", image.name, base.text);
        vec![self.tell(place, message)]
    }

    /// Images that are drawn as if they stood on none, in a drawing that has edges.
    fn rootless(&self) -> Vec<Diagnostic> {
        let bases: BTreeSet<String> =
            self.drawing.edges.iter().map(|(_, base)| self.known.same(base)).collect();
        let based: BTreeSet<String> =
            self.drawing.edges.iter().map(|(image, _)| self.known.same(image)).collect();
        let is_root = |name: &&Name| {
            let same = self.known.same(name);
            bases.contains(&same) && !based.contains(&same)
        };
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for name in self.drawing.names.iter().filter(is_root) {
            let image = self.known.image(name).and_then(|name| self.fleet.image(name));
            let Some(image) = image.filter(|image| !image.needs.is_empty()) else { continue };
            if seen.insert(&image.name) {
                let message =
                    format!("`{}` is drawn below none, and {}", name.text, self.truth(image));
                found.push(self.tell(name, message));
            }
        }
        found
    }

    /// What an image stands on, and where that is written.
    fn truth(&self, image: &Image) -> String {
        let place = |edge: &Edge| match &edge.location {
            Some(place) => format!("`{}` ({place})", edge.image),
            None => format!("`{}`", edge.image),
        };
        let needs: Vec<String> = image.needs.iter().map(place).collect();
        match image.external.first() {
            _ if !needs.is_empty() => format!("it stands on {}", needs.join(", ")),
            Some(external) => match &external.location {
                Some(place) => format!("it stands on `{}` ({place})", external.reference),
                None => format!("it stands on `{}`", external.reference),
            },
            None => "it stands on no image".to_owned(),
        }
    }

    /// Numbers of bases that are not those of the names that something is drawn below.
    fn counts(&self) -> Vec<Diagnostic> {
        let bases = self.drawing.edges.iter().map(|(_, base)| base).chain(&self.drawing.inner);
        let bases: BTreeSet<String> = bases.map(|base| self.known.same(base)).collect();
        let wrong = self
            .drawing
            .bases
            .iter()
            .filter(|(said, _)| *said != bases.len() && !self.drawing.edges.is_empty());
        let told = wrong.map(|(said, place)| {
            let message = format!("`{}` are {said}, and {} are drawn", place.text, bases.len());
            self.tell(place, message)
        });
        told.collect()
    }
}

/// `` `a` (line 3) and `b` (line 9) ``.
fn bases(edges: &[(&Name, &Name)]) -> String {
    let named: Vec<String> =
        edges.iter().map(|(at, base)| format!("`{}` (line {})", base.text, at.line)).collect();
    named.join(" and ")
}
