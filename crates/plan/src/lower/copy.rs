//! `COPY` and `ADD`.

use bakehouse_model::op::{self, FileAction, MakeFile, Mode, Op, Owner, Principal, Source};

use super::doubts::document_lexer;
use super::remote::Remote;
use super::stages::{Command, Lowering};
use super::{LowerFailure, path, wrong, wrong_with_help};
use crate::address::without_password;
use crate::dockerfile::{Add, Copy, SourceContent, Span, Transfer};
use crate::graph::{NewStep, Origin, StepIndex};
use crate::key::has_wildcards;

/// `user[:group]`; names are looked up in the input `base`.
pub(super) fn owner(text: &str, base: Option<usize>) -> Option<Owner> {
    if text.is_empty() {
        return None;
    }
    let principal = |text: &str| match text.parse::<u32>() {
        Ok(id) => Principal::Id { id },
        Err(_) => Principal::Name { name: text.to_owned(), input: base },
    };
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    Some(Owner {
        user: (!user.is_empty()).then(|| principal(user)),
        group: (!group.is_empty()).then(|| principal(group)),
    })
}

/// An instruction that copies, its words expanded.
pub(super) struct Job {
    verb: &'static str,
    sources: Vec<String>,
    contents: Vec<SourceContent>,
    raw_dest: String,
    dest: String,
    chown: String,
    chmod: String,
    mode: Option<Mode>,
    excludes: Vec<String>,
    link: bool,
    parents: bool,
    pub(super) checksum: Option<String>,
    unpack: Option<bool>,
    pub(super) keep_git_dir: Option<bool>,
    pub(super) span: Span,
}

