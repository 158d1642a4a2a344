//! What the run came to, as text and as a value.

use bakehouse_model::ExitCode;
use serde_json::{Value, json};

use crate::measure::{bytes, duration, plural};
use crate::progress::{ImageProgress, ImageState, Progress, StepProgress};
use crate::style::{Line, Style, Tone, render_all};
use crate::table::{Cell, Column, grid};
use crate::words;

/// The version of [`json`]'s value.
pub const VERSION: u32 = 1;
/// Steps that are named as the slowest.
const SLOWEST: usize = 3;
/// Images that were up to date are listed unless there are more of them than this and
/// something else to show.
const UP_TO_DATE: usize = 8;
/// What ran for less is not worth naming.
const SLOW_MS: u64 = 100;

/// The table of images, the totals, the makespan against the critical path and the
/// slowest steps; one line if everything was up to date.
pub fn text(progress: &Progress, style: Style, width: usize) -> String {
    let tally = Tally::of(progress);
    if progress.exit() == Some(ExitCode::Ok) && tally.up_to_date == progress.images().len() {
        let time = duration(progress.realised().makespan_ms);
        let what = plural(tally.up_to_date, "image");
        let line = Line::new().add(Tone::Good, &format!("{what} up to date")).text(" in ");
        let mut lines = vec![line.text(&time)];
        lines.extend(outputs(progress));
        return render_all(&lines, style);
    }
    let mut lines = images(progress, width, style);
    lines.push(Line::new());
    lines.push(tally.line(progress));
    lines.push(steps(progress));
    lines.extend(lengths(progress));
    lines.extend(slowest(progress).into_iter().map(|line| line.cut(width, style)));
    lines.extend(outputs(progress));
    render_all(&lines, style)
}

/// How many images ended in each way.
#[derive(Default)]
struct Tally {
    built: usize,
    up_to_date: usize,
    failed: usize,
    skipped: usize,
    cancelled: usize,
    unfinished: usize,
}

impl Tally {
    fn of(progress: &Progress) -> Self {
        let mut tally = Self::default();
        for image in progress.images() {
            *match image.state {
                ImageState::Done { cached: false, .. } => &mut tally.built,
                ImageState::Done { cached: true, .. } => &mut tally.up_to_date,
                ImageState::Failed { .. } => &mut tally.failed,
                ImageState::Skipped { .. } => &mut tally.skipped,
                ImageState::Cancelled => &mut tally.cancelled,
                ImageState::Waiting => &mut tally.unfinished,
            } += 1;
        }
        tally
    }

    fn line(&self, progress: &Progress) -> Line {
        let mut line =
            Line::new().add(Tone::Bold, &plural(progress.images().len(), "image")).text(": ");
        let parts = [
            (Tone::Good, self.built, "built"),
            (Tone::Plain, self.up_to_date, "up to date"),
            (Tone::Bad, self.failed, "failed"),
            (Tone::Warn, self.skipped, "skipped"),
            (Tone::Warn, self.cancelled, "cancelled"),
            (Tone::Warn, self.unfinished, "unfinished"),
        ];
        let mut comma = "";
        for (tone, count, word) in parts.into_iter().filter(|part| part.1 > 0) {
            line = line.text(comma).add(tone, &format!("{count} {word}"));
            comma = ", ";
        }
        let elapsed = progress.realised().makespan_ms;
        let ending = progress
            .exit()
            .map_or_else(|| "not over yet".to_owned(), |exit| words::ending(exit, elapsed));
        line.text("; ").text(&ending)
    }
}

