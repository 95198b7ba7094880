//! Billing of what the real meter recorded: the same amounts, and the proof behind each line.

use std::sync::Arc;
use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_kernel::{Clock as _, Coded as _, TenantId, Timestamp};
use creto_metering::model::customer::Customer;
use creto_metering::model::event::EventInput;
use creto_metering::model::invoice::FeeKind;
use creto_metering::model::page::Page;
use creto_metering::model::plan::Plan;
use creto_metering::{Billing, Catalog, Export, FeeFilter, Format, InvoiceFilter, Meter, Taking, Wallets};
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use super::bills::Shop;
use super::catalog::{metric, read, subscription};
use super::house::{House, SETS, server};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A table as CSV.
pub(super) async fn exported(billing: &Billing, tenant: &TenantId, table: Export) -> String {
    let times = (Timestamp::EPOCH, Timestamp::MAX);
    let chunks: Vec<_> = billing.export(tenant, table, Format::Csv, times).try_collect().await.unwrap();
    String::from_utf8(chunks.concat()).unwrap()
}

#[tokio::test]
async fn what_the_meter_recorded_is_billed_with_its_batches_and_late_events_on_the_next_invoice() {
    each_engine(SETS, async |db| {
        let house = House::open(db.clone(), Vec::new()).await;
        let (clock, by) = (house.world.clock.clone(), server("default"));
        let chain = house.chain("default", None, &["planner"]).await;
        let meter = Meter::new(db.clone(), Arc::clone(&house.gate), house.accounts.clone(), clock.clone());
        let catalog = Catalog::new(db.clone(), clock.clone());
        let wallets = Wallets::new(db.clone(), clock.clone(), catalog.clone());
        let billing = Billing::new(db, clock.clone(), catalog.clone(), wallets, Arc::new(meter.clone()));
        catalog.create(&by, metric("tokens")).await.unwrap();
        catalog.create(&by, metric("calls")).await.unwrap();
        let tiers = json!([
            { "from_value": 0, "to_value": 10, "per_unit_amount": "1", "flat_amount": "2" },
            { "from_value": 11, "to_value": null, "per_unit_amount": "0.5", "flat_amount": "3" }
        ]);
        let own: Plan = read(json!({ "code": "pro", "interval": "monthly", "amount_currency": "EUR", "charges": [
            { "billable_metric_code": "tokens", "charge_model": "graduated", "properties": { "graduated_ranges": tiers } },
            { "billable_metric_code": "calls", "charge_model": "standard",
              "properties": { "amount": "0.25", "pricing_group_keys": ["model"] } }
        ] }));
        catalog.create(&by, own).await.unwrap();
        catalog.create(&by, Customer::new("acme")).await.unwrap();
        catalog.subscribe(&by, subscription("s1", "acme", "pro")).await.unwrap();
        meter.put_reporters(chain.root(), "s1", vec!["*".to_owned()]).await.unwrap();
        let start = clock.now();
        let send = async |id: &str, code: &str, properties: Value, at: Timestamp| {
            let event: EventInput = read(json!({
                "transaction_id": id, "external_subscription_id": "s1", "code": code, "properties": properties, "timestamp": at
            }));
            meter.ingest(&chain, event).await.unwrap().admission
        };
        let first = send("t1", "tokens", json!({ "n": 8 }), start).await;
        let last = send("t2", "tokens", json!({ "n": 4 }), start).await;
        send("c1", "calls", json!({ "n": 3, "model": "a" }), start).await;
        send("c2", "calls", json!({ "n": 1, "model": "b" }), start).await;
        let view = catalog.reader(by.tenant()).await.unwrap().subscription("s1", start).await.unwrap().unwrap();
        let next_month = view.period(start).to_exclusive(&view.zone);
        // One more of the old period arrives after its invoice is final.
        clock.set(next_month);
        let run = billing.run(&by).await.unwrap();
        assert_eq!((run.finalized, run.failures.len()), (1, 0), "{run:?}");
        let invoices = billing.list(by.tenant(), &InvoiceFilter::default(), Page::default()).await.unwrap();
        let invoice = billing.get(by.tenant(), invoices.items[0].id).await.unwrap();
        let lines: Vec<_> = invoice.fees.iter().map(|fee| (fee.code.as_str(), fee.units.to_string(), fee.amount_cents)).collect();
        // 2 + 10 × 1 + 3 + 2 × 0.5; then each model by itself.
        let expected = [("tokens", "12", 1_600), ("calls", "3", 75), ("calls", "1", 25)];
        assert_eq!(lines, expected.map(|(code, units, cents)| (code, units.to_owned(), cents)));
        let proof = invoice.fees[0].proof.as_ref().unwrap();
        assert_eq!((proof.batches, proof.roots.len(), invoice.fees[0].events), (2, 2, 2));
        assert_eq!((proof.first_admission.as_deref(), proof.last_admission.as_deref()), (Some(first.as_str()), Some(last.as_str())));
        let known = meter.event_proof(by.tenant(), "s1", "t1").await.unwrap();
        assert_eq!(known.root, proof.roots[0], "an event of the line is proven by a root of the line");
        let late = house.chain("default", None, &["planner"]).await;
        meter
            .ingest(
                &late,
                read::<EventInput>(json!({
                    "transaction_id": "t3", "external_subscription_id": "s1", "code": "tokens", "properties": { "n": 2 }, "timestamp": start
                })),
            )
            .await
            .unwrap();
        let after = view.period(next_month.saturating_add(DAY)).to_exclusive(&view.zone);
        clock.set(after);
        billing.run(&by).await.unwrap();
        let invoices = billing.list(by.tenant(), &InvoiceFilter::default(), Page::default()).await.unwrap();
        let second = billing.get(by.tenant(), invoices.items[0].id).await.unwrap();
        let adjusted: Vec<_> = second.fees.iter().filter(|fee| fee.kind == FeeKind::Adjustment).map(|fee| fee.amount_cents).collect();
        assert_eq!(adjusted, [100], "{:?}", second.fees);
        let csv = exported(&billing, by.tenant(), Export::Events).await;
        assert_eq!(csv.lines().count(), 6, "{csv}");
        assert!(csv.contains("t1,s1,tokens,"), "{csv}");
        assert!(meter.check(by.tenant()).await.unwrap().ok);
    })
    .await;
}

