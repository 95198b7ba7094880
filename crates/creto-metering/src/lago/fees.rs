//! `fees`: the lines of invoices. A line is paid with its invoice, so that none has a payment of its own.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::TenantId;
use serde_json::{Map, Value, json};

use super::amounts::{decimal, last_second};
use super::names::Names;
use super::query::Parameters;
use super::refusal::No;
use super::shape::{derived_id, lago_id, many, number, one, or_null, own_id};
use super::{Answer, Asked, Body, Here, Lago, Named, changes, deletes, lists, reads, taxes};
use crate::core::exact::Exact;
use crate::core::rounding::FEE;
use crate::error::MeteringError;
use crate::model::billable_metric::BillableMetric;
use crate::model::customer::Customer;
use crate::model::invoice::{Fee, FeeId, FeeKind, Invoice, InvoiceId};
use crate::store::fees::FeeFilter;

const ROOT: &str = "fee";
/// Lago's words for what a line is for, and ours.
const KINDS: [(&str, FeeKind); 5] = [
    ("charge", FeeKind::Charge),
    ("add_on", FeeKind::AddOn),
    ("subscription", FeeKind::Subscription),
    ("credit", FeeKind::Credit),
    ("commitment", FeeKind::Commitment),
];

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/fees", "/lago/api/v1/fees/{fee}");
    let operator = Access::Operator;
    vec![
        lists(lago, all, operator, "Lago: lines of invoices, newest first", list),
        reads(lago, each, operator, "Lago: one line", get),
        changes(lago, each, operator, "Lago: say whether a line was paid; refused, as a line is paid with its invoice", update),
        deletes(lago, each, operator, "Lago: delete a line; refused, as every line is on an invoice", delete),
    ]
}

/// As Lago's clients model it.
pub(super) async fn shown(names: Names<'_>, invoice: &Invoice, fee: &Fee) -> Result<Value, MeteringError> {
    let Names { lago, tenant, .. } = names;
    let mut shown = json!({
        "lago_id": lago_id(&fee.id),
        "lago_charge_id": charge_id(names, fee).await?,
        "lago_invoice_id": lago_id(&invoice.id),
        "lago_subscription_id": fee.subscription.map(|id| lago_id(&id)),
        "lago_customer_id": lago_id(&invoice.customer),
        "external_customer_id": invoice.external_customer_id,
        "external_subscription_id": fee.external_subscription_id,
        "units": decimal(&fee.units),
        "total_aggregated_units": decimal(&fee.units),
        "events_count": fee.events,
        "pay_in_advance": fee.advance.is_some(),
        "invoiceable": fee.advance.as_ref().is_none_or(|event| event.invoiceable),
        "self_billed": false,
        "from_date": fee.from,
        "to_date": fee.to.map(last_second),
        "payment_status": invoice.payment_status,
        "created_at": invoice.created_at,
        "event_transaction_id": fee.advance.as_ref().map(|event| event.transaction_id.as_str()),
        "pay_in_advance_event_transaction_id": fee.advance.as_ref().map(|event| event.transaction_id.as_str()),
        "pay_in_advance_event_id": fee.advance.as_ref().zip(fee.external_subscription_id.as_deref()).map(|(event, subscription)| {
            super::events::event_id(tenant, subscription, &event.transaction_id)
        }),
        "description": or_null(&fee.description),
        "amount_details": {},
        "item": item(lago, tenant, fee).await?,
        "applied_taxes": applied_taxes(lago, tenant, invoice, fee).await?,
        "creto": { "id": fee.id, "kind": fee.kind, "plan_code": fee.plan_code, "plan_version": fee.plan_version, "proof": fee.proof },
    });
    if let (Some(shown), Value::Object(amounts)) = (shown.as_object_mut(), amounts(invoice, fee)) {
        shown.extend(amounts);
    }
    Ok(shown)
}

/// What a line comes to: before and after what was taken off it, and with its tax.
fn amounts(invoice: &Invoice, fee: &Fee) -> Value {
    let subunits = invoice.currency.subunits();
    let units = |cents: &Exact| cents.over(&subunits).unwrap_or_default();
    let net = Exact::from(fee.amount_cents) - &fee.taken_off_cents;
    let tax = &net * &fee.taxes_rate.percent();
    json!({
        "amount_cents": fee.amount_cents,
        "precise_amount": decimal(&fee.precise_amount),
        "amount_currency": invoice.currency,
        "precise_unit_amount": decimal(&fee.precise_amount.over(&fee.units).unwrap_or_default()),
        "taxes_amount_cents": fee.taxes_amount_cents,
        "taxes_precise_amount": decimal(&units(&tax)),
        "taxes_rate": number(&fee.taxes_rate),
        "total_amount_cents": fee.amount_cents.saturating_add(fee.taxes_amount_cents),
        "precise_total_amount": decimal(&(&fee.precise_amount + &units(&tax))),
        "total_amount_currency": invoice.currency,
        "sub_total_excluding_taxes_amount_cents": FEE.whole(&net).to_i64(),
        "sub_total_excluding_taxes_precise_amount_cents": decimal(&net),
        "precise_coupons_amount_cents": decimal(&fee.taken_off_cents),
    })
}

/// The charge of a plan that a line is of, under the identifier that the plan shows it by.
async fn charge_id(names: Names<'_>, fee: &Fee) -> Result<Option<String>, MeteringError> {
    let Some(subscription) = fee.subscription.filter(|_| fee.billable_metric_code.is_some()) else { return Ok(None) };
    let plan = names.plan_of(subscription).await?;
    Ok(Some(derived_id(&["charge", &plan.to_string(), &fee.code])))
}

