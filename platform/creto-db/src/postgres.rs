//! PostgreSQL: a pool for reads, which cannot write, a pool for upkeep, one writer task with group commit, and a listener for what other processes commit.

mod open;
mod rows;
mod writer;

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use sqlx::encode::IsNull;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgPool, PgTypeInfo, Postgres as Protocol};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Encode, PgConnection, Type};
use tokio::sync::watch;

use crate::error::{DbError, StepError};
use crate::many::Column;
use crate::migrate::MigrationSet;
use crate::sealed::{Committed, Sealed};
use crate::sqlite::step_failure;
use crate::value::{Row, Sql, Value};
use writer::Writer;

/// How often a write is repeated after a serialization failure, a deadlock or a lost connection.
const RETRIES_MAX: u32 = 8;
/// How soon a connection that was broken before fails its query.
const BROKEN_AT_ONCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Postgres {
    readers: PgPool,
    upkeep: PgPool,
    writer: Writer,
    listener: tokio::task::AbortHandle,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Postgres {
    pub(crate) async fn open(url: &str, sets: &[MigrationSet], commits: watch::Sender<i64>) -> Result<Self, DbError> {
        let open::Opened { options, readers, upkeep } = open::connect(url).await?;
        open::migrate(&upkeep, sets).await?;
        let listener = open::listen(&upkeep, commits.clone()).await?;
        Ok(Self { readers, upkeep, writer: Writer::start(options, commits), listener })
    }

    pub(crate) async fn commit(&self, sealed: Sealed) -> Result<Committed, DbError> {
        self.writer.commit(sealed).await
    }

    /// A connection that broke while it was idle is found by its first query, at once: that is asked again on others, until each of them
    /// was new. One that ran for a while was ended by somebody, or ended its server, and is not repeated.
    pub(crate) async fn query(&self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        for _ in 0..open::READERS_MAX {
            let mut connection = self.readers.acquire().await.map_err(|e| failure(&e))?;
            let asked = Instant::now();
            match query(&mut connection, sql, params).await {
                Err(StepError::Postgres(e)) if is_disconnect(&e) && asked.elapsed() < BROKEN_AT_ONCE => drop(connection.close().await),
                answered => return answered.map_err(step_failure),
            }
        }
        let mut connection = self.readers.acquire().await.map_err(|e| failure(&e))?;
        query(&mut connection, sql, params).await.map_err(step_failure)
    }

    pub(crate) async fn upkeep(&self, work: &[(Sql, Vec<Value>)]) -> Result<Vec<Row>, DbError> {
        let mut last = DbError::Busy("upkeep kept losing against other writers".to_owned());
        for _ in 0..RETRIES_MAX {
            match self.upkeep_once(work).await {
                Err(StepError::Postgres(e)) if is_transient(&e) => last = failure(&e),
                other => return other.map_err(step_failure),
            }
        }
        Err(last)
    }

    /// `VACUUM FULL` writes each table anew and drops the old file; it cannot run in a transaction.
    pub(crate) async fn scrub(&self, tables: &'static [&'static str]) -> Result<(), DbError> {
        let mut connection = self.upkeep.acquire().await.map_err(|e| failure(&e))?;
        for table in tables {
            let plain = table.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            let statement = plain.then(|| format!("VACUUM (FULL) {table}"));
            let statement = statement.ok_or_else(|| DbError::Statement(format!("`{table}` is no table of ours")))?;
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await.map_err(|e| failure(&e))?;
        }
        Ok(())
    }

    async fn upkeep_once(&self, work: &[(Sql, Vec<Value>)]) -> Result<Vec<Row>, StepError> {
        let mut connection = self.upkeep.acquire().await?;
        let mut tx = connection.begin().await?;
        let mut rows = Vec::new();
        for (sql, params) in work {
            rows = query(&mut tx, sql.postgres, params).await?;
        }
        tx.commit().await?;
        Ok(rows)
    }
}

/// NULL without a type: the server infers the type from where the parameter stands.
struct Untyped;

impl Type<Protocol> for Untyped {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(sqlx::postgres::types::Oid(0))
    }
}

impl Encode<'_, Protocol> for Untyped {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, sqlx::error::BoxDynError> {
        Ok(IsNull::Yes)
    }
}

