//! `cargo bench -p creto-authz -- decision`: what a decision costs, in thread CPU time.
//!
//! Cached: 100,000 hot keys in random order, the median over batches of 1,000 calls, best of 5 passes, on one thread and on each of
//! two; beside it a bare `quick_cache` get over as many keys in the same order. Missed: distinct requests over a corpus of 1,000
//! policies; beside it plain `cedar-policy` over the same policies and requests. Rows go to `$CRETO_BENCH_DIR/authz.json` when set.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};

use creto_authz::testkit::{CORPUS_HUMANS, corpus, corpus_human, full_grant, plain_cedar, session, unsliceable};
use creto_authz::{ActionHandle, Authorizer, Context, CtxClass, Decision, MIGRATIONS, PastRequest, ResourceHandle, Session};
use creto_db::Db;
use creto_kernel::{NhiId, SystemClock, Timestamp};
use quick_cache::sync::Cache;

type Failure = Box<dyn std::error::Error>;

const BATCH: usize = 1_000;
const PASSES: usize = 5;
const KEYS: usize = 100_000;

/// One line of the report.
#[derive(serde::Serialize)]
struct Row {
    id: &'static str,
    ours: f64,
    peer: &'static str,
    peer_value: f64,
    unit: &'static str,
    ratio: f64,
    goal: &'static str,
    met: bool,
}

/// Nanoseconds this thread has spent on a processor.
fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, exclusive timespec for the length of the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The median of one pass: nanoseconds a call, over batches of `batch` calls.
fn pass(calls: usize, batch: usize, mut call: impl FnMut(usize)) -> f64 {
    let mut batches: Vec<f64> = (0..calls / batch)
        .map(|number| {
            let start = thread_cpu_ns();
            for index in number * batch..(number + 1) * batch {
                call(index);
            }
            (thread_cpu_ns() - start) as f64 / batch as f64
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    batches.get(batches.len() / 2).copied().unwrap_or(f64::NAN)
}

fn best(passes: usize, mut one: impl FnMut() -> f64) -> f64 {
    (0..passes).map(|_| one()).fold(f64::INFINITY, f64::min)
}

/// The same order on every run, without locality (splitmix64).
fn shuffled<T>(mut items: Vec<T>) -> Vec<T> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        items.swap(last, (mixed ^ (mixed >> 27)) as usize % (last + 1));
    }
    items
}

fn agent(number: usize) -> Result<NhiId, Failure> {
    Ok(format!("spiffe://creto.local/tenant/default/agent/a{number}").parse()?)
}

fn human(number: usize) -> Result<NhiId, Failure> {
    Ok(corpus_human(number).parse()?)
}

struct Hot {
    authorizer: Authorizer,
    sessions: Vec<Session>,
    actions: Vec<ActionHandle>,
    resources: Vec<ResourceHandle>,
    context: CtxClass,
    keys: Vec<(usize, usize, usize)>,
    now: Timestamp,
}

impl Hot {
    /// 100 chains × 10 actions × 100 resources, all allowed, all in the cache.
    fn new(authorizer: Authorizer) -> Result<Self, Failure> {
        let open = |number| {
            session(&authorizer, &[human(number % CORPUS_HUMANS)?, agent(number)?], full_grant(), 0)
                .ok_or_else(|| Failure::from("no session"))
        };
        let sessions = (0..100).map(open).collect::<Result<Vec<_>, Failure>>()?;
        let actions = [
            "runtime.exec",
            "runtime.claim",
            "runtime.release",
            "runtime.pause",
            "runtime.resume",
            "runtime.mount",
            "messaging.deliver",
            "messaging.receive",
            "metering.ingest",
            "oversight.request",
        ];
        let actions = actions.iter().map(|name| Ok(authorizer.action(&name.parse()?))).collect::<Result<Vec<_>, Failure>>()?;
        let resources =
            (0..100).map(|n| Ok(authorizer.resource(&format!("sandbox:s{n}").parse()?))).collect::<Result<Vec<_>, Failure>>()?;
        let context = authorizer.classify(&Context::default());
        let keys = (0..KEYS).map(|n| (n / 1_000, n / 100 % 10, n % 100)).collect();
        let hot = Self { authorizer, sessions, actions, resources, context, keys: shuffled(keys), now: Timestamp::EPOCH };
        for index in 0..KEYS {
            if hot.check(index) != Decision::Allow {
                return Err("a hot key is not allowed: the bench would measure something else".into());
            }
        }
        Ok(hot)
    }

