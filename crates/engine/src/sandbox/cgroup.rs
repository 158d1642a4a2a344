//! Limits of all processes of a step together, and of all steps together, where this
//! program may set them.
//!
//! A cgroup is made only for a step that has limits, or whose run has: moving a process
//! into one costs more than everything else that a sandbox does. A run's cgroup holds its
//! steps' cgroups. Both generations are known. What cannot be limited here, because its
//! controller is not there or may not be written to, is left out, and [`Cgroups::unkept`]
//! says so.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use super::protocol::CgroupKind;
use super::spec::{Limit, Limits};

/// Length of a period of processor time, in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// What the names of this program's cgroups begin with; the process's id follows.
const PREFIX: &str = "bakehouse-";

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
    /// What can be limited, once somebody wants to know.
    known: OnceLock<Vec<Limit>>,
    /// Of all steps together.
    run: Option<(Cgroup, Limits)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Nowhere,
    /// A directory for each controller.
    V1 {
        memory: Option<PathBuf>,
        cpu: Option<PathBuf>,
        pids: Option<PathBuf>,
    },
    /// The one directory.
    V2(PathBuf),
}

impl Place {
    /// The directories of controllers, each with what is set there for `limits`.
    fn settings(&self, limits: &Limits) -> Vec<(PathBuf, Vec<Setting>)> {
        let quota = limits.cpu_millis.map(|millis| u64::from(millis) * CPU_PERIOD / 1000);
        let pids = limits.pids.map(u64::from);
        match self {
            Self::Nowhere => Vec::new(),
            Self::V1 { memory: memory_at, cpu: cpu_at, pids: pids_at } => {
                let mut memory = Vec::new();
                if let Some(bytes) = limits.memory {
                    memory.push(Setting::must("memory.limit_in_bytes", bytes));
                    // As much memory on the disk again, as Docker has it.
                    memory
                        .push(Setting::may("memory.memsw.limit_in_bytes", bytes.saturating_mul(2)));
                }
                let cpu = quota.map(|quota| Setting::must("cpu.cfs_quota_us", quota));
                let pids = pids.map(|pids| Setting::must("pids.max", pids));
                let all = [
                    (memory_at, memory),
                    (cpu_at, cpu.into_iter().collect()),
                    (pids_at, pids.into_iter().collect()),
                ];
                all.into_iter()
                    .filter(|(_, settings)| !settings.is_empty())
                    .filter_map(|(at, settings)| Some((at.clone()?, settings)))
                    .collect()
            }
            Self::V2(base) => {
                let mut settings = Vec::new();
                if let Some(bytes) = limits.memory {
                    settings.push(Setting::must("memory.max", bytes));
                    settings.push(Setting::may("memory.swap.max", bytes));
                }
                if let Some(quota) = quota {
                    let value = format!("{quota} {CPU_PERIOD}");
                    settings.push(Setting { value, ..Setting::must("cpu.max", 0) });
                }
                settings.extend(pids.map(|pids| Setting::must("pids.max", pids)));
                vec![(base.clone(), settings)]
            }
        }
    }

    /// The same place one level down.
    fn below(&self, name: &str) -> Self {
        let down = |path: &Option<PathBuf>| path.as_ref().map(|path| path.join(name));
        match self {
            Self::Nowhere => Self::Nowhere,
            Self::V1 { memory, cpu, pids } => {
                Self::V1 { memory: down(memory), cpu: down(cpu), pids: down(pids) }
            }
            Self::V2(base) => Self::V2(base.join(name)),
        }
    }

    /// Lets what is below have limits; whoever manages the tree may have done so. The first
    /// generation needs nothing for that.
    fn pass_on(&self) {
        if let Self::V2(base) = self {
            for controller in ["+memory", "+cpu", "+pids"] {
                fs::write(base.join("cgroup.subtree_control"), controller).ok();
            }
        }
    }

    /// Whether a limit can be set: its controller is there, and cgroups can be made in it.
    fn has(&self, limit: Limit) -> bool {
        let name = format!("{PREFIX}{}-{}", std::process::id(), limit.what());
        let probe = limit.probe();
        let settings = self.below(&name).settings(&probe);
        let made = !settings.is_empty() && settings.iter().all(|(at, _)| create(at).is_ok());
        let set =
            made && settings.iter().all(|(at, all)| all.iter().all(|it| it.write(at).is_ok()));
        for (at, _) in &settings {
            fs::remove_dir(at).ok();
        }
        set
    }
}

