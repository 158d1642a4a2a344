//! What steps changed: `layers-v1/<layer id>/fs`, in overlayfs's upper format.
//!
//! A layer is staged under `tmp/` and renamed into place. The rename and the row in the
//! index happen under one write transaction, so a directory without a row is what a killed
//! process left: it does not count, and whoever makes the layer again replaces it.
//!
//! Layers are not synced when they are placed. Their row names the boot of the machine in
//! which they were made; after a restart such a layer does not count, unless
//! [`Store::sync`] has cleared that field.
//!
//! A layer may also be packed: there is no directory, and its row, which names no boot, is as good
//! as the blob of its tar. Whoever needs its files unpacks it, and it is as any other from then on.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bakehouse_model::oci::Descriptor;
use bakehouse_model::{Compression, DiffId, LayerId, Snapshot};
use rusqlite::{CachedStatement, OptionalExtension as _, Row, Transaction, params};

use crate::index::parse;
use crate::remove::remove_tree;
use crate::store::{Store, StoreError, now_ms};

/// What is known about a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerMeta {
    /// When it was made; set to now by [`LayerStage::commit`] if it is 0.
    pub created_ms: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Files, directories, links and whiteouts in it.
    pub entries: u64,
    /// The digest of its tar, once one was made or if it came from one.
    pub diff_id: Option<DiffId>,
    /// The size of that tar.
    pub tar_size: Option<u64>,
}

/// In the place of the boot, in the rows of layers that have no directory.
const PACKED: &str = "packed";

impl Store {
    /// The directory with the layer's files, or where it would be.
    pub fn layer_path(&self, id: &LayerId) -> PathBuf {
        self.layer_dir(id).join("fs")
    }

    fn layer_dir(&self, id: &LayerId) -> PathBuf {
        self.home().join("layers-v1").join(id.as_str())
    }

    /// Whether the layer is there and whole, with a directory or packed.
    ///
    /// False too if the index cannot be read: the layer is then made again, and that says
    /// what is wrong.
    pub fn has_layer(&self, id: &LayerId) -> bool {
        self.index().read(|rows, boot| self.is_whole(rows, boot, id)).unwrap_or(false)
    }

    fn is_whole(&self, rows: &Transaction<'_>, boot: &str, id: &LayerId) -> rusqlite::Result<bool> {
        if self.layer_path(id).is_dir() && has_row(rows, boot, id)? {
            return Ok(true);
        }
        Ok(self.packed(rows, id)?.is_some())
    }

    /// What a packed layer unpacks to, and the blob to unpack; none if it has a directory, or is
    /// not there.
    pub fn packed_layer(&self, id: &LayerId) -> Result<Option<(DiffId, Descriptor)>, StoreError> {
        if self.seen().contains(id) {
            return Ok(None);
        }
        let (has_folder, packed) = self.index().read(|rows, boot| {
            let has_folder = self.layer_path(id).is_dir() && has_row(rows, boot, id)?;
            Ok((has_folder, if has_folder { None } else { self.packed(rows, id)? }))
        })?;
        if has_folder {
            self.seen().insert(id.clone());
        }
        Ok(packed)
    }

