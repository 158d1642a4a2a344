//! From the text of a Dockerfile to steps, configuration and history, as BuildKit has them.

use bakehouse_model::oci::{Platform, RunConfig};
use bakehouse_model::op::{FileAction, Mode, Op, Owner, Principal};
use bakehouse_plan::lower::{Base, LowerFailure, NoCache};

use crate::build::{Build, folder, image};

#[test]
fn variables_reach_a_process_where_buildkit_lets_them() {
    let table: &[(&str, &[(&str, &str)], &[&str])] = &[
        ("ARG A=1\nFROM base\nRUN x", &[], &[]),
        ("ARG A=1\nFROM base\nARG A\nRUN x", &[], &["A=1"]),
        ("ARG A=1\nFROM base\nARG A\nRUN x", &[("A", "3")], &["A=3"]),
        ("ARG A=1\nFROM base\nARG A=2\nRUN x", &[], &["A=2"]),
        ("ARG A=1\nFROM base\nARG A=2\nRUN x", &[("A", "3")], &["A=3"]),
        ("ARG A=1 B=${A}0\nFROM base\nARG B\nRUN x", &[], &["B=10"]),
        ("ARG A=1\nARG B=${A}0\nFROM base\nARG B\nRUN x", &[("A", "3")], &["B=30"]),
        ("FROM base\nARG A\nRUN x", &[], &[]),
        ("FROM base\nARG A\nRUN x", &[("A", "3")], &["A=3"]),
        ("FROM base\nARG A=\nRUN x", &[], &["A="]),
        ("FROM base\nRUN x\nARG A=1", &[("A", "3")], &[]),
        ("FROM base\nARG A=1 B=$A\nRUN x", &[], &["A=1", "B=1"]),
        ("FROM base\nARG A=1\nENV A=e\nRUN x", &[("A", "3")], &["A=e"]),
        ("FROM base\nENV A=1\nENV A=2 B=$A\nRUN x", &[], &["A=2", "B=1"]),
        ("FROM base\nENV A=$NOT\nRUN x", &[], &["A="]),
        ("FROM base\nENV A=${NOT:-d} B=${A:+y}\nRUN x", &[], &["A=d", "B="]),
        ("FROM base AS one\nARG A=1\nFROM one\nRUN x", &[], &["A=1"]),
        ("FROM base AS one\nENV A=1\nFROM one\nRUN x", &[], &["A=1"]),
        ("FROM base AS one\nARG A=1\nFROM base\nCOPY --from=one / /\nRUN x", &[], &[]),
        ("FROM base\nRUN x", &[("HTTP_PROXY", "p")], &[]),
        ("FROM base\nRUN x", &[("UNDECLARED", "p")], &[]),
        ("FROM base\nRUN x\n# TARGETARCH exists, but must be declared", &[], &[]),
        ("FROM base\nARG TARGETARCH\nRUN x", &[], &["TARGETARCH=amd64"]),
        ("FROM base\nARG TARGETARCH=own\nRUN x", &[], &["TARGETARCH=own"]),
        (
            "FROM base\nARG BUILDPLATFORM TARGETPLATFORM TARGETOS TARGETVARIANT\nRUN x",
            &[],
            &[
                "BUILDPLATFORM=linux/amd64",
                "TARGETPLATFORM=linux/amd64",
                "TARGETOS=linux",
                "TARGETVARIANT=",
            ],
        ),
        ("FROM base\nARG TARGETSTAGE\nRUN x", &[], &["TARGETSTAGE=default"]),
        ("FROM base AS Fin\nARG TARGETSTAGE\nRUN x", &[], &["TARGETSTAGE=Fin"]),
    ];
    for (text, args, env) in table {
        assert_eq!(Build::args(args).lower(text).env(), *env, "{text} {args:?}");
    }
}

