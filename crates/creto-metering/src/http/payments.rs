//! Routes of payments: `/v1/metering/payments`, and what a provider sends back.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method};
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::billing::{id, page};
use crate::error::MeteringError;
use crate::model::invoice::InvoiceDocument;
use crate::model::page::Listed;
use crate::model::payment::{Payment, PaymentState};
use crate::payments::Payments;

/// Largest notice, in bytes.
const NOTICE_BYTES_MAX: usize = 1 << 20;

/// The endpoints of payments.
#[must_use]
pub fn endpoints(payments: &Payments) -> Vec<Endpoint> {
    let state = || payments.clone();
    let operator = Access::Operator;
    vec![
        Endpoint::new(Method::GET, "/v1/metering/payments", operator, "What the payment provider was asked for", list, state())
            .answers::<InvoicePayments>(),
        Endpoint::new(
            Method::POST,
            "/v1/metering/invoices/{invoice}/retry-payment",
            operator,
            "Ask the payment provider for an invoice's payment again",
            retry,
            state(),
        )
        .takes::<Nothing>()
        .answers::<InvoiceDocument>(),
        Endpoint::new(
            Method::POST,
            "/v1/metering/payment-providers/{provider}/webhook",
            Access::Public,
            "What a payment provider tells, signed by it",
            receive,
            state(),
        )
        .answers::<Received>(),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    state: Option<PaymentState>,
    #[serde(default)]
    page: Option<u32>,
    #[serde(default)]
    per_page: Option<u32>,
}

/// No input.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RetryPayment)]
struct Nothing {}

/// The payment of an invoice.
#[derive(Debug, Serialize, ToSchema)]
struct InvoicePayment {
    /// The invoice.
    invoice: String,
    /// Its payment.
    #[serde(flatten)]
    payment: Payment,
}

/// A page of payments, the longest not looked at first.
#[derive(Debug, Serialize, ToSchema)]
struct InvoicePayments {
    /// The payments.
    items: Vec<InvoicePayment>,
    /// This page's number.
    page: u32,
    /// Its size.
    per_page: u32,
    /// Payments on all pages.
    total: u64,
}

/// That it was heard.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentNoticeReceived)]
struct Received {
    /// Always.
    received: bool,
}

async fn list(State(payments): State<Payments>, caller: Caller, Query(which): Query<Which>) -> Result<Json<InvoicePayments>, Problem> {
    let listed = payments.list(caller.0.tenant(), which.state, page(which.page, which.per_page)).await?;
    let Listed { items, page, per_page, total } = listed.map(|(invoice, payment)| InvoicePayment { invoice: invoice.to_string(), payment });
    Ok(Json(InvoicePayments { items, page, per_page, total }))
}

async fn retry(
    State(payments): State<Payments>,
    caller: Caller,
    Path(invoice): Path<String>,
    StrictJson(Nothing {}): StrictJson<Nothing>,
) -> Result<Json<InvoiceDocument>, Problem> {
    Ok(Json(payments.retry(&caller.0.identity, id("invoice", &invoice)?).await?))
}

/// The bytes as they came: the signature covers them.
async fn receive(
    State(payments): State<Payments>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Received>, Problem> {
    if body.len() > NOTICE_BYTES_MAX {
        return Err(MeteringError::BadPaymentNotice("it is larger than any notice".to_owned()).into());
    }
    let signature = headers.get(format!("{provider}-signature")).and_then(|value| value.to_str().ok()).unwrap_or_default();
    payments.receive(&provider, signature, &body).await?;
    Ok(Json(Received { received: true }))
}
