//! Builds that are killed at any moment, and disks that are full at any moment: what is
//! recorded afterwards is right, and the next build goes on.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Place, Told, Tree, base, program, skipped};

/// Steps of every kind, whose results depend on `x`.
const STEPS: &str = "FROM machine-base AS make\n\
    COPY x many /in/\n\
    RUN cp -r /in /out && seq 1 3000 >/out/numbers && cat /in/x >>/out/numbers\n\
    RUN --mount=type=cache,target=/c cat /in/x >>/c/log; ln /out/numbers /out/hard; \
        ln -s numbers /out/link; rm -r /out/f3; mkdir -p /out/new/er && touch /out/new/er/empty\n\
    FROM machine-base\n\
    COPY --from=make /out /out\n\
    RUN rm /out/f1 && cat /out/link | tail -1 >/last && ls /out | wc -l >/count\n";

fn write_inputs(place: &Place, x: &str) {
    place.write("x", x);
    for file in 0..12 {
        place.write(&format!("many/f{file}"), format!("{file} {x}").repeat(2000));
    }
    place.write("Dockerfile", STEPS);
}

/// What a build of [`STEPS`] must come to.
fn assert_right(tree: &Tree, x: &str) {
    let numbers: String = (1..=3000).map(|n| format!("{n}\n")).collect();
    // Of the two names, the tar has the data under the first.
    assert!(tree.text("out/hard") == format!("{numbers}{x}"), "{x}");
    assert_eq!(tree.at("out/numbers").kind, tar::EntryType::Link, "{x}");
    assert_eq!(tree.text("last"), x, "{x}");
    assert_eq!(tree.text("count"), "15\n", "{x}");
    for file in [0, 2, 4, 11] {
        let content = tree.text(&format!("out/f{file}"));
        assert!(content == format!("{file} {x}").repeat(2000), "out/f{file} of {x}");
    }
    assert!(!tree.has("out/f1") && !tree.has("out/f3") && tree.has("out/new/er/empty"), "{x}");
    assert_eq!(tree.at("out/link").link.as_deref(), Some(Path::new("numbers")), "{x}");
}

/// Everything that the index leads to is there and whole: each image can be written anew, out
/// of the layers and out of the blobs.
fn build_right(place: &Place, x: &str) {
    let archive = place.path("image.tar");
    let dest = format!("type=oci,dest={}", archive.display());
    let tree = place.tree(STEPS, &["-o", &dest]);
    assert_right(&tree, x);
    place.run(&["run", "repo", "cat", "/last"]).ok().says(&[x]);
}

fn build_first(place: &Place) {
    write_inputs(place, "first\n");
    build_right(place, "first\n");
}

#[test]
fn a_build_that_is_killed_at_any_moment_leaves_nothing_wrong() {
    const ROUNDS: u32 = 24;
    let Some(place) = Place::that_builds() else { return };
    build_first(&place);
    let dest = format!("type=oci,dest={}", place.path("cut.tar").display());
    let start = |x: &str| {
        write_inputs(&place, x);
        let mut command = place.with_base("build", &["--progress", "quiet", "-o", &dest]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let begin = Instant::now();
    assert!(start("second\n").wait().unwrap().success());
    let mut whole = begin.elapsed();
    let mut cut_short = 0;
    for round in 0..ROUNDS {
        let x = format!("round {round}\n");
        let mut child = start(&x);
        // Every moment of a build, from its first to its last.
        let after = whole * round / ROUNDS;
        let begin = Instant::now();
        while begin.elapsed() < after && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).ok();
        if child.wait().unwrap().success() {
            // The machine had more to do when a whole build was measured.
            whole = whole.min(begin.elapsed());
        } else {
            cut_short += 1;
        }
        build_right(&place, &x);
        assert!(place.build(&[]).ok().all().contains("up to date"), "{round}");
    }
    assert!(cut_short > ROUNDS / 3, "only {cut_short} were cut short");
    let left: Vec<_> = fs::read_dir(place.store().join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Runs a build in a store on a disk of `size`, and, when it is done, the same on a disk with
/// room. Prints the exit code of the first.
const ON_SMALL_DISK: &str = r#"
set -e
mount -t tmpfs -o size="$1" none "$BAKEHOUSE_HOME"
shift
set +e
"$@" >first.out 2>&1
echo "$?" >first.code
set -e
mount -o remount,size=400m "$BAKEHOUSE_HOME"
exec "$@"
"#;

fn on_disk(place: &Place, size: &str, args: &[&str]) -> Command {
    let given = place.command(&[] as &[&str]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", ON_SMALL_DISK, "sh", size, program()]).args(args);
    command.current_dir(place.path("repo")).env_clear();
    command.envs(given.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[test]
fn a_disk_that_is_full_at_any_moment_leaves_nothing_wrong() {
    let Some(place) = Place::that_builds() else { return };
    fs::create_dir(place.store()).unwrap();
    if !on_disk(&place, "8m", &["schema"]).output().is_ok_and(|it| it.status.success()) {
        skipped("mounting a small disk is not allowed here");
        return;
    }
    write_inputs(&place, "small\n");
    let base = format!("machine-base=rootfs-tar://{}", base().display());
    let dest = format!("type=tar,dest={}", place.path("tree.tar").display());
    let args = ["build", "--progress", "plain", "--build-context", &base, "-o", &dest];
    // From too small for anything to large enough for everything, which is the base and a bit.
    let needed = usize::try_from(fs::metadata(crate::place::base()).unwrap().len() >> 10).unwrap();
    let part = |percent: usize| needed * percent / 100;
    let mut full = 0;
    for kilobytes in [16, 32, 48, 64].into_iter().chain((10..160).step_by(10).map(part)) {
        fs::remove_file(place.path("tree.tar")).ok();
        let size = format!("{kilobytes}k");
        let told = Told::from(on_disk(&place, &size, &args).output().unwrap());
        let first = fs::read_to_string(place.path("repo/first.out")).unwrap();
        let code = fs::read_to_string(place.path("repo/first.code")).unwrap();
        assert!(!first.contains("panicked"), "{size}: {first}");
        if code.trim() != "0" {
            full += 1;
            let said = ["no space left", "No space left", "full", "cannot be used"];
            assert!(said.iter().any(|part| first.contains(part)), "{size}: {first}");
            assert!(["1", "4"].contains(&code.trim()), "{size}: {code} {first}");
        }
        told.ok();
        let tree = Tree::read(fs::File::open(place.path("tree.tar")).unwrap());
        assert_right(&tree, "small\n");
    }
    // The base fits into none of those that are smaller.
    assert!(full >= 4 + 9, "only {full} disks were full");
}
