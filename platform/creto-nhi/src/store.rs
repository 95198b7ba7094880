//! What identity keeps: its tables, the steps that write them and the queries that read them.
//!
//! INVARIANT: every statement names the tenant, or a key that contains it (an identity does).

use creto_crypto::PublicKey;
use creto_db::{Db, Migration, MigrationSet, Row, Write, params};
use creto_kernel::id::LinkId;
use creto_kernel::{Digest, ErrorCode, NhiId, TenantId, Timestamp};

use crate::error::NhiError;
use crate::model::chain::VerifiedChain;
use crate::model::identity::{Identity, IdentityKey, Status};
use crate::model::link::DelegationChain;

pub(crate) mod accounts;
pub(crate) mod keys;
pub(crate) mod passkeys;
pub(crate) mod replay;

/// Both engines take this text: it holds only `TEXT` and `BIGINT`.
const TABLES: &str = "
    CREATE TABLE nhi_identity (
        id TEXT PRIMARY KEY, tenant TEXT NOT NULL, status TEXT NOT NULL, created_at BIGINT NOT NULL
    );
    CREATE TABLE nhi_key (
        identity TEXT NOT NULL REFERENCES nhi_identity (id), key_id TEXT NOT NULL, public_key TEXT NOT NULL, custodial BIGINT NOT NULL,
        valid_from BIGINT NOT NULL, valid_until BIGINT, withdrawn BIGINT NOT NULL, PRIMARY KEY (identity, key_id)
    );
    CREATE TABLE nhi_chain (
        tenant TEXT NOT NULL, digest TEXT NOT NULL, leaf TEXT NOT NULL, token TEXT NOT NULL, created_at BIGINT NOT NULL,
        not_after BIGINT NOT NULL, PRIMARY KEY (tenant, digest)
    );
    CREATE INDEX nhi_chain_leaf ON nhi_chain (leaf, created_at);
    CREATE TABLE nhi_revoked_link (
        tenant TEXT NOT NULL, link TEXT NOT NULL, revoked_at BIGINT NOT NULL, PRIMARY KEY (tenant, link)
    );
    CREATE TABLE nhi_epoch (one BIGINT PRIMARY KEY, epoch BIGINT NOT NULL);
    INSERT INTO nhi_epoch (one, epoch) VALUES (1, 1);
    CREATE TABLE nhi_credential (
        id TEXT PRIMARY KEY, tenant TEXT NOT NULL, identity TEXT NOT NULL REFERENCES nhi_identity (id), role TEXT NOT NULL,
        secret_digest TEXT NOT NULL, chain TEXT, created_at BIGINT NOT NULL, not_after BIGINT NOT NULL, revoked_at BIGINT
    );
    CREATE INDEX nhi_credential_tenant ON nhi_credential (tenant, id);
    CREATE TABLE nhi_account (
        identity TEXT PRIMARY KEY REFERENCES nhi_identity (id), tenant TEXT NOT NULL, password TEXT NOT NULL, roles TEXT NOT NULL,
        failures BIGINT NOT NULL, blocked_until BIGINT NOT NULL
    );
    CREATE TABLE nhi_session (
        id TEXT PRIMARY KEY, tenant TEXT NOT NULL, identity TEXT NOT NULL REFERENCES nhi_account (identity),
        secret_digest TEXT NOT NULL UNIQUE, seen_at BIGINT NOT NULL, not_after BIGINT NOT NULL
    );
    CREATE INDEX nhi_session_identity ON nhi_session (identity);";

/// What servers remember together, for a while.
const REPLAY: &str = "
    CREATE TABLE nhi_nonce (
        tenant TEXT NOT NULL, nonce TEXT NOT NULL, forget_at BIGINT NOT NULL, PRIMARY KEY (tenant, nonce)
    );
    CREATE INDEX nhi_nonce_forget_at ON nhi_nonce (forget_at);
    CREATE TABLE nhi_unknown_login (
        tenant TEXT NOT NULL, name TEXT NOT NULL, failures BIGINT NOT NULL, blocked_until BIGINT NOT NULL, seen_at BIGINT NOT NULL,
        PRIMARY KEY (tenant, name)
    );
    CREATE INDEX nhi_unknown_login_seen_at ON nhi_unknown_login (seen_at);";

