//! Set up, test, bench and check the project: `cargo xtask help`.
//!
//! One file per command. The commands use the standard library and serde only, so that they compile in seconds on a bare machine.

mod bench;
mod demo;
mod dev;
mod process;
mod setup;
mod tally;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use workspace::{Fallible, Workspace};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  setup           install what is missing: PostgreSQL, Redis, NATS, Chromium, a newer runsc, nextest, Node, the Python environment
  demo [--yes]    an agent governed and proven end to end; --yes approves unattended
  test [--fast]   set up what is missing, then every suite; --fast stops after the unit and doc tests
  tidy            the house rules alone: documents, layers, purity, file sizes, error pages
  bench [PREFIX]  the ratio benches whose ids start with PREFIX; writes bench/report.json under the target directory
  dev             the console where it can be built, and a server on a data directory under the target directory
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[&str]) -> Fallible<ExitCode> {
    if matches!(words, [] | ["help" | "--help" | "-h"]) {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::find()?;
    match words {
        ["setup"] => setup::run(&workspace),
        ["demo"] => demo::run(&workspace, false),
        ["demo", "--yes"] => demo::run(&workspace, true),
        ["demo-approve", url, host] => demo::approve(url, host),
        ["test"] => test::run(&workspace, test::Scope::Everything),
        ["test", "--fast"] => test::run(&workspace, test::Scope::Fast),
        ["tidy"] => tidy::run(&workspace),
        ["bench"] => bench::run(&workspace, ""),
        ["bench", prefix] => bench::run(&workspace, prefix),
        ["dev"] => dev::run(&workspace),
        _ => Err(format!("unknown command `{}`\n\n{USAGE}", words.join(" "))),
    }
}
