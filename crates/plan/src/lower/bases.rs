//! What stages start from: images, folders, other images of the fleet, and the triggers
//! that a base brings along.

use std::collections::BTreeSet;

use bakehouse_model::oci::{ImageConfig, Platform};
use bakehouse_model::op::{ContextSource, Op, Source};

use super::stages::{Lowering, Under, config_platform, empty_image, makes_layer};
use super::{Base, BaseQuestion, LowerFailure, wrong};
use crate::dockerfile::{InstructionKind, parse_onbuild_trigger};
use crate::graph::{NewStep, Origin, StepIndex};

/// A stage's commands may trigger commands of its base; nobody nests deeper than this.
const MAX_TRIGGER_ROUNDS: usize = 16;

/// What of an image's configuration goes into what stands on it: what the specification names.
/// Tools have written more into theirs, such as the container that an image was made from.
fn inherited(base: &ImageConfig) -> ImageConfig {
    let mut config = ImageConfig { created: None, ..base.clone() };
    config.extra.retain(|name, _| name == "os.features");
    config.config.extra.clear();
    config
}

impl Lowering<'_> {
    /// Resolves the bases of all that `target` reaches, and fires triggers until none is left.
    pub(super) fn resolve(&mut self, target: usize) -> Result<(), LowerFailure> {
        for _ in 0..MAX_TRIGGER_ROUNDS {
            let reachable = self.reachable(target);
            let mut missing = BTreeSet::new();
            for index in &reachable {
                if !self.states[*index].resolved {
                    missing.extend(self.resolve_base(*index)?);
                }
            }
            if !missing.is_empty() {
                return Err(LowerFailure::Needs(missing.into_iter().collect()));
            }
            let mut fired = false;
            for index in reachable {
                fired |= self.fire_triggers(index)?;
            }
            if !fired {
                return Ok(());
            }
        }
        Err(wrong(None, "onbuild-depth", "ONBUILD triggers lead to ever more triggers"))
    }

    fn resolve_base(&mut self, index: usize) -> Result<Option<BaseQuestion>, LowerFailure> {
        let state = &self.states[index];
        let target_platform = self.target_platform();
        let platform = state.platform.clone().unwrap_or_else(|| target_platform.clone());
        let base = match (state.replaced.clone(), state.under) {
            (Some(base), _) => base,
            (None, Under::Stage(_)) => {
                self.states[index].resolved = true;
                return Ok(None);
            }
            (None, Under::Scratch) => {
                let state = &mut self.states[index];
                state.image = empty_image(&target_platform);
                state.platform = Some(target_platform);
                state.resolved = true;
                state.dispatched = state.unregistered;
                return Ok(None);
            }
            (None, Under::External) => {
                let name = state.base_name.clone();
                match self.bases.named(&name, &platform) {
                    Some(base) => base,
                    None => self.bases.image(&name, &platform),
                }
            }
        };
        self.take_base(index, base, platform)
    }

    fn take_base(
        &mut self,
        index: usize,
        base: Base,
        platform: Platform,
    ) -> Result<Option<BaseQuestion>, LowerFailure> {
        let span = self.states[index].span;
        let (name, via) = (self.states[index].base_name.clone(), self.states[index].via);
        let mut resolved = platform.clone();
        match base {
            Base::Unknown => {
                let known = self.names.keys().map(String::as_str);
                let near = crate::fleet::suggest(&name, known).map(str::to_owned);
                let location = self.place(span);
                return Ok(Some(BaseQuestion { name, platform, location, near, via }));
            }
            Base::Ask(name) => {
                let location = self.place(span);
                return Ok(Some(BaseQuestion { name, platform, location, near: None, via }));
            }
            Base::Scratch => self.states[index].image = empty_image(&platform),
            Base::Guessed => {
                self.states[index].image = empty_image(&platform);
                self.states[index].is_guessed = true;
                // Something must be there, or nothing could be copied from it.
                let (root, ignore) = ("/".to_owned(), Vec::new());
                let op = Op::Source(Source::Context(ContextSource { name, root, ignore }));
                let name = "guessed".to_owned();
                self.states[index].fs = Some(self.add_source(index, op, name, &resolved));
            }
            Base::Refused(why) => return Err(wrong(self.place(span), "base-refused", why)),
            Base::Image(base) => {
                if self.states[index].platform.is_none() && self.request.settings.platform.is_none()
                {
                    resolved = config_platform(&base.config).unwrap_or(platform);
                }
                self.states[index].image = inherited(&base.config);
                if base.source.chain.is_some() {
                    let op = Op::Source(Source::Image(base.source.clone()));
                    let name = format!("FROM {}", base.source.reference.familiar());
                    self.states[index].fs = Some(self.add_source(index, op, name, &resolved));
                }
            }
            Base::Fleet(lowered) => {
                self.states[index].image = lowered.config.clone();
                self.states[index].fs = lowered.root;
                resolved = lowered.platform.clone();
            }
            Base::Context(source) => {
                let name = format!("load context {}", source.name);
                let op = Op::Source(Source::Context(source));
                let context = self.add_source(index, op, name, &platform);
                self.states[index].context = Some(context);
                self.states[index].image = empty_image(&platform);
            }
        }
        let state = &mut self.states[index];
        state.platform = Some(resolved);
        state.resolved = true;
        // What replaces a stage, or is only copied from, has no instructions of its own.
        state.dispatched = state.unregistered || state.replaced.is_some();
        Ok(None)
    }

    fn add_source(&mut self, index: usize, op: Op, name: String, platform: &Platform) -> StepIndex {
        let location = self.place(self.states[index].span);
        self.graph.add(NewStep {
            op,
            inputs: Vec::new(),
            platform: platform.clone(),
            no_cache: false,
            origin: Origin {
                name,
                image: self.request.image.to_owned(),
                stage: String::new(),
                position: (0, 0),
                location,
            },
        })
    }

    /// Puts the triggers of a stage's base before its own instructions; whether there are any
    /// that read another state.
    fn fire_triggers(&mut self, index: usize) -> Result<bool, LowerFailure> {
        if std::mem::replace(&mut self.states[index].triggers_fired, true) {
            return Ok(false);
        }
        if self.states[index].unregistered || self.states[index].replaced.is_some() {
            return Ok(false);
        }
        let mut triggers = std::mem::take(&mut self.states[index].image.config.on_build);
        if let Under::Stage(base) = self.states[index].under {
            triggers.extend(self.states[base].commands.iter().filter_map(|command| {
                match &command.instruction.kind {
                    InstructionKind::OnBuild(trigger) => Some(trigger.expression.clone()),
                    _ => None,
                }
            }));
        }
        let span = self.states[index].span;
        let mut commands = Vec::with_capacity(triggers.len());
        for trigger in &triggers {
            let mut instruction = parse_onbuild_trigger(trigger).map_err(|mut diagnostic| {
                diagnostic.location = self.place(span);
                LowerFailure::Wrong(Box::new(diagnostic))
            })?;
            instruction.span = span;
            commands.push(self.command(instruction, true)?);
        }
        let reads = commands.iter().any(|command| command.sources.iter().any(Option::is_some));
        let layers = commands.iter().filter(|c| makes_layer(&c.instruction.kind)).count();
        let state = &mut self.states[index];
        state.total += u32::try_from(layers).unwrap_or(0);
        state.commands.splice(0..0, commands);
        Ok(reads)
    }
}
