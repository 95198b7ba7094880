//! How a write fails.

use creto_kernel::{Coded, ErrorCode, Kind};

/// How one step fails.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// What the step requires does not hold; carries the owner's stable code and what to say.
    #[error("{message}")]
    Conflict {
        /// The owner's code, such as `metering.budget_exceeded`.
        code: ErrorCode,
        /// What does not hold.
        message: String,
    },
    /// SQLite failed.
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL failed.
    #[error("postgresql: {0}")]
    Postgres(#[from] sqlx::Error),
}

impl StepError {
    /// A compare-and-set that did not hold.
    #[must_use]
    pub fn conflict(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Conflict { code, message: message.into() }
    }
}

/// How the database fails.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A step's requirement did not hold; nothing was changed.
    #[error("{message}")]
    Conflict {
        /// The step's code.
        code: ErrorCode,
        /// What does not hold.
        message: String,
    },
    /// The engine refused or failed; nothing was changed.
    #[error("the database cannot serve: {0}")]
    Unavailable(String),
    /// What is stored cannot be read: a damaged file, a foreign schema.
    #[error("the database is damaged or not ours: {0}")]
    Corrupt(String),
}

impl Coded for DbError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Conflict { code, .. } => *code,
            Self::Unavailable(_) => ErrorCode::new("db.unavailable"),
            Self::Corrupt(_) => ErrorCode::new("db.corrupt"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Conflict { .. } => Kind::Conflict,
            Self::Unavailable(_) => Kind::Unavailable,
            Self::Corrupt(_) => Kind::Internal,
        }
    }
}
