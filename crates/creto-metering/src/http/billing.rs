//! Routes of billing: `/v1/metering/{invoices,fees,credit-notes,applied-coupons,billing-runs,test-clock,export}`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::billing::{
    Billing, CouponRedemption, CreditEstimate, CreditRequest, Export, Format, InvoicePreviewInput, OneOff, Rerate, RerateInput,
};
use crate::core::{paper, sheet};
use crate::error::MeteringError;
use crate::model::customer::Customer;
use crate::model::definition::DefinitionError;
use crate::model::invoice::{
    AppliedCoupon, BillingRun, CreditNote, Fee, FeeKind, Invoice, InvoiceDocument, InvoiceKind, InvoiceStatus, PaymentStatus,
};
use crate::model::page::{Listed, PER_PAGE_DEFAULT, Page};
use crate::store::billing::{InvoiceFilter, NoteFilter};
use crate::store::fees::FeeFilter;

/// Nothing on an invoice's page comes from elsewhere, and nothing on it runs.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'";

/// Billing's endpoints.
#[must_use]
pub fn endpoints(billing: &Billing) -> Vec<Endpoint> {
    let mut all = invoices(billing);
    all.extend(others(billing));
    all
}

fn invoices(billing: &Billing) -> Vec<Endpoint> {
    let state = || billing.clone();
    let (all, one, operator) = ("/v1/metering/invoices", "/v1/metering/invoices/{invoice}", Access::Operator);
    vec![
        Endpoint::new(
            Method::POST,
            "/v1/metering/subscriptions/{external_id}/rerate",
            operator,
            "What a final period comes to under another version of its plan; decided where `confirm` names exactly that",
            rerate,
            state(),
        )
        .takes::<RerateInput>()
        .answers::<Rerate>(),
        Endpoint::new(Method::GET, all, operator, "List invoices, newest first", list, state()).answers::<Listed<Invoice>>(),
        Endpoint::new(Method::POST, all, operator, "Bill a customer once", bill_once, state())
            .takes::<OneOff>()
            .answers::<InvoiceDocument>(),
        Endpoint::new(
            Method::POST,
            "/v1/metering/invoices/preview",
            operator,
            "The next invoice, of subscriptions, of a change of one, or of somebody new; nothing is recorded",
            preview,
            state(),
        )
        .takes::<InvoicePreviewInput>()
        .answers::<InvoiceDocument>(),
        Endpoint::new(Method::GET, one, operator, "An invoice with its lines", get, state()).answers::<InvoiceDocument>(),
        Endpoint::new(Method::PUT, one, operator, "Say whether an invoice was paid, or put entries on it", update, state())
            .takes::<InvoiceChange>()
            .answers::<InvoiceDocument>(),
        Endpoint::new(Method::POST, "/v1/metering/invoices/{invoice}/refresh", operator, "Compute a draft again", refresh, state())
            .answers::<InvoiceDocument>(),
        Endpoint::new(Method::POST, "/v1/metering/invoices/{invoice}/finalize", operator, "Make a draft final", finalize, state())
            .answers::<InvoiceDocument>(),
        Endpoint::new(Method::POST, "/v1/metering/invoices/{invoice}/void", operator, "Take a final invoice back", void, state())
            .takes::<Voiding>()
            .answers::<InvoiceDocument>(),
        Endpoint::new(Method::GET, "/v1/metering/invoices/{invoice}/page", operator, "An invoice as a web page", page_of, state()),
        Endpoint::new(Method::GET, "/v1/metering/invoices/{invoice}/pdf", operator, "An invoice as PDF", pdf_of, state()),
        Endpoint::new(Method::GET, "/v1/metering/fees", operator, "Lines of invoices, newest first", fees, state())
            .answers::<Listed<InvoicedFee>>(),
        Endpoint::new(Method::GET, "/v1/metering/fees/{fee}", operator, "One line", fee, state()).answers::<InvoicedFee>(),
    ]
}

