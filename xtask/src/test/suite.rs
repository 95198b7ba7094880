//! The suites, in the order they run, each with its budget.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::Scope;
use super::features;
use super::postgres::Postgres;
use crate::process;
use crate::setup::{console, python, runsc};
use crate::tally::{Runner, Tally};
use crate::tidy;
use crate::workspace::{Fallible, Workspace, cargo};

/// One suite.
pub(super) struct Suite {
    /// Its name in the table.
    pub(super) name: &'static str,
    /// How long it may take, a cold build included; longer is a failure.
    pub(super) budget: Duration,
    /// Runs it.
    pub(super) run: fn(&Workspace, &Surroundings, Duration) -> Fallible<Outcome>,
}

/// What came of a suite.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It ran to its end.
    Ran(Tally),
    /// It ended badly: what was counted, and why.
    Broke(Tally, String),
    /// The project has no such tests.
    Absent(String),
}

const FMT: Duration = Duration::from_secs(60);
const TIDY: Duration = Duration::from_secs(30);
const CLIPPY: Duration = Duration::from_secs(20 * 60);
const FEATURES: Duration = Duration::from_secs(20 * 60);
const BUILD: Duration = Duration::from_secs(20 * 60);
const NEXTEST: Duration = Duration::from_secs(30 * 60);
const DOC: Duration = Duration::from_secs(10 * 60);
const CONSOLE: Duration = Duration::from_secs(3 * 60);
const PYTHON: Duration = Duration::from_secs(10 * 60);
const BROWSER: Duration = Duration::from_secs(10 * 60);
const DEMO: Duration = Duration::from_secs(15 * 60);

/// The suites of a scope.
pub(super) fn all(scope: Scope) -> Vec<Suite> {
    let mut suites = vec![
        Suite { name: "fmt", budget: FMT, run: fmt },
        Suite { name: "tidy", budget: TIDY, run: tidy_rules },
        Suite { name: "clippy", budget: CLIPPY, run: clippy },
        Suite { name: "features", budget: FEATURES, run: features::each_alone },
        Suite { name: "build", budget: BUILD, run: build },
        Suite { name: "nextest", budget: NEXTEST, run: nextest },
        Suite { name: "doc", budget: DOC, run: doc },
    ];
    if scope == Scope::Everything {
        suites.push(Suite { name: "console", budget: CONSOLE, run: console_tests });
        suites.push(Suite { name: "python sdk", budget: PYTHON, run: python_sdk });
        suites.push(Suite { name: "browser", budget: BROWSER, run: browser });
        suites.push(Suite { name: "demo", budget: DEMO, run: demo });
    }
    suites
}

/// What runs beside the suites, and what every one of them is told by its environment.
pub(super) struct Surroundings {
    postgres: Option<Postgres>,
    chromium: Option<PathBuf>,
    missing: Vec<(&'static str, String)>,
}

impl Surroundings {
    /// Starts PostgreSQL, finds the rest, and notes what is not there.
    pub(super) fn prepare(workspace: &Workspace) -> Fallible<Self> {
        let mut missing = Vec::new();
        let path = workspace.path()?;
        let postgres = Postgres::start(&path).map_err(|why| missing.push(("postgresql", why))).ok();
        if runsc::found(workspace).is_none() {
            missing.push(("runsc", "no runsc of 2023 or later; `cargo xtask setup` installs it".to_owned()));
        }
        let chromium = process::which(&path, "chromium");
        if chromium.is_none() && console::folder(workspace).is_some_and(|folder| console::has_script(&folder, BROWSER_SCRIPT)) {
            missing.push(("chromium", "not installed; `cargo xtask setup` installs it".to_owned()));
        }
        Ok(Self { postgres, chromium, missing })
    }

    /// Nothing beside the suites.
    #[cfg(test)]
    pub(super) const fn bare() -> Self {
        Self { postgres: None, chromium: None, missing: Vec::new() }
    }

