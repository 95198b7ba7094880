//! Who decides, and how they proved it.

use creto_kernel::{NhiId, NhiKind};
use creto_nhi::{Principal, Role, Roles};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::OversightError;

/// Longest evidence a channel may keep with a vote, in bytes.
pub const EVIDENCE_BYTES_MAX: usize = 16 * 1024;

/// How somebody proved who they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The word of the method: `session`, `api_key`, `local_socket`, `slack_signature`, `passkey`, …
    pub method: String,
    /// Through which channel: `http`, `slack`, `email`, …
    pub channel: String,
    /// What the channel keeps as evidence, such as a passkey's assertion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// The method that counts as a key which the human alone holds.
pub const PASSKEY: &str = "passkey";

/// A human who may decide.
///
/// INVARIANT: made only of an authenticated human with the role `approver` who acts under no chain; an agent is never one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    person: NhiId,
    operator: bool,
    proof: Proof,
}

impl Voter {
    /// The human behind an authenticated request.
    ///
    /// Errors: `oversight.not_an_approver`.
    pub fn of(by: &Principal) -> Result<Self, OversightError> {
        Self::checked(by, "http", None, None)
    }

    /// The same human, who came through a channel that proved their identity itself: its word for the method, and what it keeps as
    /// evidence.
    ///
    /// Errors: `oversight.not_an_approver`, `oversight.comment_too_long` for evidence beyond [`EVIDENCE_BYTES_MAX`].
    pub fn through(by: &Principal, channel: &str, method: &str, evidence: Option<String>) -> Result<Self, OversightError> {
        Self::checked(by, channel, Some(method), evidence)
    }

    fn checked(by: &Principal, channel: &str, method: Option<&str>, evidence: Option<String>) -> Result<Self, OversightError> {
        // A chain means an agent acts, whatever else the principal says.
        if !by.roles.has(Role::Approver) || by.identity.kind() != NhiKind::Human || by.chain.is_some() {
            return Err(OversightError::NotAnApprover(by.identity.name().to_owned()));
        }
        if evidence.as_ref().is_some_and(|text| text.len() > EVIDENCE_BYTES_MAX) {
            return Err(OversightError::CommentTooLong(EVIDENCE_BYTES_MAX));
        }
        let method = method.unwrap_or_else(|| by.how.as_str()).to_owned();
        let proof = Proof { method, channel: channel.to_owned(), evidence };
        Ok(Self { person: by.identity.clone(), operator: by.roles.has(Role::Operator), proof })
    }

    /// Who.
    #[must_use]
    pub const fn person(&self) -> &NhiId {
        &self.person
    }

    /// In which roles.
    #[must_use]
    pub const fn roles(&self) -> Roles {
        if self.operator { Roles::OPERATOR_AND_APPROVER } else { Roles::only(Role::Approver) }
    }

    /// How they proved it.
    #[must_use]
    pub const fn proof(&self) -> &Proof {
        &self.proof
    }
}
