//! `subscriptions`: one for each external identifier that runs, and one that may wait behind it.

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::{TenantId, Timestamp};
use serde_json::{Map, Value, json};

use super::body::{Fields, Form, read, written};
use super::query::Parameters;
use super::refusal::{INVALID, MANDATORY, No};
use super::shape::{lago_id, many, one, or_null};
use super::{Answer, Asked, Body, Here, Lago, Named, changes, charges, deletes, lists, makes, plans, reads, subscription_charges};
use crate::catalog::{SubscriptionView, Terms};
use crate::error::MeteringError;
use crate::model::customer::Customer;
use crate::model::entry::Defined;
use crate::model::page::Page;
use crate::model::plan::Plan;
use crate::model::subscription::{Subscription, SubscriptionInput, SubscriptionStatus};
use crate::store::subscriptions::SubscriptionFilter;

const ROOT: &str = "subscription";
/// Microseconds of a day.
const DAY_MICROS: i64 = 86_400_000_000;

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/subscriptions", "/lago/api/v1/subscriptions/{external_id}");
    let ours = Access::Operator;
    vec![
        lists(lago, all, ours, "Lago: subscriptions, newest first", list),
        makes(lago, all, ours, "Lago: begin a subscription, or change the plan of one that runs", create),
        reads(lago, each, ours, "Lago: the subscription of an external identifier", get),
        changes(lago, each, ours, "Lago: change the terms of a subscription", update),
        deletes(lago, each, ours, "Lago: end a subscription", terminate),
        lists(lago, "/lago/api/v1/customers/{external_id}/subscriptions", ours, "Lago: subscriptions of a customer", of_customer),
    ]
}

/// As Lago's clients model it, without its plan.
pub(super) async fn shown(lago: &Lago, tenant: &TenantId, it: &Subscription) -> Result<Value, MeteringError> {
    let view = lago.catalog.view(tenant, it.clone()).await?;
    let now = lago.billing.now(tenant).await?;
    let runs = it.status == SubscriptionStatus::Active;
    let period = runs.then(|| view.period(now));
    let waiting = match runs {
        true => lago.catalog.subscription_in(tenant, &it.external_id, SubscriptionStatus::Pending).await?,
        false => None,
    };
    Ok(json!({
        "lago_id": lago_id(&it.id),
        "external_id": it.external_id,
        "lago_customer_id": lago_id(&it.customer),
        "external_customer_id": it.external_customer_id,
        "name": or_null(&it.name),
        "plan_code": it.plan_code,
        "plan_amount_cents": view.plan.amount_cents,
        "plan_amount_currency": view.plan.amount_currency,
        "status": it.status,
        "billing_time": it.billing_time,
        "subscription_at": it.subscription_at,
        "started_at": it.started_at,
        "activated_at": it.started_at,
        "ending_at": it.ending_at,
        "terminated_at": it.terminated_at,
        "canceled_at": it.canceled_at,
        "trial_ended_at": trial_end(&view).filter(|end| *end <= now),
        "previous_plan_code": it.previous_plan_code,
        "next_plan_code": waiting.as_ref().map(|next| &next.plan_code),
        "downgrade_plan_date": waiting.as_ref().filter(|next| next.is_downgrade).map(|next| view.zone.day(next.begins_at).to_string()),
        "current_billing_period_started_at": period.map(|period| period.from(&view.zone)),
        "current_billing_period_ending_at": period.map(|period| period.last_second(&view.zone)),
        "on_termination_credit_note": "skip",
        "on_termination_invoice": "generate",
        "created_at": it.created_at,
        "creto": { "id": it.id, "plan": it.plan, "plan_version": it.plan_version, "revision": it.revision },
    }))
}

fn trial_end(view: &SubscriptionView) -> Option<Timestamp> {
    let started = view.subscription.started_at.filter(|_| view.plan.trial_period > 0)?;
    Timestamp::from_micros(started.as_micros().saturating_add(i64::from(view.plan.trial_period).saturating_mul(DAY_MICROS)))
}

