//! Limits of all processes of a step together, where this program may set them.
//!
//! A cgroup is made only for a step that asks for limits: moving a process into one costs
//! more than everything else that a sandbox does. Both generations are known; where
//! neither can be written to (no delegation, a container), steps run without limits.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use super::protocol::CgroupKind;
use super::spec::Limits;

/// Length of a period of processor time, in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// A limit cannot be set.
#[derive(Debug, Error)]
#[error("cannot {doing} `{}`", path.display())]
pub struct CgroupError {
    /// What was tried, as a verb.
    doing: &'static str,
    /// On which file.
    path: PathBuf,
    /// What the kernel said.
    #[source]
    source: io::Error,
}

/// Where cgroups of steps can be made.
#[derive(Debug)]
pub(super) struct Cgroups {
    place: Place,
    made: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Nowhere,
    /// A directory for each controller.
    V1 {
        memory: PathBuf,
        cpu: Option<PathBuf>,
        pids: Option<PathBuf>,
    },
    /// The one directory.
    V2(PathBuf),
}

impl Cgroups {
    /// Looks where this process is.
    pub(super) fn detect() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let place = place(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        Self { place, made: AtomicU64::new(0) }
    }

    pub(super) fn exist(&self) -> bool {
        let probe = Limits { memory: Some(1 << 30), ..Limits::default() };
        matches!(self.make(&probe), Ok(Some(_)))
    }

    /// Makes a cgroup with these limits; none if there are none to set, or nowhere to.
    pub(super) fn make(&self, limits: &Limits) -> Result<Option<Cgroup>, CgroupError> {
        if *limits == Limits::default() {
            return Ok(None);
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("bakehouse-{}-{number}", std::process::id());
        let mut cgroup = Cgroup { kind: CgroupKind::V2, directories: Vec::new() };
        let quota = limits.cpu_millis.map(|millis| u64::from(millis) * CPU_PERIOD / 1000);
        match &self.place {
            Place::Nowhere => return Ok(None),
            Place::V1 { memory, cpu, pids } => {
                let mut wanted =
                    vec![(memory, limits.memory.map(|n| ("memory.limit_in_bytes", n)))];
                if let (Some(cpu), Some(quota)) = (cpu, quota) {
                    wanted.push((cpu, Some(("cpu.cfs_quota_us", quota))));
                }
                if let (Some(pids), Some(limit)) = (pids, limits.pids) {
                    wanted.push((pids, Some(("pids.max", u64::from(limit)))));
                }
                for (base, setting) in wanted {
                    if !cgroup.add(&base.join(&name)) {
                        return Ok(None);
                    }
                    if let Some((file, value)) = setting {
                        cgroup.set(file, &value.to_string())?;
                    }
                }
                cgroup.kind = CgroupKind::V1(cgroup.directories.len());
            }
            Place::V2(base) => {
                // Whoever manages the tree may have done so already.
                for controller in ["+memory", "+cpu", "+pids"] {
                    fs::write(base.join("cgroup.subtree_control"), controller).ok();
                }
                if !cgroup.add(&base.join(&name)) {
                    return Ok(None);
                }
                if let Some(memory) = limits.memory {
                    cgroup.set("memory.max", &memory.to_string())?;
                }
                if let Some(quota) = quota {
                    cgroup.set("cpu.max", &format!("{quota} {CPU_PERIOD}"))?;
                }
                if let Some(pids) = limits.pids {
                    cgroup.set("pids.max", &pids.to_string())?;
                }
            }
        }
        Ok(Some(cgroup))
    }
}

/// The cgroup of one step, which goes away with this value.
#[derive(Debug)]
pub(super) struct Cgroup {
    kind: CgroupKind,
    directories: Vec<(PathBuf, OwnedFd)>,
}

impl Cgroup {
    pub(super) fn kind(&self) -> CgroupKind {
        self.kind
    }

    /// Descriptors of the directories to join.
    pub(super) fn directories(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.directories.iter().map(|(_, directory)| directory.as_fd())
    }

