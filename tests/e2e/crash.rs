//! The crash matrix: the server dies at every point of every commit of a small but complete day, and nothing that matters is lost or done
//! twice.
//!
//! The day is a script of steps that a client may repeat: fixed transaction identifiers, the very same action. The server is killed at one
//! visit of one point, started again, and the script is finished; then the next visit, until the day passes the point no more.

mod asked;
mod day;
mod demo;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::support::{Home, Options, Server, runsc};
use day::{Day, Died, Script, check};

/// Every point of a commit, in order; see creto-db's `failpoint`.
const POINTS: [&str; 4] = ["db.before_steps", "db.after_steps", "db.before_commit", "db.after_commit"];
/// How many servers one test has at once.
const AT_ONCE: usize = 3;
/// Transactions for each commit of the day, at most: the log's own bookkeeping has some too.
const TRANSACTIONS_MAX: u64 = 6;
const SIGKILL: i32 = 9;

#[test]
fn dying_before_the_first_statement_of_any_commit_is_survived() {
    dies_everywhere(Script::Office, "db.before_steps");
}

#[test]
fn dying_after_the_last_statement_of_any_commit_is_survived() {
    dies_everywhere(Script::Office, "db.after_steps");
}

#[test]
fn dying_before_any_transaction_is_durable_is_survived() {
    dies_everywhere(Script::Office, "db.before_commit");
}

#[test]
fn dying_before_anybody_is_told_of_a_transaction_is_survived() {
    dies_everywhere(Script::Office, "db.after_commit");
}

#[test]
fn a_run_is_found_again_after_dying_before_the_first_statement_of_its_commits() {
    dies_everywhere(Script::Sandbox, "db.before_steps");
}

#[test]
fn a_run_is_found_again_after_dying_after_the_last_statement_of_its_commits() {
    dies_everywhere(Script::Sandbox, "db.after_steps");
}

#[test]
fn a_run_is_found_again_after_dying_before_its_transactions_are_durable() {
    dies_everywhere(Script::Sandbox, "db.before_commit");
}

#[test]
fn a_run_is_found_again_after_dying_before_anybody_is_told_of_its_transactions() {
    dies_everywhere(Script::Sandbox, "db.after_commit");
}

/// The very first start makes tables, identities and keys; dying in it must not leave a directory that does not open.
#[test]
fn a_first_start_that_dies_is_begun_again() {
    for point in POINTS {
        each_visit(point, 2, |failpoint| {
            let home = Home::new();
            match home.try_serve(&options(Script::Office, Some(failpoint.to_owned()))) {
                Ok(_) => return false,
                Err(status) => assert_eq!(status.signal(), Some(SIGKILL), "{status}"),
            }
            finish(&home, &mut Day::of(Script::Office));
            true
        });
    }
}

fn dies_everywhere(script: Script, point: &str) {
    if script == Script::Sandbox && runsc().is_none() {
        return;
    }
    let template = Home::new();
    template.serve(&options(script, None)).stop();
    let commits = commits_of_a_day(&template, script);
    assert!(commits >= script.commits_min(), "the day has {commits} commits only");
    each_visit(point, commits, |failpoint| {
        let home = Home::copy_of(&template);
        let mut day = Day::of(script);
        match home.try_serve(&options(script, Some(failpoint.to_owned()))) {
            // It died while it started.
            Err(status) => assert_eq!(status.signal(), Some(SIGKILL), "{status}"),
            Ok(server) => match day.live(&server) {
                Err(Died) => {
                    let status = server.ended();
                    assert_eq!(status.signal(), Some(SIGKILL), "{status}");
                }
                // It may still die of the log's bookkeeping, so nothing more is asked of it; a day without a death was looked at before.
                Ok(()) => return false,
            },
        }
        finish(&home, &mut day);
        true
    });
}

/// Starts again, finishes the day, and looks at what came of it.
fn finish(home: &Home, day: &mut Day) {
    let server = home.serve(&options(day.script, None));
    day.settle_doubts(&server);
    day.live(&server).unwrap_or_else(|_| panic!("the server died without a failpoint"));
    check(&server, day);
}

/// Runs a case for each visit of a point, side by side, until one is not reached; at least `visits_min` of them must be. Which failed is
/// told at the end.
fn each_visit(point: &str, visits_min: u64, case: impl Fn(&str) -> bool + Sync) {
    let (next, over) = (AtomicU64::new(1), AtomicBool::new(false));
    let (died, failed) = (AtomicU64::new(0), Mutex::new(BTreeSet::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let nth = next.fetch_add(1, Ordering::SeqCst);
                    let failpoint = format!("{point}:{nth}");
                    match catch_unwind(AssertUnwindSafe(|| case(&failpoint))) {
                        Ok(true) => _ = died.fetch_add(1, Ordering::SeqCst),
                        Ok(false) => over.store(true, Ordering::SeqCst),
                        Err(_) => _ = failed.lock().unwrap().insert(nth),
                    }
                    if nth > visits_min * TRANSACTIONS_MAX {
                        over.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let (died, failed) = (died.into_inner(), failed.into_inner().unwrap());
    println!("{point}: died {died} times");
    assert!(failed.is_empty(), "not survived: {point} at its visits {failed:?}");
    assert!(died >= visits_min, "{point} was visited {died} times only, and there are {visits_min} commits");
    assert!(died < visits_min * TRANSACTIONS_MAX, "{point} has no last visit");
}

fn options(script: Script, failpoint: Option<String>) -> Options {
    Options { sandboxes: script == Script::Sandbox, failpoint, ..Options::default() }
}

/// How many commits a day without a death takes.
fn commits_of_a_day(template: &Home, script: Script) -> u64 {
    let home = Home::copy_of(template);
    let server = home.serve(&options(script, None));
    let before = commits(&server);
    let mut day = Day::of(script);
    day.live(&server).unwrap_or_else(|_| panic!("the server died without a failpoint"));
    check(&server, &day);
    commits(&server) - before
}

/// The position of the newest commit.
fn commits(server: &Server) -> u64 {
    let metrics = server.nobody().get("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("creto_commit_sequence ")).expect("the gauge is served");
    line.parse().unwrap()
}
