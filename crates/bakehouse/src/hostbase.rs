//! A base image out of this very machine: its shell, its everyday tools, their libraries.
//!
//! The demo must build a fleet where there is no registry and no network. So [`write_tar`]
//! takes the tools that a Dockerfile's `RUN` lines use from where `PATH` finds them, follows
//! their links, reads from each program which loader and which libraries it names, and
//! writes all that as the tar of a root file system. Nothing is executed and nothing on the
//! machine is changed.
//!
//! 1. [`tree`]: what the image will hold, folder by folder; a path of the machine is
//!    mirrored together with every link on the way to it, so that a machine whose `/bin` is
//!    a link to `usr/bin` gives an image where it is one too.
//! 2. [`elf`]: what a program says about its loader, its libraries and where they are.
//! 3. [`libraries`]: where the loader would look for them, for glibc and for musl.
//!
//! One machine gives the same bytes every time: entries are sorted, times are 0, everything
//! belongs to root and modes are only 0755 or 0644.

pub(crate) mod elf;
mod libraries;
mod tree;

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::elf::ElfError;
use self::libraries::Loader;
use self::tree::{Host, Tree};

/// Without these no `RUN` can do anything that is worth a demonstration.
const REQUIRED: &[&str] = &["sh", "cat", "mkdir"];

/// Taken where they are present.
const WANTED: &[&str] = &[
    "[",
    "awk",
    "base64",
    "basename",
    "chmod",
    "chown",
    "cmp",
    "comm",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "diff",
    "dirname",
    "du",
    "echo",
    "env",
    "expr",
    "false",
    "find",
    "grep",
    "gzip",
    "head",
    "id",
    "install",
    "ln",
    "ls",
    "md5sum",
    "mktemp",
    "mv",
    "nl",
    "od",
    "paste",
    "printf",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "tail",
    "tar",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "uname",
    "uniq",
    "wc",
    "whoami",
    "xargs",
];

/// Folders of the image's own `PATH`. They are asked before the machine's, where programs
/// of the same name may be wrappers that mean nothing elsewhere.
const STANDARD: &[&str] =
    &["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// What went into a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostBase {
    /// How many regular files it holds.
    pub files: usize,
    /// Bytes of their contents.
    pub bytes: u64,
    /// The tools that it has, by name, sorted.
    pub tools: Vec<String>,
}

/// This machine gives no base.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostBaseError {
    /// A tool that no base can do without is not here.
    #[error("this machine has no `{tool}` that a base could be made of (searched {searched})")]
    NoTool {
        /// The tool.
        tool: String,
        /// The folders, as a `PATH`.
        searched: String,
    },
    /// A tool is here but cannot be taken along.
    #[error("`{tool}` cannot be taken into a base")]
    Unusable {
        /// The tool.
        tool: String,
        /// Why.
        source: ToolError,
    },
    /// A file of the machine changed or vanished while it was copied.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The tar could not be written.
    #[error("cannot write the base's tar at `{entry}`")]
    Write {
        /// The entry.
        entry: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A tool cannot be taken into a base.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ToolError {
    /// It, or something that it needs, cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A path leads in circles.
    #[error("`{path}` is a link that leads in circles")]
    Circle {
        /// The path.
        path: PathBuf,
    },
    /// It is a script, a folder, or a program for another kind of machine.
    #[error("`{path}` is no program for this machine")]
    NotProgram {
        /// The path.
        path: PathBuf,
        /// What its bytes lack.
        source: ElfError,
    },
    /// A library that it needs is nowhere.
    #[error("`{path}` needs the library `{library}`, which is where no loader looks for it")]
    NoLibrary {
        /// Who needs it.
        path: PathBuf,
        /// The library.
        library: String,
    },
}

/// Writes a root file system made of this machine's tools as an uncompressed tar.
///
/// # Errors
///
/// When one of the required tools is missing or `out` cannot be written.
pub fn write_tar(out: impl Write) -> Result<HostBase, HostBaseError> {
    write_tar_with(&[], out)
}

/// The same with more tools, each where it is present.
///
/// # Errors
///
/// As [`write_tar`].
pub fn write_tar_with(more: &[&str], out: impl Write) -> Result<HostBase, HostBaseError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).filter(|f| f.is_absolute()).collect();
    write_from(&Host::new("/"), &folders, more, out)
}

