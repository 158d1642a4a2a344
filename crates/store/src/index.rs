//! The index: rows about blobs and layers, in SQLite.
//!
//! It is opened when it is first needed and never migrated or checked on the way:
//! `user_version` says that it is complete. It is made under an exclusive flock of
//! `index-v1.lock`, so that processes which start together do not make it twice.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::store::StoreError;

const VERSION: u32 = 1;

/// How long a writer waits for another process's transaction. They take well under a
/// millisecond each, so whoever waits this long waits for something that is stuck.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
    CREATE TABLE layers (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        created_ms INTEGER NOT NULL, bytes INTEGER NOT NULL, entries INTEGER NOT NULL,
        diff_id TEXT, tar_size INTEGER, boot TEXT NOT NULL
    ) STRICT;
    CREATE INDEX layers_unsynced ON layers (boot) WHERE boot != '';
    CREATE TABLE layer_blobs (
        diff_id TEXT NOT NULL, compression TEXT NOT NULL, descriptor TEXT NOT NULL,
        PRIMARY KEY (diff_id, compression)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE records (
        key TEXT PRIMARY KEY, id TEXT NOT NULL, layers TEXT NOT NULL,
        created_ms INTEGER NOT NULL, cost_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE slots (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE costs (name TEXT PRIMARY KEY, ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE images (
        name TEXT PRIMARY KEY, manifest TEXT NOT NULL, updated_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE results (
        key TEXT PRIMARY KEY, manifest TEXT NOT NULL, updated_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE resolutions (
        reference TEXT NOT NULL, platform TEXT NOT NULL, manifest TEXT NOT NULL,
        resolved_ms INTEGER NOT NULL, PRIMARY KEY (reference, platform)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE unpacked (
        manifest TEXT PRIMARY KEY, layers TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// A connection that is made when it is first used.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    open: Mutex<Option<Open>>,
}

/// An open index.
#[derive(Debug)]
pub(crate) struct Open {
    /// The connection.
    pub(crate) connection: Connection,
    /// Names the time since the machine started.
    pub(crate) boot: String,
}

impl Index {
    /// The index of the store at `home`, not opened yet.
    pub(crate) fn new(home: &Path) -> Self {
        Self { path: home.join("index-v1.sqlite"), open: Mutex::new(None) }
    }

    /// Reads, all in one view of the index.
    pub(crate) fn read<T>(
        &self,
        ask: impl FnOnce(&Transaction<'_>, &str) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.transaction(TransactionBehavior::Deferred, ask)
    }

    /// Writes, all or nothing, alone among all processes.
    pub(crate) fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>, &str) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.transaction(TransactionBehavior::Immediate, change)
    }

    fn transaction<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>, &str) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        // A panic in `work` rolls its transaction back, so the connection is fine.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            *open = Some(self.connect()?);
        }
        let Open { connection, boot } = open.as_mut().expect("it was just made");
        let run = || {
            let transaction = connection.transaction_with_behavior(behavior)?;
            let value = work(&transaction, boot)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|source| self.error(source))
    }

    /// An error of the index, as a person can use it.
    pub(crate) fn error(&self, source: rusqlite::Error) -> StoreError {
        let path = self.path.clone();
        if matches!(source, rusqlite::Error::FromSqlConversionFailure(..)) {
            return StoreError::IndexDamaged { path, source };
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::IndexDamaged { path, source }
            }
            Some(ErrorCode::DiskFull) => StoreError::Full { path },
            _ => StoreError::Index { path, source },
        }
    }

    fn connect(&self) -> Result<Open, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let prepare = || {
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.set_prepared_statement_cache_capacity(64);
            let version = version(&connection)?;
            Ok((connection, version))
        };
        let (connection, mut found) = prepare().map_err(|source| self.error(source))?;
        if found == 0 {
            let path = self.path.with_extension("lock");
            let lock = File::create(&path).map_err(StoreError::io("create", &path))?;
            lock.lock().map_err(StoreError::io("lock", &path))?;
            found = make(&connection).map_err(|source| self.error(source))?;
        }
        if found != VERSION {
            return Err(StoreError::Newer { path: self.path.clone(), found, known: VERSION });
        }
        // The rows can be made again from work, so they need not survive a crash of the
        // machine; the index itself does in this mode.
        connection
            .execute_batch("PRAGMA synchronous = NORMAL")
            .map_err(|source| self.error(source))?;
        Ok(Open { connection, boot: boot() })
    }
}

/// What `text`, which is in a row, says.
pub(crate) fn parse<T: FromStr>(text: &str) -> rusqlite::Result<T>
where
    T::Err: Error + Send + Sync + 'static,
{
    text.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(text.len(), Type::Text, Box::new(error))
    })
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Makes the tables unless someone else just did, and returns the version.
fn make(connection: &Connection) -> rusqlite::Result<u32> {
    let found = version(connection)?;
    if found != 0 {
        return Ok(found);
    }
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection
        .execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT"))?;
    Ok(VERSION)
}

/// What is not synced survives as long as this stays the same.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match id.trim() {
        // Without a name for this boot, none may be trusted later: be unlike every other.
        "" => crate::lock::unique_name(),
        id => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_index_says_that_it_can_be_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("index-v1.sqlite"), vec![b'x'; 8192]).unwrap();
        let error = Index::new(folder.path()).read(|_, _| Ok(())).unwrap_err();
        assert!(matches!(error, StoreError::IndexDamaged { .. }), "{error}");
        assert!(error.to_string().contains("remove it"), "{error}");
    }

    #[test]
    fn a_newer_index_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::new(folder.path());
        index.write(|rows, _| rows.execute_batch("PRAGMA user_version = 2")).unwrap();
        let error = Index::new(folder.path()).read(|_, _| Ok(())).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");
    }

    #[test]
    fn all_who_start_at_once_get_the_same_index() {
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            std::thread::scope(|scope| {
                for number in 0..8 {
                    let index = Index::new(folder.path());
                    scope.spawn(move || {
                        let insert = "INSERT INTO costs VALUES (?1, 1)";
                        index.write(|rows, _| rows.execute(insert, [number.to_string()])).unwrap();
                    });
                }
            });
            let count = "SELECT count(*) FROM costs";
            let index = Index::new(folder.path());
            let rows: u32 =
                index.read(|rows, _| rows.query_row(count, [], |row| row.get(0))).unwrap();
            assert_eq!(rows, 8);
        }
    }
}
