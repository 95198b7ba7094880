//! One question and its answer, beside LangGraph's own way to stop for a human.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use creto_oversight::Desk;
use serde_json::Value;

use super::{Fallible, ask, ballot, quantile};

const ROUNDS: usize = 200;

/// Milliseconds of one round at the median: a request is made and durable, a human decides it, and whoever waits reads the decision.
pub(super) async fn ours_ms(desk: &Desk, from: usize) -> Fallible<f64> {
    let mut times = Vec::new();
    for number in from..from + ROUNDS {
        let started = Instant::now();
        let request = ask(desk, number, Duration::from_secs(600), None).await?;
        let id = request.id.parse()?;
        desk.vote(id, ballot(&request)?).await?;
        desk.watch(&"default".parse()?, id, request.seq, Duration::ZERO).await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(quantile(&mut times, 0.5))
}

/// Milliseconds of LangGraph's round at the median, on a file in `folder`; `None` where its packages are not installed
/// (`cargo xtask setup` does it).
pub(super) fn langgraph_ms(folder: &std::path::Path) -> Fallible<Option<f64>> {
    let tools = std::env::var_os("CRETO_TOOLS_DIR").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from)?;
        Some(home.join(".local/share/creto/tools"))
    });
    let Some(python) = tools.map(|tools| tools.join("venv/bin/python")).filter(|python| python.exists()) else {
        eprintln!("SKIPPED langgraph: there is no Python environment; `cargo xtask setup` makes it");
        return Ok(None);
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/decisions/langgraph_round.py");
    let output = Command::new(python).args([script.as_ref(), folder.as_os_str(), ROUNDS.to_string().as_ref()]).output()?;
    if !output.status.success() {
        return Err(format!("langgraph: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let said: Value = serde_json::from_slice(&output.stdout)?;
    Ok(said.get("p50_ms").and_then(Value::as_f64))
}
