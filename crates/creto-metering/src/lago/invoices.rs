//! `invoices`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::{TenantId, Timestamp};
use serde_json::{Map, Value, json};

use super::amounts::{entry_list, last_second, read_list};
use super::body::{Fields, Form, optional, read};
use super::names::Names;
use super::query::Parameters;
use super::refusal::{INVALID, MANDATORY, No};
use super::shape::{derived_id, lago_id, many, number, one, own_id};
use super::{Answer, Asked, Body, Document, Here, Lago, Named, changes, customers, fees, lists, makes, reads, taxes};
use crate::billing::OneOff;
use crate::error::MeteringError;
use crate::model::customer::Customer;
use crate::model::invoice::{
    AppliedCouponId, BilledPeriod, CreditNoteId, Invoice, InvoiceCredit, InvoiceDocument, InvoiceId, InvoiceKind, InvoiceStatus,
    PaymentStatus,
};
use crate::store::billing::InvoiceFilter;

pub(super) const ROOT: &str = "invoice";
/// The version of Lago's way to compute an invoice that its clients know this one by: coupons before taxes, credit notes after.
const LAGO_VERSION: u8 = 4;

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/invoices", "/lago/api/v1/invoices/{invoice}");
    let own = "/lago/api/v1/customers/{external_id}/invoices";
    let operator = Access::Operator;
    vec![
        lists(lago, all, operator, "Lago: invoices, newest first", list),
        makes(lago, all, operator, "Lago: bill a customer once", bill_once),
        reads(lago, each, operator, "Lago: an invoice with its lines", get),
        changes(lago, each, operator, "Lago: say whether an invoice was paid, or put entries on it", update),
        lists(lago, own, operator, "Lago: a customer's invoices", list_own),
        Endpoint::new(
            Method::PUT,
            "/lago/api/v1/invoices/{invoice}/refresh",
            operator,
            "Lago: compute a draft again",
            refresh,
            lago.clone(),
        )
        .answers::<Document>(),
        Endpoint::new(
            Method::PUT,
            "/lago/api/v1/invoices/{invoice}/finalize",
            operator,
            "Lago: make a draft final",
            finalize,
            lago.clone(),
        )
        .answers::<Document>(),
        Endpoint::new(
            Method::POST,
            "/lago/api/v1/invoices/{invoice}/void",
            operator,
            "Lago: take a final invoice back",
            void,
            lago.clone(),
        )
        .answers::<Document>(),
        Endpoint::new(
            Method::PUT,
            "/lago/api/v1/invoices/{invoice}/lose_dispute",
            operator,
            "Lago: a dispute of the payment was lost",
            lose_dispute,
            lago.clone(),
        )
        .answers::<Document>(),
        Endpoint::new(
            Method::POST,
            "/lago/api/v1/invoices/{invoice}/download",
            operator,
            "Lago: where the invoice's PDF is",
            download,
            lago.clone(),
        )
        .answers::<Document>(),
        Endpoint::new(
            Method::POST,
            "/lago/api/v1/invoices/{invoice}/retry",
            operator,
            "Lago: finalize an invoice that failed; refused, as none fails halfway",
            retry,
            lago.clone(),
        )
        .answers::<Document>(),
        Endpoint::new(
            Method::POST,
            "/lago/api/v1/invoices/{invoice}/retry_payment",
            operator,
            "Lago: ask the payment provider for the payment again",
            retry_payment,
            lago.clone(),
        )
        .answers::<Document>(),
        Endpoint::new(
            Method::POST,
            "/lago/api/v1/invoices/{invoice}/payment_url",
            operator,
            "Lago: where an invoice is paid",
            payment_url,
            lago.clone(),
        )
        .answers::<Document>(),
    ]
}

fn invoice_id(named: &str) -> Result<InvoiceId, MeteringError> {
    let unknown = || MeteringError::UnknownDefinition { kind: "invoice", code: named.chars().take(80).collect() };
    own_id(InvoiceId::PREFIX, named).ok_or_else(unknown)
}

