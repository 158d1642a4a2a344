//! A mistake in an input file, with the line it is on.

use std::collections::BTreeSet;

use bakehouse_model::{Diagnostic, Severity};

use crate::measure::plural;
use crate::style::{Line, Style, Tone, render_all};
use crate::{text, words};

/// The most lines of the source that are shown.
const LINES: usize = 5;

/// `diagnostic` in several lines: what, where, the source line, what to do. `source` is
/// the text of the file that its location names. Its code is beside its severity.
pub fn diagnostic(diagnostic: &Diagnostic, source: Option<&str>, style: Style) -> String {
    let (tone, word) = words::severity(diagnostic.severity);
    let mut lines = vec![
        Line::new()
            .add(tone, word)
            .add(tone, &format!("[{}]", diagnostic.code))
            .add(Tone::Bold, ": ")
            .add(Tone::Bold, &diagnostic.message),
    ];
    let mut gutter = 0;
    if let Some(location) = &diagnostic.location {
        let first = usize::try_from(location.line).unwrap_or(usize::MAX);
        let last = usize::try_from(location.end_line).unwrap_or(usize::MAX).max(first);
        let shown: Vec<(usize, &str)> = source
            .unwrap_or("")
            .lines()
            .enumerate()
            .map(|(at, text)| (at + 1, text))
            .skip_while(|(number, _)| *number < first)
            .take_while(|(number, _)| *number <= last)
            .take(LINES)
            .collect();
        gutter = shown.last().map_or(0, |(number, _)| number.to_string().len());
        let arrow = format!("{}--> ", " ".repeat(gutter.max(2)));
        lines.push(
            Line::new().add(Tone::Info, &arrow).text(&format!("{location}:{}", location.column)),
        );
        let margin = |number: &str| format!("{number:>gutter$} | ");
        if !shown.is_empty() {
            lines.push(Line::new().add(Tone::Info, &margin("")));
        }
        for (number, line) in &shown {
            let bar = margin(&number.to_string());
            lines.push(Line::new().add(Tone::Info, &bar).text(&text::quoted(line)));
        }
        if !shown.is_empty() {
            lines.push(Line::new().add(Tone::Info, &margin("")));
        }
    }
    if let Some(help) = &diagnostic.help {
        let mark = format!("{:gutter$} = help: ", "");
        lines.push(Line::new().add(Tone::Info, &mark).text(help));
    }
    render_all(&lines, style)
}

/// How many there are of each severity, and in how many files:
/// `2 errors, 5 warnings, 12 notes in 7 files`.
pub fn tally(diagnostics: &[Diagnostic]) -> String {
    let of = |severity: Severity| {
        diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    };
    let files: BTreeSet<&str> = diagnostics
        .iter()
        .filter_map(|diagnostic| diagnostic.location.as_ref())
        .map(|location| location.file.as_str())
        .collect();
    let counts = [
        plural(of(Severity::Error), "error"),
        plural(of(Severity::Warning), "warning"),
        plural(of(Severity::Note), "note"),
    ];
    let place = if files.is_empty() {
        String::new()
    } else {
        format!(" in {}", plural(files.len(), "file"))
    };
    format!("{}{place}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use bakehouse_model::Location;

    use super::*;

    fn unknown(location: Option<Location>) -> Diagnostic {
        Diagnostic {
            location,
            severity: Severity::Error,
            code: "unknown-instruction".to_owned(),
            message: "unknown instruction `FORM`".to_owned(),
            help: Some("did you mean `FROM`?".to_owned()),
        }
    }

    #[test]
    fn a_diagnostic_shows_the_line_and_what_to_do() {
        let at = Location { end_line: 11, ..Location::new("app/Dockerfile", 10, 1) };
        let source = format!("{}FORM \u{1b}[2Jpython \\\n  AS x\nRUN a\n", "#\n".repeat(9));
        let shown = diagnostic(&unknown(Some(at)), Some(&source), Style::PLAIN);
        insta::assert_snapshot!(shown, @r"
        error[unknown-instruction]: unknown instruction `FORM`
          --> app/Dockerfile:10:1
           |
        10 | FORM python \
        11 |   AS x
           |
           = help: did you mean `FROM`?
        ");
    }

    #[test]
    fn a_diagnostic_without_a_source_or_a_place_is_still_whole() {
        let at = Location { end_line: 9, ..Location::new("app/Dockerfile", 10, 1) };
        let shown = diagnostic(&unknown(Some(at.clone())), None, Style::PLAIN);
        insta::assert_snapshot!(shown, @r"
        error[unknown-instruction]: unknown instruction `FORM`
          --> app/Dockerfile:10:1
         = help: did you mean `FROM`?
        ");
        assert_eq!(diagnostic(&unknown(Some(at)), Some("x\n"), Style::PLAIN), shown);
        let shown = diagnostic(&unknown(None), None, Style::PLAIN);
        assert_eq!(
            shown,
            "error[unknown-instruction]: unknown instruction `FORM`\n = help: did you mean `FROM`?\n"
        );
    }

    #[test]
    fn diagnostics_are_counted_by_severity_and_file() {
        let note = Diagnostic { severity: Severity::Note, ..unknown(None) };
        let all = [
            unknown(Some(Location::new("a", 1, 1))),
            unknown(Some(Location::new("a", 2, 1))),
            unknown(Some(Location::new("b", 1, 1))),
            note,
        ];
        assert_eq!(tally(&all), "3 errors, 0 warnings, 1 note in 2 files");
        assert_eq!(tally(&[]), "0 errors, 0 warnings, 0 notes");
    }
}
