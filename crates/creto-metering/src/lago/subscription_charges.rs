//! `subscriptions/{external_id}/charges`: the plan's charges as this subscription pays them. A change is an override of it alone.

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::TenantId;
use serde_json::{Map, Value};

use super::body::{Fields, read, written};
use super::plan_charges::page_of;
use super::query::Parameters;
use super::shape::{many, one};
use super::subscriptions::charge_override;
use super::{Answer, Asked, Body, Here, Lago, Named, changes, charges, lists, reads};
use crate::catalog::Terms;
use crate::error::MeteringError;
use crate::model::entry::Defined;
use crate::model::plan::Plan;
use crate::model::subscription::Subscription;

const ROOT: &str = "charge";

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let all = "/lago/api/v1/subscriptions/{external_id}/charges";
    let each = "/lago/api/v1/subscriptions/{external_id}/charges/{charge}";
    let filters = "/lago/api/v1/subscriptions/{external_id}/charges/{charge}/filters";
    let ours = Access::Operator;
    vec![
        lists(lago, all, ours, "Lago: charges of a subscription", list),
        reads(lago, each, ours, "Lago: a charge of a subscription", get),
        changes(lago, each, ours, "Lago: change a charge for a subscription alone", update),
        lists(lago, filters, ours, "Lago: filters of a subscription's charge", list_filters),
    ]
}

/// The plan in the version that a subscription keeps, with what differs for it.
pub(super) async fn own_plan(lago: &Lago, tenant: &TenantId, it: &Subscription) -> Result<Defined<Plan>, MeteringError> {
    let mut plan = lago.catalog.version::<Plan>(tenant, it.plan, it.plan_version).await?;
    if let Some(overrides) = &it.overrides {
        plan.body = overrides.apply(&plan.body)?;
    }
    Ok(plan)
}

async fn plan_of(here: &Lago, tenant: &TenantId, external_id: &str) -> Result<Defined<Plan>, MeteringError> {
    own_plan(here, tenant, &here.catalog.current(tenant, external_id).await?).await
}

async fn list(State(here): Here, caller: Caller, Path(external_id): Named, Query(asked): Asked) -> Answer {
    let tenant = caller.0.tenant();
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    asked.done()?;
    let plan = plan_of(&here, tenant, &external_id).await?;
    let page = page_of(plan.body.charges.iter().collect(), page);
    let mut documents = Vec::with_capacity(page.items.len());
    for charge in &page.items {
        documents.push(charges::shown(&here, tenant, &plan, charge).await?);
    }
    Ok(Json(many("charges", &page.with(documents), Value::clone)))
}

async fn get(State(here): Here, caller: Caller, Path((external_id, charge)): Path<(String, String)>) -> Answer {
    let tenant = caller.0.tenant();
    let plan = plan_of(&here, tenant, &external_id).await?;
    let charge = charges::find(plan.id, &plan.body.charges, &charge)?;
    Ok(Json(one(ROOT, charges::shown(&here, tenant, &plan, charge).await?)))
}

async fn update(State(here): Here, caller: Caller, Path((external_id, charge)): Path<(String, String)>, StrictJson(body): Body) -> Answer {
    let tenant = caller.0.tenant();
    let before = here.catalog.current(tenant, &external_id).await?;
    let plan = here.catalog.version::<Plan>(tenant, before.plan, before.plan_version).await?;
    let code = charges::find(plan.id, &plan.body.charges, &charge)?.code.clone();
    let change = charge_override(&plan, Fields::of(body, ROOT)?, Some(&code))?;
    let mut differences = before.overrides.as_ref().map(written).transpose()?.unwrap_or_default();
    differences.insert("charges".to_owned(), with_change(differences.get("charges"), &code, change).into());
    let terms: Terms = read(Map::from_iter([("overrides".to_owned(), differences.into())]))?;
    let after = here.catalog.amend(&caller.0.identity, &external_id, terms).await?;
    let plan = own_plan(&here, tenant, &after).await?;
    let charge = charges::find(plan.id, &plan.body.charges, &code)?;
    Ok(Json(one(ROOT, charges::shown(&here, tenant, &plan, charge).await?)))
}

/// What differs in the charges so far, with a further difference in one of them.
fn with_change(before: Option<&Value>, code: &str, change: Map<String, Value>) -> Vec<Value> {
    let mut all: Vec<Value> = before.and_then(Value::as_array).cloned().unwrap_or_default();
    match all.iter_mut().find(|one| one.get("code").and_then(Value::as_str) == Some(code)).and_then(Value::as_object_mut) {
        Some(known) => known.extend(change),
        None => all.push(change.into()),
    }
    all
}

async fn list_filters(
    State(here): Here,
    caller: Caller,
    Path((external_id, charge)): Path<(String, String)>,
    Query(asked): Asked,
) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    asked.done()?;
    let plan = plan_of(&here, caller.0.tenant(), &external_id).await?;
    let charge = charges::find(plan.id, &plan.body.charges, &charge)?;
    let page = page_of(charge.filters.iter().collect(), page);
    Ok(Json(many("filters", &page, |filter| charges::shown_filter(&plan, charge, filter))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_further_difference_stands_beside_those_before() {
        let change = |value: Value| value.as_object().cloned().unwrap();
        let before = json!([{ "code": "a", "min_amount_cents": 5 }]);
        let same = with_change(Some(&before), "a", change(json!({ "code": "a", "properties": { "amount": "1" } })));
        assert_eq!(same, [json!({ "code": "a", "min_amount_cents": 5, "properties": { "amount": "1" } })]);
        assert_eq!(with_change(Some(&before), "b", change(json!({ "code": "b" }))).len(), 2);
    }
}
