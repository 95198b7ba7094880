//! `creto oversight`.

mod evidence;
mod mail;

use std::path::Path;
use std::process::ExitCode;

use creto_audit::TrustedKeys;
use creto_kernel::Coded as _;
use creto_oversight::receipt::{Decision, Receipt};
use http::Method;
use serde_json::{Value, json};

use crate::cli::govern::{OversightAskArgs, OversightCommand, OversightListArgs, OversightPolicyArgs, ReceiptArgs};
use crate::commands::Session;
use crate::commands::answer::{encode, moment, rows, safe, seconds, short, show, table, text, typed};
use crate::commands::decide::describe;
use crate::commands::remote::Remote;
use crate::failure::Failure;

pub(super) use mail::mail;

/// How long one call waits for a human's answer; then it is asked again.
const CALL_WAIT_SECS: u32 = 50;

/// Verifies a receipt, or a bundle of many, with nothing but keys; exit code 1 says what does not fit.
pub(super) fn verify(args: &ReceiptArgs, json: bool) -> Result<ExitCode, Failure> {
    let keys = TrustedKeys::from_json(&read(&args.trust)?)?;
    let verified = match evidence::is_bundle(&args.file)? {
        true => evidence::verify(&args.file, keys)?.map(|total| (json!({ "ok": true, "bundle": total }), evidence::describe(&total))),
        false => {
            let verified = Receipt::from_json(&read(&args.file)?).and_then(|receipt| receipt.verify(&keys).cloned());
            verified.map(|decision| (json!({ "ok": true, "decision": decision }), describe_receipt(&decision)))
        }
    };
    match verified {
        Ok((answer, text)) => show(json, &answer, |_| text),
        Err(error) => {
            let answer = json!({ "ok": false, "code": error.code().as_str(), "detail": error.to_string() });
            show(json, &answer, |_| safe(&format!("{error} ({})\n", error.code())))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn describe_receipt(decision: &Decision) -> String {
    let voters: Vec<String> = decision.votes.iter().map(|vote| format!("{} by {}", vote.by.name(), vote.proof.method)).collect();
    let test = if decision.test { " MADE IN A TEST: it binds nobody." } else { "" };
    safe(&format!(
        "the log holds it: request {} revision {} was {}, digest {}; voters: {}.{test}\n",
        decision.request,
        decision.revision,
        decision.state.as_str(),
        decision.digest,
        voters.join(", ")
    ))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::usage(format!("`{}` cannot be read: {e}", path.display()), "name a file you may read"))
}

/// The commands that ask a server.
pub(super) async fn oversight(session: &Session, command: OversightCommand) -> Result<ExitCode, Failure> {
    match command {
        OversightCommand::Verify(args) => verify(&args, session.json),
        OversightCommand::Policy(args) => policy(session, &args).await,
        OversightCommand::List(args) => list(session, &args).await,
        OversightCommand::Show { request } => show_request(session, &request).await,
        OversightCommand::Grants { revoke: None } => session
            .answer(&session.get("/v1/oversight/grants").await?, |answer| table(&GRANT_COLUMNS, &grants(answer), "nothing is granted")),
        OversightCommand::Grants { revoke: Some(grant) } => {
            let answer = session.client.json(Method::DELETE, &format!("/v1/oversight/grants/{}", encode(&grant)), None).await?;
            session.answer(&answer, |_| format!("`{}` is taken back, with the approvals it gave that nobody used\n", safe(&grant)))
        }
        OversightCommand::Export(args) => evidence::export(session, &args).await,
        OversightCommand::Ask(_) | OversightCommand::Mail(_) => Err(Failure::protocol("this command needs no server")),
        OversightCommand::Receipt { request } => {
            let path = format!("/v1/oversight/requests/{}/receipt", encode(&request));
            session.answer(&session.send(Method::GET, &path, &Value::Null).await?, |answer| format!("{answer}\n"))
        }
        OversightCommand::Kill { agent, reason } => {
            let body = json!({ "agent": agent, "reason": reason });
            session.answer(&session.send(Method::POST, "/v1/oversight/kill", &body).await?, |answer| {
                format!("`{}` is suspended; {} requests were taken back\n", text(answer, "agent"), text(answer, "requests"))
            })
        }
    }
}

async fn list(session: &Session, args: &OversightListArgs) -> Result<ExitCode, Failure> {
    let mut path = format!("/v1/oversight/requests?limit={}", args.limit);
    for (name, value) in [("state", &args.state), ("run", &args.run), ("before", &args.before)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    if args.review {
        path.push_str("&review=true");
    }
    session.answer(&session.get(&path).await?, |answer| {
        let cells = |request: &Value| {
            let action: Value =
                request.get("action").and_then(Value::as_str).and_then(|a| serde_json::from_str(a).ok()).unwrap_or_default();
            let agent = rows(request, "hops").last().and_then(Value::as_str).map(short).unwrap_or_default();
            let resource = text(&action, "resource");
            vec![text(request, "id"), text(request, "state"), text(request, "risk"), safe(agent), resource, moment(request, "opened_at")]
        };
        let found: Vec<Vec<String>> = rows(answer, "requests").iter().map(cells).collect();
        let mut out = table(&["request", "state", "risk", "agent", "what", "asked"], &found, "there is no such request");
        if let Some(next) = answer.get("next").and_then(Value::as_str) {
            out.push_str(&format!("there are older ones: `--before {}`\n", safe(next)));
        }
        out
    })
}

async fn show_request(session: &Session, id: &str) -> Result<ExitCode, Failure> {
    let at = format!("/v1/oversight/requests/{}", encode(id));
    let (request, history) = (session.get(&at).await?, session.get(&format!("{at}/history")).await?);
    let answer = json!({ "request": request, "history": history.get("events").cloned().unwrap_or_default() });
    session.answer(&answer, |answer| {
        let mut out = describe(&request);
        for happened in rows(answer, "history") {
            let by = happened.get("by").and_then(Value::as_str).map(short).unwrap_or_default();
            let what = happened.get("event").map(|event| text(event, "type")).unwrap_or_default();
            out.push_str(&format!("  {}  {} by {}\n", moment(happened, "at"), what.replace('_', " "), safe(by)));
        }
        out
    })
}

const GRANT_COLUMNS: [&str; 6] = ["grant", "agent", "what", "used", "until", "by"];

fn grants(answer: &Value) -> Vec<Vec<String>> {
    let name = |grant: &Value, field: &str| safe(short(grant.get(field).and_then(Value::as_str).unwrap_or_default()));
    let cells = |grant: &Value| {
        let until = match grant.get("revoked_at").is_some_and(|at| !at.is_null()) {
            true => "taken back".to_owned(),
            false => moment(grant, "expires_at"),
        };
        let used = format!("{} of {}", text(grant, "used"), text(grant, "uses_max"));
        vec![text(grant, "id"), name(grant, "agent"), text(grant, "resource"), used, until, name(grant, "given_by")]
    };
    rows(answer, "grants").iter().map(cells).collect()
}

/// Asks a human as an agent and waits. Exit code 1 says that nobody answered.
pub(super) async fn ask(args: OversightAskArgs, json: bool) -> Result<ExitCode, Failure> {
    let remote = Remote::as_agent(&args.reach)?;
    let timeout = seconds("--timeout", &args.timeout)?;
    // Absent, each call is another question.
    let (run, call) = match args.call.as_slice() {
        [run, call] => (Some(run), Some(call)),
        _ => (None, None),
    };
    let body = json!({
        "question": typed(args.question)?, "options": args.options, "run_id": run, "call_id": call,
        "timeout_secs": timeout, "wait_secs": CALL_WAIT_SECS,
    });
    let mut standing = remote.json(Method::POST, "/v1/oversight/questions", Some(&body)).await?;
    while text(&standing, "state") == "pending" {
        let path = format!("/v1/oversight/asked/{}?wait_secs={CALL_WAIT_SECS}", encode(&text(&standing, "request")));
        standing = remote.json(Method::GET, &path, None).await?;
    }
    let answered = text(&standing, "state") == "answered";
    show(json, &standing, |standing| match answered {
        true => format!("{}\n", standing.get("answer").and_then(Value::as_str).map(safe).unwrap_or_default()),
        false => format!("nobody answered: the question is {}\n", text(standing, "state").replace('_', " ")),
    })?;
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn policy(session: &Session, args: &OversightPolicyArgs) -> Result<ExitCode, Failure> {
    let (Some(rule), Some(file)) = (&args.rule, &args.file) else {
        let answer = session.send(Method::GET, "/v1/oversight/policies", &Value::Null).await?;
        return session.answer(&answer, |answer| format!("{answer:#}\n"));
    };
    let bad = |e: serde_json::Error| Failure::usage(format!("`{}` is no JSON: {e}", file.display()), "see docs/sdd/products/oversight.md");
    let document: Value = serde_json::from_slice(&read(file)?).map_err(bad)?;
    let at = format!("/v1/oversight/policies/{}", encode(rule));
    if args.rehearse {
        let answer = session.send(Method::POST, &format!("{at}/rehearsal"), &document).await?;
        return session.answer(&answer, |answer| format!("{answer:#}\n"));
    }
    let answer = session.send(Method::PUT, &at, &json!({ "policy": document })).await?;
    session.answer(&answer, |answer| format!("version {} of `{}` is in force\n", text(answer, "version"), text(answer, "rule")))
}
