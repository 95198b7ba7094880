//! Definitions in the database.

use creto_db::{Db, DbError, Migration, MigrationSet, Row, Write, params};
use creto_kernel::{ErrorCode, TenantId, Timestamp};

use crate::model::entry::{Defined, Definition, DefinitionId, Kind, Reference};
use crate::model::page::{Listed, Page};
use crate::model::plan::Plan;
use crate::store::paging::listed;

/// The tables of catalog and subscriptions.
pub const CATALOG_MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering_catalog",
    migrations: &[
        Migration {
            version: 1,
            sqlite: include_str!("../../migrations/catalog/0001_catalog.sql"),
            postgres: include_str!("../../migrations/catalog/0001_catalog.sql"),
        },
        Migration {
            version: 2,
            sqlite: include_str!("../../migrations/catalog/0002_first_plan.sql"),
            postgres: include_str!("../../migrations/catalog/0002_first_plan.sql"),
        },
    ],
};

pub(crate) const EXISTS: ErrorCode = ErrorCode::new("metering.already_exists");
pub(crate) const CHANGED: ErrorCode = ErrorCode::new("metering.changed_meanwhile");
pub(crate) const IN_USE: ErrorCode = ErrorCode::new("metering.in_use");
pub(crate) const UNKNOWN: ErrorCode = ErrorCode::new("metering.unknown_definition");

/// A definition as it is written.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    pub(crate) kind: Kind,
    pub(crate) id: DefinitionId,
    pub(crate) code: &'a str,
    pub(crate) version: u32,
    pub(crate) body: &'a str,
    pub(crate) salt: &'a str,
    pub(crate) now: Timestamp,
}

pub(crate) fn insert(tenant: &TenantId, it: &Written<'_>) -> Vec<Write> {
    let row = Write::new(
        "INSERT INTO meter_definition (tenant, kind, id, code, version, body, salt, created_at, updated_at) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$8)",
        params![tenant, it.kind.as_str(), it.id, it.code, it.version, it.body, it.salt, it.now],
    )
    .unique(EXISTS, format!("there is a {} `{}` already", it.kind.as_str(), it.code));
    // It is this one, unless a server of an earlier version made one meanwhile.
    let first = (it.kind == Kind::Plan).then(|| {
        Write::new(
            "INSERT INTO meter_first_plan (tenant, plan) SELECT tenant, id FROM meter_definition WHERE tenant = $1 AND kind = $2 \
             ORDER BY created_at, id LIMIT 1 ON CONFLICT (tenant) DO NOTHING",
            params![tenant, it.kind.as_str()],
        )
    });
    std::iter::once(row).chain(keep_version(tenant, it)).chain(first).chain([bump(tenant)]).collect()
}

/// Puts the next version in force, if the one before is still the one it follows.
pub(crate) fn replace(tenant: &TenantId, it: &Written<'_>) -> Vec<Write> {
    let row = Write::new(
        "UPDATE meter_definition SET code = $1, version = $2, body = $3, salt = $4, updated_at = $5 \
         WHERE tenant = $6 AND kind = $7 AND id = $8 AND version = $9 AND deleted_at IS NULL",
        params![it.code, it.version, it.body, it.salt, it.now, tenant, it.kind.as_str(), it.id, it.version.saturating_sub(1)],
    )
    .exactly(1, CHANGED, format!("the {} `{}` was changed meanwhile", it.kind.as_str(), it.code))
    .unique(EXISTS, format!("there is a {} `{}` already", it.kind.as_str(), it.code));
    std::iter::once(row).chain(keep_version(tenant, it)).chain([bump(tenant)]).collect()
}

fn keep_version(tenant: &TenantId, it: &Written<'_>) -> Option<Write> {
    it.kind.keeps_versions().then(|| {
        Write::new(
            "INSERT INTO meter_definition_version (tenant, kind, id, version, body, created_at) VALUES ($1,$2,$3,$4,$5,$6)",
            params![tenant, it.kind.as_str(), it.id, it.version, it.body, it.now],
        )
    })
}