/// The tables of passkeys: a set of its own.
pub const PASSKEY_MIGRATIONS: MigrationSet = MigrationSet {
    name: "nhi_passkey",
    migrations: &[
        Migration { version: 1, sqlite: passkeys::TABLES, postgres: passkeys::TABLES },
        Migration { version: 2, sqlite: passkeys::FEDERATION, postgres: passkeys::FEDERATION },
    ],
};

/// The tables of this crate.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    name: "nhi",
    migrations: &[Migration { version: 1, sqlite: TABLES, postgres: TABLES }, Migration { version: 2, sqlite: REPLAY, postgres: REPLAY }],
};

/// Most identities one server keeps; all of them are in memory so that verification never waits for the disk.
pub const IDENTITIES_MAX: usize = 100_000;
/// Most rows one listing answers.
pub(crate) const LIST_MAX: u32 = 1_000;

pub(crate) const IDENTITY_EXISTS: ErrorCode = ErrorCode::new("nhi.identity_exists");
pub(crate) const MOVED_ON: ErrorCode = ErrorCode::new("nhi.identity_changed");

pub(crate) fn insert_identity(id: &NhiId, now: Timestamp) -> Write {
    Write::new(
        "INSERT INTO nhi_identity (id, tenant, status, created_at) VALUES ($1, $2, $3, $4)",
        params![id, id.tenant(), Status::Active.as_str(), now],
    )
    .unique(IDENTITY_EXISTS, format!("`{id}` exists already"))
}

pub(crate) fn insert_key(id: &NhiId, key: &IdentityKey) -> Result<Write, NhiError> {
    let public = serde_json::to_string(&key.public).map_err(|e| NhiError::Stored(e.to_string()))?;
    let insert = "INSERT INTO nhi_key (identity, key_id, public_key, custodial, valid_from, valid_until, withdrawn)
        VALUES ($1, $2, $3, $4, $5, NULL, 0)";
    Ok(Write::new(insert, params![id, key.id.to_string(), public, key.custodial, key.valid_from])
        .unique(MOVED_ON, "the key is registered already"))
}

pub(crate) fn close_keys(id: &NhiId, now: Timestamp) -> Write {
    Write::new("UPDATE nhi_key SET valid_until = $1 WHERE identity = $2 AND valid_until IS NULL", params![now, id])
}

pub(crate) fn withdraw_key(id: &NhiId, key: &str) -> Write {
    Write::new("UPDATE nhi_key SET withdrawn = 1 WHERE identity = $1 AND key_id = $2", params![id, key]).exactly(
        1,
        MOVED_ON,
        "the identity has no such key",
    )
}

pub(crate) fn set_status(id: &NhiId, status: Status) -> Write {
    Write::new("UPDATE nhi_identity SET status = $1 WHERE id = $2 AND status <> 'revoked'", params![status.as_str(), id]).exactly(
        1,
        MOVED_ON,
        format!("`{id}` was revoked meanwhile"),
    )
}

pub(crate) fn revoke_link(tenant: &TenantId, link: LinkId, now: Timestamp) -> Write {
    Write::new(
        "INSERT INTO nhi_revoked_link (tenant, link, revoked_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        params![tenant, link, now],
    )
}

pub(crate) fn next_epoch() -> Write {
    Write::new("UPDATE nhi_epoch SET epoch = epoch + 1 WHERE one = 1", params![]).exactly(1, MOVED_ON, "the revocation epoch is missing")
}

pub(crate) fn insert_chain(verified: &VerifiedChain, token: String, now: Timestamp) -> Write {
    let insert = "INSERT INTO nhi_chain (tenant, digest, leaf, token, created_at, not_after) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING";
    Write::new(insert, params![verified.tenant(), verified.digest(), verified.leaf(), token, now, verified.not_after()])
}

