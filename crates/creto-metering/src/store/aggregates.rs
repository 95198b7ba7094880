//! Aggregates of days and periods, and the members of unique counts.

use std::collections::{BTreeMap, HashMap};

use creto_db::{Column, Db, DbError, Many, Row, Sql, StepError, params};
use creto_kernel::{Micros, TenantId, Timestamp};

use crate::core::aggregate::unique::{MemberState, Operation};
use crate::core::charging::Tally;
use crate::core::recording::{DayTally, MemberKey, Running, Scope, Slot, SlotKey};
use crate::core::zone::Day;
use crate::model::subscription::SubscriptionId;

fn keys(slots: &[&SlotKey]) -> Vec<Column> {
    vec![
        Column::texts(slots.iter().map(|key| key.subscription.as_str())),
        Column::integers(slots.iter().map(|key| key.period)),
        Column::texts(slots.iter().map(|key| key.charge.as_str())),
        Column::texts(slots.iter().map(|key| key.dims.as_str())),
    ]
}

fn with_places(places: impl IntoIterator<Item = usize>, mut columns: Vec<Column>) -> Vec<Column> {
    columns.push(Column::integers(places.into_iter().map(|place| i64::try_from(place).unwrap_or(i64::MAX))));
    columns
}

/// Aggregates of periods: (place of the slot, tally, posted).
pub(crate) fn running(tenant: &TenantId, slots: &[Slot]) -> Many {
    let all: Vec<&SlotKey> = slots.iter().map(|slot| &slot.key).collect();
    Many::new(
        Sql::per_engine(
            "SELECT $6, tally, posted_micros FROM meter_running \
             WHERE tenant = $1 AND subscription = $2 AND period = $3 AND charge = $4 AND dims = $5",
            "SELECT q.place, r.tally, r.posted_micros FROM meter_running r \
             JOIN unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[]) AS q(subscription, period, charge, dims, place) \
             ON r.subscription = q.subscription AND r.period = q.period AND r.charge = q.charge AND r.dims = q.dims WHERE r.tenant = $1",
        ),
        params![tenant],
        with_places(0..slots.len(), keys(&all)),
    )
}

pub(crate) fn running_row(row: &Row) -> Result<(usize, Running), DbError> {
    Ok((place(row)?, Running { tally: tally(row, 1)?, posted: Micros::new(row.int(2)?) }))
}

/// Aggregates of days: (place in `wanted`, tally, cost).
pub(crate) fn days(tenant: &TenantId, slots: &[Slot], wanted: &[(usize, Day)]) -> Many {
    let key = |of: fn(&SlotKey) -> &str| {
        Column::texts(wanted.iter().map(|(slot, _)| slots.get(*slot).map(|slot| of(&slot.key)).unwrap_or_default()))
    };
    Many::new(
        Sql::per_engine(
            "SELECT $6, tally, cost_micros FROM meter_day WHERE tenant = $1 AND subscription = $2 AND charge = $3 AND dims = $4 AND day = $5",
            "SELECT q.place, d.tally, d.cost_micros FROM meter_day d \
             JOIN unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[]) AS q(subscription, charge, dims, day, place) \
             ON d.subscription = q.subscription AND d.charge = q.charge AND d.dims = q.dims AND d.day = q.day WHERE d.tenant = $1",
        ),
        params![tenant],
        with_places(
            0..wanted.len(),
            vec![
                key(|key| &key.subscription),
                key(|key| &key.charge),
                key(|key| &key.dims),
                Column::texts(wanted.iter().map(|(_, day)| day.to_string())),
            ],
        ),
    )
}

pub(crate) fn day_row(row: &Row) -> Result<(usize, DayTally), DbError> {
    Ok((place(row)?, DayTally { tally: tally(row, 1)?, cost: Micros::new(row.int(2)?) }))
}

/// Aggregates of the days before a period: (place of the slot, tally), of these slots.
pub(crate) fn carried(tenant: &TenantId, slots: &[(usize, &Slot)]) -> Many {
    let key = |of: fn(&SlotKey) -> &str| Column::texts(slots.iter().map(|(_, slot)| of(&slot.key)));
    Many::new(
        Sql::per_engine(
            "SELECT $6, tally FROM meter_day WHERE tenant = $1 AND subscription = $2 AND charge = $3 AND dims = $4 AND day < $5",
            "SELECT q.place, d.tally FROM meter_day d \
             JOIN unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[]) AS q(subscription, charge, dims, day, place) \
             ON d.subscription = q.subscription AND d.charge = q.charge AND d.dims = q.dims AND d.day < q.day WHERE d.tenant = $1",
        ),
        params![tenant],
        with_places(
            slots.iter().map(|(place, _)| *place),
            vec![
                key(|key| &key.subscription),
                key(|key| &key.charge),
                key(|key| &key.dims),
                Column::texts(slots.iter().map(|(_, slot)| slot.terms.zone.day(slot.terms.from).to_string())),
            ],
        ),
    )
}

