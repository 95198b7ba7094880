//! Keys, accounts, agents and what is delegated to them.

use serde_json::json;

use super::house::House;

#[test]
fn a_key_is_shown_once_and_good_until_it_is_revoked() {
    let house = House::new();
    let server = house.serve();
    for (role, identity) in [("operator", "human/k"), ("approver", "human/k"), ("agent", "agent/k")] {
        let made = house.run(&["key", "create", "--role", role, "--name", "k", "--ttl", "1h", "--json"]).json();
        let field = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{name}: {made}")).to_owned();
        assert!(field("identity").ends_with(identity), "{made}");
        assert_eq!(field("role"), role);
        assert!(field("token").starts_with(&format!("creto_{role}_")) && field("not_after").ends_with('Z'), "{made}");
        assert_eq!(server.ask(&field("token"), "GET", "/v1/whoami", None).0, 200);
        let listed = house.run(&["key", "list"]).ok();
        assert!(listed.contains(&field("id")) && !listed.contains(&field("token")), "{listed}");
        house.run(&["key", "revoke", &field("id")]).ok();
        assert_eq!(server.ask(&field("token"), "GET", "/v1/whoami", None).0, 401, "{role}");
    }
}

#[test]
fn the_token_alone_is_on_standard_output() {
    let house = House::new();
    let ran = house.run(&["key", "create", "--role", "agent", "--name", "a"]);
    assert!(ran.err.contains("not shown again"), "{ran:?}");
    let token = ran.ok();
    assert!(token.starts_with("creto_agent_") && token.lines().count() == 1, "{token}");
    house.run(&["key", "create", "--role", "agent", "--name", "a", "--ttl", "soon"]).refused("app.usage");
}

#[test]
fn a_delegation_narrows_and_ends_with_its_agent() {
    let house = House::new();
    let server = house.serve();
    let made = house.run(&["agent", "delegate", "--to", "lead", "--budget", "5", "--allow", "tool.*", "--ttl", "1h", "--json"]).json();
    let chain = made["chain"].as_str().unwrap();
    let below = house.run(&["agent", "delegate", "--chain", chain, "--to", "worker", "--budget", "2"]).ok();
    house.run(&["agent", "delegate", "--chain", chain, "--to", "greedy", "--budget", "50"]).refused("nhi.chain_widened");
    let key = house.run(&["key", "create", "--role", "agent", "--name", "w", "--chain", below.trim(), "--json"]).json();
    let token = key["token"].as_str().unwrap();
    let act = || server.ask(token, "POST", "/v1/actions", Some(&json!({ "action": "tool.call", "resource": "tool:x" })));
    assert_eq!(act().0, 200, "{:?}", act());
    let explained = house.run(&["policy", "explain", "runtime.exec", "sandbox:default", "--chain", below.trim()]).ok();
    assert!(explained.contains("deny (authz.not_granted)"), "{explained}");
    house.run(&["agent", "suspend", "lead"]).ok();
    assert_ne!(act().0, 200, "a suspended agent's delegations hold");
    house.run(&["agent", "resume", "lead"]).ok();
    assert_eq!(act().0, 200, "{:?}", act());
    house.run(&["agent", "revoke-link", made["link"].as_str().unwrap()]).ok();
    assert_ne!(act().0, 200, "a revoked link's delegations hold");
}

#[test]
fn an_account_signs_in_with_the_password_that_was_piped_in() {
    let house = House::new();
    let server = house.serve();
    house.fed(&["account", "create", "--name", "zoe"], "a password of enough length\n").ok();
    house.fed(&["account", "create", "--name", "yan"], "short\n").refused("nhi.password_length");
    house.fed(&["account", "create", "--name", "xin"], "").refused("app.usage");
    let sign_in = |password: &str| server.ask("", "POST", "/v1/session", Some(&json!({ "name": "zoe", "password": password }))).0;
    // An empty bearer is a credential that is no good, so the session's own endpoint is asked through the socket's twin: the status of
    // a wrong password differs from that of the right one.
    assert_ne!(sign_in("a password of enough length"), sign_in("another password of length"));
}
