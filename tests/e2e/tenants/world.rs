//! A tenant with one of everything, each marked, and how to name it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Seen;
use crate::support::{Client, Home, Server, list, make_key, text};

/// One tenant's things.
pub(super) struct World {
    pub(super) tenant: &'static str,
    /// Keys by role.
    pub(super) tokens: BTreeMap<&'static str, String>,
    pub(super) human: String,
    pub(super) envelope: Vec<u8>,
    pub(super) admission_of_event: Value,
    ids: BTreeMap<&'static str, String>,
}

impl World {
    /// What everything of this tenant says somewhere.
    pub(super) fn marker(&self) -> String {
        marker(self.tenant)
    }

    /// Makes one of everything in the server's local tenant.
    pub(super) fn plant(server: &Server, tenant: &'static str, sandboxes: bool) -> Self {
        let owner = server.owner();
        assert_eq!(owner.get("/v1/whoami").ok()["tenant"], tenant);
        let marker = marker(tenant);
        let (human, agent, peer) = (format!("ada-of-{tenant}"), format!("worker-of-{tenant}"), format!("peer-of-{tenant}"));
        owner.post("/v1/accounts", json!({ "name": human, "password": format!("password of {tenant}") })).ok();
        let delegated = owner.post("/v1/delegations", json!({ "to": agent, "budget": "10" })).ok();
        let chain = text(&delegated, "chain").to_owned();
        let agent_key = make_key(&owner, json!({ "role": "agent", "name": agent, "chain": chain }));
        let peer_key = make_key(&owner, json!({ "role": "agent", "name": peer }));
        let key = |role| text(&make_key(&owner, json!({ "role": role, "name": human })), "token").to_owned();
        let tokens = BTreeMap::from([
            ("operator", key("operator")),
            ("approver", key("approver")),
            ("agent", text(&agent_key, "token").to_owned()),
            ("peer", text(&peer_key, "token").to_owned()),
        ]);
        let mut ids = BTreeMap::from([
            ("agent", agent),
            ("chain", chain),
            ("link", text(&delegated, "link").to_owned()),
            ("key", text(&agent_key, "id").to_owned()),
            ("account", format!("link:{}", text(&delegated, "link"))),
        ]);
        let worker = server.bearer(&tokens["agent"]);
        let admission_of_event = plant_usage(&owner, &worker, &marker);
        plant_actions(&owner, &worker, &marker, &mut ids);
        plant_policy(&owner, &marker);
        plant_billing(&owner, tenant, &marker, &mut ids);
        let hook = owner.post("/v1/webhooks", json!({ "url": format!("https://{marker}.example.com/") })).ok();
        ids.insert("webhook", text(&hook["endpoint"], "id").to_owned());
        plant_memory(&worker, &marker, &mut ids);
        let envelope = plant_message(server, &tokens, &peer, &mut ids);
        if sandboxes {
            owner.post("/v1/runs", json!({ "argv": ["echo", marker], "chain": ids["chain"] })).ok_lines();
            let runs = owner.get("/v1/runs").ok();
            ids.insert("run", text(&list(&runs, "runs")[0], "run").to_owned());
        }
        Self { tenant, tokens, human, envelope, admission_of_event, ids }
    }

    pub(super) fn id(&self, name: &str) -> String {
        self.ids.get(name).cloned().unwrap_or_else(|| "run_01a2060ae855752e8d1500f9ba0210fd".to_owned())
    }

