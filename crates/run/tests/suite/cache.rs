//! What is remembered does not run again, and what runs says why.

use std::sync::atomic::Ordering;

use bakehouse_model::{ExitCode, MissReason, Record};
use bakehouse_plan::graph::{Graph, NewStep, StepIndex};

use crate::world::{Fake, Plan, copy, download, exec};

/// Two stages: what `build` makes is copied onto `base`, and `run` stands on that.
fn stages(graph: &mut Graph, build: &str) -> [StepIndex; 4] {
    let base = exec(graph, "base", &[]);
    let build = exec(graph, build, &[base]);
    let copied = copy(graph, "copied", base, build);
    let top = exec(graph, "top", &[copied]);
    [base, build, copied, top]
}

/// The same steps, this one without its earlier results.
fn without_cache(graph: &Graph, name: &str) -> Graph {
    let mut other = Graph::default();
    for step in graph.steps() {
        other.add(NewStep {
            op: step.op.clone(),
            inputs: step.inputs.clone(),
            platform: step.platform.clone(),
            no_cache: step.origin.name == name,
            origin: step.origin.clone(),
        });
    }
    other
}

#[test]
fn hits_start_nothing_and_are_looked_at_from_the_top() {
    let mut graph = Graph::default();
    let [.., top] = stages(&mut graph, "build");
    let fake = Fake::default();
    let first = Plan::new(&graph, &[top]).run(&fake);
    assert_eq!(first.ran(), ["base", "build", "copied", "top"]);
    assert!(first.started().iter().all(|(_, miss)| **miss == MissReason::NeverBuilt));

    let looked = fake.looked.load(Ordering::SeqCst);
    let again = Plan::new(&graph, &[top]).run(&fake);
    assert!(again.ran().is_empty());
    assert_eq!(again.outcomes.exit, ExitCode::Ok);
    assert_eq!(again.words()["top"], "cached");
    assert_eq!(again.words()["build"], "unneeded", "nobody asked for it");
    assert_eq!(fake.looked.load(Ordering::SeqCst), looked, "no contents were needed");
}

#[test]
fn the_same_contents_of_a_stage_that_ran_again_stop_the_rebuild() {
    let mut graph = Graph::default();
    let [.., top] = stages(&mut graph, "build");
    let fake = Fake::default();
    fake.files.lock().unwrap().extend(
        ["build", "build -v", "build -O3"].map(|name| (name.to_owned(), "binary".to_owned())),
    );
    Plan::new(&graph, &[top]).run(&fake);

    // The builder's command is another one, and gives the same file.
    let mut other = Graph::default();
    let [.., top] = stages(&mut other, "build -v");
    let told = Plan::new(&other, &[top]).run(&fake);
    assert_eq!(told.ran(), ["build -v"]);
    let words = told.words();
    assert_eq!((words["base"], words["top"]), ("cached", "cached"));
    assert_eq!(words["copied"], "unneeded", "what stands on it is there");
    assert_eq!(told.outcomes.exit, ExitCode::Ok);
    assert_eq!(*fake.made.lock().unwrap(), [("top".to_owned(), false), ("top".to_owned(), true)]);

    // And once more: now the builder is remembered too.
    assert!(Plan::new(&other, &[top]).run(&fake).ran().is_empty());

    // It gives another file.
    fake.files.lock().unwrap().insert("build -O3".to_owned(), "faster".to_owned());
    let mut third = Graph::default();
    let [.., top] = stages(&mut third, "build -O3");
    assert_eq!(Plan::new(&third, &[top]).run(&fake).ran(), ["build -O3", "copied", "top"]);
}

#[test]
fn what_is_forced_runs_and_what_stands_on_it_is_new() {
    let mut graph = Graph::default();
    let [.., top] = stages(&mut graph, "build");
    let fake = Fake::default();
    Plan::new(&graph, &[top]).run(&fake);
    let forced = without_cache(&graph, "base");
    let told = Plan::new(&forced, &[top]).run(&fake);
    // The copy's own contents are the same, but it stands on a new base.
    assert_eq!(told.ran(), ["base", "build", "copied", "top"]);
    let started = told.started();
    assert_eq!(*started[0].1, MissReason::Forced);
    assert!(started[1..].iter().all(|(_, miss)| **miss != MissReason::Forced));
    // A build after that finds the new ones.
    assert!(Plan::new(&graph, &[top]).run(&fake).ran().is_empty());

    let forced = without_cache(&graph, "build");
    let told = Plan::new(&forced, &[top]).run(&fake);
    assert_eq!(told.ran(), ["build"], "the same contents stop it here too");
}

#[test]
fn a_forced_top_runs_on_what_is_remembered() {
    let mut graph = Graph::default();
    let [.., top] = stages(&mut graph, "build");
    let fake = Fake::default();
    Plan::new(&graph, &[top]).run(&fake);
    let forced = without_cache(&graph, "top");
    assert_eq!(Plan::new(&forced, &[top]).run(&fake).ran(), ["top"]);
    let forced = without_cache(&graph, "copied");
    assert_eq!(Plan::new(&forced, &[top]).run(&fake).ran(), ["copied", "top"]);
}

#[test]
fn a_source_that_must_be_fetched_is_and_decides_what_follows() {
    let mut graph = Graph::default();
    let base = exec(&mut graph, "base", &[]);
    let file = download(&mut graph, "file");
    let added = copy(&mut graph, "added", base, file);
    let top = exec(&mut graph, "top", &[added]);
    let fake = Fake::default();
    "v1".clone_into(&mut fake.fetched.lock().unwrap());
    let first = Plan::new(&graph, &[top]).run(&fake);
    assert_eq!(first.ran(), ["added", "base", "file", "top"]);
    let misses = first.started();
    let miss = misses.iter().find(|(name, _)| *name == "file").unwrap().1;
    assert_eq!(*miss, MissReason::MustFetch);

    let same = Plan::new(&graph, &[top]).run(&fake);
    assert_eq!(same.ran(), ["file"], "it is looked at, and is the same");

    "v2".clone_into(&mut fake.fetched.lock().unwrap());
    fake.files.lock().unwrap().insert("file".to_owned(), "v2".to_owned());
    let other = Plan::new(&graph, &[top]).run(&fake);
    assert_eq!(other.ran(), ["added", "file", "top"]);
}

#[test]
fn a_result_that_is_gone_is_made_again_and_nothing_else() {
    let mut graph = Graph::default();
    let [base, build, _, top] = stages(&mut graph, "build");
    let fake = Fake::default();
    Plan::new(&graph, &[top]).run(&fake);
    let gone = graph.step(top).id.short().parse().unwrap();
    fake.records.lock().unwrap().retain(|_, record| !record.snapshot.layers.contains(&gone));
    assert_eq!(Plan::new(&graph, &[top]).run(&fake).ran(), ["top"]);
    // What stands above is still there, so nobody needs what is below, the builder included.
    for gone in [build, base] {
        let gone = graph.step(gone).id.short().parse().unwrap();
        let top_layer = |record: &Record| record.snapshot.layers.last() == Some(&gone);
        fake.records.lock().unwrap().retain(|_, record| !top_layer(record));
        assert!(Plan::new(&graph, &[top]).run(&fake).ran().is_empty());
    }
}
