//! Usage events, as collectors send them and as they are recorded.

use std::time::Duration;

use creto_kernel::canonical::{self, CanonicalError};
use creto_kernel::{Digest, TenantId, Timestamp};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::MeteringError;

/// Longest `transaction_id` and `external_subscription_id`, in bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// Longest `code`, in bytes.
pub const CODE_BYTES_MAX: usize = 128;
/// Largest `properties`, in canonical bytes.
pub const PROPERTIES_BYTES_MAX: usize = 64 * 1024;
/// What the server's own transaction identifiers begin with: an agent that could choose one could keep the server from recording what it
/// measured.
pub const OWN_PREFIX: &str = "creto:";
/// About what the names of a normalised event take, its code and its moment included.
const NAMES_BYTES: usize = 256;
/// How far ahead of our clock a timestamp may be.
pub const AHEAD_MAX: Duration = Duration::from_secs(3600);

/// An event as it is sent: Lago's fields, and the chain token of the agent it is about.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventInput {
    /// The sender's identifier of this event: sent again, it is the same event.
    pub transaction_id: String,
    /// Whose usage it is.
    pub external_subscription_id: String,
    /// The metric.
    pub code: String,
    /// When it happened, RFC 3339 or seconds since the epoch; now, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub timestamp: Option<Value>,
    /// What happened; a SUM metric reads its field here. Numbers may be sent as decimal strings, which keep all digits.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub properties: Map<String, Value>,
    /// What the event costs by itself, in cents, where the charge takes its price from the event (`dynamic`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub precise_total_amount_cents: Option<Value>,
    /// The signed chain token of the agent whose usage it is, where a collector reports for many; else it is booked to the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
}

/// An event whose every field was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The sender's identifier.
    pub transaction_id: String,
    /// Whose usage.
    pub subscription: String,
    /// The metric's code.
    pub code: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Whether the sender said when; else it is the moment it was received.
    pub timed: bool,
    /// RFC 8785 text of the properties.
    pub properties: String,
    /// What happened.
    pub fields: Map<String, Value>,
    /// What it costs by itself, in cents, as it was sent.
    pub total_cents: Option<String>,
    /// Over the normalised event: the same event sent twice has the same digest, another one another.
    pub digest: Digest,
}

impl EventInput {
    /// Checks every field.
    pub fn parse(self, now: Timestamp) -> Result<Event, MeteringError> {
        let transaction_id = key("transaction_id", self.transaction_id, KEY_BYTES_MAX)?;
        let subscription = key("external_subscription_id", self.external_subscription_id, KEY_BYTES_MAX)?;
        let code = key("code", self.code, CODE_BYTES_MAX)?;
        let sent_at = self.timestamp.as_ref().map(moment).transpose()?;
        if sent_at.is_some_and(|at| at > now.saturating_add(AHEAD_MAX)) {
            return Err(bad("timestamp", "is more than an hour ahead of the clock"));
        }
        let total_cents = self.precise_total_amount_cents.as_ref().map(cents).transpose()?;
        if self.properties.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)) {
            return Err(bad("properties", "hold the character U+0000, which no database keeps in a text"));
        }
        let properties = canonical::of_object(&self.properties)
            .ok()
            .filter(|bytes| bytes.len() <= PROPERTIES_BYTES_MAX)
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| bad("properties", format!("are larger than the {PROPERTIES_BYTES_MAX} bytes allowed")))?;
        let mut event = Event {
            transaction_id,
            subscription,
            code,
            occurred_at: sent_at.unwrap_or(now),
            timed: sent_at.is_some(),
            properties,
            fields: self.properties,
            total_cents,
            digest: Digest::of(b""),
        };
        event.digest = event.digest_of_content()?;
        Ok(event)
    }
}

/// The key of an event in the index of used identifiers: SHA-256 over tenant, subscription and transaction identifier, each with its
/// length before it. It outlives the event: an identifier stays used after everything else was erased.
#[must_use]
pub fn used_key(tenant: &TenantId, subscription: &str, transaction_id: &str) -> Digest {
    let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    let parts = [tenant.as_str(), subscription, transaction_id].map(|text| (length(text), text.as_bytes()));
    let [tenant, subscription, transaction] = &parts;
    Digest::of_parts(&[b"creto/event-key/v1", &tenant.0, tenant.1, &subscription.0, subscription.1, &transaction.0, transaction.1])
}

impl Event {
    /// SHA-256 over the RFC 8785 form of the event in which every number is decimal text and the moment is UTC microseconds, also text.
    ///
    /// A retry that leaves the time to us must be the same event, so an absent timestamp is absent from the digest too.
    pub fn digest_of_content(&self) -> Result<Digest, MeteringError> {
        self.normal_form().map(|bytes| Digest::of(&bytes)).map_err(|e| bad("properties", e.to_string()))
    }

