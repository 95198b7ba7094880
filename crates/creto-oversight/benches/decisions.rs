//! Speed of deciding, beside the disk it waits for.
//!
//! `cargo bench -p creto-oversight -- decisions`; with `CRETO_BENCH_DIR` set, rows also go to `oversight.json` there.

#[path = "decisions/inbox.rs"]
mod inbox;
#[path = "decisions/round.rs"]
mod round;

use std::collections::BTreeSet;
use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use creto_db::Db;
use creto_kernel::id::RequestId;
use creto_kernel::time::ManualClock;
use creto_kernel::{NhiId, NhiKind, Timestamp};
use creto_nhi::{Principal, Role, Roles};
use creto_oversight::Desk;
use creto_oversight::core::decide::{Facts, decide, open};
use creto_oversight::core::evolve::replay;
use creto_oversight::core::policy;
use creto_oversight::desk::NewRequest;
use creto_oversight::model::case::{Binding, Choice, Kind};
use creto_oversight::model::command::{Ballot, Command};
use creto_oversight::model::event::{Opened, Recorded};
use creto_oversight::model::request::Request;
use creto_oversight::model::requirement::{GroupName, Requirement, Selector};
use creto_oversight::model::roster::Roster;
use creto_oversight::model::voter::Voter;
use serde_json::{Value, json};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const TRANSITIONS: usize = 20_000;
const DECISIONS: usize = 300;
const CALLERS: usize = 64;
/// How much is written before each flush that a decision is compared with.
const FLUSH_BYTES: usize = 32 * 1024;
const CLAIMS: usize = 400;
/// How many timers one call claims: the desk's own bound.
const CLAIMED: usize = 100;
const AGENT_PENDING: usize = 100;
/// Who decides: half of the requests are one human's, half another's.
const GROUPS: [&str; 2] = ["finance", "legal"];

/// How many requests wait: fewer where somebody only wants to see that it runs.
fn pending_max() -> usize {
    std::env::var("CRETO_BENCH_PENDING").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

fn identity(kind: NhiKind, name: &str) -> Fallible<NhiId> {
    Ok(NhiId::new("creto.local", &"default".parse()?, kind, name)?)
}

fn bob() -> Fallible<Voter> {
    Ok(Voter::of(&Principal::local(identity(NhiKind::Human, "bob")?, Roles::only(Role::Approver))?)?)
}

fn quantile(times: &mut [f64], q: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let last = times.len().saturating_sub(1);
    times.get(((last as f64) * q).round() as usize).copied().unwrap_or_default()
}

fn ballot(request: &Request) -> Fallible<Ballot> {
    Ok(Ballot {
        voter: bob()?,
        stands_in_for: None,
        choice: Choice::Approve,
        digest: Some(request.digest),
        shown: None,
        revision: Some(request.revision),
        comment: None,
        option: None,
    })
}

fn transition() -> Fallible<f64> {
    let agent = identity(NhiKind::Agent, "planner")?;
    let roster = Roster::default();
    let now = Timestamp::EPOCH;
    let opened = Opened {
        id: RequestId::generate(),
        kind: Kind::Approval,
        binding: Binding::Enforced,
        digest: creto_kernel::Digest::of(b"action"),
        tool: "tool.call".parse()?,
        target: "tool:pay".parse()?,
        agent: agent.clone(),
        hops: vec![identity(NhiKind::Human, "alice")?, agent.clone()],
        editable: false,
        test: false,
        plan: policy::plan(&[]),
        deadline: Timestamp::MAX,
    };
    let events = open(opened, None, now, &Facts { roster: &roster })?;
    let recorded: Vec<Recorded> = events.into_iter().map(|event| Recorded { at: now, by: agent.clone(), event }).collect();
    let case = replay(&recorded).ok_or("an opening makes a request")?;
    let command = Command::Vote(Ballot {
        voter: bob()?,
        stands_in_for: None,
        choice: Choice::Approve,
        digest: Some(case.digest),
        shown: None,
        revision: Some(1),
        comment: None,
        option: None,
    });
    let mut times = Vec::with_capacity(TRANSITIONS);
    for _ in 0..TRANSITIONS {
        let started = Instant::now();
        black_box(decide(black_box(&case), black_box(&command), now, &Facts { roster: &roster })?);
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(quantile(&mut times, 0.99))
}

struct House {
    desk: Desk,
    db: Db,
    clock: Arc<ManualClock>,
}

fn house(folder: &Path) -> Fallible<House> {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_795_305_600).ok_or("a moment")?));
    let db = Db::open_sqlite(&folder.join("bench.db"), &[creto_oversight::MIGRATIONS])?;
    let desk = Desk::new(db.clone(), clock.clone(), identity(NhiKind::Service, "creto")?);
    Ok(House { desk, db, clock })
}

