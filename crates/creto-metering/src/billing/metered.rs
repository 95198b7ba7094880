//! What billing bills, read from the meter's own aggregates: no event is read, however many there were.

use std::collections::BTreeMap;

use creto_db::{Db, DbError, Row, params};
use creto_kernel::{Digest, TenantId, Timestamp};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::usage::{ChargeUsage, UsageSource};
use crate::catalog::SubscriptionView;
use crate::core::charging::{ChargingError, Tally};
use crate::core::period::Period;
use crate::error::MeteringError;
use crate::model::billable_metric::{Aggregation, BillableMetric};
use crate::model::charge::Charge;
use crate::model::invoice::EventRange;
use crate::service::Meter;
use crate::service::drafting::{Dims, charge_period, plan_terms};
use crate::store::events::utc_day;

/// Most roots a line shows; its digest is over all of them.
const ROOTS_MAX: usize = 16;

/// Tallies of one charge by filter and groups.
type Tallies = BTreeMap<(String, String), Tally>;

impl UsageSource for Meter {
    fn used<'a>(
        &'a self,
        tenant: &'a TenantId,
        view: &'a SubscriptionView,
        from: Timestamp,
        to: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<ChargeUsage>, MeteringError>> {
        async move {
            let period = charge_period(view, from);
            let running = running(self.db(), tenant, view, period).await?;
            let carried = carried(self.db(), tenant, view, period).await?;
            let mut used = Vec::new();
            for charge in &view.plan.charges {
                let Some(metric) = view.metrics.get(&charge.billable_metric_code) else { continue };
                let proof = proof(self.db(), tenant, view, metric, (from, to)).await?;
                for (key, tally, before) in slots(charge, metric, &running, &carried) {
                    let dims = Dims::parse(&key)?;
                    // What is shown apart is priced together elsewhere.
                    if dims.shown.is_empty() {
                        let terms = plan_terms(view, metric, charge, dims.filter, period);
                        let units = terms.units(&tally, before.as_ref()).map_err(|e| unpriced(&e))?;
                        let amount = terms.amount(&tally, before.as_ref()).map_err(|e| unpriced(&e))?;
                        let group = dims.group;
                        let (filter, events) = (dims.filter, tally.state.events);
                        used.push(ChargeUsage { charge: charge.code.clone(), filter, group, units, events, amount, proof: proof.clone() });
                    }
                }
            }
            Ok(used)
        }
        .boxed()
    }

    fn is_late<'a>(
        &'a self,
        tenant: &'a TenantId,
        view: &'a SubscriptionView,
        from: Timestamp,
        to: Timestamp,
        seen_to: Timestamp,
    ) -> BoxFuture<'a, Result<bool, MeteringError>> {
        async move {
            let sql = "SELECT 1 FROM meter_span s JOIN meter_batch b ON b.tenant = s.tenant AND b.first = (SELECT MAX(x.first) \
                       FROM meter_batch x WHERE x.tenant = s.tenant AND x.first <= s.first) WHERE s.tenant = $1 AND s.subscription = $2 \
                       AND s.day >= $3 AND s.day <= $4 AND b.received_at >= $5 LIMIT 1";
            let params = params![tenant, view.subscription.external_id.as_str(), utc_day(from), utc_day(to), seen_to];
            Ok(self.db().query_optional(sql, params).await?.is_some())
        }
        .boxed()
    }
}

fn unpriced(error: &ChargingError) -> MeteringError {
    MeteringError::Unpriced(error.to_string())
}

/// What is billed of a charge: every aggregate of its period, and every level that was carried into it. A charge nobody used is one line
/// of nothing, which a flat price still has.
fn slots(charge: &Charge, metric: &BillableMetric, running: &Tallies, carried: &Tallies) -> Vec<(String, Tally, Option<Tally>)> {
    let of = |tallies: &Tallies| -> BTreeMap<String, Tally> {
        tallies.iter().filter(|((code, _), _)| *code == charge.code).map(|((_, dims), tally)| (dims.clone(), tally.clone())).collect()
    };
    let (mut now, before) = (of(running), of(carried));
    for dims in before.keys() {
        now.entry(dims.clone()).or_insert_with(|| Tally {
            // How many values are active is counted from the beginning, so it stands in what was carried.
            active: before.get(dims).map_or(0, |tally| tally.active),
            ..Tally::empty(metric.aggregation_type)
        });
    }
    if now.is_empty() {
        now.insert(String::new(), Tally::empty(metric.aggregation_type));
    }
    now.into_iter().map(|(dims, tally)| (dims.clone(), tally, before.get(&dims).cloned())).collect()
}

