//! Removing trees that others have made.
//!
//! A layer may hold directories that are nested deeper than there are file descriptors or
//! stack, that deny access to their owner, and links that lead anywhere. So: no path is
//! ever followed, access is restored before it is needed, and what lies too deep is moved
//! up first.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::store::StoreError;

/// How many directories deep a removal goes before it moves things up.
const MAX_DEPTH: usize = 64;

/// Removes the tree at `path`, whatever is in it; nothing if it is not there.
pub fn remove_tree(path: &Path) -> Result<(), StoreError> {
    remove(path).map_err(StoreError::io("remove", path))
}

fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.is_dir() => return fs::remove_file(path),
        Ok(_) => {}
    }
    let parent = File::open(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    let name = CString::new(name.as_encoded_bytes())?;
    let top = open_dir(parent.as_fd(), &name)?;
    let mut hoist = Hoist { top: top.as_fd(), next: 0 };
    loop {
        let before = hoist.next;
        empty(&mut hoist, top.as_fd(), 0)?;
        if hoist.next == before {
            break;
        }
    }
    rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR).map_err(io::Error::from)
}

/// Where directories go that lie too deep.
struct Hoist<'top> {
    top: BorrowedFd<'top>,
    next: u64,
}

fn empty(hoist: &mut Hoist<'_>, dir: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
    for (name, is_dir) in list(dir)? {
        if !is_dir {
            match rustix::fs::unlinkat(dir, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let below = open_dir(dir, &name)?;
        if depth == MAX_DEPTH {
            let number = hoist.next;
            hoist.next += 1;
            rustix::fs::renameat(dir, &name, hoist.top, free_name(hoist.top, number)?)?;
            continue;
        }
        empty(hoist, below.as_fd(), depth + 1)?;
        rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// A name that nothing in `dir` has.
fn free_name(dir: BorrowedFd<'_>, number: u64) -> io::Result<CString> {
    for attempt in 0_u32.. {
        let name = CString::new(format!(".hoisted-{number}-{attempt}"))?;
        match rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(name),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn list(dir: BorrowedFd<'_>) -> io::Result<Vec<(CString, bool)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            let is_dir = entry.file_type() == FileType::Directory;
            names.push((entry.file_name().to_owned(), is_dir));
        }
    }
    Ok(names)
}

/// Opens the directory `name` of `dir` without following a link, and lets its owner in.
fn open_dir(dir: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // `ACCESS` means that it is a directory: a link would have been `LOOP` or `NOTDIR`.
            rustix::fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(dir, name, flags, Mode::empty())?
        }
        other => other?,
    };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // Root needs no mode, and whoever may not change it learns so from the removal.
        rustix::fs::fchmod(&opened, mode | Mode::RWXU).ok();
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_tree_goes_whatever_its_modes_and_links_are() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        symlink(&outside, tree.join("a/b/link")).unwrap();
        symlink("nowhere", tree.join("dangling")).unwrap();
        for (path, mode) in [("a/b", 0o500), ("a", 0o000)] {
            fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
        remove_tree(&tree).unwrap();
        let link = folder.path().join("link");
        symlink(&outside, &link).unwrap();
        remove_tree(&link).unwrap();
        assert!(outside.join("kept").exists() && !link.is_symlink());
    }

    #[test]
    fn a_tree_deeper_than_any_path_goes() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut dir: OwnedFd = File::open(&tree).unwrap().into();
        for level in 0..3000 {
            let name = if level % 1000 == 999 { ".hoisted-0-0" } else { "d" };
            rustix::fs::mkdirat(&dir, name, Mode::RWXU).unwrap();
            dir = rustix::fs::openat(&dir, name, OFlags::RDONLY, Mode::empty()).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
