//! What earlier runs made, and what it cost: rows by cache key and by name.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::{Digest, Key, Record};
use rusqlite::{OptionalExtension as _, Row, params};

use crate::index::parse;
use crate::layers::{Stacks, stack_to_row};
use crate::store::{Store, StoreError};

impl Store {
    /// The records under these keys, in the same order. A record whose layers are not all
    /// there is none.
    pub fn records(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        self.index().read(|rows, boot| {
            let mut stacks = Stacks::new(self, rows, boot)?;
            let mut select = rows.prepare_cached(
                "SELECT id, layers, created_ms, cost_ms FROM records WHERE key = ?1",
            )?;
            let mut record = |row: &Row<'_>| {
                let Some(snapshot) = stacks.read(row.get_ref(1)?.as_str()?)? else {
                    return Ok(None);
                };
                let id = Key(parse(row.get_ref(0)?.as_str()?)?);
                Ok(Some(Record { id, snapshot, created_ms: row.get(2)?, cost_ms: row.get(3)? }))
            };
            let one = |key: &Key| select.query_row([key.0.as_str()], &mut record).optional();
            keys.iter().map(one).map(|found| found.map(Option::flatten)).collect()
        })
    }

    /// Those of these keys under which something is remembered, even if its layers are gone.
    pub fn known_keys<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k Key>,
    ) -> Result<BTreeSet<&'k Key>, StoreError> {
        self.index().read(|rows, _| {
            let mut select = rows.prepare_cached("SELECT 1 FROM records WHERE key = ?1")?;
            let mut known = BTreeSet::new();
            for key in keys {
                if select.exists([key.0.as_str()])? {
                    known.insert(key);
                }
            }
            Ok(known)
        })
    }

    /// Remembers `record` under all of these keys.
    ///
    /// Its layers must be in the store: a record of others is not remembered, because it
    /// would never be found.
    pub fn put_record(&self, keys: &[&Key], record: &Record) -> Result<(), StoreError> {
        self.index().write(|rows, _| {
            let Some(layers) = stack_to_row(rows, &record.snapshot)? else { return Ok(()) };
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
        let found = self.index().read(|rows, _| {
            rows.prepare_cached("SELECT manifest FROM results WHERE key = ?1")?
                .query_row([key.0.as_str()], digest_of_row)
                .optional()
        })?;
        Ok(self.if_there(found))
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

    /// The digest, if the manifest that it names is in the store.
    pub(crate) fn if_there(&self, manifest: Option<Digest>) -> Option<Digest> {
        manifest.filter(|digest| self.blob_size(digest).is_some())
    }
}

/// The digest in the first column.
pub(crate) fn digest_of_row(row: &Row<'_>) -> rusqlite::Result<Digest> {
    parse(row.get_ref(0)?.as_str()?)
}

#[cfg(test)]
mod tests {
    use bakehouse_model::{LayerId, Snapshot};

    use super::*;
    use crate::LayerMeta;

    fn key(text: &str) -> Key {
        Key(Digest::of(text))
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    fn layer(store: &Store, id: &str) -> LayerId {
        let id = id.parse().unwrap();
        store.stage_layer().unwrap().commit(&id, LayerMeta::default()).unwrap()
    }

    #[test]
    fn a_record_is_found_under_each_of_its_keys_while_its_layers_are_there() {
        let (_folder, store) = store();
        let layers = vec![layer(&store, "base"), layer(&store, "step-1")];
        let record = Record {
            id: key("definition"),
            snapshot: Snapshot { layers },
            created_ms: 7,
            cost_ms: u64::from(u32::MAX),
        };
        let (definition, content) = (key("definition"), key("content"));
        store.put_record(&[&definition, &content], &record).unwrap();
        let empty = Record { id: key("empty"), snapshot: Snapshot::default(), ..record.clone() };
        store.put_record(&[&key("empty")], &empty).unwrap();
        let keys = [content, key("absent"), definition, key("empty")];
        let expected = vec![Some(record.clone()), None, Some(record), Some(empty.clone())];
        assert_eq!(store.records(&keys).unwrap(), expected);

        crate::remove_tree(&store.layer_path(&"step-1".parse().unwrap())).unwrap();
        assert_eq!(store.records(&keys).unwrap(), vec![None, None, None, Some(empty)]);
    }

    #[test]
    fn a_row_that_cannot_be_is_an_error_that_names_the_index() {
        let (_folder, store) = store();
        let bad = |rows: &rusqlite::Transaction<'_>, _: &str| {
            let text = "INSERT INTO records VALUES (?1, 'x', '', 0, 0)";
            rows.execute(text, [key("k").0.as_str()])
        };
        store.index().write(bad).unwrap();
        let error = store.records(&[key("k")]).unwrap_err();
        assert!(matches!(error, StoreError::IndexDamaged { .. }), "{error}");
    }

    #[test]
    fn slots_and_costs_come_back_as_far_as_they_are_known() {
        let (_folder, store) = store();
        let names = ["a", "b", "c"].map(str::to_owned);
        let slots = [("a".to_owned(), "{}".to_owned()), ("c".to_owned(), "[1]".to_owned())];
        store.put_slots(&slots).unwrap();
        store.put_slots(&[("c".to_owned(), "[2]".to_owned())]).unwrap();
        let found = store.slots(&names).unwrap();
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [("a".to_owned(), "{}".to_owned()), ("c".to_owned(), "[2]".to_owned())]
        );
        store.put_costs(&[("b".to_owned(), 5), ("x".to_owned(), 6)]).unwrap();
        assert_eq!(store.costs(&names).unwrap(), BTreeMap::from([("b".to_owned(), 5)]));
    }

    #[test]
    fn a_result_counts_only_while_its_manifest_is_there() {
        let (_folder, store) = store();
        let manifest = store.put_blob(b"{}").unwrap();
        store.put_result(&key("image"), &manifest).unwrap();
        assert_eq!(store.result(&key("image")).unwrap(), Some(manifest.clone()));
        assert_eq!(store.result(&key("other")).unwrap(), None);
        std::fs::remove_file(store.blob_path(&manifest)).unwrap();
        assert_eq!(store.result(&key("image")).unwrap(), None);
    }
}
