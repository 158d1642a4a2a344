//! Layers of the store as blobs of an image.

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use bakehouse_model::oci::{Descriptor, media_type};
use bakehouse_model::{Compression, DiffId, LayerId};
use bakehouse_store::{Store, StoreError};
use thiserror::Error;

use super::compress::{LayerWriter, LevelError, Packed, Packing};
use super::diff::{DiffError, DiffOptions, write_layer};
use super::overlay::{MountError, MountOptions, Overlay};
use super::unpack::{UnpackError, directories};
use crate::Root;

/// How to export layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// How hard to compress; the usual level if none.
    pub level: Option<u8>,
    /// Threads that compress one layer; as many as there are cores if none.
    pub threads: Option<NonZeroUsize>,
    /// No time in the layer is later than this, in seconds: `rewrite-timestamp`. The tar is
    /// then made anew and is not remembered as the layer's, so this is not for base layers.
    pub clamp: Option<i64>,
    /// Make the blob anew even if the store has one.
    pub force_compression: bool,
}

/// A layer could not be exported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The layer is not in the store.
    #[error("layer `{layer}` is not in the store")]
    Missing {
        /// The layer.
        layer: LayerId,
    },
    /// The layers below cannot be looked at.
    #[error("cannot mount what is below layer `{layer}`")]
    Mount {
        /// The layer.
        layer: LayerId,
        /// Why.
        source: MountError,
    },
    /// The layer cannot be written as a tar.
    #[error("cannot make a tar of layer `{layer}`")]
    Diff {
        /// The layer.
        layer: LayerId,
        /// Why.
        source: DiffError,
    },
    /// The tar cannot be written.
    #[error("cannot write the blob of layer `{layer}`")]
    Write {
        /// The layer.
        layer: LayerId,
        /// Why.
        source: io::Error,
    },
    /// The layer gives another tar than it did before.
    #[error("layer `{layer}` has the diff id `{known}`, but its tar has `{found}`")]
    Changed {
        /// The layer.
        layer: LayerId,
        /// What the store says.
        known: DiffId,
        /// What it is now.
        found: DiffId,
    },
    /// A layer that is packed cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// There is no such level.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The media type of a layer, as OCI names it.
pub fn layer_media_type(compression: Compression) -> &'static str {
    match compression {
        Compression::Uncompressed => media_type::LAYER,
        Compression::Gzip => media_type::LAYER_GZIP,
        Compression::Zstd => media_type::LAYER_ZSTD,
    }
}

/// Makes sure that the store has the blob of `layer`, which stands on `lowers`, lowest
/// first, and says what it is. What the store has already is not made again.
pub fn export_layer(
    store: &Store,
    layer: &LayerId,
    lowers: &[LayerId],
    compression: Compression,
    options: ExportOptions,
) -> Result<(DiffId, Descriptor), ExportError> {
    let known = known_diff_id(store, layer)?.filter(|_| options.clamp.is_none());
    if let Some(diff_id) = &known
        && !options.force_compression
        && let Some(blob) = store.layer_blob(diff_id, compression)?
    {
        return Ok((diff_id.clone(), blob));
    }
    let mut packing = Packing { level: options.level, ..Packing::new(compression) };
    packing.threads = options.threads.unwrap_or(packing.threads);
    if let Some(known) = &known
        && let Some(blob) = repack(store, layer, known, packing)?
    {
        return Ok((known.clone(), blob));
    }
    let source = Source { store, layer, lowers };
    let (packed, ingest) = source.write(packing, options, store.ingest()?)?;
    let found = packed.diff_id.clone();
    match known {
        Some(known) if known != found => {
            return Err(ExportError::Changed { layer: layer.clone(), known, found });
        }
        None if options.clamp.is_none() => store.set_diff_id(layer, &found, packed.tar_size)?,
        _ => {}
    }
    let (digest, size) = ingest.commit(None)?;
    let blob = Descriptor::new(layer_media_type(compression), digest, size);
    store.set_layer_blob(&packed.diff_id, compression, &blob)?;
    Ok((packed.diff_id, blob))
}

