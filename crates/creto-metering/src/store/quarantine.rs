//! Events kept aside: the rows, and the step that keeps them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use creto_db::{Column, Db, DbError, Decide, Late, Lately, Many, Migration, MigrationSet, Row, Sql, Step, StepError, Write, params};
use creto_kernel::{Digest, ErrorCode, TenantId, Timestamp};

use crate::model::quarantine::{KeptEvent, KeptSource};
use crate::store::events;
use crate::store::recording::DUPLICATE;

/// The setting of the quarantine; its rows are among the events' tables.
pub const QUARANTINE_MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering_quarantine",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../../migrations/quarantine/0001_quarantine.sql"),
        postgres: include_str!("../../migrations/quarantine/0001_quarantine.sql"),
    }],
};

/// Most events kept aside for one tenant: whoever may send events must not fill the disk with those nobody can price.
pub(crate) const QUARANTINE_MAX: i64 = 100_000;

/// What a kept event that is gone is called.
const UNKNOWN: ErrorCode = ErrorCode::new("metering.unknown_event");

/// One event kept aside.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) key: Digest,
    pub(crate) received_at: Timestamp,
    pub(crate) reason: String,
    pub(crate) digest: Digest,
    pub(crate) event: KeptEvent,
    pub(crate) source: KeptSource,
    pub(crate) code: String,
}

/// Whether a tenant keeps what it cannot price.
pub(crate) async fn keeps(db: &Db, tenant: &TenantId) -> Result<bool, DbError> {
    let row = db.query_optional("SELECT keeps FROM meter_quarantine_setting WHERE tenant = $1", params![tenant]).await?;
    row.map_or(Ok(false), |row| row.bool(0))
}

pub(crate) fn put_keeps(tenant: &TenantId, keeps: bool) -> Write {
    Write::new(
        "INSERT INTO meter_quarantine_setting (tenant, keeps) VALUES ($1, $2) ON CONFLICT (tenant) DO UPDATE SET keeps = excluded.keeps",
        params![tenant, i64::from(keeps)],
    )
}

/// Kept events in the order of their keys, after `after`.
pub(crate) async fn list(db: &Db, tenant: &TenantId, after: Option<Digest>, limit: i64) -> Result<Vec<Kept>, DbError> {
    let sql = "SELECT key, received_at, code, reason, event, digest, source FROM meter_quarantine WHERE tenant = $1 AND key > $2 \
               ORDER BY key LIMIT $3";
    let after = after.map(|key| key.as_bytes().to_vec()).unwrap_or_default();
    db.query(sql, params![tenant, after, limit]).await?.iter().map(kept).collect()
}

fn kept(row: &Row) -> Result<Kept, DbError> {
    let corrupt = |e: serde_json::Error| DbError::Corrupt(format!("an event kept aside: {e}"));
    let key = row.blob(0)?.try_into().map_err(|_| DbError::Corrupt("the key of an event has the wrong length".to_owned()))?;
    Ok(Kept {
        key: Digest::from_bytes(key),
        received_at: row.time(1)?,
        code: row.text(2)?.to_owned(),
        reason: row.text(3)?.to_owned(),
        event: serde_json::from_str(row.text(4)?).map_err(corrupt)?,
        digest: row.parse(5)?,
        source: serde_json::from_str(row.text(6)?).map_err(corrupt)?,
    })
}

/// Lets go of a kept event, which must be there.
pub(crate) fn remove(tenant: &TenantId, key: &Digest) -> Write {
    Write::new("DELETE FROM meter_quarantine WHERE tenant = $1 AND key = $2", params![tenant, key.as_bytes().to_vec()]).exactly(
        1,
        UNKNOWN,
        "the event is not kept aside any more",
    )
}

/// What became of an event that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is kept, now or since before.
    Kept,
    /// Another event is kept under its identifier.
    Other(Digest),
    /// Its identifier was used by an event that is recorded, or there is no room: it is refused as if nothing were kept.
    Refused,
}

/// What the step tells the outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<(Vec<Fate>, usize)>>);