    #[inline]
    fn check(&self, index: usize) -> Decision {
        #[expect(clippy::indexing_slicing, reason = "keys are made from these very ranges")]
        let (session, action, resource) = {
            let (session, action, resource) = self.keys[index];
            (&self.sessions[session], &self.actions[action], &self.resources[resource])
        };
        self.authorizer.check(session, action, resource, &self.context, self.now)
    }

    fn cached(&self) -> f64 {
        best(PASSES, || {
            pass(KEYS, BATCH, |index| {
                black_box(self.check(black_box(index)));
            })
        })
    }

    /// Both threads run at the same time; the slower one counts.
    fn cached_on_two(&self) -> f64 {
        best(PASSES, || {
            let together = Barrier::new(2);
            std::thread::scope(|scope| {
                let run = || {
                    together.wait();
                    pass(KEYS, BATCH, |index| {
                        black_box(self.check(black_box(index)));
                    })
                };
                let threads = [scope.spawn(run), scope.spawn(run)];
                threads.map(|thread| thread.join().unwrap_or(f64::NAN)).into_iter().fold(0.0, f64::max)
            })
        })
    }

    /// A bare get of a 16-byte key and a 24-byte value, as many entries, the same order.
    fn bare_get(&self) -> f64 {
        let cache: Cache<u128, (u64, u64, u64)> = Cache::new(1 << 18);
        let keys: Vec<u128> =
            self.keys.iter().map(|&(s, a, r)| (s as u128 + 1) << 96 | (a as u128 + 1) << 64 | (r as u128 + 1) << 32 | 1).collect();
        for &key in &keys {
            cache.insert(key, (1, 2, 3));
        }
        best(PASSES, || {
            pass(KEYS, BATCH, |index| {
                #[expect(clippy::indexing_slicing, reason = "as many keys as calls")]
                black_box(cache.get(&keys[black_box(index)]));
            })
        })
    }
}

/// Distinct requests over the corpus, each with exactly three policies in scope, most of them allowed.
fn requests(authorizer: &Authorizer, round: usize) -> Result<Vec<PastRequest>, Failure> {
    let context = authorizer.classify(&Context::default().label(&format!("round{round}"))?);
    let mut asked = Vec::new();
    for number in 0..2_000 {
        let (owner, thing) = (number % CORPUS_HUMANS, number / CORPUS_HUMANS % 6);
        let hops = [human(owner)?, agent(number)?];
        let session = session(authorizer, &hops, full_grant(), 0).ok_or("no session")?;
        let (action, resource) = if thing % 2 == 0 {
            (format!("work.a{thing}"), format!("tool:t{thing}"))
        } else {
            ("runtime.egress".to_owned(), format!("host:api.d{thing}.example.com:443"))
        };
        let (action, resource) = (authorizer.action(&action.parse()?), authorizer.resource(&resource.parse()?));
        asked.push(PastRequest { session, action, resource, context: context.clone() });
    }
    Ok(shuffled(asked))
}

/// Microseconds of one miss: every call is a request that was never made before.
fn miss_us(authorizer: &Authorizer) -> Result<f64, Failure> {
    let mut best_ns = f64::INFINITY;
    for round in 0..PASSES {
        let asked = requests(authorizer, round)?;
        let ns = pass(asked.len(), 100, |index| {
            if let Some(PastRequest { session, action, resource, context }) = asked.get(index) {
                black_box(authorizer.check(session, action, resource, context, Timestamp::EPOCH));
            }
        });
        for PastRequest { session, action, resource, context } in asked.iter().take(10) {
            let explained = authorizer.evaluate(session, action, resource, context, Timestamp::EPOCH);
            if explained.decision != Decision::Allow {
                return Err(format!("the corpus does not allow: {explained:?}").into());
            }
        }
        best_ns = best_ns.min(ns);
    }
    Ok(best_ns / 1_000.0)
}

