//! How many say no until it is one, and decisions made several at a time, through the real binary.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::oversight::{keys, verified};
use crate::support::{Answer, Cast, Client, Home, Options, Server, list, make_key, text, until};

/// How long a request waits whose deadline is awaited, in seconds: long enough for two to say no before.
const SOON_SECS: u64 = 8;
/// Most decisions of one batch.
const BATCH_MAX: usize = 50;

fn payment(invoice: &str, timeout_secs: u64) -> Value {
    json!({
        "action": "tool.call_with_approval", "resource": "tool:pay_invoice", "arguments": { "invoice": invoice }, "wait_secs": 0,
        "timeout_secs": timeout_secs, "accepts_edits": true
    })
}

/// A request, and the digest a human is asked about.
fn pending(agent: &Client, invoice: &str, timeout_secs: u64) -> (String, String) {
    let asked = agent.post("/v1/actions", payment(invoice, timeout_secs)).ok();
    assert_eq!(text(&asked, "state"), "pending", "{asked}");
    (text(&asked, "request").to_owned(), text(&asked, "digest").to_owned())
}

fn at(request: &str, what: &str) -> String {
    format!("/v1/oversight/requests/{request}/{what}")
}

fn approver(server: &Server, name: &str) -> Client {
    server.bearer(text(&make_key(&server.owner(), json!({ "role": "approver", "name": name })), "token"))
}

fn publish(server: &Server, document: Value) {
    server.owner().put("/v1/oversight/policies/require_approval", json!({ "policy": document })).ok();
}

fn events(approver: &Client, request: &str) -> Vec<String> {
    let history = approver.get(&at(request, "history")).ok();
    list(&history, "events").iter().map(|event| text(&event["event"], "type").to_owned()).collect()
}

/// The requests with all that happened to them, and the log's size.
fn standing(owner: &Client, requests: &[&str]) -> Value {
    let histories: Vec<Value> = requests.iter().map(|request| owner.get(&at(request, "history")).ok()).collect();
    let log = owner.get("/v1/audit/entries?limit=1").ok();
    json!({ "log": log["size"], "requests": owner.get("/v1/oversight/requests").ok(), "histories": histories })
}

#[test]
fn one_no_of_the_two_that_end_a_request_leaves_it_open_and_after_the_second_nothing_changes() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let (bob, carol) = (approver(&server, "bob"), approver(&server, "carol"));
    let document =
        json!({ "requirement": { "at_least": { "count": 2, "of": ["role:approver"] } }, "deny_threshold": 2, "separation": "agents" });
    publish(&server, document);

    // One says no, by one way and by the other: one human, one no.
    let (request, digest) = pending(&cast.agent, "INV-1", SOON_SECS);
    let yes = json!({ "choice": "approve", "digest": digest, "revision": 1 });
    let no = json!({ "choice": "deny", "revision": 1, "comment": "not this one" });
    let first = cast.approver.post(&at(&request, "vote"), no.clone()).ok();
    assert_eq!((text(&first, "state"), &first["deny_threshold"], list(&first, "votes").len()), ("pending", &json!(2), 1), "{first}");
    assert_eq!(text(&cast.approver.post(&at(&request, "deny"), json!({ "comment": "really not" })).ok(), "state"), "pending");
    cast.approver.post(&at(&request, "vote"), yes.clone()).refused(409, "oversight.already_voted");
    let batch = json!({ "choice": "deny", "requests": [{ "request": request, "digest": digest, "revision": 1 }] });
    assert_eq!(text(&cast.approver.post("/v1/oversight/batch", batch.clone()).ok()["requests"][0], "state"), "pending");
    assert_eq!(events(&bob, &request), ["opened", "voted"]);
    assert_eq!(pending(&cast.agent, "INV-1", SOON_SECS), (request.clone(), digest), "its agent is told of no decision");

    // The second ends it.
    let second = bob.post(&at(&request, "vote"), no.clone()).ok();
    assert_eq!((text(&second, "state"), &second["due_at"]), ("denied", &Value::Null), "{second}");
    assert_eq!(events(&bob, &request), ["opened", "voted", "voted", "rejected"]);
    let before = standing(&owner, &[&request]);
    let over = |answer: Answer| answer.refused(409, "oversight.already_decided");
    for voter in [&cast.approver, &bob, &carol] {
        over(voter.post(&at(&request, "vote"), yes.clone()));
        over(voter.post(&at(&request, "vote"), no.clone()));
        over(voter.post("/v1/oversight/batch", batch.clone()));
        over(voter.post(&at(&request, "edit"), json!({ "revision": 1, "arguments": { "invoice": "INV-2" } })));
        over(voter.post(&at(&request, "acknowledge"), json!({})));
    }
    over(cast.agent.post(&at(&request, "cancel"), json!({})));
    over(cast.operator.post(&at(&request, "escalate"), json!({})));
    over(cast.operator.post(&at(&request, "reassign"), json!({ "to": ["role:approver"] })));
    // Nor does its deadline, which a request that was asked later shows to be past.
    let (later, _) = pending(&cast.agent, "INV-3", SOON_SECS);
    let ended = carol.get(&at(&later, "watch?seen=1&wait_secs=50")).ok();
    assert_eq!(text(&ended, "state"), "timed_out", "{ended}");
    assert!(text(&ended, "deadline") > text(&second, "deadline"));
    let after = standing(&owner, &[&request]);
    assert_eq!(after["histories"], before["histories"]);
    assert_eq!(bob.get(&format!("/v1/oversight/requests/{request}")).ok(), second);
    cast.agent.post("/v1/actions", payment("INV-1", SOON_SECS)).refused(403, "gate.denied_by_human");

    // A no that is one of two outweighs nothing: those who are asked still agree.
    let (request, digest) = pending(&cast.agent, "INV-4", 600);
    let yes = json!({ "choice": "approve", "digest": digest, "revision": 1 });
    assert_eq!(text(&cast.approver.post(&at(&request, "vote"), no).ok(), "state"), "pending");
    assert_eq!(text(&bob.post(&at(&request, "vote"), yes.clone()).ok(), "state"), "pending");
    assert_eq!(text(&carol.post(&at(&request, "vote"), yes).ok(), "state"), "approved");
    assert_eq!(text(&cast.agent.post("/v1/actions", payment("INV-4", 600)).ok(), "state"), "granted");
}

