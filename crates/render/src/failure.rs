//! What failed, with everything that a person needs to go on.

use crate::measure::duration;
use crate::progress::{ImageState, LOG_TAIL, Progress, StepProgress, StepState};
use crate::style::{Line, Style, Tone, render_all};
use crate::{excerpt, words};

/// Every failure of the run, each with its place, its last lines, its causes and its
/// hints; empty if nothing failed. `source` gives the text of a file that a step names.
pub fn report(
    progress: &Progress,
    source: impl Fn(&str) -> Option<String>,
    style: Style,
) -> String {
    let mut parts: Vec<String> = progress
        .failures()
        .map(|step| render_all(&failed_step(progress, step, &source), style))
        .collect();
    for image in progress.images() {
        if let ImageState::Failed { causes, hints } = &image.state
            && progress.failed_step(image).is_none()
        {
            let mut lines = vec![title(&format!("image `{}` failed", image.info.name))];
            lines.extend(causes.iter().map(|cause| item("cause", cause)));
            lines.extend(hints.iter().map(|hint| item("hint", hint)));
            parts.push(render_all(&lines, style));
        }
    }
    parts.join("\n")
}

fn failed_step(
    progress: &Progress,
    step: &StepProgress,
    source: impl Fn(&str) -> Option<String>,
) -> Vec<Line> {
    let StepState::Failed { causes, hints, .. } = &step.state else { return Vec::new() };
    let time = duration(step.ran_ms);
    let what = format!("{} `{}` failed after {time}", words::place(step), step.info.name);
    let mut lines = vec![title(&what)];
    if let Some(at) = &step.info.location {
        let text = source(&at.file).unwrap_or_default();
        let shown = excerpt(&at.file, &text, at.line, at.end_line);
        lines.extend(shown.lines().map(|line| {
            let marked = line.trim_start().starts_with(">>>");
            Line::new().add(if marked { Tone::Bold } else { Tone::Plain }, line)
        }));
    }
    if !step.tail.is_empty() {
        let count = if step.tail.len() == LOG_TAIL { "the last lines" } else { "the lines" };
        lines.push(Line::new().text(&format!("  {count} that it wrote:")));
        let bar = |line: &String| Line::new().add(Tone::Dim, "    | ").text(line);
        lines.extend(step.tail.iter().map(bar));
    }
    if step.dropped > 0 {
        lines.push(Line::new().text(&format!("  {} earlier lines were dropped", step.dropped)));
    }
    lines.extend(causes.iter().map(|cause| item("cause", cause)));
    lines.extend(hints.iter().map(|hint| item("hint", hint)));
    let stopped = progress.stopped_by(&step.info.id);
    if !stopped.is_empty() {
        lines.push(item("stops", &stopped.join(", ")));
    }
    lines
}

fn title(text: &str) -> Line {
    Line::new().add(Tone::Bad, "error").add(Tone::Bold, ": ").add(Tone::Bold, text)
}

fn item(word: &str, text: &str) -> Line {
    Line::new().add(Tone::Info, &format!("  {word}: ")).text(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::{self, Log};

    #[test]
    fn a_failure_has_its_place_its_last_lines_its_causes_and_hints() {
        let source = |file: &str| {
            let text = "FROM python-base\n\n\nCOPY requirements.txt .\n\
                        RUN pip install -r requirements.txt\nCOPY app/ app/\n";
            (file == "stt/Dockerfile").then(|| text.to_owned())
        };
        let progress = Progress::replay(&recorded::failure());
        insta::assert_snapshot!(report(&progress, source, Style::PLAIN), @r"
        error: [stt 2/3] `RUN pip install -r requirements.txt` failed after 1.2 s
          --> stt/Dockerfile:5
                3 |
                4 | COPY requirements.txt .
            >>> 5 | RUN pip install -r requirements.txt
                6 | COPY app/ app/
          the lines that it wrote:
            | Collecting nunpy
            | ERROR: No matching distribution: nunpy
          cause: the command failed
          cause: `/bin/sh -c pip install` exited with code 1
          hint: see the lines above; run with `--progress plain` for all of them
          stops: stt
        ");
    }

    #[test]
    fn nothing_is_said_of_a_run_that_did_not_fail() {
        for events in [recorded::happy(), recorded::cancelled(), recorded::warm()] {
            assert_eq!(report(&Progress::replay(&events), |_| None, Style::FULL), "");
        }
    }

    #[test]
    fn a_missing_source_and_a_failed_push_are_reported_too() {
        let mut log = Log::new();
        log.plan(
            &[("a", "app", "RUN a", &[]), ("b", "web", "RUN b", &[])],
            &[("app", "a", &[]), ("web", "b", &[])],
        );
        log.start("a", bakehouse_model::MissReason::Forced).failed("a", &["no \u{7}space"], &[]);
        log.cached("b").image_failed("web", &["the push failed", "401"]);
        let progress = Progress::replay(log.events());
        insta::assert_snapshot!(report(&progress, |_| None, Style::PLAIN), @r"
        error: [app 1/1] `RUN a` failed after 1.2 s
          --> app/Dockerfile:2
          cause: no space
          stops: app

        error: image `web` failed
          cause: the push failed
          cause: 401
        ");
    }
}
