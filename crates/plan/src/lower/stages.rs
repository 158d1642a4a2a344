//! Stages: what stands on what, what is reachable, and what each one starts from.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::Location;
use bakehouse_model::oci::{ImageConfig, Platform};
use bakehouse_model::op::{self, Op};

use super::args::{ArgEnv, global_args};
use super::doubts::Doubts;
use super::{
    Base, Bases, LowerFailure, Lowered, NoCache, Request, Via, system, wrong, wrong_with_help,
};
use crate::dockerfile::words::Lexer;
use crate::dockerfile::{Instruction, InstructionKind, Span, Stage, mount};
use crate::graph::{Graph, NewStep, Origin, StepIndex};

/// Where a span is, for people.
pub(super) fn location(request: &Request<'_>, span: Span) -> Option<Location> {
    Some(span.of(request.file))
}

/// What a stage stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Under {
    Stage(usize),
    Scratch,
    External,
}

/// One instruction to dispatch.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) instruction: Instruction,
    pub(super) on_build: bool,
    /// For COPY, the state it copies from; for RUN, one for each mount that has a `from`.
    pub(super) sources: Vec<Option<usize>>,
}

/// A stage on its way to a file system and a configuration.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// As the Dockerfile calls it; `stage-N` without a name.
    pub(super) name: String,
    /// What `FROM` names.
    pub(super) base_name: String,
    pub(super) span: Span,
    pub(super) platform: Option<Platform>,
    pub(super) commands: Vec<Command>,
    /// Its file system so far.
    pub(super) fs: Option<StepIndex>,
    /// A folder, when it is nothing else.
    pub(super) context: Option<StepIndex>,
    pub(super) image: ImageConfig,
    pub(super) env: ArgEnv,
    pub(super) dir: String,
    pub(super) user: String,
    pub(super) build_args: Vec<(String, Option<String>)>,
    pub(super) cmd_set: bool,
    pub(super) no_cache: bool,
    pub(super) dispatched: bool,
    pub(super) at: u32,
    pub(super) total: u32,
    pub(super) under: Under,
    /// It only stands for an image, a folder or a stage that a command names.
    pub(super) unregistered: bool,
    /// A `--build-context` with the stage's name takes its place.
    pub(super) replaced: Option<Base>,
    pub(super) resolved: bool,
    pub(super) triggers_fired: bool,
    /// What names what it stands on.
    pub(super) via: Via,
    /// A `WORKDIR` of this file has been seen.
    pub(super) has_dir: bool,
    /// What it stands on is not looked up.
    pub(super) is_guessed: bool,
}

