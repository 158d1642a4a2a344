//! Finds out what bases are: what a tag points at, what a layout or a tar has.
//!
//! A tag that was asked for once is not asked for again unless `--pull` says so, and no
//! layer is fetched before a step needs it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bakehouse_engine::snapshot::{self, ExportError, UnpackError};
use bakehouse_model::oci::{
    Descriptor, ImageConfig, Manifest, Platform, Reference, RootFs, media_type,
};
use bakehouse_model::op::ImageSource;
use bakehouse_model::{ChainId, Compression, Diagnostic, Digest, Severity};
use bakehouse_plan::assemble;
use bakehouse_plan::lower::{Base, BaseImage, BaseQuestion};
use bakehouse_registry::Client;
use bakehouse_store::layout::{Layout, LayoutError, MAX_DOCUMENT};
use bakehouse_store::{Store, StoreError};

use crate::failure::{Failure, Kind};
use crate::memory::StoreMemory;
use crate::request::NamedContext;
use crate::request::Request;

/// Looks bases up.
#[derive(Debug)]
pub struct Lookup<'a> {
    /// Where documents are kept.
    pub store: &'a Store,
    /// Who asks registries.
    pub client: &'a Client,
    /// Whether to ask again for what is known.
    pub pull: bool,
    /// Whether nobody may be asked.
    pub offline: bool,
    /// Who reads contexts while images are lowered, so that they need not be waited for.
    pub memory: Option<&'a StoreMemory>,
}

impl<'a> Lookup<'a> {
    /// As `request` wants it, online; `memory` reads contexts meanwhile.
    pub fn of(
        request: &Request,
        store: &'a Store,
        client: &'a Client,
        memory: Option<&'a StoreMemory>,
    ) -> Self {
        Self { store, client, pull: request.pull, offline: false, memory }
    }
}

/// Which index a manifest was last found in.
const INDEX_BUCKET: &str = "image-index-v1";

/// The manifest that an image came to when it was last looked up, and the index that it was
/// found in; none if it was found in none.
pub fn index_of(store: &Store, name: &str, platform: &Platform) -> Option<(Digest, Digest)> {
    let reference = name.parse::<Reference>().ok()?;
    let manifest = store.resolution(&reference, platform).ok()??.manifest;
    let index = store.read_small(INDEX_BUCKET, manifest.as_str()).ok()??;
    Some((manifest, std::str::from_utf8(&index).ok()?.parse().ok()?))
}

/// Look-ups that run at once.
const AT_ONCE: usize = 16;

fn not_found(question: &BaseQuestion, failure: &Failure) -> Diagnostic {
    let near = question.near.as_ref().map(|n| format!("did you mean the stage `{n}`?"));
    Diagnostic {
        location: question.location.clone(),
        severity: Severity::Error,
        code: "base-not-found".to_owned(),
        message: failure.causes.join(": "),
        help: near.or_else(|| failure.hints.first().cloned()),
    }
}

