//! `credit_notes`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::TenantId;
use serde_json::{Map, Value, json};

use super::amounts::{entry_object, read_object};
use super::body::{Fields, Form, optional, read};
use super::names::Names;
use super::query::Parameters;
use super::refusal::{Faults, INVALID, MANDATORY, No};
use super::shape::{derived_id, lago_id, many, number, one, or_null, own_id};
use super::wallets::sent_entries;
use super::{Answer, Asked, Body, Document, Here, Lago, Named, changes, customers, deletes, fees, lists, makes, reads, taxes};
use crate::billing::{CreditRequest, NoteChange};
use crate::core::exact::Exact;
use crate::error::MeteringError;
use crate::model::customer::Customer;
use crate::model::definition::DefinitionError;
use crate::model::invoice::{AppliedTax, CreditNote, CreditNoteId, FeeId, Invoice, InvoiceId, PaymentStatus};
use crate::store::billing::NoteFilter;

const ROOT: &str = "credit_note";

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/credit_notes", "/lago/api/v1/credit_notes/{note}");
    let entries = "/lago/api/v1/credit_notes/{note}/metadata";
    let operator = Access::Operator;
    vec![
        lists(lago, all, operator, "Lago: credit notes, newest first", list),
        makes(lago, all, operator, "Lago: credit lines of a final invoice", create),
        makes(lago, "/lago/api/v1/credit_notes/estimate", operator, "Lago: what a credit note would come to", estimate),
        reads(lago, each, operator, "Lago: a credit note with its lines", get),
        changes(lago, each, operator, "Lago: say whether a credit note was refunded, or put entries on it", update),
        Endpoint::new(
            Method::PUT,
            "/lago/api/v1/credit_notes/{note}/void",
            operator,
            "Lago: take back what is left of a credit note",
            void,
            lago.clone(),
        )
        .answers::<Document>(),
        Endpoint::new(
            Method::POST,
            "/lago/api/v1/credit_notes/{note}/download",
            operator,
            "Lago: where the credit note's PDF is",
            download,
            lago.clone(),
        )
        .answers::<Document>(),
        makes(lago, entries, operator, "Lago: a credit note's entries, in place of those before", replace_entries),
        Endpoint::new(Method::PATCH, entries, operator, "Lago: put entries on a credit note", merge_entries, lago.clone())
            .takes::<Document>()
            .answers::<Document>(),
        deletes(lago, entries, operator, "Lago: take all entries off a credit note", delete_entries),
        deletes(lago, "/lago/api/v1/credit_notes/{note}/metadata/{key}", operator, "Lago: take an entry off a credit note", delete_entry),
        lists(lago, "/lago/api/v1/customers/{external_id}/credit_notes", operator, "Lago: a customer's credit notes", list_own),
    ]
}

fn note_id(named: &str) -> Result<CreditNoteId, MeteringError> {
    let unknown = || MeteringError::UnknownDefinition { kind: "credit note", code: named.chars().take(80).collect() };
    own_id(CreditNoteId::PREFIX, named).ok_or_else(unknown)
}

/// What all taxes come to, in percent of `net`: a line may have others than the next one.
fn taxes_rate(taxes: &[AppliedTax], net: i64) -> Value {
    let weighted: Exact = taxes.iter().map(|tax| &tax.rate * &Exact::from(tax.base_cents)).sum();
    number(&weighted.over(&Exact::from(net)).unwrap_or_default())
}