/// With its plan in the version it keeps, as Lago shows one that is asked for alone.
async fn extended(lago: &Lago, tenant: &TenantId, it: &Subscription) -> Result<Value, MeteringError> {
    let mut document = shown(lago, tenant, it).await?;
    let plan = subscription_charges::own_plan(lago, tenant, it).await?;
    let plan = plans::shown(lago, tenant, &plan).await?;
    if let Some(members) = document.as_object_mut() {
        members.insert("plan".to_owned(), plan);
    }
    Ok(document)
}

/// What differs from a plan, by the names that Lago's clients use.
fn overrides(plan: &Defined<Plan>, sent: Value) -> Result<Map<String, Value>, No> {
    let (mut fields, mut carried) = (Fields::within(sent, "plan_overrides")?, Map::new());
    fields.carry_all(&["name", "invoice_display_name", "description"], Form::Text, &mut carried);
    fields.carry_all(&["amount_cents", "trial_period"], Form::Whole, &mut carried);
    fields.carry("tax_codes", Form::Texts, &mut carried);
    plans::carry_terms(&mut fields, &mut carried)?;
    fields.unsupported("amount_currency", &[json!(plan.body.amount_currency)]);
    if let Some(Value::Array(items)) = fields.value("charges", Form::Any) {
        let each = |(index, item)| {
            let fields = Fields::within(item, &format!("plan_overrides.charges[{index}]"))?;
            charge_override(plan, fields, None).map(Value::Object)
        };
        carried.insert("charges".to_owned(), items.into_iter().enumerate().map(each).collect::<Result<Vec<_>, No>>()?.into());
    }
    for elsewhere in ["fixed_charges", "metadata"] {
        fields.unsupported(elsewhere, &[]);
    }
    fields.done()?;
    Ok(carried)
}

/// What differs in one charge of a plan: the one of this code, or the one that the fields name.
pub(super) fn charge_override(plan: &Defined<Plan>, mut fields: Fields, code: Option<&str>) -> Result<Map<String, Value>, No> {
    let mut carried = Map::new();
    let (by_id, by_code) = (fields.text("id"), fields.text("code"));
    match code.map(str::to_owned).or(by_id).or(by_code) {
        Some(named) => {
            let charge = charges::find(plan.id, &plan.body.charges, &named)?;
            carried.insert("code".to_owned(), charge.code.clone().into());
            fields.unsupported("charge_model", &[json!(charge.pricing.model.name())]);
        }
        None => fields.fault("id", MANDATORY, "the charge is named by `id` or by `code`"),
    }
    // The charge says of which metric it is.
    fields.text("billable_metric_id");
    fields.carry("invoice_display_name", Form::Text, &mut carried);
    fields.carry("min_amount_cents", Form::Whole, &mut carried);
    fields.carry("tax_codes", Form::Texts, &mut carried);
    charges::carry_properties(&mut fields, &mut carried);
    if let Some(sent) = fields.value("filters", Form::Any) {
        carried.insert("filters".to_owned(), charges::filters(sent)?);
    }
    fields.unsupported("applied_pricing_unit", &[]);
    fields.done()?;
    Ok(carried)
}

fn carry_differences(fields: &mut Fields, mut differences: Map<String, Value>, carried: &mut Map<String, Value>) -> Result<(), No> {
    let mut own = Map::new();
    plans::carry_terms(fields, &mut own)?;
    differences.extend(own);
    if !differences.is_empty() {
        carried.insert("overrides".to_owned(), differences.into());
    }
    for elsewhere in [
        "payment_method",
        "invoice_custom_section",
        "consolidate_invoice",
        "billing_entity_code",
        "purchase_order_number",
        "progressive_billing_disabled",
        "activation_rules",
    ] {
        // Subscriptions of one customer whose periods end together are on one invoice.
        fields.unsupported(elsewhere, if elsewhere == "consolidate_invoice" { &[Value::Bool(true)] } else { &[] });
    }
    Ok(())
}

