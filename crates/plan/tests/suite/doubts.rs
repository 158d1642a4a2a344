//! BuildKit's checks that need values, the ignore file or the base.

use bakehouse_model::oci::RunConfig;
use bakehouse_plan::dockerfile::{buildkit_rule, parse};
use bakehouse_plan::graph::Graph;
use bakehouse_plan::lower::{Base, Request, lower};

use crate::build::{Build, folder};

/// `line code: message` of each finding, with help if it is a guess at what was meant.
fn doubts(build: &Build, text: &str, ignore: &[&str]) -> Vec<String> {
    let parsed = parse(text.as_bytes(), "Dockerfile");
    let mut context = folder("context");
    context.ignore = ignore.iter().map(|&pattern| pattern.to_owned()).collect();
    let request = Request {
        image: "app",
        dockerfile: &parsed.dockerfile,
        file: "Dockerfile",
        context: Some(context),
        target: None,
        settings: &build.settings,
    };
    let lowered = lower(&request, build, &mut Graph::default()).unwrap();
    let told = lowered.doubts.iter().map(|found| {
        assert!(buildkit_rule(&found.code).is_some(), "{found:?}");
        let line = found.location.as_ref().unwrap().line;
        let help = found.help.clone().filter(|help| help.starts_with("did you"));
        format!("{line} {}: {}", found.code, help.unwrap_or_else(|| found.message.clone()))
    });
    told.collect()
}

#[test]
fn what_only_values_show_is_found_where_it_is_written() {
    let table: &[(&str, &[&str])] = &[
        ("FROM base\nENV A=$NOT", &["2 undefined-var: the variable `$NOT` is not defined"]),
        ("FROM base\nARG PLACE=1\nLABEL a=$PALCE", &["3 undefined-var: did you mean `PLACE`?"]),
        (
            "FROM base\nARG NOT\nENV A=$NOT B=${PATH} C=${X:-d}",
            &["3 undefined-var: the variable `$X` is not defined"],
        ),
        ("FROM base\nRUN echo $SHELLS_OWN", &[]),
        ("FROM base\n# check=skip=UndefinedVar\nENV A=$NOT", &[]),
        ("# check=skip=all\nFROM base\nENV A=$NOT", &[]),
        (
            "FROM base\nRUN --mount=target=/a$NOT true",
            &["2 undefined-var: the variable `$NOT` is not defined"],
        ),
        (
            "FROM base\nCOPY <<EOF /f\n$NOT\nEOF",
            &["2 undefined-var: the variable `$NOT` is not defined"],
        ),
        (
            "FROM base\nWORKDIR a\nWORKDIR b",
            &["2 workdir-relative-path: the relative `WORKDIR a` depends on what the base says"],
        ),
        ("FROM base AS one\nWORKDIR /a\nFROM one\nWORKDIR b", &[]),
        ("FROM base\nARG D=/a\nWORKDIR $D/b", &[]),
        (
            "FROM base\nEXPOSE 80/TCP 1:2/udp",
            &[
                "2 expose-invalid-format: `EXPOSE 1:2/udp` names more than a port of the container",
                "2 expose-proto-casing: the protocol of `EXPOSE 80/TCP` has capitals in it",
            ],
        ),
        ("ARG V\nFROM base$V", &[]),
        (
            "ARG V=\nARG BAES=base\nFROM ${BAES}$NOT",
            &["3 undefined-arg-in-from: the argument `NOT` of `FROM` is not declared"],
        ),
        ("FROM --platform=$BUILDPLATFORM base", &[]),
    ];
    for (text, expected) in table {
        assert_eq!(doubts(&Build::new(), text, &[]), *expected, "{text}");
    }
}

#[test]
fn a_base_that_has_no_name_without_build_arguments_is_told() {
    let build = Build::args(&[("WHICH", "base")]);
    let expected =
        ["2 invalid-default-arg-in-from: without build arguments, `$WHICH` names no image"];
    assert_eq!(doubts(&build, "ARG WHICH\nFROM $WHICH", &[]), expected);
    assert_eq!(doubts(&build, "ARG WHICH=tool\nFROM $WHICH", &[]), [""; 0]);
}

#[test]
fn copies_of_what_the_context_leaves_out_are_told() {
    let text = "FROM base AS one\nCOPY a b /x/\nADD ./a /y\nCOPY . /z\nFROM base\nCOPY --from=one a /\nCOPY a /";
    let told = |ignore: &[&str]| doubts(&Build::new(), text, ignore);
    let expected = [
        "2 copy-ignored-file: COPY of `a`, which .dockerignore leaves out",
        "3 copy-ignored-file: ADD of `./a`, which .dockerignore leaves out",
        "7 copy-ignored-file: COPY of `a`, which .dockerignore leaves out",
    ];
    assert_eq!(told(&["a"]), expected);
    assert_eq!(told(&["*"]).len(), 5);
    // What an exception takes back in is not worked out beforehand.
    assert_eq!(told(&["a", "!a/b"]), [""; 0]);
}

#[test]
fn of_a_base_that_is_only_guessed_no_variable_is_said_to_be_missing() {
    let mut build = Build::new().image("known", RunConfig::default());
    build.images.insert("unknown".to_owned(), Base::Guessed);
    let text = "FROM unknown AS one\nENV A=$SET_THERE\nWORKDIR a\nFROM known\nCOPY --from=unknown /a /\nCOPY --from=one /a /\n";
    let expected =
        ["3 workdir-relative-path: the relative `WORKDIR a` depends on what the base says"];
    assert_eq!(doubts(&build, text, &[]), expected);
}

#[test]
fn every_rule_of_buildkit_has_a_code() {
    let mut rules: Vec<String> = bakehouse_plan::codes::checks()
        .filter_map(|known| buildkit_rule(known.code))
        .chain(["InvalidBaseImagePlatform".to_owned()])
        .collect();
    rules.sort();
    let expected = [
        "ConsistentInstructionCasing",
        "CopyIgnoredFile",
        "DuplicateStageName",
        "ExposeInvalidFormat",
        "ExposeProtoCasing",
        "FromAsCasing",
        "FromPlatformFlagConstDisallowed",
        "InvalidBaseImagePlatform",
        "InvalidDefaultArgInFrom",
        "InvalidDefinitionDescription",
        "JSONArgsRecommended",
        "LegacyKeyValueFormat",
        "MaintainerDeprecated",
        "MultipleInstructionsDisallowed",
        "NoEmptyContinuation",
        "RedundantTargetPlatform",
        "ReservedStageName",
        "SecretsUsedInArgOrEnv",
        "StageNameCasing",
        "UndefinedArgInFrom",
        "UndefinedVar",
        "WorkdirRelativePath",
    ];
    assert_eq!(rules, expected);
}

#[test]
fn a_definition_is_described_by_name_where_that_is_asked_for() {
    let text = |check: &str| {
        format!("{check}# who\nARG WHO\n# base is it\nFROM base AS base\n# more\nARG A B\n")
    };
    let told = |text: &str| -> Vec<u32> {
        let found = parse(text.as_bytes(), "Dockerfile").diagnostics.into_iter();
        let found = found.filter(|found| found.code == "invalid-definition-description");
        found.map(|found| found.location.unwrap().line).collect()
    };
    assert_eq!(told(&text("")), [0; 0]);
    assert_eq!(told(&text("# check=experimental=all\n\n")), [4, 8]);
    assert_eq!(told(&text("# check=experimental=InvalidDefinitionDescription\n\n")), [4, 8]);
}
