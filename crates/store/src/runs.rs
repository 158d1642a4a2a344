//! The streams of the last runs: `runs-v1/<hash of the repository>/<when>-<number>.jsonl`.
//!
//! They are written while the run goes on, so that one that is killed tells how far it came.
//! A file is there from its first line on, whole but for the line that was being written.
//! They are not synced: losing one costs only an explanation.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bakehouse_model::Digest;

use crate::store::{Store, StoreError};

/// The folder of all of them.
const BUCKET: &str = "runs-v1";
/// Runs of one repository that are kept.
const KEPT: usize = 5;
/// No stream is read beyond this.
const MAX_STREAM: u64 = 64 << 20;

/// The stream of a run, as far as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRun {
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// Its lines.
    pub stream: Vec<u8>,
}

impl Store {
    /// Begins to keep the stream of a run that began at `started_ms`, with its first line; what
    /// follows is written to the file. The oldest ones go.
    pub fn keep_run(
        &self,
        repository: &Path,
        started_ms: u64,
        first: &[u8],
    ) -> Result<File, StoreError> {
        let folder = self.runs_folder(repository);
        fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
        let draft = self.scratch()?.path("run");
        let path = folder.join(format!("{started_ms:015}-{}.jsonl", std::process::id()));
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(first)?;
            fs::rename(&draft, &path)?;
            Ok(file)
        };
        let written = write();
        if written.is_err() {
            fs::remove_file(&draft).ok();
        }
        let file = written.map_err(StoreError::io("write", &path))?;
        for old in names(&folder)?.into_iter().rev().skip(KEPT) {
            // Another run may have removed it just now.
            fs::remove_file(folder.join(old)).ok();
        }
        Ok(file)
    }

    /// The runs of a repository that are kept, the last one first.
    pub fn runs(
        &self,
        repository: &Path,
    ) -> Result<impl Iterator<Item = Result<StoredRun, StoreError>>, StoreError> {
        let folder = self.runs_folder(repository);
        let names = names(&folder)?;
        Ok(names.into_iter().rev().filter_map(move |name| read(&folder.join(name)).transpose()))
    }

    fn runs_folder(&self, repository: &Path) -> PathBuf {
        let key = Digest::of(repository.as_os_str().as_encoded_bytes());
        self.home().join(BUCKET).join(key.hex())
    }
}

/// The names of streams in a folder, oldest first.
fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(StoreError::io("read", folder))?,
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| started_ms(name).is_some()).collect();
    names.sort();
    Ok(names)
}

fn started_ms(name: &str) -> Option<u64> {
    let (ms, number) = name.strip_suffix(".jsonl")?.split_once('-')?;
    number.parse::<u32>().ok()?;
    ms.parse().ok()
}

/// One stream; none if it has gone meanwhile.
fn read(path: &Path) -> Result<Option<StoredRun>, StoreError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(started_ms) = started_ms(name) else { return Ok(None) };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(StoreError::io("open", path))?,
    };
    let mut stream = Vec::new();
    file.take(MAX_STREAM).read_to_end(&mut stream).map_err(StoreError::io("read", path))?;
    Ok(Some(StoredRun { started_ms, stream }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(store: &Store, repository: &str) -> Vec<(u64, Vec<u8>)> {
        let runs = store.runs(Path::new(repository)).unwrap();
        runs.map(|run| run.unwrap()).map(|run| (run.started_ms, run.stream)).collect()
    }

    #[test]
    fn the_last_runs_of_each_repository_are_kept_in_order() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        assert_eq!(kept(&store, "/a"), []);
        for at in [7, 30, 100, 99, 8_000, 1_700_000_000_000, 9] {
            let mut file = store.keep_run(Path::new("/a"), at, b"first\n").unwrap();
            file.write_all(b"second").unwrap();
        }
        store.keep_run(Path::new("/b"), 1, b"other\n").unwrap();
        let text = b"first\nsecond".to_vec();
        let expected = [1_700_000_000_000, 8_000, 100, 99, 30].map(|at| (at, text.clone()));
        assert_eq!(kept(&store, "/a"), expected);
        assert_eq!(kept(&store, "/b"), [(1, b"other\n".to_vec())]);
    }

    #[test]
    fn what_is_no_stream_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        store.keep_run(Path::new("/a"), 1, b"x\n").unwrap();
        let folder = store.runs_folder(Path::new("/a"));
        for name in ["notes", "1.jsonl", "x-1.jsonl", "1-x.jsonl", "99-1.json"] {
            fs::write(folder.join(name), "?").unwrap();
        }
        assert_eq!(kept(&store, "/a").len(), 1);
        for at in 2..9 {
            store.keep_run(Path::new("/a"), at, b"x\n").unwrap();
        }
        assert!(folder.join("notes").exists());
        assert_eq!(kept(&store, "/a").len(), KEPT);
    }
}
