//! A bill: what a subscription's period comes to, line by line. Previews, what-ifs, current usage, drafts and final invoices are all made
//! by it: they differ in where usage comes from, and in nothing else.
//!
//! Lines are made by [`lines`], from the plan's terms and what was used; what is taken off them, their taxes and the sums by
//! [`build`](super::invoicing::build); what pays them by [`prepaid`].

use std::collections::{BTreeMap, HashMap};

use creto_kernel::Timestamp;

use crate::core::credits::{self, Bucket, Purse};
use crate::core::exact::Exact;
use crate::core::fee;
use crate::core::period::Period;
use crate::core::zone::{Day, Zone};
use crate::model::billable_metric::BillableMetric;
use crate::model::charge::Charge;
use crate::model::currency::Currency;
use crate::model::invoice::{AppliedTax, EventRange, Fee, FeeId, FeeKind};
use crate::model::plan::Plan;
use crate::model::subscription::SubscriptionId;
use crate::model::tax::Tax;

/// The taxes there are, by code.
pub type Taxes = HashMap<String, Tax>;

/// What one charge used in one period, in one filter and group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeUsage {
    /// The charge's code.
    pub charge: String,
    /// Its filter, by its place; none where no filter matched.
    pub filter: Option<usize>,
    /// What it is grouped by; events without the property are a group too.
    pub group: BTreeMap<String, Option<String>>,
    /// Units, as they are billed.
    pub units: Exact,
    /// Events.
    pub events: u64,
    /// What they cost, in units of the currency, not rounded.
    pub amount: Exact,
    /// What stands behind it.
    pub proof: EventRange,
}

/// Whose subscription lines are of.
#[derive(Clone, Debug)]
pub struct Holder<'a> {
    /// It.
    pub id: SubscriptionId,
    /// The seller's identifier of it.
    pub external_id: &'a str,
    /// A name that invoices show instead of the plan's.
    pub name: &'a str,
    /// The plan's version.
    pub plan_version: u32,
}

/// What a bill is made under.
#[derive(Clone)]
pub struct Terms<'a> {
    /// The plan's version, with what differs from it for this subscription.
    pub plan: &'a Plan,
    /// The metrics of its charges, by code.
    pub metrics: &'a BTreeMap<String, BillableMetric>,
    /// Whose subscription; none where nobody's.
    pub holder: Option<Holder<'a>>,
    /// The first day after a trial.
    pub trial_end: Day,
    /// Whose days they are.
    pub zone: &'a Zone,
    /// The taxes there are.
    pub taxes: &'a Taxes,
    /// Those of fees whose charge and plan name none; where there are none either, those applied to everything.
    pub customer_tax_codes: &'a [String],
    /// Gives each line its identifier.
    pub ids: &'a (dyn Fn() -> FeeId + Sync),
}

/// Days of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The whole period.
    pub period: Period,
    /// The days of it that are billed; none of them where absent.
    pub billed: Option<Period>,
}

/// What was billed at its events, in minor units, of charges that are paid in advance: by charge, filter and group.
pub type Advanced = BTreeMap<(String, Option<usize>, BTreeMap<String, Option<String>>), i64>;

/// What is billed of a subscription at once.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// The period whose plan fee is billed now, if any is.
    pub plan_fee: Option<Part>,
    /// The period whose usage is billed.
    pub usage: Part,
    /// Where usage begins to count, and where it ends, that moment not included.
    pub window: (Timestamp, Timestamp),
    /// The period whose commitment is due now, if any is.
    pub commitment: Option<Part>,
    /// What was billed before of that period, in minor units.
    pub billed_before_cents: i64,
    /// What was billed of the usage at its events.
    pub advanced: &'a Advanced,
}

/// A line whose amount does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the amount of `{0}` does not fit")]
pub struct TooLarge(pub String);

