//! Endpoints and deliveries as stored.

use creto_db::{Db, DbError, Migration, MigrationSet, Row, Sql, Write, params};
use creto_kernel::id::OutboxId;
use creto_kernel::{ErrorCode, TenantId, Timestamp};

use super::{Delivery, Endpoint, EndpointState, WebhookId};

/// The tables of webhooks.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    name: "webhook",
    migrations: &[
        Migration {
            version: 1,
            sqlite: include_str!("../../migrations/sqlite/0001_webhook.sql"),
            postgres: include_str!("../../migrations/postgres/0001_webhook.sql"),
        },
        Migration { version: 2, sqlite: FORMATS, postgres: FORMATS },
    ],
};

/// Which format an endpoint is told in, empty for Standard Webhooks', and what the format keeps with it.
const FORMATS: &str = "ALTER TABLE webhook_endpoint ADD COLUMN format TEXT NOT NULL DEFAULT ''; \
    ALTER TABLE webhook_endpoint ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';";

pub(super) const UNKNOWN_ENDPOINT: ErrorCode = ErrorCode::new("webhook.unknown_endpoint");
pub(super) const UNKNOWN_DELIVERY: ErrorCode = ErrorCode::new("webhook.unknown_delivery");
const LIST_MAX: i64 = 200;

pub(super) struct Stored {
    pub(super) endpoint: Endpoint,
    pub(super) secret: Vec<u8>,
    pub(super) old_secret: Option<Vec<u8>>,
}

pub(super) fn insert(tenant: &TenantId, endpoint: &Endpoint, secret: Vec<u8>) -> Write {
    let sql = "INSERT INTO webhook_endpoint (tenant, id, url, events, state, secret, created_at, created_by, format, settings) \
               VALUES ($1,$2,$3,$4,'active',$5,$6,$7,$8,$9)";
    let (events, format) = (endpoint.events.join(" "), endpoint.format.as_deref().unwrap_or_default());
    let (at, by, settings) = (endpoint.created_at, &endpoint.created_by, endpoint.settings.to_string());
    Write::new(sql, params![tenant, endpoint.id, &endpoint.url, events, secret, at, by, format, settings])
}

pub(super) fn update(tenant: &TenantId, endpoint: &Endpoint) -> Write {
    let sql = "UPDATE webhook_endpoint SET url = $1, events = $2, settings = $3, state = 'active' WHERE tenant = $4 AND id = $5";
    let (events, settings, id) = (endpoint.events.join(" "), endpoint.settings.to_string(), endpoint.id);
    Write::new(sql, params![&endpoint.url, events, settings, tenant, id]).exactly(
        1,
        UNKNOWN_ENDPOINT,
        format!("there is no webhook endpoint `{id}`"),
    )
}

pub(super) fn rotate(tenant: &TenantId, id: WebhookId, secret: Vec<u8>, old_until: Timestamp) -> Write {
    let sql =
        "UPDATE webhook_endpoint SET old_secret = secret, old_until = $1, secret = $2, state = 'active' WHERE tenant = $3 AND id = $4";
    Write::new(sql, params![old_until, secret, tenant, id]).exactly(1, UNKNOWN_ENDPOINT, format!("there is no webhook endpoint `{id}`"))
}

pub(super) fn remove(tenant: &TenantId, id: WebhookId) -> Write {
    let sql = "DELETE FROM webhook_endpoint WHERE tenant = $1 AND id = $2";
    Write::new(sql, params![tenant, id]).exactly(1, UNKNOWN_ENDPOINT, format!("there is no webhook endpoint `{id}`"))
}

pub(super) fn remove_deliveries(tenant: &TenantId, id: WebhookId) -> Write {
    Write::new("DELETE FROM webhook_delivery WHERE tenant = $1 AND endpoint = $2", params![tenant, id])
}

