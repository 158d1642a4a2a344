//! The main job: a fleet is built once, then only what a change needs.

use bakehouse_model::{EventKind, MissReason, PathChange};

use crate::place::{Place, finished, rebuilt, started};

/// Four images on two levels; two of them share a builder stage.
fn write_fleet(place: &Place) {
    let builder = "FROM machine-base AS builder\nWORKDIR /src\nCOPY shared/ ./\n\
                   RUN sort *.txt >/compiled && echo compiled\n";
    place.write("shared/b.txt", "b\n");
    place.write("shared/a.txt", "a\n");
    place.write("common/settings", "debug=no\n");
    place.write(
        "common/Dockerfile",
        "FROM machine-base\nCOPY common/settings /etc/settings\nRUN cat /etc/settings >/seen\n",
    );
    for name in ["api", "web"] {
        place.write(&format!("{name}/main.txt"), format!("this is {name}\n"));
        place.write(
            &format!("{name}/Dockerfile"),
            format!(
                "{builder}FROM common\nCOPY --from=builder /compiled /app/\n\
                 COPY {name}/main.txt /app/\nRUN cat /app/* >/app/all\nCMD [\"cat\", \"/app/all\"]\n"
            ),
        );
    }
    place.write("jobs/run.txt", "run\n");
    place.write("jobs/Dockerfile", "FROM common\nCOPY jobs/run.txt /jobs/\n");
}

fn modified(path: &str) -> MissReason {
    MissReason::InputChanged { path: path.to_owned(), change: PathChange::Modified, others: 0 }
}

#[test]
fn a_fleet_is_built_once_and_the_second_run_starts_no_step() {
    let Some(place) = Place::that_builds() else { return };
    write_fleet(&place);
    let first = place.events(&[]);
    assert_eq!(rebuilt(&first), ["api", "common", "jobs", "web"]);
    let names: Vec<String> = started(&first).into_iter().map(|(name, _)| name).collect();
    let compiles = names.iter().filter(|name| name.contains("sort *.txt")).count();
    assert_eq!(compiles, 1, "a stage of two images runs once: {names:?}");
    let EventKind::RunStarted { steps, images, .. } = &first[0].kind else { panic!() };
    let compile = steps.iter().find(|step| step.name.contains("sort *.txt")).unwrap();
    assert_eq!(compile.shared_by, 2);
    assert_eq!(images.iter().find(|image| image.name == "web").unwrap().needs, ["common"]);
    let second = place.events(&[]);
    assert_eq!(started(&second), []);
    assert_eq!(rebuilt(&second), [""; 0]);
    let digest = |events| finished(events).into_iter().map(|(name, (digest, _))| (name, digest));
    assert!(digest(&first).eq(digest(&second)));
}

