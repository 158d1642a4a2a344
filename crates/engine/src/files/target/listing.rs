//! What a copy would make, noted instead of made, and written as a layer's archive.
//!
//! The archive is the one that [`write_layer`](crate::snapshot::write_layer) would write after
//! [`Disk`](super::Disk) had made the same: entries in the order of a walk, directories that are
//! there already only if they changed or something in them did. Files are opened when they are
//! written, once, and one that is not what was listed is an error.
//!
//! What takes more than adding files is refused: replacing or removing what is there, hard links,
//! devices, attributes, archives. So are more files than should be held in memory at once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::FileType;
use thiserror::Error;

use super::Target;
use crate::Root;
use crate::files::entry::{Entry, Meta, Stamp, shown, split};
use crate::files::tree::{Resolved, Tree, TreeError, proc_path, resolve};
use crate::files::xattr::{self, Xattr};
use crate::snapshot::Diffed;
use crate::snapshot::tar::{self, EntryKind, TarWriter};

/// Mode of the root of a file system in which nothing is yet.
const ROOT_MODE: u32 = 0o755;

/// More than this is not listed: some hundred bytes each.
const MAX_NODES: usize = 200_000;

/// The kernel's limits for the bytes of a name and of a path.
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 4096;

/// A list could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListingError {
    /// A file cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file is not what was listed.
    #[error("`{path}` changed while it was copied")]
    Changed {
        /// Where it was to be copied from.
        path: String,
    },
    /// The archive cannot be written.
    #[error("cannot write the layer")]
    Write(#[from] io::Error),
}

/// Files that would be on top of others.
#[derive(Debug)]
pub struct Listing {
    below: Tree,
    now: Stamp,
    nodes: RefCell<BTreeMap<Vec<u8>, Node>>,
    refused: Cell<bool>,
}

/// What would be at a path.
#[derive(Debug)]
struct Node {
    meta: Meta,
    link: Option<Vec<u8>>,
    data: Option<Data>,
    /// As it is, where it is a directory that was there.
    before: Option<Meta>,
}

/// Where the data of a file are.
#[derive(Debug)]
struct Data {
    tree: Tree,
    path: Vec<u8>,
    listed: Meta,
}