    /// The value of a path's parameter.
    pub(super) fn fill(&self, path: &str, name: &str) -> String {
        match name {
            "tenant" => self.tenant.to_owned(),
            "path" => "checkpoint".to_owned(),
            "kind" => "agent".to_owned(),
            "name" => self.id("agent"),
            "change" => "revoke".to_owned(),
            "code" if path.starts_with("/v1/metering/metrics") => "pages".to_owned(),
            "code" => format!("only-{}", self.tenant),
            "table" => "no-such-table".to_owned(),
            "transaction" if path.contains("wallet-transactions") || path.contains("wallet_transactions") => self.id("movement"),
            "key" if path.contains("/metadata/") => "tier".to_owned(),
            "transaction" => "shared".to_owned(),
            "run" if path.starts_with("/v1/metering/billing-runs") => self.id("billing run"),
            "alert" if path.starts_with("/v1/") => self.id("alert"),
            "alert" | "charge" | "external_id" | "feature" | "filter" | "subscription" => format!("only-{}", self.tenant),
            "privilege" => "level".to_owned(),
            "digest" => self.id("digest"),
            "id" if path.starts_with("/v1/keys") => self.id("key"),
            "id" if path.starts_with("/v1/oversight") => self.id("request"),
            "call" => self.id("call"),
            "id" if path.starts_with("/v1/memory") => self.id("memory"),
            "id" if path.starts_with("/v1/webhooks") || path.contains("/webhook_endpoints") => self.id("webhook"),
            "channel" => "slack".to_owned(),
            "provider" => "stripe".to_owned(),
            "credential" => "nobodys-passkey".to_owned(),
            "rule" => "require_approval".to_owned(),
            known if self.ids.contains_key(known) => self.id(known),
            "run" => self.id("run"),
            unknown => panic!("this test does not know what `{{{unknown}}}` of `{path}` names"),
        }
    }

