//! `bakehouse build`: the main job.
//!
//! 1. [`Request::read`]: flags, environment and Dockerfiles, once.
//! 2. [`planning::lower`]: bases are looked up, every image becomes steps of one graph.
//! 3. [`super::plan::plan`]: what the store remembers decides what must run, and when.
//! 4. `execute`: steps run, images are finished and go where they are wanted.
//! 5. `report`: the summary, from the events alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bakehouse_engine::sandbox::{self, Sandbox, SandboxConfig};
use bakehouse_model::{Diagnostic, EventKind, ExitCode, ImageInfo, Severity};
use bakehouse_plan::attest::{self, Invocation};
use bakehouse_plan::evaluate::Decision;
use bakehouse_plan::fleet::{LoweredFleet, LoweredImage, Options};
use bakehouse_plan::graph::StepIndex;
use bakehouse_plan::slot::Slot;
use bakehouse_registry::Client;
use bakehouse_render::{Progress, failure as failures, summary};
use bakehouse_run::dispatch::Doors;
use bakehouse_run::{Outcomes, Run};
use bakehouse_store::Store;
use serde_json::{Value, json};

use super::plan::{Planned, Pull, Shown, caches, plan, show};
use crate::backends::{Emulators, EngineBackend, Secrets, SshAgents, Straight};
use crate::bases::Lookup;
use crate::broadcast::{Broadcast, watchers};
use crate::caches::Wishes;
use crate::caches::export::Exporter;
use crate::caches::wishes::Flags;
use crate::cli::{BuildArgs, Format, ProgressMode};
use crate::context::{Context, now_ms};
use crate::failure::{Failure, Kind};
use crate::finish::{self, Finisher, Made};
use crate::keep::Keep;
use crate::limits::Limits;
use crate::memory::StoreMemory;
use crate::outputs::{Given, Wanted};
use crate::planning;
use crate::remote;
use crate::request::{self, Request};
use crate::tags::{self, Names};

/// What was built, for whoever builds on it.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub exit: ExitCode,
    /// What the events add up to.
    pub progress: Progress,
    /// The images that were made.
    pub made: BTreeMap<String, Made>,
    /// Whether an output took standard output.
    pub takes_stdout: bool,
}

/// Runs the command.
pub fn run(args: &BuildArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    if args.print {
        return print_bake(args, cx);
    }
    // What is brought here is gone when this ends.
    let (args, _brought) = remote::bring(args, cx)?;
    let args = &args;
    if args.check || args.call.is_some() {
        return super::call::run(args, cx);
    }
    let request = Request::read(&args.place, &args.shape, &args.images, cx)?;
    request.refuse_errors()?;
    let done = build(&request, args, cx)?;
    let Some(done) = done else { return Ok(ExitCode::Ok) };
    report(&request, args, &done, cx)?;
    settle(cx);
    Ok(done.exit)
}

/// `--print`: what bake would build, as bake prints it.
fn print_bake(args: &BuildArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let files = request::bake_files(&args.place, cx)?;
    let settings = request::bake_settings(&args.place, cx)?;
    let env = |name: &str| cx.env.get(name).cloned();
    let bake = crate::sources::evaluate(&files, &env, &settings);
    let resolved = bake.resolve(&args.images, &settings.sets).map_err(Failure::input)?;
    let json = resolved.to_json();
    super::print_json(cx, &json)?;
    Ok(ExitCode::Ok)
}

/// Makes what was built survive a crash of the machine, after everybody has the answer. What
/// cannot be made sure of now is built again after such a crash.
fn settle(cx: &Context) {
    if let Ok(store) = super::open_store(cx) {
        drop(store.sync());
    }
}

