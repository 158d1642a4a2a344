//! Every rebuild has a reason, the right one, and everything that matters is one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use bakehouse_model::{MissReason, PathChange};

use crate::place::{Place, Told, finished, started};

const DOCKERFILE: &str = "ARG BASE=machine-base\nFROM $BASE AS tools\nARG LEVEL=1\nENV MODE=a\n\
                          RUN env | grep -e LEVEL -e MODE | sort >/level\nFROM $BASE\nCOPY src/ /src/\n\
                          COPY --from=tools /level /level\nRUN cat /src/* /level >/all\n";

/// What it makes of the files that are there.
const ALL: &str = "n12LEVEL=1\nMODE=a\n";

fn built() -> Option<Place> {
    let place = Place::that_builds()?;
    place.write("Dockerfile", DOCKERFILE);
    place.write("src/one", "1");
    place.write("src/two", "2");
    place.write("src/notes.md", "n");
    place.write("README", "not copied");
    place.build(&[]).ok();
    Some(place)
}

/// The first step that runs, and why; what the plan says beforehand is the same.
#[track_caller]
fn first(place: &Place, args: &[&str]) -> (String, MissReason) {
    let mut ask = args.to_vec();
    ask.extend(["--format", "json"]);
    let plan = place.ask("plan", &ask).ok().json();
    let (name, reason) = started(&place.events(args)).into_iter().next().unwrap();
    let mut steps = plan["steps"].as_array().unwrap().iter();
    let planned = steps.find(|step| step["name"] == name.as_str()).unwrap();
    assert_eq!(planned["reason"], serde_json::to_value(&reason).unwrap(), "{plan}");
    (name, reason)
}

fn input(path: &str, change: PathChange) -> MissReason {
    MissReason::InputChanged { path: path.to_owned(), change, others: 0 }
}

#[test]
fn a_file_that_came_changed_or_went_is_named() {
    let Some(place) = built() else { return };
    let copy = "COPY src/ /src/".to_owned();
    place.write("src/one", "1 again");
    let changed = input("src/one", PathChange::Modified);
    assert_eq!(first(&place, &[]), (copy.clone(), changed.clone()));
    place.write("src/three", "3");
    assert_eq!(first(&place, &[]), (copy.clone(), input("src/three", PathChange::Added)));
    fs::remove_file(place.path("repo/src/two")).unwrap();
    assert_eq!(first(&place, &[]), (copy.clone(), input("src/two", PathChange::Removed)));
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(place.path("repo/src/one"), mode).unwrap();
    assert_eq!(first(&place, &[]), (copy, changed));
}

#[test]
fn what_is_not_copied_is_no_reason() {
    let Some(place) = built() else { return };
    place.write("README", "something else");
    place.write("another", "new");
    assert_eq!(started(&place.events(&[])), []);
    // A file that is ignored from now on is like one that is gone.
    place.write(".dockerignore", "**/*.md\n");
    assert_eq!(first(&place, &[]).1, input("src/notes.md", PathChange::Removed));
    place.write("src/notes.md", "changed");
    assert_eq!(started(&place.events(&[])), []);
}

#[test]
fn an_argument_a_variable_and_an_instruction_are_told_apart() {
    let Some(place) = built() else { return };
    let level = ["--build-arg", "LEVEL=2"];
    let changed = MissReason::VariableChanged { name: "LEVEL".to_owned() };
    assert_eq!(first(&place, &level).1, changed);
    // An argument that nobody declares changes nothing.
    let told = place.build(&["--build-arg", "LEVEL=2", "--build-arg", "NOBODY=1"]);
    told.ok().says(&["1 image up to date"]);
    // The last run counts, also if it found everything.
    place.build(&[]).ok().says(&["1 image up to date"]);
    place.write("Dockerfile", DOCKERFILE.replace("MODE=a", "MODE=b"));
    assert_eq!(first(&place, &[]).1, MissReason::VariableChanged { name: "MODE".to_owned() });
    place.write("Dockerfile", DOCKERFILE.replace("cat /src/* /level", "cat /level"));
    let (name, reason) = first(&place, &[]);
    assert_eq!(name, "RUN cat /level >/all");
    let MissReason::InstructionChanged { before, after } = reason else { panic!("{reason:?}") };
    assert_eq!((before.as_str(), after), ("RUN cat /src/* /level >/all", name));
}

