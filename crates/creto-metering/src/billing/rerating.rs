//! Re-rating: what a period that is final would come to under another version of its plan. The difference is shown first, and billed
//! only where somebody confirms exactly that: as adjustment lines of the next invoice.

use creto_db::Sealed;
use creto_kernel::{Digest, NhiId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::drafting::{is_in_advance, terms};
use super::{Billing, ChargeUsage};
use crate::catalog::{SubscriptionView, canonical_text, commit, event_leaf};
use crate::core::bill;
use crate::core::exact::Exact;
use crate::core::matching::Group;
use crate::error::MeteringError;
use crate::model::charge::{Charge, ChargeFilter, Pricing};
use crate::model::definition::DefinitionError;
use crate::model::invoice::{Fee, FeeKind};
use crate::store::recording::PLAN_CHANGED;
use crate::store::{fees, rerates};

/// Which period is to be rated under which version of its plan.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RerateInput {
    /// A moment of the period.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The version of the subscription's plan.
    pub plan_version: u32,
    /// The digest of what was shown; only then it is decided.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub confirm: Option<Digest>,
}

/// What a period comes to under another version of its plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rerate {
    /// Whose.
    pub external_subscription_id: String,
    /// Where the period begins.
    #[schema(value_type = String)]
    pub from: Timestamp,
    /// Where the next one begins.
    #[schema(value_type = String)]
    pub to: Timestamp,
    /// The version of its plan.
    pub plan_version: u32,
    /// The final invoice that billed it.
    pub adjusts: String,
    /// Charge by charge; those that cost the same are left out.
    pub changes: Vec<RerateChange>,
    /// What all of it comes to more, in minor units without tax.
    pub difference_cents: i64,
    /// What is confirmed to decide it.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// Whether it is decided: then the difference is on the next invoice.
    pub decided: bool,
}

/// What one charge comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RerateChange {
    /// The charge.
    pub charge: String,
    /// The filter, by its place in it.
    pub filter: Option<usize>,
    /// What is priced apart.
    #[schema(value_type = Object)]
    pub group: Group,
    /// Units.
    #[schema(value_type = String)]
    pub units: Exact,
    /// What was billed, with adjustments, in minor units.
    pub billed_cents: i64,
    /// What it comes to.
    pub amount_cents: i64,
}

impl Billing {
    /// Shows what a final period comes to under another version of its plan; decides it where `confirm` is the digest of exactly that.
    pub async fn rerate(&self, by: &NhiId, external_id: &str, input: &RerateInput) -> Result<Rerate, MeteringError> {
        let tenant = by.tenant();
        let (view, period) = self.final_period(tenant, external_id, input.at).await?;
        let mut subscription = view.subscription.clone();
        subscription.plan_version = input.plan_version;
        let then = self.catalog.view(tenant, subscription).await?;
        check_alike(&view, &then)?;
        let taxes = self.taxes(tenant).await?;
        let billed = fees::of_usage(&self.db, tenant, view.subscription.id).await?;
        let standing: Vec<&Fee> = billed
            .iter()
            .filter(|(kind, _, fee)| kind == "subscription" && fee.from == Some(period.from))
            .map(|(_, _, fee)| fee)
            .filter(|fee| matches!(fee.kind, FeeKind::Charge | FeeKind::Adjustment))
            .collect();
        let mut changes = Vec::new();
        let used = self.usage.used(tenant, &then, period.from, period.to).await?;
        // What is billed at its events was, and stays.
        let arrears: Vec<ChargeUsage> = used.into_iter().filter(|usage| !is_in_advance(&then, usage)).collect();
        for fee in bill::usage_lines(&terms(&then, &taxes), &arrears, (period.from, period.to))? {
            let same = |other: &&&Fee| (&other.code, other.filter, &other.group) == (&fee.code, fee.filter, &fee.group);
            let billed_cents: i64 = standing.iter().filter(same).map(|other| other.amount_cents).sum();
            if fee.amount_cents != billed_cents {
                changes.push(RerateChange {
                    charge: fee.code,
                    filter: fee.filter,
                    group: fee.group,
                    units: fee.units,
                    billed_cents,
                    amount_cents: fee.amount_cents,
                });
            }
        }
        let difference_cents = changes.iter().map(|change| change.amount_cents - change.billed_cents).sum();
        let text = canonical_text(&(view.subscription.id.to_string(), period.from, input.plan_version, &changes))?;
        let digest = Digest::of_parts(&[b"creto/rerate/v1", text.as_bytes()]);
        let mut shown = Rerate {
            external_subscription_id: external_id.to_owned(),
            from: period.from,
            to: period.to,
            plan_version: input.plan_version,
            adjusts: period.number,
            changes,
            difference_cents,
            digest,
            decided: false,
        };
        let Some(agreed) = input.confirm else { return Ok(shown) };
        if agreed != digest {
            let message = "what the re-rating would change is no longer what was agreed to".to_owned();
            return Err(MeteringError::Conflict { code: PLAN_CHANGED, message });
        }
        if view.subscription.terminated_at.is_some() {
            let why = format!("the subscription `{external_id}` has ended and has no next invoice: use a credit note or a one-off invoice");
            return Err(MeteringError::WrongState(why));
        }
        let now = self.now(tenant).await?;
        let leaf = event_leaf(&*self.clock, by, "metering.rerate_period", &format!("subscription:{}", view.subscription.id))?
            .fact("period_start_micros", period.from.as_micros())
            .fact("plan_version", input.plan_version)
            .fact("difference_cents", difference_cents)
            .digest("agreed", agreed);
        let write = rerates::put(tenant, view.subscription.id, period.from, input.plan_version, now);
        commit(&self.db, Sealed::new(leaf).step(write)).await?;
        shown.decided = true;
        Ok(shown)
    }