/// As Lago's clients model one of a list: without its lines.
async fn shown(names: Names<'_>, invoice: &Invoice, now: Timestamp) -> Result<Value, MeteringError> {
    let (sums, id) = (&invoice.sums, invoice.id.to_string());
    let open = invoice.status == InvoiceStatus::Finalized && invoice.payment_status != PaymentStatus::Succeeded;
    let paid = invoice.status == InvoiceStatus::Finalized && !open;
    let customer = names.customer(invoice.customer).await?;
    let today: String = now.to_string().chars().take(10).collect();
    Ok(json!({
        "lago_id": lago_id(&invoice.id),
        "billing_entity_code": null,
        "sequential_id": invoice.sequence,
        "number": invoice.number,
        "issuing_date": invoice.issuing_date,
        "payment_due_date": invoice.payment_due_date,
        "payment_dispute_lost_at": invoice.payment_dispute_lost_at,
        "payment_overdue": open && sums.total_cents > 0 && invoice.payment_due_date < today,
        "net_payment_term": invoice.net_payment_term,
        "invoice_type": kind_word(invoice.kind),
        "version_number": LAGO_VERSION,
        "status": invoice.status,
        "payment_status": invoice.payment_status,
        "currency": invoice.currency,
        "fees_amount_cents": sums.fees_cents,
        "progressive_billing_credit_amount_cents": sums.progressive_billing_cents,
        "coupons_amount_cents": sums.coupons_cents,
        "sub_total_excluding_taxes_amount_cents": sums.sub_total_excluding_taxes_cents,
        "taxes_amount_cents": sums.taxes_cents,
        "sub_total_including_taxes_amount_cents": sums.sub_total_including_taxes_cents,
        "credit_notes_amount_cents": sums.credit_notes_cents,
        "prepaid_credit_amount_cents": sums.prepaid_credits_cents,
        "total_amount_cents": sums.total_cents,
        "total_due_amount_cents": if open { sums.total_cents } else { 0 },
        "total_paid_amount_cents": if paid { sums.total_cents } else { 0 },
        "self_billed": false,
        "file_url": null,
        "voided_at": invoice.voided_at,
        "created_at": invoice.created_at,
        "updated_at": invoice.updated_at,
        "customer": customers::shown(names.lago, names.tenant, &customer).await?,
        "metadata": entry_list(&id, &invoice.metadata, invoice.updated_at),
        "applied_taxes": applied_taxes(names.lago, names.tenant, invoice).await?,
        "creto": { "id": invoice.id, "revision": invoice.revision, "test": invoice.test },
    }))
}

/// As Lago's clients model one by itself: with its lines and what belongs to them.
pub(super) async fn shown_whole(names: Names<'_>, document: &InvoiceDocument) -> Result<Value, MeteringError> {
    let invoice = &document.invoice;
    let mut whole = shown(names, invoice, names.lago.billing.now(names.tenant).await?).await?;
    let mut lines = Vec::with_capacity(document.fees.len());
    for fee in &document.fees {
        lines.push(fees::shown(names, invoice, fee).await?);
    }
    let (mut periods, mut credits) = (Vec::new(), Vec::new());
    for period in &invoice.periods {
        periods.push(billing_period(names, invoice, period).await?);
    }
    for credit in &invoice.credits {
        credits.extend(self::credit(names, invoice, credit).await?);
    }
    if let Some(members) = whole.as_object_mut() {
        members.insert("fees".to_owned(), lines.into());
        members.insert("billing_periods".to_owned(), periods.into());
        members.insert("credits".to_owned(), credits.into());
        if let Some(Value::Object(ours)) = members.get_mut("creto") {
            ours.insert("leaf".to_owned(), json!(document.leaf));
            ours.insert("payment".to_owned(), json!(document.payment));
        }
    }
    Ok(whole)
}

/// Lago's word for what made an invoice.
const fn kind_word(kind: InvoiceKind) -> &'static str {
    match kind {
        // Events that are billed at once are on invoices of their subscription.
        InvoiceKind::InAdvance => InvoiceKind::Subscription.as_str(),
        other => other.as_str(),
    }
}

async fn billing_period(names: Names<'_>, invoice: &Invoice, it: &BilledPeriod) -> Result<Value, MeteringError> {
    let plan = names.plan_of(it.subscription).await?;
    let to = last_second(it.to);
    Ok(json!({
        "lago_subscription_id": lago_id(&it.subscription),
        "external_subscription_id": it.external_subscription_id,
        "lago_plan_id": lago_id(&plan),
        "subscription_from_datetime": it.from,
        "subscription_to_datetime": to,
        "charges_from_datetime": it.from,
        "charges_to_datetime": to,
        "invoicing_reason": invoice.kind,
    }))
}

