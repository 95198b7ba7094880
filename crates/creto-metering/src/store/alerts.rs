//! Alerts in the database: what is watched, what was seen of it, and what has to be looked at.

use std::collections::BTreeSet;

use creto_db::{Db, DbError, Migration, MigrationSet, Row, Write, params};
use creto_kernel::{ErrorCode, TenantId, Timestamp};

use crate::core::alert::Seen;
use crate::model::alert::{AlertId, AlertRecord, Watched};
use crate::model::entry::DefinitionId;
use crate::model::page::{Listed, Page};
use crate::model::wallets::WalletId;
use crate::store::catalog::CHANGED;
use crate::store::paging::listed;

/// The tables of alerts.
pub const ALERT_MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering_alerts",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../../migrations/alerts/0001_alerts.sql"),
        postgres: include_str!("../../migrations/alerts/0001_alerts.sql"),
    }],
};

pub(crate) const EXISTS: ErrorCode = ErrorCode::new("metering.already_exists");

/// Something that changed: of a subscription, in which period of which one of its external identifier; of a wallet, as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) watched: Watched,
    pub(crate) subscription: String,
    pub(crate) period: i64,
}

impl Mark {
    /// A wallet changed, or what its customer used.
    pub(crate) fn wallet(id: &WalletId) -> Self {
        Self { watched: Watched::Wallet(id.to_string()), subscription: String::new(), period: 0 }
    }

    /// What a state of a period stands under.
    pub(crate) fn scope(&self) -> String {
        format!("{}@{}", self.subscription, self.period)
    }
}

/// Notes within a commit that something it changes is watched. A quiet mark is told of by nobody, unless another one joins it.
pub(crate) fn mark(tenant: &TenantId, mark: &Mark, quiet: bool) -> Write {
    Write::new(
        "INSERT INTO meter_alert_due (tenant, kind, subject, subscription, period, marks, quiet) VALUES ($1,$2,$3,$4,$5,1,$6) \
         ON CONFLICT (tenant, kind, subject, subscription, period) DO UPDATE SET marks = meter_alert_due.marks + 1, \
         quiet = CASE WHEN meter_alert_due.quiet < excluded.quiet THEN meter_alert_due.quiet ELSE excluded.quiet END",
        params![tenant, mark.watched.kind(), mark.watched.name(), mark.subscription.as_str(), mark.period, i64::from(quiet)],
    )
}

/// Everything one commit changes that is watched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    pub(crate) all: BTreeSet<Mark>,
    /// Nobody is told.
    pub(crate) quiet: bool,
}

impl Marks {
    /// INVARIANT: the commit that changes something watched notes that it did. It is looked at after it, as often as it takes.
    pub(crate) fn writes(&self, tenant: &TenantId) -> Vec<Write> {
        self.all.iter().map(|it| mark(tenant, it, self.quiet)).collect()
    }
}

/// As [`mark`], of a wallet that somebody watches.
pub(crate) fn mark_wallet(tenant: &TenantId, wallet: WalletId) -> Write {
    Write::new(
        "INSERT INTO meter_alert_due (tenant, kind, subject, subscription, period, marks, quiet) SELECT $1,'wallet',$2,'',0,1,0 \
         WHERE EXISTS (SELECT 1 FROM meter_alert WHERE tenant = $1 AND kind = 'wallet' AND subject = $2) \
         ON CONFLICT (tenant, kind, subject, subscription, period) DO UPDATE SET marks = meter_alert_due.marks + 1, quiet = 0",
        params![tenant, wallet],
    )
}

/// Something to be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) tenant: TenantId,
    pub(crate) mark: Mark,
    pub(crate) marks: i64,
    pub(crate) quiet: bool,
}

fn watched(kind: &str, name: &str) -> Watched {
    if kind == "wallet" { Watched::Wallet(name.to_owned()) } else { Watched::Subscription(name.to_owned()) }
}

/// What has to be looked at, in the order of its keys, after `after`.
pub(crate) async fn due(db: &Db, after: Option<&Due>, limit: i64) -> Result<Vec<Due>, DbError> {
    let sql = "SELECT tenant, kind, subject, subscription, period, marks, quiet FROM meter_alert_due \
               WHERE (tenant, kind, subject, subscription, period) > ($1, $2, $3, $4, $5) \
               ORDER BY tenant, kind, subject, subscription, period LIMIT $6";
    let key = match after {
        Some(due) => {
            params![&due.tenant, due.mark.watched.kind(), due.mark.watched.name(), due.mark.subscription.as_str(), due.mark.period, limit]
        }
        None => params!["", "", "", "", i64::MIN, limit],
    };
    let rows = db.query(sql, key).await?;
    let read = |row: &Row| {
        let mark = Mark { watched: watched(row.text(1)?, row.text(2)?), subscription: row.text(3)?.to_owned(), period: row.int(4)? };
        Ok(Due { tenant: row.parse(0)?, mark, marks: row.int(5)?, quiet: row.bool(6)? })
    };
    rows.iter().map(read).collect()
}

