//! `extends`: a service that begins as another one.
//!
//! The other service may be in the same file or in another one, and may itself extend. What a
//! service says is put on what it extends. One that cannot be extended stands as it is written.

use std::collections::BTreeMap;

use super::{Loader, Scope};
use crate::merge::{Place, merge, sweep};
use crate::path::{bare, folder};
use crate::problem::error;
use crate::yaml::{Kind, Node, Span};

/// How many services may extend each other in a row.
const CHAIN_LIMIT: usize = 32;

/// The services of a file by name.
type Services = BTreeMap<String, Node>;

/// Which services are being extended, by file and name, outermost first.
type Trail = Vec<(String, String)>;

/// What a service extends.
struct Target {
    service: String,
    file: Option<String>,
    span: Span,
}

impl Loader<'_> {
    /// Extends every service of `document`, which is in `file`.
    pub(super) fn extend(&mut self, document: &mut Node, file: &str, scope: &Scope<'_>) {
        let mut services = services(document);
        if !services.values().any(|service| service.get("extends").is_some()) {
            return;
        }
        let names: Vec<String> = services.keys().cloned().collect();
        for name in names {
            self.extended(&name, &mut services, (file, scope), &mut Trail::new());
        }
        let Some(Kind::Map(entries)) = document.get_mut("services").map(|node| &mut node.kind)
        else {
            return;
        };
        for entry in entries {
            if let Some(service) = services.remove(&entry.key) {
                entry.value = service;
            }
        }
    }

    /// The service `name`, extended; it is put back so that no service is extended twice.
    fn extended(
        &mut self,
        name: &str,
        services: &mut Services,
        at: (&str, &Scope<'_>),
        trail: &mut Trail,
    ) -> Option<Node> {
        let (file, scope) = at;
        let service = services.get(name).filter(|_| !self.is_spent())?;
        if !self.spend(service.weight(), &service.span) {
            return None;
        }
        let mut service = service.clone();
        let Some(extends) = service.remove("extends") else {
            return Some(service);
        };
        if let Some(target) = self.target(name, &extends.value)
            && self.may_extend(&target, name, file, trail)
        {
            trail.push((file.to_owned(), name.to_owned()));
            let base = match &target.file {
                Some(other) => self.base_elsewhere(&target, other, scope, trail),
                None => self.base_here(&target, services, at, trail),
            };
            trail.pop();
            if let Some(mut base) = base {
                sweep(&mut base);
                service = merge(base, service, Place::Service, &mut self.report);
            }
        }
        services.insert(name.to_owned(), service.clone());
        Some(service)
    }

    fn target(&mut self, name: &str, extends: &Node) -> Option<Target> {
        let span = extends.span.clone();
        let service = extends.as_str().or_else(|| extends.get("service").and_then(Node::as_str));
        let Some(service) = service else {
            let message = format!("`extends` of service `{name}` names no service");
            let help = "write the name of a service, or a map with `service`";
            self.report.push(error(&span, "wrong-type", message, help));
            return None;
        };
        let file = extends.get("file").and_then(Node::as_str).map(|path| bare(path).to_owned());
        Some(Target { service: service.to_owned(), file, span })
    }

    fn may_extend(&mut self, target: &Target, name: &str, file: &str, trail: &Trail) -> bool {
        let next = (target.file.as_deref().unwrap_or(file), target.service.as_str());
        let here = (file, name);
        let known = trail.iter().map(|(file, name)| (file.as_str(), name.as_str()));
        if known.chain([here]).any(|link| link == next) {
            let names: Vec<&str> = trail.iter().map(|(_, name)| name.as_str()).collect();
            let chain = names.into_iter().chain([name, target.service.as_str()]);
            let chain = chain.collect::<Vec<_>>().join(" -> ");
            let message = format!("service `{}` extends itself: {chain}", target.service);
            let help = "take one of the `extends` out";
            self.report.push(error(&target.span, "extends-cycle", message, help));
            return false;
        }
        if trail.len() >= CHAIN_LIMIT {
            let message = format!("more than {CHAIN_LIMIT} services extend each other in a row");
            let help = "extend the first of them directly";
            self.report.push(error(&target.span, "extends-too-deep", message, help));
            return false;
        }
        true
    }

    fn base_here(
        &mut self,
        target: &Target,
        services: &mut Services,
        at: (&str, &Scope<'_>),
        trail: &mut Trail,
    ) -> Option<Node> {
        if !services.contains_key(&target.service) {
            self.unknown(target, at.0);
            return None;
        }
        self.extended(&target.service, services, at, trail)
    }

    fn base_elsewhere(
        &mut self,
        target: &Target,
        other: &str,
        scope: &Scope<'_>,
        trail: &mut Trail,
    ) -> Option<Node> {
        let documents = self.documents(other, &target.span)?;
        let folder = folder(other);
        let inner = Scope { folder: &folder, ..*scope };
        let mut found = Services::new();
        for document in documents.iter() {
            if let Some(document) = self.prepare(document, &inner) {
                found.extend(services(&document));
            }
        }
        if !found.contains_key(&target.service) {
            self.unknown(target, other);
            return None;
        }
        self.extended(&target.service, &mut found, (other, &inner), trail)
    }

    fn unknown(&mut self, target: &Target, file: &str) {
        let message = format!("service `{}` is not in `{file}`", target.service);
        let help = "check the name, or name the file that has it with `file`";
        self.report.push(error(&target.span, "unknown-service", message, help));
    }
}

fn services(document: &Node) -> Services {
    let entries = document.get("services").map(Node::entries).unwrap_or_default();
    entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
}
