//! kill -9 while events are billed at once: this test binary runs itself as a child that records and bills until it dies at a failpoint;
//! then its client sends everything again, billing goes on elsewhere, and every event was billed once.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use creto_db::Db;
use creto_db::failpoint::{AFTER_COMMIT, AFTER_STEPS, BEFORE_COMMIT, ENV};
use creto_db::testkit::Schema;
use creto_metering::model::invoice::InvoiceStatus;
use serde_json::json;

use super::bills::{Sent, Shop};
use super::house::{SETS, server};

/// Where the child finds its database: a path or a PostgreSQL URL. Without it the child's test is empty.
const TARGET: &str = "CRETO_TEST_ADVANCE_CRASH_TARGET";
const BEGAN: &str = "2026-05-11T10:00:00Z";

async fn open(target: &str) -> Db {
    match target.strip_prefix("postgres") {
        Some(_) => Db::open_postgres(target, SETS).await.unwrap(),
        None => Db::open_sqlite(Path::new(target), SETS).unwrap(),
    }
}

async fn prepared(target: &str) {
    let charge = |code: &str, invoiceable: bool| {
        json!({
            "code": code, "billable_metric_code": "calls", "charge_model": "standard", "properties": { "amount": "1" }, "pay_in_advance": true,
            "invoiceable": invoiceable
        })
    };
    let plan = json!({
        "code": "p", "interval": "monthly", "amount_currency": "EUR", "amount_cents": 0, "charges": [charge("own", true), charge("gathered", false)]
    });
    Shop::open(open(target).await, &[json!({ "code": "calls", "aggregation_type": "sum", "field_name": "n" })], &plan).await;
}

/// The events, and that they are billed.
async fn works(shop: &Shop) {
    // Whoever comes after a crash has no key of the people that were there before: the server reports for itself.
    let chain = shop.meter.direct(&server("default")).unwrap();
    for n in 1..=3 {
        shop.send_as(&chain, &[Sent::of(&format!("t{n}"), "calls", BEGAN, json!({ "n": n }))]).await;
        let (_, failures) = shop.billing.bill_advance(&server("default")).await.unwrap();
        assert_eq!(failures, Vec::<String>::new());
    }
}

/// The child's part. Run by itself it has nothing to do and says so by passing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_bills_events_until_it_is_killed() {
    let Ok(target) = std::env::var(TARGET) else { return };
    works(&Shop::again(open(&target).await).await).await;
}

/// Whether the child died; else it was done before the failpoint came.
fn run_child(target: &str, point: &str, nth: u32) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "advance_crash::child_bills_events_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(TARGET, target)
        .env(ENV, format!("{point}:{nth}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success() || status.signal() == Some(9), "{point}:{nth} ended with {status}");
    !status.success()
}

async fn goes_on(target: &str, after: &str) {
    let shop = Shop::again(open(target).await).await;
    works(&shop).await;
    let invoices = shop.bill("2026-05-31T22:00:00Z").await;
    assert!(invoices.iter().all(|it| it.invoice.status == InvoiceStatus::Finalized), "{after}");
    let fees = invoices
        .iter()
        .flat_map(|it| &it.fees)
        .filter_map(|fee| Some((fee.code.clone(), fee.advance.clone()?.transaction_id, fee.amount_cents)));
    let mut billed: Vec<_> = fees.collect();
    billed.sort();
    let expected: Vec<_> =
        ["gathered", "own"].iter().flat_map(|code| (1..=3).map(|n| ((*code).to_owned(), format!("t{n}"), 100 * n))).collect();
    assert_eq!(billed, expected, "{after}");
    assert_eq!(invoices.iter().map(|it| it.invoice.sums.fees_cents).sum::<i64>(), 1_200, "{after}");
    assert!(shop.meter.check(server("default").tenant()).await.unwrap().ok, "{after}");
}

#[tokio::test]
async fn events_billed_at_once_are_billed_once_wherever_the_server_dies_on_sqlite() {
    let mut ended = false;
    for nth in (1..40).step_by(2) {
        for point in [AFTER_STEPS, BEFORE_COMMIT, AFTER_COMMIT] {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("crash.db").to_str().unwrap().to_owned();
            prepared(&target).await;
            ended = !run_child(&target, point, nth);
            goes_on(&target, &format!("{point}:{nth}")).await;
        }
        if ended {
            assert!(nth > 8, "three events in two charges have more commits than {nth}");
            return;
        }
    }
    panic!("the child never came to its end");
}

#[tokio::test]
async fn events_billed_at_once_are_billed_once_wherever_the_server_dies_on_postgresql() {
    for (point, nth) in [(AFTER_STEPS, 4), (BEFORE_COMMIT, 6), (AFTER_COMMIT, 5), (AFTER_COMMIT, 8)] {
        let Some(schema) = Schema::create().await else { return };
        prepared(&schema.url).await;
        run_child(&schema.url, point, nth);
        goes_on(&schema.url, &format!("{point}:{nth}")).await;
        schema.drop().await;
    }
}
