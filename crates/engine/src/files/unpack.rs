//! Unpacks an archive into the root.
//!
//! The destination is the archive's whole world: names and links that lead out of it end
//! inside. What is there is replaced, but directories are merged. Owners, modes, times and
//! attributes are the archive's, owners unless others are asked for.

use std::io::Read;

use bakehouse_model::op;
use rustix::fs::FileType;

use super::archive::{self, ArchiveError};
use super::entry::{Stamp, clean, join, shown, split};
use super::make::{Made, make_all};
use super::tar::{Archive, Header, Kind};
use super::target::{Disk, Target};
use super::tree::{Tree, TreeError};
use super::{FilesError, Session, Stats};

const IMPLIED_MODE: u32 = 0o755;

/// Unpacks `src` into where `copy` goes, if it is an archive; says whether it was.
pub(super) fn unpack(
    session: &mut Session<'_>,
    (source, src): (&Tree, &[u8]),
    copy: &op::Copy,
    owner: Option<(u32, u32)>,
) -> Result<bool, FilesError> {
    let resolved = source.resolve(src, true)?;
    if !resolved.entry.is_some_and(|entry| entry.meta.is_file()) {
        return Ok(false);
    }
    let (file, _) = source.open(&resolved.path)?;
    let Some(mut archive) = archive::open(file) else { return Ok(false) };
    let dest = session.target.resolve(&clean(copy.dest.as_bytes()), true)?.path;
    let made = Made { mode: IMPLIED_MODE, owner, time: session.time(copy.timestamp) };
    make_all(session, &dest, made)?;
    let root = session.target.subroot(&dest)?;
    let disk = Disk::new(&root)?;
    let mut inside = Session {
        target: &disk,
        options: session.options,
        stats: Stats::default(),
        inputs: session.inputs,
    };
    let done = entries(&mut inside, &mut archive, owner);
    session.stats.files += inside.stats.files;
    session.stats.directories += inside.stats.directories;
    session.stats.bytes += inside.stats.bytes;
    session.stats.refused_xattrs += disk.refused_xattrs.get();
    session.stats.archives += 1;
    done.map_err(|error| match error {
        Failed::Archive(source) => FilesError::Archive { path: shown(src), source },
        Failed::Files(error) => error,
    })?;
    Ok(true)
}

/// Why an entry could not be unpacked.
enum Failed {
    Archive(ArchiveError),
    Files(FilesError),
}

impl From<ArchiveError> for Failed {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<FilesError> for Failed {
    fn from(error: FilesError) -> Self {
        Self::Files(error)
    }
}

impl From<TreeError> for Failed {
    fn from(error: TreeError) -> Self {
        Self::Files(error.into())
    }
}

fn entries<R: Read>(
    inside: &mut Session<'_>,
    archive: &mut Archive<R>,
    owner: Option<(u32, u32)>,
) -> Result<(), Failed> {
    // What is put into a directory changes its time, so the archive's come last.
    let mut times: Vec<(Vec<u8>, Stamp)> = Vec::new();
    while let Some(header) = archive.next()? {
        let wanted = clean(&header.path);
        let Some((parent, name)) = split(&wanted) else { continue };
        let parent = inside.target.resolve(parent, true)?.path;
        make_all(inside, &parent, Made { mode: IMPLIED_MODE, owner: None, time: None })?;
        let path = join(&parent, name);
        let existing = inside.target.lookup(&path)?;
        let is_dir = header.kind == Kind::Directory;
        let merges = is_dir && existing.is_some_and(|old| old.is_dir());
        if let Some(old) = existing.filter(|_| !merges) {
            inside.target.remove_all(&path, &old)?;
        }
        if merges {
            // Nothing to make.
        } else if !make(inside, &header, &path, archive)? {
            continue;
        }
        set_attributes(inside.target, &header, &path, owner)?;
        if is_dir {
            times.push((path, header.mtime));
        }
    }
    for (path, time) in times {
        // A later entry may have replaced the directory.
        if inside.target.lookup(&path)?.is_some_and(|meta| meta.is_dir()) {
            inside.target.set_time(&path, time)?;
        }
    }
    Ok(())
}

/// Makes an entry where nothing is; says whether it could.
fn make<R: Read>(
    inside: &mut Session<'_>,
    header: &Header,
    path: &[u8],
    archive: &mut Archive<R>,
) -> Result<bool, Failed> {
    let target = inside.target;
    match header.kind {
        Kind::Directory => target.make_dir(path, 0o700)?,
        Kind::Symlink => target.make_link(path, &header.link)?,
        Kind::HardLink => {
            let wanted = clean(&header.link);
            let from = target.resolve(&wanted, false)?;
            if from.entry.is_none() {
                return Err(TreeError::NotFound { path: shown(&wanted) }.into());
            }
            target.hard_link(&from.path, path)?;
        }
        Kind::File => {
            let mut file = target.create(path)?;
            let size = std::io::copy(&mut archive.data(), &mut file).map_err(ArchiveError::Read)?;
            inside.stats.bytes += size;
        }
        Kind::Fifo => target.make_node(path, FileType::Fifo, (0, 0))?,
        Kind::CharDevice | Kind::BlockDevice => {
            // Only real root can make devices; elsewhere they are left out.
            if !target.can_make_devices() {
                return Ok(false);
            }
            let kind = match header.kind {
                Kind::CharDevice => FileType::CharacterDevice,
                _ => FileType::BlockDevice,
            };
            target.make_node(path, kind, header.device)?;
        }
    }
    match header.kind {
        Kind::Directory => inside.stats.directories += 1,
        _ => inside.stats.files += 1,
    }
    Ok(true)
}

fn set_attributes(
    target: &dyn Target,
    header: &Header,
    path: &[u8],
    owner: Option<(u32, u32)>,
) -> Result<(), FilesError> {
    target.set_owner(path, owner.unwrap_or((header.uid, header.gid)))?;
    target.set_xattrs(path, &header.xattrs)?;
    // A hard link may be a second name of a symbolic one.
    let is_link = target.lookup(path)?.is_some_and(|meta| meta.is_link());
    if !is_link {
        target.set_mode(path, header.mode)?;
    }
    if header.kind != Kind::Directory && !(is_link && header.kind == Kind::HardLink) {
        target.set_time(path, header.mtime)?;
    }
    Ok(())
}
