//! Sources: images, files from URLs, Git checkouts.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bakehouse_engine::snapshot;
use bakehouse_model::oci::{ImageConfig, Manifest};
use bakehouse_model::op::{GitSource, HttpSource, ImageSource};
use bakehouse_model::{Digest, Snapshot, Stream, TransferKind};
use bakehouse_plan::address::without_password;
use bakehouse_plan::attest;
use bakehouse_run::{BackendError, Built, Log};

use super::engine::{EngineBackend, commit};
use crate::checkout::{CheckoutError, Watch, checkout};
use crate::memory::store_error;
use crate::transfer::Transfer;

/// The largest manifest or configuration.
const MAX_DOCUMENT: u64 = 4 << 20;

impl EngineBackend {
    pub(super) fn pull(
        &self,
        image: &ImageSource,
        log: &mut Log<'_>,
    ) -> Result<Built, BackendError> {
        if let Some(snapshot) = self.store.unpacked(&image.manifest).map_err(store_error)? {
            return Ok(Built { snapshot, fetched: None });
        }
        let manifest: Manifest = self.document(&image.manifest)?;
        let config: ImageConfig = self.document(&manifest.config.digest)?;
        let what = image.reference.familiar();
        let transfer = Transfer::new(TransferKind::Pull, &what, log.teller());
        // Layers that the store has are not fetched; those of a layout or a tar always are there.
        self.client
            .fetch_layers(&image.reference, &manifest, &|done, total| transfer.tell(done, total))
            .map_err(|error| client_error(&format!("pull `{what}`"), error))?;
        let snapshot = snapshot::unpack_image(&self.store, &manifest, &config, &mut |_, _| {})
            .map_err(|error| BackendError::environment(format!("unpack `{what}`"), error))?;
        self.store.put_unpacked(&image.manifest, &snapshot).map_err(store_error)?;
        Ok(Built { snapshot, fetched: None })
    }

    fn document<T: serde::de::DeserializeOwned>(&self, digest: &Digest) -> Result<T, BackendError> {
        let bytes = self.store.read_blob(digest, MAX_DOCUMENT).map_err(store_error)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            BackendError::environment(format!("read the document {digest}"), error)
        })
    }

    pub(super) fn download(
        &self,
        http: &HttpSource,
        log: &mut Log<'_>,
    ) -> Result<Built, BackendError> {
        let url = http.url.split('?').next().unwrap_or(&http.url);
        let what = bakehouse_render::clean(&without_password(url));
        let transfer = Transfer::new(TransferKind::Download, &what, log.teller());
        let got = self
            .client
            .download(&http.url, &|done, total| transfer.tell(done, total))
            .map_err(|error| client_error(&format!("download `{what}`"), error))?;
        if let Some(wanted) = http.checksum.as_ref().filter(|wanted| **wanted != got.digest) {
            return Err(BackendError::Input {
                what: format!("digest mismatch for `{what}`: {}, wanted {wanted}", got.digest),
                hints: vec!["correct --checksum, or find out who changed the file".to_owned()],
            });
        }
        let stage = self.store.stage_layer().map_err(store_error)?;
        let path = stage.fs().join(&http.file_name);
        let failed =
            |error: std::io::Error| BackendError::environment("write the downloaded file", error);
        let mut blob = self.store.open_blob(&got.digest).map_err(store_error)?;
        let mut file = fs::File::create(&path).map_err(failed)?;
        std::io::copy(&mut blob, &mut file).map_err(failed)?;
        file.flush().map_err(failed)?;
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let modified = u64::try_from(got.last_modified.unwrap_or(0)).unwrap_or(0);
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(modified);
        file.set_modified(modified).map_err(failed)?;
        let layer = commit(stage)?;
        self.fetched.note(attest::http_address(http), got.digest.hex());
        let name = format!("{} {} {}", http.file_name, got.digest, got.last_modified.unwrap_or(0));
        let snapshot = Snapshot::default().with(layer);
        Ok(Built { snapshot, fetched: Some(Digest::of(name)) })
    }

    /// A checkout, by the user's own `git`, with the user's own credentials.
    pub(super) fn checkout(
        &self,
        git: &GitSource,
        log: &mut Log<'_>,
    ) -> Result<Built, BackendError> {
        let stage = self.store.stage_layer().map_err(store_error)?;
        let work = stage.work().join("checkout");
        let failed =
            |error: std::io::Error| BackendError::environment("use a folder of the store", error);
        fs::create_dir_all(&work).map_err(failed)?;
        let mut say = |line: &str| log.line(Stream::Stderr, line.to_owned());
        let watch = Watch { log: &mut say, is_cancelled: &|| self.cancel.is_cancelled() };
        let commit_id = checkout(git, (&work, &stage.fs()), watch).map_err(checkout_error)?;
        let layer = commit(stage)?;
        self.fetched.note(attest::git_address(git), &commit_id);
        let name = format!("{commit_id} {}", shape(git));
        let snapshot = Snapshot::default().with(layer);
        Ok(Built { snapshot, fetched: Some(Digest::of(name)) })
    }
}

