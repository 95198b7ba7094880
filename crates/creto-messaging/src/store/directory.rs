//! The prekey directory.

use creto_db::{Db, DbError, Write, params};
use creto_kernel::{ErrorCode, NhiId, Timestamp};

use crate::core::bucket::{Bucket, CAPACITY};
use crate::error::MessagingError;
use crate::model::bundle::{Bundle, Prekey, PrekeyId, PrekeyKind, Publication};
use crate::model::identity::IdentityStatement;
use crate::model::suite::SuiteId;

/// Most unused one-time keys of one kind that one identity may keep here.
pub const STOCK_MAX: u32 = 200;
/// Somebody else took the same key, or moved the same row, at the same moment.
pub const CONTENDED: ErrorCode = ErrorCode::new("messaging.contended");

/// The published keys of an identity that many requesters share.
#[derive(Clone, Debug)]
pub struct Published {
    /// The identity.
    pub statement: IdentityStatement,
    /// The signed prekey.
    pub signed: Prekey,
    /// The last-resort encapsulation key.
    pub last_resort: Prekey,
}

fn corrupt(error: crate::model::wire::WireError) -> MessagingError {
    MessagingError::Db(DbError::Corrupt(error.to_string()))
}

fn key_number(id: i64) -> Result<PrekeyId, MessagingError> {
    u32::try_from(id).map(PrekeyId).map_err(|_| MessagingError::Db(DbError::Corrupt("a prekey number is out of range".to_owned())))
}

/// What `nhi` has published.
pub async fn published(db: &Db, nhi: &NhiId) -> Result<Option<Published>, MessagingError> {
    let sql = "SELECT statement, signed_prekey, last_resort FROM messaging_identity WHERE tenant = $1 AND nhi = $2";
    let Some(row) = db.query_optional(sql, params![nhi.tenant(), nhi]).await? else { return Ok(None) };
    let prekey = |column, kind| Prekey::from_bytes(row.blob(column)?, SuiteId::S1, kind).map_err(corrupt);
    Ok(Some(Published {
        statement: IdentityStatement::from_bytes(row.blob(0)?).map_err(corrupt)?,
        signed: prekey(1, PrekeyKind::AgreementSigned)?,
        last_resort: prekey(2, PrekeyKind::KemLastResort)?,
    }))
}

