//! From the tree below `build` to a [`Build`].

use std::collections::{BTreeMap, BTreeSet};

use crate::environment::Environment;
use crate::fields::{Fields, at, written};
use crate::merge::map;
use crate::path::{bare, leaves};
use crate::problem::{Report, error, note};
use crate::project::{Build, Context, Origin, Secret, Ulimit, Written};
use crate::yaml::{Kind, Node, Span};

/// What a build may refer to.
pub(crate) struct Around<'a> {
    /// The project's name.
    pub(crate) project: &'a str,
    /// Where arguments without a value get one.
    pub(crate) environment: &'a Environment<'a>,
    /// The project's services.
    pub(crate) services: &'a BTreeSet<&'a str>,
    /// The project's secrets.
    pub(crate) secrets: &'a BTreeMap<&'a str, &'a Node>,
}

/// The build of a service, if it has one. Without a context that is known, there is none.
pub(crate) fn build(service: &mut Fields<'_>, around: &Around<'_>) -> Option<Build> {
    let node = service.get("build")?;
    let long;
    let build = match &node.kind {
        Kind::Text(_) => {
            long = map(node.span.clone(), vec![("context".into(), node.clone())]);
            &long
        }
        Kind::Map(_) => node,
        _ => {
            service.mismatch("build", node, "a path or a map");
            return None;
        }
    };
    let mut fields = Fields::new(build, service.report());
    let fields = &mut fields;
    let context = main_context(fields, build);
    let known = context.is_some();
    // Without a context the rest is read all the same, for its mistakes.
    let nowhere = || at(Context::Folder(String::new()), node.span.location());
    let build = Build {
        location: node.span.location(),
        context: context.unwrap_or_else(nowhere),
        dockerfile: fields.text("dockerfile"),
        dockerfile_inline: inline(fields),
        target: fields.text("target"),
        args: args(fields, around.environment),
        labels: labels(fields),
        contexts: contexts(fields, around.services),
        cache_from: fields.texts("cache_from"),
        cache_to: fields.texts("cache_to"),
        platforms: fields.texts("platforms"),
        tags: fields.names("tags"),
        no_cache: fields.boolean("no_cache"),
        no_cache_filter: fields.one_or_more("no_cache_filter"),
        pull: fields.boolean("pull"),
        network: fields.text("network"),
        isolation: fields.text("isolation"),
        shm_size: shm_size(fields),
        ulimits: ulimits(fields),
        secrets: secrets(fields, around.secrets),
        ssh: ssh(fields),
        extra_hosts: extra_hosts(fields),
        entitlements: fields.texts("entitlements"),
        privileged: fields.boolean("privileged"),
        provenance: fields.scalar("provenance"),
        sbom: fields.scalar("sbom"),
        x_bake: fields.get("x-bake").cloned(),
    };
    known.then_some(build)
}

fn main_context(fields: &mut Fields<'_>, build: &Node) -> Option<Written<Context>> {
    let node = build.get("context")?;
    // A path that is empty has been placed, and so is empty no more.
    let text = fields.text("context")?;
    Some(at(context(&text.value, &node.span, fields.report()), text.location))
}

fn context(text: &str, span: &Span, report: &mut Report) -> Context {
    let after = |lead| text.strip_prefix(lead).map(str::to_owned);
    if text.starts_with("./") || text.starts_with('~') || leaves(text) {
        let path = bare(text);
        outside(path, span, report);
        return Context::Folder(path.to_owned());
    }
    if let Some(service) = after("service:") {
        return Context::Service(service);
    }
    if let Some(image) = after("docker-image://") {
        return Context::Image(image);
    }
    match after("oci-layout://") {
        Some(layout) => Context::Layout(layout),
        None => Context::Remote(text.to_owned()),
    }
}

/// Tells about a path that is not in the repository.
fn outside(path: &str, span: &Span, report: &mut Report) {
    if leaves(path) {
        let message = format!("`{path}` is outside the repository");
        let help = "changes there are not seen as changes of the repository";
        report.push(note(span, "outside-root", message, help));
    }
}

fn inline(fields: &mut Fields<'_>) -> Option<Written<String>> {
    let inline = fields.text("dockerfile_inline")?;
    if let Some(node) = fields.get("dockerfile") {
        let message = "`dockerfile` and `dockerfile_inline` exclude each other".to_owned();
        let help = "keep one of them; `dockerfile_inline` is taken here";
        fields.report().push(error(&node.span, "two-dockerfiles", message, help));
    }
    Some(inline)
}

fn args(
    fields: &mut Fields<'_>,
    environment: &Environment<'_>,
) -> BTreeMap<String, Written<Option<String>>> {
    let mut args = BTreeMap::new();
    for (name, value, span) in fields.pairs("args") {
        let value = value.or_else(|| environment.get(&name).map(|value| value.to_string()));
        args.insert(name, at(value, span.location()));
    }
    args
}

fn labels(fields: &mut Fields<'_>) -> BTreeMap<String, Written<String>> {
    let pairs = fields.pairs("labels").into_iter();
    pairs
        .map(|(name, value, span)| (name, at(value.unwrap_or_default(), span.location())))
        .collect()
}

fn contexts(
    fields: &mut Fields<'_>,
    services: &BTreeSet<&str>,
) -> BTreeMap<String, Written<Context>> {
    let mut contexts = BTreeMap::new();
    for (name, value, span) in fields.pairs("additional_contexts") {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            let message = format!("context `{name}` says not what it is");
            let help = "write a path, a URL, `service:NAME` or `docker-image://REFERENCE`";
            fields.report().push(error(&span, "wrong-type", message, help));
            continue;
        };
        let context = context(&value, &span, fields.report());
        if let Context::Service(service) = &context
            && !services.contains(service.as_str())
        {
            let message = format!("context `{name}` is service `{service}`, which is not there");
            let help = "name a service of this project";
            fields.report().push(error(&span, "unknown-service", message, help));
        }
        contexts.insert(name, at(context, span.location()));
    }
    contexts
}

