//! Quotas and their counts in the database.

use std::sync::Arc;

use creto_db::{Db, DbError, Decide, Deciding, Many, Migration, MigrationSet, Row, Sql, Step, StepError, Value, Write, params};
use creto_kernel::{ErrorCode, TenantId, Timestamp};

use crate::core::quota::{Span, Tally};
use crate::model::quota::{Quota, QuotaId};
use crate::store::catalog::CHANGED;

/// The tables of quotas.
pub const QUOTA_MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering_quotas",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../../migrations/quotas/0001_quotas.sql"),
        postgres: include_str!("../../migrations/quotas/0001_quotas.sql"),
    }],
};

pub(crate) const EXCEEDED: ErrorCode = ErrorCode::new("metering.quota_exceeded");

/// A quota as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) id: QuotaId,
    pub(crate) revision: i64,
    pub(crate) quota: Quota,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

fn kept(row: &Row) -> Result<Kept, DbError> {
    let quota = serde_json::from_str(row.text(2)?).map_err(|e| DbError::Corrupt(format!("a quota: {e}")))?;
    Ok(Kept { id: row.parse(0)?, revision: row.int(1)?, quota, created_at: row.time(3)?, updated_at: row.time(4)? })
}

/// The quotas of a tenant, by their code.
pub(crate) async fn quotas(db: &Db, tenant: &TenantId) -> Result<Vec<Kept>, DbError> {
    let sql = "SELECT id, revision, body, created_at, updated_at FROM meter_quota WHERE tenant = $1 ORDER BY code LIMIT 10000";
    db.query(sql, params![tenant]).await?.iter().map(kept).collect()
}

pub(crate) async fn quota(db: &Db, tenant: &TenantId, code: &str) -> Result<Option<Kept>, DbError> {
    let sql = "SELECT id, revision, body, created_at, updated_at FROM meter_quota WHERE tenant = $1 AND code = $2";
    db.query_optional(sql, params![tenant, code]).await?.as_ref().map(kept).transpose()
}

/// How often the quotas of each tenant changed.
pub(crate) async fn epochs(db: &Db) -> Result<Vec<(TenantId, i64)>, DbError> {
    let rows = db.query("SELECT tenant, epoch FROM meter_quota_epoch ORDER BY tenant", params![]).await?;
    rows.iter().map(|row| Ok((row.parse(0)?, row.int(1)?))).collect()
}

/// Puts a quota in force in place of `before`, if that is still the one.
pub(crate) fn put(tenant: &TenantId, kept: &Kept, body: &str, before: Option<i64>) -> [Write; 2] {
    let changed = format!("the quota `{}` was changed meanwhile", kept.quota.code);
    let row = match before {
        None => Write::new(
            "INSERT INTO meter_quota (tenant, code, id, revision, body, created_at, updated_at) VALUES ($1,$2,$3,$4,$5,$6,$7)",
            params![tenant, &kept.quota.code, kept.id, kept.revision, body, kept.created_at, kept.updated_at],
        )
        .unique(CHANGED, changed),
        Some(seen) => Write::new(
            "UPDATE meter_quota SET id = $1, revision = $2, body = $3, updated_at = $4 WHERE tenant = $5 AND code = $6 AND revision = $7",
            params![kept.id, kept.revision, body, kept.updated_at, tenant, &kept.quota.code, seen],
        )
        .exactly(1, CHANGED, changed),
    };
    [row, bump(tenant)]
}

pub(crate) fn remove(tenant: &TenantId, kept: &Kept) -> [Write; 3] {
    [
        Write::new(
            "DELETE FROM meter_quota WHERE tenant = $1 AND code = $2 AND revision = $3",
            params![tenant, &kept.quota.code, kept.revision],
        )
        .exactly(1, CHANGED, format!("the quota `{}` was changed meanwhile", kept.quota.code)),
        Write::new("DELETE FROM meter_quota_tally WHERE tenant = $1 AND quota = $2", params![tenant, kept.id]),
        bump(tenant),
    ]
}

