//! Downloads that can go on where an earlier one stopped: `partial/sha256-<hex>`.
//!
//! Whoever writes to a partial holds its flock. Someone else who wants the same blob at
//! the same time gets a file of its own and starts from nothing; nobody waits.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write};
use std::path::PathBuf;

use bakehouse_model::{Digest, DigestWriter};

use crate::blobs;
use crate::lock;
use crate::store::{Store, StoreError};

/// A named download. Dropped without [`commit`](Self::commit), its bytes stay for the next
/// who asks for the same digest.
#[derive(Debug)]
pub struct Partial {
    store: Store,
    wanted: Digest,
    file: File,
    path: PathBuf,
    hasher: DigestWriter<io::Sink>,
    /// Whether this is the named file and not one of our own.
    named: bool,
    placed: bool,
}

impl Store {
    /// Goes on with the download of `digest`, or begins it.
    ///
    /// Bytes that are there already are hashed first. The file's lock is held until the
    /// result is dropped.
    pub fn resume(&self, digest: &Digest) -> Result<Partial, StoreError> {
        let path = self.home().join("partial").join(format!("sha256-{}", digest.hex()));
        let named = lock::try_own(&path).map_err(StoreError::io("open", &path))?;
        let (mut file, path, named) = match named {
            Some(file) => (file, path, true),
            None => {
                let path = self.scratch()?.path("download");
                let file = File::options().read(true).write(true).create_new(true).open(&path);
                (file.map_err(StoreError::io("create", &path))?, path, false)
            }
        };
        let hasher = hash(&mut file).map_err(StoreError::io("read", &path))?;
        let (store, wanted) = (self.clone(), digest.clone());
        Ok(Partial { store, wanted, file, path, hasher, named, placed: false })
    }
}

/// Hashes what is in `file` and leaves its position at the end.
fn hash(file: &mut File) -> io::Result<DigestWriter<io::Sink>> {
    let mut hasher = DigestWriter::new(io::sink());
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher),
            Ok(read) => hasher.write_all(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Partial {
    /// Bytes that are there: where the download goes on.
    pub fn offset(&self) -> u64 {
        self.hasher.size()
    }

    /// Forgets what is there: the next byte written is the first.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(StoreError::io("truncate", &self.path))?;
        self.file.rewind().map_err(StoreError::io("rewind", &self.path))?;
        self.hasher = DigestWriter::new(io::sink());
        Ok(())
    }

    /// Puts the blob in place if it is the one that was asked for and has `size` bytes,
    /// where the size is known. If it is not, what was downloaded is removed.
    pub fn commit(mut self, size: Option<u64>) -> Result<u64, StoreError> {
        let hasher = std::mem::replace(&mut self.hasher, DigestWriter::new(io::sink()));
        let (_, digest, found) = hasher.finish();
        let expected = Some((&self.wanted, size.unwrap_or(found)));
        let placed = blobs::check(expected, &digest, found)
            .and_then(|()| self.store.place_blob(&self.file, &self.path, &digest, found));
        self.placed = placed.is_ok();
        if let Err(StoreError::DigestMismatch { .. } | StoreError::SizeMismatch { .. }) = &placed {
            // A wrong beginning would spoil every later attempt.
            fs::remove_file(&self.path).ok();
        }
        placed.map(|()| found)
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.write_all(&bytes[..written])?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let empty = self.named && self.hasher.size() == 0;
        if !self.placed && (!self.named || empty) {
            fs::remove_file(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    fn partials(store: &Store) -> usize {
        fs::read_dir(store.home().join("partial")).unwrap().count()
    }

    #[test]
    fn a_download_goes_on_where_it_stopped() {
        let (_folder, store) = store();
        let digest = Digest::of("hello world");
        let mut first = store.resume(&digest).unwrap();
        first.write_all(b"hello ").unwrap();
        drop(first);
        let again = Store::open(store.home()).unwrap();
        let mut second = again.resume(&digest).unwrap();
        assert_eq!(second.offset(), 6);
        second.write_all(b"world").unwrap();
        assert_eq!(second.commit(Some(11)).unwrap(), 11);
        assert_eq!((store.blob_size(&digest), partials(&store)), (Some(11), 0));
    }

    #[test]
    fn a_wrong_download_does_not_spoil_the_next() {
        let (_folder, store) = store();
        let digest = Digest::of("hello");
        let mut wrong = store.resume(&digest).unwrap();
        wrong.write_all(b"jello").unwrap();
        assert!(matches!(wrong.commit(None), Err(StoreError::DigestMismatch { .. })));
        assert_eq!(partials(&store), 0);
        let mut long = store.resume(&digest).unwrap();
        assert_eq!(long.offset(), 0);
        long.write_all(b"jjjjjjjj").unwrap();
        long.restart().unwrap();
        long.write_all(b"hello").unwrap();
        assert!(matches!(long.commit(Some(6)), Err(StoreError::SizeMismatch { .. })));
        let mut right = store.resume(&digest).unwrap();
        right.write_all(b"hello").unwrap();
        right.commit(Some(5)).unwrap();
        assert_eq!(store.read_blob(&digest, 9).unwrap(), b"hello");
    }

    #[test]
    fn two_who_download_the_same_do_not_meet() {
        let (_folder, store) = store();
        let digest = Digest::of("hello");
        let mut one = store.resume(&digest).unwrap();
        one.write_all(b"hel").unwrap();
        let mut two = store.resume(&digest).unwrap();
        assert_eq!(two.offset(), 0);
        two.write_all(b"hello").unwrap();
        two.commit(Some(5)).unwrap();
        one.write_all(b"lo").unwrap();
        one.commit(Some(5)).unwrap();
        assert_eq!((store.blob_size(&digest), partials(&store)), (Some(5), 0));
    }
}
