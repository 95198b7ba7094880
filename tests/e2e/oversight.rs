//! Oversight through the real binary: receipts that outsiders check, input that is no good, the kill switch, a deadline nobody was up for.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::{Answer, Cast, Client, Home, Options, Server, list, text};

fn payment(invoice: &str) -> Value {
    json!({
        "action": "tool.call_with_approval", "resource": "tool:pay_invoice", "arguments": { "invoice": invoice, "amount": "120.00" },
        "wait_secs": 0, "timeout_secs": 600
    })
}

fn pending(agent: &Client, body: Value) -> (String, String) {
    let asked = agent.post("/v1/actions", body).ok();
    assert_eq!(text(&asked, "state"), "pending", "{asked}");
    (text(&asked, "request").to_owned(), text(&asked, "digest").to_owned())
}

fn at(request: &str, what: &str) -> String {
    format!("/v1/oversight/requests/{request}/{what}")
}

/// What `creto oversight verify` says of this receipt, and whether it believes it.
pub(crate) fn verified(home: &Home, receipt: &Value, keys: &Path) -> (bool, Value) {
    let file = home.data().parent().unwrap().join("receipt.json");
    fs::write(&file, receipt.to_string()).unwrap();
    let output =
        home.command(["--json", "oversight", "verify", file.to_str().unwrap(), "--trust", keys.to_str().unwrap()]).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(output.status.success(), said["ok"] == json!(true), "{said}");
    (output.status.success(), said)
}

pub(crate) fn keys(server: &Server, folder: &Path, name: &str) -> std::path::PathBuf {
    let file = folder.join(name);
    fs::write(&file, server.nobody().get("/v1/audit/keys").ok().to_string()).unwrap();
    file
}

#[test]
fn a_receipt_proves_the_decision_offline_and_nothing_that_was_changed_or_signed_by_others() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let cast = Cast::of(&server, &server.owner());
    let folder = home.data().parent().unwrap().to_owned();
    let trusted = keys(&server, &folder, "keys.json");
    let (request, digest) = pending(&cast.agent, payment("INV-1"));
    cast.approver.get(&at(&request, "receipt")).refused(422, "oversight.bad_input");
    cast.approver.post(&at(&request, "approve"), json!({ "digest": digest, "comment": "fine" })).ok();
    let receipt = cast.agent.get(&at(&request, "receipt")).ok();
    let (ok, said) = verified(&home, &receipt, &trusted);
    assert!(ok && said["decision"]["digest"] == json!(digest) && said["decision"]["test"] == json!(false), "{said}");
    assert_eq!(said["decision"]["votes"][0]["proof"]["method"], "api_key", "how the voter proved who they are");

    let changes: [fn(&mut Value); 6] = [
        |r| r["decision"]["digest"] = json!("00".repeat(32)),
        |r| r["decision"]["votes"][0]["comment"] = json!("never"),
        |r| r["decision"]["votes"][0]["by"] = json!("spiffe://creto.local/tenant/default/human/mallory"),
        |r| r["decision"]["policy"] = json!("11".repeat(32)),
        |r| r["salt"] = json!("22".repeat(32)),
        |r| r["index"] = json!(0),
    ];
    for change in changes {
        let mut other = receipt.clone();
        change(&mut other);
        let (ok, said) = verified(&home, &other, &trusted);
        assert!(!ok && said["code"] == "oversight.bad_receipt", "{said}");
    }
    // Signed by another installation's keys, it proves nothing to whoever trusts the first.
    let elsewhere = Home::new();
    let other = elsewhere.serve(&Options::default());
    let theirs = Cast::of(&other, &other.owner());
    let (request, digest) = pending(&theirs.agent, payment("INV-1"));
    theirs.approver.post(&at(&request, "approve"), json!({ "digest": digest })).ok();
    let foreign = theirs.agent.get(&at(&request, "receipt")).ok();
    assert!(!verified(&home, &foreign, &trusted).0);
    let own = keys(&other, &folder, "other-keys.json");
    assert!(verified(&home, &foreign, &own).0 && !verified(&home, &receipt, &own).0);
}

