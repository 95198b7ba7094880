//! What channels remember: who was told what, links to outside identities, codes, mail tokens, preferences, and callbacks that came.

use creto_db::{Db, DbError, Migration, MigrationSet, Write, params};
use creto_kernel::id::RequestId;
use creto_kernel::{Digest, ErrorCode, NhiId, TenantId, Timestamp};

use crate::channels::{Link, Preferences, Target};

/// The tables of channels: a set of its own. Both engines take this text.
pub const CHANNEL_MIGRATIONS: MigrationSet =
    MigrationSet { name: "oversight_channels", migrations: &[Migration { version: 1, sqlite: TABLES, postgres: TABLES }] };

const TABLES: &str = "
    CREATE TABLE oversight_told (
        tenant TEXT NOT NULL, request TEXT NOT NULL, channel TEXT NOT NULL, target TEXT NOT NULL, key TEXT NOT NULL,
        reference TEXT NOT NULL, person TEXT, at BIGINT NOT NULL, PRIMARY KEY (tenant, request, channel, target, key)
    );
    CREATE TABLE oversight_link (
        tenant TEXT NOT NULL, channel TEXT NOT NULL, subject TEXT NOT NULL, person TEXT NOT NULL, at BIGINT NOT NULL,
        PRIMARY KEY (tenant, channel, subject)
    );
    CREATE TABLE oversight_link_code (
        tenant TEXT NOT NULL, code_digest TEXT NOT NULL, channel TEXT NOT NULL, person TEXT NOT NULL, expires_at BIGINT NOT NULL,
        PRIMARY KEY (tenant, code_digest)
    );
    CREATE TABLE oversight_mail_token (
        tenant TEXT NOT NULL, token_digest TEXT NOT NULL, request TEXT NOT NULL, revision BIGINT NOT NULL, person TEXT NOT NULL,
        expires_at BIGINT NOT NULL, PRIMARY KEY (tenant, token_digest)
    );
    CREATE TABLE oversight_preference (
        tenant TEXT NOT NULL, person TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (tenant, person)
    );
    CREATE TABLE oversight_callback (
        tenant TEXT NOT NULL, once TEXT NOT NULL, expires_at BIGINT NOT NULL, PRIMARY KEY (tenant, once)
    );
    CREATE INDEX oversight_callback_expiry ON oversight_callback (expires_at);";

const CODE: ErrorCode = ErrorCode::new("oversight.link_code");
/// Most cards of one request and channel.
const CARDS_MAX: u32 = 500;

/// Most people one notice is told to by their role.
const REACHABLE_MAX: u32 = 1_000;

/// Where a card is.
pub(crate) struct Place<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) request: RequestId,
    pub(crate) channel: &'a str,
    pub(crate) target: &'a str,
}

/// That somebody was told.
pub(crate) struct Told<'a> {
    pub(crate) key: &'a str,
    pub(crate) reference: &'a str,
    pub(crate) person: Option<&'a NhiId>,
    pub(crate) at: Timestamp,
}

pub(crate) async fn was_told(db: &Db, place: &Place<'_>, key: &str) -> Result<bool, DbError> {
    let select = "SELECT 1 FROM oversight_told WHERE tenant = $1 AND request = $2 AND channel = $3 AND target = $4 AND key = $5";
    Ok(db.query_optional(select, params![place.tenant, place.request, place.channel, place.target, key]).await?.is_some())
}

/// Bookkeeping of deliveries: nobody decided anything.
pub(crate) async fn told(db: &Db, place: &Place<'_>, told: &Told<'_>) -> Result<(), DbError> {
    let insert = "INSERT INTO oversight_told (tenant, request, channel, target, key, reference, person, at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8) \
                  ON CONFLICT (tenant, request, channel, target, key) DO NOTHING";
    let values = params![place.tenant, place.request, place.channel, place.target, told.key, told.reference, told.person, told.at];
    db.upkeep(insert, values).await.map(|_| ())
}

/// Every card of a request that can be changed, oldest first.
pub(crate) async fn cards(db: &Db, tenant: &TenantId, request: RequestId, channel: &str) -> Result<Vec<(Target, String)>, DbError> {
    let select = "SELECT target, person, reference FROM oversight_told WHERE tenant = $1 AND request = $2 AND channel = $3 \
                  ORDER BY at, target LIMIT $4";
    let rows = db.query(select, params![tenant, request, channel, CARDS_MAX]).await?;
    let read = |row: &creto_db::Row| -> Result<(Target, String), DbError> {
        Ok((Target { address: row.text(0)?.to_owned(), person: row.opt_parse(1)? }, row.text(2)?.to_owned()))
    };
    rows.iter().map(read).collect()
}

/// Who holds an outside identity.
pub(crate) async fn linked(db: &Db, tenant: &TenantId, channel: &str, subject: &str) -> Result<Option<NhiId>, DbError> {
    let select = "SELECT person FROM oversight_link WHERE tenant = $1 AND channel = $2 AND subject = $3";
    db.query_optional(select, params![tenant, channel, subject]).await?.map(|row| row.parse(0)).transpose()
}

pub(crate) async fn links(db: &Db, person: &NhiId) -> Result<Vec<Link>, DbError> {
    let select = "SELECT channel, subject, at FROM oversight_link WHERE tenant = $1 AND person = $2 ORDER BY channel, subject LIMIT 100";
    let rows = db.query(select, params![person.tenant(), person]).await?;
    rows.iter().map(|row| Ok(Link { channel: row.text(0)?.to_owned(), subject: row.text(1)?.to_owned(), at: row.time(2)? })).collect()
}

