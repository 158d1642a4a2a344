//! From a line taken apart to an instruction that means something.

use bakehouse_model::oci::Healthcheck;
use bakehouse_model::op::{Network, Security};

use super::ast::{
    Add, ArgDeclaration, ArgInstruction, Command, Copy, Heredoc, Instruction, InstructionKind,
    KeyValue, OnBuild, Run, SourceContent, Span, Stage, Transfer,
};
use super::flags::{Flags, Kind};
use super::node::Node;
use super::problem::Problem;
use super::units::parse_duration;
use super::words::{Lexer, NoEnv};
use super::{go_lower, go_upper, heredoc, mount};

/// A line with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) node: Node,
    pub(crate) heredocs: Vec<Heredoc>,
    pub(crate) comments: Vec<String>,
    pub(crate) span: Span,
    pub(crate) escape: char,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Stage(Stage),
    Arg(ArgInstruction),
    Instruction(Instruction),
}

const KEYWORDS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Entry {
    /// Says what the line is.
    pub(crate) fn item(self) -> Result<Item, Problem> {
        let text = self.node.original.trim().to_owned();
        let name = self.node.name();
        match name.as_str() {
            "from" => return self.stage(text).map(Item::Stage),
            "arg" => {
                let args = self.args()?;
                let (span, comments) = (self.span, self.comments);
                return Ok(Item::Arg(ArgInstruction { args, span, text, comments }));
            }
            _ => {}
        }
        let kind = self.kind(&name)?;
        Ok(Item::Instruction(Instruction { kind, span: self.span, text, comments: self.comments }))
    }

    fn kind(&self, name: &str) -> Result<InstructionKind, Problem> {
        Ok(match name {
            "add" => InstructionKind::Add(self.add()?),
            "cmd" => InstructionKind::Cmd(self.command()?),
            "copy" => InstructionKind::Copy(self.copy()?),
            "entrypoint" => InstructionKind::Entrypoint(self.command()?),
            "env" => InstructionKind::Env(self.pairs("ENV")?),
            "expose" => InstructionKind::Expose(self.expose()?),
            "healthcheck" => InstructionKind::Healthcheck(self.healthcheck()?),
            "label" => InstructionKind::Label(self.pairs("LABEL")?),
            "maintainer" => InstructionKind::Maintainer(self.one("MAINTAINER")?),
            "onbuild" => InstructionKind::OnBuild(self.onbuild()?),
            "run" => InstructionKind::Run(self.run()?),
            "shell" => InstructionKind::Shell(self.shell()?),
            // Its flags are not even looked at, in BuildKit either.
            "stopsignal" => InstructionKind::StopSignal(self.only_argument("STOPSIGNAL")?),
            "user" => InstructionKind::User(self.one("USER")?),
            "volume" => InstructionKind::Volume(self.volume()?),
            "workdir" => InstructionKind::Workdir(self.one("WORKDIR")?),
            _ => {
                let keyword = &self.node.keyword;
                let message = format!("unknown instruction: `{keyword}`");
                return Err(
                    Problem::new("unknown-instruction", message).suggest(keyword, KEYWORDS, true)
                );
            }
        })
    }

    fn flags(&self, known: &[(&'static str, Kind)]) -> Result<Flags, Problem> {
        Flags::parse(&self.node.flags, known)
    }

    fn stage(self, text: String) -> Result<Stage, Problem> {
        let written_name = stage_name(&self.node.args)?;
        let flags = self.flags(&[("platform", Kind::Text)])?;
        let name = written_name.as_deref().map(go_lower);
        Ok(Stage {
            doc: name.as_deref().and_then(|name| doc_comment(&self.comments, name)),
            name,
            written_name,
            base: self.node.args.into_iter().next().unwrap_or_default(),
            platform: flags.text("platform"),
            span: self.span,
            text,
            comments: self.comments,
            instructions: Vec::new(),
        })
    }

    fn args(&self) -> Result<Vec<ArgDeclaration>, Problem> {
        at_least_one(&self.node.args, "ARG")?;
        let declare = |arg: &String| {
            let (name, default) = match arg.split_once('=') {
                Some(("", _)) => return Err(blank_names("ARG")),
                Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
                None => (arg.clone(), None),
            };
            let doc = doc_comment(&self.comments, &name);
            Ok(ArgDeclaration { name, default, doc })
        };
        self.node.args.iter().map(declare).collect()
    }

    fn pairs(&self, keyword: &str) -> Result<Vec<KeyValue>, Problem> {
        self.flags(&[])?;
        at_least_one(&self.node.args, keyword)?;
        let mut pairs = Vec::new();
        for triple in self.node.args.chunks_exact(3) {
            let [key, value, separator] = triple else { continue };
            if key.is_empty() {
                return Err(blank_names(keyword));
            }
            let (key, value) = (key.clone(), value.clone());
            pairs.push(KeyValue { key, value, legacy: separator.is_empty() });
        }
        Ok(pairs)
    }

    fn only_argument(&self, keyword: &str) -> Result<String, Problem> {
        match self.node.args.as_slice() {
            [only] => Ok(only.clone()),
            _ => {
                let message = format!("{keyword} requires exactly one argument");
                Err(Problem::new("argument-count", message))
            }
        }
    }

    fn one(&self, keyword: &str) -> Result<String, Problem> {
        let only = self.only_argument(keyword)?;
        self.flags(&[])?;
        Ok(only)
    }

    fn command(&self) -> Result<Command, Problem> {
        self.flags(&[])?;
        Ok(self.command_line())
    }

    fn command_line(&self) -> Command {
        if self.node.json {
            Command::Exec(self.node.args.clone())
        } else {
            Command::Shell(self.node.args.join(" "))
        }
    }

    fn run(&self) -> Result<Run, Problem> {
        let flags = self.flags(&[
            ("mount", Kind::Texts),
            ("network", Kind::Text),
            ("security", Kind::Text),
            ("device", Kind::Texts),
        ])?;
        let mounts = flags.texts("mount");
        for mount in &mounts {
            mount::check_mount(mount)?;
        }
        let network = match flags.last("network") {
            None | Some("default") => Network::Default,
            Some("none") => Network::None,
            Some("host") => Network::Host,
            Some(other) => {
                let message = format!("invalid network mode {other:?}");
                return Err(Problem::new("bad-flag-value", message).suggest(
                    other,
                    &["default", "host", "none"],
                    false,
                ));
            }
        };
        let security = match flags.last("security") {
            None | Some("sandbox") => Security::Sandbox,
            Some("insecure") => Security::Insecure,
            Some(other) => {
                let message = format!("security {other:?} is not valid");
                return Err(Problem::new("bad-flag-value", message).suggest(
                    other,
                    &["insecure", "sandbox"],
                    false,
                ));
            }
        };
        let devices = flags.texts("device");
        let devices = devices.iter().map(|device| mount::parse_device(device));
        Ok(Run {
            command: self.command_line(),
            heredocs: self.heredocs.clone(),
            mounts,
            network,
            security,
            devices: devices.collect::<Result<_, _>>()?,
        })
    }

    fn transfer(&self, flags: &Flags, keyword: &str) -> Result<Transfer, Problem> {
        let Some((dest, written)) = self.node.args.split_last() else {
            return Err(no_destination(keyword));
        };
        if heredoc::parse_word(dest).is_some() {
            let message = format!("{keyword} cannot accept a heredoc as a destination");
            return Err(Problem::new("heredoc-destination", message));
        }
        let mut sources = Vec::new();
        let mut contents = Vec::new();
        for source in written {
            let Some(word) = heredoc::parse_word(source) else {
                sources.push(source.clone());
                continue;
            };
            // Of several with one name the last one counts, for all of them.
            let body = self.heredocs.iter().rfind(|heredoc| heredoc.name == word.name);
            let content = body.map(|body| body.content.clone()).unwrap_or_default();
            let data = Heredoc { content, ..word.clone() }.chomped();
            contents.push(SourceContent { path: word.name, data, expand: word.expand });
        }
        Ok(Transfer {
            sources,
            contents,
            dest: dest.clone(),
            chown: flags.text("chown"),
            chmod: flags.text("chmod"),
            link: flags.bool("link").unwrap_or_default(),
            excludes: flags.texts("exclude"),
        })
    }

    fn copy(&self) -> Result<Copy, Problem> {
        if self.node.args.len() < 2 {
            return Err(no_destination("COPY"));
        }
        let flags = self.flags(&[
            ("chown", Kind::Text),
            ("from", Kind::Text),
            ("chmod", Kind::Text),
            ("link", Kind::Bool),
            ("exclude", Kind::Texts),
            ("parents", Kind::Bool),
        ])?;
        let from = flags.text("from");
        if let Some(from) = &from {
            check_from(from, self.escape)?;
        }
        let transfer = self.transfer(&flags, "COPY")?;
        Ok(Copy { transfer, from, parents: flags.bool("parents").unwrap_or_default() })
    }

    fn add(&self) -> Result<Add, Problem> {
        if self.node.args.len() < 2 {
            return Err(no_destination("ADD"));
        }
        let flags = self.flags(&[
            ("chown", Kind::Text),
            ("chmod", Kind::Text),
            ("link", Kind::Bool),
            ("keep-git-dir", Kind::Bool),
            ("checksum", Kind::Text),
            ("unpack", Kind::Bool),
            ("exclude", Kind::Texts),
        ])?;
        Ok(Add {
            transfer: self.transfer(&flags, "ADD")?,
            checksum: flags.text("checksum"),
            keep_git_dir: flags.bool("keep-git-dir"),
            unpack: flags.bool("unpack"),
        })
    }

    fn expose(&self) -> Result<Vec<String>, Problem> {
        at_least_one(&self.node.args, "EXPOSE")?;
        self.flags(&[])?;
        let mut ports = self.node.args.clone();
        ports.sort();
        Ok(ports)
    }

    fn volume(&self) -> Result<Vec<String>, Problem> {
        at_least_one(&self.node.args, "VOLUME")?;
        self.flags(&[])?;
        let trimmed = self.node.args.iter().map(|volume| volume.trim().to_owned());
        let volumes: Vec<String> = trimmed.collect();
        if volumes.iter().any(String::is_empty) {
            let message = "VOLUME specified can not be an empty string";
            return Err(Problem::new("empty-volume", message));
        }
        Ok(volumes)
    }

    fn shell(&self) -> Result<Vec<String>, Problem> {
        self.flags(&[])?;
        at_least_one(&self.node.args, "SHELL")?;
        if !self.node.json {
            let given = self.node.original.trim();
            let message = format!("SHELL requires the arguments to be in JSON form: `{given}`");
            return Err(Problem::new("shell-not-json", message)
                .help("write it like SHELL [\"/bin/bash\", \"-c\"]"));
        }
        Ok(self.node.args.clone())
    }

    fn onbuild(&self) -> Result<OnBuild, Problem> {
        at_least_one(&self.node.args, "ONBUILD")?;
        self.flags(&[])?;
        let trigger = go_upper(self.node.args.first().map_or("", |word| word.trim()));
        match trigger.as_str() {
            "ONBUILD" => {
                let message = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
                return Err(Problem::new("onbuild-trigger", message));
            }
            "MAINTAINER" | "FROM" => {
                let message = format!("{trigger} isn't allowed as an ONBUILD trigger");
                return Err(Problem::new("onbuild-trigger", message));
            }
            _ => {}
        }
        let line = self.node.original.trim_start();
        let mut expression = match line.get(.."ONBUILD".len()) {
            Some(keyword) if keyword.eq_ignore_ascii_case("ONBUILD") => {
                line["ONBUILD".len()..].trim_start().to_owned()
            }
            _ => line.to_owned(),
        };
        for heredoc in &self.heredocs {
            expression.push('\n');
            expression.push_str(&heredoc.content);
            expression.push_str(&heredoc.name);
        }
        let trigger = super::document::trigger(&expression, self.span).ok().map(Box::new);
        Ok(OnBuild { expression, trigger })
    }

    fn healthcheck(&self) -> Result<Healthcheck, Problem> {
        let Some((kind, rest)) = self.node.args.split_first() else {
            return Err(at_least_one_error("HEALTHCHECK"));
        };
        let kind = go_upper(kind);
        let wrong = |message: String| Problem::new("bad-healthcheck", message);
        if kind == "NONE" {
            if !rest.is_empty() {
                return Err(wrong("HEALTHCHECK NONE takes no arguments".to_owned()));
            }
            return Ok(Healthcheck { test: vec![kind], ..Healthcheck::default() });
        }
        let flags = self.flags(&[
            ("interval", Kind::Text),
            ("timeout", Kind::Text),
            ("start-period", Kind::Text),
            ("start-interval", Kind::Text),
            ("retries", Kind::Text),
        ])?;
        if kind != "CMD" {
            return Err(wrong(format!("unknown type `{kind}` in HEALTHCHECK (try CMD)")));
        }
        if rest.is_empty() {
            return Err(wrong("missing command after HEALTHCHECK CMD".to_owned()));
        }
        let mut test = vec![if self.node.json { kind } else { "CMD-SHELL".to_owned() }];
        if self.node.json {
            test.extend_from_slice(rest);
        } else {
            test.push(rest.join(" "));
        }
        Ok(Healthcheck {
            test,
            interval: interval(&flags, "interval")?,
            timeout: interval(&flags, "timeout")?,
            start_period: interval(&flags, "start-period")?,
            start_interval: interval(&flags, "start-interval")?,
            retries: retries(&flags)?,
        })
    }
}

fn interval(flags: &Flags, name: &'static str) -> Result<i64, Problem> {
    let Some(text) = flags.text(name) else { return Ok(0) };
    let wrong = |message| Problem::new("bad-flag-value", message);
    let duration = parse_duration(&text).map_err(wrong)?;
    if duration != 0 && duration < 1_000_000 {
        return Err(wrong(format!("Interval {name:?} cannot be less than 1ms")));
    }
    Ok(duration)
}

fn retries(flags: &Flags) -> Result<i64, Problem> {
    let Some(text) = flags.text("retries") else { return Ok(0) };
    let wrong = |message| Problem::new("bad-flag-value", message);
    let retries: i32 = text
        .parse()
        .map_err(|_| wrong(format!("`--retries` needs a whole number, not {text:?}")))?;
    if retries < 0 {
        return Err(wrong(format!("--retries cannot be negative ({retries})")));
    }
    Ok(i64::from(retries))
}

/// The name after `AS`, as written.
fn stage_name(args: &[String]) -> Result<Option<String>, Problem> {
    match args {
        [_] => Ok(None),
        [_, keyword, name] if go_lower(keyword) == "as" => {
            let lower = go_lower(name);
            let mut letters = lower.bytes();
            let first = letters.next().is_some_and(|b| b.is_ascii_lowercase());
            let rest = letters.all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.')
            });
            if first && rest {
                return Ok(Some(name.clone()));
            }
            let message = format!(
                "invalid name for build stage: {name:?}, name can't start with a number or \
                 contain symbols"
            );
            Err(Problem::new("bad-stage-name", message))
        }
        _ => {
            let message = "FROM requires either one or three arguments";
            Err(Problem::new("argument-count", message))
        }
    }
}

