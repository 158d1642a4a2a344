//! What stands behind the run's doors.

mod emulators;
pub mod engine;
mod exec;
mod fetch;
mod secrets;

pub use emulators::Emulators;
pub(crate) use engine::ALONE;
pub use engine::EngineBackend;
pub use fetch::Fetched;
pub(crate) use fetch::client_error;
pub use secrets::{Secrets, SshAgents};
