//! What holding and posting money costs: along a chain of four hops, through the database, durable when it is answered, against one bare
//! insert and commit by rusqlite on the same disk; what the rate limit costs, against a lookup in quick_cache; and what a quota costs inline:
//! check and reserve along chains of four hops from leased memory, each call timed by itself, against one check of the `governor` crate for
//! each hop.
#![expect(clippy::unwrap_used, reason = "a bench speaks by panicking")]

#[path = "quota/inline.rs"]
mod inline;

#[path = "../../creto-enablement-common/tests/support/house.rs"]
#[expect(dead_code, reason = "the Gate's own tests use the rest")]
mod house;
use house::SETS;

use std::env;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use creto_bench::{Report, Row};
use creto_db::{Db, Sealed};
use creto_enablement_common::{Funding, Ledger as _, Usage};
use creto_kernel::id::{AdmissionId, HoldId, LeafId};
use creto_kernel::{Clock as _, Leaf, Micros, NhiId, NhiKind, Timestamp};
use creto_metering::core::gcra::Rate;
use creto_metering::{Accounts, RateLimits};
use creto_nhi::VerifiedChain;
use creto_nhi::testkit::World;

const PAIRS: u32 = 300;
const CHECKS: u32 = 200_000;
const AGENTS: usize = 1_000;

/// The physical limit: one row, one COMMIT that waits for the disk, in the same journal mode.
fn bare_commits_per_s(folder: &Path) -> f64 {
    let connection = rusqlite::Connection::open(folder.join("bare.db")).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (n INTEGER PRIMARY KEY, x TEXT)")
        .unwrap();
    let started = Instant::now();
    for _ in 0..PAIRS {
        connection.execute("INSERT INTO t (x) VALUES ('what one row may hold')", []).unwrap();
    }
    f64::from(PAIRS) / started.elapsed().as_secs_f64()
}

struct Spender {
    db: Db,
    accounts: Accounts,
    chain: VerifiedChain,
    now: Timestamp,
}

impl Spender {
    fn sealed(&self) -> Sealed {
        let name = "bench.spend".parse().unwrap();
        Sealed::new(Leaf::event(LeafId::generate(), self.now, self.chain.leaf().clone(), name, "bench:it".parse().unwrap(), "done"))
    }

    /// Two commits: the hold, and the posting that releases it.
    async fn hold_and_post(&self) {
        let hold = HoldId::generate();
        let steps = self.accounts.hold(hold, &self.chain, Micros::new(1_000), self.now).await.unwrap();
        self.db.commit(self.sealed().steps(steps)).await.unwrap();
        let usage = [Usage::measured("messaging.messages", 10)];
        let posting =
            self.accounts.settle(Funding::Happened(Some(hold)), &self.chain, AdmissionId::generate(), &usage, self.now).await.unwrap();
        self.db.commit(self.sealed().steps(posting.steps)).await.unwrap();
    }
}

/// (one caller alone, sixty-four callers together), in hold and posting pairs a second.
async fn pairs_per_s(folder: &Path) -> (f64, f64) {
    let db = Db::open_sqlite(&folder.join("ours.db"), SETS).unwrap();
    let world = World::open(db.clone()).await;
    let chain = world.chain("default", Some(Micros::new(1 << 50)), &["planner", "coder", "tester"]).await;
    let now = world.clock.now();
    let chain = world.authority.verify(&chain, now).unwrap();
    let spender = Spender { accounts: Accounts::new(db.clone()), db, chain, now };
    let started = Instant::now();
    for _ in 0..PAIRS {
        spender.hold_and_post().await;
    }
    let alone = f64::from(PAIRS) / started.elapsed().as_secs_f64();
    let started = Instant::now();
    futures::future::join_all((0..64).map(async |_| {
        for _ in 0..PAIRS / 16 {
            spender.hold_and_post().await;
        }
    }))
    .await;
    let together = f64::from(64 * (PAIRS / 16)) / started.elapsed().as_secs_f64();
    assert!(spender.accounts.check(spender.chain.tenant()).await.unwrap().ok, "the ledger balances after the bench");
    (alone, together)
}

fn agents() -> Vec<NhiId> {
    let tenant = "default".parse().unwrap();
    (0..AGENTS).map(|n| NhiId::new("creto.test", &tenant, NhiKind::Agent, &format!("agent-{n}")).unwrap()).collect()
}

/// The median of five rounds, in nanoseconds a call.
fn median_ns(mut round: impl FnMut(usize)) -> f64 {
    let mut rounds: Vec<Duration> = (0..5)
        .map(|_| {
            let started = Instant::now();
            for call in 0..CHECKS as usize {
                round(call % AGENTS);
            }
            started.elapsed()
        })
        .collect();
    rounds.sort_unstable();
    rounds.get(2).unwrap().as_secs_f64() * 1e9 / f64::from(CHECKS)
}

/// (our check, quick_cache's get), in nanoseconds.
fn checks_ns() -> (f64, f64) {
    let agents = agents();
    let limits = RateLimits::new(Rate::new(1_000_000_000, u32::MAX >> 1).unwrap());
    let mut micros = 1_000_000;
    let ours = median_ns(|n| {
        micros += 1;
        let now = Timestamp::from_micros(micros).unwrap();
        assert!(black_box(limits.check(agents.get(n).unwrap(), now)).is_ok(), "the rate is out of reach");
    });
    let cache = quick_cache::sync::Cache::new(AGENTS * 2);
    for agent in &agents {
        cache.insert(agent.clone(), 1_u64);
    }
    let theirs = median_ns(|n| assert!(black_box(cache.get(agents.get(n).unwrap())).is_some(), "nothing is evicted"));
    (ours, theirs)
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bare = bare_commits_per_s(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (alone, together) = runtime.block_on(pairs_per_s(folder.path()));
    let (check, get) = checks_ns();
    let quotas = runtime.block_on(inline::measure(folder.path()));
    let pair = |id: &str, ours: f64| Row {
        id: id.to_owned(),
        ours,
        peer: Some("bare rusqlite insert and commit".to_owned()),
        peer_value: Some(bare),
        unit: "1/s".to_owned(),
        ratio: Some(ours / bare),
        goal: serde_json::Value::Null,
        met: None,
    };
    let mut rows = vec![
        pair("metering.hold_post_per_s", alone),
        pair("metering.hold_post_64_per_s", together),
        Row {
            id: "metering.quota_check_ns".to_owned(),
            ours: check,
            peer: Some("quick_cache get".to_owned()),
            peer_value: Some(get),
            unit: "ns".to_owned(),
            ratio: Some(check / get),
            goal: serde_json::Value::String("< 10000 ns".to_owned()),
            met: Some(check < 10_000.0),
        },
    ];
    rows.extend(inline::rows(&quotas));
    if let Some(into) = env::var_os("CRETO_BENCH_DIR").map(PathBuf::from) {
        Row::write(&rows, &into, "metering").unwrap();
    }
    print!("{}", Report { rows });
}
