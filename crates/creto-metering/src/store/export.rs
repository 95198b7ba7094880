//! Tables in pages, as they are exported: each goes on after the key of the last row, which never moves while others are inserted.

use creto_db::{Db, DbError, Row, Value, params};
use creto_kernel::{Digest, Micros, TenantId, Timestamp};
use serde::de::DeserializeOwned;

use crate::model::invoice::{Fee, Invoice};
use crate::model::table::{Cell, Column};

/// Rows read at once.
const ROWS_MAX: usize = 1_000;
const LIMIT: i64 = 1_000;

/// Where a page begins.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// With the first row of what was recorded from one moment until before another.
    Start { since: Timestamp, until: Timestamp },
    /// After the row of this key, within the same times.
    After { since: Timestamp, until: Timestamp, key: Vec<Value> },
}

impl Place {
    const fn times(&self) -> (Timestamp, Timestamp) {
        match self {
            Self::Start { since, until } | Self::After { since, until, .. } => (*since, *until),
        }
    }
}

type Page = (Vec<Vec<Cell>>, Option<Place>);

/// A page of a table of one query: `$1` tenant, `$2` and `$3` the times, then the key, then how many.
async fn page(
    db: &Db,
    tenant: &TenantId,
    place: Place,
    (sql, first): (&'static str, Vec<Value>),
    key: impl Fn(&Row) -> Result<Vec<Value>, DbError>,
    cells: impl Fn(&Row) -> Result<Vec<Cell>, DbError>,
) -> Result<Page, DbError> {
    let (since, until) = place.times();
    let mut values = params![tenant, since, until];
    values.extend(match place {
        Place::Start { .. } => first,
        Place::After { key, .. } => key,
    });
    values.extend(params![LIMIT]);
    let rows = db.query(sql, values).await?;
    let last = rows.last().filter(|_| rows.len() >= ROWS_MAX).map(key).transpose()?;
    Ok((rows.iter().map(cells).collect::<Result<_, _>>()?, last.map(|key| Place::After { since, until, key })))
}

fn document<T: DeserializeOwned>(row: &Row, column: usize) -> Result<T, DbError> {
    serde_json::from_str(row.text(column)?).map_err(|e| DbError::Corrupt(format!("a document of billing: {e}")))
}

fn count(number: u64) -> Cell {
    Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(crate) const INVOICES: &[Column] = &[
    Column::text("invoice"),
    Column::text("number"),
    Column::text("kind"),
    Column::text("status"),
    Column::text("payment_status"),
    Column::text("customer"),
    Column::text("currency"),
    Column::text("issuing_date"),
    Column::text("payment_due_date"),
    Column::integer("fees_cents"),
    Column::integer("coupons_cents"),
    Column::integer("taxes_cents"),
    Column::integer("credit_notes_cents"),
    Column::integer("prepaid_credits_cents"),
    Column::integer("total_cents"),
    Column::time("created_at"),
    Column::time("finalized_at").maybe(),
];

pub(crate) async fn invoices(db: &Db, tenant: &TenantId, place: Place) -> Result<Page, DbError> {
    let sql = "SELECT created_at, id, body FROM meter_invoice WHERE tenant = $1 AND created_at >= $2 AND created_at < $3 \
               AND (created_at, id) > ($4, $5) ORDER BY created_at, id LIMIT $6";
    let key = |row: &Row| Ok(params![row.int(0)?, row.text(1)?.to_owned()]);
    page(db, tenant, place, (sql, params![i64::MIN, ""]), key, |row| {
        let invoice: Invoice = document(row, 2)?;
        let sums = &invoice.sums;
        Ok(vec![
            row.text(1)?.into(),
            invoice.number.into(),
            invoice.kind.as_str().into(),
            invoice.status.as_str().into(),
            invoice.payment_status.as_str().into(),
            invoice.external_customer_id.into(),
            invoice.currency.to_string().into(),
            invoice.issuing_date.into(),
            invoice.payment_due_date.into(),
            sums.fees_cents.into(),
            sums.coupons_cents.into(),
            sums.taxes_cents.into(),
            sums.credit_notes_cents.into(),
            sums.prepaid_credits_cents.into(),
            sums.total_cents.into(),
            row.time(0)?.into(),
            invoice.finalized_at.into(),
        ])
    })
    .await
}

pub(crate) const LINES: &[Column] = &[
    Column::text("invoice"),
    Column::text("fee"),
    Column::text("kind"),
    Column::text("code"),
    Column::text("name"),
    Column::text("subscription").maybe(),
    Column::text("metric").maybe(),
    Column::units("units"),
    // As the API says it: a fraction where it has no end as a decimal.
    Column::text("exact_units"),
    Column::integer("events"),
    Column::text("currency"),
    Column::text("exact_amount"),
    Column::integer("amount_cents"),
    Column::integer("taxes_cents"),
    Column::time("from").maybe(),
    Column::time("to").maybe(),
    Column::text("first_leaf").maybe(),
    Column::text("last_leaf").maybe(),
    Column::time("created_at"),
];

pub(crate) async fn lines(db: &Db, tenant: &TenantId, place: Place) -> Result<Page, DbError> {
    let sql = "SELECT f.created_at, f.id, f.invoice, f.body, i.currency FROM meter_fee f \
               JOIN meter_invoice i ON i.tenant = f.tenant AND i.id = f.invoice WHERE f.tenant = $1 AND f.created_at >= $2 \
               AND f.created_at < $3 AND (f.created_at, f.id) > ($4, $5) ORDER BY f.created_at, f.id LIMIT $6";
    let key = |row: &Row| Ok(params![row.int(0)?, row.text(1)?.to_owned()]);
    page(db, tenant, place, (sql, params![i64::MIN, ""]), key, |row| {
        let fee: Fee = document(row, 3)?;
        let (first, last) = fee.proof.map_or((None, None), |proof| (proof.first_admission, proof.last_admission));
        Ok(vec![
            row.text(2)?.into(),
            row.text(1)?.into(),
            fee.kind.as_str().into(),
            fee.code.into(),
            fee.name.into(),
            fee.external_subscription_id.into(),
            fee.billable_metric_code.into(),
            Cell::units(&fee.units),
            fee.units.to_string().into(),
            count(fee.events),
            row.text(4)?.into(),
            fee.precise_amount.to_string().into(),
            fee.amount_cents.into(),
            fee.taxes_amount_cents.into(),
            fee.from.into(),
            fee.to.into(),
            first.into(),
            last.into(),
            row.time(0)?.into(),
        ])
    })
    .await
}

pub(crate) const LEDGER: &[Column] = &[
    Column::text("transaction"),
    Column::integer("line"),
    Column::text("account"),
    Column::text("side"),
    Column::money("amount"),
    Column::text("currency"),
    Column::time("posted_at"),
];

pub(crate) async fn ledger(db: &Db, tenant: &TenantId, place: Place) -> Result<Page, DbError> {
    let sql = "SELECT transaction_id, line, account, side, micros, currency, posted_at FROM meter_wallet_posting WHERE tenant = $1 \
               AND posted_at >= $2 AND posted_at < $3 AND (transaction_id, line) > ($4, $5) ORDER BY transaction_id, line LIMIT $6";
    let key = |row: &Row| Ok(params![row.text(0)?.to_owned(), row.int(1)?]);
    page(db, tenant, place, (sql, params!["", 0_i64]), key, |row| {
        Ok(vec![
            row.text(0)?.into(),
            row.int(1)?.into(),
            row.text(2)?.into(),
            row.text(3)?.into(),
            Micros::new(row.int(4)?).into(),
            row.text(5)?.into(),
            row.time(6)?.into(),
        ])
    })
    .await
}

pub(crate) const ENTRIES: &[Column] = &[
    Column::text("admission"),
    Column::text("side"),
    Column::text("account"),
    Column::text("identity"),
    Column::integer("hop"),
    Column::text("path"),
    Column::money("amount"),
    Column::time("posted_at"),
];

pub(crate) async fn entries(db: &Db, tenant: &TenantId, place: Place) -> Result<Page, DbError> {
    let sql = "SELECT admission, side, account, identity, hop, path, micros, posted_at FROM meter_entry WHERE tenant = $1 \
               AND posted_at >= $2 AND posted_at < $3 AND (admission, side, account) > ($4, $5, $6) \
               ORDER BY admission, side, account LIMIT $7";
    let key = |row: &Row| Ok(params![row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.text(2)?.to_owned()]);
    page(db, tenant, place, (sql, params!["", "", ""]), key, |row| {
        Ok(vec![
            row.text(0)?.into(),
            row.text(1)?.into(),
            row.text(2)?.into(),
            row.text(3)?.into(),
            row.int(4)?.into(),
            row.text(5)?.into(),
            Micros::new(row.int(6)?).into(),
            row.time(7)?.into(),
        ])
    })
    .await
}

pub(crate) const EVENTS: &[Column] = &[
    Column::integer("seq"),
    Column::text("transaction_id"),
    Column::text("subscription"),
    Column::text("code"),
    Column::time("timestamp"),
    Column::time("received_at"),
    // JSON; numbers in it have all the digits they were sent with.
    Column::text("properties"),
    // As it was sent: up to 28 digits, wherever its point stands.
    Column::text("precise_total_amount_cents").maybe(),
    Column::text("agent"),
    Column::text("attribution"),
    Column::text("chain"),
    Column::text("collector"),
    Column::money("cost"),
    Column::money("given_back"),
    Column::time("cancelled_at").maybe(),
    Column::time("erased_at").maybe(),
    Column::text("digest"),
    Column::text("admission"),
    Column::text("root"),
];

/// Events with whom they are booked to, and the batch that proves them.
pub(crate) async fn events(db: &Db, tenant: &TenantId, place: Place) -> Result<Page, DbError> {
    let (since, until) = place.times();
    let places = match place {
        Place::After { key, .. } => key,
        Place::Start { .. } => span(db, tenant, (since, until)).await?,
    };
    let sql = "SELECT r.seq, r.transaction_id, r.subscription, r.code, r.occurred_at, r.properties, r.total_cents, s.agent, s.proof, \
               s.chain, r.cost_micros, r.given_back, r.cancelled_at, r.erased_at FROM meter_record r \
               JOIN meter_source s ON s.tenant = r.tenant AND s.source = r.source \
               WHERE r.tenant = $1 AND r.seq <= $2 AND r.seq > $3 ORDER BY r.seq LIMIT $4";
    let mut values = params![tenant];
    values.extend(places.iter().cloned());
    values.extend(params![LIMIT]);
    let records = db.query(sql, values).await?;
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok((Vec::new(), None)) };
    let batches = batches(db, tenant, (first.int(0)?, last.int(0)?)).await?;
    let mut rows = Vec::with_capacity(records.len());
    for record in &records {
        let seq = record.int(0)?;
        let lost = || DbError::Corrupt(format!("the event at place {seq} has no batch"));
        let before = batches.partition_point(|batch| batch.first <= seq).checked_sub(1);
        let batch = before.and_then(|at| batches.get(at)).ok_or_else(lost)?;
        if batch.received_at < since || batch.received_at >= until {
            continue;
        }
        rows.push(vec![
            seq.into(),
            record.text(1)?.into(),
            record.text(2)?.into(),
            record.text(3)?.into(),
            record.time(4)?.into(),
            batch.received_at.into(),
            record.text(5)?.into(),
            record.opt_text(6)?.into(),
            record.text(7)?.into(),
            record.text(8)?.into(),
            record.text(9)?.into(),
            batch.collector.as_str().into(),
            Micros::new(record.int(10)?).into(),
            Micros::new(record.int(11)?).into(),
            record.opt_int(12)?.and_then(Timestamp::from_micros).into(),
            record.opt_int(13)?.and_then(Timestamp::from_micros).into(),
            batch.digest(seq).ok_or_else(lost)?.to_string().into(),
            batch.admission.as_str().into(),
            batch.root.as_str().into(),
        ]);
    }
    let mut next = None;
    if records.len() >= ROWS_MAX {
        let mut key: Vec<Value> = places.into_iter().take(1).collect();
        key.extend(params![last.int(0)?]);
        next = Some(Place::After { since, until, key });
    }
    Ok((rows, next))
}

/// The last place of what was received in these times, and the one before the first.
async fn span(db: &Db, tenant: &TenantId, (since, until): (Timestamp, Timestamp)) -> Result<Vec<Value>, DbError> {
    let sql = "SELECT COALESCE(MAX(first + events - 1), 0), COALESCE(MIN(first), 1) - 1 FROM meter_batch \
               WHERE tenant = $1 AND received_at >= $2 AND received_at < $3";
    let row = db.query_optional(sql, params![tenant, since, until]).await?;
    row.map_or_else(|| Ok(params![0_i64, 0_i64]), |row| Ok(params![row.int(0)?, row.int(1)?]))
}

/// A commit of events, as each of its rows tells it.
struct Batch {
    first: i64,
    admission: String,
    collector: String,
    received_at: Timestamp,
    root: String,
    digests: Vec<u8>,
}

impl Batch {
    fn digest(&self, seq: i64) -> Option<Digest> {
        let at = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.digests.chunks_exact(32).nth(at)?.try_into().ok().map(Digest::from_bytes)
    }
}

/// The batches of the places from `first` to `last`, in order.
async fn batches(db: &Db, tenant: &TenantId, (first, last): (i64, i64)) -> Result<Vec<Batch>, DbError> {
    let sql = "SELECT first, admission, collector, received_at, root, digests FROM meter_batch WHERE tenant = $1 AND first <= $3 \
               AND first >= (SELECT MAX(first) FROM meter_batch WHERE tenant = $1 AND first <= $2) ORDER BY first";
    let read = |row: &Row| {
        Ok(Batch {
            first: row.int(0)?,
            admission: row.text(1)?.to_owned(),
            collector: row.text(2)?.to_owned(),
            received_at: row.time(3)?,
            root: row.text(4)?.to_owned(),
            digests: row.blob(5)?.to_vec(),
        })
    };
    db.query(sql, params![tenant, first, last]).await?.iter().map(read).collect()
}
