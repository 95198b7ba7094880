//! Every place where a number is rounded, by name. Nothing else in this crate rounds.
//!
//! Amounts of money are rounded half away from zero to the currency's minor unit, once, at the end: each constant below says of what.
//! The golden runner fails when any of them is changed.

use crate::core::exact::Exact;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the nearest; halves away from zero.
    HalfAway,
    /// To the next one that is not below.
    Up,
    /// To the next one that is not above.
    Down,
}

/// A place where a number is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// Its name.
    pub name: &'static str,
    direction: Direction,
}

impl Rounding {
    const fn new(name: &'static str, direction: Direction) -> Self {
        Self { name, direction }
    }

    /// To a whole number.
    #[must_use]
    pub fn whole(self, value: &Exact) -> Exact {
        match self.direction {
            Direction::HalfAway => value.nearest(),
            Direction::Up => value.ceil(),
            Direction::Down => value.floor(),
        }
    }

    /// To so many decimal places; a negative number of places rounds to tens, hundreds, …
    #[must_use]
    pub fn places(self, value: &Exact, places: i32) -> Exact {
        let scale = Exact::power_of_ten(places);
        self.whole(&(value * &scale)) * Exact::power_of_ten(-places)
    }
}

/// A metric's units, by its `round` function.
pub const UNITS_ROUND: Rounding = Rounding::new("units_round", Direction::HalfAway);
/// A metric's units, by its `ceil` function.
pub const UNITS_CEIL: Rounding = Rounding::new("units_ceil", Direction::Up);
/// A metric's units, by its `floor` function.
pub const UNITS_FLOOR: Rounding = Rounding::new("units_floor", Direction::Down);
/// Begun packages are whole packages.
pub const PACKAGES: Rounding = Rounding::new("packages", Direction::Up);
/// A fee, to the minor unit.
pub const FEE: Rounding = Rounding::new("fee", Direction::HalfAway);
/// The tax of one fee, taken on the unrounded fee, to the minor unit.
pub const FEE_TAX: Rounding = Rounding::new("fee_tax", Direction::HalfAway);
/// The tax of an invoice, from the precise taxes of its fees, to the minor unit.
pub const INVOICE_TAX: Rounding = Rounding::new("invoice_tax", Direction::HalfAway);
/// What a minimum leaves to be paid, to the minor unit.
pub const TRUE_UP: Rounding = Rounding::new("true_up", Direction::HalfAway);
/// A plan's fee for a part of its period, to the minor unit.
pub const PLAN_FEE: Rounding = Rounding::new("plan_fee", Direction::HalfAway);
/// What a percentage coupon takes off, to the minor unit.
pub const COUPON: Rounding = Rounding::new("coupon", Direction::HalfAway);
/// Each share of an amount that is spread in minor units, before the largest remainders take the rest.
pub const SHARE: Rounding = Rounding::new("share", Direction::Down);
/// Prepaid credits as money, to the minor unit.
pub const CREDIT_MONEY: Rounding = Rounding::new("credit_money", Direction::HalfAway);
/// Steps of a top-up that are needed to land past its threshold, before one more.
pub const TOP_UP_STEPS: Rounding = Rounding::new("top_up_steps", Direction::Down);
/// What is posted to the ledger so far, to a millionth of the currency unit.
pub const POSTING: Rounding = Rounding::new("posting", Direction::HalfAway);

/// All of them.
pub const ALL: [Rounding; 14] = [
    UNITS_ROUND,
    UNITS_CEIL,
    UNITS_FLOOR,
    PACKAGES,
    FEE,
    FEE_TAX,
    INVOICE_TAX,
    TRUE_UP,
    PLAN_FEE,
    COUPON,
    SHARE,
    CREDIT_MONEY,
    TOP_UP_STEPS,
    POSTING,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_may_be_negative() {
        let value: Exact = "123.456".parse().unwrap();
        for (rounding, places, expected) in [
            (UNITS_CEIL, -2, "200"),
            (UNITS_FLOOR, -2, "100"),
            (UNITS_ROUND, 2, "123.46"),
            (UNITS_ROUND, 0, "123"),
            (UNITS_CEIL, 2, "123.46"),
        ] {
            assert_eq!(rounding.places(&value, places).to_string(), expected);
        }
    }

    #[test]
    fn every_place_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|rounding| rounding.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
