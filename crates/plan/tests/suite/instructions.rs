//! Instructions, one by one: what they become, and what is said of those that are wrong.

use bakehouse_model::oci::Healthcheck;
use bakehouse_model::op::{Network, Security};
use bakehouse_plan::codes;
use bakehouse_plan::dockerfile::{
    Add, Command, Copy, Dockerfile, InstructionKind, Parsed, Run, parse, parse_onbuild_trigger,
};

fn good(text: &str) -> Dockerfile {
    let parsed = parse(text.as_bytes(), "Dockerfile");
    assert!(!parsed.has_errors(), "{text:?}: {:?}", parsed.diagnostics);
    parsed.dockerfile
}

/// The one instruction of a stage.
fn kind(text: &str) -> InstructionKind {
    let mut instructions = good(&format!("FROM a\n{text}\n")).stages.remove(0).instructions;
    assert_eq!(instructions.len(), 1, "{text:?}");
    instructions.remove(0).kind
}

fn errors(parsed: &Parsed) -> Vec<String> {
    let errors =
        parsed.diagnostics.iter().filter(|d| d.severity == bakehouse_model::Severity::Error);
    errors
        .map(|d| {
            let line = d.location.as_ref().unwrap().line;
            // Help that every diagnostic of the code has says nothing about this one.
            let usual = codes::get(&d.code).map(|code| code.help);
            let own = d.help.as_deref().filter(|help| Some(*help) != usual);
            let help = own.map_or(String::new(), |help| format!(" ({help})"));
            format!("{line} {}: {}{help}", d.code, d.message)
        })
        .collect()
}

fn shell(text: &str) -> Command {
    Command::Shell(text.to_owned())
}

fn exec(args: &[&str]) -> Command {
    Command::Exec(args.iter().map(|arg| (*arg).to_owned()).collect())
}

#[test]
fn from_has_a_base_a_name_and_a_platform() {
    let table = [
        ("FROM a", "a", None, None),
        ("from a", "a", None, None),
        ("FROM a AS b", "a", Some("b"), None),
        ("FROM a as B", "a", Some("b"), None),
        ("FROM a\tAS\tb.c-d_e0", "a", Some("b.c-d_e0"), None),
        ("FROM --platform=linux/amd64 a", "a", None, Some("linux/amd64")),
        ("FROM --platform=$BUILDPLATFORM a AS b", "a", Some("b"), Some("$BUILDPLATFORM")),
        ("FROM --platform= a", "a", None, None),
        ("FROM --platform=\"a b\" x", "x", None, Some("a b")),
        ("FROM ${X:-y}", "${X:-y}", None, None),
        ("FROM \\\n  a \\\n  AS b", "a", Some("b"), None),
        ("  FROM a  ", "a", None, None),
        ("FROM -- a", "a", None, None),
    ];
    for (text, base, name, platform) in table {
        let stage = good(text).stages.remove(0);
        assert_eq!(stage.base, base, "{text:?}");
        assert_eq!(stage.name.as_deref(), name, "{text:?}");
        assert_eq!(stage.platform.as_deref(), platform, "{text:?}");
    }
}

#[test]
fn stages_are_found_by_name_the_last_one_first() {
    let file = good("FROM a AS x\nFROM b AS Y\nFROM c AS x\nFROM d");
    assert_eq!(file.stage_by_name("X"), Some(2));
    assert_eq!(file.stage_by_name("y"), Some(1));
    assert_eq!(file.stage_by_name("z"), None);
    assert_eq!(file.stage_before("x", 2), Some(0));
    assert_eq!(file.stage_before("x", 0), None);
    assert_eq!(file.stages[1].written_name.as_deref(), Some("Y"));
}

