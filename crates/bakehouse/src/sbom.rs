//! Which packages are in an image: an SPDX document, from the databases that package managers
//! leave in the file system.
//!
//! Read are those of dpkg (Debian, Ubuntu, distroless), apk (Alpine), Python's installers and
//! npm. What was copied in as plain files, compiled into a program, or installed by rpm is not
//! known; that there is an rpm database is said in the document.
//!
//! The files are an image's, and so not to be trusted: none is read beyond a limit, no link
//! leads out of the root, and what cannot be read is passed over.

mod lists;
mod spdx;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bakehouse_engine::Root;
use rustix::fs::FileType;

pub use spdx::document;

/// The most that is read of one file.
const MAX_FILE: u64 = 64 << 20;
/// The most that is read of a file that describes one package.
const MAX_DESCRIPTION: u64 = 1 << 20;
/// Entries that are looked at before the search for packages is given up.
const MAX_ENTRIES: usize = 2_000_000;
/// Folders of the root that are the machine's.
const SYSTEM: [&str; 3] = ["proc", "sys", "dev"];
/// The longest path in which packages are sought, in folders.
const MAX_DEPTH: usize = 64;

/// What is in an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Its distribution.
    pub distribution: Distribution,
    /// Its packages.
    pub packages: BTreeSet<Package>,
    /// Whether rpm installed some, which are not among them.
    pub has_rpm: bool,
}

/// What `/etc/os-release` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Such as `debian`.
    pub id: String,
    /// Such as `12`.
    pub version: String,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Who installs its like.
    pub manager: Manager,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The machine it is for; empty for all.
    pub architecture: String,
    /// The licence that it declares, as it is written there; may be empty.
    pub licence: String,
    /// The file that says so, from the root.
    pub found_in: String,
}

/// Who installs packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// Debian's.
    Dpkg,
    /// Alpine's.
    Apk,
    /// pip and its like.
    Python,
    /// npm and its like.
    Npm,
}

/// Looks through a file system.
pub fn look(root: &Root) -> Contents {
    let text = |path: &str| read(root, path.as_ref(), MAX_FILE).unwrap_or_default();
    let release = text("/etc/os-release");
    let release = if release.is_empty() { text("/usr/lib/os-release") } else { release };
    let mut packages = BTreeSet::new();
    packages.extend(lists::dpkg(&text("/var/lib/dpkg/status"), "var/lib/dpkg/status", true));
    for name in names(root, "/var/lib/dpkg/status.d") {
        let path = format!("/var/lib/dpkg/status.d/{name}");
        let own = read(root, path.as_ref(), MAX_DESCRIPTION).unwrap_or_default();
        packages.extend(lists::dpkg(&own, &path[1..], false));
    }
    for path in ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"] {
        packages.extend(lists::apk(&text(path), &path[1..]));
    }
    let rpm = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];
    let has_rpm = rpm.iter().any(|folder| !names(root, folder).is_empty());
    walk(root, &mut packages);
    Contents { distribution: lists::distribution(&release), packages, has_rpm }
}

/// Finds what describes itself where it lies: Python's and npm's packages.
fn walk(root: &Root, packages: &mut BTreeSet<Package>) {
    let mut waiting = vec![(PathBuf::from("/"), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = waiting.pop() {
        let Ok(entries) = root.read_dir(&folder) else { continue };
        for entry in entries {
            seen += 1;
            if seen > MAX_ENTRIES {
                return;
            }
            let path = folder.join(&entry.name);
            if entry.kind == FileType::Directory {
                let system = depth == 0 && SYSTEM.iter().any(|other| entry.name == *other);
                if depth < MAX_DEPTH && !system {
                    waiting.push((path, depth + 1));
                }
            } else if entry.kind == FileType::RegularFile {
                packages.extend(described(root, &path));
            }
        }
    }
}

/// The package that a file describes, if it is one that does.
fn described(root: &Root, path: &Path) -> Option<Package> {
    let shown = || path.strip_prefix("/").unwrap_or(path).display().to_string();
    let folder = path.parent()?;
    let inside = folder.file_name()?.to_str()?;
    let parse = match path.file_name()?.to_str()? {
        "METADATA" if inside.ends_with(".dist-info") => lists::python,
        "PKG-INFO" if inside.ends_with(".egg-info") => lists::python,
        "package.json" if is_module(folder) => lists::npm,
        _ => return None,
    };
    parse(&read(root, path, MAX_DESCRIPTION)?, &shown())
}

/// Whether a folder is `node_modules/NAME` or `node_modules/@SCOPE/NAME`.
fn is_module(folder: &Path) -> bool {
    let is_modules = |path: Option<&Path>| {
        path.and_then(Path::file_name).is_some_and(|name| name == "node_modules")
    };
    let parent = folder.parent();
    let scope = parent.and_then(Path::file_name).and_then(OsStr::to_str);
    is_modules(parent)
        || (scope.is_some_and(|name| name.starts_with('@'))
            && is_modules(parent.and_then(Path::parent)))
}

fn names(root: &Root, folder: &str) -> Vec<String> {
    let entries = root.read_dir(folder).unwrap_or_default();
    let names = entries.into_iter().filter_map(|entry| entry.name.into_string().ok());
    names.collect()
}

/// The text of a file; none if it is none or is too long.
fn read(root: &Root, path: &Path, limit: u64) -> Option<String> {
    let mut bytes = Vec::new();
    let size = root.open_read(path).ok()?.take(limit + 1).read_to_end(&mut bytes).ok()?;
    (size as u64 <= limit).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_all_managers_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
            (
                "var/lib/dpkg/status",
                "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n",
            ),
            ("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2024a\n"),
            ("lib/apk/db/installed", "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n\n"),
            (
                "usr/lib/python3/dist-packages/requests-2.31.0.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: requests\nVersion: 2.31.0\n\nName: not this\n",
            ),
            (
                "app/node_modules/@types/node/package.json",
                r#"{"name":"@types/node","version":"20.1.0"}"#,
            ),
            ("app/node_modules/left-pad/package.json", r#"{"name":"left-pad","version":"1.3.0"}"#),
            ("app/package.json", r#"{"name":"app","version":"0.0.1"}"#),
            ("app/node_modules/broken/package.json", "{"),
            ("var/lib/rpm/rpmdb.sqlite", "x"),
        ];
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::os::unix::fs::symlink("/", folder.path().join("app/loop")).unwrap();
        let contents = look(&Root::open_dir(folder.path()).unwrap());
        let shown: Vec<String> = contents
            .packages
            .iter()
            .map(|p| format!("{:?} {} {}", p.manager, p.name, p.version))
            .collect();
        let expected = [
            "Dpkg libc6 2.36-9",
            "Dpkg tzdata 2024a",
            "Apk musl 1.2.5-r0",
            "Python requests 2.31.0",
            "Npm @types/node 20.1.0",
            "Npm left-pad 1.3.0",
        ];
        assert_eq!(shown, expected);
        assert_eq!((contents.distribution.id.as_str(), contents.has_rpm), ("debian", true));
    }

    #[test]
    fn links_do_not_lead_out_of_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(outside.path().join("lib/dpkg")).unwrap();
        let text = "Package: secret\nStatus: install ok installed\nVersion: 1\n";
        std::fs::write(outside.path().join("lib/dpkg/status"), text).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("var")).unwrap();
        let contents = look(&Root::open_dir(folder.path()).unwrap());
        assert_eq!(contents, Contents::default());
    }
}