    fn packed(
        &self,
        rows: &Transaction<'_>,
        id: &LayerId,
    ) -> rusqlite::Result<Option<(DiffId, Descriptor)>> {
        let mut select = rows.prepare_cached(
            "SELECT diff_id, descriptor FROM layers JOIN layer_blobs USING (diff_id)
             WHERE id = ?1 AND boot = ?2",
        )?;
        let read = |row: &Row<'_>| {
            let (diff_id, blob): (String, String) = (row.get(0)?, row.get(1)?);
            Ok((DiffId(parse(&diff_id)?), parse::<StoredBlob>(&blob)?.0))
        };
        for found in select.query_map([id.as_str(), PACKED], read)? {
            let (diff_id, blob) = found?;
            if self.blob_size(&blob.digest) == Some(blob.size) {
                return Ok(Some((diff_id, blob)));
            }
        }
        Ok(None)
    }

    /// Keeps a layer as a blob of the store that has its tar, which `meta` describes.
    pub fn put_packed_layer(
        &self,
        id: &LayerId,
        mut meta: LayerMeta,
        compression: Compression,
        blob: &Descriptor,
    ) -> Result<(), StoreError> {
        if meta.created_ms == 0 {
            meta.created_ms = now_ms();
        }
        self.index().write(|rows, boot| {
            if let Some(diff_id) = &meta.diff_id {
                insert_blob(rows, diff_id, compression, blob)?;
            }
            if has_row(rows, boot, id)? { Ok(()) } else { insert(rows, PACKED, id, &meta) }
        })
    }

    /// Whether every layer of the stack is there and whole.
    pub fn has_snapshot(&self, snapshot: &Snapshot) -> bool {
        snapshot.layers.iter().all(|id| self.has_layer(id))
    }

    /// Starts a layer.
    pub fn stage_layer(&self) -> Result<LayerStage, StoreError> {
        let folder = self.scratch()?.path("layer");
        for part in ["", "fs", "work"] {
            let path = folder.join(part);
            fs::create_dir(&path).map_err(StoreError::io("create", &path))?;
        }
        Ok(LayerStage { store: self.clone(), folder: Some(folder) })
    }

    /// What is known about the layer; none if it is not there.
    pub fn layer_meta(&self, id: &LayerId) -> Result<Option<LayerMeta>, StoreError> {
        self.index().read(|rows, boot| {
            if !self.is_whole(rows, boot, id)? {
                return Ok(None);
            }
            let mut select = rows.prepare_cached(
                "SELECT created_ms, bytes, entries, diff_id, tar_size FROM layers WHERE id = ?1",
            )?;
            let meta = |row: &Row<'_>| {
                let diff_id: Option<String> = row.get(3)?;
                Ok(LayerMeta {
                    created_ms: row.get(0)?,
                    bytes: row.get(1)?,
                    entries: row.get(2)?,
                    diff_id: diff_id.map(|text| parse(&text).map(DiffId)).transpose()?,
                    tar_size: row.get(4)?,
                })
            };
            select.query_row([id.as_str()], meta).optional()
        })
    }

    /// Remembers the digest and the size of the layer's tar.
    pub fn set_diff_id(
        &self,
        id: &LayerId,
        diff_id: &DiffId,
        tar_size: u64,
    ) -> Result<(), StoreError> {
        self.index().write(|rows, _| {
            rows.prepare_cached("UPDATE layers SET diff_id = ?2, tar_size = ?3 WHERE id = ?1")?
                .execute(params![id.as_str(), diff_id.0.as_str(), tar_size])
                .map(drop)
        })
    }

    /// Remembers which blob has the tar `diff_id`, packed like this.
    pub fn set_layer_blob(
        &self,
        diff_id: &DiffId,
        compression: Compression,
        blob: &Descriptor,
    ) -> Result<(), StoreError> {
        self.index().write(|rows, _| insert_blob(rows, diff_id, compression, blob))
    }

    /// The blob that has the tar `diff_id`, packed like this, if it is in the store.
    pub fn layer_blob(
        &self,
        diff_id: &DiffId,
        compression: Compression,
    ) -> Result<Option<Descriptor>, StoreError> {
        let blob: Option<StoredBlob> = self.index().read(|rows, _| {
            let text: Option<String> = rows
                .prepare_cached(
                    "SELECT descriptor FROM layer_blobs WHERE diff_id = ?1 AND compression = ?2",
                )?
                .query_row(params![diff_id.0.as_str(), word(compression)], |row| row.get(0))
                .optional()?;
            text.map(|text| parse(&text)).transpose()
        })?;
        Ok(blob.map(|it| it.0).filter(|blob| self.blob_size(&blob.digest) == Some(blob.size)))
    }

    /// The layers that would not survive a crash of the machine.
    pub(crate) fn unsynced_layers(&self) -> Result<Vec<String>, StoreError> {
        self.index().read(|rows, boot| {
            rows.prepare_cached("SELECT id FROM layers WHERE boot != '' AND boot = ?1")?
                .query_map([boot], |row| row.get(0))?
                .collect()
        })
    }

    /// Notes that the disk has these layers.
    pub(crate) fn mark_synced(&self, ids: &[String]) -> Result<(), StoreError> {
        self.index().write(|rows, boot| {
            let mut update =
                rows.prepare_cached("UPDATE layers SET boot = '' WHERE id = ?1 AND boot = ?2")?;
            for id in ids {
                update.execute(params![id, boot])?;
            }
            Ok(())
        })
    }
}

