//! Invoices, credit notes, redeemed coupons and runs in the database.

use creto_db::{Db, DbError, Migration, MigrationSet, Row, Write, params};
use creto_kernel::{TenantId, Timestamp};
use serde::de::DeserializeOwned;

use crate::model::currency::Currency;
use crate::model::customer::Customer;
use crate::model::entry::DefinitionId;
use crate::model::invoice::{
    AppliedCoupon, AppliedCouponId, BilledPeriod, BillingRun, BillingRunId, CreditNote, CreditNoteId, CreditNoteStatus, Invoice, InvoiceId,
    InvoiceKind, InvoiceStatus, PaymentStatus,
};
use crate::model::page::{Listed, Page};
use crate::model::subscription::{Subscription, SubscriptionId};
use crate::store::catalog::CHANGED;
use crate::store::paging::listed;

/// The tables of billing.
pub const BILLING_MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering_billing",
    migrations: &[
        Migration {
            version: 1,
            sqlite: include_str!("../../migrations/billing/0001_billing.sql"),
            postgres: include_str!("../../migrations/billing/0001_billing.sql"),
        },
        Migration {
            version: 2,
            sqlite: include_str!("../../migrations/billing/0002_advance.sql"),
            postgres: include_str!("../../migrations/billing/0002_advance.sql"),
        },
        Migration {
            version: 3,
            sqlite: include_str!("../../migrations/billing/0003_sqlite.sql"),
            postgres: include_str!("../../migrations/billing/0003_postgres.sql"),
        },
    ],
};

/// The series invoices are numbered in.
pub(crate) const SERIES: &str = "invoice";

/// Takes the next number of a series, if it still is the next one.
pub(crate) fn take_number(tenant: &TenantId, series: &str, number: i64) -> Write {
    Write::new(
        "INSERT INTO meter_series (tenant, series, last) VALUES ($1,$2,$3) \
         ON CONFLICT (tenant, series) DO UPDATE SET last = excluded.last WHERE meter_series.last = excluded.last - 1",
        params![tenant, series, number],
    )
    .exactly(1, CHANGED, "the number was taken meanwhile")
}

pub(crate) async fn last_number(db: &Db, tenant: &TenantId, series: &str) -> Result<i64, DbError> {
    let row = db.query_optional("SELECT last FROM meter_series WHERE tenant = $1 AND series = $2", params![tenant, series]).await?;
    row.map_or(Ok(0), |row| row.int(0))
}

/// An invoice as it is written.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    pub(crate) invoice: &'a Invoice,
    pub(crate) body: &'a str,
    pub(crate) billed_to: &'a str,
    pub(crate) salt: &'a str,
    pub(crate) leaf: &'a str,
}

pub(crate) fn insert_invoice(tenant: &TenantId, it: &Written<'_>, once: &str) -> Write {
    let invoice = it.invoice;
    Write::new(
        "INSERT INTO meter_invoice (tenant, id, customer, kind, status, payment_status, once, sequence, number, currency, total, \
         revision, body, billed_to, salt, leaf, created_at, final_at, finalized_at) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19)",
        params![
            tenant,
            invoice.id,
            invoice.customer,
            invoice.kind.as_str(),
            invoice.status.as_str(),
            invoice.payment_status.as_str(),
            once,
            invoice.sequence,
            invoice.number.as_str(),
            invoice.currency.as_str(),
            invoice.sums.total_cents,
            invoice.revision,
            it.body,
            it.billed_to,
            it.salt,
            it.leaf,
            invoice.created_at,
            invoice.final_at,
            invoice.finalized_at
        ],
    )
    .unique(CHANGED, "the period was billed meanwhile")
}

pub(crate) fn replace_invoice(tenant: &TenantId, it: &Written<'_>) -> Write {
    let invoice = it.invoice;
    Write::new(
        "UPDATE meter_invoice SET status = $1, payment_status = $2, sequence = $3, number = $4, total = $5, revision = $6, body = $7, \
         billed_to = $8, salt = $9, leaf = $10, final_at = $11, finalized_at = $12 WHERE tenant = $13 AND id = $14 AND revision = $15",
        params![
            invoice.status.as_str(),
            invoice.payment_status.as_str(),
            invoice.sequence,
            invoice.number.as_str(),
            invoice.sums.total_cents,
            invoice.revision,
            it.body,
            it.billed_to,
            it.salt,
            it.leaf,
            invoice.final_at,
            invoice.finalized_at,
            tenant,
            invoice.id,
            invoice.revision.saturating_sub(1)
        ],
    )
    .exactly(1, CHANGED, "the invoice was changed meanwhile")
}