/// It was looked at, unless it changed again meanwhile.
pub(crate) async fn looked(db: &Db, due: &Due) -> Result<(), DbError> {
    let (tenant, mark) = (&due.tenant, &due.mark);
    let sql = "DELETE FROM meter_alert_due WHERE tenant = $1 AND kind = $2 AND subject = $3 AND subscription = $4 AND period = $5 \
               AND marks = $6";
    let (kind, name) = (mark.watched.kind(), mark.watched.name());
    db.upkeep(sql, params![tenant, kind, name, mark.subscription.as_str(), mark.period, due.marks]).await.map(drop)
}

/// The alerts that a condition selects, with what each saw last.
macro_rules! alerts {
    ($condition:literal) => {
        concat!(
            "SELECT a.id, a.kind, a.subject, a.revision, a.body, a.created_at, a.updated_at, ",
            "(SELECT s.body FROM meter_alert_state s WHERE s.tenant = a.tenant AND s.alert = a.id ORDER BY s.looked_at DESC, s.scope DESC LIMIT 1), ",
            "(SELECT MAX(s.looked_at) FROM meter_alert_state s WHERE s.tenant = a.tenant AND s.alert = a.id) ",
            "FROM meter_alert a WHERE a.tenant = $1 AND ",
            $condition
        )
    };
}

fn record(row: &Row) -> Result<AlertRecord, DbError> {
    let alert = serde_json::from_str(row.text(4)?).map_err(|e| DbError::Corrupt(format!("an alert: {e}")))?;
    let seen = row.opt_text(7)?.map(read_seen).transpose()?;
    Ok(AlertRecord {
        id: row.parse(0)?,
        watched: watched(row.text(1)?, row.text(2)?),
        value: seen.map(|seen| seen.value),
        looked_at: row.opt_int(8)?.and_then(Timestamp::from_micros),
        revision: row.int(3)?,
        created_at: row.time(5)?,
        updated_at: row.time(6)?,
        alert,
    })
}

fn read_seen(text: &str) -> Result<Seen, DbError> {
    serde_json::from_str(text).map_err(|e| DbError::Corrupt(format!("what an alert saw: {e}")))
}

/// Every alert of a subscription or a wallet, by its code.
pub(crate) async fn of(db: &Db, tenant: &TenantId, watched: &Watched) -> Result<Vec<AlertRecord>, DbError> {
    let sql = alerts!("a.kind = $2 AND a.subject = $3 ORDER BY a.code");
    db.query(sql, params![tenant, watched.kind(), watched.name()]).await?.iter().map(record).collect()
}

/// A page of a tenant's alerts, newest first.
pub(crate) async fn list(db: &Db, tenant: &TenantId, page: Page) -> Result<Listed<AlertRecord>, DbError> {
    let counted = "SELECT COUNT(*) FROM meter_alert WHERE tenant = $1";
    listed(db, alerts!("TRUE ORDER BY a.created_at DESC, a.id DESC LIMIT $2 OFFSET $3"), counted, params![tenant], page, record).await
}

pub(crate) async fn by_id(db: &Db, tenant: &TenantId, id: AlertId) -> Result<Option<AlertRecord>, DbError> {
    db.query_optional(alerts!("a.id = $2"), params![tenant, id]).await?.as_ref().map(record).transpose()
}

/// What the usage of a subscription changes: whether it is watched itself, and the wallets of its customer that are.
pub(crate) async fn on_usage(db: &Db, tenant: &TenantId, external_id: &str, customer: DefinitionId) -> Result<Vec<Watched>, DbError> {
    let sql = "SELECT DISTINCT kind, subject FROM meter_alert WHERE tenant = $1 AND kind = 'subscription' AND subject = $2 \
               UNION SELECT DISTINCT kind, subject FROM meter_alert WHERE tenant = $1 AND customer = $3 AND on_usage = 1";
    let rows = db.query(sql, params![tenant, external_id, customer]).await?;
    rows.iter().map(|row| Ok(watched(row.text(0)?, row.text(1)?))).collect()
}

pub(crate) fn insert(tenant: &TenantId, it: &AlertRecord, customer: Option<DefinitionId>, body: &str) -> Write {
    let on_usage = customer.is_some() && it.alert.alert_type.is_on_usage();
    Write::new(
        "INSERT INTO meter_alert (tenant, id, kind, subject, customer, on_usage, code, revision, body, created_at, updated_at) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$10)",
        params![
            tenant,
            it.id,
            it.watched.kind(),
            it.watched.name(),
            customer.map(|id| id.to_string()).unwrap_or_default(),
            i64::from(on_usage),
            it.alert.code.as_str(),
            it.revision,
            body,
            it.created_at
        ],
    )
    .unique(EXISTS, format!("there is an alert `{}` already", it.alert.code))
}

