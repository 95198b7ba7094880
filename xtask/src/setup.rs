//! `cargo xtask setup`: installs what is missing and leaves alone what is there. Each step says what it will do before it does it.

pub(crate) mod apt;
mod clients;
pub(crate) mod console;
mod node;
pub(crate) mod python;
pub(crate) mod runsc;

use std::process::{Command, ExitCode};

use crate::process;
use crate::workspace::{Fallible, Workspace, cargo};

/// One thing the project needs from the machine.
struct Step {
    name: &'static str,
    /// Why it is missing; `None` where nothing is to be done.
    missing: fn(&Workspace) -> Option<String>,
    /// What `install` will do, told beforehand.
    plan: fn(&Workspace) -> String,
    install: fn(&Workspace) -> Fallible,
}

/// In the order they need each other: Node's fallback needs Python, the console needs Node.
const STEPS: [Step; 8] = [
    Step { name: "Debian packages", missing: apt::missing, plan: apt::plan, install: apt::install },
    Step { name: "runsc", missing: runsc::missing, plan: runsc::plan, install: runsc::install },
    Step { name: "Debian 12's runsc", missing: runsc::old_missing, plan: runsc::old_plan, install: runsc::old_install },
    Step { name: "cargo-nextest", missing: nextest_missing, plan: nextest_plan, install: nextest_install },
    Step { name: "Node", missing: node::missing, plan: node::plan, install: node::install },
    Step { name: "Python environment", missing: python::missing, plan: python::plan, install: python::install },
    Step { name: "npm clients", missing: clients::missing, plan: clients::plan, install: clients::install },
    Step { name: "console", missing: console::missing, plan: console::plan, install: console::install },
];

pub(crate) fn run(workspace: &Workspace) -> Fallible<ExitCode> {
    let left = apply(workspace);
    if left == 0 {
        println!("setup: everything is there; tools are in {}", workspace.tools.display());
        Ok(ExitCode::SUCCESS)
    } else {
        println!("setup: {left} of {} steps could not be finished, see above", STEPS.len());
        Ok(ExitCode::FAILURE)
    }
}

/// Does every step whose result is missing, and counts those that could not be finished. One that fails does not stop the others.
pub(crate) fn apply(workspace: &Workspace) -> usize {
    STEPS.iter().filter(|step| !settled(step, workspace)).count()
}

fn settled(step: &Step, workspace: &Workspace) -> bool {
    let Some(reason) = (step.missing)(workspace) else { return true };
    println!("setup: {}: {reason}\n       will {}", step.name, (step.plan)(workspace));
    let done = (step.install)(workspace).and_then(|()| match (step.missing)(workspace) {
        None => Ok(()),
        Some(still) => Err(format!("installed without an error, yet {still}")),
    });
    match done {
        Ok(()) => println!("setup: {}: done", step.name),
        Err(why) => eprintln!("setup: {}: NOT DONE: {why}", step.name),
    }
    (step.missing)(workspace).is_none()
}

fn nextest_missing(workspace: &Workspace) -> Option<String> {
    let path = workspace.path().ok()?;
    process::capture(Command::new(cargo()).args(["nextest", "--version"]).env("PATH", path))
        .err()
        .map(|_| "`cargo nextest` is not there".to_owned())
}

fn nextest_plan(_: &Workspace) -> String {
    "run `cargo install cargo-nextest --locked` (some minutes)".to_owned()
}

fn nextest_install(_: &Workspace) -> Fallible {
    process::inherit(Command::new(cargo()).args(["install", "cargo-nextest", "--locked"]))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_step_that_installs_nothing_is_not_settled() {
        let workspace = Workspace {
            root: Path::new("/nowhere").to_owned(),
            target: Path::new("/nowhere/target").to_owned(),
            tools: Path::new("/nowhere/tools").to_owned(),
            ci: false,
            packages: Vec::new(),
        };
        let hollow = Step {
            name: "hollow",
            missing: |_| Some("it never is there".to_owned()),
            plan: |_| "do nothing".to_owned(),
            install: |_| Ok(()),
        };
        assert!(!settled(&hollow, &workspace));
        let there = Step { missing: |_| None, install: |_| Err("must not run".to_owned()), ..hollow };
        assert!(settled(&there, &workspace));
    }
}
