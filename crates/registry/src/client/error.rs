//! Everything that a request to a registry can end in.
//!
//! Each variant carries what a remedy needs as data. No variant ever holds a token, a
//! header, the user of a URL or its query: what is shown here may be pasted anywhere.

use std::fmt;

use bakehouse_model::Digest;
use bakehouse_model::oci::Platform;
use bakehouse_store::StoreError;
use thiserror::Error;

use crate::auth::{CredentialsError, RealmError};

/// A pull, a push or a download failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The registry has no such manifest, blob or repository.
    #[error("`{what}` is not at `{host}`{answer}")]
    NotFound {
        /// The reference, blob or URL.
        what: String,
        /// Who was asked.
        host: String,
        /// What it said.
        answer: Answer,
    },
    /// The registry does not know who asks: 401, also after the credentials were shown.
    #[error("`{host}` wants other credentials for `{what}`{answer}")]
    Unauthorized {
        /// The reference, blob or URL.
        what: String,
        /// Who was asked.
        host: String,
        /// Whether credentials for that host were found and sent.
        with_credentials: bool,
        /// What it said.
        answer: Answer,
    },
    /// The registry knows who asks and refuses: 403.
    #[error("`{host}` denies access to `{what}`{answer}")]
    Denied {
        /// The reference, blob or URL.
        what: String,
        /// Who was asked.
        host: String,
        /// Whether credentials for that host were found and sent.
        with_credentials: bool,
        /// What it said.
        answer: Answer,
    },
    /// Too many requests, also after waiting as often as the policy allows.
    #[error("`{host}` limits the rate of requests for `{what}`{answer}")]
    RateLimited {
        /// The reference, blob or URL.
        what: String,
        /// Who was asked.
        host: String,
        /// How long it wants to be left alone.
        retry_after_s: Option<u32>,
        /// What it said.
        answer: Answer,
    },
    /// The registry or something before it does not take so much: 413.
    #[error("`{host}` refuses `{what}` as too large{answer}")]
    TooLarge {
        /// The reference or blob.
        what: String,
        /// Who was asked.
        host: String,
        /// What it said.
        answer: Answer,
    },
    /// Another answer that means no.
    #[error("`{host}` failed at {doing} `{what}`{answer}")]
    Refused {
        /// `reading` or `writing`, for example.
        doing: &'static str,
        /// The reference, blob or URL.
        what: String,
        /// Who was asked.
        host: String,
        /// What it said.
        answer: Answer,
    },
    /// No answer came, or it broke off.
    #[error("cannot reach `{host}` for `{what}`")]
    Unreachable {
        /// The reference, blob or URL.
        what: String,
        /// Who was asked.
        host: String,
        /// Why.
        source: TransportError,
    },
    /// The answer does not follow the protocol.
    #[error("`{host}` does not speak the registry protocol at `{what}`: {fault}")]
    Protocol {
        /// The reference, blob or URL.
        what: String,
        /// Who was asked.
        host: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// The bytes are not those that were asked for.
    #[error("`{host}` sent wrong bytes for `{expected}`: they are `{actual}`")]
    WrongDigest {
        /// Who sent them.
        host: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The blob has another length than its descriptor says.
    #[error("`{host}` sent {actual} bytes for `{digest}`, which has {expected}")]
    WrongSize {
        /// Who sent them.
        host: String,
        /// The blob.
        digest: Digest,
        /// What the descriptor says.
        expected: u64,
        /// What came or was announced.
        actual: u64,
    },
    /// What came is no image manifest that this program reads.
    #[error("the manifest of `{reference}` from `{host}` cannot be used: {fault}")]
    Manifest {
        /// The reference.
        reference: String,
        /// Who sent it.
        host: String,
        /// What is wrong.
        fault: ManifestFault,
    },
    /// The image is not made for this platform.
    #[error("`{reference}` has no image for `{wanted}`{}", Choices(available))]
    NoPlatform {
        /// The reference.
        reference: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<Platform>,
    },
    /// What is asked for is larger than the limit that was set.
    #[error("`{what}` from `{host}` is larger than {limit} bytes")]
    OverLimit {
        /// The blob or URL.
        what: String,
        /// Who sends it.
        host: String,
        /// The limit.
        limit: u64,
    },
    /// Every endpoint failed; the last one is the registry itself.
    #[error("no endpoint could give `{what}`{}", Attempts(failures))]
    AllFailed {
        /// The reference or blob.
        what: String,
        /// One per endpoint, in the order they were asked.
        failures: Vec<Self>,
    },
    /// A blob that a manifest names is neither in the store nor at the registry.
    #[error("blob `{digest}` of `{reference}` is neither in the store nor at its registry")]
    MissingBlob {
        /// The blob.
        digest: Digest,
        /// What it is part of.
        reference: String,
    },
    /// The credentials for a registry cannot be read.
    #[error("cannot get the credentials for `{host}`")]
    Credentials {
        /// The registry.
        host: String,
        /// Why.
        source: CredentialsError,
    },
    /// The registry sends its clients to a token service that may not be trusted.
    #[error("`{host}` names a token service that credentials may not go to")]
    Realm {
        /// The registry.
        host: String,
        /// Why.
        source: RealmError,
    },
    /// The URL cannot be downloaded.
    #[error("`{url}` cannot be downloaded: {fault}")]
    Url {
        /// The URL without its secrets.
        url: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// The client's settings do not make sense.
    #[error("the registry settings cannot be used")]
    Config(#[from] ConfigError),
    /// The store failed.
    #[error("cannot {doing} `{what}` in the store")]
    Store {
        /// `read` or `write`.
        doing: &'static str,
        /// The blob, or the URL that it comes from.
        what: String,
        /// Why.
        source: Box<StoreError>,
    },
    /// The machine gave no threads or no TLS.
    #[error("cannot start the network client")]
    Start {
        /// Why.
        source: TransportError,
    },
}

/// A setting of the client is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A mirror's URL is none.
    #[error("mirror `{url}` of `{registry}` is not an http or https URL without user and query")]
    Mirror {
        /// Whose mirror.
        registry: String,
        /// The URL without its secrets.
        url: String,
    },
}

/// No answer, or half of one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The HTTP client failed.
    #[error("{doing}")]
    Http {
        /// Which part failed, in words.
        doing: &'static str,
        /// Why; its URL is removed.
        source: reqwest::Error,
    },
    /// Nothing came for too long.
    #[error("nothing was received for {seconds} s")]
    Idle {
        /// How long.
        seconds: u64,
    },
    /// A document came too slowly.
    #[error("the document did not arrive within {seconds} s")]
    Slow {
        /// How long.
        seconds: u64,
    },
    /// The connection ended before the announced length.
    #[error("the connection ended after {received} of {expected} bytes")]
    Short {
        /// What came.
        received: u64,
        /// What was announced.
        expected: u64,
    },
    /// The blob to send cannot be read.
    #[error("the blob in the store cannot be read")]
    Read {
        /// Why.
        source: std::io::Error,
    },
    /// The runtime could not start.
    #[error("no thread could be started")]
    Runtime {
        /// Why.
        source: std::io::Error,
    },
}

/// What a registry said when it refused: its status and the first error of its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The specification's code: `MANIFEST_UNKNOWN`.
    pub code: Option<String>,
    /// Its text, shortened and in one line.
    pub message: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ": status {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, ", {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, " ({message})")?;
        }
        Ok(())
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ManifestFault {
    /// More than the limit.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Docker's first format.
    #[error("it has schema version 1, which registries gave up; push the image again")]
    Schema1,
    /// Not JSON, or not of the right form.
    #[error("it is not an image manifest or index ({what})")]
    Malformed {
        /// What the JSON reader says.
        what: String,
    },
    /// It claims to be both manifest and index.
    #[error("it is a manifest and an index at once")]
    Ambiguous,
    /// Header and document contradict each other.
    #[error("it says `{inside}` and was sent as `{outside}`")]
    MediaType {
        /// The document's own media type.
        inside: String,
        /// The header's.
        outside: String,
    },
    /// A media type that is no image.
    #[error("it is `{media_type}`, which is no image")]
    NotAnImage {
        /// The media type.
        media_type: String,
    },
    /// Indexes within indexes within indexes.
    #[error("its indexes are nested too deeply")]
    Nested,
}

