//! What an event says to a metric: the one place where properties become numbers and values.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::core::aggregate::unique::Operation;
use crate::core::aggregate::{Reading, Value};
use crate::core::exact::Exact;
use crate::core::expression::{EventScope, Scope, Term};
use crate::core::matching;
use crate::model::billable_metric::{Aggregation, BillableMetric};

/// Longest value that a UNIQUE_COUNT tells apart, in bytes.
pub const MEMBER_BYTES_MAX: usize = 1024;
/// The property that says whether a value is added or removed; absent, it is added.
pub const OPERATION_TYPE: &str = "operation_type";
/// The property that says what an event costs, in minor units: the dynamic price.
pub const PRECISE_TOTAL: &str = "precise_total_amount_cents";

/// An event that a metric cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{property}` {problem}")]
pub struct ReadError {
    /// Which property.
    pub property: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Whether the metric counts this event: it does where no condition says otherwise.
pub fn counts(metric: &BillableMetric, event: EventScope<'_>) -> Result<bool, ReadError> {
    let Some(condition) = &metric.condition else { return Ok(true) };
    condition.holds(event).map_err(|e| ReadError { property: "condition".to_owned(), problem: format!("cannot be answered: {e}") })
}

/// Reads an event. `sequence` is its place in the order of arrival.
pub fn reading(metric: &BillableMetric, event: EventScope<'_>, sequence: u64) -> Result<Reading, ReadError> {
    let value = match metric.aggregation_type {
        Aggregation::Count => Value::Nothing,
        Aggregation::Custom => Value::Maybe(match event.properties.get(&metric.field_name) {
            None | Some(Json::Null) => None,
            Some(value) => Some(number(&metric.field_name, value)?),
        }),
        Aggregation::UniqueCount => Value::Member(member(metric, event)?, operation(event)?),
        _ => Value::Number(field(metric, event)?.into_number().map_err(|e| refused(&metric.field_name, &e.to_string()))?),
    };
    let precise_total_amount_cents = match event.properties.get(PRECISE_TOTAL) {
        None | Some(Json::Null) => Exact::ZERO,
        Some(value) => number(PRECISE_TOTAL, value)?,
    };
    Ok(Reading { at: event.at, sequence, value, precise_total_amount_cents })
}

/// The field's value: what the metric's expression makes of the event, or the property itself.
fn field(metric: &BillableMetric, event: EventScope<'_>) -> Result<Term, ReadError> {
    let name = &metric.field_name;
    if let Some(expression) = &metric.expression {
        let names = BTreeMap::new();
        return expression.evaluate(Scope { event: Some(event), names: &names }).map_err(|e| refused(name, &e.to_string()));
    }
    match event.properties.get(name) {
        Some(value @ Json::Number(_)) => number(name, value).map(Term::Number),
        Some(value) => matching::text(value).map(Term::Text).ok_or_else(|| refused(name, "is neither a number nor a text")),
        None => Err(refused(name, "is missing")),
    }
}

fn member(metric: &BillableMetric, event: EventScope<'_>) -> Result<String, ReadError> {
    let text = field(metric, event)?.into_text();
    if text.len() > MEMBER_BYTES_MAX {
        return Err(refused(&metric.field_name, &format!("is longer than the {MEMBER_BYTES_MAX} bytes that are told apart")));
    }
    Ok(text)
}

fn operation(event: EventScope<'_>) -> Result<Operation, ReadError> {
    match event.properties.get(OPERATION_TYPE) {
        None | Some(Json::Null) => Ok(Operation::Add),
        Some(value) => {
            let named = matching::text(value).and_then(|text| Operation::named(&text));
            named.ok_or_else(|| refused(OPERATION_TYPE, "is neither `add` nor `remove`"))
        }
    }
}

fn number(property: &str, value: &Json) -> Result<Exact, ReadError> {
    let text = matching::text(value).ok_or_else(|| refused(property, "is neither a number nor a decimal string"))?;
    text.parse().map_err(|_| refused(property, "is not a decimal number"))
}

fn refused(property: &str, problem: &str) -> ReadError {
    ReadError { property: property.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(metric: Json, properties: &Json) -> Result<Value, String> {
        let metric: BillableMetric = serde_json::from_value(metric).unwrap();
        let at = "2026-11-22T10:00:00Z".parse().unwrap();
        let event = EventScope { code: "m", at, properties: properties.as_object().unwrap() };
        reading(&metric, event, 1).map(|reading| reading.value).map_err(|e| e.to_string())
    }

    #[test]
    fn each_aggregation_reads_what_it_counts() {
        let metric = |aggregation: &str| json!({ "code": "m", "aggregation_type": aggregation, "field_name": "n" });
        let number = |text: &str| Ok(Value::Number(text.parse().unwrap()));
        let event = json!({ "n": "0.10", "operation_type": "remove" });
        assert_eq!(read(metric("sum"), &event), number("0.1"));
        assert_eq!(read(metric("weighted_sum"), &json!({ "n": -4 })), number("-4"));
        assert_eq!(read(metric("unique_count"), &event), Ok(Value::Member("0.10".to_owned(), Operation::Remove)));
        assert_eq!(read(metric("unique_count"), &json!({ "n": 7 })), Ok(Value::Member("7".to_owned(), Operation::Add)));
        assert_eq!(read(json!({ "code": "m", "aggregation_type": "count" }), &event), Ok(Value::Nothing));
        let expression = json!({ "code": "m", "aggregation_type": "sum", "field_name": "n", "expression": "event.properties.a * 2" });
        assert_eq!(read(expression, &json!({ "a": "1.5" })), number("3"));
        let custom = json!({ "code": "m", "aggregation_type": "custom", "field_name": "n", "expression": "sum / count" });
        assert_eq!(read(custom.clone(), &event), Ok(Value::Maybe("0.1".parse().ok())));
        assert_eq!(read(custom, &json!({})), Ok(Value::Maybe(None)));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let sum = || json!({ "code": "m", "aggregation_type": "sum", "field_name": "n" });
        let unique = || json!({ "code": "m", "aggregation_type": "unique_count", "field_name": "n" });
        for (metric, event, named) in [
            (sum(), json!({}), "`n` is missing"),
            (sum(), json!({ "n": "NaN" }), "`n`"),
            (sum(), json!({ "n": [1] }), "`n`"),
            (sum(), json!({ "n": true }), "`n`"),
            (sum(), json!({ "n": 1, "precise_total_amount_cents": "x" }), "`precise_total_amount_cents`"),
            (unique(), json!({ "n": "a", "operation_type": "toggle" }), "`operation_type`"),
            (unique(), json!({ "n": "x".repeat(MEMBER_BYTES_MAX + 1) }), "`n` is longer"),
        ] {
            let error = read(metric, &event).unwrap_err();
            assert!(error.contains(named), "{event}: {error}");
        }
    }
}