/// A value of a file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    file: &'static str,
    value: String,
    /// Whether there is no limit without it.
    vital: bool,
}

impl Setting {
    fn must(file: &'static str, value: u64) -> Self {
        Self { file, value: value.to_string(), vital: true }
    }

    fn may(file: &'static str, value: u64) -> Self {
        Self { vital: false, ..Self::must(file, value) }
    }

    fn write(&self, directory: &Path) -> Result<(), CgroupError> {
        let path = directory.join(self.file);
        match fs::write(&path, &self.value) {
            Err(source) if self.vital => Err(CgroupError { doing: "set the limit", path, source }),
            _ => Ok(()),
        }
    }
}

impl Cgroups {
    /// Looks where this process is.
    pub(super) fn detect() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::at(place(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")))
    }

    fn at(place: Place) -> Self {
        Self { place, made: AtomicU64::new(0), known: OnceLock::new(), run: None }
    }

    /// Gives all steps together these limits, as far as they can be kept here.
    pub(super) fn limit_run(&mut self, limits: &Limits) -> Result<(), CgroupError> {
        let limits = self.kept(limits);
        if limits == Limits::default() {
            return Ok(());
        }
        // Steps' own limits need every controller there is in the run's cgroup.
        let name = format!("{PREFIX}{}", std::process::id());
        let mut run = Cgroup::new(&self.place);
        let mut bases: Vec<(PathBuf, Vec<Setting>)> = self.place.settings(&limits);
        for limit in self.known() {
            for (base, _) in self.place.settings(&limit.probe()) {
                if bases.iter().all(|(other, _)| *other != base) {
                    bases.push((base, Vec::new()));
                }
            }
        }
        for (base, settings) in bases {
            remove_leftovers(&base);
            run.add(&base.join(&name), &settings)?;
        }
        self.place = self.place.below(&name);
        self.place.pass_on();
        self.run = Some((run, limits));
        Ok(())
    }

    /// What of `limits` cannot be kept here.
    pub(super) fn unkept(&self, limits: &Limits) -> Vec<Limit> {
        let known = if *limits == Limits::default() { &[] } else { self.known() };
        let wanted = Limit::ALL.into_iter().filter(|limit| limit.is_in(limits));
        wanted.filter(|limit| !known.contains(limit)).collect()
    }

    /// What can be limited here: a trial tells.
    fn known(&self) -> &[Limit] {
        self.known.get_or_init(|| {
            // Without this a trial fails in a tree that nobody has used so far.
            self.place.pass_on();
            Limit::ALL.into_iter().filter(|limit| self.place.has(*limit)).collect()
        })
    }

    fn kept(&self, limits: &Limits) -> Limits {
        self.unkept(limits).into_iter().fold(*limits, |limits, unkept| unkept.without(limits))
    }

    /// Makes a step's cgroup; none if there are no limits to keep, or nowhere to.
    pub(super) fn make(&self, limits: &Limits) -> Result<Option<Cgroup>, CgroupError> {
        if *limits == Limits::default() && self.run.is_none() {
            return Ok(None);
        }
        let mut limits = self.kept(limits);
        if let Some((_, run)) = &self.run {
            // Some kernels refuse a step more than its run may have.
            limits = limits.within(run);
        }
        let mut bases = self.place.settings(&limits);
        for (path, _) in self.run.iter().flat_map(|(run, _)| &run.directories) {
            if bases.iter().all(|(base, _)| base != path) {
                bases.push((path.clone(), Vec::new()));
            }
        }
        if bases.is_empty() || (self.run.is_none() && limits == Limits::default()) {
            return Ok(None);
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let mut cgroup = Cgroup::new(&self.place);
        for (base, settings) in bases {
            if number == 0 {
                remove_leftovers(&base);
            }
            cgroup.add(&base.join(&name), &settings)?;
        }
        Ok(Some(cgroup))
    }
}

/// Removes what killed processes have left in a directory of cgroups.
fn remove_leftovers(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let owner = owner.and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&entry.path());
        }
    }
}