impl Listing {
    pub(crate) fn new(below: &Tree) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let secs = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let now = Stamp { secs, nanos: since.subsec_nanos() };
        let (nodes, refused) = (RefCell::default(), Cell::new(false));
        Self { below: below.clone(), now, nodes, refused }
    }

    /// Whether something could not be noted: the list is worth nothing then.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused.get()
    }

    fn refuse<T>(&self, doing: &'static str, path: &[u8]) -> Result<T, TreeError> {
        self.refused.set(true);
        Err(TreeError::io(doing, path, io::Error::from(io::ErrorKind::Unsupported)))
    }

    fn entry(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
        let Some((parent, name)) = split(path) else {
            let meta = self.below.lookup(path)?.map_or(self.fresh(FileType::Directory), |e| e.meta);
            return Ok(Some(Entry { name: Vec::new(), meta, link: None }));
        };
        let nodes = self.nodes.borrow();
        if let Some(node) = nodes.get(path) {
            let (name, link) = (name.to_vec(), node.link.clone());
            return Ok(Some(Entry { name, meta: node.meta, link }));
        }
        // Nothing was in what is new.
        let is_new = nodes.get(parent).is_some_and(|parent| parent.before.is_none());
        if is_new { Ok(None) } else { self.below.lookup(path) }
    }

    /// What is just made.
    fn fresh(&self, kind: FileType) -> Meta {
        Meta {
            kind,
            mode: ROOT_MODE,
            uid: 0,
            gid: 0,
            size: 0,
            links: 1,
            ino: 0,
            dev: (0, 0),
            rdev: (0, 0),
            mtime: self.now,
            ctime: self.now,
        }
    }

    /// Notes what is made where nothing is.
    fn note(&self, path: &[u8], node: Node) -> Result<(), TreeError> {
        let Some((parent, name)) = split(path) else { return self.refuse("make", path) };
        let takes = |nodes: &BTreeMap<Vec<u8>, Node>| {
            let is_name = name.len() <= MAX_NAME && !path.contains(&0) && path.len() < MAX_PATH;
            let is_free = !nodes.contains_key(path) && !name.starts_with(b".wh.");
            nodes.len() < MAX_NODES && is_name && is_free
        };
        if !takes(&self.nodes.borrow()) {
            return self.refuse("make", path);
        }
        // A directory has the time of the last change of what it holds.
        self.change(parent, |meta| meta.mtime = self.now)?;
        self.nodes.borrow_mut().insert(path.to_vec(), node);
        Ok(())
    }

    /// Changes what is at `path`: noted, or a directory that is there already.
    fn change(&self, path: &[u8], change: impl FnOnce(&mut Meta)) -> Result<(), TreeError> {
        // The root is in no layer.
        if path.is_empty() {
            return Ok(());
        }
        self.take_up(path)?;
        if let Some(node) = self.nodes.borrow_mut().get_mut(path) {
            change(&mut node.meta);
        }
        Ok(())
    }

    /// Notes a directory that is there already, and those that it is in.
    fn take_up(&self, path: &[u8]) -> Result<(), TreeError> {
        if path.is_empty() || self.nodes.borrow().contains_key(path) {
            return Ok(());
        }
        let meta = match self.below.lookup(path)? {
            Some(entry) if entry.meta.is_dir() => entry.meta,
            _ => return self.refuse("change", path),
        };
        let attributes = self.below.fd().map(|fd| xattr::read_all(&proc_path(fd, path)));
        let attributes = attributes.transpose();
        if !attributes
            .map_err(|errno| TreeError::io("read attributes of", path, errno))?
            .unwrap_or_default()
            .is_empty()
        {
            return self.refuse("change", path);
        }
        self.take_up(split(path).map_or(b"", |(parent, _)| parent))?;
        let node = Node { meta, link: None, data: None, before: Some(meta) };
        self.nodes.borrow_mut().insert(path.to_vec(), node);
        Ok(())
    }

    /// Writes the archive of the layer.
    pub fn write(self, out: impl Write) -> Result<Diffed, ListingError> {
        let nodes = self.nodes.into_inner();
        let mut nodes: Vec<(Vec<u8>, Node)> = nodes.into_iter().collect();
        // What a directory holds comes before its neighbours, whatever their names are.
        nodes.sort_by(|(a, _), (b, _)| a.split(|&c| c == b'/').cmp(b.split(|&c| c == b'/')));
        let mut writer =
            Writer { tar: TarWriter::new(out), waiting: Vec::new(), done: Diffed::default() };
        for (path, node) in &nodes {
            writer.visit(path, node)?;
        }
        writer.tar.finish()?;
        Ok(writer.done)
    }
}

impl Target for Listing {
    fn tree(&self) -> Result<Tree, TreeError> {
        self.refuse("read", b"")
    }

    fn resolve(&self, path: &[u8], follow_last: bool) -> Result<Resolved, TreeError> {
        resolve(|path| self.entry(path), path, follow_last)
    }

    fn lookup(&self, path: &[u8]) -> Result<Option<Meta>, TreeError> {
        Ok(self.entry(path)?.map(|entry| entry.meta))
    }

    fn make_dir(&self, path: &[u8], mode: u32) -> Result<(), TreeError> {
        let meta = Meta { mode, ..self.fresh(FileType::Directory) };
        self.note(path, Node { meta, link: None, data: None, before: None })
    }

    fn refer(
        &self,
        source: &Tree,
        src: &[u8],
        meta: &Meta,
        path: &[u8],
    ) -> Result<bool, TreeError> {
        if meta.links > 1 {
            return self.refuse("make hard link", path);
        }
        let data = Data { tree: source.clone(), path: src.to_vec(), listed: *meta };
        let meta = Meta { size: meta.size, ..self.fresh(FileType::RegularFile) };
        self.note(path, Node { meta, link: None, data: Some(data), before: None })?;
        Ok(true)
    }

    fn create(&self, path: &[u8]) -> Result<File, TreeError> {
        self.refuse("create", path)
    }

    fn truncate(&self, path: &[u8]) -> Result<File, TreeError> {
        self.refuse("write", path)
    }

    fn make_link(&self, path: &[u8], text: &[u8]) -> Result<(), TreeError> {
        let meta = self.fresh(FileType::Symlink);
        let meta = Meta { mode: 0o777, size: text.len() as u64, ..meta };
        self.note(path, Node { meta, link: Some(text.to_vec()), data: None, before: None })
    }

