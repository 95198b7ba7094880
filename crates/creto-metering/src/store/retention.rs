//! How long events are kept whole, and the rows of those that are not any more.

use creto_db::{Column, Db, DbError, Many, Row, Sql, Write, params};
use creto_kernel::{ErrorCode, TenantId, Timestamp};

use crate::model::retention::Retention;
use crate::model::subscription::SubscriptionId;
use crate::store::catalog::CHANGED;

/// A tenant's retention as it is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) setting: Retention,
    pub(crate) erased_to: i64,
    pub(crate) erased: i64,
    pub(crate) due_at: i64,
    pub(crate) revision: i64,
}

pub(crate) async fn kept(db: &Db, tenant: &TenantId) -> Result<Kept, DbError> {
    let sql = "SELECT setting, erased_to, erased, due_at, revision FROM meter_retention WHERE tenant = $1";
    let Some(row) = db.query_optional(sql, params![tenant]).await? else { return Ok(Kept::default()) };
    Ok(Kept {
        setting: serde_json::from_str(row.text(0)?).map_err(|e| DbError::Corrupt(format!("a retention: {e}")))?,
        erased_to: row.int(1)?,
        erased: row.int(2)?,
        due_at: row.int(3)?,
        revision: row.int(4)?,
    })
}

/// Puts the next revision in place of the one it was made of, or nothing where somebody else did.
pub(crate) fn put(tenant: &TenantId, next: &Kept) -> Result<Write, DbError> {
    let setting = serde_json::to_string(&next.setting).map_err(|e| DbError::Corrupt(format!("a retention: {e}")))?;
    let write = Write::new(
        "INSERT INTO meter_retention (tenant, setting, erased_to, erased, due_at, revision) VALUES ($1,$2,$3,$4,$5,$6) \
         ON CONFLICT (tenant) DO UPDATE SET setting = excluded.setting, erased_to = excluded.erased_to, erased = excluded.erased, \
         due_at = excluded.due_at, revision = excluded.revision WHERE meter_retention.revision = excluded.revision - 1",
        params![tenant, setting, next.erased_to, next.erased, next.due_at, next.revision],
    );
    Ok(write.exactly(1, CHANGED, "somebody else erased meanwhile"))
}

/// The code of a step that somebody else was faster with.
pub(crate) const FASTER: ErrorCode = CHANGED;

/// Tenants that keep events for a time only.
pub(crate) async fn tenants(db: &Db) -> Result<Vec<TenantId>, DbError> {
    db.query("SELECT tenant FROM meter_retention ORDER BY tenant", params![]).await?.iter().map(|row| row.parse(0)).collect()
}

/// What stays of an event that is erased.
#[derive(Debug)]
pub(crate) struct Stripped {
    pub(crate) seq: i64,
    pub(crate) transaction_id: String,
    pub(crate) properties: String,
}

/// INVARIANT: place, time, metric, subscription, cost, source and terms stay, and so do the batch with its digests and the used key:
/// totals, proofs and idempotency never rest on what is overwritten here.
pub(crate) fn strip(tenant: &TenantId, now: Timestamp, rows: &[Stripped]) -> Many {
    Many::new(
        Sql::per_engine(
            "UPDATE meter_record SET erased_at = $2, transaction_id = $4, properties = $5 \
             WHERE tenant = $1 AND seq = $3 AND erased_at IS NULL",
            "UPDATE meter_record r SET erased_at = $2, transaction_id = q.id, properties = q.properties \
             FROM unnest($3::bigint[], $4::text[], $5::text[]) AS q(seq, id, properties) \
             WHERE r.tenant = $1 AND r.seq = q.seq AND r.erased_at IS NULL",
        ),
        params![tenant, now],
        vec![
            Column::integers(rows.iter().map(|row| row.seq)),
            Column::texts(rows.iter().map(|row| row.transaction_id.as_str())),
            Column::texts(rows.iter().map(|row| row.properties.as_str())),
        ],
    )
}

/// When a batch came in, and whether it is one event alone: its action then holds the event too.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) first: i64,
    pub(crate) received_at: Timestamp,
    pub(crate) alone: Option<String>,
}

/// The batches of the places from `first` to `last`, in order.
pub(crate) async fn received(db: &Db, tenant: &TenantId, (first, last): (i64, i64)) -> Result<Vec<Received>, DbError> {
    let sql = "SELECT first, received_at, events, admission FROM meter_batch WHERE tenant = $1 AND first <= $3 \
               AND first >= (SELECT MAX(first) FROM meter_batch WHERE tenant = $1 AND first <= $2) ORDER BY first";
    let read = |row: &Row| {
        let alone = (row.int(2)? == 1).then(|| row.text(3).map(str::to_owned)).transpose()?;
        Ok(Received { first: row.int(0)?, received_at: row.time(1)?, alone })
    };
    db.query(sql, params![tenant, first, last]).await?.iter().map(read).collect()
}

/// A period that nobody disputes any more: what was billed of it is final, and paid, nothing, or taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// What came in before this moment was billed with it.
    pub(crate) seen_to: Timestamp,
}

pub(crate) async fn settled(db: &Db, tenant: &TenantId, subscription: SubscriptionId) -> Result<Vec<Settled>, DbError> {
    let sql = "SELECT p.begins_at, p.ends_at, p.seen_to FROM meter_billed_period p \
               JOIN meter_invoice i ON i.tenant = p.tenant AND i.id = p.invoice WHERE p.tenant = $1 AND p.subscription = $2 \
               AND i.status <> 'draft' AND (i.payment_status = 'succeeded' OR i.total = 0 OR i.status <> 'finalized')";
    let rows = db.query(sql, params![tenant, subscription]).await?;
    rows.iter().map(|row| Ok(Settled { from: row.time(0)?, to: row.time(1)?, seen_to: row.time(2)? })).collect()
}
