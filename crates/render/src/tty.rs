//! A live view: what runs now, and how long it will take.
//!
//! Facts that stay (images that were built, failures, warnings) scroll by above; below
//! them a block is drawn over and over, at most thirty times a second. Nothing is drawn
//! in the first quarter of a second, so a run that finds everything shows no view at
//! all. No line is as wide as the terminal, whatever names and log lines hold, and the
//! block is gone when the run is over.

mod block;
#[cfg(test)]
mod screen;

use std::fmt;
use std::io::{self, Write};

use bakehouse_model::{Event, EventKind, Severity, StepId};

use crate::measure::{bytes, duration};
use crate::progress::{ImageState, Progress, StepState};
use crate::style::{Line, Style, Tone};
use crate::{Renderer, words};

const QUIET_MS: u64 = 250;
const FRAME_MS: u64 = 34;
/// Log lines shown with a failure; the report after the run has more.
const LAST_LINES: usize = 3;

/// How large the terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// Draws the live view.
pub struct Tty<W: Write> {
    out: W,
    style: Style,
    size: Box<dyn FnMut() -> Size + Send>,
    /// Facts that stay and are not written yet.
    above: Vec<Line>,
    /// Columns of the block's lines as they stand on the terminal.
    drawn: Vec<usize>,
    last_frame_ms: Option<u64>,
}

impl<W: Write> Tty<W> {
    /// Draws on `out`; `size` is asked before every frame, since a window may change.
    pub fn new(out: W, style: Style, size: impl FnMut() -> Size + Send + 'static) -> Self {
        Self {
            out,
            style,
            size: Box::new(size),
            above: Vec::new(),
            drawn: Vec::new(),
            last_frame_ms: None,
        }
    }

    /// Draws a frame unless it is too early for one.
    fn frame(&mut self, now_ms: u64, progress: &Progress) -> io::Result<()> {
        let due = match self.last_frame_ms {
            None => progress.elapsed_ms(now_ms) >= QUIET_MS,
            Some(last) => now_ms.saturating_sub(last) >= FRAME_MS,
        };
        if !due || progress.exit().is_some() || progress.steps().is_empty() {
            return Ok(());
        }
        self.last_frame_ms = Some(now_ms);
        let size = (self.size)();
        let block = block::lines(progress, now_ms, size, self.style);
        self.draw(&block, size)
    }

    /// Replaces the block by what has become known and a new block.
    fn draw(&mut self, block: &[Line], size: Size) -> io::Result<()> {
        let columns = size.columns.saturating_sub(1).max(1);
        // One write per frame, and terminals that can are told to show it as one.
        let mut frame = String::from("\u{1b}[?2026h");
        frame.push_str(&self.back(size.columns.max(1)));
        self.drawn.clear();
        let above = std::mem::take(&mut self.above);
        for line in &above {
            frame.push_str(&line.clone().cut(columns, self.style).render(self.style));
            frame.push_str("\u{1b}[K\n");
        }
        for line in block {
            let line = line.clone().cut(columns, self.style);
            self.drawn.push(line.width());
            frame.push_str(&line.render(self.style));
            frame.push_str("\u{1b}[K\n");
        }
        frame.push_str("\u{1b}[J\u{1b}[?2026l");
        self.out.write_all(frame.as_bytes())?;
        self.out.flush()
    }

    /// Moves to the block's first line. A window that became narrower since has folded
    /// the lines, so they are counted as they stand now.
    fn back(&self, columns: usize) -> String {
        let rows: usize = self.drawn.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        if rows == 0 { "\r".to_owned() } else { format!("\r\u{1b}[{rows}A") }
    }

    /// Leaves nothing but the facts.
    fn finish(&mut self) -> io::Result<()> {
        if self.above.is_empty() && self.drawn.is_empty() {
            return Ok(());
        }
        let size = (self.size)();
        self.draw(&[], size)
    }
}

