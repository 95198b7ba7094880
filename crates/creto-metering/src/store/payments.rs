//! What payment providers were asked for, as stored.

use creto_db::{Db, DbError, Migration, MigrationSet, Row, Write, params};
use creto_kernel::{ErrorCode, TenantId, Timestamp};

use crate::model::invoice::InvoiceId;
use crate::model::page::{Listed, Page};
use crate::model::payment::{Payment, PaymentState};
use crate::store::paging::listed;

/// The tables of payments.
pub const PAYMENT_MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering_payments",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../../migrations/payments/0001_payments.sql"),
        postgres: include_str!("../../migrations/payments/0001_payments.sql"),
    }],
};

/// Somebody else was faster.
pub(crate) const MOVED: ErrorCode = ErrorCode::new("metering.payment_moved");
/// The provider told this before.
pub(crate) const SEEN: ErrorCode = ErrorCode::new("metering.notice_seen");

/// Notes that a payment is to be asked for, once; what is there already stays.
pub(crate) async fn begin(db: &Db, tenant: &TenantId, invoice: InvoiceId, provider: &str, now: Timestamp) -> Result<(), DbError> {
    let sql = "INSERT INTO meter_payment (tenant, invoice, provider, state, reference, url, problem, wanted, tried, asked_at, looked_at) \
               VALUES ($1,$2,$3,'asking','','','',0,0,$4,$4) ON CONFLICT (tenant, invoice) DO NOTHING";
    db.upkeep(sql, params![tenant, invoice, provider, now]).await.map(drop)
}

fn read(row: &Row, from: usize) -> Result<Payment, DbError> {
    let word = row.text(from + 1)?;
    let state = PaymentState::ALL.into_iter().find(|state| state.as_str() == word);
    let some = |at: usize| row.text(from + at).map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()));
    Ok(Payment {
        provider: row.text(from)?.to_owned(),
        state: state.ok_or_else(|| DbError::Corrupt(format!("a payment is `{word}`")))?,
        reference: some(2)?,
        url: some(3)?,
        problem: some(4)?,
        wanted: row.int(from + 5)?,
        tried: row.int(from + 6)?,
        asked_at: row.time(from + 7)?,
        looked_at: row.time(from + 8)?,
    })
}

pub(crate) async fn payment(db: &Db, tenant: &TenantId, invoice: InvoiceId) -> Result<Option<Payment>, DbError> {
    let sql = "SELECT provider, state, reference, url, problem, wanted, tried, asked_at, looked_at FROM meter_payment \
               WHERE tenant = $1 AND invoice = $2";
    db.query_optional(sql, params![tenant, invoice]).await?.map(|row| read(&row, 0)).transpose()
}

/// A page of payments, the longest not looked at first.
pub(crate) async fn payments(
    db: &Db,
    tenant: &TenantId,
    state: Option<PaymentState>,
    page: Page,
) -> Result<Listed<(InvoiceId, Payment)>, DbError> {
    let sql = "SELECT invoice, provider, state, reference, url, problem, wanted, tried, asked_at, looked_at FROM meter_payment \
               WHERE tenant = $1 AND ($2 = '' OR state = $2) ORDER BY looked_at, invoice LIMIT $3 OFFSET $4";
    let counted = "SELECT COUNT(*) FROM meter_payment WHERE tenant = $1 AND ($2 = '' OR state = $2)";
    let values = params![tenant, state.map_or("", PaymentState::as_str)];
    listed(db, sql, counted, values, page, |row| Ok((row.parse(0)?, read(row, 1)?))).await
}

/// Open payments nobody looked at since `before`, the oldest first.
pub(crate) async fn unlooked(db: &Db, tenant: &TenantId, before: Timestamp, most: i64) -> Result<Vec<InvoiceId>, DbError> {
    let sql = "SELECT invoice FROM meter_payment WHERE tenant = $1 AND state = 'open' AND looked_at <= $2 ORDER BY looked_at LIMIT $3";
    db.query(sql, params![tenant, before, most]).await?.iter().map(|row| row.parse(0)).collect()
}

/// The invoice that the provider calls so.
pub(crate) async fn called(db: &Db, tenant: &TenantId, provider: &str, reference: &str) -> Result<Option<InvoiceId>, DbError> {
    let sql = "SELECT invoice FROM meter_payment WHERE tenant = $1 AND provider = $2 AND reference = $3";
    db.query_optional(sql, params![tenant, provider, reference]).await?.map(|row| row.parse(0)).transpose()
}

/// Wishes are counted up only: one that came between reading and writing is not forgotten.
const SET: &str = "UPDATE meter_payment SET state = $1, reference = $2, url = $3, problem = $4, \
                   wanted = CASE WHEN wanted > $5 THEN wanted ELSE $5 END, tried = CASE WHEN tried > $6 THEN tried ELSE $6 END, \
                   looked_at = $7 WHERE tenant = $8 AND invoice = $9 AND state = $10";

fn values(tenant: &TenantId, invoice: InvoiceId, from: PaymentState, it: &Payment) -> Vec<creto_db::Value> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (reference, url, problem) = (text(&it.reference), text(&it.url), text(&it.problem));
    params![it.state.as_str(), reference, url, problem, it.wanted, it.tried, it.looked_at, tenant, invoice, from.as_str()]
}

/// The step from one state to the next, for whoever is first.
pub(crate) fn advance(tenant: &TenantId, invoice: InvoiceId, from: PaymentState, it: &Payment) -> Write {
    Write::new(SET, values(tenant, invoice, from, it)).exactly(1, MOVED, "the payment was changed meanwhile")
}

/// Bookkeeping of a look: nobody decided anything. A payment that moved on meanwhile keeps its state.
pub(crate) async fn looked(db: &Db, tenant: &TenantId, invoice: InvoiceId, it: &Payment) -> Result<(), DbError> {
    db.upkeep(SET, values(tenant, invoice, it.state, it)).await.map(drop)
}

/// Notes what the provider calls a payment, where that is not on record: it told of it faster than the call that made it was answered.
pub(crate) fn named(tenant: &TenantId, invoice: InvoiceId, reference: &str) -> Write {
    let sql = "UPDATE meter_payment SET reference = $1 WHERE tenant = $2 AND invoice = $3 AND reference = ''";
    Write::new(sql, params![reference, tenant, invoice])
}

/// When the subject was first to be made at the provider.
pub(crate) async fn first(db: &Db, tenant: &TenantId, subject: &str, now: Timestamp) -> Result<Timestamp, DbError> {
    let sql = "INSERT INTO meter_payment_first (tenant, subject, at) VALUES ($1,$2,$3) ON CONFLICT (tenant, subject) DO NOTHING";
    db.upkeep(sql, params![tenant, subject, now]).await?;
    let row = db.query_optional("SELECT at FROM meter_payment_first WHERE tenant = $1 AND subject = $2", params![tenant, subject]).await?;
    row.map_or(Ok(now), |row| row.time(0))
}

/// Notes what a provider told; a repetition is refused by [`SEEN`].
pub(crate) fn notice(tenant: &TenantId, provider: &str, id: &str, now: Timestamp) -> Write {
    let sql = "INSERT INTO meter_payment_notice (tenant, provider, id, at) VALUES ($1,$2,$3,$4)";
    Write::new(sql, params![tenant, provider, id, now]).unique(SEEN, "the provider told this before")
}

pub(crate) async fn forget_notices(db: &Db, tenant: &TenantId, before: Timestamp) -> Result<(), DbError> {
    db.upkeep("DELETE FROM meter_payment_notice WHERE tenant = $1 AND at < $2", params![tenant, before]).await.map(drop)
}
