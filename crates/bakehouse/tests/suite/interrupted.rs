//! What happens when a run is stopped, killed, or is not the only one; and who runs it.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Place, Told, finished, is_root, rebuilt, skipped, started};

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done` says so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited too long until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Processes whose command line has `part` in it.
fn processes_with(part: &str) -> Vec<String> {
    let command = |entry: fs::DirEntry| {
        let number = entry.file_name().into_string().ok()?;
        number.parse::<u32>().ok()?;
        let bytes = fs::read(entry.path().join("cmdline")).ok()?;
        let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
        text.contains(part).then(|| format!("{number} {text}"))
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| command(entry.ok()?)).collect()
}

/// A build whose step says in a cache mount that it is there, and then stays for long.
/// `long` is how long, and tells its process apart from all others.
fn start_long_build(place: &Place, long: &str) -> Child {
    place.write(
        "Dockerfile",
        format!(
            "FROM machine-base\nRUN echo first >/first\n\
             RUN echo half >/half && sleep {long} && echo whole >/half\n"
        ),
    );
    let mut command = place.with_base("build", &["--progress", "plain"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).spawn();
    let child = child.unwrap();
    wait_until("the step runs", || processes_with(&format!("sleep {long}")).len() > 1);
    child
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

/// After whatever happened, a build is right and only what was not finished runs.
fn assert_goes_on(place: &Place) {
    let text = fs::read_to_string(place.path("repo/Dockerfile")).unwrap();
    let start = text.find("sleep").unwrap();
    let end = start + text[start..].find(" &&").unwrap();
    let short = format!("{}true{}", &text[..start], &text[end..]);
    place.write("Dockerfile", &short);
    let names: Vec<String> =
        started(&place.events(&[])).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 1, "what was done before is kept: {names:?}");
    assert_eq!(place.tree(&short, &[]).text("half"), "whole\n");
}

#[test]
fn an_interrupt_ends_the_run_and_everything_that_it_started() {
    for (signal, long) in [(Signal::INT, "4711.01"), (Signal::TERM, "4711.02")] {
        let Some(place) = Place::that_builds() else { return };
        let child = start_long_build(&place, long);
        let start = Instant::now();
        kill_process(pid(&child), signal).unwrap();
        let told = Told::from(child.wait_with_output().unwrap());
        told.exits(130);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        wait_until("no process is left", || {
            processes_with(&format!("sleep {long}")).is_empty()
                && processes_with(&place.store().display().to_string()).is_empty()
        });
        assert_goes_on(&place);
    }
}

#[test]
fn a_killed_run_leaves_no_process_and_no_half_result() {
    let Some(place) = Place::that_builds() else { return };
    let long = "4711.03";
    let mut child = start_long_build(&place, long);
    kill_process(pid(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    wait_until("no process is left", || processes_with(&format!("sleep {long}")).is_empty());
    assert_goes_on(&place);
    // What the killed run had half done is not there for ever.
    place.build(&[]).ok();
    assert_eq!(leftovers(&place.store(), "half"), 1, "only the whole result has the file");
}

/// How many files in the folder have that name.
fn leftovers(folder: &Path, name: &str) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let count = |entry: fs::DirEntry| {
        let own = usize::from(entry.file_name() == name);
        let kind = entry.file_type().unwrap();
        own + if kind.is_dir() { leftovers(&entry.path(), name) } else { 0 }
    };
    entries.map(count).sum()
}

#[test]
fn two_runs_in_one_store_both_succeed_with_the_same_images() {
    let Some(mut place) = Place::that_builds() else { return };
    place.set("SOURCE_DATE_EPOCH", "1700000000");
    for name in ["a", "b", "c"] {
        place.write(&format!("{name}/x"), name);
        place.write(
            &format!("{name}/Dockerfile"),
            format!(
                "FROM machine-base\nRUN --mount=type=cache,target=/c echo 1 >>/c/x\n\
                 RUN --mount=type=cache,id=l,sharing=locked,target=/l echo 1 >>/l/x\n\
                 RUN echo shared; seq 1 20000 >/numbers\nCOPY {name}/x /x\nRUN cat /x >/y\n"
            ),
        );
    }
    let run = || {
        let told = place.with_base("build", &["--progress", "json"]);
        let mut told = told;
        told.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let runs: Vec<Child> = (0..3).map(|_| run()).collect();
    let all: Vec<_> = runs
        .into_iter()
        .map(|child| {
            let told = Told::from(child.wait_with_output().unwrap());
            let events = told.ok().events();
            finished(&events).into_iter().map(|(name, (digest, _))| (name, digest)).collect()
        })
        .collect::<Vec<std::collections::BTreeMap<_, _>>>();
    assert_eq!(all[0].len(), 3);
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
    assert_eq!(rebuilt(&place.events(&[])), [""; 0]);
}

#[test]
fn an_ordinary_user_builds_and_runs_without_root() {
    if !is_root() {
        // Then all other tests are about this.
        return;
    }
    let Some(mut place) = Place::that_builds() else { return };
    place.write("a.txt", "a\n");
    place.write(
        "Dockerfile",
        "FROM machine-base\nRUN id -u >/user && mkdir -p /made/by && touch /made/by/root\n\
         COPY --chown=0:0 a.txt /made/\nRUN --mount=type=cache,target=/c echo 1 >/c/x\n\
         RUN --network=none cat /proc/net/dev | wc -l >/net\n",
    );
    place.become_user(65534);
    let told = place.build(&[]);
    if told.code == Some(4) && told.all().contains("namespace") {
        skipped("an ordinary user gets no user namespace here");
        return;
    }
    told.ok();
    assert_eq!(place.run(&["run", "repo", "cat", "/user", "/made/a.txt"]).ok().out, "0\na\n");
    place.build(&[]).ok().says(&["1 image up to date"]);
    let archive = place.path("home/image.tar");
    let output = format!("type=oci,dest={}", archive.display());
    place.build(&["-o", &output]).ok();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(fs::metadata(archive).unwrap().uid(), 65534);
}

#[test]
fn a_reader_that_goes_away_is_no_failure_of_the_build() {
    let Some(place) = Place::that_builds() else { return };
    place.write("Dockerfile", "FROM machine-base\nRUN seq 1 20000; echo done >/done\n");
    let mut command = place.with_base("build", &["--progress", "plain"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    drop(child.stdout.take());
    child.wait().unwrap();
    // Whether the first run was whole or not, it did not break anything.
    assert_eq!(place.run(&["run", "repo", "cat", "/done"]).ok().out, "done\n");
}
