//! Events: used identifiers, records, batches, and whom they are booked to.

use creto_db::{Column, Db, DbError, Many, Migration, MigrationSet, Row, Sql, Write, params};
use creto_kernel::id::AdmissionId;
use creto_kernel::{Digest, Micros, NhiId, TenantId, Timestamp};

use crate::error::MeteringError;
use crate::model::event::Event;
use crate::model::page::{Listed, Page};
use crate::model::source::{Attribution, Source};
use crate::store::paging::listed;
use crate::store::recording::DUPLICATE;

/// Tables of events.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering_events",
    migrations: &[
        Migration {
            version: 1,
            sqlite: include_str!("../../migrations/events/0001_sqlite.sql"),
            postgres: include_str!("../../migrations/events/0001_postgres.sql"),
        },
        Migration {
            version: 2,
            sqlite: include_str!("../../migrations/events/0002_erased.sql"),
            postgres: include_str!("../../migrations/events/0002_erased.sql"),
        },
        Migration {
            version: 3,
            sqlite: "-- SQLite keeps the rows in the index itself: it stays as it is.",
            postgres: include_str!("../../migrations/events/0003_used_by_key.sql"),
        },
    ],
};

/// What a record says, beside its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) seq: i64,
    pub(crate) subscription: String,
    pub(crate) transaction_id: String,
    pub(crate) code: String,
    pub(crate) occurred_at: Timestamp,
    pub(crate) timed: bool,
    pub(crate) properties: String,
    pub(crate) total_cents: Option<String>,
    pub(crate) source: i64,
    pub(crate) cost: Micros,
    pub(crate) terms: Option<String>,
    pub(crate) cancelled_at: Option<Timestamp>,
    /// What of its cost was given back when it was cancelled.
    pub(crate) given_back: Micros,
    pub(crate) erased_at: Option<Timestamp>,
}

impl Record {
    /// The event, as it was parsed.
    pub(crate) fn event(&self) -> Result<Event, MeteringError> {
        let fields =
            serde_json::from_str(&self.properties).map_err(|e| DbError::Corrupt(format!("the event at place {}: {e}", self.seq)))?;
        let mut event = Event {
            transaction_id: self.transaction_id.clone(),
            subscription: self.subscription.clone(),
            code: self.code.clone(),
            occurred_at: self.occurred_at,
            timed: self.timed,
            properties: self.properties.clone(),
            fields,
            total_cents: self.total_cents.clone(),
            digest: Digest::of(b""),
        };
        event.digest = event.digest_of_content()?;
        Ok(event)
    }
}

/// Which of these keys are used, with the places of their events: (key, seq).
pub(crate) fn used(tenant: &TenantId, mut keys: Vec<Digest>) -> Many {
    // In the order of the index, as they are inserted: a page of it is read once.
    keys.sort_unstable();
    Many::new(
        Sql::per_engine(
            "SELECT key, seq FROM meter_used WHERE tenant = $1 AND key = $2",
            // One look into the index for each key. A plan made while the table was small would read all of it for as long as it is kept.
            "SELECT q.key, u.seq FROM unnest($2::bytea[]) AS q(key) \
             CROSS JOIN LATERAL (SELECT seq FROM meter_used WHERE tenant = $1 AND key = q.key OFFSET 0) AS u",
        ),
        params![tenant],
        vec![Column::blobs(keys.iter().map(|key| key.as_bytes().to_vec()))],
    )
}

pub(crate) fn used_row(row: &Row) -> Result<(Digest, i64), DbError> {
    let key = row.blob(0)?.try_into().map_err(|_| DbError::Corrupt("the key of an event has the wrong length".to_owned()))?;
    Ok((Digest::from_bytes(key), row.int(1)?))
}

/// The last place, and the last source: one row.
pub(crate) fn ends(tenant: &TenantId) -> Many {
    Many::new(
        "SELECT COALESCE((SELECT first + events - 1 FROM meter_batch WHERE tenant = $1 ORDER BY first DESC LIMIT 1), 0), \
         COALESCE((SELECT MAX(source) FROM meter_source WHERE tenant = $1), 0)",
        params![tenant],
        vec![],
    )
}

