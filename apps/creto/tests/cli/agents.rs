//! What agents use and remember, and what policy says.

use serde_json::Value;

use super::house::{House, Ran, Serving};

fn by(house: &House, server: &Serving, token: &str, args: &[&str]) -> Ran {
    let mut command = house.command(args);
    command.env("CRETO_URL", &server.url).env("CRETO_TOKEN", token);
    Ran::of(&command.output().unwrap())
}

#[test]
fn usage_is_priced_counted_once_and_drawn_as_a_tree() {
    let house = House::new();
    let server = house.serve();
    house.run(&["meter", "price", "tokens", "--sum", "quantity", "--unit-price", "0.25"]).ok();
    house.run(&["meter", "price", "calls", "--count", "--unit-price", "1"]).ok();
    house.run(&["meter", "price", "calls", "--count", "--unit-price=-1"]).refused("metering.bad_metric");
    let lead = house.run(&["agent", "delegate", "--to", "lead"]).ok();
    let below = house.run(&["agent", "delegate", "--chain", lead.trim(), "--to", "worker", "--budget", "10"]).ok();
    let key = house.run(&["key", "create", "--role", "agent", "--name", "w", "--chain", below.trim()]).ok();
    let track = |args: &[&str]| by(&house, &server, key.trim(), &[&["meter", "track"], args].concat());
    track(&["tokens", "--quantity", "8", "--id", "t1"]).ok();
    assert!(track(&["tokens", "--quantity", "8", "--id", "t1"]).ok().contains("recorded before"));
    track(&["calls", "--quantity", "1"]).ok();
    track(&["calls", "--quantity", "1"]).ok();
    track(&["unknown", "--quantity", "1"]).refused("metering.unknown_metric");
    track(&["tokens", "--quantity", "100"]).refused("metering.budget_exceeded");
    let usage = house.run(&["usage", "--json"]).json();
    let of = |code: &str| usage["usage"].as_array().unwrap().iter().find(|row| row["code"] == code).cloned().unwrap_or(Value::Null);
    assert_eq!((&of("tokens")["cost"], &of("calls")["cost"]), (&"2".into(), &"2".into()), "{usage}");
    let costs = house.run(&["costs"]).ok();
    for line in ["alice", "└─ lead", "   └─ worker"] {
        assert!(costs.lines().any(|found| found.starts_with(line) && found.ends_with("  4")), "{line}: {costs}");
    }
    let budgets = house.run(&["budgets"]).ok();
    assert!(budgets.lines().any(|line| line.contains("worker") && line.contains("10") && line.contains('4')), "{budgets}");
    assert!(house.run(&["meter", "check"]).ok().contains("the ledger balances"));
}

