//! Connects, migrates, and listens for the commits of other processes.

use std::time::Duration;

use futures::FutureExt;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::watch;

use super::{execute, failure, query};
use crate::error::DbError;
use crate::migrate::{self, Applied, Engine, MigrationSet};
use crate::params;
use crate::sqlite::step_failure;

/// Connections for reads; the writer has its own.
pub(super) const READERS_MAX: u32 = 8;

/// Connections for upkeep, and one for the listener.
const UPKEEP_MAX: u32 = 5;

/// How long a caller waits for a free connection.
const ACQUIRE_TIMEOUT_MS: u64 = 10_000;

/// How long a writer may stand still inside a transaction before the server ends its session.
const WRITER_IDLE_MAX_MS: u64 = 10_000;

/// How long a writer waits for the others, and for the end of one that stands still.
const LOCK_WAIT_MAX_MS: u64 = 30_000;

/// How long the listener waits before it connects again.
const LISTEN_RETRY_MS: u64 = 1_000;

pub(super) struct Opened {
    pub(super) options: PgConnectOptions,
    pub(super) readers: PgPool,
    pub(super) upkeep: PgPool,
}

pub(super) async fn connect(url: &str) -> Result<Opened, DbError> {
    let options: PgConnectOptions = url.parse().map_err(|e: sqlx::Error| failure(&e))?;
    // A pool waits for a server that is not there; a start says at once what is wrong.
    options.connect().await.map_err(|e| failure(&e))?.close().await.map_err(|e| failure(&e))?;
    let upkeep = pool(UPKEEP_MAX).after_connect(|connection, _| prepare_session(connection).boxed());
    // A read is repeated where its connection turns out to be broken: none is asked for a sign of life before each.
    let readers = pool(READERS_MAX).test_before_acquire(false).after_connect(|connection, _| prepare_reader(connection).boxed());
    Ok(Opened {
        readers: readers.connect_with(options.clone()).await.map_err(|e| failure(&e))?,
        upkeep: upkeep.connect_with(options.clone()).await.map_err(|e| failure(&e))?,
        options,
    })
}

fn pool(connections_max: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections_max).acquire_timeout(Duration::from_millis(ACQUIRE_TIMEOUT_MS))
}

/// A query never changes anything, also where its text would. The settings are otherwise the writer's, so that asking for them is truthful.
async fn prepare_reader(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    prepare_session(connection).await?;
    sqlx::query("SET default_transaction_read_only = on").execute(connection).await.map(|_| ())
}

/// A commit that does not wait for the disk is not durable: where the server's default is `off`, this session waits all the same.
pub(super) async fn prepare_session(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let waits = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";
    sqlx::query(waits).execute(connection).await.map(|_| ())
}

/// A process that is paused in the middle of a commit holds the commit lock: the server ends its session, and nobody waits for ever.
pub(super) async fn prepare_writer(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    prepare_session(connection).await?;
    let bounds = "SELECT set_config('idle_in_transaction_session_timeout', $1, false), set_config('lock_timeout', $2, false)";
    let (idle, lock) = (format!("{WRITER_IDLE_MAX_MS}ms"), format!("{LOCK_WAIT_MAX_MS}ms"));
    sqlx::query(bounds).bind(idle).bind(lock).execute(connection).await.map(|_| ())
}

pub(super) async fn migrate(pool: &PgPool, sets: &[MigrationSet]) -> Result<(), DbError> {
    let mut connection = pool.acquire().await.map_err(|e| failure(&e))?;
    let mut tx = connection.begin().await.map_err(|e| failure(&e))?;
    // Of two processes that start together, the second sees what the first applied.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('creto.migrate.' || current_schema(), 0))";
    query(&mut tx, lock, &[]).await.map_err(step_failure)?;
    let applied = applied(&mut tx).await?;
    for (set, migration) in migrate::plan(Engine::Postgres, sets, &applied)? {
        let version = i64::from(migration.version);
        sqlx::raw_sql(migration.postgres).execute(&mut *tx).await.map_err(|e| match failure(&e) {
            DbError::Statement(_) | DbError::Constraint(_) => migrate::failed(set, version, e),
            other => other,
        })?;
        let record = params![set, version, migration.checksum(Engine::Postgres)];
        let insert = "INSERT INTO creto_migration (set_name, version, checksum) VALUES ($1, $2, $3)";
        execute(&mut tx, insert, &record).await.map_err(step_failure)?;
    }
    tx.commit().await.map_err(|e| failure(&e))
}