#[test]
fn comments_empty_lines_and_names_of_stages_are_no_reason() {
    let Some(place) = built() else { return };
    let text = DOCKERFILE.replace("tools", "other").replace("FROM $BASE\n", "# x\n\nFROM $BASE\n");
    place.write("Dockerfile", text);
    assert_eq!(started(&place.events(&[])), []);
}

#[test]
fn a_setting_of_the_image_makes_a_new_image_and_runs_nothing() {
    let Some(place) = built() else { return };
    let before = finished(&place.events(&[]));
    place.write("Dockerfile", format!("{DOCKERFILE}CMD [\"cat\", \"/all\"]\nLABEL a=b\n"));
    let events = place.events(&[]);
    assert_eq!(started(&events), []);
    assert_ne!(finished(&events)["repo"].0, before["repo"].0);
    assert_eq!(place.run(&["run", "repo"]).ok().out, ALL);
}

#[test]
fn another_base_is_a_reason() {
    let Some(place) = built() else { return };
    place.write("own/Dockerfile", "FROM machine-base\nRUN echo own >/own\n");
    let args = ["repo", "--build-arg", "BASE=own"];
    assert!(!started(&place.events(&args)).is_empty());
    assert_eq!(started(&place.events(&args)), []);
}

/// Builds; what is wrong with that, if anything is.
fn fault(place: &Place) -> Option<String> {
    let archive = place.path("tree.tar");
    let output = format!("type=tar,dest={}", archive.display());
    let oci = format!("type=oci,dest={}", place.path("image.tar").display());
    let told: Told = place.build(&["-o", &output, "-o", &oci]);
    if told.code != Some(0) {
        return Some(told.all());
    }
    let tree = crate::place::Tree::read(fs::File::open(&archive).unwrap());
    let all = tree.text("all");
    (all != ALL).then_some(all)
}

#[test]
fn what_is_lost_from_the_store_is_made_again() {
    let Some(place) = built() else { return };
    assert_eq!(fault(&place), None);
    let folders = fs::read_dir(place.store()).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = folders.collect();
    folders.sort();
    assert!(folders.len() > 3, "{folders:?}");
    let mut faults = Vec::new();
    for folder in folders {
        if folder.is_dir() {
            fs::remove_dir_all(&folder).unwrap();
        } else {
            fs::remove_file(&folder).unwrap();
        }
        faults.extend(fault(&place).map(|fault| format!("without {}: {fault}", folder.display())));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_damaged_blob_is_told_or_made_again_and_never_given_away() {
    let Some(place) = built() else { return };
    let (layout, archive) = (place.path("layout"), place.path("image.tar"));
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let tar = format!("type=oci,dest={}", archive.display());
    place.build(&["-o", &output]).ok();
    let blobs = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    for name in blobs.map(|entry| entry.unwrap().file_name()) {
        let blob = place.store().join("blobs/sha256").join(&name);
        let right = fs::read(&blob).unwrap();
        let mut wrong = right.clone();
        wrong[right.len() / 2] ^= 1;
        for bytes in [&right[..right.len() / 2], wrong.as_slice()] {
            fs::remove_file(&blob).ok();
            fs::write(&blob, bytes).unwrap();
            fs::remove_dir_all(&layout).ok();
            let told = place.build(&["-o", &output, "-o", &tar]);
            let what = format!("{name:?}: {}", told.all());
            assert!(matches!(told.code, Some(0 | 1 | 4)), "{what}");
            assert!(!told.all().contains("panicked"), "{what}");
            if told.code == Some(0) {
                assert!(!crate::outputs::layers(&layout).is_empty(), "{what}");
            }
        }
        fs::write(&blob, &right).unwrap();
        assert_eq!(fault(&place), None);
    }
}
