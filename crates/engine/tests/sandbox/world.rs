//! What the tests stand on: a small root, overlays over it, and a sandbox.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bakehouse_engine::sandbox::{
    Cancel, Exit, ResolvedMount, Sandbox, SandboxConfig, SandboxError, Spec, Step,
};
use bakehouse_engine::userns::{Mapping, Privilege};
use bakehouse_model::Stream;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use tempfile::TempDir;

const TOOLS: &[&str] = &[
    "sh", "cat", "chmod", "chown", "dd", "env", "id", "ls", "mkdir", "mknod", "mount", "readlink",
    "rm", "sleep", "stat", "touch", "true",
];

/// A root with a shell, and where to run it.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) privilege: Privilege,
    base: TempDir,
}

/// A root that can be written to, and what was written.
pub(crate) struct Overlay {
    pub(crate) upper: PathBuf,
    _dir: TempDir,
    mount: OwnedFd,
}

impl Overlay {
    /// The mount.
    pub(crate) fn root(&self) -> OwnedFd {
        self.mount.try_clone().unwrap()
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn new(privilege: Privilege) -> Result<Self, String> {
        let base = tempfile::tempdir().map_err(|e| e.to_string())?;
        fill(base.path())?;
        let sandbox = Sandbox::new(SandboxConfig::default());
        let world = Self { sandbox, privilege, base };
        world.try_overlay().map_err(|e| format!("cannot mount overlayfs: {e}"))?;
        Ok(world)
    }

    /// Whether images' users exist here.
    pub(crate) fn has_users(&self) -> bool {
        self.privilege != Privilege::UserNamespace { mapped: Mapping::Single }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.privilege == Privilege::Root
    }

    pub(crate) fn overlay(&self) -> Overlay {
        self.try_overlay().unwrap()
    }

    fn try_overlay(&self) -> std::io::Result<Overlay> {
        let dir = tempfile::tempdir()?;
        let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let set =
            |name: &str, path: &Path| rustix::mount::fsconfig_set_string(&context, name, path);
        set("lowerdir+", self.base.path())?;
        set("upperdir", &upper)?;
        set("workdir", &work)?;
        rustix::mount::fsconfig_set_flag(&context, "volatile")?;
        if !self.is_root() {
            rustix::mount::fsconfig_set_flag(&context, "userxattr")?;
        }
        rustix::mount::fsconfig_create(&context)?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let mount = rustix::mount::fsmount(&context, flags, MountAttrFlags::empty())?;
        Ok(Overlay { upper, _dir: dir, mount })
    }

    /// Runs a shell script as `RUN` would.
    pub(crate) fn sh(&self, script: &str) -> Ran {
        self.run(sh(script), Vec::new()).unwrap()
    }

    pub(crate) fn run(&self, spec: Spec, mounts: Vec<ResolvedMount>) -> Result<Ran, SandboxError> {
        self.run_in(&self.overlay(), spec, mounts)
    }

    pub(crate) fn run_in(
        &self,
        overlay: &Overlay,
        spec: Spec,
        mounts: Vec<ResolvedMount>,
    ) -> Result<Ran, SandboxError> {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let mut sink = |stream, line: &[u8]| {
            let text = match stream {
                Stream::Stdout => &mut stdout,
                Stream::Stderr => &mut stderr,
            };
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        };
        let step = Step { root: overlay.root(), spec, mounts };
        let exit = self.sandbox.run(step, &mut sink, &Cancel::new().unwrap())?;
        Ok(Ran { exit, stdout, stderr })
    }

    /// Tells what a step costs.
    pub(crate) fn bench(&self) {
        let spec = Spec { args: vec!["/bin/true".to_owned()], ..sh("") };
        let mut times = Vec::new();
        for _ in 0..200 {
            let overlay = self.overlay();
            let begin = Instant::now();
            assert!(self.run_in(&overlay, spec.clone(), Vec::new()).unwrap().exit.success());
            times.push(begin.elapsed().as_micros());
        }
        times.sort_unstable();
        println!("true: min {} µs, median {} µs, p90 {} µs", times[0], times[100], times[180]);
    }
}

/// A shell script and nothing special.
pub(crate) fn sh(script: &str) -> Spec {
    Spec {
        args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec!["PATH=/usr/local/bin:/bin".to_owned()],
        cwd: "/".to_owned(),
        ..Spec::default()
    }
}

/// Everything below a directory, without the directory itself.
pub(crate) fn names_below(dir: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            names.extend(names_below(&entry.path()));
        }
    }
    names.sort();
    names
}

/// Copies the tools and their libraries, and writes the few files of a small image.
fn fill(base: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| e.to_string();
    fs::create_dir_all(base.join("bin")).map_err(failed)?;
    for tool in TOOLS {
        let path = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(tool));
        let path = path.iter().find(|path| path.exists()).ok_or(format!("no `{tool}` here"))?;
        copy(path, &base.join("bin").join(tool)).map_err(failed)?;
        copy_libraries(path, base).map_err(failed)?;
    }
    // This program runs inside too, but is mounted there.
    copy_libraries(&std::env::current_exe().map_err(failed)?, base).map_err(failed)?;
    let write = |path: &str, text: &str| -> Result<(), String> {
        fs::create_dir_all(base.join(path).parent().unwrap()).map_err(failed)?;
        fs::write(base.join(path), text).map_err(failed)
    };
    write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")?;
    write("etc/group", "root:x:0:root\nwheel:x:10:root\napp:x:1001:\ndocker:x:999:app\n")?;
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(base, fs::Permissions::from_mode(0o755)).map_err(failed)
}

fn copy_libraries(program: &Path, base: &Path) -> std::io::Result<()> {
    let output = Command::new("ldd").arg(program).output()?;
    let libraries = String::from_utf8_lossy(&output.stdout).into_owned();
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        copy(Path::new(library), &base.join(&library[1..]))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        return Ok(());
    }
    fs::create_dir_all(to.parent().unwrap())?;
    fs::copy(from, to).map(drop)
}
