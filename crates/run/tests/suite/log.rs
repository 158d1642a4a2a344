//! Output of steps: passed on while somebody reads it, counted when nobody does.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use bakehouse_model::{EventKind, ExitCode, Stream};
use bakehouse_plan::graph::Graph;

use crate::world::{Fake, Plan, exec};

/// Far more than may wait.
const LINES: usize = 20_000;

#[test]
fn lines_come_in_order_and_before_the_end_of_their_step() {
    let mut graph = Graph::default();
    let root = exec(&mut graph, "root", &[]);
    let fake = Fake {
        act: Some(Box::new(|_, log| {
            for number in 0..100 {
                log.line(Stream::Stderr, number.to_string());
            }
            Ok(())
        })),
        ..Fake::default()
    };
    let told = Plan::new(&graph, &[root]).run(&fake);
    let lines = told.events.iter().filter_map(|event| match event {
        EventKind::StepLogged { line, stream: Stream::Stderr, .. } => Some(line.clone()),
        _ => None,
    });
    let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(lines.collect::<Vec<_>>(), expected);
    let at = |wanted: fn(&EventKind) -> bool| told.events.iter().rposition(wanted).unwrap();
    let last = at(|event| matches!(event, EventKind::StepLogged { .. }));
    let end = at(|event| matches!(event, EventKind::StepFinished { .. }));
    assert!(at(|event| matches!(event, EventKind::StepStarted { .. })) < last && last < end);
}

#[test]
fn lines_that_nobody_reads_are_counted_and_no_other_event_is_lost() {
    let mut graph = Graph::default();
    let roots: Vec<_> = (0..4).map(|n| exec(&mut graph, &format!("s{n}"), &[])).collect();
    // The reader stops at the first line until all of them are written.
    let (written, all) = channel();
    let written = Mutex::new(written);
    let fake = Fake {
        act: Some(Box::new(move |_, log| {
            let moved = |done| EventKind::Transferred {
                way: bakehouse_model::TransferKind::Download,
                what: "x".to_owned(),
                done,
                total: 2,
            };
            log.teller()(moved(1));
            for number in 0..LINES {
                log.line(Stream::Stdout, number.to_string());
            }
            log.teller()(moved(2));
            written.lock().unwrap().send(()).unwrap();
            Ok(())
        })),
        ..Fake::default()
    };
    let mut plan = Plan::new(&graph, &roots);
    plan.workers = 4;
    let mut stopped = false;
    let told = plan.watched(&fake, &mut |event| {
        if matches!(event, EventKind::StepLogged { .. }) && !stopped {
            stopped = true;
            for _ in 0..4 {
                all.recv().unwrap();
            }
        }
    });
    assert_eq!(told.outcomes.exit, ExitCode::Ok);
    let count = |wanted: fn(&EventKind) -> u64| told.events.iter().map(wanted).sum::<u64>();
    let passed = count(|event| u64::from(matches!(event, EventKind::StepLogged { .. })));
    let dropped = count(|event| match event {
        EventKind::LogDropped { lines, .. } => *lines,
        _ => 0,
    });
    assert_eq!(passed + dropped, 4 * LINES as u64);
    assert!(dropped > 0 && passed > 0, "{passed} passed, {dropped} dropped");
    assert_eq!(count(|event| u64::from(matches!(event, EventKind::Transferred { .. }))), 8);
    assert_eq!(count(|event| u64::from(matches!(event, EventKind::StepStarted { .. }))), 4);
    assert_eq!(told.words().values().filter(|word| **word == "built").count(), 4);
}
