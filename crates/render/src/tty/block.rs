//! The block that is drawn over and over: header, bar, running steps, transfers.

use crate::measure::{bytes, clock, plural};
use crate::progress::{ImageState, Progress, StepProgress, StepState, Transfer};
use crate::style::{Line, Style, Tone};
use crate::{text, tty::Size, words};

const SPIN_MS: u64 = 80;
/// The bar is not longer than this: beyond, nobody sees it move.
const BAR: usize = 72;
const TRANSFERS: usize = 3;
/// A transfer that has not moved for so long is no news.
const STALE_MS: u64 = 15_000;
/// Widest column of image names.
const NAMES: usize = 24;
/// Below so many columns a step's line is reduced to what matters most.
const NARROW: usize = 60;
/// From so many columns on there is room for the worker.
const WIDE: usize = 79;
/// Below this cost an expectation is not worth its place.
const WORTH_MS: u64 = 2000;

/// The block as it should look now; never higher than the terminal.
pub(super) fn lines(progress: &Progress, now_ms: u64, size: Size, style: Style) -> Vec<Line> {
    let columns = size.columns.saturating_sub(1).max(1);
    let mut room = size.rows.saturating_sub(1).max(1);
    let mut lines = vec![header(progress, now_ms, columns, style)];
    room -= 1;
    if room >= 4 {
        lines.push(bar(progress, now_ms, columns, style));
        room -= 1;
    }
    let transfers = transfers(progress, now_ms, columns, style);
    let transfers = if transfers.len() < room { transfers } else { Vec::new() };
    room -= transfers.len();
    lines.extend(running(progress, now_ms, Size { columns, rows: room }, style));
    lines.extend(transfers);
    lines
}

/// A part of the header; what matters least is left out first.
struct Part {
    matters: u8,
    tone: Tone,
    text: String,
}

fn header(progress: &Progress, now_ms: u64, columns: usize, style: Style) -> Line {
    let counts = progress.counts();
    let mut parts = vec![Part {
        matters: 9,
        tone: Tone::Bold,
        text: format!("building {}", plural(progress.images().len(), "image")),
    }];
    let mut part = |matters, tone, text| parts.push(Part { matters, tone, text });
    part(8, Tone::Plain, format!("{}/{} steps", counts.ended(), counts.total()));
    let stopped = |state: &ImageState| {
        matches!(state, ImageState::Failed { .. } | ImageState::Skipped { .. })
    };
    let failed = progress.images().iter().filter(|image| stopped(&image.state)).count();
    if counts.failed.max(failed) > 0 {
        part(7, Tone::Bad, format!("{} failed", counts.failed.max(1)));
    }
    if counts.cached > 0 {
        part(3, Tone::Plain, format!("{} cached", counts.cached));
    }
    if counts.running > 0 {
        part(2, Tone::Plain, format!("{} running", counts.running));
    }
    part(6, Tone::Plain, clock(progress.elapsed_ms(now_ms)));
    let left = progress.left_ms(now_ms);
    if left >= 1000 {
        part(4, Tone::Plain, format!("about {} left", clock(left)));
    }
    loop {
        let line = join(&parts, style);
        if line.width() <= columns || parts.len() == 1 {
            return line.cut(columns, style);
        }
        let least = parts.iter().map(|part| part.matters).min().unwrap_or(0);
        parts.retain(|part| part.matters != least);
    }
}

fn join(parts: &[Part], style: Style) -> Line {
    let mut line = Line::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            line.push(Tone::Dim, &format!(" {} ", style.glyphs().dot));
        }
        line.push(part.tone, &part.text);
    }
    line
}

fn bar(progress: &Progress, now_ms: u64, columns: usize, style: Style) -> Line {
    let glyphs = style.glyphs();
    let permille = usize::try_from(progress.permille(now_ms)).unwrap_or(0).min(1000);
    let percent = format!(" {:>3}%", permille / 10);
    let width = columns.saturating_sub(percent.len()).min(BAR);
    let halves = width * 2 * permille / 1000;
    let tone = if progress.counts().failed > 0 { Tone::Bad } else { Tone::Good };
    let tip = if halves % 2 == 1 { glyphs.half } else { "" };
    let empty = width - halves.div_ceil(2);
    Line::new()
        .add(tone, &format!("{}{tip}", glyphs.full.repeat(halves / 2)))
        .add(Tone::Dim, &glyphs.empty.repeat(empty))
        .text(&percent)
}