#[test]
fn pairs_are_split_and_stay_raw() {
    let table: &[(&str, &[(&str, &str, bool)])] = &[
        ("a=b", &[("a", "b", false)]),
        ("a=b c=d", &[("a", "b", false), ("c", "d", false)]),
        ("a=", &[("a", "", false)]),
        ("a=b=c", &[("a", "b=c", false)]),
        ("a=\"b c\"", &[("a", "\"b c\"", false)]),
        ("a='b c' d=e", &[("a", "'b c'", false), ("d", "e", false)]),
        ("a=b\\ c d=e", &[("a", "b\\ c", false), ("d", "e", false)]),
        ("a=\"b\\\"c\" d=e", &[("a", "\"b\\\"c\"", false), ("d", "e", false)]),
        ("a='b\\' c=d", &[("a", "'b\\'", false), ("c", "d", false)]),
        ("\"a b\"=c", &[("\"a b\"", "c", false)]),
        ("a=$b", &[("a", "$b", false)]),
        ("a=b \\\n  c=d", &[("a", "b", false), ("c", "d", false)]),
        ("a=b \\\n# no\n\n  c=d", &[("a", "b", false), ("c", "d", false)]),
        ("a=\"b \\\nc\"", &[("a", "\"b c\"", false)]),
        ("a=b\\", &[("a", "b", false)]),
        ("a=\"\"", &[("a", "\"\"", false)]),
        ("a b", &[("a", "b", true)]),
        ("a b c", &[("a", "b c", true)]),
        ("a   b  c ", &[("a", "b  c", true)]),
        ("a b=c", &[("a", "b=c", true)]),
        ("a \"b c\"", &[("a", "\"b c\"", true)]),
        ("a =b", &[("a", "=b", true)]),
        ("a\tb", &[("a", "b", true)]),
    ];
    for (rest, expected) in table {
        for keyword in ["ENV", "LABEL", "env"] {
            let (InstructionKind::Env(pairs) | InstructionKind::Label(pairs)) =
                kind(&format!("{keyword} {rest}"))
            else {
                panic!("{rest:?}");
            };
            let found: Vec<_> =
                pairs.iter().map(|p| (p.key.as_str(), p.value.as_str(), p.legacy)).collect();
            assert_eq!(&found, expected, "{rest:?}");
        }
    }
}

