//! Nothing but failures.

use std::io::{self, Write};

use bakehouse_model::{Event, EventKind, Severity};

use crate::progress::{ImageState, Progress, StepProgress, StepState};
use crate::style::{Line, Style, Tone, render_all};
use crate::{Renderer, words};

/// Says what failed and is silent otherwise.
#[derive(Debug)]
pub struct Quiet<W: Write> {
    out: W,
    style: Style,
}

impl<W: Write> Quiet<W> {
    /// Writes to `out`.
    pub fn new(out: W, style: Style) -> Self {
        Self { out, style }
    }
}

impl<W: Write> Renderer for Quiet<W> {
    fn show(&mut self, event: &Event, progress: &Progress) -> io::Result<()> {
        let lines = match &event.kind {
            EventKind::Noticed { diagnostic } if diagnostic.severity == Severity::Error => {
                vec![words::notice(diagnostic)]
            }
            EventKind::StepFinished { step, .. } => {
                progress.step(step).map_or_else(Vec::new, |(_, step)| failed(step))
            }
            EventKind::ImageFailed { image, .. } => image_failed(image, progress),
            _ => return Ok(()),
        };
        if lines.is_empty() {
            return Ok(());
        }
        self.out.write_all(render_all(&lines, self.style).as_bytes())?;
        self.out.flush()
    }

    fn tick(&mut self, _: u64, _: &Progress) -> io::Result<()> {
        Ok(())
    }
}

fn failed(step: &StepProgress) -> Vec<Line> {
    let StepState::Failed { causes, .. } = &step.state else { return Vec::new() };
    let what = format!(": {} `{}` failed", words::place(step), step.info.name);
    let mut lines = vec![Line::new().add(Tone::Bad, "error").text(&what)];
    lines.extend(causes.iter().map(|cause| Line::new().text("  cause: ").text(cause)));
    lines
}

/// An image that failed without a failed step: its steps have not spoken for it.
fn image_failed(name: &str, progress: &Progress) -> Vec<Line> {
    let Some(image) = progress.image(name) else { return Vec::new() };
    match &image.state {
        ImageState::Failed { causes, .. } if progress.failed_step(image).is_none() => {
            let what = format!(": image `{name}` failed: {}", causes.join(": "));
            vec![Line::new().add(Tone::Bad, "error").text(&what)]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::{self, Log};

    fn quiet(events: &[Event]) -> String {
        let mut progress = Progress::default();
        let mut quiet = Quiet::new(Vec::new(), Style::PLAIN);
        for event in events {
            progress.apply(event);
            quiet.show(event, &progress).unwrap();
        }
        String::from_utf8(quiet.out).unwrap()
    }

    #[test]
    fn only_failures_are_told_and_each_once() {
        assert_eq!(quiet(&recorded::happy()), "");
        assert_eq!(quiet(&recorded::cancelled()), "");
        insta::assert_snapshot!(quiet(&recorded::failure()), @r"
        error: [stt 2/3] `RUN pip install -r requirements.txt` failed
          cause: the command failed
          cause: `/bin/sh -c pip install` exited with code 1
        ");
    }

    #[test]
    fn an_image_that_fails_after_its_steps_is_told() {
        let mut log = Log::new();
        log.plan(&[("a", "app", "RUN a", &[])], &[("app", "a", &[])]).cached("a");
        log.image_failed("app", &["the push failed", "401 from the registry"]);
        let said = quiet(log.events());
        assert_eq!(said, "error: image `app` failed: the push failed: 401 from the registry\n");
    }
}
