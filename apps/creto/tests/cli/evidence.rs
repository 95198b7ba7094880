//! Evidence bundles: what an outsider can check of many decisions, and what nobody can change or leave out.

use std::path::Path;

use creto_audit::TrustedKeys;
use creto_db::{Db, params};
use creto_oversight::bundle::{Total, Verifier};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::house::{House, Ran, Serving};

/// An installation with something decided in it, and the keys an outsider kept.
struct Cast {
    house: House,
    server: Serving,
    payer: String,
    approver: String,
    keys: String,
}

impl Cast {
    fn new() -> Self {
        let house = House::new();
        let server = house.serve();
        let payer = house.agent_key("payer");
        let made = house.run(&["key", "create", "--role", "approver", "--name", "eve", "--json"]).json();
        let approver = made["token"].as_str().unwrap().to_owned();
        let keys = house.file("keys.json", &server.ask(&payer, "GET", "/v1/audit/keys", None).1.to_string());
        Self { house, server, payer, approver, keys }
    }

    fn asked_by(&self, token: &str, amount: u32) -> String {
        let body =
            json!({ "action": "tool.call_with_approval", "resource": "tool:pay", "arguments": { "amount": amount }, "wait_secs": 0 });
        let (status, asked) = self.server.ask(token, "POST", "/v1/actions", Some(&body));
        assert_eq!((status, &asked["state"]), (200, &json!("pending")), "{asked}");
        asked["request"].as_str().unwrap().to_owned()
    }

    fn asked(&self, amount: u32) -> String {
        self.asked_by(&self.payer, amount)
    }

    fn export(&self, more: &[&str]) -> Ran {
        let file = self.bundle();
        self.house.run(&[&["oversight", "export", "--bundle", &file], more].concat())
    }

    fn bundle(&self) -> String {
        self.house.path("evidence.jsonl").display().to_string()
    }

    fn verify(&self, file: &str) -> Ran {
        self.house.run(&["oversight", "verify", file, "--trust", &self.keys])
    }

    fn shown(&self, request: &str) -> Value {
        self.server.ask(&self.approver, "GET", &format!("/v1/oversight/requests/{request}"), None).1
    }

    fn rule(&self, request: &str) -> String {
        self.shown(request)["rule"].as_str().unwrap().to_owned()
    }

    /// What a bundle that verifies tells of each request.
    fn proven(&self) -> Value {
        let answer = self.house.run(&["oversight", "verify", &self.bundle(), "--trust", &self.keys, "--json"]).json();
        assert_eq!(answer["ok"], true);
        answer["bundle"].clone()
    }
}

fn trusted(file: &str) -> TrustedKeys {
    TrustedKeys::from_json(&std::fs::read(file).unwrap()).unwrap()
}

/// As `creto oversight verify` reads a bundle.
fn judged(trusted: &TrustedKeys, bytes: &[u8]) -> Result<Total, String> {
    let mut verifier = Verifier::new(trusted.clone());
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n');
    for line in lines {
        verifier.line(line).map_err(|e| e.to_string())?;
    }
    verifier.finish().map_err(|e| e.to_string())
}

#[test]
fn a_bundle_proves_each_decision_offline_under_its_policy_and_lists_what_has_none() {
    let cast = Cast::new();
    let policy =
        json!({ "requirement": { "at_least": { "count": 1, "of": ["role:approver"] } }, "approved_secs": 7200, "separation": "agents" });
    let document = cast.house.file("policy.json", &policy.to_string());
    let before = cast.asked(1);
    cast.house.run(&["approve", &before]).ok();
    let rule = cast.rule(&before);
    let published = cast.house.run(&["oversight", "policy", &rule, &document]);
    assert!(published.code == 0, "{published:?}");
    let (approved, denied, open, withdrawn) = (cast.asked(2), cast.asked(3), cast.asked(4), cast.asked(5));
    cast.house.run(&["approve", &approved, "--comment", "fine"]).ok();
    cast.house.run(&["deny", &denied, "--comment", "too much"]).ok();
    let cancel = format!("/v1/oversight/requests/{withdrawn}/cancel");
    assert_eq!(cast.server.ask(&cast.payer, "POST", &cancel, Some(&json!({}))).0, 200);
    let batch = [cast.asked(6), cast.asked(7)];
    let items: Vec<Value> = batch.iter().map(|id| json!({ "request": id, "digest": cast.shown(id)["digest"], "revision": 1 })).collect();
    let (status, answer) =
        cast.server.ask(&cast.approver, "POST", "/v1/oversight/batch", Some(&json!({ "choice": "approve", "requests": items })));
    assert_eq!(status, 200, "{answer}");

    let said = cast.export(&[]).ok();
    assert!(said.contains("holds 7 requests"), "{said}");
    let said = cast.verify(&cast.bundle()).ok();
    let line = |id: &str| said.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{id}: {said}"));
    assert!(line(&approved).contains("approved revision 1") && line(&approved).contains("alice by"), "{said}");
    assert!(line(&denied).contains("denied revision 1") && line(&open).contains("not decided in this time"), "{said}");
    assert!(line(&withdrawn).contains("cancelled, without a decision"), "{said}");
    assert!(batch.iter().all(|id| line(id).contains("eve by api_key")), "{said}");
    assert!(said.contains("5 decisions proven, 0 erased, 2 without a decision; none is missing"), "{said}");

    // What was decided before the document was published was decided by another one, and both are there.
    let proven = cast.proven();
    let under = |id: &str| {
        let found = proven["requests"].as_array().unwrap().iter().find(|item| item["request"] == json!(id)).unwrap();
        found["decision"]["policy"].clone()
    };
    assert_ne!(under(&before), under(&approved));
    let text = std::fs::read_to_string(cast.bundle()).unwrap();
    let policies: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).filter(|line: &Value| line["kind"] == "policy").collect();
    assert_eq!(policies.len(), 2);
    assert!(policies.iter().any(|line| line["documents"][0]["policy"]["approved_secs"] == 7200), "{policies:?}");
    assert!(policies.iter().any(|line| line["documents"][0].get("version").is_none()), "{policies:?}");
}