/// The endpoint wants nothing more; what was still to be sent is dead.
pub(super) fn gone(tenant: &TenantId, id: WebhookId) -> [Write; 2] {
    [
        Write::new("UPDATE webhook_endpoint SET state = 'gone' WHERE tenant = $1 AND id = $2", params![tenant, id]),
        Write::new(
            "UPDATE webhook_delivery SET state = 'dead', claim = NULL WHERE tenant = $1 AND endpoint = $2 AND state = 'pending'",
            params![tenant, id],
        ),
    ]
}

pub(super) fn replay(tenant: &TenantId, id: WebhookId, message: OutboxId, now: Timestamp) -> Write {
    let sql = "UPDATE webhook_delivery SET state = 'pending', attempts = 0, due = $1, claim = NULL WHERE tenant = $2 AND endpoint = $3 AND message = $4";
    Write::new(sql, params![now, tenant, id, message]).exactly(
        1,
        UNKNOWN_DELIVERY,
        format!("there is no delivery `{message}` to that endpoint"),
    )
}

/// A delivery to make.
pub(super) struct NewDelivery<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) endpoint: WebhookId,
    pub(super) message: OutboxId,
    pub(super) kind: &'a str,
    pub(super) body: &'a str,
    pub(super) now: Timestamp,
}

/// A message that the outbox hands over twice makes one delivery.
const INSERT_DELIVERY: &str = "INSERT INTO webhook_delivery (tenant, endpoint, message, type, body, state, attempts, due, created_at) \
     VALUES ($1,$2,$3,$4,$5,'pending',0,$6,$6) ON CONFLICT (tenant, endpoint, message) DO NOTHING";

impl NewDelivery<'_> {
    pub(super) fn insert(&self) -> Write {
        Write::new(INSERT_DELIVERY, self.params())
    }

    pub(super) fn upkeep(&self) -> (Sql, Vec<creto_db::Value>) {
        (INSERT_DELIVERY.into(), self.params())
    }

    fn params(&self) -> Vec<creto_db::Value> {
        params![self.tenant, self.endpoint, self.message, self.kind, self.body, self.now]
    }
}

/// A delivery that is ours until the claim's lease ends.
pub(super) struct Claimed {
    pub(super) tenant: TenantId,
    pub(super) endpoint: WebhookId,
    pub(super) message: OutboxId,
    pub(super) kind: String,
    pub(super) body: String,
    pub(super) attempts: i64,
    pub(super) claim: String,
}

/// Takes what is due; SKIP LOCKED, so that several servers share the work.
pub(super) async fn claim(db: &Db, now: Timestamp, lease: Timestamp, most: i64) -> Result<Vec<Claimed>, DbError> {
    let sql = Sql::per_engine(
        "UPDATE webhook_delivery SET claim = $1, due = $2, attempts = attempts + 1 WHERE rowid IN
            (SELECT rowid FROM webhook_delivery WHERE state = 'pending' AND due <= $3 ORDER BY due LIMIT $4)
         RETURNING tenant, endpoint, message, type, body, attempts",
        "UPDATE webhook_delivery SET claim = $1, due = $2, attempts = attempts + 1 WHERE (tenant, endpoint, message) IN
            (SELECT tenant, endpoint, message FROM webhook_delivery WHERE state = 'pending' AND due <= $3 ORDER BY due LIMIT $4 FOR UPDATE SKIP LOCKED)
         RETURNING tenant, endpoint, message, type, body, attempts",
    );
    let claim = OutboxId::generate().to_string();
    let rows = db.upkeep(sql, params![&claim, lease, now, most]).await?;
    let read = |row: &Row| -> Result<Claimed, DbError> {
        Ok(Claimed {
            tenant: row.parse(0)?,
            endpoint: row.parse(1)?,
            message: row.parse(2)?,
            kind: row.text(3)?.to_owned(),
            body: row.text(4)?.to_owned(),
            attempts: row.int(5)?,
            claim: claim.clone(),
        })
    };
    rows.iter().map(read).collect()
}

