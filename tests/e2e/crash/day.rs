//! One day of a tenant as a script of repeatable steps, and what must hold at its end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Answer, Client, Server, list, micros, text};

/// The server is gone.
#[derive(Debug)]
pub(super) struct Died;

type Step<T = ()> = Result<T, Died>;

/// What one event costs.
const PRICE: &str = "0.01";
const EVENTS: usize = 3;

/// What a day is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    /// People, delegations, usage, and a payment that a human approves.
    Office,
    /// A command in a sandbox.
    Sandbox,
}

impl Script {
    /// A day with fewer commits than this is not the day it was.
    pub(super) const fn commits_min(self) -> u64 {
        match self {
            Self::Office => 12,
            Self::Sandbox => 3,
        }
    }
}

/// What the clients of the day know so far; a server's death takes nothing of it.
#[derive(Debug)]
pub(super) struct Day {
    pub(super) script: Script,
    approver: Option<String>,
    agent: Option<String>,
    chain: Option<String>,
    paid: bool,
}

impl Day {
    pub(super) const fn of(script: Script) -> Self {
        Self { script, approver: None, agent: None, chain: None, paid: false }
    }

    /// Does what is left of the day.
    pub(super) fn live(&mut self, server: &Server) -> Step {
        let owner = server.owner();
        if self.script == Script::Sandbox {
            return run(&owner);
        }
        self.people(&owner)?;
        let agent = server.bearer(self.agent.as_deref().unwrap_or_default());
        let approver = server.bearer(self.approver.as_deref().unwrap_or_default());
        self.usage(&owner, &agent)?;
        if !self.paid {
            payment(&agent, &approver)?;
            self.paid = true;
        }
        Ok(())
    }

    /// An account, a key for its human, a delegation, and a key for the agent.
    fn people(&mut self, owner: &Client) -> Step {
        let account = json!({ "name": "ada", "password": "correct horse battery" });
        let made = ask(owner, "POST", "/v1/accounts", account)?;
        assert!(made.is_ok() || made.status == 409, "{}", made.text());
        if self.approver.is_none() {
            let key = ask(owner, "POST", "/v1/keys", json!({ "role": "approver", "name": "ada" }))?.ok();
            self.approver = Some(text(&key, "token").to_owned());
        }
        if self.chain.is_none() {
            let delegation = json!({ "to": "worker", "actions": ["tool.*", "metering.*"], "budget": "5", "depth": 0 });
            let made = ask(owner, "POST", "/v1/delegations", delegation)?.ok();
            self.chain = Some(text(&made, "chain").to_owned());
        }
        if self.agent.is_none() {
            let key = ask(owner, "POST", "/v1/keys", json!({ "role": "agent", "name": "worker", "chain": self.chain }))?.ok();
            self.agent = Some(text(&key, "token").to_owned());
        }
        Ok(())
    }

    /// Events under fixed identifiers, all of them again each time.
    fn usage(&self, owner: &Client, agent: &Client) -> Step {
        ask(owner, "PUT", "/v1/metering/metrics/pages", json!({ "aggregation": "count", "unit_price": PRICE }))?.ok();
        ask(owner, "PUT", "/v1/metering/reporters/reading", json!({ "reporters": ["*"] }))?.ok();
        for number in 0..EVENTS {
            let event = json!({ "transaction_id": format!("tx-{number}"), "external_subscription_id": "reading", "code": "pages" });
            let receipt = ask(agent, "POST", "/v1/metering/events", event)?.ok();
            assert_eq!(text(&receipt, "cost"), PRICE, "first or again, the answer is the same: {receipt}");
        }
        Ok(())
    }

    /// After a start: no action is left as if it were under way, and a human says what came of each.
    pub(super) fn settle_doubts(&self, server: &Server) {
        let owner = server.owner();
        let of = |state: &str| owner.get(&format!("/v1/actions?state={state}")).ok();
        assert_eq!(of("intent")["actions"], json!([]), "after a start nothing is under way");
        let doubts = of("in_doubt");
        let held: i64 = accounts(&owner).iter().map(|account| micros(text(account, "held"))).sum();
        let holds = list(&doubts, "actions").iter().filter(|action| action["hold"].is_string()).count();
        assert!(held == 0 || holds > 0, "{held} micros are held and no action in doubt says for what: {doubts}");
        for action in list(&doubts, "actions") {
            owner.post(&format!("/v1/actions/{}/resolve", text(action, "admission")), json!({ "happened": false })).ok();
        }
    }
}

