//! A place of its own for each test: a repository, a home, a store, and the real program
//! with nothing else in its environment.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use bakehouse_model::{Event, EventKind, MissReason};
use tempfile::TempDir;

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

/// Folders and an environment that only one test knows.
pub(crate) struct Place {
    dir: TempDir,
    env: BTreeMap<String, String>,
    user: Option<u32>,
}

impl Place {
    /// A place for a test that starts no process in a sandbox.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { dir, env: BTreeMap::new(), user: None };
        for folder in ["repo", "home"] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        place
    }

    /// A place for a test that builds; none, and a line that says why, where no sandbox
    /// can be made.
    pub(crate) fn that_builds() -> Option<Self> {
        static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
        match WHY_NOT.get_or_init(why_no_sandbox) {
            None => Some(Self::new()),
            Some(why) => {
                skipped(why);
                None
            }
        }
    }

    /// A place for a test whose steps run as other users than root; none, and a line that
    /// says why, where an ordinary user has only one id to give.
    pub(crate) fn that_has_users() -> Option<Self> {
        static WHY_NOT: OnceLock<bool> = OnceLock::new();
        let place = Self::that_builds()?;
        let can = *WHY_NOT.get_or_init(|| {
            let probe = Self::new();
            probe.write("Dockerfile", "FROM machine-base\nUSER 12:34\nRUN true\n");
            let told = probe.build(&[]);
            assert!(told.code == Some(0) || (!is_root() && told.code == Some(4)), "{told:?}");
            told.code == Some(0)
        });
        if !can {
            skipped("this user has no subordinate ids");
        }
        can.then_some(place)
    }

    /// A path in the place.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// The folder of the store.
    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Writes a file of the repository.
    pub(crate) fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path("repo").join(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Sets a variable for every run from now on.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.env.insert(name.to_owned(), value.into());
    }

    /// The machine's own base, where whoever runs the program can read it.
    fn base(&self) -> PathBuf {
        if self.user.is_some() { self.path("base.tar") } else { base().to_owned() }
    }

    /// Gives everything to an ordinary user, who runs the program from now on.
    pub(crate) fn become_user(&mut self, id: u32) {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(base(), self.path("base.tar")).unwrap();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            chown(&folder, Some(id), Some(id)).unwrap();
            for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    std::os::unix::fs::lchown(entry.path(), Some(id), Some(id)).unwrap();
                }
            }
        }
        self.user = Some(id);
    }

    /// The program with these arguments, in the repository's folder.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let mut command = Command::new(program());
        command.args(args).current_dir(self.path("repo")).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("home")).env("BAKEHOUSE_HOME", self.store());
        command.env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8");
        // No test reaches the network; what is on this machine is asked without a proxy.
        command.env("HTTPS_PROXY", NOWHERE).env("HTTP_PROXY", NOWHERE).envs(&self.env);
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        command
    }

    /// Runs the program.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Told {
        Told::from(self.command(args).output().unwrap())
    }

    /// `build` (or another verb that looks at a repository) with the machine's own base.
    pub(crate) fn with_base(&self, verb: &str, args: &[&str]) -> Command {
        let base = format!("machine-base=rootfs-tar://{}", self.base().display());
        let mut all = vec![verb, "--build-context", &base];
        all.extend(args);
        self.command(&all)
    }

    /// Runs `plan`, `why` and so on with the machine's own base.
    pub(crate) fn ask(&self, verb: &str, args: &[&str]) -> Told {
        Told::from(self.with_base(verb, args).output().unwrap())
    }

    /// Builds with the machine's own base.
    pub(crate) fn build(&self, args: &[&str]) -> Told {
        self.ask("build", args)
    }

    /// Builds, and gives the events.
    pub(crate) fn events(&self, args: &[&str]) -> Vec<Event> {
        let mut all = vec!["--progress", "json"];
        all.extend(args);
        self.build(&all).ok().events()
    }

    /// Builds one Dockerfile, and gives the tree of its result.
    pub(crate) fn tree(&self, dockerfile: &str, args: &[&str]) -> Tree {
        self.write("Dockerfile", dockerfile);
        let dest = format!("type=tar,dest={}", self.path("tree.tar").display());
        let mut all = vec!["-o", &dest];
        all.extend(args);
        self.build(&all).ok();
        Tree::read(fs::File::open(self.path("tree.tar")).unwrap())
    }

    /// Every file of the place that has `needle` in it, or in its name.
    pub(crate) fn files_with(&self, folder: &Path, needle: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
                let kind = entry.file_type().unwrap();
                let named = entry.file_name().to_string_lossy().contains(needle);
                if kind.is_dir() {
                    folders.push(entry.path());
                }
                if named || (kind.is_file() && has(&fs::read(entry.path()).unwrap(), needle)) {
                    found.push(entry.path());
                }
            }
        }
        found
    }
}

/// The program under test.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_bakehouse")
}

/// Whether `bytes` have `needle` in them.
pub(crate) fn has(bytes: &[u8], needle: &str) -> bool {
    // The search of the standard library is optimised, which this program is not.
    String::from_utf8_lossy(bytes).contains(needle)
}

/// Says that a test could not run here.
#[expect(clippy::print_stderr, reason = "whoever reads the tests' output must know")]
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Tools of those who want to get out of a sandbox.
const ESCAPING: &[&str] = &["chroot", "mknod", "mount", "nsenter", "unshare"];

