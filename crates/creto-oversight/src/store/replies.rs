//! Mails that can be answered: what the token of each one's address is bound to.

use creto_db::{Db, DbError, params};
use creto_kernel::id::RequestId;
use creto_kernel::{Digest, NhiId, TenantId, Timestamp};

/// What a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answering {
    pub(crate) request: RequestId,
    pub(crate) person: NhiId,
    /// Where the mail went.
    pub(crate) address: String,
}

/// Notes a token, and forgets those that are too old.
pub(crate) async fn mint(
    db: &Db,
    tenant: &TenantId,
    token: Digest,
    bound: &Answering,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), DbError> {
    let prune = "DELETE FROM oversight_reply WHERE expires_at <= $1";
    let insert = "INSERT INTO oversight_reply (tenant, token_digest, request, person, address, expires_at) VALUES ($1,$2,$3,$4,$5,$6)";
    let values = params![tenant, token, bound.request, &bound.person, &bound.address, expires_at];
    db.upkeep_all(vec![(prune.into(), params![now]), (insert.into(), values)]).await.map(|_| ())
}

pub(crate) async fn answering(db: &Db, tenant: &TenantId, token: Digest, now: Timestamp) -> Result<Option<Answering>, DbError> {
    let select = "SELECT request, person, address FROM oversight_reply WHERE tenant = $1 AND token_digest = $2 AND expires_at > $3";
    let row = db.query_optional(select, params![tenant, token, now]).await?;
    row.map(|row| Ok(Answering { request: row.parse(0)?, person: row.parse(1)?, address: row.text(2)?.to_owned() })).transpose()
}
