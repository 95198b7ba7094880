//! Exact numbers: fractions of integers of any size, so that nothing is rounded before the one place where money is.
//!
//! Prorations (`24/31`), weighted sums and unit prices have no finite decimal form; a decimal type would round each of them. Here a
//! value stays exact until a [`Rounding`](crate::core::rounding::Rounding) makes it an amount.

mod text;

use std::cmp::Ordering;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};

use creto_kernel::Micros;
use creto_kernel::money::MICROS_PER_UNIT;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;
use rust_decimal::Decimal;

pub use text::{EXPONENT_MAX, NotDecimal, TEXT_BYTES_MAX};

/// An exact number. Sums, differences and products never fail and never round; a quotient fails only by zero.
///
/// JSON form is a decimal string; a JSON number is read by its shortest decimal text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Exact(Form);

/// Most amounts are short decimals, and those are counted in two machine words; everything else is a fraction of big integers.
///
/// INVARIANT: a value has one form. It is a decimal if and only if it has at most [`SCALE_MAX`] decimal places and its digits fit 128 bits,
/// and a decimal's last digit behind the point is not zero; so equal values are equal and hash alike.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    /// `mantissa ÷ 10^scale`.
    Decimal {
        mantissa: i128,
        scale: u32,
    },
    Fraction(Box<RBig>),
}

/// Most decimal places of the short form.
const SCALE_MAX: u32 = 30;

/// How many places a quotient may have more than its dividend to be found by one division.
const QUOTIENT_PLACES: u32 = 6;

/// Ten to this power, where it fits.
const fn ten_to(power: u32) -> Option<i128> {
    10_i128.checked_pow(power)
}

/// `mantissa ÷ 10^scale` in its one form; `None` where it needs more places than the short form has.
fn short(mut mantissa: i128, mut scale: u32) -> Option<Exact> {
    // Machine words divide ten times faster than pairs of them.
    if let Ok(mut word) = i64::try_from(mantissa) {
        while scale > 0 && word % 10 == 0 {
            word /= 10;
            scale -= 1;
        }
        mantissa = i128::from(word);
    } else {
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
    }
    (scale <= SCALE_MAX).then_some(Exact(Form::Decimal { mantissa, scale }))
}

/// The fraction in its one form.
fn reduced(fraction: RBig) -> Exact {
    let decimal = decimal_places(fraction.denominator()).and_then(|places| {
        let scale = u32::try_from(places).ok().filter(|scale| *scale <= SCALE_MAX)?;
        let factor = UBig::from(10_u8).pow(places) / fraction.denominator();
        Some((i128::try_from(fraction.numerator() * IBig::from(factor)).ok()?, scale))
    });
    match decimal {
        Some((mantissa, scale)) => Exact(Form::Decimal { mantissa, scale }),
        None => Exact(Form::Fraction(Box::new(fraction))),
    }
}

impl Exact {
    /// Nothing.
    pub const ZERO: Self = Self(Form::Decimal { mantissa: 0, scale: 0 });
    /// One.
    pub const ONE: Self = Self(Form::Decimal { mantissa: 1, scale: 0 });

    fn fraction(&self) -> RBig {
        match &self.0 {
            Form::Decimal { mantissa, scale: 0 } => RBig::from(*mantissa),
            Form::Decimal { mantissa, scale } => {
                RBig::from_parts(IBig::from(*mantissa), UBig::from(10_u8).pow(usize::try_from(*scale).unwrap_or(0)))
            }
            Form::Fraction(fraction) => (**fraction).clone(),
        }
    }

    /// Both as decimals of one scale, where they fit.
    fn aligned(&self, other: &Self) -> Option<(i128, i128, u32)> {
        let (Form::Decimal { mantissa: a, scale: p }, Form::Decimal { mantissa: b, scale: q }) = (&self.0, &other.0) else { return None };
        match p.cmp(q) {
            Ordering::Equal => Some((*a, *b, *p)),
            Ordering::Less => Some((a.checked_mul(ten_to(q - p)?)?, *b, *q)),
            Ordering::Greater => Some((*a, b.checked_mul(ten_to(p - q)?)?, *p)),
        }
    }

    fn plus(&self, other: &Self) -> Self {
        let sum = self.aligned(other).and_then(|(a, b, scale)| short(a.checked_add(b)?, scale));
        sum.unwrap_or_else(|| reduced(self.fraction() + other.fraction()))
    }