fn write_from(
    host: &Host,
    path: &[PathBuf],
    more: &[&str],
    out: impl Write,
) -> Result<HostBase, HostBaseError> {
    let (mut tree, tools) = gather(host, path, more)?;
    furnish(&mut tree);
    let (files, bytes) = tree.write(host, out)?;
    Ok(HostBase { files, bytes, tools })
}

/// The tree with every tool in it that can be had, and their names.
fn gather(
    host: &Host,
    path: &[PathBuf],
    more: &[&str],
) -> Result<(Tree, Vec<String>), HostBaseError> {
    let loader = Loader::of(host);
    let mut folders: Vec<PathBuf> = STANDARD.iter().map(PathBuf::from).collect();
    for folder in path {
        if !folders.contains(folder) {
            folders.push(folder.clone());
        }
    }
    let mut tree = Tree::default();
    // A machine with merged folders shows it even where no tool leads through the link.
    for top in ["/bin", "/sbin", "/lib", "/lib64"] {
        if host.is_link(Path::new(top)) {
            // A link to nowhere is no loss: nothing was found through it either.
            if let Ok((with, _)) = tree.mirrored(host, Path::new(top)) {
                tree = with;
            }
        }
    }
    let mut tools = Vec::new();
    for tool in REQUIRED {
        tree = take(&tree, host, &loader, (tool, &folders))?;
        tools.push((*tool).to_owned());
    }
    for tool in WANTED.iter().chain(more) {
        if let Ok(with) = take(&tree, host, &loader, (tool, &folders)) {
            tree = with;
            tools.push((*tool).to_owned());
        }
    }
    // glibc before 2.34 loads this one by name when a program asks who a user is.
    if let Ok(with) = loader.with_library(&tree, host, "libnss_files.so.2") {
        tree = with;
    }
    tools.sort();
    Ok((tree, tools))
}

/// `tree` with `tool` from the first folder that has a usable one.
fn take(
    tree: &Tree,
    host: &Host,
    loader: &Loader,
    (tool, folders): (&str, &[PathBuf]),
) -> Result<Tree, HostBaseError> {
    let mut first = None;
    for folder in folders {
        let path = folder.join(tool);
        if !host.is_executable(&path) {
            continue;
        }
        match loader.with_program(tree, host, &path) {
            Ok(mut with) => {
                if !STANDARD.iter().any(|standard| folder.as_os_str() == *standard) {
                    with.link(&Path::new("/usr/bin").join(tool), &path);
                }
                if tool == "sh" {
                    with.link(Path::new("/bin/sh"), &path);
                }
                return Ok(with);
            }
            Err(source) => {
                first.get_or_insert(source);
            }
        }
    }
    let tool = tool.to_owned();
    Err(match first {
        Some(source) => HostBaseError::Unusable { tool, source },
        None => {
            let names: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
            HostBaseError::NoTool { tool, searched: names.join(":") }
        }
    })
}

/// What every root file system has besides its programs.
fn furnish(tree: &mut Tree) {
    for folder in ["dev", "etc", "home", "opt", "proc", "root", "run", "srv", "sys", "usr", "var"] {
        tree.folder(folder, false);
    }
    for folder in ["tmp", "var/tmp"] {
        tree.folder(folder, true);
    }
    tree.text("etc/passwd", PASSWD);
    tree.text("etc/group", GROUP);
    tree.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
    tree.text("etc/os-release", OS_RELEASE);
}

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
";

const GROUP: &str = "\
root:x:0:
nogroup:x:65534:
";

