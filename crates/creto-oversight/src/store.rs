//! Queries, and the write steps as values. One SQL text serves both engines.

use creto_db::{Db, DbError, Migration, MigrationSet, Row, Write, params};
use creto_enablement_common::OpenRequest;
use creto_kernel::id::{AdmissionId, RequestId};
use creto_kernel::{Digest, ErrorCode, NhiId, TenantId, Timestamp};

use crate::core::machine::Facts;
use crate::model::request::{Request, RequestFilter, State};

pub(crate) mod erasing;

/// Oversight's tables.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    name: "oversight",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../migrations/sqlite/0001_oversight.sql"),
        postgres: include_str!("../migrations/postgres/0001_oversight.sql"),
    }],
};

/// Most requests of one agent that wait for a human at one time: one that asks and asks does not bury what others ask.
pub const OPEN_PER_AGENT_MAX: u32 = 100;

/// Most requests one listing answers.
pub(crate) const LIST_MAX: u32 = 200;

const ALREADY_DECIDED: ErrorCode = ErrorCode::new("oversight.already_decided");
const TOO_MANY_OPEN: ErrorCode = ErrorCode::new("oversight.too_many_open");
const ALREADY_OPEN: ErrorCode = ErrorCode::new("oversight.already_open");
const NOT_APPROVED: ErrorCode = ErrorCode::new("oversight.not_approved");

/// A query for rows that [`read`] reads: the columns stand here once.
macro_rules! select_requests {
    ($rest:literal) => {
        concat!(
            "SELECT id, digest, action, rule, run, hops, reason, state, opened_at, deadline, decided_by, decided_at, how, comment, salt ",
            "FROM oversight_request ",
            $rest
        )
    };
}

/// A request with what only the server needs of it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) request: Request,
    pub(crate) salt: Vec<u8>,
    pub(crate) facts: Facts,
}

pub(crate) fn insert(open: &OpenRequest, action: String, hops: String) -> Write {
    // The agent that asks is the end of the JSON list of hops.
    let last_hop = format!("\"{}\"]", open.action.agent);
    Write::new(
        "INSERT INTO oversight_request (id, tenant, digest, salt, action, rule, run, hops, reason, state, opened_at, deadline) \
         SELECT $1,$2,$3,$4,$5,$6,$7,$8,$9,'pending',$10,$11 WHERE (SELECT COUNT(*) FROM oversight_request r \
         WHERE r.tenant = $2 AND r.state = 'pending' AND r.deadline > $10 AND substr(r.hops, length(r.hops) - length($12) + 1) = $12) < $13",
        params![
            open.id,
            &open.action.tenant,
            open.digest,
            open.salt.to_vec(),
            action,
            open.rule.as_str(),
            open.run,
            hops,
            open.reason.as_deref(),
            open.now,
            open.deadline,
            last_hop,
            i64::from(OPEN_PER_AGENT_MAX)
        ],
    )
    .exactly(1, TOO_MANY_OPEN, format!("{OPEN_PER_AGENT_MAX} requests of this agent wait for a human already"))
    .unique(ALREADY_OPEN, "a request for this action is open already")
}

/// A decision or its absence.
#[derive(Debug)]
pub(crate) struct Decision<'a> {
    pub(crate) to: State,
    pub(crate) by: Option<&'a NhiId>,
    pub(crate) how: Option<&'a str>,
    pub(crate) comment: Option<&'a str>,
    pub(crate) now: Timestamp,
}

pub(crate) fn decide(tenant: &TenantId, id: RequestId, decision: &Decision<'_>) -> Write {
    Write::new(
        "UPDATE oversight_request SET state = $1, decided_by = $2, how = $3, comment = $4, decided_at = $5 \
         WHERE tenant = $6 AND id = $7 AND state = 'pending'",
        params![decision.to.as_str(), decision.by, decision.how, decision.comment, decision.now, tenant, id],
    )
    .exactly(1, ALREADY_DECIDED, "the request was decided meanwhile")
}

/// Ends an approval nobody used; who gave it and when stays.
pub(crate) fn lapse(tenant: &TenantId, id: RequestId) -> Write {
    Write::new("UPDATE oversight_request SET state = 'timed_out' WHERE tenant = $1 AND id = $2 AND state = 'approved'", params![tenant, id])
        .exactly(1, NOT_APPROVED, "the approval was used meanwhile")
}