pub(crate) fn replace(tenant: &TenantId, it: &AlertRecord, body: &str) -> Write {
    Write::new(
        "UPDATE meter_alert SET code = $1, revision = $2, body = $3, updated_at = $4 WHERE tenant = $5 AND id = $6 AND revision = $7",
        params![it.alert.code.as_str(), it.revision, body, it.updated_at, tenant, it.id, it.revision.saturating_sub(1)],
    )
    .exactly(1, CHANGED, format!("the alert `{}` was changed meanwhile", it.alert.code))
    .unique(EXISTS, format!("there is an alert `{}` already", it.alert.code))
}

/// Removes an alert with what it saw.
pub(crate) fn remove(tenant: &TenantId, it: &AlertRecord) -> [Write; 2] {
    [
        Write::new("DELETE FROM meter_alert WHERE tenant = $1 AND id = $2 AND revision = $3", params![tenant, it.id, it.revision]).exactly(
            1,
            CHANGED,
            format!("the alert `{}` was changed meanwhile", it.alert.code),
        ),
        Write::new("DELETE FROM meter_alert_state WHERE tenant = $1 AND alert = $2", params![tenant, it.id]),
    ]
}

/// What an alert saw in a scope, with its revision; nothing at revision 0.
pub(crate) async fn seen(db: &Db, tenant: &TenantId, id: AlertId, scope: &str) -> Result<(i64, Option<Seen>), DbError> {
    let sql = "SELECT revision, body FROM meter_alert_state WHERE tenant = $1 AND alert = $2 AND scope = $3";
    match db.query_optional(sql, params![tenant, id, scope]).await? {
        Some(row) => Ok((row.int(0)?, Some(read_seen(row.text(1)?)?))),
        None => Ok((0, None)),
    }
}

fn write_seen(seen: &Seen) -> Result<String, DbError> {
    serde_json::to_string(seen).map_err(|e| DbError::Corrupt(format!("what an alert saw: {e}")))
}

/// Puts what an alert saw in place of what was seen at revision `before`, if that is still the one and the alert is still as it was read.
pub(crate) fn see(
    tenant: &TenantId,
    alert: &AlertRecord,
    scope: &str,
    before: i64,
    seen: &Seen,
    now: Timestamp,
) -> Result<[Write; 2], DbError> {
    let body = write_seen(seen)?;
    let changed = "the alert was looked at meanwhile";
    let row = match before {
        0 => Write::new(
            "INSERT INTO meter_alert_state (tenant, alert, scope, revision, body, looked_at) VALUES ($1,$2,$3,1,$4,$5)",
            params![tenant, alert.id, scope, body, now],
        )
        .unique(CHANGED, changed),
        _ => Write::new(
            "UPDATE meter_alert_state SET revision = revision + 1, body = $1, looked_at = $2 \
             WHERE tenant = $3 AND alert = $4 AND scope = $5 AND revision = $6",
            params![body, now, tenant, alert.id, scope, before],
        )
        .exactly(1, CHANGED, changed),
    };
    let same = Write::new(
        "UPDATE meter_alert SET revision = revision WHERE tenant = $1 AND id = $2 AND revision = $3",
        params![tenant, alert.id, alert.revision],
    )
    .exactly(1, CHANGED, "the alert was changed meanwhile");
    Ok([same, row])
}

/// As [`see`], where nobody is told: bookkeeping. Whether it was still as it was read.
pub(crate) async fn see_quietly(
    db: &Db,
    tenant: &TenantId,
    alert: &AlertRecord,
    scope: &str,
    before: i64,
    seen: &Seen,
    now: Timestamp,
) -> Result<bool, DbError> {
    let body = write_seen(seen)?;
    let rows = match before {
        0 => {
            let sql = "INSERT INTO meter_alert_state (tenant, alert, scope, revision, body, looked_at) \
                       SELECT tenant, id, $3, 1, $4, $5 FROM meter_alert WHERE tenant = $1 AND id = $2 AND revision = $6 \
                       ON CONFLICT (tenant, alert, scope) DO NOTHING RETURNING revision";
            db.upkeep(sql, params![tenant, alert.id, scope, body, now, alert.revision]).await?
        }
        _ => {
            let sql = "UPDATE meter_alert_state SET revision = revision + 1, body = $1, looked_at = $2 \
                       WHERE tenant = $3 AND alert = $4 AND scope = $5 AND revision = $6 RETURNING revision";
            db.upkeep(sql, params![body, now, tenant, alert.id, scope, before]).await?
        }
    };
    Ok(!rows.is_empty())
}
