//! Charges: the price of a metric in a plan, with the filters and groups that are priced apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::definition::{self, DefinitionError};
use crate::model::price::PriceModel;

/// Most filters of one charge.
pub const CHARGE_FILTERS_MAX: usize = 1000;
/// Most keys that group usage.
pub const GROUP_KEYS_MAX: usize = 8;
/// What stands for every value of a metric's filter, as in Lago.
pub const ALL_FILTER_VALUES: &str = "__ALL_FILTER_VALUES__";

/// A price with the keys that its usage is grouped by. In JSON both are in `properties`, as in Lago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pricing {
    /// How units become money.
    pub model: PriceModel,
    /// Properties by which usage is priced apart: each group begins at the first tier.
    pub pricing_group_keys: Vec<String>,
    /// Properties by which usage is shown apart, but priced together.
    pub presentation_group_keys: Vec<String>,
}

/// A price of its own for events whose properties have these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeFilter {
    /// What the invoice calls it.
    pub invoice_display_name: Option<String>,
    /// For each key of the metric's filters, the values that match.
    pub values: BTreeMap<String, Vec<String>>,
    /// Its price; the model is the charge's.
    pub pricing: Pricing,
}

/// The price of a metric in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Charge {
    /// What it is called in its plan: the store's and the invoices' key. The metric's code, where it is not named.
    pub code: String,
    /// The metric.
    pub billable_metric_code: String,
    /// What the invoice calls it.
    pub invoice_display_name: Option<String>,
    /// Its price where no filter matches.
    pub pricing: Pricing,
    /// Whether each event is billed when it arrives.
    pub pay_in_advance: bool,
    /// Whether what is billed in advance becomes an invoice at once; else it is collected on one until its period ends.
    pub invoiceable: bool,
    /// Lago's word for collecting: `invoice`, where it is said.
    pub regroup_paid_fees: Option<Regroup>,
    /// Whether units count by the days they were active.
    pub prorated: bool,
    /// Least that a period pays, in minor units.
    pub min_amount_cents: i64,
    /// Most that a period pays, in minor units; ours.
    pub max_amount_cents: Option<i64>,
    /// Prices of their own, the most specific match wins.
    pub filters: Vec<ChargeFilter>,
    /// Taxes of its fees; the plan's where it has none.
    pub tax_codes: Vec<String>,
}

/// What what is billed in advance and not at once an invoice is gathered into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regroup {
    /// An invoice of its period.
    Invoice,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    code: Option<String>,
    billable_metric_code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invoice_display_name: Option<String>,
    charge_model: String,
    #[serde(default)]
    properties: Map<String, Value>,
    #[serde(default)]
    pay_in_advance: bool,
    #[serde(default = "yes")]
    invoiceable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    regroup_paid_fees: Option<Regroup>,
    #[serde(default)]
    prorated: bool,
    #[serde(default)]
    min_amount_cents: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_amount_cents: Option<i64>,
    #[serde(default)]
    filters: Vec<RawFilter>,
    #[serde(default)]
    tax_codes: Vec<String>,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawFilter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invoice_display_name: Option<String>,
    values: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    properties: Map<String, Value>,
}

impl Pricing {
    /// A price without groups.
    #[must_use]
    pub const fn of(model: PriceModel) -> Self {
        Self { model, pricing_group_keys: Vec::new(), presentation_group_keys: Vec::new() }
    }

    /// Reads `properties` of a model.
    pub fn parse(model: &str, mut properties: Map<String, Value>) -> Result<Self, DefinitionError> {
        // `grouped_by` is what Lago called pricing groups before.
        let grouped_by = group_keys("grouped_by", properties.remove("grouped_by"))?;
        let mut pricing_group_keys = group_keys("pricing_group_keys", properties.remove("pricing_group_keys"))?;
        if pricing_group_keys.is_empty() {
            pricing_group_keys = grouped_by;
        }
        let presentation_group_keys = group_keys("presentation_group_keys", properties.remove("presentation_group_keys"))?;
        Ok(Self { model: PriceModel::parse(model, properties)?, pricing_group_keys, presentation_group_keys })
    }

    /// The `properties`, as [`Self::parse`] reads them.
    #[must_use]
    pub fn properties(&self) -> Map<String, Value> {
        let mut properties = self.model.properties();
        for (name, keys) in [("pricing_group_keys", &self.pricing_group_keys), ("presentation_group_keys", &self.presentation_group_keys)] {
            if !keys.is_empty() {
                properties.insert(name.to_owned(), keys.clone().into());
            }
        }
        properties
    }
}