/// The states before a period, merged.
pub(crate) fn carried_rows(rows: &[Row]) -> Result<HashMap<usize, Tally>, DbError> {
    let mut carried: HashMap<usize, Tally> = HashMap::new();
    for row in rows {
        let more = tally(row, 1)?;
        match carried.get_mut(&place(row)?) {
            Some(before) => {
                before.state.merge(&more.state).map_err(|e| DbError::Corrupt(format!("an aggregate of days: {e}")))?;
                before.active = before.active.saturating_add(more.active);
            }
            None => {
                carried.insert(place(row)?, more);
            }
        }
    }
    Ok(carried)
}

/// How many values are active, ever, of slots without an aggregate of their period yet: (place, how many).
pub(crate) fn active(tenant: &TenantId, slots: &[(usize, &Slot)]) -> Many {
    let all: Vec<&SlotKey> = slots.iter().map(|(_, slot)| &slot.key).collect();
    Many::new(
        Sql::per_engine(
            "SELECT $6, COUNT(*) FROM meter_member WHERE tenant = $1 AND subscription = $2 AND charge = $4 AND dims = $5 AND scope = 'e' \
             AND active = 1 AND NOT EXISTS (SELECT 1 FROM meter_running WHERE tenant = $1 AND subscription = $2 AND period = $3 \
             AND charge = $4 AND dims = $5)",
            "SELECT q.place, CAST(COUNT(*) AS BIGINT) FROM meter_member m \
             JOIN unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[]) AS q(subscription, period, charge, dims, place) \
             ON m.subscription = q.subscription AND m.charge = q.charge AND m.dims = q.dims \
             WHERE m.tenant = $1 AND m.scope = 'e' AND m.active = 1 AND NOT EXISTS (SELECT 1 FROM meter_running r WHERE r.tenant = $1 \
             AND r.subscription = q.subscription AND r.period = q.period AND r.charge = q.charge AND r.dims = q.dims) GROUP BY q.place",
        ),
        params![tenant],
        with_places(slots.iter().map(|(place, _)| *place), keys(&all)),
    )
}

pub(crate) fn active_row(row: &Row) -> Result<(usize, i64), DbError> {
    Ok((place(row)?, row.int(1)?))
}

/// The word of a scope in the store.
pub(crate) fn scope_word(scope: Scope, key: &SlotKey) -> String {
    match scope {
        Scope::Ever => "e".to_owned(),
        Scope::Period => format!("p{}", key.period),
        Scope::Day(day) => format!("d{day}"),
    }
}

fn member_keys(slots: &[Slot], wanted: &[&MemberKey]) -> Vec<Column> {
    let key = |of: fn(&SlotKey) -> &str| {
        Column::texts(wanted.iter().map(|(slot, _, _)| slots.get(*slot).map(|slot| of(&slot.key)).unwrap_or_default()))
    };
    let scope = |(slot, scope, _): &MemberKey| slots.get(*slot).map(|slot| scope_word(*scope, &slot.key)).unwrap_or_default();
    vec![
        key(|key| &key.subscription),
        key(|key| &key.charge),
        key(|key| &key.dims),
        Column::texts(wanted.iter().map(|key| scope(key))),
        Column::texts(wanted.iter().map(|(_, _, value)| value.as_str())),
    ]
}

/// Values of unique counts: (place in `wanted`, added, active, last_at, last_seq).
pub(crate) fn members(tenant: &TenantId, slots: &[Slot], wanted: &[&MemberKey]) -> Many {
    Many::new(
        Sql::per_engine(
            "SELECT $7, added, active, last_at, last_seq FROM meter_member \
             WHERE tenant = $1 AND subscription = $2 AND charge = $3 AND dims = $4 AND scope = $5 AND value = $6",
            "SELECT q.place, m.added, m.active, m.last_at, m.last_seq FROM meter_member m \
             JOIN unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[]) \
             AS q(subscription, charge, dims, scope, value, place) ON m.subscription = q.subscription AND m.charge = q.charge \
             AND m.dims = q.dims AND m.scope = q.scope AND m.value = q.value WHERE m.tenant = $1",
        ),
        params![tenant],
        with_places(0..wanted.len(), member_keys(slots, wanted)),
    )
}

