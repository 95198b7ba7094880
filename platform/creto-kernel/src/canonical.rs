//! Canonical JSON (RFC 8785, JCS) and the strict reading that makes it safe to sign.
//!
//! Two parsers must never disagree about bytes that were approved, so reading refuses what JSON leaves open: duplicate names, integers
//! beyond ±2⁵³ (RFC 7493, I-JSON), lone surrogates, and depth or size past a named limit.

mod write;

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

pub use write::{of_object, of_value, write_text};

/// Size and depth limits of one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest document, in bytes.
    pub bytes_max: usize,
    /// Deepest nesting of arrays and objects.
    pub depth_max: usize,
}

/// What a request body may be by default: 1 MiB, 32 levels.
pub const LIMITS_DEFAULT: Limits = Limits { bytes_max: 1 << 20, depth_max: 32 };

/// Largest integer that every JSON reader keeps exactly, 2⁵³.
pub const INTEGER_MAX: u64 = 1 << 53;

/// Why a document was refused.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// More bytes than allowed.
    #[error("the document has {actual} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its size.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// Not JSON, or JSON that readers disagree about.
    #[error("the document is not strict JSON: {0}")]
    NotStrict(String),
    /// A Rust value with no JSON form.
    #[error("the value has no JSON form: {0}")]
    NotJson(String),
}

/// Reads one strict JSON document.
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Value, CanonicalError> {
    if bytes.len() > limits.bytes_max {
        return Err(CanonicalError::TooLarge { actual: bytes.len(), limit: limits.bytes_max });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let refuse = |e: serde_json::Error| CanonicalError::NotStrict(e.to_string());
    let value = Strict { depth_left: limits.depth_max }.deserialize(&mut reader).map_err(refuse)?;
    reader.end().map_err(refuse)?;
    Ok(value)
}

/// Reads one strict JSON document into a type. Types deny unknown fields, so an unknown field is refused by its name.
pub fn parse_as<T: serde::de::DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<T, CanonicalError> {
    serde_json::from_value(parse(bytes, limits)?).map_err(|e| CanonicalError::NotStrict(e.to_string()))
}

/// The RFC 8785 bytes of a value.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    serde_json_canonicalizer::to_vec(value).map_err(|e| CanonicalError::NotJson(e.to_string()))
}

struct Strict {
    depth_left: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left }),
            None => Err(E::custom("nested too deeply")),
        }
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { depth_left: self.depth_left }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        if value > INTEGER_MAX {
            return Err(E::custom(format_args!("the number {value} is beyond 2^53; write it as a string")));
        }
        Ok(value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > INTEGER_MAX {
            return Err(E::custom(format_args!("the number {value} is beyond 2^53; write it as a string")));
        }
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        if value.abs() > 9_007_199_254_740_992.0 {
            return Err(E::custom(format_args!("the number {value} is beyond 2^53; write it as a string")));
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner.clone())? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner.clone())?;
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the name `{name}` appears twice")));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn strict(text: &str) -> Result<Value, CanonicalError> {
        parse(text.as_bytes(), Limits { bytes_max: 1000, depth_max: 3 })
    }

    #[test]
    fn what_readers_disagree_about_is_refused() {
        for bad in [
            "",
            "{",
            "{} {}",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            "9007199254740993",
            "-9007199254740993",
            "1e300",
            r#""\ud800""#,
            "[[[[1]]]]",
            "NaN",
            "[1,]",
        ] {
            assert!(strict(bad).is_err(), "{bad}");
        }
        assert!(matches!(strict(&" ".repeat(1001)), Err(CanonicalError::TooLarge { actual: 1001, limit: 1000 })));
        assert_eq!(strict("[[[1]]]").unwrap(), json!([[[1]]]));
        assert_eq!(strict("9007199254740992").unwrap(), json!(9_007_199_254_740_992_u64));
    }

    #[test]
    fn rfc_8785_example_is_reproduced() {
        // RFC 8785, section 3.2.2 and 3.2.3.
        let input = r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#;
        let value: Value = serde_json::from_str(input).unwrap();
        let expected = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(String::from_utf8(to_vec(&value).unwrap()).unwrap(), expected);
    }
}
