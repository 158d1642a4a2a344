//! A directory tree that nothing escapes from.
//!
//! A [`Root`] is a directory descriptor: the root of a detached mount, or a plain folder.
//! Every path is taken relative to it, absolute or not, and resolved by the kernel with
//! `openat2(RESOLVE_IN_ROOT)`: a link or a `..` that points outside ends up inside, as
//! it would for a process that lives in that root. Paths are bytes; no path is ever
//! joined to a name of the host.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, ResolveFlags, Stat};
use rustix::io::Errno;
use thiserror::Error;

/// Links followed before a path is called a loop; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// Times a look-up is repeated that lost a race with a rename.
const MAX_RACES: usize = 64;

/// A directory that bounds every look-up made through it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

/// Something below a root could not be reached.
#[derive(Debug, Error)]
#[error("cannot {doing} `{}`", path.display())]
pub struct RootError {
    /// What was tried, as a verb.
    pub doing: &'static str,
    /// The path inside the root, as it was asked for.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name.
    pub name: OsString,
    /// What it names, links not followed.
    pub kind: FileType,
}

impl RootError {
    fn new(doing: &'static str, path: &Path, source: Errno) -> Self {
        Self { doing, path: path.to_owned(), source: source.into() }
    }

    /// Whether nothing is there: the path, or a directory on the way to it, is missing.
    pub fn is_missing(&self) -> bool {
        matches!(
            self.source.raw_os_error().map(Errno::from_raw_os_error),
            Some(Errno::NOENT | Errno::NOTDIR)
        )
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Root> for OwnedFd {
    fn from(root: Root) -> Self {
        root.fd
    }
}

impl Root {
    /// The root that `fd` is: a detached mount or an open directory.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The root at a path of the host.
    pub fn open_dir(path: impl AsRef<Path>) -> Result<Self, RootError> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| RootError::new("open directory", path, e))?;
        Ok(Self { fd })
    }

    /// Another handle to the same root.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// Opens `path` with `flags`; the last component is followed unless `flags` has
    /// `NOFOLLOW`. A device or a pipe is opened like anything else: see [`Self::open_read`].
    pub fn open(&self, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd, RootError> {
        self.open_with(path.as_ref(), flags, 0)
            .map_err(|e| RootError::new("open", path.as_ref(), e))
    }

    /// Creates the regular file `path`, which must not exist, and opens it for writing.
    pub fn create(&self, path: impl AsRef<Path>, mode: RawMode) -> Result<File, RootError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        self.open_with(path.as_ref(), flags, mode)
            .map(File::from)
            .map_err(|e| RootError::new("create", path.as_ref(), e))
    }

    /// Opens a handle that can be asked about, but not read from.
    pub fn open_path(&self, path: impl AsRef<Path>, follow: bool) -> Result<OwnedFd, RootError> {
        let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        self.open(path, OFlags::PATH | nofollow)
    }