    /// Written as it is hashed: the names stand in the order that RFC 8785 asks for.
    fn normal_form(&self) -> Result<Vec<u8>, CanonicalError> {
        let mut out = Vec::with_capacity(self.properties.len() + NAMES_BYTES + KEY_BYTES_MAX);
        out.extend_from_slice(b"{\"code\":");
        canonical::write_text(&self.code, &mut out)?;
        out.extend_from_slice(b",\"external_subscription_id\":");
        canonical::write_text(&self.subscription, &mut out)?;
        if let Some(cents) = &self.total_cents {
            out.extend_from_slice(b",\"precise_total_amount_cents\":");
            canonical::write_text(cents, &mut out)?;
        }
        out.extend_from_slice(b",\"properties\":");
        if self.fields.values().any(holds_number) {
            let normal = self.fields.iter().map(|(name, value)| (name.clone(), normalised(value))).collect();
            out.append(&mut canonical::of_object(&normal)?);
        } else {
            out.extend_from_slice(self.properties.as_bytes());
        }
        out.extend_from_slice(b",\"timestamp\":");
        if self.timed {
            canonical::write_text(&self.occurred_at.as_micros().to_string(), &mut out)?;
        } else {
            out.extend_from_slice(b"null");
        }
        out.extend_from_slice(b",\"transaction_id\":");
        canonical::write_text(&self.transaction_id, &mut out)?;
        out.push(b'}');
        Ok(out)
    }

    /// The decimal a SUM metric reads from `field`.
    pub fn decimal(&self, field: &str) -> Result<Decimal, MeteringError> {
        let text = match self.fields.get(field) {
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) => text.clone(),
            Some(_) => return Err(bad("properties", format!("hold `{field}`, which is neither a number nor a decimal string"))),
            None => return Err(bad("properties", format!("lack `{field}`, which the metric sums"))),
        };
        let units =
            decimal(&text).ok_or_else(|| bad("properties", format!("hold `{field}`, which is not a decimal of at most 28 digits")))?;
        // Negative usage would give money back, and with it room under every ceiling of the chain.
        if units.is_sign_negative() && !units.is_zero() {
            return Err(bad("properties", format!("hold `{field}`, which is negative")));
        }
        Ok(units)
    }
}

fn bad(field: &'static str, problem: impl Into<String>) -> MeteringError {
    MeteringError::BadEvent { field, problem: problem.into() }
}

