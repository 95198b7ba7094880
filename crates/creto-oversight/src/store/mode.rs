//! Whether a database is one for tests.

use creto_db::{Db, DbError, Migration, MigrationSet, Write, params};
use creto_kernel::{TenantId, Timestamp};

/// The table: a set of its own. Both engines take this text.
pub const MODE_MIGRATIONS: MigrationSet =
    MigrationSet { name: "oversight_mode", migrations: &[Migration { version: 1, sqlite: TABLE, postgres: TABLE }] };

const TABLE: &str = "CREATE TABLE oversight_test_mode (tenant TEXT PRIMARY KEY, since BIGINT NOT NULL);";

/// Whether any tenant of the database is there for tests: then all of it is.
pub(crate) async fn is_for_tests(db: &Db) -> Result<bool, DbError> {
    Ok(db.query_optional("SELECT 1 FROM oversight_test_mode LIMIT 1", params![]).await?.is_some())
}

/// Whether anything was ever committed.
pub(crate) async fn is_used(db: &Db) -> Result<bool, DbError> {
    Ok(db.query_optional("SELECT 1 FROM audit_leaf LIMIT 1", params![]).await?.is_some())
}

/// Two servers that begin at once mean the same.
pub(crate) fn begin(tenant: &TenantId, since: Timestamp) -> Write {
    Write::new("INSERT INTO oversight_test_mode (tenant, since) VALUES ($1,$2) ON CONFLICT (tenant) DO NOTHING", params![tenant, since])
}
