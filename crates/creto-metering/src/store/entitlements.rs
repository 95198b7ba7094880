//! Entitlements in the database.

use std::collections::BTreeMap;

use creto_db::{Db, DbError, Migration, MigrationSet, Row, Write, params};
use creto_kernel::TenantId;

use crate::model::feature::Granted;
use crate::store::catalog::CHANGED;

/// The table of entitlements.
pub const ENTITLEMENT_MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering_entitlements",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../../migrations/entitlements/0001_entitlements.sql"),
        postgres: include_str!("../../migrations/entitlements/0001_entitlements.sql"),
    }],
};

/// Whose entitlements: of a plan by its identifier, of a subscription by its external one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entitled {
    Plan(String),
    Subscription(String),
}

impl Entitled {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Plan(_) => "plan",
            Self::Subscription(_) => "subscription",
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Plan(name) | Self::Subscription(name) => name,
        }
    }
}

fn granted(text: &str) -> Result<Granted, DbError> {
    serde_json::from_str(text).map_err(|e| DbError::Corrupt(format!("an entitlement: {e}")))
}

/// By feature.
pub(crate) async fn of(db: &Db, tenant: &TenantId, whose: &Entitled) -> Result<BTreeMap<String, Granted>, DbError> {
    let sql = "SELECT feature, body FROM meter_entitlement WHERE tenant = $1 AND kind = $2 AND subject = $3";
    let read = |row: &Row| Ok((row.text(0)?.to_owned(), granted(row.text(1)?)?));
    db.query(sql, params![tenant, whose.kind(), whose.name()]).await?.iter().map(read).collect()
}

/// What plans that are there, and subscriptions that run or wait, say of a feature.
pub(crate) async fn naming(db: &Db, tenant: &TenantId, feature: &str) -> Result<Vec<Granted>, DbError> {
    let sql = "SELECT e.body FROM meter_entitlement e WHERE e.tenant = $1 AND e.feature = $2 AND (\
               (e.kind = 'plan' AND EXISTS (SELECT 1 FROM meter_definition d WHERE d.tenant = $1 AND d.kind = 'plan' AND d.id = e.subject \
               AND d.deleted_at IS NULL)) OR \
               (e.kind = 'subscription' AND EXISTS (SELECT 1 FROM meter_subscription s WHERE s.tenant = $1 AND s.external_id = e.subject \
               AND s.status IN ('active', 'pending'))))";
    db.query(sql, params![tenant, feature]).await?.iter().map(|row| granted(row.text(0)?)).collect()
}

/// Puts what is said of a feature in place of what was; nothing removes it.
pub(crate) fn put(tenant: &TenantId, whose: &Entitled, feature: &str, body: Option<&str>) -> Write {
    match body {
        Some(body) => Write::new(
            "INSERT INTO meter_entitlement (tenant, kind, subject, feature, body) VALUES ($1,$2,$3,$4,$5) \
             ON CONFLICT (tenant, kind, subject, feature) DO UPDATE SET body = excluded.body",
            params![tenant, whose.kind(), whose.name(), feature, body],
        ),
        None => Write::new(
            "DELETE FROM meter_entitlement WHERE tenant = $1 AND kind = $2 AND subject = $3 AND feature = $4",
            params![tenant, whose.kind(), whose.name(), feature],
        ),
    }
}

/// What is left of a feature that is deleted: of plans and subscriptions that are gone.
pub(crate) fn forget(tenant: &TenantId, feature: &str) -> Write {
    Write::new("DELETE FROM meter_entitlement WHERE tenant = $1 AND feature = $2", params![tenant, feature])
}

/// Undoes a commit where the catalog is no longer as it was read.
pub(crate) fn unchanged(tenant: &TenantId, epoch: i64) -> Write {
    Write::new("UPDATE meter_catalog_epoch SET epoch = epoch WHERE tenant = $1 AND epoch = $2", params![tenant, epoch]).exactly(
        1,
        CHANGED,
        "the catalog was changed meanwhile",
    )
}