/// What was taken off, by Lago's words; prepaid credits are in a sum of their own there.
async fn credit(names: Names<'_>, invoice: &Invoice, it: &InvoiceCredit) -> Result<Option<Value>, MeteringError> {
    let (kind, id, code) = match it.kind.as_str() {
        "coupon" => match it.id.parse::<AppliedCouponId>() {
            Ok(applied) => {
                let applied = names.coupon(applied).await?;
                ("coupon", lago_id(&applied.coupon_id), applied.coupon.code)
            }
            Err(_) => return Ok(None),
        },
        "credit_note" => ("credit_note", it.id.parse::<CreditNoteId>().map(|id| lago_id(&id)).unwrap_or_default(), it.name.clone()),
        "progressive_billing" => ("invoice", derived_id(&["billed_before", &invoice.id.to_string()]), it.name.clone()),
        _ => return Ok(None),
    };
    Ok(Some(json!({
        "lago_id": derived_id(&["credit", &invoice.id.to_string(), &it.kind, &it.id]),
        "amount_cents": it.amount_cents,
        "amount_currency": invoice.currency,
        "before_taxes": it.before_taxes,
        "item": { "lago_item_id": id, "type": kind, "code": code, "name": it.name },
        "invoice": { "lago_id": lago_id(&invoice.id), "payment_status": invoice.payment_status },
    })))
}

async fn applied_taxes(lago: &Lago, tenant: &TenantId, invoice: &Invoice) -> Result<Vec<Value>, MeteringError> {
    let mut shown = Vec::with_capacity(invoice.taxes.len());
    for tax in &invoice.taxes {
        let (id, description) = taxes::named(lago, tenant, &tax.code).await?;
        shown.push(json!({
            "lago_id": derived_id(&["invoice_tax", &invoice.id.to_string(), &tax.code]),
            "lago_invoice_id": lago_id(&invoice.id),
            "lago_tax_id": id,
            "tax_name": tax.name,
            "tax_code": tax.code,
            "tax_rate": number(&tax.rate),
            "tax_description": description,
            "amount_cents": tax.amount_cents,
            "amount_currency": invoice.currency,
            "fees_amount_cents": tax.base_cents,
            "created_at": invoice.created_at,
        }));
    }
    Ok(shown)
}

async fn answered(here: &Lago, caller: &Caller, document: &InvoiceDocument) -> Answer {
    Ok(Json(one(ROOT, shown_whole(Names::kept(here, caller.0.tenant()), document).await?)))
}

/// One value of a parameter that Lago also takes a list of.
fn word<T: serde::de::DeserializeOwned>(asked: &mut Parameters, single: &str, plural: &str) -> Option<T> {
    let mut words = asked.all(single);
    words.extend(asked.all(plural));
    words.retain(|word| !word.is_empty());
    if words.len() > 1 {
        asked.fault(plural, "takes one value here");
    }
    let word = words.pop()?;
    let read = serde_json::from_value(Value::from(word.as_str())).ok();
    if read.is_none() {
        asked.fault(plural, &format!("`{word}` is not what `{single}` can be"));
    }
    read
}

async fn listed(here: &Lago, caller: &Caller, asked: Vec<(String, String)>, customer: Option<String>) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    let customer = customer.or_else(|| asked.text("external_customer_id"));
    let mut filter = InvoiceFilter {
        status: word(&mut asked, "status", "statuses"),
        payment_status: word(&mut asked, "payment_status", "payment_statuses"),
        kind: word(&mut asked, "invoice_type", "invoice_types"),
        currency: asked.parsed("currency"),
        ..InvoiceFilter::default()
    };
    asked.done()?;
    let tenant = caller.0.tenant();
    filter.customer = here.catalog.id_of::<Customer>(tenant, customer.as_deref()).await?;
    let (found, now) = (here.billing.list(tenant, &filter, page).await?, here.billing.now(tenant).await?);
    let mut documents = Vec::with_capacity(found.items.len());
    for invoice in &found.items {
        documents.push(shown(Names::kept(here, tenant), invoice, now).await?);
    }
    let mut documents = documents.into_iter();
    Ok(Json(many("invoices", &found, |_| documents.next().unwrap_or_default())))
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    listed(&here, &caller, asked, None).await
}

