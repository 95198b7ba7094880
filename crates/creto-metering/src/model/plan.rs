//! Plans: what a subscription pays, and when.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::charge::Charge;
use crate::model::currency::Currency;
use crate::model::definition::{self, DefinitionError};
use crate::model::token_prices::TokenPrices;

/// Most charges of one plan.
pub const CHARGES_MAX: usize = 500;
/// Most thresholds of one plan.
pub const THRESHOLDS_MAX: usize = 100;
/// Longest trial, in days.
pub const TRIAL_DAYS_MAX: u32 = 3650;

/// How long a billing period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    /// Monday to Sunday, or seven days.
    Weekly,
    /// A calendar month, or from day to same day.
    Monthly,
    /// Three months.
    Quarterly,
    /// Six months.
    Semiannual,
    /// Twelve months.
    Yearly,
}

impl Interval {
    /// The name in JSON and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Quarterly => "quarterly",
            Self::Semiannual => "semiannual",
            Self::Yearly => "yearly",
        }
    }

    /// Its months; none for weeks.
    #[must_use]
    pub const fn months(self) -> Option<u8> {
        match self {
            Self::Weekly => None,
            Self::Monthly => Some(1),
            Self::Quarterly => Some(3),
            Self::Semiannual => Some(6),
            Self::Yearly => Some(12),
        }
    }
}

/// When periods begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BillingTime {
    /// With the calendar's week, month, quarter, half year or year.
    #[default]
    Calendar,
    /// On the subscription's own day.
    Anniversary,
}

/// Least that a period pays in all, whatever was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MinimumCommitment {
    /// In minor units.
    pub amount_cents: i64,
    /// What the invoice calls it.
    #[serde(default)]
    pub invoice_display_name: Option<String>,
    /// Taxes of its fee.
    #[serde(default)]
    pub tax_codes: Vec<String>,
}

/// An amount of usage that is billed as soon as it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageThreshold {
    /// In minor units, from the period's start.
    pub amount_cents: i64,
    /// What the invoice calls it.
    #[serde(default)]
    pub threshold_display_name: Option<String>,
    /// Whether it comes again each time as much is used once more, after the last of the others.
    #[serde(default)]
    pub recurring: bool,
}

/// A plan, checked. A changed plan is a new version: subscriptions keep theirs until they are moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Plan {
    /// What subscriptions name it by.
    pub code: String,
    /// What people name it by.
    pub name: String,
    /// What the invoice calls it.
    pub invoice_display_name: Option<String>,
    /// What it is for.
    pub description: String,
    /// How long a period is.
    pub interval: Interval,
    /// The flat fee of a period, in minor units.
    pub amount_cents: i64,
    /// Of the flat fee and all charges.
    pub amount_currency: Currency,
    /// Whether the flat fee is billed at the period's start.
    pub pay_in_advance: bool,
    /// Whether charges of a plan longer than a month are billed each month.
    pub bill_charges_monthly: bool,
    /// Days without the flat fee, from a subscription's start.
    pub trial_period: u32,
    /// Prices of usage.
    pub charges: Vec<Charge>,
    /// Least that a period pays.
    pub minimum_commitment: Option<MinimumCommitment>,
    /// Amounts of usage that are billed as soon as they are reached, ascending.
    pub usage_thresholds: Vec<UsageThreshold>,
    /// Taxes of its fees; the customer's where it has none.
    pub tax_codes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    code: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    invoice_display_name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    interval: Interval,
    #[serde(default)]
    amount_cents: i64,
    amount_currency: Currency,
    #[serde(default)]
    pay_in_advance: bool,
    #[serde(default)]
    bill_charges_monthly: bool,
    #[serde(default)]
    trial_period: u32,
    #[serde(default)]
    charges: Vec<Charge>,
    /// Another way to write charges: each table becomes one.
    #[serde(default)]
    token_prices: Vec<TokenPrices>,
    #[serde(default)]
    minimum_commitment: Option<MinimumCommitment>,
    #[serde(default)]
    usage_thresholds: Vec<UsageThreshold>,
    #[serde(default)]
    tax_codes: Vec<String>,
}

impl TryFrom<Raw> for Plan {
    type Error = DefinitionError;
    fn try_from(raw: Raw) -> Result<Self, DefinitionError> {
        let plan = Self {
            name: raw.name.unwrap_or_else(|| raw.code.clone()),
            code: raw.code,
            invoice_display_name: raw.invoice_display_name,
            description: raw.description.unwrap_or_default(),
            interval: raw.interval,
            amount_cents: raw.amount_cents,
            amount_currency: raw.amount_currency,
            pay_in_advance: raw.pay_in_advance,
            bill_charges_monthly: raw.bill_charges_monthly,
            trial_period: raw.trial_period,
            charges: raw.charges.into_iter().chain(raw.token_prices.iter().map(TokenPrices::charge)).collect(),
            minimum_commitment: raw.minimum_commitment,
            usage_thresholds: raw.usage_thresholds,
            tax_codes: raw.tax_codes,
        };
        plan.check()?;
        Ok(plan)
    }
}