/// What bad input must leave as it was: the log's size, the requests with their events, the actions, the standing grants.
fn standing(owner: &Client, request: &str) -> Value {
    let asks = |path: &str| owner.get(path).ok();
    json!({
        "log": asks("/v1/audit/entries?limit=1")["size"],
        "requests": asks("/v1/oversight/requests"),
        "history": asks(&at(request, "history")),
        "actions": asks("/v1/actions"),
        "grants": asks("/v1/oversight/grants"),
    })
}

/// A Slack that is down: what claims to come from it must be signed all the same.
const SLACK: Options = Options {
    tenant: None,
    sandboxes: false,
    more: String::new(),
    lines: "outbound_allow = [\"127.0.0.1:9\"]\n",
    failpoint: None,
    config: "[slack]\napi = \"http://127.0.0.1:9/api\"\nroom = \"C0ROOM\"\n",
    secrets: &[("CRETO_SLACK_BOT_TOKEN", "xoxb-test"), ("CRETO_SLACK_SIGNING_SECRET", "8f742231b10e8888abcd99yyyzzz85a5")],
};

#[test]
fn input_that_is_no_good_is_refused_by_its_code_and_changes_nothing() {
    let home = Home::new();
    let server = home.serve(&SLACK);
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let late = crate::support::make_key(&owner, json!({ "role": "approver", "name": "late", "ttl_secs": 1 }));
    // An approval that was used, and whose outcome is known.
    let (used, of_used) = pending(&cast.agent, payment("INV-0"));
    cast.approver.post(&at(&used, "approve"), json!({ "digest": of_used })).ok();
    let mut attempt = payment("INV-0");
    attempt["attempt_id"] = json!("attempt-1");
    attempt["asker_id"] = json!("process-1");
    let granted = cast.agent.post("/v1/actions", attempt.clone()).ok();
    let outcome = format!("/v1/actions/{}/outcome", text(&granted, "admission"));
    cast.agent.post(&outcome, json!({ "ok": true })).ok();

    let (request, digest) = pending(&cast.agent, payment("INV-1"));
    let before = standing(&owner, &request);
    let refuses = |what: &str, answer: Answer, status: u16, code: &str| {
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {}", answer.text());
        answer.refused(status, code);
        assert_eq!(standing(&owner, &request), before, "{what}: nothing changed");
    };
    let changed = |body: Value, change: Value| {
        let mut body = body;
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    let vote = |change: Value| changed(json!({ "choice": "approve", "digest": digest, "revision": 1 }), change);
    let olga = "spiffe://creto.local/tenant/default/human/olga";

    // What an approver sends.
    for (what, path, body, status, code) in [
        ("unknown id", at("req_01a2060ae855752e8d1500f9ba0210fd", "vote"), vote(json!({})), 404, "oversight.unknown_request"),
        ("an id that is none", at("req_1", "vote"), vote(json!({})), 404, "oversight.unknown_request"),
        ("wrong revision", at(&request, "vote"), vote(json!({ "revision": 2 })), 409, "oversight.wrong_revision"),
        ("wrong revision, edited", at(&request, "edit"), json!({ "revision": 2, "arguments": {} }), 409, "oversight.wrong_revision"),
        ("another digest", at(&request, "vote"), vote(json!({ "digest": "00".repeat(32) })), 409, "oversight.digest_mismatch"),
        ("no digest", at(&request, "vote"), vote(json!({ "digest": null })), 409, "oversight.digest_mismatch"),
        ("an unknown member", at(&request, "vote"), vote(json!({ "choise": "approve" })), 422, "http.bad_body"),
        ("a long comment", at(&request, "vote"), vote(json!({ "comment": "x".repeat(5_000) })), 422, "oversight.comment_too_long"),
        ("for nobody who is away", at(&request, "vote"), vote(json!({ "stands_in_for": olga })), 403, "oversight.not_eligible"),
        ("an answer to no question", at(&request, "answer"), json!({ "text": "yes" }), 409, "oversight.wrong_kind"),
        ("an edit nobody accepts", at(&request, "edit"), json!({ "revision": 1, "arguments": {} }), 409, "oversight.not_editable"),
        ("a review of nothing", at(&request, "review"), json!({ "justified": true, "comment": "it burned" }), 422, "oversight.bad_input"),
        ("a glass not theirs", at(&request, "break-glass"), json!({ "digest": digest, "reason": "fire" }), 403, "oversight.not_eligible"),
        ("a request not theirs", at(&request, "cancel"), json!({}), 403, "oversight.not_eligible"),
        ("no batch", "/v1/oversight/batch".to_owned(), json!({ "choice": "approve", "requests": [] }), 422, "oversight.not_in_batch"),
        (
            "a grant of what was not approved",
            "/v1/oversight/grants".to_owned(),
            json!({ "request": request, "uses_max": 1, "secs": 60 }),
            409,
            "oversight.already_decided",
        ),
        ("a vote on what is over", at(&used, "vote"), vote(json!({ "digest": of_used })), 409, "oversight.already_decided"),
    ] {
        refuses(what, cast.approver.post(&path, body), status, code);
    }
    refuses("an agent's vote", cast.agent.post(&at(&request, "vote"), vote(json!({}))), 403, "http.forbidden");

    // An approval is used once, and its outcome is told once.
    refuses("replayed grant", cast.agent.post(&outcome, json!({ "ok": true })), 404, "oversight.unknown_admission");
    let stolen = changed(attempt, json!({ "asker_id": "process-2" }));
    refuses("replayed grant, by another process", cast.agent.post("/v1/actions", stolen), 409, "gate.attempt_used");

    // A key whose time is over.
    let (late, ends) = (server.bearer(text(&late, "token")), Instant::now() + Duration::from_secs(30));
    while late.get("/v1/whoami").status == 200 {
        assert!(Instant::now() < ends, "the key never ended");
    }
    refuses("expired token", late.post(&at(&request, "vote"), vote(json!({}))), 401, "nhi.credential_expired");

    // What Slack did not sign, or not with our secret.
    let click = format!("payload=%7B%22type%22%3A%22block_actions%22%2C%22value%22%3A%22{request}%22%7D");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
    let slack = server.nobody().with("content-type", "application/x-www-form-urlencoded");
    let signed = |by: &str| slack.with("x-slack-request-timestamp", &now).with("x-slack-signature", by);
    for (what, client) in [
        ("forged Slack signature", signed(&format!("v0={}", "5a".repeat(32)))),
        ("forged Slack signature, of no form", signed("v0=")),
        ("forged Slack signature, none", slack.clone()),
    ] {
        refuses(what, client.octets("POST", "/v1/channels/slack/callback", click.as_bytes()), 401, "oversight.forged_callback");
    }

    // Arguments that are none, as an agent asks and as an approver edits.
    let nested = |depth: usize| format!(r#"{{"a":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
    for (what, arguments, status, code) in [
        ("10 MB argument", format!(r#"{{"a":"{}"}}"#, "x".repeat(10 << 20)), 413, "http.body_too_large"),
        ("deep JSON", nested(64), 422, "http.bad_body"),
        ("deep JSON, deeper than any stack", nested(100_000), 422, "http.bad_body"),
        ("lone surrogates", r#"{"a":"\ud800"}"#.to_owned(), 422, "http.bad_body"),
        ("lone surrogates, the second half first", r#"{"a":"\udc00\ud800"}"#.to_owned(), 422, "http.bad_body"),
        ("lone surrogates, in a name", r#"{"\udfff":1}"#.to_owned(), 422, "http.bad_body"),
        ("numbers beyond 2^53", r#"{"a":9007199254740993}"#.to_owned(), 422, "http.bad_body"),
        ("numbers beyond 2^53, below", r#"{"a":[{"b":-9007199254740993}]}"#.to_owned(), 422, "http.bad_body"),
        ("numbers beyond 2^53, and beyond all", r#"{"a":1e400}"#.to_owned(), 422, "http.bad_body"),
        ("a name twice", r#"{"a":1,"a":2}"#.to_owned(), 422, "http.bad_body"),
    ] {
        let asked = format!(r#"{{"action":"tool.call_with_approval","resource":"tool:x","arguments":{arguments},"wait_secs":0}}"#);
        refuses(what, cast.agent.octets("POST", "/v1/actions", asked.as_bytes()), status, code);
        let edited = format!(r#"{{"revision":1,"arguments":{arguments}}}"#);
        refuses(what, cast.approver.octets("POST", &at(&request, "edit"), edited.as_bytes()), status, code);
    }

    // After all of it the request is decided as if nothing had been, and its approval is used once: a second time is another question.
    cast.approver.post(&at(&request, "vote"), vote(json!({}))).ok();
    assert_ne!(standing(&owner, &request)["log"], before["log"], "what changes something is on record");
    let granted = cast.agent.post("/v1/actions", payment("INV-1")).ok();
    assert_eq!(text(&granted, "state"), "granted");
    assert_ne!(pending(&cast.agent, payment("INV-1")).0, request);
}

#[test]
fn a_rule_asks_for_two_of_a_group_and_the_owner_of_the_agent_is_neither() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let who = |client: &Client| text(&client.get("/v1/whoami").ok(), "identity").to_owned();
    let second = crate::support::make_key(&owner, json!({ "role": "approver", "name": "second" }));
    let second = server.bearer(text(&second, "token"));
    let document = json!({ "requirement": { "at_least": { "count": 2, "of": ["group:finance"] } } });
    owner.put("/v1/oversight/policies/require_approval", json!({ "policy": document })).ok();
    owner.put("/v1/oversight/policies/require_approval", json!({ "policy": document, "based_on": 7 })).refused(422, "oversight.bad_policy");
    owner.put("/v1/oversight/groups/finance", json!({ "members": [who(&cast.approver), who(&second)] })).ok();
    let (request, digest) = pending(&cast.agent, payment("INV-1"));
    assert_eq!(list(&second.get("/v1/oversight/inbox").ok(), "requests").len(), 1);
    let vote = json!({ "choice": "approve", "digest": digest, "revision": 1 });
    owner.post(&at(&request, "vote"), vote.clone()).refused(403, "oversight.not_eligible");
    assert_eq!(text(&cast.approver.post(&at(&request, "vote"), vote.clone()).ok(), "state"), "pending");
    assert_eq!(text(&second.post(&at(&request, "vote"), vote).ok(), "state"), "approved");
    let watched = cast.agent.get(&at(&request, "watch?seen=0&wait_secs=0")).ok();
    assert_eq!(list(&watched, "votes").len(), 2);
    let evidence = server.operator().get(&at(&request, "evidence")).ok();
    assert!(list(&evidence, "history").len() == 4 && evidence["receipt"].is_object(), "{evidence}");
}

#[test]
fn an_agent_that_is_stopped_asks_for_nothing_and_uses_nothing() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let agent = text(&cast.agent.get("/v1/whoami").ok(), "identity").to_owned();
    let (waiting, _) = pending(&cast.agent, payment("INV-1"));
    let (approved, digest) = pending(&cast.agent, payment("INV-2"));
    cast.approver.post(&at(&approved, "approve"), json!({ "digest": digest })).ok();
    owner.post("/v1/oversight/kill", json!({ "agent": agent, "reason": " " })).refused(422, "oversight.bad_input");
    let killed = owner.post("/v1/oversight/kill", json!({ "agent": agent, "reason": "it went wild" })).ok();
    assert_eq!((killed["requests"].as_u64(), text(&killed, "status")), (Some(2), "suspended"));
    assert!(cast.agent.post("/v1/actions", payment("INV-2")).status >= 400);
    let state = |request: &str| text(&owner.get(&format!("/v1/oversight/requests/{request}")).ok(), "state").to_owned();
    assert_eq!((state(&waiting), state(&approved)), ("cancelled".to_owned(), "revoked".to_owned()));
}

#[test]
fn dying_at_any_point_of_the_kill_switch_stops_the_agent_whole_or_not_at_all() {
    for (point, done) in [("db.before_steps", false), ("db.after_steps", false), ("db.before_commit", false), ("db.after_commit", true)] {
        let home = Home::new();
        let server = home.serve(&Options { failpoint: Some(format!("{point}@oversight.kill")), ..Options::default() });
        let cast = Cast::of(&server, &server.owner());
        let agent = text(&cast.agent.get("/v1/whoami").ok(), "identity").to_owned();
        let (waiting, _) = pending(&cast.agent, payment("INV-1"));
        let (approved, digest) = pending(&cast.agent, payment("INV-2"));
        cast.approver.post(&at(&approved, "approve"), json!({ "digest": digest })).ok();
        let kill = json!({ "agent": agent, "reason": "it went wild" });
        assert!(server.owner().attempt("POST", "/v1/oversight/kill", Some(&kill)).is_err(), "{point}: it died");
        server.ended();
        let server = home.serve(&Options::default());
        let owner = server.owner();
        let stands = || {
            let state = |request: &str| text(&owner.get(&format!("/v1/oversight/requests/{request}")).ok(), "state").to_owned();
            let identities = owner.get("/v1/identities").ok();
            let found = list(&identities, "identities").iter().find(|identity| text(identity, "id") == agent).cloned().unwrap();
            (text(&found, "status").to_owned(), state(&waiting), state(&approved))
        };
        let stopped = ("suspended".to_owned(), "cancelled".to_owned(), "revoked".to_owned());
        let untouched = ("active".to_owned(), "pending".to_owned(), "approved".to_owned());
        assert_eq!(stands(), if done { stopped.clone() } else { untouched }, "{point}");
        // Said again, it is done.
        owner.post("/v1/oversight/kill", kill).ok();
        assert_eq!(stands(), stopped, "{point}");
    }
}

#[test]
fn a_deadline_that_passes_while_the_server_is_down_is_past_when_it_comes_back() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let cast = Cast::of(&server, &server.owner());
    let mut soon = payment("INV-1");
    soon["timeout_secs"] = json!(1);
    let (request, digest) = pending(&cast.agent, soon);
    let asked = Instant::now();
    server.kill();
    crate::support::until("the deadline to pass", || asked.elapsed() > Duration::from_millis(1_200));
    let server = home.serve(&Options::default());
    let cast = Cast::of(&server, &server.owner());
    let late = cast.approver.post(&at(&request, "approve"), json!({ "digest": digest }));
    assert!(late.status == 409 && ["oversight.deadline_passed", "oversight.already_decided"].contains(&late.code().as_str()));
    crate::support::until("the time-out to be written down", || {
        text(&cast.approver.get(&format!("/v1/oversight/requests/{request}")).ok(), "state") == "timed_out"
    });
    let events = cast.approver.get(&at(&request, "history")).ok();
    let ends = list(&events, "events").iter().filter(|event| event["event"]["type"] == "timed_out").count();
    assert_eq!(ends, 1, "{events}");
}

#[test]
fn a_legal_hold_keeps_words_from_being_erased_and_reports_name_requests_without_words() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let cast = Cast::of(&server, &server.owner());
    let (denied, _) = pending(&cast.agent, payment("INV-zebra"));
    cast.approver.post(&at(&denied, "deny"), json!({ "comment": "never, zebra" })).ok();
    let (approved, digest) = pending(&cast.agent, payment("INV-1"));
    cast.approver.post(&at(&approved, "approve"), json!({ "digest": digest })).ok();

    let hold = at(&denied, "hold");
    cast.approver.call("PUT", &hold, Some(&json!({ "reason": "a matter of law" }))).refused(403, "http.forbidden");
    cast.operator.put(&hold, json!({ "reason": " " })).refused(422, "oversight.bad_input");
    cast.operator.put(&hold, json!({ "reason": "a matter of law" })).ok();
    cast.operator.put(&hold, json!({ "reason": "once more" })).refused(409, "oversight.legal_hold");
    let erase = json!({ "request": denied });
    let comment = || cast.approver.get(&format!("/v1/oversight/requests/{denied}")).ok()["comment"].clone();
    cast.operator.post("/v1/privacy/erase", erase.clone());
    assert_eq!(comment(), "never, zebra", "what a hold keeps is kept");
    cast.operator.delete(&hold).ok();
    assert_eq!(cast.operator.delete(&hold).code(), "oversight.unknown");
    cast.operator.post("/v1/privacy/erase", json!({ "everybody": true })).ok();
    assert_eq!(comment(), Value::Null);

    let report = cast.operator.get("/v1/oversight/reports/deciders").ok();
    let deciders = list(&report, "deciders");
    assert_eq!((deciders.len(), &deciders[0]["approvals"], &deciders[0]["faster_than_reading"]), (1, &json!(1), &json!(1)), "{report}");
    let findings = cast.operator.get("/v1/oversight/export/ocsf").ok();
    let told: Vec<_> =
        list(&findings, "events").iter().map(|e| (text(&e["metadata"], "uid").to_owned(), text(e, "status").to_owned())).collect();
    assert_eq!(told, [(approved, "approved".to_owned()), (denied, "denied".to_owned())]);
    for event in list(&findings, "events") {
        let number = |name: &str| event[name].as_u64().unwrap();
        assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"), "OCSF 1.3, base event");
        assert!(!event.to_string().contains("INV"), "no words: {event}");
    }
}
