//! Root without being root: this program moves into a user namespace of its own.
//!
//! [`ensure_root`] is called early in `main`, while there is one thread. For an ordinary
//! user it leaves the process as user 0 of a new user namespace with its own mounts. With
//! `/etc/subuid`, `/etc/subgid` and the `newuidmap` tools the namespace has many users, as
//! images need; without them it has only this one, and a step that wants another fails.
//! The tools must run outside of the namespace, so this program is started once more to
//! call them ([`map_if_asked`]).

use std::env;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, Gid, Uid};
use thiserror::Error;

use crate::sandbox::enter_user_namespace;

/// The first argument that makes this program call the tools.
const ARGUMENT: &str = "__userns";

/// The setting by which AppArmor takes all rights from user namespaces.
const APPARMOR: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

/// What this process may do to name spaces and mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// Root of the machine.
    Root,
    /// Root of a user namespace.
    UserNamespace {
        /// Whom it knows.
        mapped: Mapping,
    },
    /// Nothing.
    Unprivileged,
}

/// Which users a user namespace knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Only root, who is the user outside.
    Single,
    /// Root and others.
    Range,
}

/// This process cannot become root, not even of a user namespace.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UsernsError {
    /// It is root and still may not mount.
    #[error(
        "root of this container may not mount; start it with `--privileged`, or with \
         `--cap-add SYS_ADMIN --security-opt seccomp=unconfined`"
    )]
    RootWithoutMount,
    /// User namespaces are switched off.
    #[error(
        "user namespaces are switched off; switch them on with `sysctl -w {setting}`, or run as root"
    )]
    Disabled {
        /// The setting and the value it should have.
        setting: &'static str,
    },
    /// AppArmor takes all rights from user namespaces.
    #[error(
        "AppArmor keeps user namespaces of unknown programs powerless; run `sysctl -w \
         kernel.apparmor_restrict_unprivileged_userns=0`, give this program a profile with \
         `userns`, or run as root"
    )]
    AppArmor,
    /// The kernel refuses for a reason that is not known.
    #[error("cannot make a user namespace; run as root")]
    Refused(#[source] io::Error),
    /// Called too late.
    #[error("this process already has {threads} threads, and must have one")]
    Threads {
        /// How many.
        threads: u32,
    },
    /// Something on the way failed.
    #[error("cannot {doing}")]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// What this process may do now.
pub fn mode() -> Privilege {
    if !geteuid().is_root() {
        return Privilege::Unprivileged;
    }
    mode_of(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
}

fn mode_of(uid_map: &str) -> Privilege {
    let extents: Vec<Vec<u64>> = uid_map
        .lines()
        .map(|line| line.split_whitespace().filter_map(|n| n.parse().ok()).collect())
        .collect();
    match extents.as_slice() {
        // Without the file there are no user namespaces, so this is the machine's root.
        [] => Privilege::Root,
        [only] if only[..] == [0, 0, u64::from(u32::MAX)] => Privilege::Root,
        [only] if only.get(2) == Some(&1) => Privilege::UserNamespace { mapped: Mapping::Single },
        _ => Privilege::UserNamespace { mapped: Mapping::Range },
    }
}

/// Whether this process may change its supplementary groups.
pub(crate) fn may_set_groups() -> bool {
    fs::read_to_string("/proc/self/setgroups").map_or(true, |text| text.trim() != "deny")
}

/// Makes this process root, of a new user namespace if need be.
///
/// Must be called while this process has one thread. It stays in the name space.
pub fn ensure_root() -> Result<Privilege, UsernsError> {
    let now = mode();
    if now != Privilege::Unprivileged {
        let capabilities = rustix::thread::capabilities(None).map_err(|source| {
            UsernsError::Io { doing: "look at the capabilities", source: source.into() }
        })?;
        let may_mount = capabilities.effective.contains(CapabilitySet::SYS_ADMIN);
        return if may_mount { Ok(now) } else { Err(UsernsError::RootWithoutMount) };
    }
    let threads = thread_count();
    if threads > 1 {
        return Err(UsernsError::Threads { threads });
    }
    enter()?;
    Ok(mode())
}

fn thread_count() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let count = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(1)
}

fn enter() -> Result<(), UsernsError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let mapper = Mapper::start(uid, gid)?;
    enter_user_namespace().map_err(refusal)?;
    if let Some(mapper) = mapper {
        mapper.finish()?;
    }
    map_alone(uid, gid)?;
    let failed = |doing| move |errno: Errno| powerless(doing, errno.into());
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
        .map_err(failed("become group 0 of the user namespace"))?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
        .map_err(failed("become user 0 of the user namespace"))?;
    if may_set_groups() {
        // Groups of the user that the name space does not know are of no use in it.
        let _ = rustix::thread::set_thread_groups(&[]);
    }
    let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", propagation).map_err(failed("keep mounts apart"))
}

/// Why something failed that root of a new user namespace may do.
fn powerless(doing: &'static str, source: io::Error) -> UsernsError {
    match source.kind() {
        io::ErrorKind::PermissionDenied if is_set(APPARMOR, "1") => UsernsError::AppArmor,
        _ => UsernsError::Io { doing, source },
    }
}

fn is_set(setting: &str, value: &str) -> bool {
    fs::read_to_string(setting).is_ok_and(|text| text.trim() == value)
}

