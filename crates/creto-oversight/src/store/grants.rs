//! Standing grants: actions a human approved ahead, so many times and so long.

use creto_db::{Db, DbError, Row, Write, params};
use creto_kernel::{ErrorCode, NhiId, TenantId, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A standing grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Grant {
    /// Which.
    pub id: String,
    /// Whose actions.
    #[schema(value_type = String)]
    pub agent: NhiId,
    /// Of this name.
    pub action: String,
    /// On this, or on everything that begins with what is before a last `*`.
    pub resource: String,
    /// For these rules of policy, and no other.
    pub rule: String,
    /// With these values of these arguments; others may have any.
    #[schema(value_type = Option<Object>)]
    pub arguments: Option<Map<String, Value>>,
    /// How many times.
    pub uses_max: u32,
    /// How many times it was used.
    pub used: u32,
    /// Until when.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
    /// Who gave it.
    #[schema(value_type = String)]
    pub given_by: NhiId,
    /// When.
    #[schema(value_type = String)]
    pub given_at: Timestamp,
    /// When it was taken back.
    #[schema(value_type = Option<String>)]
    pub revoked_at: Option<Timestamp>,
}

impl Grant {
    /// Whether it is for this action.
    #[must_use]
    pub fn covers(&self, action: &str, resource: &str, rule: &str, arguments: &Map<String, Value>) -> bool {
        let on = match self.resource.strip_suffix('*') {
            Some(prefix) => resource.starts_with(prefix),
            None => resource == self.resource,
        };
        let with = self.arguments.iter().flatten().all(|(name, value)| arguments.get(name) == Some(value));
        self.action == action && self.rule == rule && on && with
    }
}

const USED_UP: ErrorCode = ErrorCode::new("oversight.grant_used");

/// Most grants of one agent that hold at the same time.
pub(crate) const GRANTS_MAX: u32 = 200;

pub(crate) fn insert(tenant: &TenantId, grant: &Grant, arguments: Option<String>) -> Write {
    Write::new(
        "INSERT INTO oversight_grant (tenant, id, agent, action, resource, rule, arguments, uses_max, expires_at, given_by, given_at) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)",
        params![
            tenant,
            &grant.id,
            &grant.agent,
            &grant.action,
            &grant.resource,
            &grant.rule,
            arguments,
            grant.uses_max,
            grant.expires_at,
            &grant.given_by,
            grant.given_at
        ],
    )
}

/// Uses a grant once, if it still holds.
pub(crate) fn take(tenant: &TenantId, id: &str, now: Timestamp) -> Write {
    Write::new(
        "UPDATE oversight_grant SET used = used + 1 \
         WHERE tenant = $1 AND id = $2 AND used < uses_max AND revoked_at IS NULL AND expires_at > $3",
        params![tenant, id, now],
    )
    .exactly(1, USED_UP, "the standing grant was used up, or taken back, meanwhile")
}

pub(crate) fn revoke(tenant: &TenantId, id: &str, by: &NhiId, now: Timestamp) -> Write {
    Write::new(
        "UPDATE oversight_grant SET revoked_at = $1, revoked_by = $2 WHERE tenant = $3 AND id = $4 AND revoked_at IS NULL",
        params![now, by, tenant, id],
    )
    .exactly(1, ErrorCode::new("oversight.unknown"), "there is no such grant, or it was taken back before")
}

pub(crate) fn revoke_all(tenant: &TenantId, agent: &NhiId, by: &NhiId, now: Timestamp) -> Write {
    Write::new(
        "UPDATE oversight_grant SET revoked_at = $1, revoked_by = $2 WHERE tenant = $3 AND agent = $4 AND revoked_at IS NULL",
        params![now, by, tenant, agent],
    )
}

/// The grants of an agent that hold now; without one, of the whole tenant and whether they hold or not, newest first.
pub(crate) async fn list(db: &Db, tenant: &TenantId, agent: Option<(&NhiId, Timestamp)>) -> Result<Vec<Grant>, DbError> {
    let columns = "SELECT id, agent, action, resource, rule, arguments, uses_max, used, expires_at, given_by, given_at, revoked_at \
                   FROM oversight_grant WHERE tenant = $1 AND ($2 = '' OR (agent = $2 AND revoked_at IS NULL AND used < uses_max \
                   AND expires_at > $3)) ORDER BY given_at DESC, id LIMIT $4";
    let (agent, now) = agent.map_or((String::new(), Timestamp::EPOCH), |(agent, now)| (agent.to_string(), now));
    db.query(columns, params![tenant, agent, now, GRANTS_MAX]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Grant, DbError> {
    let unreadable = || DbError::Corrupt("a standing grant cannot be read".to_owned());
    let count = |column: usize| u32::try_from(row.int(column)?).map_err(|_| unreadable());
    let arguments = row.opt_text(5)?.map(serde_json::from_str).transpose().map_err(|_| unreadable())?;
    Ok(Grant {
        id: row.text(0)?.to_owned(),
        agent: row.parse(1)?,
        action: row.text(2)?.to_owned(),
        resource: row.text(3)?.to_owned(),
        rule: row.text(4)?.to_owned(),
        arguments,
        uses_max: count(6)?,
        used: count(7)?,
        expires_at: row.time(8)?,
        given_by: row.parse(9)?,
        given_at: row.time(10)?,
        revoked_at: row.opt_int(11)?.and_then(Timestamp::from_micros),
    })
}
