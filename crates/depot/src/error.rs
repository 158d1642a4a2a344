//! What can go wrong with a depot.

use std::io;

use bakehouse_model::Digest;
use bakehouse_store::StoreError;
use thiserror::Error;

/// A depot did not do what it should.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DepotError {
    /// Nothing can be started.
    #[error("the runtime cannot be started")]
    Start {
        /// Why.
        source: io::Error,
    },
    /// The settings are none.
    #[error("the cache cannot be used as it is described: {why}")]
    Settings {
        /// Why.
        why: String,
    },
    /// The token is none, or does not allow it.
    #[error("the token of the cache service {why}")]
    Token {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody answers.
    #[error("cannot {doing}")]
    Unreachable {
        /// A verb phrase.
        doing: String,
        /// Why; without addresses, which may be signed.
        source: reqwest::Error,
    },
    /// It took too long, with everything that was tried.
    #[error("cannot {doing}: there was no answer in {seconds} s")]
    Slow {
        /// A verb phrase.
        doing: String,
        /// The limit.
        seconds: u64,
    },
    /// The service refuses.
    #[error("cannot {doing}: the service answers {status}{said}")]
    Refused {
        /// A verb phrase.
        doing: String,
        /// The status.
        status: u16,
        /// What else it says, after a colon; or nothing.
        said: String,
    },
    /// The answer cannot be understood.
    #[error("cannot {doing}: {why}")]
    Protocol {
        /// A verb phrase.
        doing: String,
        /// What is wrong with it.
        why: String,
    },
    /// S3 refuses, or does not answer.
    #[error("cannot {doing}: {why}")]
    Bucket {
        /// A verb phrase.
        doing: String,
        /// Why.
        why: String,
    },
    /// A blob is not there.
    #[error("the cache does not have the blob `{digest}` any more")]
    Gone {
        /// The blob.
        digest: Digest,
    },
    /// A blob is neither there nor in the store.
    #[error("neither the cache nor the store has the blob `{digest}`")]
    Lacking {
        /// The blob.
        digest: Digest,
    },
    /// A file cannot be read or written.
    #[error("the blob `{digest}` cannot be read or written")]
    Io {
        /// The blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// The store failed, or the blob is another one.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DepotError {
    /// Whether nobody has a blob that is to be kept.
    pub fn is_lacking(&self) -> bool {
        matches!(self, Self::Lacking { .. })
    }
}
