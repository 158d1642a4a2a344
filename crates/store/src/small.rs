//! Small files of other rooms, by bucket and key: `<bucket>/<hash of key>`.
//!
//! They are caches, so they are not synced; a trailer tells a whole file from one that a
//! crash of the machine has cut. A bucket's name ends in its format's version.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use bakehouse_model::Digest;

use crate::store::{Store, StoreError};

/// The last bytes of a whole file, after the length of its contents.
const MAGIC: &[u8; 8] = b"\nbh-end\n";
const TRAILER: usize = 16;

impl Store {
    /// What was last written under this key; none if nothing was or it is not whole.
    pub fn read_small(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.small_path(bucket, key)?;
        let mut bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(StoreError::io("read", &path))?,
        };
        let Some(len) = bytes.len().checked_sub(TRAILER) else { return Ok(None) };
        let whole = bytes[len..len + 8] == (len as u64).to_le_bytes() && bytes[len + 8..] == *MAGIC;
        bytes.truncate(len);
        Ok(whole.then_some(bytes))
    }

    /// Replaces what is under this key.
    pub fn write_small(&self, bucket: &str, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.small_path(bucket, key)?;
        let folder = self.home().join(bucket);
        fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
        let draft = self.scratch()?.path("small");
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(bytes)?;
            file.write_all(&(bytes.len() as u64).to_le_bytes())?;
            file.write_all(MAGIC)
        };
        let written = write()
            .map_err(StoreError::io("write", &draft))
            .and_then(|()| fs::rename(&draft, &path).map_err(StoreError::io("rename to", &path)));
        if written.is_err() {
            fs::remove_file(&draft).ok();
        }
        written
    }

    fn small_path(&self, bucket: &str, key: &str) -> Result<PathBuf, StoreError> {
        let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let ours = [
            "blobs",
            "partial",
            "leases",
            "tmp",
            "version",
            "layers-v1",
            "cache-mounts-v1",
            "runs-v1",
        ];
        if bucket.is_empty() || !bucket.bytes().all(plain) || ours.contains(&bucket) {
            return Err(StoreError::Bucket { name: bucket.to_owned() });
        }
        Ok(self.home().join(bucket).join(Digest::of(key).hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_is_replaced_whole_and_a_cut_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let bucket = "statcache-v1";
        assert_eq!(store.read_small(bucket, "/a/b").unwrap(), None);
        for contents in [&b"first"[..], b"", b"the second"] {
            store.write_small(bucket, "/a/b", contents).unwrap();
            assert_eq!(store.read_small(bucket, "/a/b").unwrap().unwrap(), contents);
        }
        assert_eq!(store.read_small(bucket, "/a/c").unwrap(), None);
        let path = store.small_path(bucket, "/a/b").unwrap();
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert_eq!(store.read_small(bucket, "/a/b").unwrap(), None, "{len}");
        }
        fs::write(&path, vec![0; whole.len()]).unwrap();
        assert_eq!(store.read_small(bucket, "/a/b").unwrap(), None);
    }

    #[test]
    fn a_bucket_cannot_be_a_path_or_something_of_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for bucket in ["", "..", "a/b", "blobs", "tmp", "layers-v1", "A"] {
            let error = store.write_small(bucket, "x", b"").unwrap_err();
            assert!(matches!(error, StoreError::Bucket { .. }), "{error}");
        }
    }
}
