//! Reports: approvers who decide faster than they can read, and what an outside security system wants to know.

use std::collections::BTreeMap;

use creto_kernel::{NhiId, TenantId};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Desk;
use crate::error::OversightError;
use crate::model::case::Choice;
use crate::model::request::{Request, RequestFilter, State};
use crate::store::requests::{self, Stored};

/// How many characters a human reads in a second: 238 words a minute (M. Brysbaert, "How many words do we read per minute?", Journal of
/// Memory and Language 109, 2019) of five letters and a space.
pub const READ_CHARS_PER_SEC: f64 = 238.0 * 6.0 / 60.0;
/// Most pages of requests one report looks at, newest first.
const PAGES_MAX: usize = 20;

/// How one approver decides.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Decider {
    /// Who.
    #[schema(value_type = String)]
    pub person: NhiId,
    /// Approvals looked at.
    pub approvals: u32,
    /// Of these, how many were given sooner after the request was opened than its action can be read.
    pub faster_than_reading: u32,
    /// The shortest time between opening and approval, in milliseconds.
    pub fastest_ms: u64,
}

impl Desk {
    /// How approvers decided the tenant's latest requests. Edited requests are left out: what was read before the edit counts there.
    pub async fn deciders(&self, tenant: &TenantId) -> Result<Vec<Decider>, OversightError> {
        let mut people: BTreeMap<NhiId, Decider> = BTreeMap::new();
        for stored in self.latest(tenant).await? {
            let needed_ms = stored.action.chars().count() as f64 / READ_CHARS_PER_SEC * 1000.0;
            let votes = stored.case.votes.iter().filter(|vote| vote.choice == Choice::Approve && stored.case.revision == 1);
            for vote in votes {
                let took_ms = u64::try_from(vote.at.since(stored.case.opened_at).as_millis()).unwrap_or(u64::MAX);
                let decider = people.entry(vote.by.clone()).or_insert_with(|| Decider {
                    person: vote.by.clone(),
                    approvals: 0,
                    faster_than_reading: 0,
                    fastest_ms: u64::MAX,
                });
                decider.approvals += 1;
                decider.faster_than_reading += u32::from((took_ms as f64) < needed_ms);
                decider.fastest_ms = decider.fastest_ms.min(took_ms);
            }
        }
        Ok(people.into_values().collect())
    }

    /// The tenant's latest requests as OCSF 1.3 findings of the class API Activity (6003), newest first: what happened, no words.
    pub async fn ocsf(&self, tenant: &TenantId) -> Result<Vec<Value>, OversightError> {
        Ok(self.latest(tenant).await?.iter().map(|stored| finding(&stored.shown())).collect())
    }

    async fn latest(&self, tenant: &TenantId) -> Result<Vec<Stored>, OversightError> {
        let (mut all, mut filter) = (Vec::new(), RequestFilter::default());
        for _ in 0..PAGES_MAX {
            let mut page = requests::list(&self.db, tenant, &filter).await?;
            let more = page.len() > usize::try_from(requests::page_size(&filter)).unwrap_or(usize::MAX);
            if more {
                page.pop();
            }
            filter.before = page.last().map(|stored| stored.case.id);
            all.extend(page);
            if !more {
                break;
            }
        }
        Ok(all)
    }
}

/// One request as an OCSF event (schema.ocsf.io/1.3.0/classes/api_activity): activity 99 is "other", category 6 application activity.
fn finding(request: &Request) -> Value {
    let status = match request.state {
        State::Denied | State::TimedOut | State::Failed | State::Expired | State::Revoked => 2,
        State::Pending | State::InDoubt => 0,
        _ => 1,
    };
    let actors: Vec<Value> = request.votes.iter().map(|vote| json!({ "uid": vote.by, "type": "User", "name": vote.by.name() })).collect();
    json!({
        "activity_id": 99, "activity_name": "Oversight", "category_uid": 6, "class_uid": 6003, "type_uid": 600_399,
        "severity_id": match request.risk { crate::model::plan::Risk::Low => 1, crate::model::plan::Risk::Medium => 2,
            crate::model::plan::Risk::High => 4, crate::model::plan::Risk::Critical => 5 },
        "time": request.opened_at.as_micros() / 1000,
        "status_id": status, "status": request.state.as_str(),
        "metadata": { "version": "1.3.0", "product": { "name": "creto", "vendor_name": "creto" }, "uid": request.id },
        "actor": { "user": { "uid": request.hops.last(), "type": "User" }, "authorizations": [{ "decision": request.state.as_str(),
            "policy": { "uid": request.policy, "name": request.rule } }] },
        "api": { "operation": request.rule, "request": { "uid": request.id } },
        "unmapped": { "digest": request.digest, "revision": request.revision, "voters": actors, "run": request.run },
    })
}