const OS_RELEASE: &str = "\
NAME=\"Bakehouse host base\"
ID=bakehouse-host
PRETTY_NAME=\"Tools of the machine that built this image\"
";

#[cfg(test)]
#[expect(clippy::print_stderr, reason = "a test that cannot run here says why")]
mod tests {
    use std::process::{Command, Stdio};
    use std::{collections::BTreeMap, fs};

    use super::*;

    fn this_machine() -> (HostBase, Vec<u8>) {
        let mut bytes = Vec::new();
        let base = write_tar(&mut bytes).expect("a machine that builds this has a shell");
        (base, bytes)
    }

    #[test]
    fn this_machine_gives_a_base_with_a_shell_twice_the_same() {
        let (base, bytes) = this_machine();
        for tool in REQUIRED {
            assert!(base.tools.iter().any(|t| t == tool), "no `{tool}` in {:?}", base.tools);
        }
        assert!(base.files > REQUIRED.len() && base.bytes > 0);
        assert_eq!(this_machine().1, bytes);
    }

    #[test]
    fn entries_are_sorted_owned_by_root_and_without_a_time() {
        let (_, bytes) = this_machine();
        let mut modes = BTreeMap::new();
        let mut last = PathBuf::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            let (header, path) = (entry.header(), entry.path().unwrap().into_owned());
            assert_eq!(
                (header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()),
                (0, 0, 0)
            );
            assert!(path > last, "{} after {}", path.display(), last.display());
            modes.insert(path.clone(), header.mode().unwrap());
            last = path;
        }
        assert_eq!(modes[Path::new("tmp")], 0o1777);
        assert_eq!(modes[Path::new("etc/passwd")], 0o644);
        assert!(modes.values().all(|mode| [0o644, 0o755, 0o777, 0o1777].contains(mode)));
    }

    #[test]
    fn the_shell_runs_in_the_base() {
        let (_, bytes) = this_machine();
        let root = tempfile::tempdir().unwrap();
        tar::Archive::new(bytes.as_slice()).unpack(root.path()).unwrap();
        let script = "cat /etc/passwd && mkdir -p /tmp/a/b && echo done";
        let chroot = |prefix: &[&str]| {
            let words: Vec<_> = prefix.iter().chain(&["chroot"]).collect();
            Command::new(words[0])
                .args(&words[1..])
                .arg(root.path())
                .args(["/bin/sh", "-c", script])
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .stdin(Stdio::null())
                .output()
        };
        let possible = |prefix: &[&str]| {
            let words: Vec<_> = prefix.iter().chain(&["chroot", "/", "true"]).collect();
            let tried = Command::new(words[0]).args(&words[1..]).output();
            tried.is_ok_and(|out| out.status.success())
        };
        let Some(prefix) = [&[][..], &["unshare", "-r"][..]].into_iter().find(|p| possible(p))
        else {
            eprintln!("skipped: neither root nor user namespaces allow chroot here");
            return;
        };
        let out = chroot(prefix).unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
        assert!(text.starts_with("root:x:0:0") && text.ends_with("done\n"), "{text}");
    }

    #[test]
    fn a_machine_without_a_shell_is_told_so() {
        let empty = tempfile::tempdir().unwrap();
        let host = Host::new(empty.path());
        let error =
            write_from(&host, &[PathBuf::from("/made/tools")], &[], Vec::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this machine has no `sh` that a base could be made of (searched \
             /usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin:/usr/local/sbin:/made/tools)"
        );
    }

    #[test]
    fn a_shell_that_is_a_script_is_no_shell() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("usr/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("sh"), "#!/usr/bin/env fish\n").unwrap();
        fs::set_permissions(bin.join("sh"), fs::Permissions::from_mode(0o755)).unwrap();
        let error = write_from(&Host::new(root.path()), &[], &[], Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "`sh` cannot be taken into a base");
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "`/usr/bin/sh` is no program for this machine");
    }
}