#[tokio::test]
async fn in_test_mode_events_and_subscriptions_have_the_time_of_its_clock() {
    each_engine(SETS, async |db| {
        let charge = json!({ "billable_metric_code": "calls", "charge_model": "standard", "properties": { "amount": "1" } });
        let plan = json!({ "code": "p", "interval": "monthly", "amount_currency": "EUR", "amount_cents": 0, "charges": [charge] });
        let metric = json!({ "code": "calls", "aggregation_type": "sum", "field_name": "n" });
        let shop = Shop::open(db, &[metric], &plan).await;
        let (by, tenant) = (server("default"), server("default").tenant().clone());
        let chain = shop.house.chain("default", None, &["planner"]).await;
        let set = async |now: &str| shop.billing.set_test_clock(&by, now.parse().unwrap()).await.unwrap();
        let send = async |id: &str, at: Option<&str>, n: i64| {
            let mut event = json!({ "transaction_id": id, "external_subscription_id": "s", "code": "calls", "properties": { "n": n } });
            event.as_object_mut().unwrap().extend(at.map(|at| ("timestamp".to_owned(), json!(at))));
            shop.meter.ingest_as(&chain, Taking { trusted: true, all_or_none: false }, Ok(read(event))).await.map_err(|error| error.code())
        };
        let usage = async || shop.meter.current_usage_at(&tenant, "s", None).await.unwrap().amount_cents.to_i64().unwrap();
        // The server's own clock stands in May all the while.
        assert_eq!(send("early", Some("2026-06-15T12:00:00Z"), 1).await.unwrap_err().as_str(), "metering.bad_event");
        set("2026-06-15T12:00:00Z").await;
        send("a", Some("2026-06-15T12:59:00Z"), 1).await.unwrap();
        send("b", None, 2).await.unwrap();
        assert_eq!(send("c", Some("2026-06-15T13:01:00Z"), 4).await.unwrap_err().as_str(), "metering.bad_event");
        assert_eq!(usage().await, 300, "what names no moment is of June");
        set("2026-07-02T00:00:00Z").await;
        shop.billing.run(&by).await.unwrap();
        assert_eq!(usage().await, 0, "July has begun");
        // What comes in after June was final is late by this clock.
        send("late", Some("2026-06-20T00:00:00Z"), 8).await.unwrap();
        let change = read(json!({ "external_id": "s", "external_customer_id": "acme", "plan_code": "q" }));
        shop.catalog
            .create(&by, read::<Plan>(json!({ "code": "q", "interval": "monthly", "amount_currency": "EUR", "amount_cents": 5 })))
            .await
            .unwrap();
        let next = shop.catalog.subscribe(&by, change).await.unwrap();
        assert_eq!(next.begins_at, "2026-07-02T00:00:00Z".parse().unwrap());
        set("2026-08-01T00:00:00Z").await;
        shop.billing.run(&by).await.unwrap();
        let listed = shop.billing.fees(&tenant, &FeeFilter::default(), Page::new(1, 100)).await.unwrap();
        let of = |kind: FeeKind| listed.items.iter().filter(move |(_, fee)| fee.kind == kind).map(|(_, fee)| fee.amount_cents).sum::<i64>();
        assert_eq!((of(FeeKind::Charge), of(FeeKind::Adjustment)), (300, 800));
        assert!(shop.meter.check(&tenant).await.unwrap().ok);
    })
    .await;
}
