//! A bill: what a plan's period comes to, line by line. Previews and invoices are made by it.

use std::collections::BTreeMap;

use crate::core::exact::Exact;
use crate::core::fee;
use crate::core::invoice::{self, Line, LineCoupon, Off, Settled, Totals};
use crate::core::matching::Group;
use crate::core::period::Period;
use crate::core::price::{self, PriceError, Rated, Usage};
use crate::core::replay::GroupUsage;
use crate::model::charge::Charge;
use crate::model::plan::Plan;
use crate::model::tax::{Coupon, Discount};

/// What a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineKind {
    /// The plan's flat fee.
    Subscription,
    /// Usage.
    Charge,
    /// What a charge's minimum leaves to be paid.
    TrueUp,
    /// What is above a charge's maximum: negative.
    Maximum,
    /// What the plan's commitment leaves to be paid.
    Commitment,
}

impl LineKind {
    /// Its name in JSON, and among a wallet's `fee_types`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::Charge => "charge",
            Self::TrueUp => "true_up",
            Self::Maximum => "maximum",
            Self::Commitment => "commitment",
        }
    }
}

/// A line of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillLine {
    /// What it is for.
    pub kind: LineKind,
    /// The charge, where it is of one.
    pub charge: Option<String>,
    /// The charge's metric.
    pub billable_metric_code: Option<String>,
    /// The filter it is priced by.
    pub filter: Option<usize>,
    /// The group it is priced in.
    pub group: Group,
    /// What was used.
    pub usage: Usage,
    /// What that costs, in units of the currency, unrounded.
    pub rated: Rated,
    /// What is billed, in minor units.
    pub amount_cents: Exact,
    /// Percent.
    pub tax_rate: Exact,
}

/// What a bill is made of.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// The plan's version.
    pub plan: &'a Plan,
    /// The days that are billed.
    pub billed: Period,
    /// The period they are days of.
    pub period: Period,
    /// Percent of each tax, by code.
    pub tax_rates: &'a BTreeMap<String, Exact>,
    /// Taxes of fees whose charge and plan name none.
    pub default_taxes: &'a [String],
    /// Coupons of the customer, in the order they were redeemed.
    pub coupons: &'a [Coupon],
    /// Credit notes, in minor units.
    pub credit_notes_cents: Exact,
    /// Prepaid credits, in minor units.
    pub prepaid_cents: Exact,
}

/// What a period comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// Line by line.
    pub lines: Vec<BillLine>,
    /// Coupons and taxes.
    pub totals: Totals,
    /// Credit notes and prepaid credits.
    pub settled: Settled,
}

/// Makes a bill of what each charge used.
pub fn bill(terms: &Terms<'_>, usage: &[(&Charge, Vec<GroupUsage>)]) -> Result<Bill, PriceError> {
    let mut lines = vec![terms.plan_line()];
    for (charge, groups) in usage {
        lines.extend(terms.charge_lines(charge, groups)?);
    }
    lines.extend(terms.commitment(&lines));
    lines.retain(|line| !line.amount_cents.is_zero() || line.kind == LineKind::Charge);
    let taxed: Vec<Line> = lines.iter().map(|line| Line { amount: line.amount_cents.clone(), tax_rate: line.tax_rate.clone() }).collect();
    let totals = invoice::totals(&taxed, &terms.line_coupons(&lines));
    let settled = invoice::settle(&totals.total, &terms.credit_notes_cents, &terms.prepaid_cents);
    Ok(Bill { lines, totals, settled })
}

