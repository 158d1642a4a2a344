//! Who owns what is made: names looked up, and owners that cannot be expressed recorded.
//!
//! In a user namespace that maps few ids, `chown` to another one fails. The owner is then
//! kept in the extended attribute [`OWNER_XATTR`] as `uid:gid`, which whoever makes a
//! layer of the files, or copies them on, reads back.

use std::io::Read as _;

use bakehouse_model::op::{Owner, Principal};
use rustix::io::Errno;

use super::entry::Meta;
use super::tree::Tree;
use super::{FilesError, InputError};

/// The attribute that has the owner of a file whose ids this user namespace lacks.
pub const OWNER_XATTR: &str = "user.bakehouse.owner";

/// Ids below this are all mapped for whoever is root for real.
const ALL_IDS: u64 = 65_536;
/// Larger user databases than this are not read.
const MAX_DATABASE: u64 = 16 << 20;

/// How owners are kept in file systems that this process writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// By `chown`.
    Native,
    /// By `chown` where it works, else in [`OWNER_XATTR`].
    Recorded,
}

impl Owners {
    /// What this process can do.
    pub(crate) fn detect() -> Self {
        let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else {
            return Self::Native;
        };
        let mapped = map.lines().filter_map(|line| {
            line.split_ascii_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok())
        });
        if mapped.sum::<u64>() >= ALL_IDS && rustix::process::geteuid().is_root() {
            Self::Native
        } else {
            Self::Recorded
        }
    }

    /// The owner recorded for what is at `proc_path`, if there can be one.
    pub(crate) fn recorded(self, proc_path: &[u8], meta: &Meta) -> Option<(u32, u32)> {
        if self == Self::Native || !(meta.is_file() || meta.is_dir()) {
            return None;
        }
        let mut text = [0_u8; 32];
        let length = rustix::fs::lgetxattr(proc_path, OWNER_XATTR, &mut text[..]).ok()?;
        let (uid, gid) = std::str::from_utf8(&text[..length]).ok()?.split_once(':')?;
        Some((uid.parse().ok()?, gid.parse().ok()?))
    }

    /// Records an owner that `chown` refused with `refused`.
    pub(crate) fn record(
        self,
        proc_path: &[u8],
        (uid, gid): (u32, u32),
        refused: Errno,
    ) -> Result<(), Errno> {
        if !matches!(refused, Errno::INVAL | Errno::PERM) || self == Self::Native {
            return Err(refused);
        }
        let text = format!("{uid}:{gid}");
        match rustix::fs::lsetxattr(
            proc_path,
            OWNER_XATTR,
            text.as_bytes(),
            rustix::fs::XattrFlags::empty(),
        ) {
            // Links and devices have no user attributes; theirs is nobody's secret.
            Err(Errno::PERM | Errno::OPNOTSUPP) => Ok(()),
            result => result,
        }
    }

    /// Forgets what was recorded before a `chown` that worked.
    pub(crate) fn forget(self, proc_path: &[u8]) {
        if self == Self::Recorded {
            // Most files have no such attribute, and then there is nothing to forget.
            let _absent = rustix::fs::lremovexattr(proc_path, OWNER_XATTR);
        }
    }
}

/// The numbers behind `owner`.
///
/// A user by number brings a group of the same number, a user by name the group that
/// `/etc/passwd` gives, both unless there is a group. `tree` gives what is read for an
/// input; none is the root that is being written.
pub(crate) fn look_up(
    owner: &Owner,
    tree: impl Fn(Option<usize>) -> Result<Tree, InputError>,
) -> Result<(u32, u32), FilesError> {
    let (mut uid, mut gid) = (0, 0);
    match &owner.user {
        Some(Principal::Id { id }) => (uid, gid) = (*id, *id),
        Some(Principal::Name { name, input }) => {
            let source = tree(*input).map_err(|source| FilesError::Input { source })?;
            let text = read_database(&source, b"etc/passwd")?;
            let found = find(&text, name).and_then(|fields| {
                Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
            });
            // BuildKit gives what belongs to nobody it knows to root, if there is a file system to
            // know anybody by.
            let unknown = input.map(|_| (0, 0));
            (uid, gid) =
                found.or(unknown).ok_or_else(|| FilesError::NoUser { name: name.clone() })?;
        }
        None => {}
    }
    match &owner.group {
        Some(Principal::Id { id }) => gid = *id,
        Some(Principal::Name { name, input }) => {
            let source = tree(*input).map_err(|source| FilesError::Input { source })?;
            let text = read_database(&source, b"etc/group")?;
            let found = find(&text, name).and_then(|fields| fields.get(2)?.parse().ok());
            let unknown = input.map(|_| 0);
            gid = found.or(unknown).ok_or_else(|| FilesError::NoGroup { name: name.clone() })?;
        }
        None => {}
    }
    Ok((uid, gid))
}

/// The fields of the first line for `name`.
fn find<'t>(text: &'t str, name: &str) -> Option<Vec<&'t str>> {
    text.lines()
        .map(|line| line.trim().split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))
}

/// A user database's text; empty if there is none.
fn read_database(tree: &Tree, path: &[u8]) -> Result<String, FilesError> {
    let resolved = tree.resolve(path, true)?;
    if !resolved.entry.is_some_and(|entry| entry.meta.is_file()) {
        return Ok(String::new());
    }
    let (file, _) = tree.open(&resolved.path)?;
    let mut bytes = Vec::new();
    file.take(MAX_DATABASE)
        .read_to_end(&mut bytes)
        .map_err(|source| super::tree::TreeError::io("read", path, source))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_that_cannot_be_given_is_recorded_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "").unwrap();
        let path = path.to_str().unwrap().as_bytes();
        let meta = Meta::at(rustix::fs::CWD, path).unwrap();
        let owners = Owners::Recorded;
        if owners.record(path, (7, 8), Errno::INVAL).is_err() {
            return;
        }
        assert_eq!(owners.recorded(path, &meta), Some((7, 8)));
        assert_eq!(Owners::Native.recorded(path, &meta), None);
        owners.forget(path);
        assert_eq!(owners.recorded(path, &meta), None);
        assert_eq!(owners.record(path, (7, 8), Errno::ROFS), Err(Errno::ROFS));
        assert_eq!(Owners::Native.record(path, (7, 8), Errno::PERM), Err(Errno::PERM));
    }

    #[test]
    fn the_first_line_of_a_name_counts() {
        let text = "root:x:0:0::/:/sh\nann:x:5:6::/:\nann:x:7:8::/:\nbad\n";
        assert_eq!(find(text, "ann").unwrap()[2..4], ["5", "6"]);
        assert_eq!(find(text, "an"), None);
    }
}
