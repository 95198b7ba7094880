//! Periods that are final, and the versions of their plans that they are billed under after all.

use creto_db::{Db, DbError, Migration, MigrationSet, Write, params};
use creto_kernel::{TenantId, Timestamp};

use crate::model::subscription::SubscriptionId;

/// The table of re-rated periods.
pub const RERATE_MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering_rerates",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../../migrations/rerates/0001_rerates.sql"),
        postgres: include_str!("../../migrations/rerates/0001_rerates.sql"),
    }],
};

/// A period that was billed, finally.
#[derive(Clone, Debug)]
pub(crate) struct FinalPeriod {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// The invoice's number; its identifier where it has none.
    pub(crate) number: String,
}

/// What of a subscription was billed finally, oldest first.
pub(crate) async fn final_periods(db: &Db, tenant: &TenantId, subscription: &str) -> Result<Vec<FinalPeriod>, DbError> {
    let sql = "SELECT p.begins_at, p.ends_at, i.number, i.id FROM meter_billed_period p \
               JOIN meter_invoice i ON i.tenant = p.tenant AND i.id = p.invoice \
               WHERE p.tenant = $1 AND p.subscription = $2 AND i.status IN ('finalized', 'closed') ORDER BY p.begins_at";
    let rows = db.query(sql, params![tenant, subscription]).await?;
    rows.iter()
        .map(|row| {
            let number = if row.text(2)?.is_empty() { row.text(3)? } else { row.text(2)? };
            Ok(FinalPeriod { from: row.time(0)?, to: row.time(1)?, number: number.to_owned() })
        })
        .collect()
}

/// The versions that periods of a subscription are billed under after all, by where they begin.
pub(crate) async fn versions(db: &Db, tenant: &TenantId, subscription: SubscriptionId) -> Result<Vec<(Timestamp, u32)>, DbError> {
    let sql = "SELECT begins_at, plan_version FROM meter_rerate WHERE tenant = $1 AND subscription = $2 ORDER BY begins_at";
    let rows = db.query(sql, params![tenant, subscription]).await?;
    rows.iter()
        .map(|row| {
            let version = u32::try_from(row.int(1)?).map_err(|_| DbError::UnexpectedRow("a plan's version".to_owned()))?;
            Ok((row.time(0)?, version))
        })
        .collect()
}

/// From now on a period is billed under this version.
pub(crate) fn put(tenant: &TenantId, subscription: SubscriptionId, from: Timestamp, version: u32, now: Timestamp) -> Write {
    Write::new(
        "INSERT INTO meter_rerate (tenant, subscription, begins_at, plan_version, decided_at) VALUES ($1,$2,$3,$4,$5) \
         ON CONFLICT (tenant, subscription, begins_at) DO UPDATE SET plan_version = excluded.plan_version, decided_at = excluded.decided_at",
        params![tenant, subscription, from, version, now],
    )
}
