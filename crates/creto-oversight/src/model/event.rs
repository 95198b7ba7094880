//! What happened to a request. A request is what its events say, in order.

use creto_kernel::id::RequestId;
use creto_kernel::{ActionName, Digest, NhiId, ResourceName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::case::{Binding, Kind, Vote};
use crate::model::plan::Plan;
use crate::model::requirement::Selector;
use crate::model::voter::Proof;

/// One event with who caused it and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When, by the server's clock.
    pub at: Timestamp,
    /// Who caused it.
    pub by: NhiId,
    /// What.
    pub event: Event,
}

/// How a request came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Which.
    pub id: RequestId,
    /// What is asked.
    pub kind: Kind,
    /// What its digest covers.
    pub binding: Binding,
    /// The action's digest.
    pub digest: Digest,
    /// The name of the action.
    pub tool: ActionName,
    /// What is acted on.
    pub target: ResourceName,
    /// Who asks.
    pub agent: NhiId,
    /// Everybody in the chain, root first.
    pub hops: Vec<NhiId>,
    /// Whether it may be edited.
    pub editable: bool,
    /// Whether it was asked in a test: it binds nobody.
    pub test: bool,
    /// How it is decided.
    pub plan: Plan,
    /// When it times out.
    pub deadline: Timestamp,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// It was opened.
    Opened(Box<Opened>),
    /// A human voted.
    Voted(Box<Vote>),
    /// The requirement is met.
    Approved {
        /// The standing grant that met it, where no human did.
        grant: Option<String>,
    },
    /// So many said no that it ends, or so few are left that it cannot be met.
    Rejected {
        /// Why, where it was not simply said.
        why: Option<String>,
        /// The named option.
        option: Option<String>,
    },
    /// A question was answered.
    Answered {
        /// In words.
        text: String,
        /// By a named option.
        option: Option<String>,
        /// How the human proved who they are: the method's word.
        how: String,
    },
    /// An approver asked back, or the agent answered that.
    Said {
        /// What.
        text: String,
    },
    /// The arguments were changed: the votes so far no longer count.
    Edited {
        /// The new revision.
        revision: u32,
        /// Its digest.
        digest: Digest,
        /// How it is decided.
        plan: Plan,
    },
    /// A human takes care of it.
    Acknowledged {
        /// Until when the chain waits.
        until: Timestamp,
    },
    /// It was given to other people.
    Reassigned {
        /// To whom.
        to: Vec<Selector>,
    },
    /// A step of the chain began. Whoever is told is told of the last of several.
    Escalated {
        /// Which.
        step: u32,
        /// When it is over, where that moves the deadline.
        deadline: Timestamp,
        /// What was said.
        message: Option<String>,
    },
    /// Those of the current step were reminded.
    Reminded,
    /// The deadline passed.
    TimedOut,
    /// The agent no longer wants it.
    Cancelled {
        /// Why.
        reason: Option<String>,
    },
    /// Another request takes its place.
    Superseded {
        /// Which.
        other: String,
    },
    /// The approval was taken back.
    Revoked {
        /// Why.
        reason: String,
    },
    /// Nobody used the approval in time.
    Expired,
    /// An admission uses the approval.
    Consumed {
        /// Which.
        admission: String,
    },
    /// The action was done.
    Executed,
    /// The action failed.
    Failed,
    /// Nobody knows what came of the action.
    Doubted,
    /// A human approved around the requirement.
    GlassBroken {
        /// Why.
        reason: String,
        /// Until when another human must have looked at it.
        review_by: Timestamp,
        /// How they proved who they are: the method's word.
        how: String,
        /// The whole of it; earlier events have the word alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<Proof>,
    },
    /// Nobody has looked at a broken glass in time; asked again.
    ReviewOverdue {
        /// Until when now.
        review_by: Timestamp,
    },
    /// A human looked at a broken glass.
    Reviewed {
        /// Whether it was right.
        justified: bool,
        /// What they said.
        comment: Option<String>,
    },
}

impl Event {
    /// The word in leaves.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Opened(_) => "opened",
            Self::Voted(_) => "voted",
            Self::Approved { .. } => "approved",
            Self::Rejected { .. } => "denied",
            Self::Answered { .. } => "answered",
            Self::Said { .. } => "said",
            Self::Edited { .. } => "edited",
            Self::Acknowledged { .. } => "acknowledged",
            Self::Reassigned { .. } => "reassigned",
            Self::Escalated { .. } => "escalated",
            Self::Reminded => "reminded",
            Self::TimedOut => "timed_out",
            Self::Cancelled { .. } => "cancelled",
            Self::Superseded { .. } => "superseded",
            Self::Revoked { .. } => "revoked",
            Self::Expired => "expired",
            Self::Consumed { .. } => "consumed",
            Self::Executed => "executed",
            Self::Failed => "failed",
            Self::Doubted => "in_doubt",
            Self::GlassBroken { .. } => "glass_broken",
            Self::ReviewOverdue { .. } => "review_overdue",
            Self::Reviewed { .. } => "reviewed",
        }
    }
}
