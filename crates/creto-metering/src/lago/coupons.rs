//! `coupons`, and `applied_coupons` of customers.

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use serde_json::{Map, Value, json};

use super::body::{Fields, Form, read, read_within, written};
use super::query::Parameters;
use super::refusal::{INVALID, MANDATORY, No};
use super::shape::{lago_id, many, one, or_null, own_id};
use super::{Answer, Asked, Body, Here, Lago, Named, changes, deletes, lists, makes, reads};
use crate::billing::CouponRedemption;
use crate::error::MeteringError;
use crate::model::customer::Customer;
use crate::model::entry::Defined;
use crate::model::invoice::{AppliedCoupon, AppliedCouponId};
use crate::model::tax::{Coupon, Discount};

const ROOT: &str = "coupon";
const APPLIED: &str = "applied_coupon";

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/coupons", "/lago/api/v1/coupons/{code}");
    let (redeemed, own) = ("/lago/api/v1/applied_coupons", "/lago/api/v1/customers/{external_id}/applied_coupons");
    let operator = Access::Operator;
    vec![
        lists(lago, all, operator, "Lago: coupons, newest first", list),
        makes(lago, all, operator, "Lago: make a coupon", create),
        reads(lago, each, operator, "Lago: a coupon", get),
        changes(lago, each, operator, "Lago: change a coupon", update),
        deletes(lago, each, operator, "Lago: delete a coupon; what was redeemed of it stays", delete),
        lists(lago, redeemed, operator, "Lago: redeemed coupons, newest first", list_applied),
        makes(lago, redeemed, operator, "Lago: a customer redeems a coupon", apply),
        lists(lago, own, operator, "Lago: a customer's redeemed coupons", list_own),
        deletes(
            lago,
            "/lago/api/v1/customers/{external_id}/applied_coupons/{coupon}",
            operator,
            "Lago: end a customer's redeemed coupon",
            end,
        ),
    ]
}

/// The amount, the currency and the percentage of which a coupon has one.
fn discount(coupon: &Coupon) -> (Option<i64>, Option<&str>, Option<String>) {
    match &coupon.discount {
        Discount::Fixed { amount_cents, currency } => (Some(*amount_cents), Some(currency.as_str()), None),
        Discount::Percentage { rate } => (None, None, Some(rate.to_string())),
    }
}

/// As Lago's clients model it.
fn shown(coupon: &Defined<Coupon>) -> Value {
    let body = &coupon.body;
    let (amount, currency, rate) = discount(body);
    let (plans, metrics) = (&body.applies_to.plan_codes, &body.applies_to.billable_metric_codes);
    json!({
        "lago_id": lago_id(&coupon.id),
        "name": body.name,
        "code": body.code,
        "description": or_null(&body.description),
        "coupon_type": if rate.is_some() { "percentage" } else { "fixed_amount" },
        "amount_cents": amount,
        "amount_currency": currency,
        "percentage_rate": rate,
        "frequency": body.frequency,
        "frequency_duration": body.frequency_duration,
        "reusable": body.reusable,
        "expiration": if body.expiration_at.is_some() { "time_limit" } else { "no_expiration" },
        "expiration_at": body.expiration_at,
        "limited_plans": !plans.is_empty(),
        "plan_codes": plans,
        "limited_billable_metrics": !metrics.is_empty(),
        "billable_metric_codes": metrics,
        "created_at": coupon.created_at,
        "terminated_at": null,
        "creto": { "id": coupon.id, "version": coupon.version },
    })
}

/// As Lago's clients model it.
fn shown_applied(it: &AppliedCoupon) -> Value {
    let (amount, currency, rate) = discount(&it.coupon);
    json!({
        "lago_id": lago_id(&it.id),
        "lago_coupon_id": lago_id(&it.coupon_id),
        "coupon_code": it.coupon.code,
        "coupon_name": it.coupon.name,
        "lago_customer_id": lago_id(&it.customer),
        "external_customer_id": it.external_customer_id,
        "status": if it.active { "active" } else { "terminated" },
        "amount_cents": amount,
        "amount_cents_remaining": it.left_cents,
        "amount_currency": currency,
        "percentage_rate": rate,
        "frequency": it.coupon.frequency,
        "frequency_duration": it.coupon.frequency_duration,
        "frequency_duration_remaining": it.coupon.frequency_duration.and(it.left_times),
        "expiration_at": it.coupon.expiration_at,
        "created_at": it.created_at,
        "terminated_at": it.terminated_at,
        "creto": { "id": it.id },
    })
}

