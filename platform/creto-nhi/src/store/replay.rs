//! What servers of one database remember together, for a while: nonces of signed requests, and attempts at names without an account.
//!
//! INVARIANT: both are bookkeeping and leave no leaf. A nonce decides nothing that the action behind the request does not record, and
//! attempts at invented names would let anybody fill the log.

use creto_crypto::KeyId;
use creto_db::{Db, params};
use creto_kernel::{Digest, NhiId, TenantId, Timestamp};

use crate::core::throttle::Throttle;
use crate::error::NhiError;

/// Names without an account whose attempts are remembered, in one database.
const UNKNOWN_ACCOUNTS_MAX: u32 = 10_000;

/// Remembers a nonce until `forget_at`; false where it is remembered already, by whichever server.
pub(crate) async fn admit(db: &Db, tenant: &TenantId, key: KeyId, nonce: &str, forget_at: Timestamp) -> Result<bool, NhiError> {
    let entry = Digest::of_parts(&[key.to_string().as_bytes(), b"\0", nonce.as_bytes()]);
    let insert = "INSERT INTO nhi_nonce (tenant, nonce, forget_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING nonce";
    Ok(!db.upkeep(insert, params![tenant, entry, forget_at]).await?.is_empty())
}

/// Forgets nonces whose signatures are too old to be accepted.
pub(crate) async fn forget_nonces(db: &Db, now: Timestamp) -> Result<(), NhiError> {
    db.upkeep("DELETE FROM nhi_nonce WHERE forget_at <= $1", params![now]).await?;
    Ok(())
}

/// The name is not kept: people type passwords where names belong.
fn hidden(name: &NhiId) -> Digest {
    Digest::of_parts(&[b"creto/unknown-login/v1\0", name.as_str().as_bytes()])
}

/// How often a name without an account was tried in a row.
pub(crate) async fn unknown_account(db: &Db, name: &NhiId) -> Result<Throttle, NhiError> {
    let select = "SELECT failures, blocked_until FROM nhi_unknown_login WHERE tenant = $1 AND name = $2";
    let Some(row) = db.query_optional(select, params![name.tenant(), hidden(name)]).await? else {
        return Ok(Throttle { failures: 0, blocked_until: Timestamp::EPOCH });
    };
    let failures = u32::try_from(row.int(0)?).map_err(|_| NhiError::Stored("a count of failures is out of range".to_owned()))?;
    Ok(Throttle { failures, blocked_until: row.time(1)? })
}

/// Counts an attempt, as for an account: false where another came between.
pub(crate) async fn count_unknown(db: &Db, name: &NhiId, seen: Throttle, next: Throttle, now: Timestamp) -> Result<bool, NhiError> {
    let upsert = "INSERT INTO nhi_unknown_login (tenant, name, failures, blocked_until, seen_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (tenant, name) DO UPDATE SET failures = excluded.failures, blocked_until = excluded.blocked_until,
            seen_at = excluded.seen_at
        WHERE nhi_unknown_login.failures = $6 AND nhi_unknown_login.blocked_until = $7 RETURNING failures";
    let values = params![name.tenant(), hidden(name), next.failures, next.blocked_until, now, seen.failures, seen.blocked_until];
    Ok(!db.upkeep(upsert, values).await?.is_empty())
}

/// Keeps the names that were tried last, as many as are remembered.
pub(crate) async fn forget_unknown(db: &Db) -> Result<(), NhiError> {
    let delete = "DELETE FROM nhi_unknown_login WHERE seen_at <=
        (SELECT seen_at FROM nhi_unknown_login ORDER BY seen_at DESC LIMIT 1 OFFSET $1)";
    db.upkeep(delete, params![UNKNOWN_ACCOUNTS_MAX]).await?;
    Ok(())
}
