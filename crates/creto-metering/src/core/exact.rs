//! Exact numbers: fractions of integers of any size, so that nothing is rounded before the one place where money is.
//!
//! Prorations (`24/31`), weighted sums and unit prices have no finite decimal form; a decimal type would round each of them. Here a
//! value stays exact until a [`Rounding`](crate::core::rounding::Rounding) makes it an amount.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};
use std::str::FromStr;

use creto_kernel::Micros;
use creto_kernel::money::MICROS_PER_UNIT;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest text of a number, in bytes. It bounds the time one multiplication takes.
pub const TEXT_BYTES_MAX: usize = 512;
/// Largest exponent of ten in `1e9`, either way.
pub const EXPONENT_MAX: i64 = 512;

/// An exact number. Sums, differences and products never fail and never round; a quotient fails only by zero.
///
/// JSON form is a decimal string; a JSON number is read by its shortest decimal text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Exact(RBig);

/// The text is not a decimal number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a decimal number of at most {TEXT_BYTES_MAX} digits")]
pub struct NotDecimal(String);

impl Exact {
    /// Nothing.
    pub const ZERO: Self = Self(RBig::ZERO);
    /// One.
    pub const ONE: Self = Self(RBig::ONE);

    /// `numerator ÷ denominator`; `None` by zero.
    #[must_use]
    pub fn ratio(numerator: impl Into<Self>, denominator: impl Into<Self>) -> Option<Self> {
        numerator.into().over(&denominator.into())
    }

    /// This ÷ `divisor`; `None` by zero.
    #[must_use]
    pub fn over(&self, divisor: &Self) -> Option<Self> {
        (!divisor.is_zero()).then(|| Self(&self.0 / &divisor.0))
    }

    /// Ten to this power.
    #[must_use]
    pub fn power_of_ten(exponent: i32) -> Self {
        let magnitude = UBig::from(10_u8).pow(usize::try_from(exponent.unsigned_abs()).unwrap_or(0));
        if exponent < 0 { Self(RBig::from_parts(IBig::ONE, magnitude)) } else { Self(RBig::from(magnitude)) }
    }

    /// Whether this is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 == RBig::ZERO
    }

    /// Whether this is less than zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.0 < RBig::ZERO
    }

    /// Whether this is more than zero.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.0 > RBig::ZERO
    }

    /// The magnitude.
    #[must_use]
    pub fn abs(&self) -> Self {
        if self.is_negative() { -self } else { self.clone() }
    }

    /// This, or zero where it is negative.
    #[must_use]
    pub fn floor_zero(self) -> Self {
        if self.is_negative() { Self::ZERO } else { self }
    }

    /// A hundredth of this: a percentage as a factor.
    #[must_use]
    pub fn percent(&self) -> Self {
        Self(&self.0 / RBig::from(100_u8))
    }

    /// Largest whole number that is not above this.
    #[must_use]
    pub fn floor(&self) -> Self {
        Self(RBig::from(self.0.floor()))
    }

    /// Smallest whole number that is not below this.
    #[must_use]
    pub fn ceil(&self) -> Self {
        Self(RBig::from(self.0.ceil()))
    }

    /// Nearest whole number, halves away from zero.
    #[must_use]
    pub fn nearest(&self) -> Self {
        let half = Self(RBig::from_parts(IBig::ONE, UBig::from(2_u8)));
        if self.is_negative() { -(&half - self).floor() } else { (self + &half).floor() }
    }

    /// The whole number this is, where it is one and fits.
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        if self.0.denominator() != &UBig::ONE {
            return None;
        }
        i64::try_from(self.0.numerator()).ok()
    }

    /// The amount this is in units of a currency, where it is whole millionths and fits.
    #[must_use]
    pub fn to_micros(&self) -> Option<Micros> {
        (self * &Self::from(MICROS_PER_UNIT)).to_i64().map(Micros::new)
    }

    /// The decimal this is, where it has at most 28 digits.
    #[must_use]
    pub fn to_decimal(&self) -> Option<Decimal> {
        Decimal::from_str_exact(&self.decimal_text()?).ok()
    }

    /// Numerator and denominator, the latter positive, in lowest terms.
    #[must_use]
    pub fn parts(&self) -> (String, String) {
        (self.0.numerator().to_string(), self.0.denominator().to_string())
    }

    /// As text that keeps the value: a decimal, or `n/d` where no decimal is exact. What [`Self::from_stored`] reads.
    #[must_use]
    pub fn stored(&self) -> String {
        self.to_string()
    }

    /// Reads what [`Self::stored`] wrote. Input from outside is read by [`FromStr`], which takes decimals alone.
    pub fn from_stored(text: &str) -> Result<Self, NotDecimal> {
        // What was computed may be longer than what may be sent.
        let Some((numerator, denominator)) = text.split_once('/') else { return decimal(text) };
        let refused = || NotDecimal(shown(text));
        let numerator: IBig = numerator.parse().map_err(|_| refused())?;
        let denominator: UBig = denominator.parse().map_err(|_| refused())?;
        if denominator == UBig::ZERO {
            return Err(refused());
        }
        Ok(Self(RBig::from_parts(numerator, denominator)))
    }

    /// The finite decimal text, where there is one: no exponent, no trailing zeros.
    fn decimal_text(&self) -> Option<String> {
        let places = decimal_places(self.0.denominator())?;
        let scaled = self * &Self(RBig::from(UBig::from(10_u8).pow(places)));
        let digits = format!("{:0>width$}", scaled.abs().0.numerator().to_string(), width = places + 1);
        let (whole, fraction) = digits.split_at_checked(digits.len() - places)?;
        let sign = if self.is_negative() { "-" } else { "" };
        Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
    }
}

