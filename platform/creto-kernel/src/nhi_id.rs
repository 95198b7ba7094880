//! Identities: `spiffe://<trust-domain>/tenant/<tenant>/{human|agent|service}/<name>`, a SPIFFE ID
//! (SPIFFE-ID specification, section 2) whose path always names the tenant and the kind.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::tenant::TenantId;

/// What an identity stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NhiKind {
    /// A person.
    Human,
    /// A program that acts for somebody.
    Agent,
    /// A program that acts for itself: a collector, a server.
    Service,
}

impl NhiKind {
    /// The path segment of this kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Agent => "agent",
            Self::Service => "service",
        }
    }
}

/// A verified-in-form identity. That it exists says nothing about who may use it: that takes a credential.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NhiId {
    text: Arc<str>,
    tenant: TenantId,
    kind: NhiKind,
    name_at: usize,
}

/// The text is not one of our SPIFFE IDs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an identity: expected spiffe://<trust-domain>/tenant/<tenant>/<human, agent or service>/<name>")]
pub struct NhiIdError(String);

/// Longest identity name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest trust domain, in bytes (SPIFFE-ID specification, section 2.1).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

fn is_trust_domain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= TRUST_DOMAIN_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'))
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

impl NhiId {
    /// Composes an identity from its parts; refuses a part that does not fit.
    pub fn new(trust_domain: &str, tenant: &TenantId, kind: NhiKind, name: &str) -> Result<Self, NhiIdError> {
        let prefix = format!("spiffe://{trust_domain}/tenant/{tenant}/{}/", kind.as_str());
        let text = format!("{prefix}{name}");
        if is_trust_domain(trust_domain) && is_name(name) {
            Ok(Self { text: text.into(), tenant: tenant.clone(), kind, name_at: prefix.len() })
        } else {
            Err(NhiIdError(text.chars().take(200).collect()))
        }
    }

    /// The whole SPIFFE ID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The tenant it belongs to.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What it stands for.
    #[must_use]
    pub const fn kind(&self) -> NhiKind {
        self.kind
    }

    /// The last path segment.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.get(self.name_at..).unwrap_or_default()
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.text.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next()).unwrap_or_default()
    }
}

impl FromStr for NhiId {
    type Err = NhiIdError;
    fn from_str(text: &str) -> Result<Self, NhiIdError> {
        let refuse = || NhiIdError(text.chars().take(200).collect());
        let rest = text.strip_prefix("spiffe://").ok_or_else(refuse)?;
        let mut parts = rest.split('/');
        let (Some(domain), Some("tenant"), Some(tenant), Some(kind), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse());
        };
        let kind = match kind {
            "human" => NhiKind::Human,
            "agent" => NhiKind::Agent,
            "service" => NhiKind::Service,
            _ => return Err(refuse()),
        };
        Self::new(domain, &tenant.parse().map_err(|_| refuse())?, kind, name)
    }
}

impl fmt::Display for NhiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for NhiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NhiId({self})")
    }
}

impl Serialize for NhiId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for NhiId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_back() {
        let id: NhiId = "spiffe://creto.local/tenant/default/agent/researcher".parse().unwrap();
        assert_eq!(
            (id.trust_domain(), id.tenant().as_str(), id.kind(), id.name()),
            ("creto.local", "default", NhiKind::Agent, "researcher")
        );
        assert_eq!(NhiId::new("creto.local", id.tenant(), NhiKind::Agent, "researcher").unwrap(), id);
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "researcher",
            "spiffe://creto.local/tenant/default/agent",
            "spiffe://creto.local/tenant/default/agent/a/b",
            "spiffe://creto.local/tenant/default/robot/a",
            "spiffe://creto.local/tenant/Default/agent/a",
            "spiffe://CRETO/tenant/default/agent/a",
            "spiffe:///tenant/default/agent/a",
            "spiffe://creto.local/tenant/default/agent/..",
            "spiffe://creto.local/tenant/default/agent/a%2e",
            "spiffe://creto.local/tenant/default/agent/",
        ] {
            assert!(bad.parse::<NhiId>().is_err(), "{bad}");
        }
    }
}
