//! The phrases that several windows share, so that one thing has one name everywhere.

use bakehouse_model::{Diagnostic, ExitCode, Severity, TransferKind};

use crate::measure::{bytes, duration};
use crate::progress::{ImageProgress, ImageState, Progress, StepProgress, StepState, Transfer};
use crate::style::{Line, Tone};

/// Said of a step that is waiting for another run.
pub(crate) const WAITS: &str = "waiting: another build is at the same step";

/// `[stt builder 2/5]`.
pub(crate) fn place(step: &StepProgress) -> String {
    let info = &step.info;
    let others = info.shared_by.saturating_sub(1);
    let shared = if others > 0 { format!(" +{others}") } else { String::new() };
    let gap = if info.stage.is_empty() { "" } else { " " };
    format!("[{}{shared}{gap}{}]", info.image, info.stage)
}

/// The word for what became of an image, with its tone.
pub(crate) fn result(state: &ImageState) -> (Tone, &'static str) {
    match state {
        ImageState::Waiting => (Tone::Warn, "unfinished"),
        ImageState::Done { cached: true, .. } => (Tone::Dim, "up to date"),
        ImageState::Done { cached: false, .. } => (Tone::Good, "built"),
        ImageState::Failed { .. } => (Tone::Bad, "failed"),
        ImageState::Skipped { .. } => (Tone::Warn, "skipped"),
        ImageState::Cancelled => (Tone::Warn, "cancelled"),
    }
}

/// Why an image is what it is, in a phrase; empty if there is nothing to say.
pub(crate) fn reason(progress: &Progress, image: &ImageProgress) -> String {
    match &image.state {
        ImageState::Done { cached: false, .. } => progress.why(image).unwrap_or_default(),
        ImageState::Done { .. } | ImageState::Waiting | ImageState::Cancelled => String::new(),
        ImageState::Skipped { needs } => format!("needs `{needs}`"),
        ImageState::Failed { causes, .. } => match progress.failed_step(image) {
            Some(step) => format!("`{}`: {}", step.info.name, cause(step)),
            None => causes.join(": "),
        },
    }
}

/// The innermost cause of a step's failure: the one that says most in one line.
pub(crate) fn cause(step: &StepProgress) -> String {
    match &step.state {
        StepState::Failed { causes, code, .. } => match (causes.last(), code) {
            (Some(cause), _) => cause.clone(),
            (None, Some(code)) => format!("exit code {code}"),
            (None, None) => "failed".to_owned(),
        },
        _ => String::new(),
    }
}

/// `pulling`, `pulled`.
pub(crate) fn moving(transfer: &Transfer) -> &'static str {
    match (transfer.way, transfer.is_done()) {
        (TransferKind::Pull, false) => "pulling",
        (TransferKind::Pull, true) => "pulled",
        (TransferKind::Push, false) => "pushing",
        (TransferKind::Push, true) => "pushed",
        (TransferKind::Download, false) => "downloading",
        (TransferKind::Download, true) => "downloaded",
        (TransferKind::Load, false) => "loading",
        (TransferKind::Load, true) => "loaded",
    }
}

/// `12.3 MB of 45.6 MB`.
pub(crate) fn amount(transfer: &Transfer) -> String {
    match transfer.total {
        0 => bytes(transfer.done),
        total if transfer.done >= total => bytes(total),
        total => format!("{} of {}", bytes(transfer.done), bytes(total)),
    }
}

/// `error`, `warning`, `note`.
pub(crate) fn severity(severity: Severity) -> (Tone, &'static str) {
    match severity {
        Severity::Error => (Tone::Bad, "error"),
        Severity::Warning => (Tone::Warn, "warning"),
        Severity::Note => (Tone::Info, "note"),
    }
}

/// A diagnostic in one line.
pub(crate) fn notice(diagnostic: &Diagnostic) -> Line {
    let (tone, word) = severity(diagnostic.severity);
    let line = Line::new().add(tone, word).text(&format!(": {diagnostic}"));
    match &diagnostic.help {
        Some(help) => line.add(Tone::Dim, &format!(" ({help})")),
        None => line,
    }
}

/// How a run ended.
pub(crate) fn ending(exit: ExitCode, elapsed_ms: u64) -> String {
    let time = duration(elapsed_ms);
    match exit {
        ExitCode::Ok => format!("done in {time}"),
        ExitCode::Interrupted => format!("interrupted after {time}"),
        ExitCode::Internal => format!("stopped after {time} by a bug in this program"),
        ExitCode::WorkFailed | ExitCode::Usage | ExitCode::Input | ExitCode::Environment => {
            format!("failed after {time}")
        }
    }
}