/// The numbers that these sources have already: (number, chain, attribution).
pub(crate) fn numbered(tenant: &TenantId, sources: &[Source]) -> Many {
    Many::new(
        Sql::per_engine(
            "SELECT source, chain, proof FROM meter_source WHERE tenant = $1 AND chain = $2 AND proof = $3",
            "SELECT s.source, s.chain, s.proof FROM meter_source s JOIN unnest($2::text[], $3::text[]) AS q(chain, proof) \
             ON s.chain = q.chain AND s.proof = q.proof WHERE s.tenant = $1",
        ),
        params![tenant],
        vec![
            Column::texts(sources.iter().map(|source| source.chain.to_string())),
            Column::texts(sources.iter().map(|source| source.attribution.as_str())),
        ],
    )
}

pub(crate) fn numbered_row(row: &Row) -> Result<(i64, Digest, Attribution), DbError> {
    let word = row.text(2)?;
    let attribution = Attribution::named(word).ok_or_else(|| DbError::Corrupt(format!("`{word}` is no attribution")))?;
    Ok((row.int(0)?, row.parse(1)?, attribution))
}

pub(crate) fn insert_sources(tenant: &TenantId, sources: &[(i64, &Source)]) -> Many {
    let accounts = |source: &Source| serde_json::to_string(&source.accounts).unwrap_or_default();
    Many::new(
        Sql::per_engine(
            "INSERT INTO meter_source (tenant, source, chain, proof, agent, accounts) VALUES ($1,$2,$3,$4,$5,$6)",
            "INSERT INTO meter_source (tenant, source, chain, proof, agent, accounts) \
             SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])",
        ),
        params![tenant],
        vec![
            Column::integers(sources.iter().map(|(number, _)| *number)),
            Column::texts(sources.iter().map(|(_, source)| source.chain.to_string())),
            Column::texts(sources.iter().map(|(_, source)| source.attribution.as_str())),
            Column::texts(sources.iter().map(|(_, source)| source.agent.as_str())),
            Column::texts(sources.iter().map(|(_, source)| accounts(source))),
        ],
    )
}

/// Marks identifiers as used: (key, place). In the order of the keys, so that neighbours in the index are written together.
pub(crate) fn insert_used(tenant: &TenantId, mut used: Vec<(Digest, i64)>) -> Many {
    used.sort_unstable();
    Many::new(
        Sql::per_engine(
            "INSERT INTO meter_used (tenant, key, seq) VALUES ($1,$2,$3)",
            "INSERT INTO meter_used (tenant, key, seq) SELECT $1, unnest($2::bytea[]), unnest($3::bigint[])",
        ),
        params![tenant],
        vec![Column::blobs(used.iter().map(|(key, _)| key.as_bytes().to_vec())), Column::integers(used.iter().map(|(_, seq)| *seq))],
    )
    .unique(DUPLICATE, "a transaction was recorded before")
}

/// PostgreSQL takes arrays of one length apart side by side in the list of what is selected, without the table that FROM would fill first.
pub(crate) fn insert_records(tenant: &TenantId, records: Vec<Record>) -> Many {
    let integers = |of: fn(&Record) -> i64| Column::integers(records.iter().map(of));
    let (seq, occurred_at, timed) =
        (integers(|record| record.seq), integers(|record| record.occurred_at.as_micros()), integers(|record| record.timed.into()));
    let (source, cost) = (integers(|record| record.source), integers(|record| record.cost.get()));
    let mut texts: [Vec<Option<String>>; 6] = std::array::from_fn(|_| Vec::with_capacity(records.len()));
    for record in records {
        let own = [
            Some(record.subscription),
            Some(record.transaction_id),
            Some(record.code),
            Some(record.properties),
            record.total_cents,
            record.terms,
        ];
        texts.iter_mut().zip(own).for_each(|(column, text)| column.push(text));
    }
    let [subscription, transaction_id, code, properties, total_cents, terms] = texts.map(Column::Text);
    Many::new(
        Sql::per_engine(
            "INSERT INTO meter_record (tenant, seq, subscription, transaction_id, code, occurred_at, timed, properties, total_cents, source, \
             cost_micros, terms) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)",
            "INSERT INTO meter_record (tenant, seq, subscription, transaction_id, code, occurred_at, timed, properties, total_cents, source, \
             cost_micros, terms) SELECT $1, unnest($2::bigint[]), unnest($3::text[]), unnest($4::text[]), unnest($5::text[]), \
             unnest($6::bigint[]), unnest($7::bigint[]), unnest($8::text[]), unnest($9::text[]), unnest($10::bigint[]), \
             unnest($11::bigint[]), unnest($12::text[])",
        ),
        params![tenant],
        vec![seq, subscription, transaction_id, code, occurred_at, timed, properties, total_cents, source, cost, terms],
    )
}

