//! Base images as layers of the store.
//!
//! A base's layer is named by its chain id, so that two images which share their lowest
//! layers share the directories too, and one that was unpacked once is never unpacked
//! again. Blobs are unpacked on one thread and files are made on another. What comes out of a
//! blob must hash to the diff id that the configuration has; a layer that does not is not
//! kept. The blob that came from the registry is remembered as the layer's, so a push
//! sends those bytes and packs nothing anew.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use bakehouse_model::oci::{Descriptor, ImageConfig, Manifest};
use bakehouse_model::{ChainId, Compression, DiffId, DigestWriter, LayerId, Snapshot};
use bakehouse_store::{LayerMeta, LayerStage, Store, StoreError};
use thiserror::Error;

use super::apply::{Applied, ApplyError, Limits, apply};
use super::decompress::{decompress, detect};
use super::export::layer_media_type;
use super::overlay::{MountError, MountOptions, Overlay};
use crate::Root;
use crate::root::RootError;

/// How the names of layers begin that were made on nothing, and are the same on anything.
pub const ALONE: &str = "alone-";

/// Held by who unpacks a packed layer.
static UNPACKING: Mutex<()> = Mutex::new(());

/// Bytes of tar that go from one thread to the other at once, and how many such pieces.
const PIECE: usize = 1 << 18;
const PIECES: usize = 8;

/// A base could not be unpacked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The manifest and the configuration do not belong together.
    #[error("the manifest has {layers} layers, the configuration {diff_ids}")]
    Count {
        /// Layers of the manifest.
        layers: usize,
        /// Layers of the configuration.
        diff_ids: usize,
    },
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer `{layer}`")]
    Apply {
        /// The blob or the file.
        layer: String,
        /// Why.
        source: ApplyError,
    },
    /// A layer is not what the configuration says.
    #[error("layer `{layer}` unpacks to `{found}`, the configuration says `{expected}`")]
    Mismatch {
        /// The blob.
        layer: String,
        /// What it should be.
        expected: DiffId,
        /// What it is.
        found: DiffId,
    },
    /// The layers below cannot be mounted.
    #[error("cannot mount what is below layer `{layer}`")]
    Mount {
        /// The blob.
        layer: String,
        /// Why.
        source: MountError,
    },
    /// A file cannot be read or written.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// A verb phrase.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory of a new layer cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UnpackError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}

/// The name of the layer that ends the chain of `diff_ids`; none for an empty chain.
pub fn base_layer(diff_ids: &[DiffId]) -> Option<LayerId> {
    let chain = ChainId::of(diff_ids)?;
    let id = format!("base-{}", chain.0.hex());
    Some(id.parse().expect("hex digits and a dash make a layer id"))
}

/// Unpacks the layers of an image whose blobs are in the store. `progress` hears after
/// each layer how many are there, and of how many.
pub fn unpack_image(
    store: &Store,
    manifest: &Manifest,
    config: &ImageConfig,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Snapshot, UnpackError> {
    let diff_ids = &config.rootfs.diff_ids;
    if manifest.layers.len() != diff_ids.len() {
        let layers = manifest.layers.len();
        return Err(UnpackError::Count { layers, diff_ids: diff_ids.len() });
    }
    let layer = |(blob, diff_id): (&Descriptor, &DiffId)| PackedLayer {
        blob: blob.clone(),
        diff_id: diff_id.clone(),
        created_ms: 0,
    };
    let layers: Vec<PackedLayer> = manifest.layers.iter().zip(diff_ids).map(layer).collect();
    unpack_layers(store, &layers, progress)
}

/// A layer as a blob of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedLayer {
    /// The blob.
    pub blob: Descriptor,
    /// What it must unpack to.
    pub diff_id: DiffId,
    /// When it was made, in milliseconds since 1970; 0 if that is not known.
    pub created_ms: u64,
}