/// The tar of a root file system that is made of this machine's own tools.
pub(crate) fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(folder).unwrap();
        let path = folder.join("machine-base.tar");
        // Other processes may test at the same time, and all of them write the same bytes.
        let temporary = folder.join(format!("machine-base.{}", std::process::id()));
        let file = fs::File::create(&temporary).unwrap();
        bakehouse::hostbase::write_tar_with(ESCAPING, file).unwrap();
        fs::rename(&temporary, &path).unwrap();
        path
    })
}

/// Why nothing can be built here; none if it can.
fn why_no_sandbox() -> Option<String> {
    let place = Place::new();
    place.write("Dockerfile", "FROM machine-base\nRUN true\n");
    let told = place.build(&[]);
    if told.code == Some(0) {
        return None;
    }
    let about = ["namespace", "unshare", "clone", "permitted"];
    let known = told.code == Some(4) && about.iter().any(|word| told.all().contains(word));
    assert!(known, "a trivial build fails: {told:?}");
    told.err.lines().find(|line| line.starts_with("error")).map(str::to_owned)
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Told {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) out: String,
    /// The same, as it is.
    pub(crate) bytes: Vec<u8>,
    /// Its standard error.
    pub(crate) err: String,
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            bytes: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Told {
    /// It worked.
    #[track_caller]
    pub(crate) fn ok(&self) -> &Self {
        self.exits(0)
    }

    /// It ended with that code, and not in a panic.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "\n{}", self.shown());
        assert!(!self.all().contains("panicked"), "{}", self.shown());
        self
    }

    /// It said all of that.
    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.all().contains(part), "no `{part}` in:\n{}", self.shown());
        }
        self
    }

    /// Everything it said, without the ends of what is long.
    fn shown(&self) -> String {
        let all = self.all();
        let short = |line: &str| line.chars().take(300).chain(['\n']).collect::<String>();
        all.lines().take(100).map(short).collect()
    }

    /// Everything it said.
    pub(crate) fn all(&self) -> String {
        format!("{}\n{}", self.out, self.err)
    }

    /// The events of `--progress json`, which are numbered without gaps.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Event> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in `{line}`"))
        };
        let events: Vec<Event> = self.err.lines().map(parse).collect();
        for (at, event) in events.iter().enumerate() {
            assert_eq!(event.seq, at as u64, "{event:?}");
        }
        events
    }

    /// The JSON value on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {}", self.out))
    }
}

/// Steps that were started, by what they are called, each with the reason.
pub(crate) fn started(events: &[Event]) -> Vec<(String, MissReason)> {
    let Some(EventKind::RunStarted { steps, .. }) = events.first().map(|event| &event.kind) else {
        panic!("no run-started in {events:?}");
    };
    let name =
        |id: &bakehouse_model::StepId| &steps.iter().find(|info| info.id == *id).unwrap().name;
    let starts = events.iter().filter_map(|event| match &event.kind {
        EventKind::StepStarted { step, miss, .. } => Some((name(step).clone(), miss.clone())),
        _ => None,
    });
    starts.collect()
}

/// The lines that steps logged, joined.
pub(crate) fn logged(events: &[Event]) -> String {
    let lines = events.iter().filter_map(|event| match &event.kind {
        EventKind::StepLogged { line, .. } => Some(format!("{line}\n")),
        _ => None,
    });
    lines.collect()
}

/// Images that were finished, by name, each with its manifest and whether it was cached.
pub(crate) fn finished(events: &[Event]) -> BTreeMap<String, (String, bool)> {
    let images = events.iter().filter_map(|event| match &event.kind {
        EventKind::ImageFinished { image, manifest, cached, .. } => {
            Some((image.clone(), (manifest.to_string(), *cached)))
        }
        _ => None,
    });
    images.collect()
}

/// The names of the images that had to be made anew.
pub(crate) fn rebuilt(events: &[Event]) -> Vec<String> {
    let all = finished(events).into_iter();
    all.filter(|(_, (_, cached))| !cached).map(|(name, _)| name).collect()
}

/// The entries of a tar, by path without slashes at its ends.
#[derive(Debug)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, Entry>);

/// An entry of a tar.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: tar::EntryType,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) mtime: u64,
    pub(crate) link: Option<PathBuf>,
    pub(crate) content: Vec<u8>,
}

impl Tree {
    /// Reads a tar that is not packed.
    #[track_caller]
    pub(crate) fn read(from: impl std::io::Read) -> Self {
        let mut archive = tar::Archive::new(from);
        let mut entries = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let path = path.trim_start_matches("./").trim_matches('/').to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            let read = Entry {
                kind: header.entry_type(),
                mode: header.mode().unwrap(),
                owner: (header.uid().unwrap(), header.gid().unwrap()),
                mtime: header.mtime().unwrap(),
                link: entry.link_name().unwrap().map(|link| link.into_owned()),
                content,
            };
            entries.insert(path, read);
        }
        Self(entries)
    }

    /// The entry at `path`.
    #[track_caller]
    pub(crate) fn at(&self, path: &str) -> &Entry {
        self.0.get(path).unwrap_or_else(|| panic!("no `{path}` in {:?}", self.0.keys()))
    }

    /// The content of the file at `path`.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8(self.at(path).content.clone()).unwrap()
    }

    /// Whether there is something at `path`.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}
