//! What a period of a subscription comes to: the plan's fee, usage, minimums, and what came late for periods that are final.

use std::collections::{BTreeMap, HashMap};

use creto_db::Sealed;
use creto_kernel::{NhiId, TenantId, Timestamp};

use super::usage::ChargeUsage;
use super::{Billing, fee_rows, steps, store};
use crate::catalog::{SubscriptionView, canonical_text, commit, event_leaf, fresh_salt};
use crate::core::exact::Exact;
use crate::core::fee;
use crate::core::invoicing;
use crate::core::period::{self, Period};
use crate::core::zone::Day;
use crate::error::MeteringError;
use crate::model::charge::Charge;
use crate::model::currency::Currency;
use crate::model::customer::Customer;
use crate::model::entry::DefinitionId;
use crate::model::invoice::{
    AppliedTax, BilledPeriod, EventRange, Fee, FeeId, FeeKind, Invoice, InvoiceId, InvoiceKind, InvoiceStatus, PaymentStatus, Sums,
};
use crate::model::page::{PER_PAGE_MAX, Page};
use crate::model::plan::Interval;
use crate::model::tax::Tax;

/// One period to bill: the part of a charge period that the subscription covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// The charge period it is in.
    period: Period,
    /// Whether the plan's own period ends with it, or the subscription does.
    closes: bool,
}

/// The taxes a tenant knows, by code.
pub(super) type Taxes = HashMap<String, Tax>;

impl SubscriptionView {
    /// How long charges are gathered: a month where the plan bills charges monthly.
    fn charge_interval(&self) -> Interval {
        let longer = self.plan.interval.months().is_some_and(|months| months > 1);
        if self.plan.bill_charges_monthly && longer { Interval::Monthly } else { self.plan.interval }
    }

    /// The period after `billed_to` that is over by `now`, if there is one.
    pub(super) fn due(&self, billed_to: Timestamp, now: Timestamp) -> Option<Due> {
        let end = self.subscription.terminated_at;
        if end.is_some_and(|end| billed_to >= end) {
            return None;
        }
        let day = self.zone.day(billed_to);
        let period = period::containing(day, self.charge_interval(), self.subscription.billing_time, self.anchor());
        let whole = period.to_exclusive(&self.zone);
        let to = end.map_or(whole, |end| end.min(whole));
        let own_period = period::containing(day, self.plan.interval, self.subscription.billing_time, self.anchor());
        let closes = own_period.to_exclusive(&self.zone) == to || end == Some(to);
        (to <= now).then_some(Due { from: billed_to, to, period, closes })
    }
}

impl Billing {
    /// Makes the drafts of everything of one subscription that is over by `now`; each is one commit.
    pub(super) async fn draft_due(
        &self,
        by: &NhiId,
        view: &SubscriptionView,
        billed_to: Timestamp,
        now: Timestamp,
    ) -> Result<u64, MeteringError> {
        let mut drafted = 0;
        if view.plan.pay_in_advance && view.subscription.started_at == Some(billed_to) {
            drafted += u64::from(self.draft_advance(by, view, now).await?);
        }
        let mut billed_to = billed_to;
        while let Some(due) = view.due(billed_to, now) {
            self.draft_period(by, view, &due, now).await?;
            billed_to = due.to;
            drafted += 1;
        }
        Ok(drafted)
    }

