//! Requests of HumanLayer's clients, found by what these clients call them.

use creto_db::{Db, DbError, Migration, MigrationSet, params};
use creto_kernel::{NhiId, TenantId};

use crate::humanlayer::wire::Page;
use crate::store::requests::{Stored, read, select_requests};

/// What finding them needs.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    name: "oversight_humanlayer",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../../migrations/sqlite/0001_humanlayer.sql"),
        postgres: include_str!("../../migrations/postgres/0001_humanlayer.sql"),
    }],
};

/// The latest two calls of a name, oldest first: of one agent, or of everybody in the tenant.
pub(crate) async fn by_call(db: &Db, tenant: &TenantId, agent: Option<&NhiId>, kind: &str, call: &str) -> Result<Vec<Stored>, DbError> {
    let sql = select_requests!(
        "WHERE r.tenant = $1 AND r.call = $2 AND r.kind = $3 AND r.extra IS NOT NULL AND ($4 = '' OR r.agent = $4) ORDER BY r.id DESC LIMIT 2"
    );
    let rows = db.query(sql, params![tenant, call, kind, agent.map_or("", NhiId::as_str)]).await?;
    rows.iter().rev().map(read).collect()
}

/// What waits, oldest first, and how many there are in all.
pub(crate) async fn pending(
    db: &Db,
    tenant: &TenantId,
    agent: Option<&NhiId>,
    kind: &str,
    page: Page,
) -> Result<(Vec<Stored>, u64), DbError> {
    let agent = agent.map_or("", NhiId::as_str);
    let sql = select_requests!(
        "WHERE r.tenant = $1 AND r.state = 'pending' AND r.kind = $2 AND r.extra IS NOT NULL AND ($3 = '' OR r.agent = $3) \
         ORDER BY r.id LIMIT $4 OFFSET $5"
    );
    let as_int = |rows: usize| i64::try_from(rows).unwrap_or(i64::MAX);
    let rows = db.query(sql, params![tenant, kind, agent, as_int(page.limit), as_int(page.offset)]).await?;
    let count = "SELECT COUNT(*) FROM oversight_request r WHERE r.tenant = $1 AND r.state = 'pending' AND r.kind = $2 \
                 AND r.extra IS NOT NULL AND ($3 = '' OR r.agent = $3)";
    let total = db.query_optional(count, params![tenant, kind, agent]).await?.map_or(Ok(0), |row| row.int(0))?;
    Ok((rows.iter().map(read).collect::<Result<_, _>>()?, u64::try_from(total).unwrap_or_default()))
}