impl Terms<'_> {
    fn plan_line(&self) -> BillLine {
        let amount = Exact::from(self.plan.amount_cents);
        self.line(LineKind::Subscription, None, fee::plan_fee(&amount, self.billed.days(), self.period.days()))
    }

    fn charge_lines(&self, charge: &Charge, groups: &[GroupUsage]) -> Result<Vec<BillLine>, PriceError> {
        let subunits = self.plan.amount_currency.subunits();
        let mut lines = Vec::new();
        for group in groups {
            let rated = price::rate(&charge.pricing(group.filter).model, &group.usage, &subunits)?;
            let amount_cents = fee::of_amount(&rated.amount, &subunits);
            let line = self.line(LineKind::Charge, Some(charge), amount_cents);
            lines.push(BillLine { filter: group.filter, group: group.group.clone(), usage: group.usage.clone(), rated, ..line });
        }
        let used: Exact = lines.iter().map(|line| &line.amount_cents).sum();
        let minimum = Exact::from(charge.min_amount_cents);
        let true_up = fee::true_up(&minimum, self.billed.days(), self.period.days(), &used);
        lines.push(self.line(LineKind::TrueUp, Some(charge), true_up));
        let maximum = charge.max_amount_cents.map(Exact::from);
        let above = fee::capped(used.clone(), maximum.as_ref()) - used;
        lines.push(self.line(LineKind::Maximum, Some(charge), above));
        Ok(lines)
    }

    fn commitment(&self, lines: &[BillLine]) -> Option<BillLine> {
        let commitment = self.plan.minimum_commitment.as_ref()?;
        let used: Exact = lines.iter().map(|line| &line.amount_cents).sum();
        let minimum = Exact::from(commitment.amount_cents);
        let mut line = self.line(LineKind::Commitment, None, fee::true_up(&minimum, self.billed.days(), self.period.days(), &used));
        if !commitment.tax_codes.is_empty() {
            line.tax_rate = self.tax_rate(&commitment.tax_codes);
        }
        Some(line)
    }

    fn line(&self, kind: LineKind, charge: Option<&Charge>, amount_cents: Exact) -> BillLine {
        let own = charge.map(|charge| charge.tax_codes.as_slice()).filter(|codes| !codes.is_empty());
        let plans = Some(self.plan.tax_codes.as_slice()).filter(|codes| !codes.is_empty());
        let amount = amount_cents.over(&self.plan.amount_currency.subunits()).unwrap_or_default();
        BillLine {
            kind,
            charge: charge.map(|charge| charge.code.clone()),
            billable_metric_code: charge.map(|charge| charge.billable_metric_code.clone()),
            filter: None,
            group: Group::new(),
            usage: Usage::default(),
            rated: Rated { amount, ..Rated::default() },
            amount_cents,
            tax_rate: self.tax_rate(own.or(plans).unwrap_or(self.default_taxes)),
        }
    }

    fn tax_rate(&self, codes: &[String]) -> Exact {
        codes.iter().filter_map(|code| self.tax_rates.get(code)).sum()
    }

    /// Coupons limited to metrics first, then those limited to plans, then the others; each with the lines it is for.
    fn line_coupons(&self, lines: &[BillLine]) -> Vec<LineCoupon> {
        let rank = |coupon: &Coupon| match (coupon.applies_to.billable_metric_codes.is_empty(), coupon.applies_to.plan_codes.is_empty()) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        let mut coupons: Vec<&Coupon> = self.coupons.iter().filter(|coupon| self.is_in_currency(coupon)).collect();
        coupons.sort_by_key(|coupon| rank(coupon));
        coupons
            .into_iter()
            .map(|coupon| {
                let off = match &coupon.discount {
                    Discount::Fixed { amount_cents, .. } => Off::Cents(Exact::from(*amount_cents)),
                    Discount::Percentage { rate } => Off::Percent(rate.clone()),
                };
                let places = lines.iter().enumerate().filter(|(_, line)| self.applies(coupon, line)).map(|(place, _)| place);
                LineCoupon { off, lines: (rank(coupon) < 2).then(|| places.collect()) }
            })
            .collect()
    }

    fn is_in_currency(&self, coupon: &Coupon) -> bool {
        !matches!(coupon.discount, Discount::Fixed { currency, .. } if currency != self.plan.amount_currency)
    }

    fn applies(&self, coupon: &Coupon, line: &BillLine) -> bool {
        let is_of_metric = line.billable_metric_code.as_ref().is_some_and(|code| coupon.applies_to.billable_metric_codes.contains(code));
        is_of_metric || coupon.applies_to.plan_codes.contains(&self.plan.code)
    }
}