    /// The first fee of a plan that is paid in advance. Whether it was made.
    async fn draft_advance(&self, by: &NhiId, view: &SubscriptionView, now: Timestamp) -> Result<bool, MeteringError> {
        let tenant = by.tenant();
        let Some(start) = view.subscription.started_at.filter(|start| *start <= now) else { return Ok(false) };
        let own = view.period(start);
        let taxes = self.taxes(tenant).await?;
        let fees: Vec<Fee> = plan_fee(view, own, Some(start), None, &taxes).into_iter().collect();
        let invoice =
            self.new_invoice(tenant, &view.customer.body, view.customer.id, view.currency, InvoiceKind::Subscription, now).await?;
        let once = format!("advance:{}", view.subscription.id);
        match self.insert_draft(by, invoice, fees, &once, 0).await {
            Ok(_) => Ok(true),
            Err(MeteringError::Conflict { code, .. }) if code == crate::store::catalog::CHANGED => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn draft_period(&self, by: &NhiId, view: &SubscriptionView, due: &Due, now: Timestamp) -> Result<(), MeteringError> {
        let tenant = by.tenant();
        let mut invoice =
            self.new_invoice(tenant, &view.customer.body, view.customer.id, view.currency, InvoiceKind::Subscription, now).await?;
        let grace = view.customer.body.invoice_grace_period.unwrap_or(0);
        if grace > 0 {
            let day = view.zone.day(due.to).plus_days(i32::try_from(grace).unwrap_or(i32::MAX));
            invoice.final_at = view.zone.start(day).max(now);
        }
        let issued = view.zone.day(due.to);
        dates(&mut invoice, issued);
        invoice.periods = vec![BilledPeriod {
            subscription: view.subscription.id,
            external_subscription_id: view.subscription.external_id.clone(),
            from: due.from,
            to: due.to,
            seen_to: now,
        }];
        let fees = self.period_fees(tenant, view, due, None).await?;
        let billed_before = self.billed_before(tenant, view, due.from, due.to).await?;
        let once = format!("period:{}:{}", view.subscription.id, due.from);
        self.insert_draft(by, invoice, fees, &once, billed_before).await.map(drop)
    }

    /// Every line of a period: what is recomputed when a draft is refreshed or becomes final.
    pub(super) async fn period_fees(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        due: &Due,
        except: Option<InvoiceId>,
    ) -> Result<Vec<Fee>, MeteringError> {
        let taxes = self.taxes(tenant).await?;
        let mut fees = Vec::new();
        if due.closes {
            let own = view.period(due.from);
            if view.plan.pay_in_advance {
                // The period that begins now, while the subscription goes on.
                let next = period::next(own, view.plan.interval, view.subscription.billing_time, view.anchor());
                if view.subscription.terminated_at.is_none_or(|end| end > due.to) {
                    fees.extend(plan_fee(view, next, None, view.subscription.terminated_at, &taxes));
                }
            } else {
                fees.extend(plan_fee(view, own, view.subscription.started_at, view.subscription.terminated_at, &taxes));
            }
        }
        let used = self.usage.used(tenant, view, due.from, due.to).await?;
        let covered = covered(view, due.period, Some(due.from), view.subscription.terminated_at);
        fees.extend(charge_fees(view, &used, due, covered, &taxes));
        if due.closes {
            let before = self.own_period_fees(tenant, view, due, except).await?;
            fees.extend(commitment_fee(view, due, &fees, before, &taxes));
        }
        let late = self.late_fees(tenant, view, due, &fees, &taxes, except).await?;
        fees.extend(late);
        Ok(fees)
    }

    /// What other invoices billed of this plan's own period: its fee where it was paid in advance, and the months before.
    async fn own_period_fees(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        due: &Due,
        except: Option<InvoiceId>,
    ) -> Result<i64, MeteringError> {
        let begin = view.period(due.from).from(&view.zone);
        let fees = store::usage_fees(&self.db, tenant, view.subscription.id).await?;
        let inside = |fee: &Fee| fee.from.is_some_and(|from| from >= begin && from < due.to);
        let others = fees.iter().filter(|(kind, invoice, fee)| kind == "subscription" && Some(*invoice) != except && inside(fee));
        Ok(others.map(|(_, _, fee)| fee.amount_cents).sum())
    }

    /// Usage of a period that still runs, as lines.
    pub(super) async fn running_fees(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Fee>, MeteringError> {
        let taxes = self.taxes(tenant).await?;
        let used = self.usage.used(tenant, view, from, to).await?;
        let line = |usage: &ChargeUsage| view.plan.charge(&usage.charge).map(|charge| charge_fee(view, charge, usage, from, to, &taxes));
        Ok(used.iter().filter_map(line).collect())
    }

    /// What progressive billing has billed of a period.
    pub(super) async fn billed_before(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<i64, MeteringError> {
        let fees = store::usage_fees(&self.db, tenant, view.subscription.id).await?;
        let inside = |fee: &Fee| fee.from == Some(from) && fee.to.is_some_and(|end| end <= to);
        let mut billed: BTreeMap<InvoiceId, i64> = BTreeMap::new();
        for (_, invoice, fee) in fees.iter().filter(|(kind, _, fee)| kind == "progressive_billing" && inside(fee)) {
            *billed.entry(*invoice).or_default() += fee.amount_cents;
        }
        // Each of them bills the whole usage so far, less what those before it billed.
        Ok(billed.into_values().max().unwrap_or(0))
    }

    /// Lines for events of final periods that came in after those were final: what they cost now, less what was billed of it.
    async fn late_fees(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        due: &Due,
        own: &[Fee],
        taxes: &Taxes,
        except: Option<InvoiceId>,
    ) -> Result<Vec<Fee>, MeteringError> {
        let mut late = Vec::new();
        let mut room: i64 = own.iter().map(|fee| fee.amount_cents).sum();
        let billed = store::usage_fees(&self.db, tenant, view.subscription.id).await?;
        for past in store::periods(&self.db, tenant, view.subscription.id).await? {
            if !past.is_final || past.to > due.from {
                continue;
            }
            // A draft that is computed again does not count what it says itself.
            let standing: Vec<&Fee> = billed
                .iter()
                .filter(|(kind, invoice, fee)| kind == "subscription" && Some(*invoice) != except && fee.from == Some(past.from))
                .map(|(_, _, fee)| fee)
                .filter(|fee| matches!(fee.kind, FeeKind::Charge | FeeKind::Adjustment))
                .collect();
            let then = self.as_billed(tenant, view, &standing).await?;
            let view = then.as_ref().unwrap_or(view);
            let used = self.usage.used(tenant, view, past.from, past.to).await?;
            let same = |fee: &Fee, usage: &ChargeUsage| fee.code == usage.charge && fee.filter == usage.filter && fee.group == usage.group;
            let fewer = |usage: &ChargeUsage| standing.iter().rev().find(|fee| same(fee, usage)).map_or(0, |fee| fee.events) > usage.events;
            let is_late = self.usage.is_late(tenant, view, past.from, past.to, past.seen_to).await?;
            if !is_late && !used.iter().any(fewer) {
                continue;
            }
            for usage in &used {
                let Some(charge) = view.plan.charge(&usage.charge) else { continue };
                let fee = charge_fee(view, charge, usage, past.from, past.to, taxes);
                let before: i64 = standing.iter().filter(|other| same(other, usage)).map(|other| other.amount_cents).sum();
                // What was taken back lowers this invoice to nothing at most; what is left of it comes with the next one.
                let difference = (fee.amount_cents - before).max(-room);
                if difference != 0 {
                    room += difference;
                    let precise_amount = cents_as_units(difference, view.currency);
                    late.push(Fee { kind: FeeKind::Adjustment, amount_cents: difference, precise_amount, ..fee });
                }
            }
        }
        Ok(late)
    }

    /// The subscription as it was when these lines were billed, where its plan's version is another one now.
    async fn as_billed(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        fees: &[&Fee],
    ) -> Result<Option<SubscriptionView>, MeteringError> {
        let Some(version) = fees.iter().find_map(|fee| fee.plan_version).filter(|version| *version != view.subscription.plan_version)
        else {
            return Ok(None);
        };
        let mut then = view.subscription.clone();
        then.plan_version = version;
        self.catalog.view(tenant, then).await.map(Some)
    }

    /// A draft with nothing on it yet.
    pub(super) async fn new_invoice(
        &self,
        tenant: &TenantId,
        customer: &Customer,
        id: DefinitionId,
        currency: Currency,
        kind: InvoiceKind,
        now: Timestamp,
    ) -> Result<Invoice, MeteringError> {
        let zone = crate::catalog::zone_of(customer)?;
        let mut invoice = Invoice {
            id: InvoiceId::generate(),
            number: String::new(),
            sequence: None,
            customer: id,
            external_customer_id: customer.external_id.clone(),
            kind,
            status: InvoiceStatus::Draft,
            payment_status: PaymentStatus::Pending,
            currency,
            sums: Sums::default(),
            taxes: Vec::new(),
            credits: Vec::new(),
            periods: Vec::new(),
            issuing_date: String::new(),
            payment_due_date: String::new(),
            net_payment_term: customer.net_payment_term.unwrap_or(0),
            test: self.is_test(tenant).await?,
            metadata: BTreeMap::new(),
            created_at: now,
            updated_at: now,
            final_at: now,
            finalized_at: None,
            voided_at: None,
            payment_dispute_lost_at: None,
            revision: 1,
        };
        dates(&mut invoice, zone.day(now));
        Ok(invoice)
    }

    /// Puts a draft in the book, with its lines and the periods it bills. Coupons show what they would take off; nothing is used up yet.
    pub(super) async fn insert_draft(
        &self,
        by: &NhiId,
        mut invoice: Invoice,
        mut fees: Vec<Fee>,
        once: &str,
        billed_before: i64,
    ) -> Result<Invoice, MeteringError> {
        let tenant = by.tenant();
        let coupons = self.reductions(tenant, &invoice, &fees).await?;
        let built = invoicing::build(&mut fees, billed_before, &coupons).ok_or_else(too_large)?;
        (invoice.sums, invoice.taxes) = (built.sums, built.taxes);
        let (body, salt) = (canonical_text(&invoice)?, fresh_salt()?);
        let written = store::Written { invoice: &invoice, body: &body, billed_to: "", salt: &salt, leaf: "" };
        let mut writes = vec![store::insert_invoice(tenant, &written, once)];
        writes.extend(store::replace_fees(tenant, &invoice, &fee_rows(fees)?, invoice.created_at));
        writes.extend(invoice.periods.iter().map(|period| store::insert_period(tenant, invoice.id, period)));
        let leaf = event_leaf(&*self.clock, by, "metering.draft_invoice", &format!("invoice:{}", invoice.id))?
            .fact("customer", invoice.customer)
            .fact("kind", invoice.kind.as_str())
            .fact("total_cents", invoice.sums.total_cents);
        commit(&self.db, Sealed::new(leaf).steps(steps(writes))).await?;
        Ok(invoice)
    }

    /// Every tax of the tenant.
    pub(super) async fn taxes(&self, tenant: &TenantId) -> Result<Taxes, MeteringError> {
        let listed = self.catalog.list::<Tax>(tenant, Page::new(1, PER_PAGE_MAX)).await?;
        Ok(listed.items.into_iter().map(|tax| (tax.body.code.clone(), tax.body)).collect())
    }

    /// The period an invoice bills, as it was drafted.
    pub(super) fn due_of(view: &SubscriptionView, billed: &BilledPeriod) -> Due {
        let day = view.zone.day(billed.from);
        let period = period::containing(day, view.charge_interval(), view.subscription.billing_time, view.anchor());
        let own = view.period(billed.from);
        let closes = own.to_exclusive(&view.zone) == billed.to || view.subscription.terminated_at == Some(billed.to);
        Due { from: billed.from, to: billed.to, period, closes }
    }
}

/// The day an invoice was issued on and the day it is due on.
pub(super) fn dates(invoice: &mut Invoice, issued: Day) {
    invoice.issuing_date = issued.to_string();
    invoice.payment_due_date = issued.plus_days(i32::try_from(invoice.net_payment_term).unwrap_or(i32::MAX)).to_string();
}

pub(super) fn too_large() -> MeteringError {
    MeteringError::CostOverflow("invoice".to_owned())
}

/// The days of a period that the subscription is billed for: the day it ends is billed, the day another plan takes over is not.
fn covered(view: &SubscriptionView, period: Period, from: Option<Timestamp>, to: Option<Timestamp>) -> Option<Period> {
    let first = from.map_or(period.first_day, |from| view.zone.day(from).max(period.first_day));
    let last = to.map_or(period.last_day, |to| {
        let last = view.zone.day(to);
        let begins_at_midnight = view.zone.start(last) == to;
        let last = if view.followed || begins_at_midnight { last.plus_days(-1) } else { last };
        last.min(period.last_day)
    });
    (first <= last).then_some(Period { first_day: first, last_day: last })
}

/// The plan's fee of the covered days, less those of a trial.
fn plan_fee(view: &SubscriptionView, own: Period, from: Option<Timestamp>, to: Option<Timestamp>, taxes: &Taxes) -> Option<Fee> {
    let plan = &view.plan;
    let billed = covered(view, own, from, to)?;
    let trial_end = view.anchor().plus_days(i32::try_from(plan.trial_period).unwrap_or(i32::MAX));
    let first = if plan.trial_period > 0 { billed.first_day.max(trial_end) } else { billed.first_day };
    let days = first.days_through(billed.last_day);
    if plan.amount_cents == 0 || days == 0 {
        return None;
    }
    let precise = fee::part(&Exact::from(plan.amount_cents), days, own.days());
    let amount = fee::plan_fee(&Exact::from(plan.amount_cents), days, own.days()).to_i64()?;
    let name = plan.invoice_display_name.clone().unwrap_or_else(|| plan.name.clone());
    let name = if view.subscription.name.is_empty() { name } else { view.subscription.name.clone() };
    let mut fee = subscription_fee(view, FeeKind::Subscription, &plan.code, name, amount);
    fee.precise_amount = precise.over(&view.currency.subunits()).unwrap_or_default();
    fee.units = Exact::ONE;
    (fee.from, fee.to) = (Some(view.zone.start(first)), Some(view.zone.end(billed.last_day)));
    fee.description = format!("{days} of {} days", own.days());
    apply_taxes(&mut fee, view, &[], taxes);
    Some(fee)
}

/// Usage of a period as lines, without what minimums leave to be paid.
pub(super) fn charge_lines(view: &SubscriptionView, used: &[ChargeUsage], within: (Timestamp, Timestamp), taxes: &Taxes) -> Vec<Fee> {
    view.plan.charges.iter().flat_map(|charge| lines_of(view, charge, used, within, taxes)).collect()
}

/// Usage of one charge as lines that come to no more than its most.
fn lines_of(view: &SubscriptionView, charge: &Charge, used: &[ChargeUsage], (from, to): (Timestamp, Timestamp), taxes: &Taxes) -> Vec<Fee> {
    let of_charge = used.iter().filter(|usage| usage.charge == charge.code);
    let mut lines: Vec<Fee> = of_charge.map(|usage| charge_fee(view, charge, usage, from, to, taxes)).collect();
    if let Some(max) = charge.max_amount_cents {
        cap(&mut lines, max, view.currency);
    }
    lines
}

/// Usage by charge, then what minimums of charges leave to be paid and what is above their most.
fn charge_fees(view: &SubscriptionView, used: &[ChargeUsage], due: &Due, covered: Option<Period>, taxes: &Taxes) -> Vec<Fee> {
    let mut fees = Vec::new();
    for charge in view.plan.charges.iter().filter(|charge| !charge.pay_in_advance || charge.invoiceable) {
        let mut lines = lines_of(view, charge, used, (due.from, due.to), taxes);
        let sum: i64 = lines.iter().map(|fee| fee.amount_cents).sum();
        fees.append(&mut lines);
        let days = covered.map_or(0, Period::days);
        let missing = fee::true_up(&Exact::from(charge.min_amount_cents), days, due.period.days(), &Exact::from(sum)).to_i64();
        if let Some(missing) = missing.filter(|missing| *missing > 0) {
            let name = format!("{} (minimum)", charge_name(view, charge));
            let mut fee = subscription_fee(view, FeeKind::Commitment, &charge.code, name, missing);
            fee.billable_metric_code = Some(charge.billable_metric_code.clone());
            (fee.from, fee.to) = (Some(due.from), Some(due.to));
            apply_taxes(&mut fee, view, &charge.tax_codes, taxes);
            fees.push(fee);
        }
    }
    fees
}

/// Lowers lines that come to more than the most, the last ones first.
fn cap(lines: &mut [Fee], max: i64, currency: Currency) {
    let mut over = lines.iter().map(|fee| fee.amount_cents).sum::<i64>() - max;
    for line in lines.iter_mut().rev() {
        let less = over.min(line.amount_cents).max(0);
        if less > 0 {
            line.amount_cents -= less;
            line.precise_amount = cents_as_units(line.amount_cents, currency);
            over -= less;
        }
    }
}

fn charge_name(view: &SubscriptionView, charge: &Charge) -> String {
    let metric = view.metrics.get(&charge.billable_metric_code).map(|metric| metric.name.clone());
    charge.invoice_display_name.clone().or(metric).unwrap_or_else(|| charge.code.clone())
}

fn charge_fee(view: &SubscriptionView, charge: &Charge, usage: &ChargeUsage, from: Timestamp, to: Timestamp, taxes: &Taxes) -> Fee {
    let filter = usage.filter.and_then(|at| charge.filters.get(at)).and_then(|filter| filter.invoice_display_name.clone());
    let name = filter.map_or_else(|| charge_name(view, charge), |filter| format!("{} ({filter})", charge_name(view, charge)));
    let cents = fee::of_amount(&usage.amount, &view.currency.subunits()).to_i64().unwrap_or(i64::MAX);
    let mut fee = subscription_fee(view, FeeKind::Charge, &charge.code, name, cents);
    fee.billable_metric_code = Some(charge.billable_metric_code.clone());
    fee.precise_amount = usage.amount.clone();
    (fee.filter, fee.group) = (usage.filter, usage.group.clone());
    (fee.units, fee.events) = (usage.units.clone(), usage.events);
    (fee.from, fee.to) = (Some(from), Some(to));
    fee.proof = Some(usage.proof.clone()).filter(|proof| *proof != EventRange::default());
    apply_taxes(&mut fee, view, &charge.tax_codes, taxes);
    fee
}

/// What the plan's commitment leaves to be paid after everything else of its period.
fn commitment_fee(view: &SubscriptionView, due: &Due, fees: &[Fee], before: i64, taxes: &Taxes) -> Option<Fee> {
    let commitment = view.plan.minimum_commitment.as_ref()?;
    let own = view.period(due.from);
    let billed = covered(view, own, view.subscription.started_at, view.subscription.terminated_at)?;
    // The fee of the next period, paid in advance, is not of this one.
    let of_this = fees.iter().filter(|fee| fee.from.is_none_or(|from| from < due.to));
    let sum = before.saturating_add(of_this.map(|fee| fee.amount_cents).sum());
    let missing = fee::true_up(&Exact::from(commitment.amount_cents), billed.days(), own.days(), &Exact::from(sum)).to_i64()?;
    if missing <= 0 {
        return None;
    }
    let name = commitment.invoice_display_name.clone().unwrap_or_else(|| "Minimum commitment".to_owned());
    let mut fee = subscription_fee(view, FeeKind::Commitment, &view.plan.code, name, missing);
    (fee.from, fee.to) = (Some(view.zone.start(billed.first_day)), Some(view.zone.end(billed.last_day)));
    apply_taxes(&mut fee, view, &commitment.tax_codes, taxes);
    Some(fee)
}

fn subscription_fee(view: &SubscriptionView, kind: FeeKind, code: &str, name: String, cents: i64) -> Fee {
    Fee {
        subscription: Some(view.subscription.id),
        external_subscription_id: Some(view.subscription.external_id.clone()),
        plan_code: Some(view.plan.code.clone()),
        plan_version: Some(view.subscription.plan_version),
        ..new_fee(kind, code, name, cents, view.currency)
    }
}

/// A line of so many minor units, of nobody's subscription and without taxes yet.
pub(super) fn new_fee(kind: FeeKind, code: &str, name: String, cents: i64, currency: Currency) -> Fee {
    Fee {
        id: FeeId::generate(),
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
        description: String::new(),
    }
}

pub(super) fn cents_as_units(cents: i64, currency: Currency) -> Exact {
    Exact::from(cents).over(&currency.subunits()).unwrap_or_default()
}

fn apply_taxes(fee: &mut Fee, view: &SubscriptionView, own: &[String], taxes: &Taxes) {
    let codes = [own, view.plan.tax_codes.as_slice(), view.customer.body.tax_codes.as_slice()];
    let codes = codes.into_iter().find(|codes| !codes.is_empty());
    set_taxes(fee, codes, taxes);
}

/// The taxes of these codes; without codes, those the tenant applies to everything.
pub(super) fn set_taxes(fee: &mut Fee, codes: Option<&[String]>, taxes: &Taxes) {
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
