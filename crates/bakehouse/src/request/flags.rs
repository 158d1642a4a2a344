//! Flags that say how images are built, in the words of `docker build`.

use std::path::{Path, PathBuf};

use bakehouse_model::oci::Platform;
use bakehouse_plan::lower::option::{self, WrongOption};
use bakehouse_plan::lower::{NoCache, Settings};

use crate::cli::{Shape, Where};
use crate::context::Context;
use crate::failure::{Failure, Kind};

pub(crate) fn settings(place: &Where, shape: &Shape, cx: &Context) -> Result<Settings, Failure> {
    let mut settings = Settings::new(Platform::host());
    for text in &place.build_arg {
        match text.split_once('=') {
            Some((name, value)) => {
                settings.build_args.insert(name.to_owned(), value.to_owned());
            }
            None => {
                let value = cx.env.get(text).cloned();
                settings.build_args.extend(value.map(|value| (text.clone(), value)));
            }
        }
    }
    // As buildx does: the variable alone is enough for a repeatable build.
    if let Some(epoch) = cx.var("SOURCE_DATE_EPOCH") {
        settings.build_args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert(epoch.to_owned());
    }
    settings.platform = platforms(place)?.into_iter().next();
    for text in &shape.label {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        settings.labels.insert(name.to_owned(), value.to_owned());
    }
    for text in &shape.add_host {
        settings.extra_hosts.push(option::host(text).map_err(usage("--add-host"))?);
    }
    if let Some(network) = &shape.network {
        settings.network = option::network(network).map_err(usage("--network"))?;
    }
    settings.shm_size =
        shape.shm_size.as_deref().map(|text| size("--shm-size", text)).transpose()?;
    for text in &shape.ulimit {
        settings.ulimits.push(option::ulimit(text).map_err(usage("--ulimit"))?);
    }
    settings.no_cache = match (shape.no_cache, shape.no_cache_filter.is_empty()) {
        (true, _) => NoCache::Everything,
        (false, true) => NoCache::Nothing,
        (false, false) => NoCache::Stages(shape.no_cache_filter.clone()),
    };
    for entitlement in &shape.allow {
        match entitlement.as_str() {
            "security.insecure" => settings.allow_insecure = true,
            "network.host" => settings.allow_host_network = true,
            other if writable(other).is_some() => {}
            other => {
                return Err(Failure::new(Kind::Usage, format!("--allow `{other}` is not known"))
                    .hint("security.insecure, network.host and fs.write=FOLDER are"));
            }
        }
    }
    Ok(settings)
}

/// The folder that `--allow fs.write=FOLDER` names, or `fs=FOLDER` as bake has it too; `*` is
/// everything.
fn writable(entitlement: &str) -> Option<&Path> {
    let (kind, folder) = entitlement.split_once('=')?;
    let folder = if folder == "*" { "/" } else { folder };
    matches!(kind, "fs" | "fs.write").then_some(Path::new(folder))
}

/// Folders outside of the repository that definitions may write to.
pub(crate) fn writables(shape: &Shape, cx: &Context) -> Vec<PathBuf> {
    let folders = shape.allow.iter().filter_map(|entitlement| writable(entitlement));
    folders.filter_map(|folder| whole(&cx.cwd.join(folder))).collect()
}

/// The path without links, as far as it is there; none if it goes up where it is not, and so
/// leads nobody knows where.
pub(crate) fn whole(path: &Path) -> Option<PathBuf> {
    let mut rest = Vec::new();
    for folder in path.ancestors() {
        if let Ok(found) = folder.canonicalize() {
            return Some(rest.into_iter().rev().fold(found, |path, name| path.join(name)));
        }
        rest.push(folder.file_name()?);
    }
    None
}

/// `--platform`, each once.
pub(crate) fn platforms(place: &Where) -> Result<Vec<Platform>, Failure> {
    let mut platforms = Vec::new();
    for text in place.platform.iter().flat_map(|list| list.split(',')) {
        let platform: Platform =
            text.trim().parse().map_err(|error| Failure::from_error(Kind::Usage, &error))?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// What a flag says wrongly is a wrong command line.
fn usage(flag: &str) -> impl Fn(WrongOption) -> Failure {
    move |wrong| Failure::new(Kind::Usage, format!("{flag}: {wrong}")).hint(wrong.help())
}

/// `64m`, `1g`, `4096`.
pub(crate) fn size(flag: &str, text: &str) -> Result<u64, Failure> {
    option::size(text).map_err(usage(flag))
}
