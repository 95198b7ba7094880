//! Queries, and the write steps as values. One SQL text serves both engines.

pub(crate) mod advance;
pub(crate) mod aggregates;
pub(crate) mod alerts;
pub(crate) mod billing;
pub(crate) mod cancelling;
pub(crate) mod catalog;
pub(crate) mod daily;
pub(crate) mod entitlements;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod fees;
pub(crate) mod lago;
pub(crate) mod ledger;
mod paging;
pub(crate) mod payments;
pub(crate) mod quarantine;
pub(crate) mod quotas;
pub(crate) mod raises;
pub(crate) mod recording;
pub(crate) mod reporters;
pub(crate) mod rerates;
pub(crate) mod retention;
pub(crate) mod subscriptions;
pub(crate) mod wallets;

use creto_db::{Db, DbError, Migration, MigrationSet, Row, Write, params};
use creto_kernel::id::HoldId;
use creto_kernel::{ErrorCode, Micros, TenantId, Timestamp};

use crate::model::account::{AccountRef, AccountState};
use crate::model::metric::{Aggregation, Metric};

/// Metering's tables.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering",
    migrations: &[
        Migration {
            version: 1,
            sqlite: include_str!("../migrations/sqlite/0001_metering.sql"),
            postgres: include_str!("../migrations/postgres/0001_metering.sql"),
        },
        Migration {
            version: 2,
            sqlite: include_str!("../migrations/raises/0002_raises.sql"),
            postgres: include_str!("../migrations/raises/0002_raises.sql"),
        },
    ],
};

const BUDGET_EXCEEDED: ErrorCode = ErrorCode::new("metering.budget_exceeded");
const HOLD_CLOSED: ErrorCode = ErrorCode::new("metering.hold_closed");
pub(crate) fn open_account(tenant: &TenantId, account: &AccountRef) -> Write {
    Write::new(
        "INSERT INTO meter_account (tenant, account, identity, ceiling, parent) VALUES ($1,$2,$3,$4,$5) \
         ON CONFLICT (tenant, account) DO NOTHING",
        params![tenant, account.account.as_str(), &account.identity, account.ceiling, account.parent.as_deref()],
    )
}

// The room is computed by subtraction, which cannot overflow: spent and held are never negative. An overflowing sum would become an
// inexact number on SQLite and poison the account.
pub(crate) fn hold_on(tenant: &TenantId, account: &AccountRef, amount: Micros) -> Write {
    Write::new(
        "UPDATE meter_account SET held = held + $1 WHERE tenant = $2 AND account = $3 AND COALESCE(ceiling, 9223372036854775807) - spent - held >= $1",
        params![amount, tenant, account.account.as_str()],
    )
    .exactly(1, BUDGET_EXCEEDED, no_room(account, amount))
}

fn no_room(account: &AccountRef, amount: Micros) -> String {
    format!("the budget of `{}` ({}) has no room for {amount}", account.identity.name(), account.account)
}

pub(crate) fn open_hold(tenant: &TenantId, hold: HoldId, amount: Micros, now: Timestamp) -> Write {
    Write::new(
        "INSERT INTO meter_hold (id, tenant, amount, state, opened_at) VALUES ($1,$2,$3,'open',$4)",
        params![hold, tenant, amount, now],
    )
}

pub(crate) fn hold_account(hold: HoldId, account: &AccountRef) -> Write {
    Write::new("INSERT INTO meter_hold_account (hold, account) VALUES ($1,$2)", params![hold, account.account.as_str()])
}

/// Releases a hold at every account it was made on; only while it is open, which is decided first.
pub(crate) fn close_hold(tenant: &TenantId, hold: HoldId, state: &'static str, now: Timestamp) -> [Write; 2] {
    [
        Write::new(
            "UPDATE meter_hold SET state = $1, closed_at = $2 WHERE id = $3 AND tenant = $4 AND state = 'open'",
            params![state, now, hold, tenant],
        )
        .exactly(1, HOLD_CLOSED, "the hold was posted or voided before"),
        Write::new(
            "UPDATE meter_account SET held = held - (SELECT amount FROM meter_hold WHERE id = $1) \
             WHERE tenant = $2 AND account IN (SELECT account FROM meter_hold_account WHERE hold = $1)",
            params![hold, tenant],
        ),
    ]
}

pub(crate) fn put_metric(tenant: &TenantId, code: &str, metric: &Metric) -> Write {
    Write::new(
        "INSERT INTO meter_metric (tenant, code, aggregation, field, unit_price) VALUES ($1,$2,$3,$4,$5) \
         ON CONFLICT (tenant, code) DO UPDATE SET aggregation = excluded.aggregation, field = excluded.field, unit_price = excluded.unit_price",
        params![tenant, code, metric.aggregation.as_str(), metric.field.as_str(), metric.unit_price.to_string()],
    )
}

