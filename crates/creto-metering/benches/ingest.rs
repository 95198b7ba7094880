//! What recording events costs: every row of every table, durable when it is answered, in commits of 1,000, beside bare rusqlite writing
//! one table with the same unique key, and beside PostgreSQL's COPY into such a table; over HTTP beside the same in process; and how
//! long the usage of a large customer takes to read.
//!
//! `CRETO_BENCH_EVENTS` says how many events are recorded before the last 20,000 are measured; 100,000 where it is absent.
#![expect(clippy::unwrap_used, reason = "a bench speaks by panicking")]

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use creto_bench::{Report, Row};
use creto_db::Db;
use creto_kernel::Clock as _;
use creto_kernel::id::LeafId;
use creto_metering::model::billable_metric::BillableMetric;
use creto_metering::model::customer::Customer;
use creto_metering::model::event::EventInput;
use creto_metering::model::plan::Plan;
use creto_metering::{Catalog, Meter, Taking};
use creto_nhi::VerifiedChain;
use serde_json::{Value, json};

#[path = "../../creto-enablement-common/tests/support/house.rs"]
#[expect(dead_code, reason = "the Gate's own tests use the rest")]
mod house;
use house::{House, SETS, server};

const BATCH: usize = 1_000;
const MEASURED: usize = 20_000;
const SUBSCRIPTIONS: usize = 10;

