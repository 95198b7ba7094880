//! Price models and their properties, by Lago's names.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::core::exact::Exact;
use crate::core::expression::Expression;
use crate::model::definition::{self, DefinitionError};

/// Most tiers of one price.
pub const TIERS_MAX: usize = 100;
/// What the expression of a custom price may name: units, events, and what the events themselves say they cost in minor units.
pub const CUSTOM_PRICE_NAMES: [&str; 3] = ["units", "events", "precise_total_amount_cents"];

/// A tier of a graduated or volume price: (the tier before's `to_value`, its own `to_value`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Where it begins, as Lago writes it; not read: a tier begins where the one before it ends.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub from_value: Option<Exact>,
    /// Where it ends, that value included; the last tier has no end.
    #[schema(value_type = Option<String>)]
    pub to_value: Option<Exact>,
    /// Price of each unit in it.
    #[serde(default)]
    #[schema(value_type = String)]
    pub per_unit_amount: Exact,
    /// Price of having reached it.
    #[serde(default)]
    #[schema(value_type = String)]
    pub flat_amount: Exact,
}

/// A tier of a graduated percentage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateRange {
    /// Where it begins, as Lago writes it; not read.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub from_value: Option<Exact>,
    /// Where it ends, that value included; the last tier has no end.
    #[schema(value_type = Option<String>)]
    pub to_value: Option<Exact>,
    /// Percentage of the units in it.
    #[serde(default)]
    #[schema(value_type = String)]
    pub rate: Exact,
    /// Price of having reached it.
    #[serde(default)]
    #[schema(value_type = String)]
    pub flat_amount: Exact,
}

/// A percentage of the units, which are money.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Percentage {
    /// Percent.
    #[schema(value_type = String)]
    pub rate: Exact,
    /// Price of each event that is not free.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub fixed_amount: Option<Exact>,
    /// So many events are free; none and 0 are no limit of this kind.
    #[serde(default)]
    pub free_units_per_events: Option<u64>,
    /// So much of the total is free; none and 0 are no limit of this kind.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub free_units_per_total_aggregation: Option<Exact>,
    /// Least that a transaction pays.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub per_transaction_min_amount: Option<Exact>,
    /// Most that a transaction pays.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub per_transaction_max_amount: Option<Exact>,
}

