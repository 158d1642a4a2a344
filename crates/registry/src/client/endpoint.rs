//! Where a registry's content may be asked for: its mirrors in order, then itself.

use bakehouse_model::oci::Reference;
use reqwest::Url;

use super::{ClientConfig, ConfigError, Mirror, redact};
use crate::auth::is_loopback;

/// One place to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Whose credentials it gets, and how it is called in messages.
    pub(crate) host: String,
    /// How to reach it.
    pub(crate) scheme: Scheme,
    /// Host and port to connect to.
    pub(crate) authority: String,
    /// Stands before every repository.
    prefix: String,
    /// The registry it stands in for, as containerd's mirrors want to be told.
    namespace: Option<String>,
    /// Whether its certificate is checked.
    pub(crate) trust: Trust,
}

/// How to reach an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// TLS and nothing else.
    Https,
    /// Plain HTTP and nothing else.
    Http,
    /// Whichever answers, this one first.
    HttpFirst,
    /// Whichever answers, TLS first.
    HttpsFirst,
}

/// How much an endpoint is trusted to be who it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// By its certificate.
    Verified,
    /// Because the settings say so.
    Insecure,
    /// It is this machine; no proxy is asked.
    Loopback,
}

impl Endpoint {
    /// The registry of `reference` itself.
    pub(crate) fn upstream(config: &ClientConfig, registry: &str) -> Self {
        let authority = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let (scheme, trust) = if is_loopback(host_of(registry)) {
            (Scheme::HttpFirst, Trust::Loopback)
        } else if config.insecure.iter().any(|insecure| insecure == registry) {
            (Scheme::HttpsFirst, Trust::Insecure)
        } else {
            (Scheme::Https, Trust::Verified)
        };
        Self {
            host: registry.to_owned(),
            scheme,
            authority: authority.to_owned(),
            prefix: String::new(),
            namespace: None,
            trust,
        }
    }

    fn mirror(config: &ClientConfig, mirror: &Mirror) -> Result<Self, ConfigError> {
        let error = || ConfigError::Mirror {
            registry: mirror.registry.clone(),
            url: redact::url_text(&mirror.url),
        };
        let text =
            if mirror.url.contains("://") { mirror.url.clone() } else { plain_or_tls(&mirror.url) };
        let url = Url::parse(&text).map_err(|_| error())?;
        let secret = !url.username().is_empty() || url.password().is_some();
        let (Some(host), false) = (url.host_str(), secret || url.query().is_some()) else {
            return Err(error());
        };
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Err(error()),
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let authority = format!("{host}{port}");
        let path = url.path().trim_matches('/');
        let prefix =
            path.strip_prefix("v2").filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let trust = if is_loopback(host) {
            Trust::Loopback
        } else if config.insecure.contains(&authority) {
            Trust::Insecure
        } else {
            Trust::Verified
        };
        Ok(Self {
            host: authority.clone(),
            scheme,
            authority,
            prefix: prefix.unwrap_or(path).trim_matches('/').to_owned(),
            namespace: Some(mirror.registry.clone()),
            trust,
        })
    }

    /// Everywhere that `reference` may be read from, the registry itself last.
    pub(crate) fn all(
        config: &ClientConfig,
        reference: &Reference,
    ) -> Result<Vec<Self>, ConfigError> {
        let registry = reference.registry();
        let own = config.mirrors.iter().filter(|mirror| mirror.registry == registry);
        let mut all =
            own.map(|mirror| Self::mirror(config, mirror)).collect::<Result<Vec<_>, _>>()?;
        all.push(Self::upstream(config, registry));
        Ok(all)
    }

    /// Whether it stands in for a registry.
    pub(crate) fn is_mirror(&self) -> bool {
        self.namespace.is_some()
    }

    /// The repository's name at this endpoint.
    pub(crate) fn repository(&self, repository: &str) -> String {
        if self.prefix.is_empty() {
            repository.to_owned()
        } else {
            format!("{}/{repository}", self.prefix)
        }
    }

