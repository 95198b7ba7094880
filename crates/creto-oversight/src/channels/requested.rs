//! Where a request asks to be told, beside whom policy names: the contact channel of HumanLayer's clients.
//!
//! INVARIANT: it adds places and takes none away, and it makes nobody an approver: who may decide is policy's alone.

use serde_json::Value;

/// Most places that one request names for a channel.
const PLACES_MAX: usize = 10;

/// The contact channel of this name in what a client's API keeps with a request.
fn spec_of(extra: Option<&str>, channel: &str) -> Option<Value> {
    let mut extra: Value = serde_json::from_str(extra?).ok()?;
    Some(extra.get_mut("spec")?.get_mut("channel")?.get_mut(channel)?.take())
}

/// The addresses that a request names for this channel, in the channel's own words.
pub(super) fn addresses(extra: Option<&str>, channel: &str) -> Vec<String> {
    let Some(way) = spec_of(extra, channel) else { return Vec::new() };
    let word = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut found: Vec<String> = match channel {
        "slack" => word(&way, "channel_or_user_id").into_iter().collect(),
        "email" => {
            let others = way.get("additional_recipients").and_then(Value::as_array).cloned().unwrap_or_default();
            word(&way, "address").into_iter().chain(others.iter().filter_map(|other| word(other, "address"))).collect()
        }
        _ => Vec::new(),
    };
    found.retain(|address| !address.trim().is_empty());
    found.sort();
    found.dedup();
    found.truncate(PLACES_MAX);
    found
}

/// Whether a request lets this account of the channel answer there: everybody who may decide, unless it names some. `subject` is
/// `team/user`.
pub(super) fn lets_answer(extra: Option<&str>, channel: &str, subject: &str) -> bool {
    let way = spec_of(extra, channel);
    let Some(named) = way.as_ref().and_then(|way| way.get("allowed_responder_ids")).and_then(Value::as_array) else { return true };
    let user = subject.rsplit('/').next().unwrap_or_default();
    named.iter().filter_map(Value::as_str).any(|id| id == user)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTRA: &str = r#"{"run_id":"r","spec":{"fn":"pay","channel":{
        "slack":{"channel_or_user_id":"C07","allowed_responder_ids":["U1","U2"]},
        "email":{"address":"ada@example.com","additional_recipients":[{"address":"bob@example.com","field":"cc"},{"address":"ada@example.com"},{"address":" "}]}}}}"#;

    #[test]
    fn a_request_names_places_of_each_channel_once() {
        assert_eq!(addresses(Some(EXTRA), "slack"), ["C07"]);
        assert_eq!(addresses(Some(EXTRA), "email"), ["ada@example.com", "bob@example.com"]);
        for (extra, channel) in [(Some(EXTRA), "teams"), (None, "slack"), (Some("{}"), "email"), (Some("no json"), "email")] {
            assert!(addresses(extra, channel).is_empty(), "{extra:?} {channel}");
        }
    }

    #[test]
    fn where_responders_are_named_nobody_else_answers_there() {
        assert!(lets_answer(Some(EXTRA), "slack", "T1/U2") && !lets_answer(Some(EXTRA), "slack", "T1/U3"));
        assert!(lets_answer(Some(r#"{"spec":{"channel":{"slack":{"channel_or_user_id":"C07"}}}}"#), "slack", "T1/U3"));
        assert!(lets_answer(None, "slack", "T1/U3"));
    }
}