/// An outside identity is one person's: a new link replaces an old one of the same identity.
pub(crate) fn link(person: &NhiId, channel: &str, subject: &str, at: Timestamp) -> Write {
    let insert = "INSERT INTO oversight_link (tenant, channel, subject, person, at) VALUES ($1,$2,$3,$4,$5) \
                  ON CONFLICT (tenant, channel, subject) DO UPDATE SET person = excluded.person, at = excluded.at";
    Write::new(insert, params![person.tenant(), channel, subject, person, at])
}

pub(crate) fn unlink(person: &NhiId, channel: &str) -> Write {
    let delete = "DELETE FROM oversight_link WHERE tenant = $1 AND channel = $2 AND person = $3";
    Write::new(delete, params![person.tenant(), channel, person])
}

pub(crate) fn insert_code(person: &NhiId, channel: &str, code: Digest, expires_at: Timestamp) -> [Write; 2] {
    [
        // The newest code of a person is the only one.
        Write::new(
            "DELETE FROM oversight_link_code WHERE tenant = $1 AND person = $2 AND channel = $3",
            params![person.tenant(), person, channel],
        ),
        Write::new(
            "INSERT INTO oversight_link_code (tenant, code_digest, channel, person, expires_at) VALUES ($1,$2,$3,$4,$5)",
            params![person.tenant(), code, channel, person, expires_at],
        ),
    ]
}

pub(crate) async fn code(db: &Db, tenant: &TenantId, channel: &str, code: Digest, now: Timestamp) -> Result<Option<NhiId>, DbError> {
    let select = "SELECT person FROM oversight_link_code WHERE tenant = $1 AND channel = $2 AND code_digest = $3 AND expires_at > $4";
    db.query_optional(select, params![tenant, channel, code, now]).await?.map(|row| row.parse(0)).transpose()
}

pub(crate) fn use_code(tenant: &TenantId, code: Digest) -> Write {
    Write::new("DELETE FROM oversight_link_code WHERE tenant = $1 AND code_digest = $2", params![tenant, code]).exactly(
        1,
        CODE,
        "the code was used before",
    )
}

/// A mail's token as stored: its digest and what it is bound to.
pub(crate) struct MailToken {
    pub(crate) request: RequestId,
    pub(crate) revision: i64,
    pub(crate) person: NhiId,
}

pub(crate) async fn mint(db: &Db, tenant: &TenantId, digest: Digest, token: &MailToken, expires_at: Timestamp) -> Result<(), DbError> {
    let insert =
        "INSERT INTO oversight_mail_token (tenant, token_digest, request, revision, person, expires_at) VALUES ($1,$2,$3,$4,$5,$6)";
    db.upkeep(insert, params![tenant, digest, token.request, token.revision, &token.person, expires_at]).await.map(|_| ())
}

pub(crate) async fn mail_token(db: &Db, tenant: &TenantId, digest: Digest, now: Timestamp) -> Result<Option<MailToken>, DbError> {
    let select = "SELECT request, revision, person FROM oversight_mail_token WHERE tenant = $1 AND token_digest = $2 AND expires_at > $3";
    let row = db.query_optional(select, params![tenant, digest, now]).await?;
    row.map(|row| Ok(MailToken { request: row.parse(0)?, revision: row.int(1)?, person: row.parse(2)? })).transpose()
}

pub(crate) async fn preferences(db: &Db, person: &NhiId) -> Result<Preferences, DbError> {
    let select = "SELECT body FROM oversight_preference WHERE tenant = $1 AND person = $2";
    let row = db.query_optional(select, params![person.tenant(), person]).await?;
    let corrupt = |_| DbError::Corrupt("a preference is not one".to_owned());
    row.map_or_else(|| Ok(Preferences::default()), |row| serde_json::from_str(row.text(0)?).map_err(corrupt))
}

/// People of a tenant who can be reached by some channel.
pub(crate) async fn reachable(db: &Db, tenant: &TenantId) -> Result<Vec<NhiId>, DbError> {
    let select = "SELECT person FROM oversight_preference WHERE tenant = $1 UNION SELECT person FROM oversight_link WHERE tenant = $1 \
                  ORDER BY person LIMIT $2";
    let rows = db.query(select, params![tenant, REACHABLE_MAX]).await?;
    rows.iter().map(|row| row.parse(0)).collect()
}

pub(crate) fn prefer(person: &NhiId, body: String) -> Write {
    let insert = "INSERT INTO oversight_preference (tenant, person, body) VALUES ($1,$2,$3) \
                  ON CONFLICT (tenant, person) DO UPDATE SET body = excluded.body";
    Write::new(insert, params![person.tenant(), person, body])
}

/// Notes a callback; false where it came before.
pub(crate) async fn first_time(db: &Db, tenant: &TenantId, once: Digest, now: Timestamp, expires_at: Timestamp) -> Result<bool, DbError> {
    let prune = ("DELETE FROM oversight_callback WHERE expires_at <= $1".into(), params![now]);
    let insert = "INSERT INTO oversight_callback (tenant, once, expires_at) VALUES ($1,$2,$3) \
                  ON CONFLICT (tenant, once) DO NOTHING RETURNING once";
    Ok(!db.upkeep_all(vec![prune, (insert.into(), params![tenant, once, expires_at])]).await?.is_empty())
}
