//! Whether a file of a layer is what is below it anyway.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::super::attributes;
use super::open_file;
use crate::root::kind_of;

/// Whether two open files or directories have the same type, mode, owner and attributes.
pub(super) fn same_attributes(
    (fd, stat): (impl AsFd, &Stat),
    (below_fd, below): (impl AsFd, &Stat),
) -> Result<bool, Errno> {
    Ok(same_inode(stat, below)
        && attributes::owner(&fd, stat)? == attributes::owner(&below_fd, below)?
        && attributes::written(&fd)? == attributes::written(&below_fd)?)
}

/// Whether `name` is the same file in both directories: attributes, size and time, and
/// content if the times are too coarse to tell.
pub(super) fn same_file(
    name: &[u8],
    (dir, stat): (&OwnedFd, &Stat),
    (below_dir, below): (&OwnedFd, &Stat),
) -> Result<bool, Errno> {
    if !same_inode(stat, below) || stat.st_size != below.st_size {
        return Ok(false);
    }
    if (stat.st_mtime, stat.st_mtime_nsec) != (below.st_mtime, below.st_mtime_nsec) {
        return Ok(false);
    }
    let coarse = stat.st_mtime_nsec == 0;
    match kind_of(stat) {
        FileType::RegularFile => {
            let (file, below_file) = (open_file(dir, name)?, open_file(below_dir, name)?);
            Ok(same_attributes((&file, stat), (&below_file, below))?
                && (!coarse || same_content(&file, &below_file)?))
        }
        FileType::Symlink if coarse && same_owner(stat, below) => {
            let text = |dir: &OwnedFd| rustix::fs::readlinkat(dir, name, Vec::new());
            Ok(text(dir)? == text(below_dir)?)
        }
        _ => Ok(same_owner(stat, below)),
    }
}

fn same_inode(stat: &Stat, below: &Stat) -> bool {
    // A directory's device number is no fact about it, and overlayfs invents some.
    let device = |stat: &Stat| match kind_of(stat) {
        FileType::CharacterDevice | FileType::BlockDevice => stat.st_rdev,
        _ => 0,
    };
    stat.st_mode == below.st_mode && device(stat) == device(below)
}

fn same_owner(stat: &Stat, below: &Stat) -> bool {
    (stat.st_uid, stat.st_gid) == (below.st_uid, below.st_gid)
}

fn same_content(file: &File, below: &File) -> Result<bool, Errno> {
    let to_errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let read = fill(file, &mut a).map_err(to_errno)?;
        if read != fill(below, &mut b).map_err(to_errno)? || a[..read] != b[..read] {
            return Ok(false);
        }
        if read < a.len() {
            return Ok(true);
        }
    }
}

fn fill(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
