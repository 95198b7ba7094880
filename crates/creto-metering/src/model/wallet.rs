//! Wallets: prepaid credits, and the rules that fill them up.

use creto_kernel::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::core::exact::Exact;
use crate::model::currency::Currency;
use crate::model::definition::{self, DefinitionError};

/// The priority of what names none; smaller is drawn first.
pub const PRIORITY_DEFAULT: u8 = 50;
/// The last priority.
pub const PRIORITY_MAX: u8 = 50;
/// Most rules of one wallet.
pub const RULES_MAX: usize = 16;

/// What a wallet's credits may pay; nothing in both lists: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WalletLimits {
    /// Kinds of fee: `subscription`, `charge`, `commitment`, ….
    #[serde(default)]
    pub fee_types: Vec<String>,
    /// Fees of these metrics.
    #[serde(default)]
    pub billable_metric_codes: Vec<String>,
}

/// Where credits came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    /// Given; drawn first among equals.
    Granted,
    /// Paid for.
    Purchased,
}

impl GrantKind {
    /// The name in JSON and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Purchased => "purchased",
        }
    }
}

/// Credits that came into a wallet at once, with what is left of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Which.
    pub id: String,
    /// What is left of it.
    pub remaining: Exact,
    /// Smaller is drawn first.
    pub priority: u32,
    /// When it is gone.
    pub expires_at: Option<Timestamp>,
    /// Where it came from.
    pub kind: GrantKind,
    /// When it came.
    pub created_at: Timestamp,
}

/// When a wallet is filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TopUpTrigger {
    /// When what is left falls to a threshold.
    Threshold,
    /// At the start of each interval.
    Interval,
}

/// How much a rule brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TopUpMethod {
    /// The same number of credits, as many times as it takes to land past the threshold.
    #[default]
    Fixed,
    /// As many as are missing to a balance.
    Target,
}

/// A rule that fills a wallet up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopUpRule {
    /// When.
    pub trigger: TopUpTrigger,
    /// How much.
    #[serde(default)]
    pub method: TopUpMethod,
    /// For a threshold: at or below it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub threshold_credits: Option<Exact>,
    /// For an interval: which.
    #[serde(default)]
    pub interval: Option<crate::model::plan::Interval>,
    /// Credits that are paid for.
    #[serde(default)]
    #[schema(value_type = String)]
    pub paid_credits: Exact,
    /// Credits that are given with them.
    #[serde(default)]
    #[schema(value_type = String)]
    pub granted_credits: Exact,
    /// For a target: the balance to reach.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub target_ongoing_balance: Option<Exact>,
    /// Most credits that one top-up pays for.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub max_credits: Option<Exact>,
}

/// A wallet's definition, checked. Its balance is what the ledger says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Raw")]
pub struct Wallet {
    /// What people name it by.
    pub name: String,
    /// Of its credits' worth; it pays invoices in it alone.
    #[schema(value_type = String)]
    pub currency: Currency,
    /// What one credit is worth, in units of the currency.
    #[schema(value_type = String)]
    pub rate_amount: Exact,
    /// Smaller is drawn first.
    pub priority: u8,
    /// When its credits are gone.
    #[schema(value_type = Option<String>)]
    pub expiration_at: Option<Timestamp>,
    /// What it may pay.
    pub applies_to: WalletLimits,
    /// What fills it up.
    pub recurring_transaction_rules: Vec<TopUpRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    name: String,
    currency: Currency,
    rate_amount: Exact,
    #[serde(default = "priority_default")]
    priority: u8,
    #[serde(default)]
    expiration_at: Option<Timestamp>,
    #[serde(default)]
    applies_to: WalletLimits,
    #[serde(default)]
    recurring_transaction_rules: Vec<TopUpRule>,
}

const fn priority_default() -> u8 {
    PRIORITY_DEFAULT
}

