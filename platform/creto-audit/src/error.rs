//! How the log fails, and how a log fails verification. Each failure names the file.

use creto_crypto::CryptoError;
use creto_db::DbError;
use creto_kernel::{Coded, ErrorCode, Kind, TenantId};

/// Every failure of this crate. Paths are relative to the folder of the logs: `<tenant>/tile/0/000`.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The tree needs a file that is not there.
    #[error("`{path}` is missing")]
    MissingFile {
        /// The file.
        path: String,
    },
    /// A file that no log of this size has.
    #[error("`{path}` does not belong to the log")]
    UnexpectedFile {
        /// The file.
        path: String,
    },
    /// A tile is not what the entries hash to.
    #[error("`{path}` is damaged: {reason}")]
    BadTile {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A bundle, or an entry in it, is not what was logged.
    #[error("`{path}` is damaged: {reason}")]
    BadEntry {
        /// The file.
        path: String,
        /// What is wrong, and with which entry.
        reason: String,
    },
    /// A checkpoint cannot be read, or is another log's, or its root is not that of the tiles.
    #[error("`{path}` is not this log's checkpoint: {reason}")]
    BadCheckpoint {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A checkpoint does not carry both demanded signatures, or one does not verify.
    #[error("`{path}` is not signed as demanded: {reason}")]
    BadSignature {
        /// The file.
        path: String,
        /// Which signature, and what is wrong.
        reason: String,
    },
    /// The log is older than what was seen of it.
    #[error("`{path}` was rolled back: {reason}")]
    Rollback {
        /// The log or file.
        path: String,
        /// What was seen before, and what is there now.
        reason: String,
    },
    /// Two histories of one log: what was signed then is not part of what is signed now.
    #[error("`{path}` was forked: {reason}")]
    Fork {
        /// The log or file.
        path: String,
        /// Where the histories differ.
        reason: String,
    },
    /// A leaf that no bundle can hold.
    #[error("a leaf of {bytes} bytes is larger than the 65535 a log entry can have")]
    EntryTooLarge {
        /// Its canonical size.
        bytes: usize,
    },
    /// The trusted keys cannot be used.
    #[error("the trusted keys cannot be used: {0}")]
    BadKeys(String),
    /// Too many committed leaves wait to be sealed into a log.
    #[error("{lag} committed leaves wait to be sealed into the log, more than the {limit} allowed")]
    Lagging {
        /// How many wait.
        lag: u64,
        /// The limit.
        limit: u64,
    },
    /// The sequencer cannot write this tenant's log.
    #[error("the log of `{tenant}` cannot grow: {reason}")]
    Stuck {
        /// Whose log.
        tenant: TenantId,
        /// Why.
        reason: String,
    },
    /// The sequencer has stopped.
    #[error("the audit sequencer has stopped")]
    Stopped,
    /// The log has no such entry, or not yet.
    #[error("{0} is not in the log")]
    NotFound(String),
    /// A file or response cannot be read or written.
    #[error("`{path}`: {reason}")]
    Io {
        /// The file or address.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Keys and signatures.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl AuditError {
    pub(crate) fn io(path: impl Into<String>, error: &std::io::Error) -> Self {
        Self::Io { path: path.into(), reason: error.to_string() }
    }

    /// The file or log that failed, where the failure is about one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::MissingFile { path }
            | Self::UnexpectedFile { path }
            | Self::BadTile { path, .. }
            | Self::BadEntry { path, .. }
            | Self::BadCheckpoint { path, .. }
            | Self::BadSignature { path, .. }
            | Self::Rollback { path, .. }
            | Self::Fork { path, .. }
            | Self::Io { path, .. } => Some(path),
            _ => None,
        }
    }
}

impl Coded for AuditError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::MissingFile { .. } => ErrorCode::new("audit.missing_file"),
            Self::UnexpectedFile { .. } => ErrorCode::new("audit.unexpected_file"),
            Self::BadTile { .. } => ErrorCode::new("audit.bad_tile"),
            Self::BadEntry { .. } => ErrorCode::new("audit.bad_entry"),
            Self::BadCheckpoint { .. } => ErrorCode::new("audit.bad_checkpoint"),
            Self::BadSignature { .. } => ErrorCode::new("audit.bad_signature"),
            Self::Rollback { .. } => ErrorCode::new("audit.rollback"),
            Self::Fork { .. } => ErrorCode::new("audit.fork"),
            Self::EntryTooLarge { .. } => ErrorCode::new("audit.entry_too_large"),
            Self::BadKeys(_) => ErrorCode::new("audit.bad_keys"),
            Self::Lagging { .. } => ErrorCode::new("audit.lagging"),
            Self::Stuck { .. } => ErrorCode::new("audit.stuck"),
            Self::Stopped => ErrorCode::new("audit.stopped"),
            Self::NotFound(_) => ErrorCode::new("audit.not_found"),
            Self::Io { .. } => ErrorCode::new("audit.io"),
            Self::Db(e) => e.code(),
            Self::Crypto(e) => e.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::EntryTooLarge { .. } => Kind::TooLarge,
            Self::BadKeys(_) => Kind::Invalid,
            Self::Lagging { .. } | Self::Stuck { .. } | Self::Stopped | Self::Io { .. } => Kind::Unavailable,
            Self::NotFound(_) => Kind::NotFound,
            Self::Db(e) => e.kind(),
            Self::Crypto(e) => e.kind(),
            _ => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::MissingFile { .. } | Self::BadTile { .. } | Self::BadEntry { .. } => {
                "keep the folder as evidence and restore the named file from a copy of the log; every copy can be verified alone"
            }
            Self::UnexpectedFile { .. } => "move the file out of the log's folder; only the server writes there",
            Self::BadCheckpoint { .. } | Self::BadSignature { .. } => {
                "check that the trusted keys are this server's; if they are, keep the folder as evidence and restore the checkpoint from a copy"
            }
            Self::Rollback { .. } => {
                "if a server was stopped while it wrote, start it once and verify again: it finishes the write; otherwise an older copy \
                 was put in place: keep both as evidence"
            }
            Self::Fork { .. } => "keep both checkpoints: together they prove that the log's operator signed two histories",
            Self::EntryTooLarge { .. } => "bind large content to the leaf by its digest and keep the content elsewhere",
            Self::BadKeys(_) => "export them again from the server; the file must hold at least one Ed25519 and one ML-DSA-44 key",
            Self::Lagging { .. } => "repeat the request shortly; if it persists, look at the server's log for why sealing is slow",
            Self::Stuck { .. } => "run `creto audit verify`; it names the file that stands in the way",
            Self::Stopped => "restart the server",
            Self::Io { .. } => "check that the path can be read and written and that the disk has room; writing resumes by itself",
            Self::NotFound(_) => return None,
            Self::Db(e) => return e.hint(),
            Self::Crypto(e) => return e.hint(),
        };
        Some(hint.to_owned())
    }
}