async fn list_own(State(here): Here, caller: Caller, Path(external_id): Named, Query(asked): Asked) -> Answer {
    listed(&here, &caller, asked, Some(external_id)).await
}

fn one_off(body: Value) -> Result<OneOff, No> {
    let (mut fields, mut carried) = (Fields::of(body, ROOT)?, Map::new());
    carried.insert("external_customer_id".to_owned(), fields.needed("external_customer_id").into());
    fields.carry("currency", Form::Text, &mut carried);
    match fields.value("fees", Form::Any) {
        Some(Value::Array(lines)) => {
            let lines: Result<Vec<_>, _> =
                lines.into_iter().enumerate().map(|(at, line)| one_off_line(line, &format!("fees[{at}]"))).collect();
            carried.insert("items".to_owned(), lines?.into());
        }
        Some(_) => fields.fault("fees", INVALID, "`fees` is no list"),
        None => fields.fault("fees", MANDATORY, "`fees` is needed"),
    }
    for elsewhere in
        ["error_details", "payment_method", "invoice_custom_section", "billing_entity_code", "purchase_order_number", "skip_psp"]
    {
        fields.unsupported(elsewhere, &[]);
    }
    fields.done()?;
    read(carried)
}

fn one_off_line(line: Value, at: &str) -> Result<Value, No> {
    let (mut fields, mut carried) = (Fields::within(line, at)?, Map::new());
    carried.insert("add_on_code".to_owned(), fields.needed("add_on_code").into());
    fields.carry("units", Form::Decimal, &mut carried);
    fields.carry("unit_amount_cents", Form::Whole, &mut carried);
    fields.carry("description", Form::Text, &mut carried);
    fields.carry_as("invoice_display_name", "name", Form::Text, &mut carried);
    fields.carry_as("from_datetime", "from", Form::Text, &mut carried);
    fields.carry_as("to_datetime", "to", Form::Text, &mut carried);
    fields.carry("tax_codes", Form::Texts, &mut carried);
    fields.done()?;
    Ok(carried.into())
}

async fn bill_once(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let document = here.billing.bill_once(&caller.0.identity, one_off(body)?).await?;
    answered(&here, &caller, &document).await
}

async fn get(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    let document = here.billing.get(caller.0.tenant(), invoice_id(&named)?).await?;
    answered(&here, &caller, &document).await
}

async fn update(State(here): Here, caller: Caller, Path(named): Named, StrictJson(body): Body) -> Answer {
    let (by, id) = (&caller.0.identity, invoice_id(&named)?);
    let mut fields = Fields::of(body, ROOT)?;
    let paid = match fields.text("payment_status") {
        None => None,
        Some(word) => {
            let paid: Option<PaymentStatus> = serde_json::from_value(Value::from(word.as_str())).ok();
            if paid.is_none() {
                fields.fault("payment_status", INVALID, format!("`{word}` is none of pending, succeeded, failed"));
            }
            paid
        }
    };
    let metadata = fields.value("metadata", Form::Any);
    fields.done()?;
    if let Some(sent) = metadata {
        here.billing.set_metadata(by, id, read_list(sent, "metadata")?).await?;
    }
    if let Some(paid) = paid {
        here.billing.set_payment(by, id, paid).await?;
    }
    let document = here.billing.get(caller.0.tenant(), id).await?;
    answered(&here, &caller, &document).await
}

async fn refresh(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    let document = here.billing.refresh(&caller.0.identity, invoice_id(&named)?).await?;
    answered(&here, &caller, &document).await
}

async fn finalize(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    let document = here.billing.finalize(&caller.0.identity, invoice_id(&named)?).await?;
    answered(&here, &caller, &document).await
}

