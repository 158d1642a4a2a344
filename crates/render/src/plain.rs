//! One line per fact, for logs that somebody reads afterwards.
//!
//! The same events give the same bytes. Steps that were found in the cache, were skipped
//! or cancelled come in crowds and are told as such.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bakehouse_model::{Event, EventKind, Outcome, StepId};

use crate::measure::{bytes, duration, plural};
use crate::progress::{ImageState, Progress, StepProgress, StepState, Transfer};
use crate::style::{Line, Style, Tone, render_all};
use crate::{Renderer, text, words};

/// How often a transfer that goes on says so.
const TRANSFER_EVERY_MS: u64 = 5000;

/// Writes one line per fact.
#[derive(Debug)]
pub struct Plain<W: Write> {
    out: W,
    style: Style,
    crowd: Option<Crowd>,
    told: BTreeMap<String, u64>,
}

/// Ends of steps in a row that are told in one line.
#[derive(Debug)]
struct Crowd {
    end: End,
    count: usize,
    first: StepId,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Of that cache, if it was not the store.
    Cached(Option<String>),
    Skipped(StepId),
    Cancelled,
}

impl<W: Write> Plain<W> {
    /// Writes to `out`.
    pub fn new(out: W, style: Style) -> Self {
        Self { out, style, crowd: None, told: BTreeMap::new() }
    }

    fn write(&mut self, lines: &[Line], progress: &Progress) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut all: Vec<Line> =
            self.crowd.take().and_then(|crowd| crowd.line(progress)).into_iter().collect();
        all.extend_from_slice(lines);
        self.out.write_all(render_all(&all, self.style).as_bytes())?;
        self.out.flush()
    }

    fn join(&mut self, end: End, step: &StepId, progress: &Progress) -> io::Result<()> {
        if let Some(crowd) = self.crowd.as_mut().filter(|crowd| crowd.end == end) {
            crowd.count += 1;
            return Ok(());
        }
        let before = self.crowd.take().and_then(|crowd| crowd.line(progress));
        self.crowd = Some(Crowd { end, count: 1, first: step.clone() });
        match before {
            Some(line) => self.out.write_all(render_all(&[line], self.style).as_bytes()),
            None => Ok(()),
        }
    }

    fn step_ended(
        &mut self,
        step: &StepId,
        outcome: &Outcome,
        progress: &Progress,
    ) -> io::Result<()> {
        let Some((number, known)) = progress.step(step) else { return Ok(()) };
        match outcome {
            Outcome::Unneeded => Ok(()),
            Outcome::Cached { from } => self.join(End::Cached(from.clone()), step, progress),
            Outcome::Skipped { needs } => self.join(End::Skipped(needs.clone()), step, progress),
            Outcome::Cancelled if known.started_ms.is_none() => {
                self.join(End::Cancelled, step, progress)
            }
            _ => self.write(&ended(number, known, progress), progress),
        }
    }

    fn transferred(&mut self, transfer: &Transfer, progress: &Progress) -> io::Result<()> {
        let key = format!("{:?} {}", transfer.way, transfer.what);
        let told = *self.told.entry(key.clone()).or_insert(transfer.started_ms);
        let since = transfer.last_ms.saturating_sub(told);
        if !transfer.is_done() && since < TRANSFER_EVERY_MS {
            return Ok(());
        }
        self.told.insert(key.clone(), transfer.last_ms);
        let mut line = Line::new().text(words::moving(transfer)).text(" ").text(&transfer.what);
        line.push(Tone::Dim, &format!(": {}", words::amount(transfer)));
        if transfer.is_done() {
            self.told.remove(&key);
            let took = transfer.last_ms.saturating_sub(transfer.started_ms);
            line.push(Tone::Dim, &format!(" in {}", duration(took)));
        } else {
            let rate = bytes(transfer.rate(transfer.last_ms));
            line.push(Tone::Dim, &format!(", {rate}/s"));
        }
        self.write(&[line], progress)
    }
}

impl Crowd {
    fn line(self, progress: &Progress) -> Option<Line> {
        let (number, step) = progress.step(&self.first)?;
        let (word, of_many) = match &self.end {
            End::Cached(None) => ("CACHED", "found in the cache".to_owned()),
            End::Cached(Some(from)) => {
                ("CACHED", format!("found in the cache {}", text::clean(from)))
            }
            End::Cancelled => ("CANCELLED", "cancelled before they began".to_owned()),
            End::Skipped(needs) => {
                let number = progress.step(needs).map_or(0, |(number, _)| number);
                ("SKIPPED", format!("skipped, because #{number} failed"))
            }
        };
        Some(match self.count {
            1 => head(number).text(&format!("{word} {} {}", words::place(step), step.info.name)),
            n => Line::new().text(&format!("{} {of_many}", plural(n, "step"))),
        })
    }
}