#[test]
fn no_byte_of_a_bundle_can_be_changed_and_no_line_left_out_moved_or_doubled() {
    let cast = Cast::new();
    let first = cast.asked(1);
    cast.house.run(&["deny", &first]).ok();
    let since = creto_kernel::Clock::now(&creto_kernel::SystemClock).to_string();
    let second = cast.asked(2);
    cast.house.run(&["approve", &second]).ok();
    cast.export(&["--since", &since]).ok();
    let bytes = std::fs::read(cast.bundle()).unwrap();
    let keys = trusted(&cast.keys);
    assert_eq!(judged(&keys, &bytes).unwrap().requests.len(), 1);
    for at in 0..bytes.len() - 1 {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 7);
        assert!(judged(&keys, &changed).is_err(), "byte {at}: {}", String::from_utf8_lossy(&bytes[at.saturating_sub(40)..at + 1]));
    }
    let lines: Vec<&[u8]> = bytes.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
    let kinds: Vec<String> =
        lines.iter().map(|line| serde_json::from_slice::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned()).collect();
    for kind in ["seal", "bundle", "keys", "entry", "policy", "receipt", "proof", "aside", "manifest"] {
        assert!(kinds.iter().any(|there| there == kind), "{kinds:?}");
    }
    for at in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(at);
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        let mut moved = lines.clone();
        moved.swap(at, (at + 1) % lines.len());
        for changed in [without, doubled, moved] {
            // Two asides may stand either way: they prove themselves, and say nothing by their order.
            let same = changed.len() == lines.len() && kinds[at] == "aside" && kinds[(at + 1) % lines.len()] == "aside";
            assert!(judged(&keys, &changed.join(&b'\n')).is_err() || same, "line {at}, {}", kinds[at]);
        }
    }

    // The same through the binary, for one byte of each line.
    let mut start = 0;
    for (line, kind) in lines.iter().zip(&kinds) {
        let mut changed = bytes.clone();
        changed[start + line.len() / 2] ^= 1;
        start += line.len() + 1;
        let file = cast.house.path("changed.jsonl");
        std::fs::write(&file, &changed).unwrap();
        let refused = cast.house.run(&["oversight", "verify", file.to_str().unwrap(), "--trust", &cast.keys, "--json"]);
        assert_eq!(refused.code, 1, "{kind}");
        let said: Value = serde_json::from_str(&refused.out).unwrap();
        assert_eq!((&said["ok"], &said["code"]), (&json!(false), &json!("oversight.bad_bundle")), "{kind}: {said}");
    }
    let cut = cast.house.file("cut.jsonl", std::str::from_utf8(&lines[..lines.len() - 1].join(&b'\n')).unwrap());
    assert!(cast.verify(&cut).out.contains("cut off"));
    // Another installation's keys signed nothing of it.
    let other = Cast::new();
    let refused = other.verify(&cast.bundle());
    assert!(refused.code == 1 && refused.out.contains("oversight.bad_bundle"), "{refused:?}");
}

#[test]
fn a_decision_that_an_installation_keeps_to_itself_is_seen_to_be_missing() {
    let Cast { house, server, keys, payer, approver } = Cast::new();
    let cast = Cast { house, server, keys, payer, approver };
    let (kept, hidden) = (cast.asked(1), cast.asked(2));
    cast.house.run(&["approve", &kept]).ok();
    cast.house.run(&["approve", &hidden]).ok();
    let Cast { house, server, keys, payer, approver } = cast;
    server.stop(Signal::TERM);
    without_events(&house.data().join("creto.db"), &hidden);
    let server = house.serve();
    let cast = Cast { house, server, keys, payer, approver };
    cast.export(&[]).ok();
    let refused = cast.verify(&cast.bundle());
    assert_eq!(refused.code, 1);
    assert!(refused.out.contains(&format!("the decision of {hidden}")) && refused.out.contains("is left out"), "{refused:?}");
}

