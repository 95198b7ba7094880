//! Billable metrics: how events of a code become units. Prices are elsewhere, in the charges of a plan.
//!
//! Field names are Lago's. `min`, `avg` and `max` over a period are ours beside Lago's seven aggregations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::core::condition::Condition;
use crate::core::exact::Exact;
use crate::core::expression::{Expression, ExpressionError};
use crate::core::rounding::{self, Rounding};
use crate::model::definition::{self, DefinitionError};

/// Most filters of one metric.
pub const FILTERS_MAX: usize = 32;
/// Most values of one filter.
pub const FILTER_VALUES_MAX: usize = 1000;
/// Finest and coarsest precision of rounded units.
pub const PRECISION_MAX: i32 = 30;
/// What the expression of a custom metric may name: the metric's other aggregates.
pub const CUSTOM_METRIC_NAMES: [&str; 6] = ["count", "sum", "max", "min", "avg", "latest"];

/// How events become units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// Each event is one unit.
    #[serde(alias = "count_agg")]
    Count,
    /// Each event is as many units as its field says.
    #[serde(alias = "sum_agg")]
    Sum,
    /// How many different values of the field are active: `operation_type` `add` or `remove` (absent: `add`).
    #[serde(alias = "unique_count_agg")]
    UniqueCount,
    /// The largest value of the field.
    #[serde(alias = "max_agg")]
    Max,
    /// The smallest value of the field.
    #[serde(alias = "min_agg")]
    Min,
    /// The mean of the field's values.
    #[serde(alias = "avg_agg")]
    Avg,
    /// The last value of the field, by timestamp, then by arrival.
    #[serde(alias = "latest_agg")]
    Latest,
    /// The level the field's values add up to, weighted by how long it lasted.
    #[serde(alias = "weighted_sum_agg")]
    WeightedSum,
    /// An expression over the metric's other aggregates.
    #[serde(alias = "custom_agg")]
    Custom,
}

impl Aggregation {
    /// The name in the store and in the native API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::UniqueCount => "unique_count",
            Self::Max => "max",
            Self::Min => "min",
            Self::Avg => "avg",
            Self::Latest => "latest",
            Self::WeightedSum => "weighted_sum",
            Self::Custom => "custom",
        }
    }

    /// The aggregation of a name, with or without Lago's `_agg`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        const ALL: [Aggregation; 9] = [
            Aggregation::Count,
            Aggregation::Sum,
            Aggregation::UniqueCount,
            Aggregation::Max,
            Aggregation::Min,
            Aggregation::Avg,
            Aggregation::Latest,
            Aggregation::WeightedSum,
            Aggregation::Custom,
        ];
        let name = name.strip_suffix("_agg").unwrap_or(name);
        ALL.into_iter().find(|aggregation| aggregation.as_str() == name)
    }

    /// Whether an event must hold a number in the metric's field.
    #[must_use]
    pub const fn reads_number(self) -> bool {
        matches!(self, Self::Sum | Self::Max | Self::Min | Self::Avg | Self::Latest | Self::WeightedSum)
    }

    /// Whether a level can be carried over into the next period.
    #[must_use]
    pub const fn may_recur(self) -> bool {
        matches!(self, Self::Sum | Self::UniqueCount | Self::WeightedSum | Self::Latest | Self::Max | Self::Min | Self::Custom)
    }

    /// Whether its units can be prorated by days.
    #[must_use]
    pub const fn may_prorate(self) -> bool {
        matches!(self, Self::Sum | Self::UniqueCount)
    }
}

/// How a metric's units are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoundingFunction {
    /// To the nearest, halves away from zero.
    Round,
    /// Up.
    Ceil,
    /// Down.
    Floor,
}

impl RoundingFunction {
    /// The rounding it is.
    #[must_use]
    pub const fn rounding(self) -> Rounding {
        match self {
            Self::Round => rounding::UNITS_ROUND,
            Self::Ceil => rounding::UNITS_CEIL,
            Self::Floor => rounding::UNITS_FLOOR,
        }
    }

    /// Units rounded by a function to a precision, where there is one; unchanged where there is none.
    #[must_use]
    pub fn apply(function: Option<Self>, precision: Option<i32>, units: &Exact) -> Exact {
        function.map_or_else(|| units.clone(), |function| function.rounding().places(units, precision.unwrap_or(0)))
    }
}

/// A property whose values tell usage apart, and the values that may be told apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricFilter {
    /// The property.
    pub key: String,
    /// Its values.
    pub values: Vec<String>,
}