impl<W: Write> Renderer for Plain<W> {
    fn show(&mut self, event: &Event, progress: &Progress) -> io::Result<()> {
        let lines = match &event.kind {
            EventKind::RunStarted { .. } => vec![opening(progress)],
            EventKind::Noticed { diagnostic } => vec![words::notice(diagnostic)],
            EventKind::StepStarted { step, .. } => started(step, progress),
            EventKind::StepWaited { step } => waits(step, progress),
            EventKind::StepLogged { step, line, .. } => logged(step, line, event.at_ms, progress),
            EventKind::LogDropped { step, lines } => dropped(step, *lines, progress),
            EventKind::StepFinished { step, outcome, .. } => {
                return self.step_ended(step, outcome, progress);
            }
            EventKind::Transferred { way, what, .. } => {
                let mut known = progress.transfers().iter().rev();
                return match known.find(|t| t.way == *way && t.what == *what) {
                    Some(transfer) => self.transferred(transfer, progress),
                    None => Ok(()),
                };
            }
            EventKind::ImageFinished { image, .. } | EventKind::ImageFailed { image, .. } => {
                image_ended(image, progress)
            }
            EventKind::TagMoved { reference, digest, unchanged, .. } => {
                let how = if *unchanged { "still points at" } else { "now points at" };
                vec![Line::new().text(&format!("{reference} {how} {}", digest.short()))]
            }
            EventKind::Exported { image, kind, dest } => {
                vec![Line::new().text(&format!("{image} written to {dest} ({kind})"))]
            }
            EventKind::RunFinished { exit } => {
                let text = words::ending(*exit, progress.realised().makespan_ms);
                vec![Line::new().add(Tone::Bold, &text)]
            }
            _ => Vec::new(),
        };
        self.write(&lines, progress)
    }

    fn tick(&mut self, _: u64, _: &Progress) -> io::Result<()> {
        Ok(())
    }
}

fn head(number: usize) -> Line {
    Line::new().add(Tone::Info, &format!("#{number} "))
}

fn opening(progress: &Progress) -> Line {
    let planned = progress.steps().iter().filter(|step| step.info.planned).count();
    let mut text = format!(
        "building {}: {}, {planned} to run, {}",
        plural(progress.images().len(), "image"),
        plural(progress.steps().len(), "step"),
        plural(usize::try_from(progress.workers()).unwrap_or(usize::MAX), "worker"),
    );
    if planned > 0 && progress.planned().makespan_ms > 0 {
        text.push_str(&format!(", about {}", duration(progress.planned().makespan_ms)));
    }
    Line::new().add(Tone::Bold, &text)
}

fn started(step: &StepId, progress: &Progress) -> Vec<Line> {
    let Some((number, step)) = progress.step(step) else { return Vec::new() };
    let place = words::place(step);
    vec![head(number).text(&format!("{place} ")).add(Tone::Bold, &step.info.name)]
}

fn waits(step: &StepId, progress: &Progress) -> Vec<Line> {
    let Some((number, _)) = progress.step(step) else { return Vec::new() };
    vec![head(number).add(Tone::Dim, words::WAITS)]
}

fn logged(step: &StepId, line: &str, at_ms: u64, progress: &Progress) -> Vec<Line> {
    let Some((number, step)) = progress.step(step) else { return Vec::new() };
    let ms = at_ms.saturating_sub(step.started_ms.unwrap_or(at_ms));
    let time = format!("{}.{:02} ", ms / 1000, ms % 1000 / 10);
    vec![head(number).add(Tone::Dim, &time).text(text::last_state(line))]
}

fn dropped(step: &StepId, lines: u64, progress: &Progress) -> Vec<Line> {
    let Some((number, _)) = progress.step(step) else { return Vec::new() };
    let count = plural(usize::try_from(lines).unwrap_or(usize::MAX), "line");
    vec![head(number).add(Tone::Dim, &format!("... {count} dropped"))]
}

fn ended(number: usize, step: &StepProgress, progress: &Progress) -> Vec<Line> {
    let time = duration(step.ran_ms);
    match &step.state {
        StepState::Built => {
            let mut line = head(number).add(Tone::Good, &format!("DONE {time}"));
            if let Some(why) = progress.why_step(step) {
                line.push(Tone::Dim, &format!(" ({why})"));
            }
            vec![line]
        }
        StepState::Failed { causes, .. } => {
            let mut lines = vec![head(number).add(Tone::Bad, &format!("FAILED {time}"))];
            let cause = |cause| head(number).add(Tone::Bad, "ERROR ").text(cause);
            lines.extend(causes.iter().map(|text| cause(text)));
            lines
        }
        StepState::Cancelled => {
            vec![head(number).add(Tone::Warn, &format!("CANCELLED {time}"))]
        }
        _ => Vec::new(),
    }
}