#[test]
fn proxies_are_given_to_processes_but_are_in_no_key_or_history() {
    let text = "FROM base\nRUN x";
    let with = Build::args(&[("HTTP_PROXY", "p"), ("no_proxy", "n")]).lower(text);
    let proxy = &with.runs()[0].proxy_env;
    assert_eq!(*proxy, ["HTTP_PROXY=p", "http_proxy=p", "NO_PROXY=n", "no_proxy=n"]);
    assert_eq!(with.history(), ["RUN /bin/sh -c x # buildkit"]);
    let without = Build::new().lower(text);
    let digest = |done: &crate::build::Done| {
        bakehouse_plan::key::op_digest(done.graph.step(done.lowered.root.unwrap()))
    };
    assert_eq!(digest(&with), digest(&without));
}

#[test]
fn the_history_is_buildkits() {
    let table: &[(&str, &[&str])] = &[
        ("RUN echo  a", &["+RUN /bin/sh -c echo  a # buildkit"]),
        ("RUN [\"a\", \"b c\"]", &["+RUN a b c # buildkit"]),
        (
            "ARG A=b\nARG C\nRUN echo $A",
            &["ARG A=b", "ARG C", "+RUN |2 A=b C= /bin/sh -c echo $A # buildkit"],
        ),
        ("ARG A=1 B=2", &["ARG A=1 B=2"]),
        ("ARG A=b\nENV A=e\nRUN x", &["ARG A=b", "ENV A=e", "+RUN |1 A=e /bin/sh -c x # buildkit"]),
        ("ENV a=1 b=\"c d\"", &["ENV a=1 b=c d"]),
        ("ENV a b c", &["ENV a=b c"]),
        ("LABEL a=1 \"b c\"=d", &["LABEL a=1 b c=d"]),
        ("CMD [\"sh\"]", &["CMD [\"sh\"]"]),
        ("CMD echo \"hi\"", &["CMD [\"/bin/sh\" \"-c\" \"echo \\\"hi\\\"\"]"]),
        ("ENTRYPOINT [\"a\", \"b\"]", &["ENTRYPOINT [\"a\" \"b\"]"]),
        (
            "SHELL [\"/bin/bash\", \"-c\"]\nCMD x\nRUN y",
            &[
                "SHELL [/bin/bash -c]",
                "CMD [\"/bin/bash\" \"-c\" \"x\"]",
                "+RUN /bin/bash -c y # buildkit",
            ],
        ),
        ("COPY a b", &["+COPY a b # buildkit"]),
        (
            "COPY --chown=1:2 --chmod=755 a b c/",
            &["+COPY --chown=1:2 --chmod=755 a b c/ # buildkit"],
        ),
        ("COPY --parents --link a b/", &["+COPY --parents a b/ # buildkit"]),
        ("COPY --from=tool /a /b", &["+COPY /a /b # buildkit"]),
        ("ADD a.tar /", &["+ADD a.tar / # buildkit"]),
        ("COPY <<ONE <<TWO /x/\n1\nONE\n2\nTWO", &["+COPY <<ONE <<TWO /x/ # buildkit"]),
        ("RUN <<EOF\na\nb\nEOF", &["+RUN /bin/sh -c a\nb\n # buildkit"]),
        ("RUN <<EOF\n#!/bin/x\na\nEOF", &["+RUN /bin/sh -c /dev/pipes/EOF # buildkit"]),
        ("EXPOSE 80 443/UDP 9000-9001", &["EXPOSE [443/udp 80/tcp 9000/tcp 9001/tcp]"]),
        ("VOLUME /a /b", &["VOLUME [/a /b]"]),
        ("USER app", &["USER app"]),
        ("WORKDIR /a\nWORKDIR b", &["+WORKDIR /a", "+WORKDIR /a/b"]),
        ("WORKDIR /", &["WORKDIR /"]),
        ("STOPSIGNAL SIGTERM", &["STOPSIGNAL SIGTERM"]),
        ("MAINTAINER a b", &["MAINTAINER a b"]),
        ("ONBUILD RUN x", &[]),
        (
            "HEALTHCHECK --interval=90s --retries=3 CMD curl -f x",
            &[
                "HEALTHCHECK {Test:[CMD-SHELL curl -f x] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}",
            ],
        ),
        (
            "HEALTHCHECK NONE",
            &[
                "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
            ],
        ),
    ];
    for (text, expected) in table {
        let done = Build::new().lower(&format!("FROM base\n{text}"));
        let history = &done.lowered.config.history;
        assert_eq!(history[0].created_by, "base", "the base's is kept");
        let lines: Vec<String> = history[1..]
            .iter()
            .map(|entry| {
                assert_eq!(entry.comment, "buildkit.dockerfile.v0");
                let layer = if entry.empty_layer { "" } else { "+" };
                format!("{layer}{}", entry.created_by)
            })
            .collect();
        assert_eq!(lines, *expected, "{text}");
    }
}