impl Plan {
    /// The charge of a code.
    #[must_use]
    pub fn charge(&self, code: &str) -> Option<&Charge> {
        self.charges.iter().find(|charge| charge.code == code)
    }

    /// The plan, where a part of it was changed and it is still one.
    pub(crate) fn checked(self) -> Result<Self, DefinitionError> {
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<(), DefinitionError> {
        definition::code("code", &self.code)?;
        definition::text("name", &self.name)?;
        definition::text("description", &self.description)?;
        definition::text("invoice_display_name", self.invoice_display_name.as_deref().unwrap_or_default())?;
        definition::cents("amount_cents", self.amount_cents)?;
        if self.trial_period > TRIAL_DAYS_MAX {
            return Err(DefinitionError::new("trial_period", format!("is more than {TRIAL_DAYS_MAX} days")));
        }
        definition::count("charges", &self.charges, CHARGES_MAX)?;
        definition::distinct("charges", self.charges.iter().map(|charge| charge.code.as_str()))?;
        if let Some(commitment) = &self.minimum_commitment {
            definition::cents("minimum_commitment.amount_cents", commitment.amount_cents)?;
        }
        definition::distinct("tax_codes", self.tax_codes.iter().map(String::as_str))?;
        self.check_thresholds()
    }

    fn check_thresholds(&self) -> Result<(), DefinitionError> {
        definition::count("usage_thresholds", &self.usage_thresholds, THRESHOLDS_MAX)?;
        let mut before = 0;
        for (index, threshold) in self.usage_thresholds.iter().filter(|threshold| !threshold.recurring).enumerate() {
            let at = format!("usage_thresholds[{index}].amount_cents");
            definition::cents(&at, threshold.amount_cents)?;
            if threshold.amount_cents <= before {
                return Err(DefinitionError::new(at, "does not ascend"));
            }
            before = threshold.amount_cents;
        }
        let recurring: Vec<_> = self.usage_thresholds.iter().filter(|threshold| threshold.recurring).collect();
        match recurring.as_slice() {
            [] => Ok(()),
            [one] if one.amount_cents > 0 => definition::cents("usage_thresholds.amount_cents", one.amount_cents),
            [_] => Err(DefinitionError::new("usage_thresholds.amount_cents", "is not above zero")),
            _ => Err(DefinitionError::new("usage_thresholds", "have more than one that recurs")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(change: impl FnOnce(&mut Value)) -> Result<Plan, String> {
        let mut body = json!({
            "code": "pro", "interval": "monthly", "amount_cents": 5000, "amount_currency": "EUR",
            "charges": [{ "billable_metric_code": "tokens", "charge_model": "standard", "properties": { "amount": "1" } }],
            "usage_thresholds": [{ "amount_cents": 100 }, { "amount_cents": 200 }, { "amount_cents": 50, "recurring": true }]
        });
        change(&mut body);
        serde_json::from_value(body).map_err(|e| e.to_string())
    }

    #[test]
    fn a_plan_survives_its_own_json() {
        let first = plan(|b| b["minimum_commitment"] = json!({ "amount_cents": 10_000 })).unwrap();
        let again: Plan = serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap();
        assert_eq!(first, again);
        assert!(first.charge("tokens").is_some() && first.charge("other").is_none());
    }

    #[test]
    fn a_price_table_of_models_becomes_an_ordinary_charge() {
        let table = json!({ "billable_metric_code": "llm.tokens", "otherwise": "9", "models": { "m": { "input": "1", "output": "2" } } });
        let plan = plan(|b| b["token_prices"] = json!([table])).unwrap();
        assert_eq!(plan.charge("llm.tokens").map(|charge| charge.filters.len()), Some(4));
        assert!(serde_json::to_value(&plan).unwrap().get("token_prices").is_none());
    }

    #[test]
    fn contradictions_are_refused_by_the_name_of_their_field() {
        let charge = json!({ "billable_metric_code": "tokens", "charge_model": "standard", "properties": { "amount": "1" } });
        let cases: [(&str, Value, &str); 8] = [
            ("code", json!(""), "code"),
            ("interval", json!("hourly"), "hourly"),
            ("amount_cents", json!(-1), "amount_cents"),
            ("amount_currency", json!("euro"), "currency"),
            ("charges", json!([charge, charge]), "charges"),
            ("usage_thresholds", json!([{ "amount_cents": 5 }, { "amount_cents": 5 }]), "usage_thresholds[1]"),
            ("trial_period", json!(5000), "trial_period"),
            ("colour", json!("red"), "colour"),
        ];
        for (field, value, named) in cases {
            let error = plan(|b| b[field] = value.clone()).unwrap_err();
            assert!(error.contains(named), "{field}: {error}");
        }
    }
}