/// How units become money. Amounts are in units of the plan's currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PriceModel {
    /// Each unit costs the same (`standard`).
    Standard {
        /// Price of a unit.
        amount: Exact,
    },
    /// The period costs the same, whatever was used (`flat`; ours).
    Flat {
        /// Price of the period.
        amount: Exact,
    },
    /// Units in each tier cost that tier's price (`graduated`).
    Graduated {
        /// The tiers, ascending.
        ranges: Vec<Range>,
    },
    /// All units cost the price of the tier they end in (`volume`).
    Volume {
        /// The tiers, ascending.
        ranges: Vec<Range>,
    },
    /// Begun packages cost the same (`package`).
    Package {
        /// Price of a package.
        amount: Exact,
        /// Units in one.
        package_size: Exact,
        /// Units that cost nothing.
        free_units: Exact,
    },
    /// A percentage of the units (`percentage`).
    Percentage(Percentage),
    /// A percentage by tier (`graduated_percentage`).
    GraduatedPercentage {
        /// The tiers, ascending.
        ranges: Vec<RateRange>,
    },
    /// Each event says what it costs, in its `precise_total_amount_cents` (`dynamic`).
    Dynamic,
    /// An expression over `units` and `events` (`custom`).
    Custom {
        /// The expression; it may name [`CUSTOM_PRICE_NAMES`].
        expression: Expression,
    },
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Amount {
    amount: Exact,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Package {
    amount: Exact,
    package_size: Exact,
    #[serde(default)]
    free_units: Exact,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Graduated {
    graduated_ranges: Vec<Range>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Volume {
    volume_ranges: Vec<Range>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct GraduatedPercentage {
    graduated_percentage_ranges: Vec<RateRange>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Custom {
    custom_properties: CustomProperties,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CustomProperties {
    expression: Expression,
}

impl PriceModel {
    /// The name in `charge_model`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Standard { .. } => "standard",
            Self::Flat { .. } => "flat",
            Self::Graduated { .. } => "graduated",
            Self::Volume { .. } => "volume",
            Self::Package { .. } => "package",
            Self::Percentage(_) => "percentage",
            Self::GraduatedPercentage { .. } => "graduated_percentage",
            Self::Dynamic => "dynamic",
            Self::Custom { .. } => "custom",
        }
    }

    /// Whether more units can never cost less. A spend cap can trust a monotonic price; a volume price can become cheaper with use.
    #[must_use]
    pub const fn is_monotonic(&self) -> bool {
        !matches!(self, Self::Volume { .. } | Self::Dynamic | Self::Custom { .. })
    }

    /// Whether the period's events must be read one by one, because their totals do not say what they cost.
    #[must_use]
    pub fn reads_events(&self, prorated: bool) -> bool {
        match self {
            Self::Graduated { .. } => prorated,
            Self::Percentage(percentage) => percentage.reads_events(),
            _ => false,
        }
    }

    /// Reads the properties of a model by its name.
    pub fn parse(model: &str, properties: Map<String, Value>) -> Result<Self, DefinitionError> {
        let value = Value::Object(properties);
        let parsed = match model {
            "standard" => definition::read::<Amount>("", value).map(|p| Self::Standard { amount: p.amount }),
            "flat" => definition::read::<Amount>("", value).map(|p| Self::Flat { amount: p.amount }),
            "graduated" => definition::read::<Graduated>("", value).map(|p| Self::Graduated { ranges: p.graduated_ranges }),
            "volume" => definition::read::<Volume>("", value).map(|p| Self::Volume { ranges: p.volume_ranges }),
            "package" => definition::read::<Package>("", value).map(|p| Self::Package {
                amount: p.amount,
                package_size: p.package_size,
                free_units: p.free_units,
            }),
            "percentage" => definition::read("", value).map(Self::Percentage),
            "graduated_percentage" => definition::read::<GraduatedPercentage>("", value)
                .map(|p| Self::GraduatedPercentage { ranges: p.graduated_percentage_ranges }),
            "dynamic" => definition::read::<Empty>("", value).map(|_| Self::Dynamic),
            "custom" => definition::read::<Custom>("", value).map(|p| Self::Custom { expression: p.custom_properties.expression }),
            other => Err(DefinitionError::new("charge_model", format!("`{other}` is not a price model"))),
        }?;
        parsed.check()?;
        Ok(parsed)
    }

    /// The properties, as [`Self::parse`] reads them.
    #[must_use]
    pub fn properties(&self) -> Map<String, Value> {
        let value = match self.clone() {
            Self::Standard { amount } | Self::Flat { amount } => serde_json::to_value(Amount { amount }),
            Self::Graduated { ranges } => serde_json::to_value(Graduated { graduated_ranges: ranges }),
            Self::Volume { ranges } => serde_json::to_value(Volume { volume_ranges: ranges }),
            Self::Package { amount, package_size, free_units } => serde_json::to_value(Package { amount, package_size, free_units }),
            Self::Percentage(percentage) => serde_json::to_value(percentage),
            Self::GraduatedPercentage { ranges } => serde_json::to_value(GraduatedPercentage { graduated_percentage_ranges: ranges }),
            Self::Dynamic => serde_json::to_value(Empty {}),
            Self::Custom { expression } => serde_json::to_value(Custom { custom_properties: CustomProperties { expression } }),
        };
        // Plain structs of decimals and texts: there is nothing in them that JSON cannot say.
        match value {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }

    fn check(&self) -> Result<(), DefinitionError> {
        match self {
            Self::Standard { amount } | Self::Flat { amount } => definition::not_negative("amount", amount),
            Self::Graduated { ranges } => check_ranges("graduated_ranges", ranges),
            Self::Volume { ranges } => check_ranges("volume_ranges", ranges),
            Self::Package { amount, package_size, free_units } => {
                definition::not_negative("amount", amount)?;
                definition::positive("package_size", package_size)?;
                definition::not_negative("free_units", free_units)
            }
            Self::Percentage(percentage) => percentage.check(),
            Self::GraduatedPercentage { ranges } => {
                let field = "graduated_percentage_ranges";
                check_ends(field, ranges.iter().map(|range| range.to_value.as_ref()))?;
                for (index, range) in ranges.iter().enumerate() {
                    let within = |e: DefinitionError| e.within(&format!("{field}[{index}]"));
                    definition::not_negative("rate", &range.rate).map_err(within)?;
                    definition::not_negative("flat_amount", &range.flat_amount).map_err(within)?;
                }
                Ok(())
            }
            Self::Dynamic => Ok(()),
            Self::Custom { expression } => expression
                .check_names(&CUSTOM_PRICE_NAMES, false)
                .map_err(|e| DefinitionError::new("custom_properties.expression", e.to_string())),
        }
    }
}

impl Percentage {
    /// Whether each transaction has a least or a most that it pays.
    #[must_use]
    pub const fn is_bounded(&self) -> bool {
        self.per_transaction_min_amount.is_some() || self.per_transaction_max_amount.is_some()
    }

    /// How many events are free, where that is limited.
    #[must_use]
    pub fn event_limit(&self) -> Option<u64> {
        self.free_units_per_events.filter(|limit| *limit > 0)
    }

    /// How much of the total is free, where that is limited.
    #[must_use]
    pub fn amount_limit(&self) -> Option<&Exact> {
        self.free_units_per_total_aggregation.as_ref().filter(|limit| limit.is_positive())
    }

    /// Whether the order of the events decides: for bounds of each, and for which of them are free.
    #[must_use]
    pub fn reads_events(&self) -> bool {
        self.is_bounded() || self.event_limit().is_some() || self.amount_limit().is_some()
    }

    fn check(&self) -> Result<(), DefinitionError> {
        definition::not_negative("rate", &self.rate)?;
        for (field, value) in [
            ("fixed_amount", &self.fixed_amount),
            ("free_units_per_total_aggregation", &self.free_units_per_total_aggregation),
            ("per_transaction_min_amount", &self.per_transaction_min_amount),
            ("per_transaction_max_amount", &self.per_transaction_max_amount),
        ] {
            value.as_ref().map_or(Ok(()), |value| definition::not_negative(field, value))?;
        }
        match (&self.per_transaction_min_amount, &self.per_transaction_max_amount) {
            (Some(min), Some(max)) if min > max => Err(DefinitionError::new("per_transaction_max_amount", "is below the minimum")),
            _ => Ok(()),
        }
    }
}

fn check_ranges(field: &str, ranges: &[Range]) -> Result<(), DefinitionError> {
    check_ends(field, ranges.iter().map(|range| range.to_value.as_ref()))?;
    for (index, range) in ranges.iter().enumerate() {
        let within = |e: DefinitionError| e.within(&format!("{field}[{index}]"));
        definition::not_negative("per_unit_amount", &range.per_unit_amount).map_err(within)?;
        definition::not_negative("flat_amount", &range.flat_amount).map_err(within)?;
    }
    Ok(())
}

/// Tiers ascend, and the last one alone has no end: there is a tier for every number of units.
fn check_ends<'a>(field: &str, ends: impl ExactSizeIterator<Item = Option<&'a Exact>>) -> Result<(), DefinitionError> {
    let count = ends.len();
    if count == 0 {
        return Err(DefinitionError::new(field, "are empty"));
    }
    if count > TIERS_MAX {
        return Err(DefinitionError::new(field, format!("are more than {TIERS_MAX}")));
    }
    let mut before = Exact::ZERO;
    for (index, end) in ends.enumerate() {
        let at = format!("{field}[{index}].to_value");
        match (end, index + 1 == count) {
            (None, true) => {}
            (None, false) => return Err(DefinitionError::new(at, "is open, but a tier follows")),
            (Some(_), true) => return Err(DefinitionError::new(at, "is not open, though the tier is the last")),
            (Some(end), false) if *end <= before => return Err(DefinitionError::new(at, "does not ascend")),
            (Some(end), false) => before = end.clone(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(model: &str, properties: Value) -> Result<PriceModel, String> {
        let Value::Object(map) = properties else { return Err("not an object".to_owned()) };
        PriceModel::parse(model, map).map_err(|e| e.to_string())
    }

    #[test]
    fn every_model_survives_its_own_properties() {
        for (model, properties) in [
            ("standard", json!({ "amount": "0.00000000009" })),
            ("flat", json!({ "amount": "10" })),
            (
                "graduated",
                json!({ "graduated_ranges": [
                    { "from_value": 0, "to_value": 10, "per_unit_amount": "5", "flat_amount": "200" },
                    { "from_value": 11, "to_value": null, "per_unit_amount": "1", "flat_amount": "300" }
                ] }),
            ),
            ("volume", json!({ "volume_ranges": [{ "from_value": 0, "to_value": null, "per_unit_amount": "2", "flat_amount": "1" }] })),
            ("package", json!({ "amount": "100", "package_size": 10, "free_units": 5 })),
            ("percentage", json!({ "rate": "1.3", "fixed_amount": "2", "free_units_per_events": 3, "per_transaction_min_amount": "1" })),
            ("graduated_percentage", json!({ "graduated_percentage_ranges": [{ "to_value": null, "rate": "1", "flat_amount": "200" }] })),
            ("dynamic", json!({})),
            ("custom", json!({ "custom_properties": { "expression": "units * 2" } })),
        ] {
            let first = parse(model, properties).unwrap();
            assert_eq!(first.name(), model);
            assert_eq!(PriceModel::parse(model, first.properties()), Ok(first));
        }
    }

    #[test]
    fn bad_properties_are_refused_by_the_name_of_their_field() {
        let tier = |to: Value| json!({ "to_value": to, "per_unit_amount": "1", "flat_amount": "0" });
        for (model, properties, named) in [
            ("standard", json!({}), "amount"),
            ("standard", json!({ "amount": "-1" }), "amount"),
            ("standard", json!({ "amount": "1", "rate": "1" }), "rate"),
            ("standard", json!({ "amount": "NaN" }), "NaN"),
            ("graduated", json!({ "graduated_ranges": [] }), "graduated_ranges"),
            ("graduated", json!({ "graduated_ranges": [tier(json!("5"))] }), "graduated_ranges[0].to_value"),
            ("volume", json!({ "volume_ranges": [tier(json!(null)), tier(json!(null))] }), "volume_ranges[0].to_value"),
            ("volume", json!({ "volume_ranges": [tier(json!("5")), tier(json!("5")), tier(json!(null))] }), "volume_ranges[1].to_value"),
            ("package", json!({ "amount": "1", "package_size": "0" }), "package_size"),
            (
                "percentage",
                json!({ "rate": "1", "per_transaction_min_amount": "2", "per_transaction_max_amount": "1" }),
                "per_transaction_max",
            ),
            ("dynamic", json!({ "amount": "1" }), "amount"),
            ("custom", json!({ "custom_properties": { "expression": "units +" } }), "ends too early"),
            ("custom", json!({ "custom_properties": { "expression": "secret" } }), "custom_properties.expression"),
            ("barter", json!({}), "charge_model"),
        ] {
            let error = parse(model, properties).unwrap_err();
            assert!(error.contains(named), "{model}: {error}");
        }
    }
}
