//! What layers look like as tars and as directories.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, symlink as make_symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bakehouse_engine::Root;
use bakehouse_engine::snapshot::tar::{Entry, EntryKind};
use bakehouse_engine::snapshot::{DiffOptions, write_layer};
use rustix::fs::{FileType, Mode, XattrFlags};

use crate::tree::{
    TIME, describe, dir, entry, file, is_root, link, names, opened, pack, symlink, tar, unpack,
};

#[test]
fn a_layer_of_nothing_is_the_tar_that_everybody_has() {
    let layer = tempfile::tempdir().unwrap();
    let bytes = pack(layer.path(), None);
    assert_eq!(
        bakehouse_model::Digest::of(&bytes).as_str(),
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
    );
}

#[test]
fn entries_are_sorted_and_parents_come_first() {
    let layer = tempfile::tempdir().unwrap();
    for name in ["b", "a.txt", "a/z", "a/b/c", "a-b"] {
        let path = layer.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    fs::hard_link(layer.path().join("b"), layer.path().join("a/b/link")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(layer.path().join("socket")).unwrap());
    assert_eq!(
        names(&pack(layer.path(), None)),
        ["a/", "a/b/", "a/b/c", "a/b/link", "a/z", "a-b", "a.txt", "b = a/b/link"]
    );
}

#[test]
fn times_are_whole_seconds_and_not_later_than_asked() {
    let layer = tempfile::tempdir().unwrap();
    let path = layer.path().join("f");
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 900_000_000);
    File::create(&path).unwrap().set_modified(time).unwrap();
    for (clamp, expected) in
        [(None, 1_700_000_000), (Some(5), 5), (Some(1_800_000_000), 1_700_000_000)]
    {
        let mut bytes = vec![];
        write_layer(layer.path(), None, &mut bytes, DiffOptions { clamp }).unwrap();
        let found = bakehouse_engine::snapshot::tar::TarReader::new(&*bytes).next_entry();
        assert_eq!(found.unwrap().unwrap().mtime, expected);
    }
}

#[test]
fn what_an_archive_says_of_a_file_is_so() {
    if !crate::tree::may_own() {
        return;
    }
    let layer = tempfile::tempdir().unwrap();
    let setuid = Entry { mode: 0o4711, mtime_nanos: 500, ..entry("bin", EntryKind::File) };
    let entries = [
        (Entry { mode: 0o2750, ..entry("d/", EntryKind::Directory) }, vec![]),
        file("d/f", "text"),
        (setuid, vec![]),
        symlink("l", "d/f"),
        link("d/g", "d/f"),
        (entry("p", EntryKind::Fifo), vec![]),
        file("implied/parent/f", ""),
        file("d/f2", "1"),
        file("d/f2", "2"),
    ];
    let applied = unpack(&tar(&entries), layer.path(), None).unwrap();
    assert_eq!((applied.entries, applied.bytes), (9, 6));
    let bin = fs::metadata(layer.path().join("bin")).unwrap();
    assert_eq!((bin.mtime(), bin.mtime_nsec(), bin.mode() & 0o7777), (TIME, 500, 0o4711));
    assert_eq!(fs::metadata(layer.path().join("d")).unwrap().mtime(), TIME);
    let lines = describe(&Root::open_dir(layer.path()).unwrap());
    let time = TIME;
    assert_eq!(
        lines,
        [
            format!("/bin RegularFile 4711 0:0 {time} x1 "),
            "/d Directory 2750 0:0".to_owned(),
            format!("/d/f RegularFile 644 0:0 {time} x2 text"),
            format!("/d/f2 RegularFile 644 0:0 {time} x1 2"),
            format!("/d/g RegularFile 644 0:0 {time} x2 text"),
            "/implied Directory 755 0:0".to_owned(),
            "/implied/parent Directory 755 0:0".to_owned(),
            format!("/implied/parent/f RegularFile 644 0:0 {time} x1 "),
            format!("/l Symlink 777 0:0 {time} -> d/f"),
            "/p Fifo 644 0:0".to_owned(),
        ]
    );
}

