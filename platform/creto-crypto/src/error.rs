//! How cryptography fails. What an attacker can provoke carries no detail about *where* a check failed.

use std::path::PathBuf;

use creto_kernel::{Coded, ErrorCode, Kind, Timestamp};

use crate::keys::KeyId;
use crate::purpose::Purpose;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// The text names no suite this build knows.
    #[error("`{0}` is not a suite known here")]
    UnknownSuite(String),
    /// The suite is known, and policy does not accept it for this purpose at this time: a downgrade, or a retired suite.
    #[error("suite `{suite}` is not accepted for `{purpose}`")]
    RefusedSuite {
        /// The suite's identifier.
        suite: &'static str,
        /// What it was to be used for.
        purpose: Purpose,
    },
    /// The suite cannot do this at all: a hybrid has no place in a format that knows one algorithm.
    #[error("suite `{suite}` cannot {operation}")]
    UnsupportedSuite {
        /// The suite's identifier.
        suite: &'static str,
        /// What was asked.
        operation: &'static str,
    },
    /// The text names no purpose.
    #[error("`{0}` is not a key purpose")]
    UnknownPurpose(String),
    /// The key exists for another purpose.
    #[error("key `{key}` is for `{actual}`, not for `{wanted}`")]
    WrongPurpose {
        /// The key.
        key: KeyId,
        /// What it is for.
        actual: Purpose,
        /// What it was to be used for.
        wanted: Purpose,
    },
    /// The ring holds no such key.
    #[error("key `{0}` is not in the ring")]
    UnknownKey(KeyId),
    /// The key was rotated out and its grace ended before the moment the signature is judged by.
    #[error("key `{key}` was accepted until {until}")]
    RetiredKey {
        /// The key.
        key: KeyId,
        /// The end of its grace.
        until: Timestamp,
    },
    /// The signature does not match key, suite, domain and message.
    #[error("the signature does not verify")]
    BadSignature,
    /// The bytes are not a key of this suite.
    #[error("the bytes are not a {0}")]
    BadKey(&'static str),
    /// The ciphertext, its associated data or its key is not the one it was sealed with.
    #[error("the ciphertext does not open")]
    BadCiphertext,
    /// The encapsulation is malformed, or its public share is degenerate (an all-zero shared secret).
    #[error("the encapsulated key does not open")]
    BadEncapsulation,
    /// More output was asked of the key derivation than RFC 5869 allows (255 × 32 bytes).
    #[error("a derived key of {0} bytes is longer than the 8160 the derivation can give")]
    DerivedTooLong(usize),
    /// A raw message to be signed looks like a domain-separated one.
    #[error("the message begins like a domain-separated signature input")]
    AmbiguousFormat,
    /// A key file cannot be read as what it must be.
    #[error("key file `{path}` is damaged: {reason}")]
    CorruptKeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Other accounts can read the master key.
    #[error("master key file `{path}` has mode {mode:04o}: others can read it")]
    MasterKeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The master key is not 32 bytes in hexadecimal.
    #[error("the master key from {0} is not 64 hexadecimal digits")]
    MasterKeyMalformed(String),
    /// The ring has seen a newer algorithm policy.
    #[error("algorithm policy epoch {given} is older than epoch {seen}, which this ring has already used")]
    PolicyRollback {
        /// The epoch of the policy at hand.
        given: u32,
        /// The newest epoch any key was made under.
        seen: u32,
    },
    /// A file operation failed.
    #[error("`{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The cryptographic library failed where only our own fault or the machine's can make it: no randomness, no memory.
    #[error("the cryptographic library failed to {0}")]
    Provider(&'static str),
}

impl CryptoError {
    pub(crate) fn io(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn corrupt(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::CorruptKeyFile { path: path.to_owned(), reason: reason.into() }
    }
}

impl Coded for CryptoError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownSuite(_) => ErrorCode::new("crypto.unknown_suite"),
            Self::RefusedSuite { .. } => ErrorCode::new("crypto.refused_suite"),
            Self::UnsupportedSuite { .. } => ErrorCode::new("crypto.unsupported_suite"),
            Self::UnknownPurpose(_) => ErrorCode::new("crypto.unknown_purpose"),
            Self::WrongPurpose { .. } => ErrorCode::new("crypto.wrong_purpose"),
            Self::UnknownKey(_) => ErrorCode::new("crypto.unknown_key"),
            Self::RetiredKey { .. } => ErrorCode::new("crypto.retired_key"),
            Self::BadSignature => ErrorCode::new("crypto.bad_signature"),
            Self::BadKey(_) => ErrorCode::new("crypto.bad_key"),
            Self::BadCiphertext => ErrorCode::new("crypto.bad_ciphertext"),
            Self::BadEncapsulation => ErrorCode::new("crypto.bad_encapsulation"),
            Self::DerivedTooLong(_) => ErrorCode::new("crypto.derived_too_long"),
            Self::AmbiguousFormat => ErrorCode::new("crypto.ambiguous_format"),
            Self::CorruptKeyFile { .. } => ErrorCode::new("crypto.corrupt_key_file"),
            Self::MasterKeyExposed { .. } => ErrorCode::new("crypto.master_key_exposed"),
            Self::MasterKeyMalformed(_) => ErrorCode::new("crypto.master_key_malformed"),
            Self::PolicyRollback { .. } => ErrorCode::new("crypto.policy_rollback"),
            Self::Io { .. } => ErrorCode::new("crypto.io"),
            Self::Provider(_) => ErrorCode::new("crypto.provider_failed"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::UnknownSuite(_)
            | Self::UnsupportedSuite { .. }
            | Self::UnknownPurpose(_)
            | Self::BadKey(_)
            | Self::BadCiphertext
            | Self::BadEncapsulation
            | Self::DerivedTooLong(_)
            | Self::AmbiguousFormat => Kind::Invalid,
            Self::BadSignature | Self::UnknownKey(_) | Self::RetiredKey { .. } => Kind::Unauthenticated,
            Self::RefusedSuite { .. } | Self::WrongPurpose { .. } => Kind::Denied,
            Self::Io { .. } => Kind::Unavailable,
            Self::CorruptKeyFile { .. }
            | Self::MasterKeyExposed { .. }
            | Self::MasterKeyMalformed(_)
            | Self::PolicyRollback { .. }
            | Self::Provider(_) => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownSuite(_) => Some("see docs/errors/crypto.unknown_suite.md for the identifiers this build knows".to_owned()),
            Self::RefusedSuite { purpose, .. } => Some(format!(
                "sign again with the suite the policy makes for `{purpose}`, or rotate the key of that purpose in the key ring"
            )),
            Self::MasterKeyExposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::MasterKeyMalformed(_) => Some("make one: `openssl rand -hex 32`".to_owned()),
            Self::CorruptKeyFile { path, .. } => {
                Some(format!("restore {} from a backup, with the master key it was sealed under", path.display()))
            }
            Self::PolicyRollback { seen, .. } => Some(format!("configure an algorithm policy of epoch {seen} or later")),
            _ => None,
        }
    }
}