fn others(billing: &Billing) -> Vec<Endpoint> {
    let state = || billing.clone();
    let (notes, coupons, runs, operator) =
        ("/v1/metering/credit-notes", "/v1/metering/applied-coupons", "/v1/metering/billing-runs", Access::Operator);
    vec![
        Endpoint::new(Method::GET, notes, operator, "List credit notes, newest first", list_notes, state()).answers::<Listed<CreditNote>>(),
        Endpoint::new(Method::POST, notes, operator, "Credit lines of a final invoice", create_note, state())
            .takes::<CreditRequest>()
            .answers::<CreditNote>(),
        Endpoint::new(Method::POST, "/v1/metering/credit-notes/estimate", operator, "What a credit note would come to", estimate, state())
            .takes::<CreditRequest>()
            .answers::<CreditEstimate>(),
        Endpoint::new(Method::GET, "/v1/metering/credit-notes/{note}", operator, "One credit note", note, state()).answers::<CreditNote>(),
        Endpoint::new(Method::GET, "/v1/metering/credit-notes/{note}/pdf", operator, "A credit note as PDF", note_pdf, state()),
        Endpoint::new(Method::DELETE, "/v1/metering/credit-notes/{note}", operator, "Take back what is left of one", void_note, state())
            .answers::<CreditNote>(),
        Endpoint::new(Method::GET, coupons, operator, "List redeemed coupons, newest first", list_coupons, state())
            .answers::<Listed<AppliedCoupon>>(),
        Endpoint::new(Method::POST, coupons, operator, "A customer redeems a coupon", redeem, state())
            .takes::<CouponRedemption>()
            .answers::<AppliedCoupon>(),
        Endpoint::new(Method::DELETE, "/v1/metering/applied-coupons/{coupon}", operator, "End a redeemed coupon", end_coupon, state())
            .answers::<AppliedCoupon>(),
        Endpoint::new(Method::GET, runs, operator, "List runs of billing, newest first", list_runs, state())
            .answers::<Listed<BillingRun>>(),
        Endpoint::new(Method::POST, runs, operator, "Bill everything that is due", run, state()).answers::<BillingRun>(),
        Endpoint::new(Method::GET, "/v1/metering/billing-runs/{run}", operator, "One run of billing", get_run, state())
            .answers::<BillingRun>(),
        Endpoint::new(Method::PUT, "/v1/metering/test-clock", operator, "Move the clock of test mode", set_clock, state())
            .takes::<TestClock>()
            .answers::<TestClock>(),
        Endpoint::new(
            Method::GET,
            "/v1/metering/export/{table}",
            operator,
            "A table as CSV or Parquet: events, invoices, lines, ledger, entries",
            export,
            state(),
        ),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    customer: Option<String>,
    #[serde(default)]
    status: Option<InvoiceStatus>,
    #[serde(default)]
    payment_status: Option<PaymentStatus>,
    #[serde(default)]
    kind: Option<InvoiceKind>,
    #[serde(default)]
    number: Option<String>,
    #[serde(default)]
    page: Option<u32>,
    #[serde(default)]
    per_page: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Of {
    #[serde(default)]
    customer: Option<String>,
    #[serde(default)]
    invoice: Option<String>,
    #[serde(default)]
    active: Option<bool>,
    #[serde(default)]
    page: Option<u32>,
    #[serde(default)]
    per_page: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichFees {
    #[serde(default)]
    subscription: Option<String>,
    #[serde(default)]
    kind: Option<FeeKind>,
    #[serde(default)]
    transaction_id: Option<String>,
    #[serde(default)]
    page: Option<u32>,
    #[serde(default)]
    per_page: Option<u32>,
}

/// How a table is written, and of which times.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exporting {
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    since: Option<Timestamp>,
    #[serde(default)]
    until: Option<Timestamp>,
}

impl Exporting {
    /// What is named, else what is accepted, else CSV.
    fn format(&self, headers: &HeaderMap) -> Result<Format, DefinitionError> {
        match &self.format {
            Some(name) => Format::named(name).ok_or_else(|| DefinitionError::new("format", "is none of `csv`, `parquet`")),
            None => {
                let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
                let is_parquet =
                    accepted.split(',').any(|kind| kind.split(';').next().map(str::trim) == Some(Format::Parquet.media_type()));
                Ok(if is_parquet { Format::Parquet } else { Format::Csv })
            }
        }
    }
}

/// What of an invoice is changed. What is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvoiceChange {
    #[serde(default)]
    payment_status: Option<PaymentStatus>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

/// How an invoice is taken back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Voiding {
    /// Whether its periods are billed again.
    #[serde(default)]
    rebill: bool,
}

/// The clock of test mode.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TestClock {
    #[schema(value_type = String)]
    now: Timestamp,
}

