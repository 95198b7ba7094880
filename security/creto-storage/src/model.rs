//! Classes, references and objects.

use std::fmt;
use std::str::FromStr;

use creto_crypto::Secret;
use creto_crypto::encoding::length_prefixed;
use creto_kernel::{Digest, NhiId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::StorageError;

/// How much harm disclosure does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// None.
    Public,
    /// Little.
    Internal,
    /// Serious.
    Confidential,
    /// Grave.
    Restricted,
}

impl Class {
    /// The name written into objects.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Restricted => "restricted",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Class {
    type Err = StorageError;
    fn from_str(text: &str) -> Result<Self, StorageError> {
        let all = [Self::Public, Self::Internal, Self::Confidential, Self::Restricted];
        let found = all.into_iter().find(|class| class.as_str() == text);
        found.ok_or_else(|| StorageError::BadClass(text.chars().take(64).collect()))
    }
}

/// The name of an object: `sha256:` and 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(Digest);

impl Reference {
    /// The reference of `content` put by `owner` in `class`.
    #[must_use]
    pub fn of(owner: &NhiId, class: Class, content: &[u8]) -> Self {
        let head = length_prefixed(&[b"creto-object-ref-v1", owner.to_string().as_bytes(), class.as_str().as_bytes()]);
        Self(Digest::of_parts(&[&head, content]))
    }

    /// The digest.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

impl FromStr for Reference {
    type Err = StorageError;
    fn from_str(text: &str) -> Result<Self, StorageError> {
        let bad = || StorageError::BadReference(text.chars().take(80).collect());
        let digits = text.strip_prefix("sha256:").ok_or_else(bad)?;
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(bad());
        }
        digits.parse().map(Self).map_err(|_| bad())
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An opened object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// The class it was put in.
    pub class: Class,
    /// Its content; wiped on drop.
    pub content: Secret,
}
