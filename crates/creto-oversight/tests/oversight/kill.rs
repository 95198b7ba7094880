//! SIGKILL at every point of every commit of an approval's day, on both stores: this test binary runs itself as a child that asks, is
//! approved, acts and reports; the child dies at one point; then the day goes on from what it left.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use creto_db::failpoint::{COMMIT_POINTS, ENV};
use creto_db::params;
use creto_db::testkit::Schema;
use creto_enablement_common::{Admission, Outcome};
use creto_kernel::id::RequestId;
use creto_nhi::VerifiedChain;
use creto_oversight::core::evolve::replay;
use creto_oversight::model::event::Event;
use creto_oversight::model::request::{Request, State};

use super::decisions::{WAIT, id};
use super::house::{House, approver, request, server};
use super::restart::house;

const TARGET: &str = "CRETO_TEST_OVERSIGHT_KILL_TARGET";
const KEYS: &str = "CRETO_TEST_OVERSIGHT_KILL_KEYS";

/// Asks, decides, acts, reports: from wherever an earlier day ended.
async fn day(house: &House, chain: &VerifiedChain) {
    let ask = async || {
        let mut asking = request(chain, "tool.call_with_approval", "tool:pay");
        asking.wait = WAIT;
        house.gate.admit_within(asking, Duration::ZERO).await.unwrap()
    };
    let granted = match ask().await {
        Admission::Granted(granted) => granted,
        Admission::Pending(open, digest) => {
            house.desk.decide(&approver("default"), open, Some(digest), Some("fine")).await.unwrap();
            let Admission::Granted(granted) = ask().await else { panic!("it was approved") };
            granted
        }
        Admission::Again(admission) => panic!("{admission}: there is no attempt"),
    };
    house.gate.settle(*granted, Outcome { ok: true, ..Outcome::default() }).await.unwrap();
}

/// The child's part. Run by itself it has nothing to do and says so by passing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_lives_one_day() {
    let Ok(target) = std::env::var(TARGET) else { return };
    let house = house(&target, Path::new(&std::env::var(KEYS).unwrap())).await;
    let chain = house.chain("default", None, &["planner"]).await;
    day(&house, &chain).await;
}

/// Whether the child was killed at this visit of the point; it lives to its end where the day has fewer.
fn killed(target: &str, keys: &Path, point: &str, visit: usize) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_lives_one_day", "--test-threads=1"])
        .env(TARGET, target)
        .env(KEYS, keys)
        .env(ENV, format!("{point}:{visit}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success() || status.signal() == Some(9), "{point}:{visit}: {status}");
    status.signal() == Some(9)
}

/// Every request is what its events say, was used at most once, and has its timer while time can change it.
async fn sound(house: &House, chain: &VerifiedChain, at: &str) -> Vec<Request> {
    let all = house.desk.list(chain.tenant(), None).await.unwrap();
    for request in &all {
        let events = house.desk.history(chain.tenant(), id(request)).await.unwrap();
        let case = replay(&events).unwrap();
        assert_eq!((case.state, events.len()), (request.state, usize::try_from(request.seq).unwrap()), "{at}");
        let consumed = events.iter().filter(|recorded| matches!(recorded.event, Event::Consumed { .. })).count();
        assert!(consumed <= 1, "{at}: used twice");
        let sql = "SELECT due FROM oversight_timer WHERE tenant = $1 AND request = $2";
        let timer = house.db.query_optional(sql, params![chain.tenant(), id(request)]).await.unwrap();
        assert_eq!(timer.is_some(), request.state.is_open(), "{at}: a timer for each that waits, and for no other");
        let told = house.db.query("SELECT body FROM outbox", vec![]).await.unwrap();
        let about = |row: &creto_db::Row| row.text(0).unwrap().contains(&request.id);
        assert!(told.iter().any(about), "{at}: nobody is told of it");
    }
    all
}

async fn every_point(target: impl AsyncFn(usize) -> String) {
    let mut place = 0;
    for point in COMMIT_POINTS {
        let mut deaths = 0;
        for visit in 1.. {
            place += 1;
            let at = format!("{point}:{visit}");
            let (target, keys) = (target(place).await, tempfile::tempdir().unwrap());
            if !killed(&target, keys.path(), point, visit) {
                break;
            }
            deaths += 1;
            let house = house(&target, keys.path()).await;
            let chain = house.chain("default", None, &["planner"]).await;
            sound(&house, &chain, &at).await;
            // What was under way is in doubt, and a human says it did not happen.
            house.gate.mark_in_doubt(&server("default")).await.unwrap();
            for request in sound(&house, &chain, &at).await {
                assert_ne!(request.state, State::Consumed, "{at}: used, and nobody knows");
                if request.state == State::InDoubt {
                    let admission = request.admission.clone().unwrap().parse().unwrap();
                    house.gate.resolve_in_doubt(chain.root(), admission, true).await.unwrap();
                }
            }
            let executed = async || {
                let all = sound(&house, &chain, &at).await;
                all.into_iter().filter(|request| request.state == State::Executed).map(|request| id(&request)).collect::<Vec<RequestId>>()
            };
            if executed().await.is_empty() {
                day(&house, &chain).await;
            }
            assert_eq!(executed().await.len(), 1, "{at}: one execution");
        }
        assert!(deaths >= 4, "{point}: a day has at least four commits, and {deaths} were hit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_an_approval_is_used_at_most_once_and_nothing_is_lost_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    every_point(async |place| folder.path().join(format!("{place}.db")).to_str().unwrap().to_owned()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_an_approval_is_used_at_most_once_and_nothing_is_lost_on_postgresql() {
    let Some(first) = Schema::create().await else { return };
    first.drop().await;
    let made = std::sync::Mutex::new(Vec::new());
    every_point(async |_| {
        let schema = Schema::create().await.unwrap();
        let url = schema.url.clone();
        made.lock().unwrap().push(schema);
        url
    })
    .await;
    for schema in made.into_inner().unwrap() {
        schema.drop().await;
    }
}
