//! A decision with its reasons.

use serde::Serialize;

use crate::model::decision::{Decision, RuleId};

/// One policy in an explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyRef {
    /// Its `@id`.
    pub id: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// The rule of its `@oversight`, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleId>,
}

/// Why a request was decided as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The decision.
    pub decision: Decision,
    /// The policies that determined it: the satisfied forbids, or without any the satisfied permits. Empty for a deny by default or by
    /// the chain itself.
    pub determining: Vec<PolicyRef>,
    /// The permits that would allow it once every asked rule was approved.
    pub would_allow: Vec<PolicyRef>,
    /// Every rule that must be approved, in order; the decision names the first that is not yet.
    pub rules: Vec<RuleId>,
    /// Policies that could not be evaluated, each with Cedar's message.
    pub errors: Vec<String>,
    /// How many policies had a scope that fits the request, of how many.
    pub considered: (usize, usize),
    /// The tenant's policy epoch it was decided under; 0 is the built-in default.
    pub policy_epoch: u64,
    /// What would allow it: the exact command or policy line. Absent for an allow.
    pub hint: Option<String>,
}