impl Lowering<'_> {
    pub(super) fn copy(
        &mut self,
        at: usize,
        command: &Command,
        copy: &Copy,
    ) -> Result<(), LowerFailure> {
        let span = command.instruction.span;
        let mut job = self.job(at, &copy.transfer, "COPY", span)?;
        job.parents = copy.parents;
        let source = match (command.sources.first().copied().flatten(), &copy.from) {
            (Some(source), Some(from)) => self.stage_output(at, source, from, span)?,
            _ => Some(self.main_context(span)?),
        };
        self.transfer(at, command, job, source)
    }

    pub(super) fn add(
        &mut self,
        at: usize,
        command: &Command,
        add: &Add,
    ) -> Result<(), LowerFailure> {
        let span = command.instruction.span;
        let mut job = self.job(at, &add.transfer, "ADD", span)?;
        let checksum =
            add.checksum.as_deref().map(|word| self.expand(at, word, span)).transpose()?;
        job.checksum = checksum.filter(|text| !text.is_empty());
        job.unpack = add.unpack;
        job.keep_git_dir = add.keep_git_dir;
        if job.checksum.is_some() {
            if job.sources.len() != 1 {
                let what = "checksum can't be specified for multiple sources";
                return Err(wrong(self.place(span), "bad-checksum", what));
            }
            if self.remote(&job.sources[0], span)?.is_none() {
                let what = "checksum requires HTTP(S) or Git sources";
                return Err(wrong(self.place(span), "bad-checksum", what));
            }
        }
        let mut local = false;
        for source in &job.sources {
            local |= self.remote(source, span)?.is_none();
        }
        let context = if local { Some(self.main_context(span)?) } else { None };
        self.transfer(at, command, job, context)
    }

    /// The step that stands for the main build context.
    pub(super) fn main_context(&mut self, span: Span) -> Result<StepIndex, LowerFailure> {
        if let Some(step) = self.context {
            return Ok(step);
        }
        let Some(context) = self.request.context.clone() else {
            return Err(wrong(
                self.place(span),
                "no-context",
                "this instruction reads the build context, and there is none",
            ));
        };
        let step = self.graph.add(NewStep {
            op: Op::Source(Source::Context(context)),
            inputs: Vec::new(),
            platform: self.request.settings.build_platform.clone(),
            no_cache: false,
            origin: Origin {
                name: "load build context".to_owned(),
                image: self.request.image.to_owned(),
                stage: String::new(),
                position: (0, 0),
                location: None,
            },
        });
        self.context = Some(step);
        Ok(step)
    }

    /// What another stage, an image or a folder gives to copy from; none for `scratch`.
    pub(super) fn stage_output(
        &mut self,
        at: usize,
        source: usize,
        from: &str,
        span: Span,
    ) -> Result<Option<StepIndex>, LowerFailure> {
        if !self.states[source].dispatched {
            let name = &self.states[at].name;
            return Err(wrong_with_help(
                self.place(span),
                "stage-order",
                format!(
                    "cannot copy from stage `{from}`, it needs to be defined before current stage `{name}`"
                ),
                "move the stage up in the Dockerfile",
            ));
        }
        Ok(self.states[source].context.or(self.states[source].fs))
    }

    fn job(
        &mut self,
        at: usize,
        transfer: &Transfer,
        verb: &'static str,
        span: Span,
    ) -> Result<Job, LowerFailure> {
        let dir = self.states[at].dir.clone();
        let mut expand = |word: &str| self.expand(at, word, span);
        let raw_dest = expand(&transfer.dest)?;
        let dest = match raw_dest.as_str() {
            "" | "." => path::normalise(&dir, "./", true),
            raw if raw.starts_with('/') => path::normalise("/", raw, true),
            raw => path::normalise(&dir, raw, true),
        };
        let chmod = transfer.chmod.as_deref().map(&mut expand).transpose()?.unwrap_or_default();
        let sources: Result<Vec<String>, LowerFailure> =
            transfer.sources.iter().map(|word| expand(word)).collect();
        let chown = transfer.chown.as_deref().map(expand).transpose()?.unwrap_or_default();
        let contents: Result<Vec<SourceContent>, LowerFailure> =
            transfer.contents.iter().map(|content| self.content(at, content, span)).collect();
        Ok(Job {
            verb,
            sources: sources?,
            contents: contents?,
            raw_dest,
            dest,
            chown,
            mode: self.mode(&chmod, span)?,
            chmod,
            excludes: transfer.excludes.clone(),
            link: transfer.link,
            parents: false,
            checksum: None,
            unpack: None,
            keep_git_dir: None,
            span,
        })
    }

    fn content(
        &mut self,
        at: usize,
        content: &SourceContent,
        span: Span,
    ) -> Result<SourceContent, LowerFailure> {
        if !content.expand {
            return Ok(content.clone());
        }
        // Whatever the file's escape character is, a here-document's is the shell's.
        match document_lexer().expand(&content.data, &self.states[at].env) {
            Ok(expanded) => {
                self.doubt_variables(at, expanded.unmatched, span);
                Ok(SourceContent { data: expanded.text, ..content.clone() })
            }
            Err(error) => Err(wrong(self.place(span), "bad-word", error.to_string())),
        }
    }

    fn mode(&self, chmod: &str, span: Span) -> Result<Option<Mode>, LowerFailure> {
        if chmod.is_empty() {
            return Ok(None);
        }
        let invalid = || {
            wrong(
                self.place(span),
                "bad-chmod",
                format!(
                    "invalid chmod parameter: `{chmod}`; it should be an octal number between 0 and 07777, or symbolic such as `u=rwX,go=rX`"
                ),
            )
        };
        match u32::from_str_radix(chmod, 8) {
            Ok(bits) if bits <= 0o7777 => Ok(Some(Mode::Bits { bits })),
            Err(_) if is_symbolic(chmod) => Ok(Some(Mode::Symbolic { text: chmod.to_owned() })),
            _ => Err(invalid()),
        }
    }

    fn transfer(
        &mut self,
        at: usize,
        command: &Command,
        job: Job,
        source: Option<StepIndex>,
    ) -> Result<(), LowerFailure> {
        let below = self.states[at].fs;
        let alone = job.stands_alone();
        let base = below.filter(|_| !alone);
        let mut inputs: Vec<StepIndex> = base.into_iter().collect();
        let mut actions = Vec::new();
        let owner = owner(&job.chown, base.map(|_| 0));
        for src in &job.sources {
            let (step, copy) = self.one_source(at, &job, src, source)?;
            let input = input_number(&mut inputs, step);
            actions.push(FileAction::Copy(op::Copy { input, owner: owner.clone(), ..copy }));
        }
        for content in &job.contents {
            let step = self.inline_file(at, command, content);
            let input = input_number(&mut inputs, step);
            actions.push(FileAction::Copy(op::Copy {
                input,
                src: path::normalise("/", &content.path, false),
                owner: owner.clone(),
                ..job.copy()
            }));
        }
        let file = op::File { base: base.map(|_| 0), actions };
        let step = self.step(at, command, Op::File(file), inputs);
        let step = match below {
            Some(below) if alone => self.linked(at, command, (below, step)),
            _ => step,
        };
        self.states[at].fs = Some(step);
        self.history(at, format!("{} # buildkit", job.history()), true);
        Ok(())
    }

    /// What `step` made, on top of what is below it.
    fn linked(
        &mut self,
        at: usize,
        command: &Command,
        (below, step): (StepIndex, StepIndex),
    ) -> StepIndex {
        let state = &self.states[at];
        let copied = &self.graph.step(step).origin;
        let origin = Origin {
            name: format!("LINK {}", copied.name),
            position: (0, 0),
            location: self.place(command.instruction.span),
            ..copied.clone()
        };
        let platform = self.graph.step(step).platform.clone();
        let new = NewStep {
            op: Op::Merge,
            inputs: vec![below, step],
            platform,
            no_cache: state.no_cache,
            origin,
        };
        self.graph.add(new)
    }

    fn one_source(
        &mut self,
        at: usize,
        job: &Job,
        src: &str,
        source: Option<StepIndex>,
    ) -> Result<(StepIndex, op::Copy), LowerFailure> {
        let remote = self.remote(src, job.span)?;
        if let Some(remote) = remote.as_ref().filter(|_| job.verb == "COPY") {
            let what = match remote {
                Remote::Repository(_) => "a git ref",
                Remote::File(_) => "a URL",
            };
            return Err(wrong_with_help(
                self.place(job.span),
                "remote-copy",
                format!("source can't be {what} for COPY"),
                "use ADD",
            ));
        }
        match remote {
            Some(Remote::Repository(address)) => {
                let step = self.git(at, job, src, &address)?;
                return Ok((step, op::Copy { src: "/".to_owned(), ..job.copy() }));
            }
            Some(Remote::File(url)) => {
                let (step, name) = self.http(at, job, &url)?;
                let attempt_unpack = job.unpack.unwrap_or(false);
                let copy = op::Copy { src: format!("/{name}"), attempt_unpack, ..job.copy() };
                return Ok((step, copy));
            }
            None => {}
        }
        let Some(step) = source else {
            let place = self.place(job.span);
            return Err(wrong(
                place,
                "copy-from-scratch",
                format!("`{src}`: not found in `scratch`"),
            ));
        };
        if self.context == Some(step) {
            self.doubt_source(job.verb, src, job.span);
        }
        Ok((step, job.local(src)))
    }

    fn inline_file(&mut self, at: usize, command: &Command, content: &SourceContent) -> StepIndex {
        let make = MakeFile {
            path: path::normalise("/", &content.path, false),
            mode: 0o644,
            data: content.data.clone().into_bytes(),
            owner: None,
            timestamp: None,
        };
        self.internal(at, command, FileAction::MakeFile(make))
    }

    /// A step on an empty file system that only prepares something for the next one.
    pub(super) fn internal(
        &mut self,
        at: usize,
        command: &Command,
        action: FileAction,
    ) -> StepIndex {
        let state = &self.states[at];
        let origin = Origin {
            name: "preparing inline document".to_owned(),
            image: self.request.image.to_owned(),
            stage: format!("{} {}", state.name, state.at + 1).trim().to_owned(),
            position: (0, 0),
            location: self.place(command.instruction.span),
        };
        let platform = state.platform.clone().unwrap_or_else(|| self.target_platform());
        let op = Op::File(op::File { base: None, actions: vec![action] });
        self.graph.add(NewStep { op, inputs: Vec::new(), platform, no_cache: false, origin })
    }
}