/// A line with its invoice.
#[derive(Debug, Serialize, ToSchema)]
struct InvoicedFee {
    /// The invoice.
    invoice: String,
    /// The line.
    fee: Fee,
}

pub(super) fn page(page: Option<u32>, per_page: Option<u32>) -> Page {
    Page::new(page.unwrap_or(1), per_page.unwrap_or(PER_PAGE_DEFAULT))
}

/// An identifier out of a path. What is none is nobody's.
pub(super) fn id<T: FromStr>(kind: &'static str, text: &str) -> Result<T, MeteringError> {
    text.parse().map_err(|_| MeteringError::UnknownDefinition { kind, code: text.chars().take(80).collect() })
}

async fn rerate(
    State(billing): State<Billing>,
    caller: Caller,
    Path(external_id): Path<String>,
    StrictJson(input): StrictJson<RerateInput>,
) -> Result<Json<Rerate>, Problem> {
    Ok(Json(billing.rerate(&caller.0.identity, &external_id, &input).await?))
}

async fn list(State(billing): State<Billing>, caller: Caller, Query(which): Query<Which>) -> Result<Json<Listed<Invoice>>, Problem> {
    let tenant = caller.0.tenant();
    let filter = InvoiceFilter {
        customer: billing.catalog().id_of::<Customer>(tenant, which.customer.as_deref()).await?,
        status: which.status,
        payment_status: which.payment_status,
        kind: which.kind,
        number: which.number,
        currency: None,
    };
    Ok(Json(billing.list(tenant, &filter, page(which.page, which.per_page)).await?))
}

async fn bill_once(
    State(billing): State<Billing>,
    caller: Caller,
    StrictJson(request): StrictJson<OneOff>,
) -> Result<Json<InvoiceDocument>, Problem> {
    Ok(Json(billing.bill_once(&caller.0.identity, request).await?))
}

async fn preview(
    State(billing): State<Billing>,
    caller: Caller,
    StrictJson(input): StrictJson<InvoicePreviewInput>,
) -> Result<Json<InvoiceDocument>, Problem> {
    Ok(Json(billing.preview(caller.0.tenant(), &input).await?.document))
}

async fn get(State(billing): State<Billing>, caller: Caller, Path(invoice): Path<String>) -> Result<Json<InvoiceDocument>, Problem> {
    Ok(Json(billing.get(caller.0.tenant(), id("invoice", &invoice)?).await?))
}

async fn update(
    State(billing): State<Billing>,
    caller: Caller,
    Path(invoice): Path<String>,
    StrictJson(change): StrictJson<InvoiceChange>,
) -> Result<Json<InvoiceDocument>, Problem> {
    let (by, invoice) = (&caller.0.identity, id("invoice", &invoice)?);
    if let Some(metadata) = change.metadata {
        billing.set_metadata(by, invoice, metadata).await?;
    }
    if let Some(paid) = change.payment_status {
        billing.set_payment(by, invoice, paid).await?;
    }
    Ok(Json(billing.get(caller.0.tenant(), invoice).await?))
}

