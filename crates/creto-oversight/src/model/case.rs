//! A request as its events made it: the state that decisions read.

use std::borrow::Cow;
use std::collections::BTreeSet;

use creto_kernel::id::RequestId;
use creto_kernel::{ActionName, Digest, NhiId, ResourceName, Timestamp};
use creto_nhi::Roles;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::plan::Plan;
use crate::model::request::State;
use crate::model::requirement::{Requirement, Selector};
use crate::model::voter::Proof;

/// What is asked of a human.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Whether an action may be done.
    Approval,
    /// A question that takes words for an answer.
    Question,
}

/// What the digest of a request covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// The action as it is done: recomputed where it happens, and the approval is consumed there.
    Enforced,
    /// What the client declared: nothing here sees what it does with the answer.
    Declared,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Yes, to exactly the digest it names.
    Approve,
    /// No, to the request whatever its revision.
    Deny,
}

/// One human's vote on one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vote {
    /// Who decided.
    #[schema(value_type = String)]
    pub by: NhiId,
    /// For whom: somebody else where they stand in, else themselves.
    #[schema(value_type = String)]
    pub seat: NhiId,
    /// Their roles then.
    #[serde(with = "roles_as_text")]
    #[schema(value_type = String)]
    pub roles: Roles,
    /// Yes or no.
    pub choice: Choice,
    /// The revision it was made for.
    pub revision: u32,
    /// The digest it was made for.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The digest of what they were shown, where some of the action was hidden from them: see [`crate::model::redaction`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub shown: Option<Digest>,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// How they proved who they are.
    pub proof: Proof,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

mod roles_as_text {
    use creto_nhi::Roles;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(roles: &Roles, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(roles)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Roles, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Somebody took care of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acknowledged {
    /// Who.
    #[schema(value_type = String)]
    pub by: NhiId,
    /// How long the chain waits for them.
    #[schema(value_type = String)]
    pub until: Timestamp,
}

/// An approval that went around the requirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Glass {
    /// Who broke it.
    #[schema(value_type = String)]
    pub by: NhiId,
    /// Why.
    pub reason: String,
    /// How they proved who they are; unknown where the glass was broken before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Until when somebody else must have looked at it.
    #[schema(value_type = String)]
    pub review_by: Timestamp,
    /// Who looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reviewed_by: Option<NhiId>,
    /// Whether they found it right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justified: Option<bool>,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<String>,
    /// When they looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reviewed_at: Option<Timestamp>,
}

impl Glass {
    /// What a passkey signs to break the glass of an action: no approval's signature is one, and no such signature is an approval.
    #[must_use]
    pub fn signed(action: Digest) -> Digest {
        Digest::of_parts(&[b"creto/break-glass/v1/", action.as_bytes()])
    }

    /// As it was broken, before anybody looked.
    #[must_use]
    pub fn unreviewed(self) -> Self {
        Self { reviewed_by: None, justified: None, review: None, reviewed_at: None, ..self }
    }
}

/// One word between an approver and the agent, while the request waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Said {
    /// Who.
    #[schema(value_type = String)]
    pub by: NhiId,
    /// What. An agent's words are untrusted.
    pub text: String,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// A request, as far as decisions depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Which.
    pub id: RequestId,
    /// What is asked.
    pub kind: Kind,
    /// What its digest covers.
    pub binding: Binding,
    /// Where it stands.
    pub state: State,
    /// Counts the edits; the first is 1.
    pub revision: u32,
    /// The digest of the current revision.
    pub digest: Digest,
    /// The name of the action. No edit changes it.
    pub tool: ActionName,
    /// What is acted on. No edit changes it.
    pub target: ResourceName,
    /// Who asked.
    pub agent: NhiId,
    /// Everybody in the chain, root first.
    pub hops: Vec<NhiId>,
    /// Who edited it.
    pub editors: BTreeSet<NhiId>,
    /// Whether it may be edited: whether the agent does what was approved instead of what it asked.
    pub editable: bool,
    /// Whether it was asked in a test: it binds nobody.
    pub test: bool,
    /// How it is decided.
    pub plan: Plan,
    /// Which step of the chain is the current one; the first is 0, and a second round goes on counting.
    pub step: u32,
    /// When that step began.
    pub step_at: Timestamp,
    /// When it times out.
    pub deadline: Timestamp,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Who was told last, and when.
    pub told_at: Timestamp,
    /// Whom it was given to instead of those the requirement selects.
    pub assigned: Option<Vec<Selector>>,
    /// Who takes care of it.
    pub acknowledged: Option<Acknowledged>,
    /// The votes on the current revision.
    pub votes: Vec<Vote>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// Whose vote, or what, decided it.
    pub decided_by: Option<NhiId>,
    /// What was said with the decision, or why there is none.
    pub comment: Option<String>,
    /// How the decider proved who they are: the method's word.
    pub how: Option<String>,
    /// The admission that used the approval.
    pub admission: Option<String>,
    /// The approval went around the requirement.
    pub glass: Option<Glass>,
    /// The standing grant that approved it.
    pub grant: Option<String>,
    /// What approver and agent said to each other.
    pub thread: Vec<Said>,
    /// A question's answer.
    pub answer: Option<String>,
    /// The named option of an answer or of a refusal.
    pub option: Option<String>,
}

impl Case {
    /// The requirement of the current step: the latest step that sets one, else the plan's.
    #[must_use]
    pub fn requirement(&self) -> Requirement {
        self.required().into_owned()
    }

    /// As [`Case::requirement`], borrowed where it stands as it is.
    #[must_use]
    pub fn required(&self) -> Cow<'_, Requirement> {
        if let Some(assigned) = &self.assigned {
            return Cow::Owned(Requirement::at_least(1, assigned.clone()));
        }
        let steps = &self.plan.steps;
        let last = usize::try_from(self.step).unwrap_or(usize::MAX).min(steps.len().saturating_sub(1));
        let latest = steps.iter().take(last + 1).rev().find_map(|step| step.requirement.as_ref());
        Cow::Borrowed(latest.unwrap_or(&self.plan.requirement))
    }

    /// Which step of the plan the current one is; rounds start over.
    #[must_use]
    pub fn plan_step(&self) -> usize {
        let steps = self.plan.steps.len().max(1);
        usize::try_from(self.step).unwrap_or(0) % steps
    }

    /// How many steps the chain has, over all its rounds.
    #[must_use]
    pub fn steps_total(&self) -> u32 {
        let steps = u32::try_from(self.plan.steps.len()).unwrap_or(u32::MAX);
        steps.saturating_mul(self.plan.repeat.saturating_add(1))
    }
}
