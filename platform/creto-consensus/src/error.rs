//! How order and leadership are refused.

use std::time::Duration;

use creto_db::DbError;
use creto_kernel::{Coded, ErrorCode, Kind};

/// A stale fencing token, as the code of a refused commit.
pub(crate) const FENCED: ErrorCode = ErrorCode::new("consensus.fenced");
/// The stream is not where the writer believed.
pub(crate) const UNEXPECTED_POSITION: ErrorCode = ErrorCode::new("consensus.unexpected_position");
/// The key was used for other records.
pub(crate) const KEY_REUSED: ErrorCode = ErrorCode::new("consensus.idempotency_conflict");

/// Why order or leadership was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    /// A clock is further off than the bound allows.
    #[error("a timestamp is {ahead:?} ahead of the local clock, more than the {drift_max:?} allowed")]
    ClockDrift {
        /// How far.
        ahead: Duration,
        /// The bound.
        drift_max: Duration,
    },
    /// The text is not a hybrid timestamp.
    #[error("`{0}` is not a hybrid timestamp: expected a moment such as `2026-11-22T10:00:00.000000Z`, `+` and 8 hexadecimal digits")]
    NotATimestamp(String),
    /// Somebody else leads.
    #[error("`{role}` is led by `{holder}` for another {remaining:?}")]
    Held {
        /// The role.
        role: String,
        /// Who leads.
        holder: String,
        /// How long its lease still runs.
        remaining: Duration,
    },
    /// The lease ran out or was taken over.
    #[error("the lease on `{role}` with token {token} has ended")]
    LeaseLost {
        /// The role.
        role: String,
        /// The token that is no longer the newest.
        token: i64,
    },
    /// A name, key or batch is empty or too long.
    #[error("{0}")]
    Invalid(String),
    /// The idempotency key was used for other records.
    #[error("the key `{key}` was already used on stream `{stream}` for other records")]
    KeyReused {
        /// The stream.
        stream: String,
        /// The key.
        key: String,
    },
    /// The database refused or failed; its code is kept.
    #[error(transparent)]
    Database(#[from] DbError),
}

impl Coded for ConsensusError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::ClockDrift { .. } => ErrorCode::new("consensus.clock_drift"),
            Self::NotATimestamp(_) => ErrorCode::new("consensus.not_a_timestamp"),
            Self::Held { .. } => ErrorCode::new("consensus.held"),
            Self::LeaseLost { .. } => ErrorCode::new("consensus.lease_lost"),
            Self::Invalid(_) => ErrorCode::new("consensus.invalid"),
            Self::KeyReused { .. } => KEY_REUSED,
            Self::Database(e) => e.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::ClockDrift { .. } => Kind::Unavailable,
            Self::NotATimestamp(_) | Self::Invalid(_) => Kind::Invalid,
            Self::Held { .. } | Self::LeaseLost { .. } | Self::KeyReused { .. } => Kind::Conflict,
            Self::Database(e) => e.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::ClockDrift { .. } => "set the clocks of both machines by NTP; nothing was stamped".to_owned(),
            Self::Held { remaining, .. } => format!("ask again in {remaining:?}, or follow the leader"),
            Self::LeaseLost { .. } => "stop what only the leader may do, and lead again for a new token".to_owned(),
            Self::KeyReused { .. } => "use a new key for new records".to_owned(),
            Self::Database(e) => return e.hint(),
            Self::NotATimestamp(_) | Self::Invalid(_) => return None,
        })
    }
}