/// How many decimal places a fraction of this denominator needs; `None` where it is periodic.
fn decimal_places(denominator: &UBig) -> Option<usize> {
    let (mut rest, mut twos, mut fives) = (denominator.clone(), 0_usize, 0_usize);
    let (two, five) = (UBig::from(2_u8), UBig::from(5_u8));
    while &rest % &two == UBig::ZERO {
        rest = &rest / &two;
        twos += 1;
    }
    while &rest % &five == UBig::ZERO {
        rest = &rest / &five;
        fives += 1;
    }
    (rest == UBig::ONE).then_some(twos.max(fives))
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

impl FromStr for Exact {
    type Err = NotDecimal;
    /// `-12.5`, `.5`, `1e-7`; no plus sign, no spaces, no infinities.
    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        if text.len() > TEXT_BYTES_MAX { Err(NotDecimal(shown(text))) } else { decimal(text) }
    }
}

/// A decimal of any length.
fn decimal(text: &str) -> Result<Exact, NotDecimal> {
    let refused = || NotDecimal(shown(text));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| refused())?),
        None => (text, 0),
    };
    let (negative, magnitude) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let digits = format!("{whole}{fraction}");
    let is_decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && !magnitude.ends_with('.');
    if !is_decimal || !(-EXPONENT_MAX..=EXPONENT_MAX).contains(&exponent) {
        return Err(refused());
    }
    let whole: UBig = digits.parse().map_err(|_| refused())?;
    let places = i64::try_from(fraction.len()).map_err(|_| refused())?;
    let shift = i32::try_from(exponent - places).map_err(|_| refused())?;
    let value = &Exact(RBig::from(whole)) * &Exact::power_of_ten(shift);
    Ok(if negative { -value } else { value })
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decimal_text() {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}/{}", self.0.numerator(), self.0.denominator()),
        }
    }
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Default for Exact {
    fn default() -> Self {
        Self::ZERO
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text.parse().map_err(Error::custom),
            serde_json::Value::Number(number) => number.to_string().parse().map_err(Error::custom),
            other => Err(Error::custom(format!("`{other}` is not a decimal number"))),
        }
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Exact {
            fn from(value: $integer) -> Self {
                Self(RBig::from(value))
            }
        }
    )*};
}
from_integer!(u8, u32, i32, i64, u64, i128, u128, usize);

impl From<&Exact> for Exact {
    fn from(value: &Exact) -> Self {
        value.clone()
    }
}

impl From<Decimal> for Exact {
    fn from(value: Decimal) -> Self {
        let scale = UBig::from(10_u8).pow(usize::try_from(value.scale()).unwrap_or(0));
        Self(RBig::from_parts(IBig::from(value.mantissa()), scale))
    }
}

impl From<Micros> for Exact {
    fn from(value: Micros) -> Self {
        Self(RBig::from_parts(IBig::from(value.get()), UBig::from(MICROS_PER_UNIT.unsigned_abs())))
    }
}