#[test]
fn an_entry_point_resets_only_a_command_that_is_inherited() {
    let table: &[(&str, Option<&[&str]>)] = &[
        ("FROM base", Some(&["sh"])),
        ("FROM base\nENTRYPOINT [\"e\"]", None),
        ("FROM base\nCMD [\"c\"]\nENTRYPOINT [\"e\"]", Some(&["c"])),
        ("FROM base\nENTRYPOINT [\"e\"]\nCMD [\"c\"]", Some(&["c"])),
        ("FROM base AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"e\"]", None),
        ("FROM base AS a\nCMD [\"c\"]\nFROM a", Some(&["c"])),
        ("FROM base\nCMD []", Some(&[])),
    ];
    for (text, cmd) in table {
        let done = Build::new().lower(text);
        let got: Option<Vec<&str>> =
            done.config().cmd.as_ref().map(|cmd| cmd.iter().map(String::as_str).collect());
        assert_eq!(got.as_deref(), *cmd, "{text}");
    }
}

#[test]
fn what_the_base_says_is_kept_and_added_to() {
    let text = "FROM rich\nENV B=2 A=3\nLABEL l=new\nEXPOSE 81\nVOLUME /v2\nWORKDIR sub\nSTOPSIGNAL 9\nMAINTAINER me\nCMD x";
    let config: RunConfig = serde_json::from_value(serde_json::json!({
        "User": "app", "Env": ["A=1", "B=1", "C=1"], "Labels": {"l": "old", "k": "kept"},
        "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v1": {}}, "WorkingDir": "/srv",
        "Shell": ["/bin/ash", "-c"], "Hostname": "of a container",
    }))
    .unwrap();
    let done = Build::new().image("rich", config).lower(text);
    let got = serde_json::to_value(done.config()).unwrap();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(
        got,
        serde_json::json!({
            "User": "app", "Env": ["A=3", "B=2", "C=1", path], "Labels": {"l": "new", "k": "kept"},
            "ExposedPorts": {"80/tcp": {}, "81/tcp": {}}, "Volumes": {"/v1": {}, "/v2": {}},
            "WorkingDir": "/srv/sub", "Shell": ["/bin/ash", "-c"],
            "Cmd": ["/bin/ash", "-c", "x"], "ArgsEscaped": true, "StopSignal": "9",
        })
    );
    assert_eq!(done.lowered.config.author, "me");
}

#[test]
fn scratch_has_a_path_and_no_step() {
    let done = Build::new().lower("FROM scratch\nCMD [\"/x\"]");
    assert_eq!(done.lowered.root, None);
    assert_eq!(done.config().env.len(), 1);
    assert_eq!(done.config().working_dir, "/");
    assert_eq!(done.lowered.config.architecture, "amd64");
    assert!(done.asked.is_empty());
    let done = Build::new().lower("FROM scratch\nCOPY a /");
    assert_eq!(done.steps(), ["folder context", "copy 0:/a / < context"]);
}

