//! Extended attributes of what a path names, a link itself included.

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::owner::OWNER_XATTR;

/// The kernel's limit for a list of names, and for a value.
const MAX_SIZE: usize = 65_536;
/// Enough for nearly every file.
const USUAL_SIZE: usize = 512;

/// A name and its value.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);

/// Every attribute that says something about the file, sorted by name. Those with which
/// this machine labels files for itself, and where owners are recorded, do not.
pub(crate) fn read_all(path: &[u8]) -> Result<Vec<Xattr>, Errno> {
    let names = match read(|buffer| rustix::fs::llistxattr(path, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        result => result?,
    };
    let mut found = Vec::new();
    for name in names.split(|&b| b == 0).filter(|name| is_content(name)) {
        match read(|buffer| rustix::fs::lgetxattr(path, name, buffer)) {
            Ok(value) => found.push((name.to_vec(), value)),
            // Some may be listed but not read, and some go away.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort();
    Ok(found)
}

/// Sets an attribute of what `path` names.
pub(crate) fn set(path: &[u8], (name, value): &Xattr) -> Result<(), Errno> {
    rustix::fs::lsetxattr(path, name.as_slice(), value, XattrFlags::empty())
}

/// Whether the content key covers the attribute.
pub(crate) fn is_in_key(name: &[u8]) -> bool {
    name == b"security.capability"
        || !(name.starts_with(b"security.") || name.starts_with(b"system."))
}

/// Whether the attribute says something about the file, and may be set on a copy of it.
pub(crate) fn is_content(name: &[u8]) -> bool {
    let of_this_machine: [&[u8]; 4] =
        [b"security.selinux", b"trusted.overlay.", b"user.overlay.", b"com.apple."];
    !name.is_empty()
        && name != OWNER_XATTR.as_bytes()
        && !of_this_machine.iter().any(|prefix| name.starts_with(prefix))
}

fn read(mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; USUAL_SIZE];
    match call(&mut small) {
        Ok(length) => Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; MAX_SIZE];
            let length = call(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(errno) => Err(errno),
    }
}
