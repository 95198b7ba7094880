//! Leases that servers share through a real Redis, which is killed and comes back empty, or with what it once had.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use creto_db::Db;
use creto_db::testkit::each_engine;
use creto_kernel::{Clock as _, Coded, Micros, SystemClock};
use creto_metering::{Pool, Pools as _, QuotaEnforcer, QuotaOptions, RedisPools};
use creto_nhi::VerifiedChain;
use creto_nhi::testkit::World;
use serde_json::json;

use super::house::{SETS, server};
use super::quotas::put;

const LIMIT: i64 = 3_000;
const TASKS: usize = 48;
/// How often Redis dies under load.
const DEATHS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(20);

/// A Redis of its own, that keeps only what it is told to.
struct Redis {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Redis {
    /// `None` where none is installed, after saying so.
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let Ok(child) = Self::spawn(port, folder.path()) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "redis-server is not installed, and CI tests it");
            eprintln!("SKIPPED redis: redis-server is not installed");
            return None;
        };
        let redis = Self { child, port, folder };
        redis.wait_until_it_answers();
        Some(redis)
    }

    fn spawn(port: u16, folder: &std::path::Path) -> std::io::Result<Child> {
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string(), "--dir"])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }

    fn wait_until_it_answers(&self) {
        let started = Instant::now();
        while self.command(&["PING"]) != "+PONG" {
            assert!(started.elapsed() < PATIENCE, "redis does not answer");
            std::thread::yield_now();
        }
    }

    /// One command in the inline form of its protocol; the first line of the answer.
    fn command(&self, words: &[&str]) -> String {
        use std::io::{BufRead as _, Write as _};
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) else { return String::new() };
        let mut line = String::new();
        if stream.write_all(format!("{}\r\n", words.join(" ")).as_bytes()).is_ok() {
            // One that dies meanwhile has not answered.
            let _ = std::io::BufReader::new(stream).read_line(&mut line);
        }
        line.trim().to_owned()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Comes back with what is in its folder.
    fn restart(&mut self) {
        self.child = Self::spawn(self.port, self.folder.path()).unwrap();
        self.wait_until_it_answers();
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn pools(&self) -> Arc<RedisPools> {
        // Whether Redis is gone is asked again after a while of real time.
        Arc::new(RedisPools::new(&self.url(), Arc::new(SystemClock)).unwrap())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn shared(db: &Db, world: &World, redis: &Redis) -> QuotaEnforcer {
    let options = QuotaOptions { db: db.clone(), clock: world.clock.clone(), server: server("default"), pools: Some(redis.pools()) };
    QuotaEnforcer::start(options).await.unwrap()
}

/// Whether it passed; else under which code it did not.
async fn reserve(quotas: &QuotaEnforcer, chain: &VerifiedChain, world: &World) -> Result<(), String> {
    match quotas.reserve(chain, "tool.call", Micros::ZERO, &[], world.clock.now()).await {
        Ok(reservation) => {
            reservation.keep();
            Ok(())
        }
        Err(refusal) => Err(refusal.code().as_str().to_owned()),
    }
}

async fn chain(world: &World) -> VerifiedChain {
    let chain = world.chain("default", None, &["planner", "researcher", "reader"]).await;
    world.authority.verify(&chain, world.clock.now()).unwrap()
}

fn total(limit: i64, safe: i64) -> serde_json::Value {
    let (limit, safe) = (limit.to_string(), safe.to_string());
    json!({ "code": "all", "metric": "actions", "scope": "tenant", "window": "total", "limit": limit, "safe_capacity": safe })
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_and_restarted_empty_under_load_overspends_nothing_and_recovers() {
    each_engine(SETS, async |db| {
        let Some(mut redis) = Redis::start() else { return };
        let world = Arc::new(World::open(db.clone()).await);
        let chain = chain(&world).await;
        let servers = [shared(&db, &world, &redis).await, shared(&db, &world, &redis).await, shared(&db, &world, &redis).await];
        put(&servers[0], total(LIMIT, 0)).await;
        for server in &servers {
            server.tend().await.unwrap();
        }
        let (passed, failed_closed, over) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let tasks: Vec<_> = servers
            .iter()
            .cycle()
            .take(TASKS)
            .cloned()
            .map(|quotas| {
                let (chain, world) = (chain.clone(), Arc::clone(&world));
                let (passed, failed_closed, over) = (Arc::clone(&passed), Arc::clone(&failed_closed), Arc::clone(&over));
                tokio::spawn(async move {
                    while !over.load(Ordering::SeqCst) {
                        match reserve(&quotas, &chain, &world).await {
                            Ok(()) => passed.fetch_add(1, Ordering::SeqCst),
                            Err(code) if code == "metering.quota_unavailable" => failed_closed.fetch_add(1, Ordering::SeqCst),
                            Err(code) => {
                                assert_eq!(code, "metering.quota_exceeded");
                                0
                            }
                        };
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        // Each death comes when the load has got further.
        for death in 1..=DEATHS {
            let until = LIMIT * i64::try_from(death).unwrap() / 5;
            let started = Instant::now();
            while passed.load(Ordering::SeqCst) < until && started.elapsed() < PATIENCE {
                tokio::task::yield_now().await;
            }
            let closed = failed_closed.load(Ordering::SeqCst);
            redis.kill();
            let started = Instant::now();
            while failed_closed.load(Ordering::SeqCst) == closed && started.elapsed() < PATIENCE {
                tokio::task::yield_now().await;
            }
            assert!(failed_closed.load(Ordering::SeqCst) > closed, "without Redis a hard limit hands out nothing more");
            redis.restart();
        }
        let started = Instant::now();
        let mut last = (passed.load(Ordering::SeqCst), Instant::now());
        while last.1.elapsed() < Duration::from_secs(2) && started.elapsed() < PATIENCE {
            let now = passed.load(Ordering::SeqCst);
            if now != last.0 {
                last = (now, Instant::now());
            }
            // A limit that was found full is looked at again after a while.
            world.clock.advance(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
        over.store(true, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
        let passed = passed.load(Ordering::SeqCst);
        assert!(passed <= LIMIT, "{passed} of {LIMIT}: overspent");
        assert!(passed > LIMIT * 3 / 5, "{passed} of {LIMIT}: it recovered after each death");
    })
    .await;
}

#[tokio::test]
async fn while_redis_is_gone_a_server_hands_out_its_safe_capacity_and_then_nothing() {
    each_engine(SETS, async |db| {
        let Some(mut redis) = Redis::start() else { return };
        let world = World::open(db.clone()).await;
        let chain = chain(&world).await;
        let quotas = shared(&db, &world, &redis).await;
        put(&quotas, total(1_000, 5)).await;
        redis.kill();
        for _ in 0..5 {
            reserve(&quotas, &chain, &world).await.unwrap();
        }
        assert_eq!(reserve(&quotas, &chain, &world).await.unwrap_err(), "metering.quota_unavailable");
        let state = quotas.get(chain.tenant(), "all").await.unwrap();
        assert_eq!(state.subjects[0].counted.to_string(), "5", "what was safe is counted too");
        redis.restart();
        let started = Instant::now();
        while reserve(&quotas, &chain, &world).await.is_err() {
            assert!(started.elapsed() < PATIENCE, "it recovers");
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_pool_that_comes_back_from_a_file_hands_out_nothing() {
    let Some(mut redis) = Redis::start() else { return };
    let tenant = "default".parse().unwrap();
    let quota = "quota_01a2060ae855752e8d1500f9ba0210fd".parse().unwrap();
    let pool = Pool { tenant: &tenant, quota, revision: 1, subject: "tenant", start: 0, end: i64::MAX };
    let pools = redis.pools();
    assert_eq!(pools.take(pool, 10).await.unwrap(), 0, "an empty Redis grants nothing");
    assert!(pools.put(pool, 100).await.unwrap());
    assert_eq!(pools.take(pool, 30).await.unwrap(), 30);
    assert_eq!(redis.command(&["SAVE"]), "+OK");
    assert_eq!(pools.take(pool, 1_000).await.unwrap(), 70);
    redis.kill();
    redis.restart();
    assert!(redis.command(&["DBSIZE"]).starts_with(":1"), "the file was read");
    let started = Instant::now();
    let taken = loop {
        match pools.take(pool, 1_000).await {
            Ok(taken) => break taken,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(taken, 0, "what it held was handed out before");
    assert!(pools.put(pool, 7).await.unwrap());
    assert_eq!(pools.take(pool, 1_000).await.unwrap(), 7);
}
