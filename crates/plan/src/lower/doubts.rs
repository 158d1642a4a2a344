//! BuildKit's build checks that need the values of variables, the context's ignore file or what
//! a stage stands on. Those that need the file alone are [`crate::dockerfile`]'s.

use std::collections::BTreeSet;

use bakehouse_model::Diagnostic;
use bakehouse_model::oci::Reference;

use super::Request;
use super::args::{ArgEnv, global_args};
use super::stages::Lowering;
use crate::dockerfile::checks::{Judge, Rule};
use crate::dockerfile::ignore::Matcher;
use crate::dockerfile::problem::Problem;
use crate::dockerfile::words::Lexer;
use crate::dockerfile::{Instruction, Span};

const COPY_IGNORED: Rule = Rule::new("copy-ignored-file", "CopyIgnoredFile");
const EXPOSE_FORMAT: Rule = Rule::new("expose-invalid-format", "ExposeInvalidFormat");
const EXPOSE_CASING: Rule = Rule::new("expose-proto-casing", "ExposeProtoCasing");
const DEFAULT_BASE: Rule = Rule::new("invalid-default-arg-in-from", "InvalidDefaultArgInFrom");
const UNDEFINED_IN_FROM: Rule = Rule::new("undefined-arg-in-from", "UndefinedArgInFrom");
const UNDEFINED: Rule = Rule::new("undefined-var", "UndefinedVar");
const RELATIVE_DIR: Rule = Rule::new("workdir-relative-path", "WorkdirRelativePath");

