//! Amounts as Stripe counts them, <https://docs.stripe.com/currencies>: its minor units are not ISO 4217's everywhere.

use crate::model::currency::Currency;
use crate::payments::ProviderError;

/// Currencies that Stripe counts without a minor unit.
const ZERO_DECIMAL: [&str; 15] = ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];
/// Currencies that it counts in thousandths, of which the last digit must be 0.
const THREE_DECIMAL: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];
/// Currencies that it cannot be asked for, or of which its documents do not agree with themselves how they are counted.
const NOT_ASKED: [&str; 4] = ["IQD", "LYD", "UGX", "UYI"];
/// Largest amount, in Stripe's units: eight digits.
const AMOUNT_MAX: i64 = 99_999_999;

/// The amount in Stripe's units.
///
/// INVARIANT: exactly the amount, or refused: nothing is rounded.
pub(super) fn of(cents: i64, currency: Currency) -> Result<i64, ProviderError> {
    let code = currency.as_str();
    let no = |why: &str| Err(ProviderError::Never(format!("stripe cannot be asked for {cents} minor units of {code}: {why}")));
    if NOT_ASKED.contains(&code) {
        return no("it does not take the currency");
    }
    let places = match code {
        _ if ZERO_DECIMAL.contains(&code) => 0,
        _ if THREE_DECIMAL.contains(&code) => 3,
        // Krónur have no minor unit, and are counted in hundredths all the same.
        _ => 2,
    };
    let ours = currency.exponent();
    let scaled = if places >= ours {
        cents.checked_mul(10_i64.pow(places - ours))
    } else {
        let parts = 10_i64.pow(ours - places);
        (cents % parts == 0).then(|| cents / parts)
    };
    match scaled {
        None => no("it counts no such fraction"),
        Some(amount) if places == 3 && amount % 10 != 0 => no("it takes thousandths that end in 0"),
        Some(amount) if amount.abs() > AMOUNT_MAX => no("it takes at most eight digits"),
        Some(amount) => Ok(amount),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_in_stripes_units_or_refused() {
        for (code, cents, amount) in [
            ("EUR", 1_234, Some(1_234)),
            ("EUR", -5, Some(-5)),
            ("JPY", 1_234, Some(1_234)),
            // ISO 4217 counts ariary in hundredths and krónur whole; Stripe the other way round.
            ("MGA", 1_200, Some(12)),
            ("MGA", 1_234, None),
            ("ISK", 5, Some(500)),
            ("KWD", 1_230, Some(1_230)),
            ("KWD", 1_234, None),
            ("TND", -10, Some(-10)),
            ("IQD", 1_000, None),
            ("UGX", 5, None),
            ("EUR", 99_999_999, Some(99_999_999)),
            ("EUR", 100_000_000, None),
            ("ISK", 1_000_000, None),
            ("ISK", i64::MAX, None),
        ] {
            assert_eq!(of(cents, code.parse().unwrap()).ok(), amount, "{cents} {code}");
        }
    }
}
