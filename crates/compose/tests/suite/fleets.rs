//! The Compose files of real repositories, where those lie beside this one, against both tools.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cases::{Case, Scratch, repository};
use crate::{bake, config};

/// Variables that some of the files insist on.
const ENV: &[(&str, &str)] = &[("HEADROOM_HOST_HOME", "/home/baker"), ("HOME", "/home/baker")];

/// Env files of services that are not kept in the repository; the tools want them to be there.
const MISSING: &[(&str, &[&str])] = &[(
    "audio-orchestrator",
    &[
        ".env.ci",
        ".env.common",
        ".env.docker",
        "services/audio/.env.service",
        "services/bark/.env.service",
        "services/discord/.env.service",
        "services/flan/.env.service",
        "services/guardrails/.env.service",
        "services/orchestrator/.env.service",
        "services/stt/.env.service",
    ],
)];

#[test]
fn real_projects_are_what_docker_compose_makes_of_them() {
    let (Some(program), Some(fleets)) = (config::program(), fleets()) else {
        eprintln!("skipped: docker-compose or the fleets are not at hand");
        return;
    };
    let cases = cases(&fleets.0.join("fleets"));
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for case in &cases {
        match config::theirs(&program, case) {
            Ok(theirs) => {
                compared += 1;
                config::compare(case, &config::ours(&case.read()), &theirs, &mut wrong);
            }
            Err(error) => eprintln!("{} {}: refused: {error}", case.name, case.files[0]),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 6, "only {compared} files were compared");
}

#[test]
fn real_projects_are_what_bake_makes_of_them() {
    let (Some(bake), Some(fleets)) = (bake::bake(), fleets()) else {
        eprintln!("skipped: docker buildx or the fleets are not at hand");
        return;
    };
    let parent = fleets.0.join("fleets");
    let cases = cases(&parent);
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for (case, printed) in cases.iter().zip(bake::print(&bake, &parent, &cases)) {
        let folder = case.files[0].rsplit_once('/').map_or("", |(folder, _)| folder);
        let ours = bake::ours(&case.read(), folder);
        match printed {
            Ok(theirs) if ours == theirs => compared += 1,
            Ok(theirs) => {
                wrong.push(format!("{}:\n  ours: {ours}\n  bake: {theirs}", case.files[0]));
            }
            Err(error) => eprintln!("{} {}: refused: {error}", case.name, case.files[0]),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 4, "only {compared} files were compared");
}

/// A copy of the fleets, with what they miss.
fn fleets() -> Option<Scratch> {
    let fleets = repository().join("../shared/fleets").canonicalize().ok()?;
    let scratch = Scratch::copy(&fleets);
    for (fleet, files) in MISSING {
        let root = scratch.0.join("fleets").join(fleet);
        for file in files.iter().map(|file| root.join(file)) {
            if file.parent().is_some_and(Path::is_dir) {
                fs::write(file, "").unwrap();
            }
        }
    }
    Some(scratch)
}

/// A case for every Compose file of every fleet.
fn cases(fleets: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for root in entries(fleets).into_iter().filter(|root| root.is_dir()) {
        let mut files = Vec::new();
        collect(&root, &mut files);
        for file in files {
            let file = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            cases.push(Case::of_file(&root, &file, ENV));
        }
    }
    cases
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, files);
        } else if name.contains("compose") && (name.ends_with(".yml") || name.ends_with(".yaml")) {
            files.push(path);
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut entries: Vec<PathBuf> = entries.collect();
    entries.sort();
    entries
}
