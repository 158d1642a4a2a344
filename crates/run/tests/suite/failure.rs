//! What goes wrong stays where it went wrong.

use std::sync::atomic::Ordering;

use bakehouse_model::{EventKind, ExitCode, Outcome};
use bakehouse_plan::graph::Graph;
use bakehouse_run::{BackendError, Cancel};

use crate::world::{Fake, Plan, copy, environment, exec, exit_code};

fn failing<'a>(name: &'a str, error: impl Fn() -> BackendError + Sync + 'a) -> Fake<'a> {
    Fake {
        act: Some(Box::new(
            move |step, _| {
                if step.origin.name == name { Err(error()) } else { Ok(()) }
            },
        )),
        ..Fake::default()
    }
}

/// base → bad → above → top, base → good, and a copy from `bad`.
fn graph() -> (Graph, [bakehouse_plan::graph::StepIndex; 4]) {
    let mut graph = Graph::default();
    let base = exec(&mut graph, "base", &[]);
    let bad = exec(&mut graph, "bad", &[base]);
    let above = exec(&mut graph, "above", &[bad]);
    let top = exec(&mut graph, "top", &[above]);
    let good = exec(&mut graph, "good", &[base]);
    let best = exec(&mut graph, "best", &[good]);
    let copied = copy(&mut graph, "copied", good, bad);
    let last = exec(&mut graph, "last", &[copied]);
    (graph, [top, best, last, good])
}

#[test]
fn a_failure_skips_what_needs_it_and_nothing_else() {
    for workers in 1..=3 {
        let (graph, roots) = graph();
        let fake = failing("bad", || exit_code(7));
        let mut plan = Plan::new(&graph, &roots);
        plan.workers = workers;
        let told = plan.run(&fake);
        let words = told.words();
        for (name, word) in [
            ("base", "built"),
            ("good", "built"),
            ("best", "built"),
            ("bad", "failed"),
            ("above", "skipped"),
            ("top", "skipped"),
            ("copied", "skipped"),
            ("last", "skipped"),
        ] {
            assert_eq!(words[name], word, "{name}");
        }
        let ends = told.ends();
        let Outcome::Skipped { needs } = ends["top"] else { panic!("{ends:?}") };
        assert_eq!(told.name(needs), "bad", "the first that failed is named");
        let Outcome::Failed { causes, hints, code } = ends["bad"] else { panic!("{ends:?}") };
        assert_eq!(
            (causes.as_slice(), hints.len(), *code),
            (&["`make`".to_owned()][..], 1, Some(7))
        );
        assert_eq!(told.images(), (vec!["best", "good"], vec!["last", "top"]));
        assert_eq!(told.outcomes.exit, ExitCode::WorkFailed);
        let failed: Vec<&str> = told.outcomes.failed_images.iter().map(String::as_str).collect();
        assert_eq!(failed, ["last", "top"]);
    }
}

#[test]
fn the_kind_of_a_failure_is_the_exit_code() {
    type Make = fn() -> BackendError;
    let table: [(Make, ExitCode); 3] = [
        (|| exit_code(1), ExitCode::WorkFailed),
        (
            || BackendError::Input { what: "`x`: not found".to_owned(), hints: Vec::new() },
            ExitCode::Input,
        ),
        (|| environment("mount"), ExitCode::Environment),
    ];
    for (make, exit) in table {
        let mut graph = Graph::default();
        let root = exec(&mut graph, "root", &[]);
        let told = Plan::new(&graph, &[root]).run(&failing("root", make));
        assert_eq!(told.outcomes.exit, exit);
        assert_eq!(told.words()["root"], "failed");
    }
}

#[test]
fn a_panic_is_an_end_and_a_bug() {
    let (graph, roots) = graph();
    let fake = failing("bad", || panic!("at the disco"));
    let told = Plan::new(&graph, &roots).run(&fake);
    assert_eq!(told.outcomes.exit, ExitCode::Internal);
    let ends = told.ends();
    let Outcome::Failed { causes, .. } = ends["bad"] else { panic!("{ends:?}") };
    assert_eq!(causes, &["internal error: at the disco"]);
    assert_eq!(told.words()["best"], "built");
}

#[test]
fn cancelling_starts_nothing_more_and_ends_all_that_was_started() {
    for error in [true, false] {
        let (graph, roots) = graph();
        let cancel = Cancel::default();
        let told_it = cancel.clone();
        let fake = Fake {
            act: Some(Box::new(move |_, _| {
                told_it.cancel();
                if error { Err(BackendError::Cancelled) } else { Ok(()) }
            })),
            ..Fake::default()
        };
        let mut plan = Plan::new(&graph, &roots);
        plan.cancel = cancel;
        let told = plan.run(&fake);
        assert_eq!(told.ran(), ["base"]);
        assert_eq!(told.outcomes.exit, ExitCode::Interrupted);
        let words = told.words();
        assert_eq!(words["base"], if error { "cancelled" } else { "built" });
        assert_eq!(words["bad"], "cancelled");
        assert_eq!(words.len(), graph.steps().len(), "every step has an end");
        assert_eq!(fake.running.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_run_that_is_cancelled_before_it_begins_does_nothing() {
    let (graph, roots) = graph();
    let fake = Fake::default();
    let plan = Plan::new(&graph, &roots);
    plan.cancel.cancel();
    let told = plan.run(&fake);
    assert_eq!(told.outcomes.exit, ExitCode::Interrupted);
    assert!(told.ran().is_empty());
    assert!(fake.made.lock().unwrap().is_empty());
}

#[test]
fn a_backend_that_says_cancelled_by_itself_is_no_success() {
    let mut graph = Graph::default();
    let root = exec(&mut graph, "root", &[]);
    let told = Plan::new(&graph, &[root]).run(&failing("root", || BackendError::Cancelled));
    assert_eq!(told.outcomes.exit, ExitCode::Interrupted);
    assert_eq!(told.images().1, ["root"]);
}

#[test]
fn a_store_that_does_not_answer_stops_the_run() {
    let (graph, roots) = graph();
    let fake = Fake { broken: true, ..Fake::default() };
    let told = Plan::new(&graph, &roots).run(&fake);
    assert_eq!(told.outcomes.exit, ExitCode::Environment);
    assert!(told.ran().is_empty());
    let Some(EventKind::Noticed { diagnostic }) = told.events.first() else { panic!() };
    assert_eq!(diagnostic.message, "cannot read the records: no");
}

#[test]
fn contents_that_cannot_be_read_fail_the_step_that_reads_them() {
    let (graph, roots) = graph();
    let fake = Fake { unreadable: true, ..Fake::default() };
    let told = Plan::new(&graph, &roots).run(&fake);
    let words = told.words();
    assert_eq!((words["copied"], words["last"], words["top"]), ("failed", "skipped", "built"));
    assert_eq!(told.outcomes.exit, ExitCode::Input);
    assert!(!told.ran().contains(&"copied"));
}