/// Why the kernel made no user namespace.
fn refusal(error: io::Error) -> UsernsError {
    if is_set("/proc/sys/user/max_user_namespaces", "0") {
        return UsernsError::Disabled { setting: "user.max_user_namespaces=15000" };
    }
    if is_set("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return UsernsError::Disabled { setting: "kernel.unprivileged_userns_clone=1" };
    }
    if is_set(APPARMOR, "1") {
        return UsernsError::AppArmor;
    }
    UsernsError::Refused(error)
}

/// Gives the name space its one user, for each of the two maps that has none yet.
fn map_alone(uid: u32, gid: u32) -> Result<(), UsernsError> {
    let failed = |source| powerless("map the user into the user namespace", source);
    let empty = |path| fs::read_to_string(path).map(|text| text.trim().is_empty());
    if empty("/proc/self/uid_map").map_err(failed)? {
        fs::write("/proc/self/uid_map", format!("0 {uid} 1\n")).map_err(failed)?;
    }
    if empty("/proc/self/gid_map").map_err(failed)? {
        fs::write("/proc/self/setgroups", "deny").map_err(failed)?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1\n")).map_err(failed)?;
    }
    Ok(())
}

/// A second process of this program that stays outside and calls the tools.
struct Mapper {
    process: std::process::Child,
}

impl Mapper {
    /// Starts it, if there are tools and ranges.
    fn start(uid: u32, gid: u32) -> Result<Option<Self>, UsernsError> {
        let (Some(newuidmap), Some(newgidmap)) = (find("newuidmap"), find("newgidmap")) else {
            return Ok(None);
        };
        let name = user_name(uid);
        let ranges = |path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            ranges_of(&text, &name, uid)
        };
        let (uids, gids) = (ranges("/etc/subuid"), ranges("/etc/subgid"));
        if uids.is_empty() || gids.is_empty() {
            return Ok(None);
        }
        let failed = |source| UsernsError::Io { doing: "start the mapper", source };
        let process = Command::new("/proc/self/exe")
            .arg(ARGUMENT)
            .arg(newuidmap)
            .arg(map_arguments(uid, &uids).join(" "))
            .arg(newgidmap)
            .arg(map_arguments(gid, &gids).join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Some(Self { process }))
    }

    /// Lets it map this process, which is in its name space now. That it could not shows
    /// in the maps.
    fn finish(mut self) -> Result<(), UsernsError> {
        let failed = |source| UsernsError::Io { doing: "wait for the mapper", source };
        if let Some(mut stdin) = self.process.stdin.take() {
            let target = std::process::id().to_string();
            stdin.write_all(target.as_bytes()).map_err(failed)?;
        }
        self.process.wait().map_err(failed).map(drop)
    }
}

/// Calls the mapping tools, and never returns, if that is what this process was started
/// for.
pub(crate) fn map_if_asked() {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() != Some(ARGUMENT) {
        return;
    }
    let mut target = String::new();
    let heard = io::stdin().read_to_string(&mut target);
    let mut worked = heard.is_ok() && !target.is_empty();
    while worked && let (Some(tool), Some(extents)) = (arguments.next(), arguments.next()) {
        let status = Command::new(tool).arg(&target).args(extents.split(' ')).status();
        worked = status.is_ok_and(|status| status.success());
    }
    std::process::exit(i32::from(!worked));
}

/// The arguments of a mapping tool: root is the user, the rest follows.
fn map_arguments(own: u32, ranges: &[(u32, u32)]) -> Vec<String> {
    let mut arguments = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut inside = 1_u32;
    for (start, count) in ranges {
        arguments.extend([inside.to_string(), start.to_string(), count.to_string()]);
        inside = inside.saturating_add(*count);
    }
    arguments
}

/// The ranges of `/etc/subuid` or `/etc/subgid` that belong to a user, by name or number.
fn ranges_of(text: &str, name: &str, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            let own = owner == number || (!name.is_empty() && owner == name);
            (own && range.1 > 0).then_some(range)
        })
        .collect()
}

fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = uid.to_string();
    let entry = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid));
    match entry.and_then(|line| line.split(':').next()) {
        Some(name) => name.to_owned(),
        // Users of a directory service are in no file; the tools check the name anyway.
        None => env::var("USER").unwrap_or_default(),
    }
}

fn find(tool: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/bin")])
        .map(|dir| dir.join(tool))
        .find(|candidate| Path::is_file(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_tells_the_privilege() {
        let cases = [
            ("         0          0 4294967295\n", Privilege::Root),
            ("0 1000 1\n", Privilege::UserNamespace { mapped: Mapping::Single }),
            ("0 1000 1\n1 100000 65536\n", Privilege::UserNamespace { mapped: Mapping::Range }),
            ("0 100000 65536\n", Privilege::UserNamespace { mapped: Mapping::Range }),
            ("", Privilege::Root),
        ];
        for (map, expected) in cases {
            assert_eq!(mode_of(map), expected, "map {map:?}");
        }
    }

    #[test]
    fn ranges_are_found_by_name_and_number_and_laid_end_to_end() {
        let text = "anna:100000:65536\n1000:300000:10\nbob:200000:65536\nanna:bad:1\n";
        let ranges = ranges_of(text, "anna", 1000);
        assert_eq!(ranges, [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(ranges_of(text, "", 7), []);
        let arguments = map_arguments(1000, &ranges).join(" ");
        assert_eq!(arguments, "0 1000 1 1 100000 65536 65537 300000 10");
    }
}
