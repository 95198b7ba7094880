//! Stored passkeys, the challenges that wait for an answer, and invitations.

use creto_db::{Db, DbError, Row, Write, params};
use creto_kernel::{Digest, ErrorCode, NhiId, TenantId, Timestamp};

use crate::core::webauthn::{PasskeyKey, Registered};
use crate::error::NhiError;

/// Both engines take this text.
pub(crate) const TABLES: &str = "
    CREATE TABLE nhi_passkey (
        tenant TEXT NOT NULL, credential TEXT NOT NULL, identity TEXT NOT NULL, label TEXT NOT NULL, public_key TEXT NOT NULL,
        uses BIGINT NOT NULL, created_at BIGINT NOT NULL, used_at BIGINT, PRIMARY KEY (tenant, credential)
    );
    CREATE INDEX nhi_passkey_identity ON nhi_passkey (tenant, identity);
    CREATE TABLE nhi_challenge (
        tenant TEXT NOT NULL, challenge TEXT NOT NULL, purpose TEXT NOT NULL, identity TEXT, binding TEXT NOT NULL, nonce TEXT NOT NULL,
        expires_at BIGINT NOT NULL, PRIMARY KEY (tenant, challenge)
    );
    CREATE INDEX nhi_challenge_expiry ON nhi_challenge (expires_at);
    CREATE TABLE nhi_invite (
        tenant TEXT NOT NULL, token_digest TEXT NOT NULL, identity TEXT NOT NULL, expires_at BIGINT NOT NULL,
        PRIMARY KEY (tenant, token_digest)
    );";

/// Who came from which identity provider. Both engines take this text.
pub(crate) const FEDERATION: &str = "
    CREATE TABLE nhi_federated (
        tenant TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, identity TEXT NOT NULL, PRIMARY KEY (tenant, issuer, subject)
    );";

const ANSWERED: ErrorCode = ErrorCode::new("nhi.passkey_refused");
const EXISTS: ErrorCode = ErrorCode::new("nhi.passkey_exists");
const PROOF: ErrorCode = ErrorCode::new("nhi.passkey_proof");
const UNKNOWN: ErrorCode = ErrorCode::new("nhi.passkey_unknown");
const INVITE: ErrorCode = ErrorCode::new("nhi.invite_unknown");

/// One passkey as stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) credential: String,
    pub(crate) identity: NhiId,
    pub(crate) label: String,
    pub(crate) key: PasskeyKey,
    pub(crate) count: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) used_at: Option<Timestamp>,
}

/// A question that waits for its answer.
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    pub(crate) challenge: Digest,
    pub(crate) purpose: &'static str,
    pub(crate) identity: Option<NhiId>,
    /// What an approval is for: the request and the digest.
    pub(crate) binding: String,
    pub(crate) nonce: String,
    pub(crate) expires_at: Timestamp,
}

pub(crate) async fn ask(db: &Db, tenant: &TenantId, challenge: &Challenge, now: Timestamp) -> Result<(), DbError> {
    let insert =
        "INSERT INTO nhi_challenge (tenant, challenge, purpose, identity, binding, nonce, expires_at) VALUES ($1,$2,$3,$4,$5,$6,$7)";
    let values = params![
        tenant,
        challenge.challenge,
        challenge.purpose,
        challenge.identity.as_ref(),
        &challenge.binding,
        &challenge.nonce,
        challenge.expires_at
    ];
    let prune = ("DELETE FROM nhi_challenge WHERE expires_at <= $1".into(), params![now]);
    db.upkeep_all(vec![prune, (insert.into(), values)]).await.map(|_| ())
}

/// How many questions of this purpose wait.
pub(crate) async fn open(db: &Db, tenant: &TenantId, purpose: &str, now: Timestamp) -> Result<i64, DbError> {
    let count = "SELECT count(*) FROM nhi_challenge WHERE tenant = $1 AND purpose = $2 AND expires_at > $3";
    db.query_optional(count, params![tenant, purpose, now]).await?.map_or(Ok(0), |row| row.int(0))
}

/// A question's identity, binding and nonce, while it waits.
pub(crate) async fn asked(
    db: &Db,
    tenant: &TenantId,
    challenge: Digest,
    purpose: &str,
    now: Timestamp,
) -> Result<Option<(Option<NhiId>, String, String)>, DbError> {
    let select =
        "SELECT identity, binding, nonce FROM nhi_challenge WHERE tenant = $1 AND challenge = $2 AND purpose = $3 AND expires_at > $4";
    let row = db.query_optional(select, params![tenant, challenge, purpose, now]).await?;
    row.map(|row| Ok((row.opt_parse(0)?, row.text(1)?.to_owned(), row.text(2)?.to_owned()))).transpose()
}

/// Takes a question away and gives its binding and nonce: of two at once, one gets it. Who answers is not known yet, so nothing was
/// decided that a leaf could record.
pub(crate) async fn take(
    db: &Db,
    tenant: &TenantId,
    challenge: Digest,
    purpose: &str,
    now: Timestamp,
) -> Result<Option<(String, String)>, DbError> {
    let delete =
        "DELETE FROM nhi_challenge WHERE tenant = $1 AND challenge = $2 AND purpose = $3 AND expires_at > $4 RETURNING binding, nonce";
    let rows = db.upkeep(delete, params![tenant, challenge, purpose, now]).await?;
    rows.first().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).transpose()
}

