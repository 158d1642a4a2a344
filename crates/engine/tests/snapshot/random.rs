//! Trees and changes that nobody thought of.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;

use bakehouse_engine::Root;
use bakehouse_engine::snapshot::{MountOptions, Overlay};
use proptest::prelude::*;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};

use crate::tree::{TIME, describe, mount, overlay_works, pack, unpack};

/// Something that a step does. Whatever is not possible does nothing.
#[derive(Debug, Clone)]
enum Deed {
    File(String, Vec<u8>),
    Dir(String),
    Symlink(String, String),
    Link(String, String),
    Mode(String, u32),
    Remove(String),
    Rename(String, String),
}

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof!["a", "b", "c", "a.b", "ü", "n{120}"];
    prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"))
}

fn deeds(count: usize) -> impl Strategy<Value = Vec<Deed>> {
    let content = prop::collection::vec(any::<u8>(), 0..700);
    let deed = prop_oneof![
        4 => (path(), content).prop_map(|(path, content)| Deed::File(path, content)),
        4 => path().prop_map(Deed::Dir),
        1 => (path(), path()).prop_map(|(path, to)| Deed::Symlink(path, to)),
        2 => (path(), path()).prop_map(|(path, to)| Deed::Link(path, to)),
        2 => (path(), 0..0o10000_u32).prop_map(|(path, mode)| Deed::Mode(path, mode)),
        4 => path().prop_map(Deed::Remove),
        1 => (path(), path()).prop_map(|(path, to)| Deed::Rename(path, to)),
    ];
    prop::collection::vec(deed, 0..count)
}

fn perform(root: &Root, deed: &Deed) -> Option<()> {
    let parent = |path: &str| root.open_parent(path).ok();
    match deed {
        Deed::File(path, content) => {
            let (dir, name) = parent(path)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)).ok()?;
            rustix::io::write(&file, content).unwrap();
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            // Times as an archive has them, so that equal files of two layers are met.
            let time = Timespec { tv_sec: TIME + (hasher.finish() % 3) as i64, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::futimens(&file, &times).unwrap();
        }
        Deed::Dir(path) => {
            let (dir, name) = parent(path)?;
            rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)).ok()?;
        }
        Deed::Symlink(path, to) => {
            let (dir, name) = parent(path)?;
            rustix::fs::symlinkat(to.as_str(), dir, name).ok()?;
        }
        Deed::Link(path, to) => {
            let ((dir, name), (to_dir, to_name)) = (parent(path)?, parent(to)?);
            rustix::fs::linkat(to_dir, to_name, dir, name, AtFlags::empty()).ok()?;
        }
        Deed::Mode(path, mode) => {
            let (dir, name) = parent(path)?;
            let stat = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            if stat.st_mode & 0o170_000 != 0o120_000 {
                let mode = Mode::from_raw_mode(*mode);
                rustix::fs::chmodat(dir, name, mode, AtFlags::empty()).ok()?;
            }
        }
        Deed::Remove(path) => remove(root, path)?,
        Deed::Rename(path, to) => {
            let ((dir, name), (to_dir, to_name)) = (parent(path)?, parent(to)?);
            rustix::fs::renameat(dir, name, to_dir, to_name).ok()?;
        }
    }
    Some(())
}

fn remove(root: &Root, path: &str) -> Option<()> {
    let (dir, name) = root.open_parent(path).ok()?;
    if rustix::fs::unlinkat(&dir, &name, AtFlags::empty()).is_ok() {
        return Some(());
    }
    let real = root.resolve_parent(path).ok()?;
    for entry in root.read_dir(&real).ok()? {
        remove(root, real.join(entry.name).to_str()?)?;
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR).ok()
}

fn build(dir: &Path, deeds: &[Deed]) {
    fs::create_dir_all(dir).unwrap();
    let root = Root::open_dir(dir).unwrap();
    for deed in deeds {
        let _ = perform(&root, deed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn what_is_packed_unpacks_to_what_packs_the_same(deeds in deeds(40)) {
        if !crate::tree::may_own() {
            return Ok(());
        }
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        build(&one, &deeds);
        let bytes = pack(&one, None);
        unpack(&bytes, &two, None).unwrap();
        prop_assert_eq!(describe_files(&one), describe_files(&two));
        prop_assert!(pack(&two, None) == bytes);
    }

    #[test]
    fn what_a_step_did_to_a_mount_is_what_its_tar_does(below in deeds(30), step in deeds(30)) {
        let folder = tempfile::tempdir().unwrap();
        if overlay_works(folder.path()) {
            let path = |name: &str| folder.path().join(name);
            build(&path("first"), &below);
            // A lower layer that came from an archive, as base layers do.
            unpack(&pack(&path("first"), None), &path("lower"), None).unwrap();
            fs::create_dir(path("upper")).unwrap();
            fs::create_dir(path("work")).unwrap();
            let lowers = [path("lower")];
            let upper = (path("upper"), path("work"));
            let options = MountOptions::default();
            let fd = Overlay::mount(&lowers, Some((&upper.0, &upper.1)), options).unwrap();
            let root = Root::from_fd(fd);
            for deed in &step {
                let _ = perform(&root, deed);
            }
            drop(root);
            let below = mount(&lowers);
            let bytes = pack(&path("upper"), Some(&below));
            unpack(&bytes, &path("again"), Some(&below)).unwrap();
            let with = |layer: &str| describe(&mount(&[path("lower"), path(layer)]));
            prop_assert_eq!(without_links(with("upper")), without_links(with("again")));
            prop_assert!(pack(&path("again"), Some(&below)) == bytes);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        deeds in deeds(8),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        if !crate::tree::may_own() {
            return Ok(());
        }
        let folder = tempfile::tempdir().unwrap();
        build(&folder.path().join("one"), &deeds);
        let mut bytes = pack(&folder.path().join("one"), None);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // The sums are made right again, so that the damage is looked at.
        for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        drop(unpack(&bytes, &folder.path().join("two"), None));
    }
}

fn describe_files(dir: &Path) -> Vec<String> {
    describe(&Root::open_dir(dir).unwrap())
}

/// How many names a file has is not kept where overlayfs copies one of them up.
fn without_links(lines: Vec<String>) -> Vec<String> {
    let strip = |line: String| {
        let words = line.split(' ').filter(|word| {
            word.strip_prefix('x').is_none_or(|count| count.parse::<u32>().is_err())
        });
        words.collect::<Vec<_>>().join(" ")
    };
    lines.into_iter().map(strip).collect()
}
