//! What earlier runs made, as the evaluation asks for it: the store behind the run's door.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bakehouse_engine::Root;
use bakehouse_engine::context::Contexts;
use bakehouse_engine::files::{self, DigestError, Tree};
use bakehouse_engine::snapshot::{self, MountOptions, Overlay};
use bakehouse_model::op::{ContextSource, Output};
use bakehouse_model::{Digest, Key, Record, Snapshot};
use bakehouse_plan::evaluate::{Contents, Remembered};
use bakehouse_plan::key::Selection;
use bakehouse_plan::slot::{ByPath, Files};
use bakehouse_run::{BackendError, Claim, Memory};
use bakehouse_store::Store;
use serde::{Deserialize, Serialize};

use crate::patterns::DockerPatterns;

/// Where the content digests of snapshots are.
const CONTENT_BUCKET: &str = "contents-v1";
/// Paths that are remembered of one input, to say which one changed.
const MAX_FILES: usize = 50_000;

/// The store, and the contexts of this run.
#[derive(Debug)]
pub struct StoreMemory {
    store: Store,
    contexts: Arc<Contexts>,
}

/// A content digest of a snapshot, which never changes.
#[derive(Serialize, Deserialize)]
struct KnownContents {
    digest: Digest,
    files: BTreeMap<String, String>,
}

impl StoreMemory {
    /// Over `store`. No context is looked at yet.
    pub fn new(store: Store) -> Self {
        let contexts = Arc::new(Contexts::in_store(&store));
        Self { store, contexts }
    }

    /// Reads contexts while the caller does something else; whoever needs one waits for it. What
    /// is wrong with one is told to those.
    pub fn look_ahead(&self, sources: Vec<ContextSource>) {
        let contexts = Arc::clone(&self.contexts);
        if sources.is_empty() {
            return;
        }
        // Nobody waits for it: what it has not read by the end, nobody needed.
        drop(std::thread::spawn(move || {
            for source in sources {
                drop(contexts.open(&source, &DockerPatterns));
            }
        }));
    }

    /// The files of an output of a step.
    pub fn tree(&self, output: &Output) -> Result<Tree, BackendError> {
        match output {
            Output::Context { context } => {
                let opened = self.contexts.open(context, &DockerPatterns).map_err(|error| {
                    BackendError::environment(format!("read the context `{}`", context.root), error)
                })?;
                Ok(Tree::Context(opened))
            }
            Output::Snapshot { snapshot } => mounted(&self.store, snapshot).map(Tree::mounted),
        }
    }

    /// Keeps what was learned about the contexts. Losing it costs only time.
    pub fn keep_stat_caches(&self) {
        drop(self.contexts.save(&self.store));
    }

    fn snapshot_contents(
        &self,
        output: &Output,
        snapshot: &Snapshot,
        selections: &[Selection],
    ) -> Result<Contents, BackendError> {
        let name = serde_json::to_vec(&(snapshot, selections)).expect("plain data");
        let name = Digest::of(name).hex().to_owned();
        let known = self.store.read_small(CONTENT_BUCKET, &name).ok().flatten();
        if let Some(known) =
            known.and_then(|bytes| serde_json::from_slice::<KnownContents>(&bytes).ok())
        {
            return Ok(Contents { digest: known.digest, files: known.files.into() });
        }
        let contents = self.read_contents(output, selections)?;
        let files = contents.files.all().clone();
        let known = KnownContents { digest: contents.digest.clone(), files };
        let bytes = serde_json::to_vec(&known).expect("plain data");
        drop(self.store.write_small(CONTENT_BUCKET, &name, &bytes));
        Ok(contents)
    }

    fn read_contents(
        &self,
        output: &Output,
        selections: &[Selection],
    ) -> Result<Contents, BackendError> {
        let tree = self.tree(output)?;
        let selections: Vec<files::Selection> = selections.iter().map(selection).collect();
        let told = |error: DigestError| missing(&error, output);
        if let Tree::Context(_) = &tree {
            let digest = |one| files::digest_alone(&tree, one, &DockerPatterns).map_err(told);
            let digests: Vec<Digest> = selections.iter().map(digest).collect::<Result<_, _>>()?;
            let files = Files::later(move || paths_of_context(&tree, &selections));
            return Ok(Contents { digest: all(&digests), files });
        }
        // It is mounted only for now.
        let mut digests = Vec::with_capacity(selections.len());
        let mut named = ByPath::new();
        for one in &selections {
            let found = files::digest(&tree, one, &DockerPatterns).map_err(told)?;
            digests.push(found.digest.clone());
            named.extend(found.files.iter().map(|(path, digest)| (path.clone(), short(digest))));
        }
        Ok(Contents { digest: all(&digests), files: cut(named).into() })
    }
}

