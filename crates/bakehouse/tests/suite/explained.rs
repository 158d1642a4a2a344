//! `plan` and `why`: what would be done and what was done, each with its cause.

use std::fs;

use bakehouse_testkit::image;
use bakehouse_testkit::registry::TestRegistry;

use crate::place::{Place, Told};

/// A base that two services stand on; one of them copies what is shared at its line 92.
fn services() -> Option<Place> {
    let place = Place::that_builds()?;
    place.write("services/requirements-base.txt", "1\n");
    place.write("services/common/x.py", "1\n");
    place.write("services/common/y.py", "1\n");
    place.write(
        "Dockerfile.python-ml",
        "FROM machine-base\nCOPY services/requirements-base.txt /r\nRUN cat /r >/made\n",
    );
    place.write("services/bark/Dockerfile", "FROM python-ml\nRUN cat /made >/bark\n");
    let comments = "# a line\n".repeat(90);
    place.write(
        "services/stt/Dockerfile",
        format!("FROM python-ml\n{comments}COPY services/common /app/common\nRUN cat /app/common/* >/stt\n"),
    );
    place.build(&[]).ok();
    Some(place)
}

fn first_line(told: &Told) -> &str {
    told.ok().out.lines().next().unwrap_or_default()
}

#[test]
fn a_cause_is_one_sentence_with_its_place_or_through_its_bases() {
    let Some(place) = services() else { return };
    let idle = place.ask("why", &["stt"]);
    assert_eq!(first_line(&idle), "stt: would not be rebuilt, as built just now");
    place.write("services/common/x.py", "2\n\n");
    let why = place.ask("why", &["stt"]);
    assert_eq!(
        first_line(&why),
        "stt: services/common/x.py changed (COPY services/common, services/stt/Dockerfile:92)"
    );
    place.write("services/common/z.py", "1\n");
    fs::remove_file(place.path("repo/services/common/y.py")).unwrap();
    place.ask("why", &["stt"]).ok().says(&[
        "services/common/x.py and 2 others changed",
        "changed  services/common/x.py",
        "new      services/common/z.py",
        "gone     services/common/y.py",
    ]);
    let value = place.ask("why", &["stt", "--format", "json"]).ok().json();
    let changes = value["steps"].as_array().unwrap().iter().map(|step| &step["changes"]);
    let listed: usize = changes.map(|changes| changes.as_array().unwrap().len()).sum();
    assert_eq!((listed, &value["plan"]), (3, &"rebuild".into()), "{value}");
    assert_eq!(value["cause"]["location"]["line"], 92, "{value}");
    assert_eq!(
        first_line(&place.ask("why", &["bark"])),
        "bark: would not be rebuilt, as built just now"
    );
    place.write("services/requirements-base.txt", "2\n\n");
    let why = place.ask("why", &["bark"]);
    assert_eq!(
        first_line(&why),
        "bark: base python-ml rebuilt because services/requirements-base.txt changed"
    );
}

#[test]
fn a_stage_that_images_share_has_a_history_for_each_of_them() {
    let Some(place) = Place::that_builds() else { return };
    place.write("common.txt", "1\n");
    for name in ["a", "b"] {
        let text = format!(
            "FROM machine-base AS builder\nCOPY common.txt /c\nRUN cat /c >/made\n\
             FROM machine-base\nCOPY --from=builder /made /{name}\n"
        );
        place.write(&format!("{name}/Dockerfile"), text);
    }
    place.build(&[]).ok();
    place.write("common.txt", "2\n\n");
    for name in ["a", "b"] {
        let why = place.ask("why", &[name]);
        let expected = format!("{name}: common.txt changed (COPY common.txt, {name}/Dockerfile:2)");
        assert_eq!(first_line(&why), expected);
    }
}

