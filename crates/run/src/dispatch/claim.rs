//! A step's right to run, which it shares with every other run of the same memory.

use std::thread;
use std::time::Duration;

use bakehouse_model::{Key, Record};
use bakehouse_plan::evaluate::Remembered;

use super::Cancel;
use crate::backend::{BackendError, Built, Claim, Memory};

/// How often a step that waits for another run looks whether that one is done.
const POLL: Duration = Duration::from_millis(20);

/// What came of a step.
pub(super) enum Made {
    /// It ran. The claim ends others' wait, so it must outlive the keeping of the record.
    New { built: Built, claim: Option<Claim> },
    /// Another run had made it meanwhile.
    Found(Record),
}

/// Whose turn it is.
pub(super) enum Claimed {
    /// This run's: the step must be built. Without a claim nobody else can have made it.
    Ours(Option<Claim>),
    /// Nobody's: it is there.
    Found(Record),
}

/// Takes the right to make what is found under `keys`, the first of which names it.
///
/// Waits as long as another run has it, after saying so to `waits` once.
pub(super) fn claim(
    memory: &dyn Memory,
    keys: &[Key],
    cancel: &Cancel,
    waits: &dyn Fn(),
) -> Result<Claimed, BackendError> {
    let Some(key) = keys.first() else { return Ok(Claimed::Ours(None)) };
    let mut said = false;
    let claim = loop {
        if let Some(claim) = memory.claim(key)? {
            break claim;
        }
        if cancel.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        if !said {
            waits();
            said = true;
        }
        thread::sleep(POLL);
    };
    // It may have been made since the plan was, even if nobody had to wait.
    let found = memory.records(keys)?.into_values().find_map(|answer| match answer {
        Remembered::Found(record) => Some(record),
        Remembered::Swept | Remembered::Nothing => None,
    });
    Ok(found.map_or(Claimed::Ours(Some(claim)), Claimed::Found))
}