#[test]
fn triggers_fire_once_before_the_stage_and_go_no_further() {
    let on_build = |triggers: &[&str]| RunConfig {
        on_build: triggers.iter().map(|text| (*text).to_owned()).collect(),
        ..RunConfig::default()
    };
    let build = Build::new().image("on", on_build(&["ARG A=t", "RUN trigger"]));
    let done = build.lower("FROM on\nRUN own");
    assert_eq!(
        done.history(),
        [
            "ARG A=t",
            "RUN |1 A=t /bin/sh -c trigger # buildkit",
            "RUN |1 A=t /bin/sh -c own # buildkit"
        ]
    );
    assert!(done.config().on_build.is_empty(), "not inherited");
    let names: Vec<&str> = done.graph.steps().iter().map(|s| s.origin.name.as_str()).collect();
    assert!(names.contains(&"ONBUILD RUN trigger"), "{names:?}");

    // Of a previous stage, once; the third stage has none left.
    let done = Build::new().lower(
        "FROM base AS a\nONBUILD RUN late\nRUN one\nFROM a AS b\nRUN two\nFROM b\nRUN three",
    );
    assert_eq!(
        done.history(),
        ["one", "late", "two", "three"].map(|name| format!("RUN /bin/sh -c {name} # buildkit"))
    );
    assert!(done.config().on_build.is_empty());

    let done = Build::new().lower("FROM base\nONBUILD COPY . /src\nONBUILD RUN make");
    assert_eq!(done.config().on_build, ["COPY . /src", "RUN make"]);
    assert!(done.history().is_empty());
}

#[test]
fn triggers_may_need_other_images_and_stages() {
    let config =
        RunConfig { on_build: vec!["COPY --from=extra /a /b".to_owned()], ..RunConfig::default() };
    let mut build = Build::new().image("on", config);
    let Err(LowerFailure::Needs(needs)) = build.try_lower("FROM on") else { panic!() };
    assert_eq!(needs.iter().map(|need| need.name.as_str()).collect::<Vec<_>>(), ["extra"]);
    build.images.insert("extra".to_owned(), image("extra", RunConfig::default()));
    let done = build.lower("FROM on");
    assert_eq!(
        done.steps(),
        ["image on", "image extra", "copy 1:/a /b < FROM on, FROM extra"],
        "the trigger reads it"
    );
    let done = build.lower("FROM base AS extra\nRUN x\nFROM on");
    assert!(done.steps().contains(&"run /bin/sh -c x < FROM base".to_owned()));
}

#[test]
fn a_stage_may_be_of_another_platform_and_the_image_is_for_the_target() {
    let mut build = Build::new();
    build.settings.platform = Some("linux/arm64".parse().unwrap());
    let text = "FROM --platform=$BUILDPLATFORM base AS tools\nRUN native\nFROM tool\nARG TARGETARCH\nCOPY --from=tools /a /b\nRUN target";
    let done = build.lower(text);
    assert_eq!(done.asked, ["base linux/amd64", "tool linux/arm64"]);
    let platform = |command: &str| {
        let step = done.graph.steps().iter().find(|step| match &step.op {
            Op::Exec(exec) => exec.args.last().is_some_and(|arg| arg == command),
            _ => false,
        });
        step.unwrap().platform.clone()
    };
    assert_eq!(platform("native"), Platform::linux("amd64"));
    assert_eq!(platform("target"), Platform::linux("arm64"));
    assert_eq!(done.env(), ["TARGETARCH=arm64"]);
    assert_eq!(done.lowered.config.architecture, "arm64");
    assert_eq!(done.lowered.platform, Platform::linux("arm64"));
}

#[test]
fn without_a_platform_the_base_says_what_the_image_is_for() {
    let mut build = Build::new();
    let mut base = image("other", RunConfig::default());
    if let Base::Image(image) = &mut base {
        image.config.architecture = "arm".to_owned();
        image.config.variant = "v6".to_owned();
    }
    build.images.insert("other".to_owned(), base);
    let done = build.lower("FROM other\nRUN x");
    assert_eq!(done.lowered.platform.to_string(), "linux/arm/v6");
}

