//! Policy documents: what a Cedar rule `@oversight("name")` asks for, kept as data beside it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::plan::{Hours, OnTimeout, Risk, Separation, Step};
use crate::model::requirement::Requirement;

/// Most steps of one escalation chain.
pub const STEPS_MAX: usize = 16;
/// Most rounds after the first.
pub const REPEAT_MAX: u32 = 10;
/// Longest time of any kind in a document, in seconds: 30 days.
pub const SECS_MAX: u32 = 30 * 24 * 3600;
/// Shortest time between two reminders, in seconds.
pub const REMIND_SECS_MIN: u32 = 60;
/// How long an acknowledgement holds the chain where the document does not say, in seconds.
pub const ACK_SECS_DEFAULT: u32 = 1800;
/// How long an approval that nobody uses is good where the document does not say, in seconds: long enough for a retry after a crash, too
/// short to act on a forgotten yes.
pub const APPROVED_SECS_DEFAULT: u32 = 24 * 3600;

/// What one rule asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What must be agreed.
    #[schema(value_type = Object)]
    pub requirement: Requirement,
    /// How many people's no ends it; one when absent.
    #[serde(default = "one")]
    pub deny_threshold: u32,
    /// Who may not decide; everybody around the request when absent.
    #[serde(default = "full")]
    pub separation: Separation,
    /// What is at stake; the usual when absent.
    #[serde(default = "medium")]
    pub risk: Risk,
    /// How long it waits, in seconds; as long as the agent says when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<u32>,
    /// What happens then; a refusal when absent.
    #[serde(default = "deny")]
    pub on_timeout: OnTimeout,
    /// The escalation chain; one step that tells whoever the requirement selects when empty.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// How often the chain is gone through again.
    #[serde(default)]
    pub repeat: u32,
    /// How long an acknowledgement holds the chain, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_secs: Option<u32>,
    /// When steps and reminders go out; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// How long an approval is good that nobody uses, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_secs: Option<u32>,
    /// Names of arguments that only an operator sees in clear. The digest covers them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

const fn one() -> u32 {
    1
}
const fn full() -> Separation {
    Separation::Full
}
const fn medium() -> Risk {
    Risk::Medium
}
const fn deny() -> OnTimeout {
    OnTimeout::Deny
}