#[test]
fn a_tag_that_moved_is_told_with_both_digests() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    let (old, new) = (image::random_image(1, 1, 100), image::random_image(2, 2, 1000));
    registry.put_image("python", "3.11-slim", &old);
    place.write("a.txt", "a\n");
    let reference = format!("{}/python:3.11-slim", registry.host());
    place.write("Dockerfile", format!("FROM {reference}\nCOPY a.txt /\n"));
    let pulled = place.ask("plan", &["--format", "json"]).ok().json();
    assert_eq!(pulled["pull"]["bases"][0]["reference"], reference.as_str(), "{pulled}");
    assert!(pulled["pull"]["bytes"].as_u64().unwrap() > 100, "{pulled}");
    place.build(&[]).ok();
    registry.put_image("python", "3.11-slim", &new);
    let moved = format!(
        "repo: {reference} moved from sha256:{} to sha256:{}",
        old.digest().short(),
        new.digest().short()
    );
    assert_eq!(first_line(&place.ask("why", &["repo", "--pull"])), moved);
    let told = place.ask("plan", &["--pull"]);
    told.ok().says(&["to pull: ", &format!("of {reference}")]);
    let nothing = place.ask("plan", &["--offline", "--format", "json"]).ok().json();
    assert_eq!(nothing["work"], true, "what --pull found is remembered: {nothing}");
}

#[test]
fn a_plan_tells_the_order_the_critical_path_and_the_work() {
    let Some(place) = services() else { return };
    place.ask("plan", &["--exit-code"]).exits(0).says(&["nothing to do", "as built just now"]);
    place.write("services/requirements-base.txt", "2\n\n");
    place.ask("plan", &[]).exits(0);
    let told = place.ask("plan", &["--exit-code"]);
    told.exits(2).says(&["critical path: python-ml → ", " workers; no less than "]);
    let value = place.ask("plan", &["--format", "json"]).ok().json();
    let names: Vec<&str> = value["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["name"].as_str().unwrap())
        .collect();
    assert_eq!(names[0], "python-ml", "parents come first: {value}");
    assert_eq!(value["critical_path"]["images"][0], "python-ml", "{value}");
    assert_eq!((&value["work"], &value["pull"]["bytes"]), (&true.into(), &0.into()), "{value}");
    // What was built has a history, what was not is a guess.
    assert_eq!(value["images"][0]["estimated"], false, "{value}");
    place.write("services/bark/Dockerfile", "FROM python-ml\nRUN true\nRUN cat /made >/bark\n");
    place.ask("plan", &["bark"]).ok().says(&["~"]);
}

#[test]
fn the_tags_that_are_planned_are_those_that_are_written() {
    let Some(place) = services() else { return };
    let tags = |args: &[&str]| place.ask("plan", args).ok().json()["images"].clone();
    let json = ["--format", "json"];
    let none = tags(&json);
    assert!(none.as_array().unwrap().iter().all(|image| image["tags"] == serde_json::json!([])));
    let pushed = tags(&["--push", "--registry", "127.0.0.1:1/team", "bark", "--format", "json"]);
    for image in pushed.as_array().unwrap() {
        let expected = match image["name"].as_str().unwrap() {
            "bark" => serde_json::json!(["127.0.0.1:1/team/bark:latest"]),
            _ => serde_json::json!([]),
        };
        assert_eq!(image["tags"], expected, "{image}");
    }
    place.ask("plan", &["bark", "--load", "-t", "x:1"]).ok().says(&["to write: bark as x:1"]);
    place.ask("plan", &["--push"]).exits(2).says(&["nothing says where to"]);
}

#[test]
fn the_last_run_is_explained_whatever_became_of_it() {
    let Some(place) = services() else { return };
    let last = |image: &str| place.ask("why", &["--last", image]);
    place.ask("why", &["--last", "nobody"]).exits(2);
    assert_eq!(first_line(&last("stt")), "stt: rebuilt just now, never built before");
    place.write("services/requirements-base.txt", "2\n\n");
    place.build(&["bark"]).ok();
    assert_eq!(
        first_line(&last("bark")),
        "bark: rebuilt just now, base python-ml rebuilt because services/requirements-base.txt changed"
    );
    // It was part of the run before.
    assert_eq!(first_line(&last("stt")), "stt: rebuilt just now, never built before");
    place.build(&["bark"]).ok();
    let idle = last("bark");
    assert_eq!(first_line(&idle), "bark: not rebuilt just now, every step of it was in the cache");
    place.write("Dockerfile.python-ml", "FROM machine-base\nRUN exit 3\n");
    place.build(&[]).exits(1);
    last("python-ml").ok().says(&["python-ml: failed just now: ", "RUN exit 3", "failed"]);
    assert_eq!(first_line(&last("bark")), "bark: skipped just now, because python-ml failed");
    let value = place.ask("why", &["--last", "bark", "--format", "json"]).ok().json();
    let told = (&value["result"], &value["run"]["exit"]);
    assert_eq!(told, (&"skipped".into(), &"work-failed".into()), "{value}");
}

#[test]
fn a_run_that_was_cut_off_or_never_was_is_told_as_such() {
    let Some(place) = services() else { return };
    let folder = fs::read_dir(place.store().join("runs-v1")).unwrap().next().unwrap().unwrap();
    let stream = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&stream).unwrap();
    assert!(!text.contains("step-logged"), "log lines are not kept");
    let first = text.find('\n').unwrap();
    // Wherever a crash cuts it, what is left is told.
    for end in [first + 1, first + 40, text.len() - 10] {
        fs::write(&stream, &text[..end]).unwrap();
        place.ask("why", &["--last", "stt"]).ok().says(&["stt: "]);
    }
    fs::write(&stream, &text[..=first]).unwrap();
    place.ask("why", &["--last", "stt"]).ok().says(&["not finished"]);
    for nothing in ["", "{\"seq\":0", "\u{0}\n"] {
        fs::write(&stream, nothing).unwrap();
        let told = place.ask("why", &["--last", "stt"]);
        assert_eq!(first_line(&told), "stt: no run that it was part of is known");
    }
    let value = place.ask("why", &["--last", "stt", "--format", "json"]).ok().json();
    assert_eq!((&value["run"], &value["version"]), (&serde_json::Value::Null, &1.into()));
    // A store that cannot keep runs builds all the same.
    fs::remove_dir_all(place.store().join("runs-v1")).unwrap();
    fs::write(place.store().join("runs-v1"), "in the way").unwrap();
    place.build(&[]).ok();
}