/// An invoice with what is kept beside it.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) invoice: Invoice,
    pub(crate) billed_to: Option<Customer>,
    pub(crate) salt: String,
    pub(crate) leaf: String,
}

pub(super) fn document<T: DeserializeOwned>(row: &Row, column: usize) -> Result<T, DbError> {
    serde_json::from_str(row.text(column)?).map_err(|e| DbError::UnexpectedRow(format!("a document of billing: {e}")))
}

fn kept(row: &Row) -> Result<Kept, DbError> {
    let billed_to = match row.text(1)? {
        "" => None,
        _ => Some(document(row, 1)?),
    };
    Ok(Kept { invoice: document(row, 0)?, billed_to, salt: row.text(2)?.to_owned(), leaf: row.text(3)?.to_owned() })
}

pub(crate) async fn invoice(db: &Db, tenant: &TenantId, id: InvoiceId) -> Result<Option<Kept>, DbError> {
    let sql = "SELECT body, billed_to, salt, leaf FROM meter_invoice WHERE tenant = $1 AND id = $2";
    db.query_optional(sql, params![tenant, id]).await?.as_ref().map(kept).transpose()
}

/// The invoice that was made under this key.
pub(crate) async fn made_once(db: &Db, tenant: &TenantId, once: &str) -> Result<Option<Invoice>, DbError> {
    let sql = "SELECT body FROM meter_invoice WHERE tenant = $1 AND once = $2";
    db.query_optional(sql, params![tenant, once]).await?.map(|row| document(&row, 0)).transpose()
}

/// Which invoices a list shows.
#[derive(Debug, Clone, Default)]
pub struct InvoiceFilter {
    /// Of this customer only.
    pub customer: Option<DefinitionId>,
    /// In this state only.
    pub status: Option<InvoiceStatus>,
    /// With this payment only.
    pub payment_status: Option<PaymentStatus>,
    /// Made by this only.
    pub kind: Option<InvoiceKind>,
    /// With this number only.
    pub number: Option<String>,
    /// In this currency only.
    pub currency: Option<Currency>,
}

pub(crate) async fn invoices(db: &Db, tenant: &TenantId, filter: &InvoiceFilter, page: Page) -> Result<Listed<Invoice>, DbError> {
    let sql = "SELECT body FROM meter_invoice WHERE tenant = $1 AND ($2 = '' OR customer = $2) AND ($3 = '' OR status = $3) \
               AND ($4 = '' OR payment_status = $4) AND ($5 = '' OR kind = $5) AND ($6 = '' OR number = $6) AND ($7 = '' OR currency = $7) \
               ORDER BY created_at DESC, id DESC LIMIT $8 OFFSET $9";
    let counted = "SELECT COUNT(*) FROM meter_invoice WHERE tenant = $1 AND ($2 = '' OR customer = $2) AND ($3 = '' OR status = $3) \
                   AND ($4 = '' OR payment_status = $4) AND ($5 = '' OR kind = $5) AND ($6 = '' OR number = $6) AND ($7 = '' OR currency = $7)";
    let values = params![
        tenant,
        filter.customer.map_or_else(String::new, |id| id.to_string()),
        filter.status.map_or("", InvoiceStatus::as_str),
        filter.payment_status.map_or("", PaymentStatus::as_str),
        filter.kind.map_or("", InvoiceKind::as_str),
        filter.number.as_deref().unwrap_or_default(),
        filter.currency.as_ref().map_or("", Currency::as_str)
    ];
    listed(db, sql, counted, values, page, |row| document(row, 0)).await
}