impl Job {
    /// Whether its layer is made of nothing but what is copied, so that it stays as it is when
    /// the base changes: `--link`. A mode is set on what is there, and names of users are looked
    /// up there; with these the layer is an ordinary one, as it is for Docker.
    fn stands_alone(&self) -> bool {
        let is_number = |id: &str| id.is_empty() || id.parse::<u32>().is_ok();
        self.link && self.chmod.is_empty() && self.chown.split(':').all(is_number)
    }

    fn copy(&self) -> op::Copy {
        op::Copy {
            dest: self.dest.clone(),
            mode: self.mode.clone(),
            exclude_patterns: self.excludes.clone(),
            ..op::Copy::plain(0, "", "")
        }
    }

    /// A source in the context or in a stage.
    fn local(&self, src: &str) -> op::Copy {
        let mut root = src.to_owned();
        let mut include_patterns = Vec::new();
        let mut required_paths = Vec::new();
        if self.parents {
            let (parent, pattern) = src.split_once("/./").unwrap_or(("/", src));
            let pattern = path::normalise("/", pattern, false);
            if !has_wildcards(parent) && !has_wildcards(&pattern) {
                required_paths.push(path::normalise("/", &path::join(parent, &pattern), false));
            }
            root = if src.contains("/./") { parent.to_owned() } else { "/".to_owned() };
            let pattern = pattern.trim_start_matches('/');
            if pattern.is_empty() {
                // All of it, which is there without being asked for.
                required_paths.clear();
            } else {
                include_patterns.push(pattern.to_owned());
            }
        }
        op::Copy {
            src: path::normalise("/", &root, false),
            follow_symlink: true,
            dir_copy_contents: true,
            allow_wildcard: true,
            allow_empty_wildcard: true,
            attempt_unpack: self.unpack.unwrap_or(self.verb == "ADD"),
            include_patterns,
            required_paths,
            ..self.copy()
        }
    }