async fn refresh(State(billing): State<Billing>, caller: Caller, Path(invoice): Path<String>) -> Result<Json<InvoiceDocument>, Problem> {
    Ok(Json(billing.refresh(&caller.0.identity, id("invoice", &invoice)?).await?))
}

async fn finalize(State(billing): State<Billing>, caller: Caller, Path(invoice): Path<String>) -> Result<Json<InvoiceDocument>, Problem> {
    Ok(Json(billing.finalize(&caller.0.identity, id("invoice", &invoice)?).await?))
}

async fn void(
    State(billing): State<Billing>,
    caller: Caller,
    Path(invoice): Path<String>,
    StrictJson(how): StrictJson<Voiding>,
) -> Result<Json<InvoiceDocument>, Problem> {
    Ok(Json(billing.void(&caller.0.identity, id("invoice", &invoice)?, how.rebill).await?))
}

async fn page_of(State(billing): State<Billing>, caller: Caller, Path(invoice): Path<String>) -> Result<Response, Problem> {
    let document = billing.get(caller.0.tenant(), id("invoice", &invoice)?).await?;
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, PAGE_POLICY)];
    Ok((headers, sheet::page(&sheet::sheet(&document))).into_response())
}

async fn pdf_of(State(billing): State<Billing>, caller: Caller, Path(invoice): Path<String>) -> Result<Response, Problem> {
    let document = billing.get(caller.0.tenant(), id("invoice", &invoice)?).await?;
    let number = &document.invoice.number;
    let name = if number.is_empty() { document.invoice.id.to_string() } else { number.clone() };
    Ok(paper_of(&name, &sheet::sheet(&document)))
}

