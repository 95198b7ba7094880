//! One statement for many rows: SQLite runs its prepared form once for each, PostgreSQL once for all of them, over arrays.

use creto_kernel::ErrorCode;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::error::StepError;
use crate::sealed::Step;
use crate::value::{Row, Sql, Value};
use crate::{postgres, sqlite};

/// One column of many rows; `None` is NULL. On PostgreSQL it is one array parameter: `text[]`, `bigint[]` or `bytea[]`.
#[derive(Clone, PartialEq, Eq)]
pub enum Column {
    /// Texts.
    Text(Vec<Option<String>>),
    /// 64-bit integers.
    Integer(Vec<Option<i64>>),
    /// Bytes.
    Blob(Vec<Option<Vec<u8>>>),
}

/// Shows class and length only, as [`Value`] does.
impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let class = match self {
            Self::Text(_) => "Text",
            Self::Integer(_) => "Integer",
            Self::Blob(_) => "Blob",
        };
        write!(f, "{class}({} rows)", self.len())
    }
}

impl Column {
    /// A column of texts without NULL.
    #[must_use]
    pub fn texts<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::Text(values.into_iter().map(|value| Some(value.into())).collect())
    }

    /// A column of integers without NULL.
    #[must_use]
    pub fn integers<T: Into<i64>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::Integer(values.into_iter().map(|value| Some(value.into())).collect())
    }

    /// A column of bytes without NULL.
    #[must_use]
    pub fn blobs<T: Into<Vec<u8>>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::Blob(values.into_iter().map(|value| Some(value.into())).collect())
    }

    /// How many rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Integer(values) => values.len(),
            Self::Blob(values) => values.len(),
        }
    }

    /// Whether there is no row.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One statement over many rows, as a [`Step`]; as a question of [`crate::Decide`], one query over many keys.
///
/// `$1, $2, …` are first the `fixed` values, which all rows share, then the columns. SQLite's text speaks of one row; PostgreSQL's takes
/// the columns as arrays, as in `INSERT … SELECT $1, * FROM unnest($2::text[], $3::bigint[])`. Without any column it runs once; with
/// columns of no rows it does not run.
///
/// ```
/// use creto_db::{Column, Many, Sql, params};
///
/// let insert = Many::new(
///     Sql::per_engine(
///         "INSERT INTO item (tenant, number, name) VALUES ($1, $2, $3)",
///         "INSERT INTO item (tenant, number, name) SELECT $1, * FROM unnest($2::bigint[], $3::text[])",
///     ),
///     params!["acme"],
///     vec![Column::integers([1, 2]), Column::texts(["one", "two"])],
/// );
/// ```
#[derive(Debug, Clone)]
pub struct Many {
    sql: Sql,
    fixed: Vec<Value>,
    columns: Vec<Column>,
    unique: Option<(ErrorCode, String)>,
    pub(crate) supposed_empty: bool,
}

impl Many {
    /// A statement with what all rows share and the columns in which they differ.
    #[must_use]
    pub fn new(sql: impl Into<Sql>, fixed: Vec<Value>, columns: Vec<Column>) -> Self {
        Self { sql: sql.into(), fixed, columns, unique: None, supposed_empty: false }
    }

    /// Says what a violated unique constraint or primary key means: a conflict under `code`.
    #[must_use]
    pub fn unique(mut self, code: ErrorCode, message: impl Into<String>) -> Self {
        self.unique = Some((code, message.into()));
        self
    }

    /// As a question whose answer is usually nothing and slow to find: PostgreSQL supposes that it is, and asks only where that turns out to
    /// be wrong ([`crate::Decide::decide_supposing`]).
    #[must_use]
    pub const fn supposed_empty(mut self, supposed: bool) -> Self {
        self.supposed_empty = supposed;
        self
    }

    fn judge(&self, done: Result<(), StepError>) -> Result<(), StepError> {
        match (done, &self.unique) {
            (Err(error), Some((code, message))) if error.is_unique_violation() => Err(StepError::conflict(*code, message)),
            (done, _) => done,
        }
    }

    /// How many rows: of all columns, or one where there are none.
    fn rows(&self) -> Result<usize, StepError> {
        let Some((first, rest)) = self.columns.split_first() else { return Ok(1) };
        if rest.iter().any(|column| column.len() != first.len()) {
            return Err(StepError::Invalid("the columns of one statement have different lengths".to_owned()));
        }
        Ok(first.len())
    }

    pub(crate) fn sqlite_rows(&self, connection: &rusqlite::Connection) -> Result<Vec<Row>, StepError> {
        let mut found = Vec::new();
        sqlite::each(connection, self.sql.sqlite, &self.fixed, &self.columns, self.rows()?, Some(&mut found))?;
        Ok(found)
    }

    pub(crate) async fn postgres_rows(&self, connection: &mut sqlx::PgConnection) -> Result<Vec<Row>, StepError> {
        if self.rows()? == 0 {
            return Ok(Vec::new());
        }
        postgres::query_many(connection, self.sql.postgres, &self.fixed, &self.columns).await
    }
}

impl Step for Many {
    fn sqlite(&self, tx: &rusqlite::Transaction<'_>) -> Result<(), StepError> {
        self.judge(sqlite::each(tx, self.sql.sqlite, &self.fixed, &self.columns, self.rows()?, None))
    }

    fn postgres<'a>(&'a self, connection: &'a mut sqlx::PgConnection) -> BoxFuture<'a, Result<(), StepError>> {
        async move {
            if self.rows()? == 0 {
                return Ok(());
            }
            self.judge(postgres::execute_many(connection, self.sql.postgres, &self.fixed, &self.columns).await.map(|_| ()))
        }
        .boxed()
    }
}
