//! Who may decide, how often, and how soon it is proven: the rules around a request, through the real binary.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::Coming;
use crate::support::{Cast, Client, Home, Options, Server, list, make_key, text, until};

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
    // One that is used up asks again, and so does one whose time is out.
    let state = |invoice: &str| text(&cast.agent.post("/v1/actions", payment(invoice)).ok(), "state").to_owned();
    for (invoice, mut give) in [("INV-3", json!({ "uses_max": 1, "secs": 600 })), ("INV-4", json!({ "uses_max": 10_000, "secs": 2 }))] {
        let (request, digest) = pending(&cast.agent, invoice);
        cast.approver.post(&at(&request, "approve"), json!({ "digest": digest })).ok();
        give["request"] = json!(request);
        cast.approver.post("/v1/oversight/grants", give).ok();
        assert_eq!((state(invoice).as_str(), state(invoice).as_str()), ("granted", "granted"), "the approval, then the grant");
        until("a human is asked again", || state(invoice) == "pending");
    }
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

#[test]
fn a_broken_glass_approves_at_once_and_is_looked_at_by_somebody_else() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let ((bob, b), (_, c)) = (approver(&server, &owner, "bob"), approver(&server, &owner, "carol"));
    ask_group(&owner, 2, &[&b, &c]);
    // Of an agent that acts for olga: the owner is not in its chain.
    let agent = server.bearer(text(&make_key(&cast.operator, json!({ "role": "agent", "name": "field" })), "token"));
    let (request, digest) = pending(&agent, "INV-1");
    let glass = |reason: &str| json!({ "digest": digest, "reason": reason });
    bob.post(&at(&request, "break-glass"), glass("the plant burns")).refused(403, "oversight.not_eligible");
    owner.post(&at(&request, "break-glass"), glass(" ")).refused(422, "oversight.bad_input");
    owner
        .post(&at(&request, "break-glass"), json!({ "digest": "00".repeat(32), "reason": "the plant burns" }))
        .refused(409, "oversight.digest_mismatch");
    let broken = owner.post(&at(&request, "break-glass"), glass("the plant burns")).ok();
    assert_eq!((text(&broken, "state"), text(&broken["glass"], "reason")), ("approved", "the plant burns"), "{broken}");
    assert_eq!(text(&agent.post("/v1/actions", payment("INV-1")).ok(), "state"), "granted");
    assert_eq!(agent.get(&at(&request, "receipt")).ok()["decision"]["glass"]["reason"], "the plant burns", "the receipt says so");

    // Whoever broke it is not who looks at it; somebody else does, once.
    let open = cast.approver.get("/v1/oversight/requests?review=true").ok();
    assert_eq!(list(&open, "requests").iter().map(|found| text(found, "id")).collect::<Vec<_>>(), [request.as_str()]);
    let looked = json!({ "justified": false, "comment": "it did not burn" });
    owner.post(&at(&request, "review"), looked.clone()).refused(403, "oversight.separation_of_duties");
    let reviewed = bob.post(&at(&request, "review"), looked.clone()).ok();
    assert_eq!((&reviewed["glass"]["justified"], &reviewed["glass"]["reviewed_by"]), (&json!(false), &json!(b)), "{reviewed}");
    cast.approver.post(&at(&request, "review"), looked).refused(409, "oversight.already_voted");
    assert!(list(&cast.approver.get("/v1/oversight/requests?review=true").ok(), "requests").is_empty());
    let made = cast.approver.get("/v1/oversight/requests?reviewed=true").ok();
    assert_eq!(text(&list(&made, "requests")[0]["glass"], "review"), "it did not burn", "{made}");
}