/// A metric, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Unchecked")]
pub struct BillableMetric {
    /// What events name it by.
    pub code: String,
    /// What people name it by.
    pub name: String,
    /// What it measures.
    pub description: String,
    /// How events become units.
    pub aggregation_type: Aggregation,
    /// The property that is read; empty for COUNT and CUSTOM.
    pub field_name: String,
    /// Whether the level at the end of a period is the level the next one begins with.
    pub recurring: bool,
    /// How units are rounded, where they are.
    pub rounding_function: Option<RoundingFunction>,
    /// Decimal places that are kept when units are rounded; none is 0, negative rounds to tens, hundreds, ….
    pub rounding_precision: Option<i32>,
    /// Arithmetic over the event that gives the field's value (`core/expression.rs`); for CUSTOM, over the metric's other aggregates.
    #[schema(value_type = Option<String>)]
    pub expression: Option<Expression>,
    /// Which events are counted (`core/condition.rs`); every one of the code where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub condition: Option<Condition>,
    /// Properties that charges may price apart.
    pub filters: Vec<MetricFilter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    code: String,
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    aggregation_type: Aggregation,
    #[serde(default)]
    field_name: Option<String>,
    #[serde(default)]
    recurring: bool,
    #[serde(default)]
    rounding_function: Option<RoundingFunction>,
    #[serde(default)]
    rounding_precision: Option<i32>,
    #[serde(default)]
    expression: Option<String>,
    #[serde(default)]
    condition: Option<String>,
    #[serde(default)]
    filters: Option<Vec<MetricFilter>>,
}

impl TryFrom<Unchecked> for BillableMetric {
    type Error = DefinitionError;
    fn try_from(raw: Unchecked) -> Result<Self, DefinitionError> {
        let expression = raw.expression.filter(|text| !text.trim().is_empty());
        let parsed = expression.map(|text| text.parse()).transpose().map_err(refused)?;
        let condition = raw.condition.filter(|text| !text.trim().is_empty()).map(|text| text.parse()).transpose();
        let metric = Self {
            name: raw.name.unwrap_or_else(|| raw.code.clone()),
            code: raw.code,
            description: raw.description.unwrap_or_default(),
            aggregation_type: raw.aggregation_type,
            field_name: raw.field_name.unwrap_or_default(),
            recurring: raw.recurring,
            rounding_function: raw.rounding_function,
            rounding_precision: raw.rounding_precision,
            expression: parsed,
            condition: condition.map_err(|e: ExpressionError| DefinitionError::new("condition", e.to_string()))?,
            filters: raw.filters.unwrap_or_default(),
        };
        metric.check()?;
        Ok(metric)
    }
}

impl BillableMetric {
    /// A metric without filters, rounding or expression.
    pub fn new(code: &str, aggregation_type: Aggregation, field_name: &str) -> Result<Self, DefinitionError> {
        let metric = Self {
            code: code.to_owned(),
            name: code.to_owned(),
            description: String::new(),
            aggregation_type,
            field_name: field_name.to_owned(),
            recurring: false,
            rounding_function: None,
            rounding_precision: None,
            expression: None,
            condition: None,
            filters: Vec::new(),
        };
        metric.check()?;
        Ok(metric)
    }

    /// Units rounded where the metric says so.
    #[must_use]
    pub fn rounded(&self, units: &Exact) -> Exact {
        RoundingFunction::apply(self.rounding_function, self.rounding_precision, units)
    }

    /// Units as a price reads them: rounded, and nothing where they are below nothing.
    #[must_use]
    pub fn billable(&self, units: &Exact) -> Exact {
        self.rounded(units).floor_zero()
    }

    /// The filters as a table.
    #[must_use]
    pub fn filter_values(&self) -> BTreeMap<&str, &[String]> {
        self.filters.iter().map(|filter| (filter.key.as_str(), filter.values.as_slice())).collect()
    }

    fn check(&self) -> Result<(), DefinitionError> {
        definition::code("code", &self.code)?;
        definition::text("name", &self.name)?;
        definition::text("description", &self.description)?;
        self.check_field()?;
        if self.recurring && !self.aggregation_type.may_recur() {
            return Err(DefinitionError::new("recurring", format!("is not possible for `{}`", self.aggregation_type.as_str())));
        }
        if self.rounding_precision.is_some_and(|precision| precision.abs() > PRECISION_MAX) {
            return Err(DefinitionError::new("rounding_precision", format!("is not between -{PRECISION_MAX} and {PRECISION_MAX}")));
        }
        if self.rounding_precision.is_some() && self.rounding_function.is_none() {
            return Err(DefinitionError::new("rounding_precision", "needs a `rounding_function`"));
        }
        definition::count("filters", &self.filters, FILTERS_MAX)?;
        definition::distinct("filters", self.filters.iter().map(|filter| filter.key.as_str()))?;
        for (index, filter) in self.filters.iter().enumerate() {
            filter.check().map_err(|e| e.within(&format!("filters[{index}]")))?;
        }
        Ok(())
    }