impl Told {
    pub(crate) fn fates(&self) -> Vec<Fate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// What the leaf says: how many are new.
    pub(crate) fn lately(&self) -> Lately {
        let told = self.clone();
        Lately::new(move || {
            let new = told.0.lock().unwrap_or_else(PoisonError::into_inner).1;
            Late { facts: BTreeMap::from([("events".to_owned(), new.to_string())]), ..Late::default() }
        })
    }
}

/// Keeps events aside.
#[derive(Debug)]
pub(crate) struct Keep {
    pub(crate) tenant: TenantId,
    pub(crate) events: Vec<Kept>,
    pub(crate) told: Told,
}

impl Decide for Keep {
    fn questions(&self) -> Vec<Many> {
        let keys: Vec<Digest> = self.events.iter().map(|kept| kept.key).collect();
        let found = Many::new(
            Sql::per_engine(
                "SELECT key, digest FROM meter_quarantine WHERE tenant = $1 AND key = $2",
                "SELECT key, digest FROM meter_quarantine WHERE tenant = $1 AND key = ANY($2::bytea[])",
            ),
            params![&self.tenant],
            vec![Column::blobs(keys.iter().map(|key| key.as_bytes().to_vec()))],
        );
        let room = Many::new("SELECT count(*) FROM meter_quarantine WHERE tenant = $1", params![&self.tenant], vec![]);
        vec![events::used(&self.tenant, keys), found, room]
    }

    fn decide(&self, answers: &[Vec<Row>]) -> Result<Vec<Box<dyn Step>>, StepError> {
        let corrupt = |e: DbError| StepError::Invalid(e.to_string());
        let [used, found, room] = answers else { return Err(StepError::Invalid("a quarantine asked for something else".to_owned())) };
        let used: HashSet<Digest> = used.iter().map(|row| Ok(events::used_row(row)?.0)).collect::<Result<_, _>>().map_err(corrupt)?;
        let mut kept: HashMap<Digest, Digest> = HashMap::new();
        for row in found {
            let key = row.blob(0).map_err(corrupt)?.try_into().map_err(|_| StepError::Invalid("a key of the wrong length".to_owned()))?;
            kept.insert(Digest::from_bytes(key), row.parse(1).map_err(corrupt)?);
        }
        let mut left = QUARANTINE_MAX - room.first().map_or(Ok(0), |row| row.int(0)).map_err(corrupt)?;
        let (mut fates, mut new) = (Vec::new(), Vec::new());
        for event in &self.events {
            fates.push(match kept.get(&event.key) {
                _ if used.contains(&event.key) => Fate::Refused,
                Some(digest) if *digest == event.digest => Fate::Kept,
                Some(digest) => Fate::Other(*digest),
                None if left <= 0 => Fate::Refused,
                None => {
                    left -= 1;
                    kept.insert(event.key, event.digest);
                    new.push(event);
                    Fate::Kept
                }
            });
        }
        *self.told.0.lock().unwrap_or_else(PoisonError::into_inner) = (fates, new.len());
        if new.is_empty() {
            return Err(StepError::conflict(DUPLICATE, "nothing new is to be kept"));
        }
        Ok(vec![Box::new(insert(&self.tenant, &new)?)])
    }
}

fn insert(tenant: &TenantId, kept: &[&Kept]) -> Result<Many, StepError> {
    let invalid = |e: serde_json::Error| StepError::Invalid(e.to_string());
    let events = kept.iter().map(|kept| serde_json::to_string(&kept.event)).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    let sources = kept.iter().map(|kept| serde_json::to_string(&kept.source)).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    Ok(Many::new(
        Sql::per_engine(
            "INSERT INTO meter_quarantine (tenant, key, received_at, code, reason, event, digest, source) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)",
            "INSERT INTO meter_quarantine (tenant, key, received_at, code, reason, event, digest, source) \
             SELECT $1, * FROM unnest($2::bytea[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])",
        ),
        params![tenant],
        vec![
            Column::blobs(kept.iter().map(|kept| kept.key.as_bytes().to_vec())),
            Column::integers(kept.iter().map(|kept| kept.received_at.as_micros())),
            Column::texts(kept.iter().map(|kept| kept.code.as_str())),
            Column::texts(kept.iter().map(|kept| kept.reason.as_str())),
            Column::texts(events),
            Column::texts(kept.iter().map(|kept| kept.digest.to_string())),
            Column::texts(sources),
        ],
    ))
}