fn has_row(rows: &Transaction<'_>, boot: &str, id: &LayerId) -> rusqlite::Result<bool> {
    rows.prepare_cached("SELECT 1 FROM layers WHERE id = ?1 AND boot IN ('', ?2)")?
        .exists(params![id.as_str(), boot])
}

fn insert_blob(
    rows: &Transaction<'_>,
    diff_id: &DiffId,
    compression: Compression,
    blob: &Descriptor,
) -> rusqlite::Result<()> {
    let text = serde_json::to_string(blob).expect("a descriptor is plain data");
    rows.prepare_cached("INSERT OR REPLACE INTO layer_blobs VALUES (?1, ?2, ?3)")?
        .execute(params![diff_id.0.as_str(), word(compression), text])
        .map(drop)
}

fn word(compression: Compression) -> &'static str {
    match compression {
        Compression::Uncompressed => "uncompressed",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

/// A descriptor as a row has it.
struct StoredBlob(Descriptor);

impl FromStr for StoredBlob {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text).map(Self)
    }
}

/// The stack as rows have it: the numbers of its layers. None if one was never made.
pub(crate) fn stack_to_row(
    rows: &Transaction<'_>,
    stack: &Snapshot,
) -> rusqlite::Result<Option<String>> {
    let mut select = rows.prepare_cached("SELECT number FROM layers WHERE id = ?1")?;
    let mut text = String::new();
    for id in &stack.layers {
        let number: Option<u64> = select.query_row([id.as_str()], |row| row.get(0)).optional()?;
        let Some(number) = number else { return Ok(None) };
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&number.to_string());
    }
    Ok(Some(text))
}

/// Reads stacks from rows, and looks at each layer once.
pub(crate) struct Stacks<'read> {
    store: &'read Store,
    rows: &'read Transaction<'read>,
    select: CachedStatement<'read>,
    boot: &'read str,
    /// None for a layer that is not there or not whole.
    seen: BTreeMap<u64, Option<LayerId>>,
}

impl<'read> Stacks<'read> {
    /// Nothing was looked at yet.
    pub(crate) fn new(
        store: &'read Store,
        rows: &'read Transaction<'read>,
        boot: &'read str,
    ) -> rusqlite::Result<Self> {
        let select = rows.prepare_cached("SELECT id, boot FROM layers WHERE number = ?1")?;
        Ok(Self { store, rows, select, boot, seen: BTreeMap::new() })
    }

    /// The stack in a row, if all its layers are there and whole.
    pub(crate) fn read(&mut self, text: &str) -> rusqlite::Result<Option<Snapshot>> {
        let mut layers = Vec::with_capacity(text.len() / 2 + 1);
        for word in text.split_ascii_whitespace() {
            match self.layer(parse(word)?)? {
                Some(id) => layers.push(id),
                None => return Ok(None),
            }
        }
        Ok(Some(Snapshot { layers }))
    }