impl<W: Write> Renderer for Tty<W> {
    fn show(&mut self, event: &Event, progress: &Progress) -> io::Result<()> {
        match &event.kind {
            EventKind::Noticed { diagnostic } if diagnostic.severity != Severity::Note => {
                self.above.push(words::notice(diagnostic));
            }
            EventKind::StepFinished { step, .. } => {
                self.above.extend(failed(step, progress, self.style));
            }
            EventKind::ImageFinished { image, .. } | EventKind::ImageFailed { image, .. } => {
                self.above.extend(image_ended(image, progress, self.style));
            }
            EventKind::RunFinished { .. } => return self.finish(),
            _ => {}
        }
        self.frame(event.at_ms, progress)
    }

    fn tick(&mut self, now_ms: u64, progress: &Progress) -> io::Result<()> {
        self.frame(now_ms, progress)
    }
}

impl<W: Write> Drop for Tty<W> {
    /// A run that ends without its last event must not leave half a view behind.
    fn drop(&mut self) {
        // Nobody is left to tell if the terminal is gone.
        let _gone = self.finish();
    }
}

impl<W: Write> fmt::Debug for Tty<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tty").field("style", &self.style).finish_non_exhaustive()
    }
}

fn failed(step: &StepId, progress: &Progress, style: Style) -> Vec<Line> {
    let Some((_, step)) = progress.step(step) else { return Vec::new() };
    if !matches!(step.state, StepState::Failed { .. }) {
        return Vec::new();
    }
    let glyphs = style.glyphs();
    let what = Line::new()
        .add(Tone::Bad, glyphs.failed)
        .text(" ")
        .add(Tone::Bold, &words::place(step))
        .text(" ")
        .text(&step.info.name);
    let how = Line::new()
        .text("  ")
        .add(Tone::Bad, &format!("failed after {}", duration(step.ran_ms)))
        .text(": ")
        .text(&words::cause(step));
    let mut lines = vec![what];
    let skip = step.tail.len().saturating_sub(LAST_LINES);
    for line in step.tail.iter().skip(skip) {
        lines.push(Line::new().add(Tone::Dim, &format!("  {} ", glyphs.bar)).text(line));
    }
    lines.push(how);
    lines
}

