//! The root file system in the making: sorted paths, and what each will be.
//!
//! Paths of the machine are mirrored with every link on the way, so what was reachable there
//! under a name is reachable here under the same name. A tree is changed by making the next
//! one: a tool that turns out to be unusable leaves nothing behind.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use super::{HostBaseError, ToolError};

/// As many links as the kernel follows on the way to one file.
const MAX_LINKS: usize = 40;

/// The machine that files are taken from.
#[derive(Debug)]
pub(crate) struct Host {
    root: PathBuf,
}

impl Host {
    /// The machine whose root folder is `root`.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The bytes of the file that `path` leads to.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(self.at(&self.resolve(path)?))
    }

    /// Names in the folder `path`, sorted; none where there is no such folder.
    pub(crate) fn names(&self, path: &Path) -> Vec<String> {
        let Ok(entries) = self.resolve(path).and_then(|real| fs::read_dir(self.at(&real))) else {
            return Vec::new();
        };
        let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        names
    }

    /// Whether `path` itself is a symbolic link.
    pub(crate) fn is_link(&self, path: &Path) -> bool {
        fs::symlink_metadata(self.at(path)).is_ok_and(|meta| meta.is_symlink())
    }

    /// Whether `path` leads to a regular file.
    pub(crate) fn is_file(&self, path: &Path) -> bool {
        self.metadata(path).is_ok_and(|meta| meta.is_file())
    }

    /// Whether `path` leads to a file that somebody may execute.
    pub(crate) fn is_executable(&self, path: &Path) -> bool {
        self.metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    }

    fn metadata(&self, path: &Path) -> io::Result<fs::Metadata> {
        fs::symlink_metadata(self.at(&self.resolve(path)?))
    }

    /// Where `path` leads, by this machine's own links.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let end = walk(path, |at| Ok(self.look(at)?.0));
        end.map_err(|stop| match stop {
            Stop::Io { source, .. } => source,
            Stop::Circle => io::Error::other("links lead in circles"),
        })
    }

    /// What is at `path`, which contains no links but perhaps its last part.
    fn look(&self, path: &Path) -> io::Result<(Node, Entry)> {
        let real = self.at(path);
        let meta = fs::symlink_metadata(&real)?;
        Ok(if meta.is_symlink() {
            let target = fs::read_link(&real)?;
            (Node::Link(target.clone()), Entry::Link(target))
        } else if meta.is_dir() {
            (Node::Folder, Entry::Folder { sticky: false })
        } else {
            let executable = meta.permissions().mode() & 0o111 != 0;
            (Node::Leaf, Entry::File { executable })
        })
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// What a path of the tree will be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder {
        sticky: bool,
    },
    Link(PathBuf),
    /// A copy of the machine's file of the same path.
    File {
        executable: bool,
    },
    /// A file of our own.
    Text(String),
}

/// A root file system in the making.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    /// By path relative to the root. A folder sorts before what is in it.
    entries: BTreeMap<PathBuf, Entry>,
}

impl Tree {
    /// This tree with the machine's `path` in it, and the path that it leads to without links.
    pub(crate) fn mirrored(&self, host: &Host, path: &Path) -> Result<(Self, PathBuf), ToolError> {
        let mut next = self.clone();
        let real = walk(path, |at| {
            let (node, entry) = host.look(at)?;
            next.entries.entry(at.to_owned()).or_insert(entry);
            Ok(node)
        });
        match real {
            Ok(real) => Ok((next, Path::new("/").join(real))),
            Err(Stop::Io { path, source }) => {
                Err(ToolError::Read { path: Path::new("/").join(path), source })
            }
            Err(Stop::Circle) => Err(ToolError::Circle { path: path.to_owned() }),
        }
    }

    /// Puts a link to `target` at `path`, unless something is there already.
    pub(crate) fn link(&mut self, path: &Path, target: &Path) {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
        let folder = self.make_folders(folder);
        self.entries.entry(folder.join(name)).or_insert_with(|| Entry::Link(target.to_owned()));
    }

    /// Puts a folder at `path`, unless something is there already.
    pub(crate) fn folder(&mut self, path: &str, sticky: bool) {
        let path = Path::new(path);
        let parent = self.make_folders(path.parent().unwrap_or(Path::new("")));
        let name = path.file_name().unwrap_or_default();
        self.entries.entry(parent.join(name)).or_insert(Entry::Folder { sticky });
    }

    /// Puts a file of our own at `path`, whatever the machine has there.
    pub(crate) fn text(&mut self, path: &str, text: &str) {
        let path = Path::new(path);
        let parent = self.make_folders(path.parent().unwrap_or(Path::new("")));
        let name = path.file_name().unwrap_or_default();
        self.entries.insert(parent.join(name), Entry::Text(text.to_owned()));
    }

    /// Follows `path` through the tree's own links and makes the folders that are missing.
    fn make_folders(&mut self, path: &Path) -> PathBuf {
        let made = walk(path, |at| {
            let entry =
                self.entries.entry(at.to_owned()).or_insert(Entry::Folder { sticky: false });
            Ok(match entry {
                Entry::Link(target) => Node::Link(target.clone()),
                _ => Node::Folder,
            })
        });
        // Only a circle of links can stop this walk; then the name itself must do.
        made.unwrap_or_else(|_| relative(path))
    }