/// Asks for an action, has it approved, and reports its outcome.
fn payment(agent: &Client, approver: &Client) -> Step {
    let action = json!({
        "action": "tool.call_with_approval", "resource": "tool:pay_invoice", "arguments": { "invoice": "INV-1" }, "reserve": "1.00",
        "wait_secs": 0
    });
    let mut asked = ask(agent, "POST", "/v1/actions", action.clone())?.ok();
    if text(&asked, "state") == "pending" {
        let path = format!("/v1/oversight/requests/{}/approve", text(&asked, "request"));
        let decided = ask(approver, "POST", &path, json!({ "digest": text(&asked, "digest") }))?;
        assert!(decided.is_ok() || decided.code() == "oversight.already_decided", "{}", decided.text());
        asked = ask(agent, "POST", "/v1/actions", action)?.ok();
    }
    assert_eq!(text(&asked, "state"), "granted", "{asked}");
    ask(agent, "POST", &format!("/v1/actions/{}/outcome", text(&asked, "admission")), json!({ "ok": true }))?.ok();
    Ok(())
}

fn run(owner: &Client) -> Step {
    let body = json!({ "argv": ["echo", "hi"], "agent": "runner", "timeout_secs": 60 });
    let mut events = owner.open("POST", "/v1/runs", Some(&body)).map_err(|_| Died)?;
    loop {
        let event = events.event().map_err(|_| Died)?.ok_or(Died)?;
        if event["event"] == "finished" {
            assert_eq!(event["exit_code"], 0, "{event}");
            return Ok(());
        }
    }
}

fn ask(client: &Client, method: &str, path: &str, body: Value) -> Step<Answer> {
    client.attempt(method, path, Some(&body)).map_err(|_| Died)
}

fn accounts(owner: &Client) -> Vec<Value> {
    list(&owner.get("/v1/metering/accounts").ok(), "accounts").to_vec()
}

/// What holds at the end of every day, whatever happened in it.
pub(super) fn check(server: &Server, day: &Day) {
    let owner = server.owner();
    if day.script == Script::Office {
        let usage = owner.get("/v1/metering/usage?subscription=reading").ok();
        let pages = list(&usage, "usage").iter().find(|metric| metric["code"] == "pages").cloned().unwrap_or_default();
        assert_eq!(pages["events"], EVENTS, "each event is there once: {usage}");
        assert_eq!(text(&pages, "cost"), "0.03", "and costs once");
    }
    let ledger = owner.get("/v1/metering/check").ok();
    assert_eq!(ledger["ok"], true, "{ledger}");

    let actions = owner.get("/v1/actions").ok();
    let actions = list(&actions, "actions");
    let total: i64 = actions.iter().map(|action| micros(text(action, "cost"))).sum();
    let spent = accounts(&owner).iter().find(|a| a["account"] == "tenant").map(|a| micros(text(a, "spent")));
    assert_eq!(spent, Some(total), "what the actions cost is what the tenant spent");
    for account in accounts(&owner) {
        assert_eq!(text(&account, "held"), "0", "nothing is under way, so nothing is held: {account}");
    }

    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for action in actions {
        assert!(["done", "failed", "refused"].contains(&text(action, "state")), "{action}");
        if let Some(approval) = action["approval"].as_str().filter(|_| action["state"] != "refused") {
            *uses.entry(approval).or_default() += 1;
        }
        let leaves = [text(action, "opened_leaf")].into_iter().chain(action["closed_leaf"].as_str());
        for leaf in leaves {
            let proven = owner.get(&format!("/v1/audit/leaves/{leaf}")).ok();
            let facts = proven["entry"].to_string();
            // What was refused was admitted under nothing.
            let about = if action["state"] == "refused" { "resource" } else { "admission" };
            assert!(facts.contains(text(action, about)), "the leaf of {action} is about it: {proven}");
        }
    }
    assert!(uses.values().all(|count| *count == 1), "an approval was used more than once: {uses:?}");
    assert!(!day.paid || !uses.is_empty(), "the payment used an approval");

    let report = &owner.get("/v1/audit/verify").ok()["report"];
    assert_eq!(report["in_doubt"], json!([]), "{report}");
    assert_eq!(report["outcomes_without_intent"], json!([]), "{report}");
    assert!(report["size"].as_u64().unwrap() >= actions.len() as u64, "{report}");
}