/// A `--from` must be what it says: BuildKit needs it before variables are known.
fn check_from(from: &str, escape: char) -> Result<(), Problem> {
    match Lexer::new(escape).expand(from, &NoEnv) {
        Ok(expanded) if expanded.text == from => Ok(()),
        Ok(_) => Err(Problem::new(
            "variable-in-from",
            "variable expansion is not supported for --from, define a new stage with FROM using \
             ARG from global scope as a workaround",
        )),
        Err(error) => Err(Problem::new("variable-in-from", error.to_string())),
    }
}

/// The comment that describes `name`: it begins with it.
fn doc_comment(comments: &[String], name: &str) -> Option<String> {
    let text = |line: &String| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    if name.is_empty() { None } else { comments.iter().find_map(text) }
}

fn at_least_one(args: &[String], keyword: &str) -> Result<(), Problem> {
    if args.is_empty() { Err(at_least_one_error(keyword)) } else { Ok(()) }
}

fn at_least_one_error(keyword: &str) -> Problem {
    Problem::new("argument-count", format!("{keyword} requires at least one argument"))
}

fn blank_names(keyword: &str) -> Problem {
    Problem::new("blank-name", format!("{keyword} names can not be blank"))
}

fn no_destination(keyword: &str) -> Problem {
    let message = format!(
        "{keyword} requires at least two arguments, but only one was provided. Destination could \
         not be determined"
    );
    Problem::new("argument-count", message)
}
