//! Sources: images, files from URLs, Git checkouts.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use bakehouse_engine::snapshot;
use bakehouse_model::oci::{ImageConfig, Manifest};
use bakehouse_model::op::{GitSource, HttpSource, ImageSource};
use bakehouse_model::{Digest, Snapshot, Stream, TransferKind};
use bakehouse_run::{BackendError, Built, Log};

use super::engine::{EngineBackend, commit};
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
        let what = bakehouse_render::clean(http.url.split('?').next().unwrap_or(&http.url));
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
        let reference = git.reference.as_deref().unwrap_or("HEAD");
        if reference.starts_with('-') || git.remote.starts_with('-') {
            let what = format!("`{}#{reference}` is no Git address", git.remote);
            return Err(BackendError::Input { what, hints: Vec::new() });
        }
        let mut run = |args: &[&str]| self.git(&work, args, log);
        run(&["init", "-q"])?;
        run(&["remote", "add", "origin", &git.remote])?;
        if run(&["fetch", "-q", "--depth", "1", "origin", reference]).is_err() {
            // A server may refuse to give a commit by its name; then all of it is fetched.
            run(&["fetch", "-q", "--tags", "origin"]).map_err(|error| unreachable(git, &error))?;
            let remote = format!("origin/{reference}");
            if run(&["checkout", "-q", &remote]).is_err() {
                run(&["checkout", "-q", reference])?;
            }
        } else {
            run(&["checkout", "-q", "FETCH_HEAD"])?;
        }
        run(&["submodule", "update", "-q", "--init", "--recursive", "--depth", "1"])?;
        let commit_id = run(&["rev-parse", "HEAD"])?.trim().to_owned();
        if let Some(wanted) = git.checksum.as_ref().filter(|wanted| !commit_id.starts_with(*wanted))
        {
            let what = format!("`{}` is at {commit_id}, wanted {wanted}", git.remote);
            return Err(BackendError::Input { what, hints: Vec::new() });
        }
        if !git.keep_git_dir {
            fs::remove_dir_all(work.join(".git")).map_err(failed)?;
        }
        let from = subdir(&work, git.subdir.as_deref())?;
        move_contents(&from, &stage.fs()).map_err(failed)?;
        let layer = commit(stage)?;
        let name = format!("{commit_id} {:?} {}", git.subdir, git.keep_git_dir);
        let snapshot = Snapshot::default().with(layer);
        Ok(Built { snapshot, fetched: Some(Digest::of(name)) })
    }

    fn git(
        &self,
        folder: &std::path::Path,
        args: &[&str],
        log: &mut Log<'_>,
    ) -> Result<String, BackendError> {
        let output = Command::new("git")
            .args(args)
            .current_dir(folder)
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| BackendError::Environment {
                doing: "start `git`".to_owned(),
                source: Box::new(error),
                hints: vec!["install git: ADD of a repository needs it".to_owned()],
            })?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for line in said.lines() {
            log.line(Stream::Stderr, line.to_owned());
        }
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let last = said.lines().last().unwrap_or("git failed").to_owned();
        Err(BackendError::Input { what: last, hints: Vec::new() })
    }
}

/// What cannot be fetched at all is the network's fault, or the remote's.
fn unreachable(git: &GitSource, error: &BackendError) -> BackendError {
    BackendError::Environment {
        doing: format!("fetch `{}`", bakehouse_render::clean(&git.remote)),
        source: error.to_string().into(),
        hints: vec!["check the address, the network and git's credentials".to_owned()],
    }
}

/// The folder of a checkout that is wanted; never one outside of it.
fn subdir(
    work: &std::path::Path,
    subdir: Option<&str>,
) -> Result<std::path::PathBuf, BackendError> {
    let Some(subdir) = subdir else { return Ok(work.to_path_buf()) };
    let inside = work.join(subdir.trim_start_matches('/')).canonicalize().ok();
    let root = work.canonicalize().ok();
    match (inside, root) {
        (Some(inside), Some(root)) if inside.starts_with(&root) && inside.is_dir() => Ok(inside),
        _ => Err(BackendError::Input {
            what: format!("the repository has no folder `{subdir}`"),
            hints: Vec::new(),
        }),
    }
}

fn move_contents(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::rename(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// What a registry or a server did wrong, with what to do about it.
pub(crate) fn client_error(doing: &str, error: bakehouse_registry::ClientError) -> BackendError {
    let hints = error.hints();
    BackendError::Environment { doing: doing.to_owned(), source: Box::new(error), hints }
}