    /// A body that names this tenant's things, where the route takes one that does.
    pub(super) fn body(&self, method: &str, path: &str) -> Option<Value> {
        Some(match (method, path) {
            ("POST", "/v1/actions/{admission}/outcome") => json!({ "ok": true }),
            ("POST", "/v1/actions/{admission}/resolve") => json!({ "happened": true }),
            ("POST", "/v1/delegations") => json!({ "to": self.id("agent"), "chain": self.id("chain") }),
            ("POST", "/v1/chains") => json!({ "chain": self.id("chain") }),
            ("POST", "/v1/keys") => json!({ "role": "agent", "name": "thief", "chain": self.id("chain") }),
            ("POST", "/v1/privacy/erase") => json!({ "request": self.id("request") }),
            ("POST", "/v1/runs") => json!({ "argv": ["true"], "chain": self.id("chain") }),
            ("POST", "/v1/policy/explain") => json!({ "action": "tool.call", "resource": "tool:mail", "chain": self.id("chain") }),
            ("PUT", "/v1/metering/ceilings") => json!({ "account": self.id("account"), "ceiling": "0" }),
            ("POST", "/v1/oversight/requests/{id}/approve" | "/v1/oversight/requests/{id}/passkey/options") => {
                json!({ "digest": self.id("digest") })
            }
            ("DELETE", "/v1/passkeys/{credential}") => json!({
                "proof": { "credential": "nobodys", "client_data": "e30", "authenticator_data": "", "signature": "" }
            }),
            ("POST", "/v1/oversight/requests/{id}/mail") => {
                json!({ "token": "0".repeat(64), "choice": "approve", "digest": self.id("digest") })
            }
            ("POST", "/v1/oversight/requests/{id}/vote") => json!({ "choice": "approve", "digest": self.id("digest"), "revision": 1 }),
            ("POST", "/v1/oversight/requests/{id}/break-glass") => json!({ "digest": self.id("digest"), "reason": "it burns" }),
            ("POST", "/v1/oversight/requests/{id}/break-glass/passkey") => json!({
                "digest": self.id("digest"), "reason": "it burns", "credential": "nobodys", "client_data": "e30", "authenticator_data": "",
                "signature": ""
            }),
            ("POST", "/v1/oversight/requests/{id}/edit") => json!({ "revision": 1, "arguments": {} }),
            ("POST", "/v1/oversight/requests/{id}/ask" | "/v1/oversight/requests/{id}/answer" | "/v1/oversight/requests/{id}/reply") => {
                json!({ "text": "who is it for?" })
            }
            ("POST", "/v1/oversight/requests/{id}/reassign") => json!({ "to": ["role:approver"] }),
            ("POST", "/v1/oversight/requests/{id}/review") => json!({ "justified": true, "comment": "mine" }),
            ("PUT", "/v1/oversight/requests/{id}/hold") => json!({ "reason": "a matter of law" }),
            ("POST", "/v1/oversight/batch") => json!({
                "choice": "approve", "requests": [{ "request": self.id("request"), "digest": self.id("digest"), "revision": 1 }]
            }),
            ("POST", "/v1/oversight/grants") => json!({ "request": self.id("request"), "uses_max": 1, "secs": 60 }),
            ("POST", "/v1/oversight/kill") => json!({ "agent": self.id("agent"), "reason": "it went wild" }),
            ("POST", "/v1/oversight/asked/{id}/reply") => json!({ "text": "mine" }),
            ("POST", "/humanlayer/v1/agent/function_calls/{call}/respond") => json!({ "approved": true }),
            ("POST", "/humanlayer/v1/agent/human_contacts/{call}/respond") => json!({ "response": "mine" }),
            ("POST", path) if path.ends_with("/escalate_email") => json!({ "escalation_msg": "mine" }),
            ("POST", "/v1/metering/events") => json!({
                "transaction_id": "shared", "external_subscription_id": "shared", "code": "pages"
            }),
            ("POST", "/v1/metering/subscriptions") => json!({
                "external_id": "mine", "external_customer_id": format!("only-{}", self.tenant), "plan_code": format!("only-{}", self.tenant)
            }),
            ("POST", "/v1/metering/applied-coupons") => json!({
                "external_customer_id": format!("only-{}", self.tenant), "coupon_code": format!("only-{}", self.tenant)
            }),
            ("PUT", "/v1/metering/quotas/{code}") => json!({
                "metric": "actions", "scope": "agent", "subject": format!("only-{}", self.tenant), "window": "total", "limit": "0"
            }),
            ("POST", "/v1/metering/budgets") => json!({ "name": "mine", "amount": "0" }),
            ("POST", "/v1/metering/alerts") => json!({
                "watched": { "wallet": self.id("wallet") },
                "alerts": [{ "code": "mine", "alert_type": "wallet_balance_amount", "thresholds": [{ "value": "1" }] }]
            }),
            ("PUT", "/v1/metering/alerts/{alert}") => json!({ "name": "mine" }),
            ("PUT" | "PATCH", path) if path.starts_with("/v1/") && path.ends_with("/entitlements") => {
                json!({ "entitlements": { format!("only-{}", self.tenant): { "level": 9 } } })
            }
            ("POST", "/v1/metering/backfill") => json!({
                "transaction_id": "mine", "external_subscription_id": format!("only-{}", self.tenant), "code": format!("only-{}", self.tenant)
            }),
            ("POST", "/v1/metering/subscriptions/{external_id}/rerate") => json!({ "at": "2026-01-01T00:00:00Z", "plan_version": 1 }),
            ("POST" | "PATCH", path) if path.starts_with("/lago/") && path.ends_with("/entitlements") => {
                json!({ "entitlements": { format!("only-{}", self.tenant): { "level": 9 } } })
            }
            ("POST", path) if path.starts_with("/lago/") && path.ends_with("/alerts") => json!({
                "alert": { "code": "mine", "alert_type": "current_usage_amount", "thresholds": [{ "value": "1" }] }
            }),
            ("PUT", path) if path.starts_with("/lago/") && path.ends_with("/{alert}") => json!({ "alert": { "name": "mine" } }),
            ("PUT", "/lago/api/v1/features/{code}") => json!({ "feature": { "name": "mine" } }),
            ("POST", "/v1/metering/wallets") => json!({
                "external_customer_id": format!("only-{}", self.tenant), "wallet": { "currency": "EUR", "rate_amount": "1" }
            }),
            ("POST", "/v1/metering/wallets/{wallet}/transactions") => json!({ "granted_credits": "1" }),
            ("PUT", "/v1/metering/wallet-transactions/{transaction}") => json!({ "paid": true }),
            ("PUT", "/v1/metering/invoices/{invoice}") => json!({ "payment_status": "succeeded" }),
            ("POST", "/v1/metering/credit-notes" | "/v1/metering/credit-notes/estimate") => json!({
                "invoice": self.id("invoice"), "items": [{ "fee": self.id("fee"), "amount_cents": 1 }]
            }),
            ("POST", "/lago/api/v1/applied_coupons") => json!({
                "applied_coupon": { "external_customer_id": format!("only-{}", self.tenant), "coupon_code": format!("only-{}", self.tenant) }
            }),
            ("POST", "/lago/api/v1/wallets") => json!({
                "wallet": { "external_customer_id": format!("only-{}", self.tenant), "currency": "EUR", "rate_amount": "1" }
            }),
            ("POST", "/lago/api/v1/customers/{external_id}/wallets") => json!({ "wallet": { "currency": "EUR", "rate_amount": "1" } }),
            ("POST", "/lago/api/v1/wallet_transactions") => {
                json!({ "wallet_transaction": { "wallet_id": self.id("wallet"), "granted_credits": "1" } })
            }
            ("PUT", "/lago/api/v1/wallets/{wallet}") => json!({ "wallet": { "name": "mine" } }),
            ("POST" | "PATCH", path) if path.starts_with("/lago/") && path.ends_with("/metadata") => {
                json!({ "metadata": { "tier": "mine" } })
            }
            ("PUT", "/lago/api/v1/invoices/{invoice}") => json!({ "invoice": { "payment_status": "succeeded" } }),
            ("POST", "/lago/api/v1/credit_notes") => json!({
                "credit_note": {
                    "invoice_id": self.id("invoice"), "credit_amount_cents": 1, "items": [{ "fee_id": self.id("fee"), "amount_cents": 1 }]
                }
            }),
            ("POST", "/lago/api/v1/credit_notes/estimate") => json!({
                "credit_note": { "invoice_id": self.id("invoice"), "items": [{ "fee_id": self.id("fee"), "amount_cents": 1 }] }
            }),
            ("PUT", "/lago/api/v1/credit_notes/{note}") => json!({ "credit_note": { "metadata": { "tier": "mine" } } }),
            ("POST", "/v1/memory") => json!({ "text": "mine", "supersedes": self.id("memory") }),
            ("POST", "/v1/messaging/acknowledge") => {
                json!({ "messages": [{ "sender": self.id("sender"), "message": self.id("message") }] })
            }
            _ => return None,
        })
    }

