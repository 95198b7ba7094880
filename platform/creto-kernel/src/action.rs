//! Actions: what somebody wants to do, in a form whose digest can be approved, recorded and recomputed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::canonical::{self, CanonicalError};
use crate::digest::Digest;
use crate::money::Micros;
use crate::nhi_id::NhiId;
use crate::tenant::TenantId;

/// An action's name: dotted lowercase words, product first, such as `runtime.exec`. At most 64 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionName(Arc<str>);

/// What is acted on: a type and an identifier, such as `host:api.example.com:443` or `metric:tokens`. At most 512 bytes, no control
/// characters, no spaces.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName(Arc<str>);

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not an action name.
    #[error("`{0}` is not an action name: expected dotted lowercase words such as `runtime.exec`")]
    Action(String),
    /// Not a resource name.
    #[error("`{0}` is not a resource name: expected a type and an identifier such as `host:api.example.com:443`")]
    Resource(String),
}

/// Longest action name, in bytes.
pub const ACTION_BYTES_MAX: usize = 64;
/// Longest resource name, in bytes.
pub const RESOURCE_BYTES_MAX: usize = 512;

fn is_word(word: &str) -> bool {
    word.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

impl ActionName {
    /// The dotted name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ActionName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() <= ACTION_BYTES_MAX && text.contains('.') && text.split('.').all(is_word) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Action(text.chars().take(80).collect()))
        }
    }
}

impl ResourceName {
    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first colon: the resource's type.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The part after the first colon: which one.
    #[must_use]
    pub fn identifier(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, identifier)| identifier)
    }
}

impl FromStr for ResourceName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = text.len() <= RESOURCE_BYTES_MAX && text.chars().all(|c| !c.is_control() && !c.is_whitespace());
        match text.split_once(':') {
            Some((kind, identifier)) if fits && is_word(kind) && !identifier.is_empty() => Ok(Self(text.into())),
            _ => Err(NameError::Resource(text.chars().take(80).collect())),
        }
    }
}

macro_rules! text_form {
    ($($name:ident)+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
text_form!(ActionName ResourceName);

/// One action, complete: everything an approver must see and an enforcement point must recompute.
///
/// INVARIANT: equal actions have equal digests and different actions different ones, because the digest is SHA-256 over the RFC 8785
/// form of all fields. Connection, attempt and request identifiers are not part of an action, so that a retry after a crash finds its
/// approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanonicalAction {
    /// Whose data and policies.
    pub tenant: TenantId,
    /// Who acts: the last identity of the chain.
    pub agent: NhiId,
    /// On whose authority: the chain's stable digest, which leaves out expiry and signatures.
    pub chain: Digest,
    /// What is done.
    pub action: ActionName,
    /// To what.
    pub resource: ResourceName,
    /// With which arguments, all of them.
    pub arguments: Map<String, Value>,
    /// The facts about the request that policies read, as JSON; left out of the bytes where there are none.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub context: Map<String, Value>,
    /// The money whoever asks wants held for it; `None`, and left out of the bytes, where nobody named any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve: Option<Micros>,
    /// SHA-256 over the RFC 8785 form of the tool's schema, where the agent sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Digest>,
    /// The version of the policy under which it was asked about: the digest of its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Digest>,
}

impl CanonicalAction {
    /// The RFC 8785 bytes: what an approver is shown and what the digest covers.
    pub fn canonical_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_vec(self)
    }

    /// SHA-256 over [`Self::canonical_bytes`].
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        Ok(Digest::of(&self.canonical_bytes()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["runtime.exec", "messaging.deliver_now", "a.b.c"] {
            assert_eq!(good.parse::<ActionName>().unwrap().as_str(), good);
        }
        for bad in ["", "exec", "Runtime.exec", "runtime.", ".exec", "runtime exec", "1a.b", &format!("a.{}", "b".repeat(64))] {
            assert!(bad.parse::<ActionName>().is_err(), "{bad}");
        }
        let host: ResourceName = "host:[::1]:443".parse().unwrap();
        assert_eq!((host.kind(), host.identifier()), ("host", "[::1]:443"));
        for bad in ["", "host", "host:", ":x", "host:a b", "host:a\n", "Host:a"] {
            assert!(bad.parse::<ResourceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_nobody_said_is_not_in_the_bytes() {
        let action = CanonicalAction {
            tenant: "default".parse().unwrap(),
            agent: "spiffe://creto.local/tenant/default/agent/a".parse().unwrap(),
            chain: Digest::of(b"chain"),
            action: "tool.call".parse().unwrap(),
            resource: "tool:x".parse().unwrap(),
            arguments: Map::new(),
            context: Map::new(),
            reserve: None,
            schema: None,
            policy: None,
        };
        let text = String::from_utf8(action.canonical_bytes().unwrap()).unwrap();
        assert!(!text.contains("context") && !text.contains("reserve"), "{text}");
    }

    #[test]
    fn every_field_changes_the_digest() {
        let base = || CanonicalAction {
            tenant: "default".parse().unwrap(),
            agent: "spiffe://creto.local/tenant/default/agent/a".parse().unwrap(),
            chain: Digest::of(b"chain"),
            action: "runtime.exec".parse().unwrap(),
            resource: "sandbox:default".parse().unwrap(),
            arguments: Map::from_iter([("argv".to_owned(), serde_json::json!(["echo", "hi"]))]),
            context: Map::new(),
            reserve: None,
            schema: Some(Digest::of(b"schema")),
            policy: Some(Digest::of(b"policy")),
        };
        let digest = base().digest().unwrap();
        assert_eq!(digest, base().digest().unwrap());
        let read: CanonicalAction = serde_json::from_slice(&base().canonical_bytes().unwrap()).unwrap();
        assert_eq!(read, base(), "what is read back is what was written");
        let changes: [fn(&mut CanonicalAction); 10] = [
            |a| a.schema = None,
            |a| a.policy = Some(Digest::of(b"the next")),
            |a| a.tenant = "other".parse().unwrap(),
            |a| a.agent = "spiffe://creto.local/tenant/default/agent/b".parse().unwrap(),
            |a| a.chain = Digest::of(b"another"),
            |a| a.action = "runtime.claim".parse().unwrap(),
            |a| a.resource = "sandbox:other".parse().unwrap(),
            |a| a.arguments = Map::new(),
            |a| a.context = Map::from_iter([("spend".to_owned(), "1".into())]),
            |a| a.reserve = Some(Micros::ZERO),
        ];
        for change in changes {
            let mut action = base();
            change(&mut action);
            assert_ne!(action.digest().unwrap(), digest, "{action:?}");
        }
    }
}