    fn layer(&mut self, number: u64) -> rusqlite::Result<Option<LayerId>> {
        if let Some(known) = self.seen.get(&number) {
            return Ok(known.clone());
        }
        let row = |row: &Row<'_>| Ok((parse(row.get_ref(0)?.as_str()?)?, row.get(1)?));
        let found: Option<(LayerId, String)> = self.select.query_row([number], row).optional()?;
        let mut id = None;
        if let Some((found, boot)) = found {
            let is_whole = if boot == PACKED {
                self.store.packed(self.rows, &found)?.is_some()
            } else {
                (boot.is_empty() || boot == self.boot) && self.store.layer_path(&found).is_dir()
            };
            id = is_whole.then_some(found);
        }
        self.seen.insert(number, id.clone());
        Ok(id)
    }
}

/// A layer that is being made. Dropped without [`commit`](Self::commit), it is gone.
#[derive(Debug)]
pub struct LayerStage {
    store: Store,
    /// None once it is in place.
    folder: Option<PathBuf>,
}

impl LayerStage {
    /// The empty directory that becomes the layer: overlayfs's `upperdir`.
    pub fn fs(&self) -> PathBuf {
        self.folder().join("fs")
    }

    /// An empty directory beside it on the same file system: overlayfs's `workdir`.
    pub fn work(&self) -> PathBuf {
        self.folder().join("work")
    }

    fn folder(&self) -> &Path {
        self.folder.as_deref().expect("only `commit` takes it")
    }

    /// Puts the layer in place as `id`.
    ///
    /// If another process has made that layer meanwhile, that one stays and this one goes:
    /// both are results of the same step. Nothing may be mounted on the stage any more.
    pub fn commit(mut self, id: &LayerId, mut meta: LayerMeta) -> Result<LayerId, StoreError> {
        remove_tree(&self.work())?;
        if meta.created_ms == 0 {
            meta.created_ms = now_ms();
        }
        let store = self.store.clone();
        let target = store.layer_dir(id);
        let debris = store.scratch()?.path("debris");
        let staged = self.folder().to_path_buf();
        let mut problem = None;
        let placed = store.index().write(|rows, boot| {
            if has_row(rows, boot, id)? && target.join("fs").is_dir() {
                return Ok(false);
            }
            if let Err(error) = replace(&staged, &target, &debris) {
                problem = Some(error);
                return Ok(false);
            }
            insert(rows, boot, id, &meta)?;
            Ok(true)
        });
        remove_tree(&debris)?;
        if let Some(error) = problem {
            return Err(error);
        }
        if placed? {
            self.folder = None;
        }
        Ok(id.clone())
    }
}

/// Renames `staged` to `target`; what is there already was never finished and goes away.
fn replace(staged: &Path, target: &Path, debris: &Path) -> Result<(), StoreError> {
    match fs::rename(target, debris) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::io("move away", target)(error)),
    }
    fs::rename(staged, target).map_err(StoreError::io("rename to", target))
}

fn insert(
    rows: &Transaction<'_>,
    boot: &str,
    id: &LayerId,
    meta: &LayerMeta,
) -> rusqlite::Result<()> {
    let diff_id = meta.diff_id.as_ref().map(|diff_id| diff_id.0.as_str());
    // A layer that is made again keeps its number, which is in other rows.
    rows.prepare_cached(
        "INSERT INTO layers (id, created_ms, bytes, entries, diff_id, tar_size, boot)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (id) DO UPDATE SET
             created_ms = excluded.created_ms, bytes = excluded.bytes,
             entries = excluded.entries, diff_id = excluded.diff_id,
             tar_size = excluded.tar_size, boot = excluded.boot",
    )?
    .execute(params![
        id.as_str(),
        meta.created_ms,
        meta.bytes,
        meta.entries,
        diff_id,
        meta.tar_size,
        boot
    ])
    .map(drop)
}

impl Drop for LayerStage {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            // What resists is removed with the process's folder, by us or by the next.
            remove_tree(&folder).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use bakehouse_model::Digest;
    use bakehouse_model::oci::media_type;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    fn id(text: &str) -> LayerId {
        text.parse().unwrap()
    }

