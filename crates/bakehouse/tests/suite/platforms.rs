//! Builds for other machines than this one: what is shared, what is emulated, what is told.

use std::fs;

use bakehouse_testkit::foreign::arm64_program;

use crate::place::{Place, Tree, is_root, skipped, started};

/// The name of the emulator that the tests use.
const QEMU: &str = "qemu-aarch64-static";

/// A repository whose image is made by a program for arm64, which starts itself again.
fn write_foreign(place: &Place) {
    place.write("program", arm64_program());
    place.write(
        "Dockerfile",
        "FROM scratch\nCOPY --chmod=755 program /program\nRUN [\"/program\", \"/program\"]\n",
    );
}

/// Where the emulator is; none, and a line that says so, where there is none or nothing can
/// be built.
fn emulator() -> Option<(Place, std::path::PathBuf)> {
    let place = Place::that_builds()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(QEMU)).find(|path| path.is_file());
    if found.is_none() || cfg!(not(target_arch = "x86_64")) {
        skipped("no qemu-aarch64-static on an x86_64 machine");
        return None;
    }
    write_foreign(&place);
    Some((place, found?))
}

/// Whether the kernel can register emulators for one user namespace (Linux 6.7).
fn kernel_registers() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.trim().parse::<u32>().ok());
    let has = (numbers.next(), numbers.next()) >= (Some(6), Some(7));
    let kinds = fs::read_to_string("/proc/filesystems").unwrap();
    let has = has && kinds.contains("binfmt_misc");
    if !has {
        skipped("this kernel registers no emulators for one user namespace");
    }
    has
}

#[test]
fn a_foreign_step_and_what_it_starts_run_in_an_emulator_that_is_found_by_name() {
    let Some((place, _)) = emulator() else { return };
    if !kernel_registers() {
        return;
    }
    let local = format!("type=local,dest={}", place.path("tree").display());
    place.build(&["--platform", "linux/arm64", "-o", &local]).ok();
    assert_eq!(fs::read_to_string(place.path("tree/ran")).unwrap(), "aarch64\n");
    let emulator = place.path("tree/dev/.buildkit_qemu_emulator");
    assert!(!emulator.exists(), "the emulator is not in the result");
}

#[test]
fn an_ordinary_users_foreign_steps_run_too() {
    let Some((mut place, _)) = emulator() else { return };
    if !is_root() || !kernel_registers() {
        return;
    }
    place.become_user(65_533);
    let local = format!("type=local,dest={}", place.path("home/tree").display());
    place.build(&["--platform", "linux/arm64", "-o", &local]).ok();
    assert_eq!(fs::read_to_string(place.path("home/tree/ran")).unwrap(), "aarch64\n");
}

#[test]
fn an_emulator_can_be_given() {
    let Some((mut place, qemu)) = emulator() else { return };
    if !kernel_registers() {
        return;
    }
    fs::copy(qemu, place.path("repo/emulator")).unwrap();
    place.set("PATH", "/nowhere");
    let given = "linux/arm64=emulator";
    place.build(&["--platform", "linux/arm64", "--emulator", given]).ok();
}

#[test]
fn what_is_no_emulator_is_refused_before_anything_is_done() {
    let place = Place::new();
    write_foreign(&place);
    place.write("script", "#!/bin/sh\n");
    let cases = [
        ("arm64", "is not PLATFORM=PATH"),
        ("linux/arm64=", "is not PLATFORM=PATH"),
        ("linux/arm64=missing", "names no file"),
        ("linux/arm64=script", "is not a static program"),
        ("linux/pdp11=script", "is for a machine whose programs are not known"),
    ];
    for (given, expected) in cases {
        place.build(&["--emulator", given]).exits(2).says(&[expected]);
    }
}

#[test]
fn without_an_emulator_the_error_says_what_to_install() {
    let Some(place) = Place::that_builds() else { return };
    place.write("program", b"\x7fELF\x01\x01\x01 of a machine that nobody has".as_slice());
    place.write(
        "Dockerfile",
        "FROM scratch\nCOPY --chmod=755 program /program\nRUN [\"/program\"]\n",
    );
    let told = place.build(&["--platform", "linux/ppc64"]);
    told.exits(1).says(&["exec format error", "qemu-ppc64-static", "--emulator linux/ppc64=PATH"]);
}