/// Arguments that steer the builder and are no variables of the build.
pub(super) const NOT_VARIABLES: &[&str] =
    &["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// What is doubtful in the stages that are looked at.
#[derive(Debug)]
pub(super) struct Doubts {
    judge: Judge,
    found: Vec<(Span, Problem)>,
    /// The comments above the instruction that is looked at.
    comments: Vec<String>,
    /// Whether it belongs to a base; nobody could mend it here.
    foreign: bool,
    /// What the context leaves out, if that is simple enough to be told beforehand.
    ignored: Option<Matcher>,
}

impl Doubts {
    pub(super) fn new(request: &Request<'_>) -> Self {
        let patterns = request.context.as_ref().map(|context| context.ignore.as_slice());
        let matcher = patterns.and_then(|patterns| Matcher::new(patterns).ok());
        Self {
            judge: Judge::of(request.dockerfile),
            found: Vec::new(),
            comments: Vec::new(),
            foreign: false,
            ignored: matcher.filter(|it| !it.is_empty() && !it.has_exclusions()),
        }
    }

    /// Turns to an instruction; `foreign` if it is a trigger of a base.
    pub(super) fn turn_to(&mut self, instruction: &Instruction, foreign: bool) {
        self.comments.clone_from(&instruction.comments);
        self.foreign = foreign;
    }

    fn tell(&mut self, rule: &Rule, span: Span, message: String) {
        self.tell_with(rule, span, Problem::new(rule.code, message));
    }

    fn tell_with(&mut self, rule: &Rule, span: Span, problem: Problem) {
        if !self.foreign && self.judge.wants(rule, &self.comments) {
            self.found.push((span, problem));
        }
    }

    /// The findings, for people.
    pub(super) fn into_diagnostics(self, file: &str) -> Vec<Diagnostic> {
        let severity = self.judge.severity();
        let mut all: Vec<Diagnostic> = self
            .found
            .into_iter()
            .map(|(span, problem)| problem.at(file, span, severity))
            .collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Lowering<'_> {
    /// Looks at the `FROM` of every stage.
    pub(super) fn doubt_bases(&mut self) {
        let request = self.request;
        let defaults = defaults(request);
        let declared: BTreeSet<&str> = request
            .dockerfile
            .meta_args
            .iter()
            .flat_map(|arg| &arg.args)
            .map(|arg| arg.name.as_str())
            .collect();
        for stage in &request.dockerfile.stages {
            self.doubts.comments.clone_from(&stage.comments);
            for word in [Some(&stage.base), stage.platform.as_ref()].into_iter().flatten() {
                let unmatched = self.lexer.expand(word, &self.globals).map(|e| e.unmatched);
                for name in unmatched.unwrap_or_default() {
                    if declared.contains(name.as_str()) {
                        continue;
                    }
                    let message = format!("the argument `{name}` of `FROM` is not declared");
                    let problem = Problem::new(UNDEFINED_IN_FROM.code, message);
                    let options: Vec<&str> =
                        declared.iter().copied().chain(self.globals.names()).collect();
                    let problem = problem.suggest(&name, &options, true);
                    self.doubts.tell_with(&UNDEFINED_IN_FROM, stage.span, problem);
                }
            }
            let base = self.lexer.expand(&stage.base, &defaults).map(|e| e.text);
            if base.is_ok_and(|base| base.parse::<Reference>().is_err()) {
                let message = format!("without build arguments, `{}` names no image", stage.base);
                self.doubts.tell(&DEFAULT_BASE, stage.span, message);
            }
        }
    }

    /// Tells variables that nobody has set.
    pub(super) fn doubt_variables(&mut self, at: usize, unmatched: BTreeSet<String>, span: Span) {
        let state = &self.states[at];
        if state.is_guessed {
            return;
        }
        for name in unmatched {
            let declared = state.build_args.iter().any(|(known, _)| *known == name);
            if declared || NOT_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let problem =
                Problem::new(UNDEFINED.code, format!("the variable `${name}` is not defined"));
            let options: Vec<&str> = state.env.names().collect();
            let problem = problem.suggest(&name, &options, false);
            self.doubts.tell_with(&UNDEFINED, span, problem);
        }
    }

    /// A relative `WORKDIR` before any absolute one of the file.
    pub(super) fn doubt_dir(&mut self, at: usize, dir: &str, span: Span) {
        let is_first = !std::mem::replace(&mut self.states[at].has_dir, true);
        if is_first && !dir.starts_with('/') {
            let message = format!("the relative `WORKDIR {dir}` depends on what the base says");
            self.doubts.tell(&RELATIVE_DIR, span, message);
        }
    }

    /// A source of `COPY` or `ADD` in the context that is left out of it.
    pub(super) fn doubt_source(&mut self, verb: &str, source: &str, span: Span) {
        let Some(ignored) = &self.doubts.ignored else { return };
        let path = super::path::clean(source);
        let path = path.trim_start_matches('/');
        let is_ignored = match path {
            "" | "." => ["a", ".a"].iter().all(|any| ignored.matches_or_parent_matches(any)),
            path => ignored.matches_or_parent_matches(path),
        };
        if is_ignored {
            let message = format!("{verb} of `{source}`, which .dockerignore leaves out");
            self.doubts.tell(&COPY_IGNORED, span, message);
        }
    }

    /// A port with an address, a port of the host, or a protocol in capitals.
    pub(super) fn doubt_port(&mut self, port: &str, span: Span) {
        let container = port.rsplit(':').next().unwrap_or(port);
        if container.len() < port.len() {
            let message = format!("`EXPOSE {port}` names more than a port of the container");
            self.doubts.tell(&EXPOSE_FORMAT, span, message);
        }
        let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
        if protocol.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let message = format!("the protocol of `EXPOSE {port}` has capitals in it");
            self.doubts.tell(&EXPOSE_CASING, span, message);
        }
    }
}

/// The global arguments as they are without `--build-arg`.
fn defaults(request: &Request<'_>) -> ArgEnv {
    let settings = super::Settings { build_args: Default::default(), ..request.settings.clone() };
    let plain = Request { settings: &settings, context: request.context.clone(), ..*request };
    global_args(&plain).unwrap_or_default()
}

/// Where nothing is said, the shell's own escape character.
pub(super) fn document_lexer() -> Lexer {
    Lexer::new('\\').skip_quotes(true)
}