    /// Writes the tree as a tar; how many files it has and how many bytes they hold.
    pub(crate) fn write(
        &self,
        host: &Host,
        out: impl Write,
    ) -> Result<(usize, u64), HostBaseError> {
        let mut tar = tar::Builder::new(out);
        let (mut files, mut bytes) = (0, 0);
        for (path, entry) in &self.entries {
            let content = match entry {
                Entry::File { .. } => Some(host.read(path).map_err(|source| {
                    HostBaseError::Read { path: Path::new("/").join(path), source }
                })?),
                Entry::Text(text) => Some(text.clone().into_bytes()),
                Entry::Folder { .. } | Entry::Link(_) => None,
            };
            if let Some(content) = &content {
                files += 1;
                bytes += content.len() as u64;
            }
            append(&mut tar, path, entry, content.as_deref().unwrap_or_default())
                .map_err(|source| HostBaseError::Write { entry: path.clone(), source })?;
        }
        let end = |source| HostBaseError::Write { entry: PathBuf::from("/"), source };
        tar.into_inner().and_then(|mut out| out.flush()).map_err(end)?;
        Ok((files, bytes))
    }
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    path: &Path,
    entry: &Entry,
    content: &[u8],
) -> io::Result<()> {
    let (kind, mode) = match entry {
        Entry::Folder { sticky: true } => (tar::EntryType::Directory, 0o1777),
        Entry::Folder { sticky: false } => (tar::EntryType::Directory, 0o755),
        Entry::Link(_) => (tar::EntryType::Symlink, 0o777),
        Entry::File { executable: true } => (tar::EntryType::Regular, 0o755),
        Entry::File { executable: false } | Entry::Text(_) => (tar::EntryType::Regular, 0o644),
    };
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    match entry {
        Entry::Link(target) => tar.append_link(&mut header, path, target),
        _ => tar.append_data(&mut header, path, content),
    }
}

/// What a walk meets.
enum Node {
    Folder,
    Link(PathBuf),
    Leaf,
}

/// Why a walk ends early.
enum Stop {
    Io { path: PathBuf, source: io::Error },
    Circle,
}

/// Walks `path` from the root, part by part, through every link; where it ends, relative to
/// the root and free of links. `look` says what is at a path that is free of links itself.
fn walk(path: &Path, mut look: impl FnMut(&Path) -> io::Result<Node>) -> Result<PathBuf, Stop> {
    let mut here = PathBuf::new();
    let mut links = 0;
    let mut left: VecDeque<OsString> = parts(path).collect();
    while let Some(part) = left.pop_front() {
        if part == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&part);
        match look(&next).map_err(|source| Stop::Io { path: next.clone(), source })? {
            Node::Folder => here = next,
            Node::Leaf if left.is_empty() => here = next,
            Node::Leaf => {
                let source = io::Error::from(io::ErrorKind::NotADirectory);
                return Err(Stop::Io { path: next, source });
            }
            Node::Link(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Stop::Circle);
                }
                if target.is_absolute() {
                    here = PathBuf::new();
                }
                for part in parts(&target).rev() {
                    left.push_front(part);
                }
            }
        }
    }
    Ok(here)
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn machine() -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("usr/bin")).unwrap();
        fs::create_dir_all(at("opt/real")).unwrap();
        fs::write(at("opt/real/tool"), "tool").unwrap();
        symlink("usr/bin", at("bin")).unwrap();
        symlink("/opt/real/tool", at("usr/bin/tool")).unwrap();
        symlink("../../bin/tool", at("usr/bin/other")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let host = Host::new(root.path());
        (root, host)
    }

    fn listing(tree: &Tree) -> Vec<String> {
        let line = |(path, entry): (&PathBuf, &Entry)| match entry {
            Entry::Link(target) => format!("{} -> {}", path.display(), target.display()),
            _ => path.display().to_string(),
        };
        tree.entries.iter().map(line).collect()
    }

    #[test]
    fn a_path_brings_every_link_on_its_way() {
        let (_root, host) = machine();
        let (tree, real) = Tree::default().mirrored(&host, Path::new("/bin/other")).unwrap();
        assert_eq!(real, Path::new("/opt/real/tool"));
        assert_eq!(
            listing(&tree),
            [
                "bin -> usr/bin",
                "opt",
                "opt/real",
                "opt/real/tool",
                "usr",
                "usr/bin",
                "usr/bin/other -> ../../bin/tool",
                "usr/bin/tool -> /opt/real/tool",
            ]
        );
    }

    #[test]
    fn links_in_circles_and_paths_to_nowhere_are_errors() {
        let (_root, host) = machine();
        let tree = Tree::default();
        let error = |path: &str| tree.mirrored(&host, Path::new(path)).unwrap_err().to_string();
        assert_eq!(error("/loop"), "`/loop` is a link that leads in circles");
        assert_eq!(error("/bin/none"), "cannot read `/usr/bin/none`");
        assert_eq!(error("/opt/real/tool/x"), "cannot read `/opt/real/tool`");
    }

    #[test]
    fn new_links_follow_the_links_that_are_there() {
        let (_root, host) = machine();
        let (mut tree, _) = Tree::default().mirrored(&host, Path::new("/bin")).unwrap();
        tree.link(Path::new("/bin/sh"), Path::new("/opt/sh"));
        tree.link(Path::new("/bin/sh"), Path::new("/never"));
        tree.link(Path::new("/lib/x/libc"), Path::new("/opt/libc"));
        assert_eq!(
            listing(&tree),
            [
                "bin -> usr/bin",
                "lib",
                "lib/x",
                "lib/x/libc -> /opt/libc",
                "usr",
                "usr/bin",
                "usr/bin/sh -> /opt/sh"
            ]
        );
    }

    #[test]
    fn a_walk_never_leaves_the_root() {
        let (_root, host) = machine();
        let real = host.resolve(Path::new("/../../bin/../../usr/bin")).unwrap();
        assert_eq!(real, Path::new("usr/bin"));
    }
}