/// As Lago's clients model it.
pub(super) async fn shown(lago: &Lago, tenant: &TenantId, note: &CreditNote) -> Result<Value, MeteringError> {
    let invoice = lago.billing.invoice(tenant, note.invoice).await?;
    let customer = lago.catalog.by_id::<Customer>(tenant, note.customer).await?;
    let issued: String = note.created_at.to_string().chars().take(10).collect();
    let credited = note.total_cents.saturating_sub(note.refund_cents);
    let mut items = Vec::with_capacity(note.items.len());
    for (at, item) in note.items.iter().enumerate() {
        let (_, fee) = lago.billing.fee(tenant, item.fee).await?;
        items.push(json!({
            "lago_id": derived_id(&["credit_item", &note.id.to_string(), &at.to_string()]),
            "amount_cents": item.amount_cents,
            "amount_currency": note.currency,
            "fee": fees::shown(Names::kept(lago, tenant), &invoice, &fee).await?,
        }));
    }
    Ok(json!({
        "lago_id": lago_id(&note.id),
        "billing_entity_code": null,
        "sequential_id": note.number.rsplit("-CN").next().and_then(|number| number.parse::<i64>().ok()),
        "number": note.number,
        "lago_invoice_id": lago_id(&note.invoice),
        "invoice_number": invoice.number,
        "issuing_date": issued,
        "credit_status": (credited > 0).then_some(note.status),
        "refund_status": note.refund_status,
        "reason": note.reason,
        "description": or_null(&note.description),
        "currency": note.currency,
        "total_amount_cents": note.total_cents,
        "taxes_amount_cents": note.taxes_cents,
        "taxes_rate": taxes_rate(&note.taxes, note.total_cents.saturating_sub(note.taxes_cents)),
        "sub_total_excluding_taxes_amount_cents": note.total_cents.saturating_sub(note.taxes_cents),
        "balance_amount_cents": note.balance_cents,
        "credit_amount_cents": credited,
        "refund_amount_cents": note.refund_cents,
        "offset_amount_cents": 0,
        "coupons_adjustment_amount_cents": note.coupons_cents,
        "created_at": note.created_at,
        "updated_at": note.updated_at,
        "file_url": null,
        "items": items,
        "applied_taxes": applied_taxes(lago, tenant, &invoice, Some(note.id), &note.taxes).await?,
        "self_billed": false,
        "customer": customers::shown(lago, tenant, &customer).await?,
        "metadata": entry_object(&note.metadata),
        "creto": { "id": note.id, "revision": note.revision },
    }))
}

/// Taxes of a note, or of one that is only estimated.
async fn applied_taxes(
    lago: &Lago,
    tenant: &TenantId,
    invoice: &Invoice,
    note: Option<CreditNoteId>,
    applied: &[AppliedTax],
) -> Result<Vec<Value>, MeteringError> {
    let mut shown = Vec::with_capacity(applied.len());
    for tax in applied {
        let (id, description) = taxes::named(lago, tenant, &tax.code).await?;
        shown.push(json!({
            "lago_id": note.map(|note| derived_id(&["note_tax", &note.to_string(), &tax.code])),
            "lago_credit_note_id": note.map(|note| lago_id(&note)),
            "lago_tax_id": id,
            "tax_name": tax.name,
            "tax_code": tax.code,
            "tax_rate": number(&tax.rate),
            "tax_description": description,
            "amount_cents": tax.amount_cents,
            "amount_currency": invoice.currency,
            "base_amount_cents": tax.base_cents,
        }));
    }
    Ok(shown)
}

async fn answered(here: &Lago, caller: &Caller, note: &CreditNote) -> Answer {
    Ok(Json(one(ROOT, shown(here, caller.0.tenant(), note).await?)))
}

async fn listed(here: &Lago, caller: &Caller, asked: Vec<(String, String)>, customer: Option<String>) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    let customer = customer.or_else(|| asked.text("external_customer_id"));
    let mut filter = NoteFilter { currency: asked.parsed("currency"), ..NoteFilter::default() };
    if let Some(word) = asked.text("credit_status") {
        filter.status = serde_json::from_value(Value::from(word)).ok();
        if filter.status.is_none() {
            asked.fault("credit_status", "is none of `available`, `consumed`, `voided`");
        }
    }
    asked.done()?;
    let tenant = caller.0.tenant();
    filter.customer = here.catalog.id_of::<Customer>(tenant, customer.as_deref()).await?;
    let found = here.billing.notes(tenant, &filter, page).await?;
    let mut documents = Vec::with_capacity(found.items.len());
    for note in &found.items {
        documents.push(shown(here, tenant, note).await?);
    }
    let mut documents = documents.into_iter();
    Ok(Json(many("credit_notes", &found, |_| documents.next().unwrap_or_default())))
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    listed(&here, &caller, asked, None).await
}

async fn list_own(State(here): Here, caller: Caller, Path(external_id): Named, Query(asked): Asked) -> Answer {
    listed(&here, &caller, asked, Some(external_id)).await
}

/// What is asked to be credited, and the amounts that the lines must come to.
#[derive(Debug)]
struct Wanted {
    request: CreditRequest,
    credit_cents: i64,
}