/// Builds what `request` wants; none if it was only to be shown.
pub fn build(
    request: &Request,
    args: &BuildArgs,
    cx: &mut Context,
) -> Result<Option<Done>, Failure> {
    let outputs = Wanted::of(Given::from(args), request, cx)?;
    let references = tags::names(request, &outputs)?;
    let own = |of: fn(&Options) -> &Vec<String>| request.specs(of);
    let secrets = Secrets::parse(&[own(|o| &o.secrets), args.secret.clone()].concat(), cx)?;
    let ssh = SshAgents::parse(&[own(|o| &o.ssh), args.ssh.clone()].concat(), cx)?;
    let emulators = Emulators::parse(&args.emulator, cx)?;
    let store = super::open_store(cx)?;
    let lease = store.lease()?;
    let client = super::client(request, &store, cx);
    let memory = Arc::new(StoreMemory::new(store.clone()));
    let lookup = Lookup::of(request, &store, &client, Some(&memory));
    let lowered = planning::lower(request, &lookup)?;
    let slots = planning::slots(&store, &lowered.graph)?;
    let flags = Flags::new(&args.shape.cache_from, &args.cache_to, cx);
    let (wishes, loaded) = caches(request, flags, &references, (&store, &client))?;
    let mut planned = plan(request, &lowered, (&slots, &memory, &loaded.caches), &store)?;
    if args.dry_run {
        let tags = tags::written(request, &outputs, &references);
        let pull = Pull::of(&planned, &store);
        show(&Shown { planned: &planned, request, pull, tags }, args.format, cx)?;
        return Ok(None);
    }
    outputs.refuse_annotations(&lowered, &request.named)?;
    let finisher = finisher(request, &lowered, (outputs, &references), (&store, &client), cx);
    let cancel = cancel(cx)?;
    let (sandbox, limits, unkept) = sandbox(request, args)?;
    let backend = EngineBackend {
        store: store.clone(),
        memory: Arc::clone(&memory),
        sandbox,
        client: client.clone(),
        secrets,
        ssh,
        fetched: Arc::clone(&finisher.fetched),
        emulators,
        limits: limits.step,
        loaded: Arc::clone(&loaded),
        straight: Straight::of(&lowered.graph, finisher.packing()),
        cancel,
    };
    let mut watchers = watchers(args.progress, cx.is_terminal, cx.style());
    watchers.add(Keep::new(store.clone(), request.root.clone(), now_ms()));
    let broadcast = Broadcast::start(watchers);
    let tell = broadcast.teller();
    tell(started(request, &planned, &lowered, &references));
    let noticed = unkept.iter().chain(&request.fleet.diagnostics).chain(&lowered.diagnostics);
    notice(noticed.chain(&loaded.notices), &tell);
    let wanted = (request, wishes.inline(request, &lowered));
    bakehouse_engine::allocator::give_back_at_once();
    let outcomes = execute(&mut planned, (&backend, &memory, &finisher), wanted, &tell, cx);
    remember(&store, &memory, &planned, &outcomes);
    let exit = export(&store, &finisher, outcomes.exit, &tell);
    let exporter = Exporter { store: &store, client: &client, loaded: &loaded, emit: &tell };
    let exit = write_caches(&exporter, &wishes, (&planned, &lowered), exit);
    tell(EventKind::RunFinished { exit });
    drop(tell);
    let progress = broadcast.finish();
    drop(lease);
    let takes_stdout = finisher.wanted.takes_stdout();
    Ok(Some(Done { exit, progress, made: finisher.made(), takes_stdout }))
}

/// Where steps run, what each may use, and which limits this machine does not keep.
fn sandbox(
    request: &Request,
    args: &BuildArgs,
) -> Result<(Sandbox, Limits, Option<Diagnostic>), Failure> {
    let limits = Limits::of(&args.limits, &request.config)?;
    let mut sandbox = Sandbox::new(SandboxConfig::default());
    let unkept = limits.apply_to(&mut sandbox)?;
    Ok((sandbox, limits, unkept))
}

