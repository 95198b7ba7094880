//! Alerts: who wants to be told when usage or a balance passes a threshold.

use creto_kernel::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::core::exact::Exact;
use crate::model::definition::{self, DefinitionError};

creto_kernel::typed_ids! {
    /// One alert.
    AlertId = "alr";
}
creto_db::value_from_text!(AlertId);

/// Most alerts of one subscription or wallet.
pub const ALERTS_MAX: usize = 50;
/// Most thresholds of one alert.
pub const THRESHOLDS_MAX: usize = 20;

/// What an alert watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertType {
    /// What the period's usage costs, in minor units.
    CurrentUsageAmount,
    /// What the period's usage of a metric costs, in minor units.
    BillableMetricCurrentUsageAmount,
    /// Units of a metric in the period; of its first charge, where several price it.
    BillableMetricCurrentUsageUnits,
    /// What usage cost since the subscription began, in minor units.
    LifetimeUsageAmount,
    /// Units of a metric since the subscription began; the level, of a metric that is carried over.
    BillableMetricLifetimeUsageUnits,
    /// A wallet's balance, in minor units.
    WalletBalanceAmount,
    /// A wallet's balance, in credits.
    WalletCreditsBalance,
    /// A wallet's balance less what was used and not billed yet, in minor units.
    WalletOngoingBalanceAmount,
    /// The same in credits.
    WalletCreditsOngoingBalance,
}

/// From which side a threshold is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From below: usage.
    Increasing,
    /// From above: balances.
    Decreasing,
}

impl AlertType {
    /// The word in the store, in leaves and in Lago's API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CurrentUsageAmount => "current_usage_amount",
            Self::BillableMetricCurrentUsageAmount => "billable_metric_current_usage_amount",
            Self::BillableMetricCurrentUsageUnits => "billable_metric_current_usage_units",
            Self::LifetimeUsageAmount => "lifetime_usage_amount",
            Self::BillableMetricLifetimeUsageUnits => "billable_metric_lifetime_usage_units",
            Self::WalletBalanceAmount => "wallet_balance_amount",
            Self::WalletCreditsBalance => "wallet_credits_balance",
            Self::WalletOngoingBalanceAmount => "wallet_ongoing_balance_amount",
            Self::WalletCreditsOngoingBalance => "wallet_credits_ongoing_balance",
        }
    }

    /// Whether it watches a wallet; else a subscription.
    #[must_use]
    pub const fn is_of_wallet(self) -> bool {
        matches!(
            self,
            Self::WalletBalanceAmount | Self::WalletCreditsBalance | Self::WalletOngoingBalanceAmount | Self::WalletCreditsOngoingBalance
        )
    }

    /// Whether it watches one metric.
    #[must_use]
    pub const fn is_of_metric(self) -> bool {
        matches!(
            self,
            Self::BillableMetricCurrentUsageAmount | Self::BillableMetricCurrentUsageUnits | Self::BillableMetricLifetimeUsageUnits
        )
    }

    /// Whether usage changes what it watches.
    #[must_use]
    pub const fn is_on_usage(self) -> bool {
        !matches!(self, Self::WalletBalanceAmount | Self::WalletCreditsBalance)
    }

    /// Whether each period begins again.
    #[must_use]
    pub const fn is_of_period(self) -> bool {
        matches!(self, Self::CurrentUsageAmount | Self::BillableMetricCurrentUsageAmount | Self::BillableMetricCurrentUsageUnits)
    }

    /// From which side its thresholds are passed.
    #[must_use]
    pub const fn direction(self) -> Direction {
        if self.is_of_wallet() { Direction::Decreasing } else { Direction::Increasing }
    }
}

/// Where somebody is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Its name.
    #[serde(default)]
    pub code: Option<String>,
    /// The value; of a recurring one, the distance between its repetitions beyond the last threshold that does not recur.
    #[schema(value_type = String)]
    pub value: Exact,
    /// Whether it repeats.
    #[serde(default)]
    pub recurring: bool,
}

/// An alert, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Its name among those of its subscription or wallet.
    pub code: String,
    /// What people name it by.
    #[serde(default)]
    pub name: Option<String>,
    /// What it watches.
    pub alert_type: AlertType,
    /// The metric, of a type that watches one.
    #[serde(default)]
    pub billable_metric_code: Option<String>,
    /// Where somebody is told.
    pub thresholds: Vec<Threshold>,
}

