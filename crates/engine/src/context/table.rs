//! Remembers the digests of files that have not changed since they were hashed.
//!
//! The key is what `stat` says: size, both times to the nanosecond, inode, device, mode.
//! A file is remembered only if both its times were safely in the past when it was looked
//! at (the rule of git's index), for a write in the same tick of the file system's clock
//! could not be seen.
//!
//! On disk: `bksc`, the version, the number of records, the records, and the digest of
//! all of that. Numbers are little-endian. A table that is damaged or of another version
//! is as good as none.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use crate::files::entry::{Meta, Stamp};

const MAGIC: &[u8; 4] = b"bksc";
const VERSION: u32 = 1;
/// Ticks of the kernel's clock for files are at most this long.
const TICK_NANOS: i128 = 50_000_000;
/// Old file systems keep whole seconds, or every second one.
const COARSE_NANOS: i128 = 2_000_000_000;
/// Records of files that nobody asked for are kept up to this many times what there is.
const MAX_RATIO: usize = 4;

/// A digest without its algorithm.
pub(crate) type Raw = [u8; 32];

/// The table of one folder.
#[derive(Debug, Default)]
pub(super) struct StatTable {
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    by_path: HashMap<Vec<u8>, Record>,
    changed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    meta: Meta,
    digest: Raw,
    seen: bool,
}

impl StatTable {
    /// The digest of the file at `path`, if it is known and the file is as it was.
    pub(crate) fn get(&self, path: &[u8], meta: &Meta) -> Option<Raw> {
        let mut records = self.lock();
        let record = records.by_path.get_mut(path)?;
        if !record.meta.same_version(meta)
            || (record.meta.kind, record.meta.mode) != (meta.kind, meta.mode)
        {
            return None;
        }
        record.seen = true;
        Some(record.digest)
    }

    /// Remembers a digest, unless a change at the moment `meta` was taken, which is
    /// `looked_at`, could have gone unseen.
    pub(crate) fn put(&self, path: &[u8], meta: &Meta, looked_at: SystemTime, digest: Raw) {
        if !is_settled(meta, looked_at) {
            return;
        }
        let mut records = self.lock();
        records.changed = true;
        records.by_path.insert(path.to_vec(), Record { meta: *meta, digest, seen: true });
    }

    /// Whether there is something to save.
    pub(super) fn is_changed(&self) -> bool {
        self.lock().changed
    }

    /// The table as it is written to disk; from now on it counts as unchanged. The folder has
    /// `listed` entries, of which a run may ask for few.
    pub(super) fn encode(&self, listed: usize) -> Vec<u8> {
        let mut records = self.lock();
        records.changed = false;
        if records.by_path.len() > listed.saturating_mul(MAX_RATIO) {
            records.by_path.retain(|_, record| record.seen);
        }
        let mut sorted: Vec<_> = records.by_path.iter().collect();
        sorted.sort_unstable_by_key(|(path, _)| *path);
        let mut bytes = Vec::with_capacity(sorted.len() * 160 + 64);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(sorted.len() as u64).to_le_bytes());
        for (path, record) in sorted {
            encode_record(&mut bytes, path, record);
        }
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check);
        bytes
    }

    /// Reads what [`Self::encode`] wrote; none if it is anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_last_chunk::<32>()?;
        if Sha256::digest(body).as_slice() != check {
            return None;
        }
        let mut reader = Reader { rest: body };
        if reader.array::<4>()? != *MAGIC || reader.u32()? != VERSION {
            return None;
        }
        let count = usize::try_from(reader.u64()?).ok()?;
        let mut by_path = HashMap::with_capacity(count.min(body.len() / 64));
        for _ in 0..count {
            let (path, record) = reader.record()?;
            by_path.insert(path, record);
        }
        reader
            .rest
            .is_empty()
            .then(|| Self { records: Mutex::new(Records { by_path, changed: false }) })
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether any later change of the file would show in its times.
pub(super) fn is_settled(meta: &Meta, looked_at: SystemTime) -> bool {
    let Ok(now) = looked_at.duration_since(UNIX_EPOCH) else { return false };
    let now = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX);
    let coarse = meta.mtime.nanos == 0 && meta.ctime.nanos == 0;
    let slack = if coarse { COARSE_NANOS } else { TICK_NANOS };
    nanos(meta.mtime.max(meta.ctime)) + slack < now
}

fn nanos(stamp: Stamp) -> i128 {
    i128::from(stamp.secs) * 1_000_000_000 + i128::from(stamp.nanos)
}

fn encode_record(bytes: &mut Vec<u8>, path: &[u8], record: &Record) {
    let meta = &record.meta;
    let length = u32::try_from(path.len()).expect("a path is shorter than 4 GiB");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(path);
    for number in [meta.size, meta.ino] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for stamp in [meta.mtime, meta.ctime] {
        bytes.extend_from_slice(&stamp.secs.to_le_bytes());
        bytes.extend_from_slice(&stamp.nanos.to_le_bytes());
    }
    let mode = meta.kind.as_raw_mode() | meta.mode;
    for number in [meta.dev.0, meta.dev.1, mode] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&record.digest);
}

