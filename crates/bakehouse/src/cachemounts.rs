//! Cache mounts as an OCI artifact: what `cache-mounts save` writes and `restore` reads.
//!
//! A manifest of its own artifact type has one layer for each cache, which is a tar packed
//! with zstd and says in its annotations whose it is. So registries, OCI layouts and other
//! tools can carry caches about.
//!
//! What is read is trusted in nothing: it must be what its digest says, unpack to what is
//! announced and fits on the disk, and has no entry that is a device or leads out.

pub mod place;

use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use bakehouse_engine::Root;
use bakehouse_engine::root::RootError;
use bakehouse_engine::snapshot::tar::TarError;
use bakehouse_engine::snapshot::{
    ApplyError, DiffError, LayerWriter, LevelError, Limits, Packing, TooMuchError, decompress,
    pack_folder, unpack_folder,
};
use bakehouse_model::Compression;
use bakehouse_model::oci::{Descriptor, Manifest, media_type};
use bakehouse_store::{CacheMount, Store, StoreError};
use serde_json::Value;
use thiserror::Error;

/// What the manifest is.
pub const ARTIFACT: &str = "application/vnd.bakehouse.cache-mounts.v1";
/// The configuration of artifacts that need none, and what it says.
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");

/// Annotations of a cache's layer.
const ID: &str = "dev.bakehouse.cache.id";
const OWNER: &str = "dev.bakehouse.cache.owner";
const MODE: &str = "dev.bakehouse.cache.mode";
const BYTES: &str = "dev.bakehouse.cache.bytes";

/// The longest name of a cache that is taken from an artifact.
const LONGEST_ID: usize = 8 << 10;
/// Entries that a cache may have.
const MOST_ENTRIES: u64 = 10_000_000;