/// Lago's clients send nothing, or the credit note that is to be made of it: that is made by itself here.
async fn void(State(here): Here, caller: Caller, Path(named): Named, body: Bytes) -> Answer {
    let mut fields = Fields::within(optional(&body)?, "void")?;
    for elsewhere in ["generate_credit_note", "refund_amount", "credit_amount"] {
        fields.unsupported(elsewhere, &[json!(0)]);
    }
    fields.done()?;
    let document = here.billing.void(&caller.0.identity, invoice_id(&named)?, false).await?;
    answered(&here, &caller, &document).await
}

async fn lose_dispute(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    let document = here.billing.lose_dispute(&caller.0.identity, invoice_id(&named)?).await?;
    answered(&here, &caller, &document).await
}

/// The PDF is behind the same key as this route.
async fn download(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    let tenant = caller.0.tenant();
    let document = here.billing.get(tenant, invoice_id(&named)?).await?;
    if document.invoice.status == InvoiceStatus::Draft {
        return Err(MeteringError::WrongState("a draft has no paper".to_owned()).into());
    }
    let mut whole = shown_whole(Names::kept(&here, tenant), &document).await?;
    if let Some(url) = whole.get_mut("file_url") {
        *url = format!("{}/v1/metering/invoices/{}/pdf", here.public.base(), document.invoice.id).into();
    }
    Ok(Json(one(ROOT, whole)))
}

async fn retry(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    let document = here.billing.get(caller.0.tenant(), invoice_id(&named)?).await?;
    Err(MeteringError::WrongState(format!("the invoice is {}, and did not fail", document.invoice.status.as_str())).into())
}

/// Lago's clients send nothing, or a payment method to pay with: the customer's own at the provider pays here.
async fn retry_payment(State(here): Here, caller: Caller, Path(named): Named, body: Bytes) -> Answer {
    let mut fields = Fields::within(optional(&body)?, "retry_payment")?;
    fields.unsupported("payment_method", &[]);
    fields.done()?;
    let document = here.payments.retry(&caller.0.identity, invoice_id(&named)?).await?;
    answered(&here, &caller, &document).await
}

async fn payment_url(State(here): Here, caller: Caller, Path(named): Named, _: Bytes) -> Answer {
    let (tenant, id) = (caller.0.tenant(), invoice_id(&named)?);
    let url = here.payments.url(tenant, id).await?;
    let document = here.billing.get(tenant, id).await?;
    let (invoice, provider) = (&document.invoice, document.payment.as_ref().map(|payment| payment.provider.as_str()));
    Ok(Json(one(
        "invoice_payment_details",
        json!({
            "lago_customer_id": lago_id(&invoice.customer),
            "external_customer_id": invoice.external_customer_id,
            "payment_provider": provider,
            "lago_invoice_id": lago_id(&invoice.id),
            "payment_url": url,
        }),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_off_invoice_is_read_by_our_names() {
        let sent = json!({
            "external_customer_id": "acme", "currency": "EUR",
            "fees": [{ "add_on_code": "setup", "units": 2.5, "unit_amount_cents": 100, "description": "d", "invoice_display_name": "Setup fee",
                "from_datetime": "2030-01-01T00:00:00Z", "to_datetime": "2030-02-01T00:00:00Z", "tax_codes": ["vat"] }]
        });
        let request = one_off(json!({ ROOT: sent })).unwrap();
        let item = &request.items[0];
        assert_eq!((item.add_on_code.as_str(), item.unit_amount_cents, item.name.as_deref()), ("setup", Some(100), Some("Setup fee")));
        assert_eq!((item.units.as_ref().map(ToString::to_string).as_deref(), item.tax_codes.len()), (Some("2.5"), 1));
        assert!(item.from < item.to && item.from.is_some());
    }

    #[test]
    fn what_is_missing_or_means_nothing_here_is_refused_by_its_name() {
        let details = |sent: Value| Value::from(one_off(json!({ ROOT: sent })).unwrap_err())["error_details"].clone();
        assert_eq!(
            details(json!({ "payment_method": { "payment_method_type": "provider" } })),
            json!({ "external_customer_id": [MANDATORY], "fees": [MANDATORY], "payment_method": ["value_is_not_supported"] })
        );
        assert_eq!(
            details(json!({ "external_customer_id": "acme", "fees": [{ "units": 1 }] })),
            json!({ "fees[0].add_on_code": [MANDATORY] })
        );
    }
}
