//! Who may decide, how often, and how soon it is proven: the rules around a request, through the real binary.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Cast, Client, Home, Options, Server, list, make_key, text};

/// How soon after a decision its receipt must be there.
const RECEIPT_MAX: Duration = Duration::from_secs(2);
/// Most requests of one agent that wait at one time.
const OPEN_MAX: usize = 100;

fn payment(invoice: &str) -> Value {
    json!({
        "action": "tool.call_with_approval", "resource": "tool:pay_invoice", "arguments": { "invoice": invoice }, "wait_secs": 0,
        "timeout_secs": 600
    })
}

fn pending(agent: &Client, invoice: &str) -> (String, String) {
    let asked = agent.post("/v1/actions", payment(invoice)).ok();
    assert_eq!(text(&asked, "state"), "pending", "{asked}");
    (text(&asked, "request").to_owned(), text(&asked, "digest").to_owned())
}

fn at(request: &str, what: &str) -> String {
    format!("/v1/oversight/requests/{request}/{what}")
}

fn approver(server: &Server, owner: &Client, name: &str) -> (Client, String) {
    let key = make_key(owner, json!({ "role": "approver", "name": name }));
    let client = server.bearer(text(&key, "token"));
    let identity = text(&client.get("/v1/whoami").ok(), "identity").to_owned();
    (client, identity)
}

/// A group whose members, so many of them, decide what needs an approval.
fn ask_group(owner: &Client, count: u32, members: &[&str]) {
    let document = json!({ "requirement": { "at_least": { "count": count, "of": ["group:finance"] } }, "separation": "agents" });
    owner.put("/v1/oversight/policies/require_approval", json!({ "policy": document })).ok();
    owner.put("/v1/oversight/groups/finance", json!({ "members": members })).ok();
}

#[test]
fn whoever_is_suspended_in_the_middle_of_a_vote_has_none() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let ((bob, b), (carol, c), (dora, d)) =
        (approver(&server, &owner, "bob"), approver(&server, &owner, "carol"), approver(&server, &owner, "dora"));
    ask_group(&owner, 2, &[&b, &c, &d]);
    let (request, digest) = pending(&cast.agent, "INV-1");
    let vote = json!({ "choice": "approve", "digest": digest, "revision": 1 });
    assert_eq!(text(&bob.post(&at(&request, "vote"), vote.clone()).ok(), "state"), "pending");
    owner.post("/v1/identities/human/bob/suspend", json!({})).ok();
    assert!(bob.post(&at(&request, "vote"), vote.clone()).status >= 401);
    assert_eq!(text(&carol.post(&at(&request, "vote"), vote.clone()).ok(), "state"), "pending", "bob's vote counts no more");
    assert_eq!(text(&dora.post(&at(&request, "vote"), vote).ok(), "state"), "approved");

    // Where too few are left, it ends at once, and not at its deadline.
    let (request, digest) = pending(&cast.agent, "INV-2");
    owner.post("/v1/identities/human/carol/suspend", json!({})).ok();
    let vote = json!({ "choice": "approve", "digest": digest, "revision": 1 });
    let ended = dora.post(&at(&request, "vote"), vote);
    let state = text(&owner.get(&format!("/v1/oversight/requests/{request}")).ok(), "state").to_owned();
    assert_eq!(state, "denied", "{ended:?}");
}

#[test]
fn an_agent_that_floods_is_refused_and_takes_nobody_elses_room() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    for number in 0..OPEN_MAX {
        pending(&cast.agent, &format!("INV-{number}"));
    }
    cast.agent.post("/v1/actions", payment("one too many")).refused(429, "oversight.too_many_open");
    let other = make_key(&owner, json!({ "role": "agent", "name": "quiet" }));
    let (request, _) = pending(&server.bearer(text(&other, "token")), "INV-1");
    let inbox = cast.approver.get("/v1/oversight/inbox?limit=1").ok();
    assert_eq!(text(&list(&inbox, "requests")[0], "id"), request, "the newest is on top, whoever floods");
}

