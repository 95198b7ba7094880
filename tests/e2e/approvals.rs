//! A human in the loop: asked once, answered once, used once, whatever dies in between.

use std::thread;

use serde_json::{Value, json};

use crate::support::{Answer, Cast, Client, Home, Options, Server, list, text, until};

/// An action the default policy asks a human about.
fn payment(invoice: &str) -> Value {
    json!({
        "action": "tool.call_with_approval", "resource": "tool:pay_invoice", "arguments": { "invoice": invoice, "amount": "120.00" },
        "reason": "it is due today", "wait_secs": 0
    })
}

struct Desk {
    cast: Cast,
    server: Server,
    home: Home,
}

impl Desk {
    fn open() -> Self {
        let home = Home::new();
        let server = home.serve(&Options::default());
        let cast = Cast::of(&server, &server.owner());
        Self { cast, server, home }
    }

    /// Dies by SIGKILL and comes back: the keys are the same, the port is another.
    fn crash(self) -> Self {
        let Self { home, server, .. } = self;
        server.kill();
        let server = home.serve(&Options::default());
        let cast = Cast::of(&server, &server.owner());
        Self { cast, server, home }
    }

    fn ask(&self, invoice: &str) -> Answer {
        self.cast.agent.post("/v1/actions", payment(invoice))
    }

    /// Asks, and gives the request and the digest a human is asked about.
    fn pending(&self, invoice: &str) -> (String, String) {
        let asked = self.ask(invoice).ok();
        assert_eq!(text(&asked, "state"), "pending", "{asked}");
        (text(&asked, "request").to_owned(), text(&asked, "digest").to_owned())
    }

    fn approve(&self, request: &str, digest: &str) -> Answer {
        approve(&self.cast.approver, request, digest)
    }

    fn state(&self, request: &str) -> String {
        let request = self.cast.approver.get(&format!("/v1/oversight/requests/{request}")).ok();
        text(&request, "state").to_owned()
    }

    fn report(&self, admission: &str) -> Answer {
        self.cast.agent.post(&format!("/v1/actions/{admission}/outcome"), json!({ "ok": true }))
    }

    /// The actions as recorded that this approval admitted.
    fn uses(&self, request: &str) -> Vec<Value> {
        let all = self.cast.operator.get("/v1/actions").ok();
        list(&all, "actions").iter().filter(|action| action["approval"] == *request && action["state"] != "refused").cloned().collect()
    }
}

fn approve(as_whom: &Client, request: &str, digest: &str) -> Answer {
    as_whom.post(&format!("/v1/oversight/requests/{request}/approve"), json!({ "digest": digest, "comment": "checked against the order" }))
}

#[test]
fn only_an_approver_decides_and_only_about_what_was_shown() {
    let desk = Desk::open();
    let (request, digest) = desk.pending("INV-1");
    assert_eq!(desk.pending("INV-1"), (request.clone(), digest.clone()), "asking again is the same request");
    for other in [&desk.cast.agent, &desk.cast.operator] {
        approve(other, &request, &digest).refused(403, "http.forbidden");
        other.post(&format!("/v1/oversight/requests/{request}/deny"), json!({})).refused(403, "http.forbidden");
    }
    let (_, other_digest) = desk.pending("INV-2");
    desk.approve(&request, &other_digest).refused(409, "oversight.digest_mismatch");
    assert_eq!(desk.state(&request), "pending", "a wrong digest decides nothing");

    let shown = desk.cast.approver.get(&format!("/v1/oversight/requests/{request}")).ok();
    let action: Value = serde_json::from_str(text(&shown, "action")).unwrap();
    assert_eq!(action["arguments"], payment("INV-1")["arguments"], "the approver sees the very arguments");
    assert_eq!(list(&shown, "hops").len(), 2, "and on whose authority: {shown}");

    desk.approve(&request, &digest).ok();
    desk.approve(&request, &digest).refused(409, "oversight.already_decided");
    let granted = desk.ask("INV-1").ok();
    assert_eq!(text(&granted, "state"), "granted", "{granted}");
    assert_eq!(text(&granted, "digest"), digest);
    desk.report(text(&granted, "admission")).ok();
    desk.report(text(&granted, "admission")).refused(404, "oversight.unknown_admission");
    assert_eq!(desk.state(&request), "executed");
    assert_eq!(desk.uses(&request).len(), 1);
}

