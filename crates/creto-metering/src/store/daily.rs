//! Usage of days by whom it is booked to, metric and model.

use creto_db::{Column, Db, DbError, Many, Migration, MigrationSet, Row, Sql, params};
use creto_kernel::{Micros, TenantId};

use crate::core::daily::{DailyKey, Used};
use crate::core::exact::Exact;
use crate::core::zone::Day;
use crate::model::account::AccountRef;
use crate::model::source::Source;

/// The table of days, and what reads days of all subscriptions.
pub const DAILY_MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering_daily",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../../migrations/daily/0001_sqlite.sql"),
        postgres: include_str!("../../migrations/daily/0001_postgres.sql"),
    }],
};

/// Rows of sources that may have no number yet: (place in `keys`, events, units, cost).
pub(crate) fn of_sources(tenant: &TenantId, sources: &[Source], keys: &[DailyKey<usize>]) -> Many {
    let of = |text: fn(&Source) -> String| {
        Column::Text(keys.iter().map(|key| Some(sources.get(key.source).map(text).unwrap_or_default())).collect())
    };
    Many::new(
        Sql::per_engine(
            "SELECT $7, d.events, d.units, d.cost_micros FROM meter_daily d WHERE d.tenant = $1 AND d.day = $4 AND d.code = $5 \
             AND d.model = $6 AND d.source = (SELECT source FROM meter_source WHERE tenant = $1 AND chain = $2 AND proof = $3)",
            // One look into the index for each, whatever the plan's statistics say.
            "SELECT q.place, d.events, d.units, d.cost_micros \
             FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[]) AS q(chain, proof, day, code, model, place) \
             CROSS JOIN LATERAL (SELECT events, units, cost_micros FROM meter_daily WHERE tenant = $1 AND day = q.day \
             AND code = q.code AND model = q.model AND source = (SELECT source FROM meter_source WHERE tenant = $1 \
             AND chain = q.chain AND proof = q.proof) OFFSET 0) AS d",
        ),
        params![tenant],
        vec![
            of(|source| source.chain.to_string()),
            of(|source| source.attribution.as_str().to_owned()),
            Column::Text(keys.iter().map(|key| Some(key.day.to_string())).collect()),
            Column::texts(keys.iter().map(|key| key.code.as_str())),
            Column::texts(keys.iter().map(|key| key.model.as_str())),
            Column::integers((0..keys.len()).map(|place| i64::try_from(place).unwrap_or(i64::MAX))),
        ],
    )
}

pub(crate) fn placed_row(row: &Row) -> Result<(usize, Used), DbError> {
    let place = usize::try_from(row.int(0)?).map_err(|_| DbError::UnexpectedRow("a place below zero".to_owned()))?;
    Ok((place, used(row, 1)?))
}

/// One row: (events, units, cost); none where there is no key.
pub(crate) fn one(tenant: &TenantId, key: Option<&DailyKey<i64>>) -> Many {
    let (day, source) = key.map_or((String::new(), 0), |key| (key.day.to_string(), key.source));
    let [code, model] = key.map_or(["", ""], |key| [key.code.as_str(), key.model.as_str()]);
    Many::new(
        "SELECT events, units, cost_micros FROM meter_daily WHERE tenant = $1 AND day = $2 AND source = $3 AND code = $4 AND model = $5",
        params![tenant, day, source, code, model],
        vec![],
    )
}

pub(crate) fn used_row(row: &Row) -> Result<Used, DbError> {
    used(row, 0)
}

/// From this column on: events, units, cost.
fn used(row: &Row, from: usize) -> Result<Used, DbError> {
    let units = row.opt_text(from + 1)?.map(Exact::from_stored).transpose();
    Ok(Used {
        events: row.int(from)?,
        units: units.map_err(|e| DbError::Corrupt(format!("the units of a day: {e}")))?,
        cost: Micros::new(row.int(from + 2)?),
    })
}

