//! The rooms, and which may name which. Changing this table is an architecture decision:
//! see `docs/architecture.md` and `docs/design/0001-the-house.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room with the rooms it may name, lowest first. Everything unlisted is forbidden.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("plan", &["model"]),
    ("compose", &["model"]),
    ("bake", &["model"]),
    ("store", &["model"]),
    ("render", &["model"]),
    ("run", &["model", "plan"]),
    ("registry", &["model", "store"]),
    ("depot", &["model", "store"]),
    ("engine", &["model", "store"]),
    ("testkit", &["model"]),
    (
        "bakehouse",
        &[
            "model", "plan", "bake", "compose", "run", "store", "registry", "depot", "engine",
            "render",
        ],
    ),
];

/// The room that only tests may name. Any may.
const TESTKIT: &str = "testkit";

/// Rooms that decide or draw and never touch the machine, and what their lints must forbid.
const PURE: &[(&str, &[&str])] = &[
    ("model", &["std::fs", "std::env", "std::time"]),
    ("plan", &["std::fs", "std::env", "std::time"]),
    ("compose", &["std::fs", "std::env", "std::time"]),
    ("bake", &["std::fs", "std::env", "std::time"]),
    ("render", &["std::fs", "std::env", "std::time"]),
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rooms_on_disk() -> BTreeMap<String, String> {
    let entries = fs::read_dir(crates()).unwrap().map(|entry| entry.unwrap().path());
    let manifest = |dir: PathBuf| {
        let text = fs::read_to_string(dir.join("Cargo.toml")).ok()?;
        Some((dir.file_name()?.to_str()?.to_owned(), text))
    };
    entries.filter_map(manifest).collect()
}

/// Rooms that a manifest names, each with whether that is only for tests.
fn needs(manifest: &str) -> BTreeSet<(String, bool)> {
    let mut needs = BTreeSet::new();
    let (mut listing, mut for_tests) = (false, false);
    for line in manifest.lines().map(str::trim) {
        let mut named = line;
        if let Some(table) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            // `[dependencies]`, `[target.'cfg(…)'.dev-dependencies]`, `[dependencies.name]`.
            let Some((before, after)) = table.split_once("dependencies") else {
                listing = false;
                continue;
            };
            (listing, for_tests) = (true, before.ends_with("dev-"));
            named = after.trim_start_matches('.');
        }
        if listing && let Some(rest) = named.strip_prefix("bakehouse-") {
            let end = rest.find(['.', ' ', '=', '"']).unwrap_or(rest.len());
            needs.insert((rest[..end].to_owned(), for_tests));
        }
    }
    needs
}

#[test]
fn every_room_keeps_to_its_neighbours() {
    let allowed: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    for (room, manifest) in rooms_on_disk() {
        let may = allowed.get(room.as_str()).unwrap_or_else(|| panic!("`{room}` is not in ROOMS"));
        for (need, for_tests) in needs(&manifest) {
            let fine = may.contains(&need.as_str()) || (for_tests && need == TESTKIT);
            assert!(fine, "`{room}` may not name `{need}`: see the table in {}", file!());
        }
    }
}

#[test]
fn rooms_are_listed_lowest_first_and_all_of_them_are_there() {
    let on_disk = rooms_on_disk();
    let mut seen = Vec::new();
    for (room, needs) in ROOMS {
        for need in *needs {
            assert!(seen.contains(need), "`{room}` is listed before `{need}`");
        }
        assert!(on_disk.contains_key(*room), "`{room}` is listed but is not there");
        seen.push(*room);
    }
}

#[test]
fn pure_rooms_are_kept_pure_by_their_lints() {
    for (room, forbidden) in PURE {
        let path = crates().join(room).join("clippy.toml");
        let lints = fs::read_to_string(&path).unwrap_or_default();
        for name in *forbidden {
            assert!(lints.contains(name), "`{}` does not forbid `{name}`", path.display());
        }
    }
}

#[test]
fn a_need_is_seen_however_it_is_written() {
    let manifest = "\
        [package]\nname = \"bakehouse-x\"\n\
        [dependencies]\nbakehouse-model.workspace = true\nserde = \"1\"\n\
        [dependencies.bakehouse-store]\npath = \"../store\"\n\
        [target.'cfg(unix)'.dev-dependencies]\nbakehouse-testkit = { path = \"../testkit\" }\n\
        [features]\nbakehouse-no = []\n";
    let expected = [("model", false), ("store", false), ("testkit", true)];
    let expected: BTreeSet<_> = expected.map(|(room, test)| (room.to_owned(), test)).into();
    assert_eq!(needs(manifest), expected);
}