fn images(progress: &Progress, width: usize, style: Style) -> Vec<Line> {
    let columns = [
        Column::left("IMAGE").flexible(),
        Column::left("RESULT"),
        Column::right("TIME"),
        Column::right("SIZE"),
        Column::left("DIGEST"),
        Column::left("WHY").flexible(),
    ];
    let cached =
        |image: &&ImageProgress| matches!(image.state, ImageState::Done { cached: true, .. });
    let many = progress.images().iter().filter(cached).count() > UP_TO_DATE;
    let shown = progress.images().iter().filter(|image| !(many && cached(image)));
    let rows: Vec<Vec<Cell>> = shown.map(|image| row(progress, image)).collect();
    // On a narrow terminal the reason is worth more than digest and size.
    let kept: &[usize] = match width {
        0..60 => &[0, 1, 5],
        60..90 => &[0, 1, 2, 3, 5],
        _ => &[0, 1, 2, 3, 4, 5],
    };
    let columns: Vec<Column> = kept.iter().map(|&at| columns[at].clone()).collect();
    let rows: Vec<Vec<Cell>> =
        rows.iter().map(|row| kept.iter().map(|&at| row[at].clone()).collect()).collect();
    grid(&columns, &rows, width, style)
}

fn row(progress: &Progress, image: &ImageProgress) -> Vec<Cell> {
    let (tone, word) = words::result(&image.state);
    let ran = progress.image_ran_ms(image);
    let (size, digest) = match &image.state {
        ImageState::Done { manifest, bytes: size, .. } => {
            (bytes(*size), manifest.short().to_owned())
        }
        _ => (String::new(), String::new()),
    };
    vec![
        (Tone::Plain, image.info.name.clone()),
        (tone, word.to_owned()),
        (Tone::Plain, if ran > 0 { duration(ran) } else { String::new() }),
        (Tone::Plain, size),
        (Tone::Dim, digest),
        (Tone::Plain, words::reason(progress, image)),
    ]
}

fn steps(progress: &Progress) -> Line {
    let counts = progress.counts();
    let mut text = format!(
        "{}: {} ran, {} found in the cache",
        plural(counts.total(), "step"),
        counts.built + counts.failed,
        counts.cached
    );
    let rest = [
        (counts.failed, "failed"),
        (counts.skipped, "skipped"),
        (counts.cancelled, "cancelled"),
        (counts.waiting + counts.running, "unfinished"),
    ];
    for (count, word) in rest.into_iter().filter(|part| part.0 > 0) {
        text.push_str(&format!(", {count} {word}"));
    }
    Line::new().text(&text)
}

fn lengths(progress: &Progress) -> Option<Line> {
    if progress.worked_ms() == 0 {
        return None;
    }
    let (planned, realised) = (progress.planned(), progress.realised());
    let workers = usize::try_from(progress.workers()).unwrap_or(usize::MAX);
    let mut text = format!(
        "makespan {}, critical path {}",
        duration(realised.makespan_ms),
        duration(realised.critical_path_ms),
    );
    if planned.makespan_ms > 0 {
        text.push_str(&format!(
            " (planned: {} and {})",
            duration(planned.makespan_ms),
            duration(planned.critical_path_ms)
        ));
    }
    text.push_str(&format!(
        "; {} of work on {}",
        duration(progress.worked_ms()),
        plural(workers, "worker")
    ));
    Some(Line::new().text(&text))
}

fn slowest(progress: &Progress) -> Vec<Line> {
    let mut slow = progress.slowest(SLOWEST);
    slow.retain(|step| step.ran_ms >= SLOW_MS);
    let times: Vec<String> = slow.iter().map(|step| duration(step.ran_ms)).collect();
    let column = times.iter().map(String::len).max().unwrap_or(0);
    slow.iter()
        .zip(&times)
        .enumerate()
        .map(|(at, (step, time))| {
            let word = if at == 0 { "slowest: " } else { "         " };
            let line = Line::new().text(&format!("{word}{time:>column$}  "));
            line.add(Tone::Dim, &words::place(step)).text(" ").text(&step.info.name)
        })
        .collect()
}

fn outputs(progress: &Progress) -> Vec<Line> {
    let mut lines = Vec::new();
    let tags = progress.images().iter().flat_map(|image| &image.tags);
    let (same, moved): (Vec<_>, Vec<_>) = tags.partition(|tag| tag.unchanged);
    let counted = [(moved.len(), "moved"), (same.len(), "pointed there already")];
    let counted: Vec<String> = counted
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", plural(count, "tag")))
        .collect();
    if !counted.is_empty() {
        lines.push(Line::new().text(&counted.join(", ")));
    }
    for image in progress.images() {
        for export in &image.exports {
            let text = format!("{} written to {} ({})", image.info.name, export.dest, export.kind);
            lines.push(Line::new().text(&text));
        }
    }
    lines
}

