//! What a Dockerfile says, before any variable is known.
//!
//! Every text is *raw*: quotes, escapes and `$variables` are still in it. A field whose
//! documentation says «word» goes through [`Lexer::expand`](super::words::Lexer::expand)
//! with the environment of its place, one that says «literal» must not be expanded at
//! all. An empty flag (`--chown=`) is the same as none.

use bakehouse_model::Location;
use bakehouse_model::oci::Healthcheck;
use bakehouse_model::op::{Network, Security};

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The comments at the top that steer the parser.
    pub directives: Directives,
    /// The character that escapes and continues lines: `\` or `` ` ``.
    pub escape: char,
    /// `ARG` before the first `FROM`.
    pub meta_args: Vec<ArgInstruction>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
}

impl Dockerfile {
    /// The stage that `--target` and `--from` mean by `name`: the last one called so. Case
    /// does not matter.
    pub fn stage_by_name(&self, name: &str) -> Option<usize> {
        self.stage_before(name, self.stages.len())
    }

    /// The stage that a `FROM` at index `before` means by `name`: the last one called so
    /// above it.
    pub fn stage_before(&self, name: &str, before: usize) -> Option<usize> {
        let wanted = super::go_lower(name);
        let above = self.stages.get(..before).unwrap_or(&self.stages);
        above.iter().rposition(|stage| stage.name.as_ref() == Some(&wanted))
    }
}

/// `# name=value` at the top of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// `syntax`: the front end asked for, up to the first blank.
    pub syntax: Option<Directive>,
    /// `escape`: `\` or `` ` ``.
    pub escape: Option<Directive>,
    /// `check`: which checks to skip, and whether they are errors.
    pub check: Option<Directive>,
}

/// One directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Its value.
    pub value: String,
    /// The line it is in, from 1.
    pub line: u32,
}

/// Lines of the file, both from 1, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First line.
    pub line: u32,
    /// Where the first line begins after its margin, in characters from 1; 0 if it has no place.
    pub column: u32,
    /// Last line, with continuations and here-documents.
    pub end_line: u32,
}

impl Span {
    /// A line as a whole.
    pub const fn line(number: u32) -> Self {
        Self { line: number, column: 1, end_line: number }
    }

    /// The place in a file of that name.
    pub fn of(self, file: &str) -> Location {
        let Self { line, column, end_line } = self;
        Location { file: file.to_owned(), line, column: column.max(1), end_line }
    }
}

/// `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name after `AS`, in lower case.
    pub name: Option<String>,
    /// The name after `AS`, as written.
    pub written_name: Option<String>,
    /// Word, expanded with the global arguments only: an image, or the name of an earlier stage.
    pub base: String,
    /// Word, expanded with the global arguments only: `--platform`.
    pub platform: Option<String>,
    /// Where the `FROM` is.
    pub span: Span,
    /// The `FROM`, continuation lines joined.
    pub text: String,
    /// The comment right above that begins with the stage's name, without the name.
    pub doc: Option<String>,
    /// All comment lines right above the `FROM`, without `#`.
    pub comments: Vec<String>,
    /// What follows, in order.
    pub instructions: Vec<Instruction>,
}

/// `ARG` before the first `FROM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgInstruction {
    /// What it declares.
    pub args: Vec<ArgDeclaration>,
    /// Where it is.
    pub span: Span,
    /// As written, continuation lines joined.
    pub text: String,
    /// All comment lines right above, without `#`.
    pub comments: Vec<String>,
}

/// One instruction of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it is.
    pub kind: InstructionKind,
    /// Where it is.
    pub span: Span,
    /// As written, continuation lines joined and trimmed, without bodies of
    /// here-documents: what a progress line shows after expansion.
    pub text: String,
    /// All comment lines right above, without `#`.
    pub comments: Vec<String>,
}

impl Instruction {
    /// The keyword in capitals, such as `RUN`.
    pub fn keyword(&self) -> &'static str {
        self.kind.keyword()
    }
}

/// What an instruction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// `ENV`: keys and values are words, all expanded before the first is set.
    Env(Vec<KeyValue>),
    /// `ARG`: one expansion after the other, each seeing those before it.
    Arg(Vec<ArgDeclaration>),
    /// `LABEL`: keys and values are words.
    Label(Vec<KeyValue>),
    /// `MAINTAINER`: literal.
    Maintainer(String),
    /// `RUN`.
    Run(Run),
    /// `COPY`.
    Copy(Copy),
    /// `ADD`.
    Add(Add),
    /// `CMD`: literal.
    Cmd(Command),
    /// `ENTRYPOINT`: literal.
    Entrypoint(Command),
    /// `HEALTHCHECK`: literal and complete, durations in nanoseconds.
    Healthcheck(Healthcheck),
    /// `EXPOSE`: each item goes through
    /// [`Lexer::expand_words`](super::words::Lexer::expand_words); sorted as BuildKit does.
    Expose(Vec<String>),
    /// `VOLUME`: words.
    Volume(Vec<String>),
    /// `USER`: word.
    User(String),
    /// `WORKDIR`: word.
    Workdir(String),
    /// `SHELL`: literal, never empty.
    Shell(Vec<String>),
    /// `STOPSIGNAL`: word.
    StopSignal(String),
    /// `ONBUILD`.
    OnBuild(OnBuild),
}