#[test]
fn owners_and_capabilities_survive_the_round_trip() {
    if !is_root() {
        return;
    }
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Version 2, effective, CAP_NET_BIND_SERVICE permitted.
    let mut capability = vec![1, 0, 0, 2];
    capability.extend_from_slice(&[0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let with = Entry {
        uid: 12,
        gid: 3_000_000_000,
        mode: 0o6755,
        xattrs: vec![
            (b"security.capability".to_vec(), capability),
            (b"user.note".to_vec(), b"a\nb\0".to_vec()),
        ],
        ..entry("bin", EntryKind::File)
    };
    let device = entry("null", EntryKind::CharDevice { major: 1, minor: 3 });
    let owned = Entry { uid: 5, ..entry("l", EntryKind::Symlink { target: b"x".to_vec() }) };
    let foreign = (b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    let sly = Entry { xattrs: vec![foreign], ..entry("s/", EntryKind::Directory) };
    let first = tar(&[(with, vec![]), (owned, vec![]), (device, vec![]), (sly, vec![])]);
    unpack(&first, one.path(), None).unwrap();
    let second = pack(one.path(), None);
    assert!(second.windows(19).any(|at| at == b"security.capability"));
    assert!(!second.windows(9).any(|at| at == b"user.note"), "BuildKit leaves it out too");
    assert!(!second.windows(7).any(|at| at == b"overlay"));
    unpack(&second, two.path(), None).unwrap();
    assert_eq!(pack(two.path(), None), second);
    let stat = fs::metadata(two.path().join("bin")).unwrap();
    assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (12, 3_000_000_000, 0o6755));
}

#[test]
fn owners_survive_even_where_they_cannot_be_given() {
    if !crate::tree::may_own() {
        return;
    }
    // In a user namespace that has only one user, these are remembered beside the files.
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let owned = |name, kind| (Entry { uid: 1000, gid: 2000, ..entry(name, kind) }, vec![]);
    let bytes = tar(&[owned("d/", EntryKind::Directory), owned("d/f", EntryKind::File)]);
    unpack(&bytes, one.path(), None).unwrap();
    assert!(pack(one.path(), None) == bytes);
    unpack(&bytes, two.path(), None).unwrap();
    // What is as it is below has the same owner, remembered or not.
    let below = Root::open_dir(one.path()).unwrap();
    assert_eq!(names(&pack(two.path(), Some(&below))), Vec::<String>::new());
}

#[test]
fn an_owner_that_could_not_be_given_is_in_the_tar() {
    let layer = tempfile::tempdir().unwrap();
    fs::write(layer.path().join("f"), "").unwrap();
    let dir = opened(layer.path());
    let flags = rustix::fs::OFlags::RDONLY;
    let file = rustix::fs::openat(&dir, "f", flags, Mode::empty()).unwrap();
    let value = b"1000:1001";
    if rustix::fs::fsetxattr(&file, "user.bakehouse.owner", value, XattrFlags::empty()).is_err() {
        return;
    }
    let bytes = pack(layer.path(), None);
    let mut reader = bakehouse_engine::snapshot::tar::TarReader::new(&*bytes);
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!((entry.uid, entry.gid, entry.xattrs), (1000, 1001, vec![]));
}

/// A lower layer with files of whole seconds, as those of an image are.
fn lower(path: &Path) {
    let entries = [
        dir("d/"),
        file("d/a", "1"),
        file("d/b", "2"),
        dir("e/"),
        symlink("l", "d"),
        file("x", ""),
    ];
    unpack(&tar(&entries), path, None).unwrap();
}

#[test]
fn what_is_as_it_was_below_is_not_in_the_layer() {
    if !crate::tree::may_own() {
        return;
    }
    let (below, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    lower(below.path());
    // Copied up and put back: a same, b of another content, l of another target.
    let entries = [dir("d/"), file("d/a", "1"), file("d/b", "3"), dir("e/"), symlink("l", "e")];
    unpack(&tar(&entries), upper.path(), None).unwrap();
    let below = Root::open_dir(below.path()).unwrap();
    assert_eq!(names(&pack(upper.path(), Some(&below))), ["d/", "d/b", "l"]);
}

#[test]
fn a_directory_is_written_if_it_changed_or_has_something_that_did() {
    if !crate::tree::may_own() {
        return;
    }
    let (below, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    lower(below.path());
    let changed = Entry { mode: 0o700, ..entry("e/", EntryKind::Directory) };
    unpack(&tar(&[dir("d/"), (changed, vec![])]), upper.path(), None).unwrap();
    let below = Root::open_dir(below.path()).unwrap();
    assert_eq!(names(&pack(upper.path(), Some(&below))), ["e/"]);
}

#[test]
fn whiteouts_hide_what_is_there_and_only_that() {
    if !crate::tree::may_own() {
        return;
    }
    let (below, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    lower(below.path());
    let below = Root::open_dir(below.path()).unwrap();
    let dir = upper.path().join("d");
    fs::create_dir(&dir).unwrap();
    let hide = |dir: &Path, name: &str| {
        let kind = FileType::CharacterDevice;
        rustix::fs::mknodat(opened(dir), name, kind, Mode::empty(), 0).unwrap();
    };
    hide(&dir, "a");
    hide(&dir, "never");
    hide(upper.path(), "x");
    assert_eq!(names(&pack(upper.path(), Some(&below))), ["d/", "d/.wh.a", ".wh.x"]);
    assert_eq!(names(&pack(upper.path(), None)), ["d/"]);
}

#[test]
fn a_layer_that_only_overlayfs_understands_or_that_lies_is_refused() {
    let layer = tempfile::tempdir().unwrap();
    fs::write(layer.path().join(".wh.file"), "").unwrap();
    let error = write_layer(layer.path(), None, &mut vec![], DiffOptions::default()).unwrap_err();
    assert!(error.to_string().contains("`.wh.file` has a name"), "{error}");
    fs::remove_file(layer.path().join(".wh.file")).unwrap();
    fs::create_dir(layer.path().join("moved")).unwrap();
    let dir = opened(&layer.path().join("moved"));
    if rustix::fs::fsetxattr(&dir, "user.overlay.redirect", b"/d", XattrFlags::empty()).is_ok() {
        let error = write_layer(layer.path(), None, &mut vec![], DiffOptions::default());
        assert!(error.unwrap_err().to_string().contains("redirected"));
    }
}

#[test]
fn a_hard_link_to_a_file_below_brings_that_file_along() {
    if !crate::tree::may_own() {
        return;
    }
    let (below, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    lower(below.path());
    let below = Root::open_dir(below.path()).unwrap();
    unpack(&tar(&[link("n/new", "l/a"), link("m", "l")]), upper.path(), Some(&below)).unwrap();
    let lines = describe(&Root::open_dir(upper.path()).unwrap());
    let time = TIME;
    assert_eq!(
        lines,
        [
            "/d Directory 755 0:0".to_owned(),
            format!("/d/a RegularFile 644 0:0 {time} x2 1"),
            format!("/l Symlink 777 0:0 {time} -> d"),
            format!("/m Symlink 777 0:0 {time} -> d"),
            "/n Directory 755 0:0".to_owned(),
            format!("/n/new RegularFile 644 0:0 {time} x2 1"),
        ]
    );
}

#[test]
fn a_deep_tree_is_walked_without_a_deep_stack() {
    let layer = tempfile::tempdir().unwrap();
    let deep = "d/".repeat(300);
    fs::create_dir_all(layer.path().join(&deep)).unwrap();
    make_symlink("x", layer.path().join(&deep).join("l")).unwrap();
    assert_eq!(names(&pack(layer.path(), None)).len(), 301);
}