/// The lowering of one Dockerfile.
pub(super) struct Lowering<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) graph: &'a mut Graph,
    pub(super) globals: ArgEnv,
    pub(super) lexer: Lexer,
    pub(super) epoch: Option<i64>,
    pub(super) states: Vec<State>,
    pub(super) context: Option<StepIndex>,
    pub(super) bases: &'a dyn Bases,
    /// Stages by lower-case name, the last of that name.
    pub(super) names: BTreeMap<String, usize>,
    pub(super) doubts: Doubts,
    externals: BTreeMap<String, usize>,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(
        request: &'a Request<'a>,
        bases: &'a dyn Bases,
        graph: &'a mut Graph,
    ) -> Result<Self, LowerFailure> {
        if request.dockerfile.stages.is_empty() {
            return Err(wrong(
                location(request, Span::line(1)),
                "no-stages",
                "the Dockerfile has no stages to build",
            ));
        }
        let globals = global_args(request)?;
        let mut lowering = Self {
            lexer: Lexer::new(request.dockerfile.escape),
            epoch: epoch(request, &globals)?,
            request,
            graph,
            globals,
            states: Vec::new(),
            context: None,
            bases,
            names: BTreeMap::new(),
            doubts: Doubts::new(request),
            externals: BTreeMap::new(),
        };
        for (index, stage) in request.dockerfile.stages.iter().enumerate() {
            lowering.add_stage(index, stage)?;
        }
        for index in 0..request.dockerfile.stages.len() {
            lowering.link_commands(index)?;
        }
        lowering.check_cycles()?;
        Ok(lowering)
    }

    /// The stage that is wanted.
    pub(super) fn target(&self) -> Result<usize, LowerFailure> {
        let stages = self.request.dockerfile.stages.len();
        let Some(name) = self.request.target.filter(|name| !name.is_empty()) else {
            return Ok(stages - 1);
        };
        let by_number = || name.parse::<usize>().ok().filter(|index| *index < stages);
        self.names.get(&name.to_lowercase()).copied().or_else(by_number).ok_or_else(|| {
            let known: Vec<&str> = self.names.keys().map(String::as_str).collect();
            wrong_with_help(
                Some(Location::file(self.request.file.to_owned())),
                "unknown-target",
                format!("target stage `{name}` could not be found"),
                format!("the stages are: {}", known.join(", ")),
            )
        })
    }

    pub(super) fn place(&self, span: Span) -> Option<Location> {
        location(self.request, span)
    }

    fn word(&self, word: &str, env: &ArgEnv, span: Span) -> Result<String, LowerFailure> {
        match self.lexer.expand(word, env) {
            Ok(expanded) => Ok(expanded.text),
            Err(error) => Err(wrong(self.place(span), "bad-word", error.to_string())),
        }
    }

    fn add_stage(&mut self, index: usize, stage: &Stage) -> Result<(), LowerFailure> {
        let base_name = self.word(&stage.base, &self.globals, stage.span)?;
        if base_name.is_empty() {
            return Err(wrong_with_help(
                self.place(stage.span),
                "blank-base",
                format!("base name (`{}`) should not be blank", stage.base),
                "give the ARG in it a default, or pass it with --build-arg",
            ));
        }
        let platform = self.stage_platform(stage)?;
        let target_platform = self.target_platform();
        let mut state = State::new(&base_name, stage.span);
        state.name = stage.written_name.clone().unwrap_or_else(|| format!("stage-{index}"));
        if self.request.dockerfile.stages.len() == 1 {
            state.name = String::new();
        }
        state.no_cache = self.is_uncached(stage);
        if let Some(name) = &stage.written_name {
            let wanted = platform.clone().unwrap_or(target_platform);
            state.replaced = self.bases.named(name, &wanted);
        }
        state.platform = platform;
        // Names of stages are kept in small letters, and `FROM` takes them as they are written.
        state.under = match self.names.get(&base_name) {
            Some(base) if state.replaced.is_none() => Under::Stage(*base),
            None if base_name == "scratch" && state.replaced.is_none() => Under::Scratch,
            _ => Under::External,
        };
        let steps = stage.instructions.iter().filter(|i| makes_layer(&i.kind)).count();
        state.total =
            u32::try_from(steps).unwrap_or(u32::MAX) + u32::from(state.under == Under::External);
        // The base itself is the first step of a stage.
        state.at = u32::from(state.under == Under::External);
        self.states.push(state);
        if let Some(name) = &stage.name {
            self.names.insert(name.clone(), index);
        }
        Ok(())
    }

    fn is_uncached(&self, stage: &Stage) -> bool {
        match &self.request.settings.no_cache {
            NoCache::Nothing => false,
            NoCache::Everything => true,
            NoCache::Stages(stages) => {
                let named = |name: &String| stages.iter().any(|s| s.eq_ignore_ascii_case(name));
                stage.name.as_ref().is_some_and(named)
            }
        }
    }

    fn stage_platform(&self, stage: &Stage) -> Result<Option<Platform>, LowerFailure> {
        let Some(raw) = &stage.platform else { return Ok(None) };
        let text = self.word(raw, &self.globals, stage.span)?;
        if text.is_empty() {
            return Err(wrong(
                self.place(stage.span),
                "blank-platform",
                format!("empty platform value from expression `{raw}`"),
            ));
        }
        let parsed = text.parse::<Platform>();
        parsed.map(Some).map_err(|e| wrong(self.place(stage.span), "bad-platform", e.to_string()))
    }

    pub(super) fn target_platform(&self) -> Platform {
        let settings = self.request.settings;
        settings.platform.clone().unwrap_or_else(|| settings.build_platform.clone())
    }

    /// Finds out which states the commands of a stage read.
    fn link_commands(&mut self, index: usize) -> Result<(), LowerFailure> {
        if self.states[index].replaced.is_some() {
            return Ok(());
        }
        let instructions = &self.request.dockerfile.stages[index].instructions;
        let commands: Result<Vec<Command>, LowerFailure> =
            instructions.iter().map(|i| self.command(i.clone(), false)).collect();
        self.states[index].commands = commands?;
        Ok(())
    }

    pub(super) fn command(
        &mut self,
        instruction: Instruction,
        on_build: bool,
    ) -> Result<Command, LowerFailure> {
        let span = instruction.span;
        let sources = match &instruction.kind {
            InstructionKind::Copy(copy) => match &copy.from {
                Some(from) => vec![Some(self.source(from, span)?)],
                None => vec![None],
            },
            InstructionKind::Run(run) => {
                run.mounts.iter().map(|mount| self.mount_source(mount, span)).collect()
            }
            _ => Vec::new(),
        };
        Ok(Command { instruction, on_build, sources })
    }

    fn mount_source(&mut self, csv: &str, span: Span) -> Option<usize> {
        // A mount's `from` is looked up before variables are known, as BuildKit does.
        mount::mount_from(csv).map(|from| self.named_source(&from, span, Via::Mount))
    }

    fn source(&mut self, from: &str, span: Span) -> Result<usize, LowerFailure> {
        if let Ok(number) = from.parse::<i64>() {
            let index = usize::try_from(number).ok().filter(|i| *i < self.states.len());
            return index.ok_or_else(|| {
                wrong(self.place(span), "unknown-stage", format!("invalid stage index {number}"))
            });
        }
        Ok(self.named_source(from, span, Via::CopyFrom))
    }

    fn named_source(&mut self, from: &str, span: Span, via: Via) -> usize {
        if let Some(index) = self.names.get(&from.to_lowercase()) {
            return *index;
        }
        if let Some(index) = self.externals.get(from) {
            return *index;
        }
        let mut state = State::new(from, span);
        state.name = from.to_owned();
        state.unregistered = true;
        state.via = via;
        state.under = if from == "scratch" { Under::Scratch } else { Under::External };
        self.states.push(state);
        self.externals.insert(from.to_owned(), self.states.len() - 1);
        self.states.len() - 1
    }

    fn needs(&self, index: usize) -> Vec<usize> {
        let state = &self.states[index];
        let base = match state.under {
            Under::Stage(base) => Some(base),
            _ => None,
        };
        base.into_iter()
            .chain(state.commands.iter().flat_map(|c| c.sources.iter().flatten().copied()))
            .collect()
    }

    pub(super) fn reachable(&self, target: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut stack = vec![target];
        while let Some(index) = stack.pop() {
            if reached.insert(index) {
                stack.extend(self.needs(index));
            }
        }
        reached
    }

    fn check_cycles(&self) -> Result<(), LowerFailure> {
        for index in 0..self.states.len() {
            if self.needs(index).iter().any(|need| self.reachable(*need).contains(&index)) {
                let state = &self.states[index];
                let stage = self.request.dockerfile.stages.get(index);
                let name = stage.and_then(|stage| stage.written_name.as_ref());
                let name = name.unwrap_or(&state.name);
                return Err(wrong_with_help(
                    self.place(state.span),
                    "stage-cycle",
                    format!("circular dependency detected on stage: `{name}`"),
                    "a stage may copy only from stages above it",
                ));
            }
        }
        Ok(())
    }

    /// Runs through the instructions of all that `target` reaches.
    pub(super) fn dispatch(&mut self, target: usize) -> Result<(), LowerFailure> {
        let reachable = self.reachable(target);
        for index in reachable.iter().copied() {
            if self.states[index].dispatched {
                continue;
            }
            self.start(index);
            for command in self.states[index].commands.clone() {
                self.instruction(index, &command)?;
            }
            // Only now, so that a stage that copies from itself or from a later one is seen.
            self.states[index].dispatched = true;
        }
        let labels = &self.request.settings.labels;
        self.states[target].image.config.labels.extend(labels.clone());
        Ok(())
    }

    /// Takes over what the base has.
    fn start(&mut self, index: usize) {
        if let Under::Stage(base) = self.states[index].under
            && self.states[index].replaced.is_none()
        {
            let base = self.states[base].clone();
            let state = &mut self.states[index];
            state.fs = base.fs;
            state.context = base.context;
            state.platform = base.platform;
            state.image = base.image;
            state.image.config.on_build.clear();
            state.build_args.extend(base.build_args);
            state.env = base.env;
            state.has_dir = base.has_dir;
            state.is_guessed = base.is_guessed;
        }
        self.materialise(index);
        let target_platform = self.target_platform();
        let state = &mut self.states[index];
        let platform = state.platform.get_or_insert(target_platform);
        let config = &mut state.image.config;
        system::add_path(config, platform);
        for line in &config.env {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            state.env.set(name, value);
        }
        if !config.working_dir.is_empty() && platform.os == "linux" {
            let dir = super::path::normalise(&config.working_dir, &config.working_dir, false);
            config.working_dir.clone_from(&dir);
            state.dir = dir;
        }
        state.user.clone_from(&config.user);
    }

    /// Copies a folder that a stage stands on into a file system.
    fn materialise(&mut self, index: usize) {
        let Some(context) = self.states[index].context.take() else { return };
        let platform =
            self.states[index].platform.clone().unwrap_or_else(|| self.target_platform());
        let copy = op::Copy { dir_copy_contents: true, ..op::Copy::plain(0, "/", "/") };
        let op = Op::File(op::File { base: None, actions: vec![op::FileAction::Copy(copy)] });
        let name = format!("FROM {}", self.states[index].base_name);
        let location = self.place(self.states[index].span);
        let origin = Origin {
            name,
            image: self.request.image.to_owned(),
            stage: self.states[index].name.clone(),
            position: (0, 0),
            location,
        };
        let new = NewStep { op, inputs: vec![context], platform, no_cache: false, origin };
        self.states[index].fs = Some(self.graph.add(new));
    }

    /// The result.
    pub(super) fn finish(mut self, target: usize) -> Lowered {
        self.materialise(target);
        let state = &mut self.states[target];
        let mut config = std::mem::take(&mut state.image);
        if let Some(wanted) = &self.request.settings.platform {
            let same = wanted.os == config.os && wanted.architecture == config.architecture;
            config.os.clone_from(&wanted.os);
            config.architecture.clone_from(&wanted.architecture);
            if wanted.variant.is_some() || !same {
                config.variant = wanted.variant.clone().unwrap_or_default();
            }
            if wanted.os_version.is_some() || !same {
                config.os_version = wanted.os_version.clone().unwrap_or_default();
            }
        }
        let platform = config_platform(&config)
            .unwrap_or_else(|| self.request.settings.build_platform.clone());
        config.os.clone_from(&platform.os);
        config.architecture.clone_from(&platform.architecture);
        config.variant = platform.variant.clone().unwrap_or_default();
        if let Some(root) = state.fs {
            self.graph.claim(self.request.image, root);
        }
        let doubts = self.doubts.into_diagnostics(self.request.file);
        Lowered { root: state.fs, config, platform, epoch: self.epoch, doubts }
    }
}