/// Drafts whose time has come, oldest first.
pub(crate) async fn due_drafts(db: &Db, tenant: &TenantId, now: Timestamp, limit: i64) -> Result<Vec<InvoiceId>, DbError> {
    let sql = "SELECT id FROM meter_invoice WHERE tenant = $1 AND status = 'draft' AND final_at <= $2 ORDER BY final_at, created_at, id \
               LIMIT $3";
    db.query(sql, params![tenant, now, limit]).await?.iter().map(|row| row.parse(0)).collect()
}

/// Notes which usage an invoice bills: a period of a subscription is billed once.
pub(crate) fn insert_period(tenant: &TenantId, invoice: InvoiceId, it: &BilledPeriod) -> Write {
    Write::new(
        "INSERT INTO meter_billed_period (tenant, subscription, begins_at, ends_at, invoice, seen_to) VALUES ($1,$2,$3,$4,$5,$6)",
        params![tenant, it.subscription, it.from, it.to, invoice, it.seen_to],
    )
    .unique(CHANGED, "the period was billed meanwhile")
}

pub(crate) fn seen_to(tenant: &TenantId, invoice: InvoiceId, at: Timestamp) -> Write {
    Write::new("UPDATE meter_billed_period SET seen_to = $1 WHERE tenant = $2 AND invoice = $3", params![at, tenant, invoice])
}

/// A billed period of a subscription on an invoice that stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PastPeriod {
    pub(crate) subscription: SubscriptionId,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) invoice: InvoiceId,
}

/// A page of the billed periods of a customer's subscriptions of one external identifier, newest first.
pub(crate) async fn past_periods(
    db: &Db,
    tenant: &TenantId,
    customer: DefinitionId,
    external_id: &str,
    page: Page,
) -> Result<Listed<PastPeriod>, DbError> {
    let sql = "SELECT p.subscription, p.begins_at, p.ends_at, p.invoice FROM meter_billed_period p \
               JOIN meter_subscription s ON s.tenant = p.tenant AND s.id = p.subscription \
               JOIN meter_invoice i ON i.tenant = p.tenant AND i.id = p.invoice \
               WHERE p.tenant = $1 AND s.customer = $2 AND s.external_id = $3 AND i.status <> 'voided' \
               ORDER BY p.begins_at DESC, p.subscription DESC LIMIT $4 OFFSET $5";
    let counted = "SELECT COUNT(*) FROM meter_billed_period p \
                   JOIN meter_subscription s ON s.tenant = p.tenant AND s.id = p.subscription \
                   JOIN meter_invoice i ON i.tenant = p.tenant AND i.id = p.invoice \
                   WHERE p.tenant = $1 AND s.customer = $2 AND s.external_id = $3 AND i.status <> 'voided'";
    listed(db, sql, counted, params![tenant, customer, external_id], page, |row| {
        Ok(PastPeriod { subscription: row.parse(0)?, from: row.time(1)?, to: row.time(2)?, invoice: row.parse(3)? })
    })
    .await
}

/// Frees the periods of an invoice that was taken back: the next run bills them again.
pub(crate) fn free_periods(tenant: &TenantId, invoice: InvoiceId) -> [Write; 2] {
    [
        Write::new("DELETE FROM meter_billed_period WHERE tenant = $1 AND invoice = $2", params![tenant, invoice]),
        Write::new("UPDATE meter_invoice SET once = '' WHERE tenant = $1 AND id = $2", params![tenant, invoice]),
    ]
}

/// A billed period with its invoice and that invoice's state.
#[derive(Debug, Clone)]
pub(crate) struct Period {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) seen_to: Timestamp,
    pub(crate) is_final: bool,
}

/// What of a subscription was billed, oldest first.
pub(crate) async fn periods(db: &Db, tenant: &TenantId, subscription: SubscriptionId) -> Result<Vec<Period>, DbError> {
    let sql = "SELECT p.begins_at, p.ends_at, p.seen_to, i.status FROM meter_billed_period p \
               JOIN meter_invoice i ON i.tenant = p.tenant AND i.id = p.invoice WHERE p.tenant = $1 AND p.subscription = $2 \
               ORDER BY p.begins_at";
    let rows = db.query(sql, params![tenant, subscription]).await?;
    rows.iter()
        .map(|row| {
            let is_final = row.text(3)? != "draft";
            Ok(Period { from: row.time(0)?, to: row.time(1)?, seen_to: row.time(2)?, is_final })
        })
        .collect()
}