    fn minus(&self, other: &Self) -> Self {
        let difference = self.aligned(other).and_then(|(a, b, scale)| short(a.checked_sub(b)?, scale));
        difference.unwrap_or_else(|| reduced(self.fraction() - other.fraction()))
    }

    fn times(&self, other: &Self) -> Self {
        let product = match (&self.0, &other.0) {
            (Form::Decimal { mantissa: a, scale: p }, Form::Decimal { mantissa: b, scale: q }) => {
                a.checked_mul(*b).and_then(|mantissa| short(mantissa, p + q))
            }
            _ => None,
        };
        product.unwrap_or_else(|| reduced(self.fraction() * other.fraction()))
    }

    /// The quotient, where both are short and it has few places more than they have.
    fn divided(&self, divisor: &Self) -> Option<Self> {
        let (Form::Decimal { mantissa: a, scale: p }, Form::Decimal { mantissa: b, scale: q }) = (&self.0, &divisor.0) else { return None };
        let widened = a.checked_mul(ten_to(q + QUOTIENT_PLACES)?)?;
        (widened.checked_rem(*b)? == 0).then(|| short(widened.checked_div(*b)?, p + QUOTIENT_PLACES)).flatten()
    }

    /// `numerator ÷ denominator`; `None` by zero.
    #[must_use]
    pub fn ratio(numerator: impl Into<Self>, denominator: impl Into<Self>) -> Option<Self> {
        numerator.into().over(&denominator.into())
    }

    /// This ÷ `divisor`; `None` by zero.
    #[must_use]
    pub fn over(&self, divisor: &Self) -> Option<Self> {
        (!divisor.is_zero()).then(|| self.divided(divisor).unwrap_or_else(|| reduced(self.fraction() / divisor.fraction())))
    }

    /// Ten to this power.
    #[must_use]
    pub fn power_of_ten(exponent: i32) -> Self {
        let short = if exponent < 0 { short(1, exponent.unsigned_abs()) } else { ten_to(exponent.unsigned_abs()).map(Self::from) };
        short.unwrap_or_else(|| {
            let magnitude = UBig::from(10_u8).pow(usize::try_from(exponent.unsigned_abs()).unwrap_or(0));
            reduced(if exponent < 0 { RBig::from_parts(IBig::ONE, magnitude) } else { RBig::from(magnitude) })
        })
    }

    /// Whether this is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        matches!(self.0, Form::Decimal { mantissa: 0, .. })
    }

    /// Whether this is less than zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Form::Decimal { mantissa, .. } => *mantissa < 0,
            Form::Fraction(fraction) => **fraction < RBig::ZERO,
        }
    }

    /// Whether this is more than zero.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        !self.is_negative() && !self.is_zero()
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
        self * &Self::power_of_ten(-2)
    }

    /// Largest whole number that is not above this.
    #[must_use]
    pub fn floor(&self) -> Self {
        match &self.0 {
            Form::Decimal { scale: 0, .. } => self.clone(),
            Form::Decimal { mantissa, scale } => Self::from(ten_to(*scale).map_or(0, |ten| mantissa.div_euclid(ten))),
            Form::Fraction(fraction) => reduced(RBig::from(fraction.floor())),
        }
    }

    /// Smallest whole number that is not below this.
    #[must_use]
    pub fn ceil(&self) -> Self {
        -(-self).floor()
    }

    /// Nearest whole number, halves away from zero.
    #[must_use]
    pub fn nearest(&self) -> Self {
        let half = Self(Form::Decimal { mantissa: 5, scale: 1 });
        if self.is_negative() { -(&half - self).floor() } else { (self + &half).floor() }
    }

    /// The whole number this is, where it is one and fits.
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        match &self.0 {
            Form::Decimal { mantissa, scale: 0 } => i64::try_from(*mantissa).ok(),
            _ => None,
        }
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
        let fraction = self.fraction();
        (fraction.numerator().to_string(), fraction.denominator().to_string())
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
        self.aligned(other).map_or_else(|| self.fraction().cmp(&other.fraction()), |(a, b, _)| a.cmp(&b))
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Exact {
            fn from(value: $integer) -> Self {
                Self(Form::Decimal { mantissa: i128::from(value), scale: 0 })
            }
        }
    )*};
}
from_integer!(u8, u32, i32, i64, u64, i128);

