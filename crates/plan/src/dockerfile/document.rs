//! A whole file: logical lines, here-documents, stages.

use bakehouse_model::{Diagnostic, Severity};

use super::Parsed;
use super::ast::{ArgInstruction, Dockerfile, Heredoc, Instruction, InstructionKind, Span, Stage};
use super::checks::Checks;
use super::directive::{self, DirectiveReader};
use super::instruction::{Entry, Item};
use super::lines::{Line, Lines, continued};
use super::node::Node;
use super::problem::Problem;
use super::{go_upper, heredoc};

/// After so many mistakes the rest is not worth reading: it is no Dockerfile.
const MAX_ERRORS: usize = 50;

/// Reads a whole file.
pub(crate) fn read(bytes: &[u8], file: &str) -> Parsed {
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    let mut directives = directive::detect(&text);
    let mut reader = Reader::new(bytes);
    let mut assembly = Assembly::default();
    while assembly.errors.len() < MAX_ERRORS
        && let Some(entry) = reader.entry()
    {
        assembly.problems(&mut reader);
        if let Some(entry) = entry {
            assembly.add(entry);
        }
    }
    assembly.problems(&mut reader);
    directives.escape = reader.escape_directive;
    let last = Span::line(reader.lines.number());
    assembly.finish(last, reader.instructions);
    let escape = reader.escape;
    let (stages, meta_args) = (assembly.stages, assembly.meta_args);
    let dockerfile = Dockerfile { directives, escape, meta_args, stages };
    let errors = assembly.errors.into_iter();
    let mut diagnostics: Vec<Diagnostic> =
        errors.map(|(span, problem)| problem.at(file, span, Severity::Error)).collect();
    let checks = Checks::new(&dockerfile);
    let severity = checks.severity();
    let doubtful = checks.run(&assembly.keywords, &reader.empty_continuations);
    let doubtful = doubtful.into_iter().map(|(span, problem)| problem.at(file, span, severity));
    diagnostics.extend(doubtful);
    diagnostics.sort();
    diagnostics.dedup();
    Parsed { dockerfile, diagnostics }
}

/// Reads the one instruction of an `ONBUILD` trigger, as if it stood at `span`.
pub(crate) fn trigger(text: &str, span: Span) -> Result<Instruction, Problem> {
    let mut reader = Reader::new(text.as_bytes());
    let mut only = None;
    while let Some(entry) = reader.entry() {
        if let Some((_, problem)) = reader.problems.pop() {
            return Err(problem);
        }
        if only.is_some() || entry.is_none() {
            let message = "onbuild trigger should be a single expression";
            return Err(Problem::new("onbuild-trigger", message));
        }
        only = entry;
    }
    if let Some((_, problem)) = reader.problems.pop() {
        return Err(problem);
    }
    let Some(entry) = only else {
        return Err(Problem::new("no-instructions", "file with no instructions"));
    };
    match (Entry { span, ..entry }).item()? {
        Item::Instruction(instruction) => Ok(instruction),
        Item::Arg(arg) => Ok(arg.into()),
        Item::Stage(_) => {
            let message = "FROM isn't allowed as an ONBUILD trigger";
            Err(Problem::new("onbuild-trigger", message))
        }
    }
}

impl From<ArgInstruction> for Instruction {
    fn from(arg: ArgInstruction) -> Self {
        Self {
            kind: InstructionKind::Arg(arg.args),
            span: arg.span,
            text: arg.text,
            comments: arg.comments,
        }
    }
}

