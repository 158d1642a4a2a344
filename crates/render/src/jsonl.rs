//! The stream itself, one event per line: the run's record.
//!
//! `docs/formats/events.md` is the page of this format.

use std::io::{self, Write};

use bakehouse_model::{Event, EventKind};
use serde_json::error::Category;
use thiserror::Error;

use crate::{Progress, Renderer};

/// Writes every event as one line of JSON.
#[derive(Debug)]
pub struct JsonLines<W: Write> {
    out: W,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Renderer for JsonLines<W> {
    fn show(&mut self, event: &Event, _: &Progress) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, event)?;
        self.out.write_all(b"\n")?;
        // Facts must survive a crash of this process; log lines may wait for the tick.
        if matches!(event.kind, EventKind::StepLogged { .. }) { Ok(()) } else { self.out.flush() }
    }

    fn tick(&mut self, _: u64, _: &Progress) -> io::Result<()> {
        self.out.flush()
    }
}

/// A line is not an event that this version can use.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ParseEventError {
    /// It is not JSON: the line was cut off, or the file is something else.
    #[error("the line is not JSON")]
    Broken {
        /// Where it breaks.
        source: serde_json::Error,
    },
    /// It is JSON, but no event of this version: skip it and go on.
    #[error("the event is not known to version {} of the stream", Event::VERSION)]
    Unfamiliar {
        /// What is not known.
        source: serde_json::Error,
    },
    /// The stream says that it is of a later version: its facts may mean something else.
    #[error("the stream has version {version}, this program reads up to {}", Event::VERSION)]
    Newer {
        /// Its version.
        version: u32,
    },
}

/// Reads one line of the stream.
pub fn parse(line: &str) -> Result<Event, ParseEventError> {
    let event: Event = serde_json::from_str(line).map_err(|source| match source.classify() {
        Category::Data => ParseEventError::Unfamiliar { source },
        Category::Syntax | Category::Eof | Category::Io => ParseEventError::Broken { source },
    })?;
    match event.kind {
        EventKind::RunStarted { version, .. } if version > Event::VERSION => {
            Err(ParseEventError::Newer { version })
        }
        _ => Ok(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Style, recorded, summary};

    #[test]
    fn the_log_alone_reproduces_the_summary() {
        for events in [recorded::happy(), recorded::failure(), recorded::cancelled()] {
            let mut live = Progress::default();
            let mut log = JsonLines::new(Vec::new());
            for event in &events {
                live.apply(event);
                log.show(event, &live).unwrap();
            }
            let text = String::from_utf8(log.out).unwrap();
            let read: Vec<Event> = text.lines().map(|line| parse(line).unwrap()).collect();
            let replayed = Progress::replay(&read);
            assert_eq!(summary::json(&replayed), summary::json(&live));
            assert_eq!(
                summary::text(&replayed, Style::FULL, 100),
                summary::text(&live, Style::FULL, 100)
            );
        }
    }

    #[test]
    fn a_line_of_another_version_is_told_from_a_broken_one() {
        type Check = fn(&ParseEventError) -> bool;
        let broken: Check = |e| matches!(e, ParseEventError::Broken { .. });
        let unfamiliar: Check = |e| matches!(e, ParseEventError::Unfamiliar { .. });
        let table: [(&str, Check); 5] = [
            (r#"{"seq":1,"at_ms":0,"kind":{"type":"run-fin"#, broken),
            ("", broken),
            (r#"{"seq":1,"at_ms":0,"kind":{"type":"teleported"}}"#, unfamiliar),
            (r#"{"seq":1,"at_ms":0,"kind":{"type":"run-finished","exit":"lost"}}"#, unfamiliar),
            (
                r#"{"seq":0,"at_ms":0,"kind":{"type":"run-started","version":99,"steps":[],"images":[],"workers":1,"makespan_ms":0,"critical_path_ms":0}}"#,
                |e| matches!(e, ParseEventError::Newer { version: 99 }),
            ),
        ];
        for (line, check) in table {
            assert!(check(&parse(line).unwrap_err()), "{line}");
        }
    }

    #[test]
    fn fields_of_a_later_version_are_ignored() {
        let line = r#"{"seq":1,"at_ms":0,"new":1,"kind":{"type":"run-finished","exit":"ok","mood":"good"}}"#;
        assert!(parse(line).is_ok());
    }
}