fn group_keys(field: &str, value: Option<Value>) -> Result<Vec<String>, DefinitionError> {
    let keys: Vec<String> = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => definition::read(field, value)?,
    };
    definition::count(field, &keys, GROUP_KEYS_MAX)?;
    definition::distinct(field, keys.iter().map(String::as_str))?;
    keys.iter().try_for_each(|key| definition::code(field, key))?;
    Ok(keys)
}

impl TryFrom<Raw> for Charge {
    type Error = DefinitionError;
    fn try_from(raw: Raw) -> Result<Self, DefinitionError> {
        let model = raw.charge_model.as_str();
        let inside = |e: DefinitionError| if e.field == "charge_model" { e } else { e.within("properties") };
        let pricing = Pricing::parse(model, raw.properties).map_err(inside)?;
        let filters: Result<Vec<_>, DefinitionError> = raw
            .filters
            .into_iter()
            .enumerate()
            .map(|(index, filter)| {
                let pricing =
                    Pricing::parse(model, filter.properties).map_err(inside).map_err(|e| e.within(&format!("filters[{index}]")))?;
                Ok(ChargeFilter { invoice_display_name: filter.invoice_display_name, values: filter.values, pricing })
            })
            .collect();
        let charge = Self {
            code: raw.code.unwrap_or_else(|| raw.billable_metric_code.clone()),
            billable_metric_code: raw.billable_metric_code,
            invoice_display_name: raw.invoice_display_name,
            pricing,
            pay_in_advance: raw.pay_in_advance,
            invoiceable: raw.invoiceable,
            regroup_paid_fees: raw.regroup_paid_fees,
            prorated: raw.prorated,
            min_amount_cents: raw.min_amount_cents,
            max_amount_cents: raw.max_amount_cents,
            filters: filters?,
            tax_codes: raw.tax_codes,
        };
        charge.check()?;
        Ok(charge)
    }
}

impl From<Charge> for Raw {
    fn from(charge: Charge) -> Self {
        Self {
            code: Some(charge.code),
            billable_metric_code: charge.billable_metric_code,
            invoice_display_name: charge.invoice_display_name,
            charge_model: charge.pricing.model.name().to_owned(),
            properties: charge.pricing.properties(),
            pay_in_advance: charge.pay_in_advance,
            invoiceable: charge.invoiceable,
            regroup_paid_fees: charge.regroup_paid_fees,
            prorated: charge.prorated,
            min_amount_cents: charge.min_amount_cents,
            max_amount_cents: charge.max_amount_cents,
            filters: charge
                .filters
                .into_iter()
                .map(|filter| RawFilter {
                    invoice_display_name: filter.invoice_display_name,
                    properties: filter.pricing.properties(),
                    values: filter.values,
                })
                .collect(),
            tax_codes: charge.tax_codes,
        }
    }
}

impl Charge {
    /// A charge of one price, in arrears, without filters.
    #[must_use]
    pub fn of(billable_metric_code: &str, model: PriceModel) -> Self {
        Self {
            code: billable_metric_code.to_owned(),
            billable_metric_code: billable_metric_code.to_owned(),
            invoice_display_name: None,
            pricing: Pricing::of(model),
            pay_in_advance: false,
            invoiceable: true,
            regroup_paid_fees: None,
            prorated: false,
            min_amount_cents: 0,
            max_amount_cents: None,
            filters: Vec::new(),
            tax_codes: Vec::new(),
        }
    }

    /// The price of a filter by its place, or the charge's own.
    #[must_use]
    pub fn pricing(&self, filter: Option<usize>) -> &Pricing {
        filter.and_then(|index| self.filters.get(index)).map_or(&self.pricing, |filter| &filter.pricing)
    }

    fn check(&self) -> Result<(), DefinitionError> {
        definition::code("code", &self.code)?;
        definition::code("billable_metric_code", &self.billable_metric_code)?;
        definition::text("invoice_display_name", self.invoice_display_name.as_deref().unwrap_or_default())?;
        definition::cents("min_amount_cents", self.min_amount_cents)?;
        if let Some(max) = self.max_amount_cents {
            definition::cents("max_amount_cents", max)?;
            if max < self.min_amount_cents {
                return Err(DefinitionError::new("max_amount_cents", "is below `min_amount_cents`"));
            }
        }
        self.check_model()?;
        definition::count("filters", &self.filters, CHARGE_FILTERS_MAX)?;
        for (index, filter) in self.filters.iter().enumerate() {
            filter.check().map_err(|e| e.within(&format!("filters[{index}]")))?;
            if self.filters.iter().take(index).any(|other| other.values == filter.values) {
                return Err(DefinitionError::new(format!("filters[{index}].values"), "are those of an earlier filter"));
            }
        }
        definition::distinct("tax_codes", self.tax_codes.iter().map(String::as_str))?;
        self.tax_codes.iter().try_for_each(|code| definition::code("tax_codes", code))
    }

