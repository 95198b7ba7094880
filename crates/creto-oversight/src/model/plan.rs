//! How a request is decided: the snapshot that is taken of the policy when it is opened.

use creto_kernel::Digest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::requirement::{Requirement, Selector};

/// How much is at stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Little.
    Low,
    /// The usual.
    Medium,
    /// Much: nobody decides it in a batch or by a standing grant.
    High,
    /// Very much: as high, and a vote counts only with a key that the human alone holds.
    Critical,
}

impl Risk {
    /// The word in the store and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Who may not decide, besides every agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Separation {
    /// Only agents. What holds where no document says otherwise: an installation of one person has nobody else.
    Agents,
    /// The requester, everybody in the delegation chain, its owner, and whoever edited the request.
    Full,
}

/// What happens at the deadline. Approving is not among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// The request times out, which is a refusal.
    Deny,
    /// The next step of the chain begins, where there is one.
    Escalate,
}

/// When steps and reminders go out: on these days between these hours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// IANA time zone, such as `Europe/Berlin`.
    pub zone: String,
    /// Days of the week: 1 is Monday, 7 Sunday (ISO 8601).
    pub days: Vec<u8>,
    /// First minute of the day.
    pub from_minute: u16,
    /// Minute after the last.
    pub to_minute: u16,
}

/// One step of an escalation chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Who is told; whoever the requirement selects when empty.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub to: Vec<Selector>,
    /// By which channels, such as `slack`, `email`; every configured one when empty.
    #[serde(default)]
    pub channels: Vec<String>,
    /// How long until the next step begins, in seconds.
    pub after_secs: u32,
    /// How often they are reminded, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_secs: Option<u32>,
    /// What must be agreed from this step on; unchanged when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub requirement: Option<Requirement>,
}

/// How a request is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Digest of the documents it was made of; of the built-in one where there are none.
    #[schema(value_type = String)]
    pub policy: Digest,
    /// What must be agreed.
    #[schema(value_type = Object)]
    pub requirement: Requirement,
    /// How many people's no ends it.
    pub deny_threshold: u32,
    /// Who may not decide.
    pub separation: Separation,
    /// What is at stake.
    pub risk: Risk,
    /// What happens at the deadline.
    pub on_timeout: OnTimeout,
    /// The escalation chain; at least one step.
    pub steps: Vec<Step>,
    /// How often the chain is gone through again.
    pub repeat: u32,
    /// How long an acknowledgement holds the chain, in seconds.
    pub ack_secs: u32,
    /// When steps and reminders go out; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// How long an approval is good that nobody uses, in seconds.
    pub approved_secs: u32,
    /// Names of arguments that only an operator sees in clear. The digest covers them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}
