//! Docker's `config.json`: which registry gets which credentials.
//!
//! Read as Docker reads it: a helper for the host, else the general helper, else the
//! entry under `auths`. Docker Hub goes by `https://index.docker.io/v1/`. The file is
//! read at the first question, once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine as _;
use serde::Deserialize;
use thiserror::Error;

use super::Secret;
use super::helper::{self, HelperError};

/// Larger files are no configuration.
const LIMIT: u64 = 4 << 20;

/// Docker Hub's key, in the file and for helpers.
const HUB: &str = "https://index.docker.io/v1/";

/// What one registry gets to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// A name and its password.
    Password { user: String, password: Secret },
    /// A token that is good for other tokens only.
    Identity(Secret),
    /// A token to show as it is.
    Bearer(Secret),
}

/// Credentials are set up but cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file is there and cannot be read.
    #[error("cannot read `{}`: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file is not what Docker writes.
    #[error("`{}` is not a Docker configuration: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the JSON reader says, without any content.
        reason: String,
    },
    /// The entry of the registry is not base64 of `user:password`.
    #[error("the `auth` of `{host}` in `{}` is not base64 of `user:password`", path.display())]
    Auth {
        /// The registry.
        host: String,
        /// The file.
        path: PathBuf,
    },
    /// The helper that the file names failed.
    #[error(transparent)]
    Helper(#[from] HelperError),
}

/// The file, read when first asked.
#[derive(Debug)]
pub(crate) struct DockerConfig {
    path: Option<PathBuf>,
    file: OnceLock<Result<File, CredentialsError>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Auth>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(…)")
    }
}

impl DockerConfig {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, file: OnceLock::new() }
    }

    /// The credentials for `host`, a registry as references write it. Blocks: may read a
    /// file and run a helper.
    pub(crate) fn lookup(&self, host: &str) -> Result<Option<Credential>, CredentialsError> {
        let Some(path) = &self.path else { return Ok(None) };
        let file = self.file.get_or_init(|| read(path)).as_ref().map_err(Clone::clone)?;
        if let Some(name) = file.helper(host) {
            let server = if is_hub(host) { HUB } else { host };
            if let Some(found) = helper::get(name, server)? {
                return Ok(Some(found));
            }
        }
        let Some(auth) = file.auth(host) else { return Ok(None) };
        auth.credential()
            .ok_or_else(|| CredentialsError::Auth { host: host.to_owned(), path: path.clone() })
    }
}

impl File {
    fn helper(&self, host: &str) -> Option<&str> {
        let own = self.cred_helpers.iter().find(|(key, _)| same_host(key, host));
        own.map(|(_, name)| name.as_str())
            .or(Some(self.creds_store.as_str()))
            .filter(|name| !name.is_empty())
    }

    fn auth(&self, host: &str) -> Option<&Auth> {
        let exact = if is_hub(host) { HUB } else { host };
        self.auths.get(exact).or_else(|| {
            self.auths.iter().find(|(key, _)| same_host(key, host)).map(|(_, auth)| auth)
        })
    }
}

impl Auth {
    /// None for what cannot be read; `Some(None)` for an entry that says nothing.
    fn credential(&self) -> Option<Option<Credential>> {
        if !self.registrytoken.is_empty() {
            return Some(Some(Credential::Bearer(Secret::new(&self.registrytoken))));
        }
        if !self.identitytoken.is_empty() {
            return Some(Some(Credential::Identity(Secret::new(&self.identitytoken))));
        }
        if !self.auth.is_empty() {
            return decode(&self.auth).map(Some);
        }
        let named = !self.username.is_empty();
        Some(named.then(|| Credential::Password {
            user: self.username.clone(),
            password: Secret::new(&self.password),
        }))
    }
}

fn decode(text: &str) -> Option<Credential> {
    let text = text.trim().trim_end_matches('=');
    let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(text).ok()?;
    let plain = String::from_utf8(bytes).ok()?;
    let (user, password) = plain.split_once(':')?;
    let password = password.trim_end_matches('\0');
    (!user.is_empty())
        .then(|| Credential::Password { user: user.to_owned(), password: Secret::new(password) })
}

fn read(path: &Path) -> Result<File, CredentialsError> {
    let failed = |reason: String| CredentialsError::Read { path: path.to_owned(), reason };
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(error) => return Err(failed(error.to_string())),
    };
    if length > LIMIT {
        return Err(failed(format!("it has more than {LIMIT} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    // Only the kind and place are repeated: the reader's text may quote a secret.
    serde_json::from_slice(&bytes).map_err(|error| CredentialsError::Malformed {
        path: path.to_owned(),
        reason: format!("line {}, column {}", error.line(), error.column()),
    })
}

fn is_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

fn same_host(key: &str, host: &str) -> bool {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let bare = bare.split('/').next().unwrap_or(bare);
    bare == host || (is_hub(bare) && is_hub(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Option<Credential> {
        Some(Credential::Password { user: user.to_owned(), password: Secret::new(password) })
    }

    fn config(text: &str) -> (tempfile::TempDir, DockerConfig) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        (folder, DockerConfig::new(Some(path)))
    }

    #[test]
    fn entries_are_found_by_host_however_docker_wrote_the_key() {
        // `dTpw` is `u:p`, `YTpiOmM=` is `a:b:c`.
        let (_folder, config) = config(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "dTpw"},
                "https://ghcr.io": {"auth": "YTpiOmM="},
                "127.0.0.1:5000": {"username": "n", "password": "m"},
                "quay.io/v2/": {"identitytoken": "idt", "auth": "PHRva2VuPjo="},
                "tok.example": {"registrytoken": "rt"},
                "empty.example": {}
            }, "HttpHeaders": {"x": "y"}}"#,
        );
        let cases = [
            ("docker.io", password("u", "p")),
            ("registry-1.docker.io", password("u", "p")),
            ("ghcr.io", password("a", "b:c")),
            ("127.0.0.1:5000", password("n", "m")),
            ("127.0.0.1:5001", None),
            ("quay.io", Some(Credential::Identity(Secret::new("idt")))),
            ("tok.example", Some(Credential::Bearer(Secret::new("rt")))),
            ("empty.example", None),
            ("evil-ghcr.io", None),
        ];
        for (host, expected) in cases {
            assert_eq!(config.lookup(host), Ok(expected), "{host}");
        }
    }

    #[test]
    fn no_file_means_nobody_and_a_broken_one_says_where_without_its_content() {
        let missing = DockerConfig::new(Some("/nonexistent/config.json".into()));
        assert_eq!(missing.lookup("ghcr.io"), Ok(None));
        let (_folder, broken) = config(r#"{"auths": {"ghcr.io": {"auth": "c2VjcmV0"#);
        let error = broken.lookup("ghcr.io").unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
        assert!(!error.contains("c2VjcmV0"), "{error}");
        let (_folder, odd) = config(r#"{"auths": {"ghcr.io": {"auth": "!!"}}}"#);
        assert!(matches!(odd.lookup("ghcr.io"), Err(CredentialsError::Auth { .. })));
    }

    #[test]
    fn a_helper_of_the_host_comes_before_the_general_one() {
        let file: File = serde_json::from_str(
            r#"{"credsStore": "general", "credHelpers": {"ghcr.io": "own", "docker.io": ""}}"#,
        )
        .unwrap();
        assert_eq!(file.helper("ghcr.io"), Some("own"));
        assert_eq!(file.helper("quay.io"), Some("general"));
        assert_eq!(file.helper("docker.io"), None);
    }
}
