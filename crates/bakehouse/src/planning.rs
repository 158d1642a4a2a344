//! From a request to a decided graph: the stages that `build`, `plan` and `why` share.
//!
//! 1. Bases are looked up until every image is lowered (a base's triggers may name more).
//! 2. What the store remembers answers the evaluation's questions, as far as that goes.
//! 3. Costs of earlier runs and what must run make the schedule.
//!
//! Nothing is built and nothing is written but what looking up fetched.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::oci::Platform;
use bakehouse_model::op::{Op, Source};
use bakehouse_model::{Diagnostic, Severity};
use bakehouse_plan::evaluate::{Decision, Evaluation, Question};
use bakehouse_plan::fleet::{self, External, Known, LoweredFleet};
use bakehouse_plan::graph::{Graph, Step, StepIndex};
use bakehouse_plan::lower::{Base, BaseQuestion};
use bakehouse_plan::schedule::{self, Schedule};
use bakehouse_plan::slot::Slot;
use bakehouse_run::Memory;
use bakehouse_store::Store;

use crate::bases::Lookup;
use crate::failure::{Failure, Kind};
use crate::memory::StoreMemory;
use crate::request::{NamedContext, Request};

/// A base may have triggers that name bases that have triggers; nobody nests deeper.
const MAX_ROUNDS: usize = 8;

/// Every wanted image, lowered.
pub fn lower(request: &Request, lookup: &Lookup<'_>) -> Result<LoweredFleet, Failure> {
    let lowered = lower_with_mistakes(request, lookup)?;
    if lowered.diagnostics.iter().any(|d| d.severity == Severity::Error) {
        return Err(refused(lowered.diagnostics));
    }
    Ok(lowered)
}

/// The same; images that are wrong are missing, and among the diagnostics is why.
pub fn lower_with_mistakes(
    request: &Request,
    lookup: &Lookup<'_>,
) -> Result<LoweredFleet, Failure> {
    let mut known = Known { roots: request.contexts()?, ..Known::default() };
    if let Some(memory) = lookup.memory {
        memory.look_ahead(request.copied(&known.roots));
    }
    let local = contexts(request, lookup, &mut known)?;
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    // Most bases are known from the graph already, and are looked up before anything is lowered.
    let wanted = request.fleet.images.iter().filter(|image| request.wanted.contains(&image.name));
    let written: Vec<BaseQuestion> = wanted
        .flat_map(|image| &image.external)
        .map(External::question)
        .filter(|question| question.name != "scratch")
        .collect();
    known.images.extend(lookup.all(&written, &mut diagnostics));
    for _ in 0..MAX_ROUNDS {
        let settings = (&request.settings, request.platforms.as_slice());
        let wanted = (&request.wanted, &request.named);
        let lowered = fleet::lower_needed(&request.fleet, wanted, settings, &known);
        let questions: Vec<_> = lowered
            .needs
            .iter()
            .filter(|need| !known.images.contains_key(&(need.name.clone(), need.platform.clone())))
            .cloned()
            .collect();
        if questions.is_empty() {
            diagnostics.extend(lowered.diagnostics.iter().cloned());
            // What a look-up has said already is not said again for each place.
            diagnostics.retain(|d| d.code != "base-refused" || !said(&lowered, &known, d));
            diagnostics.sort();
            diagnostics.dedup();
            let warnings = diagnostics.into_iter().chain(foreign_bases(&known));
            return Ok(LoweredFleet { diagnostics: warnings.collect(), ..lowered });
        }
        let (local_ones, elsewhere): (Vec<_>, Vec<_>) =
            questions.into_iter().partition(|question| local.contains_key(&question.name));
        for BaseQuestion { name, platform, .. } in local_ones {
            let (called, context) = &local[&name];
            let base = lookup.context(called, context, &platform)?;
            known.images.insert((name, platform), base);
        }
        known.images.extend(lookup.all(&elsewhere, &mut diagnostics));
    }
    Err(Failure::new(Kind::Input, "bases lead to ever more bases"))
}

/// Makes known what contexts are; gives those that are an image for each platform, by their
/// address, with what they are called.
fn contexts(
    request: &Request,
    lookup: &Lookup<'_>,
    known: &mut Known,
) -> Result<BTreeMap<String, (String, NamedContext)>, Failure> {
    let platform = request.settings.platform.as_ref().unwrap_or(&request.settings.build_platform);
    let mut local = BTreeMap::new();
    let mut base = |name: &str, context: &NamedContext| {
        let Some(address) = context.address() else {
            return lookup.context(name, context, platform);
        };
        local.insert(address.clone(), (name.to_owned(), context.clone()));
        Ok(Base::Ask(address))
    };
    for (name, context) in &request.named_contexts {
        known.contexts.insert(name.clone(), base(name, context)?);
    }
    for (key, context) in request.own_contexts()? {
        let found = base(&key.1, &context)?;
        known.own_contexts.insert(key, found);
    }
    // Without other platforms it is this one that will be asked for.
    if request.platforms.is_empty() {
        for (address, (name, context)) in &local {
            let found = lookup.context(name, context, platform)?;
            known.images.insert((address.clone(), platform.clone()), found);
        }
    }
    Ok(local)
}

