//! What earlier runs made, and what it cost: rows by cache key and by name.

use std::collections::BTreeMap;

use bakehouse_model::{Digest, Key, LayerId, Record, Snapshot};
use rusqlite::{OptionalExtension as _, params};

use crate::layers::Seen;
use crate::store::{Store, StoreError};

impl Store {
    /// The records under these keys, in the same order. A record whose layers are not all
    /// there is none.
    pub fn records(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        let mut seen = Seen::default();
        let mut bad = None;
        let found = self.index().read(|rows, boot| {
            let mut select = rows.prepare_cached(
                "SELECT id, layers, created_ms, cost_ms FROM records WHERE key = ?1",
            )?;
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let row: Option<(String, String, u64, u64)> =
                    select.query_row([key.0.as_str()], |row| row.try_into()).optional()?;
                let record = match row {
                    Some((id, layers, created_ms, cost_ms)) => {
                        match (id.parse::<Digest>(), parse_layers(&layers)) {
                            (Ok(id), Some(snapshot)) => {
                                Some(Record { id: Key(id), snapshot, created_ms, cost_ms })
                            }
                            _ => {
                                bad = Some(format!("{id} {layers}"));
                                None
                            }
                        }
                    }
                    None => None,
                };
                found.push(match record {
                    Some(record) if seen.all(self, rows, boot, &record.snapshot.layers)? => {
                        Some(record)
                    }
                    _ => None,
                });
            }
            Ok(found)
        })?;
        match bad {
            Some(value) => Err(self.index().bad_row("a record", &value)),
            None => Ok(found),
        }
    }

    /// Remembers `record` under all of these keys.
    pub fn put_record(&self, keys: &[&Key], record: &Record) -> Result<(), StoreError> {
        let layers = join_layers(&record.snapshot);
        self.index().write(|rows, _| {
            let mut insert =
                rows.prepare_cached("INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for key in keys {
                insert.execute(params![
                    key.0.as_str(),
                    record.id.0.as_str(),
                    layers,
                    record.created_ms,
                    record.cost_ms
                ])?;
            }
            Ok(())
        })
    }

    /// The image that was made under this key, if its manifest is in the store.
    pub fn result(&self, key: &Key) -> Result<Option<Digest>, StoreError> {
        let text: Option<String> = self.index().read(|rows, _| {
            rows.prepare_cached("SELECT manifest FROM results WHERE key = ?1")?
                .query_row([key.0.as_str()], |row| row.get(0))
                .optional()
        })?;
        self.manifest_of_row(text)
    }

    /// Remembers the manifest of the image that was made under this key.
    pub fn put_result(&self, key: &Key, manifest: &Digest) -> Result<(), StoreError> {
        self.index().write(|rows, _| {
            rows.prepare_cached("INSERT OR REPLACE INTO results VALUES (?1, ?2, ?3)")?
                .execute(params![key.0.as_str(), manifest.as_str(), crate::store::now_ms()])
                .map(drop)
        })
    }

    /// What was remembered about these places. The store does not look into it.
    pub fn slots(&self, names: &[String]) -> Result<BTreeMap<String, String>, StoreError> {
        self.index().read(|rows, _| {
            let mut select = rows.prepare_cached("SELECT value FROM slots WHERE name = ?1")?;
            let mut found = BTreeMap::new();
            for name in names {
                if let Some(value) = select.query_row([name], |row| row.get(0)).optional()? {
                    found.insert(name.clone(), value);
                }
            }
            Ok(found)
        })
    }

    /// Remembers what is to be known about these places next time.
    pub fn put_slots(&self, slots: &[(String, String)]) -> Result<(), StoreError> {
        if slots.is_empty() {
            return Ok(());
        }
        self.index().write(|rows, _| {
            let mut insert = rows.prepare_cached("INSERT OR REPLACE INTO slots VALUES (?1, ?2)")?;
            for (name, value) in slots {
                insert.execute([name, value])?;
            }
            Ok(())
        })
    }

    /// How long these took, in milliseconds, as far as that is known.
    pub fn costs(&self, names: &[String]) -> Result<BTreeMap<String, u64>, StoreError> {
        self.index().read(|rows, _| {
            let mut select = rows.prepare_cached("SELECT ms FROM costs WHERE name = ?1")?;
            let mut found = BTreeMap::new();
            for name in names {
                if let Some(ms) = select.query_row([name], |row| row.get(0)).optional()? {
                    found.insert(name.clone(), ms);
                }
            }
            Ok(found)
        })
    }

    /// Remembers how long these took, in milliseconds.
    pub fn put_costs(&self, costs: &[(String, u64)]) -> Result<(), StoreError> {
        if costs.is_empty() {
            return Ok(());
        }
        self.index().write(|rows, _| {
            let mut insert = rows.prepare_cached("INSERT OR REPLACE INTO costs VALUES (?1, ?2)")?;
            for (name, ms) in costs {
                insert.execute(params![name, ms])?;
            }
            Ok(())
        })
    }

    /// A digest from a row.
    pub(crate) fn digest_of_row(&self, text: &str) -> Result<Digest, StoreError> {
        text.parse().map_err(|_| self.index().bad_row("a digest", text))
    }

    /// A manifest's digest from a row, if the manifest is in the store.
    pub(crate) fn manifest_of_row(
        &self,
        text: Option<String>,
    ) -> Result<Option<Digest>, StoreError> {
        let Some(text) = text else { return Ok(None) };
        let digest = self.digest_of_row(&text)?;
        Ok(self.blob_size(&digest).is_some().then_some(digest))
    }
}

/// Layer ids have no spaces, so a stack is one text.
pub(crate) fn join_layers(snapshot: &Snapshot) -> String {
    let ids: Vec<&str> = snapshot.layers.iter().map(LayerId::as_str).collect();
    ids.join(" ")
}

pub(crate) fn parse_layers(text: &str) -> Option<Snapshot> {
    let layers = text.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Snapshot { layers })
}
