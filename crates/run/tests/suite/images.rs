//! Images are finished once each, as soon as all of them is there.

use std::sync::atomic::Ordering;

use bakehouse_model::{EventKind, ExitCode};
use bakehouse_plan::graph::Graph;

use crate::world::{Fake, Plan, exec};

#[test]
fn every_image_is_finished_once_cached_or_not() {
    let mut graph = Graph::default();
    let base = exec(&mut graph, "base", &[]);
    let app = exec(&mut graph, "app", &[base]);
    let fake = Fake::default();
    let plan = || {
        let mut plan = Plan::new(&graph, &[base, app]);
        plan.images.push(("same".to_owned(), Some(app)));
        plan.images.push(("empty".to_owned(), None));
        plan
    };
    let all = vec!["app", "base", "empty", "same"];
    assert_eq!(plan().run(&fake).images().0, all);
    let made = |fake: &Fake<'_>| {
        let mut made = std::mem::take(&mut *fake.made.lock().unwrap());
        made.sort();
        made
    };
    let named = |cached: [bool; 4]| -> Vec<(String, bool)> {
        all.iter().map(|name| (*name).to_owned()).zip(cached).collect()
    };
    assert_eq!(made(&fake), named([false, false, true, false]));
    assert_eq!(fake.prepared.load(Ordering::SeqCst), 2, "each new layer is prepared");

    let again = plan().run(&fake);
    assert_eq!(again.images().0, all);
    assert_eq!(made(&fake), named([true; 4]));
    assert!(again.ran().is_empty());
    assert_eq!(fake.prepared.load(Ordering::SeqCst), 2);
}

#[test]
fn an_image_that_cannot_be_finished_fails_alone() {
    let mut graph = Graph::default();
    let base = exec(&mut graph, "base", &[]);
    let app = exec(&mut graph, "app", &[base]);
    let fake = Fake { bad_images: ["base".to_owned()].into(), ..Fake::default() };
    let told = Plan::new(&graph, &[base, app]).run(&fake);
    assert_eq!(told.images(), (vec!["app"], vec!["base"]));
    assert_eq!(told.outcomes.exit, ExitCode::Environment);
    let causes = told.events.iter().find_map(|event| match event {
        EventKind::ImageFailed { causes, .. } => Some(causes.clone()),
        _ => None,
    });
    assert_eq!(causes.unwrap(), ["cannot push", "no"]);
}

#[test]
fn an_image_does_not_wait_for_steps_of_others() {
    let mut graph = Graph::default();
    let quick = exec(&mut graph, "quick", &[]);
    let slow = exec(&mut graph, "slow", &[]);
    // The slow step only ends once the other image is there.
    let (tell, hear) = std::sync::mpsc::channel();
    let hear = std::sync::Mutex::new(hear);
    let fake = Fake {
        act: Some(Box::new(move |step, _| {
            if step.origin.name == "slow" {
                hear.lock().unwrap().recv().unwrap();
            }
            Ok(())
        })),
        ..Fake::default()
    };
    let told = Plan::new(&graph, &[quick, slow]).watched(&fake, &mut |event| {
        if matches!(event, EventKind::ImageFinished { image, .. } if image == "quick") {
            tell.send(()).unwrap();
        }
    });
    assert_eq!(told.outcomes.exit, ExitCode::Ok);
}
