//! What happens when a run is stopped, killed, or is not the only one; and who runs it.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};
use std::{fs, thread};

use bakehouse_model::EventKind;
use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Place, Told, finished, is_root, rebuilt, skipped, started};

/// How long anything may take before the test gives up: longer than on any machine, however
/// much else it does.
const PATIENCE: Duration = Duration::from_secs(300);

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

/// How long a step stays, in seconds: a number that no other process of the machine has, also
/// where these tests run twice at once.
fn unlike_others() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let moment = UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("4711.{moment}{}{number}", std::process::id())
}

/// A build whose step stays for long. `long` is how long, and tells its process apart from
/// all others.
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
    for signal in [Signal::INT, Signal::TERM] {
        let Some(place) = Place::that_builds() else { return };
        let long = unlike_others();
        let child = start_long_build(&place, &long);
        let start = Instant::now();
        kill_process(pid(&child), signal).unwrap();
        let told = Told::from(child.wait_with_output().unwrap());
        told.exits(130);
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
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
    let long = unlike_others();
    let mut child = start_long_build(&place, &long);
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

/// A build that goes on beside the test, and the file it tells its events to.
struct Beside {
    child: Child,
    told: std::path::PathBuf,
}

impl Beside {
    fn start(place: &Place, name: &str) -> Self {
        let told = place.path(name);
        let mut command = place.with_base("build", &["--progress", "json"]);
        command.stdout(Stdio::null()).stderr(fs::File::create(&told).unwrap()).process_group(0);
        Self { child: command.spawn().unwrap(), told }
    }

    fn waits(&self) -> bool {
        fs::read_to_string(&self.told).unwrap().contains("step-waited")
    }

    fn stop(mut self, signal: Signal) {
        kill_process(pid(&self.child), signal).unwrap();
        self.child.wait().unwrap();
    }

    fn events(mut self) -> Vec<bakehouse_model::Event> {
        let code = self.child.wait().unwrap().code();
        let err = fs::read_to_string(&self.told).unwrap();
        Told { code, out: String::new(), bytes: Vec::new(), err }.ok().events()
    }
}

/// A slow step, which counts in a cache mount how often it was begun and done, and goes on
/// when there is a file `go` in it. Its process has `mark` in its command line.
fn slow_step(mark: &str) -> String {
    format!(
        "RUN --mount=type=cache,target=/c : {mark}; echo begun >>/c/log; \\\n  \
         while test ! -e /c/go; do sleep 0.01; done; echo done >>/c/log; seq 9 >/result\n"
    )
}

/// A fleet of one slow step; gives its mark.
fn write_slow_fleet(place: &Place) -> String {
    let mark = unlike_others();
    place.write("Dockerfile", format!("FROM machine-base\n{}", slow_step(&mark)));
    mark
}

/// Stops a build, and waits until the processes of its steps are gone, which have `mark` in
/// their command lines: a moment after it, another build may have one of them too.
fn stop_with_steps(build: Beside, signal: Signal, mark: &str) {
    let own = processes_with(mark);
    build.stop(signal);
    wait_until("its processes are gone", || {
        let now = processes_with(mark);
        own.iter().all(|process| !now.contains(process))
    });
}

/// The data of the only cache mount.
fn cache_data(place: &Place) -> Option<std::path::PathBuf> {
    let caches = fs::read_dir(place.store().join("cache-mounts-v1")).ok()?;
    let data = caches.map(|cache| cache.unwrap().path().join("0/data")).next()?;
    data.is_dir().then_some(data)
}

fn count_in_cache(place: &Place, word: &str) -> usize {
    let text = cache_data(place).and_then(|data| fs::read_to_string(data.join("log")).ok());
    text.unwrap_or_default().lines().filter(|line| *line == word).count()
}

fn waited(events: &[bakehouse_model::Event]) -> usize {
    let waits =
        |event: &&bakehouse_model::Event| matches!(event.kind, EventKind::StepWaited { .. });
    events.iter().filter(waits).count()
}

#[test]
fn two_builds_of_one_step_at_once_run_it_once() {
    let Some(place) = Place::that_builds() else { return };
    write_slow_fleet(&place);
    let first = Beside::start(&place, "first");
    wait_until("the step runs", || count_in_cache(&place, "begun") == 1);
    let others = ["second", "third"].map(|name| Beside::start(&place, name));
    wait_until("the others say that they wait", || others.iter().all(Beside::waits));
    fs::write(cache_data(&place).unwrap().join("go"), "").unwrap();
    let first = first.events();
    assert_eq!(waited(&first), 0);
    for other in others {
        let events = other.events();
        assert_eq!(waited(&events), 1, "it is said once");
        assert_eq!(rebuilt(&events), [""; 0]);
        assert_eq!(finished(&events)["repo"].0, finished(&first)["repo"].0);
    }
    assert_eq!((count_in_cache(&place, "begun"), count_in_cache(&place, "done")), (1, 1));
}

#[test]
fn a_build_that_is_stopped_leaves_the_others_to_finish() {
    for (signal, waiter_goes) in
        [(Signal::INT, false), (Signal::KILL, false), (Signal::INT, true), (Signal::KILL, true)]
    {
        let Some(place) = Place::that_builds() else { return };
        let mark = write_slow_fleet(&place);
        let runner = Beside::start(&place, "runner");
        wait_until("the step runs", || count_in_cache(&place, "begun") == 1);
        let waiter = Beside::start(&place, "waiter");
        wait_until("the other waits", || waiter.waits());
        let other = if waiter_goes {
            waiter.stop(signal);
            runner
        } else {
            stop_with_steps(runner, signal, &mark);
            waiter
        };
        let begins = if waiter_goes { 1 } else { 2 };
        wait_until("the other is at it", || count_in_cache(&place, "begun") == begins);
        fs::write(cache_data(&place).unwrap().join("go"), "").unwrap();
        assert_eq!(rebuilt(&other.events()), ["repo"]);
        assert_eq!(count_in_cache(&place, "done"), 1);
    }
}

#[test]
fn a_build_of_a_fleet_that_is_killed_leaves_another_to_finish_all_of_it() {
    let Some(place) = Place::that_builds() else { return };
    let mark = unlike_others();
    let count = |word: &str| format!("RUN --mount=type=cache,target=/c echo {word} >>/c/log\n");
    let slow = slow_step(&mark);
    let base = format!("FROM machine-base\n{}{slow}{}", count("early"), count("late"));
    place.write("base/Dockerfile", base);
    for name in ["one", "two"] {
        let text = format!("FROM base\n{}RUN cat /result >/{name}\n", count(name));
        place.write(&format!("{name}/Dockerfile"), text);
    }
    let killed = Beside::start(&place, "killed");
    wait_until("the step runs", || count_in_cache(&place, "begun") == 1);
    let others = ["second", "third"].map(|name| Beside::start(&place, name));
    wait_until("the others wait", || others.iter().all(Beside::waits));
    stop_with_steps(killed, Signal::KILL, &mark);
    wait_until("another is at it", || count_in_cache(&place, "begun") == 2);
    fs::write(cache_data(&place).unwrap().join("go"), "").unwrap();
    let images = others.map(|other| {
        let images = finished(&other.events()).into_iter();
        images.map(|(name, (digest, _))| (name, digest)).collect::<Vec<_>>()
    });
    assert_eq!(images[0].len(), 3, "{images:?}");
    assert_eq!(images[0], images[1]);
    for word in ["early", "done", "late", "one", "two"] {
        assert_eq!(count_in_cache(&place, word), 1, "{word}");
    }
    for name in ["one", "two"] {
        let told = place.run(&["run", name, "tail", "-1", &format!("/{name}")]);
        assert_eq!(told.ok().out, "9\n");
    }
}

#[test]
fn steps_of_one_run_that_come_to_the_same_run_once() {
    let Some(place) = Place::that_builds() else { return };
    // The definitions differ, what they copy does not.
    for (name, command) in [("a", "echo 1 >/x"), ("b", "printf '1\\n' >/x")] {
        let text = format!(
            "FROM machine-base AS make\nRUN {command} && touch -d @1 /x\nFROM machine-base\n\
             COPY --from=make /x /x\nRUN --mount=type=cache,id=n,target=/c \\\n  \
             echo begun >>/c/log; sleep 0.3; cat /x >/y\n"
        );
        place.write(&format!("{name}/Dockerfile"), text);
    }
    let events = place.events(&[]);
    assert_eq!(count_in_cache(&place, "begun"), 1, "{events:?}");
    let images = finished(&events);
    assert_eq!(images["a"].0, images["b"].0);
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
