//! What instructions, mounts and flags do to a built image, seen in its files.

use std::fs;

use bakehouse_model::{EventKind, MissReason, Outcome};

use crate::place::{Place, logged, started};

#[test]
fn a_step_sees_nothing_of_the_machine() {
    let Some(place) = Place::that_builds() else { return };
    fs::write(place.path("home/outside"), "outside").unwrap();
    let outside = place.path("home/outside");
    let outside = outside.display();
    place.write(
        "Dockerfile",
        format!(
            "FROM machine-base\nRUN for up in / /.. /../.. /proc/1/root /proc/self/root/..; do \
             test ! -e $up/{outside} || exit 1; done; cd / && cd .. && test ! -e .{outside}\n\
             RUN cut -d' ' -f5 /proc/self/mountinfo >/mounts; ls /proc >/processes; \
             env >/environment; echo $$ >/pid; id >/id\n"
        ),
    );
    let dockerfile = fs::read_to_string(place.path("repo/Dockerfile")).unwrap();
    let tree = place.tree(&dockerfile, &[]);
    let mounts = tree.text("mounts");
    assert_eq!(mounts.lines().filter(|place| *place == "/").count(), 1, "{mounts}");
    let known = ["/proc", "/sys", "/dev", "/etc/"];
    let strange = mounts.lines().find(|m| *m != "/" && !known.iter().any(|k| m.starts_with(k)));
    assert_eq!(strange, None, "{mounts}");
    let environment = tree.text("environment");
    for name in ["BAKEHOUSE", "LC_ALL", "PROXY"] {
        assert!(!environment.contains(name), "{environment}");
    }
    assert_eq!(tree.text("pid"), "1\n");
    assert!(tree.text("id").starts_with("uid=0(root) gid=0(root)"), "{}", tree.text("id"));
}