    /// Opens the regular file at `path`, following links. Anything else is refused
    /// without being waited for.
    pub fn open_read(&self, path: impl AsRef<Path>) -> Result<File, RootError> {
        let path = path.as_ref();
        let failed = |e| RootError::new("read", path, e);
        let kind = self.stat(path, true).map(|stat| kind_of(&stat))?;
        if kind == FileType::Directory {
            return Err(failed(Errno::ISDIR));
        }
        if kind != FileType::RegularFile {
            return Err(failed(Errno::INVAL));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.open_with(path, flags, 0).map_err(failed)?;
        let opened = rustix::fs::fstat(&fd).map_err(failed)?;
        if kind_of(&opened) != FileType::RegularFile {
            return Err(failed(Errno::INVAL));
        }
        Ok(File::from(fd))
    }

    /// Opens the directory at `path`, following links, so that names in it can be used
    /// with the `*at` calls.
    pub fn open_subdir(&self, path: impl AsRef<Path>) -> Result<OwnedFd, RootError> {
        self.open_with(path.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY, 0)
            .map_err(|e| RootError::new("open directory", path.as_ref(), e))
    }

    /// The directory that holds `path`, links on the way followed, and the last name,
    /// which need not exist and is not followed. The root itself has no parent.
    pub fn open_parent(&self, path: impl AsRef<Path>) -> Result<(OwnedFd, OsString), RootError> {
        let path = path.as_ref();
        let (parent, name) =
            split(path).ok_or_else(|| RootError::new("find the parent of", path, Errno::INVAL))?;
        let dir = self
            .open_with(parent, OFlags::RDONLY | OFlags::DIRECTORY, 0)
            .map_err(|e| RootError::new("open the parent of", path, e))?;
        Ok((dir, name.to_owned()))
    }

    /// What is known of `path`; with `follow`, of what the link there points to.
    pub fn stat(&self, path: impl AsRef<Path>, follow: bool) -> Result<Stat, RootError> {
        let path = path.as_ref();
        let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        self.open_with(path, OFlags::PATH | nofollow, 0)
            .and_then(rustix::fs::fstat)
            .map_err(|e| RootError::new("look at", path, e))
    }

    /// Like [`Self::stat`]; none if nothing is there.
    pub fn try_stat(
        &self,
        path: impl AsRef<Path>,
        follow: bool,
    ) -> Result<Option<Stat>, RootError> {
        match self.stat(path, follow) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The text of the symbolic link at `path`.
    pub fn readlink(&self, path: impl AsRef<Path>) -> Result<PathBuf, RootError> {
        let path = path.as_ref();
        self.open_with(path, OFlags::PATH | OFlags::NOFOLLOW, 0)
            .and_then(|fd| rustix::fs::readlinkat(&fd, c"", Vec::new()))
            .map(|text| PathBuf::from(OsString::from_vec(text.into_bytes())))
            .map_err(|e| RootError::new("read link", path, e))
    }

    /// The names in the directory at `path`, sorted by their bytes, without `.` and `..`.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>, RootError> {
        let path = path.as_ref();
        self.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY, 0)
            .and_then(list)
            .map_err(|e| RootError::new("list", path, e))
    }

    /// The path that `path` really is: absolute inside the root, with every link on the
    /// way followed, the last one too. What does not exist is kept as it is written.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Result<PathBuf, RootError> {
        self.walk(path.as_ref(), true)
    }

    /// Like [`Self::resolve`], but a link at the end stays a link.
    pub fn resolve_parent(&self, path: impl AsRef<Path>) -> Result<PathBuf, RootError> {
        self.walk(path.as_ref(), false)
    }

    fn walk(&self, path: &Path, follow_last: bool) -> Result<PathBuf, RootError> {
        let mut done = PathBuf::from("/");
        let mut todo = reversed(path);
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                done.pop();
                continue;
            }
            done.push(&name);
            if todo.is_empty() && !follow_last {
                break;
            }
            match self.readlink(&done) {
                Ok(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(RootError::new("follow links of", path, Errno::LOOP));
                    }
                    done.pop();
                    if target.has_root() {
                        done = PathBuf::from("/");
                    }
                    todo.extend(reversed(&target));
                }
                Err(error) if error.is_missing() || error.is_no_link() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn open_with(&self, path: &Path, flags: OFlags, mode: RawMode) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let mut races = 0;
        loop {
            match rustix::fs::openat2(&self.fd, path, flags, Mode::from_raw_mode(mode), resolve) {
                // The kernel could not prove that a `..` stayed inside while the tree moved.
                Err(Errno::AGAIN) if races < MAX_RACES => races += 1,
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    }
}

impl RootError {
    fn is_no_link(&self) -> bool {
        self.source.raw_os_error() == Some(Errno::INVAL.raw_os_error())
    }
}