#[test]
fn named_contexts_take_the_place_of_images_and_stages() {
    let mut build = Build::new();
    build.named.insert("base".to_owned(), image("other", RunConfig::default()));
    let done = build.lower("FROM base\nRUN x");
    assert_eq!(done.steps(), ["image other", "run /bin/sh -c x < FROM other"]);
    assert!(done.asked.is_empty());

    let mut build = Build::new();
    build.named.insert("files".to_owned(), Base::Context(folder("files")));
    let done = build.lower("FROM base\nCOPY --from=files a /");
    assert!(done.steps().contains(&"copy 1:/a / < FROM base, files".to_owned()));
    let done = build.lower("FROM files\nRUN x");
    assert_eq!(
        done.steps(),
        ["folder files", "copy 0:/ / < files", "run /bin/sh -c x < FROM files"]
    );

    // The stage's own instructions, and what they need, are not even looked at.
    let mut build = Build::new();
    build.named.insert("tools".to_owned(), image("prebuilt", RunConfig::default()));
    let text = "FROM nowhere AS tools\nRUN never\nFROM base\nCOPY --from=tools /a /b";
    let done = build.lower(text);
    assert_eq!(done.asked, ["base linux/amd64"]);
    assert!(done.runs().is_empty());
    assert!(done.steps().contains(&"image prebuilt".to_owned()));

    let mut build = Build::new();
    build.named.insert("tools".to_owned(), Base::Scratch);
    let done = build.lower("FROM nowhere AS tools\nRUN never\nFROM tools\nCMD [\"x\"]");
    assert_eq!(done.lowered.root, None);
}

#[test]
fn only_what_the_target_needs_is_asked_for() {
    let text = "FROM one AS a\nFROM two AS b\nRUN x\nFROM a AS c\nCOPY --from=b / /\nFROM three AS d\nFROM a\n";
    let table: &[(Option<&str>, &[&str])] = &[
        (None, &["one"]),
        (Some("c"), &["one", "two"]),
        (Some("C"), &["one", "two"]),
        (Some("b"), &["two"]),
        (Some("3"), &["three"]),
        (Some("0"), &["one"]),
        (Some(""), &["one"]),
    ];
    for (target, names) in table {
        let mut build = Build::new();
        build.target = *target;
        let Err(LowerFailure::Needs(needs)) = build.try_lower(text) else { panic!("{target:?}") };
        let got: Vec<&str> = needs.iter().map(|need| need.name.as_str()).collect();
        assert_eq!(got, *names, "{target:?}");
        assert!(needs.iter().all(|need| need.location.is_some()));
    }
}

