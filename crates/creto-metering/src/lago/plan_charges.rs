//! `plans/{code}/charges` and their `filters`: each change is the next version of the plan.

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::{NhiId, TenantId};
use serde_json::{Map, Value};

use super::body::{Fields, written};
use super::query::Parameters;
use super::refusal::No;
use super::shape::{many, one};
use super::{Answer, Asked, Body, Here, Lago, Named, changes, charges, deletes, lists, makes, reads};
use crate::error::MeteringError;
use crate::model::charge::{Charge, ChargeFilter};
use crate::model::entry::Defined;
use crate::model::page::{Listed, Page};
use crate::model::plan::Plan;

const ROOT: &str = "charge";
const FILTER: &str = "filter";

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/plans/{code}/charges", "/lago/api/v1/plans/{code}/charges/{charge}");
    let (filters, filter) =
        ("/lago/api/v1/plans/{code}/charges/{charge}/filters", "/lago/api/v1/plans/{code}/charges/{charge}/filters/{filter}");
    let (open, ours) = (Access::Authenticated, Access::Operator);
    vec![
        lists(lago, all, open, "Lago: charges of a plan", list),
        makes(lago, all, ours, "Lago: put a charge into a plan", create),
        reads(lago, each, open, "Lago: a charge of a plan", get),
        changes(lago, each, ours, "Lago: change a charge of a plan", update),
        deletes(lago, each, ours, "Lago: take a charge out of a plan", delete),
        lists(lago, filters, open, "Lago: filters of a charge", list_filters),
        makes(lago, filters, ours, "Lago: put a filter into a charge", create_filter),
        reads(lago, filter, open, "Lago: a filter of a charge", get_filter),
        changes(lago, filter, ours, "Lago: change a filter of a charge", update_filter),
        deletes(lago, filter, ours, "Lago: take a filter out of a charge", delete_filter),
    ]
}

/// A page of what is all there in memory.
pub(super) fn page_of<T>(items: Vec<T>, page: Page) -> Listed<T> {
    let total = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let (from, rows) = (usize::try_from(page.offset()).unwrap_or(usize::MAX), usize::try_from(page.limit()).unwrap_or(usize::MAX));
    Listed::of(items.into_iter().skip(from).take(rows).collect(), page, total)
}

async fn plan_of(here: &Lago, caller: &Caller, code: &str) -> Result<Defined<Plan>, MeteringError> {
    here.catalog.get::<Plan>(caller.0.tenant(), code).await
}

/// Puts the plan's next version in force, with other charges.
async fn put(here: &Lago, by: &NhiId, plan: &Defined<Plan>, charges: Vec<Charge>) -> Result<Defined<Plan>, MeteringError> {
    let next = Plan { charges, ..plan.body.clone() };
    here.catalog.update(by, &plan.body.code, Some(plan.version), next.checked()?).await
}

async fn answer(here: &Lago, tenant: &TenantId, plan: &Defined<Plan>, code: &str) -> Answer {
    let charge = charges::find(plan.id, &plan.body.charges, code)?;
    Ok(Json(one(ROOT, charges::shown(here, tenant, plan, charge).await?)))
}

async fn list(State(here): Here, caller: Caller, Path(code): Named, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    asked.done()?;
    let plan = plan_of(&here, &caller, &code).await?;
    let page = page_of(plan.body.charges.iter().collect(), page);
    let mut documents = Vec::with_capacity(page.items.len());
    for charge in &page.items {
        documents.push(charges::shown(&here, caller.0.tenant(), &plan, charge).await?);
    }
    Ok(Json(many("charges", &page.with(documents), Value::clone)))
}

async fn create(State(here): Here, caller: Caller, Path(code): Named, StrictJson(body): Body) -> Answer {
    let tenant = caller.0.tenant();
    let plan = plan_of(&here, &caller, &code).await?;
    let mut all = plan.body.charges.clone();
    let charge = charges::wanted(&here, tenant, Fields::of(body, ROOT)?, None, &all).await?;
    let code = charge.code.clone();
    all.push(charge);
    let plan = put(&here, &caller.0.identity, &plan, all).await?;
    answer(&here, tenant, &plan, &code).await
}

async fn get(State(here): Here, caller: Caller, Path((code, charge)): Path<(String, String)>) -> Answer {
    let plan = plan_of(&here, &caller, &code).await?;
    answer(&here, caller.0.tenant(), &plan, &charge).await
}

async fn update(State(here): Here, caller: Caller, Path((code, charge)): Path<(String, String)>, StrictJson(body): Body) -> Answer {
    let tenant = caller.0.tenant();
    let plan = plan_of(&here, &caller, &code).await?;
    let before = charges::find(plan.id, &plan.body.charges, &charge)?;
    let next = charges::wanted(&here, tenant, Fields::of(body, ROOT)?, Some(before), &plan.body.charges).await?;
    let code = next.code.clone();
    let plan = put(&here, &caller.0.identity, &plan, replaced(&plan.body.charges, before, Some(next))).await?;
    answer(&here, tenant, &plan, &code).await
}

