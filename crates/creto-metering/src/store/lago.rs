//! What Lago's API keeps beside the use cases: the key that signs webhooks.

use creto_db::{Db, DbError, Migration, MigrationSet, Write, params};
use creto_kernel::{TenantId, Timestamp};

use crate::store::catalog::CHANGED;

/// The tables of Lago's API.
pub const LAGO_MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering_lago",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../../migrations/lago/0001_lago.sql"),
        postgres: include_str!("../../migrations/lago/0001_lago.sql"),
    }],
};

/// The tenant's key: sealed, and its public half in PEM.
pub(crate) async fn key(db: &Db, tenant: &TenantId) -> Result<Option<(String, String)>, DbError> {
    let row = db.query_optional("SELECT sealed, public FROM meter_lago_key WHERE tenant = $1", params![tenant]).await?;
    row.map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).transpose()
}

/// Keeps the tenant's first key.
pub(crate) fn insert_key(tenant: &TenantId, sealed: &str, public: &str, now: Timestamp) -> Write {
    Write::new("INSERT INTO meter_lago_key (tenant, sealed, public, created_at) VALUES ($1,$2,$3,$4)", params![tenant, sealed, public, now])
        .unique(CHANGED, "the key was made meanwhile")
}
