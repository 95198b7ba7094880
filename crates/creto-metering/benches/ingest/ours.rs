//! The production code: a house with its real ports, ten subscriptions of a plan of eleven charges.

use std::sync::Arc;

use creto_db::Db;
use creto_kernel::Clock as _;
use creto_kernel::id::LeafId;
use creto_metering::model::billable_metric::BillableMetric;
use creto_metering::model::customer::Customer;
use creto_metering::model::event::EventInput;
use creto_metering::model::plan::Plan;
use creto_metering::{Catalog, Meter, Taking};
use creto_nhi::VerifiedChain;
use serde_json::{Value, json};

use super::BATCH;
use super::house::{House, server};

pub(crate) const SUBSCRIPTIONS: usize = 10;

/// Random, as a UUIDv4 is, and as long: it lands anywhere in an index.
pub(crate) fn identifier() -> String {
    let text = LeafId::generate().to_string();
    let digest = creto_kernel::Digest::of(text.as_bytes()).to_string();
    digest.chars().take(36).collect()
}

pub(crate) struct Ours {
    pub(crate) meter: Meter,
    pub(crate) chain: VerifiedChain,
    pub(crate) start: creto_kernel::Timestamp,
}

impl Ours {
    pub(crate) async fn open(db: Db, groups: &[&str]) -> Self {
        let house = House::open(db.clone(), Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let meter = Meter::new(db.clone(), Arc::clone(&house.gate), house.accounts.clone(), house.world.clock.clone());
        let catalog = Catalog::new(db, house.world.clock.clone());
        let by = server("default");
        let mut charges = Vec::new();
        for number in 0..10 {
            let code = format!("m{number}");
            let metric = json!({ "code": code, "aggregation_type": "sum", "field_name": "n" });
            catalog.create(&by, serde_json::from_value::<BillableMetric>(metric).unwrap()).await.unwrap();
            let properties = json!({ "amount": "0.000003", "pricing_group_keys": groups });
            charges.push(json!({ "billable_metric_code": code, "charge_model": "standard", "properties": properties }));
        }
        let unique = json!({ "code": "users", "aggregation_type": "unique_count", "field_name": "user" });
        catalog.create(&by, serde_json::from_value::<BillableMetric>(unique).unwrap()).await.unwrap();
        charges.push(json!({ "billable_metric_code": "users", "charge_model": "standard", "properties": { "amount": "0.01" } }));
        let plan = json!({ "code": "p", "interval": "monthly", "amount_cents": 0, "amount_currency": "USD", "charges": charges });
        catalog.create(&by, serde_json::from_value::<Plan>(plan).unwrap()).await.unwrap();
        catalog.create(&by, Customer::new("acme")).await.unwrap();
        let start = house.world.clock.now();
        for number in 0..SUBSCRIPTIONS {
            let input = json!({ "external_id": format!("s{number}"), "external_customer_id": "acme", "plan_code": "p" });
            catalog.subscribe(&by, serde_json::from_value(input).unwrap()).await.unwrap();
        }
        Self { meter, chain, start }
    }

    pub(crate) fn event(&self, number: usize, code: &str, properties: Value) -> EventInput {
        let body = json!({
            "transaction_id": identifier(), "external_subscription_id": format!("s{}", number % SUBSCRIPTIONS), "code": code,
            "timestamp": self.start, "properties": properties
        });
        serde_json::from_value(body).unwrap()
    }

    pub(crate) fn batch(&self, first: usize) -> Vec<EventInput> {
        let one = |n: usize| {
            self.event(n, &format!("m{}", n / SUBSCRIPTIONS % 10), json!({ "n": "12.5", "model": "large", "region": "eu-west-1" }))
        };
        (first..first + BATCH).map(one).collect()
    }

    pub(crate) async fn send(&self, batch: Vec<EventInput>) {
        let taking = Taking { trusted: true, all_or_none: true };
        let answered = self.meter.ingest_all(&self.chain, taking, batch.into_iter().map(Ok).collect()).await.unwrap();
        assert!(answered.root.is_some(), "{:?}", answered.events.first());
    }

    /// One after the other.
    pub(crate) async fn send_all(&self, batches: Vec<Vec<EventInput>>) {
        for batch in batches {
            self.send(batch).await;
        }
    }
}
