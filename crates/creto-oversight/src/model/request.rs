//! Requests: what a human is asked, and where it stands.

use creto_kernel::id::{RequestId, RunId};
use creto_kernel::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest comment, in bytes.
pub const COMMENT_BYTES_MAX: usize = 4096;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a human.
    Pending,
    /// A human said yes; no action has used it yet.
    Approved,
    /// A human said no.
    Denied,
    /// Nobody decided in time.
    TimedOut,
    /// Withdrawn.
    Cancelled,
    /// One admission has used the approval; its outcome is not known yet.
    Consumed,
    /// The approved action was done.
    Executed,
    /// The approved action failed.
    Failed,
}

impl State {
    /// All states.
    pub const ALL: [Self; 8] =
        [Self::Pending, Self::Approved, Self::Denied, Self::TimedOut, Self::Cancelled, Self::Consumed, Self::Executed, Self::Failed];

    /// The word in the store and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Consumed => "consumed",
            Self::Executed => "executed",
            Self::Failed => "failed",
        }
    }

    /// The state of this word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A request, as approvers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Request {
    /// Which.
    pub id: String,
    /// SHA-256 over `action`: what a decision must name.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The complete action, as RFC 8785 JSON text: the very bytes the digest covers.
    pub action: String,
    /// The policy rule that asked.
    pub rule: String,
    /// The run it belongs to.
    pub run: Option<String>,
    /// The delegation chain, root first, as SPIFFE IDs.
    pub hops: Vec<String>,
    /// What the agent says about why. Untrusted.
    pub reason: Option<String>,
    /// Where it stands.
    pub state: State,
    /// When it was opened.
    #[schema(value_type = String)]
    pub opened_at: Timestamp,
    /// When it times out.
    #[schema(value_type = String)]
    pub deadline: Timestamp,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When.
    #[schema(value_type = Option<String>)]
    pub decided_at: Option<Timestamp>,
    /// How the decider had proved who they are.
    pub how: Option<String>,
    /// What they said.
    pub comment: Option<String>,
}

/// Which requests to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestFilter {
    /// In this state only.
    pub state: Option<State>,
    /// Of this run only.
    pub run: Option<RunId>,
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