fn image_ended(name: &str, progress: &Progress) -> Vec<Line> {
    let Some(image) = progress.image(name) else { return Vec::new() };
    let (tone, word) = words::result(&image.state);
    let mut line = Line::new().add(Tone::Bold, name).text(" ").add(tone, word);
    if let ImageState::Done { manifest, bytes: size, .. } = &image.state {
        line.push(Tone::Plain, &format!(": {}, {}", bytes(*size), manifest.short()));
    }
    let why = words::reason(progress, image);
    if !why.is_empty() {
        line.push(Tone::Dim, &format!(" ({why})"));
    }
    vec![line]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::{self, Log};
    use bakehouse_model::MissReason;

    fn plain(events: &[Event]) -> String {
        let mut progress = Progress::default();
        let mut plain = Plain::new(Vec::new(), Style::PLAIN);
        for event in events {
            progress.apply(event);
            plain.show(event, &progress).unwrap();
        }
        String::from_utf8(plain.out).unwrap()
    }

    #[test]
    fn a_run_with_one_changed_file_reads_like_this() {
        insta::assert_snapshot!(plain(&recorded::happy()), @r"
        building 3 images: 6 steps, 6 to run, 2 workers, about 4.0 s
        warning: stt/Dockerfile:4: package lists stay in the layer (add `rm -rf /var/lib/apt/lists/*`)
        2 steps found in the cache
        python-base up to date: 120 MB, 4bd65b9414b6
        #6 CACHED [tts 1/1] COPY main.py .
        tts up to date: 121 MB, e49dc568ae47
        #3 [stt 1/3] COPY requirements.txt .
        #3 DONE 0.02 s (`stt/requirements.txt` changed)
        #4 [stt 2/3] RUN pip install -r requirements.txt
        #4 0.52 Collecting numpy==1.26
        #4 0.96  99%
        downloaded https://example.org/model.bin: 9.00 MB in 1.0 s
        #4 ... 312 lines dropped
        #4 DONE 8.2 s (`COPY requirements.txt .` made something new)
        #5 [stt 3/3] COPY app/ app/
        #5 DONE 0.06 s (`RUN pip install -r requirements.txt` made something new)
        stt built: 184 MB, c4180cb8e9bd (`stt/requirements.txt` changed)
        registry.example/stt:latest now points at c4180cb8e9bd
        stt written to out/stt.tar (oci)
        done in 8.4 s
        ");
    }

    #[test]
    fn a_step_that_another_build_was_at_reads_like_this() {
        let mut log = Log::new();
        log.plan(&[("a", "app", "RUN a", &[])], &[("app", "a", &[])]);
        log.at(1).start("a", MissReason::NeverBuilt).waited("a");
        log.at(900).cached("a").image_done("app", 1_000_000, true);
        insta::assert_snapshot!(plain(log.events()), @r"
        building 1 image: 1 step, 1 to run, 2 workers, about 4.0 s
        #1 [app 1/1] RUN a
        #1 waiting: another build is at the same step
        #1 CACHED [app 1/1] RUN a
        app up to date: 1.00 MB, f9d2155037fe
        ");
    }

    #[test]
    fn a_failure_reads_like_this() {
        insta::assert_snapshot!(plain(&recorded::failure()), @r"
        building 3 images: 6 steps, 6 to run, 2 workers, about 4.0 s
        2 steps found in the cache
        python-base up to date: 120 MB, 4bd65b9414b6
        #3 [stt 1/3] COPY requirements.txt .
        #3 DONE 0.00 s (never built before)
        #4 [stt 2/3] RUN pip install -r requirements.txt
        #6 [tts 1/1] COPY main.py .
        #6 DONE 0.01 s (`tts/main.py` changed (and 2 others))
        tts built: 121 MB, e49dc568ae47 (`tts/main.py` changed (and 2 others))
        #4 0.69 Collecting nunpy
        #4 1.19 ERROR: No matching distribution: nunpy
        #4 FAILED 1.2 s
        #4 ERROR the command failed
        #4 ERROR `/bin/sh -c pip install` exited with code 1
        #5 SKIPPED [stt 3/3] COPY app/ app/
        stt failed (`RUN pip install -r requirements.txt`: `/bin/sh -c pip install` exited with code 1)
        failed after 1.3 s
        ");
    }

    #[test]
    fn an_interrupted_run_reads_like_this() {
        insta::assert_snapshot!(plain(&recorded::cancelled()), @r"
        building 3 images: 6 steps, 6 to run, 2 workers, about 4.0 s
        2 steps found in the cache
        python-base up to date: 120 MB, 4bd65b9414b6
        #3 [stt 1/3] COPY requirements.txt .
        #3 DONE 0.00 s (never built before)
        #4 [stt 2/3] RUN pip install -r requirements.txt
        #4 CANCELLED 2.0 s
        2 steps cancelled before they began
        interrupted after 2.0 s
        ");
    }

    #[test]
    fn a_warm_run_is_short() {
        insta::assert_snapshot!(plain(&recorded::warm()), @r"
        building 3 images: 6 steps, 6 to run, 2 workers, about 4.0 s
        6 steps found in the cache
        python-base up to date: 1.00 MB, 4bd65b9414b6
        stt up to date: 1.00 MB, c4180cb8e9bd
        tts up to date: 1.00 MB, e49dc568ae47
        done in 0.04 s
        ");
    }
}