pub(crate) fn member_row(row: &Row) -> Result<(usize, MemberState), DbError> {
    Ok((place(row)?, member_state(row, 1)?))
}

/// From this column on: added, active, last_at, last_seq.
fn member_state(row: &Row, from: usize) -> Result<MemberState, DbError> {
    Ok(MemberState {
        added: row.bool(from)?,
        last: if row.bool(from + 1)? { Operation::Add } else { Operation::Remove },
        last_at: row.time(from + 2)?,
        last_sequence: u64::try_from(row.int(from + 3)?).unwrap_or_default(),
    })
}

pub(crate) fn put_members(tenant: &TenantId, slots: &[Slot], members: &[(&MemberKey, &MemberState)]) -> Many {
    let wanted: Vec<&MemberKey> = members.iter().map(|(key, _)| *key).collect();
    let numbers = |of: fn(&MemberState) -> i64| Column::integers(members.iter().map(|(_, state)| of(state)));
    let mut columns = member_keys(slots, &wanted);
    columns.extend([
        numbers(|state| i64::from(state.added)),
        numbers(|state| i64::from(state.is_active())),
        numbers(|state| Timestamp::as_micros(state.last_at)),
        numbers(|state| i64::try_from(state.last_sequence).unwrap_or(i64::MAX)),
    ]);
    Many::new(
        Sql::per_engine(
            "INSERT INTO meter_member (tenant, subscription, charge, dims, scope, value, added, active, last_at, last_seq) \
             VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) ON CONFLICT (tenant, subscription, charge, dims, scope, value) DO UPDATE SET \
             added = excluded.added, active = excluded.active, last_at = excluded.last_at, last_seq = excluded.last_seq",
            "INSERT INTO meter_member (tenant, subscription, charge, dims, scope, value, added, active, last_at, last_seq) \
             SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], \
             $10::bigint[]) ON CONFLICT (tenant, subscription, charge, dims, scope, value) DO UPDATE SET \
             added = excluded.added, active = excluded.active, last_at = excluded.last_at, last_seq = excluded.last_seq",
        ),
        params![tenant],
        columns,
    )
}

/// Values that no event names any more.
pub(crate) fn forget_members(tenant: &TenantId, slots: &[Slot], members: &[&MemberKey]) -> Many {
    Many::new(
        Sql::per_engine(
            "DELETE FROM meter_member WHERE tenant = $1 AND subscription = $2 AND charge = $3 AND dims = $4 AND scope = $5 AND value = $6",
            "DELETE FROM meter_member m USING unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) \
             AS q(subscription, charge, dims, scope, value) WHERE m.tenant = $1 AND m.subscription = q.subscription \
             AND m.charge = q.charge AND m.dims = q.dims AND m.scope = q.scope AND m.value = q.value",
        ),
        params![tenant],
        member_keys(slots, members),
    )
}

pub(crate) fn put_running(tenant: &TenantId, rows: &[(&SlotKey, &Running)]) -> Result<Many, StepError> {
    let all: Vec<&SlotKey> = rows.iter().map(|(key, _)| *key).collect();
    let mut columns = keys(&all);
    columns.push(Column::integers(rows.iter().map(|(_, running)| running.posted.get())));
    columns.push(Column::Text(rows.iter().map(|(_, running)| text(&running.tally).map(Some)).collect::<Result<_, _>>()?));
    Ok(Many::new(
        Sql::per_engine(
            "INSERT INTO meter_running (tenant, subscription, period, charge, dims, posted_micros, tally) VALUES ($1,$2,$3,$4,$5,$6,$7) \
             ON CONFLICT (tenant, subscription, period, charge, dims) \
             DO UPDATE SET posted_micros = excluded.posted_micros, tally = excluded.tally",
            "INSERT INTO meter_running (tenant, subscription, period, charge, dims, posted_micros, tally) \
             SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::text[]) \
             ON CONFLICT (tenant, subscription, period, charge, dims) \
             DO UPDATE SET posted_micros = excluded.posted_micros, tally = excluded.tally",
        ),
        params![tenant],
        columns,
    ))
}

