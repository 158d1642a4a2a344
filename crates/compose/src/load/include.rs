//! `include`: other projects, taken in as a whole.
//!
//! An included project has a folder of its own, which is its first file's unless it says otherwise,
//! and an env file of its own. What the including file says about the same service is put on top.

use std::collections::{BTreeMap, BTreeSet};

use super::{INCLUDE_LIMIT, Loader, Scope};
use crate::environment::Environment;
use crate::merge::{Place, merge};
use crate::path::{bare, folder, join};
use crate::place::From;
use crate::problem::{error, note, warning};
use crate::yaml::{Entry, Kind, Node, Span};

/// One item of `include`.
struct Request {
    paths: Vec<String>,
    folder: Option<String>,
    env_files: Vec<String>,
    span: Span,
}

impl Loader<'_> {
    /// Takes in what `document` includes.
    pub(super) fn include(&mut self, document: &mut Node, scope: &Scope<'_>) {
        let Some(include) = document.remove("include") else { return };
        if !matches!(include.value.kind, Kind::List(_) | Kind::Null) {
            let message = format!("`include` is a list, not {}", include.value.describe());
            let help = "write one `- path` a line";
            self.report.push(error(&include.value.span, "wrong-type", message, help));
            return;
        }
        for item in include.value.items() {
            if self.is_spent() {
                return;
            }
            let Some(request) = self.request(item) else { continue };
            if let Some(model) = self.included(&request, scope) {
                self.import(document, model);
            }
        }
    }

    fn request(&mut self, item: &Node) -> Option<Request> {
        let span = item.span.clone();
        let request = match &item.kind {
            Kind::Text(path) => {
                Request { paths: vec![path.clone()], folder: None, env_files: Vec::new(), span }
            }
            Kind::Map(_) => Request {
                paths: texts(item.get("path")),
                folder: item.get("project_directory").and_then(Node::as_str).map(str::to_owned),
                env_files: texts(item.get("env_file")),
                span,
            },
            _ => Request { paths: Vec::new(), folder: None, env_files: Vec::new(), span },
        };
        if request.paths.is_empty() {
            let message = "an item of `include` names no file".to_owned();
            let help = "write a path, or a map with `path`";
            self.report.push(error(&request.span, "wrong-type", message, help));
            return None;
        }
        Some(request)
    }

    fn included(&mut self, request: &Request, scope: &Scope<'_>) -> Option<Node> {
        let from = From { folder: scope.folder, environment: scope.environment };
        let settle = |path: &String| bare(&from.path(path)).to_owned();
        if let Some(remote) = request.paths.iter().find(|path| path.contains("://")) {
            let message = format!("`{remote}` is elsewhere and is not read");
            let help = "copy the file into the repository to have its images built";
            self.report.push(note(&request.span, "remote-include", message, help));
            return None;
        }
        let paths: Vec<String> = request.paths.iter().map(settle).collect();
        if !self.may_include(&paths, request, scope) {
            return None;
        }
        let folder = match &request.folder {
            Some(folder) => join(scope.folder, folder),
            None => folder(&paths[0]),
        };
        let environment = self.included_environment(request, &folder, scope);
        let inner = Scope { folder: &folder, environment: &environment, chain: scope.chain };
        Some(self.model(&paths, &inner, &request.span))
    }

    /// Whether none of the files is being read already.
    fn may_include(&mut self, paths: &[String], request: &Request, scope: &Scope<'_>) -> bool {
        let repeated = paths.iter().find(|path| scope.chain.contains(path));
        if let Some(path) = repeated {
            let chain = scope.chain.join(" -> ");
            let message = format!("`{path}` includes itself: {chain} -> {path}");
            let help = "take one of the includes out";
            self.report.push(error(&request.span, "include-cycle", message, help));
        } else if scope.chain.len() > INCLUDE_LIMIT {
            let message = format!("files include each other deeper than {INCLUDE_LIMIT}");
            let help = "include them from one file";
            self.report.push(error(&request.span, "include-too-deep", message, help));
            return false;
        }
        repeated.is_none()
    }

    fn included_environment<'e>(
        &mut self,
        request: &Request,
        folder: &str,
        scope: &Scope<'e>,
    ) -> Environment<'e> {
        if request.env_files.is_empty() {
            return self.env_files(&[join(folder, ".env")], scope.environment, None);
        }
        let named = request.env_files.iter().filter(|path| *path != "/dev/null");
        let paths: Vec<String> = named.map(|path| join(scope.folder, path)).collect();
        self.env_files(&paths, scope.environment, Some(&request.span))
    }

    /// Puts what `document` says on what it includes.
    fn import(&mut self, document: &mut Node, mut model: Node) {
        if !self.spend(document.weight(), &document.span) {
            return;
        }
        for key in ["services", "secrets"] {
            let Some(Entry { value: Node { kind: Kind::Map(mut imported), .. }, key_span, .. }) =
                model.remove(key)
            else {
                continue;
            };
            let Kind::Map(own) = &mut section(document, key, &key_span).kind else { continue };
            let names: BTreeSet<&str> = imported.iter().map(|entry| entry.key.as_str()).collect();
            let (both, rest) =
                std::mem::take(own).into_iter().partition(|entry| names.contains(&*entry.key));
            *own = rest;
            let mut both: BTreeMap<String, Entry> = by_key(both);
            for entry in &mut imported {
                if let Some(own) = both.remove(&entry.key) {
                    self.put_on(key, entry, own);
                }
            }
            own.append(&mut imported);
        }
    }

    fn put_on(&mut self, section: &str, imported: &mut Entry, own: Entry) {
        let from = imported.key_span.location();
        let message = format!("`{}` is in the included {from} too", own.key);
        let help = "older versions of Compose refuse this; put the change in an override file";
        self.report.push(warning(&own.key_span, "include-conflict", message, help));
        let place = if section == "services" { Place::Service } else { Place::Other };
        let nothing = Node::new(Kind::Null, imported.key_span.clone());
        let below = std::mem::replace(&mut imported.value, nothing);
        imported.value = merge(below, own.value, place, &mut self.report);
        imported.key_span = own.key_span;
    }
}

fn by_key(entries: Vec<Entry>) -> BTreeMap<String, Entry> {
    entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect()
}

/// The map under `key`, made if it is not there.
fn section<'n>(document: &'n mut Node, key: &str, span: &Span) -> &'n mut Node {
    let missing = document.get(key).is_none_or(|node| !matches!(node.kind, Kind::Map(_)));
    if missing {
        document.remove(key);
        if let Kind::Map(entries) = &mut document.kind {
            let value = Node::new(Kind::Map(Vec::new()), span.clone());
            entries.push(Entry { key: key.to_owned(), key_span: span.clone(), value });
        }
    }
    document.get_mut(key).expect("a document is a map, and it has the key now")
}

/// The text, or all texts of a list.
fn texts(node: Option<&Node>) -> Vec<String> {
    let Some(node) = node else { return Vec::new() };
    match node.as_str() {
        Some(text) => vec![text.to_owned()],
        None => node.items().iter().filter_map(Node::as_str).map(str::to_owned).collect(),
    }
}