pub(crate) fn key(field: &'static str, text: String, bytes_max: usize) -> Result<String, MeteringError> {
    if text.is_empty() {
        return Err(bad(field, "is empty"));
    }
    if text.len() > bytes_max {
        return Err(bad(field, format!("is longer than {bytes_max} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(bad(field, "holds control characters"));
    }
    Ok(text)
}

fn holds_number(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::Array(items) => items.iter().any(holds_number),
        Value::Object(object) => object.values().any(holds_number),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(object) => object.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Numbers as decimal text, so that `1.50`, `1.5` and `"1.5"` are one event.
fn normalised(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::String(plain(&number.to_string())),
        Value::Array(items) => Value::Array(items.iter().map(normalised).collect()),
        Value::Object(object) => Value::Object(object.iter().map(|(name, value)| (name.clone(), normalised(value))).collect()),
        other => other.clone(),
    }
}

/// A number without exponent and trailing zeros; as it is where 28 digits do not hold it.
fn plain(text: &str) -> String {
    decimal(text).map_or_else(|| text.to_owned(), |decimal| decimal.normalize().to_string())
}

fn decimal(text: &str) -> Option<Decimal> {
    if text.contains(['e', 'E']) { Decimal::from_scientific(text).ok() } else { Decimal::from_str_exact(text).ok() }
}

fn cents(value: &Value) -> Result<String, MeteringError> {
    let text = match value {
        Value::Number(number) => plain(&number.to_string()),
        Value::String(text) => plain(text),
        _ => return Err(bad("precise_total_amount_cents", "is neither a number nor a decimal string")),
    };
    match decimal(&text) {
        Some(amount) if !amount.is_sign_negative() || amount.is_zero() => Ok(text),
        Some(_) => Err(bad("precise_total_amount_cents", "is negative")),
        None => Err(bad("precise_total_amount_cents", "is not a decimal of at most 28 digits")),
    }
}

fn moment(value: &Value) -> Result<Timestamp, MeteringError> {
    let refused = || bad("timestamp", format!("`{value}` is neither RFC 3339 nor seconds since the epoch"));
    match value {
        Value::String(text) => text.parse().or_else(|_| seconds(text).ok_or_else(refused)),
        Value::Number(number) => seconds(&number.to_string()).ok_or_else(refused),
        _ => Err(refused()),
    }
}

fn seconds(text: &str) -> Option<Timestamp> {
    let micros = Decimal::from_str_exact(text).ok()?.checked_mul(Decimal::from(1_000_000))?.trunc();
    Timestamp::from_micros(micros.try_into().ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event(change: impl FnOnce(&mut Value)) -> Result<Event, String> {
        let mut body = json!({
            "transaction_id": "t1", "external_subscription_id": "s1", "code": "tokens",
            "timestamp": "2026-11-22T10:00:00Z", "properties": { "n": "1.5" }
        });
        change(&mut body);
        let input: EventInput = serde_json::from_value(body).map_err(|e| e.to_string())?;
        input.parse("2026-11-22T10:00:00Z".parse().unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn each_bad_field_is_refused_by_its_name() {
        let cases: [(&str, Value, &str); 11] = [
            ("transaction_id", json!(""), "transaction_id"),
            ("transaction_id", json!("x".repeat(256)), "transaction_id"),
            ("external_subscription_id", json!("a\u{0}b"), "external_subscription_id"),
            ("code", json!(""), "code"),
            ("timestamp", json!("yesterday"), "timestamp"),
            ("timestamp", json!([]), "timestamp"),
            ("timestamp", json!("2026-11-22T11:00:01Z"), "timestamp"),
            ("properties", json!({ "a": "x".repeat(PROPERTIES_BYTES_MAX) }), "properties"),
            ("properties", json!({ "a": [{ "b": "x\u{0}" }] }), "U+0000"),
            ("properties", json!({ "a\u{0}": 1 }), "U+0000"),
            ("extra", json!(1), "extra"),
        ];
        for (field, value, named) in cases {
            let error = event(|body| body[field] = value.clone()).unwrap_err();
            assert!(error.contains(named), "{field}: {error}");
        }
    }

    #[test]
    fn the_same_event_has_the_same_digest_and_another_another() {
        let digest = |change: fn(&mut Value)| event(change).unwrap().digest;
        let same = digest(|_| {});
        assert_eq!(digest(|b| b["timestamp"] = json!("2026-11-22T12:00:00+02:00")), same);
        assert_eq!(digest(|b| b["timestamp"] = json!(1_795_341_600)), same);
        assert_eq!(digest(|b| b["properties"]["n"] = json!(1.50)), same, "decimals are compared as text");
        assert_eq!(digest(|b| b["chain"] = json!("whoever it is booked to")), same, "whom it is booked to is not what happened");
        for change in [
            (|b| b["properties"]["n"] = json!("2")) as fn(&mut Value),
            |b| b["timestamp"] = json!("2026-11-22T10:00:00.000001Z"),
            |b| b["code"] = json!("other"),
            |b| b["precise_total_amount_cents"] = json!("7"),
        ] {
            assert_ne!(digest(change), same);
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            any::<String>().prop_map(|text| Value::from(text.replace('\0', ""))),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[^\\x00]{0,8}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_hashed_is_the_canonical_form_of_the_normalised_event(
            id in "[^\\p{Cc}]{1,20}", properties in proptest::collection::btree_map("[^\\x00]{0,8}", values(), 0..5),
            timed in any::<bool>(), cents in proptest::option::of(0_u32..1_000),
        ) {
            let mut body = json!({ "transaction_id": id, "external_subscription_id": "s", "code": "é\"", "properties": properties });
            if timed {
                body["timestamp"] = json!("2026-11-22T10:00:00Z");
            }
            if let Some(cents) = cents {
                body["precise_total_amount_cents"] = json!(cents);
            }
            let input: EventInput = serde_json::from_value(body.clone()).unwrap();
            let event = input.parse("2026-11-22T10:00:00Z".parse().unwrap()).unwrap();
            body["properties"] = normalised(&body["properties"]);
            body["timestamp"] = timed.then(|| event.occurred_at.as_micros().to_string()).into();
            if let Some(cents) = cents {
                body["precise_total_amount_cents"] = json!(cents.to_string());
            }
            prop_assert_eq!(event.normal_form().unwrap(), canonical::to_vec(&body).unwrap());
        }
    }

    #[test]
    fn decimals_keep_all_their_digits() {
        let read = |n: Value| event(|b| b["properties"]["n"] = n).unwrap().decimal("n");
        assert_eq!(read(json!("0.1234567890123456789012345678")).unwrap().to_string(), "0.1234567890123456789012345678");
        for bad in [json!(-1), json!("-0.1"), json!("NaN"), json!(true), json!("1.5x"), json!("1".repeat(40)), Value::Null] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
