//! Whether a token service may be talked to.
//!
//! A registry says where its tokens come from. Over https only the registry itself can
//! have said so; the service must then be https too, and a registry out on the net may
//! not send anybody to an address of this machine or its neighbourhood. A registry on
//! plain HTTP may name a service on its own host.

use std::net::IpAddr;

use reqwest::Url;
use thiserror::Error;

use crate::client::redact;

/// A realm that must not see credentials, nor even a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RealmError {
    /// Not a URL that can be asked.
    #[error("`{realm}` is not an http or https URL")]
    Malformed {
        /// The realm without its secrets.
        realm: String,
    },
    /// Plain HTTP to another host than the registry's.
    #[error("`{realm}` is not https")]
    Insecure {
        /// The realm without its secrets.
        realm: String,
    },
    /// An address of the inside, named from the outside.
    #[error("`{realm}` is an address of a private network, and the registry is not")]
    Private {
        /// The realm without its secrets.
        realm: String,
    },
}

/// The realm as a URL, if a registry at `registry` may name it.
pub(crate) fn check_realm(registry: &Url, realm: &str) -> Result<Url, RealmError> {
    let shown = || redact::url_text(realm);
    let url = Url::parse(realm).map_err(|_| RealmError::Malformed { realm: shown() })?;
    let Some(host) = url.host_str().map(str::to_owned) else {
        return Err(RealmError::Malformed { realm: shown() });
    };
    match url.scheme() {
        "https" => {}
        "http" if registry.scheme() == "http" && registry.host_str() == Some(&host) => {}
        "http" => return Err(RealmError::Insecure { realm: shown() }),
        _ => return Err(RealmError::Malformed { realm: shown() }),
    }
    if is_private(&host) && !registry.host_str().is_some_and(may_be_private) {
        return Err(RealmError::Private { realm: shown() });
    }
    Ok(url)
}

/// Whether `host` (a name or an address, IPv6 in brackets or not) is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || address(host).is_some_and(|ip| ip.is_loopback())
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_private(host: &str) -> bool {
    host == "localhost"
        || address(host).is_some_and(|ip| match ip {
            IpAddr::V4(v4) => {
                v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified()
            }
            IpAddr::V6(v6) => {
                v6.is_loopback()
                    || v6.is_unspecified()
                    || v6.is_unique_local()
                    || v6.is_unicast_link_local()
                    || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback() || v4.is_private())
            }
        })
}

/// A registry that is itself private, or whose name may well lead to a private address.
fn may_be_private(host: &str) -> bool {
    is_private(host) || !host.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_must_be_https_or_on_the_plain_registrys_own_host() {
        let cases = [
            ("https://registry-1.docker.io", "https://auth.docker.io/token", true),
            ("https://r.example", "http://r.example/token", false),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", true),
            ("http://127.0.0.1:5000", "http://10.0.0.1/token", false),
            ("http://127.0.0.1:5000", "https://auth.example/token", true),
            ("https://r.example", "https://127.0.0.1/token", false),
            ("https://r.example", "https://169.254.169.254/token", false),
            ("https://r.example", "https://[::1]/token", false),
            ("https://10.0.0.5", "https://10.0.0.6/token", true),
            ("https://r.example", "file:///etc/passwd", false),
            ("https://r.example", "token", false),
        ];
        for (registry, realm, allowed) in cases {
            let registry = Url::parse(registry).unwrap();
            assert_eq!(check_realm(&registry, realm).is_ok(), allowed, "{registry} {realm}");
        }
    }

    #[test]
    fn loopback_is_this_machine_only() {
        for (host, expected) in [
            ("localhost", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("::1", true),
            ("128.0.0.1", false),
            ("localhost.example", false),
            ("127.0.0.1.example", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }
}
