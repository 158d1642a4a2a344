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
    use bakehouse_model::{
        Diagnostic, Digest, EventKind, ExitCode, Location, MissReason, Severity, Stream,
        TransferKind,
    };

    use super::*;
    use crate::graph::{self, Edge, Graph, Node, Via};
    use crate::recorded::Pipe;
    use crate::{
        Column, JsonLines, Size, Style, Tty, diagnostic, excerpt, failure, recorded, summary, table,
    };

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

    const HOSTILE: &str = "\u{1b}[5;7;9m\u{1b}[2J\u{1b}]0;t\u{7}a\u{202e}\u{9b}3Jb\u{8}\r\nc\0";

    /// A run in which everything that can be a text is hostile.
    fn hostile() -> Vec<Event> {
        let mut log = recorded::Log::new();
        let image = HOSTILE;
        log.plan(
            &[("a", image, HOSTILE, &[]), ("b", "app", HOSTILE, &[])],
            &[(image, "a", &[]), ("app", "b", &[image])],
        );
        let diagnostic = Diagnostic {
            location: Some(Location::file(HOSTILE.to_owned())),
            severity: Severity::Error,
            code: HOSTILE.to_owned(),
            message: HOSTILE.to_owned(),
            help: Some(HOSTILE.to_owned()),
        };
        log.at(300).say(EventKind::Noticed { diagnostic });
        log.start("a", MissReason::VariableChanged { name: HOSTILE.to_owned() });
        log.line("a", Stream::Stdout, HOSTILE).moved(TransferKind::Pull, HOSTILE, 1, 2);
        log.at(400).moved(TransferKind::Pull, HOSTILE, 2, 2).built("a", 100);
        log.image_done(image, 5, false);
        let (dest, kind) = (HOSTILE.to_owned(), HOSTILE.to_owned());
        log.say(EventKind::Exported { image: image.to_owned(), kind, dest });
        let (reference, digest) = (HOSTILE.to_owned(), Digest::of(""));
        log.say(EventKind::TagMoved {
            image: image.to_owned(),
            reference,
            digest,
            unchanged: false,
        });
        log.start("b", MissReason::Forced).line("b", Stream::Stderr, HOSTILE);
        log.at(900).failed("b", &[HOSTILE], &[HOSTILE]).image_failed("app", &[HOSTILE]);
        log.finish(ExitCode::WorkFailed);
        log.events().to_vec()
    }

    fn seen(renderer: impl FnOnce(Pipe) -> Box<dyn Renderer>) -> String {
        let pipe = Pipe::default();
        let mut renderer = renderer(pipe.clone());
        let mut progress = Progress::default();
        for event in &hostile() {
            progress.apply(event);
            renderer.show(event, &progress).unwrap();
            renderer.tick(event.at_ms + 50, &progress).unwrap();
        }
        let bytes = pipe.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn no_text_from_outside_reaches_a_window_with_its_controls() {
        let progress = Progress::replay(&hostile());
        let source = |_: &str| Some(HOSTILE.to_owned());
        let edge = |via| vec![Edge::new(HOSTILE, via)];
        let node = Node {
            name: HOSTILE.to_owned(),
            file: HOSTILE.to_owned(),
            context: HOSTILE.to_owned(),
            needs: edge(Via::From),
            external: edge(Via::Copy),
            class: Some(HOSTILE.to_owned()),
            tags: vec![HOSTILE.to_owned()],
            notes: vec![HOSTILE.to_owned()],
            ..Node::default()
        };
        let graph = Graph { title: HOSTILE.to_owned(), nodes: vec![node] };
        let windows = [
            seen(|pipe| Box::new(crate::Plain::new(pipe, Style::PLAIN))),
            seen(|pipe| Box::new(crate::Quiet::new(pipe, Style::PLAIN))),
            summary::text(&progress, Style::PLAIN, 200),
            failure::report(&progress, source, Style::PLAIN),
            diagnostic(&progress.notices()[0], Some(HOSTILE), Style::PLAIN),
            excerpt(HOSTILE, HOSTILE, 1, 1),
            graph::text(&graph, Style::PLAIN, 400),
            graph::dot(&graph),
            graph::mermaid(&graph),
            graph::svg(&graph),
            table(&[Column::left(HOSTILE)], &[vec![HOSTILE.to_owned()]], 99, Style::PLAIN),
        ];
        for window in windows {
            let stray = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!window.is_empty() && !window.contains(stray), "{window:?}");
        }
        let size = Size { columns: 80, rows: 24 };
        let live = seen(|pipe| Box::new(Tty::new(pipe, Style::FULL, move || size)));
        for stray in ["5;7;9", "[2J", "]0;", "\u{7}", "\u{8}", "\u{9b}", "\u{202e}", "\0"] {
            assert!(!live.is_empty() && !live.contains(stray), "{stray:?} in {live:?}");
        }
    }
}