async fn ask(desk: &Desk, number: usize, wait: Duration, group: Option<&str>) -> Fallible<Request> {
    let agent = identity(NhiKind::Agent, &format!("agent-{}", number / AGENT_PENDING))?;
    let arguments = json!({ "invoice": format!("INV-{number}"), "amount": "120.00" });
    let new = NewRequest {
        kind: Kind::Approval,
        hops: vec![identity(NhiKind::Human, "alice")?, agent.clone()],
        agent,
        tool: "tool.declared".parse()?,
        target: "tool:pay".parse()?,
        arguments: arguments.as_object().cloned().unwrap_or_default(),
        rule: None,
        requirement: group.map(|name| Ok::<_, String>(Requirement::at_least(1, vec![Selector::Group(name.parse()?)]))).transpose()?,
        run: None,
        call: None,
        reason: None,
        extra: None,
        wait,
    };
    Ok(desk.ask(new).await?)
}

async fn many(desk: &Desk, from: usize, to: usize, wait: Duration, groups: &[&str]) -> Fallible<Vec<Request>> {
    let mut all = Vec::with_capacity(to - from);
    let numbers: Vec<usize> = (from..to).collect();
    for chunk in numbers.chunks(256) {
        for asked in futures::future::join_all(
            chunk.iter().map(|number| ask(desk, *number, wait, groups.get(number % groups.len().max(1)).copied())),
        )
        .await
        {
            all.push(asked?);
        }
    }
    Ok(all)
}

