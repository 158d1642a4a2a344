//! `bakehouse check`: what is wrong or doubtful in the files of a repository.

use std::collections::BTreeMap;
use std::path::Path;

use bakehouse_model::{Diagnostic, ExitCode, Location, Severity};
use bakehouse_plan::codes as plan_codes;
use bakehouse_plan::fleet::{self, Known};
use bakehouse_plan::lint;
use bakehouse_render::{SarifRule, SarifTool, diagnostic, sarif, tally};
use serde_json::json;

use crate::cli::{CheckArgs, CheckFormat, Shape};
use crate::codes;
use crate::context::Context;
use crate::discovery;
use crate::failure::{Failure, Kind};
use crate::request::Request;

/// Runs the command.
pub fn run(args: &CheckArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let verdict = Verdict::new(&args.deny, &args.allow)?;
    let request = Request::read(&args.place, &Shape::default(), &[], cx)?;
    let document = match (&args.documented_graph, &request.config.documented_graph) {
        (Some(path), _) => Some(document(path, &cx.cwd, "--documented-graph")?),
        (None, Some(path)) => {
            Some(document(path.value.as_str(), &request.root, "`documented-graph`")?)
        }
        (None, None) => None,
    };
    let unpinned_ok: Vec<String> =
        request.config.unpinned_ok.iter().map(|it| it.value.as_str().to_owned()).collect();
    let given = lint::Given {
        documented: document.as_ref().map(|(path, text)| (path.as_str(), text.as_str())),
        unpinned_ok: &unpinned_ok,
    };
    let mut found = request.fleet.diagnostics.clone();
    found.extend(lint::find(&request.fleet, &given));
    found.extend(doubts(&request));
    let found = verdict.of(found);
    let mut texts = Texts { request: &request, read: document.into_iter().collect() };
    match args.format {
        CheckFormat::Text => report(&found, args.verbose, &mut texts, cx)?,
        CheckFormat::Json => super::print_json(cx, &value(&found))?,
        CheckFormat::Sarif => super::print(cx, &log(&found))?,
    }
    let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
    Ok(if found.iter().any(is_error) { ExitCode::Input } else { ExitCode::Ok })
}

/// What BuildKit's checks find once variables are filled in. No base is looked up for them.
fn doubts(request: &Request) -> Vec<Diagnostic> {
    let roots = request.contexts().unwrap_or_default();
    let known = Known { roots, guess: true, ..Known::default() };
    let platforms = (&request.settings, request.platforms.as_slice());
    let all = request.fleet.images.iter().map(|image| image.name.clone()).collect();
    let lowered = fleet::lower_all(&request.fleet, &all, platforms, &known);
    let is_check = |found: &Diagnostic| plan_codes::checks().any(|known| known.code == found.code);
    lowered.diagnostics.into_iter().filter(is_check).collect()
}

/// The document that draws the fleet: its path as it was typed, and its text.
fn document(path: &str, folder: &Path, named: &str) -> Result<(String, String), Failure> {
    let bytes = discovery::read(&folder.join(path)).map_err(|why| {
        Failure::new(Kind::Input, format!("`{path}` cannot be read: {why}"))
            .hint(format!("{named} names a file, from `{}`", folder.display()))
    })?;
    Ok((path.to_owned(), String::from_utf8_lossy(&bytes).into_owned()))
}

/// What `--deny` and `--allow` make of diagnostics.
#[derive(Debug, Default)]
struct Verdict<'a> {
    denied: Vec<&'a str>,
    allowed: Vec<&'a str>,
    /// Everything that is at least so bad is an error.
    limit: Option<Severity>,
}

impl<'a> Verdict<'a> {
    fn new(deny: &'a [String], allow: &'a [String]) -> Result<Self, Failure> {
        let mut verdict = Self::default();
        for text in deny {
            match text.as_str() {
                "notes" => verdict.limit = Some(Severity::Note),
                "warnings" => verdict.limit = verdict.limit.or(Some(Severity::Warning)),
                code => verdict.denied.push(known(code, "--deny")?),
            }
        }
        for code in allow {
            verdict.allowed.push(known(code, "--allow")?);
        }
        Ok(verdict)
    }

