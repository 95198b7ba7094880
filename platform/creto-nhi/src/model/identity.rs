//! Identities as the authority knows them.

use std::fmt;
use std::str::FromStr;

use creto_crypto::{KeyId, PublicKey};
use creto_kernel::{NhiId, Timestamp};

/// Whether an identity may act.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It may.
    Active,
    /// Not for now; reversible.
    Suspended,
    /// Never again.
    Revoked,
}

impl Status {
    /// The stored word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Active, Self::Suspended, Self::Revoked]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a status"))
    }
}

/// One public key of an identity, with the time in which it may sign.
#[derive(Clone, Debug)]
pub struct IdentityKey {
    /// Its identifier, derived from the key.
    pub id: KeyId,
    /// The key.
    pub public: PublicKey,
    /// Whether this server holds the private half; what it signs then proves only that this server signed.
    pub custodial: bool,
    /// From when, inclusive.
    pub valid_from: Timestamp,
    /// Until when, exclusive; `None` while it is the current key.
    pub valid_until: Option<Timestamp>,
    /// Whether it was withdrawn: then nothing it ever signed counts.
    pub withdrawn: bool,
}

impl IdentityKey {
    /// Whether what it signed at `at` counts.
    #[must_use]
    pub fn signs_at(&self, at: Timestamp) -> bool {
        !self.withdrawn && self.valid_from <= at && self.valid_until.is_none_or(|until| at < until)
    }

    /// Whether it is the key its identity signs with now.
    #[must_use]
    pub const fn is_current(&self) -> bool {
        !self.withdrawn && self.valid_until.is_none()
    }
}

/// An identity with its keys.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who.
    pub id: NhiId,
    /// Whether it may act.
    pub status: Status,
    /// All its keys ever, oldest first.
    pub keys: Vec<IdentityKey>,
}

impl Identity {
    /// The key it signs with now.
    #[must_use]
    pub fn current_key(&self) -> Option<&IdentityKey> {
        self.keys.iter().rev().find(|key| key.is_current())
    }

    /// Whether this server signs for it.
    #[must_use]
    pub fn is_custodial(&self) -> bool {
        self.current_key().is_some_and(|key| key.custodial)
    }
}
