//! The same files through Docker Buildx itself, where there is one.
//!
//! Run with `BAKEHOUSE_PIN=1` to write what it prints beside the fixtures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cases::{Case, cases, without_order};

#[expect(clippy::print_stderr, reason = "a test that does not run says why")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// How Buildx is reached, if it is there.
fn buildx() -> Option<Vec<String>> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/peers/peers");
    let peers = shared.canonicalize().map(|path| path.display().to_string()).unwrap_or_default();
    let ways = [vec![], vec![peers, "exec".to_owned()]];
    ways.into_iter().find(|way: &Vec<String>| {
        let all: Vec<&str> =
            way.iter().map(String::as_str).chain(["docker", "buildx", "version"]).collect();
        let output = Command::new(all[0]).args(&all[1..]).output();
        output.is_ok_and(|output| {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success() && said.contains(" 0.29.")
        })
    })
}

/// One call of Buildx: where, with which files, environment and arguments.
struct Job {
    folder: PathBuf,
    files: Vec<String>,
    env: BTreeMap<String, String>,
    run: String,
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Runs all jobs in one shell, and returns what each printed, or that it failed.
fn print(way: &[String], work: &Path, jobs: &[Job]) -> Vec<Result<Value, String>> {
    let mut script = String::new();
    for (at, job) in jobs.iter().enumerate() {
        let env: String =
            job.env.iter().map(|(name, value)| format!(" {name}={}", quoted(value))).collect();
        let files: String = job.files.iter().map(|file| format!(" -f {file}")).collect();
        let folder = job.folder.display();
        let arguments: String =
            job.run.split_whitespace().map(|word| format!(" {}", quoted(word))).collect();
        let outputs = format!(">{0}/{at}.json 2>{0}/{at}.err", work.display());
        writeln!(script, "cd {folder} && timeout 30 env{env} docker buildx bake{files} --print{arguments} {outputs} </dev/null || rm -f {}/{at}.json", work.display()).unwrap();
    }
    let path = work.join("run.sh");
    std::fs::write(&path, script).unwrap();
    let path = path.display().to_string();
    let all: Vec<&str> = way.iter().map(String::as_str).chain(["sh", &path]).collect();
    Command::new(all[0]).args(&all[1..]).output().unwrap();
    let result = |at: usize| match std::fs::read_to_string(work.join(format!("{at}.json"))) {
        Ok(text) => Ok(serde_json::from_str(&text).unwrap()),
        Err(_) => Err(std::fs::read_to_string(work.join(format!("{at}.err"))).unwrap_or_default()),
    };
    (0..jobs.len()).map(result).collect()
}

/// A copy of a fixture's files in a folder that Buildx sees, with what its targets mount.
fn lay(case: &Case, folder: PathBuf) -> Job {
    std::fs::create_dir_all(&folder).unwrap();
    for file in &case.files {
        std::fs::copy(case.folder.join(file), folder.join(file)).unwrap();
    }
    std::fs::write(folder.join("secret.txt"), "not one").unwrap();
    let agent = std::os::unix::net::UnixListener::bind(folder.join("agent.sock")).unwrap();
    drop(agent);
    Job { folder, files: case.files.clone(), env: case.env.clone(), run: String::new() }
}

#[test]
fn buildx_agrees_on_every_fixture() {
    let Some(way) = buildx() else {
        skipped("there is no Docker Buildx 0.29");
        return;
    };
    let pin = std::env::var("BAKEHOUSE_PIN").is_ok();
    let work = tempfile::tempdir_in("/tmp").unwrap();
    let (mut jobs, mut asked) = (Vec::new(), Vec::new());
    let kinds = [cases("ok"), cases("err")];
    for (kind, cases) in kinds.iter().enumerate() {
        for case in cases {
            // A socket's path must be short.
            let job = lay(case, work.path().join(jobs.len().to_string()));
            for run in &case.runs {
                jobs.push(Job {
                    run: run.clone(),
                    folder: job.folder.clone(),
                    files: job.files.clone(),
                    env: job.env.clone(),
                });
                asked.push((kind, case, run));
            }
        }
    }
    let printed = print(&way, work.path(), &jobs);
    let mut wrong = String::new();
    let mut pins: BTreeMap<PathBuf, BTreeMap<String, Value>> = BTreeMap::new();
    for ((kind, case, run), theirs) in asked.into_iter().zip(printed) {
        let ours = case.run(run).map(|resolved| resolved.to_json());
        match (kind, theirs, ours) {
            (0, Ok(theirs), ours) => {
                pins.entry(case.pin()).or_default().insert(run.clone(), theirs.clone());
                let same = ours
                    .as_ref()
                    .is_ok_and(|ours| without_order(ours.clone()) == without_order(theirs.clone()));
                if !same {
                    writeln!(wrong, "{} {run}\n ours {ours:#?}\n theirs {theirs:#}", case.name)
                        .unwrap();
                }
            }
            (0, Err(why), _) => {
                writeln!(wrong, "{} {run}: Buildx refuses: {why}", case.name).unwrap();
            }
            (_, Ok(theirs), _) => {
                writeln!(wrong, "{} {run}: Buildx accepts: {theirs}", case.name).unwrap();
            }
            (_, Err(_), Ok(ours)) => {
                writeln!(wrong, "{} {run}: we accept: {ours}", case.name).unwrap();
            }
            (_, Err(_), Err(_)) => {}
        }
    }
    if pin {
        for (path, pins) in pins {
            std::fs::write(path, serde_json::to_string_pretty(&pins).unwrap() + "\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Every folder of the fleets that has a bake file.
fn fleets() -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fleets")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("docker-bake."))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn buildx_agrees_on_every_group_and_target_of_the_fleets() {
    let (way, fleets) = (buildx(), fleets());
    let (Some(way), false) = (way, fleets.is_empty()) else {
        skipped("there is no Docker Buildx 0.29, or no fleet beside the repository");
        return;
    };
    let work = tempfile::tempdir_in("/tmp").unwrap();
    let (mut jobs, mut ours) = (Vec::new(), Vec::new());
    for (at, path) in fleets.iter().enumerate() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let folder = work.path().join(format!("fleet-{at}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(path, folder.join(&name)).unwrap();
        let case = Case {
            name: name.clone(),
            folder: folder.clone(),
            files: vec![name.clone()],
            env: BTreeMap::new(),
            runs: Vec::new(),
        };
        let bake = case.read();
        let groups = bake.groups().iter().map(|group| group.name.clone());
        let names: Vec<String> = groups
            .chain(bake.targets().map(|(name, _)| name.to_owned()))
            .chain([String::new()])
            .collect();
        assert!(names.len() > 1, "{}: {:?}", path.display(), bake.diagnostics());
        for run in names {
            ours.push((path, run.clone(), case.run(&run).map(|resolved| resolved.to_json())));
            jobs.push(Job {
                folder: folder.clone(),
                files: vec![name.clone()],
                env: BTreeMap::new(),
                run,
            });
        }
    }
    for ((path, run, ours), theirs) in ours.into_iter().zip(print(&way, work.path(), &jobs)) {
        match theirs {
            Ok(theirs) => assert_eq!(
                without_order(ours.unwrap()),
                without_order(theirs),
                "{} {run}",
                path.display()
            ),
            Err(why) => assert!(ours.is_err(), "{} {run}: Buildx refuses: {why}", path.display()),
        }
    }
}
