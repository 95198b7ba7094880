//! Stored bearer keys: the digest of a secret, never the secret.

use creto_db::{Db, Row, Write, params};
use creto_kernel::id::CredentialId;
use creto_kernel::{Digest, ErrorCode, NhiId, TenantId, Timestamp};

use crate::error::NhiError;
use crate::model::principal::Role;
use crate::store::LIST_MAX;

/// One API key as stored.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Its identifier, also part of the token.
    pub id: CredentialId,
    /// Whom it speaks for.
    pub identity: NhiId,
    /// In which role.
    pub role: Role,
    /// For the role `agent`: the digest of the stored chain it acts under.
    pub chain: Option<Digest>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The end, exclusive.
    pub not_after: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    pub(crate) secret_digest: Digest,
}

const UNKNOWN: ErrorCode = ErrorCode::new("nhi.credential_not_found");
const COLUMNS: &str =
    "SELECT id, identity, role, chain, created_at, not_after, revoked_at, secret_digest FROM nhi_credential WHERE id = $1";

pub(crate) fn insert(key: &ApiKey) -> Write {
    let insert = "INSERT INTO nhi_credential (id, tenant, identity, role, secret_digest, chain, created_at, not_after, revoked_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL)";
    let values = params![
        key.id,
        key.identity.tenant(),
        &key.identity,
        key.role.as_str(),
        key.secret_digest,
        key.chain,
        key.created_at,
        key.not_after
    ];
    Write::new(insert, values)
}

pub(crate) fn revoke(tenant: &TenantId, id: CredentialId, now: Timestamp) -> Write {
    Write::new("UPDATE nhi_credential SET revoked_at = $1 WHERE id = $2 AND tenant = $3 AND revoked_at IS NULL", params![now, id, tenant])
        .exactly(1, UNKNOWN, "there is no such key, or it was revoked before")
}

fn read(row: &Row) -> Result<ApiKey, NhiError> {
    Ok(ApiKey {
        id: row.parse(0)?,
        identity: row.parse(1)?,
        role: row.parse(2)?,
        chain: row.opt_parse(3)?,
        created_at: row.time(4)?,
        not_after: row.time(5)?,
        revoked_at: row.opt_int(6)?.map(|_| row.time(6)).transpose()?,
        secret_digest: row.parse(7)?,
    })
}

/// Not scoped by tenant: the key is what says which tenant a request belongs to.
pub(crate) async fn find(db: &Db, id: CredentialId) -> Result<Option<ApiKey>, NhiError> {
    db.query_optional(COLUMNS, params![id]).await?.as_ref().map(read).transpose()
}

pub(crate) async fn list(db: &Db, tenant: &TenantId) -> Result<Vec<ApiKey>, NhiError> {
    let select = "SELECT id, identity, role, chain, created_at, not_after, revoked_at, secret_digest FROM nhi_credential
        WHERE tenant = $1 ORDER BY id LIMIT $2";
    db.query(select, params![tenant, LIST_MAX]).await?.iter().map(read).collect()
}