fn paper_of(name: &str, sheet: &sheet::Sheet) -> Response {
    let disposition = format!("inline; filename=\"{name}.pdf\"");
    let headers = [(header::CONTENT_TYPE, "application/pdf".to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    (headers, paper::pdf(sheet)).into_response()
}

async fn note_pdf(State(billing): State<Billing>, caller: Caller, Path(note): Path<String>) -> Result<Response, Problem> {
    let note = billing.note(caller.0.tenant(), id("credit note", &note)?).await?;
    let document = billing.get(caller.0.tenant(), note.invoice).await?;
    Ok(paper_of(&note.number, &sheet::credit(&note, &document)))
}

fn invoiced<I: Display>((invoice, fee): (I, Fee)) -> InvoicedFee {
    InvoicedFee { invoice: invoice.to_string(), fee }
}

async fn fees(
    State(billing): State<Billing>,
    caller: Caller,
    Query(which): Query<WhichFees>,
) -> Result<Json<Listed<InvoicedFee>>, Problem> {
    let tenant = caller.0.tenant();
    let subscription = match &which.subscription {
        Some(external_id) => Some(billing.catalog().current(tenant, external_id).await?.id),
        None => None,
    };
    let filter = FeeFilter { subscription, kind: which.kind, transaction_id: which.transaction_id, ..FeeFilter::default() };
    let listed = billing.fees(tenant, &filter, page(which.page, which.per_page)).await?;
    Ok(Json(listed.map(invoiced)))
}

async fn fee(State(billing): State<Billing>, caller: Caller, Path(fee): Path<String>) -> Result<Json<InvoicedFee>, Problem> {
    Ok(Json(invoiced(billing.fee(caller.0.tenant(), id("fee", &fee)?).await?)))
}

async fn list_notes(State(billing): State<Billing>, caller: Caller, Query(of): Query<Of>) -> Result<Json<Listed<CreditNote>>, Problem> {
    let tenant = caller.0.tenant();
    let invoice = of.invoice.as_deref().map(|text| id("invoice", text)).transpose()?;
    let customer = billing.catalog().id_of::<Customer>(tenant, of.customer.as_deref()).await?;
    let filter = NoteFilter { customer, invoice, ..NoteFilter::default() };
    Ok(Json(billing.notes(tenant, &filter, page(of.page, of.per_page)).await?))
}

async fn create_note(
    State(billing): State<Billing>,
    caller: Caller,
    StrictJson(request): StrictJson<CreditRequest>,
) -> Result<Json<CreditNote>, Problem> {
    Ok(Json(billing.create_note(&caller.0.identity, request).await?))
}

async fn estimate(
    State(billing): State<Billing>,
    caller: Caller,
    StrictJson(request): StrictJson<CreditRequest>,
) -> Result<Json<CreditEstimate>, Problem> {
    Ok(Json(billing.estimate_note(caller.0.tenant(), &request).await?))
}

async fn note(State(billing): State<Billing>, caller: Caller, Path(note): Path<String>) -> Result<Json<CreditNote>, Problem> {
    Ok(Json(billing.note(caller.0.tenant(), id("credit note", &note)?).await?))
}

async fn void_note(State(billing): State<Billing>, caller: Caller, Path(note): Path<String>) -> Result<Json<CreditNote>, Problem> {
    Ok(Json(billing.void_note(&caller.0.identity, id("credit note", &note)?).await?))
}

async fn list_coupons(
    State(billing): State<Billing>,
    caller: Caller,
    Query(of): Query<Of>,
) -> Result<Json<Listed<AppliedCoupon>>, Problem> {
    let tenant = caller.0.tenant();
    let customer = billing.catalog().id_of::<Customer>(tenant, of.customer.as_deref()).await?;
    Ok(Json(billing.applied_coupons(tenant, customer, of.active, page(of.page, of.per_page)).await?))
}

async fn redeem(
    State(billing): State<Billing>,
    caller: Caller,
    StrictJson(redemption): StrictJson<CouponRedemption>,
) -> Result<Json<AppliedCoupon>, Problem> {
    Ok(Json(billing.redeem_as(&caller.0.identity, redemption).await?))
}

async fn end_coupon(State(billing): State<Billing>, caller: Caller, Path(coupon): Path<String>) -> Result<Json<AppliedCoupon>, Problem> {
    Ok(Json(billing.end_coupon(&caller.0.identity, id("redeemed coupon", &coupon)?).await?))
}

async fn list_runs(State(billing): State<Billing>, caller: Caller, Query(of): Query<Of>) -> Result<Json<Listed<BillingRun>>, Problem> {
    Ok(Json(billing.runs(caller.0.tenant(), page(of.page, of.per_page)).await?))
}

async fn run(State(billing): State<Billing>, caller: Caller) -> Result<Json<BillingRun>, Problem> {
    Ok(Json(billing.run(&caller.0.identity).await?))
}

async fn get_run(State(billing): State<Billing>, caller: Caller, Path(run): Path<String>) -> Result<Json<BillingRun>, Problem> {
    Ok(Json(billing.billing_run(caller.0.tenant(), id("billing run", &run)?).await?))
}

async fn set_clock(
    State(billing): State<Billing>,
    caller: Caller,
    StrictJson(clock): StrictJson<TestClock>,
) -> Result<Json<TestClock>, Problem> {
    Ok(Json(TestClock { now: billing.set_test_clock(&caller.0.identity, clock.now).await? }))
}

async fn export(
    State(billing): State<Billing>,
    caller: Caller,
    Path(table): Path<String>,
    Query(how): Query<Exporting>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let unknown = || MeteringError::from(DefinitionError::new("table", format!("is none of {}", Export::NAMES)));
    let named = Export::named(&table).ok_or_else(unknown)?;
    let format = how.format(&headers).map_err(MeteringError::from)?;
    let times = (how.since.unwrap_or(Timestamp::EPOCH), how.until.unwrap_or(Timestamp::MAX));
    let body = Body::from_stream(billing.export(caller.0.tenant(), named, format, times));
    let disposition = format!("attachment; filename=\"{table}.{}\"", format.extension());
    let headers = [(header::CONTENT_TYPE, format.media_type().to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, body).into_response())
}
