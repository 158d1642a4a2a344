//! What the last walk of a folder found, for as long as nothing in it has come or gone.
//!
//! A folder's own times change when a name in it does, so a walk need not be repeated while
//! every folder that it read is as it was, and every file that tells it what to leave out. Only
//! stamps that were safely in the past are trusted, as in the index of git; what was found is
//! read anew either way. A memory that is lost or damaged costs a walk.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bakehouse_model::Digest;
use bakehouse_store::Store;
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, FileType};
use serde::{Deserialize, Serialize};

use crate::request::processors;

const BUCKET: &str = "walks-v1";
/// A change this soon after another could have the same time; old file systems keep whole
/// seconds, or every second one.
const SETTLED_NANOS: i128 = 2_000_000_000;
/// What a folder's own files that say what is left out are called, git's private one last.
const IGNORE_FILES: [&str; 3] = [".gitignore", ".ignore", ".git/info/exclude"];
/// Stands in no path from the root.
const BETWEEN: &str = "//";
/// Fewer folders than this are looked at before a thread has started.
const MIN_PER_THREAD: usize = 256;

/// A walk, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Walk {
    /// The folders that were read, from the root, which has no name, with [`BETWEEN`] them: one
    /// text is read faster than many.
    folders: String,
    /// The files that say what of the folders is left out.
    ignores: Vec<PathBuf>,
    /// The names that were found, from the root.
    pub(super) names: Vec<PathBuf>,
    /// Of what all folders and all ignore files were.
    stamps: Digest,
}

/// What tells one state of a file or folder from the next.
type Stamp = Option<(u64, u64, u64, i128, i128)>;

impl Walk {
    /// What was remembered of `root`, if that still holds.
    pub(super) fn recall(root: &Path, store: &Store) -> Option<Self> {
        let bytes = store.read_small(BUCKET, &key(root)).ok()??;
        let walk: Self = serde_json::from_slice(&bytes).ok()?;
        (digest(&walk.look(root)) == walk.stamps).then_some(walk)
    }

    /// Remembers what a walk of `root` that began at `began` has found.
    pub(super) fn keep(
        root: &Path,
        (folders, names): (Vec<String>, Vec<PathBuf>),
        began: SystemTime,
        store: &Store,
    ) {
        let Some(ignores) = ignores(root, &folders) else { return };
        let folders = folders.join(BETWEEN);
        let mut walk = Self { folders, ignores, names, stamps: Digest::of("") };
        let stamps = walk.look(root);
        if !stamps.iter().flatten().all(|stamp| is_settled(stamp, began)) {
            return;
        }
        walk.stamps = digest(&stamps);
        let bytes = serde_json::to_vec(&walk).expect("what is kept is text");
        // Without it the next run walks again.
        drop(store.write_small(BUCKET, &key(root), &bytes));
    }

    /// The state of all that decides what a walk finds, above the root too.
    fn look(&self, root: &Path) -> Vec<Stamp> {
        let Ok(top) = fs::File::open(root) else { return vec![None] };
        let folders: Vec<&Path> = self.folders.split(BETWEEN).map(Path::new).collect();
        let mut stamps = stamps(&top, &folders);
        let above = root.ancestors().skip(1).flat_map(within);
        stamps.extend(self.ignores.iter().cloned().chain(above).map(|path| stamp(CWD, &path)));
        stamps
    }
}

fn within(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let folder = folder.to_owned();
    IGNORE_FILES.into_iter().map(move |name| folder.join(name))
}

/// The files that say what of `folders` is left out; none if they cannot all be named: a linked
/// work tree of git has some elsewhere.
fn ignores(root: &Path, folders: &[String]) -> Option<Vec<PathBuf>> {
    let mut ignores = Vec::new();
    for folder in folders {
        let folder = root.join(folder);
        let git = folder.join(".git");
        if git.is_file() {
            return None;
        }
        // The last one may appear without a trace in the folder's own times.
        let is_repository = git.exists();
        let [own, other, exclude] = IGNORE_FILES.map(|name| folder.join(name));
        ignores.extend([own, other].into_iter().filter(|path| path.exists()));
        ignores.extend(is_repository.then_some(exclude));
    }
    let linked = root.ancestors().skip(1).any(|folder| folder.join(".git").is_file());
    (!linked).then_some(ignores)
}

fn key(root: &Path) -> String {
    let text = format!("{}\0{}", env!("CARGO_PKG_VERSION"), root.display());
    Digest::of(text).hex().to_owned()
}

/// The state of each folder below `top`, looked up on several threads if they are many.
fn stamps(top: &fs::File, folders: &[&Path]) -> Vec<Stamp> {
    let threads = processors().min(folders.len() / MIN_PER_THREAD).max(1);
    let share = folders.len().div_ceil(threads).max(1);
    let look = |share: &[&Path]| share.iter().map(|path| stamp(top, path)).collect::<Vec<Stamp>>();
    std::thread::scope(|scope| {
        let mut shares = folders.chunks(share);
        let first = shares.next().unwrap_or_default();
        let others: Vec<_> = shares.map(|share| scope.spawn(move || look(share))).collect();
        let mut all = look(first);
        for other in others {
            all.extend(other.join().expect("a thread that looks does not panic"));
        }
        all
    })
}

