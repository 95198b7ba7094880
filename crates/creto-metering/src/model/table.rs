//! Tables as they leave: columns that say what their values are, and rows of cells. Every format is made of the same ones.

use creto_kernel::{Micros, Timestamp};

use crate::core::exact::Exact;

/// Digits of money: all of a 64-bit number of millionths.
const MONEY: Kind = Kind::Decimal { precision: 19, scale: 6 };
/// Digits of units: as many as every reader of Parquet knows, twelve of them after the point.
const UNITS: Kind = Kind::Decimal { precision: 38, scale: 12 };

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Whole numbers: places, counts, and amounts in minor units.
    Integer,
    /// Decimal numbers.
    Decimal {
        /// Digits in all.
        precision: u32,
        /// Of them after the point.
        scale: u32,
    },
    /// Moments in microseconds, UTC.
    Time,
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Whether every row has a value.
    pub required: bool,
}

impl Column {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: true }
    }

    /// Text.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self::new(name, Kind::Text)
    }

    /// A whole number.
    #[must_use]
    pub const fn integer(name: &'static str) -> Self {
        Self::new(name, Kind::Integer)
    }

    /// Money in units of a currency.
    #[must_use]
    pub const fn money(name: &'static str) -> Self {
        Self::new(name, MONEY)
    }

    /// Units of a metric, where they fit; beside it stands a text column that always has them.
    #[must_use]
    pub const fn units(name: &'static str) -> Self {
        Self::new(name, UNITS).maybe()
    }

    /// A moment.
    #[must_use]
    pub const fn time(name: &'static str) -> Self {
        Self::new(name, Kind::Time)
    }

    /// One that may be empty.
    #[must_use]
    pub const fn maybe(mut self) -> Self {
        self.required = false;
        self
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// None.
    Nothing,
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A decimal number, times ten to the power of its column's scale.
    Decimal(i128),
    /// A moment.
    Time(Timestamp),
}

impl Cell {
    /// How many bytes it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => size_of::<Self>() + text.len(),
            _ => size_of::<Self>(),
        }
    }

    /// Units, where 38 digits with twelve after the point hold them wholly.
    #[must_use]
    pub fn units(units: &Exact) -> Self {
        unscaled(&units.to_string(), UNITS).map_or(Self::Nothing, Self::Decimal)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<Micros> for Cell {
    fn from(amount: Micros) -> Self {
        Self::Decimal(i128::from(amount.get()))
    }
}

impl From<Timestamp> for Cell {
    fn from(at: Timestamp) -> Self {
        Self::Time(at)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

/// A decimal text times ten to the power of the scale; `None` where digits would be lost, or where it is a fraction.
fn unscaled(text: &str, kind: Kind) -> Option<i128> {
    let Kind::Decimal { precision, scale } = kind else { return None };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let missing = usize::try_from(scale).ok()?.checked_sub(fraction.len())?;
    let digits: i128 = format!("{whole}{fraction}{}", "0".repeat(missing)).parse().ok()?;
    (digits.unsigned_abs() < 10_u128.checked_pow(precision)?).then_some(digits)
}

/// A decimal as text: no exponent, no trailing zeros.
#[must_use]
pub fn decimal_text(unscaled: i128, scale: u32) -> String {
    let places = usize::try_from(scale).unwrap_or(usize::MAX);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let sign = if unscaled < 0 { "-" } else { "" };
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_decimals_where_no_digit_is_lost_and_nothing_else() {
        let units = |text: &str| Cell::units(&text.parse().unwrap());
        assert_eq!(units("1.5"), Cell::Decimal(1_500_000_000_000));
        assert_eq!(units("-0.000000000001"), Cell::Decimal(-1));
        assert_eq!(units(&"9".repeat(26)), Cell::Decimal(10_i128.pow(38) - 10_i128.pow(12)));
        assert_eq!(units(&"9".repeat(27)), Cell::Nothing, "39 digits");
        assert_eq!(units("0.0000000000001"), Cell::Nothing, "13 places");
        assert_eq!(Cell::units(&Exact::ratio(1, 3).unwrap()), Cell::Nothing, "a period has no end");
    }

    #[test]
    fn a_decimal_is_printed_as_it_is_read() {
        for text in ["0", "1", "-1.5", "0.000000000001", "-12345678901234567890.000001"] {
            assert_eq!(decimal_text(unscaled(text, UNITS).unwrap(), 12), text);
        }
        assert_eq!(decimal_text(i128::from(i64::MIN), 6), "-9223372036854.775808");
    }
}