/// One commit of events.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) first: i64,
    pub(crate) admission: AdmissionId,
    pub(crate) collector: &'a NhiId,
    pub(crate) received_at: Timestamp,
    pub(crate) root: Digest,
    pub(crate) digests: &'a [Digest],
}

pub(crate) fn insert_batch(tenant: &TenantId, batch: &Batch<'_>) -> Write {
    let digests: Vec<u8> = batch.digests.iter().flat_map(|digest| *digest.as_bytes()).collect();
    Write::new(
        "INSERT INTO meter_batch (tenant, first, events, admission, collector, received_at, root, digests) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)",
        params![
            tenant,
            batch.first,
            i64::try_from(batch.digests.len()).unwrap_or(i64::MAX),
            batch.admission,
            batch.collector,
            batch.received_at,
            batch.root,
            digests
        ],
    )
}

/// A run of places with events of one subscription, metric and UTC day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) subscription: String,
    pub(crate) code: String,
    pub(crate) day: i64,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

/// Microseconds of a UTC day.
const DAY_MICROS: i64 = 86_400_000_000;

/// The UTC day of a moment, since the epoch.
pub(crate) const fn utc_day(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(DAY_MICROS)
}

/// The spans of records in the order of their places.
pub(crate) fn spans(records: &[Record]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for record in records {
        let day = utc_day(record.occurred_at);
        match spans.last_mut() {
            Some(span) if span.subscription == record.subscription && span.code == record.code && span.day == day => span.last = record.seq,
            _ => spans.push(Span {
                subscription: record.subscription.clone(),
                code: record.code.clone(),
                day,
                first: record.seq,
                last: record.seq,
            }),
        }
    }
    spans
}

pub(crate) fn insert_spans(tenant: &TenantId, spans: &[Span]) -> Many {
    Many::new(
        Sql::per_engine(
            "INSERT INTO meter_span (tenant, subscription, code, day, first, last) VALUES ($1,$2,$3,$4,$5,$6)",
            "INSERT INTO meter_span (tenant, subscription, code, day, first, last) \
             SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])",
        ),
        params![tenant],
        vec![
            Column::texts(spans.iter().map(|span| span.subscription.as_str())),
            Column::texts(spans.iter().map(|span| span.code.as_str())),
            Column::integers(spans.iter().map(|span| span.day)),
            Column::integers(spans.iter().map(|span| span.first)),
            Column::integers(spans.iter().map(|span| span.last)),
        ],
    )
}

macro_rules! select_records {
    ($rest:literal) => {
        concat!(
            "SELECT r.seq, r.subscription, r.transaction_id, r.code, r.occurred_at, r.timed, r.properties, r.total_cents, r.source, ",
            "r.cost_micros, r.terms, r.cancelled_at, r.given_back, r.erased_at FROM ",
            $rest
        )
    };
}

pub(crate) fn record_row(row: &Row) -> Result<Record, DbError> {
    Ok(Record {
        seq: row.int(0)?,
        subscription: row.text(1)?.to_owned(),
        transaction_id: row.text(2)?.to_owned(),
        code: row.text(3)?.to_owned(),
        occurred_at: row.time(4)?,
        timed: row.bool(5)?,
        properties: row.text(6)?.to_owned(),
        total_cents: row.opt_text(7)?.map(str::to_owned),
        source: row.int(8)?,
        cost: Micros::new(row.int(9)?),
        terms: row.opt_text(10)?.map(str::to_owned),
        cancelled_at: row.opt_int(11)?.and_then(Timestamp::from_micros),
        given_back: Micros::new(row.int(12)?),
        erased_at: row.opt_int(13)?.and_then(Timestamp::from_micros),
    })
}