pub(crate) fn put_days(tenant: &TenantId, rows: &[(&SlotKey, Day, &DayTally)]) -> Result<Many, StepError> {
    let texts = |of: fn(&SlotKey) -> &str| Column::texts(rows.iter().map(|(key, _, _)| of(key)));
    Ok(Many::new(
        Sql::per_engine(
            "INSERT INTO meter_day (tenant, subscription, charge, dims, day, cost_micros, tally) VALUES ($1,$2,$3,$4,$5,$6,$7) \
             ON CONFLICT (tenant, subscription, charge, dims, day) DO UPDATE SET cost_micros = excluded.cost_micros, tally = excluded.tally",
            "INSERT INTO meter_day (tenant, subscription, charge, dims, day, cost_micros, tally) \
             SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[]) \
             ON CONFLICT (tenant, subscription, charge, dims, day) DO UPDATE SET cost_micros = excluded.cost_micros, tally = excluded.tally",
        ),
        params![tenant],
        vec![
            texts(|key| &key.subscription),
            texts(|key| &key.charge),
            texts(|key| &key.dims),
            Column::texts(rows.iter().map(|(_, day, _)| day.to_string())),
            Column::integers(rows.iter().map(|(_, _, tally)| tally.cost.get())),
            Column::Text(rows.iter().map(|(_, _, day)| text(&day.tally).map(Some)).collect::<Result<_, _>>()?),
        ],
    ))
}

fn place(row: &Row) -> Result<usize, DbError> {
    usize::try_from(row.int(0)?).map_err(|_| DbError::UnexpectedRow("a place below zero".to_owned()))
}

fn tally(row: &Row, column: usize) -> Result<Tally, DbError> {
    serde_json::from_str(row.text(column)?).map_err(|e| DbError::Corrupt(format!("an aggregate: {e}")))
}

fn text(tally: &Tally) -> Result<String, StepError> {
    serde_json::to_string(tally).map_err(|e| StepError::Invalid(e.to_string()))
}

/// One aggregate of a period, as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) charge: String,
    pub(crate) dims: String,
    pub(crate) running: Running,
}

/// All aggregates of a subscription's period, by charge and groups.
pub(crate) async fn of_period(db: &Db, tenant: &TenantId, subscription: &str, period: i64) -> Result<Vec<Kept>, DbError> {
    let sql = "SELECT charge, dims, tally, posted_micros FROM meter_running WHERE tenant = $1 AND subscription = $2 AND period = $3 \
               ORDER BY charge, dims";
    let kept = |row: &Row| {
        Ok(Kept {
            charge: row.text(0)?.to_owned(),
            dims: row.text(1)?.to_owned(),
            running: Running { tally: tally(row, 2)?, posted: Micros::new(row.int(3)?) },
        })
    };
    db.query(sql, params![tenant, subscription, period]).await?.iter().map(kept).collect()
}

/// Where the periods begin that a subscription used anything in, oldest first.
pub(crate) async fn periods(db: &Db, tenant: &TenantId, subscription: &str) -> Result<Vec<i64>, DbError> {
    let sql = "SELECT DISTINCT period FROM meter_running WHERE tenant = $1 AND subscription = $2 ORDER BY period";
    db.query(sql, params![tenant, subscription]).await?.iter().map(|row| row.int(0)).collect()
}

/// One aggregate of a day, as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct KeptDay {
    pub(crate) charge: String,
    pub(crate) dims: String,
    pub(crate) tally: DayTally,
}

/// Every aggregate of a tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct All {
    pub(crate) running: BTreeMap<SlotKey, Tally>,
    /// By subscription, charge, groups and day.
    pub(crate) days: BTreeMap<(String, String, String, String), Tally>,
}

pub(crate) async fn all(db: &Db, tenant: &TenantId) -> Result<All, DbError> {
    let mut all = All::default();
    let sql = "SELECT subscription, period, charge, dims, tally FROM meter_running WHERE tenant = $1";
    for row in db.query(sql, params![tenant]).await? {
        let key = SlotKey {
            subscription: row.text(0)?.to_owned(),
            period: row.int(1)?,
            charge: row.text(2)?.to_owned(),
            dims: row.text(3)?.to_owned(),
        };
        all.running.insert(key, tally(&row, 4)?);
    }
    let sql = "SELECT subscription, charge, dims, day, tally FROM meter_day WHERE tenant = $1";
    for row in db.query(sql, params![tenant]).await? {
        let text = |column| row.text(column).map(str::to_owned);
        all.days.insert((text(0)?, text(1)?, text(2)?, text(3)?), tally(&row, 4)?);
    }
    Ok(all)
}

