//! Audit leaves: the one record each state change leaves behind, in the canonical form that is hashed into the tenant's Merkle log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::{ActionName, ResourceName};
use crate::canonical::{self, CanonicalError};
use crate::digest::Digest;
use crate::id::{AdmissionId, LeafId};
use crate::nhi_id::NhiId;
use crate::tenant::TenantId;
use crate::time::Timestamp;

/// Where in the life of an action a leaf stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Phase {
    /// The whole effect is this commit.
    Event,
    /// Something outside our database is about to happen. An intent without an outcome is in doubt.
    Intent {
        /// Ties the outcome to it.
        admission: AdmissionId,
    },
    /// What came of an intent.
    Outcome {
        /// The intent's.
        admission: AdmissionId,
    },
}

/// One entry of a tenant's log.
///
/// INVARIANT: a leaf holds no personal data and no secret: names are identities and resources, values are digests. What belongs to a
/// person (a comment, an argument, a message) stays in the database and is bound here by a salted digest in `digests`, so that it can
/// be erased and the log stays provable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// Version of this form: 1.
    pub v: u8,
    /// The leaf's own identifier.
    pub id: LeafId,
    /// Whose log.
    pub tenant: TenantId,
    /// When it was decided, by the server's clock.
    pub time: Timestamp,
    /// Who acted.
    pub actor: NhiId,
    /// On whose authority: the digest of the verified chain, absent where a human or the server itself acted directly.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chain: Option<Digest>,
    /// What was done.
    pub action: ActionName,
    /// To what.
    pub resource: ResourceName,
    /// What was decided or came of it: `allow`, `deny`, `requires_oversight`, `approved`, `done`, `failed`, …
    pub decision: String,
    /// Where in the life of the action this stands.
    pub phase: Phase,
    /// Named digests that bind what is kept elsewhere: `action`, `policy`, `request`, `batch`, …
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub digests: BTreeMap<String, Digest>,
    /// Named quantities that are part of the record: amounts, counts, codes. Never free text from outside.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub facts: BTreeMap<String, String>,
}

impl Leaf {
    /// An event leaf with no digests and facts yet.
    #[must_use]
    pub fn event(id: LeafId, time: Timestamp, actor: NhiId, action: ActionName, resource: ResourceName, decision: &str) -> Self {
        Self {
            v: 1,
            id,
            tenant: actor.tenant().clone(),
            time,
            actor,
            chain: None,
            action,
            resource,
            decision: decision.to_owned(),
            phase: Phase::Event,
            digests: BTreeMap::new(),
            facts: BTreeMap::new(),
        }
    }

    /// With the digest of the chain the actor acts under.
    #[must_use]
    pub fn under(mut self, chain: Digest) -> Self {
        self.chain = Some(chain);
        self
    }

    /// At this phase.
    #[must_use]
    pub fn at(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// With a named digest.
    #[must_use]
    pub fn digest(mut self, name: &str, digest: Digest) -> Self {
        self.digests.insert(name.to_owned(), digest);
        self
    }

    /// With a named quantity.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl ToString) -> Self {
        self.facts.insert(name.to_owned(), value.to_string());
        self
    }

    /// The RFC 8785 bytes that become the log entry.
    pub fn canonical_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_vec(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_reads_back_as_it_was_written() {
        let leaf = Leaf::event(
            LeafId::from_bytes([7; 16]),
            Timestamp::EPOCH,
            "spiffe://creto.local/tenant/default/agent/a".parse().unwrap(),
            "runtime.exec".parse().unwrap(),
            "sandbox:default".parse().unwrap(),
            "allow",
        )
        .under(Digest::of(b"c"))
        .at(Phase::Intent { admission: AdmissionId::from_bytes([1; 16]) })
        .fact("micros", 12);
        let bytes = leaf.canonical_bytes().unwrap();
        assert_eq!(serde_json::from_slice::<Leaf>(&bytes).unwrap(), leaf);
        assert!(bytes.starts_with(br#"{"action":"runtime.exec","actor":"spiffe"#));
    }
}
