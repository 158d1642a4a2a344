//! Opening the store, and what can go wrong with it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bakehouse_model::{Digest, LayerId};
use rustix::fs::Access;
use thiserror::Error;

use crate::index::Index;
use crate::scratch::{self, Scratch};

/// The tree this program reads and writes.
const VERSION: u32 = 1;
const VERSION_PREFIX: &str = "bakehouse-store ";
/// The mode of its folders: nobody but the owner gets in.
const PRIVATE: u32 = 0o700;

/// The content store. Cheap to clone; every clone shares one index connection.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    home: PathBuf,
    index: Index,
    /// Made when something is first written, because most runs write nothing.
    scratch: OnceLock<Scratch>,
    /// Layers that were seen to have a directory.
    seen: Mutex<BTreeSet<LayerId>>,
}

/// The store could not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The home is something else than a directory.
    #[error("`{path}` is not a directory, so it cannot be the store's home")]
    NotADirectory {
        /// The home.
        path: PathBuf,
    },
    /// The home may not be written to.
    #[error("the store's home `{path}` is not writable")]
    ReadOnly {
        /// The home.
        path: PathBuf,
    },
    /// A newer program made the store.
    #[error("the store `{path}` has version {found}, this program knows versions up to {known}")]
    Newer {
        /// The home or the file in it.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// The version file says something else.
    #[error("`{path}` does not say which version of a store this is")]
    Version {
        /// The file.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("no space left on the device of `{path}`")]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {doing} `{path}`")]
    Io {
        /// A verb phrase.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The index is damaged.
    #[error("the index `{path}` is damaged; remove it: blobs stay, layers are made again")]
    IndexDamaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The index did not answer.
    #[error("the index `{path}` cannot be used")]
    Index {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The blob is not in the store.
    #[error("blob `{digest}` is not in the store")]
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// Bytes do not hash to what they should.
    #[error("content hashes to `{found}`, not to `{expected}`")]
    DigestMismatch {
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Content has not the size it should have.
    #[error("content of `{digest}` has {found} bytes, not {expected}")]
    SizeMismatch {
        /// Its name.
        digest: Digest,
        /// What it should be.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A document is larger than whoever reads it accepts.
    #[error("blob `{digest}` has {size} bytes, more than the {max} that are accepted")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// The name of a bucket of small files is not a plain word.
    #[error("`{name}` cannot name a bucket of the store")]
    Bucket {
        /// The name.
        name: String,
    },
}

impl StoreError {
    /// Turns an I/O error into one that names the file and what was done to it.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => Self::Full { path },
            _ => Self::Io { doing, path, source },
        }
    }
}

impl Store {
    /// Opens the store at `home` and makes it if it is not there.
    ///
    /// Removes what processes that are gone have left under `tmp/`. Does not touch the
    /// index, so that a caller who needs no rows does not pay for it.
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        make_tree(home)?;
        scratch::clean(&home.join("tmp"));
        let index = Index::new(home);
        let home = home.to_path_buf();
        Ok(Self {
            shared: Arc::new(Shared {
                home,
                index,
                scratch: OnceLock::new(),
                seen: Mutex::default(),
            }),
        })
    }

    /// Where the store is.
    pub fn home(&self) -> &Path {
        &self.shared.home
    }

    /// Makes every layer that is in place now survive a crash of the machine.
    ///
    /// Layers are not synced one by one, because that would cost more than many steps do.
    /// Until this was called, a layer is trusted only as long as the machine runs. May take
    /// as long as the disk needs to write what is in memory; call it at the end of a run.
    pub fn sync(&self) -> Result<(), StoreError> {
        let unsynced = self.unsynced_layers()?;
        if unsynced.is_empty() {
            return Ok(());
        }
        let home = File::open(self.home()).map_err(StoreError::io("open", self.home()))?;
        rustix::fs::syncfs(&home)
            .map_err(io::Error::from)
            .map_err(StoreError::io("sync the file system of", self.home()))?;
        self.mark_synced(&unsynced)
    }

    /// Layers that were seen to have a directory, which none loses while somebody uses it.
    pub(crate) fn seen(&self) -> MutexGuard<'_, BTreeSet<LayerId>> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index(&self) -> &Index {
        &self.shared.index
    }

    /// This process's own folder under `tmp/`.
    pub(crate) fn scratch(&self) -> Result<&Scratch, StoreError> {
        if let Some(scratch) = self.shared.scratch.get() {
            return Ok(scratch);
        }
        let made = Scratch::new(&self.home().join("tmp"))?;
        // If another thread was faster, its folder is used and ours is dropped.
        Ok(self.shared.scratch.get_or_init(|| made))
    }
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Makes the folders that are always there; someone may have removed one by hand. The
/// version file is written last, so that a tree that has one is complete.
fn make_tree(home: &Path) -> Result<(), StoreError> {
    let file = home.join("version");
    let is_new = match fs::read_to_string(&file) {
        Ok(text) => {
            check_version(&file, &text)?;
            check_writable(home)?;
            false
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(StoreError::NotADirectory { path: home.to_path_buf() });
        }
        Err(error) => return Err(StoreError::io("read", &file)(error)),
    };
    for folder in ["blobs/sha256", "partial", "layers-v1", "cache-mounts-v1", "leases", "tmp"] {
        let folder = home.join(folder);
        let mut private = fs::DirBuilder::new();
        match private.mode(PRIVATE).create(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => shut(&folder)?,
            Err(_) => {
                private
                    .recursive(true)
                    .create(&folder)
                    .map_err(|error| refused(home, &folder, error))?;
            }
        }
    }
    if is_new { write_version(home, &file) } else { Ok(()) }
}

/// Keeps other users out of a folder. A tree in it may have programs
/// that run as root for whoever starts them, and files of private images.
fn shut(folder: &Path) -> Result<(), StoreError> {
    let found = fs::metadata(folder).map_err(StoreError::io("look at", folder))?;
    if !found.is_dir() || found.mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(PRIVATE))
        .map_err(StoreError::io("make private", folder))
}

fn write_version(home: &Path, file: &Path) -> Result<(), StoreError> {
    let draft = home.join(format!("version.{}", crate::lock::unique_name()));
    let mut written = File::create(&draft).map_err(|error| refused(home, &draft, error))?;
    writeln!(written, "{VERSION_PREFIX}{VERSION}").map_err(StoreError::io("write", &draft))?;
    written.sync_all().map_err(StoreError::io("sync", &draft))?;
    fs::rename(&draft, file).map_err(StoreError::io("rename", &draft))
}

fn refused(home: &Path, path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::ReadOnly { path: home.to_path_buf() }
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            StoreError::NotADirectory { path: path.to_path_buf() }
        }
        _ => StoreError::io("create", path)(error),
    }
}

