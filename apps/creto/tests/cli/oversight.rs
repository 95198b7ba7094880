//! `creto oversight`, invitations and webhooks.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::house::{House, Ran, Serving};

fn payment(amount: u32) -> Value {
    json!({ "action": "tool.call_with_approval", "resource": "tool:pay", "arguments": { "amount": amount }, "wait_secs": 0 })
}

fn asked(server: &Serving, token: &str, amount: u32) -> String {
    let (status, asked) = server.ask(token, "POST", "/v1/actions", Some(&payment(amount)));
    assert_eq!((status, &asked["state"]), (200, &json!("pending")), "{asked}");
    asked["request"].as_str().unwrap().to_owned()
}

/// A command where the agent works: with a key, and no data directory.
fn as_agent(house: &House, server: &Serving, token: &str, args: &[&str]) -> Command {
    let mut command = house.command(args);
    command.env("CRETO_URL", &server.url).env("CRETO_TOKEN", token).env("CRETO_DATA", house.path("none"));
    command
}

#[test]
fn requests_are_listed_by_state_and_shown_with_what_happened_to_them() {
    let house = House::new();
    let server = house.serve();
    let token = house.agent_key("payer");
    assert!(house.run(&["oversight", "list"]).ok().contains("there is no such request"));
    let (first, second) = (asked(&server, &token, 1), asked(&server, &token, 2));
    house.run(&["deny", &first, "--comment", "not today"]).ok();
    let pending = house.run(&["oversight", "list", "--state", "pending"]).ok();
    assert!(
        pending.contains(&second) && !pending.contains(&first) && pending.contains("tool:pay") && pending.contains("payer"),
        "{pending}"
    );
    let newest = house.run(&["oversight", "list", "--limit", "1"]).ok();
    assert!(newest.contains(&second) && newest.contains(&format!("--before {second}")), "{newest}");
    assert!(house.run(&["oversight", "list", "--before", &second]).ok().contains(&first));
    house.run(&["oversight", "list", "--state", "asleep"]).refused("http.bad_address");
    let review = house.run(&["oversight", "list", "--review"]).ok();
    assert!(review.contains("there is no such request"), "no glass was broken: {review}");

    let shown = house.run(&["oversight", "show", &first]).ok();
    for part in [&first, "amount = 1", "not today", "opened by payer", "voted by alice", "rejected by alice"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let whole = house.run(&["oversight", "show", &first, "--json"]).json();
    assert_eq!((&whole["request"]["state"], whole["history"].as_array().unwrap().len()), (&json!("denied"), 3), "{whole}");
    house.run(&["oversight", "show", "req_1"]).refused("oversight.unknown_request");
}

#[test]
fn standing_grants_are_listed_and_taken_back() {
    let house = House::new();
    let server = house.serve();
    let token = house.agent_key("payer");
    assert!(house.run(&["oversight", "grants"]).ok().contains("nothing is granted"));
    let request = asked(&server, &token, 1);
    let approver = house.run(&["key", "create", "--role", "approver", "--name", "eve", "--json"]).json();
    let eve = approver["token"].as_str().unwrap();
    let digest = server.ask(eve, "GET", &format!("/v1/oversight/requests/{request}"), None).1["digest"].clone();
    server.ask(eve, "POST", &format!("/v1/oversight/requests/{request}/approve"), Some(&json!({ "digest": digest })));
    let new = json!({ "request": request, "uses_max": 5, "secs": 600 });
    let (status, grant) = server.ask(eve, "POST", "/v1/oversight/grants", Some(&new));
    assert_eq!(status, 200, "{grant}");
    let id = grant["id"].as_str().unwrap();
    let listed = house.run(&["oversight", "grants"]).ok();
    assert!(listed.contains(id) && listed.contains("0 of 5") && listed.contains("eve"), "{listed}");
    house.run(&["oversight", "grants", "--revoke", id]).ok();
    assert!(house.run(&["oversight", "grants"]).ok().contains("taken back"));
    house.run(&["oversight", "grants", "--revoke", id]).refused("oversight.unknown");
}

#[test]
fn an_agent_asks_a_human_from_the_command_line_and_prints_the_answer() {
    let house = House::new();
    let server = house.serve();
    let token = house.agent_key("clerk");
    let eve = house.run(&["key", "create", "--role", "approver", "--name", "eve", "--json"]).json();
    let eve = eve["token"].as_str().unwrap();
    let args = ["oversight", "ask", "which account?", "--option", "DE", "--option", "FR", "--call", "run-1", "call-1"];
    let waiting = as_agent(&house, &server, &token, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let question = loop {
        let (_, page) = server.ask(eve, "GET", "/v1/oversight/inbox", None);
        if let Some(first) = page["requests"].as_array().and_then(|all| all.first()) {
            break first["id"].as_str().unwrap().to_owned();
        }
        thread::yield_now();
    };
    let at = format!("/v1/oversight/requests/{question}/answer");
    let (status, _) = server.ask(eve, "POST", &at, Some(&json!({ "text": "the first\u{1b}[2J", "option": "DE" })));
    assert_eq!(status, 200);
    assert_eq!(Ran::of(&waiting.wait_with_output().unwrap()).ok(), "the first\\u{1b}[2J\n");
    // The same call is the same question: it was answered.
    assert!(Ran::of(&as_agent(&house, &server, &token, &args).output().unwrap()).ok().contains("the first"));
    let nobody = as_agent(&house, &server, &token, &["oversight", "ask", "and now?", "--timeout", "1s"]).output().unwrap();
    let nobody = Ran::of(&nobody);
    assert!(nobody.code == 1 && nobody.out.contains("nobody answered: the question is timed out"), "{nobody:?}");
    Ran::of(&as_agent(&house, &server, eve, &["oversight", "ask", "me?"]).output().unwrap()).refused("http.forbidden");
}

#[test]
fn a_receipt_made_in_an_installation_for_tests_says_so_and_no_test_is_begun_in_a_live_one() {
    let house = House::new();
    let mut child = house.command(&["serve", "--listen", "127.0.0.1:0", "--test-mode"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready on http://"), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
    // It stays one, also where nobody says so again.
    let server = house.serve();
    let token = house.agent_key("payer");
    let request = asked(&server, &token, 7);
    assert!(house.run(&["inbox"]).ok().contains("binds nobody"));
    house.run(&["approve", &request]).ok();
    let receipt = house.file("receipt.json", &house.run(&["oversight", "receipt", &request]).ok());
    let keys = house.file("keys.json", &server.ask(&token, "GET", "/v1/audit/keys", None).1.to_string());
    let said = house.run(&["oversight", "verify", &receipt, "--trust", &keys]).ok();
    assert!(said.contains("MADE IN A TEST: it binds nobody"), "{said}");
    // Whoever takes the word out proves nothing with what is left.
    let live = std::fs::read_to_string(&receipt).unwrap().replace(r#""test":true"#, r#""test":false"#);
    let forged = house.run(&["oversight", "verify", &house.file("forged.json", &live), "--trust", &keys]);
    assert!(forged.code == 1 && forged.out.contains("oversight.bad_receipt"), "{forged:?}");

    let earnest = House::new();
    earnest.serve().stop(Signal::TERM);
    earnest.run(&["serve", "--listen", "127.0.0.1:0", "--test-mode"]).refused("oversight.live");
    let server = earnest.serve();
    let token = earnest.agent_key("payer");
    let request = asked(&server, &token, 7);
    earnest.run(&["approve", &request]).ok();
    let receipt = earnest.file("receipt.json", &earnest.run(&["oversight", "receipt", &request]).ok());
    let keys = earnest.file("keys.json", &server.ask(&token, "GET", "/v1/audit/keys", None).1.to_string());
    let said = earnest.run(&["oversight", "verify", &receipt, "--trust", &keys]).ok();
    assert!(!said.contains("TEST"), "{said}");
}

#[test]
fn an_invitation_is_printed_once_and_lets_its_holder_back_in() {
    let house = House::new();
    let server = house.serve();
    let mut create = house.command(&["account", "create", "--name", "lost"]);
    Ran::of(&create.env("CRETO_PASSWORD", "correct horse battery staple").output().unwrap()).ok();
    house.run(&["account", "invite", "nobody"]).refused("nhi.identity_unknown");
    let first = house.run(&["account", "invite", "lost"]).ok();
    let second = house.run(&["account", "invite", "lost"]).ok();
    let token = |url: &str| url.trim().rsplit_once("/#/invite/").unwrap_or_else(|| panic!("{url}")).1.to_owned();
    let redeem =
        |token: String| server.ask("", "POST", "/v1/invites", Some(&json!({ "token": token, "password": "another horse battery staple" })));
    assert_eq!(redeem(token(&first)).1["code"], "nhi.invite_unknown", "the newest is the only one");
    assert_eq!(redeem(token(&second)).0, 200);
    assert_eq!(redeem(token(&second)).1["code"], "nhi.invite_unknown", "once");
}

/// A receiver that answers each request with this status and gives its body.
fn receiver(status: u16) -> (u16, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        head + &String::from_utf8(body).unwrap()
    });
    (port, received)
}

#[test]
fn webhooks_are_added_tested_rotated_listed_and_removed() {
    let house = House::new();
    let (port, received) = receiver(204);
    std::fs::create_dir_all(house.data()).unwrap();
    std::fs::write(house.data().join("config.toml"), format!("outbound_allow = [\"127.0.0.1:{port}\"]\n")).unwrap();
    let _server = house.serve();
    assert!(house.run(&["webhooks", "list"]).ok().contains("nobody is told"));
    house.run(&["webhooks", "add", "http://127.0.0.1:1/inside"]).refused("outbound.forbidden");
    let added = house.run(&["webhooks", "add", &format!("http://127.0.0.1:{port}/hook"), "--event", "oversight."]);
    let secret = added.out.trim().to_owned();
    assert!(secret.starts_with("whsec_") && added.err.contains("not shown again"), "{added:?}");
    added.ok();
    let listed = house.run(&["webhooks", "list"]).ok();
    assert!(listed.contains("oversight.") && listed.contains(&format!("127.0.0.1:{port}/hook")) && !listed.contains(&secret), "{listed}");
    let id = house.run(&["webhooks", "list", "--json"]).json()["webhooks"][0]["id"].as_str().unwrap().to_owned();
    let rotated = house.run(&["webhooks", "rotate", &id, "--overlap", "1h"]).ok();
    assert!(rotated.starts_with("whsec_") && rotated.trim() != secret, "{rotated}");
    house.run(&["webhooks", "rotate", &id, "--overlap", "soon"]).refused("app.usage");
    let sent = house.run(&["webhooks", "test", &id]).ok();
    let got = received.join().unwrap().to_ascii_lowercase();
    // While both secrets hold, both have signed.
    assert!(got.contains("webhook-id:") && got.matches("v1,").count() == 2, "{got}");
    let message = sent.split('`').nth(1).unwrap().to_owned();
    loop {
        let deliveries = house.run(&["webhooks", "deliveries", &id]).ok();
        assert!(deliveries.contains(&message), "{deliveries}");
        if deliveries.contains("delivered") {
            break;
        }
    }
    house.run(&["webhooks", "replay", &id, "msg_none"]).refused("webhook.unknown_endpoint");
    house.run(&["webhooks", "remove", &id]).ok();
    assert!(house.run(&["webhooks", "list"]).ok().contains("nobody is told"));
    house.run(&["webhooks", "remove", &id]).refused("webhook.unknown_endpoint");
}
