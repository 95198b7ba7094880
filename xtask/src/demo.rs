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

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::workspace::{Fallible, Workspace, cargo};
use crate::{process, setup};

use creto::Creto;
use host::Host;

/// Alice's password in the demo's own, throw-away data directory.
const PASSWORD: &str = "alice-approves-demo";
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
    let outcome = story(workspace, &creto, unattended);
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

fn story(workspace: &Workspace, creto: &Creto, unattended: bool) -> Fallible<()> {
    let (allowed, refused, ask) =
        (Host::start("the forecast is sunny")?, Host::start("never to be read")?, Host::start("the archive is open")?);
    say("alice has a login and a key of her own; she delegates to planner, planner to researcher, each link narrower");
    creto.with_password(&["account", "create", "--name", "alice", "--operator"], PASSWORD)?;
    let approver = token(&creto.json(&["key", "create", "--role", "approver", "--name", "alice"])?, "token")?;
    let planner =
        token(&creto.json(&["agent", "delegate", "--from", "alice", "--to", "planner", "--budget", "1.00", "--depth", "3"])?, "chain")?;
    let researcher = token(
        &creto.json(&[
            "agent",
            "delegate",
            "--chain",
            &planner,
            "--to",
            "researcher",
            "--budget",
            "0.10",
            "--depth",
            "0",
            "--allow",
            "runtime.*",
            "--allow",
            "metering.ingest",
            "--allow",
            "messaging.*",
        ])?,
        "chain",
    )?;
    creto.text(&["meter", "price", "demo.tokens", "--sum", "quantity", "--unit-price", "0.000003"])?;
    let planner_key = token(&creto.json(&["key", "create", "--role", "agent", "--name", "planner", "--chain", &planner])?, "token")?;
    creto.as_agent(&planner_key, &["msg", "publish"])?;
    publish_policy(creto, ask.address())?;

    let mut watcher = if unattended {
        Some(
            Command::new(process::OURSELVES)
                .args(["demo-approve", creto.url(), ask.address()])
                .env("CRETO_DEMO_TOKEN", &approver)
                .stdin(Stdio::null())
                .spawn()
                .map_err(|e| format!("the approver cannot be started: {e}"))?,
        )
    } else {
        println!("\n  Open {}/#/inbox and sign in as `alice` with `{PASSWORD}`: a request will be waiting for you.\n", creto.url());
        None
    };

    say("researcher's program runs in gVisor, under alice → planner → researcher");
    let ran = governed_run(workspace, creto, &researcher, [&allowed, &refused, &ask]);
    if let Some(child) = &mut watcher {
        let status = child.wait().map_err(|e| format!("the approver cannot be waited for: {e}"))?;
        if ran.is_ok() && !status.success() {
            return Err("the approver failed".to_owned());
        }
    }
    ran?;
    check(creto, &planner_key, [&allowed, &refused, &ask])
}

