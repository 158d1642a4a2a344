//! Talks to OCI registries.
//!
//! [`Client`] is the pulling and pushing side. It is blocking outside and asynchronous
//! inside: the room owns its runtime, and nothing of it starts before the first request.

mod auth;
mod client;

pub use auth::{CredentialsError, HelperError, RealmError};
pub use client::{
    Answer, Client, ClientConfig, ClientError, ConfigError, Downloaded, ManifestFault, Mirror,
    Progress, Pushed, Resolved, RetryPolicy, TransportError,
};