async fn create(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let (by, tenant) = (&caller.0.identity, caller.0.tenant());
    let (mut fields, mut carried) = (Fields::of(body, ROOT)?, Map::new());
    let (external_id, customer) = (fields.needed("external_id"), fields.needed("external_customer_id"));
    let plan_code = fields.needed("plan_code");
    fields.carry_all(&["name", "billing_time"], Form::Text, &mut carried);
    fields.carry_all(&["subscription_at", "ending_at"], Form::Moment, &mut carried);
    let sent = fields.value("plan_overrides", Form::Any);
    let differences = match sent {
        Some(sent) => overrides(&here.catalog.get::<Plan>(tenant, &plan_code).await?, sent)?,
        None => Map::new(),
    };
    carry_differences(&mut fields, differences, &mut carried)?;
    fields.done()?;
    let alone = carried.is_empty();
    if !carried.contains_key("subscription_at") {
        // Lago's clients count in seconds: what they report of the second in which it begins is in it.
        let now = here.billing.now(tenant).await?;
        carried.insert("subscription_at".to_owned(), json!(Timestamp::from_secs(now.as_secs()).unwrap_or(now)));
    }
    for (name, value) in [("external_id", &external_id), ("external_customer_id", &customer), ("plan_code", &plan_code)] {
        carried.insert(name.to_owned(), value.clone().into());
    }
    let input: SubscriptionInput = read(carried)?;
    let made = match here.catalog.subscribe(by, input).await {
        Ok(made) => made,
        // Asked for once more with nothing else said, it is the one that runs, as in Lago.
        Err(MeteringError::AlreadyExists { .. }) if alone => {
            let running = here.catalog.current(tenant, &external_id).await?;
            let same = running.external_customer_id == customer && running.plan_code == plan_code;
            if !same {
                return Err(MeteringError::AlreadyExists { kind: ROOT, code: external_id }.into());
            }
            running
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Json(one(ROOT, extended(&here, tenant, &made).await?)))
}

/// In which state a subscription is asked for; Lago means the one that runs, where nothing is said.
fn status_of(text: Option<String>) -> Result<SubscriptionStatus, No> {
    let Some(text) = text else { return Ok(SubscriptionStatus::Active) };
    text.parse().map_err(|_| Fields::no("status", INVALID, "`status` is none of active, pending, terminated, canceled"))
}

async fn in_state(here: &Lago, tenant: &TenantId, external_id: &str, status: SubscriptionStatus) -> Result<Subscription, MeteringError> {
    let found = here.catalog.subscription_in(tenant, external_id, status).await?;
    found.ok_or_else(|| MeteringError::UnknownDefinition { kind: ROOT, code: external_id.to_owned() })
}

async fn get(State(here): Here, caller: Caller, Path(external_id): Named, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let status = status_of(asked.text("status"))?;
    asked.done()?;
    let tenant = caller.0.tenant();
    let found = in_state(&here, tenant, &external_id, status).await?;
    Ok(Json(one(ROOT, extended(&here, tenant, &found).await?)))
}

async fn update(State(here): Here, caller: Caller, Path(external_id): Named, Query(asked): Asked, StrictJson(mut body): Body) -> Answer {
    let (by, tenant) = (&caller.0.identity, caller.0.tenant());
    let mut asked = Parameters::of(asked);
    let beside = body.as_object_mut().and_then(|body| body.remove("status")).and_then(|status| status.as_str().map(str::to_owned));
    let status = status_of(asked.text("status").or(asked.text("subscription_status")).or(beside))?;
    asked.done()?;
    let before = in_state(&here, tenant, &external_id, status).await?;
    refuse_behind(&here, tenant, &before).await?;
    let (mut fields, mut carried) = (Fields::of(body, ROOT)?, Map::new());
    if before.ending_at.is_some() && fields.is_null("ending_at") {
        fields.fault("ending_at", super::refusal::UNSUPPORTED, "an end that is set is moved, not taken away");
    }
    fields.carry("name", Form::Text, &mut carried);
    fields.carry_all(&["subscription_at", "ending_at"], Form::Moment, &mut carried);
    let differences = match fields.value("plan_overrides", Form::Any) {
        Some(sent) => {
            let plan = here.catalog.version::<Plan>(tenant, before.plan, before.plan_version).await?;
            let mut all = before.overrides.as_ref().map(written).transpose()?.unwrap_or_default();
            all.extend(overrides(&plan, sent)?);
            all
        }
        None => Map::new(),
    };
    // What names a subscription and its plan may stand beside what changes, where it says what is.
    for (name, is) in
        [("external_id", &before.external_id), ("external_customer_id", &before.external_customer_id), ("plan_code", &before.plan_code)]
    {
        fields.unsupported(name, &[json!(is)]);
    }
    carry_differences(&mut fields, differences, &mut carried)?;
    fields.done()?;
    let terms: Terms = read(carried)?;
    let after = here.catalog.amend(by, &external_id, terms).await?;
    Ok(Json(one(ROOT, extended(&here, tenant, &after).await?)))
}

/// What waits behind one that runs is replaced or taken back with it: it has no changes of its own.
async fn refuse_behind(here: &Lago, tenant: &TenantId, it: &Subscription) -> Result<(), MeteringError> {
    let waits = it.status == SubscriptionStatus::Pending;
    if waits && here.catalog.subscription_in(tenant, &it.external_id, SubscriptionStatus::Active).await?.is_some() {
        return Err(MeteringError::WrongState(format!("the subscription `{}` waits behind one that runs", it.external_id)));
    }
    Ok(())
}

async fn terminate(State(here): Here, caller: Caller, Path(external_id): Named, Query(asked): Asked) -> Answer {
    let tenant = caller.0.tenant();
    let mut asked = Parameters::of(asked);
    let status = status_of(asked.text("status"))?;
    for (name, done) in [("on_termination_invoice", "generate"), ("on_termination_credit_note", "skip")] {
        if asked.text(name).is_some_and(|wish| wish != done) {
            asked.fault(name, &format!("the end of a subscription does `{done}`"));
        }
    }
    asked.done()?;
    let before = in_state(&here, tenant, &external_id, status).await?;
    refuse_behind(&here, tenant, &before).await?;
    let ended = here.catalog.terminate(&caller.0.identity, &external_id).await?;
    Ok(Json(one(ROOT, extended(&here, tenant, &ended).await?)))
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let customer = asked.text("external_customer_id");
    listed(&here, caller.0.tenant(), customer.as_deref(), asked).await
}

async fn of_customer(State(here): Here, caller: Caller, Path(external_id): Named, Query(asked): Asked) -> Answer {
    listed(&here, caller.0.tenant(), Some(&external_id), Parameters::of(asked)).await
}

/// Those that run, where no state is asked for, as in Lago.
async fn listed(here: &Lago, tenant: &TenantId, customer: Option<&str>, mut asked: Parameters) -> Answer {
    let page: Page = asked.page();
    let (plan, external_id) = (asked.text("plan_code"), asked.text("external_id"));
    let mut statuses = asked.all("status").into_iter().map(|text| status_of(Some(text))).collect::<Result<Vec<_>, No>>()?;
    if statuses.is_empty() {
        statuses.push(SubscriptionStatus::Active);
    }
    asked.done()?;
    let filter = SubscriptionFilter {
        customer: here.catalog.id_of::<Customer>(tenant, customer).await?,
        plan: here.catalog.id_of::<Plan>(tenant, plan.as_deref()).await?,
        external_id,
        ..SubscriptionFilter::default()
    };
    let found = here.catalog.subscriptions_in(tenant, &filter, &statuses, page).await?;
    let mut documents = Vec::with_capacity(found.items.len());
    for subscription in &found.items {
        documents.push(shown(here, tenant, subscription).await?);
    }
    Ok(Json(many("subscriptions", &found.with(documents), Value::clone)))
}
