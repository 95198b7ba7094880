//! Fees: parts of a period, taxes of a fee, least and most that is paid. All amounts are in minor units.

use crate::core::aggregate::prorate;
use crate::core::exact::Exact;
use crate::core::period::Period;
use crate::core::rounding::{FEE, FEE_TAX, PLAN_FEE, TRUE_UP};

/// A fee with its tax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaxedFee {
    /// The fee.
    pub fee: Exact,
    /// Its tax.
    pub tax: Exact,
}

impl TaxedFee {
    /// What is paid.
    #[must_use]
    pub fn total(&self) -> Exact {
        &self.fee + &self.tax
    }
}

/// A plan's fee for so many days of a period, unrounded.
#[must_use]
pub fn part(amount_cents: &Exact, days: u32, period_days: u32) -> Exact {
    amount_cents * &prorate::share(days, period_days)
}

/// A plan's fee for the days of `billed` in a period.
#[must_use]
pub fn plan_fee(amount_cents: &Exact, days: u32, period_days: u32) -> Exact {
    PLAN_FEE.whole(&part(amount_cents, days, period_days))
}

/// A fee and its tax. The tax is taken on the unrounded fee, so that rounding happens once in each.
#[must_use]
pub fn taxed(precise_fee: &Exact, tax_rate: &Exact) -> TaxedFee {
    TaxedFee { fee: whole(precise_fee), tax: tax(precise_fee, tax_rate) }
}

/// The tax of one fee.
#[must_use]
pub fn tax(precise_fee: &Exact, tax_rate: &Exact) -> Exact {
    FEE_TAX.whole(&(precise_fee * &tax_rate.percent()))
}

/// A fee in whole minor units.
#[must_use]
pub fn whole(precise_fee: &Exact) -> Exact {
    FEE.whole(precise_fee)
}

/// A charge's amount in units of the currency as a fee in minor units.
#[must_use]
pub fn of_amount(amount: &Exact, subunits: &Exact) -> Exact {
    whole(&(amount * subunits))
}

/// What a minimum for so many days of a period leaves to be paid after what was used.
#[must_use]
pub fn true_up(min_cents: &Exact, days: u32, period_days: u32, used_cents: &Exact) -> Exact {
    TRUE_UP.whole(&(part(min_cents, days, period_days) - used_cents)).floor_zero()
}

/// What is paid where there is a most.
#[must_use]
pub fn capped(amount_cents: Exact, max_cents: Option<&Exact>) -> Exact {
    match max_cents {
        Some(max) => amount_cents.min(max.clone()),
        None => amount_cents,
    }
}

/// The part of a commitment that `billed` days of a period owe.
#[must_use]
pub fn commitment_coefficient(billed: Period, period: Period) -> Exact {
    prorate::share(billed.days(), period.days())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maximum_caps_and_a_minimum_tops_up() {
        let cents = |value: i64| Exact::from(value);
        assert_eq!(capped(cents(500), Some(&cents(400))), cents(400));
        assert_eq!(capped(cents(300), Some(&cents(400))), cents(300));
        assert_eq!(capped(cents(300), None), cents(300));
        assert_eq!(true_up(&cents(1000), 28, 28, &cents(1200)), cents(0));
        assert_eq!(true_up(&cents(1000), 28, 28, &cents(0)), cents(1000));
        assert_eq!(of_amount(&"1.005".parse().unwrap(), &cents(100)), cents(101));
    }
}
