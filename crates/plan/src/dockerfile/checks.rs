//! BuildKit's build checks, those that need nothing but the file.
//!
//! `# check=skip=…;error=…` at the top, or right above an instruction, is obeyed.

use bakehouse_model::Severity;

use super::ast::{
    ArgDeclaration, Command, Dockerfile, Instruction, InstructionKind, KeyValue, Span, Stage,
};
use super::go_lower;
use super::problem::Problem;
use crate::codes;

/// A check: its code here, and its name in `check=skip=`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) code: &'static str,
    name: &'static str,
}

/// The name that BuildKit has for the rule of a diagnostic; none if it is no rule of BuildKit's.
pub fn buildkit_rule(code: &str) -> Option<String> {
    if code == BAD_TRIGGER.code || !codes::checks().any(|known| known.code == code) {
        return None;
    }
    // All but one are their code's words.
    let word = |word: &str| match word {
        "json" => "JSON".to_owned(),
        word => word[..1].to_ascii_uppercase() + &word[1..],
    };
    Some(code.split('-').map(word).collect())
}

impl Rule {
    pub(crate) const fn new(code: &'static str, name: &'static str) -> Self {
        Self { code, name }
    }
}

const fn rule(code: &'static str, name: &'static str) -> Rule {
    Rule::new(code, name)
}

const STAGE_NAME_CASING: Rule = rule("stage-name-casing", "StageNameCasing");
const FROM_AS_CASING: Rule = rule("from-as-casing", "FromAsCasing");
const NO_EMPTY_CONTINUATION: Rule = rule("no-empty-continuation", "NoEmptyContinuation");
const INSTRUCTION_CASING: Rule =
    rule("consistent-instruction-casing", "ConsistentInstructionCasing");
const DUPLICATE_STAGE_NAME: Rule = rule("duplicate-stage-name", "DuplicateStageName");
const RESERVED_STAGE_NAME: Rule = rule("reserved-stage-name", "ReservedStageName");
const JSON_ARGS: Rule = rule("json-args-recommended", "JSONArgsRecommended");
const MAINTAINER: Rule = rule("maintainer-deprecated", "MaintainerDeprecated");
const MULTIPLE: Rule = rule("multiple-instructions-disallowed", "MultipleInstructionsDisallowed");
const LEGACY_PAIR: Rule = rule("legacy-key-value-format", "LegacyKeyValueFormat");
const TARGET_PLATFORM: Rule = rule("redundant-target-platform", "RedundantTargetPlatform");
const CONST_PLATFORM: Rule =
    rule("from-platform-flag-const-disallowed", "FromPlatformFlagConstDisallowed");
const SECRETS: Rule = rule("secrets-used-in-arg-or-env", "SecretsUsedInArgOrEnv");
const DESCRIPTION: Rule = rule("invalid-definition-description", "InvalidDefinitionDescription");
const BAD_TRIGGER: Rule = rule("onbuild-trigger-invalid", "OnbuildTriggerInvalid");

/// What `check=` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Options {
    skip_all: bool,
    skip: Vec<String>,
    error: bool,
    experimental_all: bool,
    experimental: Vec<String>,
}

impl Options {
    /// Nothing if the text is not understood.
    fn parse(text: &str) -> Option<Self> {
        let mut options = Self::default();
        if text.trim().is_empty() {
            return Some(options);
        }
        for part in text.trim().splitn(3, ';') {
            let (key, value) = part.split_once('=')?;
            let value = value.trim();
            match key.trim() {
                "skip" if value == "all" => options.skip_all = true,
                "skip" => options.skip = names(value),
                "experimental" if value == "all" => options.experimental_all = true,
                "experimental" => options.experimental = names(value),
                "error" => {
                    options.error = matches!(value, "1" | "t" | "T" | "TRUE" | "true" | "True");
                }
                _ => return None,
            }
        }
        Some(options)
    }

    fn skips(&self, rule: &Rule) -> bool {
        self.skip_all || self.skip.iter().any(|skipped| skipped == rule.name)
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(|rule| rule.trim().to_owned()).collect()
}

/// Says which findings a file wants to be told.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    options: Options,
}

impl Judge {
    pub(crate) fn of(file: &Dockerfile) -> Self {
        let check = file.directives.check.as_ref().map_or("", |check| check.value.as_str());
        Self { options: Options::parse(check).unwrap_or_default() }
    }

    /// What the file asks findings to be.
    pub(crate) fn severity(&self) -> Severity {
        if self.options.error { Severity::Error } else { Severity::Warning }
    }

    /// Whether `rule` counts below these comments.
    pub(crate) fn wants(&self, rule: &Rule, comments: &[String]) -> bool {
        let mut here = comments.iter().filter_map(|comment| {
            let (key, value) = comment.split_once('=')?;
            let value = value.trim().split(' ').next().unwrap_or_default();
            (go_lower(key.trim()) == "check").then(|| Options::parse(value))?
        });
        !self.options.skips(rule) && !here.any(|options| options.skips(rule))
    }

