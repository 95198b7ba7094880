//! An agent's budget runs out and a human is asked to raise it: asked once, decided by a human, applied once, whatever dies in between.

use std::io::Read as _;
use std::process::Stdio;
use std::thread;

use serde_json::{Value, json};

use crate::oversight::{keys, verified};
use crate::support::{Answer, Client, Home, Options, Server, list, make_key, micros, runsc, text, until};

/// A server, an agent with a budget of a dime that is used up, and alice who decides.
struct Shop {
    server: Server,
    home: Home,
    agent: String,
    alice: String,
    account: String,
}

impl Shop {
    /// The budget may be raised by half a unit, twice a day.
    fn open(home: Home) -> Self {
        let server = home.serve(&Options::default());
        let owner = server.owner();
        owner.put("/v1/metering/metrics/pages", json!({ "aggregation": "count", "unit_price": "0.10" })).ok();
        owner.put("/v1/metering/reporters/reading", json!({ "reporters": ["*"] })).ok();
        let delegated = owner.post("/v1/delegations", json!({ "to": "worker", "budget": "0.10" })).ok();
        let key = json!({ "role": "agent", "name": "worker", "chain": text(&delegated, "chain") });
        let agent = text(&make_key(&owner, key), "token").to_owned();
        let alice = text(&make_key(&owner, json!({ "role": "approver", "name": "alice" })), "token").to_owned();
        let shop = Self { server, home, agent, alice, account: format!("link:{}", text(&delegated, "link")) };
        shop.read("tx-1").ok();
        shop.read("tx-2").refused(429, "metering.budget_exceeded");
        shop.set(&["0.10", "--ask-to-raise", "0.50", "--a-day", "2"]);
        shop
    }

    fn set(&self, words: &[&str]) -> String {
        let set = self.home.command(["budget", "set", &self.account]).args(words).output().unwrap();
        assert!(set.status.success(), "{set:?}");
        String::from_utf8(set.stdout).unwrap()
    }

    /// Dies by SIGKILL and comes back.
    fn crash(self) -> Self {
        let Self { server, home, agent, alice, account } = self;
        server.kill();
        let server = home.serve(&Options::default());
        Self { server, home, agent, alice, account }
    }

    fn agent(&self) -> Client {
        self.server.bearer(&self.agent)
    }

    fn alice(&self) -> Client {
        self.server.bearer(&self.alice)
    }

    fn read(&self, transaction: &str) -> Answer {
        let event = json!({ "transaction_id": transaction, "external_subscription_id": "reading", "code": "pages", "properties": {} });
        self.agent().post("/v1/metering/events", event)
    }

    /// An action that holds a third of a unit, and does not wait.
    fn pay(&self) -> Answer {
        let action = json!({
            "action": "tool.call", "resource": "tool:pay", "arguments": { "invoice": "INV-1" }, "reserve": "0.30",
            "reason": "the last invoice of the month", "wait_secs": 0,
        });
        self.agent().post("/v1/actions", action)
    }

    fn pending(&self) -> (String, String) {
        let asked = self.pay().ok();
        assert_eq!(text(&asked, "state"), "pending", "{asked}");
        (text(&asked, "request").to_owned(), text(&asked, "digest").to_owned())
    }

    fn request(&self, id: &str) -> Value {
        self.alice().get(&format!("/v1/oversight/requests/{id}")).ok()
    }

    fn decide(&self, as_whom: &Client, (id, digest): &(String, String), word: &str) -> Answer {
        as_whom.post(
            &format!("/v1/oversight/requests/{id}/{word}"),
            if word == "approve" { json!({ "digest": digest }) } else { json!({ "comment": "not this month" }) },
        )
    }

    /// Ceiling, spent and held, in millionths.
    fn standing(&self) -> (i64, i64, i64) {
        let accounts = self.server.owner().get("/v1/metering/accounts").ok();
        let account = list(&accounts, "accounts").iter().find(|a| a["account"] == *self.account).unwrap().clone();
        (micros(text(&account, "ceiling")), micros(text(&account, "spent")), micros(text(&account, "held")))
    }

    /// The raises on record.
    fn raises(&self) -> Vec<Value> {
        let all = self.server.owner().get("/v1/actions").ok();
        list(&all, "actions").iter().filter(|action| action["action"] == "metering.raise_budget").cloned().collect()
    }

    fn books(&self) {
        assert_eq!(self.server.owner().get("/v1/metering/check").ok()["ok"], true);
    }
}

