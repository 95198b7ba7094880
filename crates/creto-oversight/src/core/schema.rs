//! The part of JSON Schema (draft 2020-12) that descriptions of tools use, to check edited arguments: `type`, `properties`, `required`,
//! `additionalProperties`, `items`, `enum`, `const`, `minimum`, `maximum`, `minLength`, `maxLength`, `minItems`, `maxItems`. Words that
//! only describe are passed over; any other word is refused: arguments that cannot be checked are not edited.

use serde_json::{Map, Value};

/// Deepest schema.
pub const DEPTH_MAX: usize = 16;

/// Words that say something to people alone.
const DESCRIBES: [&str; 7] = ["$schema", "title", "description", "default", "examples", "format", "$comment"];

/// Refuses a value that the schema does not take, or a schema with words that are not known here. Says where.
pub fn check(schema: &Value, value: &Value) -> Result<(), String> {
    node(schema, value, "arguments", DEPTH_MAX)
}

fn node(schema: &Value, value: &Value, at: &str, depth: usize) -> Result<(), String> {
    if depth == 0 {
        return Err(format!("`{at}` is deeper than {DEPTH_MAX}"));
    }
    let rules = match schema {
        Value::Bool(true) => return Ok(()),
        Value::Object(rules) => rules,
        _ => return Err(format!("`{at}` is not allowed")),
    };
    for (word, rule) in rules {
        let holds = match (word.as_str(), value) {
            ("type", _) => is_type(rule, value),
            ("enum", _) => rule.as_array().is_some_and(|allowed| allowed.contains(value)),
            ("const", _) => rule == value,
            ("minimum", Value::Number(number)) => number.as_f64() >= rule.as_f64(),
            ("maximum", Value::Number(number)) => number.as_f64() <= rule.as_f64(),
            ("minLength", Value::String(text)) => count(text.chars().count()) >= rule.as_u64(),
            ("maxLength", Value::String(text)) => count(text.chars().count()) <= rule.as_u64(),
            ("minItems", Value::Array(items)) => count(items.len()) >= rule.as_u64(),
            ("maxItems", Value::Array(items)) => count(items.len()) <= rule.as_u64(),
            ("required", Value::Object(fields)) => {
                rule.as_array().is_some_and(|names| names.iter().all(|name| name.as_str().is_some_and(|name| fields.contains_key(name))))
            }
            ("properties", Value::Object(fields)) => properties(rule, fields, at, depth)?,
            ("additionalProperties", Value::Object(fields)) => additional(rules, rule, fields, at, depth)?,
            ("items", Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    node(rule, item, &format!("{at}[{index}]"), depth - 1)?;
                }
                true
            }
            (
                "minimum"
                | "maximum"
                | "minLength"
                | "maxLength"
                | "minItems"
                | "maxItems"
                | "required"
                | "properties"
                | "additionalProperties"
                | "items",
                _,
            ) => true,
            (word, _) if DESCRIBES.contains(&word) => true,
            (word, _) => return Err(format!("the tool's schema says `{word}` about `{at}`, which is not known here")),
        };
        if !holds {
            return Err(format!("`{at}` is not what the tool takes: `{word}` is {rule}"));
        }
    }
    Ok(())
}

fn count(items: usize) -> Option<u64> {
    u64::try_from(items).ok()
}

fn properties(rule: &Value, fields: &Map<String, Value>, at: &str, depth: usize) -> Result<bool, String> {
    let Some(known) = rule.as_object() else { return Ok(false) };
    for (name, schema) in known {
        if let Some(value) = fields.get(name) {
            node(schema, value, &format!("{at}.{name}"), depth - 1)?;
        }
    }
    Ok(true)
}

fn additional(rules: &Map<String, Value>, rule: &Value, fields: &Map<String, Value>, at: &str, depth: usize) -> Result<bool, String> {
    let known = rules.get("properties").and_then(Value::as_object);
    for (name, value) in fields.iter().filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name))) {
        node(rule, value, &format!("{at}.{name}"), depth - 1)?;
    }
    Ok(true)
}

fn is_type(rule: &Value, value: &Value) -> bool {
    let one = |name: &Value| match (name.as_str(), value) {
        (Some("object"), Value::Object(_))
        | (Some("array"), Value::Array(_))
        | (Some("string"), Value::String(_))
        | (Some("number"), Value::Number(_))
        | (Some("boolean"), Value::Bool(_))
        | (Some("null"), Value::Null) => true,
        (Some("integer"), Value::Number(number)) => number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0),
        _ => false,
    };
    match rule {
        Value::Array(names) => names.iter().any(one),
        name => one(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_checked_against_the_tools_schema() {
        let schema = json!({
            "type": "object", "required": ["to"], "additionalProperties": false,
            "properties": { "to": { "type": "string", "maxLength": 5 }, "amount": { "type": "integer", "minimum": 0, "maximum": 100 } }
        });
        for (value, fits) in [
            (json!({ "to": "bob" }), true),
            (json!({ "to": "bob", "amount": 100 }), true),
            (json!({ "amount": 1 }), false),
            (json!({ "to": "robert" }), false),
            (json!({ "to": "bob", "amount": 101 }), false),
            (json!({ "to": "bob", "amount": 1.5 }), false),
            (json!({ "to": "bob", "cc": "eve" }), false),
            (json!(["bob"]), false),
        ] {
            assert_eq!(check(&schema, &value).is_ok(), fits, "{value}");
        }
        let unknown = check(&json!({ "oneOf": [] }), &json!({})).unwrap_err();
        assert!(unknown.contains("oneOf"), "{unknown}");
    }
}
