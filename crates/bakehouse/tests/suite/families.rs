//! `families`: what is shown, and Dockerfiles that are made to take their base.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::place::Place;

fn fleet() -> Place {
    let place = Place::new();
    place.write("stt/Dockerfile", "# Speech.\r\nFROM python:3.11 AS app\r\nRUN true\r\n");
    place.write("tts/Dockerfile", "ARG BASE_IMAGE=python:3.11\nFROM ${BASE_IMAGE}\n");
    place.write("empty/Dockerfile", "FROM scratch\nCOPY a /a\n");
    place.write("a", "");
    place
}

fn text(place: &Place, path: &str) -> String {
    fs::read_to_string(place.path("repo").join(path)).unwrap()
}

#[test]
fn a_fleet_without_families_says_how_to_make_one() {
    let place = fleet();
    place.run(&["families"]).ok().says(&["no image is in a family", "[family.NAME]"]);
    let value = place.run(&["families", "--format", "json"]).ok().json();
    assert_eq!(value, serde_json::json!({ "version": 1, "families": [], "diagnostics": [] }));
}

#[test]
fn the_difference_is_shown_first_and_nothing_is_written() {
    let place = fleet();
    let before = text(&place, "stt/Dockerfile");
    let told = place.run(&["families", "convert"]);
    told.ok().says(&[
        "--- a/stt/Dockerfile\n+++ b/stt/Dockerfile\n@@ -1,3 +1,4 @@\n+ARG BASE_IMAGE=python:3.11\n # Speech.\n",
        "-FROM python:3.11 AS app\n+FROM ${BASE_IMAGE} AS app\n",
        "left tts/Dockerfile (tts): its base is the argument `BASE_IMAGE` already",
        "left empty/Dockerfile (empty): it has no base",
        "1 file to convert: --write does it",
    ]);
    assert_eq!(text(&place, "stt/Dockerfile"), before);
}

#[test]
fn what_is_written_keeps_line_ends_and_modes_and_is_converted_once() {
    let place = fleet();
    let path = place.path("repo/stt/Dockerfile");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    place
        .run(&["families", "convert", "stt", "--arg", "BASE", "--write"])
        .ok()
        .says(&["1 file converted"]);
    let expected = "ARG BASE=python:3.11\r\n# Speech.\r\nFROM ${BASE} AS app\r\nRUN true\r\n";
    assert_eq!(text(&place, "stt/Dockerfile"), expected);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(
        fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
    place
        .run(&["families", "convert", "stt", "--arg", "BASE", "--write"])
        .ok()
        .says(&["already", "nothing to convert"]);
    let graph = place.run(&["graph", "--format", "json"]).ok().json();
    let bases: Vec<&str> = graph["external"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["reference"].as_str().unwrap())
        .collect();
    assert_eq!(bases, ["python:3.11"]);
}

#[test]
fn names_that_are_none_are_refused() {
    let place = fleet();
    place.run(&["families", "convert", "sttt"]).exits(2).says(&["did you mean `stt`?"]);
    place.run(&["families", "convert", "--arg", "A-B"]).exits(2).says(&["`A-B`", "BASE_IMAGE"]);
}
