//! Price tables of language models: what a million tokens cost by model and kind, with a markup. A way to write an ordinary charge.
//!
//! A table becomes a charge with one filter for each model and kind of token, at a standard price each, over a metric that sums the
//! property `tokens` and tells `model` and `token_type` apart. Nothing else in metering knows about language models.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::core::exact::Exact;
use crate::model::billable_metric::{Aggregation, BillableMetric, MetricFilter};
use crate::model::charge::{Charge, ChargeFilter, Pricing};
use crate::model::definition::{self, DefinitionError};
use crate::model::price::PriceModel;

/// Most models of one table.
pub const MODELS_MAX: usize = 200;
/// The property that is summed.
pub const TOKENS: &str = "tokens";
/// The property that names the model.
pub const MODEL: &str = "model";
/// The property that names the kind of token.
pub const TOKEN_TYPE: &str = "token_type";
/// The kinds of tokens.
pub const TOKEN_TYPES: [&str; 4] = ["input", "cached_input", "output", "reasoning"];
/// Tokens that prices are written for, where the table does not say.
const PER_TOKENS: u32 = 1_000_000;

/// What tokens of a model cost.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPrice {
    /// Tokens it reads.
    pub input: Exact,
    /// Tokens it reads again; as `input` where absent.
    #[serde(default)]
    pub cached_input: Option<Exact>,
    /// Tokens it writes.
    pub output: Exact,
    /// Tokens it thinks; as `output` where absent.
    #[serde(default)]
    pub reasoning: Option<Exact>,
}

/// A price table, checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct TokenPrices {
    /// The metric whose events are priced.
    pub billable_metric_code: String,
    /// How many tokens the prices are for.
    pub per_tokens: Exact,
    /// Percent that is added to every price.
    pub markup_percent: Exact,
    /// By model.
    pub models: BTreeMap<String, TokenPrice>,
    /// What tokens of a model that is not in the table cost: usage of a new model is billed, not lost.
    pub otherwise: Exact,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    billable_metric_code: String,
    #[serde(default)]
    per_tokens: Option<Exact>,
    #[serde(default)]
    markup_percent: Exact,
    models: BTreeMap<String, TokenPrice>,
    otherwise: Exact,
}

impl TryFrom<Raw> for TokenPrices {
    type Error = DefinitionError;
    fn try_from(raw: Raw) -> Result<Self, DefinitionError> {
        let table = Self {
            billable_metric_code: raw.billable_metric_code,
            per_tokens: raw.per_tokens.unwrap_or_else(|| Exact::from(PER_TOKENS)),
            markup_percent: raw.markup_percent,
            models: raw.models,
            otherwise: raw.otherwise,
        };
        table.check()?;
        Ok(table)
    }
}

impl TokenPrice {
    fn by_type(&self) -> [(&'static str, &Exact); 4] {
        let [input, cached_input, output, reasoning] = TOKEN_TYPES;
        [
            (input, &self.input),
            (cached_input, self.cached_input.as_ref().unwrap_or(&self.input)),
            (output, &self.output),
            (reasoning, self.reasoning.as_ref().unwrap_or(&self.output)),
        ]
    }
}

impl TokenPrices {
    fn check(&self) -> Result<(), DefinitionError> {
        definition::code("billable_metric_code", &self.billable_metric_code)?;
        // A price for one token is then a decimal, as every price is.
        if !(0..=9).any(|exponent| self.per_tokens == Exact::power_of_ten(exponent)) {
            return Err(DefinitionError::new("per_tokens", "is not a power of ten between 1 and a thousand million"));
        }
        definition::not_negative("markup_percent", &self.markup_percent)?;
        definition::not_negative("otherwise", &self.otherwise)?;
        if self.models.is_empty() || self.models.len() > MODELS_MAX {
            return Err(DefinitionError::new("models", format!("are not between 1 and {MODELS_MAX}")));
        }
        for (model, price) in &self.models {
            definition::code("models", model)?;
            for (kind, amount) in price.by_type() {
                definition::not_negative(&format!("models.{model}.{kind}"), amount)?;
            }
        }
        Ok(())
    }

