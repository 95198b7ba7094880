//! How storage fails.

use creto_crypto::CryptoError;
use creto_kernel::{Coded, ErrorCode, Kind, Timestamp};

use crate::model::Reference;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No such object, or not this owner's.
    #[error("object `{0}` is not there")]
    NotFound(Reference),
    /// The stored bytes are fewer than their header says.
    #[error("object `{0}` was cut short")]
    Truncated(Reference),
    /// The stored bytes are not what was put: changed, moved from another owner, or relabelled.
    #[error("object `{0}` was changed")]
    Tampered(Reference),
    /// The object is larger than [`crate::store::OBJECT_BYTES_MAX`].
    #[error("an object of {0} bytes is larger than the limit")]
    TooLarge(u64),
    /// The object is locked.
    #[error("object `{reference}` is locked until {until}")]
    Locked {
        /// The object.
        reference: Reference,
        /// The end of the lock.
        until: Timestamp,
    },
    /// The new lock would end before the present one.
    #[error("object `{reference}` is locked until {until} already: a lock can only be extended")]
    LockShortened {
        /// The object.
        reference: Reference,
        /// The end of the present lock.
        until: Timestamp,
    },
    /// The lock cannot be read as what was written; the object is treated as locked.
    #[error("the lock of object `{0}` was changed")]
    LockTampered(Reference),
    /// The text is not a reference.
    #[error("`{0}` is not an object reference")]
    BadReference(String),
    /// The text is not a class.
    #[error("`{0}` is not a classification: expected public, internal, confidential or restricted")]
    BadClass(String),
    /// The key ring failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The object store cannot serve.
    #[error("the object store cannot serve: {0}")]
    Unavailable(String),
}

impl Coded for StorageError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound(_) => ErrorCode::new("storage.not_found"),
            Self::Truncated(_) => ErrorCode::new("storage.truncated"),
            Self::Tampered(_) => ErrorCode::new("storage.tampered"),
            Self::TooLarge(_) => ErrorCode::new("storage.too_large"),
            Self::Locked { .. } => ErrorCode::new("storage.locked"),
            Self::LockShortened { .. } => ErrorCode::new("storage.lock_shortened"),
            Self::LockTampered(_) => ErrorCode::new("storage.lock_tampered"),
            Self::BadReference(_) => ErrorCode::new("storage.bad_reference"),
            Self::BadClass(_) => ErrorCode::new("storage.bad_class"),
            Self::Crypto(error) => error.code(),
            Self::Unavailable(_) => ErrorCode::new("storage.unavailable"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::Truncated(_) | Self::Tampered(_) | Self::LockTampered(_) => Kind::Internal,
            Self::TooLarge(_) => Kind::TooLarge,
            Self::Locked { .. } | Self::LockShortened { .. } => Kind::Conflict,
            Self::BadReference(_) | Self::BadClass(_) => Kind::Invalid,
            Self::Crypto(error) => error.kind(),
            Self::Unavailable(_) => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Truncated(_) | Self::Tampered(_) => Some("restore the object from a backup".to_owned()),
            Self::Crypto(error) => error.hint(),
            _ => None,
        }
    }
}
