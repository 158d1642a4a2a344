//! Layers that overlayfs wrote, and what it makes of layers that were unpacked.

use std::fs;
use std::path::PathBuf;

use bakehouse_engine::Root;
use bakehouse_engine::snapshot::{MountOptions, Overlay};
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::tree::{describe, dir, file, mount, names, overlay_works, pack, symlink, tar, unpack};

struct Stack {
    folder: tempfile::TempDir,
    lower: PathBuf,
}

impl Stack {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        if !overlay_works(folder.path()) {
            return None;
        }
        let lower = folder.path().join("lower");
        let entries = [
            dir("d/"),
            file("d/a", "1"),
            dir("d/sub/"),
            file("d/sub/deep", "2"),
            dir("e/"),
            file("e/f", "3"),
            file("x", "4"),
            symlink("l", "d"),
        ];
        unpack(&tar(&entries), &lower, None).unwrap();
        Some(Self { folder, lower })
    }

    /// Lets `change` work on the mounted stack; gives the upper directory and its tar.
    fn change(&self, change: impl Fn(&Root)) -> (PathBuf, Vec<u8>) {
        let (upper, work) = (self.folder.path().join("upper"), self.folder.path().join("work"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let lowers = [self.lower.clone()];
        let fd = Overlay::mount(&lowers, Some((&upper, &work)), MountOptions::default()).unwrap();
        change(&Root::from_fd(fd));
        let bytes = pack(&upper, Some(&mount(&lowers)));
        (upper, bytes)
    }

    /// The stack with a layer that was unpacked from `bytes`.
    fn with(&self, bytes: &[u8]) -> Vec<String> {
        let again = self.folder.path().join("again");
        unpack(bytes, &again, Some(&mount(std::slice::from_ref(&self.lower)))).unwrap();
        describe(&mount(&[self.lower.clone(), again]))
    }
}

fn remove(root: &Root, path: &str, flags: AtFlags) {
    let (dir, name) = root.open_parent(path).unwrap();
    rustix::fs::unlinkat(dir, name, flags).unwrap();
}

fn make_dir(root: &Root, path: &str) {
    let (dir, name) = root.open_parent(path).unwrap();
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)).unwrap();
}

#[test]
fn removed_and_made_again_is_the_same_in_a_tar() {
    let Some(stack) = Stack::new() else { return };
    let (upper, bytes) = stack.change(|root| {
        remove(root, "x", AtFlags::empty());
        // A directory that is made again hides the old one's files.
        remove(root, "d/sub/deep", AtFlags::empty());
        remove(root, "d/sub", AtFlags::REMOVEDIR);
        remove(root, "d/a", AtFlags::empty());
        remove(root, "d", AtFlags::REMOVEDIR);
        make_dir(root, "d");
        drop(root.create("d/new", 0o600).unwrap());
        // A directory becomes a file, a link becomes a directory.
        remove(root, "e/f", AtFlags::empty());
        remove(root, "e", AtFlags::REMOVEDIR);
        drop(root.create("e", 0o644).unwrap());
        remove(root, "l", AtFlags::empty());
        make_dir(root, "l");
    });
    assert_eq!(names(&bytes), ["d/", "d/.wh.a", "d/new", "d/.wh.sub", "e", "l/", ".wh.x"]);
    assert_eq!(stack.with(&bytes), describe(&mount(&[stack.lower.clone(), upper])));
}

#[test]
fn a_file_that_was_touched_but_not_changed_leaves_an_empty_layer() {
    let Some(stack) = Stack::new() else { return };
    let (upper, bytes) = stack.change(|root| {
        // Opening for writing copies up; time and content stay.
        drop(root.open("d/a", OFlags::WRONLY).unwrap());
        drop(root.open("d/sub/deep", OFlags::WRONLY).unwrap());
    });
    assert!(upper.join("d/sub/deep").exists());
    assert_eq!(bytes, [0; 1024]);
}

#[test]
fn marks_in_a_tar_hide_what_is_below_in_whatever_order_they_come() {
    let opaque = || file("d/.wh..wh..opq", "");
    let cases = [
        ("opaque first", vec![opaque(), dir("d/"), file("d/new", "n")]),
        ("opaque last", vec![dir("d/"), file("d/new", "n"), opaque()]),
        ("whiteout first", vec![file(".wh.d", ""), dir("d/"), file("d/new", "n")]),
        ("whiteout last", vec![dir("d/"), file("d/new", "n"), file(".wh.d", "")]),
        ("whiteout, implied", vec![file(".wh.d", ""), file("d/new", "n")]),
        ("a file first", vec![file("d", ""), dir("d/"), file("d/new", "n")]),
    ];
    for (case, entries) in cases {
        let Some(stack) = Stack::new() else { return };
        let lines = stack.with(&tar(&entries));
        let in_d: Vec<_> = lines.iter().filter(|line| line.starts_with("/d/")).collect();
        assert!(in_d.len() == 1 && in_d[0].starts_with("/d/new "), "{case}: {lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("/e/f ")), "{case}");
    }
}

#[test]
fn a_mark_at_the_top_hides_all_that_is_below() {
    let Some(stack) = Stack::new() else { return };
    let lines = stack.with(&tar(&[file("e/n", ""), file(".wh..wh..opq", ""), file("x", "new")]));
    let names: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["/e", "/e/n", "/x"]);
}

#[test]
fn a_directory_that_is_only_implied_stays_as_it_is_below() {
    let Some(stack) = Stack::new() else { return };
    let (folder, name) = Root::open_dir(&stack.lower).unwrap().open_parent("e").unwrap();
    rustix::fs::chmodat(folder, name, Mode::from_raw_mode(0o1777), AtFlags::empty()).unwrap();
    let lines = stack.with(&tar(&[file("e/new", ""), file("d/sub/.wh.deep", "")]));
    assert!(lines.contains(&"/e Directory 1777 0:0".to_owned()), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("/e/f ")));
    assert!(!lines.iter().any(|line| line.starts_with("/d/sub/deep ")));
}