/// The command that logs in to `host`.
fn login(host: &str) -> String {
    if host == "docker.io" { "docker login".to_owned() } else { format!("docker login {host}") }
}

struct Choices<'a>(&'a [Platform]);

impl fmt::Display for Choices<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.0.split_first() else { return Ok(()) };
        write!(f, "; it has {first}")?;
        rest.iter().try_for_each(|platform| write!(f, ", {platform}"))
    }
}

struct Attempts<'a>(&'a [ClientError]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, failure) in self.0.iter().enumerate() {
            write!(f, "{}{failure}", if at == 0 { ": " } else { "; " })?;
            let mut source = std::error::Error::source(failure);
            while let Some(cause) = source {
                write!(f, ": {cause}")?;
                source = cause.source();
            }
        }
        Ok(())
    }
}

/// What a request was about.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The reference, blob or URL.
    pub(crate) what: String,
    /// Who was asked.
    pub(crate) host: String,
    /// `reading` or `writing`, for example.
    pub(crate) doing: &'static str,
}

impl ClientError {
    /// The error that an answer with this status is.
    pub(crate) fn refused(
        subject: Subject,
        with_credentials: bool,
        retry_after_s: Option<u32>,
        answer: Answer,
    ) -> Self {
        let Subject { what, host, doing } = subject;
        match answer.status {
            401 => Self::Unauthorized { what, host, with_credentials, answer },
            403 => Self::Denied { what, host, with_credentials, answer },
            404 | 410 => Self::NotFound { what, host, answer },
            413 => Self::TooLarge { what, host, answer },
            429 => Self::RateLimited { what, host, retry_after_s, answer },
            _ => Self::Refused { doing, what, host, answer },
        }
    }

