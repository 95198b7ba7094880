//! Usage of the billing period that is under way, rated as it stands.

use creto_kernel::{Micros, TenantId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::Meter;
use super::drafting::charge_period;
use crate::catalog::SubscriptionView;
use crate::core::exact::Exact;
use crate::core::fee;
use crate::core::matching::Group;
use crate::core::period::Period;
use crate::error::MeteringError;
use crate::model::plan::Plan;
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

impl CurrentUsage {
    /// Units of a metric; of its first charge, where several price it.
    pub(crate) fn units_of(&self, plan: &Plan, code: &str) -> Exact {
        let Some(charge) = plan.charges.iter().find(|charge| charge.billable_metric_code == code) else { return Exact::ZERO };
        self.charges.iter().filter(|line| line.charge == charge.code && line.shown.is_empty()).map(|line| &line.units).sum()
    }

    /// What a metric costs, in minor units.
    pub(crate) fn amount_of(&self, code: &str) -> Exact {
        self.charges.iter().filter(|line| line.code == code).filter_map(|line| line.amount_cents.as_ref()).sum()
    }
}

impl Meter {
    /// Usage of a subscription of the catalog in the period that `at` is in.
    pub async fn current_usage(&self, tenant: &TenantId, external_id: &str, at: Timestamp) -> Result<CurrentUsage, MeteringError> {
        self.current_usage_at(tenant, external_id, Some(at)).await
    }

    /// The same of the period that the tenant's time is in, where no moment is named.
    pub async fn current_usage_at(
        &self,
        tenant: &TenantId,
        external_id: &str,
        at: Option<Timestamp>,
    ) -> Result<CurrentUsage, MeteringError> {
        let reader = self.accounts.reader(tenant).await?;
        let at = at.unwrap_or_else(|| reader.time(self.clock.now()));
        let view = reader.subscription(external_id, at).await?;
        let view = view.ok_or_else(|| MeteringError::UnknownSubscription(external_id.to_owned()))?;
        self.usage_of_period(tenant, &view, charge_period(&view, at)).await
    }

    /// Usage of a subscription in one of its periods.
    pub(crate) async fn usage_of_period(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        period: Period,
    ) -> Result<CurrentUsage, MeteringError> {
        let used = self.tallies(tenant, view, period).await?;
        let mut usage = CurrentUsage {
            external_subscription_id: view.subscription.external_id.clone(),
            from: period.from(&view.zone),
            to: period.to_exclusive(&view.zone),
            currency: view.currency.as_str().to_owned(),
            amount_cents: Exact::ZERO,
            posted: Micros::ZERO,
            charges: Vec::with_capacity(used.len()),
        };
        let subunits = view.currency.subunits();
        for used in used {
            let amount = if used.dims.shown.is_empty() { Some(used.billed()?.amount) } else { None };
            let amount_cents = amount.as_ref().map(|amount| fee::of_amount(amount, &subunits));
            usage.amount_cents += amount_cents.as_ref().unwrap_or(&Exact::ZERO);
            usage.posted = usage.posted.checked_add(used.posted).unwrap_or(Micros::MAX);
            usage.charges.push(UsageLine {
                units: used.units()?,
                charge: used.charge,
                code: used.terms.metric.code.clone(),
                filter: used.dims.filter,
                group: used.dims.group,
                shown: used.dims.shown,
                events: used.tally.state.events,
                amount,
                amount_cents,
            });
        }
        Ok(usage)
    }

    /// Units of a metric in all periods of a subscription; the level in the newest, of a metric that is carried over.
    pub(crate) async fn lifetime_units(&self, tenant: &TenantId, view: &SubscriptionView, code: &str) -> Result<Exact, MeteringError> {
        let periods = aggregates::periods(&self.db, tenant, &view.subscription.id.to_string()).await?;
        let recurs = view.metrics.get(code).is_some_and(|metric| metric.recurring);
        let mut units = Exact::ZERO;
        for from in periods.into_iter().rev().take(if recurs { 1 } else { usize::MAX }).filter_map(Timestamp::from_micros) {
            units += &self.usage_of_period(tenant, view, charge_period(view, from)).await?.units_of(&view.plan, code);
        }
        Ok(units)
    }
}