/// When the next delivery is due.
pub(super) async fn next_due(db: &Db) -> Result<Option<Timestamp>, DbError> {
    let row = db.query_optional("SELECT min(due) FROM webhook_delivery WHERE state = 'pending'", params![]).await?;
    Ok(row.map(|row| row.opt_int(0)).transpose()?.flatten().and_then(Timestamp::from_micros))
}

/// How an attempt ended, for whoever still holds the claim.
pub(super) struct Ended<'a> {
    pub(super) state: &'static str,
    pub(super) due: Timestamp,
    pub(super) status: Option<u16>,
    pub(super) problem: Option<&'a str>,
}

const END: &str = "UPDATE webhook_delivery SET state = $1, due = $2, status = $3, problem = $4, claim = NULL \
     WHERE tenant = $5 AND endpoint = $6 AND message = $7 AND claim = $8";

pub(super) fn end(claimed: &Claimed, ended: &Ended<'_>) -> (Sql, Vec<creto_db::Value>) {
    let Claimed { tenant, endpoint, message, claim, .. } = claimed;
    (END.into(), params![ended.state, ended.due, ended.status, ended.problem, tenant, endpoint, message, claim])
}

pub(super) async fn one(db: &Db, tenant: &TenantId, id: WebhookId) -> Result<Option<Stored>, DbError> {
    Ok(endpoints(db, tenant).await?.into_iter().find(|stored| stored.endpoint.id == id))
}

pub(super) async fn endpoints(db: &Db, tenant: &TenantId) -> Result<Vec<Stored>, DbError> {
    let sql = "SELECT id, url, events, state, old_until, created_at, created_by, secret, old_secret, format, settings FROM webhook_endpoint \
               WHERE tenant = $1 ORDER BY id LIMIT $2";
    let read = |row: &Row| -> Result<Stored, DbError> {
        let state = match row.text(3)? {
            "active" => EndpointState::Active,
            "gone" => EndpointState::Gone,
            other => return Err(DbError::Corrupt(format!("a webhook endpoint is `{other}`"))),
        };
        let endpoint = Endpoint {
            id: row.parse(0)?,
            url: row.text(1)?.to_owned(),
            events: row.text(2)?.split_whitespace().map(str::to_owned).collect(),
            format: Some(row.text(9)?).filter(|format| !format.is_empty()).map(str::to_owned),
            settings: serde_json::from_str(row.text(10)?).map_err(|e| DbError::Corrupt(format!("a webhook endpoint's settings: {e}")))?,
            state,
            old_secret_until: row.opt_int(4)?.and_then(Timestamp::from_micros),
            created_at: row.time(5)?,
            created_by: row.text(6)?.to_owned(),
        };
        Ok(Stored { endpoint, secret: row.blob(7)?.to_vec(), old_secret: row.opt_blob(8)?.map(<[u8]>::to_vec) })
    };
    db.query(sql, params![tenant, LIST_MAX]).await?.iter().map(read).collect()
}

pub(super) async fn deliveries(db: &Db, tenant: &TenantId, id: WebhookId) -> Result<Vec<Delivery>, DbError> {
    let sql = "SELECT message, type, state, attempts, due, status, problem FROM webhook_delivery \
               WHERE tenant = $1 AND endpoint = $2 ORDER BY message DESC LIMIT $3";
    let read = |row: &Row| -> Result<Delivery, DbError> {
        Ok(Delivery {
            message: row.text(0)?.to_owned(),
            kind: row.text(1)?.to_owned(),
            state: row.text(2)?.to_owned(),
            attempts: row.int(3)?,
            due: row.time(4)?,
            status: row.opt_int(5)?,
            problem: row.opt_text(6)?.map(str::to_owned),
        })
    };
    db.query(sql, params![tenant, id, LIST_MAX]).await?.iter().map(read).collect()
}