/// Every line of a period: the plan's fee, usage charge by charge with what its minimum leaves to be paid, and what the commitment does.
pub fn lines(terms: &Terms<'_>, span: &Span<'_>, used: &[ChargeUsage]) -> Result<Vec<Fee>, TooLarge> {
    let mut fees = plan_fee(terms, span)?;
    for charge in &terms.plan.charges {
        let mut lines =
            if charge.pay_in_advance { terms.remainders(charge, used, span)? } else { terms.usage_of(charge, used, span.window)? };
        let minimum = terms.minimum(charge, &lines, span)?;
        fees.append(&mut lines);
        fees.extend(minimum);
    }
    let commitment = span.commitment.map(|part| terms.commitment(part, &fees, span)).transpose()?.flatten();
    fees.extend(commitment);
    Ok(fees)
}

/// The plan's fee alone.
pub fn plan_fee(terms: &Terms<'_>, span: &Span<'_>) -> Result<Vec<Fee>, TooLarge> {
    Ok(span.plan_fee.map(|part| terms.plan_fee(part)).transpose()?.flatten().into_iter().collect())
}

/// Usage alone, as it stands: of every charge, without what minimums leave to be paid.
pub fn usage_lines(terms: &Terms<'_>, used: &[ChargeUsage], window: (Timestamp, Timestamp)) -> Result<Vec<Fee>, TooLarge> {
    let mut fees = Vec::new();
    for charge in &terms.plan.charges {
        fees.append(&mut terms.usage_of(charge, used, window)?);
    }
    Ok(fees)
}