/// What `stat` is about.
pub fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The names in an open directory, sorted by their bytes, without `.` and `..`.
pub(crate) fn list(dir: OwnedFd) -> Result<Vec<DirEntry>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::new(dir.try_clone().map_err(|_| Errno::MFILE)?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                kind_of(&rustix::fs::statat(&dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?)
            }
            known => known,
        };
        entries.push(DirEntry { name: OsString::from_vec(name.to_vec()), kind });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The normal and parent components of `path`, last first.
fn reversed(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| component.as_os_str().to_owned())
        .collect()
}

/// Parent and last name, if there is one that is a name.
fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|&b| b != b'/')? + 1;
    let start = bytes[..end].iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
    let name = &bytes[start..end];
    if name == b"." || name == b".." {
        return None;
    }
    Some((Path::new(OsStr::from_bytes(&bytes[..start])), OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("root");
        std::fs::create_dir_all(inner.join("a/b")).unwrap();
        std::fs::write(outer.path().join("secret"), "outside").unwrap();
        std::fs::write(inner.join("secret"), "inside").unwrap();
        std::fs::write(inner.join("a/b/file"), "deep").unwrap();
        symlink("/secret", inner.join("abs")).unwrap();
        symlink("../../../secret", inner.join("a/up")).unwrap();
        symlink("/a/b", inner.join("dir")).unwrap();
        symlink("loop", inner.join("loop")).unwrap();
        symlink("nowhere/x", inner.join("dangling")).unwrap();
        let root = Root::open_dir(&inner).unwrap();
        (outer, root)
    }

    fn read(root: &Root, path: &str) -> String {
        let mut text = String::new();
        root.open_read(path).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn every_way_out_leads_back_in() {
        let (_keep, root) = tree();
        for path in ["abs", "a/up", "/../../secret", "dir/../../secret", "/secret"] {
            assert_eq!(read(&root, path), "inside", "{path}");
        }
        assert_eq!(read(&root, "dir/file"), "deep");
    }

    #[test]
    fn resolve_follows_links_and_keeps_what_is_missing() {
        let (_keep, root) = tree();
        let cases = [
            ("", "/"),
            ("dir/file", "/a/b/file"),
            ("a/up", "/secret"),
            ("dir/new/deeper", "/a/b/new/deeper"),
            ("dangling", "/nowhere/x"),
            ("../../dir/..", "/a"),
        ];
        for (path, expected) in cases {
            assert_eq!(root.resolve(path).unwrap(), Path::new(expected), "{path}");
        }
        assert_eq!(root.resolve_parent("dir").unwrap(), Path::new("/dir"));
        assert!(root.resolve("loop").is_err());
    }

    #[test]
    fn a_parent_is_found_through_links_and_its_last_name_is_not_followed() {
        let (_keep, root) = tree();
        let (dir, name) = root.open_parent("dir/missing/").unwrap();
        assert_eq!(name, "missing");
        let names: Vec<_> = list(dir).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["file"]);
        assert!(root.open_parent("/").is_err());
        assert!(root.open_parent("a/..").is_err());
        assert!(root.open_parent("no/where").unwrap_err().is_missing());
    }

    #[test]
    fn listings_are_sorted_and_say_what_each_name_is() {
        let (_keep, root) = tree();
        let entries = root.read_dir("/").unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name.to_str().unwrap()).collect();
        assert_eq!(names, ["a", "abs", "dangling", "dir", "loop", "secret"]);
        assert_eq!(entries[0].kind, FileType::Directory);
        assert_eq!(entries[1].kind, FileType::Symlink);
    }

    #[test]
    fn what_is_no_file_is_not_read_and_what_is_missing_is_none() {
        let (_keep, root) = tree();
        assert!(root.open_read("a").is_err());
        assert_eq!(root.try_stat("a/b/file/below", false).unwrap().map(|stat| stat.st_size), None);
        assert!(root.try_stat("loop", false).unwrap().is_some());
        assert_eq!(root.readlink("abs").unwrap(), Path::new("/secret"));
    }
}