impl State {
    fn new(base_name: &str, span: Span) -> Self {
        Self {
            name: String::new(),
            base_name: base_name.to_owned(),
            span,
            platform: None,
            commands: Vec::new(),
            fs: None,
            context: None,
            image: ImageConfig::default(),
            env: ArgEnv::default(),
            dir: "/".to_owned(),
            user: String::new(),
            build_args: Vec::new(),
            cmd_set: false,
            no_cache: false,
            dispatched: false,
            at: 0,
            total: 0,
            under: Under::External,
            unregistered: false,
            replaced: None,
            resolved: false,
            triggers_fired: false,
            via: Via::From,
            has_dir: false,
            is_guessed: false,
        }
    }
}

pub(super) fn makes_layer(kind: &InstructionKind) -> bool {
    matches!(
        kind,
        InstructionKind::Run(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Add(_)
            | InstructionKind::Workdir(_)
    )
}

/// The configuration of `scratch`.
pub(super) fn empty_image(platform: &Platform) -> ImageConfig {
    ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        os_version: platform.os_version.clone().unwrap_or_default(),
        variant: platform.variant.clone().unwrap_or_default(),
        config: system::empty_config(platform),
        ..ImageConfig::default()
    }
}

pub(super) fn config_platform(config: &ImageConfig) -> Option<Platform> {
    if config.os.is_empty() || config.architecture.is_empty() {
        return None;
    }
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    Some(
        Platform {
            os: config.os.clone(),
            architecture: config.architecture.clone(),
            variant: some(&config.variant),
            os_version: some(&config.os_version),
        }
        .normalised(),
    )
}

/// `SOURCE_DATE_EPOCH`, from a build arg or a global ARG.
fn epoch(request: &Request<'_>, globals: &ArgEnv) -> Result<Option<i64>, LowerFailure> {
    let given = request.settings.build_args.get("SOURCE_DATE_EPOCH").map(String::as_str);
    match given.or_else(|| globals.value("SOURCE_DATE_EPOCH")).filter(|text| !text.is_empty()) {
        None => Ok(None),
        // A folder has no time of its own.
        Some("context") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            wrong_with_help(
                None,
                "bad-epoch",
                format!("invalid SOURCE_DATE_EPOCH: `{text}`"),
                "give it as seconds since 1970",
            )
        }),
    }
}
