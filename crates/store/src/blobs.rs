//! Bytes by digest: `blobs/sha256/<hex>`, read-only files that never change.
//!
//! A blob is written under `tmp/`, hashed on the way, synced, and renamed into place. Two
//! processes that write the same blob both succeed; the bytes are the same.

use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bakehouse_model::{Digest, DigestWriter};

use crate::store::{Store, StoreError};

impl Store {
    /// Where the blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.home().join("blobs/sha256").join(digest.hex())
    }

    /// The size of the blob; none if it is not in the store.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let found = fs::symlink_metadata(self.blob_path(digest)).ok()?;
        found.is_file().then_some(found.len())
    }

    /// Opens the blob for reading. Its bytes are not hashed again.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { digest: digest.clone() },
            _ => StoreError::io("open", &path)(error),
        })
    }

    /// The bytes of a small blob, at most `max` of them, and hashed again.
    pub fn read_blob(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, StoreError> {
        let file = self.open_blob(digest)?;
        let path = self.blob_path(digest);
        let size = file.metadata().map_err(StoreError::io("read", &path))?.len();
        if size > max {
            return Err(StoreError::TooLarge { digest: digest.clone(), size, max });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(max).read_to_end(&mut bytes).map_err(StoreError::io("read", &path))?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(StoreError::DigestMismatch { expected: digest.clone(), found });
        }
        Ok(bytes)
    }

    /// Keeps `bytes` as a blob.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if self.blob_size(&digest) == Some(bytes.len() as u64) {
            return Ok(digest);
        }
        let mut ingest = self.ingest()?;
        ingest.write_all(bytes).map_err(StoreError::io("write", &ingest.path))?;
        Ok(ingest.commit(None)?.0)
    }

    /// Starts a blob whose digest is not known yet.
    pub fn ingest(&self) -> Result<Ingest, StoreError> {
        let path = self.scratch()?.path("blob");
        let file = File::options().write(true).create_new(true).open(&path);
        let file = file.map_err(StoreError::io("create", &path))?;
        Ok(Ingest { store: self.clone(), writer: Some(DigestWriter::new(file)), path })
    }

    /// Puts the finished file at `from` in place as `digest`.
    ///
    /// The file is durable afterwards. Its name may still be lost in a crash of the
    /// machine, which every look-up sees as a blob that is not there.
    pub(crate) fn place_blob(
        &self,
        file: &File,
        from: &Path,
        digest: &Digest,
        size: u64,
    ) -> Result<(), StoreError> {
        if self.blob_size(digest) == Some(size) {
            return fs::remove_file(from).map_err(StoreError::io("remove", from));
        }
        file.set_permissions(fs::Permissions::from_mode(0o444))
            .map_err(StoreError::io("change the mode of", from))?;
        file.sync_data().map_err(StoreError::io("sync", from))?;
        let to = self.blob_path(digest);
        fs::rename(from, &to).map_err(StoreError::io("rename to", &to))
    }
}

/// Whether content is what was expected.
pub(crate) fn check(
    expected: Option<(&Digest, u64)>,
    digest: &Digest,
    size: u64,
) -> Result<(), StoreError> {
    let Some((wanted, wanted_size)) = expected else { return Ok(()) };
    if wanted_size != size {
        return Err(StoreError::SizeMismatch {
            digest: wanted.clone(),
            expected: wanted_size,
            found: size,
        });
    }
    if wanted != digest {
        return Err(StoreError::DigestMismatch { expected: wanted.clone(), found: digest.clone() });
    }
    Ok(())
}

/// A blob that is being written. Dropped without [`commit`](Self::commit), it is gone.
#[derive(Debug)]
pub struct Ingest {
    store: Store,
    /// None once the file is in place or removed.
    writer: Option<DigestWriter<File>>,
    path: PathBuf,
}

impl Ingest {
    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.writer.as_ref().map_or(0, DigestWriter::size)
    }

    /// Puts the blob in place if it is what is `expected`: this digest and this size.
    pub fn commit(mut self, expected: Option<(&Digest, u64)>) -> Result<(Digest, u64), StoreError> {
        let writer = self.writer.take().expect("only `commit` takes it");
        let (file, digest, size) = writer.finish();
        let placed = check(expected, &digest, size)
            .and_then(|()| self.store.place_blob(&file, &self.path, &digest, size));
        if placed.is_err() {
            fs::remove_file(&self.path).ok();
        }
        placed.map(|()| (digest, size))
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.as_mut().expect("only `commit` takes it").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if self.writer.is_some() {
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

    fn tmp_entries(store: &Store) -> usize {
        let folders = fs::read_dir(store.home().join("tmp")).unwrap();
        let folders = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
        folders.map(|folder| fs::read_dir(folder).unwrap().count()).sum()
    }

    #[test]
    fn a_blob_is_read_back_and_cannot_be_written_to() {
        let (_folder, store) = store();
        let digest = store.put_blob(b"hello").unwrap();
        assert_eq!(store.put_blob(b"hello").unwrap(), digest);
        assert_eq!(store.blob_size(&digest), Some(5));
        assert_eq!(store.read_blob(&digest, 5).unwrap(), b"hello");
        let mode = fs::metadata(store.blob_path(&digest)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o444);
        assert!(matches!(
            store.read_blob(&digest, 4),
            Err(StoreError::TooLarge { size: 5, max: 4, .. })
        ));
        let absent = Digest::of("absent");
        assert_eq!(store.blob_size(&absent), None);
        assert!(matches!(store.open_blob(&absent), Err(StoreError::Missing { .. })));
    }

    #[test]
    fn what_is_not_as_expected_or_not_committed_leaves_nothing() {
        let (_folder, store) = store();
        let digest = Digest::of("hello");
        for (bytes, size) in [(&b"hellO"[..], 5), (b"hell", 5), (b"hello", 4)] {
            let mut ingest = store.ingest().unwrap();
            ingest.write_all(bytes).unwrap();
            ingest.commit(Some((&digest, size))).unwrap_err();
        }
        let mut dropped = store.ingest().unwrap();
        dropped.write_all(b"hello").unwrap();
        drop(dropped);
        assert_eq!((store.blob_size(&digest), tmp_entries(&store)), (None, 0));
        let mut ingest = store.ingest().unwrap();
        ingest.write_all(b"hello").unwrap();
        assert_eq!(ingest.size(), 5);
        ingest.commit(Some((&digest, 5))).unwrap();
        assert_eq!((store.blob_size(&digest), tmp_entries(&store)), (Some(5), 0));
    }

    #[test]
    fn a_damaged_document_is_not_read_and_a_cut_blob_is_replaced() {
        let (_folder, store) = store();
        let digest = store.put_blob(b"hello").unwrap();
        let path = store.blob_path(&digest);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "hellO").unwrap();
        assert!(matches!(store.read_blob(&digest, 9), Err(StoreError::DigestMismatch { .. })));
        fs::write(&path, "hel").unwrap();
        store.put_blob(b"hello").unwrap();
        assert_eq!(store.read_blob(&digest, 9).unwrap(), b"hello");
    }

    #[test]
    fn threads_that_write_the_same_blob_all_succeed() {
        let (_folder, store) = store();
        let bytes = vec![7; 300_000];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let other = Store::open(store.home()).unwrap();
                        assert_eq!(other.put_blob(&bytes).unwrap(), Digest::of(&bytes));
                    }
                });
            }
        });
        assert_eq!(store.read_blob(&Digest::of(&bytes), 300_000).unwrap(), bytes);
    }
}