/// The running steps, each with its last log line while there is room.
fn running(progress: &Progress, now_ms: u64, size: Size, style: Style) -> Vec<Line> {
    let running = progress.running();
    let fits = if running.len() <= size.rows { running.len() } else { size.rows.saturating_sub(1) };
    let mut logs = size.rows.saturating_sub(running.len());
    let names = running.iter().map(|step| text::width(&text::clean(&step.info.image)));
    let names = names.max().unwrap_or(0).min(NAMES).min(size.columns / 3);
    let mut lines = Vec::new();
    for step in &running[..fits] {
        lines.push(step_line(step, now_ms, (names, size.columns), style));
        let last = step.tail.iter().rev().find(|line| !line.trim().is_empty());
        if let Some(last) = last.filter(|_| logs > 0) {
            logs -= 1;
            let line = Line::new().add(Tone::Dim, &format!("  {} ", style.glyphs().bar));
            lines.push(line.add(Tone::Dim, last));
        }
    }
    if fits < running.len() && size.rows > 0 {
        let more = format!("  {} more running", running.len() - fits);
        lines.push(Line::new().add(Tone::Dim, &more));
    }
    lines
}

fn step_line(step: &StepProgress, now_ms: u64, columns: (usize, usize), style: Style) -> Line {
    let (names, columns) = columns;
    let spinner = style.glyphs().spinner;
    let turn = usize::try_from(now_ms / SPIN_MS).unwrap_or(0) % spinner.len();
    let mut left = Line::new().add(Tone::Info, spinner[turn]).text(" ");
    if let StepState::Running { worker } = step.state
        && columns >= WIDE
    {
        left.push(Tone::Dim, &format!("{:>2} ", worker + 1));
    }
    let name = Line::new().add(Tone::Bold, &step.info.image).cut(names, style).pad(names);
    left = left.append(name).text("  ");
    if columns >= NARROW && !step.info.stage.is_empty() {
        left = left.add(Tone::Dim, &step.info.stage).text("  ");
    }
    left.push(Tone::Plain, &step.info.name);
    left.with_right(time(step, now_ms, columns), columns, style)
}

/// `0:08 of 0:14`.
fn time(step: &StepProgress, now_ms: u64, columns: usize) -> Line {
    let ran = step.running_ms(now_ms);
    let cost = step.info.cost_ms;
    let line = Line::new();
    if cost < WORTH_MS {
        return line.text(&clock(ran));
    }
    let tone = if ran > cost + cost / 4 { Tone::Warn } else { Tone::Plain };
    let of = if columns >= NARROW { " of " } else { "/" };
    line.add(tone, &clock(ran)).add(Tone::Dim, &format!("{of}{}", clock(cost)))
}

fn transfers(progress: &Progress, now_ms: u64, columns: usize, style: Style) -> Vec<Line> {
    let moves =
        |t: &&Transfer| !t.is_done() && t.done > 0 && now_ms.saturating_sub(t.last_ms) < STALE_MS;
    let active: Vec<&Transfer> = progress.transfers().iter().filter(moves).collect();
    let glyphs = style.glyphs();
    let mut lines = Vec::new();
    for transfer in active.iter().take(TRANSFERS) {
        let arrow = match transfer.way {
            bakehouse_model::TransferKind::Pull | bakehouse_model::TransferKind::Download => {
                glyphs.down
            }
            bakehouse_model::TransferKind::Push | bakehouse_model::TransferKind::Load => glyphs.up,
        };
        let left = Line::new().add(Tone::Info, arrow).text(" ").text(words::moving(transfer));
        let left = left.text(" ").text(&transfer.what);
        let rate = format!("  {}/s", bytes(transfer.rate(now_ms)));
        let mut right = Line::new().text(&words::amount(transfer));
        if columns >= 50 {
            right.push(Tone::Dim, &rate);
        }
        lines.push(left.with_right(right, columns, style));
    }
    if active.len() > TRANSFERS {
        let rate = active.iter().fold(0u64, |sum, t| sum.saturating_add(t.rate(now_ms)));
        let more = format!("  {} more, {}/s in all", active.len() - TRANSFERS, bytes(rate));
        lines.push(Line::new().add(Tone::Dim, &more));
    }
    lines
}