fn tally(row: &Row, column: usize) -> Result<Tally, DbError> {
    serde_json::from_str(row.text(column)?).map_err(|e| DbError::UnexpectedRow(format!("an aggregate: {e}")))
}

async fn running(db: &Db, tenant: &TenantId, view: &SubscriptionView, period: Period) -> Result<Tallies, DbError> {
    let sql = "SELECT charge, dims, tally FROM meter_running WHERE tenant = $1 AND subscription = $2 AND period = $3";
    let rows = db.query(sql, params![tenant, view.subscription.id, period.from(&view.zone)]).await?;
    rows.iter().map(|row| Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), tally(row, 2)?))).collect()
}

/// Levels of recurring metrics at the beginning of a period.
async fn carried(db: &Db, tenant: &TenantId, view: &SubscriptionView, period: Period) -> Result<Tallies, MeteringError> {
    let mut carried = Tallies::new();
    for charge in &view.plan.charges {
        let Some(metric) = view.metrics.get(&charge.billable_metric_code).filter(|metric| metric.recurring) else { continue };
        let sql = "SELECT dims, tally FROM meter_day WHERE tenant = $1 AND subscription = $2 AND charge = $3 AND day < $4 ORDER BY day";
        let params = params![tenant, view.subscription.id, charge.code.as_str(), period.first_day.to_string()];
        for row in db.query(sql, params).await? {
            let more = tally(&row, 1)?;
            let kept = carried.entry((charge.code.clone(), row.text(0)?.to_owned()));
            let kept = kept.or_insert_with(|| Tally::empty(metric.aggregation_type));
            kept.state.merge(&more.state).map_err(|e| DbError::Corrupt(format!("an aggregate of days: {e}")))?;
        }
        if metric.aggregation_type == Aggregation::UniqueCount {
            let sql = "SELECT dims, CAST(COUNT(*) AS BIGINT) FROM meter_member WHERE tenant = $1 AND subscription = $2 AND charge = $3 \
                       AND scope = 'e' AND active = 1 GROUP BY dims";
            for row in db.query(sql, params![tenant, view.subscription.id, charge.code.as_str()]).await? {
                let kept = carried.entry((charge.code.clone(), row.text(0)?.to_owned()));
                kept.or_insert_with(|| Tally::empty(metric.aggregation_type)).active = row.int(1)?;
            }
        }
    }
    Ok(carried)
}

/// The batches that hold events of a metric in a period, and the leaves that sealed the first and the last of them.
async fn proof(
    db: &Db,
    tenant: &TenantId,
    view: &SubscriptionView,
    metric: &BillableMetric,
    (from, to): (Timestamp, Timestamp),
) -> Result<EventRange, DbError> {
    let sql = "SELECT DISTINCT b.first, b.admission, b.root FROM meter_span s JOIN meter_batch b ON b.tenant = s.tenant AND b.first = \
               (SELECT MAX(x.first) FROM meter_batch x WHERE x.tenant = s.tenant AND x.first <= s.first) WHERE s.tenant = $1 \
               AND s.subscription = $2 AND s.code = $3 AND s.day >= $4 AND s.day <= $5 ORDER BY b.first";
    let params = params![tenant, view.subscription.external_id.as_str(), metric.code.as_str(), utc_day(from), utc_day(to)];
    let rows = db.query(sql, params).await?;
    let roots = rows.iter().map(|row| row.parse::<Digest>(2)).collect::<Result<Vec<_>, _>>()?;
    let admission = |row: Option<&Row>| row.map(|row| row.text(1).map(str::to_owned)).transpose();
    let bytes: Vec<&[u8]> = roots.iter().map(|root| root.as_bytes().as_slice()).collect();
    Ok(EventRange {
        batches: u64::try_from(rows.len()).unwrap_or(u64::MAX),
        first_admission: admission(rows.first())?,
        last_admission: admission(rows.last())?,
        digest: (!roots.is_empty()).then(|| Digest::of_parts(&bytes)),
        roots: roots.iter().take(ROOTS_MAX).copied().collect(),
    })
}