fn check_version(file: &Path, text: &str) -> Result<(), StoreError> {
    let found = text.strip_prefix(VERSION_PREFIX).and_then(|rest| rest.trim_end().parse().ok());
    match found {
        Some(VERSION) => Ok(()),
        Some(found) if found > VERSION => {
            Err(StoreError::Newer { path: file.to_path_buf(), found, known: VERSION })
        }
        _ => Err(StoreError::Version { path: file.to_path_buf() }),
    }
}

fn check_writable(home: &Path) -> Result<(), StoreError> {
    match rustix::fs::accessat(
        rustix::fs::CWD,
        home,
        Access::WRITE_OK | Access::EXEC_OK,
        rustix::fs::AtFlags::EACCESS,
    ) {
        Ok(()) => Ok(()),
        Err(_) => Err(StoreError::ReadOnly { path: home.to_path_buf() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_opens_twice_and_keeps_its_tree() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("deep/home");
        for _ in 0..2 {
            let store = Store::open(&home).unwrap();
            assert_eq!(store.home(), home);
        }
        assert_eq!(fs::read_to_string(home.join("version")).unwrap(), "bakehouse-store 1\n");
        assert!(home.join("blobs/sha256").is_dir());
        assert!(!home.join("index-v1.sqlite").exists(), "the index is made when it is needed");
        fs::remove_dir_all(home.join("blobs")).unwrap();
        Store::open(&home).unwrap().put_blob(b"x").unwrap();
    }

    #[test]
    fn other_users_get_into_no_folder_of_a_store_new_or_old() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let names = ["blobs/sha256", "partial", "layers-v1", "cache-mounts-v1", "leases", "tmp"];
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        Store::open(&home).unwrap();
        assert_eq!(mode(&home), 0o700);
        for name in names {
            fs::set_permissions(home.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::remove_dir(home.join("partial")).unwrap();
        Store::open(&home).unwrap();
        for name in names {
            assert_eq!(mode(&home.join(name)), 0o700, "{name}");
        }
    }

    #[test]
    fn a_home_that_cannot_be_used_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(Store::open(&file), Err(StoreError::NotADirectory { .. })));
        assert!(matches!(Store::open(&file.join("below")), Err(StoreError::NotADirectory { .. })));

        let home = folder.path().join("home");
        Store::open(&home).unwrap();
        for (text, newer) in [("bakehouse-store 2\n", true), ("junk", false), ("", false)] {
            fs::write(home.join("version"), text).unwrap();
            let error = Store::open(&home).unwrap_err();
            assert_eq!(matches!(error, StoreError::Newer { found: 2, .. }), newer, "{error}");
            assert_eq!(matches!(error, StoreError::Version { .. }), !newer, "{error}");
        }
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
    fn a_home_that_is_read_only_is_refused() {
        if rustix::process::geteuid().is_root() {
            eprintln!("skipped: root may write everywhere");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        Store::open(&home).unwrap();
        let mode = |bits| fs::set_permissions(&home, fs::Permissions::from_mode(bits)).unwrap();
        mode(0o500);
        let opened = Store::open(&home);
        mode(0o700);
        assert!(matches!(opened, Err(StoreError::ReadOnly { .. })));
    }
}
