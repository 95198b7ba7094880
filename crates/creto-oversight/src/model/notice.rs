//! What channels are told: one message of the outbox for each thing that somebody outside should hear of.

use creto_kernel::id::RequestId;
use creto_kernel::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::plan::Risk;
use crate::model::request::State;
use crate::model::requirement::Selector;

/// The outbox topic of every [`Notice`]. Delivery is at least once; [`Notice::key`] is equal for equal deliveries.
pub const TOPIC: &str = "oversight.notice";

/// What happened, as far as it is told outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// A request waits for those named in `to`.
    Opened,
    /// The next step began: those named in `to` are asked now.
    Escalated,
    /// Those named in `to` have not decided yet.
    Reminder,
    /// The arguments changed: every earlier vote is void, every card shows the new revision.
    Edited,
    /// Somebody voted, takes care of it, asked back or answered: cards are brought up to date.
    Updated,
    /// It is over or decided: every card is closed, and the agent's webhook told.
    Resolved,
    /// Nobody knows what came of an approved action: a human must say.
    InDoubt,
    /// A glass was broken, or its review is overdue: somebody else must look.
    ReviewNeeded,
}

impl Told {
    /// The word in keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Escalated => "escalated",
            Self::Reminder => "reminder",
            Self::Edited => "edited",
            Self::Updated => "updated",
            Self::Resolved => "resolved",
            Self::InDoubt => "in_doubt",
            Self::ReviewNeeded => "review_needed",
        }
    }
}

/// One thing to tell. It says who and which; what the request says is read when it is delivered, so that a card never shows less than
/// what holds then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Whose.
    pub tenant: TenantId,
    /// Which request.
    pub request: RequestId,
    /// What happened.
    pub told: Told,
    /// Where the request stood then.
    pub state: State,
    /// Its revision then.
    pub revision: u32,
    /// The step of the chain, over all rounds; the first is 0.
    pub step: u32,
    /// The position of the event in the request's history.
    pub seq: i64,
    /// Whom to tell: people, roles, groups. Whoever is out of office is replaced by who stands in when it is delivered.
    pub to: Vec<Selector>,
    /// By which channels; every configured one when empty.
    pub channels: Vec<String>,
    /// What is at stake.
    pub risk: Risk,
    /// When.
    pub at: Timestamp,
    /// What was said with it: an escalation's message. Untrusted when an agent said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Notice {
    /// What a channel deduplicates by, together with its own name and the target: (request, step, position, kind).
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}/{}/{}", self.request, self.step, self.seq, self.told.as_str())
    }
}