fn all(digests: &[Digest]) -> Digest {
    let digests: Vec<&str> = digests.iter().map(Digest::as_str).collect();
    Digest::of(digests.join("\0"))
}

fn short(digest: &Digest) -> String {
    digest.hex()[..16].to_owned()
}

/// What was found at paths, unless that is too much to keep.
fn cut(named: ByPath) -> ByPath {
    if named.len() > MAX_FILES { ByPath::new() } else { named }
}

/// The digests of all paths in `selections`, as people type them.
fn paths_of_context(tree: &Tree, selections: &[files::Selection]) -> ByPath {
    let mut named = ByPath::new();
    for one in selections {
        // A file that went away meanwhile has nothing to tell.
        let Ok(found) = files::digest(tree, one, &DockerPatterns) else { continue };
        let shown = |path: &String| path.trim_start_matches('/').to_owned();
        named.extend(found.files.iter().map(|(path, digest)| (shown(path), short(digest))));
    }
    cut(named)
}

fn missing(error: &DigestError, output: &Output) -> BackendError {
    let hints = match output {
        Output::Context { context } => vec![format!(
            "look whether it is in the context `{}` and not named in its .dockerignore",
            context.root
        )],
        Output::Snapshot { .. } => Vec::new(),
    };
    BackendError::Input { what: error.to_string(), hints }
}

/// The file system of a snapshot, read-only.
pub fn mounted(store: &Store, snapshot: &Snapshot) -> Result<Root, BackendError> {
    let lowers = directories(store, snapshot)?;
    let mount = Overlay::mount(&lowers, None, MountOptions::default())
        .map_err(|error| BackendError::environment("mount layers of the store", error))?;
    Ok(Root::from_fd(mount))
}

/// The directories of a snapshot's layers, lowest first.
pub fn directories(store: &Store, snapshot: &Snapshot) -> Result<Vec<PathBuf>, BackendError> {
    snapshot::directories(store, &snapshot.layers)
        .map_err(|error| BackendError::environment("unpack layers of the store", error))
}

fn selection(selection: &Selection) -> files::Selection {
    files::Selection {
        path: selection.path.clone(),
        follow: selection.follow,
        wildcard: selection.wildcard,
        include: selection.include.clone(),
        exclude: selection.exclude.clone(),
        required: selection.required.clone(),
    }
}

impl Memory for StoreMemory {
    fn records(&self, keys: &[Key]) -> Result<BTreeMap<Key, Remembered>, BackendError> {
        let found = self.store.records(keys).map_err(store_error)?;
        let missing = keys.iter().zip(&found).filter(|(_, record)| record.is_none());
        let swept = self.store.known_keys(missing.map(|(key, _)| key)).map_err(store_error)?;
        let mut remembered = BTreeMap::new();
        for (key, record) in keys.iter().zip(found) {
            let answer = match record {
                Some(record) => Remembered::Found(record),
                None if swept.contains(key) => Remembered::Swept,
                None => Remembered::Nothing,
            };
            remembered.insert(key.clone(), answer);
        }
        Ok(remembered)
    }

    fn contents(
        &self,
        output: &Output,
        selections: &[Selection],
    ) -> Result<Contents, BackendError> {
        match output {
            Output::Snapshot { snapshot } => self.snapshot_contents(output, snapshot, selections),
            Output::Context { .. } => self.read_contents(output, selections),
        }
    }

    fn keep(&self, keys: &[Key], record: &Record) -> Result<(), BackendError> {
        let keys: Vec<&Key> = keys.iter().collect();
        self.store.put_record(&keys, record).map_err(store_error)
    }

    fn claim(&self, key: &Key) -> Result<Option<Claim>, BackendError> {
        let claim = self.store.try_claim(key).map_err(store_error)?;
        Ok(claim.map(Claim::new))
    }
}

/// The store did not do what it should.
pub fn store_error(error: bakehouse_store::StoreError) -> BackendError {
    BackendError::environment("use the store", error)
}