async fn delete(State(here): Here, caller: Caller, Path((code, charge)): Path<(String, String)>) -> Answer {
    let plan = plan_of(&here, &caller, &code).await?;
    let gone = charges::find(plan.id, &plan.body.charges, &charge)?;
    let shown = answer(&here, caller.0.tenant(), &plan, &charge).await?;
    put(&here, &caller.0.identity, &plan, replaced(&plan.body.charges, gone, None)).await?;
    Ok(shown)
}

fn replaced(all: &[Charge], old: &Charge, new: Option<Charge>) -> Vec<Charge> {
    let place = |charge: &Charge| if charge.code == old.code { new.clone() } else { Some(charge.clone()) };
    all.iter().filter_map(place).collect()
}

type Filter = Path<(String, String, String)>;

fn find_filter<'a>(plan: &Defined<Plan>, charge: &'a Charge, id: &str) -> Result<(usize, &'a ChargeFilter), MeteringError> {
    let found = charge.filters.iter().enumerate().find(|(_, filter)| charges::filter_id(plan.id, &charge.code, filter) == id);
    found.ok_or_else(|| MeteringError::UnknownDefinition { kind: "charge_filter", code: id.to_owned() })
}

async fn list_filters(State(here): Here, caller: Caller, Path((code, charge)): Path<(String, String)>, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    asked.done()?;
    let plan = plan_of(&here, &caller, &code).await?;
    let charge = charges::find(plan.id, &plan.body.charges, &charge)?;
    let page = page_of(charge.filters.iter().collect(), page);
    Ok(Json(many("filters", &page, |filter| charges::shown_filter(&plan, charge, filter))))
}

async fn get_filter(State(here): Here, caller: Caller, Path((code, charge, id)): Filter) -> Answer {
    let plan = plan_of(&here, &caller, &code).await?;
    let charge = charges::find(plan.id, &plan.body.charges, &charge)?;
    let (_, filter) = find_filter(&plan, charge, &id)?;
    Ok(Json(one(FILTER, charges::shown_filter(&plan, charge, filter))))
}

/// The charge with its filters changed: as JSON, because the price of a filter is read by the charge's model.
async fn put_filters(
    here: &Lago,
    caller: &Caller,
    plan: &Defined<Plan>,
    charge: &Charge,
    change: impl FnOnce(&mut Vec<Value>),
) -> Result<Defined<Plan>, No> {
    let mut carried: Map<String, Value> = written(charge)?;
    if let Some(Value::Array(filters)) = carried.get_mut("filters") {
        change(filters);
    }
    let next: Charge = super::body::read(carried)?;
    Ok(put(here, &caller.0.identity, plan, replaced(&plan.body.charges, charge, Some(next))).await?)
}

async fn create_filter(State(here): Here, caller: Caller, Path((code, charge)): Path<(String, String)>, StrictJson(body): Body) -> Answer {
    let plan = plan_of(&here, &caller, &code).await?;
    let charge = charges::find(plan.id, &plan.body.charges, &charge)?;
    let filter = charges::wanted_filter(Fields::of(body, FILTER)?, None)?;
    let plan = put_filters(&here, &caller, &plan, charge, |filters| filters.push(filter)).await?;
    let charge = charges::find(plan.id, &plan.body.charges, &charge.code)?;
    Ok(Json(one(FILTER, charge.filters.last().map(|filter| charges::shown_filter(&plan, charge, filter)).unwrap_or_default())))
}

async fn update_filter(State(here): Here, caller: Caller, Path((code, charge, id)): Filter, StrictJson(body): Body) -> Answer {
    let plan = plan_of(&here, &caller, &code).await?;
    let charge = charges::find(plan.id, &plan.body.charges, &charge)?;
    let (place, _) = find_filter(&plan, charge, &id)?;
    let before = written(charge)?.get("filters").and_then(|filters| filters.get(place)).and_then(Value::as_object).cloned();
    let next = charges::wanted_filter(Fields::of(body, FILTER)?, before)?;
    let put = |filters: &mut Vec<Value>| filters.iter_mut().skip(place).take(1).for_each(|filter| *filter = next.clone());
    let plan = put_filters(&here, &caller, &plan, charge, put).await?;
    let charge = charges::find(plan.id, &plan.body.charges, &charge.code)?;
    Ok(Json(one(FILTER, charge.filters.get(place).map(|filter| charges::shown_filter(&plan, charge, filter)).unwrap_or_default())))
}

async fn delete_filter(State(here): Here, caller: Caller, Path((code, charge, id)): Filter) -> Answer {
    let plan = plan_of(&here, &caller, &code).await?;
    let charge = charges::find(plan.id, &plan.body.charges, &charge)?;
    let (place, filter) = find_filter(&plan, charge, &id)?;
    let shown = charges::shown_filter(&plan, charge, filter);
    let drop_it = |filters: &mut Vec<Value>| drop(filters.drain(place..=place));
    put_filters(&here, &caller, &plan, charge, drop_it).await?;
    Ok(Json(one(FILTER, shown)))
}
