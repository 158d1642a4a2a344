//! Instructions that change the configuration, and the way of all others.

use bakehouse_model::oci::{Empty, Healthcheck, History};
use bakehouse_model::op::{self, FileAction, MakeDir, Op};

use super::doubts::NOT_VARIABLES;
use super::stages::{Command, Lowering};
use super::{LowerFailure, path, ports, system, text, wrong};
use crate::address::without_passwords;
use crate::dockerfile::{ArgDeclaration, Command as CommandLine, InstructionKind, KeyValue, Span};
use crate::graph::{NewStep, Origin, StepIndex};

/// What BuildKit signs its history with.
const COMMENT: &str = "buildkit.dockerfile.v0";

impl Lowering<'_> {
    /// Lowers one instruction of a stage.
    pub(super) fn instruction(&mut self, at: usize, command: &Command) -> Result<(), LowerFailure> {
        let span = command.instruction.span;
        self.doubts.turn_to(&command.instruction, command.on_build);
        match &command.instruction.kind {
            InstructionKind::Env(pairs) => self.env(at, pairs, span),
            InstructionKind::Arg(args) => self.arg(at, args, span),
            InstructionKind::Label(pairs) => self.label(at, pairs, span),
            InstructionKind::Maintainer(name) => {
                self.states[at].image.author.clone_from(name);
                self.history(at, format!("MAINTAINER {name}"), false);
                Ok(())
            }
            InstructionKind::Run(run) => self.run(at, command, run),
            InstructionKind::Copy(copy) => self.copy(at, command, copy),
            InstructionKind::Add(add) => self.add(at, command, add),
            InstructionKind::Cmd(line) => {
                self.cmd(at, line);
                Ok(())
            }
            InstructionKind::Entrypoint(line) => {
                self.entrypoint(at, line);
                Ok(())
            }
            InstructionKind::Healthcheck(check) => {
                self.healthcheck(at, check);
                Ok(())
            }
            InstructionKind::Expose(specs) => self.expose(at, specs, span),
            InstructionKind::Volume(volumes) => self.volume(at, volumes, span),
            InstructionKind::User(user) => {
                let user = self.expand(at, user, span)?;
                let state = &mut self.states[at];
                state.user.clone_from(&user);
                state.image.config.user.clone_from(&user);
                self.history(at, format!("USER {user}"), false);
                Ok(())
            }
            InstructionKind::Workdir(dir) => self.workdir(at, command, dir),
            InstructionKind::Shell(shell) => {
                self.states[at].image.config.shell.clone_from(shell);
                self.history(at, format!("SHELL {}", text::list(shell)), false);
                Ok(())
            }
            InstructionKind::StopSignal(signal) => self.stop_signal(at, signal, span),
            InstructionKind::OnBuild(trigger) => {
                self.states[at].image.config.on_build.push(trigger.expression.clone());
                Ok(())
            }
        }
    }

    /// Expands a word with the variables of a stage.
    pub(super) fn expand(
        &mut self,
        at: usize,
        word: &str,
        span: Span,
    ) -> Result<String, LowerFailure> {
        match self.lexer.expand(word, &self.states[at].env) {
            Ok(expanded) => {
                self.doubt_variables(at, expanded.unmatched, span);
                Ok(expanded.text)
            }
            Err(error) => Err(wrong(self.place(span), "bad-word", error.to_string())),
        }
    }

    /// A command line as it is stored: shell forms with the stage's shell in front.
    pub(super) fn with_shell(&self, at: usize, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(args) => args.clone(),
            CommandLine::Shell(line) => {
                let shell = &self.states[at].image.config.shell;
                let platform = self.states[at].platform.as_ref();
                let mut args = if shell.is_empty() {
                    system::default_shell(platform.unwrap_or(&self.target_platform()))
                } else {
                    shell.clone()
                };
                args.push(line.clone());
                args
            }
        }
    }

    /// Adds an entry to the history of a stage's image.
    pub(super) fn history(&mut self, at: usize, created_by: String, with_layer: bool) {
        let created = self.epoch.map(crate::time::rfc3339);
        self.states[at].image.history.push(History {
            created,
            created_by,
            author: String::new(),
            comment: COMMENT.to_owned(),
            empty_layer: !with_layer,
        });
    }

    /// Adds a step to the graph on behalf of an instruction.
    pub(super) fn step(
        &mut self,
        at: usize,
        command: &Command,
        op: Op,
        inputs: Vec<StepIndex>,
    ) -> StepIndex {
        let shown = self.lexer.expand_for_display(&command.instruction.text, &self.states[at].env);
        let shown = without_passwords(&shown);
        let location = self.place(command.instruction.span);
        let state = &mut self.states[at];
        state.at += 1;
        let name = if command.on_build { format!("ONBUILD {shown}") } else { shown };
        let origin = Origin {
            name,
            image: self.request.image.to_owned(),
            stage: state.name.clone(),
            position: (state.at, state.total),
            location,
        };
        let platform = state.platform.clone().expect("a stage that is dispatched has a platform");
        let no_cache = state.no_cache;
        self.graph.add(NewStep { op, inputs, platform, no_cache, origin })
    }

    fn cmd(&mut self, at: usize, line: &CommandLine) {
        let args = self.with_shell(at, line);
        let history = format!("CMD {}", text::quote_all(&args));
        let state = &mut self.states[at];
        state.image.config.cmd = Some(args);
        state.image.config.args_escaped = true;
        state.cmd_set = true;
        self.history(at, history, false);
    }

    fn entrypoint(&mut self, at: usize, line: &CommandLine) {
        let args = self.with_shell(at, line);
        let history = format!("ENTRYPOINT {}", text::quote_all(&args));
        let state = &mut self.states[at];
        state.image.config.entrypoint = Some(args);
        if !state.cmd_set {
            state.image.config.cmd = None;
        }
        self.history(at, history, false);
    }

    fn healthcheck(&mut self, at: usize, check: &Healthcheck) {
        let history = format!(
            "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            text::list(&check.test),
            text::duration(check.interval),
            text::duration(check.timeout),
            text::duration(check.start_period),
            text::duration(check.start_interval),
            check.retries
        );
        self.states[at].image.config.healthcheck = Some(check.clone());
        self.history(at, history, false);
    }

    fn env(&mut self, at: usize, pairs: &[KeyValue], span: Span) -> Result<(), LowerFailure> {
        let pairs = self.pairs(at, pairs, span)?;
        let mut history = "ENV".to_owned();
        let state = &mut self.states[at];
        for (name, value) in &pairs {
            history.push_str(&format!(" {name}={value}"));
            state.env.set(name, value);
            let line = format!("{name}={value}");
            let env = &mut state.image.config.env;
            match env.iter_mut().find(|line| line.split('=').next() == Some(name)) {
                Some(known) => *known = line,
                None => env.push(line),
            }
        }
        self.history(at, history, false);
        Ok(())
    }

    /// All words of all pairs, expanded before the first of them is set.
    fn pairs(
        &mut self,
        at: usize,
        pairs: &[KeyValue],
        span: Span,
    ) -> Result<Vec<(String, String)>, LowerFailure> {
        let mut expand = |word: &str| self.expand(at, word, span);
        pairs.iter().map(|pair| Ok((expand(&pair.key)?, expand(&pair.value)?))).collect()
    }

    fn label(&mut self, at: usize, pairs: &[KeyValue], span: Span) -> Result<(), LowerFailure> {
        let pairs = self.pairs(at, pairs, span)?;
        let mut history = "LABEL".to_owned();
        for (name, value) in pairs {
            history.push_str(&format!(" {name}={value}"));
            self.states[at].image.config.labels.insert(name, value);
        }
        self.history(at, history, false);
        Ok(())
    }

    fn arg(&mut self, at: usize, args: &[ArgDeclaration], span: Span) -> Result<(), LowerFailure> {
        let mut history = "ARG".to_owned();
        for arg in args {
            let given = self.request.settings.build_args.get(&arg.name).cloned();
            let value = match (given, &arg.default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(self.expand(at, default, span)?),
                (None, None) => self.globals.value(&arg.name).map(str::to_owned),
            };
            let state = &mut self.states[at];
            history.push(' ');
            history.push_str(&arg.name);
            if let Some(value) = &value {
                history.push_str(&format!("={value}"));
                if !NOT_VARIABLES.contains(&arg.name.as_str()) {
                    state.env.set(&arg.name, value);
                }
            }
            state.build_args.push((arg.name.clone(), value));
        }
        self.history(at, history, false);
        Ok(())
    }

    fn expose(&mut self, at: usize, specs: &[String], span: Span) -> Result<(), LowerFailure> {
        let mut all = Vec::new();
        for spec in specs {
            let words = self.lexer.expand_words(spec, &self.states[at].env);
            let words = words.map_err(|e| wrong(self.place(span), "bad-word", e.to_string()))?;
            for word in words {
                self.doubt_port(&word, span);
                all.extend(
                    ports::parse(&word).map_err(|why| wrong(self.place(span), "bad-port", why))?,
                );
            }
        }
        let history = format!("EXPOSE {}", text::list(&all));
        let ports = &mut self.states[at].image.config.exposed_ports;
        ports.extend(all.into_iter().map(|port| (port, Empty {})));
        self.history(at, history, false);
        Ok(())
    }

    fn volume(&mut self, at: usize, volumes: &[String], span: Span) -> Result<(), LowerFailure> {
        let volumes: Result<Vec<String>, LowerFailure> =
            volumes.iter().map(|volume| self.expand(at, volume, span)).collect();
        let volumes = volumes?;
        if volumes.iter().any(String::is_empty) {
            return Err(wrong(
                self.place(span),
                "blank-volume",
                "VOLUME specified can not be an empty string",
            ));
        }
        let history = format!("VOLUME {}", text::list(&volumes));
        let known = &mut self.states[at].image.config.volumes;
        known.extend(volumes.into_iter().map(|volume| (volume, Empty {})));
        self.history(at, history, false);
        Ok(())
    }

    fn workdir(&mut self, at: usize, command: &Command, dir: &str) -> Result<(), LowerFailure> {
        self.needs_linux(at, "WORKDIR", command.instruction.span)?;
        let dir = self.expand(at, dir, command.instruction.span)?;
        self.doubt_dir(at, &dir, command.instruction.span);
        let dir = path::normalise(&self.states[at].image.config.working_dir, &dir, false);
        let state = &mut self.states[at];
        state.image.config.working_dir.clone_from(&dir);
        state.dir.clone_from(&dir);
        let with_layer = dir != "/";
        if with_layer {
            let user = state.image.config.user.clone();
            let base = state.fs;
            let make = MakeDir {
                path: dir.clone(),
                mode: 0o755,
                make_parents: true,
                owner: super::copy::owner(&user, base.map(|_| 0)),
                timestamp: self.epoch,
            };
            let file = op::File { base: base.map(|_| 0), actions: vec![FileAction::MakeDir(make)] };
            let step = self.step(at, command, Op::File(file), base.into_iter().collect());
            self.states[at].fs = Some(step);
        }
        self.history(at, format!("WORKDIR {dir}"), with_layer);
        Ok(())
    }

    fn stop_signal(&mut self, at: usize, signal: &str, span: Span) -> Result<(), LowerFailure> {
        let signal = self.expand(at, signal, span)?;
        if !is_signal(&signal) {
            return Err(wrong(
                self.place(span),
                "bad-signal",
                format!("invalid signal: `{signal}`"),
            ));
        }
        self.states[at].image.config.stop_signal.clone_from(&signal);
        self.history(at, format!("STOPSIGNAL {signal}"), false);
        Ok(())
    }
}

/// A number from 1, or the name of a signal of Linux with or without `SIG`.
fn is_signal(text: &str) -> bool {
    const NAMES: &[&str] = &[
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
        "RTMIN", "RTMAX",
    ];
    if let Ok(number) = text.parse::<i32>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, sign: char| {
        name.strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix(sign))
            .and_then(|n| n.parse::<u32>().ok())
            .is_some_and(|n| (1..=15).contains(&n))
    };
    NAMES.contains(&name) || real_time("RTMIN", '+') || real_time("RTMAX", '-')
}
