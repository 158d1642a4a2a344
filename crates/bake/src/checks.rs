//! What is refused before a build begins, although it could be read.

use bakehouse_model::{Diagnostic, Location, Severity};

use crate::entries::{Output, parse_bool};
use crate::paths;
use crate::target::Target;

/// Checks a resolved target, and settles its context and where its outputs go.
pub(crate) fn check(target: &mut Target) -> Result<(), Diagnostic> {
    let refused = |target: &Target, field: &str, why: String| {
        let place = target.location(field).or(target.block()).cloned();
        Diagnostic {
            location: Some(place.unwrap_or_else(|| Location::file("docker-bake.hcl"))),
            severity: Severity::Error,
            code: format!("invalid-{field}"),
            message: format!("`{field}` of `{}`: {why}", target.name),
            help: Some(format!("correct `{field}`, or leave it out")),
        }
    };
    let mut outputs = target.output.take();
    let checked = check_fields(target)
        .and_then(|()| check_outputs(outputs.as_mut()).map_err(|why| ("output", why)));
    target.output = outputs;
    checked.map_err(|(field, why)| refused(target, field, why))?;
    if let Some(context) = &mut target.context {
        *context = settled(context);
    }
    Ok(())
}

type Refusal = (&'static str, String);

fn check_fields(target: &Target) -> Result<(), Refusal> {
    let is_stdin = |path: &Option<String>| path.as_deref() == Some("-");
    if is_stdin(&target.context) || is_stdin(&target.dockerfile) {
        let field = if is_stdin(&target.context) { "context" } else { "dockerfile" };
        return Err((field, "it cannot be read from standard input".to_owned()));
    }
    let size = target.shm_size.as_deref();
    if let Some(size) = size.filter(|size| !is_size(size)) {
        return Err(("shm-size", format!("`{size}` is not a size like `64m`")));
    }
    let platforms = target.platforms.iter().flatten();
    if let Some(platform) =
        platforms.flat_map(|list| list.split(',')).find(|each| !is_platform(each))
    {
        return Err(("platforms", format!("`{platform}` is not a platform like `linux/amd64`")));
    }
    if let Some(limit) = target.ulimits.iter().flatten().find(|limit| !is_ulimit(limit)) {
        return Err(("ulimits", format!("`{limit}` is not a limit like `nofile=1024:2048`")));
    }
    if let Some(annotation) = target.annotations.iter().flatten().find(|each| !is_annotation(each))
    {
        return Err(("annotations", format!("`{annotation}` is not of the form `type:key=value`")));
    }
    Ok(())
}

/// `64m`, `1.5 GiB`.
fn is_size(text: &str) -> bool {
    let digits =
        text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let scale = unit.strip_suffix('b').unwrap_or(&unit);
    let scale = scale.strip_suffix('i').unwrap_or(scale);
    number.parse::<f64>().is_ok() && matches!(scale, "" | "k" | "m" | "g" | "t" | "p")
}

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "macos",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
const ARCHITECTURES: &[&str] = &[
    "386", "aarch64", "amd64", "arm", "arm64", "armbe", "armel", "armhf", "i386", "loong64",
    "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "wasm",
    "x86-64", "x86_64",
];

fn is_platform(text: &str) -> bool {
    let parts: Vec<String> = text.trim().split('/').map(str::to_ascii_lowercase).collect();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if parts.iter().any(|part| part.is_empty() || !part.bytes().all(plain)) {
        return false;
    }
    let known = |names: &[&str], part: &str| names.contains(&part);
    match &parts[..] {
        [one] => one == "local" || known(SYSTEMS, one) || known(ARCHITECTURES, one),
        [_, _] | [_, _, _] => true,
        _ => false,
    }
}

const LIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn is_ulimit(text: &str) -> bool {
    let Some((name, values)) = text.split_once('=') else { return false };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (Ok(soft), Ok(hard)) = (soft.parse::<i64>(), hard.parse::<i64>()) else { return false };
    LIMITS.contains(&name) && (hard == -1 || (soft != -1 && soft <= hard))
}

fn is_annotation(text: &str) -> bool {
    let Some((key, _)) = text.split_once('=') else { return false };
    let Some((kinds, _)) = key.split_once(':') else { return true };
    kinds.split(',').all(|kind| {
        let (kind, platform) = match kind.split_once('[') {
            Some((kind, rest)) => (kind, rest.strip_suffix(']').unwrap_or("")),
            None => (kind, "linux"),
        };
        let known = ["index", "index-descriptor", "manifest", "manifest-descriptor"];
        known.contains(&kind) && is_platform(platform)
    })
}

/// Sees to it that each output has somewhere to go.
fn check_outputs(outputs: Option<&mut Vec<Output>>) -> Result<(), String> {
    let mut streams = 0;
    for output in outputs.into_iter().flatten() {
        let tar = output.attributes.get("tar").and_then(|tar| parse_bool(tar)).unwrap_or(true);
        let (to_file, to_folder) = match output.kind.as_str() {
            "local" => (false, true),
            "tar" => (true, false),
            "oci" | "docker" => (tar, !tar),
            _ => (false, false),
        };
        if to_folder && matches!(output.destination.as_str(), "" | "-") {
            return Err(format!("`type={}` needs a folder: `dest=…`", output.kind));
        }
        if to_file && output.destination.is_empty() && output.kind != "docker" {
            output.destination = "-".to_owned();
        }
        streams += usize::from(to_file && output.destination == "-");
    }
    if streams > 1 { Err("only one output can go to standard output".to_owned()) } else { Ok(()) }
}

/// A context as a build has it: a path without detours, unless it is somewhere else.
fn settled(context: &str) -> String {
    if let Some(path) = context.strip_prefix("cwd://") {
        return paths::clean(path);
    }
    if is_remote(context) { context.to_owned() } else { paths::clean(context) }
}

/// Whether a context is fetched: over HTTP, or with Git.
fn is_remote(context: &str) -> bool {
    let protocol = context.split_once("://").map(|(protocol, _)| protocol);
    match protocol {
        Some("http" | "https" | "git" | "ssh") => true,
        Some(_) => false,
        None => context.starts_with("github.com/") || is_scp(context),
    }
}

/// `git@host:path`.
fn is_scp(context: &str) -> bool {
    let Some((user, rest)) = context.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let plain = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        !text.is_empty() && text.bytes().all(fits)
    };
    plain(user) && plain(host)
}