/// The same as a value: what `--format json` prints.
pub fn json(progress: &Progress) -> Value {
    let (planned, realised) = (progress.planned(), progress.realised());
    let counts = progress.counts();
    json!({
        "version": VERSION,
        "exit": progress.exit(),
        "elapsed_ms": realised.makespan_ms,
        "worked_ms": progress.worked_ms(),
        "workers": progress.workers(),
        "planned": {
            "makespan_ms": planned.makespan_ms,
            "critical_path_ms": planned.critical_path_ms,
        },
        "realised": {
            "makespan_ms": realised.makespan_ms,
            "critical_path_ms": realised.critical_path_ms,
        },
        "steps": {
            "total": counts.total(),
            "built": counts.built,
            "cached": counts.cached,
            "failed": counts.failed,
            "skipped": counts.skipped,
            "cancelled": counts.cancelled,
            "unfinished": counts.waiting + counts.running,
        },
        "images": progress.images().iter().map(|i| json_image(progress, i)).collect::<Vec<_>>(),
        "failures": progress.failures().map(json_failure).collect::<Vec<_>>(),
        "slowest": progress.slowest(SLOWEST).into_iter().map(json_step).collect::<Vec<_>>(),
        "diagnostics": progress.notices(),
    })
}

fn json_image(progress: &Progress, image: &ImageProgress) -> Value {
    let result = match &image.state {
        ImageState::Waiting => "unfinished",
        ImageState::Done { cached: true, .. } => "cached",
        ImageState::Done { cached: false, .. } => "built",
        ImageState::Failed { .. } => "failed",
        ImageState::Skipped { .. } => "skipped",
        ImageState::Cancelled => "cancelled",
    };
    let mut value = json!({
        "name": image.info.name,
        "result": result,
        "references": image.info.references,
        "needs": image.info.needs,
        "ran_ms": progress.image_ran_ms(image),
        "why": words::reason(progress, image),
        "because": progress.blame(image).map(|step| json!({
            "step": json_step(step),
            "miss": step.miss,
        })),
        "tags": image.tags.iter().map(|tag| json!({
            "reference": tag.reference,
            "digest": tag.digest,
            "unchanged": tag.unchanged,
        })).collect::<Vec<_>>(),
        "exports": image.exports.iter().map(|export| json!({
            "kind": export.kind,
            "dest": export.dest,
        })).collect::<Vec<_>>(),
    });
    match &image.state {
        ImageState::Done { manifest, config, bytes, .. } => {
            value["manifest"] = json!(manifest);
            value["config"] = json!(config);
            value["bytes"] = json!(bytes);
        }
        ImageState::Failed { causes, .. } => value["causes"] = json!(causes),
        ImageState::Skipped { needs } => value["skipped_for"] = json!(needs),
        ImageState::Waiting | ImageState::Cancelled => {}
    }
    value
}

fn json_step(step: &StepProgress) -> Value {
    json!({
        "id": step.info.id,
        "name": step.info.name,
        "image": step.info.image,
        "stage": step.info.stage,
        "location": step.info.location,
        "ran_ms": step.ran_ms,
    })
}