#[test]
fn a_native_stage_runs_once_for_all_platforms() {
    let Some(place) = Place::that_builds() else { return };
    place.write(
        "Dockerfile",
        "FROM --platform=$BUILDPLATFORM machine-base AS tool\nRUN echo made >/tool\n\
         FROM --platform=$BUILDPLATFORM machine-base AS cross\nARG TARGETARCH\nARG TARGETVARIANT\n\
         COPY --from=tool /tool /tool\nRUN echo $TARGETARCH$TARGETVARIANT >/out\n\
         FROM scratch\nCOPY --from=tool /tool /\nCOPY --from=cross /out /\n",
    );
    let local = format!("type=local,dest={}", place.path("tree").display());
    let platforms = "linux/amd64,linux/arm64,linux/arm/v7,linux/amd64/v2,linux/arm64/v8";
    let archive = place.path("tree.tar");
    let tar = format!("type=tar,dest={}", archive.display());
    let events = place.events(&["--platform", platforms, "-o", &local, "-o", &tar]);
    let started = started(&events);
    let runs = |part: &str| started.iter().filter(|(name, _)| name.contains(part)).count();
    assert_eq!(runs("RUN echo made"), 1, "{started:?}");
    // One for each; arm64/v8 is arm64.
    assert_eq!(runs(">/out"), 4, "{started:?}");
    let tree = Tree::read(fs::File::open(&archive).unwrap());
    let cases = [
        ("linux_amd64", "amd64"),
        ("linux_arm64", "arm64"),
        ("linux_arm_v7", "armv7"),
        ("linux_amd64_v2", "amd64v2"),
    ];
    for (folder, expected) in cases {
        let out = fs::read_to_string(place.path("tree").join(folder).join("out")).unwrap();
        assert_eq!(out.trim(), expected);
        assert_eq!(tree.text(&format!("{folder}/out")).trim(), expected);
        assert_eq!(tree.at(folder).kind, tar::EntryType::Directory);
    }
    for kind in ["tar", "local"] {
        let merged = format!("type={kind},platform-split=false,dest={}", place.path("m").display());
        let told = place.build(&["--platform", platforms, "-o", &merged]);
        told.exits(3).says(&["cannot be in one folder"]);
    }
    // One platform may have a folder too.
    let split = format!("type=local,platform-split=true,dest={}", place.path("s").display());
    place.build(&["--platform", "linux/arm/v7", "-o", &split]).ok();
    assert!(place.path("s/linux_arm_v7/out").is_file());
}

#[test]
fn an_image_of_the_fleet_that_only_helps_to_build_is_made_for_this_machine() {
    let Some(place) = Place::that_builds() else { return };
    place.write("tool/Dockerfile", "FROM machine-base\nRUN echo made >/tool\n");
    place.write(
        "app/Dockerfile",
        "FROM --platform=$BUILDPLATFORM tool AS build\nARG TARGETARCH\n\
         RUN cat /tool >/out && echo $TARGETARCH >>/out\nFROM scratch\nCOPY --from=build /out /\n",
    );
    let local = format!("type=local,dest={}", place.path("tree").display());
    // No machine's programs are foreign to all of these.
    let platforms = "linux/amd64,linux/arm64,linux/s390x";
    let events = place.events(&["--platform", platforms, "-o", &local, "app"]);
    let started = started(&events);
    let made = started.iter().filter(|(name, _)| name.contains("echo made")).count();
    assert_eq!(made, 1, "{started:?}");
    for architecture in ["amd64", "arm64", "s390x"] {
        let out = fs::read_to_string(place.path(&format!("tree/linux_{architecture}/out")));
        assert_eq!(out.unwrap(), format!("made\n{architecture}\n"));
    }
}

#[test]
fn a_root_file_system_is_for_each_platform_that_it_is_asked_for() {
    let Some(place) = Place::that_builds() else { return };
    place.write("a.txt", "a\n");
    place.write("Dockerfile", "FROM machine-base\nCOPY a.txt /\n");
    let layout = place.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let told = place.build(&["--platform", "linux/amd64,linux/s390x", "-o", &output]);
    assert!(!told.ok().all().contains("base-platform"));
    let bytes = |digest: &str| {
        let hex = digest.strip_prefix("sha256:").unwrap();
        fs::read(layout.join("blobs/sha256").join(hex)).unwrap()
    };
    let read = |descriptor: &serde_json::Value| -> serde_json::Value {
        serde_json::from_slice(&bytes(descriptor["digest"].as_str().unwrap())).unwrap()
    };
    let top: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let index = read(&top["manifests"][0]);
    for (at, architecture) in ["amd64", "s390x"].into_iter().enumerate() {
        assert_eq!(index["manifests"][at]["platform"]["architecture"], architecture);
        let config = read(&read(&index["manifests"][at])["config"]);
        assert_eq!(config["architecture"], architecture);
    }
}

#[test]
fn where_no_more_namespaces_are_allowed_the_command_itself_is_emulated() {
    let Some((place, _)) = emulator() else { return };
    if !is_root() {
        return;
    }
    place.write(
        "Dockerfile",
        "FROM scratch\nCOPY --chmod=755 program /program\nRUN [\"/program\"]\n",
    );
    let local = format!("type=local,dest={}", place.path("tree").display());
    let build = place.with_base("build", &["--platform", "linux/arm64", "-o", &local]);
    let mut command = std::process::Command::new("unshare");
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command.arg(build.get_program()).args(build.get_args()).env_clear();
    command.current_dir(build.get_current_dir().unwrap());
    command.envs(build.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let told = command.output().unwrap();
    let err = String::from_utf8_lossy(&told.stderr);
    if err.contains("unshare:") || err.contains("max_user_namespaces") {
        skipped("no user namespace whose limit can be set");
        return;
    }
    assert!(told.status.success(), "{err}");
    assert_eq!(fs::read_to_string(place.path("tree/ran")).unwrap(), "aarch64\n");
}