fn before() -> usize {
    env::var("CRETO_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

/// Random, as a UUIDv4 is: it lands anywhere in an index.
fn identifier() -> String {
    let text = LeafId::generate().to_string();
    let digest = creto_kernel::Digest::of(text.as_bytes()).to_string();
    digest.chars().take(36).collect()
}

struct Ours {
    meter: Meter,
    chain: VerifiedChain,
    start: creto_kernel::Timestamp,
}

impl Ours {
    async fn open(db: Db, groups: &[&str]) -> Self {
        let house = House::open(db.clone(), Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let meter = Meter::new(db.clone(), Arc::clone(&house.gate), house.accounts.clone(), house.world.clock.clone());
        let catalog = Catalog::new(db, house.world.clock.clone());
        let by = server("default");
        let of = |value: Value| value;
        let mut charges = Vec::new();
        for number in 0..10 {
            let code = format!("m{number}");
            let metric = of(json!({ "code": code, "aggregation_type": "sum", "field_name": "n" }));
            catalog.create(&by, serde_json::from_value::<BillableMetric>(metric).unwrap()).await.unwrap();
            let properties = json!({ "amount": "0.000003", "pricing_group_keys": groups });
            charges.push(json!({ "billable_metric_code": code, "charge_model": "standard", "properties": properties }));
        }
        let unique = json!({ "code": "users", "aggregation_type": "unique_count", "field_name": "user" });
        catalog.create(&by, serde_json::from_value::<BillableMetric>(unique).unwrap()).await.unwrap();
        charges.push(json!({ "billable_metric_code": "users", "charge_model": "standard", "properties": { "amount": "0.01" } }));
        let plan = json!({ "code": "p", "interval": "monthly", "amount_cents": 0, "amount_currency": "USD", "charges": charges });
        catalog.create(&by, serde_json::from_value::<Plan>(plan).unwrap()).await.unwrap();
        catalog.create(&by, Customer::new("acme")).await.unwrap();
        let start = house.world.clock.now();
        for number in 0..SUBSCRIPTIONS {
            let input = json!({ "external_id": format!("s{number}"), "external_customer_id": "acme", "plan_code": "p" });
            catalog.subscribe(&by, serde_json::from_value(input).unwrap()).await.unwrap();
        }
        Self { meter, chain, start }
    }

    fn event(&self, number: usize, code: &str, properties: Value) -> EventInput {
        let body = json!({
            "transaction_id": identifier(), "external_subscription_id": format!("s{}", number % SUBSCRIPTIONS), "code": code,
            "timestamp": self.start, "properties": properties
        });
        serde_json::from_value(body).unwrap()
    }

    fn batch(&self, first: usize) -> Vec<EventInput> {
        let one = |n: usize| {
            self.event(n, &format!("m{}", n / SUBSCRIPTIONS % 10), json!({ "n": "12.5", "model": "large", "region": "eu-west-1" }))
        };
        (first..first + BATCH).map(one).collect()
    }

    async fn send(&self, batch: Vec<EventInput>) {
        let taking = Taking { trusted: true, all_or_none: true };
        let answered = self.meter.ingest_all(&self.chain, taking, batch.into_iter().map(Ok).collect()).await.unwrap();
        assert!(answered.root.is_some(), "{:?}", answered.events.first());
    }

    /// Events a second, of the last ones.
    async fn per_s(&self) -> f64 {
        for first in (0..before()).step_by(BATCH) {
            self.send(self.batch(first)).await;
        }
        let batches: Vec<Vec<EventInput>> = (0..MEASURED).step_by(BATCH).map(|first| self.batch(first)).collect();
        let started = Instant::now();
        for batch in batches {
            self.send(batch).await;
        }
        MEASURED as f64 / started.elapsed().as_secs_f64()
    }
}

/// The peer: one table, its unique key, nothing else.
fn bare_sqlite(folder: &Path) -> f64 {
    let mut connection = rusqlite::Connection::open(folder.join("bare.db")).unwrap();
    let schema = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE event (tenant TEXT NOT NULL, subscription TEXT NOT NULL, \
                  transaction_id TEXT NOT NULL, code TEXT NOT NULL, occurred_at INTEGER NOT NULL, properties TEXT NOT NULL, \
                  UNIQUE (tenant, subscription, transaction_id))";
    connection.execute_batch(schema).unwrap();
    let properties = json!({ "n": "12.5", "model": "large", "region": "eu-west-1" }).to_string();
    let mut send = |rows: usize| {
        let started = Instant::now();
        for first in (0..rows).step_by(BATCH) {
            let tx = connection.transaction().unwrap();
            {
                let mut insert = tx.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6)").unwrap();
                for n in first..first + BATCH {
                    let subscription = format!("s{}", n % SUBSCRIPTIONS);
                    let row = rusqlite::params![
                        "default",
                        subscription,
                        identifier(),
                        format!("m{}", n % 10),
                        1_795_341_600_000_000_i64,
                        properties
                    ];
                    insert.execute(row).unwrap();
                }
            }
            tx.commit().unwrap();
        }
        rows as f64 / started.elapsed().as_secs_f64()
    };
    send(before());
    send(MEASURED)
}

/// The usage of one customer: ten charges of a hundred groups, one count of many users. The 99th percentile, in milliseconds.
async fn usage_p99_ms(ours: &Ours) -> f64 {
    let users = before().min(100_000);
    for first in (0..before()).step_by(BATCH) {
        let of = |n: usize| ours.event(0, &format!("m{}", n % 10), json!({ "n": "1.5", "group": format!("g{}", n / 10 % 100) }));
        ours.send((first..first + BATCH).map(of).collect()).await;
    }
    for first in (0..users).step_by(BATCH) {
        ours.send((first..first + BATCH).map(|n| ours.event(0, "users", json!({ "user": format!("u{n}") }))).collect()).await;
    }
    let mut times: Vec<f64> = Vec::new();
    for _ in 0..300 {
        let started = Instant::now();
        let usage = ours.meter.current_usage(ours.chain.tenant(), "s0", ours.start).await.unwrap();
        times.push(started.elapsed().as_secs_f64() * 1e3);
        assert_eq!(usage.charges.len(), 1_001);
    }
    times.sort_by(f64::total_cmp);
    *times.get(times.len() * 99 / 100).unwrap()
}

fn row(id: &str, ours: f64, peer: &str, peer_value: f64, goal: f64) -> Row {
    Row {
        id: id.to_owned(),
        ours,
        peer: Some(peer.to_owned()),
        peer_value: Some(peer_value),
        unit: "1/s".to_owned(),
        ratio: Some(ours / peer_value),
        goal: Value::String(format!(">= {goal} of the peer")),
        met: Some(ours / peer_value >= goal),
    }
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let bare = bare_sqlite(folder.path());
    let ours = runtime.block_on(async {
        let ours = Ours::open(Db::open_sqlite(&folder.path().join("ours.db"), SETS).unwrap(), &[]).await;
        ours.per_s().await
    });
    let usage = runtime.block_on(async {
        let ours = Ours::open(Db::open_sqlite(&folder.path().join("usage.db"), SETS).unwrap(), &["group"]).await;
        usage_p99_ms(&ours).await
    });
    let rows = vec![
        row("metering.ingest_per_s", ours, "bare rusqlite, one table with the unique key", bare, 0.5),
        Row {
            id: "metering.usage_p99_ms".to_owned(),
            ours: usage,
            peer: None,
            peer_value: None,
            unit: "ms".to_owned(),
            ratio: None,
            goal: Value::String("<= 5 ms".to_owned()),
            met: Some(usage <= 5.0),
        },
    ];
    if let Some(into) = env::var_os("CRETO_BENCH_DIR").map(PathBuf::from) {
        Row::write(&rows, &into, "metering_ingest").unwrap();
    }
    print!("{}", Report { rows });
}
