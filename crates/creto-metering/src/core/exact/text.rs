//! Exact numbers as text: as they are sent, stored and shown.

use std::fmt;
use std::str::FromStr;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Exact, Form, decimal_places, reduced, short};

/// Longest text of a number, in bytes. It bounds the time one multiplication takes.
pub const TEXT_BYTES_MAX: usize = 512;
/// Largest exponent of ten in `1e9`, either way.
pub const EXPONENT_MAX: i64 = 512;

/// The text is not a decimal number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a decimal number of at most {TEXT_BYTES_MAX} digits")]
pub struct NotDecimal(String);

impl Exact {
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
        Ok(reduced(RBig::from_parts(numerator, denominator)))
    }

    /// The finite decimal text, where there is one: no exponent, no trailing zeros.
    pub(super) fn decimal_text(&self) -> Option<String> {
        let (digits, places) = match &self.0 {
            Form::Decimal { mantissa, scale: 0 } => return Some(mantissa.to_string()),
            Form::Decimal { mantissa, scale } => (mantissa.unsigned_abs().to_string(), usize::try_from(*scale).unwrap_or(0)),
            Form::Fraction(fraction) => {
                let places = decimal_places(fraction.denominator())?;
                let scaled = &**fraction * RBig::from(UBig::from(10_u8).pow(places));
                (scaled.numerator().clone().into_parts().1.to_string(), places)
            }
        };
        let sign = if self.is_negative() { "-" } else { "" };
        match digits.len().checked_sub(places).filter(|whole| *whole > 0) {
            Some(whole) => {
                let (whole, fraction) = digits.split_at_checked(whole)?;
                Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
            }
            None => Some(format!("{sign}0.{digits:0>places$}")),
        }
    }
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
    let mut digits = whole.bytes().chain(fraction.bytes());
    let is_decimal = whole.len() + fraction.len() > 0 && digits.clone().all(|b| b.is_ascii_digit()) && !magnitude.ends_with('.');
    if !is_decimal || !(-EXPONENT_MAX..=EXPONENT_MAX).contains(&exponent) {
        return Err(refused());
    }
    let few = digits.try_fold(0_i128, |number, digit| number.checked_mul(10)?.checked_add(i128::from(digit - b'0')));
    if exponent == 0
        && let Some(number) = few
        && let Some(value) = u32::try_from(fraction.len()).ok().and_then(|scale| short(if negative { -number } else { number }, scale))
    {
        return Ok(value);
    }
    let whole: UBig = format!("{whole}{fraction}").parse().map_err(|_| refused())?;
    let places = i64::try_from(fraction.len()).map_err(|_| refused())?;
    let shift = i32::try_from(exponent - places).map_err(|_| refused())?;
    let value = &reduced(RBig::from(whole)) * &Exact::power_of_ten(shift);
    Ok(if negative { -value } else { value })
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.decimal_text(), &self.0) {
            (None, Form::Fraction(fraction)) => write!(f, "{}/{}", fraction.numerator(), fraction.denominator()),
            (text, _) => f.write_str(&text.unwrap_or_default()),
        }
    }
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}