/// Microseconds of plain Cedar over all policies, request and entities prepared.
fn cedar_us(authorizer: &Authorizer) -> Result<f64, Failure> {
    let asked = requests(authorizer, 0)?;
    let evaluate = plain_cedar(authorizer, asked.first().ok_or("no request")?).ok_or("no policy")?;
    let ns = best(PASSES, || {
        pass(50, 10, |_| {
            black_box(evaluate());
        })
    });
    Ok(ns / 1_000.0)
}

async fn authorizer(directory: &std::path::Path, name: &str, policy: Option<&str>) -> Result<Authorizer, Failure> {
    let db = Db::open_sqlite(&directory.join(name), &[MIGRATIONS])?;
    let authorizer = Authorizer::start(db, Arc::new(|| 0), Arc::new(SystemClock)).await?;
    if let Some(policy) = policy {
        authorizer.publish(&human(0)?, policy, None).await?;
    }
    Ok(authorizer)
}

async fn measure() -> Result<Vec<Row>, Failure> {
    let directory = tempfile::tempdir()?;
    let hot = Hot::new(authorizer(directory.path(), "hot.db", None).await?)?;
    let (one, two, bare) = (hot.cached(), hot.cached_on_two(), hot.bare_get());
    let thousand = authorizer(directory.path(), "corpus.db", Some(&corpus(1_000))).await?;
    let (miss, cedar) = (miss_us(&thousand)?, cedar_us(&thousand)?);
    let mixed = corpus(990) + &unsliceable(10);
    let mixed = miss_us(&authorizer(directory.path(), "mixed.db", Some(&mixed)).await?)?;
    let row = |id, ours, peer, peer_value, unit, ratio, goal, met| Row { id, ours, peer, peer_value, unit, ratio, goal, met };
    Ok(vec![
        row("authz.cached_ns", one, "limit", 168.0, "ns", one / 168.0, "<= 168 ns", one <= 168.0),
        row("authz.cached_ns_2_threads", two, "limit", 168.0, "ns", two / 168.0, "<= 168 ns on each", two <= 168.0),
        row("authz.cached_vs_quick_cache", one, "quick_cache get", bare, "ns", one / bare, "<= 3 x", one / bare <= 3.0),
        row("authz.miss_us", miss, "limit", 25.0, "us", miss / 25.0, "<= 25 us", miss <= 25.0),
        row("authz.miss_vs_cedar", miss, "cedar-policy, all policies", cedar, "us", cedar / miss, ">= 50 x faster", cedar / miss >= 50.0),
        row("authz.unsliceable_us", mixed, "miss without them", miss, "us", mixed / miss, "reported: 10 unsliceable policies", true),
    ])
}

fn print(rows: &[Row]) {
    println!("{:<30} {:>10} {:<4} {:>10}  {:<28} {:>8}  goal", "id", "ours", "", "peer", "", "ratio");
    for row in rows {
        let Row { id, ours, unit, peer_value, peer, ratio, goal, met } = row;
        let met = if *met { "met" } else { "NOT MET" };
        println!("{id:<30} {ours:>10.1} {unit:<4} {peer_value:>10.1}  {peer:<28} {ratio:>8.2}  {goal}: {met}");
    }
}

/// Whether the command line selects this bench: no filter, or one that is part of its name.
fn selected() -> bool {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    filters.is_empty() || filters.iter().any(|filter| "decision".contains(filter.as_str()) || "authz".contains(filter.as_str()))
}

fn main() -> ExitCode {
    // `cargo test --benches` runs the program without `--bench`: there is nothing to test here.
    if !selected() || !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let run = || -> Result<(), Failure> {
        let rows = tokio::runtime::Builder::new_current_thread().build()?.block_on(measure())?;
        print(&rows);
        if let Some(directory) = std::env::var_os("CRETO_BENCH_DIR") {
            std::fs::create_dir_all(&directory)?;
            std::fs::write(std::path::Path::new(&directory).join("authz.json"), serde_json::to_vec_pretty(&rows)?)?;
        }
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the bench failed: {error}");
            ExitCode::FAILURE
        }
    }
}
