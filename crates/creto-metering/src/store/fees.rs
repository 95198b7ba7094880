//! Lines of invoices in the database.

use creto_db::{Db, DbError, Write, params};
use creto_kernel::{TenantId, Timestamp};

use crate::model::currency::Currency;
use crate::model::entry::DefinitionId;
use crate::model::invoice::{Fee, FeeId, FeeKind, Invoice, InvoiceId, PaymentStatus};
use crate::model::page::{Listed, Page};
use crate::model::subscription::SubscriptionId;
use crate::store::billing::document;
use crate::store::paging::listed;

/// Puts an invoice's lines in the place of those before.
pub(crate) fn replace(tenant: &TenantId, invoice: &Invoice, fees: &[(Fee, String)], now: Timestamp) -> Vec<Write> {
    let forget = Write::new("DELETE FROM meter_fee WHERE tenant = $1 AND invoice = $2", params![tenant, invoice.id]);
    let insert = |(position, (fee, body)): (usize, &(Fee, String))| {
        Write::new(
            "INSERT INTO meter_fee (tenant, id, invoice, customer, subscription, kind, position, amount, body, created_at, transaction_id) \
             VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)",
            params![
                tenant,
                fee.id,
                invoice.id,
                invoice.customer,
                fee.subscription.map_or_else(String::new, |id| id.to_string()),
                fee.kind.as_str(),
                i64::try_from(position).unwrap_or(i64::MAX),
                fee.amount_cents,
                body.as_str(),
                now,
                fee.advance.as_ref().map_or("", |event| event.transaction_id.as_str())
            ],
        )
    };
    std::iter::once(forget).chain(fees.iter().enumerate().map(insert)).collect()
}

/// The lines of an invoice, in its order.
pub(crate) async fn of_invoice(db: &Db, tenant: &TenantId, invoice: InvoiceId) -> Result<Vec<Fee>, DbError> {
    let sql = "SELECT body FROM meter_fee WHERE tenant = $1 AND invoice = $2 ORDER BY position";
    db.query(sql, params![tenant, invoice]).await?.iter().map(|row| document(row, 0)).collect()
}

/// A line with its invoice.
pub(crate) async fn one(db: &Db, tenant: &TenantId, id: FeeId) -> Result<Option<(InvoiceId, Fee)>, DbError> {
    let sql = "SELECT invoice, body FROM meter_fee WHERE tenant = $1 AND id = $2";
    let row = db.query_optional(sql, params![tenant, id]).await?;
    row.map(|row| Ok((row.parse(0)?, document(&row, 1)?))).transpose()
}

/// Which lines a list shows.
#[derive(Debug, Clone, Default)]
pub struct FeeFilter {
    /// Of this customer only.
    pub customer: Option<DefinitionId>,
    /// Of this subscription only.
    pub subscription: Option<SubscriptionId>,
    /// For this only.
    pub kind: Option<FeeKind>,
    /// Usage that came late is usage too.
    pub with_late: bool,
    /// On invoices in this currency only.
    pub currency: Option<Currency>,
    /// On invoices with this payment only.
    pub payment_status: Option<PaymentStatus>,
    /// Those that bill an event of this identifier by itself only.
    pub transaction_id: Option<String>,
    /// Made at or after this moment only.
    pub created_from: Option<Timestamp>,
    /// Made at or before this moment only.
    pub created_to: Option<Timestamp>,
}

/// Lines and their invoices. What an event is found by stands apart: its index serves no condition that may be off.
macro_rules! fees_where {
    ($select:literal, $event:literal, $rest:literal) => {
        concat!(
            $select,
            " FROM meter_fee f JOIN meter_invoice i ON i.tenant = f.tenant AND i.id = f.invoice ",
            "WHERE f.tenant = $1 AND ($2 = '' OR f.customer = $2) AND ($3 = '' OR f.subscription = $3) ",
            "AND ($4 = '' OR f.kind = $4 OR f.kind = $5) AND ($6 = '' OR i.currency = $6) AND ($7 = '' OR i.payment_status = $7) ",
            "AND f.created_at >= $8 AND f.created_at <= $9 AND ",
            $event,
            $rest
        )
    };
}
macro_rules! listed_fees {
    ($event:literal) => {
        fees_where!("SELECT f.invoice, f.body", $event, " ORDER BY f.created_at DESC, f.id DESC LIMIT $11 OFFSET $12")
    };
}
macro_rules! counted_fees {
    ($event:literal) => {
        fees_where!("SELECT COUNT(*)", $event, "")
    };
}

/// A page of lines, newest first, each with its invoice.
pub(crate) async fn page(db: &Db, tenant: &TenantId, filter: &FeeFilter, page: Page) -> Result<Listed<(InvoiceId, Fee)>, DbError> {
    let (sql, counted) = if filter.transaction_id.is_some() {
        (
            listed_fees!("f.transaction_id <> '' AND f.transaction_id = $10"),
            counted_fees!("f.transaction_id <> '' AND f.transaction_id = $10"),
        )
    } else {
        (listed_fees!("$10 = ''"), counted_fees!("$10 = ''"))
    };
    let also = if filter.with_late && filter.kind == Some(FeeKind::Charge) { FeeKind::Adjustment.as_str() } else { "" };
    let values = params![
        tenant,
        filter.customer.map_or_else(String::new, |id| id.to_string()),
        filter.subscription.map_or_else(String::new, |id| id.to_string()),
        filter.kind.map_or("", FeeKind::as_str),
        also,
        filter.currency.as_ref().map_or("", Currency::as_str),
        filter.payment_status.map_or("", PaymentStatus::as_str),
        filter.created_from.unwrap_or(Timestamp::EPOCH),
        filter.created_to.unwrap_or(Timestamp::MAX),
        filter.transaction_id.as_deref().unwrap_or_default()
    ];
    listed(db, sql, counted, values, page, |row| Ok((row.parse(0)?, document(row, 1)?))).await
}

/// Lines of usage of a subscription on invoices that stand, with what kind of invoice they are on.
pub(crate) async fn of_usage(db: &Db, tenant: &TenantId, subscription: SubscriptionId) -> Result<Vec<(String, InvoiceId, Fee)>, DbError> {
    let sql = "SELECT i.kind, f.invoice, f.body FROM meter_fee f JOIN meter_invoice i ON i.tenant = f.tenant AND i.id = f.invoice \
               WHERE f.tenant = $1 AND f.subscription = $2 AND f.kind IN ('charge', 'adjustment', 'subscription') AND i.status <> 'voided' \
               ORDER BY f.created_at, f.position";
    let rows = db.query(sql, params![tenant, subscription]).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.parse(1)?, document(row, 2)?))).collect()
}