impl Terms<'_> {
    const fn currency(&self) -> Currency {
        self.plan.amount_currency
    }

    /// The plan's fee of the billed days, less those of a trial.
    fn plan_fee(&self, part: Part) -> Result<Option<Fee>, TooLarge> {
        let plan = self.plan;
        let Some(billed) = part.billed else { return Ok(None) };
        let first = if plan.trial_period > 0 { billed.first_day.max(self.trial_end) } else { billed.first_day };
        let days = first.days_through(billed.last_day);
        if plan.amount_cents == 0 || days == 0 {
            return Ok(None);
        }
        let whole = Exact::from(plan.amount_cents);
        let named = self.holder.as_ref().map(|holder| holder.name).filter(|name| !name.is_empty());
        let name = named.or(plan.invoice_display_name.as_deref()).unwrap_or(&plan.name);
        let mut fee = self.fee(FeeKind::Subscription, &plan.code, name.to_owned(), &fee::plan_fee(&whole, days, part.period.days()))?;
        fee.precise_amount = fee::part(&whole, days, part.period.days()).over(&self.currency().subunits()).unwrap_or_default();
        (fee.from, fee.to) = (Some(self.zone.start(first)), Some(self.zone.end(billed.last_day)));
        fee.description = format!("{days} of {} days", part.period.days());
        self.tax(&mut fee, &[]);
        Ok(Some(fee))
    }

    /// Usage of one charge as lines that come to no more than its most: the last ones are lowered first.
    fn usage_of(&self, charge: &Charge, used: &[ChargeUsage], window: (Timestamp, Timestamp)) -> Result<Vec<Fee>, TooLarge> {
        let of_charge = used.iter().filter(|usage| usage.charge == charge.code);
        let mut lines = of_charge.map(|usage| self.charge_fee(charge, usage, window)).collect::<Result<Vec<_>, _>>()?;
        if let Some(max) = charge.max_amount_cents {
            let mut over = lines.iter().map(|fee| fee.amount_cents).sum::<i64>().saturating_sub(max);
            for line in lines.iter_mut().rev() {
                let less = over.min(line.amount_cents).max(0);
                if less > 0 {
                    line.amount_cents -= less;
                    line.precise_amount = cents_as_units(line.amount_cents, self.currency());
                    over -= less;
                }
            }
        }
        Ok(lines)
    }

    /// What is left of a charge that is billed at its events: a level that was carried into the period, or a dearer price since. Nothing is
    /// given back here.
    fn remainders(&self, charge: &Charge, used: &[ChargeUsage], span: &Span<'_>) -> Result<Vec<Fee>, TooLarge> {
        let mut lines = Vec::new();
        for usage in used.iter().filter(|usage| usage.charge == charge.code) {
            let mut fee = self.charge_fee(charge, usage, span.window)?;
            let is_carried = self.metrics.get(&charge.billable_metric_code).is_some_and(|metric| metric.recurring);
            let of_events = span.advanced.get(&(usage.charge.clone(), usage.filter, usage.group.clone()));
            let left = fee.amount_cents.saturating_sub(of_events.copied().unwrap_or(0));
            if left > 0 && (usage.events > 0 || is_carried) {
                fee.amount_cents = left;
                fee.precise_amount = cents_as_units(left, self.currency());
                lines.push(fee);
            }
        }
        Ok(lines)
    }

    /// Usage of one charge, filter and group.
    pub fn charge_fee(&self, charge: &Charge, usage: &ChargeUsage, (from, to): (Timestamp, Timestamp)) -> Result<Fee, TooLarge> {
        let filter = usage.filter.and_then(|at| charge.filters.get(at)).and_then(|filter| filter.invoice_display_name.clone());
        let name = filter.map_or_else(|| self.charge_name(charge), |filter| format!("{} ({filter})", self.charge_name(charge)));
        let cents = fee::of_amount(&usage.amount, &self.currency().subunits());
        let mut fee = self.fee(FeeKind::Charge, &charge.code, name, &cents)?;
        fee.billable_metric_code = Some(charge.billable_metric_code.clone());
        fee.precise_amount = usage.amount.clone();
        (fee.filter, fee.group) = (usage.filter, usage.group.clone());
        (fee.units, fee.events) = (usage.units.clone(), usage.events);
        (fee.from, fee.to) = (Some(from), Some(to));
        fee.proof = Some(usage.proof.clone()).filter(|proof| *proof != EventRange::default());
        self.tax(&mut fee, &charge.tax_codes);
        Ok(fee)
    }

    fn charge_name(&self, charge: &Charge) -> String {
        let metric = self.metrics.get(&charge.billable_metric_code).map(|metric| metric.name.clone());
        charge.invoice_display_name.clone().or(metric).unwrap_or_else(|| charge.code.clone())
    }

    /// What a charge's minimum leaves to be paid.
    fn minimum(&self, charge: &Charge, lines: &[Fee], span: &Span<'_>) -> Result<Option<Fee>, TooLarge> {
        let used: i64 = lines.iter().map(|fee| fee.amount_cents).sum();
        let days = span.usage.billed.map_or(0, Period::days);
        let missing = fee::true_up(&Exact::from(charge.min_amount_cents), days, span.usage.period.days(), &Exact::from(used));
        if !missing.is_positive() {
            return Ok(None);
        }
        let name = format!("{} (minimum)", self.charge_name(charge));
        let mut fee = self.fee(FeeKind::Commitment, &charge.code, name, &missing)?;
        fee.billable_metric_code = Some(charge.billable_metric_code.clone());
        (fee.from, fee.to) = (Some(span.window.0), Some(span.window.1));
        self.tax(&mut fee, &charge.tax_codes);
        Ok(Some(fee))
    }

    /// What the plan's commitment leaves to be paid after everything else of its period.
    fn commitment(&self, part: Part, fees: &[Fee], span: &Span<'_>) -> Result<Option<Fee>, TooLarge> {
        let (Some(commitment), Some(billed)) = (&self.plan.minimum_commitment, part.billed) else { return Ok(None) };
        // The fee of the next period, paid in advance, is not of this one.
        let of_this = fees.iter().filter(|fee| fee.from.is_none_or(|from| from < span.window.1));
        let sum = span.billed_before_cents.saturating_add(of_this.map(|fee| fee.amount_cents).sum());
        let missing = fee::true_up(&Exact::from(commitment.amount_cents), billed.days(), part.period.days(), &Exact::from(sum));
        if !missing.is_positive() {
            return Ok(None);
        }
        let name = commitment.invoice_display_name.clone().unwrap_or_else(|| "Minimum commitment".to_owned());
        let mut fee = self.fee(FeeKind::Commitment, &self.plan.code, name, &missing)?;
        (fee.from, fee.to) = (Some(self.zone.start(billed.first_day)), Some(self.zone.end(billed.last_day)));
        self.tax(&mut fee, &commitment.tax_codes);
        Ok(Some(fee))
    }

    fn fee(&self, kind: FeeKind, code: &str, name: String, cents: &Exact) -> Result<Fee, TooLarge> {
        let cents = cents.to_i64().ok_or_else(|| TooLarge(code.to_owned()))?;
        Ok(Fee {
            subscription: self.holder.as_ref().map(|holder| holder.id),
            external_subscription_id: self.holder.as_ref().map(|holder| holder.external_id.to_owned()),
            plan_code: Some(self.plan.code.clone()),
            plan_version: self.holder.as_ref().map(|holder| holder.plan_version),
            ..new_fee((self.ids)(), kind, code, name, cents, self.currency())
        })
    }

    fn tax(&self, fee: &mut Fee, own: &[String]) {
        let codes = [own, self.plan.tax_codes.as_slice(), self.customer_tax_codes];
        set_taxes(fee, codes.into_iter().find(|codes| !codes.is_empty()), self.taxes);
    }
}