#[test]
fn an_approval_is_used_once_by_eight_that_race_for_it() {
    let desk = Desk::open();
    let (request, digest) = desk.pending("INV-1");
    desk.approve(&request, &digest).ok();
    let answers: Vec<Answer> = thread::scope(|scope| {
        (0..8).map(|_| scope.spawn(|| desk.ask("INV-1"))).collect::<Vec<_>>().into_iter().map(|t| t.join().unwrap()).collect()
    });
    let granted: Vec<Value> = answers.iter().filter(|a| a.is_ok()).map(Answer::ok).filter(|a| text(a, "state") == "granted").collect();
    assert_eq!(granted.len(), 1, "{:?}", answers.iter().map(Answer::text).collect::<Vec<_>>());
    for answer in answers.iter().filter(|answer| !answer.is_ok()) {
        assert_eq!(answer.status, 409, "who loses the race is told of a conflict: {}", answer.text());
    }
    let uses = desk.uses(&request);
    assert_eq!(uses.len(), 1, "{uses:?}");
    assert_eq!(text(&uses[0], "admission"), text(&granted[0], "admission"));
    desk.report(text(&granted[0], "admission")).ok();
    assert_eq!(desk.state(&request), "executed");
}

#[test]
fn another_agents_admission_cannot_be_reported() {
    let desk = Desk::open();
    let granted = desk.cast.agent.post("/v1/actions", json!({ "action": "tool.call", "resource": "tool:search", "arguments": {} })).ok();
    let other = crate::support::make_key(&desk.cast.operator, json!({ "role": "agent", "name": "other" }));
    let path = format!("/v1/actions/{}/outcome", text(&granted, "admission"));
    desk.server.bearer(text(&other, "token")).post(&path, json!({ "ok": true })).refused(404, "oversight.unknown_admission");
    desk.report(text(&granted, "admission")).ok();
}

#[test]
fn what_only_the_server_itself_does_cannot_be_asked_for_as_an_action_of_ones_own() {
    let desk = Desk::open();
    let ask = |action: &str| desk.cast.agent.post("/v1/actions", json!({ "action": action, "resource": "tool:x", "arguments": {} }));
    let own =
        ["runtime.exec", "runtime.egress", "messaging.deliver", "metering.ingest", "memory.put", "oversight.decide", "policy.publish"];
    for action in own.into_iter().chain(["identity.create", "nhi.issue", "audit.verify", "gate.resolve", "storage.put"]) {
        ask(action).refused(422, "oversight.reserved_action");
    }
    let recorded = desk.cast.operator.get("/v1/actions").ok();
    assert_eq!(recorded["actions"], json!([]), "a record of such an action would say that it happened");
    assert_eq!(text(&ask("tool.call").ok(), "state"), "granted");
}

#[test]
fn a_denial_reaches_the_agent_that_waits_with_the_humans_words() {
    let desk = Desk::open();
    let agent = desk.cast.agent.clone();
    let mut patient = payment("INV-1");
    patient["wait_secs"] = json!(50);
    let waiting = thread::spawn(move || agent.post("/v1/actions", patient));
    let mut request = String::new();
    until("the request is there", || {
        let pending = desk.cast.approver.get("/v1/oversight/requests?state=pending").ok();
        list(&pending, "requests").first().map(|found| text(found, "id").clone_into(&mut request)).is_some()
    });
    desk.cast.approver.post(&format!("/v1/oversight/requests/{request}/deny"), json!({ "comment": "not before Friday" })).ok();
    let refused = waiting.join().unwrap().refused(403, "gate.denied_by_human");
    assert!(text(&refused, "detail").contains("not before Friday"), "{refused}");
    assert_eq!(desk.state(&request), "denied");
    assert_eq!(desk.uses(&request), Vec::<Value>::new());
}

#[test]
fn a_denial_between_two_asks_is_not_lost() {
    let desk = Desk::open();
    let (request, _) = desk.pending("INV-1");
    desk.cast.approver.post(&format!("/v1/oversight/requests/{request}/deny"), json!({ "comment": "not before Friday" })).ok();
    let refused = desk.ask("INV-1").refused(403, "gate.denied_by_human");
    assert!(text(&refused, "detail").contains("not before Friday"), "{refused}");
}

#[test]
fn a_decision_outlives_the_server_that_took_it() {
    let desk = Desk::open();
    let (request, digest) = desk.pending("INV-1");
    let desk = desk.crash();
    assert_eq!(desk.state(&request), "pending");
    desk.approve(&request, &digest).ok();
    let desk = desk.crash();
    assert_eq!(desk.state(&request), "approved");
}

