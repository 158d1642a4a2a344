//! Making trees and telling what is in them.

use std::fmt::Write as _;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bakehouse_engine::Root;
use bakehouse_engine::root::kind_of;
use bakehouse_engine::snapshot::tar::{Entry, EntryKind, TarReader, TarWriter};
use bakehouse_engine::snapshot::{
    Applied, ApplyError, DiffOptions, Limits, MountOptions, Overlay, apply, write_layer,
};
use rustix::fs::FileType;

/// A time of whole seconds, which is what layers keep.
pub(crate) const TIME: i64 = 1_600_000_000;

/// Whether this process may give files away; else the test is done again in a user namespace,
/// by [`crate::an_ordinary_user_tests_in_a_user_namespace`].
pub(crate) fn may_own() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn entry(name: &str, kind: EntryKind) -> Entry {
    let mode = if kind == EntryKind::Directory { 0o755 } else { 0o644 };
    Entry {
        name: name.as_bytes().to_vec(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: TIME,
        mtime_nanos: 0,
        size: 0,
        xattrs: vec![],
    }
}

pub(crate) fn file(name: &str, content: &str) -> (Entry, Vec<u8>) {
    let size = content.len() as u64;
    (Entry { size, ..entry(name, EntryKind::File) }, content.as_bytes().to_vec())
}

pub(crate) fn dir(name: &str) -> (Entry, Vec<u8>) {
    (entry(name, EntryKind::Directory), vec![])
}

pub(crate) fn symlink(name: &str, target: &str) -> (Entry, Vec<u8>) {
    (entry(name, EntryKind::Symlink { target: target.as_bytes().to_vec() }), vec![])
}

pub(crate) fn link(name: &str, target: &str) -> (Entry, Vec<u8>) {
    (entry(name, EntryKind::Link { target: target.as_bytes().to_vec() }), vec![])
}

pub(crate) fn tar(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = TarWriter::new(vec![]);
    for (entry, content) in entries {
        writer.append(entry, content.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

/// Names in a tar, in order; links with what they point to.
pub(crate) fn names(tar: &[u8]) -> Vec<String> {
    let mut reader = TarReader::new(tar);
    let mut names = vec![];
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut name = String::from_utf8_lossy(&entry.name).into_owned();
        if let EntryKind::Link { target } = &entry.kind {
            write!(name, " = {}", String::from_utf8_lossy(target)).unwrap();
        }
        names.push(name);
    }
    names
}

pub(crate) fn unpack(tar: &[u8], dir: &Path, below: Option<&Root>) -> Result<Applied, ApplyError> {
    std::fs::create_dir_all(dir).unwrap();
    apply(tar, &Root::open_dir(dir).unwrap(), below, &Limits::default())
}

pub(crate) fn pack(dir: &Path, below: Option<&Root>) -> Vec<u8> {
    let mut tar = vec![];
    write_layer(dir, below, &mut tar, DiffOptions::default()).unwrap();
    tar
}

pub(crate) fn mount(lowers: &[PathBuf]) -> Root {
    Root::from_fd(Overlay::mount(lowers, None, MountOptions::default()).unwrap())
}

/// A line for each file: name, mode, owner, size, time, links, content.
pub(crate) fn describe(root: &Root) -> Vec<String> {
    let mut lines = vec![];
    describe_dir(root, Path::new("/"), &mut lines);
    lines
}

fn describe_dir(root: &Root, path: &Path, lines: &mut Vec<String>) {
    for child in root.read_dir(path).unwrap() {
        let path = path.join(&child.name);
        let stat = root.stat(&path, false).unwrap();
        let kind = kind_of(&stat);
        let mut line = format!(
            "{} {kind:?} {:o} {}:{}",
            path.display(),
            stat.st_mode & 0o7777,
            stat.st_uid,
            stat.st_gid
        );
        match kind {
            FileType::RegularFile => {
                let mut content = vec![];
                root.open_read(&path).unwrap().read_to_end(&mut content).unwrap();
                let text = content.escape_ascii();
                write!(line, " {} x{} {text}", stat.st_mtime, stat.st_nlink).unwrap();
            }
            FileType::Symlink => {
                let target = root.readlink(&path).unwrap();
                write!(line, " {} -> {}", stat.st_mtime, target.display()).unwrap();
            }
            FileType::CharacterDevice => write!(line, " {}", stat.st_rdev).unwrap(),
            _ => {}
        }
        lines.push(line);
        if kind == FileType::Directory {
            describe_dir(root, &path, lines);
        }
    }
}

/// Whether overlayfs works here; says why if not.
pub(crate) fn overlay_works(dir: &Path) -> bool {
    match Overlay::probe(dir) {
        Ok(()) => true,
        Err(error) => skip(&error.to_string()),
    }
}

pub(crate) fn is_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    (whole && rustix::process::geteuid().is_root()) || skip("it needs the machine's root")
}

#[expect(clippy::print_stderr, reason = "a test that cannot run says why")]
fn skip(why: &str) -> bool {
    eprintln!("skipped: {why}");
    false
}

pub(crate) fn opened(dir: &Path) -> OwnedFd {
    Root::open_dir(dir).unwrap().open_subdir("/").unwrap()
}
