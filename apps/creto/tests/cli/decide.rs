//! Requests, decisions and doubts.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::house::House;

fn payment(amount: u32) -> Value {
    json!({
        "action": "tool.call_with_approval", "resource": "tool:pay", "arguments": { "amount": amount, "to": "bob" },
        "reason": "rent\u{1b}[2J\napproved by alice", "wait_secs": 0,
    })
}

#[test]
fn what_is_approved_is_exactly_what_was_shown() {
    let house = House::new();
    let server = house.serve();
    let token = house.agent_key("payer");
    let (status, asked) = server.ask(&token, "POST", "/v1/actions", Some(&payment(100)));
    assert_eq!((status, &asked["state"]), (200, &json!("pending")), "{asked}");
    let request = asked["request"].as_str().unwrap();
    let inbox = house.run(&["inbox"]).ok();
    for shown in [request, "tool:pay", "amount = 100", "to = bob", "alice → payer", r"rent\u{1b}[2J\napproved by alice"] {
        assert!(inbox.contains(shown), "{shown}: {inbox}");
    }
    let other = "0".repeat(64);
    house.run(&["approve", request, "--digest", &other]).refused("oversight.digest_mismatch");
    let approved = house.run(&["approve", request, "--comment", "fine"]);
    assert!(approved.err.contains("amount = 100"), "the action is shown: {approved:?}");
    approved.ok();
    assert_eq!(server.ask(&token, "POST", "/v1/actions", Some(&payment(100))).1["state"], "granted");
    assert_eq!(server.ask(&token, "POST", "/v1/actions", Some(&payment(101))).1["state"], "pending", "another amount is another action");
}

#[test]
fn the_agent_that_waits_is_told_why_it_was_denied() {
    let house = House::new();
    let server = house.serve();
    let token = house.agent_key("payer");
    let mut watcher = house.command(&["inbox", "--watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines();
    std::thread::scope(|scope| {
        let mut asking = payment(7);
        asking["wait_secs"] = json!(50);
        let (server, token) = (&server, &token);
        let waiting = scope.spawn(move || server.ask(token, "POST", "/v1/actions", Some(&asking)));
        let request: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let request = request["id"].as_str().unwrap();
        house.run(&["deny", request, "--comment", "not before Friday"]).ok();
        let (status, refused) = waiting.join().unwrap();
        assert_eq!((status, &refused["code"]), (403, &json!("gate.denied_by_human")), "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains("not before Friday"), "{refused}");
        house.run(&["approve", request]).refused("oversight.already_decided");
    });
    assert!(house.run(&["inbox"]).ok().contains("nothing waits"));
    watcher.kill().unwrap();
    watcher.wait().unwrap();
}

#[test]
fn an_unknown_request_is_refused_with_its_code() {
    let house = House::new();
    for command in ["approve", "deny"] {
        let refused = house.run(&[command, "req_01a20617308976dfa05c2afaa72eeb53"]).refused("oversight.unknown_request");
        assert!(refused.starts_with("creto: "), "{refused}");
    }
    house.run(&["approve", "../../keys"]).refused("oversight.unknown_request");
}

#[test]
fn a_watcher_sees_each_request_as_it_comes() {
    let house = House::new();
    let server = house.serve();
    let token = house.agent_key("payer");
    server.ask(&token, "POST", "/v1/actions", Some(&payment(1)));
    let mut watcher = house.command(&["inbox", "--watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines();
    let mut amount = || {
        let request: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let action: Value = serde_json::from_str(request["action"].as_str().unwrap()).unwrap();
        action["arguments"]["amount"].clone()
    };
    assert_eq!(amount(), 1, "what waits already is shown");
    server.ask(&token, "POST", "/v1/actions", Some(&payment(2)));
    assert_eq!(amount(), 2);
    rustix::process::kill_process(rustix::process::Pid::from_child(&watcher), Signal::INT).unwrap();
    assert_eq!(watcher.wait().unwrap().code(), Some(0));
}

#[test]
fn an_action_under_way_at_a_crash_is_in_doubt_until_a_human_says_what_came_of_it() {
    let house = House::new();
    let server = house.serve();
    let token = house.agent_key("payer");
    let (_, granted) = server.ask(&token, "POST", "/v1/actions", Some(&json!({ "action": "tool.call", "resource": "tool:pay" })));
    let admission = granted["admission"].as_str().unwrap_or_else(|| panic!("{granted}"));
    assert!(house.run(&["doubts"]).ok().contains("no action is in doubt"), "it is under way, not in doubt");
    server.stop(Signal::KILL);
    let _server = house.serve();
    let doubts = house.run(&["doubts"]).ok();
    assert!(doubts.contains(admission) && doubts.contains("tool:pay"), "{doubts}");
    assert!(house.run(&["audit", "verify"]).ok().contains(admission), "the log shows the doubt to an outsider");
    house.run(&["resolve", admission, "--did-not-happen"]).ok();
    assert!(house.run(&["doubts"]).ok().contains("no action is in doubt"));
    let again = house.run(&["resolve", admission, "--happened"]);
    assert_eq!(again.code, 125, "{again:?}");
}
