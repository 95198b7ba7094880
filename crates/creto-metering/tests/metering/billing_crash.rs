//! kill -9 during a run of billing: this test binary runs itself as a child that bills until it dies at a failpoint; then billing goes on
//! elsewhere, and every invoice is there once.

use std::path::Path;

use creto_db::Db;
use creto_db::failpoint::{AFTER_COMMIT, AFTER_STEPS, BEFORE_COMMIT};
use creto_db::testkit::Schema;
use creto_metering::model::customer::Customer;

use super::billing::Office;
use super::catalog::{plan, subscription};
use super::child::is_killed;
use super::house::{SETS, server};

/// Where the child finds its database: a path or a PostgreSQL URL. Without it the child's test is empty.
const TARGET: &str = "CRETO_TEST_BILLING_CRASH_TARGET";
const SUBSCRIPTIONS: usize = 4;
const START: &str = "2026-03-01T00:00:00Z";
const TURN: &str = "2026-04-01T00:00:00Z";

async fn open(target: &str) -> Db {
    match target.strip_prefix("postgres") {
        Some(_) => Db::open_postgres(target, SETS).await.unwrap(),
        None => Db::open_sqlite(Path::new(target), SETS).unwrap(),
    }
}

async fn prepared(target: &str) {
    let office = Office::stocked(open(target).await, START, plan("pro", 1_000, &[]), Customer::new("acme")).await;
    for at in 2..=SUBSCRIPTIONS {
        office.billing.catalog().subscribe(&server("default"), subscription(&format!("s{at}"), "acme", "pro")).await.unwrap();
    }
}

/// The child's part. Run by itself it has nothing to do and says so by passing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_bills_until_it_is_killed() {
    let Ok(target) = std::env::var(TARGET) else { return };
    let office = Office::open(open(&target).await).await;
    office.world.clock.set(TURN.parse().unwrap());
    office.billing.run(&server("default")).await.unwrap();
}

/// Whether the child died; else it was done before the failpoint came.
fn run_child(target: &str, point: &str, nth: u32) -> bool {
    is_killed("billing_crash::child_bills_until_it_is_killed", &format!("{point}:{nth}"), &[(TARGET, target)])
}

async fn goes_on(target: &str, after: &str) {
    let office = Office::open(open(target).await).await;
    office.world.clock.set(TURN.parse().unwrap());
    let run = office.billing.run(&server("default")).await.unwrap();
    assert_eq!((run.done, run.failures), (true, Vec::<String>::new()), "{after}");
    let invoices = office.invoices().await;
    let mut numbers: Vec<_> = invoices.iter().map(|it| it.invoice.sequence.unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=SUBSCRIPTIONS).map(|at| i64::try_from(at).unwrap()).collect::<Vec<_>>(), "{after}");
    assert!(invoices.iter().all(|it| it.invoice.sums.fees_cents == 1_000 && it.fees.len() == 1), "{after}");
}

#[tokio::test]
async fn a_run_killed_at_any_commit_is_continued_and_bills_each_once_on_sqlite() {
    let mut ended = false;
    for nth in 1..40 {
        for point in [AFTER_STEPS, BEFORE_COMMIT, AFTER_COMMIT] {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("crash.db").to_str().unwrap().to_owned();
            prepared(&target).await;
            ended = !run_child(&target, point, nth);
            goes_on(&target, &format!("{point}:{nth}")).await;
        }
        if ended {
            assert!(nth > 10, "a run of {SUBSCRIPTIONS} subscriptions has more commits than {nth}");
            return;
        }
    }
    panic!("the run never came to its end");
}

#[tokio::test]
async fn a_run_killed_at_any_commit_is_continued_and_bills_each_once_on_postgresql() {
    for (point, nth) in [(AFTER_STEPS, 6), (BEFORE_COMMIT, 8), (AFTER_COMMIT, 10), (AFTER_COMMIT, 12)] {
        let Some(schema) = Schema::create().await else { return };
        prepared(&schema.url).await;
        run_child(&schema.url, point, nth);
        goes_on(&schema.url, &format!("{point}:{nth}")).await;
        schema.drop().await;
    }
}
