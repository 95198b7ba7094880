//! The list price of one event, posted as it happens.

use creto_kernel::Micros;
use creto_kernel::money::MICROS_PER_UNIT;
use rust_decimal::Decimal;

use crate::core::exact::Exact;
use crate::core::posting;

/// The cost of `units` at `unit_price`, one event at a time: rounded once, half away from zero, to a micro-unit; `None` beyond the range of an amount.
#[must_use]
pub fn per_unit(units: Decimal, unit_price: Decimal) -> Option<Micros> {
    posting::rounded(&(Exact::from(units) * Exact::from(unit_price)))
}

/// The most that `units` at `unit_price` may be posted for, whatever was used before: rounded up to a micro; `None` beyond the range of
/// an amount.
#[must_use]
pub fn at_most(units: Decimal, unit_price: Decimal) -> Option<Micros> {
    let micros = Exact::from(units) * Exact::from(unit_price) * Exact::from(MICROS_PER_UNIT);
    micros.ceil().to_i64().map(Micros::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn rounding_is_half_away_from_zero_at_a_micro() {
        for (units, price, micros) in
            [("3", "0.00005", 150), ("1", "0.0000005", 1), ("1", "0.0000004", 0), ("-1", "0.0000005", -1), ("0", "9", 0)]
        {
            assert_eq!(per_unit(decimal(units), decimal(price)), Some(Micros::new(micros)), "{units} at {price}");
        }
        assert_eq!(per_unit(decimal("79228162514264337593543950335"), decimal("1")), None);
    }

    #[test]
    fn what_may_be_posted_is_rounded_up() {
        for (units, price, micros) in [("3", "0.00005", 150), ("1", "0.0000005", 1), ("1", "0.0000000001", 1), ("0", "9", 0)] {
            assert_eq!(at_most(decimal(units), decimal(price)), Some(Micros::new(micros)), "{units} at {price}");
        }
        assert_eq!(at_most(decimal("79228162514264337593543950335"), decimal("1")), None);
    }

    proptest! {
        #[test]
        fn an_event_is_never_more_than_half_a_micro_from_its_exact_cost(units in 0_u32..1_000_000, price in 0_u64..1_000_000_000) {
            let (units, price) = (Decimal::from(units), Decimal::new(price.cast_signed(), 10));
            let exact = units * price * Decimal::from(MICROS_PER_UNIT);
            let posted = Decimal::from(per_unit(units, price).unwrap().get());
            prop_assert!((exact - posted).abs() <= Decimal::new(5, 1));
        }
    }
}
