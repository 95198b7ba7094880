//! The crash matrix: the server dies at every point of every commit of a small but complete day, and nothing that matters is lost or done
//! twice.
//!
//! The day is a script of steps that a client may repeat: fixed transaction identifiers, the very same action. The server is killed at one
//! point, started again, and the script is finished. `CRETO_CRASH_FULL=1` runs the whole matrix; else a seeded sample of it, and
//! `CRETO_CRASH_SEED` replays one.

mod day;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{Home, Options, PATIENCE, Server, runsc};
use day::{Day, Died, check};

/// Every point of a commit, in order; see creto-db's `failpoint`.
const POINTS: [&str; 4] = ["db.before_steps", "db.after_steps", "db.before_commit", "db.after_commit"];
/// How many deaths a run tries unless it is told to try all.
const SAMPLE: usize = 96;
/// How many servers live at once.
const AT_ONCE: usize = 3;

#[test]
fn the_server_dies_at_every_point_of_every_commit_and_nothing_is_lost_or_done_twice() {
    let sandboxes = runsc().is_some();
    let template = Home::new();
    template.serve(&Options { sandboxes, ..Options::default() }).stop();

    let commits = commits_of_a_day(&template, sandboxes);
    assert!(commits >= 15, "the day has {commits} commits only");
    let mut deaths: Vec<(&str, u64)> = (1..=commits).flat_map(|nth| POINTS.map(|point| (point, nth))).collect();
    let all = deaths.len();
    let seed = seed();
    if std::env::var_os("CRETO_CRASH_FULL").is_none() {
        shuffle(&mut deaths, seed);
        deaths.truncate(SAMPLE);
    }
    println!("{commits} commits, {} of {all} deaths, CRETO_CRASH_SEED={seed}", deaths.len());
    each(&deaths, |(point, nth)| die_and_recover(&template, sandboxes, point, *nth));
}

/// The very first start makes tables, identities and keys; dying in it must not leave a directory that does not open.
#[test]
fn a_first_start_that_dies_is_begun_again() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let commits = commits(&server);
    server.stop();
    assert!(commits >= 2, "the first start has {commits} commits only");
    let deaths: Vec<(&str, u64)> = (1..=commits).flat_map(|nth| POINTS.map(|point| (point, nth))).collect();
    each(&deaths, |(point, nth)| {
        let home = Home::new();
        let failpoint = Some(format!("{point}:{nth}"));
        let ended = home.try_serve(&Options { failpoint, ..Options::default() });
        assert!(ended.is_err(), "{point}:{nth} was not reached");
        let server = home.serve(&Options::default());
        let mut day = Day::default();
        day.live(&server, false).unwrap_or_else(|_| panic!("the server died after {point}:{nth}"));
        check(&server, &day);
    });
}

fn die_and_recover(template: &Home, sandboxes: bool, point: &str, nth: u64) {
    let home = Home::copy_of(template);
    let failpoint = Some(format!("{point}:{nth}"));
    let mut day = Day::default();
    match home.try_serve(&Options { sandboxes, failpoint, ..Options::default() }) {
        // It died while it started.
        Err(_) => {}
        Ok(server) => match day.live(&server, sandboxes) {
            Err(Died) => {
                let status = server.ended();
                assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{point}:{nth}: {status}");
            }
            Ok(()) => panic!("{point}:{nth} was not reached"),
        },
    }
    let server = home.serve(&Options { sandboxes, ..Options::default() });
    day.settle_doubts(&server);
    day.live(&server, sandboxes).unwrap_or_else(|_| panic!("the server died again after {point}:{nth}"));
    check(&server, &day);
    server.stop();
}

/// How many commits a day without a death takes.
fn commits_of_a_day(template: &Home, sandboxes: bool) -> u64 {
    let home = Home::copy_of(template);
    let server = home.serve(&Options { sandboxes, ..Options::default() });
    let before = commits(&server);
    let mut day = Day::default();
    day.live(&server, sandboxes).unwrap_or_else(|_| panic!("the server died without a failpoint"));
    check(&server, &day);
    let after = commits(&server);
    server.stop();
    after - before
}

/// The position of the newest commit.
fn commits(server: &Server) -> u64 {
    let metrics = server.nobody().get("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("creto_commit_sequence ")).expect("the gauge is served");
    line.parse().unwrap()
}

/// Runs the cases side by side; the first that fails is named, and the others are not begun.
fn each(cases: &[(&str, u64)], run: impl Fn(&(&str, u64)) + Sync) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(case))).is_err() {
                        failed.lock().unwrap().insert(format!("{}:{}", case.0, case.1));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} deaths were not survived: {failed:?}", failed.len(), cases.len());
}

fn seed() -> u64 {
    let given = std::env::var("CRETO_CRASH_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(PATIENCE).as_millis() as u64)
}

/// Fisher and Yates, with xorshift64* (Vigna 2016) as the source.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for last in (1..items.len()).rev() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let draw = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        items.swap(last, draw as usize % (last + 1));
    }
}
