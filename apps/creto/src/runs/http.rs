//! `/v1/runs`: start one and stream it, feed it, end it, look at past ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creto_enablement_common::gate::{ActionFilter, ActionRow};
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::id::RunId;
use creto_kernel::{Digest, Micros, TenantId, Timestamp};
use creto_oversight::model::request::{Request, RequestFilter};
use creto_runtime::{Input, RunEvent, RunHandle, RunReport};
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Collected, Limited};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::runs::prepare::{Prepared, RunInput, prepare};
use crate::runs::{Entered, Live, Runs, RunsError};
use crate::wiring::House;

/// Events that may wait for a slow reader; then the command waits.
const EVENTS_MAX: usize = 64;
/// Most bytes of an input that is bound by its digest: it is kept whole until it is checked.
pub(crate) const INPUT_BYTES_MAX: usize = 8 << 20;

/// The endpoints of runs.
pub(crate) fn endpoints(runs: &Runs) -> Vec<Endpoint> {
    let state = || runs.clone();
    vec![
        Endpoint::new(Method::POST, "/v1/runs", Access::Operator, "Run a command in a sandbox; streams its events", start, state())
            .takes::<RunInput>(),
        Endpoint::new(Method::GET, "/v1/runs", Access::Approver, "Runs, newest first", list, state()),
        Endpoint::new(Method::GET, "/v1/runs/{run}", Access::Approver, "A run: its actions and what was asked", get, state()),
        Endpoint::new(Method::DELETE, "/v1/runs/{run}", Access::Operator, "End a run", end, state()),
        Endpoint::new(Method::POST, "/v1/runs/{run}/stdin", Access::Operator, "The command's standard input", stdin, state()),
    ]
}

