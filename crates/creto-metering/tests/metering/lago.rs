//! Lago's routes over both engines: what their own queries find. Lago's clients are tested against the binary in
//! `sdk/python/tests/test_lago_*.py`.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use creto_db::testkit::each_engine;
use creto_enablement_common::PublicUrl;
use creto_enablement_common::http::{Caller, Endpoints};
use creto_kernel::Clock as _;
use creto_metering::lago::{Lago, endpoints};
use creto_metering::{AlertOptions, Alerts, Billing, Catalog, Meter, Wallets};
use creto_nhi::{Principal, Roles};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::house::{House, SETS, human, server};

/// Somebody who calls Lago's routes.
struct Client {
    router: Router,
    who: Principal,
}

impl Client {
    fn of(lago: &Lago, who: Principal) -> Self {
        Self { router: Endpoints::new().and(endpoints(lago)).into_router(), who }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(format!("/lago/api/v1/{path}"));
        let mut request = request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap();
        request.extensions_mut().insert(Caller(self.who.clone(), None));
        let response = TowerToHyperService::new(self.router.clone()).call(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    async fn get(&self, path: &str) -> Value {
        self.ok("GET", path, Value::Null).await
    }
}

fn of(answer: &Value, rows: &str, field: &str) -> Vec<String> {
    assert!(answer[rows].is_array(), "no `{rows}`: {answer}");
    let rows = answer[rows].as_array().unwrap();
    rows.iter().map(|row| row[field].as_str().map_or_else(|| row[field].to_string(), str::to_owned)).collect()
}

#[tokio::test]
async fn lagos_pages_of_subscriptions_events_and_billed_periods_are_alike_on_every_engine() {
    each_engine(SETS, async |db| {
        let house = House::open(db.clone(), Vec::new()).await;
        let clock = house.world.clock.clone();
        let chain = house.chain("default", None, &["planner"]).await;
        let meter = Meter::new(db.clone(), Arc::clone(&house.gate), house.accounts.clone(), clock.clone());
        let catalog = Catalog::new(db.clone(), clock.clone());
        let wallets = Wallets::new(db.clone(), clock.clone(), catalog.clone());
        let billing = Billing::new(db.clone(), clock.clone(), catalog.clone(), wallets, Arc::new(meter.clone()));
        let options =
            AlertOptions { db: db.clone(), clock: clock.clone(), server: server("default"), meter: meter.clone(), billing: billing.clone() };
        let payments = super::payments::unpaid(&db, &billing, clock.clone());
        let lago = Lago::new(meter.clone(), payments, Alerts::new(options), PublicUrl::default());
        let owner = Client::of(&lago, human("default", "olga", Roles::OPERATOR_AND_APPROVER));
        let agent = Client::of(&lago, Principal::in_sandbox(chain.clone()));

        let metric = json!({ "billable_metric": { "name": "Tokens", "code": "tokens", "aggregation_type": "sum_agg", "field_name": "n" } });
        let id = owner.ok("POST", "billable_metrics", metric).await["billable_metric"]["lago_id"].clone();
        let charge = json!({ "billable_metric_id": id, "charge_model": "standard", "properties": { "amount": "0.5" } });
        let plan = json!({ "name": "P", "code": "p", "interval": "monthly", "amount_cents": 0, "amount_currency": "EUR", "charges": [charge] });
        owner.ok("POST", "plans", json!({ "plan": plan })).await;
        owner.ok("POST", "customers", json!({ "customer": { "external_id": "acme" } })).await;
        let subscribe = |id: &str, at: &str| {
            json!({ "subscription": { "external_customer_id": "acme", "plan_code": "p", "external_id": id, "subscription_at": at } })
        };
        let start = clock.now();
        for (external_id, at) in [("s1", start.to_string()), ("s2", start.to_string()), ("later", "2100-01-01".to_owned())] {
            owner.ok("POST", "subscriptions", subscribe(external_id, &at)).await;
        }
        owner.ok("DELETE", "subscriptions/s2", Value::Null).await;
        let found = owner.get("subscriptions").await;
        assert_eq!(of(&found, "subscriptions", "external_id"), ["s1"], "those that run");
        let found = owner.get("subscriptions?status[]=pending&status[]=terminated&per_page=1").await;
        assert_eq!((of(&found, "subscriptions", "external_id"), &found["meta"]["total_count"]), (vec!["later".to_owned()], &json!(2)));
        let (status, refused) = owner.call("GET", "subscriptions?status[]=asleep", Value::Null).await;
        assert_eq!((status, &refused["error_details"]), (422, &json!({ "status": ["value_is_invalid"] })));

        meter.put_reporters(chain.root(), "s1", vec!["*".to_owned()]).await.unwrap();
        let event = |id: &str, n: u32| json!({ "transaction_id": id, "external_subscription_id": "s1", "code": "tokens", "properties": { "n": n } });
        agent.ok("POST", "events", json!({ "event": event("t1", 3) })).await;
        agent.ok("POST", "events/batch", json!({ "events": [event("t2", 4), event("t3", 5)] })).await;
        let (status, refused) = agent.call("POST", "events/batch", json!({ "events": [event("t4", 6), event("t2", 4)] })).await;
        assert_eq!((status, &refused["error_details"]), (422, &json!({ "1": { "transaction_id": ["value_already_exist"] } })));
        let listed = owner.get("events?external_subscription_id=s1&code=tokens&per_page=2").await;
        assert_eq!((of(&listed, "events", "transaction_id"), &listed["meta"]["total_count"]), (vec!["t3".to_owned(), "t2".to_owned()], &json!(3)));
        assert_eq!(of(&owner.get("events?page=2&per_page=2").await, "events", "transaction_id"), ["t1"], "of every subscription");
        let (status, _) = owner.call("GET", "events/t4", Value::Null).await;
        assert_eq!(status, 404, "nothing of a refused batch is there");

        let usage = owner.get("customers/acme/current_usage?external_subscription_id=s1").await;
        assert_eq!((&usage["customer_usage"]["amount_cents"], &usage["customer_usage"]["charges_usage"][0]["units"]), (&json!(600), &json!("12")));
        let view = catalog.reader(chain.tenant()).await.unwrap().subscription("s1", start).await.unwrap().unwrap();
        clock.set(view.period(start).to_exclusive(&view.zone));
        billing.run(&server("default")).await.unwrap();
        let past = owner.get("customers/acme/past_usage?external_subscription_id=s1").await;
        assert_eq!((of(&past, "usage_periods", "amount_cents"), &past["meta"]["total_count"]), (vec!["600".to_owned()], &json!(1)));
        let lifetime = &owner.get("subscriptions/s1/lifetime_usage").await["lifetime_usage"];
        assert_eq!((&lifetime["invoiced_usage_amount_cents"], &lifetime["current_usage_amount_cents"]), (&json!(600), &json!(0)));
    })
    .await;
}