/// The event at a place.
pub(crate) async fn record(db: &Db, tenant: &TenantId, seq: i64) -> Result<Option<Record>, DbError> {
    let sql = select_records!("meter_record r WHERE r.tenant = $1 AND r.seq = $2");
    db.query_optional(sql, params![tenant, seq]).await?.as_ref().map(record_row).transpose()
}

/// Events of a subscription and a metric from a moment until before another, in the order of their places, after `after`.
pub(crate) async fn between(
    db: &Db,
    tenant: &TenantId,
    (subscription, code): (&str, &str),
    (from, to): (Timestamp, Timestamp),
    after: i64,
    limit: i64,
) -> Result<Vec<Record>, DbError> {
    let sql = select_records!(
        "meter_span s JOIN meter_record r ON r.tenant = s.tenant AND r.seq BETWEEN s.first AND s.last \
         WHERE s.tenant = $1 AND s.subscription = $2 AND s.code = $3 AND s.day BETWEEN $4 AND $5 AND s.last > $8 \
         AND r.occurred_at >= $6 AND r.occurred_at < $7 AND r.seq > $8 ORDER BY r.seq LIMIT $9"
    );
    let days = (utc_day(from), utc_day(to));
    let rows = db.query(sql, params![tenant, subscription, code, days.0, days.1, from, to, after, limit]).await?;
    rows.iter().map(record_row).collect()
}

/// Every event of a subscription and a metric from a moment until before another, as a question inside a commit.
pub(crate) fn all_between(tenant: &TenantId, subscription: &str, code: &str, (from, to): (Timestamp, Timestamp)) -> Many {
    let sql = select_records!(
        "meter_span s JOIN meter_record r ON r.tenant = s.tenant AND r.seq BETWEEN s.first AND s.last \
         WHERE s.tenant = $1 AND s.subscription = $2 AND s.code = $3 AND s.day BETWEEN $4 AND $5 \
         AND r.occurred_at >= $6 AND r.occurred_at < $7 ORDER BY r.seq"
    );
    Many::new(sql, params![tenant, subscription, code, utc_day(from), utc_day(to), from, to], vec![])
}

/// Events of a subscription from a moment until before another, of every metric, in the order of their places, after `after`.
pub(crate) async fn of_subscription(
    db: &Db,
    tenant: &TenantId,
    subscription: &str,
    (from, to): (Timestamp, Timestamp),
    after: i64,
    limit: i64,
) -> Result<Vec<Record>, DbError> {
    let sql = select_records!(
        "meter_span s JOIN meter_record r ON r.tenant = s.tenant AND r.seq BETWEEN s.first AND s.last \
         WHERE s.tenant = $1 AND s.subscription = $2 AND s.day BETWEEN $3 AND $4 AND s.last > $7 \
         AND r.occurred_at >= $5 AND r.occurred_at < $6 AND r.seq > $7 ORDER BY r.seq LIMIT $8"
    );
    let rows = db.query(sql, params![tenant, subscription, utc_day(from), utc_day(to), from, to, after, limit]).await?;
    rows.iter().map(record_row).collect()
}

/// Which events a list shows.
#[derive(Clone, Debug)]
pub(crate) struct EventFilter {
    /// Of this subscription.
    pub(crate) subscription: String,
    /// Of this metric only.
    pub(crate) code: Option<String>,
    /// From this moment on.
    pub(crate) from: Timestamp,
    /// Before this one.
    pub(crate) to: Timestamp,
}

/// A page of events of one subscription, newest first.
pub(crate) async fn page(db: &Db, tenant: &TenantId, filter: &EventFilter, page: Page) -> Result<Listed<Record>, DbError> {
    let sql = select_records!(
        "meter_span s JOIN meter_record r ON r.tenant = s.tenant AND r.seq BETWEEN s.first AND s.last \
         WHERE s.tenant = $1 AND s.subscription = $2 AND ($3 = '' OR s.code = $3) AND s.day BETWEEN $4 AND $5 \
         AND r.occurred_at >= $6 AND r.occurred_at < $7 ORDER BY r.seq DESC LIMIT $8 OFFSET $9"
    );
    let counted = "SELECT COUNT(*) FROM meter_span s JOIN meter_record r ON r.tenant = s.tenant AND r.seq BETWEEN s.first AND s.last \
                   WHERE s.tenant = $1 AND s.subscription = $2 AND ($3 = '' OR s.code = $3) AND s.day BETWEEN $4 AND $5 \
                   AND r.occurred_at >= $6 AND r.occurred_at < $7";
    let code = filter.code.as_deref().unwrap_or_default();
    let values = params![tenant, filter.subscription.as_str(), code, utc_day(filter.from), utc_day(filter.to), filter.from, filter.to];
    listed(db, sql, counted, values, page, record_row).await
}