#[test]
fn what_is_printed_for_other_tools_needs_no_registry_and_no_sandbox() {
    let place = Place::new();
    place.write("base/Dockerfile", "FROM debian:12\nRUN make\n");
    place.write("it's/Dockerfile", "ARG A\nFROM base\nRUN echo $A\n");
    let arg = ["--build-arg", "A=it's ${HOME}\n\"$1\""];
    let bake = place.run(&[&["plan", "--print", "bake"], &arg[..]].concat());
    bake.ok().says(&[
        "context = \"it's\"",
        "\"A\" = \"it's $${HOME}\\n\\\"$1\\\"\"",
        "\"base\" = \"target:base\"",
        "targets = [\"base\", \"it-s\"]",
    ]);
    let script = place.run(&[&["plan", "--print-commands"], &arg[..]].concat());
    script.ok().says(&[
        "set -eu",
        "--build-arg 'A=it'\\''s ${HOME}\n\"$1\"'",
        "--build-context base=docker-image://base:latest",
        "-f 'it'\\''s/Dockerfile'",
    ]);
    // The shell hands over what was meant: a `docker` that prints its words.
    let fake = format!("docker() {{ printf '<%s>\\n' \"$@\"; }}\n{}", script.out);
    let output = std::process::Command::new("sh").arg("-c").arg(fake).output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    for word in
        ["<A=it's ${HOME}\n\"$1\">", "<it's/Dockerfile>", "<base=docker-image://base:latest>"]
    {
        assert!(words.contains(word), "no {word} in {words}");
    }
    place.run(&["plan", "--print", "bake", "--exit-code"]).exits(2);
}
