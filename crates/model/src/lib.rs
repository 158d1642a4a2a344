//! The nouns every room shares: digests, OCI documents, ops, steps, events, exit codes.
//!
//! Nothing here reads a file, opens a socket or looks at the clock. A type belongs
//! here only when several rooms name it in their public API.

pub mod oci;
pub mod op;

mod diagnostic;
mod digest;
mod event;
mod exit;
mod layer;
mod record;
mod secret;
mod step;

pub use diagnostic::{Diagnostic, Location, Severity};
pub use digest::{ChainId, DiffId, Digest, DigestWriter, ParseDigestError};
pub use event::{
    Event, EventKind, ImageInfo, MissReason, Outcome, PathChange, StepInfo, Stream, TransferKind,
};
pub use exit::ExitCode;
pub use layer::{Compression, LayerId, ParseLayerIdError, Snapshot};
pub use record::Record;
pub use secret::Secret;
pub use step::{Key, StepId};
