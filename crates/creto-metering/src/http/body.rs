//! The bodies that carry events: one event, a list, lines (NDJSON), CloudEvents.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use creto_enablement_common::http::HttpError;
use creto_kernel::canonical::{CanonicalError, Limits, parse};
use serde_json::{Map, Value};

use crate::error::MeteringError;
use crate::model::event::EventInput;

/// Most events of one request.
pub(super) const BATCH_EVENTS_MAX: usize = 10_000;
/// Largest body of events, in bytes.
pub(super) const BATCH_BYTES_MAX: usize = 16 << 20;
/// Deepest nesting of one event.
const DEPTH_MAX: usize = 32;

/// The events of a body, each read or refused by itself.
#[derive(Debug)]
pub(super) struct Sent {
    /// In the order they were sent.
    pub(super) events: Vec<Result<EventInput, MeteringError>>,
    /// Whether the body was one event and not a list: then the answer is one too.
    pub(super) single: bool,
}

/// How a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Lines,
    CloudEvent,
    CloudEvents,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, HttpError> {
        let named = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
        let kind = named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Self::Lines),
            "application/cloudevents+json" => Ok(Self::CloudEvent),
            "application/cloudevents-batch+json" => Ok(Self::CloudEvents),
            _ => Err(HttpError::Body(format!(
                "`{kind}` is no form of events: send application/json, application/x-ndjson, application/cloudevents+json or \
                 application/cloudevents-batch+json"
            ))),
        }
    }
}

/// Reads a body by its content type.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Sent, HttpError> {
    let form = Form::of(headers)?;
    if body.len() > BATCH_BYTES_MAX {
        return Err(HttpError::BodyTooLarge(format!("the body is larger than the {BATCH_BYTES_MAX} bytes allowed")));
    }
    let sent = match form {
        Form::Lines => Sent { events: lines(body)?, single: false },
        Form::CloudEvent => Sent { events: vec![cloud_event(document(body)?)], single: true },
        Form::CloudEvents => Sent { events: items(document(body)?)?.into_iter().map(cloud_event).collect(), single: false },
        Form::Json => match document(body)? {
            Value::Object(object) if !object.contains_key("events") => Sent { events: vec![event(Value::Object(object))], single: true },
            list => Sent { events: items(list)?.into_iter().map(event).collect(), single: false },
        },
    };
    match sent.events.len() {
        0 => Err(HttpError::Body("the body holds no event".to_owned())),
        many if many > BATCH_EVENTS_MAX => {
            Err(HttpError::Body(format!("{many} events are more than the {BATCH_EVENTS_MAX} of one request")))
        }
        _ => Ok(sent),
    }
}

fn document(body: &[u8]) -> Result<Value, HttpError> {
    // A list and `{"events": …}` are each one level around the event.
    parse(body, Limits { bytes_max: BATCH_BYTES_MAX, depth_max: DEPTH_MAX + 2 }).map_err(|e| match e {
        CanonicalError::TooLarge { .. } => HttpError::BodyTooLarge(e.to_string()),
        other => HttpError::Body(other.to_string()),
    })
}

/// `[…]` or `{"events": […]}`.
fn items(value: Value) -> Result<Vec<Value>, HttpError> {
    let list = match value {
        Value::Array(items) => return Ok(items),
        Value::Object(mut object) => {
            let list = object.remove("events");
            if let Some((other, _)) = object.iter().next() {
                return Err(HttpError::Body(format!("unknown field `{other}` beside `events`")));
            }
            list
        }
        _ => None,
    };
    match list {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(HttpError::Body("a list of events, or an object with the list `events`, is expected".to_owned())),
    }
}

/// One event from each line that is not empty; a line that cannot be read is refused by itself.
fn lines(body: &[u8]) -> Result<Vec<Result<EventInput, MeteringError>>, HttpError> {
    let mut events = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if events.len() == BATCH_EVENTS_MAX {
            return Err(HttpError::Body(format!("there are more than the {BATCH_EVENTS_MAX} events of one request")));
        }
        let parsed = parse(line, Limits { bytes_max: BATCH_BYTES_MAX, depth_max: DEPTH_MAX }).map_err(|e| bad(e.to_string()));
        events.push(parsed.and_then(event));
    }
    Ok(events)
}

fn event(value: Value) -> Result<EventInput, MeteringError> {
    serde_json::from_value(value).map_err(|e| bad(e.to_string()))
}

fn bad(problem: String) -> MeteringError {
    MeteringError::BadEvent { field: "body", problem }
}

