//! Who watches a run.

use std::fmt;
use std::io;

use bakehouse_model::Event;

use crate::Progress;

/// A way of watching a run.
pub trait Renderer {
    /// Shows one event. `progress` already includes it.
    fn show(&mut self, event: &Event, progress: &Progress) -> io::Result<()>;

    /// Time went by. `now_ms` counts from the same moment as the events' `at_ms`.
    fn tick(&mut self, now_ms: u64, progress: &Progress) -> io::Result<()>;
}

/// The reducer and everybody who looks at it.
///
/// A renderer that cannot write is dropped: a closed pipe does not stop a build.
#[derive(Default)]
pub struct Watchers {
    progress: Progress,
    renderers: Vec<Box<dyn Renderer + Send>>,
}

impl Watchers {
    /// Nobody watches yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a renderer.
    pub fn add(&mut self, renderer: impl Renderer + Send + 'static) {
        self.renderers.push(Box::new(renderer));
    }

    /// Counts the event, then shows it to everybody.
    pub fn tell(&mut self, event: &Event) {
        self.progress.apply(event);
        let progress = &self.progress;
        self.renderers.retain_mut(|renderer| renderer.show(event, progress).is_ok());
    }

    /// Lets everybody know that time went by; about thirty times a second is enough.
    pub fn tick(&mut self, now_ms: u64) {
        let progress = &self.progress;
        self.renderers.retain_mut(|renderer| renderer.tick(now_ms, progress).is_ok());
    }

    /// What the events so far add up to.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Sends everybody home and keeps the result.
    pub fn into_progress(self) -> Progress {
        self.progress
    }
}

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchers")
            .field("progress", &self.progress)
            .field("renderers", &self.renderers.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JsonLines, Style, recorded};

    struct Closed;

    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_loses_its_watcher_and_nothing_else() {
        let mut watchers = Watchers::new();
        watchers.add(JsonLines::new(Closed));
        watchers.add(crate::Plain::new(Vec::new(), Style::PLAIN));
        for event in &recorded::happy() {
            watchers.tell(event);
        }
        watchers.tick(99_999);
        assert_eq!(watchers.renderers.len(), 1);
        assert!(watchers.into_progress().exit().is_some());
    }
}