/// All aggregates of a subscription from a day to another, both included.
pub(crate) async fn of_days(db: &Db, tenant: &TenantId, subscription: &str, from: Day, to: Day) -> Result<Vec<KeptDay>, DbError> {
    let sql = "SELECT charge, dims, tally, cost_micros FROM meter_day WHERE tenant = $1 AND subscription = $2 AND day >= $3 AND day <= $4 \
               ORDER BY charge, dims, day";
    db.query(sql, params![tenant, subscription, from.to_string(), to.to_string()]).await?.iter().map(kept_day).collect()
}

fn kept_day(row: &Row) -> Result<KeptDay, DbError> {
    Ok(KeptDay {
        charge: row.text(0)?.to_owned(),
        dims: row.text(1)?.to_owned(),
        tally: DayTally { tally: tally(row, 2)?, cost: Micros::new(row.int(3)?) },
    })
}

/// An aggregate of a day of any subscription.
#[derive(Clone, Debug)]
pub(crate) struct KeptOf {
    pub(crate) subscription: String,
    pub(crate) day: Day,
    pub(crate) kept: KeptDay,
}

/// All aggregates of a tenant from a day to another, both included.
pub(crate) async fn of_all(db: &Db, tenant: &TenantId, (from, to): (Day, Day)) -> Result<Vec<KeptOf>, DbError> {
    let sql = "SELECT charge, dims, tally, cost_micros, subscription, day FROM meter_day WHERE tenant = $1 AND day >= $2 AND day <= $3";
    let of = |row: &Row| Ok(KeptOf { subscription: row.text(4)?.to_owned(), day: super::daily::day(row, 5)?, kept: kept_day(row)? });
    db.query(sql, params![tenant, from.to_string(), to.to_string()]).await?.iter().map(of).collect()
}

/// Aggregates of a charge's days before a day: groups and what was used.
pub(crate) async fn before(
    db: &Db,
    tenant: &TenantId,
    of: SubscriptionId,
    charge: &str,
    day: Day,
) -> Result<Vec<(String, Tally)>, DbError> {
    let sql = "SELECT dims, tally FROM meter_day WHERE tenant = $1 AND subscription = $2 AND charge = $3 AND day < $4 ORDER BY dims, day";
    let rows = db.query(sql, params![tenant, of, charge, day.to_string()]).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), tally(row, 1)?))).collect()
}

/// What the values of a charge's UNIQUE_COUNT did on each day, from a day, or ever, to another: groups, value, day, state.
pub(crate) async fn histories(
    db: &Db,
    tenant: &TenantId,
    of: SubscriptionId,
    charge: &str,
    (from, to): (Option<Day>, Day),
) -> Result<Vec<(String, String, Day, MemberState)>, DbError> {
    let sql = "SELECT dims, value, scope, added, active, last_at, last_seq FROM meter_member \
               WHERE tenant = $1 AND subscription = $2 AND charge = $3 AND scope >= $4 AND scope <= $5";
    let from = from.map_or_else(|| "d0".to_owned(), |day| format!("d{day}"));
    let rows = db.query(sql, params![tenant, of, charge, from, format!("d{to}")]).await?;
    let corrupt = |scope: &str| DbError::Corrupt(format!("the day of a value: {scope}"));
    let each = |row: &Row| {
        let scope = row.text(2)?;
        let day = scope.strip_prefix('d').and_then(|day| day.parse().ok()).ok_or_else(|| corrupt(scope))?;
        Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned(), day, member_state(row, 3)?))
    };
    rows.iter().map(each).collect()
}

/// Charge, groups, value, and what happened to it.
pub(crate) type DayMember = (String, String, String, MemberState);

/// Values of unique counts from a day to another, both included.
pub(crate) async fn members_of_days(db: &Db, tenant: &TenantId, subscription: &str, from: Day, to: Day) -> Result<Vec<DayMember>, DbError> {
    let sql = "SELECT charge, dims, value, added, active, last_at, last_seq FROM meter_member \
               WHERE tenant = $1 AND subscription = $2 AND scope >= $3 AND scope <= $4 ORDER BY charge, dims, scope, value";
    let rows = db.query(sql, params![tenant, subscription, format!("d{from}"), format!("d{to}")]).await?;
    let member = |row: &Row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.text(2)?.to_owned(), member_state(row, 3)?));
    rows.iter().map(member).collect()
}
