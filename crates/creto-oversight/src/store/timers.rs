//! Timers: which requests time changes next.

use std::time::Duration;

use creto_db::{Db, DbError, Sql, params};
use creto_kernel::id::RequestId;
use creto_kernel::{TenantId, Timestamp};

/// How long a claimed timer is another server's before it is tried again: longer than any commit takes.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// Timers that are ours until `lease`.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) lease: Timestamp,
    pub(crate) timers: Vec<(TenantId, RequestId)>,
}

/// Claims the timers that are due, the longest overdue first, at most `most`. A claimed timer may be claimed again when its lease runs
/// out, so that one whose server died is not lost; the transition it causes sets the next moment in its own commit.
///
/// What is due keeps its place in the order of all: a queue whose front moves to its end would be balanced anew by every claim, and SQLite
/// looks through its whole page cache after that.
pub(crate) async fn claim(db: &Db, now: Timestamp, most: u32) -> Result<Claimed, DbError> {
    // SKIP LOCKED: several servers share the work instead of waiting for each other.
    let sql = Sql::per_engine(
        "UPDATE oversight_timer SET claimable = $1 WHERE rowid IN (SELECT rowid FROM oversight_timer WHERE due <= $2 AND claimable <= $2 \
         ORDER BY due LIMIT $3) RETURNING tenant, request",
        "UPDATE oversight_timer t SET claimable = $1 FROM (SELECT tenant, request FROM oversight_timer WHERE due <= $2 AND claimable <= $2 \
         ORDER BY due LIMIT $3 FOR UPDATE SKIP LOCKED) d WHERE t.tenant = d.tenant AND t.request = d.request RETURNING t.tenant, t.request",
    );
    let lease = now.saturating_add(LEASE);
    let rows = db.upkeep(sql, params![lease, now, most]).await?;
    let mut claimed = rows.iter().map(|row| Ok((row.parse(0)?, row.parse(1)?))).collect::<Result<Vec<_>, DbError>>()?;
    // RETURNING promises no order; identifiers are in the order of opening.
    claimed.sort_by_key(|(_, request): &(TenantId, RequestId)| *request);
    Ok(Claimed { lease, timers: claimed })
}

/// When the next timer that nobody has claimed is due.
pub(crate) async fn next(db: &Db) -> Result<Option<Timestamp>, DbError> {
    let row = db.query_optional("SELECT MIN(due) FROM oversight_timer WHERE claimable = due", params![]).await?;
    Ok(row.map(|row| row.opt_int(0)).transpose()?.flatten().and_then(Timestamp::from_micros))
}

/// Sets a claimed timer to the moment at which time changes the request next, or removes it; one that was set anew since it was claimed
/// stays as it is.
pub(crate) async fn put_back(
    db: &Db,
    tenant: &TenantId,
    request: RequestId,
    lease: Timestamp,
    due: Option<Timestamp>,
) -> Result<(), DbError> {
    match due {
        Some(due) => {
            let sql = "UPDATE oversight_timer SET due = $1, claimable = $1 WHERE tenant = $2 AND request = $3 AND claimable = $4";
            db.upkeep(sql, params![due, tenant, request, lease]).await?;
        }
        None => {
            let sql = "DELETE FROM oversight_timer WHERE tenant = $1 AND request = $2 AND claimable = $3";
            db.upkeep(sql, params![tenant, request, lease]).await?;
        }
    }
    Ok(())
}
