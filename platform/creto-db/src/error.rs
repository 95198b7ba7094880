//! How the database fails, with what to do about it.

use std::path::PathBuf;

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
    /// The step itself is wrong: it names a parameter it does not bring, or a row it reads is not what it wrote.
    #[error("{0}")]
    Invalid(String),
    /// SQLite failed.
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL failed.
    #[error("postgresql: {0}")]
    Postgres(#[from] sqlx::Error),
}

impl StepError {
    /// Whether a unique constraint or a primary key was violated.
    pub(crate) fn is_unique_violation(&self) -> bool {
        match self {
            Self::Sqlite(e) => crate::sqlite::is_unique_violation(e),
            Self::Postgres(e) => e.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation),
            Self::Conflict { .. } | Self::Invalid(_) => false,
        }
    }

    /// A compare-and-set that did not hold.
    #[must_use]
    pub fn conflict(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Conflict { code, message: message.into() }
    }
}

/// How the database fails. Unless it is [`DbError::InDoubt`], nothing of the refused write was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// A step's requirement did not hold.
    #[error("{message}")]
    Conflict {
        /// The step's code.
        code: ErrorCode,
        /// What does not hold.
        message: String,
    },
    /// A leaf with this identifier is already recorded.
    #[error("a leaf with this identifier is already recorded: {0}")]
    LeafExists(String),
    /// The leaf is larger than a log entry can be.
    #[error("a leaf of {bytes} bytes is larger than the 65535 a log entry can have")]
    LeafTooLarge {
        /// Its canonical size.
        bytes: usize,
    },
    /// A constraint of the schema refused the write, and the step did not say what that means.
    #[error("the schema refused the write: {0}")]
    Constraint(String),
    /// The engine cannot be reached, or stopped.
    #[error("the database cannot serve: {0}")]
    Unavailable(String),
    /// The engine failed while it made the write durable: it is there whole or not at all, and only a look at its leaf tells.
    #[error("the database failed during a commit: {0}")]
    InDoubt(String),
    /// Somebody else held a lock for longer than the named timeout, or kept winning.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// The disk is full.
    #[error("the database has no room left: {0}")]
    DiskFull(String),
    /// The file or its directory cannot be written.
    #[error("the database cannot be written: {0}")]
    ReadOnly(String),
    /// The directory of the database file is not there.
    #[error("the directory `{}` does not exist", .0.display())]
    DirectoryMissing(PathBuf),
    /// What is stored cannot be read.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// The database holds tables that are not ours.
    #[error("the database is not ours: {0}")]
    ForeignSchema(String),
    /// An applied migration is not the one this program knows.
    #[error("migration {version} of `{set}` was applied with a different text")]
    MigrationChanged {
        /// Its set.
        set: String,
        /// Its version.
        version: i64,
    },
    /// A newer program has migrated this database.
    #[error("`{set}` is at version {found}, and this program knows versions up to {known}")]
    NewerSchema {
        /// The set.
        set: String,
        /// The version in the database.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// A migration did not apply, or a set of them is badly numbered.
    #[error("migration {version} of `{set}` failed: {reason}")]
    MigrationFailed {
        /// Its set.
        set: String,
        /// Its version.
        version: i64,
        /// Why.
        reason: String,
    },
    /// A row does not hold what the program expects there.
    #[error("a row is not what was written: {0}")]
    UnexpectedRow(String),
    /// The engine refused a statement: our own fault.
    #[error("the engine refused a statement: {0}")]
    Statement(String),
}

impl Coded for DbError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Conflict { code, .. } => *code,
            Self::LeafExists(_) => ErrorCode::new("db.leaf_exists"),
            Self::LeafTooLarge { .. } => ErrorCode::new("db.leaf_too_large"),
            Self::Constraint(_) => ErrorCode::new("db.constraint"),
            Self::Unavailable(_) => ErrorCode::new("db.unavailable"),
            Self::InDoubt(_) => ErrorCode::new("db.in_doubt"),
            Self::Busy(_) => ErrorCode::new("db.busy"),
            Self::DiskFull(_) => ErrorCode::new("db.disk_full"),
            Self::ReadOnly(_) => ErrorCode::new("db.read_only"),
            Self::DirectoryMissing(_) => ErrorCode::new("db.directory_missing"),
            Self::Corrupt(_) => ErrorCode::new("db.corrupt"),
            Self::ForeignSchema(_) => ErrorCode::new("db.foreign_schema"),
            Self::MigrationChanged { .. } => ErrorCode::new("db.migration_changed"),
            Self::NewerSchema { .. } => ErrorCode::new("db.newer_schema"),
            Self::MigrationFailed { .. } => ErrorCode::new("db.migration_failed"),
            Self::UnexpectedRow(_) => ErrorCode::new("db.unexpected_row"),
            Self::Statement(_) => ErrorCode::new("db.statement_failed"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Conflict { .. } | Self::LeafExists(_) | Self::Constraint(_) => Kind::Conflict,
            Self::LeafTooLarge { .. } => Kind::TooLarge,
            Self::Unavailable(_) | Self::InDoubt(_) | Self::Busy(_) | Self::DiskFull(_) | Self::ReadOnly(_) | Self::DirectoryMissing(_) => {
                Kind::Unavailable
            }
            Self::Corrupt(_)
            | Self::ForeignSchema(_)
            | Self::MigrationChanged { .. }
            | Self::NewerSchema { .. }
            | Self::MigrationFailed { .. }
            | Self::UnexpectedRow(_)
            | Self::Statement(_) => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Conflict { .. } | Self::Constraint(_) => return None,
            Self::LeafTooLarge { .. } => "bind large content to the leaf by its digest and keep the content elsewhere".to_owned(),
            Self::LeafExists(_) => "the change under this leaf is already durable: read its result instead of repeating it".to_owned(),
            Self::Unavailable(_) => "check that the database runs and can be reached, then repeat the request".to_owned(),
            Self::InDoubt(_) => {
                "restart creto, then look for the leaf: if it is there the write is durable, otherwise repeat it".to_owned()
            }
            Self::Busy(_) => "repeat the request; if it persists, look for a second program that holds the database".to_owned(),
            Self::DiskFull(_) => "free space on the disk of the data directory; nothing was lost, and writing resumes by itself".to_owned(),
            Self::ReadOnly(_) => {
                "give the user who runs creto write permission on the data directory, or choose another with `--data DIR`".to_owned()
            }
            Self::DirectoryMissing(path) => format!("create it with `mkdir -p {}`, or choose another with `--data DIR`", path.display()),
            Self::Corrupt(_) => {
                "stop, copy the data directory aside, and restore a backup; `creto audit verify` shows what is proven".to_owned()
            }
            Self::ForeignSchema(_) => "choose an empty database or another data directory".to_owned(),
            Self::MigrationChanged { .. } => {
                "run the release that created this database; migrations are never edited once published".to_owned()
            }
            Self::NewerSchema { .. } => "run the release that last wrote this database, or a newer one: there is no way back".to_owned(),
            Self::MigrationFailed { .. } | Self::UnexpectedRow(_) | Self::Statement(_) => {
                "this is a defect: report the message with the version of creto; nothing was changed".to_owned()
            }
        };
        Some(hint)
    }
}