#[test]
fn instructions_do_what_they_say() {
    let Some(place) = Place::that_has_users() else { return };
    place.write("a.txt", "a");
    place.write("folder/b.txt", "b");
    place.write("folder/deep/c.md", "c");
    let dockerfile = r#"FROM machine-base AS tools
ARG GREETING=hello
ENV WORD=$GREETING
RUN echo "$WORD $GREETING" >/word
FROM machine-base
COPY a.txt /copied/
COPY --chown=7:8 --chmod=0640 folder /owned/
COPY folder/*.txt /wild/
COPY --from=tools /word /from-stage
ADD a.txt /added
WORKDIR /work/dir
RUN pwd >where
RUN ["sh", "-c", "echo exec >/exec"]
RUN <<EOF
echo here
echo doc >/heredoc
EOF
COPY <<one <<"two" /files/
1 $WORD
one
2 $WORD
two
USER 12:34
RUN id -u >/tmp/user && id -g >>/tmp/user
SHELL ["/bin/sh", "-e", "-c"]
RUN echo $0 $- >/tmp/shell
"#;
    let tree = place.tree(dockerfile, &["--build-arg", "GREETING=salut"]);
    let files = [
        ("copied/a.txt", "a"),
        ("owned/b.txt", "b"),
        ("owned/deep/c.md", "c"),
        ("wild/b.txt", "b"),
        ("from-stage", "salut salut\n"),
        ("added", "a"),
        ("work/dir/where", "/work/dir\n"),
        ("exec", "exec\n"),
        ("heredoc", "doc\n"),
        ("files/one", "1 \n"),
        ("files/two", "2 $WORD\n"),
        ("tmp/user", "12\n34\n"),
    ];
    for (path, content) in files {
        assert_eq!(tree.text(path), content, "{path}");
    }
    assert!(tree.text("tmp/shell").contains('e'), "{}", tree.text("tmp/shell"));
    let owned = tree.at("owned/deep/c.md");
    assert_eq!((owned.owner, owned.mode), ((7, 8), 0o640));
    assert_eq!(tree.at("tmp/user").owner, (12, 34));
    assert!(!tree.has("wild/deep"));
}

#[test]
fn triggers_of_a_base_of_the_fleet_run_in_what_stands_on_it() {
    let Some(place) = Place::that_builds() else { return };
    place.write(
        "base/Dockerfile",
        "FROM machine-base\nONBUILD COPY data.txt /\nONBUILD RUN cat /data.txt >/triggered\n",
    );
    place.write("app/data.txt", "data\n");
    place.write("app/Dockerfile", "FROM base\nRUN cat /triggered >/after\n");
    place.build(&[]).ok();
    assert_eq!(place.run(&["run", "app", "cat", "/after"]).ok().out, "data\n");
}

#[test]
fn a_target_is_built_without_the_stages_that_it_does_not_need() {
    let Some(place) = Place::that_builds() else { return };
    place.write(
        "Dockerfile",
        "FROM machine-base AS one\nRUN echo 1 >/one\nFROM machine-base AS two\nRUN exit 1\n\
         FROM two\nRUN echo 3 >/three\n",
    );
    let events = place.events(&["--target", "one"]);
    let names: Vec<String> = started(&events).into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().any(|name| name.contains("/one")), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("exit 1")), "{names:?}");
}

#[test]
fn a_folder_can_stand_for_a_name() {
    let Some(place) = Place::that_builds() else { return };
    place.write("vendor/lib.txt", "lib");
    place.write("vendor/secret.txt", "no");
    place.write("vendor/.dockerignore", "secret.txt\n");
    let args = ["--build-context", "libs=vendor"];
    let tree = place.tree("FROM machine-base\nCOPY --from=libs / /libs/\n", &args);
    assert_eq!(tree.text("libs/lib.txt"), "lib");
    assert!(!tree.has("libs/secret.txt"));
    place.write("vendor/lib.txt", "another");
    let tree = place.tree("FROM machine-base\nCOPY --from=libs / /libs/\n", &args);
    assert_eq!(tree.text("libs/lib.txt"), "another");
}

#[test]
fn earlier_results_are_not_used_if_they_must_not_be() {
    let Some(place) = Place::that_builds() else { return };
    place.write(
        "Dockerfile",
        "FROM machine-base AS one\nRUN echo one >/one\nFROM machine-base AS two\n\
         COPY --from=one /one /\nRUN echo two >/two\n",
    );
    place.build(&[]).ok();
    let all = started(&place.events(&["--no-cache"]));
    let runs =
        all.iter().filter(|(name, why)| name.starts_with("RUN") && *why == MissReason::Forced);
    assert_eq!(runs.count(), 2, "{all:?}");
    let some = started(&place.events(&["--no-cache-filter", "two"]));
    assert!(some.iter().any(|(name, _)| name == "RUN echo two >/two"), "{some:?}");
    assert!(!some.iter().any(|(name, _)| name == "RUN echo one >/one"), "{some:?}");
    assert_eq!(started(&place.events(&[])), []);
}

#[test]
fn the_network_and_the_hosts_are_as_asked_for() {
    let Some(place) = Place::that_builds() else { return };
    let dockerfile = "FROM machine-base\nRUN --network=none tail -n +3 /proc/net/dev >/devices\n\
                      RUN cat /etc/hosts >/seen-hosts; df /dev/shm | tail -1 >/shm; ulimit -n >/files\n";
    let args =
        ["--add-host", "db.internal:10.1.2.3", "--shm-size", "2m", "--ulimit", "nofile=123:456"];
    let tree = place.tree(dockerfile, &args);
    let devices = tree.text("devices");
    let names: Vec<&str> =
        devices.lines().filter_map(|line| line.split(':').next()).map(str::trim).collect();
    assert_eq!(names, ["lo"], "{devices}");
    let hosts = tree.text("seen-hosts");
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert!(hosts.lines().any(|line| fields(line) == ["10.1.2.3", "db.internal"]), "{hosts}");
    assert!(tree.text("shm").contains(" 2048 "), "{}", tree.text("shm"));
    assert_eq!(tree.text("files"), "123\n");
    assert!(!tree.has("etc/hosts") || !tree.text("etc/hosts").contains("db.internal"));
}

#[test]
fn a_cache_survives_the_build_and_is_in_no_layer() {
    let Some(place) = Place::that_builds() else { return };
    let run = |marker: &str| {
        format!(
            "FROM machine-base\nRUN --mount=type=cache,target=/cache \
             echo {marker} >>/cache/log && cat /cache/log >/seen\n"
        )
    };
    assert_eq!(place.tree(&run("one"), &[]).text("seen"), "one\n");
    let tree = place.tree(&run("two"), &[]);
    assert_eq!(tree.text("seen"), "one\ntwo\n");
    assert!(!tree.has("cache/log"));
    let other = run("three").replace("type=cache,", "type=cache,id=other,");
    assert_eq!(place.tree(&other, &[]).text("seen"), "three\n");
    let read_only = "FROM machine-base\nRUN --mount=type=cache,id=other,target=/cache,ro \
                     cat /cache/log >/seen; ! touch /cache/x\n";
    assert_eq!(place.tree(read_only, &[]).text("seen"), "three\n");
}

#[test]
fn a_mounted_context_is_what_the_ignore_file_leaves_and_cannot_be_written_through() {
    let Some(place) = Place::that_builds() else { return };
    place.write("data/kept.txt", "kept");
    place.write("data/ignored.log", "ignored");
    place.write(".dockerignore", "**/*.log\n");
    let tree = place.tree(
        "FROM machine-base\nRUN --mount=type=bind,target=/context ls /context/data >/seen; \
         ! touch /context/new\n\
         RUN --mount=type=bind,source=data,target=/data,rw \
         echo changed >/data/kept.txt && rm -f /data/gone && cat /data/kept.txt >/written\n\
         RUN --mount=type=bind,source=data/kept.txt,target=/one cat /one >/single\n",
        &[],
    );
    assert_eq!(tree.text("seen"), "kept.txt\n");
    assert_eq!(tree.text("written"), "changed\n");
    assert_eq!(tree.text("single"), "kept");
    assert_eq!(fs::read_to_string(place.path("repo/data/kept.txt")).unwrap(), "kept");
    assert!(!tree.has("data/kept.txt") && !tree.has("context/data"));
    // What is ignored is no reason to build again, what is mounted is.
    place.write("data/ignored.log", "another");
    assert_eq!(started(&place.events(&[])), []);
    place.write("data/kept.txt", "another");
    assert_eq!(started(&place.events(&[])).len(), 3);
}