pub(crate) fn set_ceiling(tenant: &TenantId, account: &str, ceiling: Option<Micros>, unknown: ErrorCode) -> Write {
    Write::new("UPDATE meter_account SET ceiling = $1 WHERE tenant = $2 AND account = $3", params![ceiling, tenant, account]).exactly(
        1,
        unknown,
        format!("there is no account `{account}`"),
    )
}

pub(crate) async fn metric(db: &Db, tenant: &TenantId, code: &str) -> Result<Option<Metric>, DbError> {
    let sql = "SELECT aggregation, field, unit_price FROM meter_metric WHERE tenant = $1 AND code = $2";
    let row = db.query_optional(sql, params![tenant, code]).await?;
    row.map(|row| {
        let unknown = || DbError::Corrupt("an aggregation that is none".to_owned());
        let aggregation = Aggregation::named(row.text(0)?).ok_or_else(unknown)?;
        Ok(Metric { aggregation, field: row.text(1)?.to_owned(), unit_price: row.parse(2)? })
    })
    .transpose()
}

/// A query for rows that [`read_account`] reads: the columns stand here once.
macro_rules! select_accounts {
    ($rest:literal) => {
        concat!(
            "SELECT a.account, a.identity, a.ceiling, a.spent, a.held, a.parent, r.id, r.step, r.a_day, r.until FROM meter_account a ",
            "LEFT JOIN meter_raise r ON r.tenant = a.tenant AND r.account = a.account ",
            $rest
        )
    };
}

pub(crate) async fn accounts(db: &Db, tenant: &TenantId) -> Result<Vec<AccountState>, DbError> {
    let sql = select_accounts!("WHERE a.tenant = $1 ORDER BY a.account");
    db.query(sql, params![tenant]).await?.iter().map(read_account).collect()
}

pub(crate) async fn account(db: &Db, tenant: &TenantId, account: &str) -> Result<Option<AccountState>, DbError> {
    let sql = select_accounts!("WHERE a.tenant = $1 AND a.account = $2");
    db.query_optional(sql, params![tenant, account]).await?.as_ref().map(read_account).transpose()
}

fn read_account(row: &Row) -> Result<AccountState, DbError> {
    let (terms, ask_to_raise) = raises::read(row, 6)?.unzip();
    Ok(AccountState {
        terms,
        ask_to_raise,
        currency: None,
        account: row.text(0)?.to_owned(),
        identity: row.text(1)?.to_owned(),
        ceiling: row.opt_int(2)?.map(Micros::new),
        spent: Micros::new(row.int(3)?),
        held: Micros::new(row.int(4)?),
        parent: row.opt_text(5)?.map(str::to_owned),
    })
}

/// Debits between two moments, each with its path.
pub(crate) async fn debits(db: &Db, tenant: &TenantId, from: Timestamp, to: Timestamp) -> Result<Vec<(String, Micros)>, DbError> {
    let sql = "SELECT path, CAST(SUM(micros) AS BIGINT) FROM meter_entry \
               WHERE tenant = $1 AND side = 'debit' AND posted_at >= $2 AND posted_at < $3 GROUP BY path";
    let rows = db.query(sql, params![tenant, from, to]).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), Micros::new(row.int(1)?)))).collect()
}

/// Sum of one side of the ledger.
pub(crate) async fn side_total(db: &Db, tenant: &TenantId, side: &str) -> Result<Micros, DbError> {
    let sql = "SELECT CAST(COALESCE(SUM(micros), 0) AS BIGINT) FROM meter_entry WHERE tenant = $1 AND side = $2";
    let row = db.query_optional(sql, params![tenant, side]).await?;
    row.map_or(Ok(Micros::ZERO), |row| row.int(0).map(Micros::new))
}

/// Accounts whose counters disagree with the ledger and the open holds.
pub(crate) async fn disagreements(db: &Db, tenant: &TenantId) -> Result<Vec<String>, DbError> {
    let sql = "SELECT account FROM meter_account a WHERE tenant = $1 AND (\
               spent <> (SELECT COALESCE(SUM(micros), 0) FROM meter_entry e WHERE e.tenant = a.tenant AND e.side = 'rollup' AND e.account = a.account) \
               OR held <> (SELECT COALESCE(SUM(h.amount), 0) FROM meter_hold h JOIN meter_hold_account m ON m.hold = h.id \
               WHERE h.tenant = a.tenant AND h.state = 'open' AND m.account = a.account)) ORDER BY account";
    db.query(sql, params![tenant]).await?.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
