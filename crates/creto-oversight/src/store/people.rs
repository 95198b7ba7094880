//! Groups and delegations. Every change counts the tenant's roster up, and a decision is written only under the roster it was made with.

use std::collections::{BTreeMap, BTreeSet};

use creto_db::{Db, DbError, Step, Write, params};
use creto_kernel::{ErrorCode, NhiId, TenantId, Timestamp};

use crate::model::requirement::GroupName;
use crate::model::roster::{Delegation, Roster};

/// Most members all groups of a tenant have together.
pub(crate) const MEMBERS_MAX: u32 = 10_000;
/// Most delegations of a tenant that are not over.
pub(crate) const DELEGATIONS_MAX: u32 = 1_000;

const MOVED_ON: ErrorCode = ErrorCode::new("oversight.busy");

/// Counts the roster up from the version that was read.
pub(crate) fn next_version(tenant: &TenantId, from: i64) -> Vec<Box<dyn Step>> {
    let first =
        Write::new("INSERT INTO oversight_roster (tenant, version) VALUES ($1, 0) ON CONFLICT (tenant) DO NOTHING", params![tenant]);
    let next = Write::new("UPDATE oversight_roster SET version = version + 1 WHERE tenant = $1 AND version = $2", params![tenant, from])
        .exactly(1, MOVED_ON, "groups or delegations were changed meanwhile");
    vec![Box::new(first), Box::new(next)]
}

/// Replaces the members of a group.
pub(crate) fn set_group(tenant: &TenantId, name: &GroupName, members: &BTreeSet<NhiId>) -> Vec<Box<dyn Step>> {
    let mut steps: Vec<Box<dyn Step>> =
        vec![Box::new(Write::new("DELETE FROM oversight_member WHERE tenant = $1 AND name = $2", params![tenant, name.as_str()]))];
    for member in members {
        steps.push(Box::new(Write::new(
            "INSERT INTO oversight_member (tenant, name, person) VALUES ($1,$2,$3)",
            params![tenant, name.as_str(), member],
        )));
    }
    steps
}

/// Adds a delegation.
pub(crate) fn delegate(tenant: &TenantId, delegation: &Delegation) -> Write {
    Write::new(
        "INSERT INTO oversight_delegation (tenant, id, whose, stand_in, starts, ends, out_of_office) VALUES ($1,$2,$3,$4,$5,$6,$7)",
        params![tenant, &delegation.id, &delegation.from, &delegation.to, delegation.starts, delegation.ends, delegation.out_of_office],
    )
}

/// Ends a delegation now.
pub(crate) fn end_delegation(tenant: &TenantId, id: &str) -> Write {
    Write::new("DELETE FROM oversight_delegation WHERE tenant = $1 AND id = $2", params![tenant, id]).exactly(
        1,
        ErrorCode::new("oversight.unknown"),
        "there is no such delegation",
    )
}

/// The version of the roster in force.
pub(crate) async fn version(db: &Db, tenant: &TenantId) -> Result<i64, DbError> {
    let row = db.query_optional("SELECT version FROM oversight_roster WHERE tenant = $1", params![tenant]).await?;
    row.map_or(Ok(0), |row| row.int(0))
}

/// Groups and delegations of a tenant. The version is read first: what is read after it is at least as new, and a decision made with
/// something newer than its version is refused and made again.
pub(crate) async fn roster(db: &Db, tenant: &TenantId, now: Timestamp) -> Result<Roster, DbError> {
    let version = version(db, tenant).await?;
    let members = db
        .query("SELECT name, person FROM oversight_member WHERE tenant = $1 ORDER BY name, person LIMIT $2", params![tenant, MEMBERS_MAX])
        .await?;
    let mut groups: BTreeMap<GroupName, BTreeSet<NhiId>> = BTreeMap::new();
    for row in &members {
        groups.entry(row.parse(0)?).or_default().insert(row.parse(1)?);
    }
    let rows = db
        .query(
            "SELECT id, whose, stand_in, starts, ends, out_of_office FROM oversight_delegation WHERE tenant = $1 AND ends > $2 \
             ORDER BY id LIMIT $3",
            params![tenant, now, DELEGATIONS_MAX],
        )
        .await?;
    let mut delegations = Vec::new();
    for row in &rows {
        delegations.push(Delegation {
            id: row.text(0)?.to_owned(),
            from: row.parse(1)?,
            to: row.parse(2)?,
            starts: row.time(3)?,
            ends: row.time(4)?,
            out_of_office: row.int(5)? != 0,
        });
    }
    Ok(Roster { version, groups, delegations, inactive: BTreeSet::new() })
}
