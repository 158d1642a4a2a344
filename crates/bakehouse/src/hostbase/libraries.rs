//! Where a loader finds the libraries of a program: as glibc's does, and as musl's does.
//!
//! In glibc's order: the `rpath` of the object and of those that loaded it (unless it has a
//! `runpath`), its `runpath`, the folders of `/etc/ld.so.conf`, the built-in folders. The
//! image gets no `/etc/ld.so.cache`; a library that only that file could find gets a link
//! beside the C library, where the loader looks anyway.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::ToolError;
use super::elf::{self, Elf};
use super::tree::{Host, Tree};

/// An `include` in an `include` in … is a mistake from here on.
const MAX_INCLUDES: usize = 8;

/// How the machine's loader looks for libraries.
#[derive(Debug)]
pub(crate) struct Loader {
    /// Folders from `/etc/ld.so.conf` or musl's path file, in order.
    configured: Vec<PathBuf>,
    /// Folders that a loader knows without being told.
    built_in: Vec<PathBuf>,
    /// musl's path file: the image needs it as much as the machine does.
    path_files: Vec<PathBuf>,
}

/// An object whose libraries are still to be found.
struct Pending {
    /// Its path without links.
    path: PathBuf,
    elf: Elf,
    /// Search paths that it inherits from those that loaded it.
    inherited: Vec<PathBuf>,
}

impl Loader {
    /// The loader of `host`.
    pub(crate) fn of(host: &Host) -> Self {
        let mut configured = Vec::new();
        read_conf(host, Path::new("/etc/ld.so.conf"), &mut configured, 0);
        let mut path_files = Vec::new();
        for name in host.names(Path::new("/etc")) {
            if name.starts_with("ld-musl-") && name.ends_with(".path") {
                let file = Path::new("/etc").join(name);
                let text = host.read(&file).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                configured.extend(text.split([':', '\n']).map(str::trim).filter_map(absolute));
                path_files.push(file);
            }
        }
        let mut built_in: Vec<PathBuf> = Vec::new();
        for top in ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"] {
            let top = Path::new(top);
            let triplets = host.names(top).into_iter().filter(|name| name.contains("-linux-"));
            built_in.extend(triplets.map(|name| top.join(name)));
            built_in.push(top.to_owned());
        }
        Self { configured, built_in, path_files }
    }

    /// `tree` with the program at `path` and everything that it loads.
    pub(crate) fn with_program(
        &self,
        tree: &Tree,
        host: &Host,
        path: &Path,
    ) -> Result<Tree, ToolError> {
        let (tree, real) = tree.mirrored(host, path)?;
        let elf = parse(host, &real)?;
        self.with_needs(tree, host, Pending { path: real, elf, inherited: Vec::new() })
    }

    /// `tree` with the library that the loader finds under `name`, for programs of any kind.
    pub(crate) fn with_library(
        &self,
        tree: &Tree,
        host: &Host,
        name: &str,
    ) -> Result<Tree, ToolError> {
        let missing =
            || ToolError::NoLibrary { path: PathBuf::from("/"), library: name.to_owned() };
        let folders = self.configured.iter().chain(&self.built_in);
        let path = folders.map(|f| f.join(name)).find(|p| host.is_file(p)).ok_or_else(missing)?;
        self.with_program(tree, host, &path)
    }

    fn with_needs(&self, tree: Tree, host: &Host, first: Pending) -> Result<Tree, ToolError> {
        let mut tree = tree;
        let mut seen = BTreeSet::from([first.path.clone()]);
        let mut pending = vec![first];
        let mut elsewhere = Vec::new();
        let mut beside = None;
        while let Some(object) = pending.pop() {
            if let Some(loader) = &object.elf.interpreter {
                tree = tree.mirrored(host, Path::new(loader))?.0;
                if loader.contains("ld-musl") {
                    for file in &self.path_files {
                        tree = tree.mirrored(host, file)?.0;
                    }
                }
            }
            let inherited = object.inherited();
            for name in &object.elf.needed {
                let Some((path, elf)) = self.find(host, &object, name) else {
                    // musl answers for the C library itself, whatever its file is called.
                    if name.starts_with("libc.musl-") || name == "libc.so" {
                        continue;
                    }
                    let library = name.clone();
                    return Err(ToolError::NoLibrary { path: object.path, library });
                };
                let (next, real) = tree.mirrored(host, &path)?;
                tree = next;
                let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
                if name.starts_with("libc.so") {
                    beside = Some(folder.clone());
                }
                if self.is_only_configured(&folder) {
                    elsewhere.push((name.clone(), path));
                }
                if seen.insert(real.clone()) {
                    pending.push(Pending { path: real, elf, inherited: inherited.clone() });
                }
            }
        }
        if let Some(beside) = beside {
            for (name, path) in elsewhere {
                tree.link(&beside.join(name), &path);
            }
        }
        Ok(tree)
    }

    fn find(&self, host: &Host, object: &Pending, name: &str) -> Option<(PathBuf, Elf)> {
        let candidates: Vec<PathBuf> = if name.contains('/') {
            absolute(name).into_iter().collect()
        } else {
            let own = object.expand(&object.elf.runpath);
            let inherited =
                if object.elf.runpath.is_empty() { object.inherited() } else { Vec::new() };
            let folders =
                inherited.iter().chain(&own).chain(&self.configured).chain(&self.built_in);
            folders.map(|folder| folder.join(name)).collect()
        };
        candidates.into_iter().find_map(|path| {
            let elf = elf::parse(&host.is_file(&path).then(|| host.read(&path).ok())??).ok()?;
            (elf.kind == object.elf.kind).then_some((path, elf))
        })
    }

    fn is_only_configured(&self, folder: &Path) -> bool {
        self.configured.iter().any(|f| f == folder) && !self.built_in.iter().any(|f| f == folder)
    }
}

