//! `bakehouse plan`: what the next build would do, and why. Builds nothing.
//!
//! [`plan`] decides, and `build` goes on from there; so what is shown is what is done.
//! `show` prints it, `leave` prints it for other tools.

mod leave;
mod pull;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bakehouse_model::op::{Op, Source};
use bakehouse_model::{Digest, ExitCode, MissReason, StepInfo};
use bakehouse_plan::caches::Cache;
use bakehouse_plan::evaluate::{Decision, Evaluation};
use bakehouse_plan::fleet::{External, Fleet, LoweredFleet};
use bakehouse_plan::graph::{Graph, StepIndex};
use bakehouse_plan::schedule::Schedule;
use bakehouse_plan::slot::Slot;
use bakehouse_registry::Client;
use bakehouse_render::{Cause, CauseStep, Causes};
use bakehouse_store::Store;

use crate::bases::{self, Lookup};
use crate::caches::wishes::Flags;
use crate::caches::{Loaded, Wishes};
use crate::cli::PlanArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::memory::StoreMemory;
use crate::outputs::{Given, Wanted};
use crate::planning::{self, Costs};
use crate::request::Request;
use crate::tags;

pub use pull::Pull;
pub(super) use show::grounds;
pub use show::{Shown, show};

/// What `--exit-code` says when there is work, as `git diff --exit-code` does; it is a wrong
/// command line's code too, which prints no plan.
const WORK: ExitCode = ExitCode::Usage;

/// What the next build would do.
#[derive(Debug)]
pub struct Planned<'g> {
    /// All decisions.
    pub evaluation: Evaluation<'g>,
    /// The wanted images, with the step that makes each.
    pub images: Vec<(String, Option<StepIndex>)>,
    /// When the steps run.
    pub schedule: Schedule,
    /// What each step costs.
    pub costs: Costs,
}

/// What happens to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is there.
    Cached,
    /// It is made anew.
    Rebuilt,
    /// What it stands on must run first; its contents decide.
    Depends,
}

impl Fate {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Rebuilt => "rebuild",
            Self::Depends => "depends",
        }
    }
}

/// Runs the command.
pub fn run(args: &PlanArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let request = Request::read(&args.place, &args.shape, &args.images, cx)?;
    request.refuse_errors()?;
    let given = Given { tags: &args.tag, push: args.push, load: args.load, ..Given::default() };
    let outputs = Wanted::of(given, &request, cx)?;
    let names = tags::names(&request, &outputs)?;
    if args.print_commands || args.print.is_some() {
        return leave::run(args, (&request, &outputs, &names), cx).map(|()| ExitCode::Ok);
    }
    let store = super::open_store(cx)?;
    let client = super::client(&request, &store, cx);
    let memory = StoreMemory::new(store.clone());
    let lookup =
        Lookup { offline: args.offline, ..Lookup::of(&request, &store, &client, Some(&memory)) };
    let lowered = planning::lower(&request, &lookup)?;
    let slots = planning::slots(&store, &lowered.graph)?;
    let loaded = match args.offline {
        true => Arc::default(),
        false => {
            let flags = Flags::new(&args.shape.cache_from, &[], cx);
            caches(&request, flags, &names, (&store, &client))?.1
        }
    };
    let planned = plan(&request, &lowered, (&slots, &memory, &loaded.caches), &store)?;
    memory.keep_stat_caches();
    let shown = Shown {
        planned: &planned,
        request: &request,
        pull: Pull::of(&planned, &store),
        tags: tags::written(&request, &outputs, &names),
    };
    show(&shown, args.format, cx)?;
    let work = !planned.schedule.slots.is_empty();
    Ok(if args.exit_code && work { WORK } else { ExitCode::Ok })
}

/// The caches that a run reads and writes, those to read read.
pub(super) fn caches(
    request: &Request,
    flags: Flags<'_>,
    names: &tags::Names,
    (store, client): (&Store, &Client),
) -> Result<(Wishes, Arc<Loaded>), Failure> {
    let wishes = Wishes::read(request, &flags, names)?;
    let own = request.settings.platform.as_ref().unwrap_or(&request.settings.build_platform);
    let platforms = match request.platforms.as_slice() {
        [] => std::slice::from_ref(own),
        some => some,
    };
    let mut loaded = Loaded::read(&wishes.from, platforms, store, client);
    loaded.notices.extend(wishes.notices.iter().cloned());
    let wanted = request.fleet.images.iter().filter(|image| request.wanted.contains(&image.name));
    let bases = wanted.flat_map(|image| &image.external).map(External::question);
    let indexes = bases.filter_map(|base| bases::index_of(store, &base.name, &base.platform));
    let indexes: BTreeMap<Digest, Digest> = indexes.collect();
    for cache in &mut loaded.caches {
        cache.know_indexes(indexes.clone());
    }
    Ok((wishes, Arc::new(loaded)))
}

