//! What steps changed: `layers-v1/<layer id>/fs`, in overlayfs's upper format.
//!
//! A layer is staged under `tmp/` and renamed into place. The rename and the row in the
//! index happen under one write transaction, so a directory without a row is what a killed
//! process left: it does not count, and whoever makes the layer again replaces it.
//!
//! Layers are not synced when they are placed. Their row names the boot of the machine in
//! which they were made; after a restart such a layer does not count, unless
//! [`Store::sync`] has cleared that field.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bakehouse_model::oci::Descriptor;
use bakehouse_model::{Compression, DiffId, LayerId, Snapshot};
use rusqlite::{OptionalExtension as _, Transaction, params};

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

impl Store {
    /// The directory with the layer's files, or where it would be.
    pub fn layer_path(&self, id: &LayerId) -> PathBuf {
        self.layer_dir(id).join("fs")
    }

    fn layer_dir(&self, id: &LayerId) -> PathBuf {
        self.home().join("layers-v1").join(id.as_str())
    }

    /// Whether the layer is there and whole.
    ///
    /// False too if the index cannot be read: the layer is then made again, and that says
    /// what is wrong.
    pub fn has_layer(&self, id: &LayerId) -> bool {
        self.layer_path(id).is_dir()
            && self.index().read(|rows, boot| has_row(rows, boot, id)).unwrap_or(false)
    }

    /// Whether every layer of the stack is there and whole.
    pub fn has_snapshot(&self, snapshot: &Snapshot) -> bool {
        let mut seen = Seen::default();
        self.index()
            .read(|rows, boot| seen.all(self, rows, boot, &snapshot.layers))
            .unwrap_or(false)
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
        if !self.layer_path(id).is_dir() {
            return Ok(None);
        }
        let row = self.index().read(|rows, boot| {
            rows.prepare_cached(
                "SELECT created_ms, bytes, entries, diff_id, tar_size FROM layers
                 WHERE id = ?1 AND boot IN ('', ?2)",
            )?
            .query_row(params![id.as_str(), boot], |row| {
                let meta = LayerMeta {
                    created_ms: row.get(0)?,
                    bytes: row.get(1)?,
                    entries: row.get(2)?,
                    diff_id: None,
                    tar_size: row.get(4)?,
                };
                Ok((meta, row.get::<_, Option<String>>(3)?))
            })
            .optional()
        })?;
        let Some((mut meta, diff_id)) = row else { return Ok(None) };
        meta.diff_id = match diff_id {
            Some(text) => Some(DiffId(self.digest_of_row(&text)?)),
            None => None,
        };
        Ok(Some(meta))
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
        let text = serde_json::to_string(blob).expect("a descriptor is plain data");
        self.index().write(|rows, _| {
            rows.prepare_cached("INSERT OR REPLACE INTO layer_blobs VALUES (?1, ?2, ?3)")?
                .execute(params![diff_id.0.as_str(), word(compression), text])
                .map(drop)
        })
    }

    /// The blob that has the tar `diff_id`, packed like this, if it is in the store.
    pub fn layer_blob(
        &self,
        diff_id: &DiffId,
        compression: Compression,
    ) -> Result<Option<Descriptor>, StoreError> {
        let text: Option<String> = self.index().read(|rows, _| {
            rows.prepare_cached(
                "SELECT descriptor FROM layer_blobs WHERE diff_id = ?1 AND compression = ?2",
            )?
            .query_row(params![diff_id.0.as_str(), word(compression)], |row| row.get(0))
            .optional()
        })?;
        let Some(text) = text else { return Ok(None) };
        let blob: Descriptor =
            serde_json::from_str(&text).map_err(|_| self.index().bad_row("a descriptor", &text))?;
        Ok(Some(blob).filter(|blob| self.blob_size(&blob.digest) == Some(blob.size)))
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

fn word(compression: Compression) -> &'static str {
    match compression {
        Compression::Uncompressed => "uncompressed",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

/// Layers that were looked up in one question, so that none is looked up twice.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    layers: BTreeMap<LayerId, bool>,
}

impl Seen {
    /// Whether all of `layers` are there and whole.
    pub(crate) fn all(
        &mut self,
        store: &Store,
        rows: &Transaction<'_>,
        boot: &str,
        layers: &[LayerId],
    ) -> rusqlite::Result<bool> {
        for id in layers {
            let whole = match self.layers.get(id) {
                Some(known) => *known,
                None => {
                    let whole = has_row(rows, boot, id)? && store.layer_path(id).is_dir();
                    self.layers.insert(id.clone(), whole);
                    whole
                }
            };
            if !whole {
                return Ok(false);
            }
        }
        Ok(true)
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
    rows.prepare_cached("INSERT OR REPLACE INTO layers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
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
