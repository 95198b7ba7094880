//! A million calls over a hundred thousand chains, each timed by itself.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use creto_bench::Row;
use creto_db::Db;
use creto_kernel::{Clock as _, Micros, NhiId, NhiKind, Timestamp};
use creto_metering::model::quota::Quota;
use creto_metering::{QuotaEnforcer, QuotaOptions};
use creto_nhi::VerifiedChain;
use creto_nhi::testkit::{TRUST_DOMAIN, World, unproven};
use governor::{DefaultKeyedRateLimiter, Quota as GovernorQuota};
use serde_json::json;

const CHAINS: usize = 100_000;
const CALLS: usize = 1_000_000;
/// Agents of the second and of the third hop; each chain has a last agent of its own.
const PLANNERS: usize = 1_000;
const RESEARCHERS: usize = 10_000;
/// How many leases are asked for at once before the calls are timed.
const FILLED_AT_ONCE: usize = 256;
/// One nanosecond to a bucket, and one bucket for everything slower.
const BUCKETS: usize = 200_000;

/// How long calls took, in nanoseconds.
pub(super) struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

impl Histogram {
    fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    fn add(&mut self, nanos: u128) {
        let bucket = usize::try_from(nanos).unwrap_or(usize::MAX).min(BUCKETS - 1);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.total += 1;
    }

    /// The smallest time that so many of a thousand calls did not exceed.
    fn at(&self, per_mille: u64) -> f64 {
        let wanted = self.total * per_mille / 1_000;
        let mut seen = 0;
        let reached = |count: &u32| {
            seen += u64::from(*count);
            seen >= wanted
        };
        self.counts.iter().position(reached).unwrap_or(BUCKETS) as f64
    }
}

/// What was measured.
pub(super) struct Measured {
    limited: Histogram,
    unlimited: Histogram,
    governor: Histogram,
    clock: f64,
}

/// Calls in an order that no prefetcher knows.
fn order() -> impl Iterator<Item = usize> {
    // A linear congruential generator of full period (Hull, Dobell, 1962).
    let mut at = 12_345_u64;
    (0..CALLS).map(move |_| {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((at >> 33) % CHAINS as u64).unwrap()
    })
}

fn timed(mut call: impl FnMut(usize)) -> Histogram {
    let mut histogram = Histogram::new();
    for at in order() {
        let started = Instant::now();
        call(at);
        histogram.add(started.elapsed().as_nanos());
    }
    histogram
}

fn chains() -> Vec<VerifiedChain> {
    let tenant = "default".parse().unwrap();
    let agent = |name: String| NhiId::new(TRUST_DOMAIN, &tenant, NhiKind::Agent, &name).unwrap();
    let planners: Vec<_> = (0..PLANNERS).map(|n| agent(format!("planner-{n}"))).collect();
    let researchers: Vec<_> = (0..RESEARCHERS).map(|n| agent(format!("researcher-{n}"))).collect();
    let root = NhiId::new(TRUST_DOMAIN, &tenant, NhiKind::Human, "alice").unwrap();
    (0..CHAINS)
        .map(|n| {
            let some = |agents: &[NhiId]| agents.get(n % agents.len()).unwrap().clone();
            let hops = [root.clone(), some(&planners), some(&researchers), agent(format!("reader-{n}"))];
            unproven(&hops, Timestamp::MAX)
        })
        .collect()
}

async fn enforcer(db: &Db, world: &World, quotas: &[serde_json::Value]) -> QuotaEnforcer {
    let by = NhiId::new(TRUST_DOMAIN, &"default".parse().unwrap(), NhiKind::Service, "creto").unwrap();
    let options = QuotaOptions { db: db.clone(), clock: world.clock.clone(), server: by.clone(), pools: None };
    let enforcer = QuotaEnforcer::start(options).await.unwrap();
    for quota in quotas {
        enforcer.put(&by, serde_json::from_value::<Quota>(quota.clone()).unwrap()).await.unwrap();
    }
    enforcer
}