#[test]
fn a_memory_mount_is_gone_with_its_step() {
    let Some(place) = Place::that_builds() else { return };
    let tree = place.tree(
        "FROM machine-base\nRUN --mount=type=tmpfs,target=/memory,size=1m \
         echo x >/memory/x && df /memory | tail -1 >/size\nRUN ls /memory >/left 2>&1 || true\n",
        &[],
    );
    assert!(tree.text("size").contains(" 1024 "), "{}", tree.text("size"));
    assert!(!tree.has("memory/x"));
}

#[test]
fn a_bound_stage_is_seen_and_not_changed() {
    let Some(place) = Place::that_builds() else { return };
    let tree = place.tree(
        "FROM machine-base AS tools\nRUN mkdir /kit && echo saw >/kit/saw\n\
         FROM machine-base\nRUN --mount=from=tools,source=/kit,target=/kit cat /kit/saw >/seen; \
         ! touch /kit/x\nRUN --mount=from=tools,target=/kit,rw touch /kit/kit/x\n\
         COPY --from=tools /kit /copied\n",
        &[],
    );
    assert_eq!(tree.text("seen"), "saw\n");
    assert!(tree.has("copied/saw") && !tree.has("copied/x"));
}

#[test]
fn labels_and_other_settings_are_in_the_images_configuration() {
    let Some(place) = Place::that_builds() else { return };
    place.write(
        "Dockerfile",
        "FROM machine-base\nENV A=1\nLABEL from=file both=file\nEXPOSE 80\nVOLUME /data\n\
         STOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s CMD true\nWORKDIR /w\nUSER 5\n\
         ENTRYPOINT [\"echo\"]\nCMD [\"x\"]\n",
    );
    let dest = place.path("layout");
    let output = format!("type=oci,tar=false,dest={}", dest.display());
    place.build(&["--label", "given=flag", "--label", "both=flag", "-o", &output]).ok();
    let config = crate::outputs::config(&dest);
    let own = &config["config"];
    assert_eq!(own["Labels"], serde_json::json!({"both": "flag", "from": "file", "given": "flag"}));
    assert_eq!(own["Cmd"], serde_json::json!(["x"]));
    assert_eq!(own["Entrypoint"], serde_json::json!(["echo"]));
    assert_eq!(own["ExposedPorts"], serde_json::json!({"80/tcp": {}}));
    assert_eq!(own["Volumes"], serde_json::json!({"/data": {}}));
    assert_eq!(own["WorkingDir"], "/w");
    assert_eq!(own["User"], "5");
    assert_eq!(own["StopSignal"], "SIGINT");
    assert_eq!(own["Healthcheck"]["Interval"], 5_000_000_000_u64);
    let env: Vec<&str> = own["Env"].as_array().unwrap().iter().filter_map(|e| e.as_str()).collect();
    assert!(env.contains(&"A=1") && env.iter().any(|e| e.starts_with("PATH=")), "{env:?}");
    assert_eq!(
        config["history"].as_array().unwrap().iter().filter(|h| h["empty_layer"] != true).count(),
        config["rootfs"]["diff_ids"].as_array().unwrap().len()
    );
}