    /// `/v2/`, where a registry says how it wants to be spoken to.
    pub(crate) fn root(&self, tls: bool) -> Option<Url> {
        let scheme = if tls { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{}/v2/", self.authority)).ok()
    }

    /// `/v2/REPOSITORY/TAIL`.
    pub(crate) fn url(&self, tls: bool, repository: &str, tail: &str) -> Option<Url> {
        let mut url =
            self.root(tls)?.join(&format!("{}/{tail}", self.repository(repository))).ok()?;
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        Some(url)
    }
}

/// What a mirror without a scheme means: as for registries, loopback is plain.
fn plain_or_tls(authority: &str) -> String {
    let host = host_of(authority.split('/').next().unwrap_or(authority));
    let scheme = if is_loopback(host) { "http" } else { "https" };
    format!("{scheme}://{authority}")
}

/// Host without port; IPv6 keeps its brackets.
fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(mirrors: &[(&str, &str)]) -> ClientConfig {
        ClientConfig {
            mirrors: mirrors
                .iter()
                .map(|(registry, url)| Mirror {
                    registry: (*registry).to_owned(),
                    url: (*url).to_owned(),
                })
                .collect(),
            insecure: vec!["old.example:5000".to_owned()],
            ..ClientConfig::default()
        }
    }

    #[test]
    fn registries_are_reached_as_docker_reaches_them() {
        let cases = [
            ("docker.io", Scheme::Https, Trust::Verified, "https://registry-1.docker.io/v2/a/b/x"),
            (
                "localhost:5000",
                Scheme::HttpFirst,
                Trust::Loopback,
                "https://localhost:5000/v2/a/b/x",
            ),
            ("[::1]:5000", Scheme::HttpFirst, Trust::Loopback, "https://[::1]:5000/v2/a/b/x"),
            (
                "old.example:5000",
                Scheme::HttpsFirst,
                Trust::Insecure,
                "https://old.example:5000/v2/a/b/x",
            ),
            ("ghcr.io", Scheme::Https, Trust::Verified, "https://ghcr.io/v2/a/b/x"),
        ];
        for (registry, scheme, trust, url) in cases {
            let endpoint = Endpoint::upstream(&config(&[]), registry);
            assert_eq!((endpoint.scheme, endpoint.trust), (scheme, trust), "{registry}");
            assert_eq!(endpoint.url(true, "a/b", "x").unwrap().as_str(), url);
        }
    }

    #[test]
    fn mirrors_come_first_and_are_told_whom_they_stand_in_for() {
        let config = config(&[
            ("docker.io", "http://127.0.0.1:5001"),
            ("ghcr.io", "https://other.example"),
            ("docker.io", "https://m.example/v2/hub/"),
            ("docker.io", "localhost:5002/hub"),
        ]);
        let reference: Reference = "debian:12".parse().unwrap();
        let all = Endpoint::all(&config, &reference).unwrap();
        let urls: Vec<String> = all
            .iter()
            .map(|e| {
                e.url(e.scheme == Scheme::Https, "library/debian", "manifests/12").unwrap().into()
            })
            .collect();
        assert_eq!(
            urls,
            [
                "http://127.0.0.1:5001/v2/library/debian/manifests/12?ns=docker.io",
                "https://m.example/v2/hub/library/debian/manifests/12?ns=docker.io",
                "http://localhost:5002/v2/hub/library/debian/manifests/12?ns=docker.io",
                "https://registry-1.docker.io/v2/library/debian/manifests/12",
            ]
        );
    }

    #[test]
    fn a_mirror_with_secrets_or_without_sense_is_refused() {
        let reference: Reference = "debian:12".parse().unwrap();
        for url in ["https://u:hunter2@m.example", "ftp://m.example", "https://m.example?t=x", ""] {
            let error = Endpoint::all(&config(&[("docker.io", url)]), &reference).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
