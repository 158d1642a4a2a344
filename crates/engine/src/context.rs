//! Build contexts: folders of this machine, seen through ignore patterns.
//!
//! A context is walked once per run, however many images are built from it: whoever asks
//! [`Contexts`] for the same folder and the same patterns gets the same [`Context`].
//! Digests of selections and of single files are remembered across runs by what `stat` says
//! of them. Files are read where they are; a pipe, a socket or a device is never opened.

mod known;
mod pattern;
mod table;
mod walk;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use bakehouse_model::Digest;
use bakehouse_model::op::ContextSource;
use bakehouse_store::{Store, StoreError};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use known::Known;
pub(crate) use known::State;
pub use pattern::{Matcher, PatternError, Patterns, Verdict};
pub(crate) use table::Raw;
use table::StatTable;

use crate::files::entry::{Entry, Meta};
use crate::files::{ContentDigest, Selection, TreeError};
use walk::{Listing, Node, walk};

/// Where the tables are in the store.
const BUCKET: &str = "statcache-v1";

/// A folder that was walked, and what its ignore patterns leave of it.
#[derive(Debug)]
pub struct Context {
    root: OwnedFd,
    meta: Meta,
    listings: Vec<Listing>,
    memory: Arc<Remembered>,
    walked_at: SystemTime,
    digests: Mutex<HashMap<Selection, Arc<ContentDigest>>>,
}

/// A context could not be walked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The folder itself cannot be opened.
    #[error("cannot open context `{name}` at `{}`", root.display())]
    Open {
        /// `context`, or the name of a `--build-context`.
        name: String,
        /// The folder.
        root: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Something in it cannot be read.
    #[error("cannot walk context `{name}`")]
    Walk {
        /// `context`, or the name of a `--build-context`.
        name: String,
        /// What and why.
        source: TreeError,
    },
    /// An ignore pattern is malformed.
    #[error("context `{name}` has a bad ignore pattern")]
    Pattern {
        /// `context`, or the name of a `--build-context`.
        name: String,
        /// Which one.
        source: PatternError,
    },
}

/// The contexts of one run, each walked once, and what is remembered of their files.
pub struct Contexts {
    load: Arc<Load>,
    memories: Mutex<HashMap<String, Arc<Remembered>>>,
    walked: Mutex<HashMap<Folder, Arc<Slot>>>,
}

/// What is remembered of the files of one folder, read when somebody asks for it.
struct Remembered {
    name: String,
    load: Arc<Load>,
    /// The most entries that a walk of it has listed.
    listed: AtomicUsize,
    files: OnceLock<StatTable>,
    selections: OnceLock<Known>,
}

/// Finds the table that was saved under a name; see [`Contexts::changed_tables`].
type Load = dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync;
/// Root and ignore patterns.
type Folder = (String, Vec<String>);
type Slot = Mutex<Option<Arc<Context>>>;

impl std::fmt::Debug for Contexts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contexts").finish_non_exhaustive()
    }
}

impl Contexts {
    /// Nothing walked yet. `load` gives the bytes last saved under a name, if any.
    pub fn new(load: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self { load: Arc::new(load), memories: Mutex::default(), walked: Mutex::default() }
    }

    /// The context, walked now if nobody asked for it before.
    pub fn open(
        &self,
        source: &ContextSource,
        patterns: &dyn Patterns,
    ) -> Result<Arc<Context>, ContextError> {
        let folder = (source.root.clone(), source.ignore.clone());
        let slot = Arc::clone(lock(&self.walked).entry(folder).or_default());
        // Held while walking: a second one who asks waits for the first.
        let mut walked = lock(&slot);
        if let Some(context) = &*walked {
            return Ok(Arc::clone(context));
        }
        let context = Arc::new(Context::walk(source, patterns, self.memory(&source.root))?);
        *walked = Some(Arc::clone(&context));
        Ok(context)
    }

    /// Like [`new`](Self::new), with the tables that [`save`](Self::save) put into `store`.
    pub fn in_store(store: &Store) -> Self {
        let store = store.clone();
        // A table that cannot be read is only slower.
        Self::new(move |name| store.read_small(BUCKET, name).ok().flatten())
    }

    /// Saves the tables that changed, for the next run.
    pub fn save(&self, store: &Store) -> Result<(), StoreError> {
        let mut changed = self.changed_tables().into_iter();
        changed.try_for_each(|(name, bytes)| store.write_small(BUCKET, &name, &bytes))
    }

    /// The tables to save, by name. They count as saved from here on.
    pub fn changed_tables(&self) -> Vec<(String, Vec<u8>)> {
        lock(&self.memories).values().flat_map(|memory| memory.changed()).collect()
    }