fn reserve(quotas: &QuotaEnforcer, chain: &VerifiedChain, now: Timestamp) -> bool {
    let reserved = quotas.reserve_from_memory(chain, "tool.call", Micros::ZERO, &[], now);
    // The action is admitted: what was reserved stays used.
    black_box(reserved).map(creto_metering::Reservation::keep).is_some()
}

pub(super) async fn measure(folder: &Path) -> Measured {
    let sets = [creto_nhi::MIGRATIONS, creto_metering::MIGRATIONS, creto_metering::QUOTA_MIGRATIONS];
    let open = |name: &str| Db::open_sqlite(&folder.join(name), &sets).unwrap();
    let (with, without) = (open("limited.db"), open("unlimited.db"));
    let world = World::open(with.clone()).await;
    let chains = chains();
    let now = world.clock.now();
    let clock = timed(|_| {}).at(500);

    // Nobody on these chains has a limit, and many others of their tenant have.
    let others: Vec<_> = (0..100)
        .map(|n| json!({ "code": format!("q{n}"), "metric": "actions", "scope": "agent", "subject": format!("other-{n}"), "window": "daily", "limit": "10" }))
        .collect();
    let free = enforcer(&without, &world, &others).await;
    let unlimited = timed(|at| assert!(reserve(&free, chains.get(at).unwrap(), now)));

    // Of the tenant, of each root, of each agent: five counters for each chain, a hundred and eleven thousand altogether.
    let each = |scope: &str| json!({ "code": scope, "metric": "actions", "scope": scope, "window": "daily", "limit": "2000000000" });
    let quotas = enforcer(&with, &world, &[each("tenant"), each("root"), each("agent")]).await;
    for some in chains.chunks(FILLED_AT_ONCE) {
        let filled = some.iter().map(|chain| quotas.reserve(chain, "tool.call", Micros::ZERO, &[], now));
        futures::future::join_all(filled).await.into_iter().for_each(|reserved| reserved.unwrap().keep());
    }
    let limited = timed(|at| assert!(reserve(&quotas, chains.get(at).unwrap(), now), "a lease ran out"));

    let peer: DefaultKeyedRateLimiter<Arc<str>> = governor::RateLimiter::keyed(GovernorQuota::per_second(NonZeroU32::MAX));
    let keys: Vec<Vec<Arc<str>>> =
        chains.iter().map(|chain| chain.hops().iter().map(|hop| Arc::from(hop.identity.as_str())).collect()).collect();
    assert!(keys.iter().flatten().all(|key| peer.check_key(key).is_ok()));
    let governor = timed(|at| assert!(keys.get(at).unwrap().iter().all(|key| black_box(peer.check_key(key)).is_ok())));
    Measured { limited, unlimited, governor, clock }
}

pub(super) fn rows(measured: &Measured) -> Vec<Row> {
    let row = |id: &str, ours: f64, peer: f64, goal: Option<f64>| Row {
        id: id.to_owned(),
        ours,
        peer: Some("governor check_key, four keys".to_owned()),
        peer_value: Some(peer),
        unit: "ns".to_owned(),
        ratio: Some(ours / peer),
        goal: goal.map_or(serde_json::Value::Null, |goal| serde_json::Value::String(format!("<= {goal} ns"))),
        met: goal.map(|goal| ours <= goal),
    };
    let Measured { limited, unlimited, governor, clock } = measured;
    vec![
        row("metering.quota_reserve_p50_ns", limited.at(500), governor.at(500), None),
        row("metering.quota_reserve_p99_ns", limited.at(990), governor.at(990), Some(1_000.0)),
        row("metering.quota_reserve_p999_ns", limited.at(999), governor.at(999), None),
        row("metering.quota_unlimited_p50_ns", unlimited.at(500), governor.at(500), Some(250.0)),
        row("metering.quota_unlimited_p99_ns", unlimited.at(990), governor.at(990), None),
        Row {
            id: "metering.quota_timer_p50_ns".to_owned(),
            ours: *clock,
            peer: None,
            peer_value: None,
            unit: "ns".to_owned(),
            ratio: None,
            goal: serde_json::Value::Null,
            met: None,
        },
    ]
}