/// Removes a cgroup and those in it. What still has processes in it stays.
fn remove(path: &Path) {
    for inner in fs::read_dir(path).into_iter().flatten().flatten() {
        fs::remove_dir(inner.path()).ok();
    }
    fs::remove_dir(path).ok();
}

/// Makes a cgroup, also where one is left of a process that had this one's id before.
fn create(path: &Path) -> io::Result<()> {
    remove(path);
    fs::create_dir(path)
}

/// How many processes the kernel has killed for want of memory since it started.
pub(super) fn killed_for_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}

/// The cgroup of one step or of all, which goes away with this value.
#[derive(Debug)]
pub(super) struct Cgroup {
    unified: bool,
    directories: Vec<(PathBuf, OwnedFd)>,
}

impl Cgroup {
    fn new(place: &Place) -> Self {
        Self { unified: matches!(place, Place::V2(_)), directories: Vec::new() }
    }

    pub(super) fn kind(&self) -> CgroupKind {
        if self.unified { CgroupKind::V2 } else { CgroupKind::V1(self.directories.len()) }
    }

    /// Descriptors of the directories to join.
    pub(super) fn directories(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.directories.iter().map(|(_, directory)| directory.as_fd())
    }

    /// Whether the kernel killed a process of it for using too much memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        self.directories.iter().any(|(path, _)| {
            let text = fs::read_to_string(path.join(file)).unwrap_or_default();
            text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count != "0")
        })
    }

    /// Makes one directory of it, with these settings.
    fn add(&mut self, path: &Path, settings: &[Setting]) -> Result<(), CgroupError> {
        let failed = |doing| {
            let path = path.to_owned();
            move |source| CgroupError { doing, path, source }
        };
        create(path).map_err(failed("make the cgroup"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(directory) => self.directories.push((path.to_owned(), directory)),
            Err(errno) => {
                fs::remove_dir(path).ok();
                return Err(failed("open the cgroup")(errno.into()));
            }
        }
        settings.iter().try_for_each(|setting| setting.write(path))
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
    let (memory, cpu, pids) = (legacy("memory"), legacy("cpu"), legacy("pids"));
    if memory.is_some() || cpu.is_some() || pids.is_some() {
        return Place::V1 { memory, cpu, pids };
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
                memory: Some("/sys/fs/cgroup/memory/box/a".into()),
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
        let memory = Some("/sys/fs/cgroup/memory/sub".into());
        assert_eq!(found, Place::V1 { memory, cpu: None, pids: None });
        assert_eq!(place(part, "4:memory:/elsewhere\n"), Place::Nowhere);
    }

    /// A folder that stands for a mounted cgroup file system: files can be written to it,
    /// and a child has those of its parent.
    fn tree() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        (folder, path)
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    const ALL: Limits = Limits { memory: Some(64 << 20), cpu_millis: Some(1500), pids: Some(9) };

    #[test]
    fn limits_are_written_where_each_generation_has_them() {
        let (_keep, base) = tree();
        let cgroups = Cgroups::at(Place::V2(base.clone()));
        let step = cgroups.make(&ALL).unwrap().unwrap();
        let at = base.join(format!("{PREFIX}{}-0", std::process::id()));
        let files = ["memory.max", "memory.swap.max", "cpu.max", "pids.max"];
        let values = files.map(|file| read(&at.join(file)));
        assert_eq!(values, ["67108864", "67108864", "150000 100000", "9"]);
        assert_eq!(step.kind(), CgroupKind::V2);

        let (_keep, base) = tree();
        let paths = ["memory", "cpu", "pids"].map(|name| base.join(name));
        paths.iter().for_each(|path| fs::create_dir(path).unwrap());
        let [memory, cpu, pids] = paths.map(Some);
        let cgroups = Cgroups::at(Place::V1 { memory, cpu, pids });
        let step = cgroups.make(&ALL).unwrap().unwrap();
        let name = format!("{PREFIX}{}-0", std::process::id());
        let values = [
            ("memory", "memory.limit_in_bytes", "67108864"),
            ("memory", "memory.memsw.limit_in_bytes", "134217728"),
            ("cpu", "cpu.cfs_quota_us", "150000"),
            ("pids", "pids.max", "9"),
        ];
        for (controller, file, value) in values {
            assert_eq!(read(&base.join(controller).join(&name).join(file)), value, "{file}");
        }
        assert_eq!(step.kind(), CgroupKind::V1(3));
    }

    #[test]
    fn a_tree_that_nobody_has_used_lets_its_children_be_limited_before_it_is_tried() {
        let (_keep, base) = tree();
        let mut cgroups = Cgroups::at(Place::V2(base.clone()));
        assert_eq!(cgroups.unkept(&ALL), []);
        let handed_down = |at: &Path| read(&at.join("cgroup.subtree_control"));
        assert_eq!(handed_down(&base), "+pids", "the last of three");
        cgroups.limit_run(&ALL).unwrap();
        let run = base.join(format!("{PREFIX}{}", std::process::id()));
        assert_eq!(handed_down(&run), "+pids", "so that steps have limits of their own");
    }

    #[test]
    fn as_much_memory_as_there_can_be_is_a_limit_too() {
        let (_keep, base) = tree();
        let memory = Some(base.clone());
        let cgroups = Cgroups::at(Place::V1 { memory, cpu: None, pids: None });
        let most = Limits { memory: Some(u64::MAX), ..Limits::default() };
        assert!(cgroups.make(&most).unwrap().is_some());
    }

    #[test]
    fn a_step_of_a_limited_run_is_below_it_in_every_hierarchy() {
        let (_keep, base) = tree();
        let paths = ["memory", "cpu", "pids"].map(|name| base.join(name));
        paths.iter().for_each(|path| fs::create_dir(path).unwrap());
        let [memory, cpu, pids] = paths.map(Some);
        let mut cgroups = Cgroups::at(Place::V1 { memory, cpu, pids });
        cgroups.limit_run(&Limits { memory: Some(1 << 30), ..Limits::default() }).unwrap();
        let (run, step) = (std::process::id(), format!("{PREFIX}{}-0", std::process::id()));
        let own = cgroups.make(&Limits { pids: Some(5), ..Limits::default() }).unwrap().unwrap();
        assert_eq!(own.kind(), CgroupKind::V1(3), "a step joins all that limit the run");
        let below = |controller: &str| base.join(controller).join(format!("{PREFIX}{run}"));
        assert_eq!(read(&below("memory").join("memory.limit_in_bytes")), "1073741824");
        assert_eq!(read(&below("pids").join(&step).join("pids.max")), "5");
        assert!(below("memory").join(&step).is_dir());
        assert!(cgroups.make(&Limits::default()).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_limited_is_said_and_left_out() {
        let (_keep, base) = tree();
        fs::create_dir(base.join("pids")).unwrap();
        let cgroups = Cgroups::at(Place::V1 {
            memory: None,
            cpu: Some(base.join("gone")),
            pids: Some(base.join("pids")),
        });
        assert_eq!(cgroups.unkept(&ALL), [Limit::Memory, Limit::Processors]);
        assert_eq!(cgroups.unkept(&Limits { pids: Some(1), ..Limits::default() }), []);
        assert_eq!(cgroups.make(&ALL).unwrap().unwrap().kind(), CgroupKind::V1(1));
        let nowhere = Cgroups::at(Place::Nowhere);
        assert_eq!(nowhere.unkept(&ALL), Limit::ALL);
        assert!(nowhere.make(&ALL).unwrap().is_none());
    }

    #[test]
    fn cgroups_of_processes_that_are_gone_are_removed() {
        let (_keep, base) = tree();
        let dead = base.join(format!("{PREFIX}999999999"));
        fs::create_dir_all(dead.join(format!("{PREFIX}999999999-0"))).unwrap();
        let alive = base.join(format!("{PREFIX}1-0"));
        let other = base.join("system.slice");
        for path in [&alive, &other] {
            fs::create_dir(path).unwrap();
        }
        // An earlier process had the id of this one.
        let own = base.join(format!("{PREFIX}{}-0", std::process::id()));
        fs::create_dir_all(own.join("inner")).unwrap();
        let made = Cgroups::at(Place::V2(base)).make(&ALL).unwrap();
        assert!(made.is_some() && !dead.exists() && alive.exists() && other.exists());
        assert!(!own.join("inner").exists());
    }
}