/// Everything verification needs, as stored.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) identities: Vec<Identity>,
    pub(crate) revoked: Vec<(TenantId, LinkId)>,
    pub(crate) epoch: u64,
}

/// Reads the epoch first: what changes while the rest is read belongs to a later epoch and is read again.
pub(crate) async fn load(db: &Db) -> Result<Loaded, NhiError> {
    let epoch = epoch(db).await?;
    let mut identities: Vec<Identity> = Vec::new();
    for row in db.query("SELECT id, status FROM nhi_identity ORDER BY id", params![]).await? {
        identities.push(Identity { id: row.parse(0)?, status: row.parse(1)?, keys: Vec::new() });
    }
    let keys =
        "SELECT identity, key_id, public_key, custodial, valid_from, valid_until, withdrawn FROM nhi_key ORDER BY valid_from, key_id";
    for row in db.query(keys, params![]).await? {
        let owner: NhiId = row.parse(0)?;
        if let Some(identity) = identities.binary_search_by(|probe| probe.id.cmp(&owner)).ok().and_then(|at| identities.get_mut(at)) {
            identity.keys.push(read_key(&row)?);
        }
    }
    let mut revoked = Vec::new();
    for row in db.query("SELECT tenant, link FROM nhi_revoked_link", params![]).await? {
        revoked.push((row.parse(0)?, row.parse(1)?));
    }
    Ok(Loaded { identities, revoked, epoch })
}

/// What changes whenever an identity is made, or something that was in force ends: the revocation epoch, and how many identities there are.
pub(crate) async fn mark(db: &Db) -> Result<(u64, usize), NhiError> {
    let row = db.query_optional("SELECT count(*) FROM nhi_identity", params![]).await?;
    let identities = row.map_or(Ok(0), |row| row.int(0))?;
    Ok((epoch(db).await?, usize::try_from(identities).unwrap_or(0)))
}

pub(crate) async fn epoch(db: &Db) -> Result<u64, NhiError> {
    let row = db.query_optional("SELECT epoch FROM nhi_epoch WHERE one = 1", params![]).await?;
    let epoch = row.map(|row| row.int(0)).transpose()?;
    epoch.and_then(|epoch| u64::try_from(epoch).ok()).ok_or_else(|| NhiError::Stored("the revocation epoch is missing".to_owned()))
}

fn read_key(row: &Row) -> Result<IdentityKey, NhiError> {
    let public: PublicKey = serde_json::from_str(row.text(2)?).map_err(|e| NhiError::Stored(e.to_string()))?;
    let id = public.key_id();
    if row.text(1)? != id.to_string() {
        return Err(NhiError::Stored(format!("key `{}` is stored under another identifier", id)));
    }
    let valid_until = row.opt_int(5)?.map(|_| row.time(5)).transpose()?;
    Ok(IdentityKey { id, public, custodial: row.bool(3)?, valid_from: row.time(4)?, valid_until, withdrawn: row.bool(6)? })
}

pub(crate) async fn chain(db: &Db, tenant: &TenantId, digest: Digest) -> Result<Option<DelegationChain>, NhiError> {
    let found = db.query_optional("SELECT token FROM nhi_chain WHERE tenant = $1 AND digest = $2", params![tenant, digest]).await?;
    found.map(|row| DelegationChain::from_token(row.text(0)?)).transpose()
}

/// The chains a tenant has recorded.
pub(crate) async fn chains(db: &Db, tenant: &TenantId) -> Result<Vec<DelegationChain>, NhiError> {
    let rows = db.query("SELECT token FROM nhi_chain WHERE tenant = $1", params![tenant]).await?;
    rows.iter().map(|row| DelegationChain::from_token(row.text(0)?)).collect()
}

pub(crate) async fn chains_of(db: &Db, leaf: &NhiId) -> Result<Vec<DelegationChain>, NhiError> {
    let select = "SELECT token FROM nhi_chain WHERE leaf = $1 ORDER BY created_at DESC, digest LIMIT $2";
    db.query(select, params![leaf, LIST_MAX]).await?.iter().map(|row| DelegationChain::from_token(row.text(0)?)).collect()
}
