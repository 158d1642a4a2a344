//! What a file has besides its content: owner, extended attributes, and the marks that
//! overlayfs and this engine keep among them.
//!
//! In a user namespace some owners cannot be given to a file, because the kernel has no
//! number for them. They are then remembered in [`OWNER`], on files and directories, and
//! read back wherever a layer is written out, so the image has them.

use std::os::fd::AsFd;

use rustix::fs::{Gid, Stat, Uid, XattrFlags};
use rustix::io::Errno;

/// The owner that a file should have: `uid:gid`.
pub(crate) const OWNER: &str = "user.bakehouse.owner";

/// What a program may do that its user may not.
const CAPABILITY: &str = "security.capability";

/// Longest value that Linux has.
pub(crate) const MAX_VALUE: usize = 65536;

/// An extended attribute.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);

/// Whether numbers of users here are not the machine's.
pub(crate) fn in_user_namespace() -> bool {
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else {
        return false;
    };
    let mut words = map.split_ascii_whitespace();
    !(words.next() == Some("0")
        && words.next() == Some("0")
        && words.next() == Some("4294967295")
        && words.next().is_none())
}

/// The prefix of overlayfs's own attributes.
pub(crate) fn overlay_prefix(userxattr: bool) -> &'static str {
    if userxattr { "user.overlay." } else { "trusted.overlay." }
}

/// Gives `fd` an owner; in a user namespace, one that cannot be given is remembered.
pub(crate) fn set_owner(fd: impl AsFd, uid: u32, gid: u32, userns: bool) -> Result<(), Errno> {
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    match rustix::fs::fchown(&fd, owner.0, owner.1) {
        Err(Errno::INVAL | Errno::PERM) if userns => {
            let text = format!("{uid}:{gid}");
            rustix::fs::fsetxattr(&fd, OWNER, text.as_bytes(), XattrFlags::empty())
        }
        // A directory that is given an owner twice must not keep the first one.
        Ok(()) if userns => match rustix::fs::fremovexattr(&fd, OWNER) {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            result => result,
        },
        result => result,
    }
}

/// The owner that the file `fd` should have.
pub(crate) fn owner(fd: impl AsFd, stat: &Stat) -> Result<(u32, u32), Errno> {
    let Some(text) = get(fd, OWNER)? else {
        return Ok((stat.st_uid, stat.st_gid));
    };
    let parsed = std::str::from_utf8(&text).ok().and_then(|text| {
        let (uid, gid) = text.split_once(':')?;
        Some((uid.parse().ok()?, gid.parse().ok()?))
    });
    Ok(parsed.unwrap_or((stat.st_uid, stat.st_gid)))
}

/// One attribute of an open file; none if it has no such.
pub(crate) fn get(fd: impl AsFd, name: &str) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = vec![0; 256];
    loop {
        match rustix::fs::fgetxattr(&fd, name, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(Errno::RANGE) if value.len() < MAX_VALUE => value.resize(MAX_VALUE, 0),
            Err(error) => return Err(error),
        }
    }
}

/// The attributes of an open file that a copy of it has too, sorted.
pub(crate) fn portable(fd: impl AsFd) -> Result<Vec<Xattr>, Errno> {
    let mut names = vec![0; 512];
    let length = loop {
        match rustix::fs::flistxattr(&fd, names.as_mut_slice()) {
            Ok(length) => break length,
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(Errno::RANGE) if names.len() < MAX_VALUE => names.resize(MAX_VALUE, 0),
            Err(error) => return Err(error),
        }
    };
    let mut found = Vec::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| is_portable(name)) {
        // A name that is no text could not be a key of a tar header either.
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if let Some(value) = get(&fd, name)? {
            found.push((name.as_bytes().to_vec(), value));
        }
    }
    found.sort();
    Ok(found)
}

/// The attributes that a layer is written with. As in the layers that BuildKit writes these are
/// capabilities alone: what a user's programs note on files stays in the build.
pub(crate) fn written(fd: impl AsFd) -> Result<Vec<Xattr>, Errno> {
    let capability = get(fd, CAPABILITY)?;
    Ok(capability.map(|value| (CAPABILITY.as_bytes().to_vec(), value)).into_iter().collect())
}

/// Whether an attribute belongs to the image and not to the machine, overlayfs or us.
pub(crate) fn is_portable(name: &[u8]) -> bool {
    if name == CAPABILITY.as_bytes() {
        return true;
    }
    name.starts_with(b"user.")
        && !name.starts_with(b"user.overlay.")
        && !name.starts_with(b"user.bakehouse.")
        // A tar could not tell where such a name ends.
        && !name.contains(&b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_belongs_to_an_image_is_portable() {
        let cases = [
            ("security.capability", true),
            ("user.mime", true),
            ("user.a=b", false),
            ("user.overlay.redirect", false),
            ("user.bakehouse.owner", false),
            ("trusted.overlay.opaque", false),
            ("security.selinux", false),
            ("system.posix_acl_access", false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_portable(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn an_owner_that_was_remembered_is_the_owner() {
        let file = tempfile::tempfile_in(std::env::current_dir().unwrap()).unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        assert_eq!(owner(&file, &stat), Ok((stat.st_uid, stat.st_gid)));
        if rustix::fs::fsetxattr(&file, OWNER, b"7:4000000000", XattrFlags::empty()).is_err() {
            return;
        }
        assert_eq!(owner(&file, &stat), Ok((7, 4_000_000_000)));
        assert_eq!(portable(&file), Ok(vec![]));
    }
}