/// A cache cannot be saved or restored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cache cannot be read.
    #[error("cannot read the cache")]
    Read(#[from] DiffError),
    /// The cache cannot be packed.
    #[error("cannot pack the cache")]
    Pack(#[from] io::Error),
    /// There is no such level of compression.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The archive is none.
    #[error("cannot read the archive of the cache")]
    Tar(#[source] TarError),
    /// The archive cannot be unpacked.
    #[error("cannot unpack the cache")]
    Unpack(#[source] ApplyError),
    /// The folder of the cache cannot be used.
    #[error("cannot open the folder of the cache")]
    Open(#[from] RootError),
    /// A cache does not say of itself what it must.
    #[error("the annotation `{name}` of a cache is missing or wrong")]
    Annotation {
        /// The annotation.
        name: &'static str,
    },
    /// There is more in it than it says.
    #[error("the cache has more than the {announced} bytes that it announces")]
    TooMuch {
        /// What it says.
        announced: u64,
    },
    /// It does not fit.
    #[error("the cache needs {needed} bytes, and the disk has {free}")]
    NoRoom {
        /// What it announces.
        needed: u64,
        /// What there is.
        free: u64,
    },
}

/// A cache in an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCache {
    /// Its name in the store.
    pub id: String,
    /// Owner and group of its directory.
    pub owner: (u32, u32),
    /// Permission bits of its directory.
    pub mode: u32,
    /// Bytes of its tar.
    pub bytes: u64,
    /// The packed tar.
    pub layer: Descriptor,
}

impl SavedCache {
    /// Packs a cache into a blob of `to`.
    pub fn pack(id: &str, cache: &CacheMount, to: &Store) -> Result<Self, CacheError> {
        let data = cache.path()?;
        let stat = fs::metadata(&data)?;
        let packing = Packing::new(Compression::Zstd);
        let mut writer = LayerWriter::new(to.ingest()?, packing)?;
        pack_folder(&data, &mut writer)?;
        let (ingest, packed) = writer.finish()?;
        let (digest, size) = ingest.commit(None)?;
        Ok(Self {
            id: id.to_owned(),
            owner: (stat.uid(), stat.gid()),
            mode: stat.mode() & 0o7777,
            bytes: packed.tar_size,
            layer: Descriptor::new(media_type::LAYER_ZSTD, digest, size),
        })
    }

    /// The layer, with what it has to say.
    fn described(&self) -> Descriptor {
        let (uid, gid) = self.owner;
        let mut layer = self.layer.clone();
        layer.annotations.extend([
            (ID.to_owned(), self.id.clone()),
            (OWNER.to_owned(), format!("{uid}:{gid}")),
            (MODE.to_owned(), format!("{:04o}", self.mode)),
            (BYTES.to_owned(), self.bytes.to_string()),
        ]);
        layer
    }

    fn of_layer(layer: &Descriptor) -> Result<Self, CacheError> {
        let said = |name| layer.annotations.get(name).ok_or(CacheError::Annotation { name });
        let id = said(ID)?.clone();
        if id.is_empty() || id.len() > LONGEST_ID {
            return Err(CacheError::Annotation { name: ID });
        }
        let owner = said(OWNER)?.split_once(':');
        let owner = owner.and_then(|(uid, gid)| uid.parse().ok().zip(gid.parse().ok()));
        let mode = u32::from_str_radix(said(MODE)?, 8).ok().filter(|mode| *mode <= 0o7777);
        Ok(Self {
            id,
            owner: owner.ok_or(CacheError::Annotation { name: OWNER })?,
            mode: mode.ok_or(CacheError::Annotation { name: MODE })?,
            bytes: said(BYTES)?.parse().map_err(|_| CacheError::Annotation { name: BYTES })?,
            layer: layer.clone(),
        })
    }

    /// Unpacks the cache, whose blob is in `from`, and puts it into the place of `cache`.
    pub fn unpack(
        &self,
        from: &Store,
        store: &Store,
        cache: &CacheMount,
    ) -> Result<(), CacheError> {
        let free = free_space(store.home());
        if self.bytes > free {
            return Err(CacheError::NoRoom { needed: self.bytes, free });
        }
        let stage = store.stage_layer()?;
        let limits = Limits { entries: MOST_ENTRIES, bytes: free, ..Limits::default() };
        // A step may open devices of its caches if it is trusted with the machine's, and it is
        // not asked whether they came from elsewhere: none are unpacked.
        unpack_folder(self.tar(from)?, &Root::open_dir(stage.fs())?, &limits)
            .map_err(|error| self.told(error))?;
        let (uid, gid) = self.owner;
        match chown(stage.fs(), Some(uid), Some(gid)) {
            // In a user namespace that knows only root, root is all there is.
            Err(error) if error.raw_os_error() == Some(22) => {}
            other => other?,
        }
        fs::set_permissions(stage.fs(), Permissions::from_mode(self.mode))?;
        Ok(cache.replace(&stage.fs())?)
    }

    /// The tar, of which there is not more than it says.
    fn tar(&self, from: &Store) -> Result<impl Read + Send, CacheError> {
        let blob = from.open_blob(&self.layer.digest)?;
        Ok(decompress(blob, Some(Compression::Zstd), self.bytes)?)
    }

    /// The reason that is told when the tar cannot be unpacked.
    fn told(&self, error: ApplyError) -> CacheError {
        match error {
            ApplyError::Tar(TarError::Read(error))
                if error.get_ref().is_some_and(|it| it.is::<TooMuchError>()) =>
            {
                CacheError::TooMuch { announced: self.bytes }
            }
            ApplyError::Tar(error) => CacheError::Tar(error),
            other => CacheError::Unpack(other),
        }
    }
}

/// Makes the manifest of `caches`, whose blobs are in `store`, and puts it there.
pub fn manifest(caches: &[SavedCache], store: &Store) -> Result<Descriptor, CacheError> {
    let (empty_type, empty) = EMPTY;
    let config = Descriptor::new(empty_type, store.put_blob(empty)?, empty.len() as u64);
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::MANIFEST.to_owned()),
        config,
        layers: caches.iter().map(SavedCache::described).collect(),
        annotations: std::collections::BTreeMap::new(),
        extra: [("artifactType".to_owned(), Value::from(ARTIFACT))].into(),
    };
    let bytes = serde_json::to_vec(&manifest).expect("a manifest is plain data");
    let digest = store.put_blob(&bytes)?;
    Ok(Descriptor::new(media_type::MANIFEST, digest, bytes.len() as u64))
}

/// The caches of an artifact; none if it is another kind of thing.
pub fn caches(manifest: &Manifest) -> Result<Option<Vec<SavedCache>>, CacheError> {
    if artifact_type(manifest) != Some(ARTIFACT) {
        return Ok(None);
    }
    manifest.layers.iter().map(SavedCache::of_layer).collect::<Result<_, _>>().map(Some)
}

/// What kind of thing a manifest is, if it says so.
fn artifact_type(manifest: &Manifest) -> Option<&str> {
    manifest.extra.get("artifactType").and_then(Value::as_str)
}

/// What is in a folder: bytes of its files, and how many entries. What goes away meanwhile,
/// or cannot be looked at, does not count.
pub fn measure(folder: &Path) -> (u64, u64) {
    let (mut bytes, mut entries) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(stat) = entry.metadata() else { continue };
            entries += 1;
            if stat.is_dir() {
                folders.push(entry.path());
            } else if stat.is_file() {
                bytes += stat.len();
            }
        }
    }
    (bytes, entries)
}

fn free_space(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use bakehouse_model::Digest;

    use super::*;

    #[test]
    fn what_an_artifact_says_of_a_cache_comes_back_and_nonsense_is_refused() {
        let saved = SavedCache {
            id: "/root/.cache/pip 7:8 755".to_owned(),
            owner: (7, 8),
            mode: 0o1777,
            bytes: 10,
            layer: Descriptor::new(media_type::LAYER_ZSTD, Digest::of("x"), 1),
        };
        let layer = saved.described();
        let read = SavedCache::of_layer(&layer).unwrap();
        assert_eq!(SavedCache { layer: saved.layer.clone(), ..read }, saved);
        let long = "x".repeat(LONGEST_ID + 1);
        for (name, wrong) in [
            (ID, ""),
            (ID, &long),
            (OWNER, "7"),
            (OWNER, "-1:0"),
            (OWNER, "4294967296:0"),
            (MODE, "8"),
            (MODE, "17777"),
            (BYTES, "-1"),
            (BYTES, "99999999999999999999"),
        ] {
            let mut layer = layer.clone();
            layer.annotations.insert(name.to_owned(), wrong.to_owned());
            let error = SavedCache::of_layer(&layer).unwrap_err();
            assert!(matches!(error, CacheError::Annotation { name: told } if told == name));
            layer.annotations.remove(name);
            SavedCache::of_layer(&layer).unwrap_err();
        }
    }
}