pub(crate) fn put(tenant: &TenantId, rows: &[(DailyKey<i64>, Used)]) -> Many {
    Many::new(
        Sql::per_engine(
            "INSERT INTO meter_daily (tenant, day, source, code, model, events, units, cost_micros) VALUES ($1,$2,$3,$4,$5,$6,$7,$8) \
             ON CONFLICT (tenant, day, source, code, model) \
             DO UPDATE SET events = excluded.events, units = excluded.units, cost_micros = excluded.cost_micros",
            "INSERT INTO meter_daily (tenant, day, source, code, model, events, units, cost_micros) SELECT $1, * FROM \
             unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::bigint[]) \
             ON CONFLICT (tenant, day, source, code, model) \
             DO UPDATE SET events = excluded.events, units = excluded.units, cost_micros = excluded.cost_micros",
        ),
        params![tenant],
        vec![
            Column::Text(rows.iter().map(|(key, _)| Some(key.day.to_string())).collect()),
            Column::integers(rows.iter().map(|(key, _)| key.source)),
            Column::texts(rows.iter().map(|(key, _)| key.code.as_str())),
            Column::texts(rows.iter().map(|(key, _)| key.model.as_str())),
            Column::integers(rows.iter().map(|(_, used)| used.events)),
            Column::Text(rows.iter().map(|(_, used)| used.units.as_ref().map(Exact::stored)).collect()),
            Column::integers(rows.iter().map(|(_, used)| used.cost.get())),
        ],
    )
}

/// What a row is told apart by, beside its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Code,
    Model,
    Agent,
}

/// Usage of the days from one to another, both included, of one metric or of all: (day, what it is told apart by, what was used).
pub(crate) async fn between(
    db: &Db,
    tenant: &TenantId,
    by: Told,
    (from, to): (Day, Day),
    code: Option<&str>,
) -> Result<Vec<(Day, String, Used)>, DbError> {
    let sql = match by {
        Told::Code => {
            "SELECT d.day, d.code, d.events, d.units, d.cost_micros FROM meter_daily d \
             WHERE d.tenant = $1 AND d.day >= $2 AND d.day <= $3 AND ($4 = '' OR d.code = $4)"
        }
        Told::Model => {
            "SELECT d.day, d.model, d.events, d.units, d.cost_micros FROM meter_daily d \
             WHERE d.tenant = $1 AND d.day >= $2 AND d.day <= $3 AND ($4 = '' OR d.code = $4)"
        }
        Told::Agent => {
            "SELECT d.day, s.agent, d.events, d.units, d.cost_micros FROM meter_daily d \
             JOIN meter_source s ON s.tenant = d.tenant AND s.source = d.source \
             WHERE d.tenant = $1 AND d.day >= $2 AND d.day <= $3 AND ($4 = '' OR d.code = $4)"
        }
    };
    let rows = db.query(sql, params![tenant, from.to_string(), to.to_string(), code.unwrap_or_default()]).await?;
    rows.iter().map(|row| Ok((day(row, 0)?, row.text(1)?.to_owned(), used(row, 2)?))).collect()
}

/// What usage of the days from one to another, both included, cost: by the accounts it is booked to, outermost first.
pub(crate) async fn costs(db: &Db, tenant: &TenantId, (from, to): (Day, Day)) -> Result<Vec<(Vec<AccountRef>, Micros)>, DbError> {
    let sql = "SELECT s.accounts, CAST(SUM(d.cost_micros) AS BIGINT) FROM meter_daily d \
               JOIN meter_source s ON s.tenant = d.tenant AND s.source = d.source \
               WHERE d.tenant = $1 AND d.day >= $2 AND d.day <= $3 AND d.cost_micros <> 0 GROUP BY s.source, s.accounts";
    let rows = db.query(sql, params![tenant, from.to_string(), to.to_string()]).await?;
    let accounts = |text: &str| serde_json::from_str(text).map_err(|e| DbError::Corrupt(format!("a source's accounts: {e}")));
    rows.iter().map(|row| Ok((accounts(row.text(0)?)?, Micros::new(row.int(1)?)))).collect()
}

/// Every row of a tenant.
pub(crate) async fn all(db: &Db, tenant: &TenantId) -> Result<Vec<(DailyKey<i64>, Used)>, DbError> {
    let sql = "SELECT day, source, code, model, events, units, cost_micros FROM meter_daily WHERE tenant = $1";
    let key = |row: &Row| {
        Ok::<_, DbError>(DailyKey { day: day(row, 0)?, source: row.int(1)?, code: row.text(2)?.to_owned(), model: row.text(3)?.to_owned() })
    };
    db.query(sql, params![tenant]).await?.iter().map(|row| Ok((key(row)?, used(row, 4)?))).collect()
}

pub(crate) fn day(row: &Row, column: usize) -> Result<Day, DbError> {
    row.text(column)?.parse().map_err(|e| DbError::Corrupt(format!("a day: {e}")))
}