    fn memory(&self, root: &str) -> Arc<Remembered> {
        let name = Digest::of(root).hex().to_owned();
        let mut memories = lock(&self.memories);
        let memory = memories.entry(name).or_insert_with_key(|name| {
            Arc::new(Remembered {
                name: name.clone(),
                load: Arc::clone(&self.load),
                listed: AtomicUsize::new(0),
                files: OnceLock::new(),
                selections: OnceLock::new(),
            })
        });
        Arc::clone(memory)
    }
}

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remembered").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Remembered {
    fn files(&self) -> &StatTable {
        self.files.get_or_init(|| {
            let saved = (self.load)(&self.name).and_then(|bytes| StatTable::decode(&bytes));
            saved.unwrap_or_default()
        })
    }

    fn selections(&self) -> &Known {
        self.selections.get_or_init(|| {
            let saved = (self.load)(&self.selections_name()).and_then(|it| Known::decode(&it));
            saved.unwrap_or_default()
        })
    }

    fn selections_name(&self) -> String {
        format!("{}-selections", self.name)
    }

    /// What is to be saved, by name.
    fn changed(&self) -> Vec<(String, Vec<u8>)> {
        let files = self.files.get().filter(|table| table.is_changed());
        let selections = self.selections.get().filter(|known| known.is_changed());
        let listed = self.listed.load(Ordering::Relaxed);
        let files = files.map(|table| (self.name.clone(), table.encode(listed)));
        let selections = selections.map(|known| (self.selections_name(), known.encode()));
        files.into_iter().chain(selections).collect()
    }
}

impl Context {
    /// Walks the folder.
    fn walk(
        source: &ContextSource,
        patterns: &dyn Patterns,
        memory: Arc<Remembered>,
    ) -> Result<Self, ContextError> {
        let name = || source.name.clone();
        let ignore = if source.ignore.is_empty() {
            None
        } else {
            let compiled = patterns.compile(&source.ignore);
            Some(compiled.map_err(|source| ContextError::Pattern { name: name(), source })?)
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(source.root.as_str(), flags, Mode::empty());
        let opened = opened.and_then(|root| Meta::at(&root, b"").map(|meta| (root, meta)));
        let (root, mut meta) = opened.map_err(|errno| ContextError::Open {
            name: name(),
            root: PathBuf::from(&source.root),
            source: errno.into(),
        })?;
        (meta.uid, meta.gid) = (0, 0);
        let walked_at = SystemTime::now();
        let listings = walk(root.as_fd(), ignore.as_deref())
            .map_err(|source| ContextError::Walk { name: name(), source })?;
        let context = Self { root, meta, listings, memory, walked_at, digests: Mutex::default() };
        context.memory.listed.fetch_max(context.len(), Ordering::Relaxed);
        Ok(context)
    }

    /// How many files, directories and links it has.
    pub fn len(&self) -> usize {
        self.listings.iter().map(|listing| listing.nodes.len()).sum()
    }

    /// Whether it has nothing at all.
    pub fn is_empty(&self) -> bool {
        self.listings.iter().all(|listing| listing.nodes.is_empty())
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn lookup(&self, path: &[u8]) -> Option<Entry> {
        if path.is_empty() {
            return Some(Entry { name: Vec::new(), meta: self.meta, link: None });
        }
        self.node(path).map(|node| node.entry.clone())
    }

    pub(crate) fn list(&self, path: &[u8]) -> Vec<Entry> {
        let listing = if path.is_empty() { Some(0) } else { self.node(path).and_then(below) };
        let nodes = listing.map_or(&[][..], |id| self.listings[id].nodes.as_slice());
        nodes.iter().map(|node| node.entry.clone()).collect()
    }

    /// The digest of what is at `path` and is as `meta` says, if it was remembered.
    pub(crate) fn remembered(&self, path: &[u8], meta: &Meta) -> Option<Raw> {
        self.memory.files().get(path, meta)
    }

    /// Remembers a digest for this run and the next.
    pub(crate) fn remember(&self, path: &[u8], meta: &Meta, digest: Raw) {
        self.memory.files().put(path, meta, self.walked_at, digest);
    }

    /// What a selection and the files that it is made from are now; none if that takes more
    /// than a look at one folder.
    pub(crate) fn state(&self, selection: &Selection) -> Option<State> {
        let base = selection.base();
        let root;
        let (top, listing) = if base.is_empty() {
            root = Entry { name: Vec::new(), meta: self.meta, link: None };
            (&root, Some(0))
        } else {
            let node = self.node(&base)?;
            (&node.entry, node.listing)
        };
        known::state(selection, (top, listing), &self.listings, self.walked_at)
    }

    /// The digest that a selection had in this state.
    pub(crate) fn known(&self, state: &State) -> Option<Raw> {
        self.memory.selections().get(state)
    }

    /// Remembers the digest of a selection for the next run.
    pub(crate) fn know(&self, state: &State, digest: Raw) {
        self.memory.selections().put(state, digest);
    }

    /// What was computed for the same selection before.
    pub(crate) fn selected(&self, selection: &Selection) -> Option<Arc<ContentDigest>> {
        lock(&self.digests).get(selection).cloned()
    }

    /// Keeps what was computed for a selection.
    pub(crate) fn keep(&self, selection: &Selection, digest: &Arc<ContentDigest>) {
        lock(&self.digests).insert(selection.clone(), Arc::clone(digest));
    }

    fn node(&self, path: &[u8]) -> Option<&Node> {
        let mut listing = Some(0);
        let mut found = None;
        for name in path.split(|&b| b == b'/') {
            let nodes = &self.listings[listing?].nodes;
            let index = nodes.binary_search_by(|node| node.entry.name.as_slice().cmp(name)).ok()?;
            found = Some(&nodes[index]);
            listing = found.and_then(below);
        }
        found
    }
}

fn below(node: &Node) -> Option<usize> {
    node.listing
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
