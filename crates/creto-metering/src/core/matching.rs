//! Which price of a charge an event is for, and which group it is counted in.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::model::billable_metric::BillableMetric;
use crate::model::charge::{ALL_FILTER_VALUES, Charge};

/// A property's value for each key of a group; none where the event has no such property.
pub type Group = BTreeMap<String, Option<String>>;

/// The place of the filter whose price an event has: of those whose every key matches, the one with most keys, and of these the one
/// with fewest keys that match any value, then the first. None: the charge's own price.
#[must_use]
pub fn filter(metric: &BillableMetric, charge: &Charge, fields: &Map<String, Value>) -> Option<usize> {
    let known = metric.filter_values();
    let matches = |key: &str, allowed: &[String]| {
        let Some(value) = fields.get(key).and_then(text) else { return false };
        let is_any = allowed.iter().any(|allowed| allowed == ALL_FILTER_VALUES);
        allowed.contains(&value) || (is_any && known.get(key).is_none_or(|values| values.contains(&value)))
    };
    let any_keys =
        |values: &BTreeMap<String, Vec<String>>| values.values().filter(|allowed| allowed.iter().any(|v| v == ALL_FILTER_VALUES)).count();
    charge
        .filters
        .iter()
        .enumerate()
        .filter(|(_, filter)| filter.values.iter().all(|(key, allowed)| matches(key, allowed)))
        .min_by_key(|(index, filter)| (std::cmp::Reverse(filter.values.len()), any_keys(&filter.values), *index))
        .map(|(index, _)| index)
}

/// The group of an event by these keys.
#[must_use]
pub fn group(keys: &[String], fields: &Map<String, Value>) -> Group {
    keys.iter().map(|key| (key.clone(), fields.get(key).and_then(text))).collect()
}

/// A property as the text that filters and groups compare: a string itself, numbers and truth values as JSON writes them.
#[must_use]
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn the_most_specific_filter_that_matches_prices_an_event() {
        let metric: BillableMetric = serde_json::from_value(json!({
            "code": "m", "aggregation_type": "count",
            "filters": [{ "key": "cloud", "values": ["aws", "gcp"] }, { "key": "region", "values": ["eu", "us"] }]
        }))
        .unwrap();
        let price = json!({ "amount": "1" });
        let charge: Charge = serde_json::from_value(json!({
            "billable_metric_code": "m", "charge_model": "standard", "properties": price,
            "filters": [
                { "values": { "cloud": ["aws"] }, "properties": price },
                { "values": { "cloud": ["aws"], "region": [ALL_FILTER_VALUES] }, "properties": price },
                { "values": { "cloud": ["aws"], "region": ["eu"] }, "properties": price },
                { "values": { "size": ["7"] }, "properties": price }
            ]
        }))
        .unwrap();
        for (event, place) in [
            (json!({ "cloud": "aws" }), Some(0)),
            (json!({ "cloud": "aws", "region": "us" }), Some(1)),
            (json!({ "cloud": "aws", "region": "eu" }), Some(2)),
            (json!({ "cloud": "aws", "region": "mars" }), Some(0)),
            (json!({ "cloud": "gcp", "region": "eu" }), None),
            (json!({ "size": 7 }), Some(3)),
            (json!({}), None),
        ] {
            assert_eq!(filter(&metric, &charge, &fields(event.clone())), place, "{event}");
        }
    }

    #[test]
    fn groups_are_by_the_text_of_their_properties() {
        let keys = ["agent".to_owned(), "region".to_owned(), "size".to_owned()];
        let group = group(&keys, &fields(json!({ "agent": "a", "size": 2.5, "other": 1 })));
        assert_eq!(
            group.into_iter().collect::<Vec<_>>(),
            [("agent".to_owned(), Some("a".to_owned())), ("region".to_owned(), None), ("size".to_owned(), Some("2.5".to_owned()))]
        );
    }
}
