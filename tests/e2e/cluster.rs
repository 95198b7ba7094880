//! Two servers on one PostgreSQL, sharing their keys: what one decides, the other knows; when one dies, the other goes on.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Client, Home, Options, Schema, Sink, list, make_key, text, until};

/// How long a revocation may take to reach the other server, on a loaded machine; the server looks twice a second.
const REACH_MAX: Duration = Duration::from_secs(10);

/// Every entry of the tenant's log, as this server has it.
fn checkpoint(home: &Home) -> Vec<String> {
    let text = fs::read_to_string(home.data().join("log/default/checkpoint")).unwrap_or_default();
    text.lines().take(3).map(str::to_owned).collect()
}

#[test]
fn what_one_server_decides_the_other_knows_and_goes_on_without_it_and_their_logs_are_one() {
    let Some(schema) = Schema::new("cluster") else { return };
    let (one, two) = (Home::new(), Home::new());
    let keys = one.data().with_file_name("keys");
    fs::create_dir_all(&keys).unwrap();
    let options = Options { more: format!("{}keys_dir = \"{}\"\n", schema.line(), keys.display()), ..Options::default() };
    let (first, second) = (one.serve(&options), two.serve(&options));

    // Identities, keys and policies made at one are good at the other.
    let key = make_key(&first.owner(), json!({ "role": "agent", "name": "worker" }));
    let there = second.bearer(text(&key, "token"));
    until("the new agent is known at the other server", || there.get("/v1/whoami").is_ok());
    there.post("/v1/memory", json!({ "text": "said at the second" })).ok();
    let policy =
        "@id(\"all\") permit (principal, action, resource);\n@id(\"no\") forbid (principal, action == Action::\"memory.put\", resource);";
    first.owner().put("/v1/policy", json!({ "text": policy })).ok();
    until("the policy is in force at the other server", || there.post("/v1/memory", json!({ "text": "x" })).status == 403);

    // A revocation reaches the other within a bound.
    first.owner().post("/v1/identities/agent/worker/suspend", json!({})).ok();
    let suspended = Instant::now();
    until("the suspension has reached the other server", || !there.get("/v1/whoami").is_ok());
    assert!(suspended.elapsed() < REACH_MAX, "{:?}", suspended.elapsed());

    // What was said at one is erased at the other, on this engine too.
    let erased = first.owner().post("/v1/privacy/erase", json!({ "agent": "worker" })).ok();
    assert!(erased["memories"].as_u64() >= Some(1) && erased["actions"].as_u64() >= Some(1), "{erased}");

    // Both write at once, and both folders hold one and the same tree.
    std::thread::scope(|scope| {
        for (server, side) in [(&first, "a"), (&second, "b")] {
            scope.spawn(move || {
                for number in 0..20 {
                    server.owner().post("/v1/identities", json!({ "kind": "agent", "name": format!("{side}{number}") })).ok();
                }
            });
        }
    });
    first.caught_up();
    second.caught_up();
    until("both have sealed the same tree", || checkpoint(&one) == checkpoint(&two) && checkpoint(&one).len() == 3);
    let pin = one.data().with_file_name("pin");
    fs::copy(one.data().join("log/default/checkpoint"), &pin).unwrap();

    // One dies; the other goes on, and its log continues the one that was pinned at the dead server.
    first.kill();
    second.owner().post("/v1/identities/agent/worker/resume", json!({})).ok();
    there.get("/v1/whoami").ok();
    second.caught_up();
    let verified = two.command(["audit", "verify", "--pin"]).arg(&pin).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));

    // It comes back and catches up to the same tree.
    let first = one.serve(&options);
    until("the first is where the second is", || checkpoint(&one) == checkpoint(&two));
    assert!(first.bearer(text(&key, "token")).get("/v1/whoami").is_ok());
}

/// Actions that are asked for at one server and decided at another, and those that both are asked about at once.
const RACES: usize = 8;
/// How long a human's decision at one server may take to reach an agent that waits at the other, on a loaded machine.
const WAKE_MAX: Duration = Duration::from_secs(10);
/// How long a webhook may take, by whichever server tells it, on a loaded machine.
const TOLD_MAX: Duration = Duration::from_secs(60);

fn payment(invoice: &str, wait_secs: u64, timeout_secs: u64) -> Value {
    json!({
        "action": "tool.call_with_approval", "resource": "tool:pay_invoice", "arguments": { "invoice": invoice }, "wait_secs": wait_secs,
        "timeout_secs": timeout_secs
    })
}

fn at(request: &str, what: &str) -> String {
    format!("/v1/oversight/requests/{request}/{what}")
}

fn asked(agent: &Client, invoice: &str, timeout_secs: u64) -> (String, String) {
    let asked = agent.post("/v1/actions", payment(invoice, 0, timeout_secs)).ok();
    assert_eq!(text(&asked, "state"), "pending", "{asked}");
    (text(&asked, "request").to_owned(), text(&asked, "digest").to_owned())
}

/// How often this happened to a request, as a server tells it.
fn times(approver: &Client, request: &str, what: &str) -> usize {
    let history = approver.get(&at(request, "history")).ok();
    list(&history, "events").iter().filter(|event| event["event"]["type"] == what).count()
}

/// Both at once.
fn both(first: impl FnOnce() -> Answer + Send, second: impl FnOnce() -> Answer + Send) -> [Answer; 2] {
    std::thread::scope(|scope| {
        let other = scope.spawn(second);
        [first(), other.join().unwrap()]
    })
}

