//! Amounts, decimals and lists of entries as Lago's clients read them.

use std::collections::BTreeMap;

use creto_kernel::{Micros, Timestamp};
use serde_json::{Map, Value, json};

use super::body::Fields;
use super::refusal::{Faults, INVALID, No};
use super::shape::{derived_id, or_null};
use crate::core::exact::Exact;
use crate::core::rounding::CREDIT_MONEY;
use crate::model::currency::Currency;

pub(super) use crate::core::sheet::units as decimal;

/// An amount in minor units: whole ones, as Lago has no parts of them.
pub(super) fn cents(amount: Micros, currency: Currency) -> i64 {
    CREDIT_MONEY.whole(&(Exact::from(amount) * currency.subunits())).to_i64().unwrap_or(i64::MAX)
}

/// An amount in units of its currency.
pub(super) fn money(amount: Micros) -> String {
    decimal(&Exact::from(amount))
}

/// The last second of a period that ends before `end`: Lago's periods name the last moment that is in them.
pub(super) fn last_second(end: Timestamp) -> Timestamp {
    Timestamp::from_micros(end.as_micros().saturating_sub(1_000_000)).unwrap_or(end)
}

/// Entries that Lago has as a list of keys and values, each with an identifier.
pub(super) fn entry_list(of: &str, entries: &BTreeMap<String, String>, at: Timestamp) -> Vec<Value> {
    let entry = |(key, value): (&String, &String)| json!({ "lago_id": derived_id(&["metadata", of, key]), "key": key, "value": value, "created_at": at });
    entries.iter().map(entry).collect()
}

/// Entries that Lago has as an object.
pub(super) fn entry_object(entries: &BTreeMap<String, String>) -> Value {
    entries.iter().map(|(key, value)| (key.clone(), json!(or_null(value)))).collect::<Map<_, _>>().into()
}

/// Reads a list of keys and values. The identifier of one says nothing that its key does not.
pub(super) fn read_list(sent: Value, at: &str) -> Result<BTreeMap<String, String>, No> {
    let mut entries = BTreeMap::new();
    let Value::Array(items) = sent else { return Err(Faults::of(at, INVALID, format!("`{at}` is no list")).into()) };
    for (index, item) in items.into_iter().enumerate() {
        let mut fields = Fields::within(item, &format!("{at}[{index}]"))?;
        let (key, value) = (fields.needed("key"), fields.text("value").unwrap_or_default());
        fields.text("id");
        if entries.contains_key(&key) {
            fields.fault("key", INVALID, format!("`{key}` is there twice"));
        }
        fields.done()?;
        entries.insert(key, value);
    }
    Ok(entries)
}

/// Reads an object of texts; one without a text is an empty one.
pub(super) fn read_object(sent: Value, at: &str) -> Result<BTreeMap<String, String>, No> {
    let bad = |field: &str| No::from(Faults::of(field, INVALID, format!("`{field}` is not what it must be")));
    let Value::Object(members) = sent else { return Err(bad(at)) };
    let text = |(key, value): (String, Value)| match value {
        Value::String(text) => Ok((key, text)),
        Value::Null => Ok((key, String::new())),
        _ => Err(bad(&format!("{at}.{key}"))),
    };
    members.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_told_in_the_minor_units_of_their_currency() {
        for (micros, currency, expected) in [(1_230_000, "EUR", 123), (1_000_000, "JPY", 1), (1_500, "KWD", 2), (-1_230_000, "EUR", -123)] {
            assert_eq!(cents(Micros::new(micros), currency.parse().unwrap()), expected, "{micros} {currency}");
        }
        assert_eq!((money(Micros::new(1_230_000)).as_str(), money(Micros::ZERO).as_str()), ("1.23", "0"));
    }

    #[test]
    fn entries_are_read_in_both_forms_and_no_key_stands_twice() {
        let list = json!([{ "id": "x", "key": "a", "value": "1" }, { "key": "b" }]);
        let entries = read_list(list, "metadata").unwrap();
        assert_eq!(entry_object(&entries), json!({ "a": "1", "b": null }));
        assert_eq!(read_object(json!({ "a": "1", "b": null }), "metadata").unwrap(), entries);
        for bad in [json!([{ "key": "a" }, { "key": "a" }]), json!([{ "value": "1" }]), json!({})] {
            assert!(read_list(bad.clone(), "metadata").is_err(), "{bad}");
        }
        assert!(read_object(json!({ "a": 1 }), "metadata").is_err());
    }
}
