//! How long a tenant keeps what its events said beyond what they are billed of.

use creto_kernel::Timestamp;
use jiff::ToSpan as _;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::MeteringError;
use crate::model::definition::DefinitionError;
use crate::model::event::{self, KEY_BYTES_MAX};

/// Longest that is kept by a number: a hundred years.
const DAYS_MAX: u32 = 36_525;
const MONTHS_MAX: u32 = 1_200;
/// Most customers and subscriptions that are held.
const HELD_MAX: usize = 1_000;

/// How long events keep what they are not billed of; for ever where neither is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// For so many days since they were recorded.
    #[serde(default)]
    pub keep_days: Option<u32>,
    /// For so many calendar months since they were recorded.
    #[serde(default)]
    pub keep_months: Option<u32>,
    /// Customers whose events are kept whatever their age: a legal hold.
    #[serde(default)]
    pub held_customers: Vec<String>,
    /// Subscriptions whose events are.
    #[serde(default)]
    pub held_subscriptions: Vec<String>,
}

impl Retention {
    /// Checks every field.
    pub fn check(self) -> Result<Self, MeteringError> {
        let refused = |field: &str, problem: String| MeteringError::from(DefinitionError::new(field, problem));
        if self.keep_days.is_some() && self.keep_months.is_some() {
            return Err(refused("keep_months", "stands beside `keep_days`: name one".to_owned()));
        }
        for (field, kept, most) in [("keep_days", self.keep_days, DAYS_MAX), ("keep_months", self.keep_months, MONTHS_MAX)] {
            if kept.is_some_and(|kept| kept == 0 || kept > most) {
                return Err(refused(field, format!("is not from 1 to {most}")));
            }
        }
        for (field, held) in [("held_customers", &self.held_customers), ("held_subscriptions", &self.held_subscriptions)] {
            if held.len() > HELD_MAX {
                return Err(refused(field, format!("names more than {HELD_MAX}")));
            }
            for name in held {
                event::key("external_subscription_id", name.clone(), KEY_BYTES_MAX).map_err(|e| refused(field, e.to_string()))?;
            }
        }
        Ok(self)
    }

    /// What was recorded before this moment is old; nothing is, where everything is kept for ever.
    #[must_use]
    pub fn old_before(&self, now: Timestamp) -> Option<Timestamp> {
        let span = match (self.keep_days, self.keep_months) {
            (Some(days), _) => i64::from(days).days(),
            (None, Some(months)) => i64::from(months).months(),
            (None, None) => return None,
        };
        let now = jiff::Timestamp::from_microsecond(now.as_micros()).ok()?.to_zoned(TimeZone::UTC);
        Timestamp::from_micros(now.checked_sub(span).ok()?.timestamp().as_microsecond())
    }

    /// Whether a hold keeps the events of this subscription of this customer.
    #[must_use]
    pub fn holds(&self, customer: Option<&str>, subscription: &str) -> bool {
        self.held_subscriptions.iter().any(|held| held == subscription)
            || customer.is_some_and(|customer| self.held_customers.iter().any(|held| held == customer))
    }
}

/// The setting, and how far it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RetentionState {
    /// The setting.
    pub retention: Retention,
    /// Every event up to this place is erased.
    pub erased_to: i64,
    /// How many are erased in all.
    pub erased: i64,
}

/// What came of erasing events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErasedEvents {
    /// How many lost what they are not billed of.
    pub erased: u64,
    /// How many keep it: their period is not final and paid, or a hold is on them.
    pub kept: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(setting: serde_json::Value) -> Result<Retention, String> {
        serde_json::from_value::<Retention>(setting).map_err(|e| e.to_string())?.check().map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_old_is_said_in_days_or_calendar_months() {
        let old = |setting| read(setting).unwrap().old_before("2026-03-31T10:00:00.000001Z".parse().unwrap()).map(|at| at.to_string());
        assert_eq!(old(json!({})), None);
        assert_eq!(old(json!({ "keep_days": 31 })).as_deref(), Some("2026-02-28T10:00:00.000001Z"));
        assert_eq!(old(json!({ "keep_months": 13 })).as_deref(), Some("2025-02-28T10:00:00.000001Z"));
        for bad in [
            json!({ "keep_days": 0 }),
            json!({ "keep_days": 36_526 }),
            json!({ "keep_months": 0 }),
            json!({ "keep_days": 1, "keep_months": 1 }),
            json!({ "held_customers": [""] }),
            json!({ "keep_years": 1 }),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
