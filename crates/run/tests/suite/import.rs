//! What a cache has is fetched when it is wanted, and built when it cannot be had.

use std::collections::BTreeMap;

use bakehouse_model::oci::{Descriptor, media_type};
use bakehouse_model::{DiffId, Digest, EventKind, ExitCode, Outcome};
use bakehouse_plan::assemble::Layer;
use bakehouse_plan::caches::Cache;
use bakehouse_plan::caches::export::{self, Mode, Stacked};
use bakehouse_plan::evaluate::Evaluation;
use bakehouse_plan::graph::{Graph, StepIndex};

use crate::world::{Fake, Plan, copy, exec};

fn stages(graph: &mut Graph) -> [StepIndex; 4] {
    let start = exec(graph, "start", &[]);
    let build = exec(graph, "build", &[start]);
    let copied = copy(graph, "copied", start, build);
    let top = exec(graph, "top", &[copied]);
    [start, build, copied, top]
}

fn layer(name: &str) -> Layer {
    let digest = Digest::of(name);
    let mut blob = Descriptor::new(media_type::LAYER, digest.clone(), 1);
    blob.annotations.insert("containerd.io/uncompressed".to_owned(), digest.to_string());
    Layer { diff_id: DiffId(digest), blob, created_ms: 1 }
}

/// A cache of all that `fake` remembers of these steps but `without`.
fn cache(graph: &Graph, root: StepIndex, without: &[&str]) -> Cache {
    let fake = Fake::default();
    Plan::new(graph, &[root]).run(&fake);
    let slots = BTreeMap::new();
    let mut evaluation = Evaluation::new(graph, &[root], &slots);
    loop {
        let questions = evaluation.advance();
        if questions.is_empty() {
            break;
        }
        for question in questions {
            let bakehouse_plan::evaluate::Question::Records(keys) = question else { panic!() };
            let answers = bakehouse_run::Memory::records(&fake, &keys).unwrap();
            evaluation.remember(&answers);
        }
    }
    let wanted = export::wanted(&evaluation, &[root], Mode::Max);
    let results = wanted.into_iter().filter_map(|step| {
        let name = &graph.step(step).origin.name;
        let below = if name == "top" { "start copied" } else { "start" };
        let names = below.split(' ').chain([name.as_str()]);
        let stack = Stacked { layers: names.map(layer).collect(), created_ms: 7 };
        (!without.contains(&name.as_str())).then_some((step, stack))
    });
    let results: BTreeMap<StepIndex, Stacked> = results.collect();
    let document = export::document(&evaluation, &[root], &results);
    let blobs = results.values().flat_map(|stack| &stack.layers);
    let blobs = blobs.map(|layer| (layer.blob.digest.clone(), layer.blob.clone())).collect();
    Cache::parse("reg/cache", &serde_json::to_vec(&document).unwrap(), &blobs).unwrap()
}

#[test]
fn only_what_is_wanted_is_fetched_and_is_remembered_then() {
    let mut graph = Graph::default();
    let [.., top] = stages(&mut graph);
    let caches = vec![cache(&graph, top, &[])];
    let fake = Fake::default();
    let told = Plan { caches, ..Plan::new(&graph, &[top]) }.run(&fake);
    assert_eq!(told.outcomes.exit, ExitCode::Ok);
    assert!(told.ran().is_empty(), "{:?}", told.ran());
    assert_eq!(*fake.imported.lock().unwrap(), ["top"]);
    let from = Outcome::Cached { from: Some("reg/cache".to_owned()) };
    assert_eq!(*told.ends()["top"], from);
    assert_eq!(told.words()["build"], "unneeded");
    // Without the cache, what it gave is there.
    let again = Plan::new(&graph, &[top]).run(&fake);
    assert!(again.ran().is_empty());
    assert_eq!(*again.ends()["top"], Outcome::Cached { from: None });
}

#[test]
fn what_a_cache_lacks_runs_on_what_it_has() {
    let mut graph = Graph::default();
    let [.., top] = stages(&mut graph);
    let caches = vec![cache(&graph, top, &["top"])];
    let fake = Fake::default();
    let told = Plan { caches, ..Plan::new(&graph, &[top]) }.run(&fake);
    assert_eq!((told.ran(), told.outcomes.exit), (vec!["top"], ExitCode::Ok));
    assert_eq!(*fake.imported.lock().unwrap(), ["copied"]);
}

#[test]
fn what_cannot_be_fetched_is_told_and_built() {
    let mut graph = Graph::default();
    let [.., top] = stages(&mut graph);
    let caches = vec![cache(&graph, top, &[])];
    let fake = Fake { lost: true, ..Fake::default() };
    let told = Plan { caches, ..Plan::new(&graph, &[top]) }.run(&fake);
    assert_eq!(told.outcomes.exit, ExitCode::Ok);
    assert_eq!(told.ran(), ["build", "copied", "start", "top"]);
    let notices = told.events.iter().filter_map(|event| match event {
        EventKind::Noticed { diagnostic } => Some(diagnostic.code.as_str()),
        _ => None,
    });
    assert_eq!(notices.collect::<Vec<_>>(), ["cache-lost"; 3]);
}
