//! Graphs that nobody picked: whatever they look like, a run keeps its promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use bakehouse_model::{EventKind, ExitCode, Outcome};
use bakehouse_plan::graph::{Graph, StepIndex};

use crate::world::{Fake, Plan, Told, exec, exit_code};

/// A small linear congruential generator: tests must not depend on chance.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % limit as u64).unwrap()
    }
}

/// Steps on one or several others, each mounted or stood on, and some of them as images.
fn graph(numbers: &mut Numbers) -> (Graph, Vec<StepIndex>) {
    let mut graph = Graph::default();
    let mut all: Vec<StepIndex> = Vec::new();
    for at in 0..2 + numbers.below(18) {
        let mut needs: Vec<StepIndex> = Vec::new();
        for _ in 0..numbers.below(4).min(all.len()) {
            let need = all[numbers.below(all.len())];
            if !needs.contains(&need) {
                needs.push(need);
            }
        }
        all.push(exec(&mut graph, &format!("s{at}"), &needs));
    }
    let mut roots: Vec<StepIndex> = all.iter().copied().filter(|_| numbers.below(3) == 0).collect();
    roots.extend(all.last());
    roots.dedup();
    (graph, roots)
}

/// Nothing starts before all it needs ended well, and whatever starts ends after that.
fn check_order(told: &Told, graph: &Graph) {
    let mut good = BTreeSet::new();
    let mut open = BTreeSet::new();
    for event in &told.events {
        match event {
            EventKind::StepStarted { step, .. } => {
                let node = graph.step(graph.find(step).unwrap());
                for need in &node.inputs {
                    assert!(good.contains(&graph.step(*need).id), "a need is not there");
                }
                assert!(open.insert(step.clone()), "started twice");
            }
            EventKind::StepFinished { step, outcome, .. } => {
                let ran = open.remove(step);
                let well = matches!(outcome, Outcome::Built | Outcome::Cached { .. });
                assert_eq!(ran, matches!(outcome, Outcome::Built | Outcome::Failed { .. }));
                if well {
                    good.insert(step.clone());
                }
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "some never ended");
    assert_eq!(told.ends().len(), graph.steps().len(), "every step has an end");
}

#[test]
fn whatever_the_graph_all_images_end_and_needs_come_first() {
    let mut numbers = Numbers(42);
    for round in 0..200 {
        let (graph, roots) = graph(&mut numbers);
        let bad: BTreeSet<String> = graph
            .steps()
            .iter()
            .filter(|_| round % 2 == 1 && numbers.below(6) == 0)
            .map(|step| step.origin.name.clone())
            .collect();
        let spoiled = |root: StepIndex| {
            graph.reach([root]).iter().any(|step| bad.contains(&graph.step(*step).origin.name))
        };
        let (lost, whole): (Vec<_>, Vec<_>) = roots.iter().copied().partition(|r| spoiled(*r));
        let workers = 1 + numbers.below(4);
        let tails: BTreeMap<StepIndex, u64> =
            graph.indexes().map(|step| (step, numbers.below(9) as u64)).collect();
        let fake = Fake {
            act: Some(Box::new(|step, _| {
                if bad.contains(&step.origin.name) { Err(exit_code(1)) } else { Ok(()) }
            })),
            ..Fake::default()
        };
        let plan = || Plan { tails: tails.clone(), workers, ..Plan::new(&graph, &roots) };
        let told = plan().run(&fake);
        check_order(&told, &graph);
        assert!(fake.most.load(Ordering::SeqCst) <= workers);
        let names = |steps: &[StepIndex]| {
            let mut names: Vec<&str> =
                steps.iter().map(|step| graph.step(*step).origin.name.as_str()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(told.images(), (names(&whole), names(&lost)), "round {round}");
        let exit = if lost.is_empty() { ExitCode::Ok } else { ExitCode::WorkFailed };
        assert_eq!(told.outcomes.exit, exit, "round {round}");

        // A second run builds nothing that the first one did.
        let first: BTreeSet<&str> =
            told.words().into_iter().filter(|(_, w)| *w == "built").map(|(n, _)| n).collect();
        let again = plan().run(&fake);
        check_order(&again, &graph);
        assert!(again.ran().iter().all(|name| !first.contains(name)), "round {round}");
        assert_eq!(again.images(), told.images());
    }
}
