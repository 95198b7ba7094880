//! kill -9 while a human is asked: this test binary runs itself as a child that asks and waits; the child is killed; then somebody
//! decides on the database it left, and the agent's retry goes on from there.

use std::io::{BufRead, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use creto_crypto::{AlgorithmPolicy, KeyRing, MasterKey};
use creto_db::Db;
use creto_db::testkit::Schema;
use creto_enablement_common::{Admission, Outcome};
use creto_nhi::testkit::World;
use creto_oversight::model::request::State;

use super::decisions::{WAIT, id};
use super::house::{House, SETS, approver, request};

/// Where the child finds its database: a path or a PostgreSQL URL. Without it the child's test is empty.
const TARGET: &str = "CRETO_TEST_OVERSIGHT_RESTART_TARGET";

/// Where the keys are that outlive the child.
const KEYS: &str = "CRETO_TEST_OVERSIGHT_RESTART_KEYS";

pub(crate) async fn house(target: &str, keys: &Path) -> House {
    let db = match target.strip_prefix("postgres") {
        Some(_) => Db::open_postgres(target, SETS).await.unwrap(),
        None => Db::open_sqlite(Path::new(target), SETS).unwrap(),
    };
    let mut world = World::open(db.clone()).await;
    let master = MasterKey::from_hex(&"5a".repeat(32)).unwrap();
    world.keys = Arc::new(KeyRing::open(keys, master, AlgorithmPolicy::default(), &*world.clock).unwrap());
    world.authority = world.restarted().await;
    House::of(world, Vec::new()).await
}

/// The child's part. Run by itself it has nothing to do and says so by passing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_asks_and_waits_until_it_is_killed() {
    let Ok(target) = std::env::var(TARGET) else { return };
    let house = house(&target, Path::new(&std::env::var(KEYS).unwrap())).await;
    let chain = house.chain("default", None, &["planner"]).await;
    let mut changes = house.desk.changes();
    let waiting = tokio::spawn({
        let (gate, chain) = (Arc::clone(&house.gate), chain.clone());
        async move {
            let mut asking = request(&chain, "tool.call_with_approval", "tool:pay");
            asking.wait = WAIT;
            gate.admit(asking).await
        }
    });
    changes.changed().await.unwrap();
    // The test harness captures `println`; what goes to the descriptor itself cannot be held back.
    let mut out = std::io::stdout().lock();
    writeln!(out, "asked").unwrap();
    out.flush().unwrap();
    drop(out);
    panic!("nobody decides in here: {:?}", waiting.await);
}

fn ask_and_be_killed(target: &str, keys: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "restart::child_asks_and_waits_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(TARGET, target)
        .env(KEYS, keys)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("asked")), "the child ended before it asked");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

async fn decide_and_go_on(target: &str, keys: &Path) {
    let house = house(target, keys).await;
    let chain = house.chain("default", None, &["planner"]).await;
    let waiting = house.desk.list(chain.tenant(), Some(State::Pending)).await.unwrap();
    let [open] = waiting.as_slice() else { panic!("{waiting:?}") };
    house.desk.decide(&approver("default"), id(open), Some(open.digest), None).await.unwrap();
    let asking = request(&chain, "tool.call_with_approval", "tool:pay");
    let Admission::Granted(granted) = house.gate.admit_within(asking, Duration::ZERO).await.unwrap() else { panic!("it was approved") };
    assert_eq!(granted.approval(), Some(id(open)));
    house.gate.settle(*granted, Outcome { ok: true, ..Outcome::default() }).await.unwrap();
    assert_eq!(house.desk.get(chain.tenant(), id(open)).await.unwrap().state, State::Executed);
}

#[tokio::test]
async fn a_waiting_request_survives_kill_nine_and_its_approval_is_used_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("restart.db").to_str().unwrap().to_owned();
    let keys = folder.path().join("keys");
    ask_and_be_killed(&target, &keys);
    decide_and_go_on(&target, &keys).await;
}

#[tokio::test]
async fn a_waiting_request_survives_kill_nine_and_its_approval_is_used_on_postgresql() {
    let Some(schema) = Schema::create().await else { return };
    let keys = tempfile::tempdir().unwrap();
    ask_and_be_killed(&schema.url, keys.path());
    decide_and_go_on(&schema.url, keys.path()).await;
    schema.drop().await;
}