    /// Whether the kernel killed a process of it for using too much memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let Some((path, _)) = self.directories.first() else { return false };
        let file = match self.kind {
            CgroupKind::V1(_) => "memory.oom_control",
            CgroupKind::V2 | CgroupKind::None => "memory.events",
        };
        let text = fs::read_to_string(path.join(file)).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count != "0")
    }

    /// Makes one directory; tells whether that is allowed.
    fn add(&mut self, path: &Path) -> bool {
        if fs::create_dir(path).is_err() {
            return false;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(directory) => {
                self.directories.push((path.to_owned(), directory));
                true
            }
            Err(_) => {
                fs::remove_dir(path).ok();
                false
            }
        }
    }

    /// Writes to a file of the directory made last.
    fn set(&self, file: &str, value: &str) -> Result<(), CgroupError> {
        let (directory, _) = self.directories.last().expect("a directory was added");
        let path = directory.join(file);
        fs::write(&path, value).map_err(|source| CgroupError {
            doing: "set the limit",
            path,
            source,
        })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for (path, _) in &self.directories {
            // A leftover directory limits nothing and holds nothing.
            fs::remove_dir(path).ok();
        }
    }
}

/// A mounted hierarchy.
struct Hierarchy<'a> {
    /// Which part of the hierarchy is mounted.
    root: &'a str,
    at: &'a str,
    unified: bool,
    options: &'a str,
}

impl<'a> Hierarchy<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (fields, rest) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let mut rest = rest.split(' ');
        let kind = rest.next()?;
        let options = rest.nth(1).unwrap_or_default();
        let unified = match kind {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        Some(Self { root, at, unified, options })
    }

    /// The directory of a cgroup, if it is in the mounted part.
    fn directory(&self, path: &str) -> Option<PathBuf> {
        let relative = Path::new(path).strip_prefix(self.root).ok()?;
        Some(Path::new(self.at).join(relative))
    }
}

fn place(mountinfo: &str, own: &str) -> Place {
    let hierarchies: Vec<Hierarchy<'_>> = mountinfo.lines().filter_map(Hierarchy::parse).collect();
    let own_path = |wanted: &str| {
        own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|name| name == wanted).then_some(path)
        })
    };
    let legacy = |controller: &str| {
        let path = own_path(controller)?;
        hierarchies
            .iter()
            .filter(|h| !h.unified && h.options.split(',').any(|name| name == controller))
            .find_map(|h| h.directory(path))
    };
    if let Some(memory) = legacy("memory") {
        return Place::V1 { memory, cpu: legacy("cpu"), pids: legacy("pids") };
    }
    let unified = || {
        let path = own_path("")?;
        let directory = hierarchies.iter().filter(|h| h.unified).find_map(|h| h.directory(path))?;
        // A cgroup with processes cannot have children with limits, but its parent can;
        // the root can too.
        if path == "/" { Some(directory) } else { directory.parent().map(Path::to_owned) }
    };
    unified().map_or(Place::Nowhere, Place::V2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 29 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        33 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn both_generations_are_found_where_this_process_is() {
        let hybrid = place(HYBRID, "4:memory:/box/a\n2:cpu,cpuacct:/\n0::/\n");
        assert_eq!(
            hybrid,
            Place::V1 {
                memory: "/sys/fs/cgroup/memory/box/a".into(),
                cpu: Some("/sys/fs/cgroup/cpu/".into()),
                pids: None,
            }
        );
        let unified = "33 30 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let session = place(unified, "0::/user.slice/session-1.scope\n");
        assert_eq!(session, Place::V2("/sys/fs/cgroup/user.slice".into()));
        assert_eq!(place(unified, "0::/\n"), Place::V2("/sys/fs/cgroup/".into()));
        assert_eq!(place("", "0::/\n"), Place::Nowhere);
    }

    #[test]
    fn a_mounted_part_of_a_hierarchy_is_taken_off_the_path() {
        let part = "31 30 0:27 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let found = place(part, "4:memory:/docker/x/sub\n");
        let memory = "/sys/fs/cgroup/memory/sub".into();
        assert_eq!(found, Place::V1 { memory, cpu: None, pids: None });
        assert_eq!(place(part, "4:memory:/elsewhere\n"), Place::Nowhere);
    }
}
