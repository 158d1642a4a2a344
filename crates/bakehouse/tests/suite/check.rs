//! `check`: everything that is wrong or doubtful, in three formats, with the exit code that was
//! asked for.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::place::Place;

const PIP: &str = "RUN --mount=type=cache,target=/root/.cache/pip pip install --no-cache-dir x\n";

/// A fleet that can be built and has a note and two warnings.
fn doubtful() -> Place {
    let place = Place::new();
    place.write("base/Dockerfile", format!("FROM python:3.11-slim\n{PIP}"));
    place.write("app/Dockerfile", "FROM base\nRUN true\n");
    place.write("other/Dockerfile", "FROM golang\n");
    place
}

#[test]
fn what_is_doubtful_is_shown_with_its_line_its_code_and_what_to_do_and_is_no_failure() {
    let place = doubtful();
    let told = place.run(&["check"]);
    told.ok().says(&[
        "warning[pip-no-cache-with-cache-mount]: ",
        "--> base/Dockerfile:2:1",
        "2 | RUN --mount=type=cache",
        "help: ",
        "warning[unpinned-base]: the base `golang` has neither a tag nor a digest",
        "0 errors, 2 warnings, 1 note in 2 files (--verbose shows the notes)",
    ]);
    assert!(!told.out.contains("python:3.11-slim"), "{}", told.out);
    place
        .run(&["check", "--verbose"])
        .ok()
        .says(&["note[unpinned-base]: the base `python:3.11-slim`"]);
}

#[test]
fn denied_codes_are_errors_and_allowed_ones_are_not_told() {
    let table: &[(&[&str], i32, &str)] = &[
        (&[], 0, "0 errors, 2 warnings, 1 note"),
        (&["--deny", "warnings"], 3, "2 errors, 0 warnings, 1 note"),
        (&["--deny", "notes"], 3, "3 errors, 0 warnings, 0 notes"),
        (&["--deny", "unpinned-base"], 3, "2 errors, 1 warning, 0 notes"),
        (&["--deny", "unused-image"], 0, "0 errors, 2 warnings, 1 note"),
        (&["--allow", "unpinned-base"], 0, "0 errors, 1 warning, 0 notes"),
        (
            &["--allow", "unpinned-base,pip-no-cache-with-cache-mount", "--deny", "warnings"],
            0,
            "0 errors, 0 warnings, 0 notes",
        ),
    ];
    let place = doubtful();
    for (args, code, count) in table {
        let args: Vec<&str> = ["check"].iter().chain(*args).copied().collect();
        place.run(&args).exits(*code).says(&[count]);
    }
    place
        .run(&["check", "--deny", "unpined-base"])
        .exits(2)
        .says(&["did you mean `unpinned-base`?"]);
    place.run(&["check", "--allow", "zzz"]).exits(2).says(&["checking.md"]);
}

#[test]
fn mistakes_are_errors_that_nobody_can_allow() {
    let place = doubtful();
    place.write("broken/Dockerfile", "FROM x\nRUNN y\n");
    let told = place.run(&["check", "--allow", "unknown-instruction"]);
    told.exits(3).says(&[
        "error[unknown-instruction]",
        "broken/Dockerfile:2:1",
        "1 error, 2 warnings",
    ]);
}

#[test]
fn a_documented_graph_is_compared() {
    let place = doubtful();
    place.write("docs/images.md", "```\nother\n└── app\nbase\n└── ghost\n```\n");
    let told = place.run(&["check", "--documented-graph", "docs/images.md"]);
    told.ok().says(&[
        "warning[documented-graph]: `app` is drawn below `other`, and it stands on `base` (app/Dockerfile:1)",
        "--> docs/images.md:3:5",
        "3 | ",
        "no image of the fleet is `ghost`",
    ]);
    place
        .run(&["check", "--documented-graph", "gone.md"])
        .exits(3)
        .says(&["`gone.md` cannot be read"]);
}

#[test]
fn json_has_every_diagnostic_whole() {
    let place = doubtful();
    let told = place.run(&["check", "--format", "json"]);
    let value = told.ok().json();
    assert_eq!(
        (&value["version"], &value["warnings"], &value["notes"]),
        (&1.into(), &2.into(), &1.into())
    );
    let all = value["diagnostics"].as_array().unwrap();
    assert_eq!(all.len(), 3);
    for diagnostic in all {
        assert!(diagnostic["location"]["column"].as_u64().unwrap() > 0, "{diagnostic}");
        assert!(!diagnostic["help"].as_str().unwrap().is_empty(), "{diagnostic}");
    }
}

#[test]
fn sarif_names_rules_places_and_levels() {
    let place = doubtful();
    place.write("a b/Dockerfile", "FROM x\nRUNN y\n");
    let told = place.run(&["check", "--format", "sarif"]);
    let log = told.exits(3).json();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for result in results {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
    }
    let broken = results.iter().find(|result| result["ruleId"] == "unknown-instruction").unwrap();
    let at = &broken["locations"][0]["physicalLocation"];
    assert_eq!(text(&at["artifactLocation"]["uri"]), "a%20b/Dockerfile");
    assert_eq!(text(&at["artifactLocation"]["uriBaseId"]), "%SRCROOT%");
    assert_eq!((&at["region"]["startLine"], &broken["level"]), (&2.into(), &"error".into()));
}

#[test]
fn the_guide_lists_every_code_and_nothing_else() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/checking.md");
    let guide = fs::read_to_string(guide).unwrap();
    let severity = |severity| match severity {
        bakehouse_model::Severity::Error => "error",
        bakehouse_model::Severity::Warning => "warning",
        bakehouse_model::Severity::Note => "note",
    };
    let mut rows: Vec<String> = bakehouse::codes::all()
        .map(|code| format!("| `{}` | {} | {} |", code.code, severity(code.severity), code.about))
        .collect();
    rows.sort();
    let written: Vec<&str> = guide
        .lines()
        .filter(|line| {
            let is = |word: &str| line.contains(&format!("` | {word} |"));
            line.starts_with("| `") && ["error", "warning", "note"].iter().any(|word| is(word))
        })
        .collect();
    let missing: Vec<&String> =
        rows.iter().filter(|row| !written.contains(&row.as_str())).collect();
    assert!(missing.is_empty(), "docs/guide/checking.md lacks:\n{}", rows.join("\n"));
    assert_eq!(written.len(), rows.len(), "docs/guide/checking.md has more:\n{}", rows.join("\n"));
}
