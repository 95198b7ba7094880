//! Which periods of a subscription are due, and what came late for those that are final. What a period comes to is `core/bill`'s.

use std::collections::BTreeMap;

use creto_db::{Sealed, Write};
use creto_enablement_common::webhook::Webhooks;
use creto_kernel::{Leaf, NhiId, TenantId, Timestamp};
use serde_json::json;

use super::usage::ChargeUsage;
use super::{Billing, fee_rows, steps, store};
use crate::catalog::{SubscriptionView, canonical_text, commit, event_leaf, fresh_salt};
use crate::core::bill::{self, Advanced, Holder, Part, Span, Taxes, Terms, cents_as_units};
use crate::core::invoicing;
use crate::core::period::{self, Period};
use crate::core::zone::Day;
use crate::error::MeteringError;
use crate::model::currency::Currency;
use crate::model::customer::Customer;
use crate::model::entry::DefinitionId;
use crate::model::invoice::{BilledPeriod, Fee, FeeId, FeeKind, Invoice, InvoiceId, InvoiceKind, InvoiceStatus, PaymentStatus, Sums};
use crate::model::page::{PER_PAGE_MAX, Page};
use crate::model::plan::Interval;
use crate::model::subscription::SubscriptionId;
use crate::model::tax::Tax;
use crate::store::{fees, rerates};

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

    /// The period that the subscription ends in, as far as it is not billed by `billed_to`.
    pub(super) fn last_due(&self, billed_to: Timestamp) -> Option<Due> {
        let end = self.subscription.terminated_at?;
        let last = Timestamp::from_micros(end.as_micros().saturating_sub(1))?;
        let period = period::containing(self.zone.day(last), self.charge_interval(), self.subscription.billing_time, self.anchor());
        self.due(billed_to.max(period.from(&self.zone)), end)
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
            let then = self.catalog.view_before(by.tenant(), view, due.to).await?;
            self.draft_period(by, then.as_ref().unwrap_or(view), &due, now).await?;
            billed_to = due.to;
            drafted += 1;
        }
        Ok(drafted)
    }

    /// The first fee of a plan that is paid in advance. Whether it was made.
    async fn draft_advance(&self, by: &NhiId, view: &SubscriptionView, now: Timestamp) -> Result<bool, MeteringError> {
        let tenant = by.tenant();
        let Some(start) = view.subscription.started_at.filter(|start| *start <= now) else { return Ok(false) };
        let fees = self.first_fees(tenant, view, start).await?;
        let invoice =
            self.new_invoice(tenant, &view.customer.body, view.customer.id, view.currency, InvoiceKind::Subscription, now).await?;
        match self.insert_draft(by, invoice, fees, &first_fee_once(view.subscription.id), 0).await {
            Ok(_) => Ok(true),
            Err(MeteringError::Conflict { code, .. }) if code == crate::store::catalog::CHANGED => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What a plan that is paid in advance costs until its first period is over.
    pub(super) async fn first_fees(&self, tenant: &TenantId, view: &SubscriptionView, start: Timestamp) -> Result<Vec<Fee>, MeteringError> {
        let own = view.period(start);
        let taxes = self.taxes(tenant).await?;
        let plan_fee = Some(Part { period: own, billed: covered(view, own, Some(start), None) });
        let nothing = Advanced::new();
        let usage = Part { period: own, billed: None };
        let span = Span { plan_fee, usage, window: (start, start), commitment: None, billed_before_cents: 0, advanced: &nothing };
        Ok(bill::plan_fee(&terms(view, &taxes), &span)?)
    }

    async fn draft_period(&self, by: &NhiId, view: &SubscriptionView, due: &Due, now: Timestamp) -> Result<(), MeteringError> {
        let tenant = by.tenant();
        let mut invoice =
            self.new_invoice(tenant, &view.customer.body, view.customer.id, view.currency, InvoiceKind::Subscription, now).await?;
        of_period(&mut invoice, view, due, now);
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
        let own = view.period(due.from);
        let end = view.subscription.terminated_at;
        let running = Part { period: own, billed: covered(view, own, view.subscription.started_at, end) };
        // Paid in advance is the period that begins now, while the subscription goes on.
        let next = period::next(own, view.plan.interval, view.subscription.billing_time, view.anchor());
        let plan_fee = if view.plan.pay_in_advance {
            end.is_none_or(|end| end > due.to).then(|| Part { period: next, billed: covered(view, next, None, end) })
        } else {
            Some(running)
        };
        let span = Span {
            plan_fee: plan_fee.filter(|_| due.closes),
            usage: Part { period: due.period, billed: covered(view, due.period, Some(due.from), end) },
            window: (due.from, due.to),
            commitment: due.closes.then_some(running),
            billed_before_cents: if due.closes { self.own_period_fees(tenant, view, due, except).await? } else { 0 },
            advanced: &self.advanced(tenant, view, due.period).await?,
        };
        let used = self.usage.used(tenant, view, due.from, due.to).await?;
        let mut fees = bill::lines(&terms(view, &taxes), &span, &used)?;
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
        let fees = fees::of_usage(&self.db, tenant, view.subscription.id).await?;
        let inside = |fee: &Fee| fee.from.is_some_and(|from| from >= begin && from < due.to);
        let counts = |kind: &str| kind != "progressive_billing";
        let others = fees.iter().filter(|(kind, invoice, fee)| counts(kind) && Some(*invoice) != except && inside(fee));
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
        let used: Vec<ChargeUsage> = used.into_iter().filter(|usage| !is_in_advance(view, usage)).collect();
        Ok(bill::usage_lines(&terms(view, &taxes), &used, (from, to))?)
    }

    /// What progressive billing has billed of a period.
    pub(super) async fn billed_before(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<i64, MeteringError> {
        let fees = fees::of_usage(&self.db, tenant, view.subscription.id).await?;
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
        let (mut late, mut changed) = (Vec::new(), false);
        let mut room: i64 = own.iter().map(|fee| fee.amount_cents).sum();
        let billed = fees::of_usage(&self.db, tenant, view.subscription.id).await?;
        let rerated: BTreeMap<Timestamp, u32> = rerates::versions(&self.db, tenant, view.subscription.id).await?.into_iter().collect();
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
            let rerated = rerated.get(&past.from).copied();
            let then = self.as_billed(tenant, view, past.to, rerated).await?;
            let view = then.as_ref().unwrap_or(view);
            let used = self.usage.used(tenant, view, past.from, past.to).await?;
            let same = |fee: &Fee, other: &Fee| (&fee.code, fee.filter, &fee.group) == (&other.code, other.filter, &other.group);
            let of = |fee: &Fee, usage: &ChargeUsage| (&fee.code, fee.filter, &fee.group) == (&usage.charge, usage.filter, &usage.group);
            let fewer = |usage: &ChargeUsage| standing.iter().rev().find(|fee| of(fee, usage)).map_or(0, |fee| fee.events) > usage.events;
            let is_late = self.usage.is_late(tenant, view, past.from, past.to, past.seen_to).await?;
            // A level that is carried over changes every period after the one that an event came late for.
            let recurs = view.metrics.values().any(|metric| metric.recurring);
            let is_changed = is_late || used.iter().any(fewer);
            changed = changed || is_changed;
            if !(is_changed || rerated.is_some() || (recurs && changed)) {
                continue;
            }
            // What is billed at its events was, whenever they came.
            let arrears: Vec<ChargeUsage> = used.into_iter().filter(|usage| !is_in_advance(view, usage)).collect();
            for fee in bill::usage_lines(&terms(view, taxes), &arrears, (past.from, past.to))? {
                let before: i64 = standing.iter().filter(|other| same(other, &fee)).map(|other| other.amount_cents).sum();
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

    /// The subscription by what was agreed when a period that ends before `to` did, or by the plan's version it was decided to be billed under
    /// since; none where that is what is agreed now.
    async fn as_billed(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        to: Timestamp,
        rerated: Option<u32>,
    ) -> Result<Option<SubscriptionView>, MeteringError> {
        let then = self.catalog.view_before(tenant, view, to).await?;
        let Some(version) = rerated else { return Ok(then) };
        let mut decided = then.as_ref().unwrap_or(view).subscription.clone();
        decided.plan_version = version;
        self.catalog.view(tenant, decided).await.map(Some)
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
        invoice: Invoice,
        fees: Vec<Fee>,
        once: &str,
        billed_before: i64,
    ) -> Result<Invoice, MeteringError> {
        self.insert_draft_with(by, invoice, fees, once, billed_before, Vec::new()).await
    }

    /// The same, with what belongs into the same commit.
    pub(super) async fn insert_draft_with(
        &self,
        by: &NhiId,
        mut invoice: Invoice,
        mut fees: Vec<Fee>,
        once: &str,
        billed_before: i64,
        with: Vec<Write>,
    ) -> Result<Invoice, MeteringError> {
        let tenant = by.tenant();
        let coupons = self.reductions(tenant, &invoice).await?;
        let built = invoicing::build(&mut fees, billed_before, &coupons).ok_or_else(too_large)?;
        (invoice.sums, invoice.taxes) = (built.sums, built.taxes);
        let (body, salt) = (canonical_text(&invoice)?, fresh_salt()?);
        let written = store::Written { invoice: &invoice, body: &body, billed_to: "", salt: &salt, leaf: "" };
        let mut writes = vec![store::insert_invoice(tenant, &written, once)];
        writes.extend(with);
        let events: Vec<FeeId> = fees.iter().filter(|fee| fee.advance.is_some()).map(|fee| fee.id).collect();
        writes.extend(fees::replace(tenant, &invoice, &fee_rows(fees)?, invoice.created_at));
        writes.extend(invoice.periods.iter().map(|period| store::insert_period(tenant, invoice.id, period)));
        let leaf = event_leaf(&*self.clock, by, "metering.draft_invoice", &format!("invoice:{}", invoice.id))?
            .fact("customer", invoice.customer)
            .fact("kind", invoice.kind.as_str())
            .fact("total_cents", invoice.sums.total_cents);
        commit(&self.db, self.with_fees_told(leaf, &events).steps(steps(writes))).await?;
        Ok(invoice)
    }

    /// A change that also tells of each line that bills an event by itself.
    pub(super) fn with_fees_told(&self, leaf: Leaf, fees: &[FeeId]) -> Sealed {
        let told = |fee: &FeeId| {
            let data = json!({ "leaf": leaf.id, "resource": leaf.resource, "facts": { "fee": fee } });
            Webhooks::message(&leaf.tenant, "metering.create_fee", leaf.time, &data)
        };
        let messages: Vec<_> = fees.iter().map(told).collect();
        messages.into_iter().fold(Sealed::new(leaf), Sealed::message)
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

/// Notes on a draft that it bills a period, and when it is issued and becomes final by that.
pub(super) fn of_period(invoice: &mut Invoice, view: &SubscriptionView, due: &Due, now: Timestamp) {
    let issued = view.zone.day(due.to);
    let grace = view.customer.body.invoice_grace_period.unwrap_or(0);
    if grace > 0 {
        let day = issued.plus_days(i32::try_from(grace).unwrap_or(i32::MAX));
        invoice.final_at = invoice.final_at.max(view.zone.start(day));
    }
    dates(invoice, issued);
    invoice.periods.push(BilledPeriod {
        subscription: view.subscription.id,
        external_subscription_id: view.subscription.external_id.clone(),
        from: due.from,
        to: due.to,
        seen_to: now,
    });
}

/// What the first fee of a plan in advance is made once under.
pub(super) fn first_fee_once(id: SubscriptionId) -> String {
    format!("advance:{id}")
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

/// Whether usage is billed at its events.
pub(super) fn is_in_advance(view: &SubscriptionView, usage: &ChargeUsage) -> bool {
    view.plan.charge(&usage.charge).is_some_and(|charge| charge.pay_in_advance)
}

/// What the subscription's bills are made under.
pub(super) fn terms<'a>(view: &'a SubscriptionView, taxes: &'a Taxes) -> Terms<'a> {
    Terms {
        plan: &view.plan,
        metrics: &view.metrics,
        holder: Some(Holder {
            id: view.subscription.id,
            external_id: &view.subscription.external_id,
            name: &view.subscription.name,
            plan_version: view.subscription.plan_version,
        }),
        trial_end: view.anchor().plus_days(i32::try_from(view.plan.trial_period).unwrap_or(i32::MAX)),
        zone: &view.zone,
        taxes,
        customer_tax_codes: &view.customer.body.tax_codes,
        ids: &FeeId::generate,
    }
}