fn prepare(sql: &'static str, params: &[Value]) -> Query<'static, Protocol, PgArguments> {
    let nulls: Vec<String> = params.iter().enumerate().filter(|(_, p)| **p == Value::Null).map(|(i, _)| i.to_string()).collect();
    let mut query = if nulls.is_empty() {
        sqlx::query(sql)
    } else {
        // The client caches prepared statements by text alone, but the server fixed their parameter types when they were prepared:
        // the comment gives each combination of untyped parameters its own entry. The text has only digits added to it.
        sqlx::query(AssertSqlSafe(format!("{sql} /* null {} */", nulls.join(" "))))
    };
    for param in params {
        query = match param {
            Value::Null => query.bind(Untyped),
            Value::Integer(integer) => query.bind(*integer),
            Value::Text(text) => query.bind(text.as_str()),
            Value::Blob(bytes) => query.bind(bytes.as_slice()),
        };
    }
    query
}

fn prepare_many(sql: &'static str, fixed: &[Value], columns: &[Column]) -> Query<'static, Protocol, PgArguments> {
    columns.iter().fold(prepare(sql, fixed), |query, column| match column {
        Column::Text(values) => query.bind(values.as_slice()),
        Column::Integer(values) => query.bind(values.as_slice()),
        Column::Blob(values) => query.bind(values.as_slice()),
    })
}

/// Runs one statement over arrays and tells how many rows it changed.
pub(crate) async fn execute_many(
    connection: &mut PgConnection,
    sql: &'static str,
    fixed: &[Value],
    columns: &[Column],
) -> Result<u64, StepError> {
    Ok(prepare_many(sql, fixed, columns).execute(connection).await?.rows_affected())
}

/// Runs one query over arrays and reads all its rows.
pub(crate) async fn query_many(
    connection: &mut PgConnection,
    sql: &'static str,
    fixed: &[Value],
    columns: &[Column],
) -> Result<Vec<Row>, StepError> {
    let mut stream = prepare_many(sql, fixed, columns).fetch(connection);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(rows::row(&row)?);
    }
    Ok(rows)
}

/// Runs one statement and tells how many rows it changed.
pub(crate) async fn execute(connection: &mut PgConnection, sql: &'static str, params: &[Value]) -> Result<u64, StepError> {
    Ok(prepare(sql, params).execute(connection).await?.rows_affected())
}

/// Runs one statement and reads all its rows.
pub(crate) async fn query(connection: &mut PgConnection, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, StepError> {
    let mut stream = prepare(sql, params).fetch(connection);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(rows::row(&row)?);
    }
    Ok(rows)
}

fn state(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|e| e.code().map(std::borrow::Cow::into_owned))
}

/// The server undid the transaction for reasons that a repetition may not meet: serialization failure, deadlock.
fn is_transient(error: &sqlx::Error) -> bool {
    matches!(state(error).as_deref(), Some("40001" | "40P01"))
}

/// The connection is gone: a broken socket, a server that shuts down or was killed (57P), a session that stood still (25P03).
fn is_disconnect(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed)
        || state(error).is_some_and(|s| s.starts_with("57P") || s == "25P03" || (s.starts_with("08") && s != "08P01"))
}

/// What a PostgreSQL failure means to whoever asked (PostgreSQL manual, appendix A).
pub(crate) fn failure(error: &sqlx::Error) -> DbError {
    let said = error.to_string();
    let Some(state) = state(error) else {
        return match error {
            sqlx::Error::PoolTimedOut => DbError::Busy("no connection became free in time".to_owned()),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => DbError::UnexpectedRow(said),
            sqlx::Error::Encode(_) => DbError::Statement(said),
            _ => DbError::Unavailable(said),
        };
    };
    match (state.get(..2).unwrap_or_default(), state.as_str()) {
        (_, "53100") => DbError::DiskFull(said),
        (_, "25006") => DbError::ReadOnly(said),
        (_, "55P03" | "40001" | "40P01" | "57014") => DbError::Busy(said),
        ("23", _) => DbError::Constraint(said),
        (_, "08P01") => DbError::Statement(said),
        ("XX" | "F0", _) => DbError::Corrupt(said),
        ("08" | "53" | "57" | "58" | "28" | "3D", _) => DbError::Unavailable(said),
        _ => DbError::Statement(said),
    }
}
