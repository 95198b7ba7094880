//! Invoices: coupons before taxes, taxes before credit notes, credit notes before prepaid credits. All amounts are in minor units.

use crate::core::allocate;
use crate::core::exact::Exact;
use crate::core::fee;
use crate::core::rounding::{COUPON, INVOICE_TAX};

/// What a coupon takes off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Off {
    /// So many minor units.
    Cents(Exact),
    /// So many percent.
    Percent(Exact),
}

/// What a coupon takes off all of these fees: never more than they are.
#[must_use]
pub fn coupon_credit(off: &Off, fees: &[Exact]) -> Exact {
    let sum: Exact = fees.iter().sum();
    let credit = match off {
        Off::Cents(cents) => cents.clone(),
        Off::Percent(percent) => COUPON.whole(&(&sum * &percent.percent())),
    };
    credit.min(sum).floor_zero()
}

/// A coupon's credit and each fee's share of it, in minor units that add up.
#[must_use]
pub fn coupon_split(off: &Off, fees: &[Exact]) -> (Exact, Vec<Exact>) {
    let credit = coupon_credit(off, fees);
    let shares = allocate::spread(&credit, fees);
    (credit, shares)
}

/// A fee on its way to the invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is before coupons.
    pub amount: Exact,
    /// Percent.
    pub tax_rate: Exact,
}

/// A coupon with the lines it is limited to, by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineCoupon {
    /// What it takes off.
    pub off: Off,
    /// Which lines; none: all.
    pub lines: Option<Vec<usize>>,
}

/// An invoice's sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// What coupons took off each line, exactly.
    pub line_coupons: Vec<Exact>,
    /// What coupons took off each line as it is printed: the same to within a unit, and together what they took off.
    pub printed_coupons: Vec<Exact>,
    /// Each line's tax, rounded by itself.
    pub line_taxes: Vec<Exact>,
    /// Each line's tax as it is printed: the same to within a unit, and together the invoice's tax.
    pub printed_taxes: Vec<Exact>,
    /// What coupons took off.
    pub coupons: Exact,
    /// The fees without coupons' part.
    pub subtotal: Exact,
    /// The tax: rounded once, from the lines' precise taxes.
    pub taxes: Exact,
    /// What is to be paid.
    pub total: Exact,
}

/// Applies coupons in their order, each spread pro rata on what is left of its lines, then taxes.
#[must_use]
pub fn totals(lines: &[Line], coupons_in_order: &[LineCoupon]) -> Totals {
    let mut left: Vec<Exact> = lines.iter().map(|line| line.amount.clone()).collect();
    for coupon in coupons_in_order {
        let applies = |index: usize| coupon.lines.as_ref().is_none_or(|lines| lines.contains(&index));
        let weights: Vec<Exact> =
            left.iter().enumerate().map(|(index, left)| if applies(index) { left.clone() } else { Exact::ZERO }).collect();
        let credit = coupon_credit(&coupon.off, &weights);
        for (left, share) in left.iter_mut().zip(allocate::precise(&credit, &weights)) {
            *left -= &share;
        }
    }
    let line_coupons: Vec<Exact> = lines.iter().zip(&left).map(|(line, left)| &line.amount - left).collect();
    let precise_taxes: Vec<Exact> = lines.iter().zip(&left).map(|(line, left)| left * &line.tax_rate.percent()).collect();
    let line_taxes = lines.iter().zip(&left).map(|(line, left)| fee::tax(left, &line.tax_rate)).collect();
    let subtotal = fee::whole(&left.iter().sum());
    let taxes = tax(&precise_taxes.iter().sum());
    let total = &subtotal + &taxes;
    // A coupon that takes the rest of a line after another one's share takes a fraction; what is printed is whole.
    let coupons = lines.iter().map(|line| &line.amount).sum::<Exact>() - &subtotal;
    let printed_coupons = allocate::whole_parts(&coupons, &line_coupons);
    Totals {
        printed_taxes: allocate::whole_parts(&taxes, &precise_taxes),
        printed_coupons,
        line_coupons,
        line_taxes,
        coupons,
        subtotal,
        taxes,
        total,
    }
}

/// An invoice's tax, of the precise taxes of its lines.
fn tax(precise: &Exact) -> Exact {
    INVOICE_TAX.whole(precise)
}

/// What goes into an invoice, before anything is taken off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Plan fees.
    pub subscription: Exact,
    /// Usage fees.
    pub usage: Exact,
    /// What coupons take off, before tax.
    pub coupons: Exact,
    /// Percent.
    pub tax_rate: Exact,
    /// Credit notes, after tax.
    pub credit_notes: Exact,
    /// Prepaid credits, after credit notes.
    pub prepaid: Exact,
}

/// An invoice's sums in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// After coupons, before tax.
    pub subtotal_excl: Exact,
    /// The tax.
    pub tax: Exact,
    /// With tax.
    pub subtotal_incl: Exact,
    /// What is left of it.
    pub settled: Settled,
}

/// What is left to be paid of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Credit notes that were used.
    pub credit_notes_used: Exact,
    /// Prepaid credits that were used.
    pub prepaid_used: Exact,
    /// What is to be paid.
    pub total: Exact,
}

/// Takes credit notes off what is owed, then prepaid credits; never more of them than is owed.
#[must_use]
pub fn settle(owed: &Exact, credit_notes: &Exact, prepaid: &Exact) -> Settled {
    let credit_notes_used = credit_notes.clone().min(owed.clone()).floor_zero();
    let after_notes = owed - &credit_notes_used;
    let prepaid_used = prepaid.clone().min(after_notes.clone()).floor_zero();
    Settled { total: &after_notes - &prepaid_used, credit_notes_used, prepaid_used }
}

/// Takes off in order; never below nothing, and never more than was owed.
#[must_use]
pub fn order(order: &Order) -> Ordered {
    let subtotal_excl = (&order.subscription + &order.usage - &order.coupons).floor_zero();
    let tax = tax(&(&subtotal_excl * &order.tax_rate.percent()));
    let subtotal_incl = &subtotal_excl + &tax;
    let settled = settle(&subtotal_incl, &order.credit_notes, &order.prepaid);
    Ordered { subtotal_excl, tax, subtotal_incl, settled }
}