/// Decides everything that can be decided without building.
pub fn plan<'g>(
    request: &Request,
    lowered: &'g LoweredFleet,
    (slots, memory, caches): (&'g BTreeMap<String, Slot>, &StoreMemory, &'g [Cache]),
    store: &Store,
) -> Result<Planned<'g>, Failure> {
    let images: Vec<(String, Option<StepIndex>)> =
        lowered.images.iter().map(|image| (image.name.clone(), image.lowered.root)).collect();
    let roots: Vec<StepIndex> = images.iter().filter_map(|(_, root)| *root).collect();
    let mut evaluation = Evaluation::new(&lowered.graph, &roots, slots).with_caches(caches);
    planning::decide(&mut evaluation, memory)?;
    let costs = planning::costs(store, &lowered.graph)?;
    let expected = planning::expected(&evaluation, &roots);
    let schedule = planning::schedule(&lowered.graph, &expected, &costs, request.jobs);
    Ok(Planned { evaluation, images, schedule, costs })
}

impl Planned<'_> {
    /// The steps that this is about.
    pub fn graph(&self) -> &Graph {
        self.evaluation.graph()
    }

    /// Whether a step is expected to run.
    pub fn is_expected(&self, step: StepIndex) -> bool {
        self.schedule.tails.contains_key(&step)
    }

    /// Why a step must run; none if it need not, or if that is not known yet.
    pub fn miss(&self, step: StepIndex) -> Option<&MissReason> {
        match self.evaluation.decision(step) {
            Decision::Run(reason) if self.is_expected(step) => Some(reason),
            _ => None,
        }
    }

    /// What happens to the image that `root` makes.
    pub fn fate(&self, root: Option<StepIndex>) -> Fate {
        let Some(root) = root else { return Fate::Cached };
        match self.evaluation.decision(root) {
            Decision::Hit(_) | Decision::Built(_) | Decision::Import(_) => Fate::Cached,
            Decision::Run(_) => Fate::Rebuilt,
            // What is certain to run below it makes another image, unless it is only copied.
            _ if self.rests_on_work(root) => Fate::Rebuilt,
            _ => Fate::Depends,
        }
    }

    /// Whether a step below `root` must run for sure.
    fn rests_on_work(&self, root: StepIndex) -> bool {
        let steps = self.graph().reach([root]);
        steps.into_iter().any(|step| self.miss(step).is_some())
    }

    /// The steps of an image that are somebody's work: a context is read in place.
    pub fn steps_of(&self, root: Option<StepIndex>) -> BTreeSet<StepIndex> {
        let graph = self.graph();
        let mut own = root.map(|root| graph.reach([root])).unwrap_or_default();
        own.retain(|step| !matches!(graph.step(*step).op, Op::Source(Source::Context(_))));
        own
    }

    /// Every step, as watchers and causes see it.
    pub fn infos(&self) -> Vec<StepInfo> {
        let graph = self.graph();
        let info = |index: StepIndex| {
            let step = graph.step(index);
            StepInfo {
                id: step.id.clone(),
                name: step.origin.name.clone(),
                image: step.origin.image.clone(),
                shared_by: u32::try_from(step.images.len()).unwrap_or(u32::MAX),
                stage: step.origin.stage_position(),
                location: step.origin.location.clone(),
                needs: step.inputs.iter().map(|input| graph.step(*input).id.clone()).collect(),
                cost_ms: self.costs.of(index),
                critical: self.schedule.critical.contains(&index),
                planned: self.is_expected(index),
            }
        };
        graph.indexes().map(info).collect()
    }

    /// The causes among all steps; `infos` are those of [`Self::infos`].
    pub fn causes<'a>(&'a self, infos: &'a [StepInfo]) -> Causes<'a> {
        let steps = self.graph().indexes().zip(infos).map(|(index, info)| CauseStep {
            info,
            miss: self.miss(index),
            runs: self.is_expected(index),
        });
        Causes::new(steps)
    }
}

/// The images that `image` stands on, near and far; of one platform's image, by the fleet's
/// name.
pub fn bases(fleet: &Fleet, image: &str) -> BTreeSet<String> {
    let own = image.split(' ').next().unwrap_or_default().to_owned();
    let mut bases = fleet.with_needs(&BTreeSet::from([own.clone()]));
    bases.remove(&own);
    bases
}

/// A cause as a sentence, with files named from the repository's root.
pub fn sentence(cause: &Cause<'_>, fleet: &Fleet) -> String {
    let own = cause.step.image.split(' ').next().unwrap_or_default();
    cause.sentence(fleet.image(own).and_then(|image| image.folder()))
}
