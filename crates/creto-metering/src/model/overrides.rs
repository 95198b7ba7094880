//! What differs from a plan for one subscription alone.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::model::definition::DefinitionError;
use crate::model::plan::{MinimumCommitment, Plan, UsageThreshold};

/// What differs in one charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChargeOverride {
    /// Which charge of the plan, by its code.
    pub code: String,
    /// What the invoice calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice_display_name: Option<String>,
    /// Least that a period pays, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_amount_cents: Option<i64>,
    /// Most that a period pays, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_amount_cents: Option<i64>,
    /// The price, as in a charge; its model stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub properties: Option<Map<String, Value>>,
    /// The filters with their prices, as in a charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub filters: Option<Vec<Value>>,
    /// Taxes of its fees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_codes: Option<Vec<String>>,
}

/// What differs in a plan. What is absent is the plan's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanOverrides {
    /// What people name it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the invoice calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice_display_name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The flat fee of a period, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_cents: Option<i64>,
    /// Days without the flat fee.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_period: Option<u32>,
    /// Taxes of its fees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_codes: Option<Vec<String>>,
    /// Least that a period pays in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_commitment: Option<MinimumCommitment>,
    /// Amounts of usage that are billed as soon as they are reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_thresholds: Option<Vec<UsageThreshold>>,
    /// Charges that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<ChargeOverride>,
}

impl PlanOverrides {
    /// The plan with what differs; checked like any plan.
    pub fn apply(&self, plan: &Plan) -> Result<Plan, DefinitionError> {
        let unreadable = |e: serde_json::Error| DefinitionError::new("overrides", e.to_string());
        let Value::Object(mut merged) = serde_json::to_value(plan).map_err(unreadable)? else {
            return Err(DefinitionError::new("overrides", "have no plan"));
        };
        let Value::Object(mut changes) = serde_json::to_value(self).map_err(unreadable)? else {
            return Err(DefinitionError::new("overrides", "are no object"));
        };
        changes.remove("charges");
        merged.extend(changes);
        if let Some(Value::Array(charges)) = merged.get_mut("charges") {
            for change in &self.charges {
                change.patch(charges)?;
            }
        }
        serde_json::from_value(Value::Object(merged)).map_err(|e| DefinitionError::new("overrides", format!("do not fit the plan: {e}")))
    }
}

impl ChargeOverride {
    fn patch(&self, charges: &mut [Value]) -> Result<(), DefinitionError> {
        let code = Value::String(self.code.clone());
        let Some(Value::Object(charge)) = charges.iter_mut().find(|charge| charge.get("code") == Some(&code)) else {
            return Err(DefinitionError::new("overrides.charges", format!("name `{}`, which the plan does not have", self.code)));
        };
        match serde_json::to_value(self) {
            Ok(Value::Object(changes)) => charge.extend(changes),
            _ => return Err(DefinitionError::new("overrides.charges", "are no objects")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan() -> Plan {
        serde_json::from_value(json!({
            "code": "pro", "interval": "monthly", "amount_cents": 1000, "amount_currency": "EUR",
            "charges": [
                { "billable_metric_code": "tokens", "charge_model": "standard", "properties": { "amount": "0.1" } },
                { "billable_metric_code": "seats", "charge_model": "flat", "properties": { "amount": "5" } }
            ]
        }))
        .unwrap()
    }

    #[test]
    fn what_is_overridden_differs_and_the_rest_is_the_plans() {
        let overrides: PlanOverrides = serde_json::from_value(json!({
            "amount_cents": 500, "charges": [{ "code": "tokens", "properties": { "amount": "0.05" }, "min_amount_cents": 7 }]
        }))
        .unwrap();
        let merged = overrides.apply(&plan()).unwrap();
        assert_eq!((merged.amount_cents, merged.code.as_str(), merged.charges.len()), (500, "pro", 2));
        let tokens = merged.charge("tokens").unwrap();
        assert_eq!(serde_json::to_value(tokens).unwrap()["properties"], json!({ "amount": "0.05" }));
        assert_eq!((tokens.min_amount_cents, merged.charge("seats")), (7, plan().charge("seats")));
        assert_eq!(PlanOverrides::default().apply(&plan()).unwrap(), plan());
    }

    #[test]
    fn overrides_that_fit_no_charge_or_no_price_are_refused() {
        for (bad, named) in [
            (json!({ "charges": [{ "code": "gone" }] }), "gone"),
            (json!({ "charges": [{ "code": "tokens", "properties": { "rate": "1" } }] }), "rate"),
            (json!({ "amount_cents": -1 }), "amount_cents"),
        ] {
            let overrides: PlanOverrides = serde_json::from_value(bad).unwrap();
            let error = overrides.apply(&plan()).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        assert!(serde_json::from_value::<PlanOverrides>(json!({ "amount": 1 })).is_err());
    }
}
