//! The catalog on both engines: versions, references, subscriptions over time.

use std::time::Duration;

use creto_db::Db;
use creto_db::testkit::each_engine;
use creto_kernel::{Clock as _, Coded as _, Timestamp};
use creto_metering::model::add_on::AddOn;
use creto_metering::model::billable_metric::BillableMetric;
use creto_metering::model::customer::Customer;
use creto_metering::model::entry::Definition;
use creto_metering::model::page::Page;
use creto_metering::model::plan::Plan;
use creto_metering::model::subscription::{Subscription, SubscriptionInput, SubscriptionStatus};
use creto_metering::model::tax::{Coupon, Tax};
use creto_metering::{Catalog, SubscriptionFilter, Terms};
use creto_nhi::testkit::World;
use serde_json::{Value, json};

use super::house::{SETS, server};

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn read<T: serde::de::DeserializeOwned>(body: Value) -> T {
    serde_json::from_value(body).unwrap()
}

pub(super) fn metric(code: &str) -> BillableMetric {
    read(json!({ "code": code, "aggregation_type": "sum", "field_name": "n" }))
}

pub(super) fn plan(code: &str, cents: i64, metrics: &[&str]) -> Plan {
    let charge = |code: &&str| json!({ "billable_metric_code": code, "charge_model": "standard", "properties": { "amount": "0.01" } });
    read(json!({
        "code": code, "interval": "monthly", "amount_cents": cents, "amount_currency": "EUR",
        "charges": metrics.iter().map(charge).collect::<Vec<_>>()
    }))
}

pub(super) fn subscription(external_id: &str, customer: &str, plan: &str) -> SubscriptionInput {
    read(json!({ "external_id": external_id, "external_customer_id": customer, "plan_code": plan }))
}

async fn opened(db: Db) -> (World, Catalog) {
    let world = World::open(db.clone()).await;
    let catalog = Catalog::new(db, world.clock.clone());
    (world, catalog)
}

/// A metric, two plans and a customer.
async fn stocked(db: Db) -> (World, Catalog) {
    let (world, catalog) = opened(db).await;
    let by = server("default");
    catalog.create(&by, metric("tokens")).await.unwrap();
    catalog.create(&by, plan("small", 1_000, &["tokens"])).await.unwrap();
    catalog.create(&by, plan("large", 3_100, &["tokens"])).await.unwrap();
    catalog.create(&by, Customer::new("acme")).await.unwrap();
    (world, catalog)
}

async fn leaves(db: &Db, action: &str) -> Vec<String> {
    let rows = db.query("SELECT body FROM audit_leaf ORDER BY sequence", vec![]).await.unwrap();
    let texts = rows.iter().map(|row| String::from_utf8(row.blob(0).unwrap().to_vec()).unwrap());
    texts.filter(|text| text.contains(&format!("\"action\":\"{action}\""))).collect()
}

async fn lives<T: Definition + PartialEq + std::fmt::Debug>(catalog: &Catalog, first: T, second: T) {
    let by = server("default");
    let made = catalog.create(&by, first.clone()).await.unwrap();
    assert_eq!((made.version, &made.body), (1, &first));
    let again = catalog.create(&by, first.clone()).await.unwrap_err();
    assert_eq!(again.code().as_str(), "metering.already_exists", "{again}");
    let changed = catalog.update(&by, first.code(), Some(1), second.clone()).await.unwrap();
    assert_eq!((changed.version, changed.id, changed.created_at), (2, made.id, made.created_at));
    let stale = catalog.update(&by, second.code(), Some(1), first.clone()).await.unwrap_err();
    assert_eq!(stale.code().as_str(), "metering.changed_meanwhile", "{stale}");
    assert_eq!(catalog.get::<T>(by.tenant(), second.code()).await.unwrap(), changed);
    assert_eq!(catalog.list::<T>(by.tenant(), Page::default()).await.unwrap().total, 1);
    if T::KIND.keeps_versions() {
        assert_eq!(catalog.version::<T>(by.tenant(), made.id, 1).await.unwrap().body, first);
        assert_eq!(
            catalog.versions::<T>(by.tenant(), second.code(), Page::new(2, 1)).await.unwrap().items.first().map(|item| item.version),
            Some(1)
        );
    }
    assert!(catalog.get::<T>(&"other".parse().unwrap(), second.code()).await.is_err(), "another tenant's catalog is empty");
    catalog.delete::<T>(&by, second.code()).await.unwrap();
    let gone = catalog.get::<T>(by.tenant(), second.code()).await.unwrap_err();
    assert_eq!(gone.code().as_str(), "metering.unknown_definition");
    assert!(catalog.by_id::<T>(by.tenant(), made.id).await.unwrap().deleted_at.is_some(), "what was sold stays explained");
    let anew = catalog.create(&by, first).await.unwrap();
    assert_ne!(anew.id, made.id, "a code may be used again");
    catalog.delete::<T>(&by, anew.body.code()).await.unwrap();
}