    /// What is not there, and why.
    pub(super) fn missing(&self) -> &[(&'static str, String)] {
        &self.missing
    }

    fn equip(&self, command: &mut Command, workspace: &Workspace) -> Fallible {
        command
            .env("PATH", workspace.path()?)
            .env("CRETO_TOOLS_DIR", &workspace.tools)
            .env("CRETO_BIN", workspace.binary())
            .env("CARGO_TARGET_DIR", &workspace.target);
        match &self.postgres {
            Some(postgres) => command.env("CRETO_TEST_POSTGRES_URL", postgres.url()),
            None => command.env_remove("CRETO_TEST_POSTGRES_URL"),
        };
        if let Some(chromium) = &self.chromium {
            command.env("CRETO_CHROMIUM", chromium);
        }
        if std::env::var_os("CRETO_TEST_RUNSC").is_none() {
            let old = Some(runsc::old(workspace)).filter(|file| process::is_executable(file));
            let both = std::env::join_paths(runsc::found(workspace).into_iter().chain(old)).map_err(|error| error.to_string())?;
            command.env("CRETO_TEST_RUNSC", both);
        }
        Ok(())
    }

    /// Cargo, told what every suite is told.
    pub(super) fn cargo(&self, workspace: &Workspace, words: &[&str]) -> Fallible<Command> {
        let mut command = Command::new(cargo());
        command.args(words).current_dir(&workspace.root);
        self.equip(&mut command, workspace)?;
        Ok(command)
    }
}

/// The browser tests' name in console/package.json.
const BROWSER_SCRIPT: &str = "test:browser";

fn fmt(workspace: &Workspace, surroundings: &Surroundings, budget: Duration) -> Fallible<Outcome> {
    one_check(&mut surroundings.cargo(workspace, &["fmt", "--all", "--check"])?, budget)
}

fn tidy_rules(workspace: &Workspace, _: &Surroundings, _: Duration) -> Fallible<Outcome> {
    let report = tidy::check(workspace)?;
    report.print();
    let tally = report.tally();
    Ok(if tally.failed == 0 { Outcome::Ran(tally) } else { Outcome::Broke(tally, "see the findings above".to_owned()) })
}

/// The README's second command, unattended: it checks each of its steps itself.
fn demo(workspace: &Workspace, surroundings: &Surroundings, budget: Duration) -> Fallible<Outcome> {
    if runsc::found(workspace).is_none() {
        return Ok(Outcome::Absent("no runsc".to_owned()));
    }
    let mut command = Command::new(process::OURSELVES);
    command.args(["demo", "--yes"]).current_dir(&workspace.root);
    surroundings.equip(&mut command, workspace)?;
    one_check(&mut command, budget)
}

fn clippy(workspace: &Workspace, surroundings: &Surroundings, budget: Duration) -> Fallible<Outcome> {
    let words = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    one_check(&mut surroundings.cargo(workspace, &words)?, budget)
}

/// Every target at once, so that the binary which black-box tests start has the features the tests are built with, and nothing is
/// compiled twice.
fn build(workspace: &Workspace, surroundings: &Surroundings, budget: Duration) -> Fallible<Outcome> {
    one_check(&mut surroundings.cargo(workspace, &["build", "--workspace", "--all-targets", "--locked"])?, budget)
}

fn nextest(workspace: &Workspace, surroundings: &Surroundings, budget: Duration) -> Fallible<Outcome> {
    let words = ["nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--retries", "0"];
    counted(&mut surroundings.cargo(workspace, &words)?, budget, Runner::Nextest)
}

fn doc(workspace: &Workspace, surroundings: &Surroundings, budget: Duration) -> Fallible<Outcome> {
    counted(&mut surroundings.cargo(workspace, &["test", "--workspace", "--doc", "--locked"])?, budget, Runner::Libtest)
}

fn console_tests(workspace: &Workspace, surroundings: &Surroundings, budget: Duration) -> Fallible<Outcome> {
    npm_script(workspace, surroundings, budget, "test", Runner::Vitest)
}

fn browser(workspace: &Workspace, surroundings: &Surroundings, budget: Duration) -> Fallible<Outcome> {
    if surroundings.chromium.is_none() {
        return Ok(Outcome::Absent("no Chromium".to_owned()));
    }
    npm_script(workspace, surroundings, budget, BROWSER_SCRIPT, Runner::Playwright)
}

fn npm_script(workspace: &Workspace, surroundings: &Surroundings, budget: Duration, script: &str, runner: Runner) -> Fallible<Outcome> {
    let Some(folder) = console::folder(workspace) else { return Ok(Outcome::Absent("there is no console/package.json".to_owned())) };
    if !console::has_script(&folder, script) {
        return Ok(Outcome::Absent(format!("console/package.json has no script `{script}`")));
    }
    let mut command = console::npm(workspace, &folder)?;
    surroundings.equip(&mut command, workspace)?;
    counted(command.args(["run", "--silent", script]), budget, runner)
}

fn python_sdk(workspace: &Workspace, surroundings: &Surroundings, budget: Duration) -> Fallible<Outcome> {
    if !python::is_wanted(workspace) {
        return Ok(Outcome::Absent("there is no sdk/python/pyproject.toml".to_owned()));
    }
    if let Some(why) = python::lacking(workspace) {
        return Ok(if workspace.ci { Outcome::Broke(Tally::FAILED, why) } else { Outcome::Ran(skipped("python sdk", &why)) });
    }
    let sdk = workspace.root.join("sdk/python");
    let mut command = Command::new(workspace.python());
    // No byte code and no cache: a test run leaves the checkout as it was.
    command.args(["-B", "-m", "pytest", "-p", "no:cacheprovider", "tests"]).current_dir(&sdk).env("PYTHONPATH", sdk.join("src"));
    surroundings.equip(&mut command, workspace)?;
    counted(&mut command, budget, Runner::Pytest)
}

fn skipped(name: &str, why: &str) -> Tally {
    eprintln!("SKIPPED {name}: {why}");
    Tally::SKIPPED
}

/// A command that is one check in itself.
fn one_check(command: &mut Command, budget: Duration) -> Fallible<Outcome> {
    let finished = process::run(command, budget)?;
    Ok(if finished.success { Outcome::Ran(Tally::PASSED) } else { Outcome::Broke(Tally::FAILED, finished.why) })
}

/// A test runner whose summary is counted. One that ends well without a summary ran nothing, and proves nothing.
fn counted(command: &mut Command, budget: Duration, runner: Runner) -> Fallible<Outcome> {
    let finished = process::run(command, budget)?;
    let tally = runner.count(&finished.output);
    Ok(match (finished.success, tally) {
        (true, Some(tally)) => Outcome::Ran(tally),
        (true, None) => Outcome::Broke(Tally::FAILED, "no test summary in its output".to_owned()),
        (false, tally) => Outcome::Broke(tally.unwrap_or(Tally::FAILED), finished.why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_demo_is_a_suite_that_only_a_fast_run_leaves_out() {
        let names = |scope| all(scope).into_iter().map(|suite| suite.name).collect::<Vec<_>>();
        assert!(names(Scope::Everything).contains(&"demo"));
        assert!(!names(Scope::Fast).contains(&"demo"));
    }

    #[test]
    fn a_runner_that_prints_no_summary_has_not_passed() {
        let outcome = counted(&mut shell("echo hello"), Duration::from_secs(20), Runner::Nextest).unwrap();
        assert!(matches!(outcome, Outcome::Broke(Tally::FAILED, _)), "{outcome:?}");
    }

    #[test]
    fn a_summary_with_a_bad_exit_is_not_a_pass() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; exit 101";
        let outcome = counted(&mut shell(script), Duration::from_secs(20), Runner::Libtest).unwrap();
        assert!(matches!(outcome, Outcome::Broke(Tally { passed: 2, failed: 0, skipped: 0 }, _)), "{outcome:?}");
    }

    #[test]
    fn a_summary_with_a_good_exit_is_what_was_counted() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 1 ignored'";
        let outcome = counted(&mut shell(script), Duration::from_secs(20), Runner::Libtest).unwrap();
        assert!(matches!(outcome, Outcome::Ran(Tally { passed: 2, failed: 0, skipped: 1 })), "{outcome:?}");
    }

    #[test]
    fn fast_ends_with_the_doc_tests_and_everything_begins_like_it() {
        let names = |scope| all(scope).iter().map(|suite| suite.name).collect::<Vec<_>>();
        let fast = names(Scope::Fast);
        assert_eq!(fast.last(), Some(&"doc"));
        assert!(names(Scope::Everything).starts_with(&fast));
    }
}