    /// The final period that a moment is in, with the subscription it is of by what was agreed then.
    async fn final_period(
        &self,
        tenant: &TenantId,
        external_id: &str,
        at: Timestamp,
    ) -> Result<(SubscriptionView, rerates::FinalPeriod), MeteringError> {
        let reader = self.catalog.reader(tenant).await?;
        let history = reader.history(external_id).await?;
        if history.is_empty() {
            return Err(MeteringError::UnknownSubscription(external_id.to_owned()));
        }
        for view in history.iter() {
            let periods = rerates::final_periods(&self.db, tenant, &view.subscription.id.to_string()).await?;
            if let Some(period) = periods.into_iter().find(|period| period.from <= at && at < period.to) {
                let view = self.catalog.view_of(tenant, view.subscription.id).await?;
                let then = self.catalog.view_before(tenant, &view, period.to).await?;
                return Ok((then.unwrap_or(view), period));
            }
        }
        Err(MeteringError::WrongState(format!("no period of `{external_id}` that {at} is in is final")))
    }
}

/// Two versions that price the same usage: only then what was gathered under the one can be rated under the other.
fn check_alike(now: &SubscriptionView, then: &SubscriptionView) -> Result<(), MeteringError> {
    // A price that reads single events has kept what it reads of them: it stays as it is.
    let reads = |charge: &Charge, pricing: &Pricing| pricing.model.reads_events(charge.prorated).then(|| format!("{:?}", pricing.model));
    let gathers = |charge: &Charge| {
        let filter =
            |filter: &ChargeFilter| (filter.values.clone(), filter.pricing.pricing_group_keys.clone(), reads(charge, &filter.pricing));
        let filters: Vec<_> = charge.filters.iter().map(filter).collect();
        let own = (charge.pricing.pricing_group_keys.clone(), reads(charge, &charge.pricing));
        (charge.billable_metric_code.clone(), charge.prorated, filters, own)
    };
    let all = |view: &SubscriptionView| {
        let charges = view.plan.charges.iter().map(|charge| (charge.code.clone(), gathers(charge)));
        charges.collect::<std::collections::BTreeMap<_, _>>()
    };
    if all(now) == all(then) {
        return Ok(());
    }
    let problem = "gathers usage by other charges, metrics, filters or groups, or by single events: only prices may differ";
    Err(DefinitionError::new("plan_version", problem).into())
}