#[test]
fn what_one_server_is_asked_the_other_decides_once_and_time_passes_once_for_both_and_for_the_one_that_is_left() {
    let Some(schema) = Schema::new("oversight") else { return };
    let (one, two, sink) = (Home::new(), Home::new(), Sink::new());
    let keys = one.data().with_file_name("keys");
    fs::create_dir_all(&keys).unwrap();
    let options = Options { more: format!("{}keys_dir = \"{}\"\n{}", schema.line(), keys.display(), sink.allowed()), ..Options::default() };
    let (first, second) = (one.serve(&options), two.serve(&options));
    let owner = first.owner();
    // Its secret is sealed by a key that this makes, after the other server has opened the ring.
    owner.post("/v1/webhooks", json!({ "url": sink.url() })).ok();
    let token = |body: Value| text(&make_key(&owner, body), "token").to_owned();
    let (agent, approver) = (token(json!({ "role": "agent", "name": "worker" })), token(json!({ "role": "approver", "name": "ada" })));
    let (agent_here, agent_there) = (first.bearer(&agent), second.bearer(&agent));
    let (ada_here, ada_there) = (first.bearer(&approver), second.bearer(&approver));
    until("both keys are known at the other server", || agent_there.get("/v1/whoami").is_ok() && ada_there.get("/v1/whoami").is_ok());

    // An agent waits at the first; its human reads and decides at the second.
    let (request, digest) = asked(&agent_here, "INV-0", 600);
    let inbox = ada_there.get("/v1/oversight/inbox").ok();
    assert_eq!(list(&inbox, "requests").iter().map(|found| text(found, "id")).collect::<Vec<_>>(), [request.as_str()]);
    let (granted, took) = std::thread::scope(|scope| {
        let waits = scope.spawn(|| agent_here.post("/v1/actions", payment("INV-0", 50, 600)).ok());
        let decided = Instant::now();
        ada_there.post(&at(&request, "approve"), json!({ "digest": digest })).ok();
        (waits.join().unwrap(), decided.elapsed())
    });
    assert_eq!(text(&granted, "state"), "granted");
    assert!(took < WAKE_MAX, "{took:?}");

    for race in 0..RACES {
        // A yes at one and a no at the other: the first counts, the other is told so.
        let (request, digest) = asked(&agent_here, &format!("RACE-{race}"), 600);
        let yes = || ada_here.post(&at(&request, "approve"), json!({ "digest": digest }));
        let no = || ada_there.post(&at(&request, "deny"), json!({ "comment": "no" }));
        let answers = both(yes, no);
        let won = answers.iter().position(Answer::is_ok).unwrap();
        answers[1 - won].refused(409, "oversight.already_decided");
        let state = text(&ada_there.get(&format!("/v1/oversight/requests/{request}")).ok(), "state").to_owned();
        assert_eq!(state, ["approved", "denied"][won]);
        // One approval, and two that use it.
        let (request, digest) = asked(&agent_there, &format!("USE-{race}"), 600);
        ada_here.post(&at(&request, "approve"), json!({ "digest": digest })).ok();
        let body = || payment(&format!("USE-{race}"), 0, 600);
        let answers = both(|| agent_here.post("/v1/actions", body()), || agent_there.post("/v1/actions", body()));
        let granted = answers.iter().filter(|answer| answer.is_ok() && text(&answer.ok(), "state") == "granted").count();
        assert_eq!(granted, 1, "{:?}", answers.map(|answer| answer.text()));
        assert_eq!(times(&ada_here, &request, "consumed"), 1);
    }

    assert!(list(&ada_there.get("/v1/oversight/requests?review=true").ok(), "requests").is_empty(), "no glass was broken");

    // Steps that both servers' clocks reach begin once.
    let document = json!({
        "requirement": { "at_least": { "count": 1, "of": ["role:approver"] } }, "separation": "agents",
        "steps": [{ "after_secs": 1 }, { "after_secs": 3600 }]
    });
    owner.put("/v1/oversight/policies/require_approval", json!({ "policy": document })).ok();
    let stepped: Vec<String> = (0..RACES).map(|n| asked(&agent_here, &format!("STEP-{n}"), 600).0).collect();
    for request in &stepped {
        let reached = ada_there.get(&at(request, "watch?seen=1&wait_secs=50")).ok();
        assert_eq!((text(&reached, "state"), &reached["step"]), ("pending", &json!(1)), "{reached}");
    }
    for request in &stepped {
        sink.event("oversight.escalated", request, TOLD_MAX);
    }

    // The server that was asked dies; the other lets the deadline pass, once.
    let late: Vec<String> = (0..RACES).map(|n| asked(&agent_here, &format!("LATE-{n}"), 3).0).collect();
    first.kill();
    for request in &late {
        until("its time is out", || text(&ada_there.get(&format!("/v1/oversight/requests/{request}")).ok(), "state") == "timed_out");
        assert_eq!(times(&ada_there, request, "timed_out"), 1);
    }
    assert!(stepped.iter().all(|request| times(&ada_there, request, "escalated") == 1), "no step began twice");
    second.caught_up();
    let report = second.owner().get("/v1/audit/verify").ok();
    assert!(report["report"]["size"].as_u64() > Some(0), "the log is whole: {report}");
}
