//! Prepaid credits: the order they are drawn in, how wallets pay fees, and how they are filled up.

use std::collections::BTreeMap;

use creto_kernel::Timestamp;

use crate::core::exact::Exact;
use crate::core::rounding::{CREDIT_MONEY, TOP_UP_STEPS};
use crate::model::wallet::{Grant, TopUpMethod, TopUpRule, WalletLimits};

/// There is less than was to be drawn; nothing was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("exceeds_available_amount")]
pub struct Exceeds {
    /// What there is.
    pub available: Exact,
}

/// What was drawn of each grant, in the places they were given in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Of each grant.
    pub drawn: Vec<Exact>,
    /// What no grant covered.
    pub overage: Exact,
}

/// The order grants are drawn in: priority, soonest expiry, granted before purchased, oldest, first given.
#[must_use]
pub fn drawing_order(grants: &[Grant]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..grants.len()).collect();
    let key = |grant: &Grant| (grant.priority, grant.expires_at.is_none(), grant.expires_at, grant.kind, grant.created_at);
    order.sort_by_key(|index| (grants.get(*index).map(key), *index));
    order
}

/// Draws all of `usage` that the grants cover; the rest is overage, which is kept and never lost.
#[must_use]
pub fn burn(grants: &[Grant], usage: &Exact) -> Draw {
    let mut drawn = vec![Exact::ZERO; grants.len()];
    let mut left = usage.clone();
    for index in drawing_order(grants) {
        if let (Some(grant), Some(drawn)) = (grants.get(index), drawn.get_mut(index)) {
            *drawn = grant.remaining.clone().min(left.clone()).floor_zero();
            left -= drawn;
        }
    }
    Draw { drawn, overage: left }
}

/// Draws exactly `amount`, or nothing.
pub fn draw_down(grants: &[Grant], amount: &Exact) -> Result<Draw, Exceeds> {
    let draw = burn(grants, amount);
    if draw.overage.is_positive() { Err(Exceeds { available: draw.drawn.iter().sum() }) } else { Ok(draw) }
}

/// A grant's balance after it came again: nothing rolls over; overage from before burns the new credits where it is preserved.
#[must_use]
pub fn after_recurrence(amount: &Exact, usage_before: &Exact, preserve_overage: bool) -> Exact {
    let overage = if preserve_overage { (usage_before - amount).floor_zero() } else { Exact::ZERO };
    (amount - &overage).floor_zero()
}

/// A wallet that may pay fees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purse {
    /// What it has.
    pub balance: Exact,
    /// Smaller pays first.
    pub priority: u32,
    /// Among equals the older pays first.
    pub created_at: Timestamp,
    /// What it may pay.
    pub applies_to: WalletLimits,
}

/// Fees of one kind that wallets may pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// `subscription`, `charge`, ….
    pub fee_type: String,
    /// The metric of its fees, where they have one.
    pub billable_metric_code: Option<String>,
    /// What they come to.
    pub cap: Exact,
}

/// What each wallet pays, in the places they were given in. Wallets pay by priority, then age; each pays of the bucket with the most
/// left first, and together they pay no more than the invoice's total.
#[must_use]
pub fn allocate(invoice_total: &Exact, wallets: &[Purse], fees: &[Bucket]) -> Vec<Exact> {
    let mut order: Vec<usize> = (0..wallets.len()).collect();
    order.sort_by_key(|index| (wallets.get(*index).map(|wallet| (wallet.priority, wallet.created_at)), *index));
    let mut caps: Vec<Exact> = fees.iter().map(|fee| fee.cap.clone()).collect();
    let mut unpaid = invoice_total.clone();
    let mut paid = vec![Exact::ZERO; wallets.len()];
    for index in order {
        let (Some(wallet), Some(paid)) = (wallets.get(index), paid.get_mut(index)) else { continue };
        let mut eligible: Vec<usize> =
            (0..fees.len()).filter(|at| fees.get(*at).is_some_and(|fee| may_pay(&wallet.applies_to, fee))).collect();
        eligible.sort_by_key(|at| (std::cmp::Reverse(caps.get(*at).cloned()), *at));
        for at in eligible {
            let Some(cap) = caps.get_mut(at) else { continue };
            let amount = (&wallet.balance - &*paid).min(cap.clone()).min(unpaid.clone()).floor_zero();
            *paid += &amount;
            *cap -= &amount;
            unpaid -= &amount;
        }
    }
    paid
}

fn may_pay(limits: &WalletLimits, fee: &Bucket) -> bool {
    let is_any = limits.fee_types.is_empty() && limits.billable_metric_codes.is_empty();
    let by_metric = fee.billable_metric_code.as_ref().is_some_and(|code| limits.billable_metric_codes.contains(code));
    is_any || limits.fee_types.contains(&fee.fee_type) || by_metric
}

/// A wallet's balance, as a rule that fills it up sees it. All are credits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// What is left after usage that is not invoiced yet; may be negative.
    pub ongoing: Exact,
    /// Top-ups that were asked for and not paid yet.
    pub pending: Exact,
}

/// Credits to pay for now by a threshold rule; 0 above the threshold. A fixed rule brings its step as many times as it takes to land past
/// the threshold, not on it; what is given with it counts once.
#[must_use]
pub fn top_up(rule: &TopUpRule, balance: &Balance) -> Exact {
    let Some(threshold) = &rule.threshold_credits else { return Exact::ZERO };
    let expected = &balance.ongoing + &balance.pending;
    if expected > *threshold {
        return Exact::ZERO;
    }
    let paid = match (rule.method, &rule.target_ongoing_balance) {
        (TopUpMethod::Target, Some(target)) => (target - &expected - &rule.granted_credits).floor_zero(),
        _ => {
            let missing = threshold - &expected - &rule.granted_credits;
            let steps = missing.over(&rule.paid_credits).map(|steps| TOP_UP_STEPS.whole(&steps) + Exact::ONE).unwrap_or_default();
            steps.max(Exact::ONE) * rule.paid_credits.clone()
        }
    };
    match &rule.max_credits {
        Some(max) => paid.min(max.clone()),
        None => paid,
    }
}

/// Credits as they are bought: what they are worth in minor units, and as many credits as that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bought {
    /// In minor units.
    pub amount_cents: Exact,
    /// In credits.
    pub credits: Exact,
}

/// What so many credits cost at `rate` units of the currency each; `None` where a credit is worth nothing.
#[must_use]
pub fn bought(credits: &Exact, rate: &Exact, subunits: &Exact) -> Option<Bought> {
    let amount_cents = CREDIT_MONEY.whole(&(credits * rate * subunits));
    let credits = amount_cents.over(subunits)?.over(rate)?;
    Some(Bought { amount_cents, credits })
}

/// Grants that are not gone yet.
#[must_use]
pub fn alive(grants: &[Grant], now: Timestamp) -> Vec<Grant> {
    grants.iter().filter(|grant| grant.expires_at.is_none_or(|at| at > now)).cloned().collect()
}

/// What is left of each grant after a draw; all of it where nothing was drawn.
#[must_use]
pub fn remaining(grants: &[Grant], drawn: &[Exact]) -> Vec<Exact> {
    let none = Exact::ZERO;
    grants.iter().enumerate().map(|(index, grant)| &grant.remaining - drawn.get(index).unwrap_or(&none)).collect()
}

/// Pairs identifiers with amounts.
#[must_use]
pub fn by_id<'a>(ids: impl IntoIterator<Item = &'a str>, amounts: &[Exact]) -> BTreeMap<String, Exact> {
    ids.into_iter().map(str::to_owned).zip(amounts.iter().cloned()).collect()
}