#[tokio::test]
async fn every_kind_is_made_changed_listed_and_deleted_and_keeps_its_versions() {
    each_engine(SETS, async |db| {
        let (_world, catalog) = opened(db.clone()).await;
        let named = |mut metric: BillableMetric, name: &str| {
            metric.name = name.to_owned();
            metric
        };
        lives(&catalog, metric("tokens"), named(metric("tokens"), "Tokens")).await;
        lives(&catalog, plan("pro", 1_000, &[]), plan("pro", 2_000, &[])).await;
        lives::<Tax>(&catalog, read(json!({ "code": "vat", "rate": "19" })), read(json!({ "code": "vat", "rate": "20" }))).await;
        let add_on = |cents: i64| -> AddOn { read(json!({ "code": "setup", "amount_cents": cents, "amount_currency": "EUR" })) };
        lives(&catalog, add_on(5), add_on(6)).await;
        let coupon = |rate: &str| -> Coupon {
            read(json!({ "code": "ten", "coupon_type": "percentage", "percentage_rate": rate, "frequency": "once" }))
        };
        lives(&catalog, coupon("10"), coupon("11")).await;
        let customer = |zone: &str| Customer { timezone: Some(zone.to_owned()), ..Customer::new("acme") };
        lives(&catalog, customer("UTC"), customer("Asia/Tokyo")).await;
        assert_eq!(leaves(&db, "metering.create_plan").await.len(), 2);
        assert_eq!(leaves(&db, "metering.update_plan").await.len(), 1);
        assert_eq!(leaves(&db, "metering.delete_plan").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn every_change_is_told_and_nothing_personal_is_in_it() {
    each_engine(SETS, async |db| {
        let (_world, catalog) = opened(db.clone()).await;
        let by = server("default");
        catalog.create(&by, plan("pro", 1_000, &[])).await.unwrap();
        catalog.create(&by, Customer { name: "Ada Lovelace".to_owned(), ..Customer::new("c1") }).await.unwrap();
        catalog.subscribe(&by, subscription("s1", "c1", "pro")).await.unwrap();
        assert!(catalog.create(&by, plan("pro", 1_000, &[])).await.is_err(), "what did not happen is not told");
        let rows = db.query("SELECT body FROM outbox ORDER BY position", vec![]).await.unwrap();
        let bodies: Vec<serde_json::Value> = rows.iter().map(|row| serde_json::from_str(row.text(0).unwrap()).unwrap()).collect();
        let kinds: Vec<_> = bodies.iter().filter_map(|body| body["type"].as_str()).filter(|kind| kind.starts_with("metering.")).collect();
        assert_eq!(kinds, ["metering.create_plan", "metering.create_customer", "metering.subscribe"]);
        assert!(rows.iter().all(|row| !row.text(0).unwrap().contains("Lovelace")));
    })
    .await;
}

#[tokio::test]
async fn what_is_named_exists_and_what_is_used_stays() {
    each_engine(SETS, async |db| {
        let (_world, catalog) = opened(db).await;
        let by = server("default");
        let early = catalog.create(&by, plan("small", 1, &["tokens"])).await.unwrap_err();
        assert_eq!((early.code().as_str(), early.to_string().as_str()), ("metering.unknown_definition", "there is no metric `tokens`"));
        catalog.create(&by, metric("tokens")).await.unwrap();
        catalog.create(&by, plan("small", 1, &["tokens"])).await.unwrap();
        catalog.create(&by, Customer::new("acme")).await.unwrap();
        catalog.subscribe(&by, subscription("s1", "acme", "small")).await.unwrap();
        let used = [
            catalog.delete::<BillableMetric>(&by, "tokens").await.unwrap_err(),
            catalog.delete::<Plan>(&by, "small").await.unwrap_err(),
            catalog.delete::<Customer>(&by, "acme").await.unwrap_err(),
        ];
        assert!(used.iter().all(|error| error.code().as_str() == "metering.in_use"), "{used:?}");
        let renamed = catalog.update(&by, "tokens", None, metric("words")).await.unwrap_err();
        assert_eq!(renamed.code().as_str(), "metering.bad_definition", "{renamed}");
        let other: BillableMetric = read(json!({ "code": "tokens", "aggregation_type": "max", "field_name": "n" }));
        let measured = catalog.update(&by, "tokens", None, other).await.unwrap_err();
        assert!(measured.to_string().contains("aggregation_type"), "{measured}");
        catalog.terminate(&by, "s1").await.unwrap();
        catalog.delete::<Plan>(&by, "small").await.unwrap();
        catalog.delete::<BillableMetric>(&by, "tokens").await.unwrap();
        catalog.delete::<Customer>(&by, "acme").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_customers_text_is_in_no_leaf_and_in_no_kept_version() {
    each_engine(SETS, async |db| {
        let (_world, catalog) = opened(db.clone()).await;
        let by = server("default");
        let person = Customer { name: "Ada Lovelace".to_owned(), email: "ada@example.org".to_owned(), ..Customer::new("c1") };
        catalog.create(&by, person.clone()).await.unwrap();
        catalog.update(&by, "c1", None, person.erased()).await.unwrap();
        for table in ["SELECT body FROM meter_definition", "SELECT body FROM meter_definition_version"] {
            let rows = db.query(table, vec![]).await.unwrap();
            assert!(rows.iter().all(|row| !row.text(0).unwrap().contains("Lovelace")), "{table}");
        }
        for text in leaves(&db, "metering.create_customer").await {
            assert!(text.contains("\"definition\":") && !text.contains("Lovelace") && !text.contains("example.org"), "{text}");
        }
    })
    .await;
}

fn times(it: &Subscription) -> (SubscriptionStatus, Option<Timestamp>, Option<Timestamp>) {
    (it.status, it.started_at, it.terminated_at)
}

#[tokio::test]
async fn a_dearer_plan_begins_at_once_and_a_cheaper_one_with_the_next_period() {
    each_engine(SETS, async |db| {
        let (world, catalog) = stocked(db).await;
        let by = server("default");
        world.clock.set("2026-03-10T12:00:00Z".parse().unwrap());
        let start = world.clock.now();
        let small = catalog.subscribe(&by, subscription("s1", "acme", "small")).await.unwrap();
        assert_eq!(times(&small), (SubscriptionStatus::Active, Some(start), None));
        let twice = catalog.subscribe(&by, subscription("s1", "acme", "small")).await.unwrap_err();
        assert_eq!(twice.code().as_str(), "metering.already_exists");
        world.clock.advance(DAY);
        let moved = world.clock.now();
        let large = catalog.subscribe(&by, subscription("s1", "acme", "large")).await.unwrap();
        assert_eq!((times(&large), large.previous), ((SubscriptionStatus::Active, Some(moved), None), Some(small.id)));
        let before = catalog.subscription_by_id(by.tenant(), small.id).await.unwrap();
        assert_eq!(times(&before), (SubscriptionStatus::Terminated, Some(start), Some(moved)));
        let waiting = catalog.subscribe(&by, subscription("s1", "acme", "small")).await.unwrap();
        let turn: Timestamp = "2026-04-01T00:00:00Z".parse().unwrap();
        assert_eq!((waiting.status, waiting.begins_at, waiting.is_downgrade), (SubscriptionStatus::Pending, turn, true));
        assert_eq!(catalog.pass_time(&by, moved).await.unwrap().begun, 0);
        assert_eq!(catalog.pass_time(&by, turn.saturating_add(DAY)).await.unwrap().begun, 1);
        let large = catalog.subscription_by_id(by.tenant(), large.id).await.unwrap();
        assert_eq!(large.terminated_at, Some(turn), "also where the pass came late");
        let reader = catalog.reader(by.tenant()).await.unwrap();
        for (at, plan) in [(start, "small"), (moved, "large"), (turn, "small")] {
            let view = reader.subscription("s1", at).await.unwrap().unwrap();
            assert_eq!((view.plan.code.as_str(), view.metrics.len()), (plan, 1), "{at}");
        }
        assert!(reader.subscription("s1", Timestamp::EPOCH).await.unwrap().is_none());
        assert!(reader.subscription("s2", turn).await.unwrap().is_none());
        let of_small = SubscriptionFilter { plan: Some(small.plan), ..SubscriptionFilter::default() };
        assert_eq!(catalog.subscriptions(by.tenant(), &of_small, Page::default()).await.unwrap().total, 2);
    })
    .await;
}

#[tokio::test]
async fn a_subscription_keeps_its_version_until_it_is_moved_and_readers_see_the_move() {
    each_engine(SETS, async |db| {
        let (world, catalog) = stocked(db.clone()).await;
        let by = server("default");
        catalog.subscribe(&by, subscription("s1", "acme", "small")).await.unwrap();
        // Another process has a cache of its own.
        let elsewhere = Catalog::new(db, world.clock.clone());
        let price = async |catalog: &Catalog| {
            let reader = catalog.reader(by.tenant()).await.unwrap();
            reader.subscription("s1", world.clock.now()).await.unwrap().unwrap().plan.amount_cents
        };
        assert_eq!((price(&catalog).await, price(&elsewhere).await), (1_000, 1_000));
        catalog.update(&by, "small", None, plan("small", 1_500, &["tokens"])).await.unwrap();
        assert_eq!((price(&catalog).await, price(&elsewhere).await), (1_000, 1_000));
        catalog.amend(&by, "s1", Terms { plan_version: Some(2), ..Terms::default() }).await.unwrap();
        assert_eq!((price(&catalog).await, price(&elsewhere).await), (1_500, 1_500));
        let overrides = read(json!({ "overrides": { "amount_cents": 900 } }));
        catalog.amend(&by, "s1", overrides).await.unwrap();
        assert_eq!((price(&catalog).await, price(&elsewhere).await), (900, 900));
        let missing = catalog.amend(&by, "s1", Terms { plan_version: Some(9), ..Terms::default() }).await.unwrap_err();
        assert_eq!(missing.code().as_str(), "metering.unknown_definition");
    })
    .await;
}

#[tokio::test]
async fn currencies_do_not_meet_and_the_first_one_stays() {
    each_engine(SETS, async |db| {
        let (_world, catalog) = stocked(db).await;
        let by = server("default");
        let yen: Plan = read(json!({ "code": "yen", "interval": "monthly", "amount_currency": "JPY" }));
        catalog.create(&by, yen).await.unwrap();
        catalog.subscribe(&by, subscription("s1", "acme", "small")).await.unwrap();
        assert_eq!(catalog.get::<Customer>(by.tenant(), "acme").await.unwrap().body.currency.as_deref(), Some("EUR"));
        let refused = catalog.subscribe(&by, subscription("s2", "acme", "yen")).await.unwrap_err();
        assert_eq!(refused.code().as_str(), "metering.currency_mismatch");
    })
    .await;
}

#[tokio::test]
async fn subscriptions_begin_and_end_by_themselves() {
    each_engine(SETS, async |db| {
        let (world, catalog) = stocked(db).await;
        let by = server("default");
        let now = world.clock.now();
        let after = |days: u32| now.saturating_add(DAY * days);
        let mut later = subscription("s1", "acme", "small");
        (later.subscription_at, later.ending_at) = (Some(after(2)), Some(after(5)));
        assert_eq!(catalog.subscribe(&by, later).await.unwrap().status, SubscriptionStatus::Pending);
        let passed = catalog.pass_time(&by, after(9)).await.unwrap();
        assert_eq!((passed.begun, passed.ended), (1, 1));
        let over = catalog.current(by.tenant(), "s1").await.unwrap();
        assert_eq!(times(&over), (SubscriptionStatus::Terminated, Some(after(2)), Some(after(5))));
        let mut canceled = subscription("s2", "acme", "small");
        canceled.subscription_at = Some(after(2));
        catalog.subscribe(&by, canceled).await.unwrap();
        assert_eq!(catalog.terminate(&by, "s2").await.unwrap().status, SubscriptionStatus::Canceled);
        assert_eq!(catalog.terminate(&by, "s2").await.unwrap_err().code().as_str(), "metering.unknown_definition");
    })
    .await;
}