#[test]
fn a_budget_that_ran_out_is_raised_by_a_human_and_the_agent_goes_on() {
    let shop = Shop::open(Home::new());
    let asked = shop.pending();
    assert_eq!(shop.pending(), asked, "asking again is the same question");
    assert_eq!(shop.standing(), (100_000, 100_000, 0), "nothing is held meanwhile");
    // Whatever else does not fit finds it too, and says which.
    let refused = shop.read("tx-2").refused(429, "metering.budget_exceeded");
    assert!(text(&refused, "detail").contains(&asked.0), "{refused}");

    let request = shop.request(&asked.0);
    let action: Value = serde_json::from_str(text(&request, "action")).unwrap();
    assert_eq!(
        (text(&action, "action"), text(&action, "resource")),
        ("metering.raise_budget", format!("account:{}", shop.account).as_str())
    );
    let shown = &action["arguments"];
    let amounts: Vec<&str> = ["ceiling", "missing", "asked", "raise", "for_action", "for_resource"].map(|name| text(shown, name)).to_vec();
    assert_eq!(amounts, ["0.1", "0.3", "0.5", "0.5", "tool.call", "tool:pay"]);
    assert_eq!((text(&request, "reason"), list(&request, "hops").len()), ("the last invoice of the month", 2));
    let said = shop.home.command(["oversight", "show", &asked.0]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("by 0.5, from 0.1 to 0.6; 0.3 is missing for tool.call tool:pay"), "{said}");

    // No agent decides, nor raises by its own word.
    shop.decide(&shop.agent(), &asked, "approve").refused(403, "http.forbidden");
    shop.agent().put("/v1/metering/ceilings", json!({ "account": shop.account, "ceiling": "9" })).refused(403, "http.forbidden");
    let own = json!({ "action": "metering.raise_budget", "resource": format!("account:{}", shop.account), "arguments": shown });
    shop.agent().post("/v1/actions", own).refused(422, "oversight.reserved_action");
    shop.alice().put("/v1/metering/ceilings", json!({ "account": shop.account, "ceiling": "9" })).refused(403, "http.forbidden");
    assert_eq!(shop.standing(), (100_000, 100_000, 0));

    shop.decide(&shop.alice(), &asked, "approve").ok();
    let granted = shop.pay().ok();
    assert_eq!((text(&granted, "state"), shop.standing()), ("granted", (600_000, 100_000, 300_000)));
    shop.agent().post(&format!("/v1/actions/{}/outcome", text(&granted, "admission")), json!({ "ok": true })).ok();
    shop.read("tx-2").ok();
    assert_eq!((shop.standing(), shop.raises().len()), ((600_000, 200_000, 0), 1), "applied once");
    assert_eq!(text(&shop.request(&asked.0), "state"), "executed");

    // The receipt proves who raised it, offline; the tree of costs has what was used and nothing else.
    let receipt = shop.alice().get(&format!("/v1/oversight/requests/{}/receipt", asked.0)).ok();
    let trusted = keys(&shop.server, shop.home.data().parent().unwrap(), "keys.json");
    let (ok, said) = verified(&shop.home, &receipt, &trusted);
    assert!(ok, "{said}");
    let costs = shop.server.owner().get("/v1/metering/costs").ok();
    let root = &list(&costs, "costs")[0];
    let worker = &list(root, "children")[0];
    assert_eq!((text(root, "total"), text(worker, "identity").rsplit('/').next()), ("0.2", Some("worker")), "{costs}");
    shop.books();
}

#[test]
fn a_denied_raise_is_the_refusal_it_would_have_been_and_says_by_whom() {
    let shop = Shop::open(Home::new());
    let asked = shop.pending();
    shop.decide(&shop.alice(), &asked, "deny").ok();
    for _ in 0..2 {
        let refused = shop.pay().refused(429, "metering.budget_exceeded");
        for part in ["has no room for 0.3", &asked.0, "denied by `alice`: not this month"] {
            assert!(text(&refused, "detail").contains(part), "{refused}");
        }
    }
    assert_eq!((shop.standing(), shop.raises().len()), ((100_000, 100_000, 0), 0));
    // Setting the budget again asks anew; without the word for it nobody is asked.
    assert!(shop.set(&["0.10", "--ask-to-raise", "0.50", "--a-day", "1"]).contains("by 0.5, 1 times a day"));
    assert_ne!(shop.pending().0, asked.0);
    shop.set(&["0.10"]);
    let refused = shop.pay().refused(429, "metering.budget_exceeded");
    assert!(!text(&refused, "detail").contains("request"), "{refused}");
    for bad in [&["0.10", "--ask-to-raise", "1"][..], &["--none", "--ask-to-raise", "1", "--a-day", "1"], &["0.10", "--a-day", "1"]] {
        assert!(!shop.home.command(["budget", "set", &shop.account]).args(bad).output().unwrap().status.success(), "{bad:?}");
    }
}

