//! Stored accounts and sessions of people.

use creto_db::{Db, DbError, Write, params};
use creto_kernel::id::CredentialId;
use creto_kernel::{Digest, ErrorCode, NhiId, TenantId, Timestamp};

use crate::core::throttle::Throttle;
use crate::error::NhiError;
use crate::model::principal::Roles;

#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) password: String,
    pub(crate) roles: Roles,
    pub(crate) throttle: Throttle,
}

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: CredentialId,
    pub(crate) identity: NhiId,
    pub(crate) roles: Roles,
    pub(crate) seen_at: Timestamp,
    pub(crate) not_after: Timestamp,
}

const ACCOUNT_EXISTS: ErrorCode = ErrorCode::new("nhi.account_exists");
const RACED: ErrorCode = ErrorCode::new("nhi.login_raced");
const RACED_SAYS: &str = "another attempt is under way: try again";
const GONE: ErrorCode = ErrorCode::new("nhi.session_gone");

pub(crate) fn insert_account(id: &NhiId, password: String, roles: Roles) -> Write {
    let insert = "INSERT INTO nhi_account (identity, tenant, password, roles, failures, blocked_until) VALUES ($1, $2, $3, $4, 0, 0)";
    Write::new(insert, params![id, id.tenant(), password, roles.to_string()])
        .unique(ACCOUNT_EXISTS, format!("`{id}` has an account already"))
}

pub(crate) fn set_password(id: &NhiId, password: String) -> Write {
    Write::new("UPDATE nhi_account SET password = $1, failures = 0, blocked_until = 0 WHERE identity = $2", params![password, id]).exactly(
        1,
        ErrorCode::new("nhi.account_unknown"),
        format!("`{id}` has no account"),
    )
}

/// Counts an attempt as failed before its password is looked at, and only if nobody else's attempt came between: guesses at one
/// account are one after another, however many connections ask.
pub(crate) fn count_attempt(id: &NhiId, seen: Throttle, next: Throttle) -> Write {
    let update = "UPDATE nhi_account SET failures = $1, blocked_until = $2 WHERE identity = $3 AND failures = $4 AND blocked_until = $5";
    Write::new(update, params![next.failures, next.blocked_until, id, seen.failures, seen.blocked_until]).exactly(1, RACED, RACED_SAYS)
}

/// What a second attempt at the same moment is told.
pub(crate) fn raced() -> DbError {
    DbError::Conflict { code: RACED, message: RACED_SAYS.to_owned() }
}

pub(crate) fn set_roles(id: &NhiId, roles: Roles) -> Write {
    Write::new("UPDATE nhi_account SET roles = $1 WHERE identity = $2", params![roles.to_string(), id])
}

pub(crate) fn insert_federated(id: &NhiId, issuer: &str, subject: &str) -> Write {
    let insert = "INSERT INTO nhi_federated (tenant, issuer, subject, identity) VALUES ($1, $2, $3, $4)";
    Write::new(insert, params![id.tenant(), issuer, subject, id]).unique(RACED, "another login of the same person is under way: try again")
}

pub(crate) async fn federated(db: &Db, tenant: &TenantId, issuer: &str, subject: &str) -> Result<Option<NhiId>, NhiError> {
    let select = "SELECT identity FROM nhi_federated WHERE tenant = $1 AND issuer = $2 AND subject = $3";
    Ok(db.query_optional(select, params![tenant, issuer, subject]).await?.map(|row| row.parse(0)).transpose()?)
}

pub(crate) fn clear_attempts(id: &NhiId) -> Write {
    Write::new("UPDATE nhi_account SET failures = 0, blocked_until = 0 WHERE identity = $1", params![id])
}

pub(crate) fn insert_session(session: &Session, secret: Digest) -> Write {
    let insert = "INSERT INTO nhi_session (id, tenant, identity, secret_digest, seen_at, not_after) VALUES ($1, $2, $3, $4, $5, $6)";
    let values = params![session.id, session.identity.tenant(), &session.identity, secret, session.seen_at, session.not_after];
    Write::new(insert, values)
}

pub(crate) fn touch_session(id: CredentialId, now: Timestamp) -> Write {
    Write::new("UPDATE nhi_session SET seen_at = $1 WHERE id = $2", params![now, id]).exactly(1, GONE, "the session was ended meanwhile")
}

pub(crate) fn end_session(id: CredentialId) -> Write {
    Write::new("DELETE FROM nhi_session WHERE id = $1", params![id]).exactly(1, GONE, "the session was ended before")
}

pub(crate) fn end_sessions_of(id: &NhiId) -> Write {
    Write::new("DELETE FROM nhi_session WHERE identity = $1", params![id])
}

pub(crate) fn drop_ended_sessions(id: &NhiId, now: Timestamp) -> Write {
    Write::new("DELETE FROM nhi_session WHERE identity = $1 AND not_after <= $2", params![id, now])
}

pub(crate) async fn account(db: &Db, id: &NhiId) -> Result<Option<Account>, NhiError> {
    let select = "SELECT password, roles, failures, blocked_until FROM nhi_account WHERE identity = $1";
    let Some(row) = db.query_optional(select, params![id]).await? else { return Ok(None) };
    let failures = u32::try_from(row.int(2)?).map_err(|_| NhiError::Stored("a count of failures is out of range".to_owned()))?;
    Ok(Some(Account {
        password: row.text(0)?.to_owned(),
        roles: row.parse(1)?,
        throttle: Throttle { failures, blocked_until: row.time(3)? },
    }))
}

/// Found by the digest of the secret: a 256-bit random secret leaves nothing to learn from how long the search takes.
pub(crate) async fn session(db: &Db, secret: Digest) -> Result<Option<Session>, NhiError> {
    let select = "SELECT s.id, s.identity, a.roles, s.seen_at, s.not_after FROM nhi_session s
        JOIN nhi_account a ON a.identity = s.identity WHERE s.secret_digest = $1";
    let Some(row) = db.query_optional(select, params![secret]).await? else { return Ok(None) };
    Ok(Some(Session { id: row.parse(0)?, identity: row.parse(1)?, roles: row.parse(2)?, seen_at: row.time(3)?, not_after: row.time(4)? }))
}