/// A CloudEvent 1.0 in structured form: `source` and `id` together are its identity, `type` the metric, `subject` the subscription, `time`
/// when, `data` the properties. The extension attribute `cretochain` is the agent's chain token; other extensions are refused, because
/// what is not read could not be billed by.
fn cloud_event(value: Value) -> Result<EventInput, MeteringError> {
    let Value::Object(mut object) = value else { return Err(bad("is no CloudEvent".to_owned())) };
    if object.remove("specversion").as_ref().and_then(Value::as_str) != Some("1.0") {
        return Err(bad("is no CloudEvent of `specversion` 1.0".to_owned()));
    }
    let mut text = |name: &'static str| match object.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        _ => Err(bad(format!("needs the attribute `{name}`"))),
    };
    let (id, source, kind, subject) = (text("id")?, text("source")?, text("type")?, text("subject")?);
    let chain = object.remove("cretochain").map(|token| match token {
        Value::String(token) => Ok(token),
        _ => Err(bad("has a `cretochain` that is no text".to_owned())),
    });
    let data = match object.remove("data") {
        Some(Value::Object(data)) => data,
        None | Some(Value::Null) => Map::new(),
        Some(_) => return Err(bad("has `data` that is no object".to_owned())),
    };
    let timestamp = object.remove("time");
    for known in ["datacontenttype", "dataschema"] {
        object.remove(known);
    }
    if let Some((other, _)) = object.iter().next() {
        return Err(bad(format!("has the attribute `{other}`, which is not known here")));
    }
    Ok(EventInput {
        transaction_id: format!("{source}#{id}"),
        external_subscription_id: subject,
        code: kind,
        timestamp,
        properties: data,
        precise_total_amount_cents: None,
        chain: chain.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent(kind: &str, body: &str) -> Result<Sent, HttpError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        read(&headers, body.as_bytes())
    }

    fn one(id: &str) -> String {
        json!({ "transaction_id": id, "external_subscription_id": "s", "code": "c", "properties": { "n": "1" } }).to_string()
    }

    fn cloud(change: impl FnOnce(&mut Value)) -> String {
        let mut event = json!({
            "specversion": "1.0", "id": "7", "source": "/gateway", "type": "c", "subject": "s", "time": "2026-11-22T10:00:00Z",
            "data": { "n": "1" }, "datacontenttype": "application/json", "cretochain": "token"
        });
        change(&mut event);
        event.to_string()
    }

    #[test]
    fn every_form_carries_the_same_event() {
        let (a, b) = (one("a"), one("b"));
        for (kind, body, single, ids) in [
            ("application/json; charset=utf-8", a.clone(), true, vec!["a"]),
            ("application/json", format!("[{a},{b}]"), false, vec!["a", "b"]),
            ("application/json", format!("{{\"events\":[{a}]}}"), false, vec!["a"]),
            ("application/x-ndjson", format!("{a}\r\n\n{b}\n"), false, vec!["a", "b"]),
            ("application/cloudevents+json", cloud(|_| {}), true, vec!["/gateway#7"]),
            ("application/cloudevents-batch+json", format!("[{}]", cloud(|_| {})), false, vec!["/gateway#7"]),
        ] {
            let sent = sent(kind, &body).unwrap();
            let events: Vec<EventInput> = sent.events.into_iter().map(Result::unwrap).collect();
            assert_eq!(sent.single, single, "{kind}");
            assert_eq!(events.iter().map(|e| e.transaction_id.as_str()).collect::<Vec<_>>(), ids, "{kind}");
            for event in &events {
                assert_eq!((event.external_subscription_id.as_str(), event.code.as_str()), ("s", "c"));
                assert_eq!(event.properties["n"], "1");
                assert_eq!(event.chain.as_deref(), kind.contains("cloudevents").then_some("token"));
            }
        }
    }

    #[test]
    fn one_bad_event_of_a_list_is_refused_by_itself() {
        let lines = sent("application/x-ndjson", &format!("{}\n{{\"code\":1}}\nnot json\n{}", one("a"), one("b"))).unwrap();
        assert_eq!(lines.events.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
        let list = sent("application/json", &format!("[{}, 7, {{\"colour\": 1}}]", one("a"))).unwrap();
        assert_eq!(list.events.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false]);
        for (change, named) in [
            ((|e| e["id"] = json!("")) as fn(&mut Value), "`id`"),
            (|e| e["subject"] = json!(null), "`subject`"),
            (|e| e["data"] = json!([1]), "`data`"),
            (|e| e["traceparent"] = json!("00-0-0-00"), "`traceparent`"),
            (|e| e["specversion"] = json!("0.3"), "specversion"),
        ] {
            let refused = sent("application/cloudevents+json", &cloud(change)).unwrap().events.remove(0).unwrap_err();
            assert!(refused.to_string().contains(named), "{refused}");
        }
    }

    #[test]
    fn a_body_that_is_no_form_of_events_is_refused_whole() {
        let many = format!("[{}]", vec!["1"; BATCH_EVENTS_MAX + 1].join(","));
        let lines = vec!["1"; BATCH_EVENTS_MAX + 1].join("\n");
        for (kind, body, words) in [
            ("text/csv", "a,b", "text/csv"),
            ("application/json", "[]", "no event"),
            ("application/x-ndjson", "\n\n", "no event"),
            ("application/json", "{\"events\": 1}", "list"),
            ("application/json", "{\"events\": [], \"colour\": 1}", "colour"),
            ("application/json", "7", "list"),
            ("application/json", "{", "strict JSON"),
            ("application/json", &many, "10001"),
            ("application/x-ndjson", &lines, "10000"),
        ] {
            let refused = sent(kind, body).unwrap_err();
            assert!(refused.to_string().contains(words), "{kind}: {refused}");
        }
    }
}