    fn check_field(&self) -> Result<(), DefinitionError> {
        definition::text("field_name", &self.field_name)?;
        match self.aggregation_type {
            Aggregation::Count if !self.field_name.is_empty() => Err(DefinitionError::new("field_name", "is not read by a count")),
            Aggregation::Custom if self.expression.is_none() => Err(DefinitionError::new("expression", "is needed by a custom metric")),
            _ if self.expression.is_some() => self.check_expression(),
            Aggregation::Count | Aggregation::Custom => Ok(()),
            _ if self.field_name.is_empty() => Err(DefinitionError::new("field_name", "is empty: it names the property that is read")),
            _ => Ok(()),
        }
    }
}

impl BillableMetric {
    /// Where an expression is computed from an event, it gives the value of the field: there need not be a property of that name.
    fn check_expression(&self) -> Result<(), DefinitionError> {
        let Some(expression) = &self.expression else { return Ok(()) };
        match self.aggregation_type {
            Aggregation::Count => Err(DefinitionError::new("expression", "is not read by a count")),
            Aggregation::Custom => expression.check_names(&CUSTOM_METRIC_NAMES, false).map_err(refused),
            _ => expression.check_names(&[], true).map_err(refused),
        }
    }
}

fn refused(error: ExpressionError) -> DefinitionError {
    DefinitionError::new("expression", error.to_string())
}

impl MetricFilter {
    fn check(&self) -> Result<(), DefinitionError> {
        definition::code("key", &self.key)?;
        if self.values.is_empty() {
            return Err(DefinitionError::new("values", "are empty"));
        }
        definition::count("values", &self.values, FILTER_VALUES_MAX)?;
        definition::distinct("values", self.values.iter().map(String::as_str))?;
        self.values.iter().try_for_each(|value| definition::text("values", value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn metric(change: impl FnOnce(&mut Value)) -> Result<BillableMetric, String> {
        let mut body = json!({ "code": "storage", "name": "Storage", "aggregation_type": "sum_agg", "field_name": "gb" });
        change(&mut body);
        serde_json::from_value(body).map_err(|e| e.to_string())
    }

    #[test]
    fn every_aggregation_is_read_by_its_own_and_by_lagos_name() {
        for name in ["count", "sum", "unique_count", "max", "min", "avg", "latest", "weighted_sum", "custom"] {
            let aggregation = Aggregation::named(name).unwrap();
            assert_eq!(aggregation.as_str(), name);
            for text in [name.to_owned(), format!("{name}_agg")] {
                assert_eq!(serde_json::from_value::<Aggregation>(json!(text)).unwrap(), aggregation);
                assert_eq!(Aggregation::named(&text), Some(aggregation));
            }
            assert_eq!(serde_json::to_value(aggregation).unwrap(), json!(name));
        }
        assert_eq!(Aggregation::named("median"), None);
    }

    #[test]
    fn a_metric_survives_its_own_json() {
        let first = metric(|b| {
            b["filters"] = json!([{ "key": "region", "values": ["eu", "us"] }]);
            b["rounding_function"] = json!("ceil");
            b["rounding_precision"] = json!(-2);
            b["recurring"] = json!(true);
        })
        .unwrap();
        let again: BillableMetric = serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap();
        assert_eq!(first, again);
        assert_eq!(first.rounded(&"123.456".parse().unwrap()).to_string(), "200");
    }

    #[test]
    fn contradictions_are_refused_by_the_name_of_their_field() {
        let cases: [(&str, Value, &str); 12] = [
            ("condition", json!("event.properties.region = 'eu'"), "condition"),
            ("expression", json!("event.properties.a *"), "expression"),
            ("expression", json!("sum / count"), "expression"),
            ("code", json!(""), "code"),
            ("aggregation_type", json!("count"), "field_name"),
            ("aggregation_type", json!("custom"), "expression"),
            ("field_name", json!(""), "field_name"),
            ("rounding_precision", json!(2), "rounding_precision"),
            ("filters", json!([{ "key": "a", "values": [] }]), "filters[0].values"),
            ("filters", json!([{ "key": "a", "values": ["x", "x"] }]), "filters[0].values"),
            ("unknown", json!(1), "unknown"),
            ("name", json!("a\u{7}"), "name"),
        ];
        for (field, value, named) in cases {
            let error = metric(|b| b[field] = value.clone()).unwrap_err();
            assert!(error.contains(named), "{field}: {error}");
        }
        let error = metric(|b| {
            b["aggregation_type"] = json!("avg");
            b["recurring"] = json!(true);
        })
        .unwrap_err();
        assert!(error.contains("recurring"), "{error}");
    }
}
