//! Who we are to a registry: Docker's credentials, challenges and token services.
//!
//! Credentials are looked up by the registry's own name and only after that registry has
//! asked for them. They leave this room as a header for its own host or for the token
//! service that it names, never for anybody else; nothing here can be printed.

mod challenge;
mod docker_config;
mod helper;
mod realm;

pub use docker_config::CredentialsError;
pub use helper::HelperError;
pub use realm::RealmError;

pub(crate) use bakehouse_model::Secret;
pub(crate) use challenge::{Challenge, challenges};
pub(crate) use docker_config::{Credential, DockerConfig};
pub(crate) use realm::{check_realm, is_loopback};
