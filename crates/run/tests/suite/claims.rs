//! What comes to the same runs once, within a run and among runs.

use bakehouse_model::{EventKind, ExitCode, Record, Snapshot};
use bakehouse_plan::evaluate::Evaluation;
use bakehouse_plan::graph::{Graph, StepIndex};
use bakehouse_run::Cancel;

use crate::world::{Fake, Plan, copy, exec};

/// Two builders whose file is the same, each copied onto the same base.
fn twins(graph: &mut Graph) -> [StepIndex; 2] {
    let base = exec(graph, "base", &[]);
    let builders = ["one", "two"].map(|name| exec(graph, name, &[base]));
    builders.map(|builder| copy(graph, "binary", base, builder))
}

fn fake_with_twins() -> Fake<'static> {
    let fake = Fake::default();
    let same = ["one", "two"].map(|name| (name.to_owned(), "binary".to_owned()));
    fake.files.lock().unwrap().extend(same);
    fake
}

/// The key that the only step of this graph is named by.
fn key_of(graph: &Graph, step: StepIndex) -> bakehouse_model::Key {
    let slots = std::collections::BTreeMap::new();
    let mut evaluation = Evaluation::new(graph, &[step], &slots);
    evaluation.advance();
    evaluation.keys(step)[0].clone()
}

fn waits(events: &[EventKind]) -> usize {
    events.iter().filter(|event| matches!(event, EventKind::StepWaited { .. })).count()
}

#[test]
fn two_steps_that_come_to_the_same_run_once_with_any_number_of_workers() {
    for workers in 1..=4 {
        let mut graph = Graph::default();
        let [one, two] = twins(&mut graph);
        let fake = fake_with_twins();
        let mut plan = Plan::new(&graph, &[one, two]);
        plan.workers = workers;
        let told = plan.run(&fake);
        assert_eq!(told.outcomes.exit, ExitCode::Ok);
        let built = fake.built.lock().unwrap();
        assert_eq!(built.iter().filter(|name| *name == "binary").count(), 1, "{built:?}");
        assert_eq!(waits(&told.events), 0, "nobody else is there to wait for");
    }
}

#[test]
fn what_another_run_makes_is_waited_for_and_taken() {
    let mut graph = Graph::default();
    let root = exec(&mut graph, "root", &[]);
    let key = key_of(&graph, root);
    let snapshot = Snapshot::default().with("theirs".parse().unwrap());
    let theirs = Record { id: key.clone(), snapshot, created_ms: 1, cost_ms: 1 };
    let fake = Fake::default();
    fake.others.lock().unwrap().insert(key, (2, Some(theirs)));
    let told = Plan::new(&graph, &[root]).run(&fake);
    assert_eq!(told.outcomes.exit, ExitCode::Ok);
    assert!(fake.built.lock().unwrap().is_empty());
    assert_eq!(told.words()["root"], "cached");
    assert_eq!(waits(&told.events), 1, "it is said once");
    assert_eq!(*fake.made.lock().unwrap(), [("root".to_owned(), true)]);
    assert!(told.outcomes.costs.is_empty(), "waiting is no cost of the step");
}

#[test]
fn what_another_run_has_made_since_the_plan_is_taken_without_a_wait() {
    let mut graph = Graph::default();
    let root = exec(&mut graph, "root", &[]);
    let key = key_of(&graph, root);
    let theirs =
        Record { id: key.clone(), snapshot: Snapshot::default(), created_ms: 1, cost_ms: 1 };
    let fake = Fake::default();
    fake.others.lock().unwrap().insert(key, (0, Some(theirs)));
    let told = Plan::new(&graph, &[root]).run(&fake);
    assert_eq!((told.words()["root"], waits(&told.events)), ("cached", 0));
}

#[test]
fn a_step_that_another_run_gave_up_runs_here() {
    let mut graph = Graph::default();
    let root = exec(&mut graph, "root", &[]);
    let fake = Fake::default();
    fake.others.lock().unwrap().insert(key_of(&graph, root), (2, None));
    let told = Plan::new(&graph, &[root]).run(&fake);
    assert_eq!((told.words()["root"], waits(&told.events)), ("built", 1));
}

#[test]
fn a_run_that_is_cancelled_waits_for_nobody() {
    let mut graph = Graph::default();
    let root = exec(&mut graph, "root", &[]);
    let fake = Fake::default();
    fake.others.lock().unwrap().insert(key_of(&graph, root), (usize::MAX, None));
    let cancel = Cancel::default();
    let mut plan = Plan::new(&graph, &[root]);
    plan.cancel = cancel.clone();
    let told = plan.watched(&fake, &mut |event| {
        if matches!(event, EventKind::StepWaited { .. }) {
            cancel.cancel();
        }
    });
    assert_eq!(told.outcomes.exit, ExitCode::Interrupted);
    assert_eq!(told.words()["root"], "cancelled");
}