/// Where billing of a subscription stands; none where nothing of it was billed.
pub(crate) async fn billed_to(db: &Db, tenant: &TenantId, subscription: SubscriptionId) -> Result<Option<Timestamp>, DbError> {
    let sql = "SELECT MAX(ends_at) FROM meter_billed_period WHERE tenant = $1 AND subscription = $2";
    let row = db.query_optional(sql, params![tenant, subscription]).await?;
    match row {
        Some(row) if row.opt_int(0)?.is_some() => row.time(0).map(Some),
        _ => Ok(None),
    }
}

/// Subscriptions that are not billed to their end, after `after`, each with where billing of it stands.
pub(crate) async fn billable(db: &Db, tenant: &TenantId, after: &str, limit: i64) -> Result<Vec<(Subscription, Timestamp)>, DbError> {
    let sql = "SELECT s.body, COALESCE((SELECT MAX(p.ends_at) FROM meter_billed_period p WHERE p.tenant = s.tenant AND p.subscription = s.id), \
               s.started_at) FROM meter_subscription s WHERE s.tenant = $1 AND s.id > $2 AND s.started_at IS NOT NULL \
               AND (s.status = 'active' OR (s.status = 'terminated' AND s.terminated_at > COALESCE((SELECT MAX(p.ends_at) \
               FROM meter_billed_period p WHERE p.tenant = s.tenant AND p.subscription = s.id), s.started_at))) ORDER BY s.id LIMIT $3";
    let rows = db.query(sql, params![tenant, after, limit]).await?;
    rows.iter().map(|row| Ok((document(row, 0)?, row.time(1)?))).collect()
}

pub(crate) fn insert_note(tenant: &TenantId, it: &CreditNote, body: &str) -> Write {
    Write::new(
        "INSERT INTO meter_credit_note (tenant, id, invoice, customer, number, status, currency, balance, revision, body, created_at) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)",
        params![
            tenant,
            it.id,
            it.invoice,
            it.customer,
            it.number.as_str(),
            it.status.as_str(),
            it.currency.as_str(),
            it.balance_cents,
            it.revision,
            body,
            it.created_at
        ],
    )
    .unique(CHANGED, "the number was taken meanwhile")
}

pub(crate) fn replace_note(tenant: &TenantId, it: &CreditNote, body: &str) -> Write {
    Write::new(
        "UPDATE meter_credit_note SET status = $1, balance = $2, revision = $3, body = $4 WHERE tenant = $5 AND id = $6 AND revision = $7",
        params![it.status.as_str(), it.balance_cents, it.revision, body, tenant, it.id, it.revision.saturating_sub(1)],
    )
    .exactly(1, CHANGED, "the credit note was changed meanwhile")
}

pub(crate) async fn note(db: &Db, tenant: &TenantId, id: CreditNoteId) -> Result<Option<CreditNote>, DbError> {
    let sql = "SELECT body FROM meter_credit_note WHERE tenant = $1 AND id = $2";
    db.query_optional(sql, params![tenant, id]).await?.map(|row| document(&row, 0)).transpose()
}

/// Which credit notes a list shows.
#[derive(Debug, Clone, Default)]
pub struct NoteFilter {
    /// Of this customer only.
    pub customer: Option<DefinitionId>,
    /// Of this invoice only.
    pub invoice: Option<InvoiceId>,
    /// In this state only.
    pub status: Option<CreditNoteStatus>,
    /// In this currency only.
    pub currency: Option<Currency>,
}

