//! Who goes first, and how many go at once.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::Ordering;

use bakehouse_model::ExitCode;
use bakehouse_plan::graph::Graph;

use crate::world::{Fake, Plan, copy, exec};

#[test]
fn the_longest_tail_goes_first() {
    let mut graph = Graph::default();
    let roots = ["a", "b", "c", "d"].map(|name| exec(&mut graph, name, &[]));
    let last = exec(&mut graph, "last", &[roots[1]]);
    let mut plan = Plan::new(&graph, &[roots[0], roots[2], roots[3], last]);
    plan.workers = 1;
    plan.tails =
        BTreeMap::from([(roots[0], 5), (roots[1], 30), (last, 20), (roots[2], 7), (roots[3], 7)]);
    let fake = Fake::default();
    let told = plan.run(&fake);
    assert_eq!(told.outcomes.exit, ExitCode::Ok);
    // Of two with the same tail, the one that comes first in the graph.
    assert_eq!(*fake.built.lock().unwrap(), ["b", "last", "c", "d", "a"]);
}

#[test]
fn all_workers_work_and_never_more_of_them() {
    for workers in 1..=4 {
        let mut graph = Graph::default();
        let roots: Vec<_> = (0..12).map(|n| exec(&mut graph, &format!("s{n}"), &[])).collect();
        // Nobody gets past this before all workers are here; 12 is a multiple of all.
        let barrier = Barrier::new(workers);
        let fake = Fake {
            act: Some(Box::new(|_, _| {
                barrier.wait();
                Ok(())
            })),
            ..Fake::default()
        };
        let mut plan = Plan::new(&graph, &roots);
        plan.workers = workers;
        let told = plan.run(&fake);
        assert_eq!(told.outcomes.exit, ExitCode::Ok);
        assert_eq!(fake.most.load(Ordering::SeqCst), workers);
        assert_eq!(told.ran().len(), 12);
    }
}

#[test]
fn no_workers_are_taken_for_one() {
    let mut graph = Graph::default();
    let root = exec(&mut graph, "a", &[]);
    let mut plan = Plan::new(&graph, &[root]);
    plan.workers = 0;
    assert_eq!(plan.run(&Fake::default()).outcomes.exit, ExitCode::Ok);
}

#[test]
fn a_step_waits_for_all_that_it_needs_and_nothing_is_built_that_nobody_wants() {
    let mut graph = Graph::default();
    let base = exec(&mut graph, "base", &[]);
    let tools = exec(&mut graph, "tools", &[base]);
    let app = copy(&mut graph, "app", base, tools);
    exec(&mut graph, "alone", &[base]);
    let fake = Fake::default();
    let told = Plan::new(&graph, &[app]).run(&fake);
    assert_eq!(*fake.built.lock().unwrap(), ["base", "tools", "app"]);
    assert_eq!(told.words()["alone"], "unneeded");
    assert_eq!(told.outcomes.costs.len(), 3);
}
