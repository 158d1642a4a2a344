//! Options of a build as people write them, on the command line and in files alike.

use bakehouse_model::op::{Network, Ulimit};
use thiserror::Error;

/// Limits that a process may have.
#[rustfmt::skip]
const LIMITS: &[&str] = &[
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
    "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
];

/// An option that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WrongOption {
    /// Not a network.
    #[error("network `{0}` is not known")]
    Network(String),
    /// Not a host and its address.
    #[error("`{0}` is not HOST:IP")]
    Host(String),
    /// Not a size.
    #[error("`{0}` is not a size")]
    Size(String),
    /// Not a limit.
    #[error("ulimit `{0}` is not NAME=SOFT[:HARD]")]
    Ulimit(String),
}

impl WrongOption {
    /// What to write instead.
    pub fn help(&self) -> String {
        match self {
            Self::Network(_) => "default, host and none are".to_owned(),
            Self::Host(_) => "such as `db:10.0.0.5`".to_owned(),
            Self::Size(_) => "such as 64m or 1g".to_owned(),
            Self::Ulimit(_) => format!("the names are {}", LIMITS.join(", ")),
        }
    }
}

/// `default`, `host`, `none`.
pub fn network(text: &str) -> Result<Network, WrongOption> {
    match text {
        "" | "default" | "bridge" => Ok(Network::Default),
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        other => Err(WrongOption::Network(other.to_owned())),
    }
}

/// `db:10.0.0.5`, `db=10.0.0.5`.
pub fn host(text: &str) -> Result<(String, String), WrongOption> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let (host, address) = split.unwrap_or((text, ""));
    // Steps use this machine's own network, so its gateway to the machine is the machine.
    let address = if address == "host-gateway" { "127.0.0.1" } else { address };
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_err() || host.is_empty() {
        return Err(WrongOption::Host(text.to_owned()));
    }
    Ok((host.to_owned(), bare.to_owned()))
}

/// `64m`, `1g`, `4096`.
pub fn size(text: &str) -> Result<u64, WrongOption> {
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
    number.ok_or_else(|| WrongOption::Size(text.to_owned()))
}

/// `nofile=1024:4096`.
pub fn ulimit(text: &str) -> Result<Ulimit, WrongOption> {
    let wrong = || WrongOption::Ulimit(text.to_owned());
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        text => text.parse::<i64>().map_err(|_| wrong()),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if !LIMITS.contains(&name) || (hard != -1 && (soft == -1 || soft > hard)) {
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
        assert_eq!(host("h:host-gateway").unwrap().1, "127.0.0.1");
        host("a:b").unwrap_err();
        assert_eq!(network("host").unwrap(), Network::Host);
        network("moon").unwrap_err();
    }
}
