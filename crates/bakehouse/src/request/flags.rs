//! Flags that say how images are built, in the words of `docker build`.

use bakehouse_model::oci::Platform;
use bakehouse_model::op::{Network, Ulimit};
use bakehouse_plan::lower::{NoCache, Settings};

use crate::cli::{Shape, Where};
use crate::context::Context;
use crate::failure::{Failure, Kind};

pub(super) fn settings(place: &Where, shape: &Shape, cx: &Context) -> Result<Settings, Failure> {
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
        settings.extra_hosts.push(host(text)?);
    }
    settings.network = network(shape.network.as_deref())?;
    settings.shm_size = shape.shm_size.as_deref().map(size).transpose()?;
    for text in &shape.ulimit {
        settings.ulimits.push(ulimit(text)?);
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
            other => {
                return Err(Failure::new(Kind::Usage, format!("--allow `{other}` is not known"))
                    .hint("security.insecure and network.host are"));
            }
        }
    }
    Ok(settings)
}

/// `--platform`, each once.
pub(super) fn platforms(place: &Where) -> Result<Vec<Platform>, Failure> {
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

fn host(text: &str) -> Result<(String, String), Failure> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let (host, address) = split.unwrap_or((text, ""));
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_err() || host.is_empty() {
        return Err(Failure::new(Kind::Usage, format!("--add-host `{text}` is not HOST:IP")));
    }
    Ok((host.to_owned(), bare.to_owned()))
}

fn network(text: Option<&str>) -> Result<Network, Failure> {
    match text {
        None | Some("default" | "bridge") => Ok(Network::Default),
        Some("host") => Ok(Network::Host),
        Some("none") => Ok(Network::None),
        Some(other) => Err(Failure::new(Kind::Usage, format!("--network `{other}` is not known"))
            .hint("default, host and none are")),
    }
}

/// `64m`, `1g`, `4096`.
pub(crate) fn size(text: &str) -> Result<u64, Failure> {
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower.trim_end_matches('b').trim_end_matches('i');
    let (digits, shift) = match bare.char_indices().next_back() {
        Some((at, 'k')) => (&bare[..at], 10),
        Some((at, 'm')) => (&bare[..at], 20),
        Some((at, 'g')) => (&bare[..at], 30),
        Some((at, 't')) => (&bare[..at], 40),
        _ => (bare, 0),
    };
    let number = digits.trim().parse::<u64>().ok().and_then(|n| n.checked_mul(1_u64 << shift));
    number.ok_or_else(|| {
        Failure::new(Kind::Usage, format!("`{text}` is not a size")).hint("such as 64m or 1g")
    })
}

fn ulimit(text: &str) -> Result<Ulimit, Failure> {
    const NAMES: &[&str] = &[
        "as",
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
    let wrong = || {
        Failure::new(Kind::Usage, format!("--ulimit `{text}` is not NAME=SOFT[:HARD]"))
            .hint(format!("the names are {}", NAMES.join(", ")))
    };
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        text => text.parse::<i64>().map_err(|_| wrong()),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if !NAMES.contains(&name) || (hard != -1 && (soft == -1 || soft > hard)) {
        return Err(wrong());
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_limits_and_hosts_are_read_as_docker_reads_them() {
        for (text, expected) in [("64m", 64 << 20), ("1g", 1 << 30), ("4096", 4096), ("2KiB", 2048)]
        {
            assert_eq!(size(text).unwrap(), expected, "{text}");
        }
        size("many").unwrap_err();
        let limit = ulimit("nofile=1024:-1").unwrap();
        assert_eq!((limit.soft, limit.hard), (1024, -1));
        for text in ["nofile", "x=1", "nofile=5:4"] {
            ulimit(text).unwrap_err();
        }
        assert_eq!(host("a:::1").unwrap(), ("a".to_owned(), "::1".to_owned()));
        host("a:b").unwrap_err();
    }
}
