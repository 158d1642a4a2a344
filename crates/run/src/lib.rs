//! Execution: a decided graph, a backend, and one loop that owns the state of the run.
//!
//! Threads and channels, no async. [`dispatch`] is the loop; [`backend`] has the doors that
//! it works through: what builds steps, what remembers results, what finishes images.

pub mod backend;
pub mod dispatch;

pub use backend::{Backend, BackendError, Built, Claim, Finish, Log, Memory, Whole};
pub use dispatch::{Cancel, Outcomes, Run, run};