fn wanted(body: Value, carried: Map<String, Value>) -> Result<Coupon, No> {
    wanted_of(Fields::of(body, ROOT)?, carried)
}

pub(super) fn wanted_of(mut fields: Fields, mut carried: Map<String, Value>) -> Result<Coupon, No> {
    let place = fields.place();
    forget_the_other(&mut fields, &mut carried);
    fields.carry_all(&["code", "name", "description", "coupon_type", "amount_currency", "frequency"], Form::Text, &mut carried);
    fields.carry_all(&["amount_cents", "frequency_duration"], Form::Whole, &mut carried);
    fields.carry("percentage_rate", Form::Decimal, &mut carried);
    fields.carry("reusable", Form::Flag, &mut carried);
    let kept = fields.text("expiration");
    fields.carry("expiration_at", Form::Text, &mut carried);
    match kept.as_deref() {
        None => {}
        Some("no_expiration") => drop(carried.remove("expiration_at")),
        Some("time_limit") if carried.contains_key("expiration_at") => {}
        Some("time_limit") => fields.fault("expiration_at", MANDATORY, "`expiration_at` is needed by a coupon with a time limit"),
        Some(other) => fields.fault("expiration", INVALID, format!("`{other}` is neither `no_expiration` nor `time_limit`")),
    }
    if let Some(sent) = fields.value("applies_to", Form::Any) {
        let (mut limits, mut into) = (Fields::within(sent, "applies_to")?, Map::new());
        limits.carry_all(&["plan_codes", "billable_metric_codes"], Form::Texts, &mut into);
        limits.done()?;
        carried.insert("applies_to".to_owned(), into.into());
    }
    fields.done()?;
    read_within(&place, carried)
}

/// A coupon that changes its type or its frequency loses what belonged to the one before.
fn forget_the_other(fields: &mut Fields, carried: &mut Map<String, Value>) {
    let other: &[&str] = match fields.peek("coupon_type") {
        Some("percentage") => &["amount_cents", "amount_currency"],
        Some("fixed_amount") => &["percentage_rate"],
        _ => &[],
    };
    other.iter().for_each(|name| drop(carried.remove(*name)));
    if matches!(fields.peek("frequency"), Some("once" | "forever")) {
        carried.remove("frequency_duration");
    }
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    asked.done()?;
    Ok(Json(many("coupons", &here.catalog.list::<Coupon>(caller.0.tenant(), page).await?, shown)))
}

async fn create(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    Ok(Json(one(ROOT, shown(&here.catalog.create(&caller.0.identity, wanted(body, Map::new())?).await?))))
}

async fn get(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    Ok(Json(one(ROOT, shown(&here.catalog.get(caller.0.tenant(), &code).await?))))
}

/// What is not sent stays as it is.
async fn update(State(here): Here, caller: Caller, Path(code): Named, StrictJson(body): Body) -> Answer {
    let before = here.catalog.get::<Coupon>(caller.0.tenant(), &code).await?;
    let next = wanted(body, written(&before.body)?)?;
    Ok(Json(one(ROOT, shown(&here.catalog.update(&caller.0.identity, &code, Some(before.version), next).await?))))
}

async fn delete(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    Ok(Json(one(ROOT, shown(&here.catalog.delete::<Coupon>(&caller.0.identity, &code).await?))))
}

fn redemption(body: Value) -> Result<CouponRedemption, No> {
    let (mut fields, mut carried) = (Fields::of(body, APPLIED)?, Map::new());
    for name in ["external_customer_id", "coupon_code"] {
        carried.insert(name.to_owned(), fields.needed(name).into());
    }
    fields.carry_all(&["amount_currency", "frequency"], Form::Text, &mut carried);
    fields.carry_all(&["amount_cents", "frequency_duration"], Form::Whole, &mut carried);
    fields.carry("percentage_rate", Form::Decimal, &mut carried);
    fields.done()?;
    read(carried)
}

async fn apply(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let applied = here.billing.redeem_as(&caller.0.identity, redemption(body)?).await?;
    Ok(Json(one(APPLIED, shown_applied(&applied))))
}