#[test]
fn one_changed_file_rebuilds_one_image_and_the_plan_says_so_before() {
    let Some(place) = Place::that_builds() else { return };
    write_fleet(&place);
    place.build(&[]).ok();
    place.write("web/main.txt", "another web\n");
    let plan = place.ask("plan", &["--format", "json"]).ok().json();
    let fates: Vec<(&str, &str)> = plan["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| (image["name"].as_str().unwrap(), image["plan"].as_str().unwrap()))
        .collect();
    let mut sorted = fates.clone();
    sorted.sort_unstable();
    let expected =
        [("api", "cached"), ("common", "cached"), ("jobs", "cached"), ("web", "rebuild")];
    assert_eq!(sorted, expected);
    let why = place.ask("why", &["web"]);
    why.ok().says(&["web: web/main.txt changed (COPY web/main.txt, web/Dockerfile"]);
    place.ask("why", &["api"]).ok().says(&["api: would not be rebuilt, as built"]);
    let planned = plan["steps"].as_array().unwrap().iter().filter(|step| step["plan"] == "run");
    let planned: Vec<&str> = planned.map(|step| step["name"].as_str().unwrap()).collect();
    let events = place.events(&[]);
    let started = started(&events);
    assert_eq!(rebuilt(&events), ["web"]);
    assert_eq!(started[0], ("COPY web/main.txt /app/".to_owned(), modified("web/main.txt")));
    assert!(matches!(started[1].1, MissReason::NeedChanged { .. }), "{started:?}");
    assert_eq!(started.len(), 2);
    assert!(planned.contains(&started[0].0.as_str()), "{planned:?}");
}

#[test]
fn a_change_reaches_exactly_the_images_that_stand_on_it() {
    let Some(place) = Place::that_builds() else { return };
    write_fleet(&place);
    place.build(&[]).ok();
    place.write("shared/a.txt", "another a\n");
    let events = place.events(&[]);
    assert_eq!(rebuilt(&events), ["api", "web"]);
    let starts = started(&events);
    let compiles = starts.iter().filter(|(name, _)| name.contains("sort *.txt")).count();
    assert_eq!(compiles, 1, "{starts:?}");
    assert_eq!(starts[0].1, modified("shared/a.txt"));
    place.write("common/settings", "debug=yes\n");
    assert_eq!(rebuilt(&place.events(&[])), ["api", "common", "jobs", "web"]);
}

#[test]
fn what_was_there_before_is_found_again() {
    let Some(place) = Place::that_builds() else { return };
    write_fleet(&place);
    let first = finished(&place.events(&[]));
    place.write("web/main.txt", "another web\n");
    assert_ne!(finished(&place.events(&[]))["web"].0, first["web"].0);
    place.write("web/main.txt", "this is web\n");
    let third = place.events(&[]);
    assert_eq!(started(&third), []);
    assert_eq!(finished(&third)["web"].0, first["web"].0);
}

#[test]
fn a_step_whose_result_is_as_before_rebuilds_nothing_that_copies_from_it() {
    let Some(place) = Place::that_builds() else { return };
    write_fleet(&place);
    place.build(&[]).ok();
    // The compiler is told something else and makes the same.
    for name in ["api", "web"] {
        let path = place.path("repo").join(name).join("Dockerfile");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("echo compiled", "echo compiled again")).unwrap();
    }
    let starts = started(&place.events(&[]));
    assert_eq!(starts.len(), 1, "{starts:?}");
    assert!(matches!(&starts[0].1, MissReason::InstructionChanged { after, .. }
        if after.contains("compiled again")));
}

#[test]
fn only_the_named_image_and_what_it_stands_on_are_built() {
    let Some(place) = Place::that_builds() else { return };
    write_fleet(&place);
    let events = place.events(&["jobs"]);
    assert_eq!(finished(&events).into_keys().collect::<Vec<_>>(), ["common", "jobs"]);
}

#[test]
fn other_times_and_another_order_of_files_change_nothing() {
    let Some(place) = Place::that_builds() else { return };
    write_fleet(&place);
    place.build(&[]).ok();
    for file in ["shared/a.txt", "web/main.txt", "common/settings"] {
        let path = place.path("repo").join(file);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
    }
    assert_eq!(started(&place.events(&[])), []);
}

#[test]
fn the_graph_shows_who_stands_on_whom() {
    let place = Place::new();
    write_fleet(&place);
    let graph = place.run(&["graph", "--format", "json"]).ok().json();
    let images = graph["images"].as_array().unwrap();
    let common = images.iter().find(|image| image["name"] == "common").unwrap();
    assert_eq!(common["used_by"], serde_json::json!(["api", "jobs", "web"]));
    assert_eq!(common["level"], 0);
    let external = &graph["external"][0];
    assert_eq!(external["reference"], "machine-base");
    let edges = graph["edges"].as_array().unwrap();
    let edge = edges.iter().find(|edge| edge["image"] == "jobs").unwrap();
    let at = serde_json::json!([edge["needs"], edge["via"], edge["file"], edge["line"]]);
    assert_eq!(at, serde_json::json!(["common", "from", "jobs/Dockerfile", 1]));
    let text = place.run(&["graph"]);
    text.ok().says(&["common", "api", "jobs/Dockerfile"]);
}

#[test]
fn the_built_image_runs_its_own_command() {
    let Some(place) = Place::that_builds() else { return };
    write_fleet(&place);
    place.build(&[]).ok();
    let told = place.run(&["run", "web"]);
    assert_eq!(told.ok().out, "a\nb\nthis is web\n");
    let told = place.run(&["run", "web", "sh", "-c", "exit 9"]);
    told.exits(1).says(&["exit code 9"]);
}
