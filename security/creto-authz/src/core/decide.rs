//! From one sliced policy set and one request to one of three outcomes.

use cedar_policy::{Authorizer, Decision as CedarDecision, PolicyId, PolicySet, Request, Response};

use crate::core::compile::Compiled;
use crate::core::entities::{self, Node, Situation};
use crate::model::decision::{Decision, DenyReason, RuleId};

/// Everything Cedar is asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) principal: &'a Node,
    pub(crate) action: &'a Node,
    pub(crate) resource: &'a Node,
    pub(crate) situation: &'a Situation,
}

/// An outcome with its reasons.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) decision: Decision,
    pub(crate) determining: Vec<PolicyId>,
    pub(crate) would_allow: Vec<PolicyId>,
    pub(crate) rules: Vec<RuleId>,
    pub(crate) errors: Vec<String>,
    pub(crate) considered: usize,
}

impl Judged {
    pub(crate) fn deny(reason: DenyReason) -> Self {
        Self {
            decision: Decision::Deny(reason),
            determining: Vec::new(),
            would_allow: Vec::new(),
            rules: Vec::new(),
            errors: Vec::new(),
            considered: 0,
        }
    }

    fn broken(error: impl std::fmt::Display) -> Self {
        Self { errors: vec![error.to_string()], ..Self::deny(DenyReason::EvaluationError) }
    }
}

/// Decides over the policies whose scope fits. `approved` names the rules a human has approved for this very action.
pub(crate) fn decide(policies: &Compiled, asked: Asked<'_>, approved: &[RuleId]) -> Judged {
    match policies.slice(asked.principal, asked.action, asked.resource) {
        Ok((slice, considered)) => Judged { considered, ..decide_over(policies, &slice, asked, approved) },
        Err(error) => Judged::broken(error),
    }
}

/// Decides over a given set: the slice, or all policies when a test compares the two.
///
/// Cedar answers Deny with the satisfied forbids as its reason. The answer is oversight only when every one of them is annotated, no
/// policy failed, and the same request is allowed with `approved = true`; so a plain forbid, an error, and a request nobody permits
/// stay denied, and an annotated forbid over a permit is how a default deny becomes a question.
pub(crate) fn decide_over(policies: &Compiled, set: &PolicySet, asked: Asked<'_>, approved: &[RuleId]) -> Judged {
    let nodes = [asked.principal, asked.action, asked.resource];
    let entities = match entities::store(nodes) {
        Ok(entities) => entities,
        Err(error) => return Judged::broken(error),
    };
    let ask = |lifted: bool| {
        let context = if lifted { &asked.situation.approved } else { &asked.situation.plain };
        let [principal, action, resource] = nodes.map(|node| node.uid().clone());
        Request::new(principal, action, resource, context.clone(), None)
            .map(|request| Authorizer::new().is_authorized(&request, set, &entities))
            .map_err(|error| error.to_string())
    };
    let first = match ask(false) {
        Ok(response) => response,
        Err(error) => return Judged::broken(error),
    };
    let mut judged = Judged { determining: reasons(&first), errors: errors(&first), ..Judged::deny(DenyReason::EvaluationError) };
    if !judged.errors.is_empty() {
        return judged;
    }
    if first.decision() == CedarDecision::Allow {
        judged.decision = Decision::Allow;
        return judged;
    }
    let Some(rules) = rules_of(policies, &judged.determining) else {
        let forbidden = !judged.determining.is_empty();
        judged.decision = Decision::Deny(if forbidden { DenyReason::Forbidden } else { DenyReason::NoPermit });
        return judged;
    };
    let second = match ask(true) {
        Ok(response) => response,
        Err(error) => return Judged::broken(error),
    };
    judged.errors = errors(&second);
    let lifted = reasons(&second);
    judged.decision = match second.decision() {
        _ if !judged.errors.is_empty() => Decision::Deny(DenyReason::EvaluationError),
        CedarDecision::Deny if lifted.is_empty() => Decision::Deny(DenyReason::NoPermit),
        CedarDecision::Deny => Decision::Deny(DenyReason::Forbidden),
        CedarDecision::Allow => match rules.iter().find(|rule| !approved.contains(rule)) {
            Some(rule) => Decision::RequiresOversight(rule.clone()),
            None => Decision::Allow,
        },
    };
    if !matches!(judged.decision, Decision::Deny(_)) {
        judged.would_allow = lifted;
        judged.rules = rules;
    }
    judged
}

/// The rules of the determining forbids in order, or `None` when there is no forbid or one without a rule.
fn rules_of(policies: &Compiled, determining: &[PolicyId]) -> Option<Vec<RuleId>> {
    let mut rules = determining.iter().map(|id| policies.rule(id).cloned()).collect::<Option<Vec<_>>>()?;
    rules.sort();
    rules.dedup();
    (!rules.is_empty()).then_some(rules)
}

fn reasons(response: &Response) -> Vec<PolicyId> {
    let mut reasons: Vec<PolicyId> = response.diagnostics().reason().cloned().collect();
    reasons.sort();
    reasons
}

fn errors(response: &Response) -> Vec<String> {
    let mut errors: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
    errors.sort();
    errors
}