/// What a line bills, by Lago's word for it.
async fn item(lago: &Lago, tenant: &TenantId, fee: &Fee) -> Result<Value, MeteringError> {
    // Usage that came late is usage.
    let kind = if fee.kind == FeeKind::Adjustment { FeeKind::Charge } else { fee.kind };
    let word = KINDS.iter().find(|(_, known)| *known == kind).map(|(word, _)| *word);
    let metric = fee.billable_metric_code.as_deref().filter(|_| kind == FeeKind::Charge);
    let (code, name, id, of) = match metric {
        Some(metric) => match lago.catalog.get::<BillableMetric>(tenant, metric).await {
            Ok(found) => (found.body.code, found.body.name, lago_id(&found.id), "BillableMetric"),
            Err(MeteringError::UnknownDefinition { .. }) => {
                (metric.to_owned(), fee.name.clone(), derived_id(&["metric", metric]), "BillableMetric")
            }
            Err(error) => return Err(error),
        },
        None => {
            let of = match kind {
                FeeKind::AddOn => "AddOn",
                FeeKind::Credit => "WalletTransaction",
                _ => "Subscription",
            };
            let id = fee.subscription.map_or_else(|| derived_id(&[of, &fee.code]), |id| lago_id(&id));
            (fee.code.clone(), fee.name.clone(), id, of)
        }
    };
    let group: Map<String, Value> =
        fee.group.iter().map(|(key, value)| (key.clone(), Value::from(value.as_deref().unwrap_or_default()))).collect();
    Ok(json!({
        "type": word,
        "code": code,
        "name": name,
        "invoice_display_name": fee.name,
        "filter_invoice_display_name": null,
        "filters": null,
        "lago_item_id": id,
        "item_type": of,
        "grouped_by": group,
    }))
}

async fn applied_taxes(lago: &Lago, tenant: &TenantId, invoice: &Invoice, fee: &Fee) -> Result<Vec<Value>, MeteringError> {
    let mut shown = Vec::with_capacity(fee.taxes.len());
    for tax in &fee.taxes {
        let (id, description) = taxes::named(lago, tenant, &tax.code).await?;
        shown.push(json!({
            "lago_id": derived_id(&["fee_tax", &fee.id.to_string(), &tax.code]),
            "lago_fee_id": lago_id(&fee.id),
            "lago_tax_id": id,
            "tax_name": tax.name,
            "tax_code": tax.code,
            "tax_rate": number(&tax.rate),
            "tax_description": description,
            "amount_cents": tax.amount_cents,
            "amount_currency": invoice.currency,
            "created_at": invoice.created_at,
        }));
    }
    Ok(shown)
}

fn fee_id(named: &str) -> Result<FeeId, MeteringError> {
    let unknown = || MeteringError::UnknownDefinition { kind: "fee", code: named.chars().take(80).collect() };
    own_id(FeeId::PREFIX, named).ok_or_else(unknown)
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    let tenant = caller.0.tenant();
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    let (customer, subscription) = (asked.text("external_customer_id"), asked.text("external_subscription_id"));
    let mut filter = FeeFilter { currency: asked.parsed("currency"), with_late: true, ..FeeFilter::default() };
    if let Some(word) = asked.text("fee_type") {
        filter.kind = KINDS.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind);
        if filter.kind.is_none() {
            asked.fault("fee_type", &format!("`{word}` is none of charge, add_on, subscription, credit, commitment"));
        }
    }
    if let Some(word) = asked.text("payment_status") {
        filter.payment_status = serde_json::from_value(Value::from(word)).ok();
        if filter.payment_status.is_none() {
            asked.fault("payment_status", "is none of `pending`, `succeeded`, `failed`");
        }
    }
    filter.transaction_id = asked.text("event_transaction_id");
    (filter.created_from, filter.created_to) = (asked.parsed("created_at_from"), asked.parsed("created_at_to"));
    asked.done()?;
    filter.customer = here.catalog.id_of::<Customer>(tenant, customer.as_deref()).await?;
    if let Some(external_id) = subscription {
        filter.subscription = Some(here.catalog.current(tenant, &external_id).await?.id);
    }
    let found = here.billing.fees(tenant, &filter, page).await?;
    let (mut documents, mut invoices) = (Vec::with_capacity(found.items.len()), BTreeMap::<InvoiceId, Invoice>::new());
    for (invoice, fee) in &found.items {
        if !invoices.contains_key(invoice) {
            invoices.insert(*invoice, here.billing.invoice(tenant, *invoice).await?);
        }
        if let Some(invoice) = invoices.get(invoice) {
            documents.push(shown(Names::kept(&here, tenant), invoice, fee).await?);
        }
    }
    let mut documents = documents.into_iter();
    Ok(Json(many("fees", &found, |_| documents.next().unwrap_or_default())))
}

async fn get(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    let tenant = caller.0.tenant();
    let (invoice, fee) = here.billing.fee(tenant, fee_id(&named)?).await?;
    let invoice = here.billing.invoice(tenant, invoice).await?;
    Ok(Json(one(ROOT, shown(Names::kept(&here, tenant), &invoice, &fee).await?)))
}

/// A line that is there is on an invoice, and Lago changes and deletes those alone that are on none.
async fn on_an_invoice(here: &Lago, tenant: &TenantId, named: &str) -> Result<No, MeteringError> {
    let (invoice, _) = here.billing.fee(tenant, fee_id(named)?).await?;
    Ok(MeteringError::WrongState(format!("the line is on invoice `{}`: it is paid, credited and taken back with it", lago_id(&invoice)))
        .into())
}

async fn update(State(here): Here, caller: Caller, Path(named): Named, StrictJson(_): Body) -> Answer {
    Err(on_an_invoice(&here, caller.0.tenant(), &named).await?)
}

async fn delete(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    Err(on_an_invoice(&here, caller.0.tenant(), &named).await?)
}
