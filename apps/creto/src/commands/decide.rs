//! `creto inbox`, `creto approve`, `creto deny`: what agents ask a human, and the human's answer.

use std::collections::BTreeSet;
use std::process::ExitCode;

use bytes::Bytes;
use creto_enablement_common::gate::RAISE_ACTION;
use creto_kernel::{Digest, Micros};
use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::cli::govern::{ApproveArgs, DenyArgs};
use crate::commands::Session;
use crate::commands::answer::{encode, moment, path, plain, print, rows, safe, short, text};
use crate::failure::Failure;

pub(super) const PENDING: &str = "/v1/oversight/requests?state=pending";
/// Longest line of the event stream: an event name or a number.
const EVENT_LINE_BYTES_MAX: usize = 64 << 10;

/// Shows what waits for a human; with `watch`, each request once, as it comes.
pub(super) async fn inbox(session: &Session, watch: bool, before: Option<&str>) -> Result<ExitCode, Failure> {
    if watch {
        return follow(session).await;
    }
    let older = before.map_or_else(String::new, |before| format!("&before={}", encode(before)));
    session.answer(&session.get(&format!("{PENDING}{older}")).await?, |answer| {
        let requests = rows(answer, "requests");
        if requests.is_empty() {
            return "nothing waits for you\n".to_owned();
        }
        let mut out: String = requests.iter().map(describe).collect();
        if let Some(next) = answer.get("next").and_then(Value::as_str) {
            out.push_str(&format!("more wait: `creto inbox --before {}`\n", safe(next)));
        }
        out.push_str("decide with `creto approve REQUEST` or `creto deny REQUEST --comment WHY`\n");
        out
    })
}

/// Until interrupted: every request that comes, once.
async fn follow(session: &Session) -> Result<ExitCode, Failure> {
    let nothing = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
    let mut events =
        Events { body: session.client.stream(Method::GET, "/v1/oversight/changes", nothing).await?.into_body(), buffer: Vec::new() };
    let mut interrupted = Box::pin(tokio::signal::ctrl_c());
    let mut shown = BTreeSet::new();
    loop {
        // The first event comes at once, so what waits already is shown too.
        tokio::select! {
            changed = events.changed() => if !changed? { break },
            _ = &mut interrupted => break,
        }
        let answer = session.get(PENDING).await?;
        for request in rows(&answer, "requests").iter().rev() {
            if shown.insert(text(request, "id")) {
                print(&if session.json { format!("{request}\n") } else { describe(request) })?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Server-sent events; each one means that something changed.
struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    /// Waits for the next event; `false` when the server has stopped.
    async fn changed(&mut self) -> Result<bool, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if line.starts_with(b"data:") {
                    return Ok(true);
                }
                continue;
            }
            if self.buffer.len() > EVENT_LINE_BYTES_MAX {
                return Err(Failure::protocol("the server sent an event that has no end"));
            }
            match self.body.frame().await {
                None => return Ok(false),
                Some(Err(e)) => return Err(Failure::protocol(format!("the server's events broke off: {e}"))),
                Some(Ok(frame)) => self.buffer.extend(frame.into_data().unwrap_or_default()),
            }
        }
    }
}

/// Approves exactly the action that is shown.
pub(super) async fn approve(session: &Session, args: ApproveArgs) -> Result<ExitCode, Failure> {
    let at = format!("/v1/oversight/requests/{}", encode(&args.request));
    let request = session.get(&at).await?;
    let seen = seen(&request)?;
    if !session.json {
        eprint!("{}", describe(&request));
    }
    let body = json!({ "digest": args.digest.unwrap_or(seen.digest), "shown": seen.shown, "comment": args.comment });
    let answer = session.send(Method::POST, &format!("{at}/approve"), &body).await?;
    session.answer(&answer, |answer| format!("approved `{}`: this action, once\n", text(answer, "id")))
}

/// Denies.
pub(super) async fn deny(session: &Session, args: DenyArgs) -> Result<ExitCode, Failure> {
    let body = json!({ "comment": args.comment });
    let answer = session.send(Method::POST, &format!("/v1/oversight/requests/{}/deny", encode(&args.request)), &body).await?;
    session.answer(&answer, |answer| {
        let told = if args.comment.is_some() { "; the agent is told why" } else { "" };
        format!("denied `{}`{told}\n", text(answer, "id"))
    })
}

