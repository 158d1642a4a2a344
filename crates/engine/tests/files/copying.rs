//! What `COPY` does, point by point.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bakehouse_engine::Root;
use bakehouse_engine::files::{OWNER_XATTR, Options, Tree, materialise};
use bakehouse_model::op::{self, FileAction, MakeDir, MakeFile, Mode, Principal};
use rustix::fs::XattrFlags;

use crate::patterns::Simple;
use crate::stage::{
    Stage, attributes, by_name, chmod, copying, fill, layer_of, listing, may_chown, owner, skip,
};

/// Source, destination's root before, copy, and what is there after or the error.
type Row<'r> = (&'r [&'r str], &'r [&'r str], op::Copy, Result<&'r [&'r str], &'r str>);

fn check(rows: &[Row<'_>]) {
    for (src, root, copy, expected) in rows {
        let stage = Stage::with(src);
        fill(&stage.root(""), root);
        let what = format!("{src:?} {root:?} {} {}", copy.src, copy.dest);
        match (stage.copy(copy.clone()), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(&found, expected, "{what}"),
            (Err(found), Err(expected)) => assert_eq!(&found, expected, "{what}"),
            (found, expected) => panic!("{what}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn the_destination_is_a_name_or_a_directory_by_its_slash_and_by_what_is_there() {
    check(&[
        (&["f"], &[], copying("/f", "/x"), Ok(&["x=f"])),
        (&["f"], &[], copying("/f", "/x/"), Ok(&["x/", "x/f=f"])),
        (&["f"], &[], copying("/f", "/x/."), Ok(&["x/", "x/f=f"])),
        (&["f"], &["x/"], copying("/f", "/x"), Ok(&["x/", "x/f=f"])),
        (&["f"], &[], copying("/f", "/a/b/c"), Ok(&["a/", "a/b/", "a/b/c=f"])),
        (&["f"], &[], copying("/f", "/"), Ok(&["f=f"])),
        (&["f"], &["x"], copying("/f", "/x"), Ok(&["x=f"])),
        (&["d/f"], &[], copying("/d", "/x"), Ok(&["x/", "x/f=d/f"])),
        (&["d/f"], &["x/g"], copying("/d", "/x"), Ok(&["x/", "x/f=d/f", "x/g=x/g"])),
        (&["d/f"], &[], copying("/d/", "/x/"), Ok(&["x/", "x/f=d/f"])),
        (&["d/e/f"], &[], copying("/", "/x"), Ok(&["x/", "x/d/", "x/d/e/", "x/d/e/f=d/e/f"])),
        (&["f"], &[], copying("/../../f", "/../x"), Ok(&["x=f"])),
    ]);
    let whole = op::Copy { dir_copy_contents: false, ..copying("/d", "/x") };
    check(&[
        (&["d/f"], &[], whole.clone(), Ok(&["x/", "x/f=d/f"])),
        (&["d/f"], &["x/"], whole, Ok(&["x/", "x/d/", "x/d/f=d/f"])),
    ]);
}

#[test]
fn a_wildcard_matches_names_and_only_a_literal_must_exist() {
    let strict = op::Copy { allow_empty_wildcard: false, ..copying("/n*", "/x/") };
    check(&[
        (
            &["a.c", "b.c", "c.h"],
            &[],
            copying("/*.c", "/x/"),
            Ok(&["x/", "x/a.c=a.c", "x/b.c=b.c"]),
        ),
        (&["a/f", "b/f"], &[], copying("/*/f", "/x/"), Ok(&["x/", "x/f=b/f"])),
        (
            &["a/f", "a/d/f"],
            &[],
            copying("/*", "/x/"),
            Ok(&["x/", "x/d/", "x/d/f=a/d/f", "x/f=a/f"]),
        ),
        (&["f"], &[], copying("/n*", "/x/"), Ok(&[])),
        (&["f"], &[], strict, Err("\"/n*\": not found")),
        (&["f"], &[], copying("/n", "/x/"), Err("\"/n\": not found")),
        (&["f"], &[], copying("/n/*", "/x/"), Err("\"/n\": not found")),
        (&["a*b", "aab"], &[], copying("/a[*]b", "/x/"), Ok(&["x/", "x/a*b=a*b"])),
        (&["f"], &[], copying("/f[", "/x/"), Err("pattern `f[` is malformed")),
        (&["d/f", "l -> d"], &[], copying("/l/*", "/x/"), Ok(&["x/", "x/f=d/f"])),
    ]);
}

#[test]
fn links_are_followed_on_the_way_and_at_the_end_but_not_below() {
    let kept = op::Copy { follow_symlink: false, ..copying("/l", "/x") };
    check(&[
        (&["f", "l -> f"], &[], copying("/l", "/x"), Ok(&["x=f"])),
        (&["d/f", "l -> d"], &[], copying("/l/f", "/x"), Ok(&["x=d/f"])),
        (&["d/f", "l -> d"], &[], copying("/l", "/x"), Ok(&["x/", "x/f=d/f"])),
        (&["f", "d/l -> ../f"], &[], copying("/d", "/x"), Ok(&["x/", "x/l -> ../f"])),
        (&["f", "l -> f"], &[], kept, Ok(&["x -> f"])),
        (&["f", "l -> /f"], &[], copying("/l", "/x"), Ok(&["x=f"])),
        (&["f", "l -> ../../../f"], &[], copying("/l", "/x"), Ok(&["x=f"])),
        (&["l -> /etc/passwd"], &[], copying("/l", "/x"), Err("\"/l\": not found")),
        (
            &["a -> b", "b -> a"],
            &[],
            copying("/a", "/x"),
            Err("cannot follow `/a`: too many links"),
        ),
    ]);
}

#[test]
fn a_linked_destination_is_followed_and_never_leaves_the_root() {
    check(&[
        (&["f"], &["d/", "l -> d"], copying("/f", "/l/"), Ok(&["d/", "d/f=f", "l -> d"])),
        (&["f"], &["d/", "l -> /d"], copying("/f", "/l/x"), Ok(&["d/", "d/x=f", "l -> /d"])),
        (&["f"], &["l -> ../../../out"], copying("/f", "/l"), Ok(&["l -> ../../../out", "out=f"])),
        (&["f"], &["l -> /a/b"], copying("/f", "/l/"), Ok(&["a/", "a/b/", "a/b/f=f", "l -> /a/b"])),
        (&["d/f"], &["g", "x/f -> ../g"], copying("/d", "/x"), Ok(&["g=g", "x/", "x/f=d/f"])),
        (&["d/f"], &["e/", "l -> e"], copying("/d", "/l"), Ok(&["e/", "e/f=d/f", "l -> e"])),
    ]);
}

#[test]
fn kinds_do_not_replace_each_other_unless_told_to() {
    let forced = |src, dest| op::Copy { always_replace_existing: true, ..copying(src, dest) };
    check(&[
        (
            &["f"],
            &["x/f/"],
            copying("/f", "/x/"),
            Err("cannot replace to directory `/x/f` with file"),
        ),
        (&["d/e/f"], &["x/e"], copying("/d", "/x"), Err("cannot copy to non-directory: `/x/e`")),
        (
            &["d/e/f"],
            &["y/", "x/e -> ../y"],
            copying("/d", "/x"),
            Err("cannot copy to non-directory: `/x/e`"),
        ),
        (&["d/f"], &["x"], copying("/d", "/x"), Err("cannot copy to non-directory: `/x`")),
        (&["f"], &["x"], copying("/f", "/x/y"), Err("cannot make `/x`: not a directory")),
        (&["f"], &["x/f/g"], forced("/f", "/x/"), Ok(&["x/", "x/f=f"])),
        (&["d/e/f"], &["x/e"], forced("/d", "/x"), Ok(&["x/", "x/e/", "x/e/f=d/e/f"])),
        (
            &["d/e/f"],
            &["x/e/g"],
            forced("/d", "/x"),
            Ok(&["x/", "x/e/", "x/e/f=d/e/f", "x/e/g=x/e/g"]),
        ),
    ]);
}

#[test]
fn include_and_exclude_patterns_choose_and_parents_come_with_what_is_chosen() {
    let some = |include: &[&str], exclude: &[&str], required: &[&str]| op::Copy {
        include_patterns: include.iter().map(|&p| p.to_owned()).collect(),
        exclude_patterns: exclude.iter().map(|&p| p.to_owned()).collect(),
        required_paths: required.iter().map(|&p| p.to_owned()).collect(),
        ..copying("/", "/x/")
    };
    let files: &[&str] = &["a/b/c", "a/b/d", "a/e", "f"];
    check(&[
        (
            files,
            &[],
            some(&["a/b/c"], &[], &["/a/b/c"]),
            Ok(&["x/", "x/a/", "x/a/b/", "x/a/b/c=a/b/c"]),
        ),
        (files, &[], some(&["a/*/d"], &[], &[]), Ok(&["x/", "x/a/", "x/a/b/", "x/a/b/d=a/b/d"])),
        (files, &[], some(&["a"], &["a/b"], &[]), Ok(&["x/", "x/a/", "x/a/e=a/e"])),
        (files, &[], some(&[], &["a", "!a/e"], &[]), Ok(&["x/", "x/a/", "x/a/e=a/e", "x/f=f"])),
        (
            files,
            &[],
            some(&[], &["**/c", "f"], &[]),
            Ok(&["x/", "x/a/", "x/a/b/", "x/a/b/d=a/b/d", "x/a/e=a/e"]),
        ),
        (files, &[], some(&["n"], &[], &["/n"]), Err("\"/n\": not found")),
    ]);
}

#[test]
fn owners_are_roots_from_a_context_and_kept_from_an_image() {
    if !may_chown() {
        return;
    }
    let stage = Stage::with(&["d/f"]);
    std::os::unix::fs::chown(stage.src("d/f"), Some(1000), Some(1001)).unwrap();
    stage.copy(copying("/d", "/context")).unwrap();
    assert_eq!(attributes(&stage.root("context/f")), (0o644, 0, 0));
    stage.run(vec![FileAction::Copy(copying("/d", "/image"))], &stage.image()).unwrap();
    assert_eq!(attributes(&stage.root("image/f")), (0o644, 1000, 1001));
}

#[test]
fn chown_takes_numbers_and_names_and_covers_parents() {
    if !may_chown() {
        return;
    }
    let id = |id| Principal::Id { id };
    let cases = [
        (owner(id(7), None), (7, 7)),
        (owner(id(7), Some(id(8))), (7, 8)),
        (owner(by_name("app"), None), (50, 60)),
        (owner(by_name("app"), Some(by_name("staff"))), (50, 70)),
        (owner(id(7), Some(by_name("staff"))), (7, 70)),
    ];
    for (owner, (uid, gid)) in cases {
        let stage = Stage::with(&["d/f"]);
        fs::create_dir(stage.root("etc")).unwrap();
        fs::write(stage.root("etc/passwd"), "root:x:0:0::/:/sh\napp:x:50:60::/:/sh\n").unwrap();
        fs::write(stage.root("etc/group"), "root:x:0:\nstaff:x:70:app\n").unwrap();
        stage.copy(op::Copy { owner: owner.clone(), ..copying("/d", "/p/q/") }).unwrap();
        for (path, mode) in [("p", 0o755), ("p/q", 0o755), ("p/q/f", 0o644)] {
            assert_eq!(attributes(&stage.root(path)), (mode, uid, gid), "{owner:?} {path}");
        }
    }
}

#[test]
fn a_name_that_is_nowhere_is_an_error_that_names_it() {
    let cases = [
        (owner(by_name("ann"), None), "user `ann` is not in `/etc/passwd`"),
        (
            owner(Principal::Id { id: 0 }, Some(by_name("dev"))),
            "group `dev` is not in `/etc/group`",
        ),
    ];
    for (owner, message) in cases {
        let stage = Stage::with(&["f"]);
        let copy = op::Copy { owner, ..copying("/f", "/x") };
        assert_eq!(stage.copy(copy).unwrap_err(), message);
    }
}

#[test]
fn modes_are_kept_or_changed_and_parents_get_the_usual() {
    let stage = Stage::with(&["d/f", "d/e/g"]);
    chmod(&stage.src("d/f"), 0o4751);
    chmod(&stage.src("d/e"), 0o1770);
    stage.copy(copying("/d", "/p/q")).unwrap();
    let mode = |path: &str| attributes(&stage.root(path)).0;
    assert_eq!((mode("p"), mode("p/q")), (0o755, 0o755));
    assert_eq!((mode("p/q/f"), mode("p/q/e")), (0o4751, 0o1770));

    let octal = Some(Mode::Bits { bits: 0o640 });
    stage.copy(op::Copy { mode: octal, ..copying("/d/f", "/o") }).unwrap();
    assert_eq!(mode("o"), 0o640);
    let text = "u=rwX,go=rX".to_owned();
    stage.copy(op::Copy { mode: Some(Mode::Symbolic { text }), ..copying("/d", "/s") }).unwrap();
    assert_eq!((mode("s/f"), mode("s/e"), mode("s/e/g")), (0o755, 0o1755, 0o644));
    let text = "wat".to_owned();
    let bad = op::Copy { mode: Some(Mode::Symbolic { text }), ..copying("/d", "/s") };
    assert!(stage.copy(bad).unwrap_err().contains("mode `wat`"));
}

#[test]
fn a_directory_that_was_there_keeps_its_mode_but_those_below_take_the_sources() {
    let stage = Stage::with(&["d/e/f"]);
    chmod(&stage.src("d"), 0o711);
    chmod(&stage.src("d/e"), 0o711);
    fill(&stage.root(""), &["x/e/"]);
    chmod(&stage.root("x"), 0o700);
    chmod(&stage.root("x/e"), 0o700);
    stage.copy(copying("/d", "/x")).unwrap();
    assert_eq!(attributes(&stage.root("x")).0, 0o700);
    assert_eq!(attributes(&stage.root("x/e")).0, 0o711);
}

fn set_time(path: &std::path::Path, time: SystemTime) {
    File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn times_are_kept_to_the_nanosecond_or_replaced() {
    let old = UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    let mut stage = Stage::with(&["d/e/f"]);
    for path in ["d/e/f", "d/e", "d"] {
        set_time(&stage.src(path), old);
    }
    let time = |path: &str| fs::symlink_metadata(stage.root(path)).unwrap().modified().unwrap();
    stage.copy(copying("/d", "/x")).unwrap();
    assert_eq!([time("x"), time("x/e"), time("x/e/f")], [old; 3]);
    stage.copy(op::Copy { timestamp: Some(5), ..copying("/d", "/p/y") }).unwrap();
    let five = UNIX_EPOCH + Duration::from_secs(5);
    assert_eq!([time("p"), time("p/y"), time("p/y/e"), time("p/y/e/f")], [five; 4]);
    stage.epoch = Some(9);
    stage.copy(copying("/d/e/f", "/q/z")).unwrap();
    let nine = UNIX_EPOCH + Duration::from_secs(9);
    let time = |path: &str| fs::symlink_metadata(stage.root(path)).unwrap().modified().unwrap();
    assert_eq!((time("q"), time("q/z")), (nine, old));
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let stage = Stage::with(&["d/a"]);
    fs::hard_link(stage.src("d/a"), stage.src("d/b")).unwrap();
    stage.copy(copying("/d", "/x")).unwrap();
    let meta = |path: &str| fs::metadata(stage.root(path)).unwrap();
    assert_eq!(meta("x/a").ino(), meta("x/b").ino());
    assert_eq!(meta("x/a").nlink(), 2);
}

#[test]
fn pipes_are_copied_and_sockets_become_empty_files() {
    let stage = Stage::with(&["d/f"]);
    let pipe = rustix::fs::Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(rustix::fs::CWD, stage.src("d/p"), rustix::fs::FileType::Fifo, pipe, 0)
        .unwrap();
    let listener = UnixListener::bind(stage.src("d/s")).unwrap();
    let found = stage.copy(copying("/d", "/x")).unwrap();
    drop(listener);
    assert_eq!(found, ["x/", "x/f=d/f", "x/p: special", "x/s="]);
}

#[test]
fn attributes_are_copied_and_capabilities_survive_the_owner() {
    if !may_chown() {
        return;
    }
    let stage = Stage::with(&["f"]);
    let set = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(stage.src("f"), name, value, XattrFlags::empty())
    };
    // cap_net_raw, version 2 of the format.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if set("user.note", b"kept").is_err() || set("security.capability", &capability).is_err() {
        return;
    }
    set(OWNER_XATTR, b"1:1").unwrap();
    let seven = owner(Principal::Id { id: 7 }, None);
    stage.copy(op::Copy { owner: seven, ..copying("/f", "/x") }).unwrap();
    let get = |name: &str| {
        let mut value = [0; 64];
        rustix::fs::getxattr(stage.root("x"), name, &mut value[..]).map(|n| value[..n].to_vec())
    };
    assert_eq!(get("user.note").unwrap(), b"kept");
    assert_eq!(get("security.capability").unwrap(), capability);
    assert!(get(OWNER_XATTR).is_err());
}

#[test]
fn a_missing_parent_is_an_error_if_none_is_to_be_made() {
    let copy = |dest| op::Copy { create_dest_path: false, ..copying("/f", dest) };
    check(&[
        (&["f"], &[], copy("/a/b"), Err("\"/a\": not found")),
        (&["f"], &["a/"], copy("/a/b"), Ok(&["a/", "a/b=f"])),
    ]);
}

#[test]
fn files_and_directories_are_made_with_their_mode_and_stay_if_they_are_there() {
    let stage = Stage::new();
    let dir = |path: &str, make_parents, mode| {
        let (path, owner, timestamp) = (path.to_owned(), None, Some(3));
        FileAction::MakeDir(MakeDir { path, mode, make_parents, owner, timestamp })
    };
    let file = |path: &str, data: &str| {
        let (path, data) = (path.to_owned(), data.as_bytes().to_vec());
        FileAction::MakeFile(MakeFile { path, mode: 0o640, data, owner: None, timestamp: None })
    };
    symlink("a", stage.root("l")).unwrap();
    let actions = vec![
        dir("/a/b/c", true, 0o750),
        dir("/a", false, 0o700),
        file("/l/f", "one"),
        file("/a/f", "two"),
        dir("/d", false, 0o777),
    ];
    let stats = stage.run(actions, &Tree::Empty).unwrap();
    assert_eq!(listing(&stage.root("")), ["a/", "a/b/", "a/b/c/", "a/f=two", "d/", "l -> a"]);
    let mode = |path: &str| attributes(&stage.root(path)).0;
    assert_eq!([mode("a"), mode("a/b/c"), mode("a/f"), mode("d")], [0o750, 0o750, 0o640, 0o777]);
    assert_eq!(fs::metadata(stage.root("d")).unwrap().mtime(), 3);
    assert_eq!((stats.files, stats.directories), (2, 4));
    let missing = stage.run(vec![file("/n/f", "")], &Tree::Empty).unwrap_err();
    assert_eq!(missing.to_string(), "cannot create `/n/f`");
}

#[test]
fn a_file_that_changes_under_the_copy_is_told() {
    // It is written to once the copy has opened it. A writer that comes too late proves nothing.
    for _ in 0..20 {
        let stage = Stage::new();
        fs::write(stage.src("a"), vec![b'a'; 32 << 20]).unwrap();
        let input = stage.context();
        let (from, to) = (stage.src("a"), stage.root("x/a"));
        let writer = std::thread::spawn(move || {
            while !to.exists() {
                std::hint::spin_loop();
            }
            let mut from = fs::OpenOptions::new().append(true).open(from).unwrap();
            std::io::Write::write_all(&mut from, b"more").unwrap();
            fs::metadata(to).unwrap().len() < 32 << 20
        });
        let stats = stage.run(vec![FileAction::Copy(copying("/", "/x/"))], &input).unwrap();
        if writer.join().unwrap() {
            assert_eq!(stats.changed, ["/a"]);
            return;
        }
    }
    skip("no writer came in time");
}

#[test]
fn a_file_that_goes_away_is_named_and_one_that_changes_is_told() {
    let stage = Stage::with(&["a", "b"]);
    let input = stage.context();
    fs::write(stage.src("a"), "longer than before").unwrap();
    let stats = stage.run(vec![FileAction::Copy(copying("/", "/x/"))], &input).unwrap();
    assert_eq!(stats.changed, ["/a"]);
    assert_eq!(fs::read_to_string(stage.root("x/a")).unwrap(), "longer than before");
    fs::remove_file(stage.src("b")).unwrap();
    let gone = stage.run(vec![FileAction::Copy(copying("/", "/y/"))], &input).unwrap_err();
    assert_eq!(gone.to_string(), "\"/b\": not found");
}

/// A step's own base is given as it was before: what is written meanwhile is not read.
#[test]
fn a_directory_can_be_copied_into_itself() {
    let stage = Stage::with(&["d/f"]);
    stage.copy(copying("/d", "/d/")).unwrap();
    let before = tempfile::tempdir().unwrap();
    fs::create_dir(before.path().join("d")).unwrap();
    fs::write(before.path().join("d/f"), "d/f").unwrap();
    let before = Tree::mounted(Root::open_dir(before.path()).unwrap());
    let again = op::Copy { input: 0, ..copying("/", "/d/") };
    stage.run(vec![FileAction::Copy(again)], &before).unwrap();
    assert_eq!(listing(&stage.root("")), ["d/", "d/d/", "d/d/f=d/f", "d/f=d/f"]);
}

#[test]
fn a_mount_of_a_context_is_roots_and_has_only_what_the_patterns_leave() {
    let mut stage = Stage::with(&["d/f", "d/g", "h"]);
    chmod(&stage.src("d"), 0o711);
    stage.ignore = vec!["d/g".into()];
    let options = Options { patterns: &Simple, source_date_epoch: None };
    let cases: [(&str, &[&str], u32); 3] = [
        ("/", &["content/", "content/d/", "content/d/f=d/f", "content/h=h"], 0o755),
        ("/d", &["content/", "content/f=d/f"], 0o711),
        ("/h", &["content=h"], 0o644),
    ];
    for (selector, expected, mode) in cases {
        let into = tempfile::tempdir().unwrap();
        let root = Root::open_dir(into.path()).unwrap();
        let (place, _) = materialise(&stage.context(), selector, &root, options).unwrap();
        assert_eq!(place, "/content");
        assert_eq!(listing(into.path()), expected, "{selector}");
        assert_eq!(attributes(&into.path().join("content")).0, mode, "{selector}");
    }
}

#[test]
fn an_owner_is_kept_from_copy_to_copy_even_where_it_can_only_be_recorded() {
    let stage = Stage::with(&["d/f"]);
    let seven = owner(Principal::Id { id: 7 }, None);
    let actions = vec![FileAction::Copy(op::Copy { owner: seven, ..copying("/d", "/x/") })];
    stage.run(actions, &stage.context()).unwrap();
    let copied = Tree::mounted(Root::open_dir(stage.root("")).unwrap());
    stage.run(vec![FileAction::Copy(copying("/x", "/y/"))], &copied).unwrap();
    for path in ["x", "x/f", "y/f"] {
        let mut text = [0; 16];
        let recorded = rustix::fs::getxattr(stage.root(path), OWNER_XATTR, &mut text[..]);
        let is_recorded = recorded.is_ok_and(|length| &text[..length] == b"7:7");
        let (_, uid, gid) = attributes(&stage.root(path));
        assert!(is_recorded || (uid, gid) == (7, 7), "{path}");
    }
}

#[test]
fn a_directory_that_was_there_and_gets_nothing_is_in_no_layer() {
    let stage = Stage::with(&["d/old/", "d/new/f"]);
    fill(&stage.root(""), &["x/old/"]);
    stage.copy(copying("/d", "/x")).unwrap();
    let long = format!("/new/{}", "n".repeat(256));
    assert!(stage.copy(copying("/d/new/f", &long)).is_err());
}

#[test]
fn what_only_adds_can_be_listed_and_nothing_else() {
    let stage = Stage::with(&["f", "d/g", "l -> f"]);
    fill(&stage.root(""), &["old/", "there"]);
    fs::hard_link(stage.src("f"), stage.src("second")).unwrap();
    let archive = op::Copy { attempt_unpack: true, ..copying("/d", "/x/") };
    let replaced = op::Copy { always_replace_existing: true, ..copying("/d/g", "/there") };
    let rows = [
        (copying("/d", "/x"), true),
        (copying("/d", "/old/"), true),
        (copying("/l", "/deep/er/"), false),
        (copying("/d/g", "/old/x"), true),
        (archive, true),
        (copying("/f", "/x"), false),
        (copying("/", "/x"), false),
        (copying("/d/g", "/there"), false),
        (replaced, false),
    ];
    for (copy, expected) in rows {
        let op = op::File { base: Some(0), actions: vec![FileAction::Copy(copy)] };
        let listed = stage.list(&op, &stage.context()).unwrap();
        assert_eq!(listed.is_some(), expected, "{op:?}");
    }
}

#[test]
fn a_listed_file_that_changes_or_goes_away_is_no_layer() {
    for change in [
        |file: &std::path::Path| fs::write(file, "other").unwrap(),
        |file: &std::path::Path| fs::write(file, "d/g").unwrap(),
        |file: &std::path::Path| fs::remove_file(file).unwrap(),
    ] {
        let stage = Stage::with(&["d/f", "d/g"]);
        let copy = FileAction::Copy(copying("/d", "/x"));
        let op = op::File { base: Some(0), actions: vec![copy] };
        let listed = stage.list(&op, &stage.context()).unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        change(&stage.src("d/g"));
        let error = layer_of(listed).unwrap_err().to_string();
        assert!(error.contains("/d/g"), "{error}");
    }
}
