//! What a grant may be, and when one grant is no wider than another.

use std::collections::BTreeSet;

use creto_kernel::{Micros, NhiId, Timestamp};
use serde::Serialize;

use crate::error::NhiError;
use crate::model::grant::{DEPTH_MAX, Grant, PATTERNS_MAX, Pattern};

/// The grant a root holds: everything, forever, with no ceiling of its own.
#[must_use]
pub fn whole() -> Grant {
    Grant { actions: vec![Pattern::any()], resources: vec![Pattern::any()], budget: None, not_after: Timestamp::MAX, depth: DEPTH_MAX }
}

/// Refuses a grant that breaks a limit of its own.
pub fn check_grant(grant: &Grant) -> Result<(), NhiError> {
    let refuse = |reason| Err(NhiError::GrantInvalid(reason));
    if grant.actions.is_empty() || grant.resources.is_empty() {
        return refuse("it names no action or no resource, so it would allow nothing");
    }
    if grant.actions.len() > PATTERNS_MAX || grant.resources.len() > PATTERNS_MAX {
        return refuse("it has more than 64 patterns of one kind");
    }
    if grant.budget.is_some_and(|budget| budget < Micros::ZERO) {
        return refuse("its budget is negative");
    }
    Ok(())
}

/// The intersection of `held` (what everything above grants together) and `child`, refusing any field that is wider.
///
/// `held` carries the tightest ceiling of all links above, so a budget that one link left out cannot be raised again further down.
pub fn narrow(held: &Grant, child: &Grant) -> Result<Grant, NhiError> {
    check_grant(child)?;
    let covered = |wide: &[Pattern], narrow: &[Pattern]| narrow.iter().all(|inner| wide.iter().any(|outer| outer.covers(inner)));
    let widened = |field| Err(NhiError::Widened { field });
    if !covered(&held.actions, &child.actions) {
        return widened("actions");
    }
    if !covered(&held.resources, &child.resources) {
        return widened("resources");
    }
    if matches!((held.budget, child.budget), (Some(ceiling), Some(asked)) if asked > ceiling) {
        return widened("budget");
    }
    if child.not_after > held.not_after {
        return widened("not_after");
    }
    if child.depth >= held.depth {
        return widened("depth");
    }
    Ok(Grant { budget: child.budget.or(held.budget), ..child.clone() })
}

/// What of a link its authority digest covers: everything but expiry, identifiers, moments and signatures.
#[derive(Serialize)]
pub(crate) struct Authorized<'a> {
    to: &'a NhiId,
    actions: BTreeSet<&'a Pattern>,
    resources: BTreeSet<&'a Pattern>,
    budget: Option<Micros>,
    depth: u8,
}

impl<'a> Authorized<'a> {
    pub(crate) fn by(to: &'a NhiId, grant: &'a Grant) -> Self {
        Self {
            to,
            actions: grant.actions.iter().collect(),
            resources: grant.resources.iter().collect(),
            budget: grant.budget,
            depth: grant.depth,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::try_from((*text).to_owned()).unwrap()).collect()
    }

    fn held() -> Grant {
        Grant {
            actions: patterns(&["runtime.*", "metering.ingest"]),
            resources: patterns(&["host:api.*", "sandbox:default"]),
            budget: Some(Micros::new(100)),
            not_after: Timestamp::from_secs(1_000).unwrap(),
            depth: 3,
        }
    }

    #[test]
    fn each_field_may_stay_or_shrink_and_never_grow() {
        type Change = fn(&mut Grant);
        let cases: [(Option<&str>, Change); 17] = [
            (None, |_| {}),
            (None, |g| g.actions = patterns(&["runtime.exec"])),
            (None, |g| g.actions = patterns(&["runtime.e*", "metering.ingest"])),
            (Some("actions"), |g| g.actions = patterns(&["runtime*"])),
            (Some("actions"), |g| g.actions = patterns(&["*"])),
            (Some("actions"), |g| g.actions = patterns(&["runtime.exec", "metering.*"])),
            (None, |g| g.resources = patterns(&["host:api.example.com:443"])),
            (Some("resources"), |g| g.resources = patterns(&["host:*"])),
            (Some("resources"), |g| g.resources = patterns(&["sandbox:defaul*"])),
            (Some("resources"), |g| g.resources = patterns(&["sandbox:other"])),
            (None, |g| g.budget = Some(Micros::ZERO)),
            (None, |g| g.budget = None),
            (Some("budget"), |g| g.budget = Some(Micros::new(101))),
            (Some("not_after"), |g| g.not_after = Timestamp::from_secs(1_001).unwrap()),
            (None, |g| g.not_after = Timestamp::from_secs(999).unwrap()),
            (Some("depth"), |g| g.depth = 3),
            (None, |g| g.depth = 0),
        ];
        for (at, (refused, change)) in cases.into_iter().enumerate() {
            let mut child = Grant { depth: 2, ..held() };
            change(&mut child);
            match (narrow(&held(), &child), refused) {
                (Ok(_), None) => {}
                (Err(NhiError::Widened { field }), Some(expected)) => assert_eq!(field, expected, "case {at}"),
                (other, _) => panic!("case {at}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_ceiling_left_out_stays_in_force_further_down() {
        let silent = narrow(&held(), &Grant { budget: None, depth: 2, ..held() }).unwrap();
        assert_eq!(silent.budget, Some(Micros::new(100)));
        let raised = Grant { budget: Some(Micros::new(101)), depth: 1, ..held() };
        assert!(matches!(narrow(&silent, &raised), Err(NhiError::Widened { field: "budget" })));
    }

    #[test]
    fn a_grant_has_limits_of_its_own() {
        let bad: [fn(&mut Grant); 5] = [
            |g| g.actions.clear(),
            |g| g.resources.clear(),
            |g| g.actions = vec![Pattern::any(); PATTERNS_MAX + 1],
            |g| g.resources = vec![Pattern::any(); PATTERNS_MAX + 1],
            |g| g.budget = Some(Micros::new(-1)),
        ];
        for change in bad {
            let mut grant = held();
            change(&mut grant);
            assert!(matches!(check_grant(&grant), Err(NhiError::GrantInvalid(_))), "{grant:?}");
        }
    }
}
