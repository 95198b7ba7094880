//! `cargo xtask demo`: an agent program governed and proven, end to end, with the real binary, the real gVisor and a real human's
//! credential.
//!
//! Alice delegates to planner, planner to researcher. Researcher's program runs in a sandbox: it reads a mounted data set, calls an
//! allowed host, is refused another, waits at a third until alice approves, spends until its ceiling stops it, and sends planner an
//! encrypted report. Then: cost by delegation tree, the timeline, the message, an offline verification of the log.
//!
//! INVARIANT: each step is checked by what the server recorded, not by what the program printed; a step that did not truly happen ends
//! the demo with a failure.

#![expect(clippy::indexing_slicing, reason = "reading a JSON value by name never panics: what is absent is null")]

mod creto;
mod host;
mod http;
mod story;

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::workspace::{Fallible, Workspace, cargo};
use crate::{process, setup};

use creto::Creto;
use story::{Hosts, PASSWORD, Stage as _, Story};

/// How long the unattended approver waits for the request.
const APPROVER_PATIENCE: Duration = Duration::from_secs(120);

/// Runs the demo. With `unattended` a second process approves; without, a person does, in the browser.
pub(crate) fn run(workspace: &Workspace, unattended: bool) -> Fallible<ExitCode> {
    if setup::apply(workspace) > 0 {
        eprintln!("demo: going on without what is missing");
    }
    say("building creto");
    process::inherit(Command::new(cargo()).args(["build", "--quiet", "--package", "creto"]).current_dir(&workspace.root))?;
    let creto = Creto::start(workspace)?;
    let outcome = story(&creto, unattended);
    let stopped = creto.stop();
    outcome?;
    stopped?;
    say("an offline verification: the server is gone, only its files are left");
    let verified = creto.text(&["audit", "verify"])?;
    print!("{}", indent(&verified));
    creto.must_fail_when_tampered()?;
    println!("\nEverything above truly happened. The data directory is kept: {}", creto.data().display());
    Ok(ExitCode::SUCCESS)
}

fn story(creto: &Creto, unattended: bool) -> Fallible<()> {
    let hosts = Hosts::start()?;
    let mut story = Story::default();
    story.prepare(creto, &hosts)?;
    let mut watcher = if unattended {
        Some(
            Command::new(process::OURSELVES)
                .args(["demo-approve", creto.url(), hosts.ask.address()])
                .env("CRETO_DEMO_TOKEN", story.approver.as_deref().unwrap_or_default())
                .stdin(Stdio::null())
                .spawn()
                .map_err(|e| format!("the approver cannot be started: {e}"))?,
        )
    } else {
        println!("\n  Open {}/#/inbox and sign in as `alice` with `{PASSWORD}`: a request will be waiting for you.\n", creto.url());
        None
    };
    let ran = story.run(creto, &hosts);
    if let Some(child) = &mut watcher {
        let status = child.wait().map_err(|e| format!("the approver cannot be waited for: {e}"))?;
        if ran.is_ok() && !status.success() {
            return Err("the approver failed".to_owned());
        }
    }
    ran?;
    say("what was recorded");
    let run = story.check(creto, &hosts, true)?;
    say("cost by delegation tree");
    print!("{}", indent(&creto.text(&["costs"])?));
    say("the run as a timeline");
    print!("{}", indent(&creto.text(&["runs", &run])?));
    Ok(())
}

/// The unattended approver, a process of its own: it has alice's credential and the HTTP API, and nothing else.
pub(crate) fn approve(url: &str, expected: &str) -> Fallible<ExitCode> {
    let token = std::env::var("CRETO_DEMO_TOKEN").map_err(|_| "CRETO_DEMO_TOKEN is not set".to_owned())?;
    let started = Instant::now();
    let changes = http::events(url, &token, "/v1/oversight/changes", APPROVER_PATIENCE)?;
    for _ in changes {
        let pending = http::json(url, &token, "GET", "/v1/oversight/requests?state=pending", None)?;
        let asked = |request: &&Value| request["action"].as_str().is_some_and(|action| action.contains(&format!("host:{expected}")));
        if let Some(request) = pending["requests"].as_array().and_then(|all| all.iter().find(asked)) {
            let id = request["id"].as_str().ok_or("a request without an id")?;
            let body = serde_json::json!({ "digest": request["digest"], "comment": "the archive is fine" });
            let decided = http::json(url, &token, "POST", &format!("/v1/oversight/requests/{id}/approve"), Some(&body))?;
            println!("  alice approved {id} ({}) over the HTTP API", decided["rule"].as_str().unwrap_or("?"));
            return Ok(ExitCode::SUCCESS);
        }
        if started.elapsed() > APPROVER_PATIENCE {
            break;
        }
    }
    Err("nobody asked alice anything".to_owned())
}

fn say(step: &str) {
    println!("\n▸ {step}");
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