    /// What Lago refuses too: the price of all units is not known before the last one.
    fn check_model(&self) -> Result<(), DefinitionError> {
        let model = &self.pricing.model;
        if self.pay_in_advance && matches!(model, PriceModel::Volume { .. }) {
            return Err(DefinitionError::new("pay_in_advance", "is not possible for a volume price"));
        }
        if self.pay_in_advance && self.min_amount_cents > 0 {
            return Err(DefinitionError::new("min_amount_cents", "is not possible for what is billed in advance"));
        }
        if self.pay_in_advance && self.max_amount_cents.is_some() {
            return Err(DefinitionError::new("max_amount_cents", "is not possible for what is billed in advance"));
        }
        if self.pay_in_advance && self.prorated && !matches!(model, PriceModel::Standard { .. }) {
            return Err(DefinitionError::new("pay_in_advance", "of prorated units is possible for a standard price alone"));
        }
        if self.regroup_paid_fees.is_some() && (self.invoiceable || !self.pay_in_advance) {
            return Err(DefinitionError::new("regroup_paid_fees", "is said of what is billed in advance and not at once an invoice"));
        }
        let prorates = matches!(model, PriceModel::Standard { .. } | PriceModel::Graduated { .. } | PriceModel::Volume { .. });
        if self.prorated && !prorates {
            return Err(DefinitionError::new("prorated", format!("is not possible for a {} price", model.name())));
        }
        Ok(())
    }
}

impl ChargeFilter {
    fn check(&self) -> Result<(), DefinitionError> {
        if self.values.is_empty() {
            return Err(DefinitionError::new("values", "are empty"));
        }
        for (key, values) in &self.values {
            definition::code("values", key)?;
            if values.is_empty() {
                return Err(DefinitionError::new(format!("values.{key}"), "is empty"));
            }
            definition::distinct(&format!("values.{key}"), values.iter().map(String::as_str))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn charge(change: impl FnOnce(&mut Value)) -> Result<Charge, String> {
        let mut body = json!({
            "billable_metric_code": "tokens", "charge_model": "standard",
            "properties": { "amount": "0.01", "pricing_group_keys": ["region"], "presentation_group_keys": ["agent"] },
            "filters": [{ "values": { "model": ["small"] }, "properties": { "amount": "0.001" } }]
        });
        change(&mut body);
        serde_json::from_value(body).map_err(|e| e.to_string())
    }

    #[test]
    fn a_charge_survives_its_own_json() {
        let first = charge(|_| {}).unwrap();
        assert_eq!(first.code, "tokens");
        assert_eq!(first.pricing.pricing_group_keys, ["region"]);
        assert_eq!(first.pricing(Some(0)).model, PriceModel::Standard { amount: "0.001".parse().unwrap() });
        assert_eq!(first.pricing(Some(9)), first.pricing(None));
        let again: Charge = serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap();
        assert_eq!(first, again);
    }

    #[test]
    fn the_old_name_of_pricing_groups_is_read() {
        let old = charge(|b| b["properties"] = json!({ "amount": "1", "grouped_by": ["cloud"] })).unwrap();
        assert_eq!(old.pricing.pricing_group_keys, ["cloud"]);
    }

    #[test]
    fn contradictions_are_refused_by_the_name_of_their_field() {
        let volume = json!({ "volume_ranges": [{ "to_value": null, "per_unit_amount": "1", "flat_amount": "0" }] });
        let cases: [(&[(&str, Value)], &str); 9] = [
            (&[("charge_model", json!("barter"))], "charge_model"),
            (&[("properties", json!({ "amount": "-1" }))], "properties.amount"),
            (&[("properties", json!({ "amount": "1", "pricing_group_keys": ["a", "a"] }))], "properties.pricing_group_keys"),
            (&[("filters", json!([{ "values": {}, "properties": { "amount": "1" } }]))], "filters[0].values"),
            (&[("filters", json!([{ "values": { "a": ["x"] }, "properties": {} }]))], "filters[0].properties"),
            (
                &[("charge_model", json!("volume")), ("properties", volume), ("filters", json!([])), ("pay_in_advance", json!(true))],
                "pay_in_advance",
            ),
            (&[("min_amount_cents", json!(-1))], "min_amount_cents"),
            (&[("min_amount_cents", json!(2)), ("max_amount_cents", json!(1))], "max_amount_cents"),
            (&[("surprise", json!(1))], "surprise"),
        ];
        for (changes, named) in cases {
            let error = charge(|b| changes.iter().for_each(|(field, value)| b[*field] = value.clone())).unwrap_err();
            assert!(error.contains(named), "{changes:?}: {error}");
        }
    }
}