async fn start(State(runs): State<Runs>, caller: Caller, StrictJson(input): StrictJson<RunInput>) -> Result<Response, Problem> {
    let house = Arc::clone(&runs.0.house);
    let runtime = house.runtime().await.map_err(RunsError::NoRuntime)?;
    let wants_stdin = input.stdin || input.stdin_digest.is_some();
    let Prepared { chain, spec, token } = prepare(&house, &caller.0, input).await?;
    let run = spec.run;
    let timeout_secs = spec.timeout.map(|time| time.as_secs());
    let hops: Vec<String> = chain.hops().iter().map(|hop| hop.identity.to_string()).collect();
    let (end, mut ending) = watch::channel(false);
    let entered = runs.enter(run, Live { token, chain: chain.clone(), stdin: None, input: spec.input, end });
    // A run that still waits for a human ends by giving up; its request stays and is found again by a retry.
    let mut handle = tokio::select! {
        started = runtime.run(chain.clone(), spec) => started.map_err(RunsError::from)?,
        _ = ending.changed() => return Err(RunsError::Ended.into()),
    };
    let input = handle.stdin.take();
    match input {
        Some(input) if wants_stdin => {
            if let Some(live) = runs.live().get_mut(&run) {
                live.stdin = Some(input);
            }
        }
        Some(input) => {
            // Nobody will write: the command reads an end at once. One that is gone needs no end.
            let _ = input.end().await;
        }
        None => {}
    }
    let started = json!({ "event": "started", "run": run, "agent": chain.leaf(), "hops": hops, "timeout_secs": timeout_secs });
    let (events_in, events) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(follow(entered, chain.tenant().clone(), hops, handle, ending, events_in));
    let lines = tokio_stream::wrappers::ReceiverStream::new(events);
    let first = futures::stream::once(async move { line(&started) });
    let body = Body::from_stream(first.chain(lines.map(|value| line(&value))));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn line(value: &Value) -> Result<Bytes, std::convert::Infallible> {
    Ok(Bytes::from(format!("{value}\n")))
}

/// Carries a run's events to its reader and stays until it is settled; a reader that goes away ends the run.
async fn follow(
    entered: Entered,
    tenant: TenantId,
    hops: Vec<String>,
    mut handle: RunHandle,
    mut ending: watch::Receiver<bool>,
    events: mpsc::Sender<Value>,
) {
    let mut ended = false;
    let mut unsent: Option<Value> = None;
    let report = loop {
        // A reader that stalls holds the command up, and never the end of the run: once it is to end, nothing more is sent but the last.
        tokio::select! {
            permit = events.reserve(), if unsent.is_some() && !ended => match (permit, unsent.take()) {
                (Ok(permit), Some(value)) => permit.send(value),
                _ => ended = true,
            },
            () = events.closed(), if !ended => {
                ended = true;
                handle.kill();
            }
            _ = ending.changed(), if !ended => {
                ended = true;
                handle.kill();
            }
            event = handle.events.recv(), if unsent.is_none() || ended => match event {
                Some(RunEvent::Stdout(bytes)) => unsent = Some(json!({ "event": "stdout", "data": STANDARD.encode(bytes) })),
                Some(RunEvent::Stderr(bytes)) => unsent = Some(json!({ "event": "stderr", "data": STANDARD.encode(bytes) })),
                Some(RunEvent::Finished(report)) => break Some(report),
                None => break None,
            },
        }
    };
    if let (false, Some(value)) = (ended, unsent) {
        // The last output before the end; a reader that is gone is noticed below.
        let _ = events.send(value).await;
    }
    if let Some(report) = report {
        let summary = finished(&entered.runs.0.house, &tenant, &hops, &report).await;
        if ended {
            // One that stalled gets the summary if there is room for it.
            let _ = events.try_send(summary);
        } else {
            let _ = events.send(summary).await;
        }
    }
}

/// The last event: what it cost, what it reached, what was asked, where it is proven.
async fn finished(house: &House, tenant: &TenantId, hops: &[String], report: &RunReport) -> Value {
    let details = details(house, tenant, report.run).await.ok();
    let cost = details.as_ref().map_or(report.cost, |details| details.cost);
    let audit = match &details {
        Some(details) => range(house, tenant, &details.actions).await,
        None => None,
    };
    let limits = (!report.limits_held.cgroup).then(|| report.limits_held.reason.clone()).flatten();
    json!({
        "event": "finished",
        "run": report.run,
        "hops": hops,
        "exit_code": report.end.exit_code(),
        "end": report.end,
        "duration_ms": report.duration_ms,
        "warm": report.warm,
        "runtime": report.runtime,
        "cost": cost,
        "reached": report.reached,
        "requests": details.map(|details| details.requests),
        "audit": audit,
        "limits": limits,
        "unsettled": report.unsettled,
    })
}

/// The log entries of these actions: first, last, and the size of the signed tree that holds them.
async fn range(house: &House, tenant: &TenantId, actions: &[ActionRow]) -> Option<Value> {
    house.sequencer.flush().await.ok()?;
    let mut found = Vec::new();
    for action in actions {
        for leaf in std::iter::once(action.opened_leaf).chain(action.closed_leaf) {
            found.push(house.log.find_leaf(tenant, leaf).await.ok()??);
        }
    }
    let size = house.log.checkpoint(tenant).await.ok()??.checkpoint.size;
    Some(json!({ "from": found.iter().min()?, "to": found.iter().max()?, "size": size }))
}

/// A run, as recorded.
#[derive(Debug, Serialize)]
struct Details {
    run: RunId,
    cost: Micros,
    actions: Vec<ActionRow>,
    requests: Vec<Request>,
}

async fn details(house: &House, tenant: &TenantId, run: RunId) -> Result<Details, Problem> {
    let filter = ActionFilter { run: Some(run), ..ActionFilter::default() };
    let mut actions = house.gate.actions(tenant, &filter).await?;
    actions.reverse();
    let costs = house.gate.run_costs(tenant, run, run).await?;
    let asked = RequestFilter { run: Some(run.to_string()), ..RequestFilter::default() };
    let requests = house.desk.page(tenant, &asked).await?.requests;
    Ok(Details { run, cost: costs.get(&run).copied().unwrap_or(Micros::ZERO), actions, requests })
}

async fn get(State(runs): State<Runs>, caller: Caller, Path(run): Path<String>) -> Result<Json<Details>, Problem> {
    let run = parse(&run)?;
    let details = details(&runs.0.house, caller.0.tenant(), run).await?;
    if details.actions.is_empty() {
        return Err(RunsError::Unknown(run.to_string()).into());
    }
    Ok(Json(details))
}

/// One run in a list.
#[derive(Debug, Serialize)]
struct Listed {
    run: RunId,
    agent: String,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    state: creto_enablement_common::gate::ActionState,
    arguments: String,
    cost: Micros,
}

#[derive(Debug, Serialize)]
struct List {
    runs: Vec<Listed>,
}

async fn list(State(runs): State<Runs>, caller: Caller) -> Result<Json<List>, Problem> {
    let action = "runtime.exec".parse().map_err(|_| RunsError::Invalid("`runtime.exec` is not an action".to_owned()))?;
    let filter = ActionFilter { action: Some(action), ..ActionFilter::default() };
    let rows = runs.0.house.gate.actions(caller.0.tenant(), &filter).await?;
    let runs_listed = || rows.iter().filter_map(|row| row.run);
    let costs = match (runs_listed().min(), runs_listed().max()) {
        (Some(first), Some(last)) => runs.0.house.gate.run_costs(caller.0.tenant(), first, last).await?,
        _ => BTreeMap::new(),
    };
    let listed = |row: ActionRow| {
        let run = row.run?;
        Some(Listed {
            run,
            agent: row.agent.to_string(),
            started_at: row.opened_at,
            ended_at: row.closed_at,
            state: row.state,
            arguments: row.arguments,
            cost: costs.get(&run).copied().unwrap_or(row.cost),
        })
    };
    Ok(Json(List { runs: rows.into_iter().filter_map(listed).collect() }))
}

async fn end(State(runs): State<Runs>, caller: Caller, Path(run): Path<String>) -> Result<Json<Value>, Problem> {
    let id = parse(&run)?;
    match runs.live().get(&id).filter(|live| live.chain.tenant() == caller.0.tenant()) {
        Some(live) => live.end.send_replace(true),
        None => return Err(RunsError::Unknown(run).into()),
    };
    Ok(Json(json!({})))
}

async fn stdin(State(runs): State<Runs>, caller: Caller, Path(run): Path<String>, body: Body) -> Result<Json<Value>, Problem> {
    let id = parse(&run)?;
    let taken = runs.live().get_mut(&id).filter(|live| live.chain.tenant() == caller.0.tenant()).and_then(|live| {
        let input = live.stdin.take()?;
        Some((input, live.input, live.end.clone()))
    });
    let (mut input, admitted, end) = taken.ok_or(RunsError::Unknown(run))?;
    if let Input::Bound(digest) = admitted {
        let whole = Limited::new(body, INPUT_BYTES_MAX).collect().await.ok().map(Collected::to_bytes);
        let Some(bytes) = whole.filter(|bytes| Digest::of(bytes) == digest) else {
            end.send_replace(true);
            return Err(RunsError::OtherInput.into());
        };
        input.write(&bytes).await.map_err(RunsError::from)?;
    } else {
        let mut chunks = body.into_data_stream();
        while let Some(Ok(chunk)) = chunks.next().await {
            input.write(&chunk).await.map_err(RunsError::from)?;
        }
    }
    input.end().await.map_err(RunsError::from)?;
    Ok(Json(json!({})))
}

fn parse(run: &str) -> Result<RunId, RunsError> {
    run.parse().map_err(|_| RunsError::Unknown(run.chars().take(80).collect()))
}