async fn listed(here: &Lago, caller: &Caller, asked: Vec<(String, String)>, customer: Option<String>) -> Answer {
    let mut asked = Parameters::of(asked);
    let (page, status) = (asked.page(), asked.text("status"));
    let customer = customer.or_else(|| asked.text("external_customer_id"));
    let active = match status.as_deref() {
        None => None,
        Some("active") => Some(true),
        Some("terminated") => Some(false),
        Some(other) => {
            asked.fault("status", &format!("`{other}` is neither `active` nor `terminated`"));
            None
        }
    };
    asked.done()?;
    let tenant = caller.0.tenant();
    let customer = here.catalog.id_of::<Customer>(tenant, customer.as_deref()).await?;
    Ok(Json(many("applied_coupons", &here.billing.applied_coupons(tenant, customer, active, page).await?, shown_applied)))
}

async fn list_applied(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    listed(&here, &caller, asked, None).await
}

async fn list_own(State(here): Here, caller: Caller, Path(external_id): Named, Query(asked): Asked) -> Answer {
    listed(&here, &caller, asked, Some(external_id)).await
}

async fn end(State(here): Here, caller: Caller, Path((external_id, coupon)): Path<(String, String)>) -> Answer {
    let unknown = || MeteringError::UnknownDefinition { kind: "redeemed coupon", code: coupon.chars().take(80).collect() };
    let id = own_id::<AppliedCouponId>(AppliedCouponId::PREFIX, &coupon).ok_or_else(unknown)?;
    if here.billing.applied_coupon(caller.0.tenant(), id).await?.external_customer_id != external_id {
        return Err(unknown().into());
    }
    Ok(Json(one(APPLIED, shown_applied(&here.billing.end_coupon(&caller.0.identity, id).await?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coupon(sent: Value) -> Result<Coupon, Value> {
        wanted(json!({ ROOT: sent }), Map::new()).map_err(|no| Value::from(no)["error_details"].clone())
    }

    #[test]
    fn what_was_sent_is_what_is_shown() {
        for sent in [
            json!({
                "name": "Ten", "code": "TEN", "description": "off", "coupon_type": "fixed_amount", "amount_cents": 1000,
                "amount_currency": "EUR", "frequency": "recurring", "frequency_duration": 3, "reusable": false, "expiration": "time_limit",
                "expiration_at": "2030-01-01T00:00:00.000000Z"
            }),
            json!({
                "name": "Tenth", "code": "TENTH", "coupon_type": "percentage", "percentage_rate": "12.5", "frequency": "once",
                "expiration": "no_expiration"
            }),
        ] {
            let at = creto_kernel::Timestamp::EPOCH;
            let id = crate::model::entry::DefinitionId::generate();
            let body = coupon(sent.clone()).unwrap();
            let shown = shown(&Defined { id, version: 1, created_at: at, updated_at: at, deleted_at: None, body });
            for (field, value) in sent.as_object().unwrap() {
                assert_eq!(&shown[field], value, "{field}");
            }
        }
    }

    #[test]
    fn a_coupon_changes_from_one_type_to_another() {
        let fixed = json!({
            "code": "TEN", "coupon_type": "fixed_amount", "amount_cents": 1000, "amount_currency": "EUR", "frequency": "recurring",
            "frequency_duration": 3, "applies_to": { "plan_codes": ["pro"] }
        });
        let before = written(&coupon(fixed).unwrap()).unwrap();
        let sent = json!({ "coupon_type": "percentage", "percentage_rate": 5, "frequency": "once", "applies_to": {} });
        let after = wanted(json!({ ROOT: sent }), before).unwrap();
        assert_eq!(discount(&after), (None, None, Some("5".to_owned())));
        assert_eq!((after.frequency_duration, after.applies_to.plan_codes.len()), (None, 0));
    }

    #[test]
    fn what_contradicts_itself_is_refused_under_its_field() {
        let base = json!({ "code": "TEN", "coupon_type": "percentage", "percentage_rate": 5, "frequency": "once" });
        let with = |name: &str, value: Value| {
            let mut sent = base.clone();
            sent[name] = value;
            coupon(sent).unwrap_err()
        };
        assert_eq!(with("expiration", json!("time_limit")), json!({ "expiration_at": [MANDATORY] }));
        assert_eq!(with("expiration", json!("soon")), json!({ "expiration": [INVALID] }));
        assert_eq!(with("percentage_rate", json!(101)), json!({ "percentage_rate": [INVALID] }));
        assert_eq!(with("applies_to", json!({ "plans": [] })), json!({ "applies_to.plans": ["field_is_unknown"] }));
    }
}
