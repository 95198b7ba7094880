//! Rating: units and a price become an amount.

use creto_kernel::Micros;
use creto_kernel::money::MICROS_PER_UNIT;
use rust_decimal::{Decimal, RoundingStrategy};

/// The cost of `units` at `unit_price`: rounded once, half away from zero, to a micro-unit; `None` beyond the range of an amount.
#[must_use]
pub fn per_unit(units: Decimal, unit_price: Decimal) -> Option<Micros> {
    let micros = units.checked_mul(unit_price)?.checked_mul(Decimal::from(MICROS_PER_UNIT))?;
    let rounded = micros.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero);
    i64::try_from(rounded).ok().map(Micros::new)
}

/// What is posted when usage grows: the amount for the new total less what was posted before, so that fractions of a micro-unit are
/// never lost however the usage is split.
#[must_use]
pub fn increment(units_before: Decimal, units: Decimal, unit_price: Decimal) -> Option<Micros> {
    per_unit(units_before.checked_add(units)?, unit_price)?.checked_sub(per_unit(units_before, unit_price)?)
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

    proptest! {
        #[test]
        fn splitting_usage_never_changes_the_total(parts in prop::collection::vec(0_u32..1_000_000, 1..40), price in 0_u64..1_000_000) {
            let price = Decimal::new(price.cast_signed(), 10);
            let mut before = Decimal::ZERO;
            let mut posted = Micros::ZERO;
            for part in parts {
                posted = posted.checked_add(increment(before, part.into(), price).unwrap()).unwrap();
                before += Decimal::from(part);
            }
            prop_assert_eq!(Some(posted), per_unit(before, price));
        }
    }
}