/// What kills the steps when the user wants to stop.
fn cancel(cx: &Context) -> Result<sandbox::Cancel, Failure> {
    let cancel = sandbox::Cancel::new()
        .map_err(|error| Failure::doing(Kind::Environment, "prepare the run", &error))?;
    crate::signals::watch(cx.cancel.clone(), cancel.clone());
    Ok(cancel)
}

fn notice<'a>(all: impl Iterator<Item = &'a Diagnostic>, tell: &impl Fn(EventKind)) {
    for diagnostic in all {
        tell(EventKind::Noticed { diagnostic: diagnostic.clone() });
    }
}

fn finisher(
    request: &Request,
    lowered: &LoweredFleet,
    (wanted, references): (Wanted, &Names),
    (store, client): (&Store, &Client),
    cx: &Context,
) -> Finisher {
    let plans: BTreeMap<String, finish::Plan> = lowered
        .images
        .iter()
        .enumerate()
        .map(|(order, image)| {
            let plan = finish::Plan {
                lowered: Arc::clone(&image.lowered),
                image: image.image.clone(),
                order,
                references: references.get(&image.image).cloned().unwrap_or_default(),
                named: request.named.contains(&image.image),
                provenance: provenance(request, lowered, image, &wanted),
            };
            (image.name.clone(), plan)
        })
        .collect();
    Finisher::new(store.clone(), client.clone(), wanted, plans, finish::engine_address(cx))
}

/// What is to be said of how an image was made, if somebody wants to know.
fn provenance(
    request: &Request,
    lowered: &LoweredFleet,
    image: &LoweredImage,
    wanted: &Wanted,
) -> Option<Value> {
    let asked = wanted.image(&image.image).attests.provenance.as_ref()?;
    let own = request.fleet.image(&image.image)?;
    let settings = own.settings(&request.settings);
    let text = request.text(&own.file).unwrap_or_default();
    let file = shown_file(&request.root, &own.file);
    Some(attest::provenance(&Invocation {
        graph: &lowered.graph,
        root: image.lowered.root,
        mode: asked.mode,
        builder: &asked.builder,
        reproducible: asked.reproducible,
        file: &file,
        text: &text,
        target: own.target.as_deref(),
        args: &settings.build_args,
        labels: &settings.labels,
        builder_platform: &settings.build_platform,
    }))
}

/// A Dockerfile's path for others to see: where the machine has the repository is nobody's
/// business.
fn shown_file(root: &std::path::Path, file: &str) -> String {
    let path = std::path::Path::new(file);
    let goes_up = path.components().any(|part| part == std::path::Component::ParentDir);
    if path.is_relative() && !goes_up {
        return file.to_owned();
    }
    let inside = path.strip_prefix(root).ok().filter(|_| !goes_up);
    let shown = inside.or(path.file_name().map(std::path::Path::new)).unwrap_or(path);
    shown.to_string_lossy().into_owned()
}

