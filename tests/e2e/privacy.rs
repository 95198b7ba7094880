//! What people and agents said can be erased, and the log stays whole.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Cast, Home, Options, Server, text};

/// The words nobody shall find afterwards.
const ERASED: [&str; 6] = ["zebra-args", "zebra-reason", "zebra-yes", "zebra-no", "zebra-memory", "zebra-because"];
/// The words of what is still open.
const KEPT: &str = "okapi-open";

fn ask(invoice: &str, note: &str, reason: &str) -> Value {
    json!({
        "action": "tool.call_with_approval", "resource": "tool:pay_invoice", "arguments": { "invoice": invoice, "note": note },
        "reason": reason, "wait_secs": 0
    })
}

/// One action approved and done, one denied, one still open; and what the agent remembers.
fn a_day(server: &Server, cast: &Cast) -> String {
    server.owner().put("/v1/metering/metrics/pages", json!({ "aggregation": "count", "unit_price": "0.10" })).ok();
    server.owner().put("/v1/metering/reporters/reading", json!({ "reporters": ["*"] })).ok();
    let usage = json!({ "transaction_id": "t1", "external_subscription_id": "reading", "code": "pages", "properties": {} });
    cast.agent.post("/v1/metering/events", usage).ok();

    let done = ask("INV-1", "zebra-args", "zebra-reason");
    let asked = cast.agent.post("/v1/actions", done.clone()).ok();
    let (request, digest) = (text(&asked, "request"), text(&asked, "digest"));
    cast.agent.post("/v1/memory", json!({ "text": "zebra-because it is due", "action": digest })).ok();
    let approve = json!({ "digest": digest, "comment": "zebra-yes" });
    cast.approver.post(&format!("/v1/oversight/requests/{request}/approve"), approve).ok();
    let granted = cast.agent.post("/v1/actions", done).ok();
    cast.agent.post(&format!("/v1/actions/{}/outcome", text(&granted, "admission")), json!({ "ok": true })).ok();

    let refused = cast.agent.post("/v1/actions", ask("INV-2", "zebra-args", "zebra-reason")).ok();
    let path = format!("/v1/oversight/requests/{}/deny", text(&refused, "request"));
    cast.approver.post(&path, json!({ "comment": "zebra-no" })).ok();
    cast.agent.post("/v1/actions", ask("INV-2", "zebra-args", "zebra-reason")).refused(403, "gate.denied_by_human");

    cast.agent.post("/v1/memory", json!({ "text": "zebra-memory of a harbour" })).ok();
    cast.agent.post("/v1/actions", ask("INV-3", KEPT, KEPT)).ok();
    request.to_owned()
}

/// Which of the words stand in any file of the directory.
fn found(data: &Path, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(self::found(&path, words));
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            let holds = |word: &&&str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
            found.extend(words.iter().filter(holds).map(|word| format!("{word} in {}", path.display())));
        }
    }
    found
}

fn verified(home: &Home, pin: Option<&Path>) {
    let mut command = home.command(["audit", "verify"]);
    if let Some(pin) = pin {
        command.arg("--pin").arg(pin);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_was_said_leaves_every_file_and_the_log_and_the_totals_stay() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let cast = Cast::of(&server, &server.owner());
    let request = a_day(&server, &cast);
    server.caught_up();
    let pin = home.data().with_file_name("pin");
    fs::copy(home.data().join("log/default/checkpoint"), &pin).unwrap();
    for word in ERASED {
        assert!(!found(&home.data(), &[word]).is_empty(), "`{word}` is there to be erased");
    }
    let costs = cast.operator.get("/v1/metering/costs").ok();
    let states = |server: &Server| {
        let all = server.owner().get("/v1/actions").ok();
        let mut states: Vec<_> = all["actions"].as_array().unwrap().iter().map(|a| (a["admission"].clone(), a["state"].clone())).collect();
        states.sort_by_key(|(admission, _)| admission.to_string());
        states
    };
    let before = states(&server);

    for other in [&cast.agent, &cast.approver] {
        other.post("/v1/privacy/erase", json!({ "everybody": true })).refused(403, "http.forbidden");
    }
    cast.operator.post("/v1/privacy/erase", json!({})).refused(422, "app.bad_erasure");
    cast.operator.post("/v1/privacy/erase", json!({ "everybody": true, "agent": "worker" })).refused(422, "app.bad_erasure");
    let long_ago = json!({ "everybody": true, "before": "2020-01-01T00:00:00Z" });
    let nothing = cast.operator.post("/v1/privacy/erase", long_ago).ok();
    assert_eq!((&nothing["actions"], &nothing["requests"], &nothing["memories"]), (&json!(0), &json!(0), &json!(0)));

    // By one request: its own words, those of the attempts at the same action, and the reasons recorded for it.
    cast.operator.post("/v1/privacy/erase", json!({ "request": request })).ok();
    assert_eq!(found(&home.data(), &["zebra-yes", "zebra-because"]), Vec::<String>::new());
    assert!(!found(&home.data(), &["zebra-no"]).is_empty(), "another request's words stay");
    cast.operator.post("/v1/privacy/erase", json!({ "request": request })).refused(409, "app.nothing_to_erase");

    let ran = home.command(["erase", "--agent", "worker", "--json"]).output().unwrap();
    assert!(!ran.status.success(), "erasing wants a yes");
    let ran = home.command(["erase", "--agent", "worker", "--yes", "--json"]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(found(&home.data(), &ERASED), Vec::<String>::new());
    assert!(!found(&home.data(), &[KEPT]).is_empty(), "what is still open is kept");

    assert_eq!(cast.operator.get("/v1/metering/costs").ok(), costs, "what it cost stays");
    assert_eq!(states(&server).iter().filter(|row| before.contains(row)).count(), before.len(), "what was decided stays");
    let shown = cast.approver.get(&format!("/v1/oversight/requests/{request}")).ok();
    let action: Value = serde_json::from_str(text(&shown, "action")).unwrap();
    assert_eq!((&action["resource"], &action["arguments"]), (&json!("tool:pay_invoice"), &json!({})), "{shown}");
    verified(&home, Some(&pin));
    server.stop();
    assert_eq!(found(&home.data(), &ERASED), Vec::<String>::new());
    verified(&home, Some(&pin));
    let server = home.serve(&Options::default());
    assert_eq!(server.owner().get("/v1/oversight/requests?state=pending").ok()["requests"].as_array().unwrap().len(), 1);
}