#[test]
fn an_approval_survives_the_death_of_the_server_and_raises_once() {
    let shop = Shop::open(Home::new());
    let asked = shop.pending();
    shop.decide(&shop.alice(), &asked, "approve").ok();
    let shop = shop.crash();
    assert_eq!((shop.standing(), text(&shop.request(&asked.0), "state")), ((100_000, 100_000, 0), "approved"));
    let answers: Vec<Answer> = thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|number| {
                scope.spawn({
                    let shop = &shop;
                    move || shop.read(&format!("tx-{}", number + 10))
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert!(answers.iter().all(Answer::is_ok), "{answers:?}");
    let shop = shop.crash();
    assert_eq!((shop.standing(), shop.raises().len()), ((600_000, 500_000, 0), 1));
    shop.books();
}

/// The server dies at each point of the commit that applies the raise: it happened whole or not at all, and the next attempt goes on.
#[test]
fn dying_at_any_point_of_the_raise_applies_it_once() {
    for point in ["db.before_steps", "db.after_steps", "db.before_commit", "db.after_commit"] {
        let shop = Shop::open(Home::new());
        let asked = shop.pending();
        shop.decide(&shop.alice(), &asked, "approve").ok();
        let Shop { server, home, agent, alice, account } = shop;
        server.stop();
        // The raise, and then the event that waited for it.
        for action in ["metering.raise_budget", "metering.ingest"] {
            let copy = Home::copy_of(&home);
            let options = Options { failpoint: Some(format!("{point}@{action}:1")), ..Options::default() };
            let dying =
                Shop { server: copy.serve(&options), home: copy, agent: agent.clone(), alice: alice.clone(), account: account.clone() };
            let event = json!({ "transaction_id": "tx-9", "external_subscription_id": "reading", "code": "pages", "properties": {} });
            let answer = dying.agent().attempt("POST", "/v1/metering/events", Some(&event));
            assert!(answer.is_err(), "{point}@{action}: it died before it answered");
            let after = dying.crash();
            after.read("tx-9").ok();
            assert_eq!((after.standing(), after.raises().len()), ((600_000, 200_000, 0), 1), "{point}@{action}");
            after.books();
        }
    }
}

#[test]
fn another_tenant_neither_sees_nor_decides_it_and_its_own_budget_of_that_name_stays() {
    let home = Home::new();
    let other = home.serve(&Options { tenant: Some("other"), ..Options::default() });
    let owner = other.owner();
    let key = |role: &str, name: &str| text(&make_key(&owner, json!({ "role": role, "name": name })), "token").to_owned();
    let (approver, operator) = (key("approver", "alice"), key("operator", "olga"));
    other.stop();
    let shop = Shop::open(home);
    let asked = shop.pending();
    let theirs = shop.server.bearer(&approver);
    theirs.get(&format!("/v1/oversight/requests/{}", asked.0)).refused(404, "oversight.unknown_request");
    shop.decide(&theirs, &asked, "approve").refused(404, "oversight.unknown_request");
    let inbox = theirs.get("/v1/oversight/requests").ok();
    assert_eq!(list(&inbox, "requests").len(), 0, "{inbox}");
    let terms = json!({ "account": shop.account, "ceiling": "9", "ask_to_raise": { "step": "1", "a_day": 1 } });
    shop.server.bearer(&operator).put("/v1/metering/ceilings", terms).refused(404, "metering.unknown_account");
    assert_eq!(shop.standing(), (100_000, 100_000, 0));
    shop.decide(&shop.alice(), &asked, "approve").ok();
    assert_eq!(text(&shop.pay().ok(), "state"), "granted");
}

#[test]
fn a_run_that_cannot_be_paid_waits_visibly_and_goes_on_once_its_budget_is_raised() {
    if runsc().is_none() {
        return;
    }
    let home = Home::new();
    let server = home.serve(&Options::with_sandboxes());
    let owner = server.owner();
    let alice = server.bearer(text(&make_key(&owner, json!({ "role": "approver", "name": "alice" })), "token"));
    assert!(home.command(["run", "-q", "--", "true"]).status().unwrap().success(), "what opens the account");
    let set = home.command(["budget", "set", "identity:human/owner", "0.000001", "--ask-to-raise", "1", "--a-day", "1"]).output().unwrap();
    assert!(set.status.success(), "{set:?}");
    let mut run = home.command(["run", "--", "echo", "paid"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waiting = || list(&alice.get("/v1/oversight/requests?state=pending").ok(), "requests").first().cloned();
    until("the run asks for its budget", || waiting().is_some());
    let request = waiting().unwrap();
    let (id, digest) = (text(&request, "id").to_owned(), text(&request, "digest").to_owned());
    // It tells so before anybody has decided.
    let mut stderr = run.stderr.take().unwrap();
    let mut told = [0; 24];
    stderr.read_exact(&mut told).unwrap();
    alice.post(&format!("/v1/oversight/requests/{id}/approve"), json!({ "digest": digest })).ok();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&told).into_owned() + &rest;
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(0), "paid\n"), "{said}");
    assert!(said.starts_with("waiting for a human") && said.contains(&id) && said.contains("executed by alice"), "{said}");
}
