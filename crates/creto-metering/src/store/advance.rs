//! What is billed at its event, of charges that are paid in advance.
//!
//! INVARIANT: a row is written in the commit of the event that it is of, and closed in the commit of the line or note it is on: nothing is
//! lost and nothing is billed twice, whenever a server dies.

use creto_db::{Column, Db, DbError, Many, Row, Sql, StepError, Write, params};
use creto_kernel::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::core::aggregate::stored;
use crate::core::charging::Advance;
use crate::core::exact::Exact;
use crate::core::recording::Slot;
use crate::model::invoice::FeeId;
use crate::model::subscription::SubscriptionId;
use crate::store::catalog::CHANGED;

/// An event brought something.
pub(crate) const EVENT: &str = "event";
/// An event was taken back.
pub(crate) const TAKEN_BACK: &str = "taken_back";

/// What is to be written on the line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) transaction_id: String,
    /// The metric.
    pub(crate) metric: String,
    pub(crate) occurred_at: Timestamp,
    /// The period it is of, and where that ends, the moment not included.
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    #[serde(with = "stored")]
    pub(crate) units: Exact,
    /// In units of the currency, unrounded.
    #[serde(with = "stored")]
    pub(crate) amount: Exact,
    /// Whether it becomes an invoice at once.
    pub(crate) invoiceable: bool,
}

/// A row as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Written<'a> {
    pub(crate) seq: i64,
    pub(crate) slot: &'a Slot,
    pub(crate) kind: &'static str,
    pub(crate) cents: i64,
    pub(crate) said: Said,
}

impl<'a> Written<'a> {
    /// What an event brought.
    pub(crate) fn event(seq: i64, slot: &'a Slot, (transaction_id, occurred_at): (&str, Timestamp), brought: &Advance) -> Self {
        let Advance { cents, units, amount } = brought.clone();
        Self { seq, slot, kind: EVENT, cents, said: said(slot, (transaction_id, occurred_at), units, amount) }
    }

    /// What taking an event back gives back.
    pub(crate) fn taken_back(seq: i64, slot: &'a Slot, event: (&str, Timestamp), cents: i64) -> Self {
        Self { seq, slot, kind: TAKEN_BACK, cents: -cents, said: said(slot, event, Exact::ZERO, Exact::ZERO) }
    }
}

fn said(slot: &Slot, (transaction_id, occurred_at): (&str, Timestamp), units: Exact, amount: Exact) -> Said {
    Said {
        transaction_id: transaction_id.to_owned(),
        metric: slot.terms.metric.code.clone(),
        occurred_at,
        from: slot.terms.from,
        to: slot.terms.to,
        units,
        amount,
        invoiceable: slot.terms.charge.invoiceable,
    }
}

pub(crate) fn insert(tenant: &TenantId, rows: &[Written<'_>]) -> Result<Many, StepError> {
    let text = |of: fn(&Slot) -> &str| Column::texts(rows.iter().map(|row| of(row.slot)));
    let number = |of: fn(&Written<'_>) -> i64| Column::integers(rows.iter().map(of));
    let body = |row: &Written<'_>| serde_json::to_string(&row.said).map(Some).map_err(|e| StepError::Invalid(e.to_string()));
    Ok(Many::new(
        Sql::per_engine(
            "INSERT INTO meter_advance (tenant, seq, charge, dims, kind, subscription, period, cents, open, fee, body) \
             VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,'',$10)",
            "INSERT INTO meter_advance (tenant, seq, charge, dims, kind, subscription, period, cents, open, fee, body) \
             SELECT $1, q.seq, q.charge, q.dims, q.kind, q.subscription, q.period, q.cents, q.open, '', q.body \
             FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::text[]) \
             AS q(seq, charge, dims, kind, subscription, period, cents, open, body)",
        ),
        params![tenant],
        vec![
            number(|row| row.seq),
            text(|slot| &slot.key.charge),
            text(|slot| &slot.key.dims),
            Column::texts(rows.iter().map(|row| row.kind)),
            text(|slot| &slot.key.subscription),
            number(|row| row.slot.key.period),
            number(|row| row.cents),
            number(|row| row.cents.abs()),
            Column::Text(rows.iter().map(body).collect::<Result<_, _>>()?),
        ],
    ))
}

/// A row as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) seq: i64,
    pub(crate) charge: String,
    pub(crate) dims: String,
    pub(crate) kind: String,
    pub(crate) subscription: SubscriptionId,
    pub(crate) period: i64,
    pub(crate) open: i64,
    pub(crate) said: Said,
}

fn due(row: &Row) -> Result<Due, DbError> {
    Ok(Due {
        seq: row.int(0)?,
        charge: row.text(1)?.to_owned(),
        dims: row.text(2)?.to_owned(),
        kind: row.text(3)?.to_owned(),
        subscription: row.parse(4)?,
        period: row.int(5)?,
        open: row.int(6)?,
        said: serde_json::from_str(row.text(7)?).map_err(|e| DbError::Corrupt(format!("what an event brought: {e}")))?,
    })
}

/// What is open of a kind, after a place, in the order of events.
pub(crate) async fn open(db: &Db, tenant: &TenantId, kind: &str, after: i64, limit: i64) -> Result<Vec<Due>, DbError> {
    let sql = "SELECT seq, charge, dims, kind, subscription, period, open, body FROM meter_advance \
               WHERE tenant = $1 AND kind = $2 AND open > 0 AND seq > $3 ORDER BY seq, charge, dims LIMIT $4";
    db.query(sql, params![tenant, kind, after, limit]).await?.iter().map(due).collect()
}

/// Closes so much of a row, where as much of it is still open.
pub(crate) fn close(tenant: &TenantId, it: &Due, cents: i64, fee: &str) -> Write {
    Write::new(
        "UPDATE meter_advance SET open = open - $1, fee = $2 \
         WHERE tenant = $3 AND seq = $4 AND charge = $5 AND dims = $6 AND kind = $7 AND open = $8",
        params![cents, fee, tenant, it.seq, it.charge.as_str(), it.dims.as_str(), it.kind.as_str(), it.open],
    )
    .exactly(1, CHANGED, "the event was billed meanwhile")
}

/// The lines of a charge and its groups in a period, newest first.
pub(crate) async fn lines(db: &Db, tenant: &TenantId, it: &Due) -> Result<Vec<FeeId>, DbError> {
    let sql = "SELECT fee FROM meter_advance WHERE tenant = $1 AND subscription = $2 AND period = $3 AND charge = $4 AND dims = $5 \
               AND kind = 'event' AND fee <> '' ORDER BY seq DESC";
    let params = params![tenant, it.subscription, it.period, it.charge.as_str(), it.dims.as_str()];
    db.query(sql, params).await?.iter().map(|row| row.parse(0)).collect()
}

/// What events of a period brought, less what was taken back: charge, groups, minor units.
pub(crate) async fn sums(db: &Db, tenant: &TenantId, of: SubscriptionId, period: Timestamp) -> Result<Vec<(String, String, i64)>, DbError> {
    let sql = "SELECT charge, dims, CAST(SUM(cents) AS BIGINT) FROM meter_advance WHERE tenant = $1 AND subscription = $2 AND period = $3 \
               GROUP BY charge, dims";
    let rows = db.query(sql, params![tenant, of, period]).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.int(2)?))).collect()
}