/// How many unused one-time keys of a kind are left.
pub async fn stock(db: &Db, nhi: &NhiId, kind: PrekeyKind, now: Timestamp) -> Result<u32, MessagingError> {
    let sql = "SELECT COUNT(*) FROM messaging_prekey WHERE tenant = $1 AND nhi = $2 AND kind = $3 AND not_after > $4";
    let row = db.query_optional(sql, params![nhi.tenant(), nhi, kind.byte(), now]).await?;
    let count = row.map_or(Ok(0), |row| row.int(0))?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The next one-time key of a kind: the oldest that is still good. It stays there until [`pop`] is committed.
pub async fn next_one_time(db: &Db, nhi: &NhiId, kind: PrekeyKind, now: Timestamp) -> Result<Option<Prekey>, MessagingError> {
    let sql = "SELECT body, id FROM messaging_prekey WHERE tenant = $1 AND nhi = $2 AND kind = $3 AND not_after > $4 ORDER BY id LIMIT 1";
    let row = db.query_optional(sql, params![nhi.tenant(), nhi, kind.byte(), now]).await?;
    row.map(|row| {
        let prekey = Prekey::from_bytes(row.blob(0)?, SuiteId::S1, kind).map_err(corrupt)?;
        if prekey.id == key_number(row.int(1)?)? { Ok(prekey) } else { Err(corrupt(crate::model::wire::WireError::Value("prekey id"))) }
    })
    .transpose()
}

/// Takes one one-time key out: a conflict when somebody else took it first.
#[must_use]
pub fn pop(nhi: &NhiId, prekey: &Prekey) -> Write {
    Write::new(
        "DELETE FROM messaging_prekey WHERE tenant = $1 AND nhi = $2 AND kind = $3 AND id = $4",
        params![nhi.tenant(), nhi, prekey.kind.byte(), prekey.id.0],
    )
    .exactly(1, CONTENDED, "another request took this one-time key first")
}

/// Publishes: the shared keys replace the ones before, one-time keys of an earlier identity key go, the new ones are added.
#[must_use]
pub fn publish(publication: &Publication, now: Timestamp) -> Vec<Write> {
    let statement = &publication.statement;
    let (tenant, nhi, key_id) = (statement.nhi.tenant(), &statement.nhi, statement.key_id().to_string());
    let mut writes = vec![
        Write::new(
            "INSERT INTO messaging_identity (tenant, nhi, key_id, statement, signed_prekey, last_resort, published) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, nhi) DO UPDATE SET key_id = excluded.key_id, \
             statement = excluded.statement, signed_prekey = excluded.signed_prekey, last_resort = excluded.last_resort, \
             published = excluded.published",
            params![tenant, nhi, &key_id, statement.to_bytes(), publication.signed.to_bytes(), publication.last_resort.to_bytes(), now],
        ),
        Write::new(
            "DELETE FROM messaging_prekey WHERE tenant = $1 AND nhi = $2 AND (key_id <> $3 OR not_after <= $4)",
            params![tenant, nhi, &key_id, now],
        ),
    ];
    writes.extend(publication.agreement_once.iter().chain(&publication.kem_once).map(|prekey| {
        Write::new(
            "INSERT INTO messaging_prekey (tenant, nhi, kind, id, key_id, body, not_after) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            params![tenant, nhi, prekey.kind.byte(), prekey.id.0, &key_id, prekey.to_bytes(), prekey.not_after],
        )
        .unique(CONTENDED, "a one-time key with this number is published already")
    }));
    writes
}

/// The bucket of one requester for one target; full when it was never used.
pub async fn bucket(db: &Db, requester: &NhiId, target: &NhiId, now: Timestamp) -> Result<Bucket, MessagingError> {
    let sql = "SELECT requests_left, since FROM messaging_bucket WHERE tenant = $1 AND requester = $2 AND target = $3";
    let Some(row) = db.query_optional(sql, params![requester.tenant(), requester, target]).await? else { return Ok(Bucket::full(now)) };
    let corrupt = || MessagingError::Db(DbError::Corrupt("a request bucket is out of range".to_owned()));
    Ok(Bucket {
        left: u32::try_from(row.int(0)?).ok().filter(|left| *left <= CAPACITY).ok_or_else(corrupt)?,
        since: Timestamp::from_micros(row.int(1)?).ok_or_else(corrupt)?,
    })
}

/// Moves a bucket from one state to the next; a conflict when another request moved it first.
#[must_use]
pub fn move_bucket(requester: &NhiId, target: &NhiId, from: Bucket, to: Bucket) -> [Write; 2] {
    let tenant = requester.tenant();
    [
        Write::new(
            "INSERT INTO messaging_bucket (tenant, requester, target, requests_left, since) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (tenant, requester, target) DO NOTHING",
            params![tenant, requester, target, from.left, from.since],
        ),
        Write::new(
            "UPDATE messaging_bucket SET requests_left = $1, since = $2 \
             WHERE tenant = $3 AND requester = $4 AND target = $5 AND requests_left = $6 AND since = $7",
            params![to.left, to.since, tenant, requester, target, from.left, from.since],
        )
        .exactly(1, CONTENDED, "another request used this bucket first"),
    ]
}

impl Published {
    /// The bundle with these one-time keys.
    #[must_use]
    pub fn bundle(self, agreement_once: Option<Prekey>, kem_once: Option<Prekey>) -> Bundle {
        Bundle { statement: self.statement, signed: self.signed, last_resort: self.last_resort, agreement_once, kem_once }
    }
}
