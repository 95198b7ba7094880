//! Policy documents: what a rule that asks for oversight asks for.

use creto_db::Sealed;
use creto_kernel::{Digest, NhiId, TenantId, canonical};

use super::Desk;
use crate::core::policy;
use crate::error::OversightError;
use crate::model::plan::Plan;
use crate::model::policy::Policy;
use crate::model::request::RequestFilter;
use crate::store::policies::{self, Published};
use crate::store::requests;

/// Longest name of a rule, in bytes.
pub(super) const RULE_BYTES_MAX: usize = 64;

/// What a document would have asked of one past request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Rehearsed {
    /// Which.
    pub request: String,
    /// How it was decided.
    pub before: Plan,
    /// How it would be decided.
    pub after: Plan,
    /// Whether the votes that it had would have been enough.
    pub still_met: bool,
}

impl Desk {
    /// The documents in force.
    pub async fn policies(&self, tenant: &TenantId) -> Result<Vec<Published>, OversightError> {
        Ok(policies::latest(&self.db, tenant, None).await?)
    }

    /// Puts a document in force for requests opened from now on; those that wait keep what they were opened with. With `based_on`, only
    /// if that version is still the one in force.
    pub async fn publish(&self, by: &NhiId, rule: &str, policy: Policy, based_on: Option<u32>) -> Result<Published, OversightError> {
        check_rule(rule)?;
        policy::check(&policy).map_err(OversightError::BadPolicy)?;
        let tenant = by.tenant();
        let current = policies::latest(&self.db, tenant, Some(rule)).await?.pop().map_or(0, |published| published.version);
        if let Some(based_on) = based_on.filter(|based_on| *based_on != current) {
            return Err(OversightError::BadPolicy(format!("it was written against version {based_on}, and version {current} is in force")));
        }
        let body = canonical::to_vec(&policy).map_err(|e| OversightError::BadPolicy(e.to_string()))?;
        let body = String::from_utf8(body).map_err(|e| OversightError::BadPolicy(e.to_string()))?;
        let digest = Digest::of(body.as_bytes());
        let published = Published { rule: rule.to_owned(), version: current + 1, digest, policy, author: by.clone(), at: self.clock.now() };
        let leaf =
            self.people_leaf(by, "oversight.policy", &format!("rule:{rule}"))?.fact("version", published.version).digest("policy", digest);
        self.db.commit(Sealed::new(leaf).step(policies::insert(tenant, &published, body))).await?;
        Ok(published)
    }

    /// What a document would have asked of the latest requests of its rule; nothing is changed.
    pub async fn rehearse(&self, tenant: &TenantId, rule: &str, policy: &Policy) -> Result<Vec<Rehearsed>, OversightError> {
        check_rule(rule)?;
        policy::check(policy).map_err(OversightError::BadPolicy)?;
        let mut rehearsed = Vec::new();
        for stored in requests::list(&self.db, tenant, &RequestFilter::default()).await? {
            let rules: Vec<&str> = stored.rule.split('+').collect();
            if !rules.contains(&rule) {
                continue;
            }
            let mut all = Vec::new();
            for name in rules {
                let document = match name == rule {
                    true => Some(policy.clone()),
                    false => policies::latest(&self.db, tenant, Some(name)).await?.pop().map(|published| published.policy),
                };
                all.push(document.unwrap_or_else(policy::built_in));
            }
            let after = policy::plan(&all);
            if after == stored.case.plan {
                continue;
            }
            let roster = self.roster_of(tenant, after.requirement.selectors().into_iter()).await?;
            let mut case = stored.case.clone();
            case.plan = after.clone();
            let still_met = crate::core::quorum::is_met(&case, &crate::core::quorum::votes(&case), &case.required(), &roster);
            rehearsed.push(Rehearsed { request: case.id.to_string(), before: stored.case.plan, after, still_met });
        }
        Ok(rehearsed)
    }
}

fn check_rule(rule: &str) -> Result<(), OversightError> {
    let fits =
        (1..=RULE_BYTES_MAX).contains(&rule.len()) && rule.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if fits { Ok(()) } else { Err(OversightError::BadPolicy("a rule is named by letters, digits, `_`, `-` and `.`".to_owned())) }
}