pub(crate) fn consume(tenant: &TenantId, id: RequestId, digest: Digest, admission: AdmissionId) -> Write {
    Write::new(
        "UPDATE oversight_request SET state = 'consumed', admission = $1 WHERE tenant = $2 AND id = $3 AND digest = $4 AND state = 'approved'",
        params![admission, tenant, id, digest],
    )
    .exactly(1, NOT_APPROVED, "the approval was used by another attempt")
}

/// What an attempt is told whose approval another one used.
pub(crate) fn used_already() -> DbError {
    DbError::Conflict { code: NOT_APPROVED, message: "the approval was used by another attempt".to_owned() }
}

pub(crate) fn withdraw(tenant: &TenantId, id: RequestId) -> Write {
    Write::new("UPDATE oversight_request SET state = 'cancelled' WHERE tenant = $1 AND id = $2 AND state = 'approved'", params![tenant, id])
        .exactly(1, NOT_APPROVED, "the approval was used by another attempt")
}

pub(crate) fn conclude(tenant: &TenantId, id: RequestId, admission: AdmissionId, ok: bool) -> Write {
    let to = if ok { State::Executed } else { State::Failed };
    Write::new(
        "UPDATE oversight_request SET state = $1 WHERE tenant = $2 AND id = $3 AND admission = $4 AND state = 'consumed'",
        params![to.as_str(), tenant, id, admission],
    )
    .exactly(1, NOT_APPROVED, "the approval is not this admission's")
}

/// Records that the agent was told of a denial. Of two attempts that are told, both were.
pub(crate) fn hear(tenant: &TenantId, id: RequestId) -> Write {
    Write::new("UPDATE oversight_request SET heard = 1 WHERE tenant = $1 AND id = $2", params![tenant, id])
}

/// The open request of an action, else its latest denial since `denied_since` that the agent has not been told of.
pub(crate) async fn open_for(db: &Db, tenant: &TenantId, digest: Digest, denied_since: Timestamp) -> Result<Option<Stored>, DbError> {
    let sql = select_requests!(
        "WHERE tenant = $1 AND digest = $2 AND (state IN ('pending', 'approved') \
               OR (state = 'denied' AND heard = 0 AND decided_at >= $3)) ORDER BY CASE state WHEN 'denied' THEN 1 ELSE 0 END, id DESC LIMIT 1"
    );
    db.query_optional(sql, params![tenant, digest, denied_since]).await?.as_ref().map(read).transpose()
}

pub(crate) async fn one(db: &Db, tenant: &TenantId, id: RequestId) -> Result<Option<Stored>, DbError> {
    let sql = select_requests!("WHERE tenant = $1 AND id = $2");
    db.query_optional(sql, params![tenant, id]).await?.as_ref().map(read).transpose()
}

/// One more than the limit where there are more.
pub(crate) async fn page(db: &Db, tenant: &TenantId, filter: &RequestFilter, limit: u32) -> Result<Vec<Stored>, DbError> {
    let sql = select_requests!(
        "WHERE tenant = $1 AND ($2 = '' OR state = $2) AND ($3 = '' OR run = $3) AND ($4 = '' OR id < $4) ORDER BY id DESC LIMIT $5"
    );
    let state = filter.state.map(State::as_str).unwrap_or_default();
    let run = filter.run.map(|run| run.to_string()).unwrap_or_default();
    let before = filter.before.map(|before| before.to_string()).unwrap_or_default();
    db.query(sql, params![tenant, state, run, before, i64::from(limit) + 1]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Stored, DbError> {
    let corrupt = |what: &str| DbError::Corrupt(format!("an oversight request has a bad {what}"));
    let state = State::parse(row.text(7)?).ok_or_else(|| corrupt("state"))?;
    let request = Request {
        id: row.text(0)?.to_owned(),
        digest: row.parse(1)?,
        action: row.text(2)?.to_owned(),
        rule: row.text(3)?.to_owned(),
        run: row.opt_text(4)?.map(str::to_owned),
        hops: serde_json::from_str(row.text(5)?).map_err(|_| corrupt("chain"))?,
        reason: row.opt_text(6)?.map(str::to_owned),
        state,
        opened_at: row.time(8)?,
        deadline: row.time(9)?,
        decided_by: row.opt_text(10)?.map(str::to_owned),
        decided_at: row.opt_int(11)?.and_then(Timestamp::from_micros),
        how: row.opt_text(12)?.map(str::to_owned),
        comment: row.opt_text(13)?.map(str::to_owned),
    };
    let facts = Facts { state, digest: request.digest, deadline: request.deadline, decided_at: request.decided_at };
    Ok(Stored { request, salt: row.blob(14)?.to_vec(), facts })
}
