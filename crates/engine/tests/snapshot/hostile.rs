//! Archives that mean harm.

use std::fs;
use std::path::Path;

use bakehouse_engine::Root;
use bakehouse_engine::snapshot::tar::{Entry, EntryKind, TarError};
use bakehouse_engine::snapshot::{ApplyError, Limits, apply};

use crate::tree::{describe, dir, entry, file, link, symlink, tar, unpack};

type Entries = Vec<(Entry, Vec<u8>)>;

/// A folder with a secret beside the layer, and what must not change of it.
fn outside() -> (tempfile::TempDir, Vec<String>) {
    let outer = tempfile::tempdir().unwrap();
    fs::write(outer.path().join("secret"), "s").unwrap();
    fs::create_dir(outer.path().join("layer")).unwrap();
    let before = surroundings(outer.path());
    (outer, before)
}

fn surroundings(outer: &Path) -> Vec<String> {
    let all = describe(&Root::open_dir(outer).unwrap());
    all.into_iter().filter(|line| !line.starts_with("/layer")).collect()
}

#[test]
fn what_leads_out_is_refused_by_name() {
    if !crate::tree::may_own() {
        return;
    }
    let name = |name: &[u8]| (Entry { name: name.to_vec(), ..entry("", EntryKind::File) }, vec![]);
    let device = |major, minor| (entry("d", EntryKind::CharDevice { major, minor }), vec![]);
    let long = "n".repeat(256);
    let deep = "d/".repeat(2500);
    let cases: Vec<(&str, Entries)> = vec![
        ("`../secret` leads out", vec![file("../secret", "x")]),
        ("`a/../../secret` leads out", vec![dir("a"), file("a/../../secret", "x")]),
        ("`/../secret` leads out", vec![file("/../secret", "x")]),
        ("`..` leads out", vec![dir("..")]),
        ("`../.wh.secret` leads out", vec![file("../.wh.secret", "")]),
        ("`l` leads out", vec![link("l", "../secret")]),
        ("hard link `l` points to `gone`", vec![link("l", "gone")]),
        ("hard link `l` points to `d`", vec![dir("d"), link("l", "d")]),
        ("hard link `l` points to ``", vec![link("l", "")]),
        ("whiteout `.wh.` names nothing", vec![file(".wh.", "")]),
        ("whiteout `.wh...` names nothing", vec![file(".wh...", "")]),
        ("`f/x` is below something", vec![file("f", ""), file("f/x", "")]),
        ("`d` is the device 0:0", vec![device(0, 0)]),
        ("has a name that no file", vec![name(long.as_bytes())]),
        ("limit of 4096 bytes of a path", vec![name(deep.as_bytes())]),
        ("cannot find the directory of `l/x`", vec![symlink("l", "l"), file("l/x", "")]),
    ];
    for (message, entries) in cases {
        let (outer, before) = outside();
        let error = unpack(&tar(&entries), &outer.path().join("layer"), None).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(message), "{text} has no {message}");
        assert_eq!(surroundings(outer.path()), before, "{message}");
    }
}

#[test]
fn what_goes_through_links_stays_inside() {
    if !crate::tree::may_own() {
        return;
    }
    let cases: Vec<(&str, Entries, &str)> = vec![
        ("absolute name", vec![file("/secret", "x")], "/secret"),
        ("absolute link", vec![dir("d"), symlink("l", "/d"), file("l/f", "x")], "/d/f"),
        ("link up", vec![symlink("l", "../.."), file("l/secret", "x")], "/secret"),
        ("link to nothing", vec![symlink("l", "/new/dir"), file("l/f", "x")], "/new/dir/f"),
        ("link as a file", vec![symlink("f", "../secret"), file("f", "x")], "/f"),
        (
            "directory becomes a link",
            vec![dir("d"), file("d/f", "1"), symlink("d", "../.."), file("d/secret", "x")],
            "/secret",
        ),
        (
            "hard link through a link",
            vec![file("secret", "x"), symlink("up", ".."), link("l", "up/secret")],
            "/l",
        ),
        (
            "hard link to a link",
            vec![symlink("s", "../secret"), link("t", "s"), file("t", "x")],
            "/t",
        ),
    ];
    for (case, entries, expected) in cases {
        let (outer, before) = outside();
        let layer = outer.path().join("layer");
        unpack(&tar(&entries), &layer, None).unwrap();
        let lines = describe(&Root::open_dir(&layer).unwrap());
        let found = lines.iter().find(|line| line.starts_with(&format!("{expected} ")));
        assert!(found.is_some_and(|line| line.ends_with('x')), "{case}: {lines:#?}");
        assert_eq!(surroundings(outer.path()), before, "{case}");
    }
}

#[test]
fn a_limit_that_is_exceeded_is_an_error() {
    if !crate::tree::may_own() {
        return;
    }
    let layer = tempfile::tempdir().unwrap();
    let root = Root::open_dir(layer.path()).unwrap();
    let big =
        Entry { xattrs: vec![(b"user.x".to_vec(), vec![1; 100])], ..entry("big", EntryKind::File) };
    let bytes = tar(&[file("a", "12345"), file("b", "12345"), (big, vec![])]);
    let all = Limits { entries: 3, bytes: 10, path: 3, xattr: 100 };
    apply(&*bytes, &root, None, &all).unwrap();
    let cases = [
        Limits { entries: 2, ..all.clone() },
        Limits { bytes: 9, ..all.clone() },
        Limits { path: 2, ..all.clone() },
        Limits { xattr: 99, ..all },
    ];
    for limits in cases {
        let error = apply(&*bytes, &root, None, &limits).unwrap_err();
        assert!(matches!(error, ApplyError::Limit { .. }), "{error}");
    }
}

#[test]
fn a_header_that_wants_all_memory_gets_none() {
    let mut bytes = tar(&[file("x", "")]);
    // Make it the header of a long name of eight gigabytes.
    bytes[156] = b'L';
    bytes[124..136].copy_from_slice(b"77777777777\0");
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes[..512].iter().map(|&byte| u32::from(byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let layer = tempfile::tempdir().unwrap();
    let error = unpack(&bytes, layer.path(), None).unwrap_err();
    assert!(matches!(error, ApplyError::Tar(TarError::LongHeader { .. })), "{error}");
}

#[test]
fn an_archive_that_was_cut_is_an_error_wherever_it_was() {
    let long = "n/".repeat(80) + "f";
    let bytes = tar(&[dir("d"), file("d/f", "content"), file(&long, "more")]);
    let end = bytes.len() - 1024;
    for cut in (1..end).step_by(37).filter(|cut| cut % 512 != 0) {
        let layer = tempfile::tempdir().unwrap();
        unpack(&bytes[..cut], layer.path(), None).unwrap_err();
    }
}
