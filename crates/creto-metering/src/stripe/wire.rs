//! What Stripe answers and tells, read.

use std::time::Duration;

use serde_json::Value;

use crate::payments::{About, Forged, Notice, Outcome, ProviderError, Standing};

/// Longest identifier of Stripe's.
const ID_BYTES_MAX: usize = 255;
/// Longest message of Stripe's that is passed on.
const MESSAGE_CHARS_MAX: usize = 200;

/// What Stripe calls the error of a key that was used with other parameters.
pub(super) const IDEMPOTENCY: &str = "idempotency_error";

pub(super) fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// An identifier of Stripe's as a part of a path: what could be another path is none.
pub(super) fn segment(id: &str) -> Result<&str, ProviderError> {
    let fits = !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fits { Ok(id) } else { Err(ProviderError::Never("that is no identifier of stripe's".to_owned())) }
}

/// Why a call was refused, and whether a repetition may help.
pub(super) fn refused(status: u16, body: &[u8], after: Option<Duration>) -> ProviderError {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = said.get("error").unwrap_or(&Value::Null);
    let (kind, code) = (word(error, "type"), word(error, "code"));
    let message: String = match status {
        // It repeats parts of the key.
        401 | 403 => "the key is not accepted".to_owned(),
        _ => word(error, "message").chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect(),
    };
    let why = [kind, code, message.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    let why = format!("stripe answered {status}: {why}");
    match status {
        // An operator can repair a key; a key in use, a limit and a failure pass.
        401 | 403 | 409 | 429 | 500.. => ProviderError::Later { why, after },
        _ => ProviderError::Never(why),
    }
}

/// How an invoice stands.
pub(super) fn standing(there: &Value) -> Result<Standing, ProviderError> {
    let reference = segment(word(there, "id"))?.to_owned();
    let url = Some(word(there, "hosted_invoice_url")).filter(|url| !url.is_empty()).map(str::to_owned);
    let outcome = match word(there, "status") {
        "paid" => Outcome::Paid,
        "void" => Outcome::Withdrawn,
        "uncollectible" => Outcome::Failed("stripe holds it for uncollectible".to_owned()),
        "open" => tried(there),
        "draft" => Outcome::Pending,
        other => return Err(ProviderError::Never(format!("stripe says that the invoice is `{other}`"))),
    };
    Ok(Standing { reference, outcome, url })
}

/// Of an open invoice: a payment that was tried and wants another method has failed; one that is under way has not.
fn tried(there: &Value) -> Outcome {
    let attempted = there.get("attempted").and_then(Value::as_bool).unwrap_or_default();
    let payments = there.pointer("/payments/data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let intents = || payments.iter().filter_map(|payment| payment.pointer("/payment/payment_intent"));
    let waits = intents().any(|intent| matches!(word(intent, "status"), "processing" | "requires_action" | "requires_capture"));
    if !attempted || waits {
        return Outcome::Pending;
    }
    let declined = intents().filter_map(|intent| intent.pointer("/last_payment_error/code")).find_map(Value::as_str);
    Outcome::Failed(format!("the payment failed: {}", declined.unwrap_or("no payment method")))
}

/// An event, as far as it says where to look. Only what every version of Stripe's API has is read: the rest is looked up.
pub(super) fn notice(body: &[u8]) -> Result<Notice, Forged> {
    let event: Value = serde_json::from_slice(body).map_err(|_| Forged("it is not JSON"))?;
    let (id, kind) = (word(&event, "id"), word(&event, "type"));
    let object = event.pointer("/data/object").unwrap_or(&Value::Null);
    if segment(id).is_err() || kind.is_empty() {
        return Err(Forged("it is no event"));
    }
    let about = match (kind, segment(word(object, "id"))) {
        ("charge.dispute.closed", _) if word(object, "status") == "lost" => match segment(word(object, "payment_intent")) {
            Ok(intent) => About::LostDispute(intent.to_owned()),
            Err(_) => About::Nothing,
        },
        (kind, Ok(reference)) if kind.starts_with("invoice.") && word(object, "object") == "invoice" => {
            let noted = |name: &str| object.pointer(&format!("/metadata/{name}")).and_then(Value::as_str);
            let ours = noted("creto_tenant").and_then(|it| it.parse().ok()).zip(noted("creto_invoice").and_then(|it| it.parse().ok()));
            About::Payment { reference: reference.to_owned(), ours }
        }
        _ => About::Nothing,
    };
    let kind = kind.chars().filter(|c| c.is_ascii_lowercase() || matches!(c, '.' | '_')).take(80).collect();
    Ok(Notice { id: id.to_owned(), kind, about })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_open_invoice_failed_only_once_it_was_tried_and_nothing_is_under_way() {
        let open = |attempted: bool, intent: &str| {
            let intent =
                json!({ "payment": { "payment_intent": { "status": intent, "last_payment_error": { "code": "card_declined" } } } });
            standing(&json!({ "id": "in_1", "status": "open", "attempted": attempted, "payments": { "data": [intent] } })).unwrap().outcome
        };
        assert_eq!(open(false, "requires_payment_method"), Outcome::Pending);
        assert_eq!(open(true, "processing"), Outcome::Pending);
        assert_eq!(open(true, "requires_action"), Outcome::Pending);
        assert_eq!(open(true, "requires_payment_method"), Outcome::Failed("the payment failed: card_declined".to_owned()));
    }

    #[test]
    fn a_refusal_tells_no_key_and_whether_to_come_again() {
        let body = br#"{"error":{"type":"invalid_request_error","message":"Invalid API Key provided: sk_test_***1234"}}"#;
        let ProviderError::Later { why, .. } = refused(401, body, None) else { panic!("a key can be repaired") };
        assert!(!why.contains("sk_test"), "{why}");
        assert!(matches!(refused(429, b"", Some(Duration::from_secs(3))), ProviderError::Later { after: Some(_), .. }));
        assert!(matches!(refused(400, body, None), ProviderError::Never(_)));
    }

    #[test]
    fn an_event_says_where_to_look_and_nothing_else_is_believed() {
        let read = |event: Value| notice(event.to_string().as_bytes()).map(|notice| notice.about);
        let paid = json!({ "id": "evt_1", "type": "invoice.paid", "data": { "object": { "object": "invoice", "id": "in_1" } } });
        assert_eq!(read(paid), Ok(About::Payment { reference: "in_1".to_owned(), ours: None }));
        let lost = |status: &str| {
            json!({
                "id": "evt_1", "type": "charge.dispute.closed", "data": { "object": { "object": "dispute", "id": "du_1", "payment_intent": "pi_1", "status": status } }
            })
        };
        assert_eq!((read(lost("lost")), read(lost("won"))), (Ok(About::LostDispute("pi_1".to_owned())), Ok(About::Nothing)));
        let odd = json!({ "id": "evt_1", "type": "invoice.paid", "data": { "object": { "object": "invoice", "id": "in_1/../../x" } } });
        assert_eq!(read(odd), Ok(About::Nothing));
        assert!(read(json!({ "type": "invoice.paid" })).is_err());
    }
}
