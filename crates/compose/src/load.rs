//! From files to one tree: reading, filling in variables, including, extending, merging.
//!
//! Each document of each file goes the same way, and in this order: what does not matter for images
//! is dropped ([`crate::keys`]), variables are filled in, paths are placed, what it includes is taken
//! in, its services are extended, and it is put on what the files before it gave. So a file that is
//! broken costs only itself.
//!
//! A file is parsed once. What all of it may cost together is bounded by [`WORK_LIMIT`], how deep
//! files may include each other by [`INCLUDE_LIMIT`].

mod extends;
mod include;

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::dotenv;
use crate::environment::{Environment, Values};
use crate::interpolate::interpolate;
use crate::keys;
use crate::merge::{Place, map, merge, sweep};
use crate::place;
use crate::problem::{Report, error};
use crate::yaml::{Entry, Kind, NODE_WEIGHT, Node, Span, parse_all};

/// What all trees together may weigh, copies for includes and extensions included.
const WORK_LIMIT: usize = 32 << 20;

/// What a document costs however small it is.
const DOCUMENT_WEIGHT: usize = 16 << 10;

/// The mark of a value that is lost to its variables.
pub(crate) const FAULT: &str = "!fault";

/// How deep files may include each other.
const INCLUDE_LIMIT: usize = 32;

/// Reads files on behalf of one project.
pub(crate) struct Loader<'a> {
    load: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    pub(crate) report: Report,
    /// Every file that was read, in the order of reading.
    pub(crate) files: Vec<String>,
    parsed: BTreeMap<String, Rc<Vec<Node>>>,
    work: usize,
}

/// How a group of files is read.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    /// The folder that their relative paths mean.
    pub(crate) folder: &'a str,
    /// What their variables are.
    pub(crate) environment: &'a Environment<'a>,
    /// The files that are being included, outermost first.
    pub(crate) chain: &'a [String],
}

impl<'a> Loader<'a> {
    pub(crate) fn new(load: &'a dyn Fn(&str) -> Option<Vec<u8>>) -> Self {
        Self {
            load,
            report: Report::default(),
            files: Vec::new(),
            parsed: BTreeMap::new(),
            work: 0,
        }
    }

    /// Takes in a file whose bytes are known.
    pub(crate) fn supply(&mut self, path: &str, bytes: &[u8]) -> Rc<Vec<Node>> {
        self.note(path);
        let documents = match decode(path, bytes).and_then(|text| parse_all(text, path)) {
            Ok(documents) => documents,
            Err(problem) => {
                self.report.push(problem);
                Vec::new()
            }
        };
        let documents = Rc::new(documents);
        self.parsed.insert(path.to_owned(), Rc::clone(&documents));
        documents
    }

    /// The documents of a file; `asked` is where it is named.
    fn documents(&mut self, path: &str, asked: &Span) -> Option<Rc<Vec<Node>>> {
        if let Some(documents) = self.parsed.get(path) {
            return Some(Rc::clone(documents));
        }
        let bytes = self.bytes(path, asked)?;
        Some(self.supply(path, &bytes))
    }

    fn bytes(&mut self, path: &str, asked: &Span) -> Option<Vec<u8>> {
        let bytes = (self.load)(path);
        if bytes.is_none() {
            let message = format!("`{path}` cannot be read");
            self.report.push(error(asked, "missing-file", message, "check the path"));
        }
        bytes
    }

    fn note(&mut self, path: &str) {
        if !self.files.iter().any(|file| file == path) {
            self.files.push(path.to_owned());
        }
    }