/// A line of so many minor units, of nobody's subscription and without taxes yet.
#[must_use]
pub fn new_fee(id: FeeId, kind: FeeKind, code: &str, name: String, cents: i64, currency: Currency) -> Fee {
    Fee {
        id,
        kind,
        code: code.to_owned(),
        name,
        subscription: None,
        external_subscription_id: None,
        plan_code: None,
        plan_version: None,
        billable_metric_code: None,
        filter: None,
        group: BTreeMap::new(),
        units: Exact::ONE,
        events: 0,
        precise_amount: cents_as_units(cents, currency),
        amount_cents: cents,
        taken_off_cents: Exact::ZERO,
        taxes_amount_cents: 0,
        taxes_rate: Exact::ZERO,
        taxes: Vec::new(),
        from: None,
        to: None,
        proof: None,
        advance: None,
        description: String::new(),
    }
}

/// Minor units as units of the currency.
#[must_use]
pub fn cents_as_units(cents: i64, currency: Currency) -> Exact {
    Exact::from(cents).over(&currency.subunits()).unwrap_or_default()
}

/// The taxes of these codes; without codes, those applied to everything.
pub fn set_taxes(fee: &mut Fee, codes: Option<&[String]>, taxes: &Taxes) {
    let mut applied: Vec<&Tax> = match codes {
        Some(codes) => codes.iter().filter_map(|code| taxes.get(code)).collect(),
        None => taxes.values().filter(|tax| tax.applied_to_organization).collect(),
    };
    applied.sort_by(|a, b| a.code.cmp(&b.code));
    fee.taxes_rate = applied.iter().map(|tax| &tax.rate).sum();
    let line =
        |tax: &&Tax| AppliedTax { code: tax.code.clone(), name: tax.name.clone(), rate: tax.rate.clone(), base_cents: 0, amount_cents: 0 };
    fee.taxes = applied.iter().map(line).collect();
}

/// What each wallet pays of what is owed, in whole minor units.
#[must_use]
pub fn prepaid(owed_cents: i64, wallets: &[Purse], fees: &[Fee]) -> Vec<i64> {
    let paid = credits::allocate(&Exact::from(owed_cents), wallets, &buckets(fees));
    paid.iter().map(|cents| cents.to_i64().unwrap_or(0)).collect()
}

/// What wallets may pay: each line with its tax, less what was taken off it, in whole minor units.
fn buckets(fees: &[Fee]) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::new();
    for fee in fees {
        let cap = (Exact::from(fee.amount_cents) - &fee.taken_off_cents + Exact::from(fee.taxes_amount_cents)).ceil().floor_zero();
        let fee_type = match fee.kind {
            FeeKind::Adjustment => FeeKind::Charge,
            other => other,
        };
        let same = |bucket: &&mut Bucket| bucket.fee_type == fee_type.as_str() && bucket.billable_metric_code == fee.billable_metric_code;
        match buckets.iter_mut().find(same) {
            Some(bucket) => bucket.cap += &cap,
            None => {
                buckets.push(Bucket { fee_type: fee_type.as_str().to_owned(), billable_metric_code: fee.billable_metric_code.clone(), cap })
            }
        }
    }
    buckets
}