pub(crate) async fn notes(db: &Db, tenant: &TenantId, filter: &NoteFilter, page: Page) -> Result<Listed<CreditNote>, DbError> {
    let sql = "SELECT body FROM meter_credit_note WHERE tenant = $1 AND ($2 = '' OR customer = $2) AND ($3 = '' OR invoice = $3) \
               AND ($4 = '' OR status = $4) AND ($5 = '' OR currency = $5) ORDER BY created_at DESC, id DESC LIMIT $6 OFFSET $7";
    let counted = "SELECT COUNT(*) FROM meter_credit_note WHERE tenant = $1 AND ($2 = '' OR customer = $2) AND ($3 = '' OR invoice = $3) \
                   AND ($4 = '' OR status = $4) AND ($5 = '' OR currency = $5)";
    let values = params![
        tenant,
        filter.customer.map_or_else(String::new, |id| id.to_string()),
        filter.invoice.map_or_else(String::new, |id| id.to_string()),
        filter.status.map_or("", CreditNoteStatus::as_str),
        filter.currency.as_ref().map_or("", Currency::as_str)
    ];
    listed(db, sql, counted, values, page, |row| document(row, 0)).await
}

/// Notes that still pay, oldest first.
pub(crate) async fn paying_notes(db: &Db, tenant: &TenantId, customer: DefinitionId, currency: &str) -> Result<Vec<CreditNote>, DbError> {
    let sql = "SELECT body FROM meter_credit_note WHERE tenant = $1 AND customer = $2 AND currency = $3 AND status = 'available' \
               AND balance > 0 ORDER BY created_at, id";
    db.query(sql, params![tenant, customer, currency]).await?.iter().map(|row| document(row, 0)).collect()
}

pub(crate) fn insert_coupon(tenant: &TenantId, it: &AppliedCoupon, body: &str) -> Write {
    Write::new(
        "INSERT INTO meter_applied_coupon (tenant, id, customer, coupon, status, revision, body, created_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)",
        params![
            tenant,
            it.id,
            it.customer,
            it.coupon_id,
            if it.active { "active" } else { "terminated" },
            it.revision,
            body,
            it.created_at
        ],
    )
}

pub(crate) fn replace_coupon(tenant: &TenantId, it: &AppliedCoupon, body: &str) -> Write {
    Write::new(
        "UPDATE meter_applied_coupon SET status = $1, revision = $2, body = $3 WHERE tenant = $4 AND id = $5 AND revision = $6",
        params![if it.active { "active" } else { "terminated" }, it.revision, body, tenant, it.id, it.revision.saturating_sub(1)],
    )
    .exactly(1, CHANGED, "the redeemed coupon was changed meanwhile")
}

pub(crate) async fn coupon(db: &Db, tenant: &TenantId, id: AppliedCouponId) -> Result<Option<AppliedCoupon>, DbError> {
    let sql = "SELECT body FROM meter_applied_coupon WHERE tenant = $1 AND id = $2";
    db.query_optional(sql, params![tenant, id]).await?.map(|row| document(&row, 0)).transpose()
}

pub(crate) async fn coupons(
    db: &Db,
    tenant: &TenantId,
    customer: Option<DefinitionId>,
    status: &str,
    page: Page,
) -> Result<Listed<AppliedCoupon>, DbError> {
    let sql = "SELECT body FROM meter_applied_coupon WHERE tenant = $1 AND ($2 = '' OR customer = $2) AND ($3 = '' OR status = $3) \
               ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5";
    let counted = "SELECT COUNT(*) FROM meter_applied_coupon WHERE tenant = $1 AND ($2 = '' OR customer = $2) AND ($3 = '' OR status = $3)";
    let values = params![tenant, customer.map_or_else(String::new, |id| id.to_string()), status];
    listed(db, sql, counted, values, page, |row| document(row, 0)).await
}

pub(crate) fn insert_run(tenant: &TenantId, it: &BillingRun, body: &str) -> Write {
    Write::new(
        "INSERT INTO meter_billing_run (tenant, id, status, revision, body, created_at) VALUES ($1,$2,'running',$3,$4,$5)",
        params![tenant, it.id, it.revision, body, it.started_at],
    )
    .unique(CHANGED, "a run of billing is under way")
}

pub(crate) fn replace_run(tenant: &TenantId, it: &BillingRun, body: &str) -> Write {
    Write::new(
        "UPDATE meter_billing_run SET status = $1, revision = $2, body = $3 WHERE tenant = $4 AND id = $5 AND revision = $6",
        params![if it.done { "done" } else { "running" }, it.revision, body, tenant, it.id, it.revision.saturating_sub(1)],
    )
    .exactly(1, CHANGED, "the run of billing was continued by somebody else")
}