/// A page of all events of a tenant, newest first. Places have no gaps, so that the last one says how many there are.
pub(crate) async fn page_of_all(db: &Db, tenant: &TenantId, page: Page) -> Result<Listed<Record>, DbError> {
    let sql = select_records!("meter_record r WHERE r.tenant = $1 ORDER BY r.seq DESC LIMIT $2 OFFSET $3");
    let counted = "SELECT COALESCE((SELECT seq FROM meter_record WHERE tenant = $1 ORDER BY seq DESC LIMIT 1), 0)";
    listed(db, sql, counted, params![tenant], page, record_row).await
}

/// Every event of a tenant in the order of their places, after `after`.
pub(crate) async fn walk(db: &Db, tenant: &TenantId, after: i64, limit: i64) -> Result<Vec<Record>, DbError> {
    let sql = select_records!("meter_record r WHERE r.tenant = $1 AND r.seq > $2 ORDER BY r.seq LIMIT $3");
    db.query(sql, params![tenant, after, limit]).await?.iter().map(record_row).collect()
}

/// What a batch says of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) first: i64,
    pub(crate) admission: AdmissionId,
    pub(crate) collector: NhiId,
    pub(crate) received_at: Timestamp,
    pub(crate) root: Digest,
    pub(crate) digests: Vec<Digest>,
}

impl Placed {
    /// The digest of the event at `seq`.
    pub(crate) fn digest(&self, seq: i64) -> Option<Digest> {
        self.digests.get(usize::try_from(seq.checked_sub(self.first)?).ok()?).copied()
    }
}

/// The batch of a place.
pub(crate) async fn batch_of(db: &Db, tenant: &TenantId, seq: i64) -> Result<Option<Placed>, DbError> {
    let sql = "SELECT first, admission, collector, received_at, root, digests FROM meter_batch WHERE tenant = $1 AND first <= $2 \
               ORDER BY first DESC LIMIT 1";
    let Some(row) = db.query_optional(sql, params![tenant, seq]).await? else { return Ok(None) };
    let digest =
        |bytes: &[u8]| bytes.try_into().map(Digest::from_bytes).map_err(|_| DbError::Corrupt("a batch's digests are cut".to_owned()));
    Ok(Some(Placed {
        first: row.int(0)?,
        admission: row.parse(1)?,
        collector: row.parse(2)?,
        received_at: row.time(3)?,
        root: row.parse(4)?,
        digests: row.blob(5)?.chunks(32).map(digest).collect::<Result<_, _>>()?,
    }))
}

/// The place of a used identifier.
pub(crate) async fn place(db: &Db, tenant: &TenantId, key: &Digest) -> Result<Option<i64>, DbError> {
    let sql = "SELECT seq FROM meter_used WHERE tenant = $1 AND key = $2";
    db.query_optional(sql, params![tenant, key.as_bytes().to_vec()]).await?.map(|row| row.int(0)).transpose()
}

/// A source by its number.
pub(crate) async fn source(db: &Db, tenant: &TenantId, number: i64) -> Result<Option<Source>, DbError> {
    let sql = "SELECT chain, proof, agent, accounts FROM meter_source WHERE tenant = $1 AND source = $2";
    let Some(row) = db.query_optional(sql, params![tenant, number]).await? else { return Ok(None) };
    let corrupt = |what: String| DbError::Corrupt(format!("a source: {what}"));
    Ok(Some(Source {
        chain: row.parse(0)?,
        attribution: Attribution::named(row.text(1)?).ok_or_else(|| corrupt("its attribution".to_owned()))?,
        agent: row.parse(2)?,
        accounts: serde_json::from_str(row.text(3)?).map_err(|e| corrupt(e.to_string()))?,
    }))
}