fn image_ended(name: &str, progress: &Progress, style: Style) -> Option<Line> {
    let image = progress.image(name)?;
    let glyphs = style.glyphs();
    let why = words::reason(progress, image);
    match &image.state {
        ImageState::Done { cached: false, bytes: size, .. } => {
            let time = duration(progress.image_ran_ms(image));
            let line = Line::new().add(Tone::Good, glyphs.done).text(" ").add(Tone::Bold, name);
            let line = line.text(&format!("  {time}  {}  ", bytes(*size)));
            Some(line.add(Tone::Dim, &why))
        }
        // A failed step has been shown by itself.
        ImageState::Failed { .. } if progress.failed_step(image).is_none() => {
            let line = Line::new().add(Tone::Bad, glyphs.failed).text(" ").add(Tone::Bold, name);
            Some(line.text("  failed: ").text(&why))
        }
        ImageState::Skipped { .. } => {
            let line = Line::new().add(Tone::Warn, glyphs.stopped).text(" ").text(name);
            Some(line.text("  skipped: ").add(Tone::Dim, &why))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bakehouse_model::{ExitCode, MissReason, Stream, TransferKind};

    use super::screen::Screen;
    use super::*;
    use crate::recorded::{self, Log, Pipe};

    const GLYPHS: Style = Style { colour: false, unicode: true };

    /// What the terminal shows after `events` and a tick at `now_ms`.
    fn shown(events: &[Event], now_ms: Option<u64>, style: Style, size: Size) -> String {
        let pipe = Pipe::default();
        let mut tty = Tty::new(pipe.clone(), style, move || size);
        let mut progress = Progress::default();
        for event in events {
            progress.apply(event);
            tty.show(event, &progress).unwrap();
        }
        if let Some(now_ms) = now_ms {
            tty.tick(now_ms, &progress).unwrap();
        }
        let mut screen = Screen::new(size.columns);
        screen.write(&pipe.0.lock().unwrap());
        screen.text()
    }

    fn busy() -> Log {
        let mut log = Log::new();
        log.plan(
            &[
                ("b", "python-base", "FROM python:3.11-slim", &[]),
                ("p", "speech-to-text", "RUN pip install -r requirements.txt", &["b"]),
                ("t", "日本語", "RUN echo 🚀🚀🚀 && make all the things that take long", &["b"]),
                ("z", "speech-to-text", "COPY app/ app/", &["p"]),
            ],
            &[
                ("python-base", "b", &[]),
                ("speech-to-text", "z", &["python-base"]),
                ("日本語", "t", &["python-base"]),
            ],
        );
        log.costs(&[0, 14_000, 2_100, 500]);
        log.at(5).cached("b").image_done("python-base", 1, true);
        log.start_on(1, "p", MissReason::NeverBuilt).start_on(0, "t", MissReason::Forced);
        log.line("p", Stream::Stdout, "Collecting numpy==1.26");
        log.line("t", Stream::Stderr, "\u{1b}[31m\u{1b}[2J漢字\u{7} \u{1b}]0;pwned\u{7}done\r\n");
        log.at(300).moved(TransferKind::Pull, "python:3.11-slim", 1_000_000, 45_600_000);
        log.at(1300).moved(TransferKind::Pull, "python:3.11-slim", 12_300_000, 45_600_000);
        log
    }

    #[test]
    fn a_busy_moment_looks_like_this() {
        let size = Size { columns: 100, rows: 24 };
        insta::assert_snapshot!(shown(busy().events(), Some(2600), GLYPHS, size), @r"
        building 3 images · 1/4 steps · 1 cached · 2 running · 0:02 · about 0:11 left
        ━━━━━━━━━━━━━━━━━━━╸────────────────────────────────────────────────────  27%
        ⠹  1 日本語          1/1  RUN echo 🚀🚀🚀 && make all the things that take long        0:02 of 0:02
          │ 漢字 done
        ⠹  2 speech-to-text  1/2  RUN pip install -r requirements.txt                          0:02 of 0:14
          │ Collecting numpy==1.26
        ↓ pulling python:3.11-slim                                            12.3 MB of 45.6 MB  4.91 MB/s
        ");
    }

    #[test]
    fn forty_columns_are_enough() {
        let size = Size { columns: 40, rows: 24 };
        insta::assert_snapshot!(shown(busy().events(), Some(2600), GLYPHS, size), @r"
        building 3 images · 1/4 steps · 0:02
        ━━━━━━━━━─────────────────────────  27%
        ⠹ 日本語         RUN echo …   0:02/0:02
          │ 漢字 done
        ⠹ speech-to-te…  RUN pip in…  0:02/0:14
          │ Collecting numpy==1.26
        ↓ pulling python:3…  12.3 MB of 45.6 MB
        ");
        insta::assert_snapshot!(shown(busy().events(), Some(2600), Style::PLAIN, size), @r"
        building 3 images - 1/4 steps - 0:02
        #########.........................  27%
        | 日本語         RUN echo...  0:02/0:02
          | 漢字 done
        | speech-to-...  RUN pip ...  0:02/0:14
          | Collecting numpy==1.26
        < pulling python...  12.3 MB of 45.6 MB
        ");
    }

    #[test]
    fn no_size_and_no_style_makes_a_line_too_wide_or_the_block_too_high() {
        // The screen itself refuses lines that reach its edge and stray controls.
        for columns in 2..120 {
            for rows in [1, 2, 3, 5, 24] {
                for style in [GLYPHS, Style::FULL, Style::PLAIN] {
                    let size = Size { columns, rows };
                    let screen = shown(busy().events(), Some(2600), style, size);
                    assert!(screen.lines().count() <= rows.max(2), "{columns}x{rows}");
                }
            }
        }
        for size in [Size { columns: 0, rows: 0 }, Size { columns: 1, rows: 1 }] {
            let pipe = Pipe::default();
            let mut tty = Tty::new(pipe, GLYPHS, move || size);
            let log = busy();
            tty.tick(2600, &Progress::replay(log.events())).unwrap();
        }
    }

    #[test]
    fn the_first_quarter_of_a_second_is_quiet() {
        let size = Size { columns: 80, rows: 24 };
        let early: Vec<Event> =
            busy().events().iter().filter(|event| event.at_ms < 250).cloned().collect();
        assert_eq!(shown(&early, Some(249), GLYPHS, size), "");
        assert_ne!(shown(&early, Some(250), GLYPHS, size), "");
        assert_eq!(shown(&recorded::warm(), None, GLYPHS, size), "");
    }

    #[test]
    fn only_facts_stay_when_the_run_is_over() {
        let size = Size { columns: 80, rows: 24 };
        insta::assert_snapshot!(shown(&recorded::happy(), None, GLYPHS, size), @r"
        warning: stt/Dockerfile:4: package lists stay in the layer (add `rm -rf /var/l…
        ✓ stt  8.3 s  184 MB  `stt/requirements.txt` changed
        ");
        insta::assert_snapshot!(shown(&recorded::failure(), None, GLYPHS, size), @r"
        ✓ tts  0.01 s  121 MB  `tts/main.py` changed (and 2 others)
        ✗ [stt 2/3] RUN pip install -r requirements.txt
          │ Collecting nunpy
          │ ERROR: No matching distribution: nunpy
          failed after 1.2 s: `/bin/sh -c pip install` exited with code 1
        ");
        assert_eq!(shown(&recorded::cancelled(), None, GLYPHS, size), "");
    }

    #[test]
    fn frames_are_rare_and_a_narrower_window_leaves_nothing_behind() {
        let pipe = Pipe::default();
        let mut columns = [100, 100, 30].into_iter();
        let mut tty = Tty::new(pipe.clone(), GLYPHS, move || Size {
            columns: columns.next().unwrap_or(30),
            rows: 24,
        });
        let mut log = busy();
        let progress = Progress::replay(log.events());
        for now in 2000..2070 {
            tty.tick(now, &progress).unwrap();
        }
        let frames = |pipe: &Pipe| {
            let bytes = pipe.0.lock().unwrap();
            String::from_utf8_lossy(&bytes).matches("?2026h").count()
        };
        assert_eq!(frames(&pipe), 3, "at 2000, 2034 and 2068");
        let text = String::from_utf8(pipe.0.lock().unwrap().clone()).unwrap();
        let folded: usize = tty_rows_of(&text, 30);
        assert!(text.contains(&format!("\u{1b}[{folded}A")), "the folded lines are all gone over");

        log.finish(ExitCode::Interrupted);
        let whole = Progress::replay(log.events());
        tty.show(log.events().last().unwrap(), &whole).unwrap();
        assert_eq!(frames(&pipe), 4);
        drop(tty);
        assert_eq!(frames(&pipe), 4, "there was nothing left to clean");
    }

    /// How many rows the second frame of `text` takes when folded at `columns`.
    fn tty_rows_of(text: &str, columns: usize) -> usize {
        let frame = text.split("?2026h").nth(2).unwrap();
        let body = &frame[frame.find('A').unwrap() + 1..];
        let lines = body.split('\n').filter_map(|line| line.strip_suffix("\u{1b}[K"));
        lines.map(|line| crate::text::width(line).div_ceil(columns).max(1)).sum()
    }

    #[test]
    fn a_view_that_is_dropped_in_the_middle_cleans_up() {
        let size = Size { columns: 80, rows: 24 };
        let pipe = Pipe::default();
        let mut tty = Tty::new(pipe.clone(), GLYPHS, move || size);
        tty.tick(2600, &Progress::replay(busy().events())).unwrap();
        drop(tty);
        let mut screen = Screen::new(80);
        screen.write(&pipe.0.lock().unwrap());
        assert_eq!(screen.text(), "");
    }
}
