//! What can go wrong.

use creto_db::DbError;
use creto_kernel::{Coded, ErrorCode, Kind};

use crate::model::item::MemoryId;

/// An error of the memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// No such item in this tenant.
    #[error("there is no memory item `{0}`")]
    NotFound(MemoryId),
    /// An item or search that breaks a rule of its own.
    #[error("{0}")]
    Invalid(String),
    /// The text is too long.
    #[error("the text has {actual} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its size.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// Randomness, the database, or a state that moved on.
    #[error("{message}")]
    Below {
        /// The owner's code.
        code: ErrorCode,
        /// What sort of failure.
        kind: Kind,
        /// What happened.
        message: String,
    },
}

impl MemoryError {
    pub(crate) fn below(error: &dyn Coded) -> Self {
        Self::Below { code: error.code(), kind: error.kind(), message: error.to_string() }
    }
}

impl From<DbError> for MemoryError {
    fn from(error: DbError) -> Self {
        Self::below(&error)
    }
}

impl Coded for MemoryError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound(_) => ErrorCode::new("memory.not_found"),
            Self::Invalid(_) => ErrorCode::new("memory.invalid"),
            Self::TooLarge { .. } => ErrorCode::new("memory.too_large"),
            Self::Below { code, .. } => *code,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::Invalid(_) => Kind::Invalid,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Below { kind, .. } => *kind,
        }
    }
}
