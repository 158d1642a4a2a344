//! What is known of each host: how it wants to be authenticated, and the tokens it gave.
//!
//! A host sees credentials only after it asked for them. Tokens are kept per host and
//! scopes until shortly before they expire, and asked for once however many threads
//! want them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use reqwest::header::HeaderValue;
use tokio::sync::OnceCell;

use super::flight::Flights;
use crate::auth::{Challenge, Credential, CredentialsError, DockerConfig, Secret};

/// What a host said and what is known for it.
#[derive(Debug, Clone, Default)]
struct Host {
    challenge: Option<Challenge>,
    credential: Arc<OnceCell<Result<Option<Credential>, CredentialsError>>>,
    tls: Option<bool>,
}

#[derive(Debug)]
struct Token {
    secret: Secret,
    until: Instant,
}

/// The memory of a client.
#[derive(Debug)]
pub(crate) struct Sessions {
    docker: Arc<DockerConfig>,
    hosts: Mutex<BTreeMap<String, Host>>,
    tokens: Mutex<BTreeMap<(String, String), Token>>,
    pub(crate) flights: Flights<(String, String)>,
}

impl Sessions {
    pub(crate) fn new(docker: DockerConfig) -> Self {
        Self {
            docker: Arc::new(docker),
            hosts: Mutex::default(),
            tokens: Mutex::default(),
            flights: Flights::default(),
        }
    }

    fn host(&self, host: &str) -> Host {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(host).cloned().unwrap_or_default()
    }

    fn change(&self, host: &str, change: impl FnOnce(&mut Host)) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        change(hosts.entry(host.to_owned()).or_default());
    }

    /// Whether `host` speaks TLS, once that is known.
    pub(crate) fn tls(&self, host: &str) -> Option<bool> {
        self.host(host).tls
    }

    pub(crate) fn set_tls(&self, host: &str, tls: bool) {
        self.change(host, |host| host.tls = Some(tls));
    }

    /// How `host` wants to be authenticated, once it said so.
    pub(crate) fn challenge(&self, host: &str) -> Option<Challenge> {
        self.host(host).challenge
    }

    pub(crate) fn set_challenge(&self, host: &str, challenge: Challenge) {
        self.change(host, |host| host.challenge = Some(challenge));
    }

    /// The credentials for `host`. Whoever cannot be read is nobody; see [`Self::trouble`].
    pub(crate) async fn credential(&self, host: &str) -> Option<Credential> {
        let mut cell = Arc::default();
        self.change(host, |known| cell = Arc::clone(&known.credential));
        let cell: Arc<OnceCell<_>> = cell;
        let (docker, name) = (Arc::clone(&self.docker), host.to_owned());
        let look_up = || async move {
            // A panic in there would be a bug, and must not take the pull with it.
            tokio::task::spawn_blocking(move || docker.lookup(&name)).await.unwrap_or(Ok(None))
        };
        cell.get_or_init(look_up).await.clone().unwrap_or_default()
    }

    /// Why the credentials of `host` could not be read, if that is so.
    pub(crate) fn trouble(&self, host: &str) -> Option<CredentialsError> {
        self.host(host).credential.get()?.as_ref().err().cloned()
    }

    /// Whether `host` has seen credentials.
    pub(crate) fn knows_us(&self, host: &str) -> bool {
        matches!(self.host(host).credential.get(), Some(Ok(Some(_))))
    }

    /// A token that is still good.
    pub(crate) fn token(&self, host: &str, scopes: &str) -> Option<Secret> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.get(&(host.to_owned(), scopes.to_owned()))?;
        (token.until > Instant::now()).then(|| token.secret.clone())
    }

    /// Keeps a token for nearly as long as it says it is good.
    pub(crate) fn keep(&self, key: (String, String), secret: Secret, good_for: Duration) {
        let good_for = good_for.min(Duration::from_secs(3600));
        let until = Instant::now() + good_for.mul_f32(0.9);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(key, Token { secret, until });
    }

    /// Forgets a token that the host refused.
    pub(crate) fn forget(&self, host: &str, scopes: &str) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.remove(&(host.to_owned(), scopes.to_owned()));
    }
}

/// `Basic` and the two, for a header that is not logged.
pub(crate) fn basic(user: &str, password: &Secret) -> Option<HeaderValue> {
    let pair = format!("{user}:{}", password.reveal());
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    header(&format!("Basic {encoded}"))
}

/// `Bearer` and the token, for a header that is not logged.
pub(crate) fn bearer(token: &Secret) -> Option<HeaderValue> {
    header(&format!("Bearer {}", token.reveal()))
}

fn header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
