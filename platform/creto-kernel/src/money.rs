//! Money in integer millionths of a currency unit. Sums are exact; overflow is an error, never a wrap.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount in micro-units: 1 000 000 is one unit of the currency (one dollar, one euro). Range ± 9.2 × 10¹² units.
///
/// JSON form is a decimal string, `"2.5"`, because JSON numbers lose digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(i64);

/// Micro-units in one unit.
pub const MICROS_PER_UNIT: i64 = 1_000_000;

/// Why an amount was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a decimal number.
    #[error("`{0}` is not an amount: write a decimal number such as `2.50`")]
    NotDecimal(String),
    /// More than six fractional digits.
    #[error("`{0}` is finer than a millionth: use at most six digits after the point")]
    TooFine(String),
    /// Outside the range of the type.
    #[error("`{0}` is too large an amount")]
    TooLarge(String),
}

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);

    /// An amount by its micro-units.
    #[must_use]
    pub const fn new(micros: i64) -> Self {
        Self(micros)
    }

    /// The micro-units.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum, or `None` on overflow.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` on overflow.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// Whether this is less than nothing.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (units, fraction) = (magnitude / MICROS_PER_UNIT.unsigned_abs(), magnitude % MICROS_PER_UNIT.unsigned_abs());
        let digits = format!("{fraction:06}");
        let digits = digits.trim_end_matches('0');
        let sign = if self.0 < 0 { "-" } else { "" };
        if digits.is_empty() { write!(f, "{sign}{units}") } else { write!(f, "{sign}{units}.{digits}") }
    }
}

impl fmt::Debug for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Micros({self})")
    }
}

impl FromStr for Micros {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let shown = || text.chars().take(60).collect::<String>();
        let (negative, magnitude) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (units, fraction) = magnitude.split_once('.').unwrap_or((magnitude, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(units) || !digits(fraction) {
            return Err(MoneyError::NotDecimal(shown()));
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 6 {
            return Err(MoneyError::TooFine(shown()));
        }
        let parse = |part: &str| part.parse::<i64>().map_err(|_| MoneyError::TooLarge(shown()));
        let micros = parse(units)?
            .checked_mul(MICROS_PER_UNIT)
            .and_then(|whole| whole.checked_add(format!("{fraction:0<6}").parse().unwrap_or(0)))
            .ok_or_else(|| MoneyError::TooLarge(shown()))?;
        Ok(Self(if negative { -micros } else { micros }))
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_and_print_exactly() {
        for (text, micros, canonical) in [
            ("0", 0, "0"),
            ("2.50", 2_500_000, "2.5"),
            ("-0.000001", -1, "-0.000001"),
            ("9223372036854.775807", i64::MAX, "9223372036854.775807"),
            ("1.1000000", 1_100_000, "1.1"),
        ] {
            let amount: Micros = text.parse().unwrap();
            assert_eq!((amount.get(), amount.to_string().as_str()), (micros, canonical));
        }
        for bad in ["", ".", "1.", ".5", "1e3", "+1", "1,5", "0.0000001", "9223372036854.775808", "NaN", "--1", " 1"] {
            assert!(bad.parse::<Micros>().is_err(), "{bad}");
        }
    }
}