/// Unpacks layers that stand on each other, lowest first, whose blobs are in the store.
pub fn unpack_layers(
    store: &Store,
    layers: &[PackedLayer],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Snapshot, UnpackError> {
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let mut snapshot = Snapshot::default();
    for (at, layer) in layers.iter().enumerate() {
        let id = base_layer(&diff_ids[..=at]).expect("a chain with this layer is not empty");
        if store.has_layer(&id) {
            check_blob(store, layer)?;
        } else {
            unpack_layer(store, &snapshot, &id, layer)?;
        }
        snapshot.layers.push(id);
        progress(at + 1, layers.len());
    }
    Ok(snapshot)
}

/// The directories of layers that stand on each other, lowest first. Those that are packed have
/// none until they are asked for here.
pub fn directories(store: &Store, layers: &[LayerId]) -> Result<Vec<PathBuf>, UnpackError> {
    for (at, id) in layers.iter().enumerate() {
        if store.packed_layer(id)?.is_none() {
            continue;
        }
        // Many steps may want it at once. What is below has been unpacked before.
        let _alone = UNPACKING.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((diff_id, blob)) = store.packed_layer(id)? else { continue };
        let created_ms = store.layer_meta(id)?.map_or(0, |meta| meta.created_ms);
        let is_alone = id.as_str().starts_with(ALONE);
        let below = if is_alone { Vec::new() } else { layers[..at].to_vec() };
        let packed = PackedLayer { blob, diff_id, created_ms };
        unpack_layer(store, &Snapshot { layers: below }, id, &packed)?;
    }
    Ok(layers.iter().map(|id| store.layer_path(id)).collect())
}

fn unpack_layer(
    store: &Store,
    below: &Snapshot,
    id: &LayerId,
    PackedLayer { blob, diff_id, created_ms }: &PackedLayer,
) -> Result<(), UnpackError> {
    let layer = blob.digest.to_string();
    let below = mount(store, below, &layer)?;
    let stage = store.stage_layer()?;
    let file = store.open_blob(&blob.digest)?;
    let done = unpack(file, &stage, below.as_ref(), &layer)?;
    if done.diff_id != *diff_id {
        let (expected, found) = (diff_id.clone(), done.diff_id);
        return Err(UnpackError::Mismatch { layer, expected, found });
    }
    // The mount of the layers below must not outlive the look-up of their files.
    drop(below);
    stage.commit(id, LayerMeta { created_ms: *created_ms, ..done.meta() })?;
    remember_blob(store, blob, diff_id)
}

/// Looks into a blob that says it is a layer which is there already, and remembers it if it is:
/// whoever wrote the manifest may have said so of any blob, and exports send what is remembered.
fn check_blob(store: &Store, layer: &PackedLayer) -> Result<(), UnpackError> {
    let PackedLayer { blob, diff_id, .. } = layer;
    let known = match blob.compression() {
        Some(compression) => store.layer_blob(diff_id, compression)?,
        None => None,
    };
    if known.is_some() || store.blob_size(&blob.digest).is_none() {
        return Ok(());
    }
    let path = store.blob_path(&blob.digest);
    let mut hashed = DigestWriter::new(io::sink());
    decompress(store.open_blob(&blob.digest)?, None, tar_limit(&Limits::default()))
        .and_then(|mut tar| io::copy(&mut tar, &mut hashed))
        .map_err(UnpackError::io("unpack", &path))?;
    let found = DiffId(hashed.finish().1);
    if found != *diff_id {
        let (layer, expected) = (blob.digest.to_string(), diff_id.clone());
        return Err(UnpackError::Mismatch { layer, expected, found });
    }
    remember_blob(store, blob, diff_id)
}

/// Remembers a blob that was found to unpack to this, by how it is packed and not by how it is
/// said to be.
fn remember_blob(store: &Store, blob: &Descriptor, diff_id: &DiffId) -> Result<(), UnpackError> {
    let mut start = Vec::new();
    let path = store.blob_path(&blob.digest);
    let mut file = store.open_blob(&blob.digest)?.take(4);
    file.read_to_end(&mut start).map_err(UnpackError::io("read", &path))?;
    let compression = detect(&start);
    if store.layer_blob(diff_id, compression)?.is_none() {
        let media_type = layer_media_type(compression);
        let plain = Descriptor::new(media_type, blob.digest.clone(), blob.size);
        store.set_layer_blob(diff_id, compression, &plain)?;
    }
    Ok(())
}

/// Unpacks the tar of a whole file system, packed or not, as a base of one layer. The tar
/// is kept as the layer's blob.
pub fn unpack_rootfs_tar(store: &Store, path: &Path) -> Result<(Snapshot, DiffId), UnpackError> {
    let open = || File::open(path).map_err(UnpackError::io("open", path));
    let mut tar = decompress(open()?, None, tar_limit(&Limits::default()))
        .map_err(UnpackError::io("unpack", path))?;
    let mut hashed = DigestWriter::new(io::sink());
    io::copy(&mut tar, &mut hashed).map_err(UnpackError::io("unpack", path))?;
    let diff_id = DiffId(hashed.finish().1);
    let id = base_layer(std::slice::from_ref(&diff_id)).expect("a chain of one is not empty");
    if !store.has_layer(&id) {
        let layer = path.display().to_string();
        let stage = store.stage_layer()?;
        let done = unpack(open()?, &stage, None, &layer)?;
        if done.diff_id != diff_id {
            let (expected, found) = (diff_id, done.diff_id);
            return Err(UnpackError::Mismatch { layer, expected, found });
        }
        stage.commit(&id, done.meta())?;
    }
    keep_tar(store, path, open()?, &diff_id)?;
    Ok((Snapshot { layers: vec![id] }, diff_id))
}

/// Keeps the file as a blob: the directory need not give the very bytes again.
fn keep_tar(
    store: &Store,
    path: &Path,
    mut file: File,
    diff_id: &DiffId,
) -> Result<(), UnpackError> {
    let failed = || UnpackError::io("copy", path);
    let mut start = Vec::new();
    (&file).take(4).read_to_end(&mut start).map_err(failed())?;
    let compression: Compression = detect(&start);
    if store.layer_blob(diff_id, compression)?.is_some() {
        return Ok(());
    }
    let mut ingest = store.ingest()?;
    ingest.write_all(&start).map_err(failed())?;
    io::copy(&mut file, &mut ingest).map_err(failed())?;
    let (digest, size) = ingest.commit(None)?;
    let blob = Descriptor::new(layer_media_type(compression), digest, size);
    Ok(store.set_layer_blob(diff_id, compression, &blob)?)
}

/// Mounts what `layer` stands on.
fn mount(store: &Store, below: &Snapshot, layer: &str) -> Result<Option<Root>, UnpackError> {
    if below.layers.is_empty() {
        return Ok(None);
    }
    let paths = directories(store, &below.layers)?;
    let options = MountOptions { nodev: true, ..MountOptions::default() };
    match Overlay::mount(&paths, None, options) {
        Ok(fd) => Ok(Some(Root::from_fd(fd))),
        Err(source) => Err(UnpackError::Mount { layer: layer.to_owned(), source }),
    }
}

/// What a blob turned out to be.
struct Done {
    applied: Applied,
    diff_id: DiffId,
    tar_size: u64,
}

impl Done {
    fn meta(&self) -> LayerMeta {
        LayerMeta {
            created_ms: 0,
            bytes: self.applied.bytes,
            entries: self.applied.entries,
            diff_id: Some(self.diff_id.clone()),
            tar_size: Some(self.tar_size),
        }
    }
}

/// The longest tar of a layer within the limits.
fn tar_limit(limits: &Limits) -> u64 {
    limits.bytes.saturating_add(limits.entries.saturating_mul(2048))
}

/// Unpacks `blob` into the stage, hashing what comes out.
fn unpack(
    blob: File,
    stage: &LayerStage,
    below: Option<&Root>,
    layer: &str,
) -> Result<Done, UnpackError> {
    let fs = stage.fs();
    // The mode of a layer's directory is that of the container's root.
    std::fs::set_permissions(&fs, std::fs::Permissions::from_mode(0o755))
        .map_err(UnpackError::io("set the mode of", &fs))?;
    let root = Root::open_dir(&fs)?;
    let limits = Limits::default();
    let (sender, receiver) = sync_channel(PIECES);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(blob, tar_limit(&limits), sender));
        let mut tar = Pieces { receiver, piece: Vec::new(), taken: 0 };
        let applied = apply(&mut tar, &root, below, &limits).and_then(|applied| {
            // What follows the end of the archive belongs to the diff id all the same.
            io::copy(&mut tar, &mut io::sink())
                .map(|_| applied)
                .map_err(|error| ApplyError::Tar(error.into()))
        });
        drop(tar);
        let (diff_id, tar_size) = producer.join().expect("reading a blob does not panic");
        let applied =
            applied.map_err(|source| UnpackError::Apply { layer: layer.to_owned(), source })?;
        Ok(Done { applied, diff_id, tar_size })
    })
}

/// Sends what comes out of `blob` in pieces, and says what it was. An error is the last piece.
/// Ends early if nobody listens.
fn produce(blob: File, limit: u64, sender: SyncSender<io::Result<Vec<u8>>>) -> (DiffId, u64) {
    let mut hashed = DigestWriter::new(io::sink());
    let result = decompress(blob, None, limit).and_then(|mut tar| {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            tar.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
            if piece.is_empty() {
                return Ok(());
            }
            hashed.write_all(&piece)?;
            if sender.send(Ok(piece)).is_err() {
                return Ok(());
            }
        }
    });
    if let Err(error) = result {
        drop(sender.send(Err(error)));
    }
    let (_, digest, size) = hashed.finish();
    (DiffId(digest), size)
}

/// The pieces as one stream.
struct Pieces {
    receiver: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    taken: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => (self.piece, self.taken) = (piece?, 0),
                Err(_) => return Ok(0),
            }
        }
        let rest = &self.piece[self.taken..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}