/// The first event: everything a watcher needs to know beforehand.
fn started(
    request: &Request,
    planned: &Planned<'_>,
    lowered: &LoweredFleet,
    references: &Names,
) -> EventKind {
    let graph = &lowered.graph;
    let images = lowered.images.iter().map(|image| ImageInfo {
        name: image.name.clone(),
        references: references
            .get(&image.image)
            .map(|own| own.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        step: image.lowered.root.map(|root| graph.step(root).id.clone()),
        needs: request
            .fleet
            .image(&image.image)
            .map(|image| image.needs.iter().map(|edge| edge.image.clone()).collect())
            .unwrap_or_default(),
    });
    EventKind::RunStarted {
        version: bakehouse_model::Event::VERSION,
        steps: planned.infos(),
        images: images.collect(),
        workers: u32::try_from(request.jobs).unwrap_or(u32::MAX),
        makespan_ms: planned.schedule.makespan_ms,
        critical_path_ms: planned.schedule.critical_path_ms,
    }
}

fn execute(
    planned: &mut Planned<'_>,
    (backend, memory, finisher): (&EngineBackend, &StoreMemory, &Finisher),
    (request, inline): (&Request, BTreeSet<String>),
    tell: &(impl Fn(EventKind) + Sync),
    cx: &Context,
) -> Outcomes {
    let run = Run {
        images: planned.images.clone(),
        tails: planned.schedule.tails.clone(),
        workers: request.jobs,
        inline,
        cancel: cx.cancel.clone(),
        evaluation: &mut planned.evaluation,
    };
    let doors = Doors { backend, memory, finish: finisher, now_ms: &now_ms };
    bakehouse_run::run(run, doors, &mut |event| tell(event))
}

/// Keeps what the next run wants to know. Losing it costs time and reasons, never results.
fn remember(store: &Store, memory: &StoreMemory, planned: &Planned<'_>, outcomes: &Outcomes) {
    memory.keep_stat_caches();
    let graph = planned.evaluation.graph();
    let mut costs: Vec<(String, u64)> = Vec::new();
    for (step, ms) in &outcomes.costs {
        costs.extend(graph.step(*step).slots().map(|slot| (slot, *ms)));
    }
    costs.extend(image_costs(planned, outcomes));
    drop(store.put_costs(&costs));
    let known = planned.evaluation.slots();
    let slots: Vec<(String, String)> = graph
        .indexes()
        .filter(|step| {
            let decision = planned.evaluation.decision(*step);
            matches!(decision, Decision::Built(_) | Decision::Hit(_) | Decision::Import(_))
        })
        .filter_map(|step| Some((step, planned.evaluation.slot(step)?)))
        .flat_map(|(step, slot): (_, Slot)| {
            // What was found in the cache may not have been looked into as what was built was.
            let news = |name: &String| known.get(name).is_none_or(|k| slot.tells_more_than(k));
            let names: Vec<String> = graph.step(step).slots().filter(news).collect();
            let text = if names.is_empty() { String::new() } else { slot.encode() };
            names.into_iter().map(move |name| (name, text.clone()))
        })
        .collect();
    drop(store.put_slots(&slots));
}

/// How long the images' own steps take, of images of which some ran: as long as they took, or
/// as it is known of the others.
fn image_costs(planned: &Planned<'_>, outcomes: &Outcomes) -> BTreeMap<String, u64> {
    let graph = planned.evaluation.graph();
    let mut costs: BTreeMap<String, u64> = BTreeMap::new();
    let ran = outcomes.costs.keys().map(|step| graph.step(*step).origin.image.clone());
    let ran: std::collections::BTreeSet<String> = ran.collect();
    for index in graph.indexes() {
        let image = &graph.step(index).origin.image;
        if ran.contains(image) {
            let ms = outcomes.costs.get(&index).copied();
            let ms = ms.unwrap_or_else(|| planned.costs.of(index));
            *costs.entry(image.clone()).or_insert(0) += ms;
        }
    }
    costs
}

/// Archives and folders, when all images are there.
fn export(
    store: &Store,
    finisher: &Finisher,
    exit: ExitCode,
    tell: &impl Fn(EventKind),
) -> ExitCode {
    if exit != ExitCode::Ok {
        return exit;
    }
    let made = finisher.made();
    let named: Vec<&String> =
        made.iter().filter(|(_, made)| made.named).map(|(name, _)| name).collect();
    for (output, images) in finisher.wanted.files(&named) {
        let made = images.iter().filter_map(|name| Some((*name, made.get(*name)?))).collect();
        if let Err(error) = finish::write_files(store, output, &made, tell) {
            let failure = Failure::from(error);
            tell(EventKind::Noticed {
                diagnostic: bakehouse_model::Diagnostic {
                    location: None,
                    severity: bakehouse_model::Severity::Error,
                    code: "export".to_owned(),
                    message: failure.causes.join(": "),
                    help: failure.hints.first().cloned(),
                },
            });
            return failure.kind.exit_code();
        }
    }
    exit
}

/// Writes caches, when all images are there.
fn write_caches(
    exporter: &Exporter<'_>,
    wishes: &Wishes,
    (planned, lowered): (&Planned<'_>, &LoweredFleet),
    exit: ExitCode,
) -> ExitCode {
    if exit != ExitCode::Ok {
        return exit;
    }
    let mut exit = exit;
    for wish in &wishes.to {
        let own = lowered.images.iter().filter(|image| {
            let platform = wish.platform.as_ref();
            image.image == wish.image && platform.is_none_or(|it| *it == image.lowered.platform)
        });
        let roots: Vec<StepIndex> = own.filter_map(|image| image.lowered.root).collect();
        let Err(error) = exporter.write(wish, &planned.evaluation, &roots) else { continue };
        let failure = Failure::from(error);
        let severity = if wish.spec.ignore_error { Severity::Warning } else { Severity::Error };
        (exporter.emit)(EventKind::Noticed {
            diagnostic: Diagnostic {
                location: wish.location.clone(),
                severity,
                code: "cache-export".to_owned(),
                message: failure.causes.join(": "),
                help: failure.hints.first().cloned(),
            },
        });
        if !wish.spec.ignore_error {
            exit = failure.kind.exit_code();
        }
    }
    exit
}

/// Prints what was done, and writes the files that say so.
pub fn report(
    request: &Request,
    args: &BuildArgs,
    done: &Done,
    cx: &mut Context,
) -> Result<(), Failure> {
    write_files(request, args, done, cx)?;
    if done.takes_stdout {
        return Ok(());
    }
    if args.format == Format::Json {
        return super::print_json(cx, &summary::json(&done.progress));
    }
    let mut text = String::new();
    if args.progress != ProgressMode::Quiet {
        text = failures::report(&done.progress, |file| request.text(file), cx.style());
    }
    if args.progress != ProgressMode::Json && args.progress != ProgressMode::Quiet {
        text.push_str(&summary::text(&done.progress, cx.style(), cx.width()));
    }
    super::print(cx, &text)
}

/// `--iidfile` and `--metadata-file`.
fn write_files(
    request: &Request,
    args: &BuildArgs,
    done: &Done,
    cx: &Context,
) -> Result<(), Failure> {
    if done.exit != ExitCode::Ok {
        return Ok(());
    }
    let named: BTreeMap<&String, &Made> =
        done.made.iter().filter(|(name, _)| request.named.contains(*name)).collect();
    let write = |path: &std::path::Path, text: String| {
        std::fs::write(cx.cwd.join(path), text).map_err(|error| {
            Failure::doing(Kind::Environment, format_args!("write `{}`", path.display()), &error)
        })
    };
    if let Some(path) = &args.iidfile {
        // Of several platforms there is no one configuration; buildx then gives the index.
        let id = |made: &Made| match made.roots.len() {
            0 | 1 => made.config.to_string(),
            _ => made.manifest.digest.to_string(),
        };
        let ids: Vec<String> = named.values().map(|made| id(made)).collect();
        write(path, ids.join("\n"))?;
    }
    if let Some(path) = &args.metadata_file {
        write(path, format!("{:#}\n", metadata(&named)))?;
    }
    Ok(())
}

/// As buildx writes it: of one image its own fields, of several one object for each.
fn metadata(named: &BTreeMap<&String, &Made>) -> Value {
    let one = |made: &Made| {
        let names: Vec<String> = made.references.iter().map(ToString::to_string).collect();
        let mut told = json!({
            "containerimage.digest": made.manifest.digest,
            "containerimage.descriptor": made.manifest,
            "image.name": names.join(","),
        });
        // Of several platforms each has another.
        if made.roots.len() < 2 {
            told["containerimage.config.digest"] = json!(made.config);
        }
        told
    };
    match named.iter().next() {
        Some((_, made)) if named.len() == 1 => one(made),
        _ => named.iter().map(|(name, made)| ((*name).clone(), one(made))).collect(),
    }
}