fn json_failure(step: &StepProgress) -> Value {
    let mut value = json_step(step);
    if let crate::StepState::Failed { causes, hints, code } = &step.state {
        value["causes"] = json!(causes);
        value["hints"] = json!(hints);
        value["code"] = json!(code);
    }
    value["log"] = json!(step.tail);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded;

    fn summary(events: &[bakehouse_model::Event], width: usize) -> String {
        text(&Progress::replay(events), Style::PLAIN, width)
    }

    #[test]
    fn a_run_is_summed_up_like_this() {
        insta::assert_snapshot!(summary(&recorded::happy(), 120), @r"
        IMAGE        RESULT       TIME    SIZE  DIGEST        WHY
        python-base  up to date         120 MB  4bd65b9414b6
        stt          built       8.3 s  184 MB  c4180cb8e9bd  `stt/requirements.txt` changed
        tts          up to date         121 MB  e49dc568ae47

        3 images: 1 built, 2 up to date; done in 8.4 s
        6 steps: 3 ran, 3 found in the cache
        makespan 8.4 s, critical path 8.3 s (planned: 4.0 s and 3.0 s); 8.3 s of work on 2 workers
        slowest: 8.2 s  [stt 2/3] RUN pip install -r requirements.txt
        1 tag moved
        stt written to out/stt.tar (oci)
        ");
    }

    #[test]
    fn a_failed_run_is_summed_up_like_this() {
        insta::assert_snapshot!(summary(&recorded::failure(), 120), @r"
        IMAGE        RESULT        TIME    SIZE  DIGEST        WHY
        python-base  up to date          120 MB  4bd65b9414b6
        stt          failed       1.2 s                        `RUN pip install -r requirements.txt`: `/bin/sh -c pip install...
        tts          built       0.01 s  121 MB  e49dc568ae47  `tts/main.py` changed (and 2 others)

        3 images: 1 built, 1 up to date, 1 failed; failed after 1.3 s
        6 steps: 3 ran, 2 found in the cache, 1 failed, 1 skipped
        makespan 1.3 s, critical path 1.2 s (planned: 4.0 s and 3.0 s); 1.2 s of work on 2 workers
        slowest: 1.2 s  [stt 2/3] RUN pip install -r requirements.txt
        ");
    }

    #[test]
    fn an_interrupted_run_is_summed_up_like_this() {
        insta::assert_snapshot!(summary(&recorded::cancelled(), 80), @r"
        IMAGE        RESULT       TIME    SIZE  WHY
        python-base  up to date         120 MB
        stt          cancelled   2.0 s
        tts          cancelled

        3 images: 1 up to date, 2 cancelled; interrupted after 2.0 s
        6 steps: 1 ran, 2 found in the cache, 3 cancelled
        makespan 2.0 s, critical path 2.0 s (planned: 4.0 s and 3.0 s); 2.0 s of work on 2 workers
        slowest: 2.0 s  [stt 2/3] RUN pip install -r requirements.txt
        ");
    }

    #[test]
    fn a_warm_run_is_one_line() {
        assert_eq!(summary(&recorded::warm(), 80), "3 images up to date in 0.04 s\n");
    }

    #[test]
    fn a_narrow_terminal_keeps_the_reason() {
        insta::assert_snapshot!(summary(&recorded::happy(), 40), @r"
        IMAGE        RESULT      WHY
        python-base  up to date
        stt          built       `stt/require...
        tts          up to date

        3 images: 1 built, 2 up to date; done in 8.4 s
        6 steps: 3 ran, 3 found in the cache
        makespan 8.4 s, critical path 8.3 s (planned: 4.0 s and 3.0 s); 8.3 s of work on 2 workers
        slowest: 8.2 s  [stt 2/3] RUN pip ins...
        1 tag moved
        stt written to out/stt.tar (oci)
        ");
        for width in 20..130 {
            // The table and the slowest steps fit; sentences are left for the terminal to fold.
            for line in summary(&recorded::failure(), width).lines().take(4) {
                assert!(crate::text::width(line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn the_value_says_the_same() {
        let value = json(&Progress::replay(&recorded::failure()));
        assert_eq!(value["exit"], "work-failed");
        assert_eq!(value["steps"]["failed"], 1);
        assert_eq!(value["images"][1]["result"], "failed");
        assert_eq!(value["images"][2]["why"], "`tts/main.py` changed (and 2 others)");
        assert_eq!(value["images"][2]["because"]["miss"]["because"], "input-changed");
        assert_eq!(value["failures"][0]["code"], 1);
        assert_eq!(value["failures"][0]["log"][0], "Collecting nunpy");
        let warm = json(&Progress::replay(&recorded::warm()));
        assert_eq!(warm["images"][0]["result"], "cached");
        assert_eq!(warm["images"][0]["because"], Value::Null);
    }
}
