//! Walking contexts.

use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use bakehouse_engine::context::Contexts;
use bakehouse_engine::files::{Selection, Tree, digest, digest_alone};
use bakehouse_model::op::ContextSource;

use crate::patterns::Simple;
use crate::stage::{Stage, chmod, copying, listing, shared, skip};

#[test]
fn ignored_files_are_not_there_and_a_later_pattern_takes_back() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["d"], &["f=f"]),
        (&["d", "!d/e/g"], &["d/", "d/e/", "d/e/g=d/e/g", "f=f"]),
        (&["**", "!f"], &["f=f"]),
        (&["*", "!d/e"], &["d/", "d/e/", "d/e/g=d/e/g", "d/e/h=d/e/h"]),
        (&["d/e", "!n"], &["d/", "d/i=d/i", "f=f"]),
        (&["**"], &[]),
    ];
    for (ignore, expected) in cases {
        let mut stage = Stage::with(&["d/e/g", "d/e/h", "d/i", "f"]);
        stage.ignore = ignore.iter().map(|&p| p.to_owned()).collect();
        stage.copy(copying("/", "/x/")).unwrap();
        assert_eq!(&listing(&stage.root("x")), expected, "{ignore:?}");
        assert_eq!(shared(&stage.context()).len(), expected.len(), "{ignore:?}");
    }
}

#[test]
fn what_is_ignored_may_be_unreadable_and_specials_are_never_opened() {
    let mut stage = Stage::with(&["secret/f", "f"]);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, stage.src("pipe"), rustix::fs::FileType::Fifo, mode, 0)
        .unwrap();
    let listener = UnixListener::bind(stage.src("socket")).unwrap();
    chmod(&stage.src("secret"), 0);
    stage.ignore = vec!["secret".into()];
    let tree = stage.context();
    let all = Selection { path: "/".into(), ..Selection::default() };
    let files = &digest(&tree, &all, &Simple).unwrap().files;
    let paths: Vec<_> = files.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/", "/f", "/pipe", "/socket"]);
    drop(listener);
    chmod(&stage.src("secret"), 0o755);
}

#[test]
fn an_unreadable_directory_that_is_not_ignored_is_named() {
    let stage = Stage::with(&["secret/f"]);
    chmod(&stage.src("secret"), 0);
    if std::fs::read_dir(stage.src("secret")).is_ok() {
        skip("nothing is unreadable for root");
        return;
    }
    let error = Contexts::new(|_| None).open(&stage.source(), &Simple).unwrap_err();
    chmod(&stage.src("secret"), 0o755);
    assert_eq!(error.to_string(), "cannot walk context `context`");
}

#[test]
fn one_folder_is_walked_once_for_all_who_ask_with_the_same_patterns() {
    let mut stage = Stage::with(&["a", "b"]);
    let contexts = Contexts::new(|_| None);
    let first = contexts.open(&stage.source(), &Simple).unwrap();
    let second = contexts.open(&stage.source(), &Simple).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    stage.ignore = vec!["a".into()];
    let third = contexts.open(&stage.source(), &Simple).unwrap();
    assert_eq!((first.len(), third.len()), (2, 1));
}

#[test]
fn digests_are_remembered_across_runs() {
    // Files just written could still change unseen; those of the repository are older.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files").to_owned();
    let source = ContextSource { name: "context".into(), root, ignore: Vec::new() };
    let all = Selection { path: "/".into(), ..Selection::default() };
    let run = |saved: Vec<(String, Vec<u8>)>| {
        let contexts = Contexts::new(move |name| {
            saved.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.clone())
        });
        let tree = Tree::Context(contexts.open(&source, &Simple).unwrap());
        let found = digest(&tree, &all, &Simple).unwrap();
        (found, contexts.changed_tables())
    };
    let (first, saved) = run(Vec::new());
    assert_eq!(saved.len(), 1);
    let (second, changed) = run(saved);
    assert_eq!(first, second);
    assert_eq!(changed.len(), 0, "everything was known");
}

#[test]
fn while_nothing_changes_a_selection_is_known_without_its_files() {
    // Files just written could still change unseen; those of the repository are older.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests").to_owned();
    let source = ContextSource { name: "context".into(), root, ignore: Vec::new() };
    let selections = [("/", false), ("/files", false), ("/files/*.rs", true), ("/f*/s*", true)]
        .map(|(path, wildcard)| Selection { path: path.into(), wildcard, ..Selection::default() });
    let run = |saved: Vec<(String, Vec<u8>)>| {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let names = Arc::clone(&asked);
        let contexts = Contexts::new(move |name| {
            names.lock().unwrap().push(name.to_owned());
            saved.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.clone())
        });
        let tree = Tree::Context(contexts.open(&source, &Simple).unwrap());
        let found = selections.each_ref().map(|one| digest_alone(&tree, one, &Simple).unwrap());
        let asked = asked.lock().unwrap().len();
        (found, contexts.changed_tables(), asked)
    };
    let (first, saved, asked) = run(Vec::new());
    assert_eq!((saved.len(), asked), (2, 2), "files and selections");
    let tree = Tree::Context(Contexts::new(|_| None).open(&source, &Simple).unwrap());
    let plain =
        selections.each_ref().map(|one| digest(&tree, one, &Simple).unwrap().digest.clone());
    assert_eq!(first, plain);
    let (second, changed, asked) = run(saved);
    assert_eq!(first, second);
    assert_eq!((changed.len(), asked), (0, 1), "only the selections were read");
}

#[test]
fn any_change_below_a_selection_makes_it_unknown_and_one_beside_it_does_not() {
    let stage = Stage::with(&["d/f", "d/e/g", "other"]);
    let saved = Mutex::new(Vec::new());
    let read = |path: &str| {
        let known: Vec<(String, Vec<u8>)> = saved.lock().unwrap().clone();
        let contexts = Contexts::new(move |name| {
            known.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.clone())
        });
        let tree = Tree::Context(contexts.open(&stage.source(), &Simple).unwrap());
        let selection = Selection { path: path.into(), ..Selection::default() };
        let found = digest_alone(&tree, &selection, &Simple).unwrap();
        *saved.lock().unwrap() = contexts.changed_tables();
        (found, digest(&tree, &selection, &Simple).unwrap().digest.clone())
    };
    let changes: [fn(&Stage); 5] = [
        |_| {},
        |stage| std::fs::write(stage.src("d/f"), "new").unwrap(),
        |stage| std::fs::write(stage.src("d/e/h"), "").unwrap(),
        |stage| std::fs::rename(stage.src("d/e/h"), stage.src("d/e/i")).unwrap(),
        |stage| chmod(&stage.src("d/e"), 0o700),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for change in changes {
        change(&stage);
        let (alone, fresh) = read("/d");
        assert_eq!(alone, fresh);
        assert!(seen.insert(alone.to_string()), "each change gives another digest");
    }
    std::fs::write(stage.src("other"), "new").unwrap();
    assert!(!seen.insert(read("/d").0.to_string()));
}

#[test]
fn a_context_that_is_not_there_is_named() {
    let stage = Stage::new();
    let mut source = stage.source();
    source.root.push_str("/missing");
    let error = Contexts::new(|_| None).open(&source, &Simple).unwrap_err();
    assert!(error.to_string().starts_with("cannot open context `context` at `"));
}