/// Bases that are for another platform than the one that was asked for: a registry that has
/// only one gives that one.
fn foreign_bases(known: &Known) -> Vec<Diagnostic> {
    let foreign = known.images.iter().filter_map(|((name, platform), base)| {
        let Base::Image(base) = base else { return None };
        let own = Platform {
            os: base.config.os.clone(),
            architecture: base.config.architecture.clone(),
            variant: Some(base.config.variant.clone()).filter(|v| !v.is_empty()),
            os_version: None,
        };
        if own.os.is_empty() || own.distance(platform).is_some() {
            return None;
        }
        Some(Diagnostic {
            location: None,
            severity: Severity::Warning,
            code: "base-platform".to_owned(),
            message: format!("the base `{name}` is for {own}, and {platform} was asked for"),
            help: Some("choose a base that has the platform".to_owned()),
        })
    });
    foreign.collect()
}

fn said(_: &LoweredFleet, known: &Known, diagnostic: &Diagnostic) -> bool {
    known
        .images
        .values()
        .any(|base| matches!(base, Base::Refused(why) if *why == diagnostic.message))
}

/// Bases that can't be had are the environment's fault, mistakes the author's.
fn refused(diagnostics: Vec<Diagnostic>) -> Failure {
    let only_bases = diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .all(|d| d.code == "base-not-found");
    let mut failure = Failure::input(diagnostics);
    if only_bases {
        failure.kind = Kind::Environment;
        failure.causes = vec!["a base image cannot be had".to_owned()];
    }
    failure
}

/// What the last run saw at each place of `graph`.
pub fn slots(store: &Store, graph: &Graph) -> Result<BTreeMap<String, Slot>, Failure> {
    let names: Vec<String> = graph.steps().iter().flat_map(|step| step.slots()).collect();
    let mut slots = BTreeMap::new();
    for (name, text) in store.slots(&names)? {
        // A slot of another version says nothing; the reason is then «never built».
        if let Some(slot) = Slot::decode(text) {
            slots.insert(name, slot);
        }
    }
    Ok(slots)
}

/// Decides as much as the store can tell without building anything.
pub fn decide(evaluation: &mut Evaluation<'_>, memory: &StoreMemory) -> Result<(), Failure> {
    loop {
        let questions = evaluation.advance();
        if questions.is_empty() {
            return Ok(());
        }
        for question in questions {
            match question {
                Question::Records(keys) => evaluation.remember(&memory.records(&keys)?),
                Question::Content { step, input, output, selections } => {
                    let contents = memory
                        .contents(&output, &selections)
                        .map_err(|error| at(error.into(), evaluation.graph().step(step)))?;
                    evaluation.content(step, input, contents);
                }
            }
        }
    }
}

/// A failure at an instruction names its place.
fn at(failure: Failure, step: &Step) -> Failure {
    if failure.kind != Kind::Input {
        return failure;
    }
    Failure::input(vec![Diagnostic {
        location: step.origin.location.clone(),
        severity: Severity::Error,
        code: "missing-input".to_owned(),
        message: format!("`{}`: {}", step.origin.name, failure.causes.join(": ")),
        help: failure.hints.first().cloned(),
    }])
}

/// Steps that are expected to run: those that must, and those that cannot be known yet.
pub fn expected(evaluation: &Evaluation<'_>, roots: &[StepIndex]) -> BTreeSet<StepIndex> {
    let graph = evaluation.graph();
    let mut expected = BTreeSet::new();
    let mut stack: Vec<StepIndex> = roots.to_vec();
    let mut seen = BTreeSet::new();
    while let Some(step) = stack.pop() {
        let in_place = matches!(graph.step(step).op, Op::Source(Source::Context(_)));
        if in_place || !seen.insert(step) {
            continue;
        }
        match evaluation.decision(step) {
            Decision::Run(_) | Decision::Open => {
                expected.insert(step);
                stack.extend(graph.step(step).inputs.iter().copied());
            }
            Decision::Hit(_) | Decision::Import(_) | Decision::Built(_) | Decision::Failed => {}
        }
    }
    expected
}

/// What each step costs.
#[derive(Debug, Clone, Default)]
pub struct Costs {
    /// Milliseconds: as long as it took last time, else as its kind does.
    pub ms: BTreeMap<StepIndex, u64>,
    /// Steps of which no earlier run is known.
    pub guessed: BTreeSet<StepIndex>,
}

impl Costs {
    /// What one step costs.
    pub fn of(&self, step: StepIndex) -> u64 {
        self.ms.get(&step).copied().unwrap_or(0)
    }
}

/// What each step costs, from the store's history.
pub fn costs(store: &Store, graph: &Graph) -> Result<Costs, Failure> {
    let names: Vec<String> = graph.steps().iter().map(|step| step.origin.slot()).collect();
    let known = store.costs(&names)?;
    let mut costs = Costs::default();
    for (index, name) in graph.indexes().zip(&names) {
        let ms = known.get(name).copied();
        if ms.is_none() {
            costs.guessed.insert(index);
        }
        costs.ms.insert(index, ms.unwrap_or_else(|| schedule::default_cost_ms(graph.step(index))));
    }
    Ok(costs)
}

/// When the expected steps run.
pub fn schedule(
    graph: &Graph,
    expected: &BTreeSet<StepIndex>,
    costs: &Costs,
    workers: usize,
) -> Schedule {
    schedule::schedule(graph, expected, &|step| costs.of(step), workers)
}