/// Puts physical lines together.
struct Reader<'a> {
    lines: Lines<'a>,
    directives: DirectiveReader,
    escape: char,
    escape_directive: Option<super::ast::Directive>,
    comments: Vec<String>,
    /// Errors since they were taken last.
    problems: Vec<(Span, Problem)>,
    /// Where a line is continued by an empty one.
    empty_continuations: Vec<Span>,
    /// How many logical lines there were, good or bad.
    instructions: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            lines: Lines::new(bytes),
            directives: DirectiveReader::new(),
            escape: '\\',
            escape_directive: None,
            comments: Vec::new(),
            problems: Vec::new(),
            empty_continuations: Vec::new(),
            instructions: 0,
        }
    }

    /// The next logical line: `Some(None)` if there is one that cannot be read.
    fn entry(&mut self) -> Option<Option<Entry>> {
        let (line, text) = self.first_line()?;
        self.instructions += 1;
        let begin = Span { column: line.column(), ..Span::line(line.number) };
        let mut problem = line.problem;
        let text = match continued(&text, self.escape) {
            Some(begun) => self.rest_of_line(begun.to_owned(), begin, &mut problem),
            None => text,
        };
        let problem = problem.filter(|problem| !is_harmless(problem, &text));
        let comments = std::mem::take(&mut self.comments);
        let span = Span { end_line: self.lines.number(), ..begin };
        if let Some(problem) = problem {
            self.problems.push((span, problem));
            return Some(None);
        }
        let node = match Node::parse(&text, self.escape) {
            Ok(node) => node,
            Err(problem) => {
                self.problems.push((span, problem));
                return Some(None);
            }
        };
        let heredocs = match self.heredocs(&node) {
            Ok(heredocs) => heredocs,
            Err(problem) => {
                let span = Span { end_line: self.lines.number(), ..span };
                self.problems.push((span, problem));
                return Some(None);
            }
        };
        let span = Span { end_line: self.lines.number(), ..span };
        Some(Some(Entry { node, heredocs, comments, span, escape: self.escape }))
    }

    /// The first line that is neither blank nor a comment, without its margins.
    fn first_line(&mut self) -> Option<(Line, String)> {
        loop {
            let line = self.lines.next()?;
            if line.is_comment() {
                let comment = line.text.get(1..).unwrap_or_default().trim();
                if comment.is_empty() {
                    self.comments.clear();
                } else {
                    self.comments.push(comment.to_owned());
                }
            }
            let text = line.trimmed().trim_start().to_owned();
            if self.directive(&text, line.number) {
                self.comments.pop();
            }
            if line.problem.is_some() && !line.is_comment()
                || !text.is_empty() && !text.starts_with('#')
            {
                return Some((line, text));
            }
        }
    }

    /// Whether `text` is a directive; `escape` works from here on.
    fn directive(&mut self, text: &str, number: u32) -> bool {
        let span = Span::line(number);
        match self.directives.line(text) {
            Ok(None) => false,
            Ok(Some((name, value))) => {
                if name == "escape" {
                    match value.as_str() {
                        "\\" => self.escape = '\\',
                        "`" => self.escape = '`',
                        _ => {
                            let message =
                                format!("invalid escape token `{value}` does not match ` or \\");
                            self.problems.push((span, Problem::new("bad-escape", message)));
                        }
                    }
                    let directive = super::ast::Directive { value, line: number };
                    self.escape_directive = Some(directive);
                }
                true
            }
            Err(problem) => {
                self.problems.push((span, problem));
                false
            }
        }
    }

    /// Reads on until a line does not go on. Comments in between are dropped, blank lines
    /// too, with a warning.
    fn rest_of_line(
        &mut self,
        mut text: String,
        begin: Span,
        problem: &mut Option<Problem>,
    ) -> String {
        let mut empty = false;
        for line in self.lines.by_ref() {
            if line.is_comment() {
                continue;
            }
            if problem.is_none() {
                problem.clone_from(&line.problem);
            }
            if line.trimmed().trim_start().is_empty() && line.problem.is_none() {
                empty = true;
                continue;
            }
            match continued(line.trimmed(), self.escape) {
                Some(more) => text.push_str(more),
                None => {
                    text.push_str(line.trimmed());
                    break;
                }
            }
        }
        if empty {
            let span = Span { end_line: self.lines.number(), ..begin };
            self.empty_continuations.push(span);
        }
        text
    }

    fn heredocs(&mut self, node: &Node) -> Result<Vec<Heredoc>, Problem> {
        if !node.takes_heredocs() {
            return Ok(Vec::new());
        }
        let mut heredocs = heredoc::in_line(&node.original)
            .map_err(|error| Problem::new("bad-heredoc", error.to_string()))?;
        for heredoc in &mut heredocs {
            self.body(heredoc)?;
        }
        Ok(heredocs)
    }

    fn body(&mut self, heredoc: &mut Heredoc) -> Result<(), Problem> {
        for line in self.lines.by_ref() {
            if let Some(problem) = line.problem {
                return Err(problem);
            }
            let mut end = line.trimmed();
            if heredoc.chomp {
                end = end.trim_start_matches('\t');
            }
            if end == heredoc.name {
                return Ok(());
            }
            heredoc.content.push_str(&line.text);
        }
        let message = format!("unterminated heredoc: `{}` is missing", heredoc.name);
        Err(Problem::new("unterminated-heredoc", message))
    }
}

