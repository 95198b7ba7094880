//! The step most stores need: one statement, and what its outcome means.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use creto_kernel::ErrorCode;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::error::StepError;
use crate::sealed::Step;
use crate::value::{Sql, Value};
use crate::{postgres, sqlite};

/// One statement as a [`Step`].
///
/// ```
/// use creto_db::{Write, params};
/// use creto_kernel::ErrorCode;
///
/// let consume = Write::new("UPDATE approval SET state = 'used' WHERE id = $1 AND state = 'approved'", params!["req_1"])
///     .exactly(1, ErrorCode::new("oversight.not_approved"), "the request is not approved, or was used before");
/// ```
#[derive(Debug, Clone)]
pub struct Write {
    sql: Sql,
    params: Vec<Value>,
    exactly: Option<(u64, ErrorCode, String)>,
    unique: Option<(ErrorCode, String)>,
    counted: Option<Arc<AtomicU64>>,
}

impl Write {
    /// A statement with its parameters: `$1` is the first.
    #[must_use]
    pub fn new(sql: impl Into<Sql>, params: Vec<Value>) -> Self {
        Self { sql: sql.into(), params, exactly: None, unique: None, counted: None }
    }

    /// Requires that exactly `rows` rows change; any other number is a conflict under `code`.
    #[must_use]
    pub fn exactly(mut self, rows: u64, code: ErrorCode, message: impl Into<String>) -> Self {
        self.exactly = Some((rows, code, message.into()));
        self
    }

    /// Says what a violated unique constraint or primary key means: a conflict under `code`.
    #[must_use]
    pub fn unique(mut self, code: ErrorCode, message: impl Into<String>) -> Self {
        self.unique = Some((code, message.into()));
        self
    }

    /// Tells how many rows changed, once it ran: for a leaf that records the number ([`crate::Lately`]), or after the commit.
    #[must_use]
    pub fn counted(mut self, rows: Arc<AtomicU64>) -> Self {
        self.counted = Some(rows);
        self
    }

    fn judge(&self, changed: Result<u64, StepError>) -> Result<(), StepError> {
        if let (Ok(changed), Some(rows)) = (&changed, &self.counted) {
            // Stored, not added: a commit that is tried again counts once.
            rows.store(*changed, Ordering::Release);
        }
        match (changed, &self.exactly, &self.unique) {
            (Ok(changed), Some((wanted, code, message)), _) if changed != *wanted => Err(StepError::conflict(*code, message)),
            (Ok(_), _, _) => Ok(()),
            (Err(error), _, Some((code, message))) if error.is_unique_violation() => Err(StepError::conflict(*code, message)),
            (Err(error), _, _) => Err(error),
        }
    }
}

impl Step for Write {
    fn sqlite(&self, tx: &rusqlite::Transaction<'_>) -> Result<(), StepError> {
        self.judge(sqlite::execute(tx, self.sql.sqlite, &self.params))
    }

    fn postgres<'a>(&'a self, connection: &'a mut sqlx::PgConnection) -> BoxFuture<'a, Result<(), StepError>> {
        async move { self.judge(postgres::execute(connection, self.sql.postgres, &self.params).await) }.boxed()
    }
}