    /// Questions whose answer lies in their query.
    pub(super) fn queries(&self) -> Vec<String> {
        let (tenant, run, marker) = (self.tenant, self.id("run"), self.marker());
        vec![
            format!("/v1/actions?run={run}"),
            "/v1/actions?state=intent".to_owned(),
            "/v1/metering/usage?subscription=shared".to_owned(),
            format!("/v1/metering/usage?subscription=only-{tenant}"),
            "/v1/metering/usage/over-time?by=agent".to_owned(),
            "/v1/metering/usage/over-time?by=subscription".to_owned(),
            "/v1/oversight/requests?state=pending".to_owned(),
            format!("/v1/memory?q={marker}"),
            "/v1/audit/entries?from=0&limit=200".to_owned(),
            format!("/v1/log/{tenant}/tile/entries/000"),
            format!("/v1/log/default/../{tenant}/checkpoint"),
            format!("/v1/log/default/..%2f{tenant}%2fcheckpoint"),
            format!("/v1/log/other/..%2f{tenant}%2fcheckpoint"),
            format!("/v1/log/{tenant}%2fcheckpoint"),
        ]
    }

    /// All this tenant sees of itself that strangers must not change.
    pub(super) fn seen_by_itself(&self, server: &Server) -> Seen {
        let mut seen = Seen::new();
        let reads = [
            (
                "operator",
                vec![
                    "identities",
                    "keys",
                    "actions",
                    "audit/entries",
                    "policy",
                    "policy/history",
                    "webhooks",
                    "metering/accounts",
                    "metering/costs",
                    "metering/usage/over-time?by=agent",
                    "metering/usage/over-time?by=subscription",
                    "metering/plans",
                    "metering/customers",
                    "metering/subscriptions",
                    "metering/wallets",
                    "metering/quotas",
                    "metering/invoices",
                    "metering/credit-notes",
                    "metering/applied-coupons",
                    "metering/alerts",
                    "metering/features",
                ],
            ),
            ("approver", vec!["oversight/requests", "runs"]),
            ("agent", vec!["whoami", "metering/usage?subscription=shared", "oversight/asked"]),
            ("peer", vec!["messaging/inbox", "messaging/prekeys"]),
        ];
        for (role, paths) in reads {
            for path in paths {
                let answer = server.bearer(&self.tokens[role]).get(&format!("/v1/{path}"));
                seen.insert(path.to_owned(), answer.ok().to_string());
            }
        }
        let memory = server.bearer(&self.tokens["agent"]).get(&format!("/v1/memory/{}", self.id("memory")));
        seen.insert("memory".to_owned(), memory.ok().to_string());
        seen
    }
}