fn wanted(body: Value) -> Result<Wanted, No> {
    let (mut fields, mut carried) = (Fields::of(body, ROOT)?, Map::new());
    let (invoice, items) = lines(&mut fields)?;
    fields.carry_all(&["reason", "description"], Form::Text, &mut carried);
    let mut cents = |name: &str| fields.value(name, Form::Whole).and_then(|value| value.as_i64()).unwrap_or(0);
    let (credit_cents, refund_cents) = (cents("credit_amount_cents"), cents("refund_amount_cents"));
    if let Some(sent) = fields.value("metadata", Form::Any) {
        carried.insert("metadata".to_owned(), json!(read_object(sent, "metadata")?));
    }
    fields.unsupported("offset_amount_cents", &[json!(0)]);
    fields.done()?;
    carried.insert("invoice".to_owned(), json!(invoice_id(&invoice)?));
    carried.insert("items".to_owned(), items.into());
    carried.insert("refund_cents".to_owned(), refund_cents.into());
    Ok(Wanted { request: read(carried)?, credit_cents })
}

/// The invoice and its lines.
fn lines(fields: &mut Fields) -> Result<(String, Vec<Value>), No> {
    let invoice = fields.needed("invoice_id");
    let items = match fields.value("items", Form::Any) {
        Some(Value::Array(items)) => items,
        Some(_) => return Err(Faults::of("items", INVALID, "`items` is no list").into()),
        None => return Err(Faults::of("items", MANDATORY, "`items` is needed").into()),
    };
    let items: Result<Vec<_>, _> = items.into_iter().enumerate().map(|(at, item)| line(item, &format!("items[{at}]"))).collect();
    Ok((invoice, items?))
}

fn line(item: Value, at: &str) -> Result<Value, No> {
    let (mut fields, mut carried) = (Fields::within(item, at)?, Map::new());
    let fee = fields.needed("fee_id");
    match own_id::<FeeId>(FeeId::PREFIX, &fee) {
        Some(id) => drop(carried.insert("fee".to_owned(), json!(id))),
        None if fee.is_empty() => {}
        None => fields.fault("fee_id", INVALID, format!("`{fee}` is no identifier of a line")),
    }
    fields.carry("amount_cents", Form::Whole, &mut carried);
    fields.done()?;
    Ok(carried.into())
}

fn invoice_id(named: &str) -> Result<InvoiceId, MeteringError> {
    let unknown = || MeteringError::UnknownDefinition { kind: "invoice", code: named.chars().take(80).collect() };
    own_id(InvoiceId::PREFIX, named).ok_or_else(unknown)
}

/// Lago's clients say what is credited and what is refunded; both together are what the lines come to, to the last minor unit.
async fn create(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let Wanted { request, credit_cents } = wanted(body)?;
    let worth = here.billing.estimate_note(caller.0.tenant(), &request).await?;
    if credit_cents.checked_add(request.refund_cents) != Some(worth.total_cents) {
        let problem = format!("and `refund_amount_cents` are not the {} that the lines come to", worth.total_cents);
        let error = MeteringError::from(DefinitionError::new("credit_amount_cents", problem));
        return Err(No::invalid(json!({ "base": ["does_not_match_item_amounts"] }), &error));
    }
    let note = here.billing.create_note(&caller.0.identity, request).await?;
    answered(&here, &caller, &note).await
}

async fn estimate(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let (mut fields, mut carried) = (Fields::of(body, ROOT)?, Map::new());
    let (invoice, items) = lines(&mut fields)?;
    fields.done()?;
    carried.insert("invoice".to_owned(), json!(invoice_id(&invoice)?));
    carried.insert("items".to_owned(), items.into());
    let request: CreditRequest = read(carried)?;
    let tenant = caller.0.tenant();
    let worth = here.billing.estimate_note(tenant, &request).await?;
    let invoice = here.billing.invoice(tenant, request.invoice).await?;
    let paid = invoice.payment_status == PaymentStatus::Succeeded;
    let items: Vec<Value> =
        request.items.iter().map(|item| json!({ "amount_cents": item.amount_cents, "lago_fee_id": lago_id(&item.fee) })).collect();
    Ok(Json(one(
        "estimated_credit_note",
        json!({
            "lago_invoice_id": lago_id(&invoice.id),
            "invoice_number": invoice.number,
            "currency": invoice.currency,
            "max_creditable_amount_cents": worth.total_cents,
            "max_refundable_amount_cents": if paid { worth.total_cents } else { 0 },
            "max_offsettable_amount_cents": 0,
            "taxes_amount_cents": worth.taxes_cents,
            "taxes_rate": taxes_rate(&worth.taxes, worth.total_cents.saturating_sub(worth.taxes_cents)),
            "sub_total_excluding_taxes_amount_cents": worth.total_cents.saturating_sub(worth.taxes_cents),
            "coupons_adjustment_amount_cents": worth.coupons_cents,
            "items": items,
            "applied_taxes": applied_taxes(&here, tenant, &invoice, None, &worth.taxes).await?,
        }),
    )))
}

