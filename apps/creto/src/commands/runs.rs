//! `creto runs`: past and present runs, and one of them as a timeline.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use crate::cli::govern::{RunsArgs, RunsCommand};
use crate::commands::Session;
use crate::commands::answer::{encode, moment, path, plain, rows, safe, short, table, text};
use crate::failure::Failure;

/// Longest command shown in a list, in characters.
const COMMAND_CHARS_MAX: usize = 48;

/// Lists runs, or shows one.
pub(super) async fn runs(session: &Session, args: RunsArgs) -> Result<ExitCode, Failure> {
    if let Some(RunsCommand::End { run }) = args.command {
        let answer = session.send(Method::DELETE, &format!("/v1/runs/{}", encode(&run)), &json!({})).await?;
        return session.answer(&answer, |_| format!("`{}` is told to end\n", safe(&run)));
    }
    match args.run.as_deref() {
        None => session.answer(&session.get("/v1/runs").await?, list),
        Some(run) => session.answer(&session.get(&format!("/v1/runs/{}", encode(run))).await?, timeline),
    }
}

fn list(answer: &Value) -> String {
    let rows: Vec<_> = rows(answer, "runs")
        .iter()
        .map(|run| {
            let agent = text(run, "agent");
            let started = moment(run, "started_at");
            vec![text(run, "run"), short(&agent).to_owned(), started, text(run, "state"), text(run, "cost"), command(run)]
        })
        .collect();
    table(&["run", "agent", "started", "state", "cost", "command"], &rows, "there are no runs yet; start one with `creto run -- CMD`")
}

/// The command of a run, out of the arguments of its first action.
fn command(run: &Value) -> String {
    let arguments: Value =
        run.get("arguments").and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let argv = arguments.get("argv").or_else(|| arguments.get("command"));
    let words: Vec<String> = argv.and_then(Value::as_array).into_iter().flatten().map(plain).collect();
    let all = words.join(" ");
    match all.char_indices().nth(COMMAND_CHARS_MAX) {
        Some((end, _)) => format!("{}…", all.get(..end).unwrap_or_default()),
        None => all,
    }
}

/// Every action in order, then what was asked of humans.
fn timeline(answer: &Value) -> String {
    let actions: Vec<_> = rows(answer, "actions")
        .iter()
        .map(|action| {
            let mut decision = text(action, "state");
            if action.get("approval").is_some_and(|approval| !approval.is_null()) {
                decision.push_str(", approved");
            }
            let leaf = ["closed_leaf", "opened_leaf"].iter().find_map(|name| action.get(*name)?.as_str()).unwrap_or("-");
            vec![moment(action, "opened_at"), text(action, "action"), text(action, "resource"), decision, text(action, "cost"), safe(leaf)]
        })
        .collect();
    let mut out = format!("run {}\n", text(answer, "run"));
    out.push_str(&table(&["time", "action", "resource", "decision", "cost", "leaf"], &actions, "it did nothing that is governed"));
    for request in rows(answer, "requests") {
        let by = text(request, "decided_by");
        let (id, state) = (text(request, "id"), text(request, "state"));
        out.push_str(&format!(
            "asked  {id}  {state} by {}  (rule {})  {}\n",
            short(&by),
            text(request, "rule"),
            path(rows(request, "hops"))
        ));
    }
    out.push_str("prove an entry with `creto audit show LEAF`\n");
    out
}