fn shm_size(fields: &mut Fields<'_>) -> Option<Written<u64>> {
    let text = fields.scalar("shm_size")?;
    let node = fields.get("shm_size")?;
    let bytes = bytes(&text.value);
    if bytes.is_none() {
        let message = format!("`{}` is not a size", text.value);
        let help = "write a number with a unit, such as `64m` or `2gb`";
        fields.report().push(error(&node.span, "invalid-size", message, help));
    }
    Some(written(bytes?, node))
}

/// A number with an optional unit, in powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let letter = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = match letter {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    let bytes = number * 1024_f64.powi(power);
    // A cast saturates, and no one means a size that would.
    (0.0..1e19).contains(&bytes).then_some(bytes as u64)
}

fn ulimits(fields: &mut Fields<'_>) -> BTreeMap<String, Written<Ulimit>> {
    let mut ulimits = BTreeMap::new();
    let Some(node) = fields.get("ulimits") else { return ulimits };
    if !matches!(node.kind, Kind::Map(_)) {
        fields.mismatch("ulimits", node, "a map");
    }
    for entry in node.entries() {
        let limit = |node: Option<&Node>| node.and_then(Node::to_text)?.parse::<i64>().ok();
        let both = match &entry.value.kind {
            Kind::Map(_) => (limit(entry.value.get("soft")), limit(entry.value.get("hard"))),
            _ => (limit(Some(&entry.value)), limit(Some(&entry.value))),
        };
        match both {
            (Some(soft), Some(hard)) => {
                ulimits.insert(entry.key.clone(), written(Ulimit { soft, hard }, &entry.value));
            }
            _ => fields.mismatch(&entry.key, &entry.value, "a number, or `soft` and `hard`"),
        }
    }
    ulimits
}

fn secrets(fields: &mut Fields<'_>, known: &BTreeMap<&str, &Node>) -> Vec<Written<Secret>> {
    let mut secrets = Vec::new();
    let Some(node) = fields.get("secrets") else { return secrets };
    if !matches!(node.kind, Kind::List(_)) {
        fields.mismatch("secrets", node, "a list");
    }
    for item in node.items() {
        let source = item.as_str().or_else(|| item.get("source").and_then(Node::as_str));
        let Some(source) = source else {
            fields.mismatch("secrets", item, "names, or maps with `source`");
            continue;
        };
        let target = item.get("target").and_then(Node::to_text);
        let defined = known.get(source).copied();
        let origin = origin(source, defined, item, fields.report());
        secrets.push(written(Secret { id: source.to_owned(), target, origin }, item));
    }
    secrets
}

fn origin(name: &str, defined: Option<&Node>, item: &Node, report: &mut Report) -> Origin {
    let Some(defined) = defined else {
        let message = format!("secret `{name}` is not defined");
        let help = "define it under `secrets` at the top of the file";
        report.push(error(&item.span, "unknown-secret", message, help));
        return Origin::Undefined;
    };
    let text = |key: &str| defined.get(key).and_then(Node::as_str);
    match (text("file"), text("environment")) {
        (Some(file), _) => {
            let path = bare(file);
            outside(path, &defined.span, report);
            Origin::File(path.to_owned())
        }
        (None, Some(variable)) => Origin::Environment(variable.to_owned()),
        (None, None) => Origin::External,
    }
}

fn ssh(fields: &mut Fields<'_>) -> BTreeMap<String, Written<Option<String>>> {
    let pairs = fields.pairs("ssh").into_iter();
    let ssh = pairs.map(|(id, path, span)| {
        let path = path.filter(|path| !path.is_empty()).map(|path| bare(&path).to_owned());
        (id, at(path, span.location()))
    });
    ssh.collect()
}

fn extra_hosts(fields: &mut Fields<'_>) -> BTreeMap<String, Written<Vec<String>>> {
    let mut hosts: BTreeMap<String, Written<Vec<String>>> = BTreeMap::new();
    let Some(node) = fields.get("extra_hosts") else { return hosts };
    let mut add = |host: &str, address: &str, node: &Node| {
        let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = inner.unwrap_or(address).to_owned();
        let known = hosts.entry(host.to_owned()).or_insert_with(|| written(Vec::new(), node));
        known.value.push(address);
    };
    for entry in node.entries() {
        let values = match &entry.value.kind {
            Kind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(&entry.value),
        };
        for value in values {
            add(&entry.key, &value.to_text().unwrap_or_default(), value);
        }
    }
    let mut broken = Vec::new();
    for item in node.items() {
        let text = item.to_text().unwrap_or_default();
        match text.split_once('=').or_else(|| text.split_once(':')) {
            Some((host, addresses)) => {
                addresses.split(',').for_each(|address| add(host, address, item));
            }
            None => broken.push(item),
        }
    }
    for item in broken {
        fields.mismatch("extra_hosts", item, "`host=address`");
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn a_size_is_counted_in_powers_of_1024() {
        let table = [
            ("64", Some(64)),
            ("2gb", Some(2 << 30)),
            ("1.5k", Some(1536)),
            ("64 MiB", Some(64 << 20)),
            ("1kb", Some(1024)),
            ("many", None),
            ("-1", None),
            ("1.2.3", None),
            ("1x", None),
            ("1mi", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
