//! Requests as approvers see them, and where one stands.

use creto_kernel::id::RequestId;
use creto_kernel::{Digest, NhiId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::case::{Acknowledged, Binding, Glass, Kind, Said, Vote};
use crate::model::comment::MailComment;
use crate::model::plan::Risk;
use crate::model::redaction;
use crate::model::requirement::Requirement;

/// Longest comment, question, answer or reason, in bytes.
pub const COMMENT_BYTES_MAX: usize = 4096;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for humans.
    Pending,
    /// The requirement is met; no action has used it yet.
    Approved,
    /// Humans said no, or those left can no longer meet the requirement.
    Denied,
    /// Nobody decided in time.
    TimedOut,
    /// Withdrawn by who asked.
    Cancelled,
    /// Another request took its place.
    Superseded,
    /// A question has its answer.
    Answered,
    /// Nobody used the approval in time.
    Expired,
    /// The approval was taken back.
    Revoked,
    /// One admission has used the approval; its outcome is not known yet.
    Consumed,
    /// The approved action was done.
    Executed,
    /// The approved action failed.
    Failed,
    /// Nobody knows what came of the approved action.
    InDoubt,
}

impl State {
    /// All states.
    pub const ALL: [Self; 13] = [
        Self::Pending,
        Self::Approved,
        Self::Denied,
        Self::TimedOut,
        Self::Cancelled,
        Self::Superseded,
        Self::Answered,
        Self::Expired,
        Self::Revoked,
        Self::Consumed,
        Self::Executed,
        Self::Failed,
        Self::InDoubt,
    ];

    /// The word in the store and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::Answered => "answered",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Consumed => "consumed",
            Self::Executed => "executed",
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
        }
    }

    /// The state of this word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether a retry of the action finds it: it waits, or was approved and not used.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Approved)
    }
}

/// A request, as approvers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Request {
    /// Which.
    pub id: String,
    /// Whether an action or an answer is asked for.
    pub kind: Kind,
    /// What the digest covers: the action as it is done, or what a client declared.
    pub binding: Binding,
    /// SHA-256 over `action`: what a decision must name.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The complete action, as RFC 8785 JSON text: the very bytes the digest covers.
    pub action: String,
    /// Counts the edits; the first is 1.
    pub revision: u32,
    /// Whether it may be edited.
    pub editable: bool,
    /// The policy rules that asked, joined by `+`.
    pub rule: String,
    /// What is at stake.
    pub risk: Risk,
    /// What must be agreed now.
    #[schema(value_type = Object)]
    pub requirement: Requirement,
    /// How many people's no ends it.
    pub deny_threshold: u32,
    /// Digest of the policy documents it is decided by.
    #[schema(value_type = String)]
    pub policy: Digest,
    /// The votes on this revision.
    pub votes: Vec<Vote>,
    /// The run it belongs to.
    pub run: Option<String>,
    /// The call it belongs to, where the agent names its calls.
    pub call: Option<String>,
    /// The delegation chain, root first, as SPIFFE IDs.
    pub hops: Vec<String>,
    /// What the agent says about why. Untrusted.
    pub reason: Option<String>,
    /// Where it stands.
    pub state: State,
    /// The step of the escalation chain, over all rounds; the first is 0.
    pub step: u32,
    /// Who takes care of it.
    pub acknowledged: Option<Acknowledged>,
    /// What approver and agent said to each other.
    pub thread: Vec<Said>,
    /// What people answered to mails about it, oldest first. Untrusted; it decides nothing, and its agent is not shown it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mail: Vec<MailComment>,
    /// When it was opened.
    #[schema(value_type = String)]
    pub opened_at: Timestamp,
    /// When it times out.
    #[schema(value_type = String)]
    pub deadline: Timestamp,
    /// When time alone changes it next: a step begins, its people are reminded, it times out, an approval that nobody used ends, a review
    /// is overdue. `None` where time changes nothing more.
    #[schema(value_type = Option<String>)]
    pub due_at: Option<Timestamp>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When.
    #[schema(value_type = Option<String>)]
    pub decided_at: Option<Timestamp>,
    /// How the decider had proved who they are.
    pub how: Option<String>,
    /// What they said, or why nobody decided.
    pub comment: Option<String>,
    /// A question's answer.
    pub answer: Option<String>,
    /// The named option of an answer or a refusal.
    pub option: Option<String>,
    /// The approval went around the requirement.
    pub glass: Option<Glass>,
    /// The standing grant that approved it.
    pub grant: Option<String>,
    /// The admission that used it.
    pub admission: Option<String>,
    /// What a client's own API keeps with it, as JSON text: channel, options, state. Untrusted.
    pub extra: Option<String>,
    /// Names of arguments that were left out of `action` because the viewer may not see them; the digest covers them.
    pub redacted: Vec<String>,
    /// Where something was left out: what is shown, as RFC 8785 JSON text of `{action, digest, hidden}`. An approval names the SHA-256 of
    /// this text as `shown`.
    pub view: Option<String>,
    /// Whether it was asked in a test: it binds nobody.
    pub test: bool,
    /// Names of arguments that only an operator, and the agent itself, sees in clear.
    #[serde(skip)]
    pub secrets: Vec<String>,
    /// The position of its latest event.
    pub seq: i64,
}

impl Request {
    /// The request as somebody sees it who may not see its secret arguments. The digest stays that of the whole action.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        (self.action, self.redacted) = redaction::redact(&self.action, &self.secrets);
        if !self.redacted.is_empty() {
            self.view = Some(redaction::view(&self.action, self.digest, &self.redacted));
            // A client's own form of the same arguments.
            self.extra = None;
        }
        self
    }

    /// Who asked.
    #[must_use]
    pub fn agent(&self) -> Option<NhiId> {
        self.hops.last().and_then(|hop| hop.parse().ok())
    }
}

/// Which requests to list.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    /// In this state only.
    pub state: Option<State>,
    /// Of this run only.
    pub run: Option<String>,
    /// Of this agent only.
    pub agent: Option<NhiId>,
    /// Only those whose broken glass waits for a review.
    pub review: bool,
    /// Only those whose broken glass somebody looked at.
    pub reviewed: bool,
    /// Older than this one only: the `next` of the page before.
    pub before: Option<RequestId>,
    /// At most this many; 200 at the most, and the default.
    pub limit: Option<u32>,
}

/// Some requests, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Page {
    /// The requests.
    pub requests: Vec<Request>,
    /// What to ask for `before` to get the older ones; `None` where there are none.
    pub next: Option<String>,
}