fn bump(tenant: &TenantId) -> Write {
    Write::new(
        "INSERT INTO meter_quota_epoch (tenant, epoch) VALUES ($1, 1) ON CONFLICT (tenant) DO UPDATE SET epoch = meter_quota_epoch.epoch + 1",
        params![tenant],
    )
}

/// Whose count under which quota.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TallyOf<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) quota: QuotaId,
    pub(crate) subject: &'a str,
}

fn tally_row(row: &Row) -> Result<(i64, Tally), DbError> {
    let tally = serde_json::from_str(row.text(1)?).map_err(|e| DbError::Corrupt(format!("a quota's count: {e}")))?;
    Ok((row.int(0)?, tally))
}

/// A count with its revision; an empty one at revision 0 where nothing was counted.
pub(crate) async fn tally(db: &Db, of: TallyOf<'_>) -> Result<(i64, Tally), DbError> {
    let sql = "SELECT revision, body FROM meter_quota_tally WHERE tenant = $1 AND quota = $2 AND subject = $3";
    let row = db.query_optional(sql, params![of.tenant, of.quota, of.subject]).await?;
    row.as_ref().map_or_else(|| Ok((0, Tally::default())), tally_row)
}

/// The counts under a quota, of each subject.
pub(crate) async fn tallies(db: &Db, tenant: &TenantId, quota: QuotaId, limit: u32) -> Result<Vec<(String, Tally)>, DbError> {
    let sql = "SELECT revision, body, subject FROM meter_quota_tally WHERE tenant = $1 AND quota = $2 ORDER BY subject LIMIT $3";
    let rows = db.query(sql, params![tenant, quota, limit]).await?;
    rows.iter().map(|row| Ok((row.text(2)?.to_owned(), tally_row(row)?.1))).collect()
}

const FIRST: &str = "INSERT INTO meter_quota_tally (tenant, quota, subject, revision, body) VALUES ($1,$2,$3,1,$4) \
                     ON CONFLICT (tenant, quota, subject) DO NOTHING";
const NEXT: &str = "UPDATE meter_quota_tally SET revision = revision + 1, body = $4 \
                    WHERE tenant = $1 AND quota = $2 AND subject = $3 AND revision = $5";
const FIRST_RETURNING: &str = "INSERT INTO meter_quota_tally (tenant, quota, subject, revision, body) VALUES ($1,$2,$3,1,$4) \
                               ON CONFLICT (tenant, quota, subject) DO NOTHING RETURNING revision";
const NEXT_RETURNING: &str = "UPDATE meter_quota_tally SET revision = revision + 1, body = $4 \
                              WHERE tenant = $1 AND quota = $2 AND subject = $3 AND revision = $5 RETURNING revision";

fn written(of: TallyOf<'_>, seen: i64, tally: &Tally) -> Result<Vec<Value>, DbError> {
    let body = serde_json::to_string(tally).map_err(|e| DbError::Corrupt(format!("a quota's count: {e}")))?;
    let mut all = params![of.tenant, of.quota, of.subject, body];
    if seen > 0 {
        all.push(seen.into());
    }
    Ok(all)
}

/// Writes a count if it is still at the revision that was seen, by itself: a lease is bookkeeping, and recorded by what uses it.
pub(crate) async fn set_tally(db: &Db, of: TallyOf<'_>, seen: i64, tally: &Tally) -> Result<bool, DbError> {
    let sql = if seen == 0 { FIRST_RETURNING } else { NEXT_RETURNING };
    Ok(!db.upkeep(sql, written(of, seen, tally)?).await?.is_empty())
}

/// As [`set_tally`], within a commit that tells somebody.
pub(crate) fn set_tally_step(of: TallyOf<'_>, seen: i64, tally: &Tally) -> Result<Write, DbError> {
    let sql = if seen == 0 { FIRST } else { NEXT };
    Ok(Write::new(sql, written(of, seen, tally)?).exactly(1, CHANGED, "the count was changed meanwhile"))
}

