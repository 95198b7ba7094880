//! Policy documents, every version of each.

use creto_db::{Db, DbError, Row, Write, params};
use creto_kernel::{Digest, ErrorCode, NhiId, TenantId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::policy::Policy;

/// A published document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Published {
    /// The rule it is for.
    pub rule: String,
    /// Counts its versions; the first is 1.
    pub version: u32,
    /// SHA-256 over its RFC 8785 form.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// What it says.
    pub policy: Policy,
    /// Who published it.
    #[schema(value_type = String)]
    pub author: NhiId,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

const PUBLISHED_MEANWHILE: ErrorCode = ErrorCode::new("oversight.policy_conflict");

pub(crate) fn insert(tenant: &TenantId, published: &Published, body: String) -> Write {
    Write::new(
        "INSERT INTO oversight_policy (tenant, rule, version, digest, body, author, at) VALUES ($1,$2,$3,$4,$5,$6,$7)",
        params![tenant, &published.rule, published.version, published.digest, body, &published.author, published.at],
    )
    .unique(PUBLISHED_MEANWHILE, "another version of this document was published meanwhile")
}

/// The latest version of each document, or of one.
pub(crate) async fn latest(db: &Db, tenant: &TenantId, rule: Option<&str>) -> Result<Vec<Published>, DbError> {
    let sql = "SELECT rule, version, digest, body, author, at FROM oversight_policy p WHERE tenant = $1 AND ($2 = '' OR rule = $2) \
               AND version = (SELECT MAX(version) FROM oversight_policy l WHERE l.tenant = p.tenant AND l.rule = p.rule) ORDER BY rule";
    read(&db.query(sql, params![tenant, rule.unwrap_or_default()]).await?)
}

/// Every version of a rule's document, the latest first.
pub(crate) async fn versions(db: &Db, tenant: &TenantId, rule: &str) -> Result<Vec<Published>, DbError> {
    let sql = "SELECT rule, version, digest, body, author, at FROM oversight_policy WHERE tenant = $1 AND rule = $2 ORDER BY version DESC";
    read(&db.query(sql, params![tenant, rule]).await?)
}

fn read(rows: &[Row]) -> Result<Vec<Published>, DbError> {
    rows.iter()
        .map(|row| {
            let unreadable = || DbError::Corrupt("an oversight policy cannot be read".to_owned());
            let body = row.text(3)?;
            let digest: Digest = row.parse(2)?;
            if Digest::of(body.as_bytes()) != digest {
                return Err(unreadable());
            }
            Ok(Published {
                rule: row.text(0)?.to_owned(),
                version: u32::try_from(row.int(1)?).map_err(|_| unreadable())?,
                digest,
                policy: serde_json::from_str(body).map_err(|_| unreadable())?,
                author: row.parse(4)?,
                at: row.time(5)?,
            })
        })
        .collect()
}
