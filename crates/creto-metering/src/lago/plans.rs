//! `plans`, with their charges and filters.

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::{NhiId, TenantId};
use serde_json::{Map, Value, json};

use super::body::{Fields, Form, read, written};
use super::query::Parameters;
use super::refusal::{INVALID, No};
use super::shape::{derived_id, lago_id, many, one, or_null};
use super::{Answer, Asked, Body, Here, Lago, Named, changes, charges, deletes, lists, makes, reads, taxes};
use crate::catalog::Terms;
use crate::error::MeteringError;
use crate::model::entry::Defined;
use crate::model::page::{PER_PAGE_MAX, Page};
use crate::model::plan::Plan;
use crate::model::subscription::SubscriptionStatus;
use crate::store::subscriptions::SubscriptionFilter;

const ROOT: &str = "plan";

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/plans", "/lago/api/v1/plans/{code}");
    vec![
        lists(lago, all, Access::Authenticated, "Lago: plans, newest first", list),
        makes(lago, all, Access::Operator, "Lago: make a plan", create),
        reads(lago, each, Access::Authenticated, "Lago: a plan", get),
        changes(lago, each, Access::Operator, "Lago: put the next version of a plan in force", update),
        deletes(lago, each, Access::Operator, "Lago: delete a plan that nothing uses", delete),
    ]
}

/// As Lago's clients model it.
pub(super) async fn shown(lago: &Lago, tenant: &TenantId, plan: &Defined<Plan>) -> Result<Value, MeteringError> {
    let (body, id) = (&plan.body, plan.id.to_string());
    let mut shown_charges = Vec::with_capacity(body.charges.len());
    for charge in &body.charges {
        shown_charges.push(charges::shown(lago, tenant, plan, charge).await?);
    }
    let commitment = match &body.minimum_commitment {
        None => None,
        Some(commitment) => Some(json!({
            "lago_id": derived_id(&["minimum_commitment", &id]),
            "plan_code": body.code,
            "amount_cents": commitment.amount_cents,
            "invoice_display_name": commitment.invoice_display_name,
            "interval": body.interval,
            "taxes": taxes::of_codes(lago, tenant, &commitment.tax_codes).await?,
            "created_at": plan.created_at,
            "updated_at": plan.updated_at,
        })),
    };
    let threshold = |threshold: &crate::model::plan::UsageThreshold| {
        let recurring = if threshold.recurring { "recurring" } else { "once" };
        json!({
            "lago_id": derived_id(&["usage_threshold", &id, recurring, &threshold.amount_cents.to_string()]),
            "threshold_display_name": threshold.threshold_display_name,
            "amount_cents": threshold.amount_cents,
            "recurring": threshold.recurring,
            "created_at": plan.created_at,
            "updated_at": plan.updated_at,
        })
    };
    Ok(json!({
        "lago_id": lago_id(&plan.id),
        "name": body.name,
        "invoice_display_name": body.invoice_display_name,
        "code": body.code,
        "interval": body.interval,
        "description": or_null(&body.description),
        "amount_cents": body.amount_cents,
        "amount_currency": body.amount_currency,
        "trial_period": body.trial_period,
        "pay_in_advance": body.pay_in_advance,
        "bill_charges_monthly": body.bill_charges_monthly,
        "bill_fixed_charges_monthly": false,
        "minimum_commitment": commitment,
        "charges": shown_charges,
        "fixed_charges": [],
        "usage_thresholds": body.usage_thresholds.iter().map(threshold).collect::<Vec<_>>(),
        "taxes": taxes::of_codes(lago, tenant, &body.tax_codes).await?,
        "created_at": plan.created_at,
        "creto": { "id": plan.id, "version": plan.version },
    }))
}

/// What a body asks for, and whether those who subscribed are to move along.
async fn wanted(lago: &Lago, tenant: &TenantId, body: Value, before: Option<&Defined<Plan>>) -> Result<(Plan, bool), No> {
    let mut fields = Fields::of(body, ROOT)?;
    let mut carried = before.map(|before| written(&before.body)).transpose()?.unwrap_or_default();
    fields.carry_all(&["code", "name", "invoice_display_name", "description", "interval", "amount_currency"], Form::Text, &mut carried);
    fields.carry_all(&["amount_cents", "trial_period"], Form::Whole, &mut carried);
    fields.carry_all(&["pay_in_advance", "bill_charges_monthly"], Form::Flag, &mut carried);
    fields.carry("tax_codes", Form::Texts, &mut carried);
    carry_terms(&mut fields, &mut carried)?;
    if let Some(sent) = fields.value("charges", Form::Any) {
        let charges = charges::wanted_all(lago, tenant, sent, before).await?;
        carried.insert("charges".to_owned(), json!(charges));
    }
    let cascade = fields.value("cascade_updates", Form::Flag) == Some(Value::Bool(true));
    for elsewhere in ["fixed_charges", "bill_fixed_charges_monthly", "metadata"] {
        fields.unsupported(elsewhere, &[]);
    }
    fields.done()?;
    Ok((read(carried)?, cascade))
}

