//! Any files that a step may leave: written as a tar twice, unpacked, and written again; as a
//! layer and as a folder that is none.
//!
//! The bytes are read as orders to make, link, mark and change things in an upper directory.
//! Run it as an ordinary user in a user namespace (`unshare -r`).
#![no_main]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use bakehouse_engine::Root;
use bakehouse_engine::snapshot::{Limits, apply, pack_folder, unpack_folder};
use bakehouse_fuzz::written;
use libfuzzer_sys::fuzz_target;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

/// Names that differ in how they sort, and that mean something in a layer.
const NAMES: [&str; 12] =
    ["a", "a-b", "a.b", "b", "..c", ".wh.a", ".wh..wh..opq", "é", "long", "f", "\u{1}", "A"];

struct Orders<'a>(&'a [u8]);

impl Orders<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn path(&mut self, top: &Path) -> Option<PathBuf> {
        let mut path = top.to_owned();
        for _ in 0..=self.next()? % 4 {
            let name = NAMES[usize::from(self.next()?) % NAMES.len()];
            path.push(if name == "long" { "n".repeat(130) } else { name.to_owned() });
        }
        Some(path)
    }
}

/// Writes a file; a pipe that nobody reads is let be.
fn write(path: &Path, content: &[u8]) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::File::options().write(true).create(true).custom_flags(flags).open(path);
    if let Ok(mut file) = file {
        drop(file.write_all(content));
    }
}

/// Does what the bytes say. What does not work is not done.
fn fill(top: &Path, orders: &mut Orders<'_>) -> Option<()> {
    loop {
        let order = orders.next()?;
        let path = orders.path(top)?;
        match order % 11 {
            0 => drop(fs::create_dir_all(&path)),
            1 => write(&path, &vec![order; usize::from(orders.next()?) * 9]),
            2 => drop(symlink(NAMES[usize::from(orders.next()?) % NAMES.len()], &path)),
            3 => drop(fs::hard_link(orders.path(top)?, &path)),
            4 => {
                drop(rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0))
            }
            5 => drop(rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0)),
            6 => {
                let mode = u32::from(orders.next()?) << 4;
                if path.is_dir() || path.is_file() {
                    drop(fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o500)));
                }
            }
            7 => {
                let value = [order; 40];
                let name = ["user.x", "user.overlay.opaque", "user.overlay.whiteout", "user.é"];
                let name = name[usize::from(orders.next()?) % 4];
                let value = if order < 128 { &value[..] } else { b"y" };
                rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()).ok();
            }
            8 => {
                let seconds = i64::from(orders.next()?) * 50_000_000 - 1_000_000_000;
                let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: i64::from(order) };
                let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
                let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::utimensat(CWD, &path, &times, flags).ok();
            }
            9 => drop(fs::remove_file(&path)),
            _ => drop(fs::rename(orders.path(top)?, &path)),
        }
    }
}

fn packed(folder: &Path) -> Vec<u8> {
    let mut tar = Vec::new();
    pack_folder(folder, &mut tar).expect("any folder can be packed");
    tar
}

fuzz_target!(|bytes: &[u8]| {
    let outer = tempfile::tempdir().unwrap();
    let at = |name: &str| outer.path().join(name);
    for name in ["below", "upper", "again", "folder"] {
        fs::create_dir(at(name)).unwrap();
    }
    let (first, rest) = bytes.split_at(bytes.len() / 3);
    fill(&at("below"), &mut Orders(first));
    fill(&at("upper"), &mut Orders(rest));
    let on_top = written(&at("upper"), Some(&at("below")));
    if let (Ok(one), Ok(two)) = (&on_top, written(&at("upper"), Some(&at("below")))) {
        assert!(*one == two, "the same files give the same tar");
    }
    let folder = packed(&at("upper"));
    let root = Root::open_dir(at("folder")).unwrap();
    unpack_folder(folder.as_slice(), &root, &Limits::default()).expect("it can be unpacked");
    assert!(folder == packed(&at("folder")), "what is unpacked and packed again is the same");
    let Ok(alone) = written(&at("upper"), None) else { return };
    let root = Root::open_dir(at("again")).unwrap();
    apply(alone.as_slice(), &root, None, &Limits::default()).expect("it can be read");
    let again = written(&at("again"), None).expect("it can be written");
    assert!(alone == again, "what is applied and written again is the same");
});