impl TryFrom<Raw> for Wallet {
    type Error = DefinitionError;
    fn try_from(raw: Raw) -> Result<Self, DefinitionError> {
        definition::text("name", &raw.name)?;
        definition::positive("rate_amount", &raw.rate_amount)?;
        if !(1..=PRIORITY_MAX).contains(&raw.priority) {
            return Err(DefinitionError::new("priority", format!("is not between 1 and {PRIORITY_MAX}")));
        }
        definition::count("recurring_transaction_rules", &raw.recurring_transaction_rules, RULES_MAX)?;
        for (index, rule) in raw.recurring_transaction_rules.iter().enumerate() {
            rule.check().map_err(|e| e.within(&format!("recurring_transaction_rules[{index}]")))?;
        }
        Ok(Self {
            name: raw.name,
            currency: raw.currency,
            rate_amount: raw.rate_amount,
            priority: raw.priority,
            expiration_at: raw.expiration_at,
            applies_to: raw.applies_to,
            recurring_transaction_rules: raw.recurring_transaction_rules,
        })
    }
}

impl TopUpRule {
    fn check(&self) -> Result<(), DefinitionError> {
        definition::not_negative("paid_credits", &self.paid_credits)?;
        definition::not_negative("granted_credits", &self.granted_credits)?;
        if let Some(max) = &self.max_credits {
            definition::positive("max_credits", max)?;
        }
        match (self.trigger, &self.threshold_credits, self.interval) {
            (TopUpTrigger::Threshold, Some(_), None) | (TopUpTrigger::Interval, None, Some(_)) => {}
            (TopUpTrigger::Threshold, ..) => return Err(DefinitionError::new("threshold_credits", "alone goes with a threshold")),
            (TopUpTrigger::Interval, ..) => return Err(DefinitionError::new("interval", "alone goes with an interval")),
        }
        match (self.method, &self.target_ongoing_balance) {
            (TopUpMethod::Target, Some(_)) | (TopUpMethod::Fixed, None) => {}
            (TopUpMethod::Target, None) => return Err(DefinitionError::new("target_ongoing_balance", "is needed by a target")),
            (TopUpMethod::Fixed, Some(_)) => return Err(DefinitionError::new("target_ongoing_balance", "goes with a target")),
        }
        // Steps of nothing would never land past the threshold.
        if self.method == TopUpMethod::Fixed && self.trigger == TopUpTrigger::Threshold {
            return definition::positive("paid_credits", &self.paid_credits);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn wallet(change: impl FnOnce(&mut Value)) -> Result<Wallet, String> {
        let mut body = json!({
            "name": "prepaid", "currency": "EUR", "rate_amount": "1",
            "recurring_transaction_rules": [{ "trigger": "threshold", "threshold_credits": "10", "paid_credits": "50" }]
        });
        change(&mut body);
        serde_json::from_value(body).map_err(|e| e.to_string())
    }

    #[test]
    fn a_wallet_survives_its_own_json() {
        let first = wallet(|b| b["applies_to"] = json!({ "fee_types": ["charge"] })).unwrap();
        assert_eq!(first.priority, PRIORITY_DEFAULT);
        let again: Wallet = serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap();
        assert_eq!(first, again);
    }

    #[test]
    fn contradictions_are_refused_by_the_name_of_their_field() {
        let rule = |rule: Value| json!([rule]);
        let cases: [(&str, Value, &str); 7] = [
            ("rate_amount", json!("0"), "rate_amount"),
            ("priority", json!(0), "priority"),
            ("priority", json!(51), "priority"),
            ("recurring_transaction_rules", rule(json!({ "trigger": "threshold", "paid_credits": "1" })), "[0].threshold_credits"),
            ("recurring_transaction_rules", rule(json!({ "trigger": "threshold", "threshold_credits": "1" })), "[0].paid_credits"),
            ("recurring_transaction_rules", rule(json!({ "trigger": "interval" })), "[0].interval"),
            ("balance", json!("5"), "balance"),
        ];
        for (field, value, named) in cases {
            let error = wallet(|b| b[field] = value.clone()).unwrap_err();
            assert!(error.contains(named), "{field}: {error}");
        }
    }
}