    /// Whether a rule that is tried out counts: only where it is asked for.
    fn tries(&self, rule: &Rule) -> bool {
        self.options.experimental_all || self.options.experimental.iter().any(|it| it == rule.name)
    }
}

/// One file and what is doubtful in it.
pub(crate) struct Checks<'a> {
    file: &'a Dockerfile,
    judge: Judge,
    found: Vec<(Span, Problem)>,
}

impl<'a> Checks<'a> {
    pub(crate) fn new(file: &'a Dockerfile) -> Self {
        Self { file, judge: Judge::of(file), found: Vec::new() }
    }

    /// What the file asks findings to be.
    pub(crate) fn severity(&self) -> Severity {
        self.judge.severity()
    }

    /// All findings. `keywords` are those of all instructions as written, `empty` the lines
    /// that were continued by nothing.
    pub(crate) fn run(
        mut self,
        keywords: &[(Span, String)],
        empty: &[Span],
    ) -> Vec<(Span, Problem)> {
        for span in empty {
            self.tell(&NO_EMPTY_CONTINUATION, *span, &[], "empty continuation line".to_owned());
        }
        self.casing(keywords);
        self.names();
        let shell_is_set = self
            .file
            .stages
            .iter()
            .flat_map(|stage| &stage.instructions)
            .any(|instruction| matches!(instruction.kind, InstructionKind::Shell(_)));
        for meta in &self.file.meta_args {
            for arg in &meta.args {
                self.secret("ARG", &arg.name, meta.span, &meta.comments);
            }
            self.described("ARG", &meta.args, meta.span, &meta.comments);
        }
        for stage in &self.file.stages {
            self.platform(stage);
            self.once(stage);
            if let Some(name) = &stage.written_name {
                let names = [name.as_str(), &stage.name.clone().unwrap_or_default()];
                self.description("FROM", &names, stage.span, &stage.comments);
            }
            for instruction in &stage.instructions {
                self.instruction(instruction, shell_is_set);
            }
        }
        self.found
    }

    fn tell(&mut self, rule: &Rule, span: Span, comments: &[String], message: String) {
        if self.judge.wants(rule, comments) {
            self.found.push((span, Problem::new(rule.code, message)));
        }
    }

    /// Keywords in capitals, or all in small letters.
    fn casing(&mut self, keywords: &[(Span, String)]) {
        let is_lower = |word: &str| word == word.to_ascii_lowercase();
        let is_upper = |word: &str| word == word.to_ascii_uppercase();
        let lower = keywords.iter().filter(|(_, word)| is_lower(word)).count();
        let upper = keywords.iter().filter(|(_, word)| is_upper(word)).count();
        let (majority, fits): (&str, fn(&str) -> bool) = if lower > upper {
            ("lowercase", |word| word == word.to_ascii_lowercase())
        } else {
            ("uppercase", |word| word == word.to_ascii_uppercase())
        };
        for (span, word) in keywords.iter().filter(|(_, word)| !fits(word)) {
            let message = format!(
                "command `{word}` should match the case of the command majority ({majority})"
            );
            self.tell(&INSTRUCTION_CASING, *span, &[], message);
        }
    }

    fn names(&mut self) {
        for (index, stage) in self.file.stages.iter().enumerate() {
            let (Some(name), Some(written)) = (&stage.name, &stage.written_name) else { continue };
            if name != written {
                let message = format!("stage name `{written}` should be lowercase");
                self.tell(&STAGE_NAME_CASING, stage.span, &stage.comments, message);
            }
            self.as_casing(stage);
            if matches!(name.as_str(), "scratch" | "context") {
                let message =
                    format!("stage name should not use the same name as reserved stage `{name}`");
                self.tell(&RESERVED_STAGE_NAME, stage.span, &stage.comments, message);
            }
            if self.file.stage_before(name, index).is_some() {
                let message =
                    format!("duplicate stage name `{name}`, stage names should be unique");
                self.tell(&DUPLICATE_STAGE_NAME, stage.span, &stage.comments, message);
            }
        }
    }

    fn as_casing(&mut self, stage: &Stage) {
        let mut words = stage.text.split_whitespace();
        let (Some(from), Some(keyword)) = (words.next(), words.nth_back(1)) else { return };
        let agree = if from == from.to_ascii_lowercase() {
            keyword == keyword.to_ascii_lowercase()
        } else if from == from.to_ascii_uppercase() {
            keyword == keyword.to_ascii_uppercase()
        } else {
            true
        };
        if !agree {
            let message = format!("`{keyword}` and `{from}` keywords' casing do not match");
            self.tell(&FROM_AS_CASING, stage.span, &stage.comments, message);
        }
    }

