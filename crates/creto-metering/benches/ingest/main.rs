//! What recording and reading events costs: every row of every table, durable when it is answered, in commits of 1,000, beside bare
//! rusqlite writing one table with the same unique key, and beside PostgreSQL's COPY into such a table; over HTTP beside the same in
//! process; and how long the usage of a large customer takes to read over HTTP.
//!
//! We and the peer take turns of 10,000 events, so that whatever else the machine does slows both. `CRETO_BENCH_EVENTS` says how many
//! events are recorded: 120,000 where it is absent, 5,100,000 for the row at 5 million, 10,000,000 for the row of growth.
//! `CRETO_BENCH_POSTGRES_URL` names a PostgreSQL that may be written to, with fsync on. What is not run is said.
#![expect(clippy::unwrap_used, reason = "a bench speaks by panicking")]

mod bare;
mod http;
mod ours;
mod postgres;

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use creto_bench::{Report, Row};
use creto_db::Db;
use serde_json::Value;

use bare::Bare;
use ours::Ours;

#[path = "../../../creto-enablement-common/tests/support/house.rs"]
#[expect(dead_code, reason = "the Gate's own tests use the rest")]
mod house;
use house::SETS;

/// Events of a commit.
const BATCH: usize = 1_000;
/// Events of a turn.
const TURN: usize = 10_000;
/// Events a rate is measured over.
const MEASURED: usize = 20_000;
const MILLION: usize = 1_000_000;
const RSS_MAX_MIB: f64 = 512.0;

fn wanted() -> usize {
    env::var("CRETO_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(120_000)
}

/// A row beside a peer; more is better.
fn beside(id: &str, ours: f64, peer: &str, peer_value: f64, goal: f64) -> Row {
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

/// A row of its own; less is better.
fn at_most(id: &str, ours: f64, unit: &str, goal: f64) -> Row {
    Row {
        id: id.to_owned(),
        ours,
        peer: None,
        peer_value: None,
        unit: unit.to_owned(),
        ratio: None,
        goal: Value::String(format!("<= {goal} {unit}")),
        met: Some(ours <= goal),
    }
}

/// How long each turn of ours and of the peer took.
struct Turns(Vec<(Duration, Duration)>);

impl Turns {
    /// Events a second from the `from`th event on, over `events` of them: ours and the peer's.
    fn rates(&self, from: usize, events: usize) -> Option<(f64, f64)> {
        let turns = self.0.get(from / TURN..(from + events) / TURN)?;
        let rate = |of: fn(&(Duration, Duration)) -> Duration| events as f64 / turns.iter().map(of).sum::<Duration>().as_secs_f64();
        Some((rate(|turn| turn.0), rate(|turn| turn.1)))
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn not_run(id: &str, what: &str) {
    println!("NOT RUN {id}: {what}");
}

/// In process, beside bare SQLite, as both grow.
fn growth(runtime: &tokio::runtime::Runtime, rows: &mut Vec<Row>) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let ours = runtime.block_on(Ours::open(Db::open_sqlite(&folder.path().join("ours.db"), SETS).unwrap(), &[]));
    let mut bare = Bare::open(folder.path());
    let mut turns = Turns(Vec::new());
    for first in (0..wanted()).step_by(TURN) {
        // What is sent is made outside of the time of either.
        let batches: Vec<_> = (first..first + TURN).step_by(BATCH).map(|first| ours.batch(first)).collect();
        let mine = timed(|| runtime.block_on(ours.send_all(batches)));
        let batches: Vec<_> = (first..first + TURN).step_by(BATCH).map(bare::batch).collect();
        turns.0.push((mine, timed(|| batches.iter().for_each(|batch| bare.send(batch)))));
        let done = first + TURN;
        let since = if done < MILLION { MILLION / 10 } else { MILLION };
        if done.is_multiple_of(since) {
            let (mine, theirs) = turns.rates(done - since, since).unwrap();
            println!("{done} events: the last {since} at {mine:.0} and {theirs:.0} a second, {:.0} MiB", rss_mib());
        }
    }
    let rss = rss_mib();
    let checked = timed(|| assert!(runtime.block_on(ours.meter.check(ours.chain.tenant())).unwrap().ok));
    println!("{} events replayed and compared with their aggregates in {checked:?}", wanted());
    let peer = "bare rusqlite, one table with the unique key";
    for (id, at) in [("metering.ingest_per_s", 100_000), ("metering.ingest_5m_per_s", 5 * MILLION)] {
        match turns.rates(at, MEASURED) {
            Some((mine, theirs)) => rows.push(beside(id, mine, peer, theirs, 0.5)),
            None => not_run(id, &format!("set CRETO_BENCH_EVENTS={}", at + MEASURED)),
        }
    }
    match (turns.rates(0, MILLION), turns.rates(9 * MILLION, MILLION)) {
        (Some(first), Some(last)) => {
            let (mine, theirs) = (first.0 / last.0, first.1 / last.1);
            rows.push(Row {
                id: "metering.ingest_growth_x".to_owned(),
                ours: mine,
                peer: Some(format!("{peer}: time of the last million over the first of ten")),
                peer_value: Some(theirs),
                unit: "x".to_owned(),
                ratio: Some(mine / theirs),
                goal: Value::String("<= 1.2 of the peer".to_owned()),
                met: Some(mine / theirs <= 1.2),
            });
        }
        _ => not_run("metering.ingest_growth_x", "set CRETO_BENCH_EVENTS=10000000"),
    }
    rows.push(at_most("metering.ingest_rss_mib", rss, "MiB", RSS_MAX_MIB));
}

/// The most memory this process had, the peer's included.
fn rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1_024.0
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut rows = Vec::new();
    growth(&runtime, &mut rows);
    runtime.block_on(http::measure(&mut rows));
    runtime.block_on(postgres::measure(&mut rows));
    if let Some(into) = env::var_os("CRETO_BENCH_DIR").map(PathBuf::from) {
        Row::write(&rows, &into, "metering_ingest").unwrap();
    }
    print!("{}", Report { rows });
}
