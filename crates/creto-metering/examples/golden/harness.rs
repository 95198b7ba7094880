//! Reads golden cases, hands each to the production code and compares. Nothing is computed here.

// The tests read this file by its path, from where plain names would be looked for elsewhere.
#[path = "harness/aggregates.rs"]
mod aggregates;
#[path = "harness/compare.rs"]
mod compare;
#[path = "harness/input.rs"]
mod input;
#[path = "harness/money.rs"]
mod money;
#[path = "harness/prices.rs"]
mod prices;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) use compare::Got;

/// What a file of cases came to.
#[derive(Debug)]
pub(crate) struct Report {
    /// How many cases gave what was expected.
    pub(crate) passed: usize,
    /// The others, each with what was expected and what came.
    pub(crate) failures: Vec<String>,
}

/// What a case came to, by the names of `expect`.
pub(crate) type Outputs = BTreeMap<&'static str, Got>;

/// A file of cases. What else stands beside them is for readers.
#[derive(Deserialize)]
struct File {
    cases: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    kind: String,
    input: Value,
    expect: Map<String, Value>,
    #[serde(default, rename = "source")]
    _source: Option<Value>,
    #[serde(default, rename = "note")]
    _note: Option<Value>,
    #[serde(default, rename = "derived")]
    _derived: Option<Value>,
    #[serde(default, rename = "recomputed")]
    _recomputed: Option<Value>,
}

/// Computes every case of a file.
pub(crate) fn run(text: &str) -> Result<Report, serde_json::Error> {
    let file: File = serde_json::from_str(text)?;
    let failures: Vec<String> = file.cases.iter().filter_map(|case| check(case).err()).collect();
    Ok(Report { passed: file.cases.len() - failures.len(), failures })
}

fn check(case: &Value) -> Result<(), String> {
    let named = case.get("id").and_then(Value::as_str).unwrap_or("(a case without id)");
    let case: Case = serde_json::from_value(case.clone()).map_err(|error| format!("{named}: {error}"))?;
    let outputs = compute(&case.kind, case.input).map_err(|error| format!("{} ({}): {error}", case.id, case.kind))?;
    let differences: Vec<String> = case
        .expect
        .iter()
        .filter_map(|(name, expected)| match outputs.get(name.as_str()) {
            Some(got) => compare::difference(name, expected, got),
            None => Some(format!("`{name}` is no result of this kind")),
        })
        .collect();
    if differences.is_empty() { Ok(()) } else { Err(format!("{} ({}): {}", case.id, case.kind, differences.join("; "))) }
}

/// The production code behind each kind.
fn compute(kind: &str, input: Value) -> Result<Outputs, String> {
    match kind {
        "standard" => prices::standard(input),
        "graduated" => prices::graduated(input),
        "volume" => prices::volume(input),
        "package" => prices::package(input),
        "graduated_percentage" => prices::graduated_percentage(input),
        "percentage_total" => prices::percentage_total(input),
        "percentage_per_transaction" => prices::percentage_per_transaction(input),
        "dynamic" => prices::dynamic(input),
        "prorated_graduated" => prices::prorated_graduated(input),
        "graduated_upto" => prices::graduated_upto(input),
        "graduated_upto_split" => prices::graduated_upto_split(input),
        "volume_upto" => prices::volume_upto(input),
        "round_units" => aggregates::round_units(input),
        "weighted_sum" => aggregates::weighted_sum(input),
        "prorated_sum" => aggregates::prorated_sum(input),
        "prorated_persisted" => aggregates::prorated_persisted(input),
        "prorated_recurring_sum" => aggregates::prorated_recurring_sum(input),
        "unique_count" => aggregates::unique_count(input),
        "prorated_unique_count" => aggregates::prorated_unique_count(input),
        "latest" => aggregates::latest(input),
        "sum" => aggregates::sum(input),
        "dedupe" => aggregates::dedupe(input),
        "period_calendar_month" => aggregates::period_calendar_month(input),
        "period_anniversary" => aggregates::period_anniversary(input),
        "credit_drawdown" | "credit_drawdown_error" => money::credit_drawdown(input),
        "wallet_allocation" => money::wallet_allocation(input),
        "grant_burn" => money::grant_burn(input),
        "grant_burn_recurring" => money::grant_burn_recurring(input),
        "threshold_topup_fixed" => money::threshold_topup_fixed(input),
        "credit_amount" => money::credit_amount(input),
        "prorated_fee_tax" => money::prorated_fee_tax(input),
        "true_up" => money::true_up(input),
        "prorated_days" => money::prorated_days(input),
        "commitment_coefficient" => money::commitment_coefficient(input),
        "progressive" => money::progressive(input),
        "coupon_split" => money::coupon_split(input),
        "coupons_taxes" => money::coupons_taxes(input),
        "invoice_order" => money::invoice_order(input),
        _ => Err("this kind is not known".to_owned()),
    }
}