/// What an approval of a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// The action's digest.
    pub(super) digest: String,
    /// The digest of the view, where some of the action is hidden from the reader.
    pub(super) shown: Option<String>,
}

/// What the reader is shown, by digests computed here: what is approved is what was read, whatever the server says its digest is. Where
/// some of it is hidden, what is read is the view, which names the action's digest.
pub(super) fn seen(request: &Value) -> Result<Seen, Failure> {
    let other = || Failure::protocol("the action shown is not the one the request's digest names; nothing was approved");
    let field = |name: &str| request.get(name).and_then(Value::as_str);
    let action = field("action").ok_or_else(|| Failure::protocol("the request shows no action"))?;
    let Some(view) = field("view") else {
        let digest = Digest::of(action.as_bytes()).to_string();
        return if field("digest") == Some(digest.as_str()) { Ok(Seen { digest, shown: None }) } else { Err(other()) };
    };
    let read: Value = serde_json::from_str(view).map_err(|_| other())?;
    let shown: Value = serde_json::from_str(action).map_err(|_| other())?;
    let digest = read.get("digest").and_then(Value::as_str).filter(|digest| field("digest") == Some(digest)).ok_or_else(other)?;
    if read.get("action") != Some(&shown) {
        return Err(other());
    }
    Ok(Seen { digest: digest.to_owned(), shown: Some(Digest::of(view.as_bytes()).to_string()) })
}

/// A request as a person reads it. Whatever the agent wrote is escaped.
pub(super) fn describe(request: &Value) -> String {
    let action: Value = request.get("action").and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut out = format!("{}  {}  ({})\n", text(request, "id"), text(&action, "action"), text(request, "state"));
    let mut line = |name: &str, value: &str| out.push_str(&format!("  {name:>9}  {value}\n"));
    if let Some(raise) = raise(&action) {
        line("raises", &raise);
    }
    line("resource", &text(&action, "resource"));
    for (name, value) in action.get("arguments").and_then(Value::as_object).into_iter().flatten() {
        line("argument", &format!("{} = {}", safe(name), plain(value)));
    }
    for (name, value) in action.get("context").and_then(Value::as_object).into_iter().flatten() {
        line("context", &format!("{} = {}", safe(name), plain(value)));
    }
    if let Some(reserve) = action.get("reserve").and_then(Value::as_str) {
        line("holds", reserve);
    }
    line("authority", &path(rows(request, "hops")));
    line("rule", &text(request, "rule"));
    if let Some(reason) = request.get("reason").and_then(Value::as_str) {
        line("says", &format!("“{}” (the agent's words)", safe(reason)));
    }
    for name in rows(request, "redacted") {
        line("hidden", &format!("{}: only who runs the installation sees it; the digest covers it", plain(name)));
    }
    line("digest", &text(request, "digest"));
    if request.get("test") == Some(&Value::Bool(true)) {
        line("test", "this installation is for tests: what is decided binds nobody");
    }
    line("asked", &format!("{}, until {}", moment(request, "opened_at"), moment(request, "deadline")));
    if let Some(by) = request.get("decided_by").and_then(Value::as_str) {
        line("decided", &format!("by {}: {}", safe(short(by)), text(request, "comment")));
    }
    for mail in rows(request, "mail") {
        line("by mail", &format!("{}: “{}”", mailed(mail), text(mail, "text")));
    }
    out
}

/// What is known of a comment that came by mail, before its words: from whom, what shows it, and what was left out.
fn mailed(mail: &Value) -> String {
    let from = safe(short(mail.get("from").and_then(Value::as_str).unwrap_or_default()));
    let shown = match mail.get("sender").and_then(Value::as_str) {
        Some("dkim") => "signed by the sender's domain",
        Some("dmarc") => "vouched for by the sender's domain",
        _ => "nothing shows who sent it",
    };
    let some = |name: &str, what: &str| {
        let count = mail.get(name).and_then(Value::as_u64).filter(|count| *count > 0);
        count.map(|count| format!("; {count} {what} left out")).unwrap_or_default()
    };
    let (quoted, attached) = (some("left_out", "quoted lines"), some("attachments", "attachments"));
    format!("untrusted: a mail from the address of {from} at {}; {shown}{quoted}{attached}", moment(mail, "at"))
}

