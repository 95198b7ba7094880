//! kill -9 while events are billed at once: this test binary runs itself as a child that bills until it dies at a failpoint. Another process
//! goes on, and every event is billed, collected or credited once, as if nobody had died.

use std::path::Path;

use creto_db::Db;
use creto_db::failpoint::{AFTER_COMMIT, AFTER_STEPS, BEFORE_COMMIT, COMMIT_POINTS};
use creto_db::testkit::Schema;
use creto_metering::NoteFilter;
use creto_metering::model::invoice::{InvoiceKind, InvoiceStatus};
use creto_metering::model::page::Page;
use serde_json::{Value, json};

use super::bills::{Sent, Shop, at};
use super::child::is_killed;
use super::house::{SETS, server};

/// Where the child finds its database: a path or a PostgreSQL URL. Without it the child's test is empty.
const TARGET: &str = "CRETO_TEST_ADVANCE_CRASH_TARGET";
const BEGAN: &str = "2026-05-11T10:00:00Z";
const ENDED: &str = "2026-05-31T22:00:00Z";

async fn open(target: &str) -> Db {
    match target.strip_prefix("postgres") {
        Some(_) => Db::open_postgres(target, SETS).await.unwrap(),
        None => Db::open_sqlite(Path::new(target), SETS).unwrap(),
    }
}

fn event(id: &str, code: &str, n: i64) -> Sent {
    Sent::of(id, code, BEGAN, json!({ "n": n }))
}

/// A charge that is invoiced at each request and one that is collected: of each, one event that is billed and taken back, and others that
/// nobody has billed yet.
async fn prepared(target: &str) {
    let metric = |code: &str| json!({ "code": code, "aggregation_type": "sum", "field_name": "n" });
    let charge = |code: &str, invoiceable: bool| {
        json!({
            "billable_metric_code": code, "charge_model": "standard", "properties": { "amount": "1" }, "pay_in_advance": true,
            "invoiceable": invoiceable, "regroup_paid_fees": (!invoiceable).then_some("invoice")
        })
    };
    let plan = json!({
        "code": "p", "interval": "monthly", "amount_currency": "EUR", "amount_cents": 0, "charges": [charge("calls", true), charge("seats", false)]
    });
    let shop = Shop::open(open(target).await, &[metric("calls"), metric("seats")], &plan).await;
    let by = server("default");
    shop.send(&[event("a", "calls", 1), event("b", "seats", 2)]).await;
    shop.bill(BEGAN).await;
    for id in ["a", "b"] {
        shop.meter.cancel(&by, "s", id).await.unwrap();
    }
    shop.send(&[event("c", "calls", 4)]).await;
    shop.send(&[event("d", "seats", 8), event("e", "calls", 16)]).await;
    shop.send(&[event("f", "seats", 32)]).await;
}

/// A server of another process, with keys of its own.
async fn elsewhere(target: &str) -> Shop {
    Shop::again(open(target).await).await
}

/// The child's part. Run by itself it has nothing to do and says so by passing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_bills_events_until_it_is_killed() {
    let Ok(target) = std::env::var(TARGET) else { return };
    let shop = elsewhere(&target).await;
    let (_, failures) = shop.billing.bill_advance(&server("default")).await.unwrap();
    assert_eq!(failures, Vec::<String>::new());
}

/// What was billed at events when all is done.
async fn told(shop: &Shop, after: &str) -> Value {
    let by = server("default");
    let invoices = shop.bill(ENDED).await;
    assert_eq!(shop.bill(ENDED).await.len(), invoices.len(), "{after}: nothing is left to be billed");
    let mut numbers: Vec<_> = invoices.iter().map(|it| it.invoice.sequence.unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=i64::try_from(invoices.len()).unwrap()).collect::<Vec<_>>(), "{after}: numbers without gaps");
    assert!(invoices.iter().all(|it| it.invoice.status == InvoiceStatus::Finalized), "{after}");
    let of_events: Vec<_> = invoices.iter().filter(|it| it.invoice.kind != InvoiceKind::Subscription).flat_map(|it| &it.fees).collect();
    let mut events: Vec<_> = of_events.iter().map(|fee| fee.advance.as_ref().unwrap().transaction_id.as_str()).collect();
    events.sort_unstable();
    let billed = |charge: &str| of_events.iter().filter(|fee| fee.code == charge).map(|fee| fee.amount_cents).sum::<i64>();
    let notes = shop.billing.notes(by.tenant(), &NoteFilter::default(), Page::new(1, 100)).await.unwrap().items;
    let credited: i64 = notes.iter().map(|note| note.total_cents).sum();
    let open = shop.house.db.query("SELECT COUNT(*) FROM meter_advance WHERE open > 0", vec![]).await.unwrap()[0].int(0).unwrap();
    let of_period: i64 =
        invoices.iter().filter(|it| it.invoice.kind == InvoiceKind::Subscription).map(|it| it.invoice.sums.fees_cents).sum();
    assert!(shop.meter.check(by.tenant()).await.unwrap().ok, "{after}");
    // What was taken back is off a draft, where its invoice was one still, or on a credit note.
    let (calls, seats) = (billed("calls") - credited, billed("seats"));
    json!({ "events": events, "calls": calls, "seats": seats, "open": open, "of_period": of_period })
}

/// Every event has one line; what was taken back is not paid, and the period has nothing left.
fn once() -> Value {
    json!({ "events": ["a", "b", "c", "d", "e", "f"], "calls": 2_000, "seats": 4_000, "open": 0, "of_period": 0 })
}

/// Whether the child died before it was done.
async fn dies_and_another_goes_on(target: &str, point: &str, nth: u32) -> bool {
    prepared(target).await;
    let died = is_killed("advance_crash::child_bills_events_until_it_is_killed", &format!("{point}:{nth}"), &[(TARGET, target)]);
    let shop = elsewhere(target).await;
    shop.house.world.clock.set(at(BEGAN));
    let after = format!("{point}:{nth}");
    assert_eq!(told(&shop, &after).await, once(), "{after}");
    died
}

#[tokio::test]
async fn who_dies_at_any_commit_of_billing_events_has_billed_each_once_on_sqlite() {
    for nth in 1..30 {
        let mut died = false;
        for point in COMMIT_POINTS {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("crash.db").to_str().unwrap().to_owned();
            died |= dies_and_another_goes_on(&target, point, nth).await;
        }
        if !died {
            assert!(nth > 5, "events, drafts, numbers and credits are more commits than {nth}");
            return;
        }
    }
    panic!("billing never came to its end");
}

#[tokio::test]
async fn who_dies_at_any_commit_of_billing_events_has_billed_each_once_on_postgresql() {
    for (point, nth) in [(AFTER_STEPS, 1), (BEFORE_COMMIT, 2), (AFTER_STEPS, 3), (BEFORE_COMMIT, 4), (AFTER_COMMIT, 5)] {
        let Some(schema) = Schema::create().await else { return };
        assert!(dies_and_another_goes_on(&schema.url, point, nth).await, "{point}:{nth}");
        schema.drop().await;
    }
}
