//! From a merged tree to services.

use std::collections::{BTreeMap, BTreeSet};

use crate::build::{self, Around};
use crate::fields::{Fields, at};
use crate::problem::{Report, error, warning};
use crate::project::{Service, Written};
use crate::yaml::{Entry, Kind, Node};

/// All services of `model`.
pub(crate) fn services(
    model: &Node,
    around: &Around<'_>,
    profiles: &BTreeSet<String>,
    report: &mut Report,
) -> BTreeMap<String, Service> {
    let mut services = BTreeMap::new();
    let Some(section) = model.get("services").filter(|node| !node.is_null()) else {
        if !report.has_errors() {
            let message = format!("`{}` has no services", model.span.file);
            report.push(warning(
                &model.span,
                "no-services",
                message,
                "write them below `services:`",
            ));
        }
        return services;
    };
    if !matches!(section.kind, Kind::Map(_)) {
        let message = format!("`services` is a map, not {}", section.describe());
        report.push(error(&section.span, "wrong-type", message, "write `name:` for every service"));
    }
    for entry in section.entries() {
        if let Some(service) = service(entry, around, profiles, report) {
            services.insert(service.name.clone(), service);
        }
    }
    services
}

fn service(
    entry: &Entry,
    around: &Around<'_>,
    profiles: &BTreeSet<String>,
    report: &mut Report,
) -> Option<Service> {
    let name = entry.key.clone();
    if !is_name(&name) {
        let message = format!("`{name}` cannot be the name of a service");
        let help = "use letters, digits, `.`, `_` and `-`";
        report.push(error(&entry.key_span, "invalid-name", message, help));
        return None;
    }
    if !matches!(entry.value.kind, Kind::Map(_) | Kind::Null) {
        let message = format!("service `{name}` is a map, not {}", entry.value.describe());
        report.push(error(
            &entry.value.span,
            "wrong-type",
            message,
            "write `image:` or `build:` in it",
        ));
        return None;
    }
    let mut fields = Fields::new(&entry.value, report);
    let own = fields.names("profiles");
    let on = |profile: &Written<String>| profiles.contains(&profile.value);
    Some(Service {
        location: entry.key_span.location(),
        image: fields.text("image"),
        default_image: format!("{}-{name}", around.project),
        build: build::build(&mut fields, around),
        platform: fields.text("platform"),
        depends_on: depends_on(&mut fields, around.services),
        enabled: own.is_empty() || profiles.contains("*") || own.iter().any(on),
        profiles: own,
        name,
    })
}

fn depends_on(fields: &mut Fields<'_>, services: &BTreeSet<&str>) -> Vec<Written<String>> {
    let names = match fields.get("depends_on") {
        Some(Node { kind: Kind::Map(entries), .. }) => {
            let name = |entry: &Entry| at(entry.key.clone(), entry.key_span.location());
            entries.iter().map(name).collect()
        }
        _ => fields.names("depends_on"),
    };
    for name in &names {
        if !services.contains(name.value.as_str()) {
            let message = format!("service `{}` is not there to depend on", name.value);
            let help = "check the name; Compose refuses to start the project";
            fields.report().push(warning(
                name.location.clone(),
                "unknown-dependency",
                message,
                help,
            ));
        }
    }
    names
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}