impl Lookup<'_> {
    /// What each question comes to. What cannot be had is refused, with a diagnostic for its
    /// place; the others go on.
    pub fn all(
        &self,
        questions: &[BaseQuestion],
        diagnostics: &mut Vec<Diagnostic>,
    ) -> BTreeMap<(String, Platform), Base> {
        let mut places: BTreeMap<(String, Platform), Vec<&BaseQuestion>> = BTreeMap::new();
        for question in questions {
            let key = (question.name.clone(), question.platform.clone());
            places.entry(key).or_default().push(question);
        }
        // Each base is looked up once, however often it is written.
        let keys: Vec<(String, Platform)> = places.keys().cloned().collect();
        let mut known = BTreeMap::new();
        for some in keys.chunks(AT_ONCE) {
            for (key, answer) in some.iter().zip(self.at_once(some)) {
                let base = answer.unwrap_or_else(|failure| {
                    diagnostics.extend(places[key].iter().map(|place| not_found(place, &failure)));
                    Base::Refused(failure.causes.join(": "))
                });
                known.insert(key.clone(), base);
            }
        }
        known
    }

    fn at_once(&self, keys: &[(String, Platform)]) -> Vec<Result<Base, Failure>> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = keys
                .iter()
                .map(|(name, platform)| scope.spawn(|| self.image(name, platform)))
                .collect();
            let lost = || Failure::new(Kind::Internal, "a look-up ended in a panic");
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(lost())))
                .collect()
        })
    }

    /// What an image reference comes to.
    pub fn image(&self, name: &str, platform: &Platform) -> Result<Base, Failure> {
        let reference: Reference =
            name.parse().map_err(|error| Failure::from_error(Kind::Input, &error))?;
        if !self.pull
            && let Some(known) = self.store.resolution(&reference, platform)?
            && let Some(base) = self.stored(&reference, platform, &known.manifest)?
        {
            return Ok(base);
        }
        if self.offline {
            let what = format!(
                "`{}` was never looked up, and --offline asks nobody",
                reference.familiar()
            );
            return Err(Failure::new(Kind::Environment, what).hint("leave out --offline once"));
        }
        let resolved = self.client.resolve(&reference, platform).map_err(|error| {
            let mut failure = Failure::from(error);
            failure
                .causes
                .insert(0, format!("the base image `{}` cannot be had", reference.familiar()));
            failure
        })?;
        if let Some(index) = &resolved.index {
            let manifest = resolved.manifest.digest.as_str();
            // Losing it costs a hit in a cache of BuildKit's, and nothing else.
            drop(self.store.write_small(INDEX_BUCKET, manifest, index.as_str().as_bytes()));
        }
        let digest = resolved.manifest.digest;
        self.store.put_resolution(&reference, platform, &digest)?;
        let base = self.stored(&reference, platform, &digest)?;
        base.ok_or_else(|| Failure::new(Kind::Internal, "a manifest that was just fetched is gone"))
    }

    /// The base with that manifest, if its documents are in the store.
    fn stored(
        &self,
        reference: &Reference,
        platform: &Platform,
        digest: &Digest,
    ) -> Result<Option<Base>, Failure> {
        if self.store.blob_size(digest).is_none() {
            return Ok(None);
        }
        let manifest: Manifest = self.document(digest, "manifest")?;
        if self.store.blob_size(&manifest.config.digest).is_none() {
            return Ok(None);
        }
        let config: ImageConfig = self.document(&manifest.config.digest, "configuration")?;
        let source = ImageSource {
            reference: reference.clone(),
            manifest: digest.clone(),
            platform: platform.clone(),
            chain: ChainId::of(&config.rootfs.diff_ids),
        };
        Ok(Some(Base::Image(Box::new(BaseImage { source, config }))))
    }

    fn document<T: serde::de::DeserializeOwned>(
        &self,
        digest: &Digest,
        what: &str,
    ) -> Result<T, Failure> {
        let bytes = self.store.read_blob(digest, MAX_DOCUMENT)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::doing(Kind::Environment, format_args!("read the {what} {digest}"), &error)
        })
    }

    /// What a context comes to, for a platform.
    pub fn context(
        &self,
        name: &str,
        context: &NamedContext,
        platform: &Platform,
    ) -> Result<Base, Failure> {
        match context {
            NamedContext::Folder(source) => Ok(Base::Context(source.clone())),
            NamedContext::Image(name) if name == "scratch" => Ok(Base::Scratch),
            NamedContext::Image(reference) => Ok(Base::Ask(reference.clone())),
            NamedContext::Layout(path, tag) => self.layout(name, path, tag.as_deref(), platform),
            NamedContext::RootfsTar(path) => self.rootfs(name, path, platform),
        }
    }

    fn layout(
        &self,
        name: &str,
        path: &Path,
        tag: Option<&str>,
        platform: &Platform,
    ) -> Result<Base, Failure> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::doing(kind_of(error), format_args!("use the context `{name}`"), error)
        };
        let layout = Layout::open(path).map_err(|error| failed(&error))?;
        let images = layout.images();
        let found = match tag {
            Some(tag) => layout.find(tag).map_err(|error| failed(&error))?,
            None => images.first().filter(|_| images.len() == 1).map(|(_, image)| image.clone()),
        };
        let Some(found) = found else {
            let names: Vec<String> = images.into_iter().filter_map(|(name, _)| name).collect();
            let what = format!("the layout `{}` has no such image", path.display());
            return Err(
                Failure::new(Kind::Input, what).hint(format!("it has: {}", names.join(", ")))
            );
        };
        let manifest =
            layout.import(self.store, &found, Some(platform)).map_err(|error| failed(&error))?;
        self.local(name, platform, &manifest.digest)
    }

    /// An image that comes from no registry, under a name that says so.
    fn local(&self, name: &str, platform: &Platform, digest: &Digest) -> Result<Base, Failure> {
        let clean: String = name
            .chars()
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
            .collect();
        let clean = clean.trim_matches('-');
        let text = format!("context.local/{}", if clean.is_empty() { "image" } else { clean });
        // Dashes in a row are fine, and both ends are letters or digits.
        let reference: Reference =
            text.parse().map_err(|e| Failure::from_error(Kind::Input, &e))?;
        let reference = reference.with_digest(digest.clone());
        let base = self.stored(&reference, platform, digest)?;
        base.ok_or_else(|| Failure::new(Kind::Internal, "an image that was just imported is gone"))
    }

    fn rootfs(&self, name: &str, path: &Path, platform: &Platform) -> Result<Base, Failure> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::doing(
                kind_of(error),
                format_args!("use the root file system of `{name}`"),
                error,
            )
        };
        let known = self.known_rootfs(path, platform);
        let digest = match known {
            Some(digest) => digest,
            None => {
                let (layers, diff_id) =
                    snapshot::unpack_rootfs_tar(self.store, path).map_err(|e| failed(&e))?;
                let blob = snapshot::export_layer(
                    self.store,
                    &layers.layers[0],
                    &[],
                    Compression::Uncompressed,
                    snapshot::ExportOptions::default(),
                );
                let (_, blob) = blob.map_err(|error| failed(&error))?;
                let digest = self.rootfs_image(diff_id, blob, platform)?;
                self.store.put_unpacked(&digest, &layers)?;
                self.remember_rootfs((path, platform), &digest);
                digest
            }
        };
        self.local(name, platform, &digest)
    }

    /// A tar that has the size and the times it had when it was unpacked is not read again.
    fn known_rootfs(&self, path: &Path, platform: &Platform) -> Option<Digest> {
        let bytes = self.store.read_small("rootfs-v2", &rootfs_name(path, platform)?).ok()??;
        let digest: Digest = String::from_utf8(bytes).ok()?.parse().ok()?;
        self.store.unpacked(&digest).ok()??;
        let manifest: Manifest = self.document(&digest, "manifest").ok()?;
        let mut blobs = manifest.layers.iter().chain([&manifest.config]);
        blobs.all(|blob| self.store.blob_size(&blob.digest).is_some()).then_some(digest)
    }

    /// Losing it costs only time.
    fn remember_rootfs(&self, (path, platform): (&Path, &Platform), digest: &Digest) {
        if let Some(name) = rootfs_name(path, platform) {
            drop(self.store.write_small("rootfs-v2", &name, digest.as_str().as_bytes()));
        }
    }

    fn rootfs_image(
        &self,
        diff_id: bakehouse_model::DiffId,
        blob: Descriptor,
        platform: &Platform,
    ) -> Result<Digest, Failure> {
        let config = ImageConfig {
            created: Some("1970-01-01T00:00:00Z".to_owned()),
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone().unwrap_or_default(),
            rootfs: RootFs { diff_ids: vec![diff_id.clone()], ..RootFs::default() },
            ..ImageConfig::default()
        };
        let bytes = assemble::document(&config);
        let config = self.store.put_blob(&bytes)?;
        let config = Descriptor::new(media_type::CONFIG, config, bytes.len() as u64);
        let layers = [assemble::Layer { diff_id, blob, created_ms: 0 }];
        let manifest = assemble::manifest(config, &layers, assemble::MediaTypes::Oci);
        Ok(self.store.put_blob(&assemble::document(&manifest))?)
    }
}