/// The run that is under way.
pub(crate) async fn running(db: &Db, tenant: &TenantId) -> Result<Option<BillingRun>, DbError> {
    let sql = "SELECT body FROM meter_billing_run WHERE tenant = $1 AND status = 'running'";
    db.query_optional(sql, params![tenant]).await?.map(|row| document(&row, 0)).transpose()
}

pub(crate) async fn run(db: &Db, tenant: &TenantId, id: BillingRunId) -> Result<Option<BillingRun>, DbError> {
    let sql = "SELECT body FROM meter_billing_run WHERE tenant = $1 AND id = $2";
    db.query_optional(sql, params![tenant, id]).await?.map(|row| document(&row, 0)).transpose()
}

pub(crate) async fn runs(db: &Db, tenant: &TenantId, page: Page) -> Result<Listed<BillingRun>, DbError> {
    let sql = "SELECT body FROM meter_billing_run WHERE tenant = $1 ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3";
    let counted = "SELECT COUNT(*) FROM meter_billing_run WHERE tenant = $1";
    listed(db, sql, counted, params![tenant], page, |row| document(row, 0)).await
}

/// Purchases of credits that no invoice asks payment for yet.
pub(crate) async fn unbilled_purchases(
    db: &Db,
    tenant: &TenantId,
    limit: i64,
) -> Result<Vec<crate::model::wallets::WalletTransaction>, DbError> {
    let sql = "SELECT body FROM meter_wallet_transaction WHERE tenant = $1 AND kind = 'purchased' AND status = 'pending' AND invoice = '' \
               ORDER BY created_at, id LIMIT $2";
    db.query(sql, params![tenant, limit]).await?.iter().map(|row| document(row, 0)).collect()
}

/// Ties a purchase to the invoice that asks for its payment.
pub(crate) fn bill_purchase(tenant: &TenantId, it: &crate::model::wallets::WalletTransaction, body: &str) -> Write {
    Write::new(
        "UPDATE meter_wallet_transaction SET invoice = $1, body = $2 WHERE tenant = $3 AND id = $4 AND status = 'pending' AND invoice = ''",
        params![it.invoice.as_str(), body, tenant, it.id],
    )
    .exactly(1, CHANGED, "the purchase was billed meanwhile")
}

/// Tenants that have a subscription: those a run of billing is for.
pub(crate) async fn tenants(db: &Db) -> Result<Vec<TenantId>, DbError> {
    let rows = db.query("SELECT DISTINCT tenant FROM meter_definition WHERE kind = 'customer' ORDER BY tenant", vec![]).await?;
    rows.iter().map(|row| row.parse(0)).collect()
}

/// The clock of a tenant in test mode.
pub(crate) async fn test_clock(db: &Db, tenant: &TenantId) -> Result<Option<(Timestamp, i64)>, DbError> {
    let row = db.query_optional("SELECT now, revision FROM meter_test_clock WHERE tenant = $1", params![tenant]).await?;
    row.map(|row| Ok((row.time(0)?, row.int(1)?))).transpose()
}

/// Sets the clock of test mode, forwards only; of a tenant that never finalized a live invoice.
pub(crate) fn set_test_clock(tenant: &TenantId, now: Timestamp, revision: i64) -> Write {
    Write::new(
        "INSERT INTO meter_test_clock (tenant, now, revision) SELECT $1, $2, $3 \
         WHERE $3 > 1 OR NOT EXISTS (SELECT 1 FROM meter_invoice WHERE tenant = $1) \
         ON CONFLICT (tenant) DO UPDATE SET now = excluded.now, revision = excluded.revision \
         WHERE meter_test_clock.revision = excluded.revision - 1 AND meter_test_clock.now <= excluded.now",
        params![tenant, now, revision],
    )
    .exactly(1, CHANGED, "the tenant bills for real, or its test clock would go back")
}

/// Forgets whom a customer's invoices were billed to; what they say and what proves it stays.
pub(crate) fn erase_billed_to(tenant: &TenantId, customer: DefinitionId) -> Write {
    Write::new("UPDATE meter_invoice SET billed_to = '' WHERE tenant = $1 AND customer = $2", params![tenant, customer])
}