impl Alert {
    /// Refuses what contradicts itself, naming the field.
    pub fn check(&self) -> Result<(), DefinitionError> {
        definition::key("code", &self.code)?;
        definition::text("name", self.name.as_deref().unwrap_or_default())?;
        if self.alert_type.is_of_metric() != self.billable_metric_code.is_some() {
            let problem = if self.alert_type.is_of_metric() { "is needed by this type" } else { "belongs to types that watch a metric" };
            return Err(DefinitionError::new("billable_metric_code", problem));
        }
        if self.thresholds.is_empty() {
            return Err(DefinitionError::new("thresholds", "are needed: at least one"));
        }
        definition::count("thresholds", &self.thresholds, THRESHOLDS_MAX)?;
        if self.thresholds.iter().filter(|threshold| threshold.recurring).count() > 1 {
            return Err(DefinitionError::new("thresholds", "hold more than one that recurs"));
        }
        if self.alert_type.is_of_wallet() && self.thresholds.iter().all(|threshold| threshold.recurring) {
            return Err(DefinitionError::new("thresholds", "of a balance need one that does not recur: repetitions begin below it"));
        }
        for (at, threshold) in self.thresholds.iter().enumerate() {
            definition::text("thresholds", threshold.code.as_deref().unwrap_or_default())?;
            match threshold.recurring {
                true => definition::positive("thresholds", &threshold.value)?,
                false => definition::not_negative("thresholds", &threshold.value)?,
            }
            let same = |other: &Threshold| other.value == threshold.value && other.recurring == threshold.recurring;
            if self.thresholds.iter().take(at).any(same) {
                return Err(DefinitionError::new("thresholds", format!("hold {} twice", threshold.value)));
            }
        }
        Ok(())
    }
}

/// Whose usage or balance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Watched {
    /// The subscription of this external identifier, whichever plan it is on.
    Subscription(String),
    /// The wallet of this identifier.
    Wallet(String),
}

impl Watched {
    /// The word in the store.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Subscription(_) => "subscription",
            Self::Wallet(_) => "wallet",
        }
    }

    /// Whose.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Subscription(name) | Self::Wallet(name) => name,
        }
    }
}

/// An alert as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AlertRecord {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: AlertId,
    /// What it watches.
    pub watched: Watched,
    /// The value at the last look; of a period's, in the newest period that was looked at. None before the first.
    #[schema(value_type = Option<String>)]
    pub value: Option<Exact>,
    /// When that was.
    #[schema(value_type = Option<String>)]
    pub looked_at: Option<Timestamp>,
    /// How often it was changed, and one.
    pub revision: i64,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it was changed last.
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub alert: Alert,
}

/// What becomes of an alert; what is not said stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertChange {
    /// Its name among those of its subscription or wallet.
    #[serde(default)]
    pub code: Option<String>,
    /// What people name it by.
    #[serde(default)]
    pub name: Option<String>,
    /// The metric.
    #[serde(default)]
    pub billable_metric_code: Option<String>,
    /// Where somebody is told, in place of those before. What was told of is not told again.
    #[serde(default)]
    pub thresholds: Option<Vec<Threshold>>,
}

impl AlertChange {
    /// The alert after it, checked.
    pub fn apply(self, before: &Alert) -> Result<Alert, DefinitionError> {
        let after = Alert {
            code: self.code.unwrap_or_else(|| before.code.clone()),
            name: self.name.or_else(|| before.name.clone()),
            alert_type: before.alert_type,
            billable_metric_code: self.billable_metric_code.or_else(|| before.billable_metric_code.clone()),
            thresholds: self.thresholds.unwrap_or_else(|| before.thresholds.clone()),
        };
        after.check()?;
        Ok(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn contradictions_are_refused_by_the_name_of_their_field() {
        let alert = |kind: &str, metric: Value, thresholds: Value| json!({ "code": "a", "alert_type": kind, "billable_metric_code": metric, "thresholds": thresholds });
        let recurring = |value: &str| json!({ "value": value, "recurring": true });
        for (body, named) in [
            (alert("current_usage_amount", json!("tokens"), json!([{ "value": "1" }])), "billable_metric_code"),
            (alert("billable_metric_current_usage_units", Value::Null, json!([{ "value": "1" }])), "billable_metric_code"),
            (alert("current_usage_amount", Value::Null, json!([])), "thresholds"),
            (alert("current_usage_amount", Value::Null, json!([{ "value": "-1" }])), "thresholds"),
            (alert("current_usage_amount", Value::Null, json!([recurring("0")])), "thresholds"),
            (alert("current_usage_amount", Value::Null, json!([recurring("1"), recurring("2")])), "thresholds"),
            (alert("current_usage_amount", Value::Null, json!([{ "value": "1" }, { "value": "1.0" }])), "thresholds"),
            (alert("wallet_balance_amount", Value::Null, json!([recurring("1")])), "thresholds"),
        ] {
            let alert: Alert = serde_json::from_value(body.clone()).unwrap();
            assert_eq!(alert.check().unwrap_err().field, named, "{body}");
        }
        let good = alert("lifetime_usage_amount", Value::Null, json!([{ "value": "1" }, recurring("1")]));
        serde_json::from_value::<Alert>(good).unwrap().check().unwrap();
    }
}
