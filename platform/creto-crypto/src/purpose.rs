//! What a key is for. A key serves one purpose; the ring refuses any other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::CryptoError;

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Purpose {
    /// Statements about who an identity is.
    Identity,
    /// Links of delegation chains.
    Delegation,
    /// Bearer credentials and API keys.
    Credential,
    /// Human approvals.
    Approval,
    /// Checkpoints of the audit log.
    Audit,
    /// Messages and their envelopes.
    Message,
    /// Objects at rest.
    Storage,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: &'static [Self] =
        &[Self::Identity, Self::Delegation, Self::Credential, Self::Approval, Self::Audit, Self::Message, Self::Storage];

    /// The name written into key files and policies.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Delegation => "delegation",
            Self::Credential => "credential",
            Self::Approval => "approval",
            Self::Audit => "audit",
            Self::Message => "message",
            Self::Storage => "storage",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for Purpose {
    type Err = CryptoError;
    fn from_str(text: &str) -> Result<Self, CryptoError> {
        let found = Self::ALL.iter().find(|purpose| purpose.id() == text);
        found.copied().ok_or_else(|| CryptoError::UnknownPurpose(text.chars().take(64).collect()))
    }
}

impl Serialize for Purpose {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

impl<'de> Deserialize<'de> for Purpose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
