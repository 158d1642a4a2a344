//! What stands behind the run's doors.

mod emulators;
pub mod engine;
mod exec;
mod fetch;
mod secrets;
mod straight;

pub use emulators::Emulators;
pub use engine::EngineBackend;
pub use fetch::Fetched;
pub(crate) use fetch::client_error;
pub use secrets::{Secrets, SshAgents};
pub use straight::Straight;
