//! The content store: blobs, layers, step records, images and what is held of them, in one
//! folder that several processes use at once.
//!
//! ```text
//! HOME/
//! ├─ version                      format of the tree: `bakehouse-store 1`
//! ├─ blobs/sha256/<hex>           immutable, read-only, named by what they hash to
//! ├─ partial/sha256-<hex>         downloads that can go on; flock'ed by who writes
//! ├─ layers-v1/<layer id>/fs/     what a step changed, in overlayfs's upper format
//! ├─ index-v1.sqlite              rows about all of this; WAL
//! ├─ cache-mounts-v1/<hash>/<n>/  `data/` of a cache mount, and its `lock`
//! ├─ leases/<name>                what a live run needs; flock'ed while it lives
//! ├─ tmp/<name>/                  a process's unfinished work; `<name>.lock` is flock'ed
//! ├─ runs-v1/<hash>/<when>.jsonl  what the last runs said
//! ├─ <bucket>/<hash>              small files of other rooms: stat caches
//! ├─ tmp/claim-<hash>.lock        flock'ed by who is making what has that key
//! └─ gc.lock                      shared by who takes hold, exclusive by who deletes
//! ```
//!
//! Promises:
//! - What is in place is whole. Bytes are written under `tmp/` or `partial/`, synced where
//!   they must survive, and renamed; rows of the index come after the bytes. Whatever a
//!   killed process leaves behind is invisible to others and removed by the next to open.
//! - A row never answers for bytes that are not there: every look-up that leads to a blob
//!   or a layer checks that it is in place.
//! - A blob is durable when its digest is known. A layer is durable after [`Store::sync`];
//!   until then it is trusted only until the machine restarts.
//! - Corruption is an error that names the file; nothing is repaired silently.
//!
//! `docs/formats/store.md` has every file, lock and rule.

pub mod layout;

mod blobs;
mod cachemount;
mod claims;
mod images;
mod index;
mod layers;
mod leases;
mod lock;
mod meter;
mod partial;
mod records;
mod remove;
mod runs;
mod scratch;
mod small;
mod store;
mod temporary;

pub use blobs::Ingest;
pub use cachemount::{CacheMount, StoredCache};
pub use claims::StoreClaim;
pub use images::{Resolution, StoredImage};
pub use layers::{LayerMeta, LayerStage};
pub use leases::Lease;
pub use meter::Meter;
pub use partial::Partial;
pub use remove::remove_tree;
pub use runs::StoredRun;
pub use store::{Store, StoreError};
pub use temporary::TemporaryStore;