#[test]
fn arguments_have_names_and_may_have_defaults() {
    let table: &[(&str, &[(&str, Option<&str>)])] = &[
        ("a", &[("a", None)]),
        ("a=", &[("a", Some(""))]),
        ("a=b", &[("a", Some("b"))]),
        (
            "a b=\"\" c='d e' f=g=h",
            &[("a", None), ("b", Some("\"\"")), ("c", Some("'d e'")), ("f", Some("g=h"))],
        ),
        ("a=$b", &[("a", Some("$b"))]),
        ("--nobody-looks a", &[("a", None)]),
    ];
    for (rest, expected) in table {
        let InstructionKind::Arg(args) = kind(&format!("ARG {rest}")) else { panic!("{rest:?}") };
        let found: Vec<_> = args.iter().map(|a| (a.name.as_str(), a.default.as_deref())).collect();
        assert_eq!(&found, expected, "{rest:?}");
    }
    let file = good("ARG a=1\nARG b c=2\nFROM x\nARG d");
    let names = file.meta_args.iter().flat_map(|meta| &meta.args).map(|arg| arg.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(file.stages[0].instructions.len(), 1);
}

#[test]
fn a_command_is_json_only_if_it_is_an_array() {
    let table = [
        ("ls -l", shell("ls -l")),
        ("  ls   -l  ", shell("ls   -l")),
        ("ls \\\n  -l", shell("ls   -l")),
        ("[\"ls\", \"-l\"]", exec(&["ls", "-l"])),
        ("[ \"a\\u00e9\\n\" ]", exec(&["aé\n"])),
        ("[\"a\", \\\n  \"b\"]", exec(&["a", "b"])),
        ("[]", exec(&[])),
        ("[\"\"]", exec(&[""])),
        ("['a']", shell("['a']")),
        ("[\"a\"", shell("[\"a\"")),
        ("[\"a]", shell("[\"a]")),
        ("[\"a\"] b", shell("[\"a\"] b")),
        ("[\"a\",]", shell("[\"a\",]")),
        ("[ -f x ]", shell("[ -f x ]")),
        ("\"[\\\"a\\\"]\"", shell("\"[\\\"a\\\"]\"")),
        ("", shell("")),
    ];
    for (rest, expected) in table {
        for keyword in ["RUN", "CMD", "ENTRYPOINT"] {
            let command = match kind(&format!("{keyword} {rest}")) {
                InstructionKind::Run(run) => run.command,
                InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => command,
                other => panic!("{other:?}"),
            };
            assert_eq!(command, expected, "{keyword} {rest:?}");
        }
    }
}

#[test]
fn run_has_flags_of_its_own() {
    let plain = Run {
        command: shell("x"),
        heredocs: Vec::new(),
        mounts: Vec::new(),
        network: Network::Default,
        security: Security::Sandbox,
        devices: Vec::new(),
    };
    assert_eq!(kind("RUN x"), InstructionKind::Run(plain.clone()));
    assert_eq!(kind("RUN -- x"), InstructionKind::Run(plain.clone()));
    let mounts = vec!["type=cache,target=/a b".to_owned(), "target=$x".to_owned()];
    assert_eq!(
        kind("RUN --mount=type=cache,target=\"/a b\" \\\n --mount=target=$x x"),
        InstructionKind::Run(Run { mounts, ..plain.clone() })
    );
    for (text, network) in
        [("none", Network::None), ("host", Network::Host), ("default", Network::Default)]
    {
        let expected = Run { network, ..plain.clone() };
        assert_eq!(kind(&format!("RUN --network={text} x")), InstructionKind::Run(expected));
    }
    let insecure = Run { security: Security::Insecure, ..plain };
    assert_eq!(kind("RUN --security=insecure x"), InstructionKind::Run(insecure));
    let table = [
        ("vendor.com/class=name", "vendor.com/class=name", false),
        ("name=vendor.com/class", "vendor.com/class", false),
        ("name=a,required", "a", true),
        ("a,required=true", "a", true),
        ("required=false,name=a", "a", false),
    ];
    for (text, name, required) in table {
        let InstructionKind::Run(run) = kind(&format!("RUN --device={text} x")) else { panic!() };
        let found = (run.devices[0].name.as_str(), run.devices[0].required);
        assert_eq!(found, (name, required), "{text}");
    }
}

#[test]
fn run_keeps_what_looks_like_a_flag_but_follows_a_word() {
    let InstructionKind::Run(run) = kind("RUN x --mount=y") else { panic!() };
    assert_eq!((run.command, run.mounts.len()), (shell("x --mount=y"), 0));
    let InstructionKind::Run(run) = kind("RUN -- --mount=y") else { panic!() };
    assert_eq!((run.command, run.mounts.len()), (shell("--mount=y"), 0));
}

fn copy(rest: &str) -> Copy {
    match kind(&format!("COPY {rest}")) {
        InstructionKind::Copy(copy) => copy,
        other => panic!("{other:?}"),
    }
}

fn add(rest: &str) -> Add {
    match kind(&format!("ADD {rest}")) {
        InstructionKind::Add(add) => add,
        other => panic!("{other:?}"),
    }
}

#[test]
fn copy_and_add_have_sources_a_destination_and_flags() {
    let table: &[(&str, &[&str], &str)] = &[
        ("a b", &["a"], "b"),
        ("a b c/", &["a", "b"], "c/"),
        ("a\t\tb", &["a"], "b"),
        ("[\"a b\", \"c d\"]", &["a b"], "c d"),
        ("a [b]", &["a"], "[b]"),
        ("$a ${b:-c}", &["$a"], "${b:-c}"),
        ("\"a b\" c", &["\"a", "b\""], "c"),
        ("--link -- --a b", &["--a"], "b"),
        ("- b", &["-"], "b"),
    ];
    for (rest, sources, dest) in table {
        for transfer in [copy(rest).transfer, add(rest).transfer] {
            assert_eq!(&transfer.sources, sources, "{rest:?}");
            assert_eq!(&transfer.dest, dest, "{rest:?}");
        }
    }
    let all = copy(
        "--from=x --chown=$u:g --chmod=0755 --link --parents=true --exclude=*.a --exclude=b a b",
    );
    assert_eq!(all.from.as_deref(), Some("x"));
    assert_eq!(all.transfer.chown.as_deref(), Some("$u:g"));
    assert_eq!(all.transfer.chmod.as_deref(), Some("0755"));
    assert!(all.transfer.link && all.parents);
    assert_eq!(all.transfer.excludes, ["*.a", "b"]);
    let none = copy("--from= --chown= --link=false a b");
    assert_eq!((none.from, none.transfer.chown), (None, None));
    assert!(!none.transfer.link && !none.parents);
    let all = add("--checksum=sha256:$x --keep-git-dir --unpack=false --exclude=c a b");
    assert_eq!(all.checksum.as_deref(), Some("sha256:$x"));
    assert_eq!((all.keep_git_dir, all.unpack), (Some(true), Some(false)));
    let none = add("a b");
    assert_eq!((none.checksum, none.keep_git_dir, none.unpack), (None, None, None));
}

#[test]
fn a_health_check_is_complete() {
    let of = |test: &[&str]| Healthcheck {
        test: test.iter().map(|word| (*word).to_owned()).collect(),
        ..Healthcheck::default()
    };
    let second = 1_000_000_000;
    let table = [
        ("NONE", of(&["NONE"])),
        ("none", of(&["NONE"])),
        ("--interval=5s NONE", of(&["NONE"])),
        ("CMD a b", of(&["CMD-SHELL", "a b"])),
        ("cmd a", of(&["CMD-SHELL", "a"])),
        ("CMD [\"a\", \"b\"]", of(&["CMD", "a", "b"])),
        ("CMD ['a']", of(&["CMD-SHELL", "['a']"])),
        (
            "--interval=1m30s CMD a",
            Healthcheck { interval: 90 * second, ..of(&["CMD-SHELL", "a"]) },
        ),
        ("--timeout=0 CMD a", of(&["CMD-SHELL", "a"])),
        (
            "--interval=5s --timeout=3s --start-period=1s --start-interval=2s --retries=4 CMD a",
            Healthcheck {
                interval: 5 * second,
                timeout: 3 * second,
                start_period: second,
                start_interval: 2 * second,
                retries: 4,
                ..of(&["CMD-SHELL", "a"])
            },
        ),
    ];
    for (rest, expected) in table {
        let found = kind(&format!("HEALTHCHECK {rest}"));
        assert_eq!(found, InstructionKind::Healthcheck(expected), "{rest:?}");
    }
}

#[test]
fn the_small_ones_keep_their_text() {
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let table = [
        ("MAINTAINER A <a@b.c>", InstructionKind::Maintainer("A <a@b.c>".to_owned())),
        ("USER $u:g", InstructionKind::User("$u:g".to_owned())),
        ("USER a b", InstructionKind::User("a b".to_owned())),
        ("WORKDIR /a b", InstructionKind::Workdir("/a b".to_owned())),
        ("WORKDIR \"/a b\"", InstructionKind::Workdir("\"/a b\"".to_owned())),
        ("STOPSIGNAL $s", InstructionKind::StopSignal("$s".to_owned())),
        ("STOPSIGNAL --x 9", InstructionKind::StopSignal("9".to_owned())),
        ("EXPOSE 80 443/tcp $p", InstructionKind::Expose(strings(&["$p", "443/tcp", "80"]))),
        ("EXPOSE 9000-9010", InstructionKind::Expose(strings(&["9000-9010"]))),
        ("VOLUME /a /b", InstructionKind::Volume(strings(&["/a", "/b"]))),
        ("VOLUME [\"/a\", \" /b \"]", InstructionKind::Volume(strings(&["/a", "/b"]))),
        ("SHELL [\"/bin/bash\", \"-c\"]", InstructionKind::Shell(strings(&["/bin/bash", "-c"]))),
    ];
    for (text, expected) in table {
        assert_eq!(kind(text), expected, "{text:?}");
    }
}

#[test]
fn a_trigger_is_kept_as_text_and_parsed() {
    let table = [
        ("ONBUILD RUN x", "RUN x", true),
        ("onbuild  run x", "run x", true),
        ("ONBUILD COPY --from=a . /b", "COPY --from=a . /b", true),
        ("ONBUILD RUN a \\\n  b", "RUN a   b", true),
        ("ONBUILD ARG x", "ARG x", true),
        ("ONBUILD NONSENSE x", "NONSENSE x", false),
        ("ONBUILD COPY a", "COPY a", false),
        ("ONBUILD -- RUN x", "-- RUN x", false),
    ];
    for (text, expression, valid) in table {
        let InstructionKind::OnBuild(onbuild) = kind(text) else { panic!("{text:?}") };
        assert_eq!(onbuild.expression, expression, "{text:?}");
        assert_eq!(onbuild.trigger.is_some(), valid, "{text:?}");
        if let Some(trigger) = onbuild.trigger {
            assert_eq!(trigger.span.line, 2);
        }
    }
}

#[test]
fn a_trigger_of_a_base_image_is_parsed_alone() {
    let table = [
        ("RUN x", Ok("RUN")),
        ("COPY . /a", Ok("COPY")),
        ("ARG a", Ok("ARG")),
        ("# syntax=x\nRUN x", Ok("RUN")),
        ("RUN <<A\nx\nA", Ok("RUN")),
        ("ONBUILD RUN x", Ok("ONBUILD")),
        ("RUN x\nRUN y", Err("should be a single expression")),
        ("FROM x", Err("FROM isn't allowed as an ONBUILD trigger")),
        ("", Err("file with no instructions")),
        ("# x", Err("file with no instructions")),
        ("FOO x", Err("unknown instruction: `FOO`")),
        ("COPY x", Err("COPY requires at least two arguments")),
        ("COPY --from=$x a b", Err("variable expansion is not supported for --from")),
        ("RUN <<A\nx", Err("unterminated heredoc")),
    ];
    for (text, expected) in table {
        match (parse_onbuild_trigger(text), expected) {
            (Ok(found), Ok(keyword)) => assert_eq!(found.keyword(), keyword, "{text:?}"),
            (Err(found), Err(part)) => assert!(found.message.contains(part), "{text:?}: {found}"),
            (found, _) => panic!("{text:?}: {found:?}"),
        }
    }
}

#[test]
fn an_instruction_that_is_wrong_says_why() {
    let table = [
        ("FOO x", "2 unknown-instruction: unknown instruction: `FOO` (did you mean `FROM`?)"),
        ("PLEASE x", "2 unknown-instruction: unknown instruction: `PLEASE`"),
        ("RNU x", "2 unknown-instruction: unknown instruction: `RNU` (did you mean `RUN`?)"),
        ("copi a b", "2 unknown-instruction: unknown instruction: `copi` (did you mean `copy`?)"),
        ("MAINTAINER", "2 argument-count: MAINTAINER requires exactly one argument"),
        ("WORKDIR", "2 argument-count: WORKDIR requires exactly one argument"),
        ("USER", "2 argument-count: USER requires exactly one argument"),
        ("STOPSIGNAL", "2 argument-count: STOPSIGNAL requires exactly one argument"),
        ("ENV", "2 argument-count: ENV requires at least one argument"),
        ("LABEL", "2 argument-count: LABEL requires at least one argument"),
        ("ARG", "2 argument-count: ARG requires at least one argument"),
        ("ONBUILD", "2 argument-count: ONBUILD requires at least one argument"),
        ("HEALTHCHECK", "2 argument-count: HEALTHCHECK requires at least one argument"),
        ("EXPOSE", "2 argument-count: EXPOSE requires at least one argument"),
        ("VOLUME", "2 argument-count: VOLUME requires at least one argument"),
        ("VOLUME []", "2 argument-count: VOLUME requires at least one argument"),
        ("SHELL", "2 argument-count: SHELL requires at least one argument"),
        ("SHELL []", "2 argument-count: SHELL requires at least one argument"),
        ("FROM", "2 argument-count: FROM requires either one or three arguments"),
        ("FROM a b", "2 argument-count: FROM requires either one or three arguments"),
        ("FROM a IS b", "2 argument-count: FROM requires either one or three arguments"),
        ("FROM a AS b c", "2 argument-count: FROM requires either one or three arguments"),
        (
            "FROM a AS 1b",
            "2 bad-stage-name: invalid name for build stage: \"1b\", name can't start with a \
             number or contain symbols",
        ),
        (
            "FROM a AS b/c",
            "2 bad-stage-name: invalid name for build stage: \"b/c\", name can't start with a \
             number or contain symbols",
        ),
        (
            "FROM --plattform=x a",
            "2 unknown-flag: unknown flag: `--plattform` (did you mean `platform`?)",
        ),
        ("FROM --platform a", "2 flag-needs-value: missing a value on flag: `--platform`"),
        (
            "COPY a",
            "2 argument-count: COPY requires at least two arguments, but only one was provided. \
             Destination could not be determined",
        ),
        (
            "ADD",
            "2 argument-count: ADD requires at least two arguments, but only one was provided. \
             Destination could not be determined",
        ),
        ("COPY --chown a b", "2 flag-needs-value: missing a value on flag: `--chown`"),
        ("COPY --form=x a b", "2 unknown-flag: unknown flag: `--form` (did you mean `from`?)"),
        ("COPY --checksum=x a b", "2 unknown-flag: unknown flag: `--checksum`"),
        ("ADD --from=x a b", "2 unknown-flag: unknown flag: `--from`"),
        (
            "COPY --link=maybe a b",
            "2 bad-flag-value: expecting boolean value for flag `--link`, not: maybe",
        ),
        ("COPY --link= a b", "2 flag-needs-value: missing a value on flag: `--link`"),
        ("COPY --from=a --from=b c d", "2 duplicate-flag: duplicate flag specified: `--from`"),
        (
            "COPY --from=$a b c",
            "2 variable-in-from: variable expansion is not supported for --from, define a new \
             stage with FROM using ARG from global scope as a workaround",
        ),
        ("COPY a <<B\nB", "2 heredoc-destination: COPY cannot accept a heredoc as a destination"),
        ("RUN <<A\nx", "2 unterminated-heredoc: unterminated heredoc: `A` is missing"),
        ("RUN --foo x", "2 unknown-flag: unknown flag: `--foo`"),
        ("RUN --network=lan x", "2 bad-flag-value: invalid network mode \"lan\""),
        ("RUN --security=none x", "2 bad-flag-value: security \"none\" is not valid"),
        ("RUN --mount= x", "2 bad-mount: failed to parse csv mounts: EOF"),
        ("RUN --device=a,b x", "2 bad-device: invalid field `b` must be a key=value pair"),
        ("CMD --x y", "2 unknown-flag: unknown flag: `--x`"),
        ("MAINTAINER --x y", "2 unknown-flag: unknown flag: `--x`"),
        ("USER --x y", "2 unknown-flag: unknown flag: `--x`"),
        ("ENV a", "2 argument-count: ENV must have two arguments"),
        (
            "ENV a=b c",
            "2 pair-without-equals: Syntax error - can't find = in \"c\". Must be of the form: name=value",
        ),
        ("ENV =b", "2 blank-name: ENV names can not be blank"),
        ("LABEL a=b =c", "2 blank-name: LABEL names can not be blank"),
        ("ARG =b", "2 blank-name: ARG names can not be blank"),
        ("VOLUME [\"\"]", "2 empty-volume: VOLUME specified can not be an empty string"),
        (
            "SHELL bash -c",
            "2 shell-not-json: SHELL requires the arguments to be in JSON form: `SHELL bash -c` \
             (write it like SHELL [\"/bin/bash\", \"-c\"])",
        ),
        (
            "CMD [\"a\", 1]",
            "2 json-not-strings: when using JSON array syntax, arrays must be comprised of strings only",
        ),
        (
            "RUN [\"a\", [\"b\"]]",
            "2 json-not-strings: when using JSON array syntax, arrays must be comprised of strings only",
        ),
        ("ONBUILD FROM a", "2 onbuild-trigger: FROM isn't allowed as an ONBUILD trigger"),
        (
            "ONBUILD maintainer a",
            "2 onbuild-trigger: MAINTAINER isn't allowed as an ONBUILD trigger",
        ),
        (
            "ONBUILD ONBUILD RUN x",
            "2 onbuild-trigger: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        ),
        ("ONBUILD --x RUN y", "2 unknown-flag: unknown flag: `--x`"),
        ("HEALTHCHECK CMD", "2 bad-healthcheck: missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK CMD []", "2 bad-healthcheck: missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK NONE x", "2 bad-healthcheck: HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK RUN x", "2 bad-healthcheck: unknown type `RUN` in HEALTHCHECK (try CMD)"),
        (
            "HEALTHCHECK --interval=50ns CMD x",
            "2 bad-flag-value: Interval \"interval\" cannot be less than 1ms",
        ),
        (
            "HEALTHCHECK --timeout=-1s CMD x",
            "2 bad-flag-value: Interval \"timeout\" cannot be less than 1ms",
        ),
        ("HEALTHCHECK --timeout=5 CMD x", "2 bad-flag-value: time: missing unit in duration \"5\""),
        ("HEALTHCHECK --retries=-1 CMD x", "2 bad-flag-value: --retries cannot be negative (-1)"),
        (
            "HEALTHCHECK --retries=x CMD x",
            "2 bad-flag-value: `--retries` needs a whole number, not \"x\"",
        ),
        ("HEALTHCHECK --retry=1 CMD x", "2 unknown-flag: unknown flag: `--retry`"),
    ];
    for (text, expected) in table {
        let parsed = parse(format!("FROM a\n{text}\n").as_bytes(), "Dockerfile");
        assert_eq!(errors(&parsed), [expected], "{text:?}");
    }
}

#[test]
fn a_file_that_is_wrong_as_a_whole_says_why() {
    let long = format!("FROM a\nRUN {}\nRUN x", "y".repeat(70_000));
    let table: &[(&[u8], &[&str])] = &[
        (b"", &["1 no-instructions: file with no instructions"]),
        (b"\n\n", &["2 no-instructions: file with no instructions"]),
        (b"# a\n#b\n", &["2 no-instructions: file with no instructions"]),
        (b"ARG a", &["1 no-stages: dockerfile contains no stages to build"]),
        (
            b"RUN x\nRUN y\nFROM a",
            &[
                "1 no-stage: no build stage in current context: `RUN` before the first `FROM` (only \
               `ARG` may stand before the first `FROM`)",
            ],
        ),
        (b"# escape=x\nFROM a", &["1 bad-escape: invalid escape token `x` does not match ` or \\"]),
        (
            b"# escape=\\\n# escape=`\nFROM a",
            &["2 duplicate-directive: only one escape parser directive can be used"],
        ),
        (b"FROM a\nRUN x\0y", &["2 nul-byte: the line has a NUL byte in it"]),
        (b"FROM a\nRUN \xff", &["2 invalid-utf-8: the line is not UTF-8"]),
        (b"FROM a\n# \xff\0\nRUN x", &[]),
        (b"FROM a\nMAINTAINER Ren\xe9\nlabel a=\xe9", &[]),
        (
            long.as_bytes(),
            &["2 line-too-long: dockerfile line greater than max allowed size of 65535"],
        ),
        (b"\\", &["1 unknown-instruction: unknown instruction: ``"]),
        (
            b"FROM\nRUN --x y\nFOO\nCOPY a",
            &[
                "1 argument-count: FROM requires either one or three arguments",
                "2 unknown-flag: unknown flag: `--x`",
                "3 unknown-instruction: unknown instruction: `FOO` (did you mean `FROM`?)",
                "4 argument-count: COPY requires at least two arguments, but only one was \
                 provided. Destination could not be determined",
            ],
        ),
    ];
    for (text, expected) in table {
        let parsed = parse(text, "Dockerfile");
        assert_eq!(
            &errors(&parsed),
            expected,
            "{}",
            String::from_utf8_lossy(&text[..text.len().min(60)])
        );
    }
    let junk = "x\n".repeat(10_000);
    let parsed = parse(junk.as_bytes(), "Dockerfile");
    assert_eq!(parsed.diagnostics.len(), 51);
}

#[test]
fn lines_are_joined_as_buildkit_joins_them() {
    let table = [
        ("RUN a \\\n  b", "RUN a   b"),
        ("RUN a\\\nb", "RUN ab"),
        ("RUN a \\  \n b", "RUN a  b"),
        ("RUN a \\\n# gone\n b", "RUN a  b"),
        ("RUN a \\\n   # gone\n b", "RUN a  b"),
        ("RUN a \\\n\n b", "RUN a  b"),
        ("RUN a \\\n# gone \\\n b", "RUN a  b"),
        ("RUN a \\\r\n b\r", "RUN a  b"),
        ("  RUN a", "RUN a"),
        ("RUN a  ", "RUN a"),
        ("RUN a \\", "RUN a"),
        ("RUN a # b", "RUN a # b"),
        ("RUN a \\\\", "RUN a \\\\"),
        ("\\\nRUN a", "RUN a"),
        ("RUN \\\n a", "RUN  a"),
        ("RU\\\nN a", "RUN a"),
    ];
    for (text, expected) in table {
        let file = good(&format!("FROM x\n{text}"));
        assert_eq!(file.stages[0].instructions[0].text, expected, "{text:?}");
    }
    let file = good("# escape=`\nFROM x\nRUN a `\n b\nRUN c:\\\nRUN d ``");
    let texts: Vec<_> = file.stages[0].instructions.iter().map(|i| i.text.as_str()).collect();
    assert_eq!(texts, ["RUN a  b", "RUN c:\\", "RUN d ``"]);
    assert_eq!(file.escape, '`');
    assert_eq!(file.directives.escape.map(|d| (d.value, d.line)), Some(("`".to_owned(), 1)));
}

#[test]
fn directives_end_at_the_first_line_that_is_none() {
    let table = [
        ("# escape=`\nFROM a", '`'),
        ("#escape=`\nFROM a", '`'),
        ("# ESCAPE = `\nFROM a", '`'),
        ("  # escape=`\nFROM a", '`'),
        ("\u{feff}# escape=`\nFROM a", '`'),
        ("# escape=`\r\nFROM a", '`'),
        ("# syntax=x\n# check=skip=all\n# escape=`\nFROM a", '`'),
        ("# a comment\n# escape=`\nFROM a", '\\'),
        ("\n# escape=`\nFROM a", '\\'),
        ("# other=x\n# escape=`\nFROM a", '\\'),
        ("FROM a\n# escape=`", '\\'),
        ("#\n# escape=`\nFROM a", '\\'),
        ("## escape=`\nFROM a", '\\'),
        ("#!/bin/x\n# escape=`\nFROM a", '\\'),
    ];
    for (text, escape) in table {
        assert_eq!(good(text).escape, escape, "{text:?}");
    }
    let file = good("# syntax = docker/dockerfile:1 # x\n# check=skip=A;error=false\nFROM a");
    assert_eq!(file.directives.syntax.unwrap().value, "docker/dockerfile:1");
    assert_eq!(file.directives.check.unwrap().value, "skip=A;error=false");
}

#[test]
fn comments_describe_what_follows_them() {
    let file = good(
        "# x sets x\nARG x=1\n\n# base is first\n# and more\nFROM a AS base\n# not this\nARG x\n\
         # y is y\n# z is z\nARG y z=1\n# y is old\n#\nARG y\n",
    );
    assert_eq!(file.meta_args[0].args[0].doc.as_deref(), Some("sets x"));
    assert_eq!(file.stages[0].doc.as_deref(), Some("is first"));
    assert_eq!(file.stages[0].comments, ["base is first", "and more"]);
    let docs: Vec<_> = file.stages[0]
        .instructions
        .iter()
        .flat_map(|i| match &i.kind {
            InstructionKind::Arg(args) => args.iter().map(|arg| arg.doc.as_deref()).collect(),
            _ => Vec::new(),
        })
        .collect();
    assert_eq!(docs, [None, Some("is y"), Some("is z"), None]);
}

#[test]
fn doubtful_things_are_told_and_can_be_silenced() {
    let table: &[(&str, &[&str])] = &[
        ("FROM a as b", &["1 from-as-casing"]),
        ("from a AS b", &["1 from-as-casing"]),
        ("FROM a AS B", &["1 stage-name-casing"]),
        ("FROM a AS scratch", &["1 reserved-stage-name"]),
        ("FROM a AS b\nFROM a AS b", &["2 duplicate-stage-name"]),
        ("FROM a\nRUN x\nrun y", &["3 consistent-instruction-casing"]),
        ("from a\nrun x\nRUN y", &["3 consistent-instruction-casing"]),
        ("FROM a\nRun x", &["2 consistent-instruction-casing"]),
        ("FROM a\nRUN x \\\n\n y", &["2 no-empty-continuation"]),
        ("FROM a\nCMD x", &["2 json-args-recommended"]),
        ("FROM a\nSHELL [\"x\"]\nCMD x", &[]),
        ("FROM a\nMAINTAINER x", &["2 maintainer-deprecated"]),
        ("FROM a\nENV a b", &["2 legacy-key-value-format"]),
        ("FROM a\nCMD [\"x\"]\nCMD [\"y\"]", &["2 multiple-instructions-disallowed"]),
        ("FROM --platform=$TARGETPLATFORM a", &["1 redundant-target-platform"]),
        ("FROM --platform=linux/amd64 a", &["1 from-platform-flag-const-disallowed"]),
        ("FROM --platform=linux/amd64 a AS b-amd64", &[]),
        ("FROM a\nENV API_KEY=x", &["2 secrets-used-in-arg-or-env"]),
        ("FROM a\nARG token", &["2 secrets-used-in-arg-or-env"]),
        ("FROM a\nENV PUBLIC_KEY=x KEY_FILE=y MONKEY=z", &[]),
        ("ARG PASSWORD\nFROM a", &["1 secrets-used-in-arg-or-env"]),
        ("FROM a\nONBUILD FOO x", &["2 onbuild-trigger-invalid"]),
        ("# check=skip=all\nFROM a as B", &[]),
        ("# check=skip=FromAsCasing,StageNameCasing\nFROM a as B", &[]),
        ("FROM a\n# check=skip=JSONArgsRecommended\nCMD x", &[]),
    ];
    for (text, expected) in table {
        let parsed = parse(text.as_bytes(), "f");
        let found: Vec<_> = parsed
            .diagnostics
            .iter()
            .map(|d| format!("{} {}", d.location.as_ref().unwrap().line, d.code))
            .collect();
        assert_eq!(&found, expected, "{text:?}");
        assert!(!parsed.has_errors());
    }
    assert!(parse(b"# check=error=true\nFROM a as b", "f").has_errors());
}