fn marker(tenant: &str) -> String {
    format!("zebra-{}", tenant.to_uppercase())
}

fn plant_usage(owner: &Client, worker: &Client, marker: &str) -> Value {
    owner.put("/v1/metering/metrics/pages", json!({ "aggregation": "count", "unit_price": "0.01" })).ok();
    owner.put("/v1/metering/reporters/shared", json!({ "reporters": ["*"] })).ok();
    let event = json!({
        "transaction_id": "shared", "external_subscription_id": "shared", "code": "pages", "properties": { "note": marker }
    });
    worker.post("/v1/metering/events", event).ok()["admission"].clone()
}

/// One action that waits for a human, one admitted whose outcome is open, and one decided with words.
fn plant_actions(owner: &Client, worker: &Client, marker: &str, ids: &mut BTreeMap<&'static str, String>) {
    let ask = |action: &str, number: u32| {
        let arguments = json!({ "number": number, "secret": marker });
        worker
            .post(
                "/v1/actions",
                json!({ "action": action, "resource": "tool:mail", "arguments": arguments, "reason": marker, "wait_secs": 0 }),
            )
            .ok()
    };
    let decided = ask("tool.call_with_approval", 1);
    let approve = format!("/v1/oversight/requests/{}/approve", text(&decided, "request"));
    owner.post(&approve, json!({ "digest": text(&decided, "digest"), "comment": marker })).ok();
    let pending = ask("tool.call_with_approval", 2);
    let open = ask("tool.call", 3);
    let budget = worker.post("/v1/metering/budgets", json!({ "name": marker, "amount": "0" })).ok();
    ids.insert("budget", text(&budget, "admission").to_owned());
    let actions = owner.get("/v1/actions?state=intent").ok();
    let call = json!({ "run_id": "run", "call_id": format!("call-{}", marker.trim_start_matches("zebra-")), "spec": { "fn": "mail", "kwargs": { "secret": marker } } });
    ids.insert("call", text(&worker.post("/humanlayer/v1/function_calls", call).ok(), "call_id").to_owned());
    let contact = json!({ "run_id": "run", "call_id": ids["call"], "spec": { "msg": marker } });
    worker.post("/humanlayer/v1/contact_requests", contact).ok();
    worker.post("/v1/oversight/questions", json!({ "question": marker })).ok();
    ids.insert("request", text(&pending, "request").to_owned());
    ids.insert("digest", text(&pending, "digest").to_owned());
    ids.insert("admission", text(&open, "admission").to_owned());
    ids.insert("leaf", text(&list(&actions, "actions")[0], "opened_leaf").to_owned());
}

fn plant_policy(owner: &Client, marker: &str) {
    let current = owner.get("/v1/policy").ok();
    owner.put("/v1/policy", json!({ "text": format!("// {marker}\n{}", text(&current, "text")) })).ok();
}

