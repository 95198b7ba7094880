//! Quotas under contention and crashes: never passed, by whatever many callers, servers and deaths.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use creto_db::Db;
use creto_db::testkit::{Schema, each_engine};
use creto_kernel::{Clock as _, Micros};
use creto_metering::QuotaEnforcer;
use creto_nhi::VerifiedChain;
use creto_nhi::testkit::World;
use serde_json::json;

use super::house::SETS;
use super::quotas::{enforcer, put};

const TASKS: i64 = 64;
const ROUNDS: i64 = 40;
const LIMIT: i64 = 1_000;

async fn reserve(quotas: &QuotaEnforcer, chain: &VerifiedChain, world: &World) -> bool {
    match quotas.reserve(chain, "tool.call", Micros::ZERO, &[], world.clock.now()).await {
        Ok(reservation) => {
            reservation.keep();
            true
        }
        Err(refusal) => {
            assert!(refusal.to_string().contains("quota"), "{refusal}");
            false
        }
    }
}

async fn four_hops(world: &World) -> VerifiedChain {
    let chain = world.chain("default", None, &["planner", "researcher", "reader"]).await;
    world.authority.verify(&chain, world.clock.now()).unwrap()
}

/// How many of sixty-four tasks' actions passed, spread over these servers.
async fn storm(servers: Vec<QuotaEnforcer>, chain: &VerifiedChain, world: &Arc<World>) -> i64 {
    let passed = Arc::new(AtomicI64::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let quotas = servers.iter().cycle().nth(usize::try_from(task).unwrap()).unwrap().clone();
            let (chain, world, passed) = (chain.clone(), Arc::clone(world), Arc::clone(&passed));
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    if reserve(&quotas, &chain, &world).await {
                        passed.fetch_add(1, Ordering::SeqCst);
                    } else if round % 8 == 0 {
                        // Some give up what they have in between: it is somebody's again.
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    passed.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_tasks_use_a_quota_up_to_the_last_unit_and_never_pass_it() {
    each_engine(SETS, async |db| {
        let world = Arc::new(World::open(db.clone()).await);
        let (quotas, chain) = (enforcer(&db, &world).await, four_hops(&world).await);
        for scope in ["tenant", "root", "agent"] {
            put(&quotas, json!({ "code": scope, "metric": "actions", "scope": scope, "window": "total", "limit": LIMIT.to_string() }))
                .await;
        }
        assert_eq!(storm(vec![quotas.clone()], &chain, &world).await, LIMIT, "one server strands nothing");
        for code in ["tenant", "root", "agent"] {
            let state = quotas.get(chain.tenant(), code).await.unwrap();
            assert!(state.subjects.iter().all(|subject| subject.counted.get() == LIMIT * 1_000_000), "{state:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_share_a_database_share_a_quota_and_pass_it_never() {
    each_engine(SETS, async |db| {
        let world = Arc::new(World::open(db.clone()).await);
        let (first, chain) = (enforcer(&db, &world).await, four_hops(&world).await);
        put(&first, json!({ "code": "all", "metric": "actions", "scope": "tenant", "window": "total", "limit": LIMIT.to_string() })).await;
        let servers = vec![first.clone(), enforcer(&db, &world).await, enforcer(&db, &world).await];
        let mut passed = storm(servers.clone(), &chain, &world).await;
        assert!(passed <= LIMIT && passed > LIMIT * 9 / 10, "{passed}");
        // One dies with its lease, the others give back: still never more, and of the living nothing is stranded.
        for server in &servers[1..] {
            server.close().await.unwrap();
        }
        drop(servers);
        passed += storm(vec![enforcer(&db, &world).await], &chain, &world).await;
        assert!(passed <= LIMIT, "{passed}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_changed_on_one_server_holds_on_the_other_once_it_looked() {
    each_engine(SETS, async |db| {
        let world = Arc::new(World::open(db.clone()).await);
        let (here, there, chain) = (enforcer(&db, &world).await, enforcer(&db, &world).await, four_hops(&world).await);
        let body =
            |limit: i64| json!({ "code": "all", "metric": "actions", "scope": "tenant", "window": "total", "limit": limit.to_string() });
        put(&here, body(1_000)).await;
        assert!(reserve(&there, &chain, &world).await, "it has not looked yet, and knows of no limit");
        there.tend().await.unwrap();
        assert!(reserve(&there, &chain, &world).await);
        // The lease of the other server is worth nothing under the new limit.
        put(&here, body(1)).await;
        there.tend().await.unwrap();
        there.tend().await.unwrap();
        assert!(!reserve(&there, &chain, &world).await);
        let state = here.get(chain.tenant(), "all").await.unwrap();
        assert_eq!(state.subjects.first().unwrap().counted.to_string(), "1", "what was leased and not used was given back");
    })
    .await;
}

/// Where the child finds its database. Without it the child's test is empty.
const TARGET: &str = "CRETO_TEST_QUOTA_CRASH_TARGET";
const CRASH_LIMIT: usize = 400;

async fn open(target: &str) -> Db {
    match target.strip_prefix("postgres") {
        Some(_) => Db::open_postgres(target, SETS).await.unwrap(),
        None => Db::open_sqlite(Path::new(target), SETS).unwrap(),
    }
}

/// Identities are not what is counted: each process has its own.
async fn world_of_its_own() -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (World::open(Db::open_sqlite(&folder.path().join("world.db"), SETS).unwrap()).await, folder)
}

/// The child's part: uses the quota until it is refused, and says so each time.
#[tokio::test]
async fn child_uses_the_quota_until_it_is_killed() {
    let Ok(target) = std::env::var(TARGET) else { return };
    let (world, _folder) = world_of_its_own().await;
    let (quotas, chain) = (enforcer(&open(&target).await, &world).await, four_hops(&world).await);
    loop {
        let passed = reserve(&quotas, &chain, &world).await;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", if passed { "used" } else { "refused" }).unwrap();
        out.flush().unwrap();
        if !passed {
            return;
        }
    }
}

/// Runs a child until it has used so much and is killed, or until it is refused. How much it used.
fn run_child(target: &str, until: usize) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "quota_contention::child_uses_the_quota_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(TARGET, target)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut used, mut refused) = (0, false);
    for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        used += usize::from(line.ends_with("used"));
        refused |= line.ends_with("refused");
        if used == until {
            // SIGKILL; what it wrote before it died is still read.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(used >= until || refused, "the child ended after {used}");
    used
}

async fn kill_and_count(target: &str) {
    {
        let (world, _folder) = world_of_its_own().await;
        let quotas = enforcer(&open(target).await, &world).await;
        let limit = CRASH_LIMIT.to_string();
        put(&quotas, json!({ "code": "all", "metric": "actions", "scope": "tenant", "window": "total", "limit": limit })).await;
    }
    let killed: usize = [3, 41, 1, 77].into_iter().map(|until| run_child(target, until)).sum();
    let used = killed + run_child(target, usize::MAX);
    assert!(used <= CRASH_LIMIT, "{used} of {CRASH_LIMIT} were used");
    assert!(used > CRASH_LIMIT * 3 / 4, "{used} of {CRASH_LIMIT}: each death strands no more than a lease");
}

#[tokio::test]
async fn after_kill_nine_less_may_be_used_and_never_more_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    kill_and_count(folder.path().join("crash.db").to_str().unwrap()).await;
}

#[tokio::test]
async fn after_kill_nine_less_may_be_used_and_never_more_on_postgresql() {
    let Some(schema) = Schema::create().await else { return };
    kill_and_count(&schema.url).await;
    schema.drop().await;
}
