//! `cargo xtask test`: sets up what is missing, runs every suite within its budget, and closes with one line of counts.

mod features;
mod postgres;
mod suite;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::setup;
use crate::tally::Tally;
use crate::workspace::{Fallible, Workspace};
use suite::{Outcome, Suite, Surroundings};

/// How much to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every suite.
    Everything,
    /// Up to the unit and doc tests.
    Fast,
}

/// What came of one suite, for the table at the end.
struct Row {
    name: &'static str,
    tally: Tally,
    took: Duration,
    note: String,
}

pub(crate) fn run(workspace: &Workspace, scope: Scope) -> Fallible<ExitCode> {
    setup::apply(workspace);
    let surroundings = Surroundings::prepare(workspace)?;
    let mut rows: Vec<Row> = surroundings.missing().iter().map(|(name, why)| row_of_missing(workspace.ci, name, why)).collect();
    for suite in suite::all(scope) {
        rows.push(run_one(&suite, workspace, &surroundings));
    }
    drop(surroundings);

    let total = rows.iter().fold(Tally::default(), |mut sum, row| {
        sum += row.tally;
        sum
    });
    println!();
    for row in &rows {
        println!("  {:<14} {:>7.1} s  {:<38} {}", row.name, row.took.as_secs_f64(), row.tally.to_string(), row.note);
    }
    println!("{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A component that is not there is a loud skip for a person and a failure for CI: nothing untested may look green there.
fn row_of_missing(ci: bool, name: &'static str, why: &str) -> Row {
    let (tally, verdict) = if ci { (Tally::FAILED, "FAILED (CI=true)") } else { (Tally::SKIPPED, "SKIPPED") };
    eprintln!("{verdict} {name}: {why}");
    Row { name, tally, took: Duration::ZERO, note: why.to_owned() }
}

fn run_one(suite: &Suite, workspace: &Workspace, surroundings: &Surroundings) -> Row {
    println!("\n== {} (budget {} s)", suite.name, suite.budget.as_secs());
    let started = Instant::now();
    let outcome = (suite.run)(workspace, surroundings, suite.budget);
    let took = started.elapsed();
    let (tally, note) = match outcome {
        Ok(Outcome::Ran(tally)) if took > suite.budget => {
            (failed_with(tally), format!("exceeded its budget of {} s", suite.budget.as_secs()))
        }
        Ok(Outcome::Ran(tally)) => (tally, String::new()),
        Ok(Outcome::Broke(tally, why)) => (failed_with(tally), why),
        Ok(Outcome::Absent(why)) => (Tally::default(), why),
        Err(why) => (Tally::FAILED, why),
    };
    if tally.failed > 0 {
        eprintln!("FAILED {}: {note}", suite.name);
    }
    Row { name: suite.name, tally, took, note }
}

/// A suite whose runner failed has at least one failure, even where its summary shows none.
const fn failed_with(tally: Tally) -> Tally {
    if tally.failed == 0 { Tally { failed: 1, ..tally } } else { tally }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere(ci: bool) -> Workspace {
        let root = std::env::temp_dir();
        Workspace { root: root.clone(), target: root.clone(), tools: root, ci, packages: Vec::new() }
    }

    #[test]
    fn a_missing_component_is_skipped_for_a_person_and_fails_in_ci() {
        assert_eq!(row_of_missing(false, "postgresql", "no initdb").tally, Tally::SKIPPED);
        assert_eq!(row_of_missing(true, "postgresql", "no initdb").tally, Tally::FAILED);
    }

    #[test]
    fn a_suite_that_broke_counts_a_failure_even_when_its_summary_shows_none() {
        let passed = Tally { passed: 9, failed: 0, skipped: 0 };
        assert_eq!(failed_with(passed), Tally { passed: 9, failed: 1, skipped: 0 });
        let broken = Suite { name: "broken", budget: Duration::MAX, run: |_, _, _| Err("no such program".to_owned()) };
        assert_eq!(run_one(&broken, &nowhere(false), &Surroundings::bare()).tally, Tally::FAILED);
    }

    #[test]
    fn a_suite_past_its_budget_has_failed_though_its_tests_passed() {
        let slow = Suite { name: "slow", budget: Duration::ZERO, run: |_, _, _| Ok(Outcome::Ran(Tally::PASSED)) };
        let row = run_one(&slow, &nowhere(false), &Surroundings::bare());
        assert_eq!(row.tally.failed, 1, "{}", row.note);
        assert!(row.note.contains("budget"));
    }
}
