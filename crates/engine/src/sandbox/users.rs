//! Who a step runs as: `USER` looked up in the image's own files.

use std::io::Read as _;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::root::Root;

/// Bytes read of `/etc/passwd` and `/etc/group`; BuildKit's limit.
const FILE_LIMIT: u64 = 10 << 20;

/// The numbers of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups, the primary one first.
    pub(super) groups: Vec<u32>,
    /// Home directory, for `HOME`.
    pub(super) home: String,
}

/// The image does not know the user or the group.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum UserError {
    /// No such user.
    #[error("unable to find user `{name}`: no matching entries in passwd file")]
    NoUser {
        /// The name.
        name: String,
    },
    /// No such group.
    #[error("unable to find group `{name}`: no matching entries in group file")]
    NoGroup {
        /// The name.
        name: String,
    },
}

/// Resolves `user[:group]` against the files of `root`; an empty text is root.
pub(super) fn resolve(root: &Root, user: &str) -> Result<Identity, UserError> {
    identify(user, &read(root, "/etc/passwd"), &read(root, "/etc/group"))
}

/// The text of a file; empty if it is not there, is no regular file or is too large.
fn read(root: &Root, path: &str) -> String {
    let mut bytes = Vec::new();
    let Ok(file) = root.open_read(path) else { return String::new() };
    match file.take(FILE_LIMIT + 1).read_to_end(&mut bytes) {
        Ok(size) if size as u64 <= FILE_LIMIT => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    }
}

fn identify(user: &str, passwd: &str, group: &str) -> Result<Identity, UserError> {
    let (user, wanted_group) = user.split_once(':').unwrap_or((user, ""));
    let user = if user.is_empty() { "0" } else { user };
    let users = || passwd.lines().filter_map(User::parse);
    let number = user.parse::<u32>().ok();
    // With both numbers given BuildKit asks no file but for the home directory.
    let both = as_number(user).zip(as_number(wanted_group));
    let found = match number {
        Some(number) => users().find(|entry| entry.uid == number),
        None => users().find(|entry| entry.name == user),
    };
    let home_of = |uid| {
        let home = users().find(|entry| entry.uid == uid).map_or("", |entry| entry.home);
        if home.is_empty() { "/".to_owned() } else { home.to_owned() }
    };
    if let Some((uid, gid)) = both {
        return Ok(Identity { uid, gid, groups: vec![gid], home: home_of(uid) });
    }
    let (uid, mut gid) = match (&found, number) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Some(number)) => (number, 0),
        (None, None) => return Err(UserError::NoUser { name: user.to_owned() }),
    };
    let mut groups = Vec::new();
    let entries = || group.lines().filter_map(Group::parse);
    if wanted_group.is_empty() {
        if let Some(name) = found.as_ref().map(|entry| entry.name) {
            let of_user = entries().filter(|entry| entry.members.split(',').any(|m| m == name));
            groups.extend(of_user.map(|entry| entry.gid));
        }
    } else {
        let wanted = wanted_group.parse::<u32>().ok();
        let found = match wanted {
            Some(number) => entries().find(|entry| entry.gid == number),
            None => entries().find(|entry| entry.name == wanted_group),
        };
        gid = found
            .map(|entry| entry.gid)
            .or(wanted)
            .ok_or_else(|| UserError::NoGroup { name: wanted_group.to_owned() })?;
    }
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    Ok(Identity { uid, gid, groups, home: home_of(uid) })
}

/// A number, or `root`, which always is 0 when the other part is a number too.
fn as_number(text: &str) -> Option<u32> {
    if text == "root" { Some(0) } else { text.parse().ok() }
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> User<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or_default();
        Some(Self { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self { name, gid: gid.parse().ok()?, members: fields.next().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        # a comment\n\
        app:x:1000:1001:App:/home/app:/bin/sh\n\
        homeless:x:1002:1002:::\n\
        broken:x:notanumber:1::/:\n";
    const GROUP: &str = "root:x:0:root\nwheel:x:10:root,app\napp:x:1001:\ndocker:x:999:app\n";

    #[test]
    fn users_are_found_as_buildkit_finds_them() {
        let cases: &[(&str, u32, u32, &[u32], &str)] = &[
            ("", 0, 0, &[0, 10], "/root"),
            ("root", 0, 0, &[0, 10], "/root"),
            ("0", 0, 0, &[0, 10], "/root"),
            ("0:0", 0, 0, &[0], "/root"),
            ("root:root", 0, 0, &[0], "/root"),
            ("app", 1000, 1001, &[1001, 10, 999], "/home/app"),
            ("1000", 1000, 1001, &[1001, 10, 999], "/home/app"),
            ("app:docker", 1000, 999, &[999], "/home/app"),
            ("app:5", 1000, 5, &[5], "/home/app"),
            ("1000:1000", 1000, 1000, &[1000], "/home/app"),
            ("4242", 4242, 0, &[0], "/"),
            ("4242:wheel", 4242, 10, &[10], "/"),
            ("homeless", 1002, 1002, &[1002], "/"),
        ];
        for (user, uid, gid, groups, home) in cases {
            let expected = Identity {
                uid: *uid,
                gid: *gid,
                groups: groups.to_vec(),
                home: (*home).to_owned(),
            };
            assert_eq!(identify(user, PASSWD, GROUP), Ok(expected), "user `{user}`");
        }
    }

    #[test]
    fn unknown_names_are_errors() {
        let no_user = UserError::NoUser { name: "nobody".to_owned() };
        let no_group = UserError::NoGroup { name: "none".to_owned() };
        assert_eq!(identify("nobody", PASSWD, GROUP), Err(no_user));
        assert_eq!(
            identify("broken", PASSWD, GROUP),
            Err(UserError::NoUser { name: "broken".into() })
        );
        assert_eq!(identify("app:none", PASSWD, GROUP), Err(no_group));
        assert_eq!(
            identify("", "", ""),
            Ok(Identity { uid: 0, gid: 0, groups: vec![0], home: "/".into() })
        );
    }
}
