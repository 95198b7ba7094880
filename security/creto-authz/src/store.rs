//! Published versions in the database.

use creto_db::{Db, Migration, MigrationSet, Row, Write, params};
use creto_kernel::{Digest, ErrorCode, NhiId, TenantId, Timestamp};

use crate::error::AuthzError;
use crate::model::version::PolicyVersion;

/// This crate's tables.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    name: "authz",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../migrations/0001_policy.sql"),
        postgres: include_str!("../migrations/0001_policy.sql"),
    }],
};

/// The step that adds a version; another publisher's version of the same number is a conflict.
pub(crate) fn insert(tenant: &TenantId, author: &NhiId, version: &PolicyVersion, at: Timestamp, epoch: i64) -> Write {
    Write::new(
        "INSERT INTO authz_policy (tenant, epoch, author, published_at, digest, body) VALUES ($1, $2, $3, $4, $5, $6)",
        params![tenant.clone(), epoch, author.clone(), at, version.digest, version.text.clone()],
    )
    .unique(ErrorCode::new("authz.publish_conflict"), "another version of this policy was published meanwhile")
}

/// All versions of a tenant, latest first, at most `limit`.
pub(crate) async fn history(db: &Db, tenant: &TenantId, limit: u32) -> Result<Vec<PolicyVersion>, AuthzError> {
    let rows = db
        .query(
            "SELECT epoch, author, published_at, digest, body FROM authz_policy WHERE tenant = $1 ORDER BY epoch DESC LIMIT $2",
            params![tenant.clone(), limit],
        )
        .await?;
    rows.iter().map(|row| version(row, 0)).collect()
}

/// The latest version of every tenant that has one.
pub(crate) async fn latest(db: &Db) -> Result<Vec<(TenantId, PolicyVersion)>, AuthzError> {
    let rows = db
        .query(
            "SELECT p.tenant, p.epoch, p.author, p.published_at, p.digest, p.body FROM authz_policy p \
             JOIN (SELECT tenant, MAX(epoch) AS epoch FROM authz_policy GROUP BY tenant) last \
             ON last.tenant = p.tenant AND last.epoch = p.epoch ORDER BY p.tenant",
            params![],
        )
        .await?;
    rows.iter().map(|row| Ok((row.parse::<TenantId>(0)?, version(row, 1)?))).collect()
}

fn version(row: &Row, first: usize) -> Result<PolicyVersion, AuthzError> {
    let epoch = row.int(first)?;
    let text = row.text(first + 4)?.to_owned();
    let version = PolicyVersion {
        epoch: u64::try_from(epoch).map_err(|_| AuthzError::StoreDamaged(format!("epoch `{epoch}`")))?,
        author: Some(row.parse(first + 1)?),
        published_at: Timestamp::from_micros(row.int(first + 2)?),
        digest: row.parse(first + 3)?,
        text,
    };
    if Digest::of(version.text.as_bytes()) == version.digest {
        Ok(version)
    } else {
        Err(AuthzError::StoreDamaged(format!("the text of version {epoch} does not have its digest {}", version.digest)))
    }
}
