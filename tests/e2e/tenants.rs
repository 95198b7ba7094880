//! Two tenants in one database: whatever one of them asks for, with whatever identifiers of the other, it never gets the other's things.

mod world;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::authorization::{Operation, filled, operations};
use crate::support::{Answer, Client, Home, Options, Server, runsc};
use world::World;

/// Starts one server for each tenant in turn, and plants everything in both.
fn two_tenants(home: &Home) -> (Server, World, World) {
    let sandboxes = runsc().is_some();
    let options = |tenant| Options { tenant, sandboxes, ..Options::default() };
    let server = home.serve(&options(Some("other")));
    let other = World::plant(&server, "other", sandboxes);
    server.stop();
    let server = home.serve(&options(None));
    let own = World::plant(&server, "default", sandboxes);
    (server, own, other)
}

#[test]
fn no_route_gives_one_tenant_what_is_anothers() {
    let home = Home::new();
    let (server, own, other) = two_tenants(&home);
    let operations = operations(&server.nobody());
    let mut wrong = Vec::new();
    // The local tenant is `default`; the other's keys work here too, and speak for their tenant only.
    for (visitor, victim) in [(&own, &other), (&other, &own)] {
        let before = victim.seen_by_itself(&server);
        assert!(before.values().any(|body| body.contains(&victim.marker())), "the victim sees its own: {before:?}");
        for (role, token) in &visitor.tokens {
            let client = server.bearer(token);
            let who = client.get("/v1/whoami").ok();
            assert_eq!(who["tenant"], visitor.tenant, "a key speaks for its tenant: {who}");
            for operation in &operations {
                let answer = call(&client, operation, victim);
                wrong.extend(judge(visitor, victim, role, operation, &answer));
            }
            for path in victim.queries() {
                let answer = client.get(&path);
                wrong.extend(leaks(victim, &answer).map(|leak| format!("{} {role}: GET {path}: {leak}", visitor.tenant)));
            }
        }
        let after = victim.seen_by_itself(&server);
        for (path, body) in &before {
            if after[path] != *body {
                wrong.push(format!("{} changed {path} of {}:{}", visitor.tenant, victim.tenant, difference(body, &after[path])));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_strangers_revocation_ends_no_run() {
    if runsc().is_none() {
        return;
    }
    let home = Home::new();
    let (server, own, other) = two_tenants(&home);
    let body = json!({ "argv": ["sh", "-c", "sleep 1; exit 5"], "chain": other.id("chain") });
    let mut events = server.bearer(&other.tokens["operator"]).open("POST", "/v1/runs", Some(&body)).unwrap();
    assert_eq!(events.event().unwrap().unwrap()["event"], "started");
    let stranger = server.bearer(&own.tokens["operator"]);
    stranger.delete(&format!("/v1/links/{}", other.id("link")));
    let mut last = Value::Null;
    while let Some(event) = events.event().unwrap() {
        last = event;
    }
    assert_eq!(last["exit_code"], 5, "it ends by itself: {last}");
}

#[test]
fn the_owners_socket_speaks_for_the_local_tenant_only() {
    let home = Home::new();
    let server = home.serve(&Options { tenant: Some("other"), ..Options::default() });
    let other = World::plant(&server, "other", false);
    server.stop();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    owner.with("creto-as", &other.human).get("/v1/whoami").refused(404, "app.no_such_human");
    for operation in operations(&owner).iter().filter(|operation| operation.method == "GET") {
        let answer = call(&owner, operation, &other);
        assert_eq!(leaks(&other, &answer).collect::<Vec<_>>(), Vec::<String>::new(), "{} {}", operation.method, operation.path);
    }
}

#[test]
fn the_directorys_operator_key_is_the_local_tenants() {
    let home = Home::new();
    for tenant in ["other", "default", "other"] {
        let server = home.serve(&Options { tenant: Some(tenant), ..Options::default() });
        assert_eq!(server.operator().get("/v1/whoami").ok()["tenant"], tenant);
        server.stop();
    }
}

/// What a visitor sends to reach the victim's things.
fn call(client: &Client, operation: &Operation, victim: &World) -> Answer {
    let path = filled(&operation.path, |name| victim.fill(&operation.path, name));
    if operation.path == "/v1/messaging/deliver" {
        return client.octets("POST", &path, &victim.envelope);
    }
    let body = operation.has_body.then(|| victim.body(&operation.method, &operation.path).unwrap_or_else(|| json!({})));
    client.call(&operation.method, &path, body.as_ref())
}

/// Routes that may answer well although a stranger's identifiers were sent: what they name is then the visitor's own, or nobody's.
const OWN: [(&str, &str); 18] = [
    // Transaction identifiers, subscriptions and memories are each tenant's own.
    ("POST", "/v1/metering/events"),
    // A question about one's own subscriptions: it says of each event why it is nobody's.
    ("POST", "/v1/metering/backfill"),
    // Nothing is acknowledged that is not there; that nothing was is seen afterwards.
    ("POST", "/v1/messaging/acknowledge"),
    ("DELETE", "/v1/session"),
    // How the visitor itself is told, and its own links.
    ("PUT", "/v1/oversight/me"),
    ("DELETE", "/v1/oversight/me/links/{channel}"),
    // A question to whoever wants to sign in, and the same for everybody.
    ("POST", "/v1/session/passkey/options"),
    // Names a tenant may give to its own.
    ("POST", "/v1/identities"),
    ("POST", "/v1/accounts"),
    // A bundle is of the visitor's own log, whatever is asked for.
    ("POST", "/v1/oversight/export/bundle"),
    // The keys of the log are the installation's.
    ("POST", "/v1/audit/keys/rotate"),
    // Names a tenant may give to its own quotas, and a budget of its own chain.
    ("PUT", "/v1/metering/quotas/{code}"),
    ("DELETE", "/v1/metering/quotas/{code}"),
    ("POST", "/v1/metering/budgets"),
    // A run bills its own tenant.
    ("POST", "/v1/metering/billing-runs"),
    ("POST", "/v1/metering/quarantine/replay"),
    ("PUT", "/v1/metering/retention"),
    ("POST", "/v1/metering/retention/pass"),
];

fn judge(visitor: &World, victim: &World, role: &str, operation: &Operation, answer: &Answer) -> Vec<String> {
    let name = format!("{} {role}: {} {}", visitor.tenant, operation.method, operation.path);
    let mut wrong: Vec<String> = leaks(victim, answer).map(|leak| format!("{name}: {leak}")).collect();
    let route = (operation.method.as_str(), operation.path.as_str());
    let changes = operation.method != "GET";
    if changes && answer.is_ok() && !OWN.contains(&route) {
        wrong.push(format!("{name}: did something with another tenant's identifiers: {}", answer.text()));
    }
    if !changes && answer.is_ok() && operation.path.contains('{') && !is_empty(&answer.ok()) {
        wrong.push(format!("{name}: found something under another tenant's identifier: {}", answer.text()));
    }
    if answer.status >= 500 && answer.code() != "app.no_runtime" {
        wrong.push(format!("{name}: fails with {}: {}", answer.status, answer.text()));
    }
    if route == ("POST", "/v1/metering/events") && answer.is_ok() {
        let receipt: Value = answer.ok();
        // The second role that comes here repeats its own tenant's event.
        if receipt["admission"] == victim.admission_of_event {
            wrong.push(format!("{name}: answered with the other tenant's admission"));
        }
    }
    wrong
}

/// Both texts from where they part.
fn difference(before: &str, after: &str) -> String {
    let common = before.chars().zip(after.chars()).take_while(|(one, other)| one == other).count();
    let rest = |text: &str| text.chars().skip(common.saturating_sub(40)).take(160).collect::<String>();
    format!("\n  was …{}\n  is  …{}", rest(before), rest(after))
}

/// Nothing but empty lists.
fn is_empty(answer: &Value) -> bool {
    answer.as_object().is_some_and(|members| members.values().all(|member| member.as_array().is_some_and(Vec::is_empty)))
}

/// What of the victim is in an answer.
fn leaks(victim: &World, answer: &Answer) -> impl Iterator<Item = String> {
    // The server acts in every tenant's log, as a service of its local tenant; and a refusal names what its caller sent.
    let text = answer.text().replace(&format!("/tenant/{}/service/creto", victim.tenant), "");
    let text = if answer.code() == "messaging.not_yours" { String::new() } else { text };
    let marks = [victim.marker(), format!("/tenant/{}/", victim.tenant)];
    let found: Vec<String> = marks.iter().filter(|mark| text.contains(*mark)).map(|mark| format!("`{mark}` in {text}")).collect();
    found.into_iter()
}

/// Answers by path.
type Seen = BTreeMap<String, String>;
