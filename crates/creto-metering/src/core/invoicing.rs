//! From fees to an invoice's sums, in order: what was billed before, coupons, taxes, credit notes, prepaid credits.

use crate::core::allocate;
use crate::core::exact::Exact;
use crate::core::invoice::{self, Line, LineCoupon, Off, Totals};
use crate::model::currency::Currency;
use crate::model::invoice::{AppliedTax, Fee, FeeKind, Sums};
use crate::model::tax::{Coupon, Discount};

/// A coupon on its way to an invoice.
#[derive(Clone, Debug)]
pub struct Reduction {
    /// What it takes off.
    pub off: Off,
    /// Only these plans' fees; any where empty.
    pub plan_codes: Vec<String>,
    /// Only these metrics' fees; any where empty.
    pub billable_metric_codes: Vec<String>,
}

impl Reduction {
    /// Of a coupon; of a fixed amount, what is left of it where it was used before.
    #[must_use]
    pub fn of(coupon: &Coupon, left_cents: Option<i64>) -> Self {
        Self {
            off: match &coupon.discount {
                Discount::Fixed { amount_cents, .. } => Off::Cents(Exact::from(left_cents.unwrap_or(*amount_cents))),
                Discount::Percentage { rate } => Off::Percent(rate.clone()),
            },
            plan_codes: coupon.applies_to.plan_codes.clone(),
            billable_metric_codes: coupon.applies_to.billable_metric_codes.clone(),
        }
    }

    /// Whether a coupon takes off invoices in this currency.
    #[must_use]
    pub fn fits(coupon: &Coupon, currency: Currency) -> bool {
        !matches!(coupon.discount, Discount::Fixed { currency: own, .. } if own != currency)
    }

    /// Coupons limited to metrics come first, then those limited to plans, then the others.
    #[must_use]
    pub const fn rank(coupon: &Coupon) -> (bool, bool) {
        (coupon.applies_to.billable_metric_codes.is_empty(), coupon.applies_to.plan_codes.is_empty())
    }

    fn applies(&self, fee: &Fee) -> bool {
        let any = self.plan_codes.is_empty() && self.billable_metric_codes.is_empty();
        let by_plan = fee.plan_code.as_ref().is_some_and(|code| self.plan_codes.contains(code));
        let by_metric = fee.billable_metric_code.as_ref().is_some_and(|code| self.billable_metric_codes.contains(code));
        any || by_plan || by_metric
    }
}

/// What an invoice comes to, before anything pays it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The sums; what pays is still nothing.
    pub sums: Sums,
    /// The taxes by code; they add up.
    pub taxes: Vec<AppliedTax>,
    /// What each coupon took off, in their order.
    pub coupons: Vec<i64>,
    /// The same line by line.
    pub totals: Totals,
}

/// Fills in what is taken off each line, its taxes, and adds up. `None` where a sum does not fit.
pub fn build(fees: &mut [Fee], billed_before_cents: i64, coupons: &[Reduction]) -> Option<Built> {
    let fees_cents = fees.iter().try_fold(0_i64, |sum, fee| sum.checked_add(fee.amount_cents))?;
    let usage: Vec<usize> = places(fees, |fee| matches!(fee.kind, FeeKind::Charge));
    let usage_cents: i64 = usage.iter().filter_map(|at| fees.get(*at)).map(|fee| fee.amount_cents).sum();
    let progressive = billed_before_cents.min(usage_cents).max(0);
    let mut in_order = vec![LineCoupon { off: Off::Cents(Exact::from(progressive)), lines: Some(usage) }];
    in_order
        .extend(coupons.iter().map(|coupon| LineCoupon { off: coupon.off.clone(), lines: Some(places(fees, |fee| coupon.applies(fee))) }));
    let lines: Vec<Line> =
        fees.iter().map(|fee| Line { amount: Exact::from(fee.amount_cents), tax_rate: fee.taxes_rate.clone() }).collect();
    let totals = invoice::totals(&lines, &in_order);
    for ((fee, off), tax) in fees.iter_mut().zip(&totals.line_coupons).zip(&totals.printed_taxes) {
        fee.taken_off_cents = off.clone();
        fee.taxes_amount_cents = tax.to_i64()?;
        share_taxes(fee)?;
    }
    let taken = each_credit(&lines, &in_order)?;
    let (subtotal, taxes) = (totals.subtotal.to_i64()?, totals.taxes.to_i64()?);
    let including = subtotal.checked_add(taxes)?;
    let sums = Sums {
        fees_cents,
        progressive_billing_cents: progressive,
        coupons_cents: fees_cents.checked_sub(progressive)?.checked_sub(subtotal)?,
        sub_total_excluding_taxes_cents: subtotal,
        taxes_cents: taxes,
        sub_total_including_taxes_cents: including,
        credit_notes_cents: 0,
        prepaid_credits_cents: 0,
        total_cents: including,
    };
    Some(Built { sums, taxes: by_code(fees), coupons: taken, totals })
}

fn places(fees: &[Fee], wanted: impl Fn(&Fee) -> bool) -> Vec<usize> {
    fees.iter().enumerate().filter(|(_, fee)| wanted(fee)).map(|(at, _)| at).collect()
}

/// What each coupon by itself takes off, after those before it: how much of a fixed amount it used up.
fn each_credit(lines: &[Line], in_order: &[LineCoupon]) -> Option<Vec<i64>> {
    let mut before = Exact::ZERO;
    let mut credits = Vec::new();
    for count in 1..=in_order.len() {
        let so_far = invoice::totals(lines, in_order.get(..count)?).coupons;
        credits.push((&so_far - &before).nearest().to_i64()?);
        before = so_far;
    }
    Some(credits.into_iter().skip(1).collect())
}

/// A line's tax over its taxes, in whole minor units that add up.
fn share_taxes(fee: &mut Fee) -> Option<()> {
    let rates: Vec<Exact> = fee.taxes.iter().map(|tax| tax.rate.clone()).collect();
    let base = (Exact::from(fee.amount_cents) - &fee.taken_off_cents).nearest().to_i64()?;
    let shares = allocate::spread(&Exact::from(fee.taxes_amount_cents), &rates);
    for (tax, share) in fee.taxes.iter_mut().zip(shares) {
        tax.amount_cents = share.to_i64()?;
        tax.base_cents = base;
    }
    Some(())
}

/// The taxes of all lines by code.
fn by_code(fees: &[Fee]) -> Vec<AppliedTax> {
    let mut sums: Vec<AppliedTax> = Vec::new();
    for tax in fees.iter().flat_map(|fee| &fee.taxes) {
        match sums.iter_mut().find(|sum| sum.code == tax.code) {
            Some(sum) => {
                sum.base_cents = sum.base_cents.saturating_add(tax.base_cents);
                sum.amount_cents = sum.amount_cents.saturating_add(tax.amount_cents);
            }
            None => sums.push(tax.clone()),
        }
    }
    sums.sort_by(|a, b| a.code.cmp(&b.code));
    sums
}