async fn get(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    let note = here.billing.note(caller.0.tenant(), note_id(&named)?).await?;
    answered(&here, &caller, &note).await
}

async fn update(State(here): Here, caller: Caller, Path(named): Named, StrictJson(body): Body) -> Answer {
    let (mut fields, mut carried) = (Fields::of(body, ROOT)?, Map::new());
    fields.carry("refund_status", Form::Text, &mut carried);
    if let Some(sent) = fields.value("metadata", Form::Any) {
        carried.insert("metadata".to_owned(), json!(read_object(sent, "metadata")?));
    }
    fields.done()?;
    let change: NoteChange = read(carried)?;
    let note = here.billing.update_note(&caller.0.identity, note_id(&named)?, change).await?;
    answered(&here, &caller, &note).await
}

async fn void(State(here): Here, caller: Caller, Path(named): Named, body: axum::body::Bytes) -> Answer {
    Fields::within(optional(&body)?, "void")?.done()?;
    let note = here.billing.void_note(&caller.0.identity, note_id(&named)?).await?;
    answered(&here, &caller, &note).await
}

/// The PDF is behind the same key as this route.
async fn download(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    let tenant = caller.0.tenant();
    let note = here.billing.note(tenant, note_id(&named)?).await?;
    let mut document = shown(&here, tenant, &note).await?;
    if let Some(url) = document.get_mut("file_url") {
        *url = format!("{}/v1/metering/credit-notes/{}/pdf", here.public.base(), note.id).into();
    }
    Ok(Json(one(ROOT, document)))
}

/// Changes a credit note's entries and answers them as they are then.
async fn with_entries(here: &Lago, caller: &Caller, named: &str, change: impl FnOnce(&mut BTreeMap<String, String>) + Send) -> Answer {
    let mut entries = here.billing.note(caller.0.tenant(), note_id(named)?).await?.metadata;
    change(&mut entries);
    let change = NoteChange { metadata: Some(entries), refund_status: None };
    let note = here.billing.update_note(&caller.0.identity, note_id(named)?, change).await?;
    Ok(Json(json!({ "metadata": entry_object(&note.metadata) })))
}

async fn replace_entries(State(here): Here, caller: Caller, Path(named): Named, StrictJson(body): Body) -> Answer {
    let sent = sent_entries(body)?;
    with_entries(&here, &caller, &named, |entries| *entries = sent).await
}

async fn merge_entries(State(here): Here, caller: Caller, Path(named): Named, StrictJson(body): Body) -> Answer {
    let sent = sent_entries(body)?;
    with_entries(&here, &caller, &named, |entries| entries.extend(sent)).await
}

async fn delete_entries(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    with_entries(&here, &caller, &named, BTreeMap::clear).await
}

async fn delete_entry(State(here): Here, caller: Caller, Path((named, key)): Path<(String, String)>) -> Answer {
    with_entries(&here, &caller, &named, |entries| drop(entries.remove(&key))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credit_note_is_read_by_our_names() {
        let (invoice, fee) = (InvoiceId::generate(), FeeId::generate());
        let sent = json!({
            "invoice_id": lago_id(&invoice), "reason": "duplicated_charge", "description": "twice", "credit_amount_cents": 10,
            "refund_amount_cents": 2, "offset_amount_cents": 0, "items": [{ "fee_id": lago_id(&fee), "amount_cents": 12 }],
            "metadata": { "a": "1" }
        });
        let Wanted { request, credit_cents } = wanted(json!({ ROOT: sent })).unwrap();
        assert_eq!((request.invoice, request.items[0].fee, request.items[0].amount_cents), (invoice, fee, 12));
        assert_eq!((credit_cents, request.refund_cents, request.metadata["a"].as_str()), (10, 2, "1"));
    }

    #[test]
    fn what_is_missing_or_means_nothing_here_is_refused_by_its_name() {
        let details = |sent: Value| Value::from(wanted(json!({ ROOT: sent })).unwrap_err())["error_details"].clone();
        assert_eq!(details(json!({ "invoice_id": "x" })), json!({ "items": [MANDATORY] }));
        assert_eq!(details(json!({ "invoice_id": "x", "items": [{ "fee_id": "y" }] })), json!({ "items[0].fee_id": [INVALID] }));
        assert_eq!(
            details(json!({ "invoice_id": "x", "items": [], "offset_amount_cents": 3 })),
            json!({ "offset_amount_cents": ["value_is_not_supported"] })
        );
    }
}