/// One of everything that is sold, with an invoice, a credit note and a wallet.
fn plant_billing(owner: &Client, tenant: &str, marker: &str, ids: &mut BTreeMap<&'static str, String>) {
    let code = format!("only-{tenant}");
    let make = |path: &str, body: Value| owner.post(&format!("/v1/metering/{path}"), body).ok();
    make("billable-metrics", json!({ "code": code, "name": marker, "aggregation_type": "count" }));
    make("taxes", json!({ "code": code, "name": marker, "rate": "10" }));
    make(
        "plans",
        json!({
            "code": code, "name": marker, "interval": "monthly", "amount_cents": 100, "amount_currency": "EUR",
            "charges": [{ "billable_metric_code": code, "charge_model": "standard", "properties": { "amount": "1" } }]
        }),
    );
    make("add-ons", json!({ "code": code, "name": marker, "amount_cents": 500, "amount_currency": "EUR" }));
    make("coupons", json!({ "code": code, "name": marker, "coupon_type": "percentage", "percentage_rate": "1", "frequency": "forever" }));
    make("customers", json!({ "external_id": code, "name": marker }));
    make("subscriptions", json!({ "external_id": code, "external_customer_id": code, "plan_code": code, "name": marker }));
    make("features", json!({ "code": code, "name": marker, "privileges": [{ "code": "level", "value_type": "integer" }] }));
    owner.put(&format!("/v1/metering/plans/{code}/entitlements"), json!({ "entitlements": { &code: { "level": 1 } } })).ok();
    let alert = json!({ "code": code, "name": marker, "alert_type": "current_usage_amount", "thresholds": [{ "value": "1" }] });
    let alerts = make("alerts", json!({ "watched": { "subscription": code }, "alerts": [alert] }));
    let coupon = make("applied-coupons", json!({ "external_customer_id": code, "coupon_code": code }));
    let invoice = make("invoices", json!({ "external_customer_id": code, "items": [{ "add_on_code": code }] }));
    let fee = text(&invoice["fees"][0], "id").to_owned();
    let note =
        make("credit-notes", json!({ "invoice": invoice["id"], "items": [{ "fee": fee, "amount_cents": 10 }], "description": marker }));
    let wallet =
        make("wallets", json!({ "external_customer_id": code, "wallet": { "name": marker, "currency": "EUR", "rate_amount": "1" } }));
    let wallet = text(&wallet, "id").to_owned();
    let moved = make(&format!("wallets/{wallet}/transactions"), json!({ "paid_credits": "5", "name": marker }));
    let quota = json!({ "metric": "actions", "scope": "agent", "subject": marker, "window": "total", "limit": "1000" });
    owner.put(&format!("/v1/metering/quotas/{code}"), quota).ok();
    let run = owner.post("/v1/metering/billing-runs", json!({})).ok();
    ids.extend([
        ("alert", text(&list(&alerts, "alerts")[0], "id").to_owned()),
        ("coupon", text(&coupon, "id").to_owned()),
        ("invoice", text(&invoice, "id").to_owned()),
        ("fee", fee),
        ("note", text(&note, "id").to_owned()),
        ("movement", text(&list(&moved, "transactions")[0], "id").to_owned()),
        ("wallet", wallet),
        ("billing run", text(&run, "id").to_owned()),
    ]);
}

fn plant_memory(worker: &Client, marker: &str, ids: &mut BTreeMap<&'static str, String>) {
    let item = worker.post("/v1/memory", json!({ "text": format!("remember {marker}"), "action": ids["digest"] })).ok();
    ids.insert("memory", text(&item, "id").to_owned());
}

/// A message from the worker in the peer's mailbox; gives the envelope as it was delivered.
fn plant_message(
    server: &Server,
    tokens: &BTreeMap<&'static str, String>,
    peer: &str,
    ids: &mut BTreeMap<&'static str, String>,
) -> Vec<u8> {
    let agents = [Home::new(), Home::new()];
    let creto = |home: &Home, token: &str, words: &[&str]| {
        let output = home
            .command(["msg", "--url", &server.url(), "--token", token])
            .args(words)
            // Each agent keeps its own keys; without this they would share the home folder's with every test that runs beside.
            .env("CRETO_MSG_STATE", home.data().with_extension("msg"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    creto(&agents[0], &tokens["peer"], &["publish"]);
    creto(&agents[1], &tokens["agent"], &["send", "--to", peer, "for your eyes only"]);
    let inbox = server.bearer(&tokens["peer"]).get("/v1/messaging/inbox").ok();
    let message = &list(&inbox, "messages")[0];
    ids.insert("sender", text(message, "sender").to_owned());
    ids.insert("message", text(message, "message").to_owned());
    base64(text(message, "envelope"))
}

/// Standard base64 (RFC 4648, section 4), which envelopes are listed in.
fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = ALPHABET.iter().position(|known| *known == byte).expect("it is base64");
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
