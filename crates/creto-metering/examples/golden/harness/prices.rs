//! Price models.

use std::collections::BTreeMap;

use creto_metering::core::exact::Exact;
use creto_metering::core::price::{self, Rated, Transaction, Usage, percentage, tiers};
use creto_metering::model::price::{Percentage, PriceModel, Range, RateRange};
use serde::Deserialize;
use serde_json::Value;

use super::Outputs;
use super::input::{Whole, read};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tier {
    #[serde(default, rename = "from")]
    _from: Option<Value>,
    to: Option<Exact>,
    per_unit: Option<Exact>,
    flat: Option<Exact>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpTo {
    up_to: Option<Exact>,
    per_unit: Option<Exact>,
    flat: Option<Exact>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateTier {
    #[serde(default, rename = "from")]
    _from: Option<Value>,
    to: Option<Exact>,
    rate: Option<Exact>,
    flat: Option<Exact>,
}

fn range(to_value: Option<Exact>, per_unit: Option<Exact>, flat: Option<Exact>) -> Range {
    Range { from_value: None, to_value, per_unit_amount: per_unit.unwrap_or_default(), flat_amount: flat.unwrap_or_default() }
}

fn ranges(tiers: Vec<Tier>) -> Vec<Range> {
    tiers.into_iter().map(|tier| range(tier.to, tier.per_unit, tier.flat)).collect()
}

fn up_to(tiers: Vec<UpTo>) -> Vec<Range> {
    tiers.into_iter().map(|tier| range(tier.up_to, tier.per_unit, tier.flat)).collect()
}

fn rate(model: &PriceModel, units: Exact, full_units: Option<Exact>) -> Result<Outputs, String> {
    rate_usage(model, &Usage { units, full_units, ..Usage::default() })
}

fn rate_usage(model: &PriceModel, usage: &Usage) -> Result<Outputs, String> {
    price::rate(model, usage, &Exact::ONE).map(outputs).map_err(|error| error.to_string())
}

fn outputs(rated: Rated) -> Outputs {
    BTreeMap::from([
        ("amount", rated.amount.into()),
        ("unit_amount", rated.unit_amount.into()),
        ("free_units", rated.free_units.into()),
        ("free_events", rated.free_events.into()),
    ])
}

pub(super) fn standard(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        units: Exact,
        amount: Exact,
        #[serde(default)]
        full_units: Option<Exact>,
    }
    let input: Input = read(input)?;
    rate(&PriceModel::Standard { amount: input.amount }, input.units, input.full_units)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tiered {
    units: Exact,
    #[serde(default)]
    full_units: Option<Exact>,
    ranges: Vec<Tier>,
}

pub(super) fn graduated(input: Value) -> Result<Outputs, String> {
    let input: Tiered = read(input)?;
    rate(&PriceModel::Graduated { ranges: ranges(input.ranges) }, input.units, input.full_units)
}

pub(super) fn volume(input: Value) -> Result<Outputs, String> {
    let input: Tiered = read(input)?;
    rate(&PriceModel::Volume { ranges: ranges(input.ranges) }, input.units, input.full_units)
}

pub(super) fn package(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        units: Exact,
        amount: Exact,
        package_size: Exact,
        #[serde(default)]
        free_units: Option<Exact>,
    }
    let input: Input = read(input)?;
    let free_units = input.free_units.unwrap_or_default();
    rate(&PriceModel::Package { amount: input.amount, package_size: input.package_size, free_units }, input.units, None)
}

pub(super) fn graduated_percentage(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        units: Exact,
        #[serde(default)]
        full_units: Option<Exact>,
        ranges: Vec<RateTier>,
    }
    let input: Input = read(input)?;
    let tier = |tier: RateTier| RateRange {
        from_value: None,
        to_value: tier.to,
        rate: tier.rate.unwrap_or_default(),
        flat_amount: tier.flat.unwrap_or_default(),
    };
    let ranges = input.ranges.into_iter().map(tier).collect();
    rate(&PriceModel::GraduatedPercentage { ranges }, input.units, input.full_units)
}

pub(super) fn percentage_total(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        units: Exact,
        event_count: Whole,
        running_total: Vec<Exact>,
        rate: Option<Exact>,
        fixed_amount: Option<Exact>,
        free_units_per_events: Option<Whole>,
        free_units_per_total_aggregation: Option<Exact>,
    }
    let input: Input = read(input)?;
    let price = Percentage {
        rate: input.rate.unwrap_or_default(),
        fixed_amount: input.fixed_amount,
        free_units_per_events: input.free_units_per_events.map(|limit| limit.0),
        free_units_per_total_aggregation: input.free_units_per_total_aggregation,
        ..Percentage::default()
    };
    Ok(outputs(percentage::total(&price, &input.units, input.event_count.0, &input.running_total)))
}

pub(super) fn percentage_per_transaction(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        event_values: Vec<Exact>,
        rate: Option<Exact>,
        fixed_amount: Option<Exact>,
        free_units_per_events: Option<Whole>,
        free_units_per_total_aggregation: Option<Exact>,
        min: Option<Exact>,
        max: Option<Exact>,
    }
    let input: Input = read(input)?;
    let price = Percentage {
        rate: input.rate.unwrap_or_default(),
        fixed_amount: input.fixed_amount,
        free_units_per_events: input.free_units_per_events.map(|limit| limit.0),
        free_units_per_total_aggregation: input.free_units_per_total_aggregation,
        per_transaction_min_amount: input.min,
        per_transaction_max_amount: input.max,
    };
    Ok(outputs(percentage::by_transaction(&price, &input.event_values)))
}

pub(super) fn dynamic(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        units: Exact,
        precise_total_amount_cents: Exact,
        subunits: Exact,
    }
    let input: Input = read(input)?;
    let usage = Usage { units: input.units, precise_total_amount_cents: input.precise_total_amount_cents, ..Usage::default() };
    price::rate(&PriceModel::Dynamic, &usage, &input.subunits).map(outputs).map_err(|error| error.to_string())
}

pub(super) fn prorated_graduated(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        ranges: Vec<Tier>,
        full_units: Vec<Exact>,
        prorated_units: Vec<Exact>,
    }
    let input: Input = read(input)?;
    if input.full_units.len() != input.prorated_units.len() {
        return Err("each event has full units and prorated units".to_owned());
    }
    let each = input.full_units.into_iter().zip(input.prorated_units);
    let transactions: Vec<Transaction> = each.map(|(full_units, prorated_units)| Transaction { full_units, prorated_units }).collect();
    let model = PriceModel::Graduated { ranges: ranges(input.ranges) };
    rate_usage(&model, &Usage::prorated(&model, &transactions))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TieredUpTo {
    units: Exact,
    tiers: Vec<UpTo>,
}

pub(super) fn graduated_upto(input: Value) -> Result<Outputs, String> {
    let input: TieredUpTo = read(input)?;
    rate(&PriceModel::Graduated { ranges: up_to(input.tiers) }, input.units, None)
}

pub(super) fn volume_upto(input: Value) -> Result<Outputs, String> {
    let input: TieredUpTo = read(input)?;
    rate(&PriceModel::Volume { ranges: up_to(input.tiers) }, input.units, None)
}

pub(super) fn graduated_upto_split(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        previous_units: Exact,
        line_units: Exact,
        tiers: Vec<UpTo>,
    }
    let input: Input = read(input)?;
    let amount = tiers::graduated_line(&up_to(input.tiers), &input.previous_units, &input.line_units);
    Ok(BTreeMap::from([("amount", amount.into())]))
}