/// Notes what a definition names, in place of what it named before.
pub(crate) fn refer(tenant: &TenantId, kind: Kind, id: DefinitionId, to: &[Reference]) -> Vec<Write> {
    let forget =
        Write::new("DELETE FROM meter_reference WHERE tenant = $1 AND from_kind = $2 AND from_id = $3", params![tenant, kind.as_str(), id]);
    let note = |reference: &Reference| {
        Write::new(
            "INSERT INTO meter_reference (tenant, from_kind, from_id, to_kind, to_code) \
             SELECT $1, $2, $3, kind, code FROM meter_definition WHERE tenant = $1 AND kind = $4 AND code = $5 AND deleted_at IS NULL",
            params![tenant, kind.as_str(), id, reference.kind.as_str(), reference.code.as_str()],
        )
        .exactly(1, UNKNOWN, format!("there is no {} `{}`", reference.kind.as_str(), reference.code))
    };
    std::iter::once(forget).chain(to.iter().map(note)).collect()
}

/// Deletes a definition that nothing names. Its versions stay: what was billed under them stays explained.
pub(crate) fn delete(tenant: &TenantId, it: &Written<'_>) -> Vec<Write> {
    let unused = Write::new(
        "UPDATE meter_definition SET deleted_at = $1 WHERE tenant = $2 AND kind = $3 AND id = $4 AND version = $5 AND deleted_at IS NULL \
         AND NOT EXISTS (SELECT 1 FROM meter_reference r WHERE r.tenant = $2 AND r.to_kind = $3 AND r.to_code = $6) \
         AND NOT EXISTS (SELECT 1 FROM meter_subscription s WHERE s.tenant = $2 AND s.status IN ('active', 'pending') \
         AND (s.customer = $4 OR s.plan = $4))",
        params![it.now, tenant, it.kind.as_str(), it.id, it.version, it.code],
    )
    .exactly(1, IN_USE, format!("the {} `{}` is in use, or was changed meanwhile", it.kind.as_str(), it.code));
    let [forget] = [Write::new(
        "DELETE FROM meter_reference WHERE tenant = $1 AND from_kind = $2 AND from_id = $3",
        params![tenant, it.kind.as_str(), it.id],
    )];
    vec![unused, forget, bump(tenant)]
}

/// Ends every cached reading of the tenant's catalog.
pub(crate) fn bump(tenant: &TenantId) -> Write {
    Write::new(
        "INSERT INTO meter_catalog_epoch (tenant, epoch) VALUES ($1, 1) \
         ON CONFLICT (tenant) DO UPDATE SET epoch = meter_catalog_epoch.epoch + 1",
        params![tenant],
    )
}

/// What changes with every commit that a cached reading depends on, and the tenant's test clock, where it is in test mode.
pub(crate) async fn epoch(db: &Db, tenant: &TenantId) -> Result<(i64, Option<Timestamp>), DbError> {
    let sql = "SELECT COALESCE((SELECT epoch FROM meter_catalog_epoch WHERE tenant = $1), 0), \
               (SELECT now FROM meter_test_clock WHERE tenant = $1)";
    match db.query_optional(sql, params![tenant]).await? {
        Some(row) => Ok((row.int(0)?, if row.opt_int(1)?.is_some() { Some(row.time(1)?) } else { None })),
        None => Ok((0, None)),
    }
}

/// The plan of a tenant that was committed first, as it was made.
pub(crate) async fn first_plan(db: &Db, tenant: &TenantId) -> Result<Option<Plan>, DbError> {
    let sql = "SELECT v.body FROM meter_definition_version v WHERE v.tenant = $1 AND v.kind = 'plan' AND v.version = 1 AND v.id = \
               (SELECT plan FROM meter_first_plan WHERE tenant = $1)";
    let row = db.query_optional(sql, params![tenant]).await?;
    row.map(|row| serde_json::from_str(row.text(0)?).map_err(|e| DbError::Corrupt(format!("the first plan: {e}")))).transpose()
}

/// A definition with the salt its leaf was digested with.
#[derive(Debug, Clone)]
pub(crate) struct Read<T> {
    pub(crate) defined: Defined<T>,
    pub(crate) salt: String,
}

fn read<T: Definition>(row: &Row) -> Result<Read<T>, DbError> {
    let body = serde_json::from_str(row.text(2)?).map_err(|e| DbError::UnexpectedRow(format!("a {}: {e}", T::KIND.as_str())))?;
    let defined = Defined {
        id: row.parse(0)?,
        version: version(row.int(1)?)?,
        created_at: row.time(3)?,
        updated_at: row.time(4)?,
        deleted_at: row.opt_int(5)?.and_then(Timestamp::from_micros),
        body,
    };
    Ok(Read { defined, salt: row.text(6)?.to_owned() })
}