/// What is wrong with a file is its author's to repair, a full disk is not.
fn kind_of(error: &(dyn std::error::Error + 'static)) -> Kind {
    use std::io::ErrorKind;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let machine =
            [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::ReadOnlyFilesystem];
        let io = error.downcast_ref::<std::io::Error>();
        let store = store_error(error).is_some_and(|error| {
            matches!(
                error,
                StoreError::Full { .. }
                    | StoreError::ReadOnly { .. }
                    | StoreError::Io { .. }
                    | StoreError::Index { .. }
            )
        });
        if store || io.is_some_and(|io| machine.contains(&io.kind())) {
            return Kind::Environment;
        }
        cause = error.source();
    }
    Kind::Input
}

/// What the store says, if that is all that the error says.
fn store_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e StoreError> {
    match (error.downcast_ref(), error.downcast_ref(), error.downcast_ref()) {
        (Some(UnpackError::Store(error)), ..)
        | (_, Some(ExportError::Store(error)), _)
        | (.., Some(LayoutError::Store(error))) => Some(error),
        _ => error.downcast_ref(),
    }
}

/// What a tar of a root file system is remembered as: its image says which platform it is for.
fn rootfs_name(path: &Path, platform: &Platform) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(path).ok()?;
    // The first block tells two tars apart that were written in one tick of the clock.
    let mut start = Vec::new();
    File::open(path).ok()?.take(4096).read_to_end(&mut start).ok()?;
    let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    let (size, node, start) = (meta.len(), meta.ino(), Digest::of(start));
    let text = format!("{path:?} {platform} {size} {node} {times:?} {start}");
    Some(Digest::of(text).hex().to_owned())
}