#[test]
fn what_a_step_says_is_in_the_events_line_by_line() {
    let Some(place) = Place::that_builds() else { return };
    place.write(
        "Dockerfile",
        "FROM machine-base\nRUN echo out; echo err >&2; printf 'no end'\nRUN seq 1 5000\n",
    );
    let events = place.events(&[]);
    let lines = logged(&events);
    let dropped: u64 = events
        .iter()
        .map(|event| match event.kind {
            EventKind::LogDropped { lines, .. } => lines,
            _ => 0,
        })
        .sum();
    assert_eq!(lines.lines().count() as u64 + dropped, 5003, "{dropped} dropped");
    for line in ["out", "err", "no end"] {
        assert!(lines.lines().any(|l| l == line), "{line}");
    }
    let first = events.first().map(|event| &event.kind);
    assert!(matches!(first, Some(EventKind::RunStarted { version: 1, .. })));
    let last = events.last().map(|event| &event.kind);
    assert!(matches!(last, Some(EventKind::RunFinished { .. })));
    let ends = |e: &&bakehouse_model::Event| matches!(e.kind, EventKind::RunFinished { .. });
    assert_eq!(events.iter().filter(ends).count(), 1);
}

#[test]
fn every_started_step_ends_once_and_results_are_json_if_asked_for() {
    let Some(place) = Place::that_builds() else { return };
    place.write("a/Dockerfile", "FROM machine-base\nRUN echo a >/a\n");
    place.write("b/Dockerfile", "FROM a\nRUN echo b >/b\n");
    let told = place.build(&["--progress", "json", "--format", "json"]);
    let events = told.ok().events();
    for event in &events {
        if let EventKind::StepStarted { step, .. } = &event.kind {
            let ends = events.iter().filter(
                |e| matches!(&e.kind, EventKind::StepFinished { step: ended, .. } if ended == step),
            );
            assert_eq!(ends.count(), 1, "{step}");
        }
    }
    for value in [
        told.json(),
        place.ask("plan", &["--format", "json"]).ok().json(),
        place.ask("why", &["b", "--format", "json"]).ok().json(),
        place.build(&["--dry-run", "--format", "json"]).ok().json(),
    ] {
        assert_eq!(value["version"], 1, "{value}");
    }
    assert_eq!(place.run(&["graph", "--format", "json"]).ok().json()["version"], 2);
}

/// Steps that take 200 MB of memory, and start eight processes.
const GREEDY: &str = "RUN echo before; dd if=/dev/zero of=/dev/null bs=200M count=1\n";