#[test]
fn a_document_is_tried_on_past_requests_before_it_is_published() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let (request, digest) = pending(&cast.agent, "INV-1");
    cast.approver.post(&at(&request, "approve"), json!({ "digest": digest })).ok();
    let two = json!({ "requirement": { "at_least": { "count": 2, "of": ["role:approver"] } } });
    let rehearsed = owner.post("/v1/oversight/policies/require_approval/rehearsal", two).ok();
    let [change] = list(&rehearsed, "changes") else { panic!("{rehearsed}") };
    assert_eq!((text(change, "request"), &change["still_met"]), (request.as_str(), &json!(false)));
    assert!(list(&owner.get("/v1/oversight/policies").ok(), "policies").is_empty(), "nothing was published");
    let nobody = json!({ "requirement": { "at_least": { "count": 2, "of": [] } } });
    assert!(owner.post("/v1/oversight/policies/require_approval/rehearsal", nobody).status == 422);
}

#[test]
fn a_standing_grant_approves_alike_requests_until_it_is_used_up_or_taken_back() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let cast = Cast::of(&server, &server.owner());
    let (request, digest) = pending(&cast.agent, "INV-1");
    cast.approver.post(&at(&request, "approve"), json!({ "digest": digest })).ok();
    let give = json!({ "request": request, "uses_max": 2, "secs": 600 });
    let grant = cast.approver.post("/v1/oversight/grants", give).ok();
    let granted = cast.agent.post("/v1/actions", payment("INV-1")).ok();
    assert_eq!(text(&granted, "state"), "granted", "the approval itself is used first");
    // The very same action, asked for again: no human is asked.
    let again = cast.agent.post("/v1/actions", payment("INV-1")).ok();
    assert_eq!(text(&again, "state"), "granted", "{again}");
    let shown = cast.approver.get("/v1/oversight/grants").ok();
    assert_eq!(list(&shown, "grants")[0]["used"], 1, "{shown}");
    cast.approver.delete(&format!("/v1/oversight/grants/{}", text(&grant, "id"))).ok();
    pending(&cast.agent, "INV-1");
    // What is much at stake is decided by nobody beforehand.
    let document = json!({ "requirement": { "at_least": { "count": 1, "of": ["role:approver"] } }, "risk": "high" });
    cast.operator.put("/v1/oversight/policies/require_approval", json!({ "policy": document })).ok();
    let (request, digest) = pending(&cast.agent, "INV-2");
    cast.approver.post(&at(&request, "approve"), json!({ "digest": digest })).ok();
    assert!(cast.approver.post("/v1/oversight/grants", json!({ "request": request, "uses_max": 1, "secs": 60 })).status >= 400);
}

#[test]
fn a_stand_in_decides_for_a_while_and_both_are_on_record() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let ((bob, b), (eve, e)) = (approver(&server, &owner, "bob"), approver(&server, &owner, "eve"));
    ask_group(&owner, 1, &[&b]);
    let (request, digest) = pending(&cast.agent, "INV-1");
    let vote = json!({ "choice": "approve", "digest": digest, "revision": 1, "stands_in_for": b });
    eve.post(&at(&request, "vote"), vote.clone()).refused(403, "oversight.not_eligible");
    let shown = owner.get(&format!("/v1/oversight/requests/{request}")).ok();
    let away = json!({ "to": e, "starts": shown["opened_at"], "ends": shown["deadline"], "out_of_office": true });
    let delegation = bob.post("/v1/oversight/delegations", away).ok();
    assert_eq!(text(&eve.post(&at(&request, "vote"), vote).ok(), "state"), "approved");
    let asked = Instant::now();
    let receipt = cast.agent.get(&at(&request, "receipt")).ok();
    assert!(asked.elapsed() <= RECEIPT_MAX, "a receipt is there within {RECEIPT_MAX:?}: {:?}", asked.elapsed());
    let by = &receipt["decision"]["votes"][0];
    assert_eq!((text(by, "by"), text(by, "seat")), (e.as_str(), b.as_str()), "{receipt}");
    bob.delete(&format!("/v1/oversight/delegations/{}", text(&delegation, "id"))).ok();
    let (request, digest) = pending(&cast.agent, "INV-2");
    let vote = json!({ "choice": "approve", "digest": digest, "revision": 1, "stands_in_for": b });
    eve.post(&at(&request, "vote"), vote).refused(403, "oversight.not_eligible");
}