impl InstructionKind {
    /// The keyword in capitals, such as `RUN`.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Env(_) => "ENV",
            Self::Arg(_) => "ARG",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Run(_) => "RUN",
            Self::Copy(_) => "COPY",
            Self::Add(_) => "ADD",
            Self::Cmd(_) => "CMD",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Expose(_) => "EXPOSE",
            Self::Volume(_) => "VOLUME",
            Self::User(_) => "USER",
            Self::Workdir(_) => "WORKDIR",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::OnBuild(_) => "ONBUILD",
        }
    }
}

/// `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// Word.
    pub key: String,
    /// Word.
    pub value: String,
    /// Written in the old form, `ENV key value`.
    pub legacy: bool,
}

/// `name` or `name=default` of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// Literal (BuildKit does not expand it either).
    pub name: String,
    /// Word, expanded only if no `--build-arg` gives a value; `Some("")` for `name=`.
    pub default: Option<String>,
    /// The comment right above that begins with the name, without the name.
    pub doc: Option<String>,
}

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Text for the stage's `SHELL`, added as one last argument.
    Shell(String),
    /// Program and arguments, as they are.
    Exec(Vec<String>),
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Literal. With here-documents, use [`Run::script`] instead.
    pub command: Command,
    /// The bodies that follow, in order.
    pub heredocs: Vec<Heredoc>,
    /// Each `--mount`, for [`parse_mount`](super::mount::parse_mount), which expands its values
    /// as words. Already checked as far as that goes without variables.
    pub mounts: Vec<String>,
    /// `--network`: literal.
    pub network: Network,
    /// `--security`: literal.
    pub security: Security,
    /// Each `--device`: literal.
    pub devices: Vec<Device>,
}

/// What a `RUN` gives to its shell once here-documents are put in their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What to run.
    pub command: Command,
    /// A file to mount read-only in `/dev/pipes/`, mode 0755: its name and content.
    pub file: Option<(String, String)>,
    /// What BuildKit adds to the text of the instruction in a progress line: the first line
    /// of the document.
    pub summary: Option<String>,
}

/// A file or folder of `/dev` asked for by a `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// CDI name.
    pub name: String,
    /// Whether the step must not run without it.
    pub required: bool,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, without quotes.
    pub name: String,
    /// The number before `<<`; 0 if none.
    pub file_descriptor: u64,
    /// Whether variables in it are expanded: the word was not quoted.
    pub expand: bool,
    /// Written `<<-`: tabs at the start of its lines go.
    pub chomp: bool,
    /// The body as it is in the file, tabs and all, with its last line end.
    pub content: String,
}

impl Heredoc {
    /// The body without what `<<-` takes away.
    pub fn chomped(&self) -> String {
        if self.chomp { chomp(&self.content) } else { self.content.clone() }
    }
}

/// What `COPY` and `ADD` have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Words.
    pub sources: Vec<String>,
    /// Files written in the Dockerfile itself.
    pub contents: Vec<SourceContent>,
    /// Word.
    pub dest: String,
    /// Word: `--chown`.
    pub chown: Option<String>,
    /// Word: `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// Literal: each `--exclude`.
    pub excludes: Vec<String>,
}

/// A file written in the Dockerfile itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceContent {
    /// Its name: the word of the here-document.
    pub path: String,
    /// Its content, tabs of `<<-` already removed. If `expand`, it goes through
    /// `Lexer::new('\\').skip_quotes(true)`, whatever the file's escape character is.
    pub data: String,
    /// Whether to expand `data`.
    pub expand: bool,
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// From where to where.
    pub transfer: Transfer,
    /// `--from`: literal; a stage's name or number, an image, or a named context. A variable
    /// in it is an error the parser has already reported.
    pub from: Option<String>,
    /// `--parents`.
    pub parents: bool,
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// From where to where.
    pub transfer: Transfer,
    /// Word: `--checksum`.
    pub checksum: Option<String>,
    /// `--keep-git-dir`, if given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, if given.
    pub unpack: Option<bool>,
}

/// `ONBUILD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBuild {
    /// What goes into the image's configuration: literal, with the bodies of here-documents.
    pub expression: String,
    /// What [`parse_onbuild_trigger`](super::parse_onbuild_trigger) makes of it; none if it is
    /// not valid, which is an error only when the trigger fires (a warning says so here).
    pub trigger: Option<Box<Instruction>>,
}

impl Run {
    /// The command with its here-documents in place.
    ///
    /// `RUN <<EOF` runs the document: as a file if it begins with `#!`, else as the text of
    /// the shell. In any other case the shell reads its here-documents itself.
    pub fn script(&self) -> Script {
        let plain = || Script { command: self.command.clone(), file: None, summary: None };
        let (Some(first), Command::Shell(line)) = (self.heredocs.first(), &self.command) else {
            return plain();
        };
        if super::heredoc::parse_word(line).is_some() {
            let data = first.chomped();
            let summary = Some(summarize(&first.content));
            if data.starts_with("#!") {
                let command = Command::Shell(format!("/dev/pipes/{}", first.name));
                return Script { command, file: Some((first.name.clone(), data)), summary };
            }
            return Script { command: Command::Shell(data), file: None, summary };
        }
        let mut text = line.clone();
        for heredoc in &self.heredocs {
            text.push('\n');
            text.push_str(&heredoc.content);
            text.push_str(&heredoc.name);
        }
        Script { command: Command::Shell(text), file: None, summary: None }
    }
}

/// Removes the tabs at the start of each line.
pub(crate) fn chomp(text: &str) -> String {
    text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

fn summarize(document: &str) -> String {
    let text = document.trim().replace("\r\n", "\n");
    match text.split_once('\n') {
        Some((first, _)) => format!("{first}..."),
        None => text,
    }
}