#[test]
fn whoever_is_in_a_requests_chain_neither_breaks_its_glass_nor_looks_at_it_and_the_log_says_how_each_was_known() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let ((bob, b), (olga, _)) = (approver(&server, &owner, "bob"), approver(&server, &owner, "olga"));
    // The document lets people decide what their own agents ask: of a glass it says nothing.
    ask_group(&owner, 1, &[&b]);
    let (request, digest) = pending(&cast.agent, "INV-1");
    let glass = json!({ "digest": digest, "reason": "the plant burns" });
    let own = owner.post(&at(&request, "break-glass"), glass).refused(403, "oversight.own_glass");
    assert!(text(&own, "hint").contains("`hops`"), "{own}");
    let state = |request: &str| text(&owner.get(&format!("/v1/oversight/requests/{request}")).ok(), "state").to_owned();
    assert_eq!(state(&request), "pending");

    let field = server.bearer(text(&make_key(&cast.operator, json!({ "role": "agent", "name": "field" })), "token"));
    let (request, digest) = pending(&field, "INV-2");
    owner.post(&at(&request, "break-glass"), json!({ "digest": digest, "reason": "the plant burns" })).ok();
    let looked = json!({ "justified": true, "comment": "it burned" });
    olga.post(&at(&request, "review"), looked.clone()).refused(403, "oversight.separation_of_duties");
    bob.post(&at(&request, "review"), looked).ok();
    let known = |fact: &str| {
        let entries = owner.get("/v1/audit/entries?from=0&limit=200").ok();
        let leaves =
            list(&entries, "entries").iter().map(|entry| &entry["entry"]).filter(|leaf| leaf["facts"]["request"] == request.as_str());
        leaves.filter_map(|leaf| leaf["facts"][fact].as_str()).map(str::to_owned).collect::<Vec<_>>()
    };
    until("the log has both", || known("how").len() == 2);
    assert_eq!((known("how"), known("channel")), (vec!["local_socket".to_owned(), "api_key".to_owned()], vec!["http".to_owned(); 2]));

    // What takes a passkey to approve takes one to break the glass of, and a made up one is none.
    let document = json!({ "requirement": { "at_least": { "count": 1, "of": ["group:finance"] } }, "risk": "critical" });
    owner.put("/v1/oversight/policies/require_approval", json!({ "policy": document })).ok();
    let (request, digest) = pending(&field, "INV-3");
    let glass = json!({ "digest": digest, "reason": "the plant burns" });
    owner.post(&at(&request, "break-glass"), glass.clone()).refused(403, "oversight.stronger_proof_needed");
    let mut forged = glass;
    for (name, value) in [("credential", "Y3JlZA"), ("client_data", "e30"), ("authenticator_data", "AA"), ("signature", "AA")] {
        forged[name] = json!(value);
    }
    let refused = owner.post(&at(&request, "break-glass/passkey"), forged);
    assert!(refused.code().starts_with("nhi.passkey"), "{}", refused.text());
    assert_eq!(state(&request), "pending");
}

#[test]
fn whoever_comes_to_wait_after_the_decision_is_told_at_once_and_misses_nothing_before() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let (request, digest) = pending(&cast.agent, "INV-1");
    let path = |seen: i64| at(&request, &format!("events?seen={seen}&wait_secs=50"));
    // One listens from before; the decision falls while nobody else does.
    let mut listens = cast.agent.open("GET", &path(0), None).unwrap();
    assert_eq!(told(&mut listens), (1, "pending".to_owned()));
    cast.approver.post(&at(&request, "approve"), json!({ "digest": digest })).ok();
    let (decided, state) = told(&mut listens);
    assert_eq!(state, "approved");
    // Whoever created it and only then waits, by either way, from the last event they saw or from the first.
    let asked = Instant::now();
    for seen in [0, 1] {
        let mut late = cast.agent.open("GET", &path(seen), None).unwrap();
        assert_eq!(late.head.header("content-type"), Some("text/event-stream"));
        assert_eq!(told(&mut late), (decided, "approved".to_owned()));
        let polled = cast.agent.get(&at(&request, &format!("watch?seen={seen}&wait_secs=50"))).ok();
        assert_eq!((polled["seq"].as_i64(), text(&polled, "state")), (Some(decided), "approved"));
    }
    assert!(asked.elapsed() < Duration::from_secs(20), "nobody waits for what has happened: {:?}", asked.elapsed());
    // Another agent hears nothing of it.
    let other = make_key(&owner, json!({ "role": "agent", "name": "quiet" }));
    server.bearer(text(&other, "token")).get(&path(0)).refused(404, "oversight.unknown_request");
}

/// The next event of a stream: its position and the request's state.
fn told(stream: &mut Coming) -> (i64, String) {
    let mut block = String::new();
    while !block.contains("\n\n") || !block.contains("data:") {
        block.push_str(&String::from_utf8(stream.chunk().unwrap().expect("the stream goes on")).unwrap());
    }
    let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {block}")).trim();
    let request: Value = serde_json::from_str(line("data:")).unwrap();
    assert_eq!(line("event:"), "request");
    assert_eq!(line("id:"), request["seq"].to_string());
    (request["seq"].as_i64().unwrap(), text(&request, "state").to_owned())
}

#[test]
fn a_workflows_checkpoint_is_taken_up_by_its_own_agent_alone_and_by_one_of_two() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    let place = "/v1/oversight/checkpoints/nightly-1";
    let keep = |agent: &Client, version: u32, step: &str| agent.put(place, json!({ "version": version, "state": { "step": step } }));
    assert!(cast.agent.get(place).status == 404, "nothing was kept");
    keep(&cast.agent, 1, "read").ok();
    server.kill();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let cast = Cast::of(&server, &owner);
    // Another process of the agent goes on from it; of two, one.
    let kept = cast.agent.get(place).ok();
    assert_eq!((&kept["version"], &kept["state"]), (&json!(1), &json!({ "step": "read" })), "{kept}");
    keep(&cast.agent, 2, "paid").ok();
    assert_eq!(keep(&cast.agent, 2, "paid by the other").status, 409);
    assert_eq!(cast.agent.get(place).ok()["state"]["step"], "paid");
    // Another agent neither reads nor replaces it.
    let other = make_key(&owner, json!({ "role": "agent", "name": "quiet" }));
    let other = server.bearer(text(&other, "token"));
    assert!(matches!(other.get(place).status, 403 | 404));
    assert!(matches!(keep(&other, 3, "stolen").status, 403 | 404 | 409));
    assert_eq!(cast.agent.get(place).ok()["version"], 2);
}