    fn make(store: &Store, id: &LayerId, content: &str) {
        let stage = store.stage_layer().unwrap();
        fs::write(stage.fs().join("file"), content).unwrap();
        let meta = LayerMeta { bytes: content.len() as u64, entries: 1, ..LayerMeta::default() };
        assert_eq!(&stage.commit(id, meta).unwrap(), id);
    }

    fn content(store: &Store, id: &LayerId) -> String {
        fs::read_to_string(store.layer_path(id).join("file")).unwrap()
    }

    /// Names of what is in the process's folder and beside the layers' `fs`.
    fn debris(store: &Store) -> Vec<PathBuf> {
        let scratch = store.scratch().unwrap().path("x");
        let list = |folder: &Path| -> Vec<PathBuf> {
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
        };
        let layers = list(&store.home().join("layers-v1"));
        let beside = layers.iter().flat_map(|layer| list(layer)).filter(|it| !it.ends_with("fs"));
        list(scratch.parent().unwrap()).into_iter().chain(beside).collect()
    }

    #[test]
    fn a_layer_is_there_when_it_is_committed_and_not_before() {
        let (_folder, store) = store();
        let layer = id("step-1");
        let stage = store.stage_layer().unwrap();
        assert!(stage.fs().is_dir() && stage.work().is_dir() && !store.has_layer(&layer));
        // What overlayfs leaves in its work directory.
        let work = stage.work().join("work");
        fs::create_dir(&work).unwrap();
        fs::set_permissions(&work, fs::Permissions::from_mode(0o000)).unwrap();
        stage.commit(&layer, LayerMeta { bytes: 3, ..LayerMeta::default() }).unwrap();
        assert!(store.has_layer(&layer));
        let meta = store.layer_meta(&layer).unwrap().unwrap();
        assert!(meta.created_ms > 0 && meta.bytes == 3 && meta.diff_id.is_none());
        let diff_id = DiffId(Digest::of("tar"));
        store.set_diff_id(&layer, &diff_id, 512).unwrap();
        let meta = store.layer_meta(&layer).unwrap().unwrap();
        assert_eq!((meta.diff_id, meta.tar_size), (Some(diff_id), Some(512)));

        let dropped = store.stage_layer().unwrap();
        fs::create_dir_all(dropped.fs().join("a/b")).unwrap();
        fs::set_permissions(dropped.fs().join("a"), fs::Permissions::from_mode(0o500)).unwrap();
        drop(dropped);
        assert_eq!(debris(&store), Vec::<PathBuf>::new());
        assert_eq!(store.layer_meta(&id("other")).unwrap(), None);
    }

    #[test]
    fn the_first_of_two_stays() {
        let (_folder, store) = store();
        let other = Store::open(store.home()).unwrap();
        let layer = id("step-1");
        make(&store, &layer, "first");
        make(&other, &layer, "second");
        assert_eq!(content(&store, &layer), "first");
        assert_eq!((debris(&store), debris(&other)), (vec![], vec![]));
    }