fn version(kept: i64) -> Result<u32, DbError> {
    u32::try_from(kept).map_err(|_| DbError::UnexpectedRow(format!("version {kept}")))
}

pub(crate) async fn by_code<T: Definition>(db: &Db, tenant: &TenantId, code: &str) -> Result<Option<Read<T>>, DbError> {
    let sql = "SELECT id, version, body, created_at, updated_at, deleted_at, salt FROM meter_definition \
               WHERE tenant = $1 AND kind = $2 AND code = $3 AND deleted_at IS NULL";
    db.query_optional(sql, params![tenant, T::KIND.as_str(), code]).await?.as_ref().map(read).transpose()
}

pub(crate) async fn by_id<T: Definition>(db: &Db, tenant: &TenantId, id: DefinitionId) -> Result<Option<Read<T>>, DbError> {
    let sql = "SELECT id, version, body, created_at, updated_at, deleted_at, salt FROM meter_definition \
               WHERE tenant = $1 AND kind = $2 AND id = $3";
    db.query_optional(sql, params![tenant, T::KIND.as_str(), id]).await?.as_ref().map(read).transpose()
}

/// The definition as it was in this version.
pub(crate) async fn by_version<T: Definition>(db: &Db, tenant: &TenantId, id: DefinitionId, at: u32) -> Result<Option<Read<T>>, DbError> {
    let sql = "SELECT d.id, v.version, v.body, d.created_at, v.created_at, d.deleted_at, d.salt FROM meter_definition d \
               JOIN meter_definition_version v ON v.tenant = d.tenant AND v.kind = d.kind AND v.id = d.id \
               WHERE d.tenant = $1 AND d.kind = $2 AND d.id = $3 AND v.version = $4";
    db.query_optional(sql, params![tenant, T::KIND.as_str(), id, at]).await?.as_ref().map(read).transpose()
}

/// A page of a kind, newest first.
pub(crate) async fn list<T: Definition>(db: &Db, tenant: &TenantId, page: Page) -> Result<Listed<Defined<T>>, DbError> {
    let sql = "SELECT id, version, body, created_at, updated_at, deleted_at, salt FROM meter_definition \
               WHERE tenant = $1 AND kind = $2 AND deleted_at IS NULL ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4";
    let counted = "SELECT COUNT(*) FROM meter_definition WHERE tenant = $1 AND kind = $2 AND deleted_at IS NULL";
    listed(db, sql, counted, params![tenant, T::KIND.as_str()], page, |row| read(row).map(|read| read.defined)).await
}

/// Every version of a definition, newest first.
pub(crate) async fn versions<T: Definition>(
    db: &Db,
    tenant: &TenantId,
    id: DefinitionId,
    page: Page,
) -> Result<Listed<Defined<T>>, DbError> {
    let sql = "SELECT d.id, v.version, v.body, d.created_at, v.created_at, d.deleted_at, d.salt FROM meter_definition d \
               JOIN meter_definition_version v ON v.tenant = d.tenant AND v.kind = d.kind AND v.id = d.id \
               WHERE d.tenant = $1 AND d.kind = $2 AND d.id = $3 ORDER BY v.version DESC LIMIT $4 OFFSET $5";
    let counted = "SELECT COUNT(*) FROM meter_definition_version WHERE tenant = $1 AND kind = $2 AND id = $3";
    listed(db, sql, counted, params![tenant, T::KIND.as_str(), id], page, |row| read(row).map(|read| read.defined)).await
}

/// Whether another definition names this one.
pub(crate) async fn is_named(db: &Db, tenant: &TenantId, kind: Kind, code: &str) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM meter_reference WHERE tenant = $1 AND to_kind = $2 AND to_code = $3 LIMIT 1";
    Ok(db.query_optional(sql, params![tenant, kind.as_str(), code]).await?.is_some())
}

/// The newest definition of this code, also a deleted one.
pub(crate) async fn latest<T: Definition>(db: &Db, tenant: &TenantId, code: &str) -> Result<Option<Read<T>>, DbError> {
    let sql = "SELECT id, version, body, created_at, updated_at, deleted_at, salt FROM meter_definition \
               WHERE tenant = $1 AND kind = $2 AND code = $3 ORDER BY created_at DESC LIMIT 1";
    db.query_optional(sql, params![tenant, T::KIND.as_str(), code]).await?.as_ref().map(read).transpose()
}