/// What an agent of another tenant waits for, in the same database.
fn request_of_another_tenant(home: &Home) -> (String, String) {
    let server = home.serve(&Options { tenant: Some("other"), ..Options::default() });
    let asked = pending(&Cast::of(&server, &server.owner()).agent, "INV-1", 600);
    server.stop();
    asked
}

#[test]
fn a_batch_with_one_item_that_is_refused_says_why_and_decides_nothing_of_it() {
    let home = Home::new();
    let foreign = request_of_another_tenant(&home);
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let ask = |invoice: &str| pending(&cast.agent, invoice, 600);
    let good: Vec<(String, String)> = (0..3).map(|number| ask(&format!("INV-{number}"))).collect();

    // What each of these waits for, the voter cannot give, or not like this.
    let edited = ask("edited");
    let change = json!({ "revision": 1, "arguments": { "invoice": "changed" } });
    let changed = approver(&server, "carol").post(&at(&edited.0, "edit"), change).ok();
    let decided = ask("decided");
    cast.approver.post(&at(&decided.0, "approve"), json!({ "digest": decided.1 })).ok();
    publish(&server, json!({ "requirement": { "at_least": { "count": 1, "of": ["group:finance"] } }, "separation": "agents" }));
    owner.put("/v1/oversight/groups/finance", json!({ "members": ["spiffe://creto.local/tenant/default/human/bob"] })).ok();
    let of_others = ask("of others");
    publish(&server, json!({ "requirement": { "at_least": { "count": 1, "of": ["role:approver"] } }, "risk": "high" }));
    let high = ask("high");

    let item = |of: &(String, String), revision: u32| json!({ "request": of.0, "digest": of.1, "revision": revision });
    let other_digest = |of: &(String, String), digest: &str| json!({ "request": of.0, "digest": digest, "revision": 1 });
    let extra = ask("extra");
    let bad = [
        ("another request's digest", other_digest(&good[2], &good[1].1), 409, "oversight.digest_mismatch"),
        ("a digest of nothing", other_digest(&good[2], &"00".repeat(32)), 409, "oversight.digest_mismatch"),
        ("a revision to come", item(&good[2], 2), 409, "oversight.wrong_revision"),
        ("the digest before an edit", item(&edited, 1), 409, "oversight.digest_mismatch"),
        (
            "the revision before an edit",
            json!({ "request": edited.0, "digest": changed["digest"], "revision": 1 }),
            409,
            "oversight.wrong_revision",
        ),
        ("what others decide", item(&of_others, 1), 403, "oversight.not_eligible"),
        ("another tenant's request", item(&foreign, 1), 404, "oversight.unknown_request"),
        (
            "what nobody asked",
            other_digest(&("req_01a2060ae855752e8d1500f9ba0210fd".to_owned(), String::new()), &good[1].1),
            404,
            "oversight.unknown_request",
        ),
        ("what was decided", item(&decided, 1), 409, "oversight.already_decided"),
        ("what is decided alone", item(&high, 1), 422, "oversight.not_in_batch"),
        ("the same request again", item(&good[0], 1), 422, "oversight.not_in_batch"),
        ("no revision", json!({ "request": good[2].0, "digest": good[2].1 }), 422, "http.bad_body"),
        ("no digest", json!({ "request": good[2].0, "revision": 1 }), 422, "http.bad_body"),
    ];
    let all: Vec<&str> = [&edited, &decided, &of_others, &high, &extra].into_iter().chain(&good).map(|of| of.0.as_str()).collect();
    let before = standing(&owner, &all);
    for (what, refused, status, code) in &bad {
        // First, between others, and last.
        for place in 0..3 {
            for choice in ["approve", "deny"] {
                let mut items = vec![item(&good[0], 1), item(&good[1], 1)];
                items.insert(place, refused.clone());
                let answer = cast.approver.post("/v1/oversight/batch", json!({ "choice": choice, "requests": items }));
                assert_eq!((answer.status, answer.code().as_str()), (*status, *code), "{what} at {place}, {choice}: {}", answer.text());
                answer.refused(*status, code);
            }
        }
        assert_eq!(standing(&owner, &all), before, "{what}: nothing changed");
    }
    let many: Vec<Value> = (0..=BATCH_MAX).map(|_| item(&good[0], 1)).collect();
    for items in [json!([]), json!(many)] {
        cast.approver.post("/v1/oversight/batch", json!({ "choice": "deny", "requests": items })).refused(422, "oversight.not_in_batch");
    }
    let batch = json!({ "choice": "approve", "requests": [item(&good[0], 1)] });
    for other in [&cast.agent, &cast.operator] {
        other.post("/v1/oversight/batch", batch.clone()).refused(403, "http.forbidden");
    }
    assert_eq!(standing(&owner, &all), before);
}