fn governed_run(workspace: &Workspace, creto: &Creto, chain: &str, [allowed, refused, ask]: [&Host; 3]) -> Fallible<()> {
    let examples = workspace.root.join("examples");
    let program = examples.join("agents/researcher.py");
    let mut arguments = vec!["run".to_owned(), "--chain".to_owned(), chain.to_owned(), "--timeout".to_owned(), "10m".to_owned()];
    arguments.extend(["--reason".to_owned(), "the weekly weather report needs the archive".to_owned()]);
    arguments.extend(["--mount".to_owned(), examples.display().to_string()]);
    for host in [allowed, ask] {
        arguments.extend(["--allow-host".to_owned(), host.address().to_owned()]);
    }
    arguments.extend(["--".to_owned(), "/usr/bin/python3".to_owned(), program.display().to_string(), "--all".to_owned()]);
    let steps = [
        ("--dataset", examples.join("dataset").display().to_string()),
        ("--allowed", format!("http://{}/", allowed.address())),
        ("--refused", format!("http://{}/", refused.address())),
        ("--ask", format!("http://{}/", ask.address())),
        ("--code", "demo.tokens".to_owned()),
        ("--to", "planner".to_owned()),
    ];
    for (name, value) in steps {
        arguments.extend([name.to_owned(), value]);
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    creto.stream(&words)
}

/// What the server recorded must agree with the story.
fn check(creto: &Creto, planner_key: &str, [allowed, refused, ask]: [&Host; 3]) -> Fallible<()> {
    say("what was recorded");
    let runs = creto.json(&["runs"])?;
    let run = runs["runs"][0]["run"].as_str().ok_or("no run was recorded")?.to_owned();
    let details = creto.json(&["runs", &run])?;
    let actions = details["actions"].as_array().ok_or("the run has no actions")?;
    let states = |resource: &str| -> Vec<&str> {
        actions.iter().filter(|a| a["resource"].as_str() == Some(resource)).filter_map(|a| a["state"].as_str()).collect()
    };
    let host = |host: &Host| format!("host:{}", host.address());
    expect("the allowed host was reached", states(&host(allowed)).contains(&"done") && allowed.calls() > 0)?;
    expect("the other host was refused and never called", states(&host(refused)) == ["refused"] && refused.calls() == 0)?;
    let request =
        details["requests"].as_array().and_then(|all| all.iter().find(|r| r["rule"] == "egress_review")).ok_or("nobody was asked")?;
    expect("alice approved the third host, and the approval was used once", request["state"] == "executed" && ask.calls() == 1)?;
    expect("alice decided", request["decided_by"].as_str().is_some_and(|by| by.ends_with("/human/alice")))?;
    let budgets = creto.json(&["budgets"])?;
    let ceiling =
        budgets["accounts"].as_array().into_iter().flatten().find(|a| a["ceiling"] == "0.1").ok_or("researcher has no ceiling")?;
    expect(
        "the ceiling stopped the spending",
        micros(&ceiling["spent"])? > 60_000 && micros(&ceiling["spent"])? + micros(&ceiling["held"])? <= 100_000,
    )?;
    expect("the ledger balances", creto.json(&["meter", "check"])?["ok"] == true)?;
    let doubts = creto.json(&["doubts"])?;
    expect("nothing is in doubt", doubts["actions"].as_array().is_some_and(Vec::is_empty))?;
    let received = creto.as_agent(planner_key, &["msg", "receive"])?;
    expect("planner opened researcher's encrypted report", received.contains("report"))?;
    print!("{}", indent(&received));
    say("cost by delegation tree");
    print!("{}", indent(&creto.text(&["costs"])?));
    say("the run as a timeline");
    print!("{}", indent(&creto.text(&["runs", &run])?));
    Ok(())
}

fn publish_policy(creto: &Creto, ask: &str) -> Fallible<()> {
    let current = creto.json(&["policy", "show"])?;
    let text = current["text"].as_str().ok_or("the policy in force has no text")?;
    let rule = format!(
        "\n// A human looks at every connection to the archive.\n@id(\"demo.archive\")\n@oversight(\"egress_review\")\nforbid (\n  principal,\n  \
         action == Action::\"runtime.egress\",\n  resource == Host::\"{ask}\"\n)\nunless {{ context.approved }};\n"
    );
    let file = creto.data().join("demo-policy.cedar");
    std::fs::write(&file, format!("{text}{rule}")).map_err(|e| format!("`{}` cannot be written: {e}", file.display()))?;
    creto.text(&["policy", "publish", &file.display().to_string()]).map(drop)
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

fn expect(what: &str, holds: bool) -> Fallible<()> {
    if holds {
        println!("  ✓ {what}");
        Ok(())
    } else {
        Err(format!("this did not happen: {what}"))
    }
}

fn token(answer: &Value, field: &str) -> Fallible<String> {
    answer[field].as_str().map(str::to_owned).ok_or_else(|| format!("the answer has no `{field}`: {answer}"))
}

fn micros(amount: &Value) -> Fallible<i64> {
    let text = amount.as_str().ok_or("an amount is not text")?;
    let (units, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{units}{fraction:0<6}");
    digits.parse().map_err(|e| format!("`{text}` is not an amount: {e}"))
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