/// What a question about a budget comes to: the ceiling now and after, and for what.
fn raise(action: &Value) -> Option<String> {
    let arguments = action.get("arguments").filter(|_| action.get("action").and_then(Value::as_str) == Some(RAISE_ACTION))?;
    let amount = |name: &str| arguments.get(name)?.as_str()?.parse::<Micros>().ok();
    let (ceiling, raise, missing) = (amount("ceiling")?, amount("raise")?, amount("missing")?);
    let after = ceiling.checked_add(raise)?;
    let of = |name: &str| arguments.get(name).and_then(Value::as_str).map(safe).unwrap_or_default();
    let (account, whose) = (of("account"), safe(short(arguments.get("whose").and_then(Value::as_str).unwrap_or_default())));
    let wants = format!("{} {}", of("for_action"), of("for_resource"));
    Some(format!("the ceiling of `{account}` ({whose}) by {raise}, from {ceiling} to {after}; {missing} is missing for {wants}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(action: &str) -> Value {
        json!({
            "id": "req_1", "digest": Digest::of(action.as_bytes()).to_string(), "action": action, "rule": "r", "hops": ["spiffe://a/x/human/alice"],
            "state": "pending", "reason": "please\n\u{202e}approve", "opened_at": "2026-11-23T01:00:00.000000Z", "deadline": "2026-11-23T02:00:00.000000Z",
        })
    }

    #[test]
    fn a_request_shows_every_argument_and_escapes_what_the_agent_wrote() {
        let shown = describe(&request(
            r#"{"action":"tool.call","resource":"tool:pay","arguments":{"amount":100,"to":"a\nb"},"context":{"labels":["prod"]},"reserve":"2.5"}"#,
        ));
        for part in [
            "labels = [\"prod\"]",
            "holds  2.5",
            "tool:pay",
            "amount = 100",
            r"to = a\nb",
            r"please\n\u{202e}approve",
            "alice",
            "2026-11-23T02:00:00Z",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    #[test]
    fn a_raise_says_the_ceiling_now_and_after_and_for_what() {
        let action = json!({
            "action": "metering.raise_budget", "resource": "account:link:l",
            "arguments": {
                "account": "link:l", "whose": "spiffe://a/tenant/t/agent/planner", "ceiling": "1", "missing": "0.25", "asked": "5",
                "raise": "5", "for_action": "tool.call", "for_resource": "tool:pay",
            },
        });
        let said = "the ceiling of `link:l` (planner) by 5, from 1 to 6; 0.25 is missing for tool.call tool:pay";
        assert_eq!(raise(&action).as_deref(), Some(said));
        let mut other = action.clone();
        other["action"] = json!("tool.call");
        assert_eq!(raise(&other), None, "only the server's own question is one");
    }

    #[test]
    fn an_action_that_is_not_the_digests_is_not_approved() {
        let mut request = request(r#"{"action":"tool.call"}"#);
        assert_eq!(seen(&request).unwrap(), Seen { digest: text(&request, "digest"), shown: None });
        request["action"] = json!(r#"{"action":"tool.call","arguments":{}}"#);
        assert!(seen(&request).is_err());
    }

    #[test]
    fn where_something_is_hidden_the_view_is_approved_and_names_the_digest() {
        let whole = request(r#"{"action":"tool.call","arguments":{"card":"4111"}}"#);
        let mut hidden = whole.clone();
        let action = r#"{"action":"tool.call","arguments":{"card":"(hidden)"}}"#;
        let view = format!(r#"{{"action":{action},"digest":"{}","hidden":["card"]}}"#, text(&whole, "digest"));
        (hidden["action"], hidden["view"], hidden["redacted"]) = (json!(action), json!(view), json!(["card"]));
        let expected = Seen { digest: text(&whole, "digest"), shown: Some(Digest::of(view.as_bytes()).to_string()) };
        assert_eq!(seen(&hidden).unwrap(), expected);
        assert!(describe(&hidden).contains("card: only who runs the installation sees it"));
        for (name, value) in [("digest", json!("00".repeat(32))), ("action", json!(r#"{"action":"tool.call"}"#)), ("view", json!("{}"))] {
            let mut other = hidden.clone();
            other[name] = value;
            assert!(seen(&other).is_err(), "{name}");
        }
    }
}
