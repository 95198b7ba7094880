//! Usage of the billing period that is under way, rated as it stands: from aggregates alone.

use std::collections::BTreeMap;

use creto_kernel::{Micros, TenantId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::Meter;
use super::drafting::{Dims, charge_period, plan_terms};
use crate::catalog::SubscriptionView;
use crate::core::charging::{ChargingError, Tally, Terms};
use crate::core::exact::Exact;
use crate::core::fee;
use crate::core::matching::Group;
use crate::core::zone::Day;
use crate::error::MeteringError;
use crate::model::billable_metric::Aggregation;
use crate::store::aggregates;

/// Usage of a period so far, and what it costs so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CurrentUsage {
    /// The seller's identifier of the subscription.
    pub external_subscription_id: String,
    /// Where the period begins.
    #[schema(value_type = String)]
    pub from: Timestamp,
    /// Where the next one begins.
    #[schema(value_type = String)]
    pub to: Timestamp,
    /// Of every amount.
    pub currency: String,
    /// All charges together, in minor units.
    #[schema(value_type = String)]
    pub amount_cents: Exact,
    /// What was posted to the ledger for them.
    #[schema(value_type = String)]
    pub posted: Micros,
    /// Each charge, filter and group that was used.
    pub charges: Vec<UsageLine>,
}

/// Usage of one charge, of one filter and group of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageLine {
    /// The charge.
    pub charge: String,
    /// The metric.
    pub code: String,
    /// The filter, by its place in the charge.
    pub filter: Option<usize>,
    /// What is priced apart.
    #[schema(value_type = Object)]
    pub group: Group,
    /// What is shown apart; empty where the row is the priced whole.
    #[schema(value_type = Object)]
    pub shown: Group,
    /// How many events.
    pub events: u64,
    /// How many units, as they are billed.
    #[schema(value_type = String)]
    pub units: Exact,
    /// What they cost, unrounded, in units of the currency; none where the row only shows a part of one that is priced.
    #[schema(value_type = Option<String>)]
    pub amount: Option<Exact>,
    /// The same as a fee, in minor units.
    #[schema(value_type = Option<String>)]
    pub amount_cents: Option<Exact>,
}

impl Meter {
    /// Usage of a subscription of the catalog in the period that `at` is in.
    pub async fn current_usage(&self, tenant: &TenantId, external_id: &str, at: Timestamp) -> Result<CurrentUsage, MeteringError> {
        let reader = self.accounts.reader(tenant).await?;
        let view = reader.subscription(external_id, at).await?;
        let view = view.ok_or_else(|| MeteringError::UnknownSubscription(external_id.to_owned()))?;
        let period = charge_period(&view, at);
        let from = period.from(&view.zone);
        let id = view.subscription.id.to_string();
        let mut rows: BTreeMap<(String, String), (Tally, Micros)> = BTreeMap::new();
        for kept in aggregates::of_period(&self.db, tenant, &id, from.as_micros()).await? {
            rows.insert((kept.charge, kept.dims), (kept.running.tally, kept.running.posted));
        }
        let carried = self.carried(tenant, &view, period.first_day).await?;
        for (key, tally) in &carried {
            rows.entry(key.clone()).or_insert_with(|| (beginning(tally), Micros::ZERO));
        }
        let mut usage = CurrentUsage {
            external_subscription_id: external_id.to_owned(),
            from,
            to: period.to_exclusive(&view.zone),
            currency: view.currency.as_str().to_owned(),
            amount_cents: Exact::ZERO,
            posted: Micros::ZERO,
            charges: Vec::with_capacity(rows.len()),
        };
        let subunits = view.currency.subunits();
        // One for each charge and filter, however many groups it has.
        let mut known: BTreeMap<(String, Option<usize>), Terms> = BTreeMap::new();
        for ((charge, dims), (tally, posted)) in rows {
            let Some(charge) = view.plan.charge(&charge) else { continue };
            let Some(metric) = view.metrics.get(&charge.billable_metric_code) else { continue };
            let kept = Dims::parse(&dims)?;
            let terms =
                known.entry((charge.code.clone(), kept.filter)).or_insert_with(|| plan_terms(&view, metric, charge, kept.filter, period));
            let before = carried.get(&(charge.code.clone(), dims));
            let failed = |e: ChargingError| MeteringError::Unpriced(e.to_string());
            let units = terms.units(&tally, before).map_err(failed)?;
            let amount = if kept.shown.is_empty() { Some(terms.amount(&tally, before).map_err(failed)?) } else { None };
            let amount_cents = amount.as_ref().map(|amount| fee::of_amount(amount, &subunits));
            usage.amount_cents += amount_cents.as_ref().unwrap_or(&Exact::ZERO);
            usage.posted = usage.posted.checked_add(posted).unwrap_or(Micros::MAX);
            usage.charges.push(UsageLine {
                charge: charge.code.clone(),
                code: charge.billable_metric_code.clone(),
                filter: kept.filter,
                group: kept.group,
                shown: kept.shown,
                events: tally.state.events,
                units,
                amount,
                amount_cents,
            });
        }
        Ok(usage)
    }

    /// The levels that recurring metrics bring into a period, by charge and groups.
    async fn carried(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        first_day: Day,
    ) -> Result<BTreeMap<(String, String), Tally>, MeteringError> {
        let mut carried: BTreeMap<(String, String), Tally> = BTreeMap::new();
        let recurs = |code: &str| view.metrics.get(code).is_some_and(|metric| metric.recurring);
        if !view.plan.charges.iter().any(|charge| recurs(&charge.billable_metric_code)) {
            return Ok(carried);
        }
        let id = view.subscription.id.to_string();
        let begin = view.zone.day(view.subscription.begins_at);
        for kept in aggregates::of_days(&self.db, tenant, &id, begin, first_day.plus_days(-1)).await? {
            if !view.plan.charge(&kept.charge).is_some_and(|charge| recurs(&charge.billable_metric_code)) {
                continue;
            }
            match carried.get_mut(&(kept.charge.clone(), kept.dims.clone())) {
                Some(before) => {
                    before.state.merge(&kept.tally.tally.state).map_err(|e| MeteringError::Unpriced(e.to_string()))?;
                    before.active = before.active.saturating_add(kept.tally.tally.active);
                }
                None => {
                    carried.insert((kept.charge, kept.dims), kept.tally.tally);
                }
            }
        }
        Ok(carried)
    }
}

/// What a period begins with, before its first event.
fn beginning(carried: &Tally) -> Tally {
    use crate::core::aggregate::Level;
    let aggregation = match carried.state.level {
        Level::Count => Aggregation::Count,
        Level::Sum(_) => Aggregation::Sum,
        Level::Max(_) => Aggregation::Max,
        Level::Min(_) => Aggregation::Min,
        Level::Latest(_) => Aggregation::Latest,
        Level::Weighted(_) => Aggregation::WeightedSum,
        Level::Unique(_) => Aggregation::UniqueCount,
        Level::Custom(_) => Aggregation::Custom,
    };
    Tally { active: carried.active, ..Tally::empty(aggregation) }
}