    /// The metric that the charge is over.
    pub fn metric(&self) -> Result<BillableMetric, DefinitionError> {
        let mut metric = BillableMetric::new(&self.billable_metric_code, Aggregation::Sum, TOKENS)?;
        metric.filters = vec![
            MetricFilter { key: MODEL.to_owned(), values: self.models.keys().cloned().collect() },
            MetricFilter { key: TOKEN_TYPE.to_owned(), values: TOKEN_TYPES.map(str::to_owned).to_vec() },
        ];
        Ok(metric)
    }

    /// The charge.
    #[must_use]
    pub fn charge(&self) -> Charge {
        let mut charge = Charge::of(&self.billable_metric_code, self.price(&self.otherwise));
        charge.filters =
            self.models.iter().flat_map(|(model, price)| price.by_type().map(|(kind, amount)| self.filter(model, kind, amount))).collect();
        charge
    }

    fn filter(&self, model: &str, kind: &str, amount: &Exact) -> ChargeFilter {
        ChargeFilter {
            invoice_display_name: Some(format!("{model} {kind}")),
            values: BTreeMap::from([(MODEL.to_owned(), vec![model.to_owned()]), (TOKEN_TYPE.to_owned(), vec![kind.to_owned()])]),
            pricing: Pricing::of(self.price(amount)),
        }
    }

    /// The price of one token.
    fn price(&self, amount: &Exact) -> PriceModel {
        let with_markup = amount * &(Exact::ONE + self.markup_percent.percent());
        PriceModel::Standard { amount: with_markup.over(&self.per_tokens).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::matching;
    use serde_json::{Value, json};

    fn table(change: impl FnOnce(&mut Value)) -> Result<TokenPrices, String> {
        let mut body = json!({
            "billable_metric_code": "llm.tokens", "markup_percent": "12.5", "otherwise": "80",
            "models": {
                "small": { "input": "0.15", "cached_input": "0.075", "output": "0.60" },
                "deep": { "input": "15", "output": "60", "reasoning": "75" }
            }
        });
        change(&mut body);
        serde_json::from_value(body).map_err(|e| e.to_string())
    }

    #[test]
    fn each_model_and_kind_has_its_price_with_markup_and_an_unknown_model_is_not_free() {
        let table = table(|_| {}).unwrap();
        let (metric, charge) = (table.metric().unwrap(), table.charge());
        for (model, kind, amount) in [
            ("small", "input", "0.00000016875"),
            ("small", "cached_input", "0.000000084375"),
            ("small", "reasoning", "0.000000675"),
            ("deep", "cached_input", "0.000016875"),
            ("deep", "reasoning", "0.000084375"),
            ("new", "input", "0.00009"),
        ] {
            let event = json!({ "tokens": 1, "model": model, "token_type": kind });
            let filter = matching::filter(&metric, &charge, event.as_object().unwrap());
            let price = PriceModel::Standard { amount: amount.parse().unwrap() };
            assert_eq!(charge.pricing(filter).model, price, "{model} {kind}");
        }
        // An ordinary charge, which survives its own JSON.
        let again: Charge = serde_json::from_value(serde_json::to_value(&charge).unwrap()).unwrap();
        assert_eq!(again, charge);
    }

    #[test]
    fn contradictions_are_refused_by_the_name_of_their_field() {
        let cases: [(&str, Value, &str); 5] = [
            ("per_tokens", json!("3"), "per_tokens"),
            ("models", json!({}), "models"),
            ("models", json!({ "m": { "input": "-1", "output": "1" } }), "models.m.input"),
            ("markup_percent", json!("-1"), "markup_percent"),
            ("otherwise", Value::Null, "null"),
        ];
        for (field, value, named) in cases {
            let error = table(|body| body[field] = value.clone()).unwrap_err();
            assert!(error.contains(named), "{field}: {error}");
        }
    }
}
