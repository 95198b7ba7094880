//! From policy documents to the plan of one request.

use creto_kernel::Digest;
use creto_kernel::canonical::{self, CanonicalError};

use crate::core::hours;
use crate::model::plan::{OnTimeout, Plan, Risk, Separation, Step};
use crate::model::policy::{ACK_SECS_DEFAULT, APPROVED_SECS_DEFAULT, Policy, REMIND_SECS_MIN, REPEAT_MAX, SECS_MAX, STEPS_MAX};
use crate::model::requirement::{PEOPLE_MAX, Requirement};

/// What holds where a rule has no document: one approver, who may be the agent's owner, and no chain. An installation of one person has
/// nobody else to ask; whoever has more publishes a document.
#[must_use]
pub fn built_in() -> Policy {
    Policy {
        requirement: Requirement::one_approver(),
        deny_threshold: 1,
        separation: Separation::Agents,
        risk: Risk::Medium,
        timeout_secs: None,
        on_timeout: OnTimeout::Deny,
        steps: Vec::new(),
        repeat: 0,
        ack_secs: None,
        hours: None,
        approved_secs: None,
        secrets: Vec::new(),
    }
}

/// Refuses a document that could never be met, never end, or ask without pause.
pub fn check(policy: &Policy) -> Result<(), String> {
    policy.requirement.check()?;
    if !(1..=PEOPLE_MAX).contains(&policy.deny_threshold) {
        return Err(format!("`deny_threshold` is from 1 to {PEOPLE_MAX}"));
    }
    if policy.steps.len() > STEPS_MAX || policy.repeat > REPEAT_MAX {
        return Err(format!("a chain has at most {STEPS_MAX} steps and {REPEAT_MAX} repetitions"));
    }
    for step in &policy.steps {
        check_step(step)?;
    }
    let times = [policy.timeout_secs, policy.ack_secs, policy.approved_secs];
    if times.into_iter().flatten().any(|secs| !(1..=SECS_MAX).contains(&secs)) {
        return Err(format!("times are from 1 to {SECS_MAX} seconds"));
    }
    policy.hours.as_ref().map_or(Ok(()), hours::check)
}

fn check_step(step: &Step) -> Result<(), String> {
    if !(1..=SECS_MAX).contains(&step.after_secs) {
        return Err(format!("`after_secs` is from 1 to {SECS_MAX}"));
    }
    if step.remind_secs.is_some_and(|secs| !(REMIND_SECS_MIN..=SECS_MAX).contains(&secs)) {
        return Err(format!("`remind_secs` is from {REMIND_SECS_MIN} to {SECS_MAX}"));
    }
    step.requirement.as_ref().map_or(Ok(()), Requirement::check)
}

/// The digest of a document: SHA-256 over its RFC 8785 form.
pub fn digest(policy: &Policy) -> Result<Digest, CanonicalError> {
    Ok(Digest::of(&canonical::to_vec(policy)?))
}

/// The digest that stands for the documents of these digests, in the order of the rules that asked: that of one alone, else SHA-256 over
/// all of them.
#[must_use]
pub fn joined(digests: &[Digest]) -> Digest {
    match digests {
        [one] => *one,
        _ => Digest::of_parts(&digests.iter().map(|digest| digest.as_bytes().as_slice()).collect::<Vec<_>>()),
    }
}

/// The plan of a request that these rules ask for: every requirement at once, and of everything else the strictest.
#[must_use]
pub fn plan(policies: &[Policy]) -> Plan {
    let own = built_in();
    let all: Vec<&Policy> = if policies.is_empty() { vec![&own] } else { policies.iter().collect() };
    let mut requirements: Vec<Requirement> = Vec::new();
    for policy in &all {
        if !requirements.contains(&policy.requirement) {
            requirements.push(policy.requirement.clone());
        }
    }
    let requirement = match requirements.as_slice() {
        [one] => one.clone(),
        _ => Requirement::AllOf(requirements),
    };
    let chain = all.iter().find(|policy| !policy.steps.is_empty());
    let alone = |secs| vec![Step { to: Vec::new(), channels: Vec::new(), after_secs: secs, remind_secs: None, requirement: None }];
    let mut steps = chain.map_or_else(|| alone(SECS_MAX), |policy| policy.steps.clone());
    if all.len() > 1 {
        // A step that replaces one rule's requirement would drop the others'.
        for step in &mut steps {
            step.requirement = None;
        }
    }
    let digests: Vec<Digest> = all.iter().filter_map(|policy| digest(policy).ok()).collect();
    Plan {
        policy: joined(&digests),
        requirement,
        deny_threshold: all.iter().map(|policy| policy.deny_threshold).min().unwrap_or(1),
        separation: all.iter().map(|policy| policy.separation).max().unwrap_or(Separation::Full),
        risk: all.iter().map(|policy| policy.risk).max().unwrap_or(Risk::High),
        on_timeout: if all.iter().all(|policy| policy.on_timeout == OnTimeout::Escalate) { OnTimeout::Escalate } else { OnTimeout::Deny },
        steps,
        repeat: chain.map_or(0, |policy| policy.repeat),
        ack_secs: all.iter().filter_map(|policy| policy.ack_secs).min().unwrap_or(ACK_SECS_DEFAULT),
        hours: chain.and_then(|policy| policy.hours.clone()),
        approved_secs: all.iter().filter_map(|policy| policy.approved_secs).min().unwrap_or(APPROVED_SECS_DEFAULT),
        secrets: all.iter().flat_map(|policy| policy.secrets.clone()).collect(),
    }
}

/// How long a request may wait, in seconds: what the rules say, and never longer than the agent asked for.
#[must_use]
pub fn timeout_secs(policies: &[Policy]) -> Option<u32> {
    policies.iter().filter_map(|policy| policy.timeout_secs).min()
}