#[test]
fn the_same_action_finds_its_request_after_a_crash() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let key = crate::support::make_key(&server.owner(), json!({ "role": "agent", "name": "worker" }));
    let asked = server.bearer(text(&key, "token")).post("/v1/actions", payment("INV-1")).ok();
    server.kill();

    let server = home.serve(&Options::default());
    let agent = server.bearer(text(&key, "token"));
    assert_eq!(agent.post("/v1/actions", payment("INV-1")).ok(), asked, "the very same request");
    approve(&server.owner(), text(&asked, "request"), text(&asked, "digest")).ok();
    server.kill();

    let server = home.serve(&Options::default());
    let agent = server.bearer(text(&key, "token"));
    let granted = agent.post("/v1/actions", payment("INV-1")).ok();
    assert_eq!(text(&granted, "state"), "granted", "the approval was not lost: {granted}");
    server.kill();

    // Nobody knows whether the agent paid: not done again, but shown to a human.
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let admission = text(&granted, "admission");
    let doubts = owner.get("/v1/actions?state=in_doubt").ok();
    let admissions: Vec<&str> = list(&doubts, "actions").iter().map(|action| text(action, "admission")).collect();
    assert_eq!(admissions, [admission]);
    let outcome = format!("/v1/actions/{admission}/outcome");
    server.bearer(text(&key, "token")).post(&outcome, json!({ "ok": true })).refused(404, "oversight.unknown_admission");
    let resolve = format!("/v1/actions/{admission}/resolve");
    owner.post(&resolve, json!({ "happened": true })).ok();
    assert_eq!(owner.post(&resolve, json!({ "happened": true })).status, 409, "it is resolved once");
    let request = owner.get(&format!("/v1/oversight/requests/{}", text(&asked, "request"))).ok();
    assert_eq!(text(&request, "state"), "executed");
    let again = server.bearer(text(&key, "token")).post("/v1/actions", payment("INV-1")).ok();
    assert_eq!(text(&again, "state"), "pending", "a second payment is asked about anew: {again}");
    assert_ne!(text(&again, "request"), text(&asked, "request"));
    let report = owner.get("/v1/audit/verify").ok();
    assert_eq!(report["report"]["in_doubt"], json!([]), "{report}");
}

#[test]
fn an_answer_that_was_lost_is_given_again_also_after_a_crash() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let key = crate::support::make_key(&server.owner(), json!({ "role": "agent", "name": "worker" }));
    let attempt = |invoice: &str| {
        let mut asked = payment(invoice);
        asked["attempt_id"] = json!("550e8400-e29b-41d4-a716-446655440000");
        asked
    };
    let ask = |server: &Server, body: Value| server.bearer(text(&key, "token")).post("/v1/actions", body);
    let asked = ask(&server, attempt("INV-1")).ok();
    approve(&server.owner(), text(&asked, "request"), text(&asked, "digest")).ok();
    let granted = ask(&server, attempt("INV-1")).ok();
    assert_eq!(text(&granted, "state"), "granted", "{granted}");
    assert!(granted.get("again").is_none(), "{granted}");
    // As if the agent had not heard it: the same answer, which says that it is a repeated one.
    let mut repeated = granted.clone();
    repeated["again"] = json!(true);
    assert_eq!(ask(&server, attempt("INV-1")).ok(), repeated);
    ask(&server, attempt("INV-2")).refused(409, "gate.attempt_conflict");
    let mut bad = attempt("INV-1");
    bad["attempt_id"] = json!("two words");
    ask(&server, bad).refused(422, "oversight.bad_action");
    server.kill();

    let server = home.serve(&Options::default());
    assert_eq!(ask(&server, attempt("INV-1")).ok(), repeated, "the very same admission, and nobody is asked again");
    ask(&server, attempt("INV-2")).refused(409, "gate.attempt_conflict");
    let agent = server.bearer(text(&key, "token"));
    agent.post(&format!("/v1/actions/{}/outcome", text(&granted, "admission")), json!({ "ok": true })).ok();
    ask(&server, attempt("INV-1")).refused(409, "gate.attempt_used");
    let owner = server.owner();
    let request = owner.get(&format!("/v1/oversight/requests/{}", text(&asked, "request"))).ok();
    assert_eq!(text(&request, "state"), "executed");
    assert_eq!(list(&owner.get("/v1/oversight/requests").ok(), "requests").len(), 1);
    let actions = owner.get("/v1/actions").ok();
    assert_eq!(list(&actions, "actions").len(), 1, "{actions}");
    let report = owner.get("/v1/audit/verify").ok();
    assert_eq!(report["report"]["in_doubt"], json!([]), "{report}");
}