struct Reader<'r> {
    rest: &'r [u8],
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn stamp(&mut self) -> Option<Stamp> {
        let secs = self.array().map(i64::from_le_bytes)?;
        Some(Stamp { secs, nanos: self.u32()? })
    }

    fn record(&mut self) -> Option<(Vec<u8>, Record)> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (path, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let (size, ino) = (self.u64()?, self.u64()?);
        let (mtime, ctime) = (self.stamp()?, self.stamp()?);
        let dev = (self.u32()?, self.u32()?);
        let mode = self.u32()?;
        let meta = Meta {
            kind: rustix::fs::FileType::from_raw_mode(mode),
            mode: mode & 0o7777,
            uid: 0,
            gid: 0,
            size,
            links: 1,
            ino,
            dev,
            rdev: (0, 0),
            mtime,
            ctime,
        };
        Some((path.to_vec(), Record { meta, digest: self.array()?, seen: false }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::fs::FileType;

    use super::*;

    fn meta(mtime: (i64, u32), ctime: (i64, u32)) -> Meta {
        let stamp = |(secs, nanos)| Stamp { secs, nanos };
        Meta {
            kind: FileType::RegularFile,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 7,
            links: 1,
            ino: 9,
            dev: (8, 1),
            rdev: (0, 0),
            mtime: stamp(mtime),
            ctime: stamp(ctime),
        }
    }

    fn at(nanos: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(nanos)
    }

    #[test]
    fn a_file_is_remembered_only_if_a_later_change_would_show() {
        let now = 100_000_000_000;
        let cases = [
            ((99, 1), (99, 1), true),
            ((99, 990_000_000), (50, 1), false),
            ((50, 1), (99, 990_000_000), false),
            ((99, 0), (99, 0), false),
            ((97, 0), (97, 0), true),
            ((200, 1), (50, 1), false),
        ];
        for (mtime, ctime, expected) in cases {
            let table = StatTable::default();
            let meta = meta(mtime, ctime);
            table.put(b"a", &meta, at(now), [1; 32]);
            assert_eq!(table.get(b"a", &meta).is_some(), expected, "{mtime:?} {ctime:?}");
        }
    }

    #[test]
    fn any_change_that_stat_shows_makes_the_file_unknown() {
        let known = meta((1, 1), (1, 1));
        let table = StatTable::default();
        table.put(b"a", &known, at(100_000_000_000), [1; 32]);
        let changes: [fn(&mut Meta); 7] = [
            |m| m.size = 8,
            |m| m.mtime.nanos = 2,
            |m| m.ctime.secs = 2,
            |m| m.ino = 10,
            |m| m.dev.1 = 2,
            |m| m.mode = 0o755,
            |m| m.kind = FileType::Symlink,
        ];
        for change in changes {
            let mut changed = known;
            change(&mut changed);
            assert_eq!(table.get(b"a", &changed), None, "{changed:?}");
        }
        assert_eq!(table.get(b"b", &known), None);
    }

    #[test]
    fn what_was_written_is_read_back_and_damage_is_noticed() {
        let known = meta((1, 1), (2, 3));
        let table = StatTable::default();
        for path in [&b"a/b"[..], b"", b"\xff"] {
            table.put(path, &known, at(100_000_000_000), [7; 32]);
        }
        assert!(table.is_changed());
        let bytes = table.encode(3);
        assert!(!table.is_changed());
        let read = StatTable::decode(&bytes).unwrap();
        assert_eq!(read.get(b"a/b", &known), Some([7; 32]));
        assert_eq!(read.encode(3), bytes);
        for index in [0, 4, 20, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(StatTable::decode(&damaged).is_none(), "byte {index}");
        }
        assert!(StatTable::decode(&bytes[..bytes.len() - 1]).is_none());
        assert!(StatTable::decode(b"").is_none());
    }

    #[test]
    fn files_nobody_asked_for_are_kept_while_the_folder_may_still_have_them() {
        let known = meta((1, 1), (2, 3));
        let table = StatTable::default();
        for number in 0..40_u8 {
            table.put(&[number], &known, at(100_000_000_000), [number; 32]);
        }
        let read = StatTable::decode(&table.encode(40)).unwrap();
        assert!(read.get(&[1], &known).is_some());
        let read = StatTable::decode(&read.encode(10)).unwrap();
        assert!(read.get(&[2], &known).is_some());
        let read = StatTable::decode(&read.encode(9)).unwrap();
        assert!(read.get(&[2], &known).is_some());
        assert!(read.get(&[3], &known).is_none());
    }
}