    fn history(&self) -> String {
        let mut text = self.verb.to_owned();
        if self.parents {
            text.push_str(" --parents");
        }
        for (flag, value) in [("chown", &self.chown), ("chmod", &self.chmod)] {
            if !value.is_empty() {
                text.push_str(&format!(" --{flag}={value}"));
            }
        }
        for source in &self.sources {
            // The history is for everybody's eyes.
            text.push_str(&format!(" {}", without_password(source)));
        }
        for content in &self.contents {
            text.push_str(&format!(" <<{}", content.path));
        }
        text.push_str(&format!(" {}", self.raw_dest));
        text
    }
}

/// The number of `step` among `inputs`, where it is put if it is not there yet.
///
/// The first input may be the base, which is written to and never read under its own number.
pub(super) fn input_number(inputs: &mut Vec<StepIndex>, step: StepIndex) -> usize {
    inputs.iter().position(|input| *input == step).unwrap_or_else(|| {
        inputs.push(step);
        inputs.len() - 1
    })
}

/// `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`, comma-separated.
fn is_symbolic(text: &str) -> bool {
    let clause = |clause: &str| {
        let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
        rest.starts_with(['+', '-', '=']) && rest.chars().all(|c| "+-=rwxXstugo".contains(c))
    };
    text.split(',').all(clause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_names_or_numbers() {
        let id = |id| Some(Principal::Id { id });
        let name = |name: &str| Some(Principal::Name { name: name.to_owned(), input: Some(0) });
        let cases = [
            ("1", id(1), None),
            ("1:2", id(1), id(2)),
            ("app:2", name("app"), id(2)),
            (":wheel", None, name("wheel")),
        ];
        for (text, user, group) in cases {
            assert_eq!(owner(text, Some(0)), Some(Owner { user, group }), "{text}");
        }
        assert_eq!(owner("", None), None);
    }
}
