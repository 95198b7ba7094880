//! What inputs are written in: decimal texts, small whole numbers, moments, days.

use creto_kernel::Timestamp;
use creto_metering::core::exact::Exact;
use creto_metering::core::zone::Day;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Reads an input, refusing unknown fields.
pub(super) fn read<T: DeserializeOwned>(input: Value) -> Result<T, String> {
    serde_json::from_value(input).map_err(|error| format!("the input is not understood: {error}"))
}

/// A whole number that is not negative, as a text or as a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole(pub u64);

impl Whole {
    pub(super) fn small(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Exact::deserialize(deserializer)?;
        let whole = number.to_i64().and_then(|whole| u64::try_from(whole).ok());
        whole.map(Self).ok_or_else(|| D::Error::custom(format!("`{number}` is not a whole number")))
    }
}

/// A moment as RFC 3339, a day's first moment in UTC, or a place in an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(pub Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let refused = || D::Error::custom(format!("`{value}` is neither a moment nor a day nor a place in an order"));
        let text = match &value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(refused()),
        };
        if let Ok(moment) = text.parse() {
            return Ok(Self(moment));
        }
        if let Ok(day) = text.parse::<Day>() {
            return Ok(Self(creto_metering::core::zone::Zone::utc().start(day)));
        }
        let place = text.parse::<Exact>().ok().and_then(|number| number.to_i64());
        place.and_then(Timestamp::from_micros).map(Self).ok_or_else(refused)
    }
}

/// A text, or a number as its text.
#[derive(Clone, Debug)]
pub(super) struct Word(pub String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        creto_metering::core::matching::text(&value).map(Self).ok_or_else(|| D::Error::custom("neither a text nor a number"))
    }
}