    /// The diagnostics that are left, as bad as they are taken to be, sorted by place.
    fn of(&self, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let is_left = |diagnostic: &Diagnostic| {
            let code = diagnostic.code.as_str();
            diagnostic.severity == Severity::Error || !self.allowed.contains(&code)
        };
        let judged = found.into_iter().filter(is_left).map(|diagnostic| {
            let is_denied = self.denied.contains(&diagnostic.code.as_str())
                || self.limit.is_some_and(|limit| diagnostic.severity <= limit);
            let severity = if is_denied { Severity::Error } else { diagnostic.severity };
            whole(Diagnostic { severity, ..diagnostic })
        });
        let mut judged: Vec<Diagnostic> = judged.collect();
        judged.sort();
        judged.dedup();
        judged
    }
}

/// A code that is misspelt would silently deny nothing.
fn known<'a>(code: &'a str, flag: &str) -> Result<&'a str, Failure> {
    if codes::is_known(code) {
        return Ok(code);
    }
    let failure = Failure::new(Kind::Usage, format!("{flag}: there is no code `{code}`"));
    Err(match codes::near(code) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint("docs/guide/checking.md lists the codes"),
    })
}

/// A diagnostic of the repository as a whole is at its root, and every one says what to do.
fn whole(diagnostic: Diagnostic) -> Diagnostic {
    let known = || codes::all().find(|known| known.code == diagnostic.code);
    let help = diagnostic.help.clone().or_else(|| known().map(|known| known.help.to_owned()));
    let location = diagnostic.location.clone().unwrap_or_else(|| Location::file("."));
    Diagnostic { location: Some(location), help, ..diagnostic }
}

/// The texts of input files, each read once.
struct Texts<'a> {
    request: &'a Request,
    read: BTreeMap<String, String>,
}

impl Texts<'_> {
    fn of(&mut self, file: &str) -> &str {
        self.read.entry(file.to_owned()).or_insert_with(|| {
            self.request.text(file).unwrap_or_else(|| {
                let bytes = discovery::read(&self.request.root.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            })
        })
    }
}

fn report(
    found: &[Diagnostic],
    verbose: bool,
    texts: &mut Texts<'_>,
    cx: &mut Context,
) -> Result<(), Failure> {
    let style = cx.style();
    let mut text = String::new();
    let is_shown = |wrong: &&Diagnostic| verbose || wrong.severity != Severity::Note;
    for wrong in found.iter().filter(is_shown) {
        let source = wrong.location.as_ref().map(|place| texts.of(&place.file));
        text.push_str(&diagnostic(wrong, source, style));
        text.push('\n');
    }
    text.push_str(&tally(found));
    if !found.iter().all(|wrong| is_shown(&wrong)) {
        text.push_str(" (--verbose shows the notes)");
    }
    text.push('\n');
    super::print(cx, &text)
}

fn value(found: &[Diagnostic]) -> serde_json::Value {
    let of = |severity| found.iter().filter(|wrong| wrong.severity == severity).count();
    json!({
        "version": 1,
        "errors": of(Severity::Error),
        "warnings": of(Severity::Warning),
        "notes": of(Severity::Note),
        "diagnostics": found,
    })
}

fn log(found: &[Diagnostic]) -> String {
    let rules: Vec<SarifRule<'_>> = codes::all()
        .map(|known| SarifRule {
            code: known.code,
            about: known.about,
            help: known.help,
            severity: known.severity,
        })
        .collect();
    let tool = SarifTool {
        version: env!("CARGO_PKG_VERSION"),
        home: env!("CARGO_PKG_HOMEPAGE"),
        rules: &rules,
    };
    sarif(&tool, found)
}