/// What a checkout is made of besides its commit.
fn shape(git: &GitSource) -> String {
    let mut shape =
        GitSource { remote: without_password(&git.remote), checksum: None, ..git.clone() };
    if !git.keep_git_dir {
        // Nothing but `.git` tells which name the commit had.
        shape.reference = None;
    }
    serde_json::to_string(&shape).expect("plain fields")
}

/// What this run fetched: the digests of files and the commits of repositories, by address.
#[derive(Debug, Default)]
pub struct Fetched {
    known: Mutex<BTreeMap<String, String>>,
}

impl Fetched {
    fn note(&self, address: String, hex: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(address, hex.to_owned());
    }

    /// All of it, so far.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What cannot be fetched at all is the network's fault, or the remote's; the rest is the
/// Dockerfile's.
fn checkout_error(error: CheckoutError) -> BackendError {
    let hint = match &error {
        CheckoutError::Cancelled => return BackendError::Cancelled,
        CheckoutError::NoGit(_) => "install git: ADD of a repository needs it",
        CheckoutError::Folder(_) => "",
        CheckoutError::Unreachable { .. } => "check the address, the network and git's credentials",
        CheckoutError::Checksum { .. } => "correct the checksum, or find out what was changed",
        _ => return BackendError::Input { what: error.to_string(), hints: Vec::new() },
    };
    let hints = Some(hint.to_owned()).filter(|hint| !hint.is_empty()).into_iter().collect();
    if matches!(error, CheckoutError::Checksum { .. }) {
        return BackendError::Input { what: error.to_string(), hints };
    }
    let doing = "check a Git repository out".to_owned();
    BackendError::Environment { doing, source: Box::new(error), hints }
}

/// What a registry or a server did wrong, with what to do about it.
pub(crate) fn client_error(doing: &str, error: bakehouse_registry::ClientError) -> BackendError {
    let hints = error.hints();
    BackendError::Environment { doing: doing.to_owned(), source: Box::new(error), hints }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_of_another_shape_is_another_one() {
        let plain = GitSource {
            remote: "https://user:old@host/r.git".to_owned(),
            reference: Some("main".to_owned()),
            subdir: None,
            keep_git_dir: false,
            submodules: true,
            commit_times: false,
            checksum: None,
        };
        let kept = GitSource { keep_git_dir: true, ..plain.clone() };
        let others = [
            GitSource { submodules: false, ..plain.clone() },
            GitSource { commit_times: true, ..plain.clone() },
            GitSource { subdir: Some("a".to_owned()), ..plain.clone() },
            GitSource { reference: Some("v1".to_owned()), ..kept.clone() },
            GitSource { remote: "https://host/other.git".to_owned(), ..kept.clone() },
            kept,
        ];
        let mut shapes: Vec<String> = others.iter().chain([&plain]).map(shape).collect();
        shapes.sort();
        shapes.dedup();
        assert_eq!(shapes.len(), 7, "{shapes:#?}");
        for same in [
            GitSource { checksum: Some("ab".to_owned()), ..plain.clone() },
            GitSource { reference: None, ..plain.clone() },
            GitSource { remote: "https://user:new@host/r.git".to_owned(), ..plain.clone() },
        ] {
            assert_eq!(shape(&same), shape(&plain));
        }
    }
}
