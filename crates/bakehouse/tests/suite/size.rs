//! What keeps files small enough to read and tests from being forgotten.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file before its tests.
const FILE: usize = 600;

/// Lines of a file that is nothing but tests: tables of cases are long and are not read through.
const TESTS: usize = 900;

/// Lines of a `lib.rs`: a header, the modules, what is public.
const LIB: usize = 80;

/// Files that are one long, flat, boring table, and may therefore be longer.
const TABLES: &[&str] = &[];

/// Names that say nothing about what is in a file.
const NAMELESS: &[&str] = &[
    "mod.rs",
    "util.rs",
    "utils.rs",
    "helpers.rs",
    "common.rs",
    "misc.rs",
    "manager.rs",
    "imp.rs",
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file of every room, sorted, relative to the folder of the rooms.
fn sources() -> Vec<(String, String)> {
    let mut folders = vec![crates()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(crates()).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "the walk found only {} files", found.len());
    found
}

/// How many lines `text` has before its tests.
fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let is_test = |at: &usize| {
        lines[*at].trim() == "#[cfg(test)]"
            && lines[at + 1..].iter().take(3).any(|line| line.trim().starts_with("mod tests"))
    };
    (0..lines.len()).find(is_test).unwrap_or(lines.len())
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let mut long = Vec::new();
    for (name, text) in sources() {
        let limit = match name.as_str() {
            name if name.ends_with("/src/lib.rs") => LIB,
            name if name.contains("/tests/") => TESTS,
            _ => FILE,
        };
        let lines = lines_before_tests(&text);
        if lines > limit && !TABLES.contains(&name.as_str()) {
            long.push(format!("{name}: {lines} lines before its tests, at most {limit}"));
        }
    }
    assert!(long.is_empty(), "split along the headings of their own headers:\n{}", long.join("\n"));
}

#[test]
fn files_are_named_for_what_is_in_them() {
    for (name, _) in sources() {
        let file = name.rsplit('/').next().unwrap();
        assert!(!NAMELESS.contains(&file), "{name}: the name says nothing");
    }
}

#[test]
fn every_file_says_first_what_it_promises() {
    let all = sources();
    let bare: Vec<_> = all.iter().filter(|(_, t)| !t.starts_with("//! ")).map(|(n, _)| n).collect();
    assert!(bare.is_empty(), "no header: {bare:?}");
}

#[test]
fn every_test_file_of_a_suite_is_listed() {
    let all = sources();
    for (main, text) in all.iter().filter(|(name, _)| name.ends_with("/tests/suite/main.rs")) {
        let folder = main.strip_suffix("main.rs").unwrap();
        for (name, _) in &all {
            let Some(file) = name.strip_prefix(folder).and_then(|f| f.strip_suffix(".rs")) else {
                continue;
            };
            if file == "main" || file.contains('/') {
                continue;
            }
            let listed = text.lines().any(|line| {
                line.trim_end_matches(';').split(' ').next_back() == Some(file)
                    && line.contains("mod ")
            });
            assert!(listed, "{main} does not list `{file}`: its tests never run");
        }
    }
}

#[test]
fn tests_do_not_count_and_test_only_imports_do() {
    assert_eq!(lines_before_tests("a\nb\n#[cfg(test)]\nmod tests {\n}\n"), 2);
    assert_eq!(lines_before_tests("#[cfg(test)]\nuse x;\nb\nc\nd\n"), 5);
    assert_eq!(lines_before_tests(""), 0);
}