/// What was applied. A schema with tables and without our history is somebody else's.
async fn applied(connection: &mut PgConnection) -> Result<Applied, DbError> {
    let tables = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1";
    let tables = query(connection, tables, &[]).await.map_err(step_failure)?;
    let names = tables.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
    if !names.contains(&"creto_migration") {
        if !names.is_empty() {
            return Err(DbError::ForeignSchema(format!("its schema already holds {}", names.join(", "))));
        }
        let create = "CREATE TABLE creto_migration (
            set_name TEXT NOT NULL, version BIGINT NOT NULL, checksum TEXT NOT NULL, PRIMARY KEY (set_name, version))";
        execute(connection, create, &[]).await.map_err(step_failure)?;
    }
    let mut applied = Applied::new();
    for row in query(connection, "SELECT set_name, version, checksum FROM creto_migration", &[]).await.map_err(step_failure)? {
        applied.insert((row.text(0)?.to_owned(), row.int(1)?), row.text(2)?.to_owned());
    }
    Ok(applied)
}

/// Follows the commits of every process on this schema, this one's included.
pub(super) async fn listen(pool: &PgPool, commits: watch::Sender<i64>) -> Result<tokio::task::AbortHandle, DbError> {
    let mut listener = subscribe(pool, &commits).await?;
    let pool = pool.clone();
    let task = tokio::spawn(async move {
        loop {
            // `None` and errors mean a lost connection: announcements may have been missed, so the newest commit is read again.
            match listener.try_recv().await {
                Ok(Some(announced)) => raise(&commits, announced.payload().parse().unwrap_or(0)),
                Ok(None) | Err(_) => listener = resubscribe(&pool, &commits).await,
            }
        }
    });
    Ok(task.abort_handle())
}

async fn resubscribe(pool: &PgPool, commits: &watch::Sender<i64>) -> PgListener {
    loop {
        match subscribe(pool, commits).await {
            Ok(listener) => return listener,
            Err(error) => {
                tracing::warn!(%error, "commits of other processes are not seen until PostgreSQL answers again");
                tokio::time::sleep(Duration::from_millis(LISTEN_RETRY_MS)).await;
            }
        }
    }
}

async fn subscribe(pool: &PgPool, commits: &watch::Sender<i64>) -> Result<PgListener, DbError> {
    let mut connection = pool.acquire().await.map_err(|e| failure(&e))?;
    let channel = query(&mut connection, "SELECT 'creto_commit_' || md5(current_schema())", &[]).await.map_err(step_failure)?;
    let mut listener = PgListener::connect_with(pool).await.map_err(|e| failure(&e))?;
    if let Some(row) = channel.first() {
        listener.listen(row.text(0)?).await.map_err(|e| failure(&e))?;
    }
    let newest = "SELECT coalesce(max(sequence), 0) FROM audit_leaf";
    let newest = query(&mut connection, newest, &[]).await.map_err(step_failure)?;
    raise(commits, newest.first().map_or(Ok(0), |row| row.int(0))?);
    Ok(listener)
}

/// Announcements may arrive late: the newest commit never goes back.
pub(super) fn raise(commits: &watch::Sender<i64>, sequence: i64) {
    commits.send_if_modified(|newest| {
        let newer = sequence > *newest;
        *newest = sequence.max(*newest);
        newer
    });
}
