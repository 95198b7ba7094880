//! Currencies and their minor units.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::core::exact::Exact;
use crate::model::definition::DefinitionError;

/// Currencies without a minor unit (ISO 4217, exponent 0).
const EXPONENT_0: [&str; 16] =
    ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF"];
/// Currencies of a thousand minor units (ISO 4217, exponent 3).
const EXPONENT_3: [&str; 7] = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];

/// An ISO 4217 code. Amounts of two currencies never meet in one sum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// How many decimal places an amount has: 0, 2 or 3.
    #[must_use]
    pub fn exponent(self) -> u32 {
        match self.as_str() {
            code if EXPONENT_0.contains(&code) || code == "XPF" => 0,
            code if EXPONENT_3.contains(&code) => 3,
            _ => 2,
        }
    }

    /// Minor units in one unit: 1, 100 or 1000.
    #[must_use]
    pub fn subunits(self) -> Exact {
        Exact::from(10_u32.pow(self.exponent()))
    }

    /// The three letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl FromStr for Currency {
    type Err = DefinitionError;
    fn from_str(text: &str) -> Result<Self, DefinitionError> {
        let bytes: [u8; 3] = text
            .as_bytes()
            .try_into()
            .ok()
            .filter(|letters: &[u8; 3]| letters.iter().all(u8::is_ascii_uppercase))
            .ok_or_else(|| DefinitionError::new("currency", "is not three capital letters such as `EUR`"))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Currency {
    type Error = DefinitionError;
    fn try_from(text: String) -> Result<Self, DefinitionError> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_units_follow_iso_4217() {
        for (code, exponent) in [("EUR", 2), ("JPY", 0), ("XPF", 0), ("KWD", 3), ("USD", 2)] {
            assert_eq!(code.parse::<Currency>().unwrap().exponent(), exponent, "{code}");
        }
        for bad in ["", "eur", "EURO", "E€", "EU1"] {
            assert!(bad.parse::<Currency>().is_err(), "{bad}");
        }
    }
}