/// Milliseconds of one decision by one caller, each beside the time of a flush of the same disk when `file` is given.
async fn one_caller(desk: &Desk, requests: &[Request], mut file: Option<File>) -> Fallible<(Vec<f64>, Vec<f64>)> {
    let (mut decisions, mut flushes) = (Vec::new(), Vec::new());
    for request in requests {
        let started = Instant::now();
        desk.vote(request.id.parse()?, ballot(request)?).await?;
        decisions.push(started.elapsed().as_secs_f64() * 1e3);
        if let Some(file) = &mut file {
            let started = Instant::now();
            file.write_all(&vec![7; FLUSH_BYTES])?;
            file.sync_data()?;
            flushes.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok((decisions, flushes))
}

/// Decisions in a second of [`CALLERS`] callers.
async fn all_callers(desk: &Desk, requests: Vec<Request>) -> Fallible<f64> {
    let (count, started) = (requests.len(), Instant::now());
    let share = count.div_ceil(CALLERS);
    let mut callers = Vec::new();
    for own in requests.chunks(share) {
        let mut work = Vec::new();
        for request in own {
            work.push((request.id.parse::<RequestId>()?, ballot(request)?));
        }
        let desk = desk.clone();
        callers.push(tokio::spawn(async move {
            for (id, ballot) in work {
                desk.vote(id, ballot).await?;
            }
            Ok::<(), creto_oversight::OversightError>(())
        }));
    }
    for caller in callers {
        caller.await??;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Milliseconds to claim a hundred due timers, of few and of many, round by round beside each other: what else goes on at this machine is
/// the same for both. Of each the fastest tenth: most rounds are shorter than waking the thread that writes takes.
async fn claims(few: &House, full: &House) -> Fallible<(f64, f64)> {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    // The first rounds pay for what filling the tables left in the write-ahead log.
    for round in 0..CLAIMS {
        for (house, times) in [(few, &mut small), (full, &mut large)] {
            let started = Instant::now();
            let claimed = house.desk.claim_due().await?;
            if round >= CLAIMS / 4 {
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
            if claimed != CLAIMED {
                return Err(format!("{claimed} timers were claimed, not {CLAIMED}").into());
            }
            house.clock.advance(Duration::from_secs(3_600));
        }
    }
    Ok((quantile(&mut small, 0.1), quantile(&mut large, 0.1)))
}

async fn rows() -> Fallible<Vec<Value>> {
    let disk = tempfile::tempdir_in(std::env::current_dir()?)?;
    let memory = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() })?;
    let (slow, fast) = (house(disk.path())?, house(memory.path())?);
    let week = Duration::from_secs(7 * 24 * 3600);

    let p99 = transition()?;
    let mut rows =
        vec![json!({ "id": "oversight.transition_us", "ours": p99, "peer": null, "peer_value": null, "unit": "us", "ratio": null,
        "goal": "<= 5 us p99", "met": p99 <= 5.0 })];

    let asked = many(&slow.desk, 0, DECISIONS, week, &[]).await?;
    let (mut decisions, mut flushes) = one_caller(&slow.desk, &asked, Some(File::create(disk.path().join("flush"))?)).await?;
    let asked = many(&fast.desk, 0, DECISIONS, week, &[]).await?;
    let (mut unflushed, _) = one_caller(&fast.desk, &asked, None).await?;
    let (p50, f, c) = (quantile(&mut decisions, 0.5), quantile(&mut flushes, 0.5), quantile(&mut unflushed, 0.5));
    rows.push(json!({ "id": "oversight.decision_ms", "ours": p50, "peer": "32 KiB + fdatasync", "peer_value": f, "unit": "ms",
        "ratio": p50 / f, "goal": "<= 1.5 f + 0.5 ms", "met": p50 <= 1.5f64.mul_add(f, 0.5) }));
    rows.push(
        json!({ "id": "oversight.decision_p99_ms", "ours": quantile(&mut decisions, 0.99), "peer": null, "peer_value": null, "unit": "ms",
        "ratio": null, "goal": null, "met": null }),
    );

    let asked = many(&slow.desk, DECISIONS, DECISIONS + CALLERS * 20, week, &[]).await?;
    let rate = all_callers(&slow.desk, asked).await?;
    let limit = CALLERS as f64 / (CALLERS as f64).mul_add(c, f) * 1e3;
    rows.push(json!({ "id": "oversight.decisions_per_s", "ours": rate, "peer": "64 / (f + 64 c)", "peer_value": limit, "unit": "1/s",
        "ratio": rate / limit, "goal": ">= 0.6 x", "met": rate >= 0.6 * limit }));

    let ours = round::ours_ms(&slow.desk, DECISIONS + CALLERS * 20).await?;
    let theirs = round::langgraph_ms(disk.path())?;
    rows.push(json!({ "id": "oversight.round_ms", "ours": ours, "peer": "LangGraph interrupt + resume, SqliteSaver", "peer_value": theirs,
        "unit": "ms", "ratio": theirs.map(|theirs| ours / theirs), "goal": null, "met": null }));

    let few = house(&fresh(memory.path(), "few")?)?;
    many(&few.desk, 0, 1_000.min(pending_max()), Duration::from_secs(1), &[]).await?;
    let full = house(&fresh(memory.path(), "full")?)?;
    for (group, member) in GROUPS.iter().zip(["bob", "carol"]) {
        let members = BTreeSet::from([identity(NhiKind::Human, member)?]);
        full.desk.set_group(&identity(NhiKind::Human, "olga")?, &group.parse::<GroupName>()?, members).await?;
    }
    many(&full.desk, 0, pending_max(), Duration::from_secs(24 * 3600), &GROUPS).await?;
    let page = inbox::page_ms(&full.desk, "bob", "group:legal").await?;
    rows.push(json!({ "id": "oversight.inbox_page_ms", "ours": page, "peer": null, "peer_value": null, "unit": "ms", "ratio": null,
        "goal": "<= 50 ms p99 over HTTP, of 100,000", "met": page <= 50.0 }));
    few.clock.advance(Duration::from_secs(3_600));
    full.clock.advance(Duration::from_secs(25 * 3600));
    let (small, large) = claims(&few, &full).await?;
    rows.push(json!({ "id": "oversight.claim_timers_ms", "ours": large, "peer": "of 1,000 timers", "peer_value": small, "unit": "ms",
        "ratio": large / small, "goal": "<= 1.5 x", "met": large <= 1.5 * small }));
    drop((slow.db, fast.db));
    Ok(rows)
}

fn fresh(below: &Path, name: &str) -> Fallible<std::path::PathBuf> {
    let folder = below.join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn main() -> Fallible<()> {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    if !"decisions".contains(&wanted) {
        return Ok(());
    }
    let rows = tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(rows())?;
    println!("{}", serde_json::to_string_pretty(&rows)?);
    if let Ok(folder) = std::env::var("CRETO_BENCH_DIR") {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(Path::new(&folder).join("oversight.json"), serde_json::to_vec_pretty(&rows)?)?;
    }
    Ok(())
}