    #[test]
    fn a_directory_without_a_row_and_a_row_without_a_directory_are_made_again() {
        let (_folder, store) = store();
        let layer = id("step-1");
        let fs_dir = store.layer_path(&layer);
        fs::create_dir_all(fs_dir.join("half")).unwrap();
        assert!(!store.has_layer(&layer));
        make(&store, &layer, "whole");
        assert!(store.has_layer(&layer) && !fs_dir.join("half").exists());
        remove_tree(fs_dir.parent().unwrap()).unwrap();
        assert!(!store.has_layer(&layer));
        assert_eq!(store.layer_meta(&layer).unwrap(), None);
        make(&store, &layer, "again");
        assert_eq!(content(&store, &layer), "again");
        assert_eq!(debris(&store), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_layer_of_before_a_restart_counts_only_if_it_was_synced() {
        let (_folder, store) = store();
        let (synced, unsynced) = (id("synced"), id("unsynced"));
        let both = Snapshot { layers: vec![synced.clone(), unsynced.clone()] };
        make(&store, &synced, "x");
        store.sync().unwrap();
        assert_eq!(store.unsynced_layers().unwrap(), Vec::<String>::new());
        make(&store, &unsynced, "old");
        assert!(store.has_snapshot(&both));
        let restart = "UPDATE layers SET boot = 'earlier' WHERE boot != ''";
        store.index().write(|rows, _| rows.execute(restart, [])).unwrap();
        assert!(store.has_layer(&synced) && !store.has_layer(&unsynced));
        assert!(!store.has_snapshot(&both));
        assert_eq!(store.layer_meta(&unsynced).unwrap(), None);
        store.sync().unwrap();
        assert!(!store.has_layer(&unsynced), "what was lost does not come back");
        make(&store, &unsynced, "new");
        assert!(store.has_snapshot(&both) && content(&store, &unsynced) == "new");
    }

    #[test]
    fn the_blob_of_a_layer_counts_only_while_it_is_there() {
        let (_folder, store) = store();
        let diff_id = DiffId(Digest::of("tar"));
        let digest = store.put_blob(b"packed").unwrap();
        let blob = Descriptor::new(media_type::LAYER_GZIP, digest, 6);
        store.set_layer_blob(&diff_id, Compression::Gzip, &blob).unwrap();
        let find = |compression| store.layer_blob(&diff_id, compression).unwrap();
        assert_eq!(find(Compression::Gzip), Some(blob.clone()));
        assert_eq!(find(Compression::Zstd), None);
        fs::remove_file(store.blob_path(&blob.digest)).unwrap();
        assert_eq!(find(Compression::Gzip), None);
    }

    #[test]
    fn a_packed_layer_is_there_as_long_as_its_blob_is_until_it_has_a_directory() {
        let (_folder, store) = store();
        let layer = id("step-1");
        let digest = store.put_blob(b"a tar").unwrap();
        let blob = Descriptor::new(media_type::LAYER, digest.clone(), 5);
        let diff_id = DiffId(digest.clone());
        let meta = LayerMeta { diff_id: Some(diff_id.clone()), ..LayerMeta::default() };
        store.put_packed_layer(&layer, meta.clone(), Compression::Uncompressed, &blob).unwrap();
        assert!(store.has_layer(&layer) && !store.layer_path(&layer).exists());
        assert_eq!(store.packed_layer(&layer).unwrap(), Some((diff_id.clone(), blob.clone())));
        assert_eq!(store.layer_meta(&layer).unwrap().unwrap().diff_id, meta.diff_id);
        let snapshot = Snapshot { layers: vec![layer.clone()] };
        let manifest = Digest::of("manifest");
        store.put_unpacked(&manifest, &snapshot).unwrap();
        assert_eq!(store.unpacked(&manifest).unwrap(), Some(snapshot.clone()));

        // What a killed process has put in its place does not count.
        fs::create_dir_all(store.layer_path(&layer)).unwrap();
        assert!(store.packed_layer(&layer).unwrap().is_some());
        store.sync().unwrap();
        assert!(store.packed_layer(&layer).unwrap().is_some());

        fs::remove_file(store.blob_path(&digest)).unwrap();
        assert!(!store.has_layer(&layer) && store.layer_meta(&layer).unwrap().is_none());
        assert_eq!(store.unpacked(&manifest).unwrap(), None);

        store.put_blob(b"a tar").unwrap();
        make(&store, &layer, "unpacked");
        fs::remove_file(store.blob_path(&digest)).unwrap();
        assert!(store.has_layer(&layer) && content(&store, &layer) == "unpacked");
        assert_eq!(store.packed_layer(&layer).unwrap(), None);
        assert_eq!(store.unpacked(&manifest).unwrap(), Some(snapshot));
    }
}
