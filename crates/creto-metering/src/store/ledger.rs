//! Accounts and entries, many at a time.

use creto_db::{Column, DbError, Many, Row, Sql, params};
use creto_kernel::id::AdmissionId;
use creto_kernel::{Micros, TenantId, Timestamp};

use crate::core::purse::Purse;
use crate::model::account::AccountRef;

/// What these accounts stand at: (account, ceiling, spent, held).
pub(crate) fn standing(tenant: &TenantId, accounts: &[&str]) -> Many {
    Many::new(
        Sql::per_engine(
            "SELECT account, ceiling, spent, held FROM meter_account WHERE tenant = $1 AND account = $2",
            "SELECT account, ceiling, spent, held FROM meter_account WHERE tenant = $1 AND account = ANY($2::text[])",
        ),
        params![tenant],
        vec![Column::texts(accounts.iter().copied())],
    )
}

pub(crate) fn purse(rows: &[Row]) -> Result<Purse, DbError> {
    let mut purse = Purse::default();
    for row in rows {
        purse.add(row.text(0)?, row.opt_int(1)?.map(Micros::new), Micros::new(row.int(2)?), Micros::new(row.int(3)?));
    }
    Ok(purse)
}

pub(crate) fn open(tenant: &TenantId, accounts: &[&AccountRef]) -> Many {
    Many::new(
        Sql::per_engine(
            "INSERT INTO meter_account (tenant, account, identity, ceiling, parent) VALUES ($1,$2,$3,$4,$5) \
             ON CONFLICT (tenant, account) DO NOTHING",
            "INSERT INTO meter_account (tenant, account, identity, ceiling, parent) \
             SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[]) ON CONFLICT (tenant, account) DO NOTHING",
        ),
        params![tenant],
        vec![
            Column::texts(accounts.iter().map(|account| account.account.as_str())),
            Column::texts(accounts.iter().map(|account| account.identity.as_str())),
            Column::Integer(accounts.iter().map(|account| account.ceiling.map(Micros::get)).collect()),
            Column::Text(accounts.iter().map(|account| account.parent.clone()).collect()),
        ],
    )
}

/// Adds to what accounts have spent: (account, amount). Room was looked at in the same commit.
pub(crate) fn spend(tenant: &TenantId, amounts: &[(&str, Micros)]) -> Many {
    Many::new(
        Sql::per_engine(
            "UPDATE meter_account SET spent = spent + $3 WHERE tenant = $1 AND account = $2",
            "UPDATE meter_account a SET spent = a.spent + q.micros FROM unnest($2::text[], $3::bigint[]) AS q(account, micros) \
             WHERE a.tenant = $1 AND a.account = q.account",
        ),
        params![tenant],
        vec![Column::texts(amounts.iter().map(|(account, _)| *account)), Column::integers(amounts.iter().map(|(_, amount)| amount.get()))],
    )
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) side: &'static str,
    pub(crate) account: String,
    pub(crate) identity: String,
    pub(crate) hop: i64,
    pub(crate) path: String,
    pub(crate) micros: Micros,
}

pub(crate) fn entries(tenant: &TenantId, admission: AdmissionId, now: Timestamp, entries: &[Entry]) -> Many {
    Many::new(
        Sql::per_engine(
            "INSERT INTO meter_entry (tenant, admission, posted_at, side, account, identity, hop, path, micros) \
             VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)",
            "INSERT INTO meter_entry (tenant, admission, posted_at, side, account, identity, hop, path, micros) \
             SELECT $1, $2, $3, * FROM unnest($4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::bigint[])",
        ),
        params![tenant, admission, now],
        vec![
            Column::texts(entries.iter().map(|entry| entry.side)),
            Column::texts(entries.iter().map(|entry| entry.account.as_str())),
            Column::texts(entries.iter().map(|entry| entry.identity.as_str())),
            Column::integers(entries.iter().map(|entry| entry.hop)),
            Column::texts(entries.iter().map(|entry| entry.path.as_str())),
            Column::integers(entries.iter().map(|entry| entry.micros.get())),
        ],
    )
}
