//! Writing a layer directory as the tar of an OCI layer.
//!
//! The entries are those that BuildKit would write for the same directory, in the same order:
//! names sorted within each directory, a directory before what is in it.
//!
//! - What the directory only seems to change is left out: a file that is as it is below, because
//!   it was copied up and then put back. «As it is» means type, mode, owner, attributes,
//!   size and time; if both times are whole seconds, as those from an archive are, content too.
//! - A directory is written if it changed, and also before the first entry that is in it.
//! - A removed name is a `.wh.` file; a directory that hides what is below gives one for
//!   each name that is gone. They are owned by root, mode 0, of 1970.
//! - Files with several names are data under the first and links under the others.
//! - Sockets are left out. Times are whole seconds.
//!
//! The same directory gives the same bytes. A file that changes while it is read is an error.

mod compare;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use thiserror::Error;

use super::apply::is_whiteout;
use super::attributes;
use super::tar::{Entry, EntryKind, TarWriter};
use crate::Root;
use crate::root::{RootError, kind_of, list};

/// How to write a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffOptions {
    /// No time is later than this: `SOURCE_DATE_EPOCH`, in seconds.
    pub clamp: Option<i64>,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Diffed {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// A layer could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiffError {
    /// The layer or what is below it cannot be read.
    #[error("cannot {doing} `{}`", path.display())]
    Read {
        /// A verb phrase.
        doing: &'static str,
        /// The path inside the layer.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A root cannot be opened.
    #[error("cannot open the layer")]
    Open(#[from] RootError),
    /// A file was written to meanwhile.
    #[error("`{}` changed while it was read", path.display())]
    Changed {
        /// The path inside the layer.
        path: PathBuf,
    },
    /// A directory was moved in a way that only overlayfs understands.
    #[error("`{}` is redirected, which no layer can express", path.display())]
    Redirected {
        /// The path inside the layer.
        path: PathBuf,
    },
    /// A file has a name that means something else in a layer.
    #[error("`{}` has a name that marks removed files in a layer", path.display())]
    Reserved {
        /// The path inside the layer.
        path: PathBuf,
    },
    /// The result cannot be written.
    #[error("cannot write the layer")]
    Write(#[from] io::Error),
}

/// Writes what the layer directory `upper` changes in the file system `below`; none if it
/// is the lowest layer.
pub fn write_layer(
    upper: &Path,
    below: Option<&Root>,
    out: impl Write,
    options: DiffOptions,
) -> Result<Diffed, DiffError> {
    let top = Root::open_dir(upper)?.open_subdir("/")?;
    let below = below.map(|below| below.open_subdir("/")).transpose()?;
    let mut walk = Walk::new(out, options);
    walk.push(top, below, Hides::Nothing, None)?;
    walk.visit_all()?;
    walk.tar.finish()?;
    Ok(walk.diffed)
}

/// Writes whole file systems, each into a folder of the archive that has its name.
pub fn write_trees(
    trees: &[(String, PathBuf)],
    out: impl Write,
    options: DiffOptions,
) -> Result<Diffed, DiffError> {
    let mut walk = Walk::new(out, options);
    for (name, tree) in trees {
        let top = Root::open_dir(tree)?.open_subdir("/")?;
        walk.path = name.clone().into_bytes();
        walk.links.clear();
        let stat = rustix::fs::fstat(&top).map_err(walk.failed("look at"))?;
        let mut entry = walk.entry_of(&top, &stat, EntryKind::Directory)?;
        entry.name.push(b'/');
        walk.push(top, None, Hides::Nothing, Some(entry))?;
        walk.parents()?;
        walk.visit_all()?;
    }
    walk.tar.finish()?;
    Ok(walk.diffed)
}

/// Writes a folder that is no layer, as it is: names mean nothing but themselves, times are
/// exact, and files keep all attributes that a user may set. Devices and sockets are left out.
pub fn pack_folder(folder: &Path, out: impl Write) -> Result<Diffed, DiffError> {
    let top = Root::open_dir(folder)?.open_subdir("/")?;
    let mut walk = Walk { is_layer: false, ..Walk::new(out, DiffOptions::default()) };
    walk.push(top, None, Hides::Nothing, None)?;
    walk.visit_all()?;
    walk.tar.finish()?;
    Ok(walk.diffed)
}

/// What a directory of the layer does to the one below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hides {
    /// It merges with it.
    Nothing,
    /// It merges, and some of its files are whiteouts by attribute.
    Some,
    /// It replaces it.
    All,
}

/// A directory that is being walked through.
#[derive(Debug)]
struct Level {
    dir: OwnedFd,
    below: Option<OwnedFd>,
    hides: Hides,
    names: std::vec::IntoIter<Vec<u8>>,
    /// Length of the path of the directory that it is in.
    parent: usize,
    /// Its own entry, until it is written.
    entry: Option<Entry>,
}

struct Walk<W> {
    tar: TarWriter<W>,
    options: DiffOptions,
    /// Whether some names, devices and attributes are marks of overlayfs or of layers' tars.
    is_layer: bool,
    path: Vec<u8>,
    stack: Vec<Level>,
    /// Where the data of a file with several names is.
    links: HashMap<(u64, u64), Vec<u8>>,
    diffed: Diffed,
}

impl<W: Write> Walk<W> {
    /// A walk through layers that has not begun.
    fn new(out: W, options: DiffOptions) -> Self {
        Self {
            tar: TarWriter::new(out),
            options,
            is_layer: true,
            path: Vec::new(),
            stack: Vec::new(),
            links: HashMap::new(),
            diffed: Diffed::default(),
        }
    }

    /// Visits everything below the directories on the stack.
    fn visit_all(&mut self) -> Result<(), DiffError> {
        while let Some(level) = self.stack.last_mut() {
            let Some(name) = level.names.next() else {
                let level = self.stack.pop().expect("it was the last");
                self.path.truncate(level.parent);
                continue;
            };
            let parent = self.path.len();
            if parent > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&name);
            if !self.visit(&name)? {
                self.path.truncate(parent);
            }
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(Errno) -> DiffError {
        let path = self.here();
        move |error| DiffError::Read { doing, path, source: error.into() }
    }

    fn here(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.path))
    }

    /// Begins with a directory.
    fn push(
        &mut self,
        dir: OwnedFd,
        below: Option<OwnedFd>,
        hides: Hides,
        entry: Option<Entry>,
    ) -> Result<(), DiffError> {
        let names = |fd: &OwnedFd| -> Result<Vec<Vec<u8>>, Errno> {
            let entries = list(fd.try_clone().map_err(|_| Errno::MFILE)?)?;
            Ok(entries.into_iter().map(|entry| entry.name.into_encoded_bytes()).collect())
        };
        let mut all = names(&dir).map_err(self.failed("list"))?;
        if hides == Hides::All
            && let Some(below) = &below
        {
            all.extend(names(below).map_err(self.failed("list below"))?);
            all.sort();
            all.dedup();
        }
        let parent = self.path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        self.stack.push(Level { dir, below, hides, names: all.into_iter(), parent, entry });
        Ok(())
    }

    /// Looks at one name; true if it is a directory that is now on the stack.
    fn visit(&mut self, name: &[u8]) -> Result<bool, DiffError> {
        let level = self.stack.last().expect("a name is in a directory");
        let look = |dir: &OwnedFd| match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        };
        let stat = look(&level.dir).map_err(self.failed("look at"))?;
        let below = match &level.below {
            Some(below) => look(below).map_err(self.failed("look below at"))?,
            None => None,
        };
        let Some(stat) = stat else {
            // Only what is below has the name, and the directory hides it.
            self.whiteout()?;
            return Ok(false);
        };
        if self.is_layer && self.is_removed(name, &stat)? {
            if below.is_some() {
                self.whiteout()?;
            }
            return Ok(false);
        }
        if self.is_layer && name.starts_with(b".wh.") {
            return Err(DiffError::Reserved { path: self.here() });
        }
        match kind_of(&stat) {
            FileType::Directory => self.directory(name, &stat, below.as_ref()).map(|()| true),
            FileType::Socket => Ok(false),
            FileType::CharacterDevice | FileType::BlockDevice if !self.is_layer => Ok(false),
            _ => {
                let same = match &below {
                    Some(below) => self.is_same(name, &stat, below)?,
                    None => false,
                };
                if !same {
                    self.file(name, &stat)?;
                }
                Ok(false)
            }
        }
    }

    /// Whether the layer's file stands for a name that is gone.
    fn is_removed(&self, name: &[u8], stat: &Stat) -> Result<bool, DiffError> {
        if is_whiteout(stat) {
            return Ok(true);
        }
        let level = self.stack.last().expect("a name is in a directory");
        if level.hides != Hides::Some || stat.st_size != 0 || kind_of(stat) != FileType::RegularFile
        {
            return Ok(false);
        }
        let file = open_file(&level.dir, name).map_err(self.failed("open"))?;
        Ok(self.mark(&file, "whiteout")?.is_some())
    }

    /// A mark that overlayfs has left on a file of a layer.
    fn mark(&self, fd: impl AsFd, name: &str) -> Result<Option<Vec<u8>>, DiffError> {
        if !self.is_layer {
            return Ok(None);
        }
        overlay_mark(fd, name).map_err(self.failed("read attributes of"))
    }

    fn directory(
        &mut self,
        name: &[u8],
        stat: &Stat,
        below: Option<&Stat>,
    ) -> Result<(), DiffError> {
        let level = self.stack.last().expect("a name is in a directory");
        let dir = open_dir(&level.dir, name).map_err(self.failed("open"))?;
        if self.mark(&dir, "redirect")?.is_some() {
            return Err(DiffError::Redirected { path: self.here() });
        }
        let hides = match self.mark(&dir, "opaque")? {
            Some(mark) if mark == b"y" => Hides::All,
            Some(mark) if mark == b"x" => Hides::Some,
            _ => Hides::Nothing,
        };
        let hides = if level.hides == Hides::All { Hides::All } else { hides };
        let merges = below.is_some_and(|below| kind_of(below) == FileType::Directory);
        let below_dir = match &level.below {
            Some(parent) if merges => {
                Some(open_dir(parent, name).map_err(self.failed("open below"))?)
            }
            _ => None,
        };
        let mut entry = self.entry_of(&dir, stat, EntryKind::Directory)?;
        entry.name.push(b'/');
        let changed = match (below, &below_dir) {
            (Some(below), Some(below_dir)) => {
                !compare::same_attributes((&dir, stat), (below_dir, below))
                    .map_err(self.failed("compare"))?
            }
            _ => true,
        };
        self.push(dir, below_dir, hides, Some(entry))?;
        if changed { self.parents() } else { Ok(()) }
    }

    fn is_same(&self, name: &[u8], stat: &Stat, below: &Stat) -> Result<bool, DiffError> {
        let level = self.stack.last().expect("a name is in a directory");
        let Some(below_dir) = &level.below else {
            return Ok(false);
        };
        compare::same_file(name, (&level.dir, stat), (below_dir, below))
            .map_err(self.failed("compare"))
    }

    /// Writes a file, link, pipe or device.
    fn file(&mut self, name: &[u8], stat: &Stat) -> Result<(), DiffError> {
        let level = self.stack.last().expect("a name is in a directory");
        let kind = match kind_of(stat) {
            FileType::RegularFile => return self.regular(name, stat),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&level.dir, name, Vec::new())
                    .map_err(self.failed("read link"))?;
                EntryKind::Symlink { target: target.into_bytes() }
            }
            FileType::Fifo => EntryKind::Fifo,
            kind => {
                let major = rustix::fs::major(stat.st_rdev);
                let minor = rustix::fs::minor(stat.st_rdev);
                match kind {
                    FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
                    _ => EntryKind::CharDevice { major, minor },
                }
            }
        };
        let mut entry = self.plain_entry(stat, kind);
        self.link_to_first(&mut entry, stat);
        self.write(&entry, io::empty())
    }

    fn regular(&mut self, name: &[u8], stat: &Stat) -> Result<(), DiffError> {
        let level = self.stack.last().expect("a name is in a directory");
        let file = open_file(&level.dir, name).map_err(self.failed("open"))?;
        let opened = rustix::fs::fstat(&file).map_err(self.failed("look at"))?;
        if !is_untouched(stat, &opened) {
            return Err(DiffError::Changed { path: self.here() });
        }
        if self.mark(&file, "metacopy")?.is_some() {
            return Err(DiffError::Redirected { path: self.here() });
        }
        let mut entry = self.entry_of(&file, stat, EntryKind::File)?;
        self.link_to_first(&mut entry, stat);
        if entry.kind != EntryKind::File {
            return self.write(&entry, io::empty());
        }
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        self.write(&entry, &file)?;
        let after = rustix::fs::fstat(&file).map_err(self.failed("look at"))?;
        if !is_untouched(stat, &after) {
            return Err(DiffError::Changed { path: self.here() });
        }
        Ok(())
    }

    /// Makes the entry a link if the data was written under another name; else remembers
    /// this name.
    fn link_to_first(&mut self, entry: &mut Entry, stat: &Stat) {
        if stat.st_nlink < 2 {
            return;
        }
        match self.links.get(&(stat.st_dev, stat.st_ino)) {
            Some(first) => entry.kind = EntryKind::Link { target: first.clone() },
            None => drop(self.links.insert((stat.st_dev, stat.st_ino), entry.name.clone())),
        }
    }

    fn whiteout(&mut self) -> Result<(), DiffError> {
        let split = self.path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, name) = self.path.split_at(split);
        let entry = Entry {
            name: [parent, b".wh.", name].concat(),
            kind: EntryKind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: 0,
            mtime_nanos: 0,
            size: 0,
            xattrs: Vec::new(),
        };
        self.write(&entry, io::empty())
    }

    fn plain_entry(&self, stat: &Stat, kind: EntryKind) -> Entry {
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let mtime = self.options.clamp.map_or(stat.st_mtime, |clamp| stat.st_mtime.min(clamp));
        Entry {
            name: self.path.clone(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid.into(),
            gid: stat.st_gid.into(),
            mtime,
            mtime_nanos: if self.is_layer { 0 } else { nanos },
            size: 0,
            xattrs: Vec::new(),
        }
    }

    /// The entry of an open file or directory.
    fn entry_of(&self, fd: impl AsFd, stat: &Stat, kind: EntryKind) -> Result<Entry, DiffError> {
        let attributes = "read attributes of";
        let (uid, gid) = attributes::owner(&fd, stat).map_err(self.failed(attributes))?;
        let kept = if self.is_layer { attributes::written } else { attributes::portable };
        let xattrs = kept(&fd).map_err(self.failed(attributes))?;
        let (uid, gid) = (uid.into(), gid.into());
        Ok(Entry { uid, gid, xattrs, ..self.plain_entry(stat, kind) })
    }

    /// Writes the directories that we are in, as far as that has not been done.
    fn parents(&mut self) -> Result<(), DiffError> {
        for level in &mut self.stack {
            if let Some(entry) = level.entry.take() {
                self.tar.append(&entry, io::empty())?;
                self.diffed.entries += 1;
            }
        }
        Ok(())
    }

    fn write(&mut self, entry: &Entry, content: impl io::Read) -> Result<(), DiffError> {
        self.parents()?;
        match self.tar.append(entry, content) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(DiffError::Changed { path: self.here() });
            }
            result => result?,
        }
        self.diffed.entries += 1;
        self.diffed.bytes += entry.size;
        Ok(())
    }
}

/// Whether a file is the one that was looked at, unchanged.
fn is_untouched(before: &Stat, now: &Stat) -> bool {
    let facts = |stat: &Stat| {
        let time = (stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec);
        (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_size, time)
    };
    facts(before) == facts(now)
}

/// A mark that overlayfs sets, in either of its name spaces.
fn overlay_mark(fd: impl AsFd, name: &str) -> Result<Option<Vec<u8>>, Errno> {
    for userxattr in [false, true] {
        let full = format!("{}{name}", attributes::overlay_prefix(userxattr));
        if let Some(value) = attributes::get(&fd, &full)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn open_dir(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Opens what was seen to be a regular file; should it be a pipe by now, without waiting.
pub(super) fn open_file(dir: impl AsFd, name: &[u8]) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags | OFlags::NOCTTY, Mode::empty()).map(File::from)
}