#[test]
fn a_step_that_takes_too_much_memory_is_named_as_such() {
    let Some(place) = Place::that_builds() else { return };
    place.write("Dockerfile", format!("FROM machine-base\n{GREEDY}"));
    place.build(&["--memory", "1g", "--total-memory", "2g"]).ok();
    place.write("bakehouse.toml", "[limits.run]\nmemory = \"64m\"\n");
    for args in [&["--memory", "64m", "--total-memory", "4g"][..], &["--total-memory", "64m"], &[]]
    {
        let told = place.build(&[args, &["--progress", "json", "--no-cache"]].concat());
        if told.all().contains("no-limits") {
            crate::place::skipped("no cgroup can be made here");
            return;
        }
        let events = told.exits(1).events();
        let failed = events.iter().find_map(|event| match &event.kind {
            EventKind::StepFinished { outcome: Outcome::Failed { causes, code, .. }, .. } => {
                Some((causes.clone(), *code))
            }
            _ => None,
        });
        let (causes, code) = failed.unwrap();
        assert_eq!(code, Some(137), "{causes:?}");
        assert!(causes[0].contains("it used more memory than it may"), "{causes:?}");
    }
    place.write(
        "Dockerfile",
        "FROM machine-base\nRUN for i in 1 2 3 4 5 6 7 8; do sleep 1 & done\n",
    );
    let told = place.build(&["--pids-limit", "3"]);
    if told.all().contains("no-limits") {
        crate::place::skipped("no cgroup can limit processes here");
        return;
    }
    told.exits(1);
    place.build(&["--pids-limit", "30", "--total-pids-limit", "3"]).exits(1);
    place.build(&["--pids-limit", "30"]).ok();
}

#[test]
fn what_a_dockerfile_asks_for_beyond_the_usual_must_be_allowed() {
    let Some(place) = Place::that_builds() else { return };
    let cases = [
        ("RUN --security=insecure true", "security.insecure"),
        ("RUN --network=host true", "network.host"),
    ];
    for (run, entitlement) in cases {
        place.write("Dockerfile", format!("FROM machine-base\n{run}\n"));
        place.build(&[]).exits(3).says(&["not-entitled", &format!("--allow {entitlement}")]);
        place.build(&["--allow", entitlement]).ok();
        // What a file of the repository asks for, it is not given because of that.
        let bake = format!("target \"app\" {{\n  entitlements = [\"{entitlement}\"]\n}}\n");
        place.write("docker-bake.hcl", bake);
        place.build(&["-f", "docker-bake.hcl"]).exits(3).says(&[&format!("--allow {entitlement}")]);
        place.build(&["-f", "docker-bake.hcl", "--allow", entitlement]).ok();
        fs::remove_file(place.path("repo/docker-bake.hcl")).unwrap();
    }
}

/// The bit of the capability that others must not have.
const SYS_ADMIN: u64 = 1 << 21;

#[test]
fn an_insecure_step_may_do_what_others_may_not() {
    let Some(place) = Place::that_builds() else { return };
    let tree = place.tree(
        "FROM machine-base\nRUN grep CapBnd: /proc/self/status >/usual\n\
         RUN --security=insecure grep CapBnd: /proc/self/status >/insecure; \
         grep Seccomp: /proc/self/status >>/insecure\n\
         RUN grep CapBnd: /proc/self/status >/after\n",
        &["--allow", "security.insecure"],
    );
    assert!(tree.text("usual").contains("00000000a80425fb"), "{}", tree.text("usual"));
    assert_eq!(tree.text("usual"), tree.text("after"));
    let insecure = tree.text("insecure");
    let capabilities = insecure.lines().next().and_then(|line| line.split('\t').nth(1)).unwrap();
    let capabilities = u64::from_str_radix(capabilities, 16).unwrap();

    assert_ne!(capabilities & SYS_ADMIN, 0, "{insecure}");
    assert!(insecure.contains("Seccomp:\t0"), "{insecure}");
}
