//! Subscriptions in the database: what is asked for by column stands in columns, the rest in the document.

use std::collections::HashMap;

use creto_db::{Db, DbError, Row, Write, params};
use creto_kernel::{ErrorCode, TenantId, Timestamp};

use crate::model::entry::DefinitionId;
use crate::model::page::{Listed, Page};
use crate::model::subscription::{Subscription, SubscriptionId, SubscriptionStatus};
use crate::store::catalog::{CHANGED, bump};
use crate::store::paging::listed;

pub(crate) const OVERLAP: ErrorCode = ErrorCode::new("metering.already_exists");
const UNKNOWN: ErrorCode = ErrorCode::new("metering.unknown_definition");

/// Puts a new subscription in the book. Its customer and its plan still exist at that moment.
pub(crate) fn insert(tenant: &TenantId, it: &Subscription, body: &str) -> Vec<Write> {
    let row = Write::new(
        "INSERT INTO meter_subscription (tenant, id, external_id, customer, plan, plan_version, status, revision, body, begins_at, \
         started_at, ending_at, terminated_at, created_at) SELECT $1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14 \
         FROM meter_definition c JOIN meter_definition p ON p.tenant = c.tenant \
         WHERE c.tenant = $1 AND c.kind = 'customer' AND c.id = $4 AND c.deleted_at IS NULL \
         AND p.kind = 'plan' AND p.id = $5 AND p.deleted_at IS NULL",
        params![
            tenant,
            it.id,
            it.external_id.as_str(),
            it.customer,
            it.plan,
            it.plan_version,
            it.status.as_str(),
            it.revision,
            body,
            it.begins_at,
            it.started_at,
            it.ending_at,
            it.terminated_at,
            it.created_at
        ],
    )
    .exactly(1, UNKNOWN, "the customer or the plan was deleted meanwhile")
    .unique(OVERLAP, format!("`{}` has a subscription already that is {}", it.external_id, it.status.as_str()));
    vec![row, bump(tenant)]
}

/// Puts the next revision in the place of the one it follows.
pub(crate) fn replace(tenant: &TenantId, it: &Subscription, body: &str) -> Vec<Write> {
    let row = Write::new(
        "UPDATE meter_subscription SET status = $1, revision = $2, body = $3, begins_at = $4, started_at = $5, ending_at = $6, \
         terminated_at = $7, plan = $8, plan_version = $9 WHERE tenant = $10 AND id = $11 AND revision = $12",
        params![
            it.status.as_str(),
            it.revision,
            body,
            it.begins_at,
            it.started_at,
            it.ending_at,
            it.terminated_at,
            it.plan,
            it.plan_version,
            tenant,
            it.id,
            it.revision.saturating_sub(1)
        ],
    )
    .exactly(1, CHANGED, format!("the subscription `{}` was changed meanwhile", it.external_id))
    .unique(OVERLAP, format!("`{}` has a subscription already that is {}", it.external_id, it.status.as_str()));
    vec![row, bump(tenant)]
}

fn read(row: &Row) -> Result<Subscription, DbError> {
    serde_json::from_str(row.text(0)?).map_err(|e| DbError::UnexpectedRow(format!("a subscription: {e}")))
}

pub(crate) async fn by_id(db: &Db, tenant: &TenantId, id: SubscriptionId) -> Result<Option<Subscription>, DbError> {
    let sql = "SELECT body FROM meter_subscription WHERE tenant = $1 AND id = $2";
    db.query_optional(sql, params![tenant, id]).await?.as_ref().map(read).transpose()
}

/// The subscription of this identifier in this state.
pub(crate) async fn in_state(
    db: &Db,
    tenant: &TenantId,
    external_id: &str,
    status: SubscriptionStatus,
) -> Result<Option<Subscription>, DbError> {
    let sql = "SELECT body FROM meter_subscription WHERE tenant = $1 AND external_id = $2 AND status = $3 ORDER BY begins_at DESC LIMIT 1";
    db.query_optional(sql, params![tenant, external_id, status.as_str()]).await?.as_ref().map(read).transpose()
}

