//! Usage by many clients at once: counted once each, and never beyond a budget.

use std::thread;

use serde_json::{Value, json};

use crate::support::{Answer, Client, Home, Options, list, make_key, micros, text};

/// How many clients send at once.
const SENDERS: usize = 8;

/// Pages cost ten cents each, and whoever reads says so.
fn sell_pages(owner: &Client) {
    owner.put("/v1/metering/metrics/pages", json!({ "aggregation": "count", "unit_price": "0.10" })).ok();
    owner.put("/v1/metering/reporters/reading", json!({ "reporters": ["*"] })).ok();
}

fn event(transaction: &str) -> Value {
    json!({ "transaction_id": transaction, "external_subscription_id": "reading", "code": "pages", "properties": {} })
}

fn send(agent: &Client, event: Value) -> Answer {
    agent.post("/v1/metering/events", event)
}

/// Lets every sender do the same at once and gives what each got.
fn at_once<T: Send>(send: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|number| {
                scope.spawn({
                    let send = &send;
                    move || send(number)
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    })
}

#[test]
fn an_event_sent_by_eight_at_once_counts_once() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    sell_pages(&owner);
    let agent = server.bearer(text(&make_key(&owner, json!({ "role": "agent", "name": "worker" })), "token"));
    let receipts: Vec<Value> = at_once(|_| send(&agent, event("tx-1")).ok());
    let first: Vec<&Value> = receipts.iter().filter(|receipt| receipt["duplicate"] == false).collect();
    assert_eq!(first.len(), 1, "{receipts:?}");
    for receipt in &receipts {
        assert_eq!((&receipt["admission"], &receipt["cost"]), (&first[0]["admission"], &json!("0.1")), "everybody is told the same");
    }
    let mut other = event("tx-1");
    other["properties"] = json!({ "page": 7 });
    send(&agent, other).refused(409, "metering.duplicate_conflict");
    let usage = owner.get("/v1/metering/usage?subscription=reading").ok();
    let pages = list(&usage, "usage");
    assert_eq!((pages.len(), pages[0]["events"].as_u64(), text(&pages[0], "cost")), (1, Some(1), "0.1"), "{usage}");
}

#[test]
fn eight_that_spend_one_budget_spend_no_more_than_it() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    sell_pages(&owner);
    let delegated = owner.post("/v1/delegations", json!({ "to": "lead", "budget": "1.05" })).ok();
    let lead = json!({ "role": "agent", "name": "lead", "chain": text(&delegated, "chain") });
    let lead = server.bearer(text(&make_key(&owner, lead), "token"));
    // Each worker may spend as much as the lead; together they may not.
    let workers: Vec<Client> = (0..SENDERS)
        .map(|number| {
            let name = format!("worker-{number}");
            owner.post("/v1/identities", json!({ "kind": "agent", "name": name })).ok();
            let chain = lead.post("/v1/delegations", json!({ "to": name })).ok();
            let key = make_key(&owner, json!({ "role": "agent", "name": name, "chain": text(&chain, "chain") }));
            server.bearer(text(&key, "token"))
        })
        .collect();
    let answers: Vec<Answer> =
        at_once(|number| (0..4).map(|round| send(&workers[number], event(&format!("tx-{number}-{round}")))).collect::<Vec<_>>()).concat();
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(taken, 10, "1.05 pays for ten events of 0.10");
    for answer in answers.iter().filter(|answer| !answer.is_ok()) {
        let refused = answer.refused(429, "metering.budget_exceeded");
        assert!(text(&refused, "detail").contains("`lead`"), "it names the hop that has no room: {refused}");
    }
    let accounts = owner.get("/v1/metering/accounts").ok();
    let account = format!("link:{}", text(&delegated, "link"));
    let spent = list(&accounts, "accounts").iter().find(|a| a["account"] == *account).map(|a| micros(text(a, "spent")));
    assert_eq!(spent, Some(1_000_000), "{accounts}");
    let check = owner.get("/v1/metering/check").ok();
    assert_eq!(check["ok"], true, "{check}");
}

#[test]
fn what_the_server_measures_itself_cannot_be_reported_from_outside() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    sell_pages(&owner);
    let agent = server.bearer(text(&make_key(&owner, json!({ "role": "agent", "name": "worker" })), "token"));
    let refused = send(&agent, event("creto:adm_1:pages")).refused(422, "metering.bad_event");
    assert!(text(&refused, "detail").contains("transaction_id"), "{refused}");
    for code in ["runtime.seconds", "runtime.egress_bytes", "messaging.messages", "oversight.requests"] {
        let mut own = event("tx-1");
        (own["code"], own["properties"]) = (json!(code), json!({ "quantity": 1 }));
        let refused = send(&agent, own).refused(422, "metering.bad_event");
        assert!(text(&refused, "detail").contains("code"), "{refused}");
    }
    let actions = owner.get("/v1/actions").ok();
    assert_eq!(actions["actions"], json!([]), "nothing of it is on record");
    send(&agent, event("tx-1")).ok();
}

#[test]
fn a_ceiling_is_set_from_the_command_line_and_binds_at_once() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    sell_pages(&owner);
    let delegated = owner.post("/v1/delegations", json!({ "to": "worker", "budget": "0.10" })).ok();
    let key = json!({ "role": "agent", "name": "worker", "chain": text(&delegated, "chain") });
    let agent = server.bearer(text(&make_key(&owner, key), "token"));
    send(&agent, event("tx-1")).ok();
    send(&agent, event("tx-2")).refused(429, "metering.budget_exceeded");
    let account = format!("link:{}", text(&delegated, "link"));
    let set = |words: &[&str]| home.command(["budget", "set", &account]).args(words).output().unwrap();
    let raised = set(&["0.20"]);
    assert!(raised.status.success() && String::from_utf8_lossy(&raised.stdout).contains("0.2 at most"), "{raised:?}");
    send(&agent, event("tx-2")).ok();
    send(&agent, event("tx-3")).refused(429, "metering.budget_exceeded");
    assert!(set(&["--none"]).status.success());
    send(&agent, event("tx-3")).ok();
    assert!(set(&["0.05"]).status.success(), "lower than what is spent: nothing further is admitted");
    send(&agent, event("tx-4")).refused(429, "metering.budget_exceeded");
    for bad in [&["-1"][..], &["much"], &[], &["1", "--none"]] {
        assert!(!set(bad).status.success(), "{bad:?}");
    }
    let unknown = home.command(["budget", "set", "link:none", "1"]).output().unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("metering.unknown_account"), "{unknown:?}");
}

#[test]
fn rates_are_what_the_configuration_says_for_everybody_and_for_one() {
    let config = "[[rates]]\nper_second = 1\nburst = 2\n\
                  [[rates]]\nagent = \"spiffe://creto.local/tenant/default/agent/busy\"\nper_second = 1\nburst = 5\n";
    let home = Home::new();
    let server = home.serve(&Options { config, ..Options::default() });
    let owner = server.owner();
    sell_pages(&owner);
    for (name, burst) in [("worker", 2), ("busy", 5)] {
        let agent = server.bearer(text(&make_key(&owner, json!({ "role": "agent", "name": name })), "token"));
        let answers: Vec<Answer> = at_once(|number| send(&agent, event(&format!("{name}-{number}"))));
        let taken = answers.iter().filter(|answer| answer.is_ok()).count();
        // A slow machine may let a second pass.
        assert!((burst..=burst + 2).contains(&taken), "{name}: {taken}");
        for answer in answers.iter().filter(|answer| !answer.is_ok()) {
            answer.refused(429, "metering.rate_limited");
        }
    }
}
