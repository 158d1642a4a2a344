//! Remembers the digests of whole selections, for as long as `stat` shows no change in any file
//! of theirs: then no file's own digest is needed.
//!
//! The key covers the selection and what `stat` says of everything below its base. Nothing is
//! remembered of files whose times could hide a later change (see the table of files).
//!
//! On disk: `bksd`, the version, keys and digests by key, and the digest of all of that. What is
//! damaged or of another version is as good as nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use super::Listing;
use super::table::{Raw, is_settled};
use crate::files::Selection;
use crate::files::entry::{Entry, Meta};

const MAGIC: &[u8; 8] = b"bksd\x01\0\0\0";
/// States of selections that are kept though nobody asked for them: of 64 bytes each.
const MAX_UNSEEN: usize = 8192;

/// The digests of one folder's selections.
#[derive(Debug, Default)]
pub(crate) struct Known {
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    by_state: BTreeMap<Raw, Record>,
    changed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    digest: Raw,
    seen: bool,
}

/// What a selection and all below its base are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    key: Raw,
    is_settled: bool,
}

impl Known {
    pub(crate) fn get(&self, state: &State) -> Option<Raw> {
        let mut records = self.lock();
        let record = records.by_state.get_mut(&state.key)?;
        record.seen = true;
        Some(record.digest)
    }

    pub(crate) fn put(&self, state: &State, digest: Raw) {
        if state.is_settled {
            let mut records = self.lock();
            records.changed = true;
            records.by_state.insert(state.key, Record { digest, seen: true });
        }
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.lock().changed
    }

    /// As it is written to disk; from now on it counts as unchanged.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut records = self.lock();
        records.changed = false;
        let unseen = records.by_state.values().filter(|record| !record.seen).count();
        if unseen > MAX_UNSEEN {
            records.by_state.retain(|_, record| record.seen);
        }
        let mut bytes = MAGIC.to_vec();
        for (key, record) in &records.by_state {
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(&record.digest);
        }
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check);
        bytes
    }

    /// Reads what [`Self::encode`] wrote; none if it is anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_last_chunk::<32>()?;
        if Sha256::digest(body).as_slice() != check {
            return None;
        }
        let (pairs, rest) = body.strip_prefix(MAGIC)?.as_chunks::<64>();
        if !rest.is_empty() {
            return None;
        }
        let record = |pair: &[u8; 64]| {
            let (key, digest) = pair.split_first_chunk::<32>()?;
            Some((*key, Record { digest: digest.try_into().ok()?, seen: false }))
        };
        let by_state = pairs.iter().map(record).collect::<Option<_>>()?;
        Some(Self { records: Mutex::new(Records { by_state, changed: false }) })
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of `selection`, whose base is `top` and has `listing`. None if a link could lead
/// out of the base: what is there is not looked at here.
pub(super) fn state(
    selection: &Selection,
    (top, listing): (&Entry, Option<usize>),
    listings: &[Listing],
    walked_at: std::time::SystemTime,
) -> Option<State> {
    let follows = selection.has_wildcard() || selection.follow || !selection.is_plain();
    let mut hasher = Sha256::new();
    hash_selection(&mut hasher, selection);
    let mut all_settled = true;
    let mut add = |entry: &Entry, hasher: &mut Sha256| {
        all_settled &= is_settled(&entry.meta, walked_at);
        hash_entry(hasher, entry);
    };
    if top.meta.is_link() {
        return None;
    }
    add(top, &mut hasher);
    let mut open = vec![listing.map_or(&[][..], |id| &listings[id].nodes).iter()];
    while let Some(nodes) = open.last_mut() {
        let Some(node) = nodes.next() else {
            open.pop();
            hasher.update(LEAVE);
            continue;
        };
        if follows && node.entry.meta.is_link() {
            return None;
        }
        add(&node.entry, &mut hasher);
        if let Some(id) = node.listing {
            hasher.update(ENTER);
            open.push(listings[id].nodes.iter());
        }
    }
    Some(State { key: hasher.finalize().into(), is_settled: all_settled })
}

/// No entry begins with either: one begins with the length of its name.
const ENTER: [u8; 8] = [0xff; 8];
const LEAVE: [u8; 8] = [0xfe; 8];

fn hash_selection(hasher: &mut Sha256, selection: &Selection) {
    let Selection { path, follow, wildcard, include, exclude, required } = selection;
    hasher.update([u8::from(*follow), u8::from(*wildcard)]);
    for list in [std::slice::from_ref(path), include, exclude, required] {
        hasher.update((list.len() as u64).to_le_bytes());
        for text in list {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
    }
}

fn hash_entry(hasher: &mut Sha256, entry: &Entry) {
    let link = entry.link.as_deref().unwrap_or_default();
    for text in [entry.name.as_slice(), link] {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    let Meta { kind, mode, size, ino, dev, mtime, ctime, .. } = &entry.meta;
    let mut numbers = [0; 52];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        numbers[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&(kind.as_raw_mode() | mode).to_le_bytes());
    put(&size.to_le_bytes());
    put(&ino.to_le_bytes());
    for number in [dev.0, dev.1, mtime.nanos, ctime.nanos] {
        put(&number.to_le_bytes());
    }
    put(&mtime.secs.to_le_bytes());
    put(&ctime.secs.to_le_bytes());
    hasher.update(numbers);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_and_damage_is_noticed() {
        let known = Known::default();
        let state = |key| State { key: [key; 32], is_settled: true };
        known.put(&state(1), [7; 32]);
        known.put(&state(2), [8; 32]);
        known.put(&State { is_settled: false, ..state(3) }, [9; 32]);
        let bytes = known.encode();
        assert!(!known.is_changed());
        let read = Known::decode(&bytes).unwrap();
        assert_eq!(read.get(&state(2)), Some([8; 32]));
        assert_eq!(read.get(&state(3)), None);
        assert_eq!(read.encode(), bytes);
        for index in [0, 4, 20, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(Known::decode(&damaged).is_none(), "byte {index}");
        }
        assert!(Known::decode(&bytes[..bytes.len() - 1]).is_none());
        assert!(Known::decode(b"").is_none());
    }

    #[test]
    fn states_nobody_asks_for_are_forgotten_once_they_are_many() {
        let known = Known::default();
        let state = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            State { key, is_settled: true }
        };
        for number in 0..=MAX_UNSEEN + 1 {
            known.put(&state(number), [1; 32]);
        }
        let read = Known::decode(&known.encode()).unwrap();
        assert!(read.get(&state(1)).is_some());
        let read = Known::decode(&read.encode()).unwrap();
        assert!(read.get(&state(1)).is_some());
        assert!(read.get(&state(2)).is_none());
    }
}
