//! `invoices/preview`: the next invoice, before there is one.

use axum::Json;
use axum::extract::State;
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::TenantId;
use serde_json::{Map, Value, json};

use super::body::{Fields, Form, read, written};
use super::names::Names;
use super::refusal::{Faults, INVALID, MANDATORY, No};
use super::shape::one;
use super::{Answer, Body, Here, Lago, coupons, customers, invoices, makes};
use crate::billing::InvoicePreviewInput;
use crate::error::MeteringError;
use crate::model::customer::Customer;
use crate::model::tax::Coupon;

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let path = "/lago/api/v1/invoices/preview";
    vec![makes(lago, path, Access::Operator, "Lago: the next invoice, or the first one of somebody new; nothing is recorded", preview)]
}

async fn preview(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let tenant = caller.0.tenant();
    let input = wanted(&here, tenant, body).await?;
    let preview = here.billing.preview(tenant, &input).await?;
    let names = Names::previewed(&here, tenant, &preview);
    Ok(Json(one(invoices::ROOT, invoices::shown_whole(names, &preview.document).await?)))
}

async fn wanted(here: &Lago, tenant: &TenantId, body: Value) -> Result<InvoicePreviewInput, No> {
    let (mut fields, mut carried) = (Fields::within(body, "preview")?.alone(), Map::new());
    fields.carry_all(&["plan_code", "billing_time"], Form::Text, &mut carried);
    fields.carry("subscription_at", Form::Moment, &mut carried);
    let (payer, held, off) =
        (fields.value("customer", Form::Any), fields.value("subscriptions", Form::Any), fields.value("coupons", Form::Any));
    if payer.is_none() {
        fields.fault("customer", MANDATORY, "`customer` is needed");
    }
    fields.unsupported("billing_entity_code", &[]);
    fields.done()?;
    if let Some(sent) = held {
        changes(sent, &mut carried)?;
    }
    let mut input: InvoicePreviewInput = read(carried)?;
    (input.external_customer_id, input.customer) = customer(here, tenant, payer.unwrap_or_default()).await?;
    input.coupons = redeemed(here, tenant, off).await?;
    Ok(input)
}

/// Subscriptions that run, and what would change before they are billed.
fn changes(sent: Value, carried: &mut Map<String, Value>) -> Result<(), No> {
    let mut fields = Fields::within(sent, "subscriptions")?;
    fields.carry_as("external_ids", "subscriptions", Form::Texts, carried);
    if carried.get("subscriptions").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        fields.fault("external_ids", MANDATORY, "`subscriptions.external_ids` are needed");
    }
    fields.carry_as("plan_code", "next_plan_code", Form::Text, carried);
    fields.carry("terminated_at", Form::Moment, carried);
    fields.done()
}

/// Lago's clients send every field they know; those without a value say nothing.
fn said(sent: Value, at: &str) -> Result<Map<String, Value>, No> {
    match sent {
        Value::Object(members) => Ok(members.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        _ => Err(Faults::of(at, INVALID, format!("`{at}` is no object")).into()),
    }
}

/// Somebody who is there, with what is said otherwise, or somebody who is not.
async fn customer(here: &Lago, tenant: &TenantId, sent: Value) -> Result<(Option<String>, Option<Customer>), No> {
    let mut sent = said(sent, customers::ROOT)?;
    let named = sent.get("external_id").and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned);
    let before = match &named {
        Some(external_id) => written(&here.catalog.get::<Customer>(tenant, external_id).await?.body)?,
        None => {
            sent.insert("external_id".to_owned(), json!(""));
            Map::new()
        }
    };
    let fields = Fields::within(Value::Object(sent), customers::ROOT)?;
    Ok((named, Some(customers::wanted_of(fields, before)?)))
}

/// Coupons by their code, under other terms where any are said, or as they are said.
async fn redeemed(here: &Lago, tenant: &TenantId, sent: Option<Value>) -> Result<Vec<Coupon>, No> {
    let items = match sent {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(Faults::of("coupons", INVALID, "`coupons` is no list").into()),
    };
    let mut all = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let at = format!("coupons[{index}]");
        let sent = said(item, &at)?;
        let code = sent.get("code").and_then(Value::as_str).unwrap_or_default();
        let before = match here.catalog.get::<Coupon>(tenant, code).await {
            Ok(found) => written(&found.body)?,
            // One that is not there applies to this invoice.
            Err(MeteringError::UnknownDefinition { .. }) => {
                let frequency = if sent.contains_key("frequency_duration") { "recurring" } else { "once" };
                Map::from_iter([("frequency".to_owned(), json!(frequency))])
            }
            Err(error) => return Err(error.into()),
        };
        all.push(coupons::wanted_of(Fields::within(Value::Object(sent), &at)?, before)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_carried_over_and_what_is_missing_is_named() {
        let mut carried = Map::new();
        changes(json!({ "external_ids": ["a"], "plan_code": null, "terminated_at": "2030-01-01" }), &mut carried).unwrap();
        assert_eq!(Value::Object(carried), json!({ "subscriptions": ["a"], "terminated_at": "2030-01-01T00:00:00.000000Z" }));
        for (sent, field) in [(json!({ "external_ids": [] }), "external_ids"), (json!({ "plan_code": "pro" }), "external_ids")] {
            let no = Value::from(changes(sent, &mut Map::new()).unwrap_err());
            assert_eq!(no["error_details"], json!({ format!("subscriptions.{field}"): [MANDATORY] }));
        }
    }
}
