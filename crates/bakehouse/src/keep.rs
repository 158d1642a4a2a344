//! Keeps what a run said in the store, for `bakehouse why --last`.
//!
//! Lines that steps logged, and transfers on their way, are left out: what remains has a bound
//! that the plan sets. What cannot be kept is lost, and the run goes on.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

use bakehouse_model::{Event, EventKind};
use bakehouse_render::{Progress, Renderer};
use bakehouse_store::Store;

/// Writes a run's stream to the store.
#[derive(Debug)]
pub struct Keep {
    store: Store,
    repository: PathBuf,
    started_ms: u64,
    file: Option<File>,
}

impl Keep {
    /// Of a run of the repository at that folder, which begins now.
    pub fn new(store: Store, repository: PathBuf, started_ms: u64) -> Self {
        Self { store, repository, started_ms, file: None }
    }
}

impl Renderer for Keep {
    fn show(&mut self, event: &Event, _: &Progress) -> io::Result<()> {
        if !is_kept(&event.kind) {
            return Ok(());
        }
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        if let Some(file) = &mut self.file {
            return file.write_all(&line);
        }
        let begun = self.store.keep_run(&self.repository, self.started_ms, &line);
        self.file = Some(begun.map_err(io::Error::other)?);
        Ok(())
    }

    fn tick(&mut self, _: u64, _: &Progress) -> io::Result<()> {
        Ok(())
    }
}

fn is_kept(kind: &EventKind) -> bool {
    match kind {
        EventKind::StepLogged { .. } | EventKind::LogDropped { .. } => false,
        EventKind::Transferred { done, total, .. } => done == total,
        _ => true,
    }
}
