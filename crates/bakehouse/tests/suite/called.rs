//! `build --call`: what a Dockerfile says of itself.

use serde_json::{Value, json};

use crate::place::Place;

const TEXT: &str = "ARG VERSION=12\n# base is the first\nFROM machine-base AS base\n\
    # WHO is greeted\nARG WHO=you\nENV A=$NOPE\n\
    RUN --mount=type=secret,id=tok,required --mount=type=ssh true\n\
    # app is what runs\nFROM base AS App\nCOPY gone /\n";

fn place() -> Place {
    let place = Place::new();
    place.write("Dockerfile", TEXT);
    place.write(".dockerignore", "gone\n");
    place
}

fn line(number: u32) -> Value {
    json!({ "ranges": [{ "start": { "line": number }, "end": { "line": number } }] })
}

#[test]
fn targets_are_listed_with_their_descriptions() {
    let place = place();
    let text =
        "TARGET        DESCRIPTION\nbase          is the first\napp (default) is what runs\n";
    assert_eq!(place.build(&["--call=targets"]).ok().out, text);
    let told = place.build(&["--call=targets,format=json"]).ok().json();
    let expected = json!([
        { "name": "base", "description": "is the first", "base": "machine-base", "location": line(3) },
        { "name": "app", "default": true, "description": "is what runs", "base": "base", "location": line(9) },
    ]);
    assert_eq!(told["targets"], expected);
    assert!(told["sources"][0].is_string());
}

#[test]
fn an_outline_has_arguments_secrets_and_agents() {
    let place = place();
    let told = place.build(&["--call=outline", "--build-arg", "WHO=me"]).ok().out.clone();
    let expected = "TARGET:      app\nDESCRIPTION: is what runs\n\n\
        BUILD ARG   VALUE   DESCRIPTION\nWHO         me      is greeted\n\n\
        SECRET   REQUIRED\ntok      true\n\nSSH       REQUIRED\ndefault   \n";
    assert_eq!(told, expected);
    let told = place.build(&["--call=outline,format=json", "--target=base"]).ok().json();
    assert_eq!(told["name"], "base");
    let arg =
        json!({ "name": "WHO", "description": "is greeted", "value": "you", "location": line(5) });
    assert_eq!(told["args"], json!([arg]));
    let secret = json!({ "name": "tok", "required": true, "location": line(7) });
    assert_eq!(told["secrets"], json!([secret]));
    place.build(&["--call=outline", "--target=none"]).exits(3);
}

#[test]
fn checks_are_told_as_buildkit_names_them() {
    let place = place();
    let told = place.build(&["--check"]);
    told.exits(3).says(&["WARNING: UndefinedVar - https://", ">>> 6 | ENV A=$NOPE"]);
    let told = place.build(&["--call=check,format=json"]).exits(3).json();
    let rules: Vec<(&str, u64)> = told["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| {
            let line = &warning["location"]["ranges"][0]["start"]["line"];
            (warning["ruleName"].as_str().unwrap(), line.as_u64().unwrap())
        })
        .collect();
    let expected = [("UndefinedVar", 6), ("StageNameCasing", 9), ("CopyIgnoredFile", 10)];
    assert_eq!(rules, expected);
    assert_eq!(told["sources"][0]["filename"], "Dockerfile");
    place.write("Dockerfile", "FROM scratch\n");
    place.build(&["--check"]).ok().says(&["no warnings found"]);
    // Nothing runs in a check, so nothing needs a permission.
    place.write("Dockerfile", "FROM scratch\nRUN --network=host --security=insecure true\n");
    place.build(&["--check"]).ok();
    place.build(&["--call=bake"]).exits(2);
}

#[test]
fn what_values_show_is_told_in_a_check_and_fails_a_build_where_it_must() {
    let place = place();
    place.run(&["check"]).ok().says(&["copy-ignored-file"]);
    place.write("Dockerfile", "# check=error=true\nFROM scratch\nENV A=$NOPE\n");
    place.build(&[]).exits(3).says(&["undefined-var"]);
}