fn stamp(top: impl AsFd, path: &Path) -> Stamp {
    let meta = rustix::fs::statat(top, path, AtFlags::EMPTY_PATH).ok()?;
    let is_folder = FileType::from_raw_mode(meta.st_mode).is_dir();
    let nanos = |secs: i64, nanos: u64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
    Some((
        meta.st_dev,
        meta.st_ino,
        // The size of a folder says nothing, and differs between file systems.
        if is_folder { 0 } else { u64::try_from(meta.st_size).unwrap_or(0) },
        nanos(meta.st_mtime, meta.st_mtime_nsec),
        nanos(meta.st_ctime, meta.st_ctime_nsec),
    ))
}

fn is_settled(&(.., mtime, ctime): &(u64, u64, u64, i128, i128), began: SystemTime) -> bool {
    let now = began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    mtime.max(ctime) + SETTLED_NANOS < i128::try_from(now).unwrap_or(i128::MAX)
}

fn digest(stamps: &[Stamp]) -> Digest {
    let mut bytes = Vec::with_capacity(stamps.len() * 64);
    for stamp in stamps {
        let (device, inode, size, mtime, ctime) = stamp.unwrap_or_default();
        bytes.push(u8::from(stamp.is_some()));
        for number in [device, inode, size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&mtime.to_le_bytes());
        bytes.extend_from_slice(&ctime.to_le_bytes());
    }
    Digest::of(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::discovery::find;

    /// A folder with an image, an ignored one, and a store beside it; all of it long ago.
    fn laid() -> (tempfile::TempDir, PathBuf, Store) {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("tree");
        for (path, text) in [
            ("Dockerfile", "FROM scratch\n"),
            ("app/Dockerfile", "FROM scratch\n"),
            ("old/Dockerfile", "FROM scratch\n"),
            (".gitignore", "/old/\n"),
        ] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        let store = Store::open(&temp.path().join("store")).unwrap();
        (temp, root, store)
    }

    fn paths(root: &Path, store: &Store) -> Vec<String> {
        find(root, Some(store)).files.into_iter().map(|file| file.path).collect()
    }

    /// Remembers a walk as if it had begun well after the last change.
    fn kept(root: &Path, store: &Store) {
        let folders = vec![String::new(), "app".to_owned()];
        let names = vec![PathBuf::from("Dockerfile"), PathBuf::from("app/Dockerfile")];
        Walk::keep(root, (folders, names), SystemTime::now() + Duration::from_secs(10), store);
        assert!(Walk::recall(root, store).is_some());
    }

    #[test]
    fn any_change_of_names_or_of_what_is_left_out_is_seen() {
        type Change = fn(&Path);
        let changes: [(Change, &[&str]); 5] = [
            (|root| fs::create_dir(root.join("new")).unwrap(), &["Dockerfile", "app/Dockerfile"]),
            (
                |root| fs::rename(root.join("Dockerfile"), root.join("x")).unwrap(),
                &["app/Dockerfile"],
            ),
            (
                |root| fs::write(root.join("app/b.Dockerfile"), "FROM scratch\n").unwrap(),
                &["Dockerfile", "app/Dockerfile", "app/b.Dockerfile"],
            ),
            (
                |root| fs::write(root.join(".gitignore"), "").unwrap(),
                &["Dockerfile", "app/Dockerfile", "old/Dockerfile"],
            ),
            (|root| fs::write(root.join("app/.ignore"), "Dockerfile\n").unwrap(), &["Dockerfile"]),
        ];
        for (number, (change, expected)) in changes.into_iter().enumerate() {
            let (_temp, root, store) = laid();
            kept(&root, &store);
            assert_eq!(paths(&root, &store), ["Dockerfile", "app/Dockerfile"], "{number}");
            change(&root);
            assert!(Walk::recall(&root, &store).is_none(), "{number}");
            assert_eq!(paths(&root, &store), expected, "{number}");
        }
    }

    #[test]
    fn what_is_remembered_is_read_anew_and_other_folders_do_not_matter() {
        let (_temp, root, store) = laid();
        kept(&root, &store);
        fs::write(root.join("app/Dockerfile"), "FROM other\n").unwrap();
        fs::write(root.join("old/b.Dockerfile"), "FROM scratch\n").unwrap();
        assert!(Walk::recall(&root, &store).is_some());
        assert_eq!(find(&root, Some(&store)).files[1].text, b"FROM other\n");
    }

    #[test]
    fn a_walk_soon_after_a_change_is_not_remembered() {
        let (_temp, root, store) = laid();
        assert_eq!(paths(&root, &store), ["Dockerfile", "app/Dockerfile"]);
        assert!(Walk::recall(&root, &store).is_none());
    }

    #[test]
    fn a_damaged_memory_costs_a_walk() {
        let (_temp, root, store) = laid();
        store.write_small(BUCKET, &key(&root), b"{\"folders\":[1]}").unwrap();
        assert_eq!(paths(&root, &store), ["Dockerfile", "app/Dockerfile"]);
    }
}