/// Takes the question away; whoever comes second finds none.
pub(crate) fn answer(tenant: &TenantId, challenge: Digest) -> Write {
    Write::new("DELETE FROM nhi_challenge WHERE tenant = $1 AND challenge = $2", params![tenant, challenge]).exactly(
        1,
        ANSWERED,
        "the challenge was answered before",
    )
}

/// The first passkey of a person needs no other; of two that are first at once, one is.
pub(crate) fn insert_first(identity: &NhiId, label: &str, made: &Registered, now: Timestamp) -> Result<Write, NhiError> {
    let key = serde_json::to_string(&made.key).map_err(|e| NhiError::Stored(e.to_string()))?;
    let insert = "INSERT INTO nhi_passkey (tenant, credential, identity, label, public_key, uses, created_at) \
                  SELECT $1,$2,$3,$4,$5,$6,$7 WHERE NOT EXISTS (SELECT 1 FROM nhi_passkey p WHERE p.tenant = $1 AND p.identity = $3)";
    let values = params![identity.tenant(), &made.credential, identity, label, key, made.count, now];
    let write = Write::new(insert, values).unique(EXISTS, "the passkey is registered already");
    Ok(write.exactly(1, PROOF, "another passkey was registered meanwhile, and this one needs it"))
}

pub(crate) fn insert(identity: &NhiId, label: &str, made: &Registered, now: Timestamp) -> Result<Write, NhiError> {
    let key = serde_json::to_string(&made.key).map_err(|e| NhiError::Stored(e.to_string()))?;
    let insert =
        "INSERT INTO nhi_passkey (tenant, credential, identity, label, public_key, uses, created_at) VALUES ($1,$2,$3,$4,$5,$6,$7)";
    let values = params![identity.tenant(), &made.credential, identity, label, key, made.count, now];
    Ok(Write::new(insert, values).unique(EXISTS, "the passkey is registered already"))
}

/// The counter moves from what it was when it was checked: of two assertions at once, one finds it moved.
pub(crate) fn used(tenant: &TenantId, passkey: &Stored, count: u32, now: Timestamp) -> Write {
    let update = "UPDATE nhi_passkey SET uses = $1, used_at = $2 WHERE tenant = $3 AND credential = $4 AND uses = $5";
    Write::new(update, params![count, now, tenant, &passkey.credential, passkey.count]).exactly(
        1,
        ANSWERED,
        "the passkey was used or removed meanwhile",
    )
}

pub(crate) fn remove(identity: &NhiId, credential: &str) -> Write {
    let delete = "DELETE FROM nhi_passkey WHERE tenant = $1 AND identity = $2 AND credential = $3";
    Write::new(delete, params![identity.tenant(), identity, credential]).exactly(1, UNKNOWN, "there is no such passkey")
}

pub(crate) fn remove_all(identity: &NhiId) -> Write {
    Write::new("DELETE FROM nhi_passkey WHERE tenant = $1 AND identity = $2", params![identity.tenant(), identity])
}

macro_rules! select_passkeys {
    ($rest:literal) => {
        concat!("SELECT credential, identity, label, public_key, uses, created_at, used_at FROM nhi_passkey ", $rest)
    };
}

pub(crate) async fn one(db: &Db, tenant: &TenantId, credential: &str) -> Result<Option<Stored>, NhiError> {
    let select = select_passkeys!("WHERE tenant = $1 AND credential = $2");
    db.query_optional(select, params![tenant, credential]).await?.as_ref().map(read).transpose()
}

pub(crate) async fn of(db: &Db, identity: &NhiId) -> Result<Vec<Stored>, NhiError> {
    let select = select_passkeys!("WHERE tenant = $1 AND identity = $2 ORDER BY created_at LIMIT 100");
    db.query(select, params![identity.tenant(), identity]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Stored, NhiError> {
    let damaged = |what: &str| NhiError::Stored(format!("a passkey has a bad {what}"));
    Ok(Stored {
        credential: row.text(0)?.to_owned(),
        identity: row.parse(1)?,
        label: row.text(2)?.to_owned(),
        key: serde_json::from_str(row.text(3)?).map_err(|_| damaged("key"))?,
        count: u32::try_from(row.int(4)?).map_err(|_| damaged("counter"))?,
        created_at: row.time(5)?,
        used_at: row.opt_int(6)?.and_then(Timestamp::from_micros),
    })
}

pub(crate) fn insert_invite(identity: &NhiId, token: Digest, expires_at: Timestamp) -> [Write; 2] {
    [
        // The newest invitation is the only one.
        Write::new("DELETE FROM nhi_invite WHERE tenant = $1 AND identity = $2", params![identity.tenant(), identity]),
        Write::new(
            "INSERT INTO nhi_invite (tenant, token_digest, identity, expires_at) VALUES ($1,$2,$3,$4)",
            params![identity.tenant(), token, identity, expires_at],
        ),
    ]
}

pub(crate) async fn invited(db: &Db, tenant: &TenantId, token: Digest, now: Timestamp) -> Result<Option<NhiId>, DbError> {
    let select = "SELECT identity FROM nhi_invite WHERE tenant = $1 AND token_digest = $2 AND expires_at > $3";
    db.query_optional(select, params![tenant, token, now]).await?.map(|row| row.parse(0)).transpose()
}

pub(crate) fn redeem(tenant: &TenantId, token: Digest) -> Write {
    Write::new("DELETE FROM nhi_invite WHERE tenant = $1 AND token_digest = $2", params![tenant, token]).exactly(
        1,
        INVITE,
        "the invitation was used before",
    )
}
