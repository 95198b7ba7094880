//! The database: one handle over both engines.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::error::DbError;
use crate::migrate::{Engine, MigrationSet};
use crate::params;
use crate::postgres::Postgres;
use crate::sealed::{Committed, Sealed};
use crate::sqlite::{self, Readers, Settings, Writer};
use crate::value::{Row, Sql, Value};

/// The database. Clones share it. What is queued when the last one goes is still committed; on SQLite, going waits for that.
#[derive(Debug, Clone)]
pub struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Backend,
    commits: watch::Sender<i64>,
}

#[derive(Debug)]
enum Backend {
    Sqlite { writer: Writer, readers: Arc<Readers> },
    Postgres(Postgres),
}

impl Db {
    /// Opens or creates an SQLite file and brings its schema up to date.
    ///
    /// # Errors
    /// `db.directory_missing`, `db.read_only`, `db.disk_full`, `db.corrupt`, `db.foreign_schema`, `db.migration_changed`,
    /// `db.newer_schema`, `db.migration_failed`, `db.busy`.
    pub fn open_sqlite(path: &Path, sets: &[MigrationSet]) -> Result<Self, DbError> {
        Self::open_on(path, Settings::default(), sets)
    }

    pub(crate) fn open_on(path: &Path, settings: Settings, sets: &[MigrationSet]) -> Result<Self, DbError> {
        let (connection, commits) = opened(path, settings, sets)?;
        let writer = Writer::start(connection, commits.clone())?;
        Ok(Self(Arc::new(Inner { backend: Backend::Sqlite { writer, readers: Readers::new(path, settings, true) }, commits })))
    }

    /// Without threads: for simulations.
    #[cfg(feature = "testkit")]
    pub(crate) fn open_stepped(path: &Path, settings: Settings, sets: &[MigrationSet]) -> Result<(Self, sqlite::Steps), DbError> {
        let (connection, commits) = opened(path, settings, sets)?;
        let (writer, steps) = Writer::stepped(connection, commits.clone());
        let backend = Backend::Sqlite { writer, readers: Readers::new(path, settings, false) };
        Ok((Self(Arc::new(Inner { backend, commits })), steps))
    }

    /// Connects to PostgreSQL and brings the schema up to date, in the first schema of the connection's `search_path`.
    ///
    /// # Errors
    /// `db.unavailable`, `db.foreign_schema`, `db.migration_changed`, `db.newer_schema`, `db.migration_failed`.
    pub async fn open_postgres(url: &str, sets: &[MigrationSet]) -> Result<Self, DbError> {
        let commits = watch::Sender::new(0);
        let postgres = Postgres::open(url, sets, commits.clone()).await?;
        Ok(Self(Arc::new(Inner { backend: Backend::Postgres(postgres), commits })))
    }

    /// Which engine it is.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self.0.backend {
            Backend::Sqlite { .. } => Engine::Sqlite,
            Backend::Postgres(_) => Engine::Postgres,
        }
    }

    /// Applies a sealed write, whole or not at all, and answers when it is durable. Dropping the future does not undo it.
    ///
    /// # Errors
    /// The step's own code when a requirement does not hold; `db.leaf_exists`; `db.leaf_too_large`; `db.busy`, `db.disk_full`,
    /// `db.unavailable` when the engine cannot serve.
    pub async fn commit(&self, sealed: Sealed) -> Result<Committed, DbError> {
        sealed.check_leaf()?;
        match &self.0.backend {
            Backend::Sqlite { writer, .. } => writer.commit(sealed).await,
            Backend::Postgres(postgres) => postgres.commit(sealed).await,
        }
    }

    /// Reads all rows of a query. The query bounds them by `LIMIT`.
    pub async fn query(&self, sql: impl Into<Sql>, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        let sql = sql.into();
        match &self.0.backend {
            Backend::Sqlite { readers, .. } => readers.query(sql.sqlite, params).await,
            Backend::Postgres(postgres) => postgres.query(sql.postgres, &params).await,
        }
    }

    /// Reads the first row of a query, if there is one.
    pub async fn query_optional(&self, sql: impl Into<Sql>, params: Vec<Value>) -> Result<Option<Row>, DbError> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// The sequence of the newest commit. It changes after each one, so that whoever follows the leaves or the outbox wakes up.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<i64> {
        self.0.commits.subscribe()
    }

    /// Runs one statement that records nothing anybody decided, durably, and returns its rows (`… RETURNING …`).
    ///
    /// Only for the platform's own bookkeeping: log positions, leases, delivery claims. A state change is a [`Sealed`].
    pub async fn upkeep(&self, sql: impl Into<Sql>, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        self.upkeep_all(vec![(sql.into(), params)]).await
    }

    /// Runs several upkeep statements, all or none, and returns the rows of the last one.
    pub async fn upkeep_all(&self, work: Vec<(Sql, Vec<Value>)>) -> Result<Vec<Row>, DbError> {
        match &self.0.backend {
            Backend::Sqlite { writer, .. } => writer.upkeep(work).await,
            Backend::Postgres(postgres) => postgres.upkeep(&work).await,
        }
    }

    /// Makes what was erased leave the files too: rewrites the given tables, or the whole file, and empties the write-ahead log.
    ///
    /// SQLite overwrites what is deleted as it goes; this takes care of what was there before, and of copies in the log. PostgreSQL's own
    /// write-ahead log and its backups keep what they have until they are recycled: that is its administrator's to bound.
    ///
    /// # Errors
    /// `db.busy` when a reader kept the write-ahead log from being emptied; `db.disk_full`; `db.unavailable`.
    pub async fn scrub(&self, tables: &'static [&'static str]) -> Result<(), DbError> {
        match &self.0.backend {
            Backend::Sqlite { writer, .. } => writer.scrub().await,
            Backend::Postgres(postgres) => postgres.scrub(tables).await,
        }
    }

    /// Notes where leaves stand in their tenant's log: (sequence, index in the log), all or none.
    ///
    /// A position is noted once: a leaf that has one keeps it, so that the order a log was given is never changed.
    ///
    /// # Errors
    /// `db.constraint` when another leaf of the tenant holds the index.
    pub async fn mark_sequenced(&self, positions: &[(i64, i64)]) -> Result<(), DbError> {
        let mark = Sql::from("UPDATE audit_leaf SET log_index = $2 WHERE sequence = $1 AND log_index IS NULL");
        self.upkeep_all(positions.iter().map(|(sequence, index)| (mark, params![*sequence, *index])).collect()).await.map(|_| ())
    }
}

/// The writer's connection, and where commits are told.
fn opened(path: &Path, settings: Settings, sets: &[MigrationSet]) -> Result<(rusqlite::Connection, watch::Sender<i64>), DbError> {
    let connection = sqlite::open(path, settings, sets)?;
    let last = sqlite::query(&connection, "SELECT coalesce(max(sequence), 0) FROM audit_leaf", &[]).map_err(sqlite::step_failure)?;
    let last = last.first().map_or(Ok(0), |row| row.int(0))?;
    Ok((connection, watch::Sender::new(last)))
}
