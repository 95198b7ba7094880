//! kill -9 between hold and posting: this test binary runs itself as a child that admits and settles until it dies at a failpoint; then
//! the database is opened again and the money is counted.

use std::collections::BTreeSet;
use std::io::{BufRead, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use creto_db::Db;
use creto_db::failpoint::{AFTER_COMMIT, AFTER_STEPS, BEFORE_COMMIT, ENV};
use creto_db::testkit::Schema;
use creto_enablement_common::gate::{ActionFilter, ActionState};
use creto_enablement_common::{Outcome, Usage};
use creto_kernel::Micros;
use creto_kernel::id::AdmissionId;

use super::budgets::priced;
use super::house::{House, SETS, human, request, server};

/// Where the child finds its database: a path or a PostgreSQL URL. Without it the child's test is empty.
const TARGET: &str = "CRETO_TEST_METERING_CRASH_TARGET";

/// A child that reaches this has missed its failpoint.
const ACTIONS_MAX: i64 = 400;
const HELD: i64 = 10;
const SPENT: i64 = 7;

async fn open(target: &str) -> Db {
    match target.strip_prefix("postgres") {
        Some(_) => Db::open_postgres(target, SETS).await.unwrap(),
        None => Db::open_sqlite(Path::new(target), SETS).unwrap(),
    }
}

/// The child's part. Run by itself it has nothing to do and says so by passing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_spends_until_it_is_killed() {
    let Ok(target) = std::env::var(TARGET) else { return };
    let house = House::open(open(&target).await, Vec::new()).await;
    let chain = house.chain("default", Some(1_000_000), &["planner", "researcher", "reader"]).await;
    priced(&house, &chain).await;
    for _ in 0..ACTIONS_MAX {
        let mut asked = request(&chain, "tool.call", "tool:report");
        asked.reserve = Micros::new(HELD);
        let granted = house.gate.admit(asked).await.unwrap();
        let outcome = Outcome { ok: true, usage: vec![Usage::measured("micros", SPENT)], ..Outcome::default() };
        let settled = house.gate.settle(granted, outcome).await.unwrap();
        // The test harness captures `println`; what goes to the descriptor itself cannot be held back.
        let mut out = std::io::stdout().lock();
        writeln!(out, "settled {}", settled.admission).unwrap();
        out.flush().unwrap();
    }
    panic!("the failpoint was never reached");
}

/// Runs the child until it dies at the failpoint; what it was told was settled.
fn run_child(target: &str, point: &str, nth: u32) -> BTreeSet<AdmissionId> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_spends_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(TARGET, target)
        .env(ENV, format!("{point}:{nth}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let settled = lines.filter_map(|line| line.unwrap().split_once("settled ").map(|(_, id)| id.trim().parse().unwrap())).collect();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "{point}:{nth} ended with {status}");
    settled
}

/// How many of the actions were cut between hold and posting.
async fn count_the_money(target: &str, told: &BTreeSet<AdmissionId>, after: &str) -> usize {
    let house = House::open(open(target).await, Vec::new()).await;
    let someone = human("default", "alice", creto_nhi::Roles::OPERATOR_AND_APPROVER).identity;
    let tenant = someone.tenant();
    let rows = house.gate.actions(tenant, &ActionFilter::default()).await.unwrap();
    let of = |state| rows.iter().filter(|row| row.state == state).map(|row| row.admission).collect::<BTreeSet<_>>();
    let (done, cut) = (of(ActionState::Done), of(ActionState::Intent));
    assert!(told.is_subset(&done), "{after}: told and lost: {:?}", told.difference(&done));
    assert_eq!(done.len() + cut.len(), rows.len(), "{after}");

    let spent = SPENT * i64::try_from(done.len()).unwrap();
    let report = house.accounts.check(tenant).await.unwrap();
    assert_eq!((report.ok, report.debits.get()), (true, spent), "{after}: {report:?}");
    let events = house
        .db
        .query(
            "SELECT b.admission, r.cost_micros FROM meter_record r JOIN meter_batch b ON b.tenant = r.tenant AND b.first = r.seq",
            vec![],
        )
        .await
        .unwrap();
    assert_eq!(events.iter().map(|row| row.parse(0).unwrap()).collect::<BTreeSet<AdmissionId>>(), done, "{after}: ledger and events");
    assert_eq!(events.iter().map(|row| row.int(1).unwrap()).sum::<i64>(), spent, "{after}");
    assert_eq!(house.held().await, 5 * HELD * i64::try_from(cut.len()).unwrap(), "{after}: what was cut is still held, at each account");

    assert_eq!(house.gate.mark_in_doubt(&server("default")).await.unwrap(), u64::try_from(cut.len()).unwrap());
    for admission in &cut {
        house.gate.resolve_in_doubt(&someone, *admission, false).await.unwrap();
    }
    let report = house.accounts.check(tenant).await.unwrap();
    assert_eq!((report.ok, report.debits.get(), house.held().await), (true, spent, 0), "{after}: {report:?}");
    cut.len()
}

#[tokio::test]
async fn after_kill_nine_the_ledger_is_the_events_and_nothing_stays_held_on_sqlite() {
    let mut cut = 0;
    for point in [AFTER_STEPS, BEFORE_COMMIT, AFTER_COMMIT] {
        for nth in [24, 25] {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("crash.db").to_str().unwrap().to_owned();
            let told = run_child(&target, point, nth);
            cut += count_the_money(&target, &told, &format!("{point}:{nth}")).await;
        }
    }
    assert!(cut >= 3, "one of two neighbouring commits is a posting, and dying before it cuts an action: {cut}");
}

#[tokio::test]
async fn after_kill_nine_the_ledger_is_the_events_and_nothing_stays_held_on_postgresql() {
    for (point, nth) in [(AFTER_STEPS, 24), (BEFORE_COMMIT, 25), (AFTER_COMMIT, 24)] {
        let Some(schema) = Schema::create().await else { return };
        let told = run_child(&schema.url, point, nth);
        count_the_money(&schema.url, &told, &format!("{point}:{nth}")).await;
        schema.drop().await;
    }
}