#[test]
fn stages_are_found_by_name_and_by_number() {
    let table = [
        ("FROM base AS One\nRUN x\nFROM tool\nCOPY --from=one /a /", "RUN x"),
        ("FROM base\nRUN x\nFROM tool\nCOPY --from=0 /a /", "RUN x"),
        ("FROM base AS a\nRUN y\nFROM base AS a\nRUN x\nFROM tool\nCOPY --from=a /a /", "RUN x"),
        ("FROM base AS tool\nRUN x\nFROM tool\nCOPY --from=0 /a /", "RUN x"),
        ("FROM tool\nCOPY --from=base /a /", "FROM base"),
    ];
    for (text, from) in table {
        let steps = Build::new().lower(text).steps();
        let copy = steps.last().unwrap();
        assert!(copy.ends_with(from), "{text}: {copy}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let table = [
        (
            "FROM base AS a\nCOPY --from=b /x /\nFROM base AS b\nRUN y\nFROM a",
            "Dockerfile:2: cannot copy from stage `b`, it needs to be defined before current stage `a`",
        ),
        (
            "FROM base AS a\nRUN --mount=from=b y\nFROM base AS b\nFROM a",
            "Dockerfile:2: cannot copy from stage `b`, it needs to be defined before current stage `a`",
        ),
        (
            "FROM base AS a\nCOPY --from=b /x /\nFROM base AS b\nCOPY --from=a /x /",
            "Dockerfile:1: circular dependency detected on stage: `a`",
        ),
        (
            "FROM base AS a\nCOPY --from=a /x /\nFROM a",
            "Dockerfile:1: circular dependency detected on stage: `a`",
        ),
        ("FROM base\nCOPY --from=3 a b", "Dockerfile:2: invalid stage index 3"),
        ("FROM $NOTHING", "Dockerfile:1: base name (`$NOTHING`) should not be blank"),
        (
            "FROM --platform=$NOTHING base",
            "Dockerfile:1: empty platform value from expression `$NOTHING`",
        ),
        ("FROM base\nEXPOSE 80/x", "Dockerfile:2: invalid port: \"80/x\": invalid proto: x"),
        ("FROM base\nSTOPSIGNAL SIGNOT", "Dockerfile:2: invalid signal: `SIGNOT`"),
        ("FROM base\nCOPY https://x/y /", "Dockerfile:2: source can't be a URL for COPY"),
        ("FROM base\nRUN --security=insecure x", "Dockerfile:2: security.insecure is not allowed"),
        ("FROM base\nRUN --network=host x", "Dockerfile:2: network.host is not allowed"),
        (
            "FROM base\nVOLUME [\"$NOT\"]",
            "Dockerfile:2: VOLUME specified can not be an empty string",
        ),
        ("FROM scratch\nCOPY --from=scratch /a /", "Dockerfile:2: `/a`: not found in `scratch`"),
    ];
    for (text, expected) in table {
        assert_eq!(Build::new().wrong(text), expected, "{text}");
    }
    let mut build = Build::new();
    build.target = Some("relaese");
    assert_eq!(
        build.wrong("FROM base AS build\nFROM base AS release"),
        "Dockerfile:1: target stage `relaese` could not be found"
    );
}

#[test]
fn copies_say_where_from_and_where_to() {
    let table = [
        ("COPY a b", "copy 1:/a /b < FROM base, context"),
        ("COPY a b/", "copy 1:/a /b/ < FROM base, context"),
        ("COPY . .", "copy 1:/ / < FROM base, context"),
        ("COPY a b c/", "copy 1:/a /c/; copy 1:/b /c/ < FROM base, context"),
        ("COPY ../../a /x", "copy 1:/a /x < FROM base, context"),
        ("COPY --from=tool /a /b", "copy 1:/a /b < FROM base, FROM tool"),
        ("COPY --from=base /a /b", "copy 0:/a /b < FROM base"),
        (
            "ADD https://h/d/f.tgz?x=1 /d/",
            "copy 1:/f.tgz /d/ < FROM base, download https://h/d/f.tgz?x=1",
        ),
        (
            "ADD https://h/r.git#v1:sub /d/",
            "copy 1:/ /d/ < FROM base, fetch https://h/r.git#v1:sub",
        ),
        ("ENV D=/data\nCOPY $D/a ${D}/b", "copy 1:/data/a /data/b < FROM base, context"),
    ];
    for (text, expected) in table {
        let steps = Build::new().lower(&format!("FROM base\n{text}")).steps();
        assert_eq!(steps.last().unwrap(), expected, "{text}");
    }
    let steps = Build::new().lower("FROM base\nWORKDIR /w\nCOPY a .").steps();
    assert_eq!(steps.last().unwrap(), "copy 1:/a /w/ < WORKDIR /w, context");
    let steps =
        Build::new().lower("FROM base\nENV X=1\nCOPY <<A <<'B' /d/\n$X\nA\n$X\nB\n").steps();
    assert!(steps.contains(&"file /A \"1\\n\"".to_owned()), "{steps:?}");
    assert!(steps.contains(&"file /B \"$X\\n\"".to_owned()), "{steps:?}");
}

#[test]
fn flags_of_copies_are_in_the_op() {
    let text =
        "FROM base\nARG U=app\nCOPY --chown=$U:0 --chmod=u=rwX,go=rX --exclude=*.md src/*.rs /d/";
    let done = Build::new().lower(text);
    let root = done.graph.step(done.lowered.root.unwrap());
    let Op::File(file) = &root.op else { panic!() };
    let [FileAction::Copy(copy)] = file.actions.as_slice() else { panic!() };
    let user = Principal::Name { name: "app".to_owned(), input: Some(0) };
    let owner = Owner { user: Some(user), group: Some(Principal::Id { id: 0 }) };
    assert_eq!(copy.owner, Some(owner));
    assert_eq!(copy.mode, Some(Mode::Symbolic { text: "u=rwX,go=rX".to_owned() }));
    assert_eq!(copy.exclude_patterns, ["*.md"]);
    assert!(copy.allow_wildcard && copy.allow_empty_wildcard && copy.follow_symlink);
    assert!(copy.dir_copy_contents && !copy.attempt_unpack);

    let done = Build::new().lower("FROM base\nADD --chmod=0644 a.tar /d/");
    let Op::File(file) = &done.graph.step(done.lowered.root.unwrap()).op else { panic!() };
    let [FileAction::Copy(copy)] = file.actions.as_slice() else { panic!() };
    assert!(copy.attempt_unpack);
    assert_eq!(copy.mode, Some(Mode::Bits { bits: 0o644 }));

    let done = Build::new().lower("FROM base\nCOPY --parents a/./b/c /d/");
    let Op::File(file) = &done.graph.step(done.lowered.root.unwrap()).op else { panic!() };
    let [FileAction::Copy(copy)] = file.actions.as_slice() else { panic!() };
    assert_eq!(
        (copy.src.as_str(), copy.include_patterns.as_slice()),
        ("/a", &["b/c".to_owned()][..])
    );
    assert_eq!(copy.required_paths, ["/a/b/c"]);
}

#[test]
fn a_chown_number_alone_is_the_group_too() {
    let done = Build::new().lower("FROM base\nCOPY --chown=7 a /");
    let Op::File(file) = &done.graph.step(done.lowered.root.unwrap()).op else { panic!() };
    let [FileAction::Copy(copy)] = file.actions.as_slice() else { panic!() };
    // The op says only the user, as LLB does; whoever copies takes the number for both.
    let owner = Owner { user: Some(Principal::Id { id: 7 }), group: None };
    assert_eq!(copy.owner, Some(owner));
}

#[test]
fn no_cache_is_for_stages_by_name_or_for_all() {
    let text = "FROM base AS A\nRUN a\nFROM base AS b\nRUN b\nFROM base\nCOPY --from=a / /a\nCOPY --from=b / /b";
    let uncached = |no_cache: NoCache| -> Vec<String> {
        let mut build = Build::new();
        build.settings.no_cache = no_cache;
        let done = build.lower(text);
        let steps = done.graph.steps().iter().filter(|step| step.no_cache);
        steps.map(|step| step.origin.name.clone()).collect()
    };
    assert!(uncached(NoCache::Nothing).is_empty());
    assert_eq!(uncached(NoCache::Stages(vec!["a".to_owned()])), ["RUN a"]);
    assert_eq!(uncached(NoCache::Everything).len(), 4);
}

#[test]
fn a_time_for_everything_is_in_the_history_and_the_result() {
    let done = Build::args(&[("SOURCE_DATE_EPOCH", "5")]).lower("FROM base\nRUN x");
    assert_eq!(done.lowered.epoch, Some(5));
    let last = done.lowered.config.history.last().unwrap();
    assert_eq!(last.created.as_deref(), Some("1970-01-01T00:00:05Z"));
    let done = Build::new().lower("ARG SOURCE_DATE_EPOCH=7\nFROM base");
    assert_eq!(done.lowered.epoch, Some(7));
    assert!(Build::args(&[("SOURCE_DATE_EPOCH", "x")]).wrong("FROM base").contains("`x`"));
}

#[test]
fn places_of_steps_are_told() {
    let text = "FROM base AS b\nRUN one\n\nRUN two \\\n  more\nFROM tool\nCOPY --from=b /a /";
    let done = Build::new().lower(text);
    let places: Vec<String> = done
        .graph
        .steps()
        .iter()
        .map(|step| {
            let place = step.origin.location.as_ref().unwrap();
            format!("{}-{} {}", place.line, place.end_line, step.origin.name)
        })
        .collect();
    assert_eq!(
        places,
        [
            "1-1 FROM base:latest",
            "6-6 FROM tool:latest",
            "2-2 RUN one",
            "4-5 RUN two   more",
            "7-7 COPY --from=b /a /"
        ]
    );
}

#[test]
fn what_tools_noted_in_a_bases_configuration_stays_there() {
    let mut build = Build::new();
    let Some(Base::Image(base)) = build.images.get_mut("base") else { panic!("an image") };
    for name in ["comment", "container_config", "os.features"] {
        base.config.extra.insert(name.to_owned(), "x".into());
    }
    base.config.config.extra.insert("Hostname".to_owned(), "x".into());
    let config = build.lower("FROM base\nENV A=b").lowered.config;
    assert_eq!(config.extra.keys().collect::<Vec<_>>(), ["os.features"]);
    assert!(config.config.extra.is_empty());
}

#[test]
fn an_image_for_windows_takes_files_and_settings_and_refuses_what_would_run() {
    let on_windows = |text: &str| {
        let mut build = Build::new();
        build.settings.platform = Some("windows(10.0.1)/amd64".parse().unwrap());
        build.try_lower(text)
    };
    let done = on_windows("FROM scratch\nARG TARGETPLATFORM\nCOPY a .\nENTRYPOINT a b").unwrap();
    let config = &done.lowered.config;
    assert_eq!(config.config.working_dir, "\\");
    assert_eq!(config.config.entrypoint.as_ref().unwrap()[..3], ["cmd", "/S", "/C"]);
    assert_eq!((config.config.env.len(), config.os_version.as_str()), (0, "10.0.1"));
    assert_eq!(done.history()[0], "ARG TARGETPLATFORM=windows(10.0.1)/amd64");
    for text in ["FROM scratch\nRUN a", "FROM scratch\nWORKDIR C:/a"] {
        let Err(LowerFailure::Wrong(diagnostic)) = on_windows(text) else { panic!("{text}") };
        assert_eq!(diagnostic.code, "foreign-system");
        assert!(diagnostic.message.contains("BuildKit"), "{}", diagnostic.message);
    }
}

#[test]
fn a_stage_is_named_in_any_case_but_by_from() {
    let named = |text: &str| {
        let told = Build::new().try_lower(text);
        told.is_ok()
    };
    assert!(named("FROM base AS One\nFROM one\nCOPY --from=ONE /a /b"));
    assert!(!named("FROM base AS One\nFROM One\nENV a=b"));
}

#[test]
fn another_front_end_is_refused_in_an_argument_too() {
    let told = |syntax: &str| {
        let text = "FROM base\nRUN x";
        Build::args(&[("BUILDKIT_SYNTAX", syntax)]).try_lower(text).is_ok()
    };
    for own in ["docker/dockerfile:1", "docker.io/docker/dockerfile:1-labs", " docker/dockerfile "]
    {
        assert!(told(own), "{own}");
    }
    for other in ["other/front:1", "docker/dockerfile2", ""] {
        assert!(!told(other), "{other}");
    }
    let args = [("BUILDKIT_SYNTAX", "other/front:1 cmd")];
    let Err(LowerFailure::Wrong(diagnostic)) = Build::args(&args).try_lower("FROM base") else {
        panic!("it is taken");
    };
    assert_eq!(diagnostic.code, "foreign-front-end");
    assert!(diagnostic.message.contains("`BUILDKIT_SYNTAX=other/front:1`"), "{diagnostic:?}");
}