macro_rules! arithmetic {
    ($($operation:ident $method:ident),*) => {$(
        impl $operation<&Exact> for &Exact {
            type Output = Exact;
            fn $method(self, other: &Exact) -> Exact {
                Exact((&self.0).$method(&other.0))
            }
        }
        impl $operation<Exact> for Exact {
            type Output = Exact;
            fn $method(self, other: Exact) -> Exact {
                Exact(self.0.$method(other.0))
            }
        }
        impl $operation<&Exact> for Exact {
            type Output = Exact;
            fn $method(self, other: &Exact) -> Exact {
                Exact(self.0.$method(&other.0))
            }
        }
        impl $operation<Exact> for &Exact {
            type Output = Exact;
            fn $method(self, other: Exact) -> Exact {
                Exact((&self.0).$method(other.0))
            }
        }
    )*};
}
arithmetic!(Add add, Sub sub, Mul mul);

impl AddAssign<&Exact> for Exact {
    fn add_assign(&mut self, other: &Exact) {
        self.0 = &self.0 + &other.0;
    }
}

impl SubAssign<&Exact> for Exact {
    fn sub_assign(&mut self, other: &Exact) {
        self.0 = &self.0 - &other.0;
    }
}

impl Neg for Exact {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Neg for &Exact {
    type Output = Exact;
    fn neg(self) -> Exact {
        Exact(-self.0.clone())
    }
}

impl Sum for Exact {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, |total, value| total + value)
    }
}

impl<'a> Sum<&'a Self> for Exact {
    fn sum<I: Iterator<Item = &'a Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, |total, value| total + value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Exact {
        text.parse().unwrap()
    }

    #[test]
    fn decimals_read_and_print_exactly() {
        for (text, shown) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.10", "0.1"),
            (".5", "0.5"),
            ("-12.050", "-12.05"),
            ("1e-7", "0.0000001"),
            ("2.5E3", "2500"),
            ("17.9699999999999988631316", "17.9699999999999988631316"),
            ("123456789012345678901234567890123456789.5", "123456789012345678901234567890123456789.5"),
        ] {
            assert_eq!(exact(text).to_string(), shown);
        }
        let long = "1".repeat(TEXT_BYTES_MAX + 1);
        for bad in ["", ".", "1.", "+1", " 1", "1 ", "1,5", "NaN", "inf", "--1", "1e", "1e999999", "0x1", "1/3", "१", &long] {
            assert!(bad.parse::<Exact>().is_err(), "{bad}");
        }
    }

    #[test]
    fn fractions_stay_exact_and_survive_the_store() {
        let third = Exact::ratio(1_u8, 3_u8).unwrap();
        assert_eq!(&third + &(&third + &third), Exact::ONE);
        assert_eq!(third.to_string(), "1/3");
        assert_eq!(Exact::from_stored(&(-&third).stored()), Ok(-third));
        assert_eq!(Exact::from_stored("1.25"), Ok(exact("1.25")));
        assert!(Exact::from_stored("1/0").is_err());
        assert!(Exact::ratio(1_u8, 0_u8).is_none());
    }

    #[test]
    fn halves_go_away_from_zero() {
        for (text, nearest) in [("0.5", 1), ("-0.5", -1), ("1.49", 1), ("-1.5", -2), ("2.5", 3), ("-2.4", -2), ("0", 0)] {
            assert_eq!(exact(text).nearest(), Exact::from(nearest), "{text}");
        }
        assert_eq!((exact("-1.5").floor(), exact("-1.5").ceil()), (Exact::from(-2), Exact::from(-1)));
    }

    #[test]
    fn amounts_and_decimals_convert_where_they_fit() {
        assert_eq!(exact("2.5").to_micros(), Some(Micros::new(2_500_000)));
        assert_eq!(exact("0.0000001").to_micros(), None);
        assert_eq!(exact("99999999999999999999").to_micros(), None);
        assert_eq!(Exact::from(Micros::new(-1)).to_string(), "-0.000001");
        assert_eq!(Exact::from("1.50".parse::<Decimal>().unwrap()).to_string(), "1.5");
        assert_eq!(exact("1.5").to_decimal(), "1.5".parse().ok());
        assert_eq!(exact(&"1".repeat(40)).to_decimal(), None);
    }

    #[test]
    fn what_was_computed_is_kept_however_long_it_became() {
        let largest: Exact = "1e512".parse().unwrap();
        let grown = &(&largest * &largest) + &Exact::ratio(1, 8).unwrap();
        for number in [grown.clone(), -grown, largest.over(&Exact::from(7)).unwrap()] {
            assert_eq!(Exact::from_stored(&number.stored()).unwrap(), number);
        }
        assert!("9".repeat(TEXT_BYTES_MAX + 1).parse::<Exact>().is_err(), "what is sent is bounded");
    }
}