    /// The store failed at `what`.
    pub(crate) fn store(doing: &'static str, what: &str, source: StoreError) -> Self {
        Self::Store { doing, what: what.to_owned(), source: Box::new(source) }
    }

    /// The one failure, or all of them.
    pub(crate) fn of_all(what: String, mut failures: Vec<Self>) -> Self {
        match failures.pop() {
            Some(only) if failures.is_empty() => only,
            last => {
                failures.extend(last);
                Self::AllFailed { what, failures }
            }
        }
    }

    /// What the registry said, if it said something.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::NotFound { answer, .. }
            | Self::Unauthorized { answer, .. }
            | Self::Denied { answer, .. }
            | Self::RateLimited { answer, .. }
            | Self::TooLarge { answer, .. }
            | Self::Refused { answer, .. } => Some(answer),
            Self::AllFailed { failures, .. } => failures.last().and_then(Self::answer),
            _ => None,
        }
    }

    /// The specification's code in the registry's answer: `MANIFEST_UNKNOWN`.
    pub fn code(&self) -> Option<&str> {
        self.answer()?.code.as_deref()
    }

    /// Whether the thing is certainly not there: every endpoint said so.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            // The registry itself comes last, and its word about its own content counts.
            Self::AllFailed { failures, .. } => failures.last().is_some_and(Self::is_not_found),
            _ => false,
        }
    }

    /// What a person can do about it.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Unauthorized { host, with_credentials: false, .. }
            | Self::Denied { host, with_credentials: false, .. } => {
                vec![
                    format!("`{}` makes credentials that this program reads", login(host)),
                    "registries say the same of what does not exist: check the name".to_owned(),
                ]
            }
            Self::Unauthorized { host, .. } => {
                vec![format!("the stored credentials were refused; try `{}`", login(host))]
            }
            Self::Denied { host, .. } => {
                vec![format!("ask for access, or `{}` as somebody who has it", login(host))]
            }
            Self::RateLimited { host, retry_after_s, .. } => {
                let mut hints = vec![format!(
                    "a mirror spares `{host}`, and `{}` may raise its limit",
                    login(host)
                )];
                hints.extend(retry_after_s.map(|s| format!("try again in {s} s")));
                hints
            }
            Self::NotFound { .. } => {
                vec!["check the name and the tag; a private image needs `docker login`".to_owned()]
            }
            Self::TooLarge { .. } => {
                vec!["a proxy before the registry may limit the size of requests".to_owned()]
            }
            Self::NoPlatform { .. } => {
                vec!["choose another one with `--platform`, or another base image".to_owned()]
            }
            Self::Unreachable { host, .. } => vec![format!(
                "check the network, or give a mirror of `{host}` with `--registry-mirror`"
            )],
            Self::AllFailed { failures, .. } => {
                failures.last().map(Self::hints).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }
}