/// How much is counted within a commit, in millionths.
#[derive(Clone)]
pub(crate) enum Amount {
    /// So many.
    Known(i64),
    /// What earlier steps of the commit came to; asked when they have run.
    Lately(Arc<dyn Fn() -> i64 + Send + Sync>),
}

impl std::fmt::Debug for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Amount")
    }
}

impl Amount {
    /// How many, once the steps before have run.
    pub(crate) fn get(&self) -> i64 {
        match self {
            Self::Known(amount) => *amount,
            Self::Lately(ask) => ask(),
        }
    }
}

/// Counts within a commit what its action used.
#[derive(Debug)]
pub(crate) struct Charge {
    pub(crate) tenant: TenantId,
    pub(crate) id: QuotaId,
    pub(crate) quota: Arc<Quota>,
    pub(crate) subject: String,
    pub(crate) span: Span,
    pub(crate) amount: Amount,
    /// Whether what does not fit is refused: the effect is this very commit.
    pub(crate) refuses: bool,
}

impl Charge {
    /// The steps: there is a row, and it is counted in.
    pub(crate) fn steps(self) -> [Box<dyn Step>; 2] {
        let of = TallyOf { tenant: &self.tenant, quota: self.id, subject: &self.subject };
        let empty = Write::new(
            "INSERT INTO meter_quota_tally (tenant, quota, subject, revision, body) VALUES ($1,$2,$3,1,'{\"buckets\":[]}') \
             ON CONFLICT (tenant, quota, subject) DO NOTHING",
            params![of.tenant, of.quota, of.subject],
        );
        [Box::new(empty), Box::new(Deciding(self))]
    }
}

impl Decide for Charge {
    fn questions(&self) -> Vec<Many> {
        // Leases are debited beside commits: the row is kept until this one is over.
        let sql = Sql::per_engine(
            "SELECT revision, body FROM meter_quota_tally WHERE tenant = $1 AND quota = $2 AND subject = $3",
            "SELECT revision, body FROM meter_quota_tally WHERE tenant = $1 AND quota = $2 AND subject = $3 FOR UPDATE",
        );
        vec![Many::new(sql, params![&self.tenant, self.id, &self.subject], Vec::new())]
    }

    fn decide(&self, answers: &[Vec<Row>]) -> Result<Vec<Box<dyn Step>>, StepError> {
        let amount = self.amount.get();
        if amount <= 0 {
            return Ok(Vec::new());
        }
        let corrupt = |e: DbError| StepError::Invalid(e.to_string());
        let row = answers.first().and_then(|rows| rows.first());
        let (seen, mut tally) = row
            .ok_or_else(|| StepError::Invalid("a quota's count is not there".to_owned()))
            .and_then(|row| tally_row(row).map_err(corrupt))?;
        let left = self.quota.limit.get().saturating_sub(tally.counted(&self.span)).max(0);
        if self.refuses && self.quota.blocks() && amount > left {
            return Err(StepError::conflict(EXCEEDED, exceeded(&self.quota, &self.subject, amount, left, &self.span)));
        }
        tally.charge(&self.quota, &self.span, amount);
        let of = TallyOf { tenant: &self.tenant, quota: self.id, subject: &self.subject };
        Ok(vec![Box::new(set_tally_step(of, seen, &tally).map_err(corrupt)?)])
    }
}

/// What a refusal says: which quota of whom, how much is left, how much was asked, until when.
pub(crate) fn exceeded(quota: &Quota, subject: &str, asked: i64, left: i64, span: &Span) -> String {
    let (asked, left) = (creto_kernel::Micros::new(asked), creto_kernel::Micros::new(left));
    let until = match Timestamp::from_micros(span.end).filter(|_| span.end < i64::MAX) {
        Some(end) => format!("; counted until {end}"),
        None => String::new(),
    };
    format!("quota `{}` of {subject}: {asked} of `{}` is asked for and {left} of {} is left{until}", quota.code, quota.metric, quota.limit)
}
