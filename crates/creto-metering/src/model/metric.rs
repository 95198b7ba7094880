//! Metrics: what is counted, how, and at which price.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::MeteringError;
pub use crate::model::billable_metric::Aggregation;
use crate::model::event::CODE_BYTES_MAX;

/// A metric with its list price: what each event of it costs at once, before any plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// How events become units: `count` or `sum`.
    pub aggregation: Aggregation,
    /// The property a SUM reads; empty for COUNT.
    #[serde(default)]
    pub field: String,
    /// Price of one unit, in units of the currency, as a decimal string.
    #[schema(value_type = String)]
    pub unit_price: Decimal,
}

impl Metric {
    /// Refuses a definition that contradicts itself.
    pub fn check(self) -> Result<Self, MeteringError> {
        if self.field.len() > CODE_BYTES_MAX || self.field.chars().any(char::is_control) {
            return Err(MeteringError::BadMetric(format!("`field` is longer than {CODE_BYTES_MAX} bytes or holds control characters")));
        }
        match self.aggregation {
            Aggregation::Sum if self.field.is_empty() => Err(MeteringError::BadMetric("a sum needs the `field` it reads".to_owned())),
            Aggregation::Count if !self.field.is_empty() => Err(MeteringError::BadMetric("a count reads no `field`".to_owned())),
            Aggregation::Count | Aggregation::Sum if self.unit_price.is_sign_negative() && !self.unit_price.is_zero() => {
                Err(MeteringError::BadMetric("`unit_price` is negative".to_owned()))
            }
            Aggregation::Count | Aggregation::Sum => Ok(self),
            other => Err(MeteringError::BadMetric(format!(
                "`{}` is not known event by event, as a price per event needs; it belongs in a plan",
                other.as_str()
            ))),
        }
    }
}

/// What the products themselves measure, with the price each has until a tenant sets its own.
///
/// Prices are data: nothing in the code depends on their values.
pub const BUILT_IN: [(&str, &str); 4] = [
    ("runtime.seconds", "0.00005"),
    ("runtime.egress_bytes", "0.00000000009"),
    ("messaging.messages", "0.00001"),
    ("oversight.requests", "0"),
];

/// The built-in metric of this code, if there is one.
#[must_use]
pub fn built_in(code: &str) -> Option<Metric> {
    let (_, price) = BUILT_IN.iter().find(|(name, _)| *name == code)?;
    Some(Metric { aggregation: Aggregation::Sum, field: "quantity".to_owned(), unit_price: price.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_price_is_a_decimal() {
        for (code, price) in BUILT_IN {
            assert_eq!(built_in(code).unwrap().unit_price.to_string(), price);
        }
        assert!(built_in("unknown").is_none());
    }

    #[test]
    fn contradictions_are_refused() {
        let metric = |aggregation, field: &str, price: &str| {
            Metric { aggregation, field: field.to_owned(), unit_price: price.parse().unwrap() }.check()
        };
        assert!(metric(Aggregation::Sum, "n", "0.1").is_ok());
        assert!(metric(Aggregation::Sum, "", "0.1").is_err());
        assert!(metric(Aggregation::Count, "n", "0.1").is_err());
        assert!(metric(Aggregation::Count, "", "-0.1").is_err());
    }
}