/// The commitment and the thresholds of a plan, or of what differs from one.
pub(super) fn carry_terms(fields: &mut Fields, carried: &mut Map<String, Value>) -> Result<(), No> {
    if let Some(sent) = fields.value("minimum_commitment", Form::Any) {
        let nothing = sent.as_object().is_some_and(Map::is_empty);
        let (mut inner, mut commitment) = (Fields::within(sent, "minimum_commitment")?, Map::new());
        inner.carry("amount_cents", Form::Whole, &mut commitment);
        inner.carry("invoice_display_name", Form::Text, &mut commitment);
        inner.carry("tax_codes", Form::Texts, &mut commitment);
        inner.done()?;
        // An empty one takes the plan's away, as in Lago.
        let commitment = if nothing { Value::Null } else { commitment.into() };
        carried.insert("minimum_commitment".to_owned(), commitment);
    }
    if let Some(sent) = fields.value("usage_thresholds", Form::Any) {
        let Value::Array(items) = sent else {
            fields.fault("usage_thresholds", INVALID, "`usage_thresholds` is no list");
            return Ok(());
        };
        carried.insert("usage_thresholds".to_owned(), thresholds(items)?);
    }
    Ok(())
}

fn thresholds(items: Vec<Value>) -> Result<Value, No> {
    let each = |(index, item)| {
        let (mut inner, mut threshold) = (Fields::within(item, &format!("usage_thresholds[{index}]"))?, Map::new());
        inner.text("id");
        inner.carry("amount_cents", Form::Whole, &mut threshold);
        inner.carry("threshold_display_name", Form::Text, &mut threshold);
        inner.carry("recurring", Form::Flag, &mut threshold);
        inner.done()?;
        Ok(Value::Object(threshold))
    };
    let mut thresholds = items.into_iter().enumerate().map(each).collect::<Result<Vec<_>, No>>()?;
    // Ours ascend; Lago's clients send them in any order.
    thresholds.sort_by_key(|threshold| threshold.get("amount_cents").and_then(Value::as_i64));
    Ok(thresholds.into())
}

/// Moves those who subscribed to the plan's next version: each in a commit of its own, so that a call that was cut is continued by the same
/// call again.
async fn move_along(lago: &Lago, by: &NhiId, plan: &Defined<Plan>) -> Result<(), MeteringError> {
    for status in [SubscriptionStatus::Active, SubscriptionStatus::Pending] {
        let filter = SubscriptionFilter { plan: Some(plan.id), status: Some(status), ..SubscriptionFilter::default() };
        let mut number = 1;
        loop {
            let page = lago.catalog.subscriptions(by.tenant(), &filter, Page::new(number, PER_PAGE_MAX)).await?;
            for subscription in page.items.iter().filter(|subscription| subscription.plan_version != plan.version) {
                let terms = Terms { plan_version: Some(plan.version), ..Terms::default() };
                lago.catalog.amend(by, &subscription.external_id, terms).await?;
            }
            if u64::from(number) >= page.pages() {
                break;
            }
            number = number.saturating_add(1);
        }
    }
    Ok(())
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    asked.done()?;
    let tenant = caller.0.tenant();
    let found = here.catalog.list::<Plan>(tenant, page).await?;
    let mut documents = Vec::with_capacity(found.items.len());
    for plan in &found.items {
        documents.push(shown(&here, tenant, plan).await?);
    }
    Ok(Json(many("plans", &found.with(documents), Value::clone)))
}

async fn create(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let tenant = caller.0.tenant();
    let (plan, _) = wanted(&here, tenant, body, None).await?;
    let plan = here.catalog.create(&caller.0.identity, plan).await?;
    Ok(Json(one(ROOT, shown(&here, tenant, &plan).await?)))
}

async fn get(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    let tenant = caller.0.tenant();
    Ok(Json(one(ROOT, shown(&here, tenant, &here.catalog.get(tenant, &code).await?).await?)))
}

/// What is not sent stays as it is. Those who subscribed keep their version, unless `cascade_updates` says that they move along.
async fn update(State(here): Here, caller: Caller, Path(code): Named, StrictJson(body): Body) -> Answer {
    let (by, tenant) = (&caller.0.identity, caller.0.tenant());
    let before = here.catalog.get::<Plan>(tenant, &code).await?;
    let (next, cascade) = wanted(&here, tenant, body, Some(&before)).await?;
    let plan = here.catalog.update(by, &code, Some(before.version), next).await?;
    if cascade {
        move_along(&here, by, &plan).await?;
    }
    Ok(Json(one(ROOT, shown(&here, tenant, &plan).await?)))
}

async fn delete(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    let tenant = caller.0.tenant();
    let before = here.catalog.get::<Plan>(tenant, &code).await?;
    let document = shown(&here, tenant, &before).await?;
    here.catalog.delete::<Plan>(&caller.0.identity, &code).await?;
    Ok(Json(one(ROOT, document)))
}