/// The diff id of `layer`, which stands on `lowers`, without making a blob of it.
pub fn digest_layer(
    store: &Store,
    layer: &LayerId,
    lowers: &[LayerId],
    options: ExportOptions,
) -> Result<DiffId, ExportError> {
    let known = known_diff_id(store, layer)?;
    if let Some(known) = known
        && options.clamp.is_none()
    {
        return Ok(known);
    }
    let packing = Packing::new(Compression::Uncompressed);
    let (packed, _) = Source { store, layer, lowers }.write(packing, options, io::sink())?;
    if options.clamp.is_none() {
        store.set_diff_id(layer, &packed.diff_id, packed.tar_size)?;
    }
    Ok(packed.diff_id)
}

fn known_diff_id(store: &Store, layer: &LayerId) -> Result<Option<DiffId>, ExportError> {
    let missing = || ExportError::Missing { layer: layer.clone() };
    Ok(store.layer_meta(layer)?.ok_or_else(missing)?.diff_id)
}

/// Packs the tar that another blob of the layer has. A layer of a base image must go this
/// way: its directory need not give the very bytes of the tar that it was made of.
fn repack(
    store: &Store,
    layer: &LayerId,
    diff_id: &DiffId,
    packing: Packing,
) -> Result<Option<Descriptor>, ExportError> {
    let all = [Compression::Uncompressed, Compression::Zstd, Compression::Gzip];
    for from in all {
        let Some(blob) = store.layer_blob(diff_id, from)? else { continue };
        let file = store.open_blob(&blob.digest)?;
        let failed = |source| ExportError::Write { layer: layer.clone(), source };
        let mut tar = super::decompress(file, Some(from), u64::MAX).map_err(failed)?;
        let mut writer = LayerWriter::new(store.ingest()?, packing)?;
        let mut buffer = vec![0; 1 << 17];
        loop {
            match io::Read::read(&mut tar, &mut buffer).map_err(failed)? {
                0 => break,
                read => io::Write::write_all(&mut writer, &buffer[..read]).map_err(failed)?,
            }
        }
        let (ingest, packed) = writer.finish().map_err(failed)?;
        if packed.diff_id != *diff_id {
            let (known, found) = (diff_id.clone(), packed.diff_id);
            return Err(ExportError::Changed { layer: layer.clone(), known, found });
        }
        let (digest, size) = ingest.commit(None)?;
        let blob = Descriptor::new(layer_media_type(packing.compression), digest, size);
        store.set_layer_blob(diff_id, packing.compression, &blob)?;
        return Ok(Some(blob));
    }
    Ok(None)
}

/// A layer and what it stands on.
struct Source<'a> {
    store: &'a Store,
    layer: &'a LayerId,
    lowers: &'a [LayerId],
}

impl Source<'_> {
    /// Writes the layer's tar, packed, to `out`.
    fn write<W: io::Write>(
        &self,
        packing: Packing,
        options: ExportOptions,
        out: W,
    ) -> Result<(Packed, W), ExportError> {
        let layer = || self.layer.clone();
        if let Some(missing) = self.lowers.iter().find(|lower| !self.store.has_layer(lower)) {
            return Err(ExportError::Missing { layer: missing.clone() });
        }
        let all = [self.lowers, std::slice::from_ref(self.layer)].concat();
        let mut lowers = directories(self.store, &all)?;
        let upper = lowers.pop().expect("the layer itself is the last");
        let below = self.mount(&lowers)?;
        let mut writer = LayerWriter::new(out, packing)?;
        let diff = DiffOptions { clamp: options.clamp };
        write_layer(&upper, below.as_ref(), &mut writer, diff)
            .map_err(|source| ExportError::Diff { layer: layer(), source })?;
        let (out, packed) =
            writer.finish().map_err(|source| ExportError::Write { layer: layer(), source })?;
        Ok((packed, out))
    }

    /// The file system that the layer stands on; none for the lowest.
    fn mount(&self, lowers: &[PathBuf]) -> Result<Option<Root>, ExportError> {
        if lowers.is_empty() {
            return Ok(None);
        }
        let mount = Overlay::mount(lowers, None, MountOptions::default())
            .map_err(|source| ExportError::Mount { layer: self.layer.clone(), source })?;
        Ok(Some(Root::from_fd(mount)))
    }
}