    fn platform(&mut self, stage: &Stage) {
        let Some(platform) = &stage.platform else { return };
        if matches!(platform.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
            let message = format!(
                "setting platform to predefined `{platform}` in FROM is redundant as this is the \
                 default behavior"
            );
            self.tell(&TARGET_PLATFORM, stage.span, &stage.comments, message);
        }
        let name = stage.name.as_deref().unwrap_or_default();
        let mut parts = platform.split('/').filter(|part| !part.is_empty());
        if !platform.contains('$') && !parts.any(|part| name.contains(part)) {
            let message =
                format!("FROM --platform flag should not use constant value `{platform}`");
            self.tell(&CONST_PLATFORM, stage.span, &stage.comments, message);
        }
    }

    /// `CMD`, `ENTRYPOINT` and `HEALTHCHECK`: only the last one counts.
    fn once(&mut self, stage: &Stage) {
        for keyword in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
            let same: Vec<&Instruction> =
                stage.instructions.iter().filter(|i| i.keyword() == keyword).collect();
            for pair in same.windows(2) {
                let [first, second] = pair else { continue };
                let message = format!(
                    "multiple {keyword} instructions should not be used in the same stage because \
                     only the last one will be used"
                );
                self.tell(&MULTIPLE, first.span, &second.comments, message);
            }
        }
    }

    fn instruction(&mut self, instruction: &Instruction, shell_is_set: bool) {
        let (span, comments) = (instruction.span, &instruction.comments);
        let keyword = instruction.keyword();
        match &instruction.kind {
            InstructionKind::Maintainer(_) => {
                let message = "`MAINTAINER` is deprecated in favor of using label".to_owned();
                self.tell(&MAINTAINER, span, comments, message);
            }
            InstructionKind::Cmd(Command::Shell(_))
            | InstructionKind::Entrypoint(Command::Shell(_))
                if !shell_is_set =>
            {
                let message = format!(
                    "JSON arguments recommended for {keyword} to prevent unintended behavior \
                     related to OS signals"
                );
                self.tell(&JSON_ARGS, span, comments, message);
            }
            InstructionKind::Env(pairs) => {
                self.legacy(keyword, pairs, instruction);
                for pair in pairs {
                    self.secret(keyword, &pair.key, span, comments);
                }
            }
            InstructionKind::Label(pairs) => self.legacy(keyword, pairs, instruction),
            InstructionKind::Arg(args) => {
                for arg in args {
                    self.secret(keyword, &arg.name, span, comments);
                }
                self.described(keyword, args, span, comments);
            }
            InstructionKind::OnBuild(onbuild) if onbuild.trigger.is_none() => {
                let message = format!("`{}` will fail when it is triggered", instruction.text);
                self.tell(&BAD_TRIGGER, span, comments, message);
            }
            _ => {}
        }
    }

    fn described(
        &mut self,
        keyword: &str,
        args: &[ArgDeclaration],
        span: Span,
        comments: &[String],
    ) {
        let names: Vec<&str> = args.iter().map(|arg| arg.name.as_str()).collect();
        self.description(keyword, &names, span, comments);
    }

    /// A comment right above a definition describes it, and then begins with its name.
    fn description(&mut self, keyword: &str, names: &[&str], span: Span, comments: &[String]) {
        let (Some(last), Some(first)) = (comments.last(), names.first()) else { return };
        let begins = last.split(' ').next().unwrap_or_default();
        if self.judge.tries(&DESCRIPTION) && !names.contains(&begins) {
            let message = format!("the comment above `{keyword}` should begin with `{first}`");
            self.tell(&DESCRIPTION, span, comments, message);
        }
    }

    fn legacy(&mut self, keyword: &str, pairs: &[KeyValue], instruction: &Instruction) {
        if pairs.iter().any(|pair| pair.legacy) {
            let message = format!(
                "`{keyword} key=value` should be used instead of legacy `{keyword} key value` format"
            );
            self.tell(&LEGACY_PAIR, instruction.span, &instruction.comments, message);
        }
    }

    fn secret(&mut self, keyword: &str, name: &str, span: Span, comments: &[String]) {
        const TOKENS: [&str; 10] = [
            "apikey",
            "auth",
            "credential",
            "credentials",
            "key",
            "password",
            "pword",
            "passwd",
            "secret",
            "token",
        ];
        const HARMLESS: [&str; 3] = ["public", "file", "version"];
        let lower = name.to_ascii_lowercase();
        let mut words = lower.split('_');
        if words.clone().any(|word| TOKENS.contains(&word))
            && !words.any(|word| HARMLESS.contains(&word))
        {
            let message = format!(
                "do not use ARG or ENV instructions for sensitive data ({keyword} `{name}`)"
            );
            self.tell(&SECRETS, span, comments, message);
        }
    }
}