/// Old files name people in Latin-1; nothing but the name suffers.
fn is_harmless(problem: &Problem, text: &str) -> bool {
    let keyword = super::go_lower(text.split_whitespace().next().unwrap_or_default());
    problem.code == "invalid-utf-8" && matches!(keyword.as_str(), "maintainer" | "label")
}

/// Puts instructions into stages.
#[derive(Default)]
struct Assembly {
    stages: Vec<Stage>,
    meta_args: Vec<ArgInstruction>,
    errors: Vec<(Span, Problem)>,
    /// Each keyword as written.
    keywords: Vec<(Span, String)>,
    told_no_stage: bool,
}

impl Assembly {
    fn problems(&mut self, reader: &mut Reader<'_>) {
        for (span, problem) in reader.problems.drain(..) {
            self.error(span, problem);
        }
    }

    fn error(&mut self, span: Span, problem: Problem) {
        self.errors.push((span, problem));
    }

    fn add(&mut self, entry: Entry) {
        let span = entry.span;
        let (name, keyword) = (entry.node.name(), entry.node.keyword.clone());
        let base = entry.node.args.first().cloned().unwrap_or_default();
        match entry.item() {
            Ok(Item::Stage(stage)) => self.stages.push(stage),
            Ok(Item::Arg(arg)) if self.stages.is_empty() => self.meta_args.push(arg),
            Ok(Item::Arg(arg)) => self.push(arg.into(), &keyword),
            Ok(Item::Instruction(instruction)) => self.push(instruction, &keyword),
            Err(problem) => {
                self.error(span, problem);
                if name == "from" {
                    self.stages.push(broken_stage(base, span));
                }
                return;
            }
        }
        self.keywords.push((span, keyword));
    }

    fn push(&mut self, instruction: Instruction, keyword: &str) {
        if let Some(stage) = self.stages.last_mut() {
            stage.instructions.push(instruction);
        } else if !self.told_no_stage {
            self.told_no_stage = true;
            let message = format!(
                "no build stage in current context: `{}` before the first `FROM`",
                go_upper(keyword)
            );
            let problem = Problem::new("no-stage", message)
                .help("only `ARG` may stand before the first `FROM`");
            self.error(instruction.span, problem);
        }
    }

    fn finish(&mut self, last: Span, instructions: usize) {
        if instructions == 0 {
            let last = Span::line(last.line.max(1));
            self.error(last, Problem::new("no-instructions", "file with no instructions"));
        } else if self.stages.is_empty() && self.errors.is_empty() {
            let message = "dockerfile contains no stages to build";
            self.error(last, Problem::new("no-stages", message));
        } else if self.errors.len() >= MAX_ERRORS {
            let message = format!("more than {MAX_ERRORS} errors, the rest is not read");
            self.error(last, Problem::new("too-many-errors", message));
        }
    }
}

/// Stands for a `FROM` that could not be read, so that what follows it has a place.
fn broken_stage(base: String, span: Span) -> Stage {
    Stage {
        name: None,
        written_name: None,
        base,
        platform: None,
        span,
        text: String::new(),
        doc: None,
        comments: Vec::new(),
        instructions: Vec::new(),
    }
}
