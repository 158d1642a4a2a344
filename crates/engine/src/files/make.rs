//! Makes files and directories that come from no input.

use std::io::Write as _;

use bakehouse_model::op::{MakeDir, MakeFile};

use super::entry::{Stamp, clean, join, shown, split};
use super::tree::TreeError;
use super::{FilesError, Session};

/// What made directories are given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) mode: u32,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) time: Option<Stamp>,
}

/// Makes, or empties and fills, a file.
pub(super) fn file(session: &mut Session<'_>, file: &MakeFile) -> Result<(), FilesError> {
    let path = session.target.resolve(&clean(file.path.as_bytes()), true)?.path;
    let owner = session.owner(file.owner.as_ref())?;
    let target = session.target;
    let existing = target.lookup(&path)?;
    let mut written = match existing {
        Some(meta) if meta.is_dir() => {
            return Err(FilesError::FileOverDirectory { path: shown(&path) });
        }
        Some(_) => target.truncate(&path)?,
        None => target.create(&path)?,
    };
    written.write_all(&file.data).map_err(|source| TreeError::io("write", &path, source))?;
    if let Some(owner) = owner {
        target.set_owner(&path, owner)?;
    }
    if existing.is_none() {
        target.set_mode(&path, file.mode & 0o777)?;
    }
    if let Some(time) = session.time(file.timestamp) {
        target.set_time(&path, time)?;
    }
    session.stats.files += 1;
    session.stats.bytes += file.data.len() as u64;
    Ok(())
}

/// Makes a directory; one that is there stays as it is.
pub(super) fn dir(session: &mut Session<'_>, dir: &MakeDir) -> Result<(), FilesError> {
    let path = session.target.resolve(&clean(dir.path.as_bytes()), true)?.path;
    let made = Made {
        mode: dir.mode & 0o777,
        owner: session.owner(dir.owner.as_ref())?,
        time: session.time(dir.timestamp),
    };
    if dir.make_parents {
        make_all(session, &path, made)?;
        return Ok(());
    }
    if session.target.lookup(&path)?.is_none() {
        make_one(session, &path, made)?;
    }
    Ok(())
}

/// Makes the directory `path`, which has no links, and its missing parents; says which
/// were missing.
pub(super) fn make_all(
    session: &mut Session<'_>,
    path: &[u8],
    made: Made,
) -> Result<Vec<Vec<u8>>, FilesError> {
    let mut missing = Vec::new();
    let mut at = path.to_vec();
    loop {
        match session.target.lookup(&at)? {
            Some(meta) if meta.is_dir() => break,
            Some(_) => return Err(FilesError::NotADirectory { path: shown(&at) }),
            None => {}
        }
        let Some((parent, name)) = split(&at) else { break };
        missing.push(name.to_vec());
        at = parent.to_vec();
    }
    let mut created = Vec::new();
    for name in missing.iter().rev() {
        at = join(&at, name);
        make_one(session, &at, made)?;
        created.push(at.clone());
    }
    // Making one in another changed the other's time.
    if let Some(time) = made.time {
        for path in &created {
            session.target.set_time(path, time)?;
        }
    }
    Ok(created)
}

fn make_one(session: &mut Session<'_>, path: &[u8], made: Made) -> Result<(), FilesError> {
    let target = session.target;
    target.make_dir(path, made.mode)?;
    if let Some(owner) = made.owner {
        target.set_owner(path, owner)?;
    }
    if let Some(time) = made.time {
        target.set_time(path, time)?;
    }
    session.stats.directories += 1;
    Ok(())
}
