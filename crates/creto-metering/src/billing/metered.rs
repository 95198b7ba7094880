//! What billing bills, read from the meter's own aggregates.

use std::sync::Arc;

use creto_db::{Db, DbError, Row, params};
use creto_kernel::{Digest, Micros, TenantId, Timestamp};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::usage::{ChargeUsage, UsageSource};
use crate::catalog::SubscriptionView;
use crate::core::charging::Tally;
use crate::error::MeteringError;
use crate::model::billable_metric::BillableMetric;
use crate::model::invoice::EventRange;
use crate::service::Meter;
use crate::service::drafting::{Dims, charge_period, plan_terms};
use crate::service::tallies::Used;
use crate::store::events::utc_day;

/// Most roots a line shows; its digest is over all of them.
const ROOTS_MAX: usize = 16;

impl UsageSource for Meter {
    fn used<'a>(
        &'a self,
        tenant: &'a TenantId,
        view: &'a SubscriptionView,
        from: Timestamp,
        to: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<ChargeUsage>, MeteringError>> {
        async move {
            let mut all = self.tallies(tenant, view, charge_period(view, from)).await?;
            // What is shown apart is priced together elsewhere.
            all.retain(|used| used.dims.shown.is_empty());
            let mut lines = Vec::new();
            for charge in &view.plan.charges {
                let Some(metric) = view.metrics.get(&charge.billable_metric_code) else { continue };
                let proof = proof(self.db(), tenant, view, metric, (from, to)).await?;
                let line = |used: &Used| {
                    Ok::<_, MeteringError>(ChargeUsage {
                        charge: charge.code.clone(),
                        filter: used.dims.filter,
                        group: used.dims.group.clone(),
                        units: used.units()?,
                        events: used.tally.state.events,
                        amount: used.billed()?.amount,
                        proof: proof.clone(),
                    })
                };
                let before = lines.len();
                for used in all.iter().filter(|used| used.charge == charge.code) {
                    lines.push(line(used)?);
                }
                // A charge nobody used is one line of nothing, which a flat price still has.
                if lines.len() == before {
                    let terms = Arc::new(plan_terms(view, metric, charge, None, charge_period(view, from)));
                    let tally = Tally::empty(metric.aggregation_type);
                    let (charge, dims) = (charge.code.clone(), Dims::default());
                    lines.push(line(&Used { charge, dims, terms, tally, carried: None, posted: Micros::ZERO })?);
                }
            }
            Ok(lines)
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