    /// The environment with the values of env files, of which later ones count more.
    ///
    /// `asked` is where the files are named; without it, they may be missing.
    pub(crate) fn env_files<'e>(
        &mut self,
        paths: &[String],
        environment: &Environment<'e>,
        asked: Option<&Span>,
    ) -> Environment<'e> {
        let mut values = Values::new();
        for path in paths {
            let Some(text) = self.env_text(path, asked) else { continue };
            if !self.spend(text.len() + environment.len() * NODE_WEIGHT, &Span::file(path)) {
                break;
            }
            let known = |name: &str| environment.get(name).or_else(|| values.get(name).cloned());
            let found = dotenv::read(&text, path, &known);
            found.diagnostics.into_iter().for_each(|problem| self.report.push(problem));
            values.extend(found.values);
        }
        environment.with(values)
    }

    fn env_text(&mut self, path: &str, asked: Option<&Span>) -> Option<String> {
        let bytes = match asked {
            Some(asked) => self.bytes(path, asked)?,
            None => (self.load)(path)?,
        };
        self.note(path);
        match decode(path, &bytes) {
            Ok(text) => Some(text.to_owned()),
            Err(problem) => {
                self.report.push(problem);
                None
            }
        }
    }

    /// The merged tree of `files`, which are named at `asked`.
    pub(crate) fn model(&mut self, files: &[String], scope: &Scope<'_>, asked: &Span) -> Node {
        let mut model = map(asked.clone(), Vec::new());
        for file in files {
            let mut chain = scope.chain.to_vec();
            chain.push(file.clone());
            let inner = Scope { chain: &chain, ..*scope };
            let Some(documents) = self.documents(file, asked) else { continue };
            for document in documents.iter() {
                let Some(mut document) = self.prepare(document, &inner) else { continue };
                if !self.spend(model.weight(), &document.span) {
                    break;
                }
                self.include(&mut document, &inner);
                self.extend(&mut document, file, &inner);
                model = merge(model, document, Place::Document, &mut self.report);
                sweep(&mut model);
            }
        }
        contexts(&mut model, scope);
        model
    }

    /// A document with its variables filled in and its paths placed; nothing, if it is no map.
    fn prepare(&mut self, document: &Node, scope: &Scope<'_>) -> Option<Node> {
        if document.is_null() || self.is_spent() {
            return None;
        }
        if !matches!(document.kind, Kind::Map(_)) {
            let message = format!("a Compose file is a map, not {}", document.describe());
            let help = "begin with `services:`";
            self.report.push(error(&document.span, "wrong-type", message, help));
            return None;
        }
        let mut document = keys::select(document, &mut self.report);
        if !self.spend(DOCUMENT_WEIGHT + document.weight(), &document.span) {
            return None;
        }
        self.fill(&mut document, scope.environment);
        let from = place::From { folder: scope.folder, environment: scope.environment };
        place::document(&mut document, &from);
        Some(document)
    }

    /// Fills in variables; a value whose variables are at fault becomes nothing, and is marked.
    fn fill(&mut self, node: &mut Node, environment: &Environment<'_>) {
        match &mut node.kind {
            Kind::Text(text) if text.contains('$') => {
                let mut unset = Vec::new();
                let filled = interpolate(text, &|name| environment.get(name), &mut unset);
                for name in unset {
                    self.report.push(dotenv::unset_variable(&node.span, &name));
                }
                match filled {
                    Ok(filled) if self.spend(filled.len(), &node.span) => *text = filled,
                    Ok(_) => node.kind = Kind::Null,
                    Err(fault) => {
                        self.report.push(dotenv::fault_diagnostic(&node.span, &fault));
                        (node.kind, node.tag) = (Kind::Null, Some(FAULT.into()));
                    }
                }
            }
            Kind::List(items) => items.iter_mut().for_each(|item| self.fill(item, environment)),
            Kind::Map(entries) => {
                entries.iter_mut().for_each(|entry| self.fill(&mut entry.value, environment));
            }
            _ => {}
        }
    }

    /// Whether nothing more is read.
    fn is_spent(&self) -> bool {
        self.work > WORK_LIMIT
    }

    /// Whether there is room for so much more.
    fn spend(&mut self, weight: usize, span: &Span) -> bool {
        let before = self.work;
        self.work = self.work.saturating_add(weight);
        if self.is_spent() && before <= WORK_LIMIT {
            let message = "the project grows too large here; the rest is not read".to_owned();
            let help = "include and extend less, or split the project";
            self.report.push(error(span, "compose-too-large", message, help));
        }
        !self.is_spent()
    }
}

fn decode<'b>(path: &str, bytes: &'b [u8]) -> Result<&'b str, bakehouse_model::Diagnostic> {
    std::str::from_utf8(bytes).map_err(|problem| {
        let before = &bytes[..problem.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let last = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let column = String::from_utf8_lossy(last).chars().count() + 1;
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let (line, column) = (number(line), number(column));
        let span = Span { file: path.into(), line, column, end_line: line };
        error(&span, "invalid-utf8", format!("`{path}` is not UTF-8"), "save the file as UTF-8")
    })
}

/// A build without a context has the folder of its project.
fn contexts(model: &mut Node, scope: &Scope<'_>) {
    let from = place::From { folder: scope.folder, environment: scope.environment };
    let Some(Kind::Map(services)) = model.get_mut("services").map(|node| &mut node.kind) else {
        return;
    };
    for service in services {
        let Some(build) = service.value.get_mut("build") else { continue };
        let nothing = |node: &Node| node.is_null() && node.tag.as_deref() != Some(FAULT);
        let missing = build.get("context").is_none_or(nothing);
        if let Kind::Map(entries) = &mut build.kind
            && missing
        {
            entries.retain(|entry| entry.key != "context");
            let place = Node::new(Kind::Text(from.path(".")), build.span.clone());
            let key_span = build.span.clone();
            entries.push(Entry { key: "context".to_owned(), key_span, value: place });
        }
    }
}