impl From<u128> for Exact {
    fn from(value: u128) -> Self {
        i128::try_from(value).map_or_else(|_| reduced(RBig::from(value)), Self::from)
    }
}

impl From<usize> for Exact {
    fn from(value: usize) -> Self {
        u64::try_from(value).map_or_else(|_| reduced(RBig::from(value)), Self::from)
    }
}

impl From<&Exact> for Exact {
    fn from(value: &Exact) -> Self {
        value.clone()
    }
}

impl From<Decimal> for Exact {
    fn from(value: Decimal) -> Self {
        // A decimal has at most 28 places.
        short(value.mantissa(), value.scale()).unwrap_or_default()
    }
}

impl From<Micros> for Exact {
    fn from(value: Micros) -> Self {
        short(i128::from(value.get()), MICROS_PER_UNIT.ilog10()).unwrap_or_default()
    }
}

macro_rules! arithmetic {
    ($($operation:ident $method:ident $exactly:ident),*) => {$(
        impl $operation<&Exact> for &Exact {
            type Output = Exact;
            fn $method(self, other: &Exact) -> Exact {
                self.$exactly(other)
            }
        }
        impl $operation<Exact> for Exact {
            type Output = Exact;
            fn $method(self, other: Exact) -> Exact {
                self.$exactly(&other)
            }
        }
        impl $operation<&Exact> for Exact {
            type Output = Exact;
            fn $method(self, other: &Exact) -> Exact {
                self.$exactly(other)
            }
        }
        impl $operation<Exact> for &Exact {
            type Output = Exact;
            fn $method(self, other: Exact) -> Exact {
                self.$exactly(&other)
            }
        }
    )*};
}
arithmetic!(Add add plus, Sub sub minus, Mul mul times);

impl AddAssign<&Exact> for Exact {
    fn add_assign(&mut self, other: &Exact) {
        *self = self.plus(other);
    }
}

impl SubAssign<&Exact> for Exact {
    fn sub_assign(&mut self, other: &Exact) {
        *self = self.minus(other);
    }
}

impl Neg for Exact {
    type Output = Self;
    fn neg(self) -> Self {
        -&self
    }
}

impl Neg for &Exact {
    type Output = Exact;
    fn neg(self) -> Exact {
        match &self.0 {
            Form::Decimal { mantissa, scale } if *mantissa != i128::MIN => Exact(Form::Decimal { mantissa: -mantissa, scale: *scale }),
            _ => reduced(-self.fraction()),
        }
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

    /// Integers around the edges of both forms.
    fn edges() -> Vec<Exact> {
        let wide = i128::MAX;
        let integers = [0, 1, -1, 3, 10, 12_500, i128::from(i64::MAX), i128::from(i64::MIN), wide, -wide, i128::MIN, wide / 10];
        let places = [1, 2, 6, 29, 30, 31, 60];
        let decimals = integers.iter().flat_map(|n| places.map(|p| Exact::from(*n) * Exact::power_of_ten(-p)));
        let periodic = integers.iter().filter_map(|n| Exact::from(*n).over(&Exact::from(7)));
        integers.iter().map(|n| Exact::from(*n)).chain(decimals).chain(periodic).collect()
    }

    #[test]
    fn short_decimals_and_big_fractions_are_one_kind_of_number() {
        let all = edges();
        for a in &all {
            assert_eq!(reduced(a.fraction()), *a, "one form for each value");
            assert_eq!(Exact::from_stored(&a.stored()).unwrap(), *a);
            assert_eq!((-a).fraction(), -a.fraction());
            assert_eq!(a.floor().fraction(), RBig::from(a.fraction().floor()), "{a}");
            assert_eq!(a.ceil().fraction(), RBig::from(a.fraction().ceil()), "{a}");
            for b in &all {
                let (x, y) = (a.fraction(), b.fraction());
                assert_eq!((a + b, a - b, a * b), (reduced(&x + &y), reduced(&x - &y), reduced(&x * &y)), "{a} and {b}");
                assert_eq!(a.cmp(b), x.cmp(&y), "{a} and {b}");
                assert_eq!(a.over(b), (!b.is_zero()).then(|| reduced(&x / &y)));
            }
        }
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
