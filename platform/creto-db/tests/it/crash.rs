//! kill -9 at every commit boundary: this test binary runs itself as a child that commits a stream of numbers and prints each one that
//! was acknowledged; the child is killed at a failpoint; then the database is opened again and compared with what was promised.

use std::collections::BTreeSet;
use std::io::{BufRead, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{SETS, count, insert, leaf};
use creto_db::failpoint::{COMMIT_POINTS, ENV};
use creto_db::testkit::Schema;
use creto_db::{Db, Message, Sealed};
use creto_kernel::Leaf;
use creto_kernel::id::OutboxId;

/// Where the child finds its database: a path or a PostgreSQL URL. Without it the child's test is empty.
const TARGET: &str = "CRETO_TEST_CRASH_TARGET";

/// Writes in flight at once, so that group commits hold several.
const WIDTH: i64 = 8;

/// A child that reaches this has missed its failpoint.
const NUMBERS_MAX: i64 = 4_000;

async fn open(target: &str) -> Db {
    match target.strip_prefix("postgres") {
        Some(_) => Db::open_postgres(target, SETS).await.unwrap(),
        None => Db::open_sqlite(Path::new(target), SETS).unwrap(),
    }
}

/// Two rows, a leaf and a message: a write that could be torn.
fn numbered(number: i64) -> Sealed {
    let message = Message { id: OutboxId::generate(), topic: "test.made".to_owned(), body: number.into() };
    Sealed::new(leaf().fact("number", number)).step(insert(number, "one")).step(insert(-number, "two")).message(message)
}

/// The child's part. Run by itself it has nothing to do and says so by passing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_commits_until_it_is_killed() {
    let Ok(target) = std::env::var(TARGET) else { return };
    let db = open(&target).await;
    let lanes = (1..=WIDTH).map(|lane| {
        let db = db.clone();
        tokio::spawn(async move {
            for number in (lane..NUMBERS_MAX).step_by(usize::try_from(WIDTH).unwrap()) {
                db.commit(numbered(number)).await.unwrap();
                // The test harness captures `println`; what goes to the descriptor itself cannot be held back.
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {number}").unwrap();
                out.flush().unwrap();
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
    panic!("the failpoint was never reached");
}

/// Runs the child until it dies at the failpoint; what it acknowledged.
fn run_child(target: &str, point: &str, nth: u32) -> BTreeSet<i64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_commits_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(TARGET, target)
        .env(ENV, format!("{point}:{nth}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    // A line may follow what the test harness prints without a newline.
    let acknowledged = lines.filter_map(|line| line.unwrap().split_once("acknowledged ").map(|(_, n)| n.trim().parse().unwrap())).collect();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "{point}:{nth} ended with {status}");
    acknowledged
}

async fn check(target: &str, acknowledged: &BTreeSet<i64>, after: &str) {
    let db = open(target).await;
    let rows = db.query("SELECT number FROM item WHERE number > 0 ORDER BY number", vec![]).await.unwrap();
    let stored: BTreeSet<i64> = rows.iter().map(|r| r.int(0).unwrap()).collect();
    assert!(acknowledged.is_subset(&stored), "{after}: acknowledged and lost: {:?}", acknowledged.difference(&stored));
    let halves = db.query("SELECT -number FROM item WHERE number < 0", vec![]).await.unwrap();
    assert_eq!(halves.iter().map(|r| r.int(0).unwrap()).collect::<BTreeSet<_>>(), stored, "{after}: a write is torn");
    let leaves = db.query("SELECT body, sequence FROM audit_leaf ORDER BY sequence", vec![]).await.unwrap();
    let leaf = |bytes: &[u8]| -> Leaf { serde_json::from_slice(bytes).unwrap() };
    let recorded: BTreeSet<i64> = leaves.iter().map(|r| leaf(r.blob(0).unwrap()).facts["number"].parse().unwrap()).collect();
    assert_eq!(recorded, stored, "{after}: rows and leaves differ");
    assert_eq!(leaves.len(), stored.len(), "{after}: a leaf is doubled");
    assert_eq!(
        leaves.iter().map(|r| r.int(1).unwrap()).collect::<Vec<_>>(),
        (1..=i64::try_from(leaves.len()).unwrap()).collect::<Vec<_>>()
    );
    assert_eq!(count(&db, "outbox").await, i64::try_from(stored.len()).unwrap(), "{after}: messages and rows differ");
    // And it goes on from there.
    db.commit(numbered(NUMBERS_MAX + 1)).await.unwrap();
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_is_torn_on_sqlite() {
    for point in COMMIT_POINTS {
        for nth in [1, 2, 23] {
            let directory = tempfile::tempdir().unwrap();
            let target = directory.path().join("crash.db").to_str().unwrap().to_owned();
            let acknowledged = run_child(&target, point, nth);
            assert!(nth < 20 || !acknowledged.is_empty(), "{point}:{nth} came before anything was promised");
            check(&target, &acknowledged, &format!("{point}:{nth}")).await;
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_is_torn_on_postgresql() {
    for point in COMMIT_POINTS {
        for nth in [1, 23] {
            let Some(schema) = Schema::create().await else { return };
            let acknowledged = run_child(&schema.url, point, nth);
            check(&schema.url, &acknowledged, &format!("{point}:{nth}")).await;
            schema.drop().await;
        }
    }
}