#[test]
fn usage_over_time_and_costs_of_a_window_are_tables() {
    let house = House::new();
    let server = house.serve();
    house.run(&["meter", "price", "tokens", "--sum", "quantity", "--unit-price", "0.25"]).ok();
    house.run(&["meter", "price", "calls", "--count", "--unit-price", "1"]).ok();
    let lead = house.run(&["agent", "delegate", "--to", "lead"]).ok();
    let below = house.run(&["agent", "delegate", "--chain", lead.trim(), "--to", "worker", "--budget", "10"]).ok();
    for (chain, args) in
        [(&lead, ["tokens", "--quantity", "6"]), (&below, ["tokens", "--quantity", "2"]), (&below, ["calls", "--quantity", "1"])]
    {
        let key = house.run(&["key", "create", "--role", "agent", "--name", "k", "--chain", chain.trim()]).ok();
        by(&house, &server, key.trim(), &[&["meter", "track"], &args[..]].concat()).ok();
    }
    // The last line is the whole window, whatever days the test ran on.
    let last = |args: &[&str]| house.run(args).ok().lines().last().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let head = |args: &[&str]| house.run(args).ok().lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(head(&["usage", "--by", "agent", "--since", "30d"]), "day worker lead all");
    assert_eq!(last(&["usage", "--by", "agent", "--since", "30d"]), "all 1.5 1.5 3");
    assert_eq!(head(&["usage", "--since", "30d", "--step", "month"]), "month tokens calls all");
    assert_eq!(last(&["usage", "--by", "agent", "--metric", "tokens", "--show", "units"]), "all 6 2 8");
    assert_eq!(last(&["usage", "--since", "2001-01-01", "--until", "2001-01-31"]), "nothing was used in this time");
    house.run(&["usage", "--since", "3h"]).refused("app.usage");
    house.run(&["usage", "--by", "property", "--since", "7d"]).refused("metering.malformed_request");
    for window in [&["costs", "--since", "7d"][..], &["costs", "--since", "3h"]] {
        let costs = house.run(window).ok();
        for line in ["alice", "└─ lead", "   └─ worker"] {
            assert!(costs.lines().any(|found| found.starts_with(line)), "{line}: {costs}");
        }
        assert!(costs.lines().any(|found| found.contains("lead") && found.ends_with("  3")), "{costs}");
    }
    assert_eq!(last(&["costs", "--until", "2001-01-01"]), "nothing was spent yet");
    assert_eq!(
        house.run(&["budgets", "--json"]).json()["accounts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|account| account["parent"].is_null())
            .count(),
        1
    );
}

#[test]
fn an_agent_finds_corrects_and_forgets_what_is_its_own() {
    let house = House::new();
    let server = house.serve();
    let (ann, ben) = (house.agent_key("ann"), house.agent_key("ben"));
    let memory = |token: &str, args: &[&str]| by(&house, &server, token, &[&["memory"], args].concat());
    let text = "the harbour\nopens at \u{202e}six";
    let item = memory(&ann, &["put", text, "--source", "tool:search"]).ok();
    let item = item.trim();
    let found = memory(&ann, &["search", "harbour", "opens"]).ok();
    assert!(found.contains(item) && found.contains(r"the harbour\nopens at \u{202e}six"), "{found}");
    assert_eq!(memory(&ann, &["get", item, "--raw"]).ok(), text);
    assert!(memory(&ben, &["search", "harbour"]).ok().contains("nothing was found"));
    for args in [&["get", item][..], &["forget", item], &["put", "mine", "--supersedes", item]] {
        memory(&ben, args).refused("authz.no_permit");
    }
    let newer = memory(&ann, &["put", "the harbour opens at seven", "--supersedes", item]).ok();
    let found = memory(&ann, &["search", "harbour"]).ok();
    assert!(found.contains(newer.trim()) && !found.contains(item), "{found}");
    memory(&ann, &["forget", item]).ok();
    assert_eq!(memory(&ann, &["get", item, "--json"]).json()["text"], Value::Null);
    memory(&ann, &["forget", item]).refused("memory.forgotten");
    memory(&ann, &["get", "mem_none"]).refused("app.bad_memory_request");
}

#[test]
fn an_approver_reads_the_reasons_recorded_for_an_action() {
    let house = House::new();
    let server = house.serve();
    let token = house.agent_key("ann");
    let digest = "ab".repeat(32);
    by(&house, &server, &token, &["memory", "put", "because it is due", "--action", &digest]).ok();
    let approver = house.run(&["key", "create", "--role", "approver", "--name", "eve"]).ok();
    let path = format!("/v1/memory/reasoning/{digest}");
    let (status, answer) = server.ask(approver.trim(), "GET", &path, None);
    assert_eq!((status, &answer["reasoning"][0]["text"]), (200, &"because it is due".into()), "{answer}");
    assert_eq!(server.ask(&token, "GET", &path, None).0, 403, "the agent is no approver");
}

#[test]
fn memory_waits_for_nobody_so_a_rule_that_asks_a_human_refuses_it() {
    let house = House::new();
    let server = house.serve();
    let token = house.agent_key("ann");
    let policy = "@id(\"all\") permit (principal, action, resource);\n@id(\"ask\") @oversight(\"careful\")\n\
                  forbid (principal, action == Action::\"memory.put\", resource) unless { context.approved };";
    house.run(&["policy", "publish", &house.file("p.cedar", policy)]).ok();
    by(&house, &server, &token, &["memory", "put", "x"]).refused("app.memory_needs_human");
}

#[test]
fn a_memory_and_its_admission_are_one_leaf_and_a_refusal_is_a_leaf_too() {
    let house = House::new();
    let server = house.serve();
    let (ann, ben) = (house.agent_key("ann"), house.agent_key("ben"));
    let item = by(&house, &server, &ann, &["memory", "put", "the harbour", "--json"]).json();
    let (_, actions) = server.ask(&ann, "GET", "/v1/actions", None);
    let of = |actions: &Value, state: &str| -> Vec<(Value, Value)> {
        let all = actions["actions"].as_array().unwrap().iter().filter(|row| row["state"] == state);
        all.map(|row| (row["action"].clone(), row["opened_leaf"].clone())).collect()
    };
    assert_eq!(of(&actions, "done"), [("memory.put".into(), item["leaf"].clone())], "{actions}");
    assert!(!actions.to_string().contains("harbour"), "the words stand in one place: {actions}");
    by(&house, &server, &ben, &["memory", "get", item["id"].as_str().unwrap()]).refused("authz.no_permit");
    let (_, actions) = server.ask(&ben, "GET", "/v1/actions", None);
    let refused = of(&actions, "refused");
    assert_eq!(refused.iter().map(|(action, _)| action.clone()).collect::<Vec<_>>(), [Value::from("memory.get")], "{actions}");
    let leaf = refused[0].1.as_str().unwrap();
    assert!(house.run(&["audit", "show", leaf]).ok().contains("deny"));
}

#[test]
fn a_suspended_agents_memory_is_closed_to_it() {
    let house = House::new();
    let server = house.serve();
    let token = house.agent_key("ann");
    by(&house, &server, &token, &["memory", "put", "before"]).ok();
    house.run(&["agent", "suspend", "ann"]).ok();
    assert_eq!(by(&house, &server, &token, &["memory", "search", "before"]).code, 125);
}

#[test]
fn a_policy_is_checked_published_and_explained() {
    let house = House::new();
    let _server = house.serve();
    let explain = || house.run(&["policy", "explain", "tool.call", "tool:x"]).ok();
    assert!(explain().contains(": allow"), "{}", explain());
    let bad = house.file("bad.cedar", "permit (principal, action");
    house.run(&["policy", "check", &bad]).refused("authz.policy_syntax");
    house.run(&["policy", "publish", &bad]).refused("authz.policy_syntax");
    let good = house.file("good.cedar", "@id(\"no\") forbid (principal, action == Action::\"tool.call\", resource);");
    assert!(house.run(&["policy", "check", &good]).ok().contains("the policy is good"));
    assert!(explain().contains(": allow"), "a check changes nothing");
    house.run(&["policy", "publish", &good]).ok();
    assert!(explain().contains("deny"), "{}", explain());
    house.run(&["policy", "publish", &good, "--based-on", "0"]).refused("authz.publish_conflict");
    assert!(house.run(&["policy", "show"]).ok().contains("tool.call"));
    assert!(house.run(&["policy", "history"]).ok().contains("alice"));
    house.run(&["policy", "check", "/nowhere.cedar"]).refused("app.usage");
}
