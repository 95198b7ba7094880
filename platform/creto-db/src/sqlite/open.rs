//! Opens a file: settings, ownership, migrations.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{failure, step_failure};
use crate::error::DbError;
use crate::migrate::{self, Applied, Engine, MigrationSet};
use crate::params;

/// How long a connection waits for another process's lock.
const BUSY_TIMEOUT_MS: u64 = 5_000;

/// Statements each connection keeps prepared.
const STATEMENTS_MAX: usize = 256;

/// Memory for pages the writer has read, in KiB: an index in random order is found there instead of being read again for every row.
const WRITER_CACHE_KIB: i64 = 64 * 1024;

/// Pages of the write-ahead log after which they are moved to their places: 16 MiB. A page that many commits touch is moved once.
const CHECKPOINT_PAGES: i64 = 4_096;

/// `CRET`: marks a file as ours in its header (`PRAGMA application_id`).
const APPLICATION_ID: i64 = 0x4352_4554;

/// How connections are opened. Anything but the default is for simulations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// The file system, where it is not the usual one.
    pub(crate) vfs: Option<&'static str>,
    /// `PRAGMA synchronous`. FULL makes each COMMIT wait for fsync; NORMAL would lose acknowledged commits with the power.
    pub(crate) synchronous: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self { vfs: None, synchronous: "full" }
    }
}

/// Opens the writer's connection and brings the schema up to date.
pub(crate) fn open(path: &Path, settings: Settings, sets: &[MigrationSet]) -> Result<Connection, DbError> {
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(DbError::DirectoryMissing(directory.to_owned()));
    }
    let mut connection = connect(path, settings, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    claim(&connection)?;
    connection.pragma_update(None, "journal_mode", "wal").map_err(|e| failure(&e))?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB).map_err(|e| failure(&e))?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(|e| failure(&e))?;
    migrate(&mut connection, sets)?;
    Ok(connection)
}

/// Opens a connection with the settings every connection has.
pub(super) fn connect(path: &Path, settings: Settings, flags: OpenFlags) -> Result<Connection, DbError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connect = || {
        let connection = match settings.vfs {
            None => Connection::open_with_flags(path, flags)?,
            Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        };
        connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.pragma_update(None, "synchronous", settings.synchronous)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // What is erased is overwritten, not only let go.
        connection.pragma_update(None, "secure_delete", true)?;
        Ok(connection)
    };
    connect().map_err(|e: rusqlite::Error| match failure(&e) {
        DbError::ReadOnly(said) => DbError::ReadOnly(format!("`{}`: {said}", path.display())),
        other => other,
    })
}

/// Marks a new file as ours; refuses a file that has tables and another mark.
fn claim(connection: &Connection) -> Result<(), DbError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(|e| failure(&e));
    match (number("PRAGMA application_id")?, number("SELECT count(*) FROM sqlite_schema")?) {
        (APPLICATION_ID, _) => Ok(()),
        (0, 0) => connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(|e| failure(&e)),
        (mark, tables) => Err(DbError::ForeignSchema(format!("its application mark is {mark:#x} and it has {tables} tables and indexes"))),
    }
}

fn migrate(connection: &mut Connection, sets: &[MigrationSet]) -> Result<(), DbError> {
    // IMMEDIATE: of two processes that start together, the second sees what the first applied.
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| failure(&e))?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS creto_migration (
            set_name TEXT NOT NULL, version BIGINT NOT NULL, checksum TEXT NOT NULL, PRIMARY KEY (set_name, version))",
    )
    .map_err(|e| failure(&e))?;
    let mut applied = Applied::new();
    for row in super::query(&tx, "SELECT set_name, version, checksum FROM creto_migration", &[]).map_err(step_failure)? {
        applied.insert((row.text(0)?.to_owned(), row.int(1)?), row.text(2)?.to_owned());
    }
    for (set, migration) in migrate::plan(Engine::Sqlite, sets, &applied)? {
        tx.execute_batch(migration.sqlite).map_err(|e| match failure(&e) {
            DbError::Statement(_) | DbError::Constraint(_) => migrate::failed(set, i64::from(migration.version), e),
            other => other,
        })?;
        let record = params![set, migration.version, migration.checksum(Engine::Sqlite)];
        super::execute(&tx, "INSERT INTO creto_migration (set_name, version, checksum) VALUES ($1, $2, $3)", &record)
            .map_err(step_failure)?;
    }
    tx.commit().map_err(|e| failure(&e))
}