#[test]
fn a_batch_is_one_leaf_that_commits_to_every_digest_and_each_of_its_receipts_verifies() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let trusted = keys(&server, home.data().parent().unwrap(), "keys.json");
    let asked: Vec<(String, String)> = (0..BATCH_MAX).map(|number| pending(&cast.agent, &format!("INV-{number}"), 600)).collect();
    let items: Vec<Value> = asked.iter().map(|(request, digest)| json!({ "request": request, "digest": digest, "revision": 1 })).collect();
    let size = |owner: &Client| owner.get("/v1/audit/entries?limit=1").ok()["size"].as_u64().unwrap();
    server.caught_up();
    let before = size(&owner);
    let batch = json!({ "choice": "approve", "requests": items, "comment": "the month's invoices" });
    let decided = cast.approver.post("/v1/oversight/batch", batch).ok();
    let states: BTreeSet<&str> = list(&decided, "requests").iter().map(|request| text(request, "state")).collect();
    assert_eq!((list(&decided, "requests").len(), states), (BATCH_MAX, BTreeSet::from(["approved"])));

    until("its leaf is in the log", || size(&owner) > before);
    let page = owner.get(&format!("/v1/audit/entries?from={before}")).ok();
    let [entry] = list(&page, "entries") else { panic!("one commit, one leaf: {page}") };
    let leaf = &entry["entry"];
    assert_eq!((text(leaf, "action"), text(leaf, "decision")), ("oversight.decide", "approved"), "{leaf}");
    let committed: Vec<&str> =
        asked.iter().flat_map(|(request, _)| ["action", "decision"].map(|of| text(&leaf["digests"], &format!("{of}.{request}")))).collect();
    assert_eq!(committed.iter().collect::<BTreeSet<_>>().len(), 2 * BATCH_MAX, "each has a commitment of its own");
    assert!(asked.iter().all(|(_, digest)| !leaf.to_string().contains(digest.as_str())), "and none is the digest itself: {leaf}");

    for (request, digest) in [&asked[0], &asked[BATCH_MAX - 1]] {
        let receipt = cast.agent.get(&at(request, "receipt")).ok();
        let (ok, said) = verified(&home, &receipt, &trusted);
        assert!(ok && said["decision"]["digest"] == json!(digest), "{said}");
        // The salt of one of them opens no commitment to another.
        let mut other = receipt.clone();
        other["decision"]["request"] = json!(asked[1].0);
        assert!(!verified(&home, &other, &trusted).0);
        assert_eq!(events(&cast.approver, request), ["opened", "voted", "approved"]);
    }
    let again = json!({ "choice": "approve", "requests": [items[0]] });
    cast.approver.post("/v1/oversight/batch", again).refused(409, "oversight.already_decided");
    let state = || text(&cast.agent.post("/v1/actions", payment("INV-0", 600)).ok(), "state").to_owned();
    assert_eq!((state().as_str(), state().as_str()), ("granted", "pending"), "it is used once, as any other");
}