    fn hard_link(&self, _: &[u8], path: &[u8]) -> Result<(), TreeError> {
        self.refuse("make hard link", path)
    }

    fn make_node(&self, path: &[u8], _: FileType, _: (u32, u32)) -> Result<(), TreeError> {
        self.refuse("make device", path)
    }

    fn remove_file(&self, path: &[u8]) -> Result<(), TreeError> {
        self.refuse("remove", path)
    }

    fn remove_all(&self, path: &[u8], _: &Meta) -> Result<(), TreeError> {
        self.refuse("remove", path)
    }

    fn set_owner(&self, path: &[u8], (uid, gid): (u32, u32)) -> Result<(), TreeError> {
        self.change(path, |meta| (meta.uid, meta.gid) = (uid, gid))
    }

    fn set_mode(&self, path: &[u8], mode: u32) -> Result<(), TreeError> {
        self.change(path, |meta| meta.mode = mode)
    }

    fn set_time(&self, path: &[u8], mtime: Stamp) -> Result<(), TreeError> {
        self.change(path, |meta| meta.mtime = mtime)
    }

    fn set_xattrs(&self, path: &[u8], xattrs: &[Xattr]) -> Result<(), TreeError> {
        if xattrs.iter().any(|(name, _)| xattr::is_content(name)) {
            return self.refuse("set attributes of", path);
        }
        Ok(())
    }

    fn subroot(&self, path: &[u8]) -> Result<Root, TreeError> {
        self.refuse("open", path)
    }

    fn can_make_devices(&self) -> bool {
        false
    }
}

struct Writer<W> {
    tar: TarWriter<W>,
    /// Directories on the way that are as they were, and may have nothing new in them.
    waiting: Vec<tar::Entry>,
    done: Diffed,
}

impl<W: Write> Writer<W> {
    fn visit(&mut self, path: &[u8], node: &Node) -> Result<(), ListingError> {
        self.waiting.retain(|waiting| path.starts_with(&waiting.name));
        let entry = entry_of(path, node);
        if node.before.is_some_and(|before| is_same(&before, &node.meta)) {
            self.waiting.push(entry);
            return Ok(());
        }
        for waiting in std::mem::take(&mut self.waiting) {
            self.append(&waiting, None)?;
        }
        self.append(&entry, node.data.as_ref())
    }

    fn append(&mut self, entry: &tar::Entry, data: Option<&Data>) -> Result<(), ListingError> {
        self.done.entries += 1;
        self.done.bytes += entry.size;
        let Some(data) = data else { return Ok(self.tar.append(entry, io::empty())?) };
        let changed = || ListingError::Changed { path: shown(&data.path) };
        let (file, opened) = data.tree.open(&data.path)?;
        if opened.size != entry.size {
            return Err(changed());
        }
        match self.tar.append(entry, &file) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(changed()),
            result => result?,
        }
        // Only now: it may have changed between the first byte and the last.
        if matches!(data.tree, Tree::Context(_)) {
            let read = Meta::at(&file, b"");
            let read = read.map_err(|errno| TreeError::io("look at", &data.path, errno))?;
            if !read.same_version(&data.listed) {
                return Err(changed());
            }
        }
        Ok(())
    }
}

/// Whether a directory that was there is as it was. Its time alone changes no layer.
fn is_same(before: &Meta, now: &Meta) -> bool {
    let facts = |meta: &Meta| (meta.mode, meta.uid, meta.gid);
    facts(before) == facts(now)
}

fn entry_of(path: &[u8], node: &Node) -> tar::Entry {
    let mut name = path.to_vec();
    let kind = match (&node.link, node.meta.kind) {
        (Some(target), _) => EntryKind::Symlink { target: target.clone() },
        (None, FileType::Directory) => {
            name.push(b'/');
            EntryKind::Directory
        }
        (None, _) => EntryKind::File,
    };
    let size = if kind == EntryKind::File { node.meta.size } else { 0 };
    tar::Entry {
        name,
        kind,
        mode: node.meta.mode & 0o7777,
        uid: node.meta.uid.into(),
        gid: node.meta.gid.into(),
        mtime: node.meta.mtime.secs,
        mtime_nanos: 0,
        size,
        xattrs: Vec::new(),
    }
}