/// Every subscription of one identifier that began, oldest first.
pub(crate) async fn history(db: &Db, tenant: &TenantId, external_id: &str) -> Result<Vec<Subscription>, DbError> {
    let sql = "SELECT body FROM meter_subscription WHERE tenant = $1 AND external_id = $2 AND status IN ('active', 'terminated') \
               ORDER BY begins_at, created_at, id";
    db.query(sql, params![tenant, external_id]).await?.iter().map(read).collect()
}

/// The external identifier of every subscription, by its own.
pub(crate) async fn external_ids(db: &Db, tenant: &TenantId) -> Result<HashMap<String, String>, DbError> {
    let sql = "SELECT id, external_id FROM meter_subscription WHERE tenant = $1";
    db.query(sql, params![tenant]).await?.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).collect()
}

/// Which subscriptions a list shows.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionFilter {
    /// Of this customer only.
    pub customer: Option<DefinitionId>,
    /// Of this plan only.
    pub plan: Option<DefinitionId>,
    /// In this state only.
    pub status: Option<SubscriptionStatus>,
    /// Under this external identifier only.
    pub external_id: Option<String>,
}

pub(crate) async fn list(db: &Db, tenant: &TenantId, filter: &SubscriptionFilter, page: Page) -> Result<Listed<Subscription>, DbError> {
    list_in(db, tenant, filter, filter.status.as_slice(), page).await
}

/// As [`list`], in any of these states; in every one where there are none.
pub(crate) async fn list_in(
    db: &Db,
    tenant: &TenantId,
    filter: &SubscriptionFilter,
    states: &[SubscriptionStatus],
    page: Page,
) -> Result<Listed<Subscription>, DbError> {
    let sql = "SELECT body FROM meter_subscription WHERE tenant = $1 AND ($2 = '' OR customer = $2) AND ($3 = '' OR plan = $3) \
               AND ($4 = '' OR $4 LIKE '%,' || status || ',%') AND ($5 = '' OR external_id = $5) ORDER BY created_at DESC, id DESC LIMIT $6 OFFSET $7";
    let counted = "SELECT COUNT(*) FROM meter_subscription WHERE tenant = $1 AND ($2 = '' OR customer = $2) AND ($3 = '' OR plan = $3) \
                   AND ($4 = '' OR $4 LIKE '%,' || status || ',%') AND ($5 = '' OR external_id = $5)";
    let text = |id: Option<DefinitionId>| id.map_or_else(String::new, |id| id.to_string());
    let among: String = states.iter().flat_map(|state| [",", state.as_str(), ","]).collect();
    let values = params![tenant, text(filter.customer), text(filter.plan), among, filter.external_id.as_deref().unwrap_or_default()];
    listed(db, sql, counted, values, page, read).await
}

/// Subscriptions whose time has come: pending ones that begin, active ones that end, by `now`.
pub(crate) async fn due(db: &Db, tenant: &TenantId, now: Timestamp, limit: i64) -> Result<Vec<Subscription>, DbError> {
    let sql = "SELECT body FROM meter_subscription WHERE tenant = $1 AND ((status = 'pending' AND begins_at <= $2) \
               OR (status = 'active' AND ending_at IS NOT NULL AND ending_at <= $2)) ORDER BY begins_at, id LIMIT $3";
    db.query(sql, params![tenant, now, limit]).await?.iter().map(read).collect()
}

/// Whether another subscription of this identifier began at this moment.
pub(crate) async fn begins_at(
    db: &Db,
    tenant: &TenantId,
    external_id: &str,
    at: Timestamp,
    except: SubscriptionId,
) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM meter_subscription WHERE tenant = $1 AND external_id = $2 AND started_at = $3 AND id <> $4 LIMIT 1";
    Ok(db.query_optional(sql, params![tenant, external_id, at, except]).await?.is_some())
}