impl Pending {
    /// The `rpath` that this object passes on to what it loads.
    fn inherited(&self) -> Vec<PathBuf> {
        let mut folders = self.expand(&self.elf.rpath);
        folders.extend(self.inherited.iter().cloned());
        folders
    }

    fn expand(&self, folders: &[String]) -> Vec<PathBuf> {
        let origin = self.path.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
        let mut expanded = Vec::new();
        for folder in folders {
            let folder = folder.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin);
            for lib in ["lib64", "lib"] {
                let folder = folder.replace("${LIB}", lib).replace("$LIB", lib);
                if let Some(folder) = absolute(&folder)
                    && !expanded.contains(&folder)
                {
                    expanded.push(folder);
                }
            }
        }
        expanded
    }
}

fn absolute(text: &str) -> Option<PathBuf> {
    text.starts_with('/').then(|| PathBuf::from(text))
}

fn parse(host: &Host, path: &Path) -> Result<Elf, ToolError> {
    let data =
        host.read(path).map_err(|source| ToolError::Read { path: path.to_owned(), source })?;
    elf::parse(&data).map_err(|source| ToolError::NotProgram { path: path.to_owned(), source })
}

fn read_conf(host: &Host, path: &Path, folders: &mut Vec<PathBuf>, depth: usize) {
    let Ok(bytes) = host.read(path) else { return };
    for line in String::from_utf8_lossy(&bytes).lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include") {
            if depth < MAX_INCLUDES {
                for file in matching(host, path, pattern.trim()) {
                    read_conf(host, &file, folders, depth + 1);
                }
            }
        } else if let Some(folder) = absolute(line) {
            folders.push(folder);
        }
    }
}

/// The files that an `include` line names; a `*` may stand in the last part only.
fn matching(host: &Host, conf: &Path, pattern: &str) -> Vec<PathBuf> {
    let pattern = conf.parent().unwrap_or(Path::new("/")).join(pattern);
    let (Some(folder), Some(name)) = (pattern.parent(), pattern.file_name()) else {
        return Vec::new();
    };
    let name = name.to_string_lossy();
    let Some((before, after)) = name.split_once('*') else { return vec![pattern.clone()] };
    let fits = |n: &String| {
        n.len() >= before.len() + after.len() && n.starts_with(before) && n.ends_with(after)
    };
    host.names(folder).into_iter().filter(fits).map(|n| folder.join(n)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = Host::new(root.path());
        (root, host)
    }

    #[test]
    fn folders_come_from_the_configuration_and_what_it_includes_in_order() {
        let (_root, host) = machine(&[
            ("etc/ld.so.conf", "# first\n/opt/first\ninclude ld.so.conf.d/*.conf\n"),
            ("etc/ld.so.conf.d/b.conf", "/opt/b # why\nrelative\n"),
            ("etc/ld.so.conf.d/a.conf", "/opt/a\ninclude /etc/ld.so.conf\n"),
            ("etc/ld.so.conf.d/c.txt", "/opt/c\n"),
        ]);
        let folders = Loader::of(&host).configured;
        let mut once = Vec::new();
        for folder in folders {
            let folder = folder.to_str().unwrap().to_owned();
            if !once.contains(&folder) {
                once.push(folder);
            }
        }
        assert_eq!(once, ["/opt/first", "/opt/a", "/opt/b"]);
    }

    #[test]
    fn musl_says_its_folders_in_its_own_file() {
        let (_root, host) =
            machine(&[("etc/ld-musl-x86_64.path", "/lib:/usr/local/lib\n/opt/musl\n")]);
        let loader = Loader::of(&host);
        assert_eq!(loader.configured, ["/lib", "/usr/local/lib", "/opt/musl"].map(PathBuf::from));
        assert_eq!(loader.path_files, [PathBuf::from("/etc/ld-musl-x86_64.path")]);
    }

    #[test]
    fn folders_of_the_machines_triplet_are_built_in() {
        let (_root, host) = machine(&[("usr/lib/x86_64-linux-gnu/libc.so.6", "")]);
        let loader = Loader::of(&host);
        assert!(loader.built_in.contains(&PathBuf::from("/usr/lib/x86_64-linux-gnu")));
    }

    #[test]
    fn a_runpath_is_for_the_object_and_an_rpath_for_what_it_loads_too() {
        let object = Pending {
            path: PathBuf::from("/opt/app/bin/tool"),
            elf: Elf {
                rpath: vec!["$ORIGIN/../lib".to_owned()],
                runpath: vec!["${ORIGIN}/plug/$LIB".to_owned(), "relative".to_owned()],
                ..Elf::default()
            },
            inherited: vec![PathBuf::from("/from/above")],
        };
        assert_eq!(object.inherited(), ["/opt/app/bin/../lib", "/from/above"].map(PathBuf::from));
        assert_eq!(
            object.expand(&object.elf.runpath),
            ["/opt/app/bin/plug/lib64", "/opt/app/bin/plug/lib"].map(PathBuf::from)
        );
    }
}
