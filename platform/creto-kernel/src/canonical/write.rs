//! Writing a document that is in memory already: what [`super::to_vec`] writes, without the library's copy of every member.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{CanonicalError, INTEGER_MAX, to_vec};

/// The RFC 8785 bytes of a document.
pub fn of_value(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut out)?;
    Ok(out)
}

/// The RFC 8785 bytes of an object.
pub fn of_object(object: &Map<String, Value>) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(256);
    members(object, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::String(text) => write_text(text, out)?,
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(object) => members(object, out)?,
        Value::Null => out.extend(b"null"),
        Value::Bool(true) => out.extend(b"true"),
        Value::Bool(false) => out.extend(b"false"),
        // The form of everything but a small integer is ECMAScript's, and the library's to know.
        Value::Number(number) => match number.as_i64() {
            Some(integer) if integer.unsigned_abs() <= INTEGER_MAX => out.extend(integer.to_string().bytes()),
            _ => out.extend(to_vec(number)?),
        },
    }
    Ok(())
}

fn members(object: &Map<String, Value>, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    let mut members: Vec<(&String, &Value)> = object.iter().collect();
    members.sort_unstable_by(|(a, _), (b, _)| by_code_units(a, b));
    out.push(b'{');
    for (at, (name, value)) in members.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(name, out)?;
        out.push(b':');
        write(value, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// RFC 8785 orders names by their UTF-16 code units (section 3.2.3); those of ASCII are its bytes.
fn by_code_units(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// Writes a text in quotes: serde_json escapes what section 3.2.2.2 says, as it says it, and nothing else.
pub fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    serde_json::to_writer(out, text).map_err(|e| CanonicalError::NotJson(e.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_what_the_library_writes(document in documents()) {
            prop_assert_eq!(of_value(&document).ok(), to_vec(&document).ok());
        }
    }

    #[test]
    fn names_are_ordered_by_code_units_and_integers_beyond_every_reader_are_the_librarys() {
        // A surrogate pair begins lower than the last of the basic plane: section 3.2.3's own example.
        let document = json!({ "\u{fb33}": 1, "\u{1f600}": 2, "é": 3, "a\nb": [9_007_199_254_740_993_i64, -0.0, 1e21] });
        assert_eq!(of_value(&document).unwrap(), to_vec(&document).unwrap());
        assert!(of_value(&document).unwrap().starts_with("{\"a\\nb\":".as_bytes()));
    }
}