/// Takes what happened to a request out of the database, as somebody might who does not want it seen.
fn without_events(db: &Path, request: &str) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let db = Db::open_sqlite(db, &[]).unwrap();
        let sql = "DELETE FROM oversight_event WHERE request = $1 RETURNING seq";
        assert!(!db.upkeep(sql, params![request]).await.unwrap().is_empty());
    });
}

#[test]
fn what_was_erased_is_named_with_the_entry_that_says_so_and_a_legal_hold_is_shown() {
    let cast = Cast::new();
    let (erased, held) = (cast.asked(1), cast.asked(2));
    cast.house.run(&["deny", &erased, "--comment", "private"]).ok();
    cast.house.run(&["deny", &held, "--comment", "disputed"]).ok();
    let operator = cast.house.run(&["key", "create", "--role", "operator", "--name", "olga", "--json"]).json();
    let operator = operator["token"].as_str().unwrap();
    let hold = format!("/v1/oversight/requests/{held}/hold");
    assert_eq!(cast.server.ask(operator, "PUT", &hold, Some(&json!({ "reason": "a dispute" }))).0, 200);
    let until = creto_kernel::Clock::now(&creto_kernel::SystemClock).to_string();
    let (status, answer) = cast.server.ask(operator, "POST", "/v1/privacy/erase", Some(&json!({ "everybody": true })));
    assert_eq!((status, &answer["requests"]), (200, &json!(1)), "{answer}");
    // The erasure stands outside the first range and inside the second.
    for range in [vec!["--until", until.as_str()], vec![]] {
        cast.export(&range).ok();
        let said = cast.verify(&cast.bundle()).ok();
        let line = |id: &str| said.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{id}: {said}"));
        assert!(line(&erased).contains("its words were erased (entry "), "{said}");
        assert!(line(&held).contains("denied") && line(&held).contains("a legal hold keeps it"), "{said}");
        assert!(said.contains("1 decisions proven, 1 erased"), "{said}");
        assert!(!std::fs::read_to_string(cast.bundle()).unwrap().contains("private"));
    }
}

#[test]
fn a_bundle_holds_what_was_asked_for_and_keys_from_before_a_rotation_still_verify_it() {
    let cast = Cast::new();
    let clerk = cast.house.agent_key("clerk");
    let (own, other) = (cast.asked(1), cast.asked_by(&clerk, 2));
    cast.house.run(&["approve", &own]).ok();
    let rule = cast.rule(&own);
    let between = creto_kernel::Clock::now(&creto_kernel::SystemClock).to_string();
    cast.house.run(&["approve", &other]).ok();
    let ids = |cast: &Cast| -> Vec<String> {
        let listed = cast.proven()["requests"].as_array().unwrap().clone();
        listed.iter().map(|item| item["request"].as_str().unwrap().to_owned()).collect()
    };
    cast.export(&["--agent", "payer"]).ok();
    assert_eq!(ids(&cast), std::slice::from_ref(&own));
    let text = std::fs::read_to_string(cast.bundle()).unwrap();
    assert_eq!(text.matches(r#""kind":"receipt""#).count(), 1);
    cast.export(&["--since", &between]).ok();
    assert_eq!(ids(&cast), std::slice::from_ref(&other));
    cast.export(&["--until", &between, "--rule", &rule]).ok();
    assert_eq!(ids(&cast), [own.clone(), other.clone()], "the other was opened by then");
    cast.export(&["--rule", "another"]).ok();
    assert!(ids(&cast).is_empty());
    let question = json!({ "question": "which account?", "run_id": "run-1", "call_id": "call-1", "wait_secs": 0 });
    let (status, asked) = cast.server.ask(&cast.payer, "POST", "/v1/oversight/questions", Some(&question));
    assert_eq!(status, 200, "{asked}");
    cast.export(&["--run", "run-1"]).ok();
    assert_eq!(ids(&cast), [asked["request"].as_str().unwrap()]);

    cast.house.run(&["audit", "rotate"]).ok();
    cast.export(&[]).ok();
    assert_eq!(ids(&cast)[..2], [own, other]);

    let before = std::fs::read(cast.bundle()).unwrap();
    cast.export(&["--since", "2999-01-01T00:00:00Z"]).refused("oversight.bad_input");
    cast.export(&["--agent", "payor"]).refused("nhi.identity_unknown");
    cast.export(&["--since", "yesterday"]).refused("http.bad_body");
    assert_eq!(std::fs::read(cast.bundle()).unwrap(), before, "what failed leaves what was there");
    let taken = cast.house.path("taken");
    std::fs::create_dir(&taken).unwrap();
    cast.house.run(&["oversight", "export", "--bundle", taken.to_str().unwrap()]).refused("app.usage");
    assert_eq!(cast.house.parts(), 0, "what could not be given its name is gone");
    // An export is itself on record, and only operators make one.
    let (_, log) = cast.server.ask(&cast.payer, "GET", "/v1/audit/entries?limit=200", None);
    assert!(log.to_string().contains("oversight.export"), "{log}");
    let (status, refused) = cast.server.ask(&cast.approver, "POST", "/v1/oversight/export/bundle", Some(&json!({})));
    assert_eq!((status, &refused["code"]), (403, &json!("http.forbidden")), "{refused}");
}
